//! [`Answer`]: how cells become the states of an aggregate.

use std::fmt::{self, Display};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, Int64Array, TimestampNanosecondArray, UInt32Array,
};
use datafusion::arrow::compute::kernels::cmp::{eq, not_distinct};
use datafusion::arrow::compute::{cast, nullif};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column, Literal};
use datafusion::physical_plan::ExecutionPlan as _;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use quorate_storage::scan::{CellBatch, CellStatistic, TimeRange};
use quorate_storage::{ColumnId, ColumnKind, FieldType};

use crate::buckets::is_bucket;
use crate::scan::{SeriesScanExec, cell_keys, times_batch};

/// How cells become the states of the first stage of an aggregate.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// The columns of the scan.
    input: SchemaRef,
    /// Place of the time among them.
    time: Option<usize>,
    /// The groups, and after them the states.
    output: SchemaRef,
    groups: Vec<Arc<dyn PhysicalExpr>>,
    /// Statistics, each once.
    statistics: Vec<(ColumnId, CellStatistic)>,
    names: Vec<String>,
    /// Where each state comes from.
    states: Vec<State>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The number of rows.
    Rows,
    /// The statistic at this place.
    Statistic(usize),
    /// The same, and NULL for 0: an average of no values has no number of them.
    Some(usize),
    /// The time of the first row.
    FirstTime,
    /// The time of the last row.
    LastTime,
}

impl Answer {
    /// For the first stage of an aggregate over a scan, if cells say all that it asks for.
    pub(super) fn of(aggregate: &AggregateExec, scan: &SeriesScanExec) -> Option<Self> {
        let group = aggregate.group_expr();
        let plain = *aggregate.mode() == AggregateMode::Partial
            && aggregate.limit_options().is_none()
            && (group.is_single() || group.is_true_no_grouping())
            && aggregate.filter_expr().iter().all(Option::is_none);
        if !plain {
            return None;
        }
        let groups: Vec<_> = group.expr().iter().map(|(expr, _)| Arc::clone(expr)).collect();
        if !groups.iter().all(|expr| is_group(expr, scan)) {
            return None;
        }
        let mut answer = Self {
            input: scan.schema(),
            time: scan.time_column(),
            output: aggregate.schema(),
            groups,
            statistics: Vec::new(),
            names: Vec::new(),
            states: Vec::new(),
        };
        for function in aggregate.aggr_expr() {
            answer.add(function, scan)?;
        }
        let states = answer.output.fields().len() - answer.groups.len();
        (states == answer.states.len()).then_some(answer)
    }

    /// Adds the states of one function; `None` if cells do not have them.
    fn add(&mut self, function: &AggregateFunctionExpr, scan: &SeriesScanExec) -> Option<()> {
        if function.is_distinct() || !function.order_bys().is_empty() {
            return None;
        }
        let arguments = function.expressions();
        let argument = match &arguments[..] {
            [argument] => argument,
            [value, time] => return self.add_by_time(function.fun().name(), (value, time), scan),
            _ => return None,
        };
        if let Some(literal) = argument.downcast_ref::<Literal>() {
            let counts = function.fun().name() == "count" && !literal.value().is_null();
            self.states.push(State::Rows);
            return counts.then_some(());
        }
        let (column, as_float) = match argument.downcast_ref::<CastExpr>() {
            Some(cast) if *cast.cast_type() == DataType::Float64 => {
                (cast.expr().downcast_ref::<Column>()?, true)
            }
            Some(_) => return None,
            None => (argument.downcast_ref::<Column>()?, false),
        };
        let (id, kind) = scan.column(column.index())?;
        let kind = match kind {
            ColumnKind::Field(kind) => kind,
            ColumnKind::Time if !as_float => {
                self.states.push(match function.fun().name() {
                    // Every row has one.
                    "count" => State::Rows,
                    "min" => State::FirstTime,
                    "max" => State::LastTime,
                    _ => return None,
                });
                return Some(());
            }
            ColumnKind::Time | ColumnKind::Tag => return None,
        };
        let number = match kind {
            FieldType::Float64 => !as_float,
            FieldType::Int64 | FieldType::UInt64 => true,
            FieldType::Boolean | FieldType::Utf8 | FieldType::Timestamp => false,
        };
        let statistics: &[CellStatistic] = match function.fun().name() {
            "count" => &[CellStatistic::Count],
            "avg" if as_float || kind == FieldType::Float64 => {
                &[CellStatistic::Count, CellStatistic::Sum]
            }
            // A cast would change what is added up, and compared.
            _ if as_float => return None,
            "sum" => &[CellStatistic::Sum],
            "min" => &[CellStatistic::Min],
            "max" => &[CellStatistic::Max],
            _ => return None,
        };
        if !number {
            return None;
        }
        for statistic in statistics {
            let place = self.ask(id, column, *statistic);
            self.states.push(match (function.fun().name(), statistic) {
                ("avg", CellStatistic::Count) => State::Some(place),
                _ => State::Statistic(place),
            });
        }
        Some(())
    }

