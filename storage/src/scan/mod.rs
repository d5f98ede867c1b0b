//! Reading a table: one read view per shard, planned and then streamed.
//!
//! ```text
//! TableView ─ prune by time ─ select series ─ cut into partitions ─→ TableScan
//! ScanPartition ─ open sources ─ Cut ─ Merge ─ assemble ─→ record batches of up to 8,192 rows
//! ```
//!
//! A partition is a contiguous range of series over all sources (memtable runs and segments of all shards), so each stream
//! is sorted by (tags in id order, nulls first, time), and streams share no series. Tags live in the series key alone; they
//! become columns in the last step.
//!
//! **Invariants**
//! - A view holds the pins of its segments; so do its scans, partitions and open streams.
//! - Sources of one shard stand old to new; sources of different shards share no (series, time).
//! - The answer of a [`SeriesFilter`] is asked for once per distinct series.
//! - Where [`LastRows`] are enough, a source gives the last row of a series alone only if that row is visible and has the
//!   fields in question; else it gives all of them. So every source that has the row which is asked for gives it: what it
//!   gives instead would be later, and be the answer. Earlier rows may be folded of some of their sources only.
//!
//! **Limits.** A filter costs a walk over the directories of all segments that the time range leaves. An open stream holds a
//! decoded piece per segment.

mod assemble;
mod cells;
mod partition;
mod plan;
mod request;
mod schema;
mod series;
mod source;
mod statistics;
mod tails;
mod view;

pub use quorate_segment::{Bounds, CellStatistic, ValueBounds, ValueRange};

pub use cells::{CellBatch, CellRequest, SplitPartition, Together};
pub use partition::ScanPartition;
pub use plan::TableScan;
pub use request::{LastRows, ScanRequest, SeriesFilter, TimeRange};
pub use schema::table_schema;
pub(crate) use source::SegmentStream;
pub use statistics::{ScanCounters, ScanStatistics};
pub(crate) use tails::Tails;
pub use view::{OpenSegment, ShardRows, TableView};

#[cfg(test)]
mod tests;
