//! What a manifest keeps of a segment, and the settings that shape a segment's bytes.

use serde::{Deserialize, Serialize};

use crate::{ColumnId, RowSchema, TableId};

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
    /// Which encoder settings and crate versions: see [`crate::SegmentWriter::WRITER_ID`].
    pub writer: u32,
    /// How pages are compressed.
    pub compression: Compression,
    /// First log index whose rows the segment may hold.
    pub log_index_min: u64,
    /// Last log index whose rows the segment may hold.
    pub log_index_max: u64,
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
    /// Floats go by IEEE 754's total order: −0 is below +0.
    pub min_bits: Option<u64>,
    /// Largest value, likewise.
    pub max_bits: Option<u64>,
}

/// What a manifest keeps of a segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentMeta {
    /// The table.
    pub table: TableId,
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
