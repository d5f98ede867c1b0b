//! The store of one node: what the engine holds.
//!
//! [`Store`] opens the data directory, runs the metadata group and the shards, routes writes to them and takes read
//! views over them. Maintenance (flush and compaction triggers, retention, log purging) runs beside it.

mod core;
mod maintenance;
mod mending;
mod open;
mod options;
mod placement;
mod read;
mod receipt;
mod rerouting;
mod scrub;
mod starting;
mod status;
mod timing;
mod write;

pub use self::core::Store;
pub use crate::shard::ScrubStatus;
pub use options::StoreOptions;
pub use receipt::{
    Delete, KeyedReceipt, ReadLevel, SeriesSelection, ShardId, ShardReceipt, WriteLevel,
    WriteOptions, WriteReceipt,
};
pub use status::{
    ClusterStatus, NodeStatus, ReadStatus, RoutingStatus, RowPlace, SegmentStatus, ShardStatus,
    StoreStatus, TableStatus,
};
