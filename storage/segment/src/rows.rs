//! Rows in memory: the pieces that callers exchange, and the batches that the encoder works on.
//!
//! [`SeriesRows`] is the unit in which sorted rows flow through the store (memtable → writer, segment scan → merge).
//! Inside the writer they are joined into [`Batch`]es, whose borders depend on the rows alone, never on how the rows
//! were cut into pieces: that is what makes a segment's bytes a function of its rows.

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, TimestampNanosecondArray};
use arrow::datatypes::{DataType, TimeUnit, TimestampNanosecondType};

use crate::{FieldType, RowSchema, SeriesKey};

/// Consecutive rows of one series, ascending by time, one row per time.
#[derive(Clone, Debug)]
pub struct SeriesRows {
    /// The series.
    pub key: SeriesKey,
    /// Times in ns: `Timestamp(Nanosecond, "UTC")`, no nulls.
    pub time: ArrayRef,
    /// One array per field of the schema, in its order: Float64, Int64, `UInt64`, Boolean,
    /// `Utf8View`, Timestamp(ns, UTC).
    pub fields: Vec<ArrayRef>,
    /// Explicitly cleared fields per row, where there are any: `Binary`, big-endian `u32` column ids, ascending; null = none.
    pub cleared: Option<ArrayRef>,
}

impl SeriesRows {
    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.time.len()
    }

    /// The times.
    pub(crate) fn times(&self) -> &[i64] {
        self.time.as_primitive::<TimestampNanosecondType>().values()
    }

    /// Rows `offset..offset + rows`, without copying.
    pub(crate) fn slice(&self, offset: usize, rows: usize) -> Self {
        Self {
            key: self.key.clone(),
            time: self.time.slice(offset, rows),
            fields: self.fields.iter().map(|field| field.slice(offset, rows)).collect(),
            cleared: self.cleared.as_ref().map(|cleared| cleared.slice(offset, rows)),
        }
    }

    /// Panics unless the piece has the shape that `schema` asks for: callers are our own code.
    pub(crate) fn assert_shape(&self, schema: &RowSchema) {
        assert!(
            matches!(self.time.data_type(), DataType::Timestamp(TimeUnit::Nanosecond, _)),
            "time is {}",
            self.time.data_type()
        );
        assert_eq!(self.time.null_count(), 0, "time has nulls");
        assert_eq!(self.fields.len(), schema.fields.len(), "number of fields");
        for (array, field) in self.fields.iter().zip(&schema.fields) {
            assert_eq!(array.len(), self.time.len(), "rows of field {}", field.id.0);
            let crate::ColumnKind::Field(kind) = field.kind else {
                panic!("column {} is not a field", field.id.0);
            };
            let same = match kind {
                FieldType::Float64 => array.data_type() == &DataType::Float64,
                FieldType::Int64 => array.data_type() == &DataType::Int64,
                FieldType::UInt64 => array.data_type() == &DataType::UInt64,
                FieldType::Boolean => array.data_type() == &DataType::Boolean,
                FieldType::Utf8 => array.data_type() == &DataType::Utf8View,
                FieldType::Timestamp => {
                    matches!(array.data_type(), DataType::Timestamp(TimeUnit::Nanosecond, _))
                }
            };
            assert!(same, "field {} is {}, want {kind:?}", field.id.0, array.data_type());
        }
        if let Some(cleared) = &self.cleared {
            assert_eq!(cleared.len(), self.time.len(), "rows of cleared marks");
            assert_eq!(cleared.data_type(), &DataType::Binary, "type of cleared marks");
        }
    }
}

/// A stretch of a batch that belongs to one series.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// The series.
    pub(crate) key: SeriesKey,
    /// Its rows in the batch.
    pub(crate) rows: usize,
}

/// Rows of several series, joined.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    /// The series, in order; together they cover the batch. Equal keys do not follow each other.
    pub(crate) runs: Vec<Run>,
    /// Times in ns.
    pub(crate) time: TimestampNanosecondArray,
    /// Fields in the schema's order.
    pub(crate) fields: Vec<ArrayRef>,
    /// Cleared marks, if a row has any.
    pub(crate) cleared: Option<BinaryArray>,
}

impl Batch {
    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.time.len()
    }
}
