//! Columns of rows, and the pieces of them that flow.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, TimestampNanosecondArray, new_null_array};
use arrow::buffer::ScalarBuffer;
use quorate_segment::SeriesRows;

use super::gather::{arrow_type, utc};
use crate::{ColumnId, Error, FieldType, SeriesKey};

/// The fields of a block by position, ascending by id.
pub(crate) type Layout = Arc<[(ColumnId, FieldType)]>;

/// Sorted rows as columns. Whose they are is known elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// Times in ns.
    pub(crate) time: ScalarBuffer<i64>,
    /// By position of the layout; `None` where no row carries the field.
    pub(crate) fields: Vec<Option<ArrayRef>>,
    /// Explicitly cleared fields per row: big-endian column ids, ascending; null = none.
    pub(crate) cleared: Option<BinaryArray>,
}

/// Consecutive rows of one series.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// The series.
    pub(crate) key: SeriesKey,
    /// Where the rows are.
    pub(crate) block: Arc<Block>,
    /// Which rows of the block; never empty.
    pub(crate) rows: Range<usize>,
}

/// What a source is: pieces by key, then time.
pub(crate) type PieceStream = Box<dyn Iterator<Item = Result<Piece, Error>> + Send>;

impl Block {
    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.time.len()
    }

    /// Takes rows of a segment, whose fields are those of the layout; `present` says which of them the file has.
    pub(crate) fn from_series_rows(rows: SeriesRows, present: &[bool]) -> Result<Self, Error> {
        let wrong = |what: &str| Error::Internal(format!("a segment's {what} has another type"));
        let time = rows.time.as_any().downcast_ref::<TimestampNanosecondArray>();
        let time = time.ok_or_else(|| wrong("time"))?.values().clone();
        let cleared = match &rows.cleared {
            None => None,
            Some(array) => {
                let marks = array.as_any().downcast_ref::<BinaryArray>();
                Some(marks.ok_or_else(|| wrong("column of cleared fields"))?.clone())
            }
        };
        let fields = rows.fields.into_iter().zip(present);
        let fields = fields.map(|(array, present)| present.then_some(array)).collect();
        Ok(Self { time, fields, cleared })
    }
}

impl Piece {
    /// Times of the rows.
    pub(crate) fn times(&self) -> &[i64] {
        &self.block.time[self.rows.clone()]
    }
    /// Time of the first row.
    pub(crate) fn first(&self) -> i64 {
        self.block.time[self.rows.start]
    }
    /// Time of the last row.
    pub(crate) fn last(&self) -> i64 {
        self.block.time[self.rows.end - 1]
    }
    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }
    /// Takes the first `len` rows away; `None` of it stays if that is all.
    pub(crate) fn split_off_front(self, len: usize) -> (Self, Option<Self>) {
        if len >= self.len() {
            return (self, None);
        }
        let at = self.rows.start + len;
        let rest = Self { rows: at..self.rows.end, ..self.clone() };
        (Self { rows: self.rows.start..at, ..self }, Some(rest))
    }

    /// As a segment writer takes it.
    pub(crate) fn into_series_rows(self, layout: &Layout, with_cleared: bool) -> SeriesRows {
        let (start, len) = (self.rows.start, self.rows.len());
        let time = TimestampNanosecondArray::new(self.block.time.slice(start, len), None);
        let fields = layout.iter().zip(&self.block.fields);
        let fields = fields.map(|((_, kind), array)| match array {
            Some(array) => array.slice(start, len),
            None => new_null_array(&arrow_type(*kind), len),
        });
        let cleared = self.block.cleared.as_ref().filter(|_| with_cleared);
        let cleared = cleared.map(|marks| marks.slice(start, len));
        SeriesRows {
            key: self.key,
            time: Arc::new(utc(time)),
            fields: fields.collect(),
            cleared: cleared
                .filter(|marks| marks.null_count() < len)
                .map(|marks| Arc::new(marks) as ArrayRef),
        }
    }
}
