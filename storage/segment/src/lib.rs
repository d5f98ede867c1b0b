//! One immutable segment: a Parquet file with a series directory and block hashes.

mod directory;
mod error;
mod key;
mod reader;
mod schema;
mod writer;

pub use directory::SeriesEntry;
pub use error::{Error, ErrorKind};
pub use key::{SeriesKey, SeriesKeyError};
pub use reader::{ReadCounters, RowRanges, SegmentCaches, SegmentReader, SegmentScan};
pub use schema::{ColumnId, ColumnKind, ColumnSpec, FieldType, RowSchema, TableId};
pub use writer::{
    Compression, FieldStatistics, SegmentMeta, SegmentWriter, SeriesRows, WriterSpec,
};
