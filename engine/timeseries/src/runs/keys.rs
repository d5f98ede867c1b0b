//! [`RunKeys`]: the keys of a `GROUP BY`, by how they change along sorted rows.
//!
//! ```text
//! host   time    │ GROUP BY host, date_bin('1 minute', time)
//! a      0:10  ┐ │
//! a      0:20  │ run: both keys are computed once
//! a      0:50  ┘ │
//! a      1:00  ┐ ← the bucket changes; found by probing rows, as buckets never go back while time goes on
//! b      0:10  ┐ ← the host changes
//! ```

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use datafusion::arrow::compute::{SortOptions, take};
use datafusion::arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampNanosecondType};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::sort_properties::SortProperties;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{
    EquivalenceProperties, PhysicalExpr, PhysicalSortExpr, ScalarFunctionExpr,
};

use super::changes::mark_changes;

type Expr = Arc<dyn PhysicalExpr>;

/// Rows from one probe to the next. Longer strides probe less and search more around each change.
const STRIDE: usize = 64;

/// Functions that give times never going back while their argument goes on. Only these are probed: a wrong claim of
/// another function would put rows into wrong groups.
const BUCKETS: [&str; 4] = ["date_bin", "time_bucket", "date_trunc", "gap_bucket"];

/// A column of times, and what buckets are made of it.
#[derive(Clone, Debug)]
struct Buckets {
    /// Position of the time among the rows' columns.
    time: usize,
    /// Over a batch with the time alone.
    exprs: Vec<Expr>,
    schema: SchemaRef,
}

/// Keys of groups, computed once for rows that follow each other and have the same.
#[derive(Clone, Debug)]
pub(super) struct RunKeys {
    /// Columns that are keys, or that keys are computed of.
    steady: Vec<usize>,
    buckets: Option<Buckets>,
    /// The keys over a batch of the first rows of runs, which has the columns in `heads` alone.
    keys: Vec<Expr>,
    heads: Vec<usize>,
    head_schema: SchemaRef,
}

/// Rows that follow each other and have the same keys.
#[derive(Debug)]
pub(super) struct Runs {
    /// First rows, ascending, from 0.
    pub(super) starts: Vec<u32>,
    /// The keys, a row for each run.
    pub(super) keys: Vec<ArrayRef>,
}

impl RunKeys {
    /// None if the keys are none that stay the same for a while along rows of this kind, in which `known` columns do.
    pub(super) fn of(
        keys: &[Expr],
        rows: &EquivalenceProperties,
        known: Vec<usize>,
    ) -> Option<Self> {
        let schema = rows.schema();
        let mut sorted = known;
        sorted.extend(sorted_columns(rows));
        let mut steady = Vec::new();
        let mut probed: Option<(usize, Vec<Expr>)> = None;
        for key in keys {
            let columns = columns_of(key);
            if key.exists(|expr| Ok(expr.is_volatile_node())).unwrap_or(true) || columns.is_empty()
            {
                return None;
            }
            if columns.iter().all(|column| sorted.contains(column)) {
                steady.extend(columns);
                continue;
            }
            let [time] = columns[..] else { return None };
            if !is_bucket(key, time, schema) {
                return None;
            }
            match &mut probed {
                None => probed = Some((time, vec![Arc::clone(key)])),
                Some((known, exprs)) if *known == time => exprs.push(Arc::clone(key)),
                Some(_) => return None,
            }
        }
        steady.sort_unstable();
        steady.dedup();
        let buckets = match probed {
            None => None,
            Some((time, exprs)) => Some(Buckets {
                time,
                exprs: exprs.into_iter().map(|e| moved(e, &[time])).collect::<Result<_>>().ok()?,
                schema: Arc::new(schema.project(&[time]).ok()?),
            }),
        };
        let mut heads = steady.clone();
        heads.extend(buckets.as_ref().map(|buckets| buckets.time));
        heads.sort_unstable();
        heads.dedup();
        let keys = keys.iter().map(|key| moved(Arc::clone(key), &heads));
        let keys = keys.collect::<Result<Vec<_>>>().ok()?;
        let head_schema = Arc::new(schema.project(&heads).ok()?);
        Some(Self { steady, buckets, keys, heads, head_schema })
    }

    /// The runs of a batch, which has rows.
    pub(super) fn runs(&self, batch: &RecordBatch) -> Result<Runs> {
        let mut marks = vec![false; batch.num_rows()];
        marks[0] = true;
        for column in &self.steady {
            mark_changes(batch.column(*column), &mut marks)?;
        }
        if let Some(buckets) = &self.buckets {
            buckets.mark(batch.column(buckets.time), &mut marks)?;
        }
        let starts = (0u32..).zip(&marks).filter(|(_, mark)| **mark).map(|(row, _)| row);
        let starts: Vec<u32> = starts.collect();
        let rows = UInt32Array::from(starts.clone());
        let heads = self.heads.iter().map(|column| take(batch.column(*column), &rows, None));
        let heads = heads.collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let heads =
            RecordBatch::try_new_with_options(Arc::clone(&self.head_schema), heads, &options)?;
        let keys = self.keys.iter().map(|key| key.evaluate(&heads)?.into_array(rows.len()));
        Ok(Runs { keys: keys.collect::<Result<_>>()?, starts })
    }
}

