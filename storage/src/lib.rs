//! The replicated store of time series: a metadata group, shard groups, and what they keep on disk.

pub mod batch;
mod blocking;
pub mod catalog;
pub mod cluster;
pub mod compaction;
mod error;
mod manifest;
pub mod memtable;
#[cfg(test)]
mod model_tests;
mod rows;
pub mod scan;
mod shard;
mod store;
pub mod version;

pub use error::{Error, ErrorKind, with_causes};
pub use quorate_segment::{ColumnId, ColumnKind, FieldType, SeriesKey, TableId};
pub use quorate_wal::{Disk, Durations, Faults, GroupId, Histogram, LogPosition};
pub use store::{
    ClusterStatus, Delete, KeyedReceipt, NodeStatus, ReadLevel, ReadStatus, RoutingStatus,
    RowPlace, ScrubStatus, SegmentStatus, SeriesSelection, ShardId, ShardReceipt, ShardStatus,
    Store, StoreOptions, StoreStatus, TableStatus, WriteLevel, WriteOptions, WriteReceipt,
};
