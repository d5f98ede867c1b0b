//! Cuts a stream of sorted rows into batches and row groups.
//!
//! The borders are a function of the rows alone (the tests push the same rows in every cut):
//!
//! - a batch ends after [`BATCH_ROWS`] rows, or before the row at which its text reaches [`BATCH_TEXT_BYTES`], or
//!   where its row group ends;
//! - a row group ends where a series begins, once it has [`GROUP_ROWS`] rows; inside a series only after
//!   [`GROUP_ROWS_MAX`] rows, or after the batch at which it reaches [`GROUP_BYTES_MAX`] bytes of raw values.

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, make_array, new_null_array};
use arrow::compute::concat;
use arrow::datatypes::{DataType, TimestampNanosecondType};

use crate::SeriesKey;
use crate::rows::{Batch, Run, SeriesRows};

/// Rows of a batch; a multiple of the rows of a page, so that the pages of all columns begin at the same rows.
pub(crate) const BATCH_ROWS: usize = 8_192;
/// Text in a batch at which it ends early.
const BATCH_TEXT_BYTES: usize = 16 << 20;
/// Rows after which a row group ends at the next series.
pub(crate) const GROUP_ROWS: usize = 128 << 10;
/// Rows after which a row group ends in any case.
pub(crate) const GROUP_ROWS_MAX: usize = 256 << 10;
/// Raw bytes after which a row group ends with the batch.
const GROUP_BYTES_MAX: usize = 64 << 20;

/// The rows of one row group.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) batches: Vec<Batch>,
}

/// Collects rows until a row group is full.
#[derive(Debug, Default)]
pub(crate) struct Grouper {
    /// Pieces of the batch that is being collected.
    pieces: Vec<SeriesRows>,
    piece_rows: usize,
    piece_text: usize,
    /// Ended batches of the group.
    batches: Vec<Batch>,
    rows: usize,
    bytes: usize,
    /// Series of the last row.
    last: Option<SeriesKey>,
}

impl Grouper {
    /// Rows collected and not taken yet.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Whether the group ends before a row of series `next`.
    pub(crate) fn is_full(&self, next: &SeriesKey) -> bool {
        let at_batch_end = self.pieces.is_empty();
        self.rows >= GROUP_ROWS_MAX
            || (at_batch_end && self.bytes >= GROUP_BYTES_MAX)
            || (self.rows >= GROUP_ROWS && self.last.as_ref() != Some(next))
    }

    /// Adds rows from `offset` on, as many as go into the batch, and says how many. The group must not be full.
    pub(crate) fn add(&mut self, rows: &SeriesRows, offset: usize) -> usize {
        let room = (BATCH_ROWS - self.piece_rows).min(GROUP_ROWS_MAX - self.rows);
        let wanted = room.min(rows.rows() - offset);
        let (taken, text) =
            rows_within(&rows.fields, offset, wanted, BATCH_TEXT_BYTES - self.piece_text);
        self.pieces.push(rows.slice(offset, taken));
        self.piece_rows += taken;
        self.piece_text += text;
        self.rows += taken;
        self.bytes += text + taken * 8 * (rows.fields.len() + 1);
        if self.last.as_ref() != Some(&rows.key) {
            self.last = Some(rows.key.clone());
        }
        if self.piece_rows == BATCH_ROWS
            || self.piece_text >= BATCH_TEXT_BYTES
            || self.rows == GROUP_ROWS_MAX
        {
            self.end_batch();
        }
        taken
    }

    /// Takes what was collected as a row group.
    pub(crate) fn take(&mut self) -> Group {
        if !self.pieces.is_empty() {
            self.end_batch();
        }
        self.rows = 0;
        self.bytes = 0;
        Group { batches: std::mem::take(&mut self.batches) }
    }

    fn end_batch(&mut self) {
        let pieces = std::mem::take(&mut self.pieces);
        let fields = (0..pieces[0].fields.len())
            .map(|i| join(pieces.iter().map(|piece| &piece.fields[i])))
            .collect();
        let mut runs: Vec<Run> = Vec::new();
        for piece in &pieces {
            match runs.last_mut() {
                Some(run) if run.key == piece.key => run.rows += piece.rows(),
                _ => runs.push(Run { key: piece.key.clone(), rows: piece.rows() }),
            }
        }
        let time = join(pieces.iter().map(|piece| &piece.time));
        self.batches.push(Batch {
            runs,
            time: time.as_primitive::<TimestampNanosecondType>().clone(),
            fields,
            cleared: join_cleared(&pieces),
        });
        self.piece_rows = 0;
        self.piece_text = 0;
    }
}

/// How many rows from `offset` on, at most `rows`, until the text among the fields reaches `text_bytes`, and the text
/// in them. The row that reaches it is included.
fn rows_within(
    fields: &[ArrayRef],
    offset: usize,
    rows: usize,
    text_bytes: usize,
) -> (usize, usize) {
    let views: Vec<_> = fields.iter().filter_map(|field| field.as_string_view_opt()).collect();
    if views.is_empty() {
        return (rows, 0);
    }
    let mut text = 0;
    for row in 0..rows {
        for view in &views {
            // The low 32 bits of a view are its length; a null's view counts nothing.
            if view.is_valid(offset + row) {
                text += (view.views()[offset + row] & u128::from(u32::MAX)) as usize;
            }
        }
        if text >= text_bytes {
            return (row + 1, text);
        }
    }
    (rows, text)
}

fn join<'a>(arrays: impl Iterator<Item = &'a ArrayRef>) -> ArrayRef {
    let arrays: Vec<&dyn Array> = arrays.map(AsRef::as_ref).collect();
    let joined = concat(&arrays).expect("arrays of one type join: the text in a batch is bounded");
    without_idle_nulls(joined)
}

/// Drops a null buffer that marks no null: whether there is one depends on how the rows were cut, and the encoder takes
/// another path with it.
fn without_idle_nulls(array: ArrayRef) -> ArrayRef {
    if array.nulls().is_none_or(|nulls| nulls.null_count() > 0) {
        return array;
    }
    let plain = array.to_data().into_builder().nulls(None).build();
    make_array(plain.expect("an array stays valid without a null buffer that marks nothing"))
}

fn join_cleared(pieces: &[SeriesRows]) -> Option<BinaryArray> {
    if pieces.iter().all(|piece| {
        piece.cleared.as_ref().is_none_or(|cleared| cleared.null_count() == cleared.len())
    }) {
        return None;
    }
    let arrays: Vec<ArrayRef> = pieces
        .iter()
        .map(|piece| match &piece.cleared {
            Some(cleared) => ArrayRef::clone(cleared),
            None => new_null_array(&DataType::Binary, piece.rows()),
        })
        .collect();
    Some(join(arrays.iter()).as_binary::<i32>().clone())
}
