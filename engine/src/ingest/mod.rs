//! Schema on write: decode, validate against the catalog (growing it where needed), write.

mod columns;
mod lines;

pub use columns::{ColumnsReport, ColumnsWriter, IngestMode, TableIngest};
pub use lines::{LineError, LinesReport, Precision};
