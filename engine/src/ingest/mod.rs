//! Schema on write: decode, validate against the catalog (growing it where needed), write.

mod batch_plan;
mod batch_rows;
mod columns;
mod cpu;
mod growth;
mod hash;
mod line_columns;
mod line_decoder;
mod line_syntax;
mod lines;
mod precision;

pub(crate) use columns::digest_rows;
pub(crate) use columns::everywhere;
pub use columns::{ColumnsReport, ColumnsWriter, IngestMode, TableIngest};
pub use lines::{LineError, LinesReport};
pub use precision::Precision;
