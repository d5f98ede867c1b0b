//! [`Expansion`]: rows and gaps that are known, given out in batches of bounded size.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, Int64Builder, RecordBatch, UInt32Array,
    new_null_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::kernels::zip::zip;
use arrow::compute::{cast, take};
use arrow::datatypes::Int64Type;
use datafusion::common::exec_err;
use datafusion::error::Result;

use super::fill::{FillColumn, Layout, Method, NONE};
use super::interpolate::{Between, interpolate};

/// A stretch of what comes out.
#[derive(Debug, Clone, Copy)]
pub(super) enum Run {
    /// Rows as they came.
    Rows { from: usize, len: usize },
    /// Rows that are added.
    Gap(Gap),
}

/// Buckets without rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gap {
    pub(super) first: i128,
    pub(super) len: u64,
    /// A row of the same series.
    pub(super) row: usize,
    /// Indexes, as [`FillColumn`] counts, of the rows that the gap is between.
    pub(super) after: u32,
    pub(super) before: u32,
}

/// Runs over the rows of `source`.
#[derive(Debug)]
pub(super) struct Expansion {
    pub(super) source: RecordBatch,
    pub(super) columns: Vec<FillColumn>,
    pub(super) runs: VecDeque<Run>,
}

/// What one batch is made from, row by row.
#[derive(Debug, Default)]
struct Picks {
    /// Row of the source whose values it has, or [`NONE`].
    values: Vec<u32>,
    /// Row of the source that is of its series.
    series: Vec<u32>,
    times: Int64Builder,
    /// For every fill, where values before and after are.
    places: Vec<Vec<Between>>,
}

impl Expansion {
    /// The next batch of at most `rows_max` rows.
    pub(super) fn next(&mut self, layout: &Layout, rows_max: usize) -> Result<Option<RecordBatch>> {
        let is_last = self.runs.len() == 1;
        match self.runs.front_mut() {
            None => Ok(None),
            Some(Run::Rows { from, len }) if *len >= rows_max || is_last => {
                let (begin, count) = (*from, (*len).min(rows_max));
                *from += count;
                *len -= count;
                let is_done = *len == 0;
                if is_done {
                    self.runs.pop_front();
                }
                self.rows(layout, begin, count).map(Some)
            }
            Some(Run::Rows { .. } | Run::Gap(_)) => {
                let picks = self.pick(layout, rows_max)?;
                self.build(layout, picks).map(Some)
            }
        }
    }

    /// Rows as they came, without a copy where fills have nothing to do.
    fn rows(&self, layout: &Layout, from: usize, len: usize) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> =
            self.source.columns().iter().map(|column| column.slice(from, len)).collect();
        for column in &self.columns {
            columns.push(if column.is_whole {
                column.values.slice(from + 1, len)
            } else {
                let places = (from..from + len).map(|row| column.of_row(row)).collect::<Vec<_>>();
                column.pick(&places)?
            });
        }
        if layout.marks {
            columns.push(Arc::new(BooleanArray::from(vec![false; len])));
        }
        Ok(RecordBatch::try_new(Arc::clone(&layout.schema), columns)?)
    }

    fn pick(&mut self, layout: &Layout, rows_max: usize) -> Result<Picks> {
        let times = cast(self.source.column(layout.time), &arrow::datatypes::DataType::Int64)?;
        let times: &Int64Array = times.as_primitive::<Int64Type>();
        let mut picks = Picks { places: vec![Vec::new(); self.columns.len()], ..Picks::default() };
        while picks.values.len() < rows_max {
            let room = rows_max - picks.values.len();
            let Some(run) = self.runs.front_mut() else { break };
            let is_done = match run {
                Run::Rows { from, len } => {
                    let count = (*len).min(room);
                    picks.add_rows(times, &self.columns, *from..*from + count);
                    *from += count;
                    *len -= count;
                    *len == 0
                }
                Run::Gap(gap) => {
                    let count = gap.len.min(room as u64);
                    picks.add_gap(layout, &self.columns, Gap { len: count, ..*gap })?;
                    gap.first += i128::from(count);
                    gap.len -= count;
                    gap.len == 0
                }
            };
            if is_done {
                self.runs.pop_front();
            }
        }
        Ok(picks)
    }

    fn build(&self, layout: &Layout, mut picks: Picks) -> Result<RecordBatch> {
        let filled: BooleanArray = picks.values.iter().map(|row| Some(*row == NONE)).collect();
        let times: ArrayRef = Arc::new(picks.times.finish());
        let (values, series) = (indexes(&picks.values), indexes(&picks.series));
        let mut columns = Vec::with_capacity(layout.schema.fields().len());
        for (i, column) in self.source.columns().iter().enumerate() {
            columns.push(if i == layout.time {
                cast(&times, column.data_type())?
            } else if layout.series.contains(&i) {
                pick_of(column, &series)?
            } else {
                let picked = pick_of(column, &values)?;
                match &layout.empty[i] {
                    empty if empty.is_null() => picked,
                    empty => zip(&filled, &empty.to_scalar()?, &picked)?,
                }
            });
        }
        for (column, places) in self.columns.iter().zip(&picks.places) {
            columns.push(column.pick(places)?);
        }
        if layout.marks {
            columns.push(Arc::new(filled));
        }
        Ok(RecordBatch::try_new(Arc::clone(&layout.schema), columns)?)
    }
}

