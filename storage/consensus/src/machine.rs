//! What a group's log is applied to: the trait, and the values that pass through it.

use std::fmt::Debug;

use bytes::Bytes;
use quorate_wal::LogPosition;

/// A committed entry, to be applied.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Its place in the log.
    pub position: LogPosition,
    /// The command; `None` for blank and membership entries, which only move the position.
    pub command: Option<Bytes>,
    /// The membership, where the entry carries one, encoded by this crate: the state machine keeps it, and hands it
    /// back in [`Snapshot::membership`].
    pub membership: Option<Bytes>,
}

/// This replica cannot go on: it stops, the node goes on.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Fatal {
    /// What happened.
    pub what: String,
    /// The cause, if it is an error.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A Raft snapshot: a manifest as of exactly one position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Last position that it covers.
    pub position: Option<LogPosition>,
    /// The membership as of that position, encoded by this crate; empty before the first one.
    pub membership: Bytes,
    /// The manifest.
    pub manifest: Bytes,
}

/// What a group's log is applied to.
///
/// `apply` is called from one task, in log order, and must be deterministic. A refusal that all replicas share is a
/// reply, not an error. After a restart, entries above the durable state are applied again.
#[async_trait::async_trait]
pub trait StateMachine: Debug + Send + Sync + 'static {
    /// The durable state: the current Raft snapshot (`position: None` when there is none). Asked at start, when the
    /// snapshot moved, and when a replica that lags is sent one; it never moves backwards.
    async fn durable(&self) -> Result<Snapshot, Fatal>;
    /// Applies consecutive entries; returns one reply per entry (empty for entries without a command).
    async fn apply(&self, entries: Vec<Applied>) -> Result<Vec<Bytes>, Fatal>;
    /// Makes ready what a snapshot from the leader needs, such as files that it names. It may take long and is called
    /// while entries are applied; the leader offers the snapshot again after an error.
    async fn prepare(&self, snapshot: &Snapshot) -> Result<(), Fatal> {
        let _ = snapshot;
        Ok(())
    }
    /// Replaces the state by a snapshot from the leader that was prepared; durable on return.
    async fn install(&self, snapshot: Snapshot) -> Result<(), Fatal>;
}
