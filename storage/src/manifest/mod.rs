//! Manifests: the durable state of a group as of exactly one log position.
//!
//! A manifest is a Raft snapshot: the log up to its position may go once it is durable. [`ManifestStore`] keeps the newest
//! two generations of a group; [`ShardRecord`] is what a shard puts into one. The metadata group uses the same files
//! with a body of its own. [`newest_of`] asks other nodes for theirs.

mod ask;
mod encode;
mod store;

pub(crate) use ask::newest_of;
pub(crate) use encode::{Counters, PendingCompaction, ShardRecord, TableState};
pub(crate) use store::{Loaded, Manifest, ManifestStore};
