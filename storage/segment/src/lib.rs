//! One immutable segment: a Parquet file with a series directory and block hashes.
//!
//! [`SegmentWriter`] takes sorted rows ([`SeriesRows`]) and leaves one durable file and its [`SegmentMeta`], which the
//! manifest keeps. [`SegmentReader`] finds series in the file's directory and scans chosen rows of them; no byte from disk
//! is used before it was checked against the hash of its block. Any Parquet reader reads the file as a plain table.
//!
//! Invariants:
//!
//! - rows ascend by ([`SeriesKey`], time), one row per key and time;
//! - the same rows, schema and [`WriterSpec`] give the same bytes;
//! - a flipped byte anywhere in a file is an [`Error::Corrupt`] before a row of its block is seen;
//! - a file is never changed, and durable before it has its name.
//!
//! Limits: a row group is in memory while it is written and, in its encoded form, while it is read; the sparse directory
//! index, the footer and the block table stay in memory while a file is open.

mod blocks;
mod cache;
mod columns;
mod content;
mod directory;
mod encoder;
mod error;
mod format;
mod group;
mod key;
mod meta;
mod reader;
mod rows;
mod scale;
mod scan;
mod schema;
mod sink;
mod summaries;
mod tag_chunk;
#[cfg(test)]
mod test_support;
mod writer;

pub use cache::{ReadCounters, ScanReads, SegmentCaches};
pub use directory::SeriesEntry;
pub use error::{Error, ErrorKind};
pub use key::{SeriesKey, SeriesKeyError};
pub use meta::{Compression, FieldStatistics, SegmentMeta, WriterSpec};
pub use reader::{RowRanges, SegmentReader};
pub use rows::SeriesRows;
pub use scan::SegmentScan;
pub use schema::{ColumnId, ColumnKind, ColumnSpec, FieldType, RowSchema, TableId};
pub use summaries::{Bounds, CellStatistic, Cells, ValueBounds, ValueRange};
pub use writer::SegmentWriter;
