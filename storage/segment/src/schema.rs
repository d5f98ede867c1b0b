//! Columns of stored rows, by identity.

use serde::{Deserialize, Serialize};

/// A table, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableId(pub u64);

/// A column of a table, never reused within it. The Parquet `field_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ColumnId(pub u32);

impl ColumnId {
    /// Ids from here on are hidden columns of segments, never columns of a table. (Parquet's `field_id` is an `i32`,
    /// and some readers take negative ones as absent.)
    pub const HIDDEN_MIN: Self = Self(0x7FFF_FF00);
    /// The hidden column that marks explicitly cleared fields.
    pub const CLEARED: Self = Self(0x7FFF_FFFF);
}

/// Type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FieldType {
    /// IEEE 754 double, every bit pattern kept.
    Float64,
    /// Signed 64-bit integer.
    Int64,
    /// Unsigned 64-bit integer.
    UInt64,
    /// Truth value.
    Boolean,
    /// Text.
    Utf8,
    /// Nanoseconds since 1970 UTC.
    Timestamp,
}

/// What a column is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ColumnKind {
    /// The time of the row, never null.
    Time,
    /// A part of the series' name: text, null where the row has no such tag.
    Tag,
    /// A measured value.
    Field(FieldType),
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnSpec {
    /// Identity.
    pub id: ColumnId,
    /// Name when the file was written; a reader goes by `id`.
    pub name: String,
    /// What it is.
    pub kind: ColumnKind,
}

/// Columns of a table as stored: the time, the tags in the order of their ids, the fields in the order of theirs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowSchema {
    /// The table.
    pub table: TableId,
    /// Its time column.
    pub time: ColumnSpec,
    /// Tags, ascending by id: position i in a [`crate::SeriesKey`] is `tags[i]`.
    pub tags: Vec<ColumnSpec>,
    /// Fields, ascending by id.
    pub fields: Vec<ColumnSpec>,
}
