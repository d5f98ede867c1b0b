//! Makes record batches of merged pieces: the one place where tags become columns.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use arrow::array::{
    Array, ArrayRef, AsArray, TimestampNanosecondArray, UInt32Array, new_null_array,
};
use arrow::compute::take;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use quorate_segment::ValueRange;

use super::partition::{OutputColumn, PartitionPlan};
use super::series::tag_columns;
use crate::rows::{
    Block, Merge, MergeCounts, Piece, Slice, arrow_type, gather_field, gather_times, utc,
};
use crate::{Error, SeriesKey};

/// Rows of a batch.
const BATCH_ROWS: usize = 8192;
/// Rows of one slice from which on they are a batch of their own, rather than copied together with what follows.
const SLICE_ROWS: usize = 2048;
/// Blocks that a piece is looked for among, so that pieces of one block share a source.
const RECENT: usize = 8;
/// Rows that there are for each run of wanted ones of a piece, at least, for it to be cut: to copy many short runs takes
/// longer than to filter them later.
const RUN_ROWS_MIN: usize = 4;

/// Batches of one partition.
#[derive(Debug)]
pub(super) struct Assembler {
    plan: Arc<PartitionPlan>,
    merge: Merge,
    /// Values without which rows are left out, by places in the layout.
    values: Vec<(usize, ValueRange)>,
    /// Pieces that were cut, the next one last.
    cut: Vec<Piece>,
    rest: Option<Piece>,
    /// Tag columns of the last batches that have one text throughout, by their position in the series key.
    repeated: BTreeMap<usize, ArrayRef>,
    rows_left: usize,
    counted: MergeCounts,
}

/// Pieces of one batch, with blocks and series told apart.
#[derive(Debug, Default)]
struct Pieces {
    blocks: Vec<Arc<Block>>,
    slices: Vec<Slice>,
    /// Series in order, with the number of their rows.
    series: Vec<(SeriesKey, usize)>,
    rows: usize,
}

impl Pieces {
    /// Whether it is worth more as it is than with this piece, which would have to be copied next to it.
    fn is_complete_before(&self, piece: &Piece) -> bool {
        let [only] = self.slices[..] else { return false };
        let goes_on = self.blocks.last().is_some_and(|block| Arc::ptr_eq(block, &piece.block))
            && only.range().end == piece.rows.start;
        self.rows >= SLICE_ROWS && !goes_on
    }

    fn push(&mut self, piece: Piece) {
        let recent = self.blocks.len().saturating_sub(RECENT);
        let known = self.blocks[recent..].iter().rposition(|b| Arc::ptr_eq(b, &piece.block));
        let number = |at: usize| u32::try_from(at).expect("a batch has few rows");
        let source = number(known.map_or(self.blocks.len(), |at| recent + at));
        if known.is_none() {
            self.blocks.push(Arc::clone(&piece.block));
        }
        let (start, len) = (number(piece.rows.start), number(piece.len()));
        self.rows += piece.len();
        match self.series.last_mut() {
            Some((key, rows)) if *key == piece.key => *rows += piece.len(),
            _ => self.series.push((piece.key, piece.rows.len())),
        }
        match self.slices.last_mut() {
            Some(last) if last.source == source && last.start + last.len == start => {
                last.len += len;
            }
            _ => self.slices.push(Slice { source, start, len }),
        }
    }
}

impl Assembler {
    pub(super) fn new(plan: Arc<PartitionPlan>, merge: Merge) -> Self {
        let rows_left = plan.limit.unwrap_or(usize::MAX);
        let (repeated, counted) = (BTreeMap::new(), MergeCounts::default());
        let place = |id| plan.layout.iter().position(|(field, _)| *field == id);
        let values = plan.values.iter();
        let values =
            values.filter_map(|range| Some((place(range.field)?, range.clone()))).collect();
        let (cut, rest) = (Vec::new(), None);
        Self { plan, merge, values, cut, rest, repeated, rows_left, counted }
    }

    /// The next rows that are wanted.
    fn next_piece(&mut self) -> Result<Option<Piece>, Error> {
        loop {
            if let Some(piece) = self.rest.take().or_else(|| self.cut.pop()) {
                return Ok(Some(piece));
            }
            let Some(piece) = self.merge.next().transpose()? else { return Ok(None) };
            if self.values.is_empty() {
                return Ok(Some(piece));
            }
            self.cut = with_values(piece, &self.values);
        }
    }

    fn step(&mut self) -> Result<Option<RecordBatch>, Error> {
        let mut pieces = Pieces::default();
        let wanted = self.rows_left.min(BATCH_ROWS);
        while pieces.rows < wanted {
            let Some(piece) = self.next_piece()? else { break };
            if pieces.is_complete_before(&piece) {
                self.rest = Some(piece);
                break;
            }
            let (piece, rest) = piece.split_off_front(wanted - pieces.rows);
            self.rest = rest;
            pieces.push(piece);
        }
        self.count();
        if pieces.rows == 0 {
            return Ok(None);
        }
        self.rows_left -= pieces.rows;
        self.assemble(&pieces).map(Some)
    }

