//! [`Filler`]: takes batches in order, finds gaps, and gives out batches without them.
//!
//! ```text
//! input → pending rows → settled rows with their gaps → batches
//! ```
//!
//! A gap belongs to the row after it, or to the end of its series. Rows settle at once, unless a fill looks ahead: then
//! those after the last value of the open series wait until the next value, or the next series.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{cast, concat_batches, partition, take_record_batch};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::common::exec_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::metrics::{BaselineMetrics, RecordOutput};
use futures::StreamExt;
use futures::stream::{Stream, try_unfold};

use super::FILLED_ROWS_MAX;
use super::expand::{Expansion, Gap, Run};
use super::fill::{Carried, FillColumn, Layout, Method, NONE, Rows};

/// The series whose last row has been passed on.
#[derive(Debug)]
struct Open {
    /// That row.
    row: RecordBatch,
    /// Its bucket; `None` while the series has had no row with a time.
    last: Option<i128>,
    /// For every fill, the value to go on with.
    carried: Vec<Option<Carried>>,
}

/// Rows that wait, at positions from 0.
#[derive(Debug, Default)]
struct Pending {
    batches: Vec<RecordBatch>,
    rows: usize,
    /// Where series begin.
    starts: Vec<usize>,
    /// For every fill, the last row of the last series that has a value.
    valued: Vec<Option<usize>>,
}

/// Fills the gaps of one partition.
#[derive(Debug)]
pub(super) struct Filler {
    layout: Arc<Layout>,
    input_schema: SchemaRef,
    converter: Option<RowConverter>,
    rows_max: usize,
    pending: Pending,
    /// Key of the last row that came.
    key: Option<OwnedRow>,
    open: Option<Open>,
    ready: VecDeque<Expansion>,
    filled: Arc<AtomicU64>,
    reservation: MemoryReservation,
}

/// What is shared or given to a partition.
#[derive(Debug)]
pub(super) struct Resources {
    /// Rows added by all partitions.
    pub(super) filled: Arc<AtomicU64>,
    pub(super) reservation: MemoryReservation,
    /// Rows of a batch.
    pub(super) rows_max: usize,
}

impl Filler {
    /// For rows of a schema.
    pub(super) fn new(layout: Arc<Layout>, input: SchemaRef, resources: Resources) -> Result<Self> {
        let fields =
            layout.series.iter().map(|i| SortField::new(input.field(*i).data_type().clone()));
        let fields: Vec<SortField> = fields.collect();
        let converter = if fields.is_empty() { None } else { Some(RowConverter::new(fields)?) };
        let pending = Pending { valued: vec![None; layout.fills.len()], ..Pending::default() };
        Ok(Self {
            layout,
            input_schema: input,
            converter,
            rows_max: resources.rows_max.max(1),
            pending,
            key: None,
            open: None,
            ready: VecDeque::new(),
            filled: resources.filled,
            reservation: resources.reservation,
        })
    }

    fn key_of(&self, columns: &[ArrayRef], row: usize) -> Result<Option<OwnedRow>> {
        let Some(converter) = &self.converter else { return Ok(None) };
        let values: Vec<ArrayRef> = columns.iter().map(|column| column.slice(row, 1)).collect();
        Ok(Some(converter.convert_columns(&values)?.row(0).owned()))
    }

    /// Takes the next batch of the input.
    fn push(&mut self, batch: RecordBatch) -> Result<()> {
        let count = batch.num_rows();
        if count == 0 {
            return Ok(());
        }
        let columns: Vec<ArrayRef> =
            self.layout.series.iter().map(|i| Arc::clone(batch.column(*i))).collect();
        let ranges: Vec<Range<usize>> = if columns.is_empty() {
            std::iter::once(0..count).collect()
        } else {
            partition(&columns)?.ranges()
        };
        let first = self.key_of(&columns, 0)?;
        let goes_on = (self.open.is_some() || self.pending.rows > 0) && self.key == first;
        self.key = if ranges.len() == 1 { first } else { self.key_of(&columns, count - 1)? };
        let offset = self.pending.rows;
        let starts = ranges.iter().map(|range| range.start).filter(|start| *start > 0 || !goes_on);
        self.pending.starts.extend(starts.map(|start| offset + start));
        self.pending.note_values(
            &self.layout,
            &batch,
            ranges.last().map_or(0, |r| r.start),
            goes_on,
        );
        self.pending.rows += count;
        self.pending.batches.push(batch);
        let settled = self.settled();
        if settled > 0 {
            self.settle(settled)?;
        }
        self.account()
    }

