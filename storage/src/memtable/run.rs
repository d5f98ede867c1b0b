//! An immutable run: sorted rows of several series, one row per key.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, BinaryBuilder};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use crate::batch::{Nulls, RowBatch, array_bytes, field_type};
use crate::rows::{Block, Head, Layout, Picks, Piece, PieceStream, gather_block};
use crate::scan::TimeRange;
use crate::{ColumnId, Error, FieldType, SeriesKey};

/// Sorted rows of one table and time slice.
#[derive(Debug)]
pub(crate) struct Run {
    layout: Layout,
    block: Arc<Block>,
    /// Ascending; each has rows.
    series: Vec<SeriesKey>,
    /// Where each series' rows start, and one more: where the last one's end.
    starts: Vec<u32>,
    time: TimeRange,
    bytes: u64,
}

impl Run {
    /// Makes a run of a sorted batch with rows. Also returns how many rows were folded into others.
    pub(crate) fn from_batch(batch: &RowBatch) -> Result<(Self, usize), Error> {
        let fields = batch.fields.iter().map(|(id, array)| Ok((*id, stored(array)?)));
        let fields: Vec<(ColumnId, ArrayRef)> = fields.collect::<Result<_, Error>>()?;
        let layout = fields.iter().map(|(id, array)| {
            let kind = field_type(array);
            kind.map(|kind| (*id, kind)).ok_or_else(|| {
                Error::Internal(format!("column {} has type {}", id.0, array.data_type()))
            })
        });
        let layout: Layout = layout.collect::<Result<_, Error>>()?;
        let cleared = match batch.nulls {
            Nulls::Absent => None,
            Nulls::Explicit => cleared_by_nulls(&fields, batch.rows()),
        };
        let block = Block {
            time: batch.times().to_vec().into(),
            fields: fields.into_iter().map(|(_, array)| Some(array)).collect(),
            cleared,
        };
        let numbers = batch.series_of_row.values();
        let same =
            |row: usize| numbers[row] == numbers[row - 1] && block.time[row] == block.time[row - 1];
        if (1..block.rows()).any(same) {
            return Ok(Self::fold_batch(batch, &layout, &block));
        }
        let mut series = Vec::new();
        let mut starts = Vec::new();
        for (row, number) in (0u32..).zip(numbers) {
            if row == 0 || numbers[row as usize - 1] != *number {
                series.push(batch.series[*number as usize].clone());
                starts.push(row);
            }
        }
        Ok((Self::new(layout, block, series, starts), 0))
    }

    fn fold_batch(batch: &RowBatch, layout: &Layout, block: &Block) -> (Self, usize) {
        let numbers = batch.series_of_row.values();
        let (mut series, mut starts) = (Vec::new(), Vec::new());
        let mut picks = Picks::default();
        let mut row = 0;
        while row < block.rows() {
            let key = (numbers[row], block.time[row]);
            let len =
                (row..block.rows()).take_while(|at| (numbers[*at], block.time[*at]) == key).count();
            if row == 0 || numbers[row - 1] != key.0 {
                series.push(batch.series[key.0 as usize].clone());
                starts.push(start(picks.rows()));
            }
            if len == 1 {
                picks.push(0, row, 1);
            } else {
                picks.push_group((row..row + len).rev().map(|row| (0, row)));
            }
            row += len;
        }
        let folded = gather_block(&[block], layout, &picks, true);
        (Self::new(Arc::clone(layout), folded, series, starts), picks.rows_folded())
    }

    /// From parts; `starts` lacks its last element.
    pub(crate) fn new(
        layout: Layout,
        block: Block,
        series: Vec<SeriesKey>,
        mut starts: Vec<u32>,
    ) -> Self {
        starts.push(start(block.rows()));
        let time = TimeRange {
            start: block.time.iter().copied().min().unwrap_or(i64::MAX),
            end: block.time.iter().copied().max().unwrap_or(i64::MIN),
        };
        let fields: usize = block.fields.iter().flatten().map(array_bytes).sum();
        let keys: usize = series.iter().map(|key| key.as_bytes().len() + 40).sum();
        let cleared = block.cleared.as_ref().map_or(0, |marks| marks.value_data().len());
        let bytes = (block.rows() * 8 + fields + keys + cleared) as u64;
        Self { layout, block: Arc::new(block), series, starts, time, bytes }
    }

    /// Merges runs, which stand old to new, into one. Also returns how many rows were folded into others.
    pub(super) fn merge(runs: &[Arc<Self>]) -> (Self, usize) {
        let layout = union_layout(runs.iter().map(|run| &run.layout));
        let blocks: Vec<Block> = runs.iter().map(|run| run.project(&layout)).collect();
        let blocks: Vec<&Block> = blocks.iter().collect();
        let mut order: Vec<(&SeriesKey, usize, usize)> = Vec::new();
        for (source, run) in runs.iter().enumerate() {
            order.extend(run.series.iter().enumerate().map(|(at, key)| (key, source, at)));
        }
        // Stable, and made for ascending stretches: equal keys stay old to new.
        order.sort_by_key(|(key, ..)| *key);

        let (mut series, mut starts) = (Vec::new(), Vec::new());
        let mut picks = Picks::default();
        let mut heads: Vec<Head<'_>> = Vec::new();
        for same in order.chunk_by(|(a, ..), (b, ..)| a == b) {
            series.push(same[0].0.clone());
            starts.push(start(picks.rows()));
            heads.extend(same.iter().map(|(_, source, at)| {
                let rows = runs[*source].rows_of(*at);
                let times: &[i64] = &runs[*source].block.time;
                Head { source: start(*source), times, next: rows.start, end: rows.end }
            }));
            picks.merge(&mut heads);
        }
        let block = gather_block(&blocks, &layout, &picks, true);
        (Self::new(layout, block, series, starts), picks.rows_folded())
    }

