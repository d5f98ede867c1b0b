//! One shard: a Raft group whose state machine holds rows.
//!
//! ```text
//! proposer ─▶ log ─▶ machine.apply ─▶ state ─▶ jobs ─▶ build ─▶ install ─▶ manifest
//!  coalesces          decodes          decides            files     version
//! ```

mod budget;
mod build;
mod command;
mod dedup;
mod fetch;
mod jobs;
mod machine;
mod proposer;
mod recover;
mod replica;
mod scrub;
mod state;

pub(crate) use budget::Budget;
pub(crate) use command::{
    Command, CompactCommand, DeleteCommand, EPOCH_SEPARATOR, RejectReason, Reply, StoredResult,
    TableRecord, WriteItem, WriteKey, WriteOutcome, WritePart, restamp,
};
pub(crate) use dedup::DedupRecord;
pub(crate) use fetch::Fetcher;
pub(crate) use jobs::{JobSlots, run_compactions, run_flushes};
pub(crate) use machine::{Live, MemtableLimits, ShardFiles, ShardMachine};
pub(crate) use proposer::Submission;
pub(crate) use recover::{Remedy, damaged_segments, needs_repair, recover};
pub(crate) use replica::{FlushLimits, Shard, group_of};
pub use scrub::ScrubStatus;
pub(crate) use scrub::scrub;