    /// Rows from the first on whose values are all known.
    fn settled(&self) -> usize {
        let pending = &self.pending;
        let begin = pending.starts.last().copied();
        let fills = self.layout.fills.iter().zip(&pending.valued).enumerate();
        let looking = fills.filter(|(_, (fill, _))| fill.method == Method::Linear);
        let settled = looking.map(|(i, (_, valued))| {
            let carried = || self.open.as_ref().is_some_and(|open| open.carried[i].is_some());
            match valued {
                Some(row) => row + 1,
                // The line from the last value is not known, for want of its other end.
                None if begin.is_none() && carried() => 0,
                // Nothing before, so there is no line.
                None => pending.rows,
            }
        });
        settled.min().unwrap_or(pending.rows)
    }

    /// Passes on the first rows that wait.
    fn settle(&mut self, settled: usize) -> Result<()> {
        let source = match &self.pending.batches[..] {
            [batch] => batch.clone(),
            batches => concat_batches(&self.input_schema, batches)?,
        };
        let starts = std::mem::take(&mut self.pending.starts);
        if starts.first() == Some(&0) {
            self.close()?;
        }
        let times = cast(source.column(self.layout.time), &DataType::Int64)?;
        let rows = Rows { times: times.as_primitive::<Int64Type>(), starts: &starts };
        let mut columns = Vec::with_capacity(self.layout.fills.len());
        for (i, fill) in self.layout.fills.iter().enumerate() {
            let carried = self.open.as_ref().and_then(|open| open.carried[i].as_ref());
            columns.push(FillColumn::new(fill.method, source.column(fill.source), rows, carried)?);
        }
        let (runs, last) = self.runs(rows, settled)?;
        let carried = columns.iter().map(|column| column.carry(rows, settled));
        let carried = carried.collect::<Result<_>>()?;
        let row = u32::try_from(settled - 1).expect("a batch has fewer than 2^32 rows");
        let row = take_record_batch(&source, &UInt32Array::from(vec![row]))?;
        self.open = Some(Open { row, last, carried });
        self.pending.keep_from(settled, &source, &starts);
        self.ready.push_back(Expansion { source, columns, runs });
        Ok(())
    }

    /// Runs of the first rows, and the bucket of the last of them.
    fn runs(&self, rows: Rows<'_>, settled: usize) -> Result<(VecDeque<Run>, Option<i128>)> {
        let mut runs = VecDeque::new();
        let mut last = self.open.as_ref().and_then(|open| open.last);
        let mut after = if last.is_some() { 0 } else { NONE };
        let mut from = 0;
        let mut starts = rows.starts.iter().copied().peekable();
        for row in 0..settled {
            if starts.next_if_eq(&row).is_some() {
                // The series before the first row has been closed.
                if row > 0
                    && let Some(gap) = self.gap(last, self.layout.range.end, row - 1)?
                {
                    push_rows(&mut runs, &mut from, row);
                    runs.push_back(Run::Gap(Gap { after, ..gap }));
                }
                (last, after) = (None, NONE);
            }
            if rows.times.is_null(row) {
                continue;
            }
            let index = self.layout.grid.index_of(rows.times.value(row))?;
            let here = u32::try_from(row + 1).expect("a batch has fewer than 2^32 rows");
            if let Some(gap) = self.gap(last, index, row)? {
                push_rows(&mut runs, &mut from, row);
                runs.push_back(Run::Gap(Gap { after, before: here, ..gap }));
            }
            (last, after) = (Some(index), here);
        }
        push_rows(&mut runs, &mut from, settled);
        Ok((runs, last))
    }

    /// The buckets after `last` and before `next` that are to be there.
    fn gap(&self, last: Option<i128>, next: i128, row: usize) -> Result<Option<Gap>> {
        let range = self.layout.range;
        let first = match (last, range.first) {
            (Some(last), Some(first)) => first.max(last + 1),
            (Some(last), None) => last + 1,
            (None, Some(first)) => first,
            (None, None) => return Ok(None),
        };
        let len = next.min(range.end) - first;
        if len <= 0 {
            return Ok(None);
        }
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        let before = self.filled.fetch_add(len.min(FILLED_ROWS_MAX + 1), Ordering::Relaxed);
        if before.saturating_add(len) > FILLED_ROWS_MAX {
            return exec_err!(
                "{} would add more than {FILLED_ROWS_MAX} rows: bound the time more narrowly, or take a larger width",
                self.layout.name
            );
        }
        Ok(Some(Gap { first, len, row, after: NONE, before: NONE }))
    }