    /// The run without the rows of these series and times; `None` if that is the run itself. An empty run has no rows.
    pub(super) fn without(
        &self,
        selection: Option<&BTreeSet<SeriesKey>>,
        time: TimeRange,
    ) -> Option<Self> {
        if !time.overlaps(self.time) {
            return None;
        }
        let (mut series, mut starts) = (Vec::new(), Vec::new());
        let mut picks = Picks::default();
        for (at, key) in self.series.iter().enumerate() {
            let rows = self.rows_of(at);
            let before = picks.rows();
            let mut hidden = rows.end..rows.end;
            if selection.is_none_or(|selection| selection.contains(key)) {
                let times = &self.block.time[rows.clone()];
                hidden.start = rows.start + times.partition_point(|t| *t < time.start);
                hidden.end = rows.start + times.partition_point(|t| *t <= time.end);
                hidden.end = hidden.end.max(hidden.start);
            }
            for kept in [rows.start..hidden.start, hidden.end..rows.end] {
                if !kept.is_empty() {
                    picks.push(0, kept.start, kept.len());
                }
            }
            if picks.rows() > before {
                series.push(key.clone());
                starts.push(start(before));
            }
        }
        if picks.rows() == self.rows() {
            return None;
        }
        let block = gather_block(&[&self.block], &self.layout, &picks, true);
        Some(Self::new(Arc::clone(&self.layout), block, series, starts))
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.block.rows()
    }
    /// Bytes, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
    /// Earliest and latest time.
    pub(crate) fn time(&self) -> TimeRange {
        self.time
    }
    /// Earliest and latest time of the series at a place.
    pub(crate) fn time_of(&self, at: usize) -> TimeRange {
        let rows = self.rows_of(at);
        TimeRange { start: self.block.time[rows.start], end: self.block.time[rows.end - 1] }
    }
    /// Fields that some row may carry.
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }
    /// Whether some row has explicitly cleared fields.
    pub(crate) fn has_cleared(&self) -> bool {
        self.block.cleared.is_some()
    }
    /// The series, ascending.
    pub(crate) fn series(&self) -> &[SeriesKey] {
        &self.series
    }
    /// Rows of the series at a place of [`Run::series`].
    pub(crate) fn rows_of(&self, at: usize) -> Range<usize> {
        self.starts[at] as usize..self.starts[at + 1] as usize
    }
    /// The rows.
    pub(super) fn block(&self) -> &Block {
        &self.block
    }

    /// The columns of another layout.
    pub(crate) fn project(&self, layout: &Layout) -> Block {
        let field = |id: ColumnId| {
            let position = self.layout.binary_search_by_key(&id, |(id, _)| *id).ok()?;
            self.block.fields[position].clone()
        };
        Block {
            time: self.block.time.clone(),
            fields: layout.iter().map(|(id, _)| field(*id)).collect(),
            cleared: self.block.cleared.clone(),
        }
    }

    /// All rows, with the fields of `layout`.
    pub(crate) fn stream(self: &Arc<Self>, layout: &Layout) -> PieceStream {
        let rows = (0..self.series.len()).map(|at| (at, self.rows_of(at))).collect();
        self.pieces(Arc::new(self.project(layout)), rows)
    }

    /// These rows of the series at these places of [`Run::series`], of its block as [`Run::project`] gives it.
    pub(crate) fn pieces(
        self: &Arc<Self>,
        block: Arc<Block>,
        rows: Vec<(usize, Range<usize>)>,
    ) -> PieceStream {
        let run = Arc::clone(self);
        Box::new(rows.into_iter().map(move |(at, rows)| {
            Ok(Piece { key: run.series[at].clone(), block: Arc::clone(&block), rows })
        }))
    }
}

/// All fields of several layouts. One id has one type: types never change.
pub(crate) fn union_layout<'a>(layouts: impl Iterator<Item = &'a Layout>) -> Layout {
    let mut all: Vec<(ColumnId, FieldType)> =
        layouts.flat_map(|layout| layout.iter().copied()).collect();
    all.sort_unstable();
    all.dedup_by_key(|(id, _)| *id);
    all.into()
}

fn start(row: usize) -> u32 {
    u32::try_from(row).expect("a run has fewer than 2^32 rows")
}

/// A field's array as the store keeps it: text as views.
fn stored(array: &ArrayRef) -> Result<ArrayRef, Error> {
    match array.data_type() {
        DataType::Utf8 => Ok(cast(array, &DataType::Utf8View)?),
        _ => Ok(Arc::clone(array)),
    }
}

/// Marks of the fields that are null, where nulls are explicit.
fn cleared_by_nulls(fields: &[(ColumnId, ArrayRef)], rows: usize) -> Option<BinaryArray> {
    if fields.iter().all(|(_, array)| array.null_count() == 0) {
        return None;
    }
    let mut marks = BinaryBuilder::with_capacity(rows, rows * 4);
    let mut ids = Vec::new();
    for row in 0..rows {
        ids.clear();
        for (id, array) in fields {
            if array.is_null(row) {
                ids.extend_from_slice(&id.0.to_be_bytes());
            }
        }
        if ids.is_empty() { marks.append_null() } else { marks.append_value(&ids) }
    }
    Some(marks.finish())
}