/// Positions, those that are [`NONE`] null.
fn indexes(rows: &[u32]) -> UInt32Array {
    let nulls = NullBuffer::from(rows.iter().map(|row| *row != NONE).collect::<Vec<bool>>());
    let values: Vec<u32> = rows.iter().map(|row| if *row == NONE { 0 } else { *row }).collect();
    UInt32Array::new(values.into(), Some(nulls))
}

fn pick_of(column: &ArrayRef, rows: &UInt32Array) -> Result<ArrayRef> {
    if column.is_empty() {
        return Ok(new_null_array(column.data_type(), rows.len()));
    }
    Ok(take(column, rows, None)?)
}

impl Picks {
    fn add_rows(
        &mut self,
        times: &Int64Array,
        columns: &[FillColumn],
        rows: std::ops::Range<usize>,
    ) {
        for row in rows.clone() {
            let index = u32::try_from(row).expect("a batch has fewer than 2^32 rows");
            self.values.push(index);
            self.series.push(index);
            self.times.append_option(times.is_valid(row).then(|| times.value(row)));
        }
        for (column, places) in columns.iter().zip(&mut self.places) {
            places.extend(rows.clone().map(|row| column.of_row(row)));
        }
    }

    fn add_gap(&mut self, layout: &Layout, columns: &[FillColumn], gap: Gap) -> Result<()> {
        let row = u32::try_from(gap.row).expect("a batch has fewer than 2^32 rows");
        for step in 0..gap.len {
            let Some(time) = layout.grid.start(gap.first + i128::from(step)) else {
                return exec_err!("{}: a bucket begins out of the range of its type", layout.name);
            };
            self.values.push(NONE);
            self.series.push(row);
            self.times.append_value(time);
            for (column, places) in columns.iter().zip(&mut self.places) {
                places.push(column.of_gap(gap, time));
            }
        }
        Ok(())
    }
}

impl FillColumn {
    fn of_row(&self, row: usize) -> Between {
        let index = row + 1;
        let before = self.before[index];
        let after = match self.method {
            Method::Previous { .. } => before,
            Method::Linear => self.after[index],
        };
        Between { before, after, time: self.times[index] }
    }

    fn of_gap(&self, gap: Gap, time: i64) -> Between {
        let before = if gap.after == NONE { NONE } else { self.before[gap.after as usize] };
        let after = match self.method {
            Method::Previous { .. } => before,
            Method::Linear if gap.before == NONE => NONE,
            Method::Linear => self.after[gap.before as usize],
        };
        Between { before, after, time }
    }

    fn pick(&self, places: &[Between]) -> Result<ArrayRef> {
        match self.method {
            Method::Previous { .. } => {
                let rows: Vec<u32> = places.iter().map(|place| place.before).collect();
                pick_of(&self.values, &indexes(&rows))
            }
            Method::Linear => interpolate(&self.values, &self.times, places),
        }
    }
}
