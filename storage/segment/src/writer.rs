//! Writes a segment: sorted rows in, one durable file out.

use std::path::Path;
use std::sync::Arc;

use arrow::array::ArrayRef;
use serde::{Deserialize, Serialize};

use crate::{ColumnId, Error, RowSchema, SeriesKey};
use quorate_wal::Disk;

/// How pages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compression {
    /// Fast: what a flush writes.
    Lz4,
    /// Small: what a compaction writes.
    Zstd,
}

/// Everything that shapes a segment's bytes, besides the rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriterSpec {
    /// Which encoder settings and crate versions: see [`SegmentWriter::WRITER_ID`].
    pub writer: u32,
    /// How pages are compressed.
    pub compression: Compression,
    /// First log index whose rows the segment may hold.
    pub log_index_min: u64,
    /// Last log index whose rows the segment may hold.
    pub log_index_max: u64,
}

/// Consecutive rows of one series, ascending by time, one row per time.
#[derive(Clone, Debug)]
pub struct SeriesRows {
    /// The series.
    pub key: SeriesKey,
    /// Times in ns: `Timestamp(Nanosecond, "UTC")`, no nulls.
    pub time: ArrayRef,
    /// One array per field of the schema, in its order: Float64, Int64, UInt64, Boolean, Utf8View, Timestamp(ns, UTC).
    pub fields: Vec<ArrayRef>,
    /// Explicitly cleared fields per row, where there are any: `Binary`, big-endian `u32` column ids, ascending; null = none.
    pub cleared: Option<ArrayRef>,
}

/// What is known of one field over a whole segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldStatistics {
    /// The field.
    pub column: ColumnId,
    /// Values that are not null.
    pub count: u64,
    /// NaN values among them (floats only).
    pub nan_count: u64,
    /// Smallest value as the bits of its type (numbers, booleans, timestamps); absent for text, or where NaNs are.
    pub min_bits: Option<u64>,
    /// Largest value, likewise.
    pub max_bits: Option<u64>,
}

/// What a manifest keeps of a segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentMeta {
    /// The table.
    pub table: crate::TableId,
    /// BLAKE3 of the whole file; in hexadecimal, with `.parquet`, its name.
    pub file_hash: [u8; 32],
    /// BLAKE3 over the logical rows, the same for every writer version.
    pub content_hash: [u8; 32],
    /// Length of the file.
    pub bytes: u64,
    /// Place of the table of block hashes within the file.
    pub block_table_offset: u64,
    /// BLAKE3 of the table of block hashes.
    pub block_table_hash: [u8; 32],
    /// Rows.
    pub rows: u64,
    /// Series.
    pub series: u64,
    /// Smallest series key.
    pub key_min: Vec<u8>,
    /// Largest series key.
    pub key_max: Vec<u8>,
    /// Time of the earliest row.
    pub time_min: i64,
    /// Time of the latest row.
    pub time_max: i64,
    /// Whether the file has a column of cleared fields.
    pub has_cleared: bool,
    /// Columns in the file, and what is known of the fields.
    pub schema: RowSchema,
    /// Statistics of the fields, in the schema's order.
    pub fields: Vec<FieldStatistics>,
    /// Settings it was written with.
    pub spec: WriterSpec,
}

impl SegmentMeta {
    /// Name of the file.
    pub fn file_name(&self) -> String {
        format!("{}.parquet", blake3::Hash::from_bytes(self.file_hash).to_hex())
    }
}

/// Writes one segment, streaming: rows are pushed in order, memory is bounded by a row group.
#[derive(Debug)]
pub struct SegmentWriter {}

impl SegmentWriter {
    /// Settings and crate versions that this build writes with.
    pub const WRITER_ID: u32 = 1;

    /// Begins a file under a temporary name in `dir`.
    pub fn begin(
        _disk: Arc<dyn Disk>,
        _dir: &Path,
        _schema: RowSchema,
        _spec: WriterSpec,
    ) -> Result<Self, Error> {
        unimplemented!()
    }
    /// Appends rows; keys ascend, and times within a key (over calls, too).
    pub fn push(&mut self, _rows: SeriesRows) -> Result<(), Error> {
        unimplemented!()
    }
    /// Rows pushed so far.
    pub fn rows(&self) -> u64 {
        unimplemented!()
    }
    /// Encoded bytes so far, about.
    pub fn bytes(&self) -> u64 {
        unimplemented!()
    }
    /// Ends the file: syncs it, renames it to its hash, and syncs the directory. `None` if no row was pushed.
    pub fn finish(self) -> Result<Option<SegmentMeta>, Error> {
        unimplemented!()
    }
    /// Gives up and removes the temporary file.
    pub fn abort(self) -> Result<(), Error> {
        unimplemented!()
    }
}