    fn assemble(&mut self, pieces: &Pieces) -> Result<RecordBatch, Error> {
        let blocks: Vec<&Block> = pieces.blocks.iter().map(|block| &**block).collect();
        let mut tags = self.tags(pieces)?.into_iter();
        let columns = self.plan.columns.iter().map(|column| match *column {
            OutputColumn::Time => {
                let times = gather_times(&blocks, &pieces.slices, pieces.rows);
                Arc::new(utc(TimestampNanosecondArray::new(times, None))) as ArrayRef
            }
            OutputColumn::Tag(_) => tags.next().expect("one per tag column"),
            OutputColumn::Field(at, kind) => {
                let arrays: Vec<_> = blocks.iter().map(|block| block.fields[at].as_ref()).collect();
                gather_field(kind, &arrays, &pieces.slices, pieces.rows)
                    .unwrap_or_else(|| new_null_array(&arrow_type(kind), pieces.rows))
            }
        });
        let options = RecordBatchOptions::new().with_row_count(Some(pieces.rows));
        let (schema, columns) = (Arc::clone(&self.plan.schema), columns.collect());
        Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
    }

    /// The tag columns among the wanted ones: each text is written once per series, then only views are repeated.
    fn tags(&mut self, pieces: &Pieces) -> Result<Vec<ArrayRef>, Error> {
        let mut positions = Vec::new();
        for column in &self.plan.columns {
            match column {
                OutputColumn::Tag(position) => positions.push(*position),
                OutputColumn::Time | OutputColumn::Field(..) => {}
            }
        }
        if positions.is_empty() {
            return Ok(vec![]);
        }
        let mut distinct = positions.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let columns = tag_columns(pieces.series.iter().map(|(key, _)| key), &distinct);
        let numbers = LazyCell::new(|| {
            let numbers = (0u32..).zip(&pieces.series);
            let numbers = numbers.flat_map(|(n, (_, rows))| std::iter::repeat_n(n, *rows));
            UInt32Array::from_iter_values(numbers)
        });
        let columns = columns.into_iter().zip(&distinct).map(|(column, position)| {
            if column.len() == pieces.rows {
                return Ok(column);
            }
            if is_one_text(&column) {
                return self.repeated(*position, &column, pieces.rows);
            }
            Ok(take(&column, &*numbers, None)?)
        });
        let columns = columns.collect::<Result<Vec<_>, Error>>()?;
        let place = |position| distinct.binary_search(position).expect("it is one of them");
        Ok(positions.iter().map(|position| Arc::clone(&columns[place(position)])).collect())
    }

    /// A tag column of so many rows that all have the first text of a column. Neighbouring series share most of their
    /// tags, so such a column is made once and cut to length while its text stays the same.
    fn repeated(
        &mut self,
        position: usize,
        column: &ArrayRef,
        rows: usize,
    ) -> Result<ArrayRef, Error> {
        let text = |array: &ArrayRef| {
            let array = array.as_string_view();
            array.is_valid(0).then(|| array.value(0).to_owned())
        };
        if let Some(known) = self.repeated.get(&position)
            && known.len() >= rows
            && text(known) == text(column)
        {
            return Ok(known.slice(0, rows));
        }
        let made = take(column, &UInt32Array::from_value(0, rows), None)?;
        self.repeated.insert(position, Arc::clone(&made));
        Ok(made)
    }

    fn count(&mut self) {
        let counts = self.merge.counts();
        let counters = &self.plan.counters;
        counters.rows_decoded.fetch_add(counts.rows_in - self.counted.rows_in, Relaxed);
        let merged = counts.rows_overlapping - self.counted.rows_overlapping;
        counters.rows_merged.fetch_add(merged, Relaxed);
        self.counted = counts;
    }
}

/// The runs of a piece's rows that have values, the first one last; all of it where they are short.
fn with_values(piece: Piece, values: &[(usize, ValueRange)]) -> Vec<Piece> {
    let mut kept = vec![true; piece.len()];
    for (place, range) in values {
        match &piece.block.fields[*place] {
            Some(array) => range.narrow_rows(array, piece.rows.start, &mut kept),
            None => return Vec::new(),
        }
    }
    let mut runs = Vec::new();
    let mut row = 0;
    for run in kept.chunk_by(|a, b| a == b) {
        let start = piece.rows.start + row;
        row += run.len();
        if run[0] {
            runs.push(start..start + run.len());
        }
    }
    if runs.len() * RUN_ROWS_MIN > piece.len() {
        return vec![piece];
    }
    let cut = |rows| Piece { key: piece.key.clone(), block: Arc::clone(&piece.block), rows };
    runs.into_iter().rev().map(cut).collect()
}

/// Whether a tag is the same, or absent, in all series of a column.
fn is_one_text(column: &ArrayRef) -> bool {
    let column = column.as_string_view();
    let mut texts = column.iter();
    let first = texts.next();
    texts.all(|text| Some(text) == first)
}

impl Iterator for Assembler {
    type Item = Result<RecordBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rows_left == 0 {
            return None;
        }
        let step = self.step().transpose();
        if matches!(step, Some(Err(_))) {
            self.rows_left = 0;
        }
        step
    }
}