    /// Ends the open series.
    fn close(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let Some(gap) = self.gap(open.last, self.layout.range.end, 0)? else { return Ok(()) };
        let after = if open.last.is_some() { 0 } else { NONE };
        self.push_gap(Gap { after, ..gap }, open.row, &open.carried)
    }

    fn push_gap(
        &mut self,
        gap: Gap,
        source: RecordBatch,
        carried: &[Option<Carried>],
    ) -> Result<()> {
        let none = Int64Array::from(Vec::<i64>::new());
        let rows = Rows { times: &none, starts: &[] };
        let fills = self.layout.fills.iter().zip(carried);
        let columns = fills.map(|(fill, carried)| {
            let column = source.column(fill.source).slice(0, 0);
            FillColumn::new(fill.method, &column, rows, carried.as_ref())
        });
        let columns = columns.collect::<Result<_>>()?;
        self.ready.push_back(Expansion { source, columns, runs: [Run::Gap(gap)].into() });
        Ok(())
    }

    /// The input has ended.
    fn finish(&mut self) -> Result<()> {
        if self.pending.rows > 0 {
            self.settle(self.pending.rows)?;
        }
        if self.open.is_some() {
            return self.close();
        }
        if self.key.is_none()
            && self.layout.fills_nothing
            && let Some(gap) = self.gap(None, self.layout.range.end, 0)?
        {
            let source = RecordBatch::new_empty(Arc::clone(&self.input_schema));
            let carried = vec![None; self.layout.fills.len()];
            self.push_gap(gap, source, &carried)?;
        }
        Ok(())
    }

    /// Tells the memory pool what waits.
    fn account(&self) -> Result<()> {
        if !self.layout.looks_ahead() {
            return Ok(());
        }
        let bytes = self.pending.batches.iter().map(RecordBatch::get_array_memory_size).sum();
        self.reservation.try_resize(bytes)
    }

    fn next(&mut self) -> Result<Option<RecordBatch>> {
        while let Some(expansion) = self.ready.front_mut() {
            if let Some(batch) = expansion.next(&self.layout, self.rows_max)? {
                return Ok(Some(batch));
            }
            self.ready.pop_front();
        }
        Ok(None)
    }
}

fn push_rows(runs: &mut VecDeque<Run>, from: &mut usize, until: usize) {
    if *from < until {
        runs.push_back(Run::Rows { from: *from, len: until - *from });
        *from = until;
    }
}

impl Pending {
    /// Notes the last values of a batch that is about to be added, whose last series begins at `begin`.
    fn note_values(&mut self, layout: &Layout, batch: &RecordBatch, begin: usize, goes_on: bool) {
        let is_new = begin > 0 || !goes_on;
        for (fill, valued) in layout.fills.iter().zip(&mut self.valued) {
            if is_new {
                *valued = None;
            }
            let (column, times) = (batch.column(fill.source), batch.column(layout.time));
            let has_value = |row: &usize| column.is_valid(*row) && times.is_valid(*row);
            if let Some(row) = (begin..batch.num_rows()).rev().find(has_value) {
                *valued = Some(self.rows + row);
            }
        }
    }

    /// Drops the first rows of all that wait.
    fn keep_from(&mut self, settled: usize, all: &RecordBatch, starts: &[usize]) {
        let rest = all.num_rows() - settled;
        self.batches = if rest == 0 { Vec::new() } else { vec![all.slice(settled, rest)] };
        self.rows = rest;
        self.starts = starts.iter().filter_map(|start| start.checked_sub(settled)).collect();
        for valued in &mut self.valued {
            *valued = valued.and_then(|row| row.checked_sub(settled));
        }
    }
}

/// The batches of a partition, filled.
pub(super) fn fill_stream(
    filler: Filler,
    input: SendableRecordBatchStream,
    metrics: BaselineMetrics,
) -> impl Stream<Item = Result<RecordBatch>> {
    try_unfold((filler, Some(input), metrics), |(mut filler, mut input, metrics)| async move {
        loop {
            let next = {
                let _timer = metrics.elapsed_compute().timer();
                filler.next()?
            };
            if let Some(batch) = next {
                let batch = batch.record_output(&metrics);
                return Ok::<_, DataFusionError>(Some((batch, (filler, input, metrics))));
            }
            let Some(stream) = &mut input else { return Ok(None) };
            let batch = stream.next().await.transpose()?;
            let _timer = metrics.elapsed_compute().timer();
            if let Some(batch) = batch {
                filler.push(batch)?;
            } else {
                input = None;
                filler.finish()?;
            }
        }
    })
}