    /// Adds the states of the first or the last value by the time: a row's value and time.
    fn add_by_time(
        &mut self,
        name: &str,
        (value, time): (&Arc<dyn PhysicalExpr>, &Arc<dyn PhysicalExpr>),
        scan: &SeriesScanExec,
    ) -> Option<()> {
        let (statistic, row) = match name {
            "first" | "selector_first" => (CellStatistic::First, State::FirstTime),
            "last" | "selector_last" => (CellStatistic::Last, State::LastTime),
            _ => return None,
        };
        let (value, time) = (value.downcast_ref::<Column>()?, time.downcast_ref::<Column>()?);
        let (_, ColumnKind::Time) = scan.column(time.index())? else { return None };
        let (id, ColumnKind::Field(kind)) = scan.column(value.index())? else { return None };
        if !matches!(kind, FieldType::Float64 | FieldType::Int64 | FieldType::UInt64) {
            return None;
        }
        let place = self.ask(id, value, statistic);
        self.states.extend([State::Statistic(place), row]);
        Some(())
    }

    /// Asks for a statistic; its place.
    fn ask(&mut self, id: ColumnId, column: &Column, statistic: CellStatistic) -> usize {
        let wanted = (id, statistic);
        let known = self.statistics.iter().position(|other| *other == wanted);
        let place = known.unwrap_or(self.statistics.len());
        if known.is_none() {
            self.statistics.push(wanted);
            self.names.push(format!("{}({})", word(statistic), column.name()));
        }
        place
    }

    /// What cells are asked for.
    pub(super) fn statistics(&self) -> Vec<(ColumnId, CellStatistic)> {
        self.statistics.clone()
    }

    /// The columns of the states.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.output
    }

    /// The expressions of the groups.
    pub(super) fn groups(&self) -> &[Arc<dyn PhysicalExpr>] {
        &self.groups
    }

    /// Whether the first and the last of each of these times are in the same group.
    pub(super) fn together(&self, times: &[TimeRange]) -> Result<Vec<bool>> {
        let mut together = vec![true; times.len()];
        let Some(time) = self.time else { return Ok(together) };
        let (firsts, lasts): (Vec<i64>, Vec<i64>) =
            times.iter().map(|time| (time.start, time.end)).unzip();
        let firsts = times_batch(&self.input, time, &firsts)?;
        let lasts = times_batch(&self.input, time, &lasts)?;
        for group in &self.groups {
            if group.downcast_ref::<Column>().is_some() {
                continue;
            }
            let of = |batch: &RecordBatch| group.evaluate(batch)?.into_array(times.len());
            let same = not_distinct(&of(&firsts)?, &of(&lasts)?)?;
            for (together, same) in together.iter_mut().zip(same.values()) {
                *together &= same;
            }
        }
        Ok(together)
    }

    /// The states of cells, a row for each.
    pub(super) fn states(&self, cells: &CellBatch) -> Result<RecordBatch> {
        let keys = cell_keys(&cells.keys, &self.input)?;
        let rows = keys.num_rows();
        let mut columns = Vec::with_capacity(self.output.fields().len());
        for group in &self.groups {
            columns.push(group.evaluate(&keys)?.into_array(rows)?);
        }
        let times = |times: &[i64]| -> ArrayRef {
            let times = TimestampNanosecondArray::from(times.to_vec());
            Arc::new(times.with_timezone("UTC"))
        };
        for state in &self.states {
            columns.push(match state {
                State::Rows => {
                    let rows = cells.rows.iter().map(|rows| rows.cast_signed());
                    Arc::new(Int64Array::from_iter_values(rows)) as ArrayRef
                }
                State::Statistic(place) => Arc::clone(&cells.statistics[*place]),
                State::Some(place) => {
                    let counts = &cells.statistics[*place];
                    let none = UInt32Array::new_scalar(0);
                    nullif(counts, &eq(counts, &none)?)?
                }
                State::FirstTime => times(&cells.first_times),
                State::LastTime => times(&cells.last_times),
            });
        }
        let typed = columns.into_iter().zip(self.output.fields()).map(|(column, field)| {
            if column.data_type() == field.data_type() {
                return Ok(column);
            }
            Ok(cast(&column, field.data_type())?)
        });
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let typed = typed.collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.output), typed, &options)?)
    }
}

impl Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "statistics=[{}]", self.names.join(", "))
    }
}

fn word(statistic: CellStatistic) -> &'static str {
    match statistic {
        CellStatistic::Count => "count",
        CellStatistic::NanCount => "nan",
        CellStatistic::Min => "min",
        CellStatistic::Max => "max",
        CellStatistic::Sum => "sum",
        CellStatistic::First => "first",
        CellStatistic::Last => "last",
    }
}

/// Whether a group is a tag or a bucket of the time.
fn is_group(expr: &Arc<dyn PhysicalExpr>, scan: &SeriesScanExec) -> bool {
    if let Some(column) = expr.downcast_ref::<Column>() {
        return scan.column(column.index()).is_some_and(|(_, kind)| kind == ColumnKind::Tag);
    }
    is_bucket(expr, scan)
}
