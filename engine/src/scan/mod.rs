//! Scans of stored tables as an operator of DataFusion.

mod counts;
mod exec;
mod label;
mod series_fold;
mod split;
mod stream;
mod tables;
mod tables_stream;

pub(crate) use exec::{SeriesScanExec, cut_alike, tags_of};
pub(crate) use label::ScanLabel;
pub(crate) use series_fold::{SeriesFold, folded};
pub(crate) use split::{SplitScan, cell_keys, times_batch};
pub(crate) use tables::{OutputColumn, TablePart, TablesScanExec};
