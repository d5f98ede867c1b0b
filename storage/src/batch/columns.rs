//! Rows of one table as decoded columns.

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::datatypes::{DataType, TimestampNanosecondType};

use crate::scan::TimeRange;
use crate::{ColumnId, FieldType, SeriesKey};

/// What a null field of a batch says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nulls {
    /// Nothing was measured: an older value stays (line protocol, bulk ingest, `load`).
    Absent,
    /// The value is cleared (`INSERT`, `UPDATE`), for the columns that the batch names.
    Explicit,
}

/// Rows of one table as decoded columns, by identity. Series are told apart once per batch, not per row.
#[derive(Clone, Debug)]
pub struct RowBatch {
    /// The distinct series of the batch.
    pub series: Vec<SeriesKey>,
    /// Per row, its place in `series`.
    pub series_of_row: UInt32Array,
    /// Per row, its time: `Timestamp(Nanosecond, "UTC")`, no nulls.
    pub time: ArrayRef,
    /// Field columns, ascending by id: `Float64`, `Int64`, `UInt64`, `Boolean`, `Utf8`, `Timestamp(ns, UTC)`.
    pub fields: Vec<(ColumnId, ArrayRef)>,
    /// What nulls mean.
    pub nulls: Nulls,
}

impl RowBatch {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.series_of_row.len()
    }

    /// Times in ns.
    pub(crate) fn times(&self) -> &[i64] {
        self.time.as_primitive::<TimestampNanosecondType>().values()
    }

    /// Earliest and latest time; `None` without rows.
    pub fn time_range(&self) -> Option<TimeRange> {
        let times = self.times();
        let start = times.iter().copied().min()?;
        Some(TimeRange { start, end: times.iter().copied().max()? })
    }

    /// Bytes that the rows take, about: the values and the series, not what buffers hold beyond them.
    pub fn bytes(&self) -> u64 {
        let series: usize = self.series.iter().map(|key| key.as_bytes().len() + 40).sum();
        let fields: usize = self.fields.iter().map(|(_, array)| array_bytes(array)).sum();
        (series + fields + self.rows() * 12) as u64
    }
}

/// Bytes of an array's values, about.
pub(crate) fn array_bytes(array: &ArrayRef) -> usize {
    match array.data_type() {
        DataType::Boolean => array.len().div_ceil(4),
        DataType::Utf8 => {
            let offsets = array.as_string::<i32>().value_offsets();
            let text = offsets.last().zip(offsets.first()).map_or(0, |(end, start)| end - start);
            array.len() * 16 + usize::try_from(text).unwrap_or(0)
        }
        DataType::Utf8View => {
            // The low half of a view's first word is the length of the text.
            let views = array.as_string_view().views();
            array.len() * 16 + views.iter().map(|v| (v & 0xFFFF_FFFF) as usize).sum::<usize>()
        }
        _ => array.len() * 8,
    }
}

/// The type of a field's array in a batch.
pub(crate) fn batch_type(kind: FieldType) -> DataType {
    match kind {
        FieldType::Utf8 => DataType::Utf8,
        other => crate::rows::arrow_type(other),
    }
}

/// The type of field whose array this is, in a batch or inside the store.
pub(crate) fn field_type(array: &ArrayRef) -> Option<FieldType> {
    Some(match array.data_type() {
        DataType::Float64 => FieldType::Float64,
        DataType::Int64 => FieldType::Int64,
        DataType::UInt64 => FieldType::UInt64,
        DataType::Boolean => FieldType::Boolean,
        DataType::Utf8 | DataType::Utf8View => FieldType::Utf8,
        other if *other == crate::rows::timestamp_type() => FieldType::Timestamp,
        _ => return None,
    })
}