impl Buckets {
    /// Marks the rows with which a bucket begins, and those with which time goes back.
    fn mark(&self, time: &ArrayRef, marks: &mut [bool]) -> Result<()> {
        let rows = marks.len();
        let Some(times) = time.as_primitive_opt::<TimestampNanosecondType>() else {
            return self.mark_all(time, marks);
        };
        if times.null_count() > 0 {
            return self.mark_all(time, marks);
        }
        for (mark, pair) in marks[1..].iter_mut().zip(times.values().windows(2)) {
            *mark |= pair[1] < pair[0];
        }
        // The first and last row of what is marked so far, and rows between.
        let mut probes: Vec<u32> = Vec::new();
        let mut row = 0;
        while row < rows {
            probes.push(at(row));
            let reach = (row + STRIDE).min(rows - 1);
            let stop = (row + 1..=reach).find(|next| marks[*next]);
            row = match stop {
                Some(next) if next - 1 > row => next - 1,
                Some(next) => next,
                None if reach > row => reach,
                None => rows,
            };
            if probes.len() * 2 > rows {
                return self.mark_all(time, marks);
            }
        }
        let mut changed = vec![false; probes.len()];
        self.mark_rows(time, &probes, &mut changed)?;
        // Between two probes with different buckets each row is looked at.
        let mut near: Vec<u32> = Vec::new();
        for (pair, changed) in probes.windows(2).zip(&changed[1..]) {
            if *changed && !marks[pair[1] as usize] {
                near.extend(pair[0]..=pair[1]);
            }
        }
        if near.is_empty() {
            return Ok(());
        }
        if near.len() * 2 > rows {
            return self.mark_all(time, marks);
        }
        let mut changed = vec![false; near.len()];
        self.mark_rows(time, &near, &mut changed)?;
        for (pair, changed) in near.windows(2).zip(&changed[1..]) {
            if *changed && pair[1] == pair[0] + 1 {
                marks[pair[1] as usize] = true;
            }
        }
        Ok(())
    }

    fn mark_rows(&self, time: &ArrayRef, rows: &[u32], marks: &mut [bool]) -> Result<()> {
        self.mark_all(&take(time, &UInt32Array::from(rows.to_vec()), None)?, marks)
    }

    /// Computes the buckets of all rows.
    fn mark_all(&self, time: &ArrayRef, marks: &mut [bool]) -> Result<()> {
        let rows = time.len();
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), vec![Arc::clone(time)])?;
        for expr in &self.exprs {
            mark_changes(&expr.evaluate(&batch)?.into_array(rows)?, marks)?;
        }
        Ok(())
    }
}

fn at(row: usize) -> u32 {
    u32::try_from(row).expect("a batch has few rows")
}

/// Columns that stay the same for a while: those of the order but for times, and constants.
fn sorted_columns(rows: &EquivalenceProperties) -> Vec<usize> {
    let schema = rows.schema();
    let ordering = rows.output_ordering();
    let ordered = ordering.iter().flatten().map(|sort| Arc::clone(&sort.expr));
    let constants = rows.constants().into_iter().map(|constant| constant.expr);
    let columns = ordered.chain(constants).filter_map(|expr| {
        let column = expr.downcast_ref::<Column>()?.index();
        let kind = schema.field(column).data_type();
        (!matches!(kind, DataType::Timestamp(..))).then_some(column)
    });
    columns.collect()
}

/// The columns that an expression is computed of, ascending.
fn columns_of(expr: &Expr) -> Vec<usize> {
    let columns = datafusion::physical_expr::utils::collect_columns(expr);
    let mut columns: Vec<usize> = columns.iter().map(Column::index).collect();
    columns.sort_unstable();
    columns.dedup();
    columns
}

/// Whether an expression is a bucket of this column, which never goes back while the time goes on.
fn is_bucket(expr: &Expr, time: usize, schema: &SchemaRef) -> bool {
    let field = schema.field(time);
    let is_known = |expr: &Expr| {
        expr.downcast_ref::<Column>().is_some()
            || expr.downcast_ref::<Literal>().is_some()
            || expr
                .downcast_ref::<ScalarFunctionExpr>()
                .is_some_and(|function| BUCKETS.contains(&function.fun().name()))
    };
    let all_known = !expr.exists(|expr| Ok(!is_known(expr))).unwrap_or(true);
    let is_time = expr.downcast_ref::<Column>().is_some();
    if is_time
        || !all_known
        || !matches!(field.data_type(), DataType::Timestamp(TimeUnit::Nanosecond, _))
    {
        return false;
    }
    let mut sorted = EquivalenceProperties::new(Arc::clone(schema));
    let column: Expr = Arc::new(Column::new(field.name(), time));
    let ascending = SortOptions { descending: false, nulls_first: true };
    sorted.add_ordering([PhysicalSortExpr::new(column, ascending)]);
    matches!(
        sorted.get_expr_properties(Arc::clone(expr)).sort_properties,
        SortProperties::Ordered(options) if !options.descending
    )
}

/// The expression over a batch that has these columns alone.
fn moved(expr: Expr, columns: &[usize]) -> Result<Expr> {
    let moved = expr.transform_up(|expr| {
        let Some(column) = expr.downcast_ref::<Column>() else { return Ok(Transformed::no(expr)) };
        let place = columns.iter().position(|known| *known == column.index());
        let Some(place) = place else {
            return datafusion::common::internal_err!("a key has another column");
        };
        Ok(Transformed::yes(Arc::new(Column::new(column.name(), place)) as Expr))
    });
    Ok(moved?.data)
}
