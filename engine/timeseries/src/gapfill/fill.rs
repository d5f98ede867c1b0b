//! [`Layout`]: what the operator does to each column; [`FillColumn`]: the values that a fill may use for the rows at hand.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, UInt32Array, new_null_array};
use arrow::compute::{concat, take};
use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::error::Result;

use super::grid::Grid;
use super::range::FillRange;

/// No row.
pub(super) const NONE: u32 = u32::MAX;

/// How a fill gets its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd)]
pub(super) enum Method {
    /// The value before. A NULL is a value unless it is missing.
    Previous { null_is_missing: bool },
    /// On the line between the values before and after; a NULL is missing.
    Linear,
}

/// A column that fills.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fill {
    /// Column of the input.
    pub(super) source: usize,
    pub(super) method: Method,
}

/// What the operator does; columns are positions in the input.
#[derive(Debug)]
pub(super) struct Layout {
    /// Of the output: the input's columns, the fills, the mark.
    pub(super) schema: SchemaRef,
    /// The function that asked for it.
    pub(super) name: &'static str,
    pub(super) time: usize,
    pub(super) series: Vec<usize>,
    /// For every column of the input, its value in rows that are added.
    pub(super) empty: Vec<ScalarValue>,
    pub(super) fills: Vec<Fill>,
    pub(super) marks: bool,
    pub(super) grid: Grid,
    /// Where the wall clock is that buckets follow, if they do.
    pub(super) zone: Option<String>,
    pub(super) range: FillRange,
    /// Whether no row at all is still a series, the one without keys.
    pub(super) fills_nothing: bool,
}

impl Layout {
    /// Whether a fill has to know what comes later.
    pub(super) fn looks_ahead(&self) -> bool {
        self.fills.iter().any(|fill| fill.method == Method::Linear)
    }
}

/// The last value of a series that has been passed on.
#[derive(Debug, Clone)]
pub(super) struct Carried {
    value: ArrayRef,
    time: i64,
}

/// Rows of which each series begins at a place of `starts`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a> {
    /// Buckets, as their type counts them.
    pub(super) times: &'a Int64Array,
    pub(super) starts: &'a [usize],
}

/// Values of one fill: index 0 is what was carried, row `p` is index `p + 1`.
#[derive(Debug)]
pub(super) struct FillColumn {
    pub(super) values: ArrayRef,
    pub(super) times: Vec<i64>,
    /// For every index, where its value or the last one before it is.
    pub(super) before: Vec<u32>,
    /// For every index, where its value or the next one after it is; for [`Method::Linear`] only.
    pub(super) after: Vec<u32>,
    pub(super) method: Method,
    /// Whether every row has its own value.
    pub(super) is_whole: bool,
}

fn index_of_row(row: usize) -> u32 {
    u32::try_from(row + 1).expect("a batch has fewer than 2^32 rows")
}

impl FillColumn {
    /// Over a column's rows.
    pub(super) fn new(
        method: Method,
        column: &ArrayRef,
        rows: Rows<'_>,
        carried: Option<&Carried>,
    ) -> Result<Self> {
        let first = carried.map_or_else(
            || new_null_array(column.data_type(), 1),
            |carried| Arc::clone(&carried.value),
        );
        let values = concat(&[first.as_ref(), column.as_ref()])?;
        let mut times = Vec::with_capacity(column.len() + 1);
        times.push(carried.map_or(0, |carried| carried.time));
        times.extend_from_slice(rows.times.values());
        let whole = column.null_count() == 0 && rows.times.null_count() == 0;
        let is_whole = whole || (method == Method::Previous { null_is_missing: false });
        let before = befores(method, column, rows, carried.is_some());
        let after = match method {
            Method::Previous { .. } => Vec::new(),
            Method::Linear => afters(column, rows),
        };
        Ok(Self { values, times, before, after, method, is_whole })
    }

    /// What is carried on after the first `rows` rows, of which there is one at least.
    pub(super) fn carry(&self, rows: Rows<'_>, count: usize) -> Result<Option<Carried>> {
        let index = self.before[count];
        if index == NONE || rows.times.is_null(count - 1) {
            return Ok(None);
        }
        // Copied, so that one value does not keep a batch.
        let value = take(&self.values, &UInt32Array::from(vec![index]), None)?;
        Ok(Some(Carried { value, time: self.times[index as usize] }))
    }
}

fn befores(method: Method, column: &ArrayRef, rows: Rows<'_>, carries: bool) -> Vec<u32> {
    let null_is_value = method == Method::Previous { null_is_missing: false };
    let mut last = if carries { 0 } else { NONE };
    let mut before = Vec::with_capacity(column.len() + 1);
    before.push(last);
    let mut starts = rows.starts.iter().copied().peekable();
    for row in 0..column.len() {
        if starts.next_if_eq(&row).is_some() {
            last = NONE;
        }
        let index = index_of_row(row);
        if rows.times.is_null(row) {
            // A row without a time is in no order: it has its own value, and gives none.
            before.push(index);
            continue;
        }
        if null_is_value || column.is_valid(row) {
            last = index;
        }
        before.push(last);
    }
    before
}

fn afters(column: &ArrayRef, rows: Rows<'_>) -> Vec<u32> {
    let mut after = vec![NONE; column.len() + 1];
    let mut next = NONE;
    let mut starts = rows.starts.iter().rev().copied().peekable();
    for row in (0..column.len()).rev() {
        let index = index_of_row(row);
        if rows.times.is_null(row) {
            after[row + 1] = index;
        } else {
            if column.is_valid(row) {
                next = index;
            }
            after[row + 1] = next;
        }
        while starts.peek().is_some_and(|start| *start > row) {
            starts.next();
        }
        if starts.next_if_eq(&row).is_some() {
            next = NONE;
        }
    }
    after
}
