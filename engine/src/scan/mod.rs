//! Scans of stored tables as an operator of DataFusion.

mod exec;
mod label;
mod stream;

pub(crate) use exec::SeriesScanExec;
pub(crate) use label::ScanLabel;
