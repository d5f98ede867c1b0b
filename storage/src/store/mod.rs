//! The store of one node: what the engine holds.
//!
//! [`Store`] opens the data directory, runs the metadata group and the shards, routes writes to them and takes read
//! views over them. Maintenance (flush and compaction triggers, retention, log purging) runs beside it.

mod core;
mod maintenance;
mod open;
mod options;
mod read;
mod receipt;
mod status;
mod write;

pub use self::core::Store;
pub use options::StoreOptions;
pub use receipt::{
    Delete, ReadLevel, SeriesSelection, ShardId, ShardReceipt, WriteLevel, WriteOptions,
    WriteReceipt,
};
pub use status::{SegmentStatus, ShardStatus, StoreStatus, TableStatus};
