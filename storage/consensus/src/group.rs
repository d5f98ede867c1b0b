//! One replica of one Raft group.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_wal::{GroupId, GroupLog, LogPosition};
use serde::{Deserialize, Serialize};

use crate::{Error, Transport};

/// A replica of a group: openraft's node id. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicaId(pub u64);

/// Where a replica lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Node {
    /// The node's id.
    pub node: u64,
    /// How peers reach it (empty on one node).
    pub addr: String,
}

/// A committed command, to be applied.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Its place in the log.
    pub position: LogPosition,
    /// The command; `None` for blank and membership entries, which only move the position.
    pub command: Option<Bytes>,
    /// The membership, where the entry carries one, encoded by this crate.
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
#[derive(Clone, Debug, Default)]
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
/// reply, not an error.
#[async_trait::async_trait]
pub trait StateMachine: Debug + Send + Sync + 'static {
    /// The durable state at start: the current Raft snapshot (`position: None` when there is none).
    async fn durable(&self) -> Result<Snapshot, Fatal>;
    /// Applies consecutive entries; returns one reply per entry (empty for entries without a command).
    async fn apply(&self, entries: Vec<Applied>) -> Result<Vec<Bytes>, Fatal>;
    /// Replaces the state by a snapshot from the leader; durable on return.
    async fn install(&self, snapshot: Snapshot) -> Result<(), Fatal>;
}

/// Raft's timers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Time between heartbeats.
    pub heartbeat: Duration,
    /// Least time without a leader before a replica stands for election.
    pub election_min: Duration,
    /// Most time, and the leader's lease.
    pub election_max: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(80),
            election_min: Duration::from_millis(250),
            election_max: Duration::from_millis(400),
        }
    }
}

/// What a replica needs to run.
#[derive(Debug)]
pub struct GroupOptions {
    /// Name of the cluster, for messages.
    pub cluster_name: String,
    /// The group.
    pub group: GroupId,
    /// This replica.
    pub replica: ReplicaId,
    /// Its log.
    pub log: GroupLog,
    /// What it applies to.
    pub machine: Arc<dyn StateMachine>,
    /// How it reaches the others.
    pub transport: Arc<dyn Transport>,
    /// Raft's timers.
    pub timers: Timers,
}

/// A replica's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Appends and replicates.
    Leader,
    /// Follows.
    Follower,
    /// Stands for election.
    Candidate,
    /// Receives the log without a vote.
    Learner,
    /// Stopped.
    Stopped,
}

/// Where a replica stands. `purged ≤ snapshot ≤ applied ≤ committed ≤ last`.
#[derive(Clone, Debug)]
pub struct GroupStatus {
    /// The group.
    pub group: GroupId,
    /// This replica.
    pub replica: ReplicaId,
    /// Its role.
    pub role: Role,
    /// Its term.
    pub term: u64,
    /// Who leads, if known.
    pub leader: Option<ReplicaId>,
    /// Last entry in the log.
    pub last: Option<LogPosition>,
    /// Last entry known to be committed.
    pub committed: Option<LogPosition>,
    /// Last entry applied.
    pub applied: Option<LogPosition>,
    /// Last entry that the Raft snapshot covers.
    pub snapshot: Option<LogPosition>,
    /// Last entry purged.
    pub purged: Option<LogPosition>,
    /// Voters.
    pub voters: BTreeMap<ReplicaId, Node>,
    /// Learners.
    pub learners: BTreeMap<ReplicaId, Node>,
}

/// One replica of one Raft group. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Group {}

impl Group {
    /// Starts the replica over what its log and state machine hold. Entries above the durable snapshot and up to the
    /// saved commit position are applied again before this returns.
    pub async fn start(_options: GroupOptions) -> Result<Self, Error> {
        unimplemented!()
    }
    /// Makes a new group with these voters. A group that has a membership already is left alone.
    pub async fn bootstrap(&self, _voters: BTreeMap<ReplicaId, Node>) -> Result<(), Error> {
        unimplemented!()
    }
    /// Proposes a command and waits until it is committed and applied here. Returns its place and the reply.
    pub async fn propose(
        &self,
        _command: Bytes,
        _deadline: Duration,
    ) -> Result<(LogPosition, Bytes), Error> {
        unimplemented!()
    }
    /// Takes a linearizable read index (shared by waiting callers) and waits until it is applied here.
    pub async fn read_index(&self, _deadline: Duration) -> Result<LogPosition, Error> {
        unimplemented!()
    }
    /// Waits until the replica knows a leader and has applied what was committed when it started.
    pub async fn wait_ready(&self, _deadline: Duration) -> Result<(), Error> {
        unimplemented!()
    }
    /// Where it stands.
    pub fn status(&self) -> GroupStatus {
        unimplemented!()
    }
    /// Tells Raft that the state machine's durable snapshot moved, and purges the log up to `keep_after`
    /// (at most the snapshot's position).
    pub async fn snapshot_moved(&self, _keep_after: LogPosition) -> Result<(), Error> {
        unimplemented!()
    }
    /// Adds learners.
    pub async fn add_learners(&self, _learners: BTreeMap<ReplicaId, Node>) -> Result<(), Error> {
        unimplemented!()
    }
    /// Changes the voters by joint consensus; who goes is removed.
    pub async fn set_voters(&self, _voters: BTreeSet<ReplicaId>) -> Result<(), Error> {
        unimplemented!()
    }
    /// Hands leadership to a voter.
    pub async fn transfer_leader(&self, _to: ReplicaId) -> Result<(), Error> {
        unimplemented!()
    }
    /// Starts an election now.
    pub async fn elect(&self) -> Result<(), Error> {
        unimplemented!()
    }
    /// Takes a message from a peer and answers it.
    pub async fn handle(&self, _message: crate::Message) -> Result<Bytes, Error> {
        unimplemented!()
    }
    /// Stops the replica; its log and state stay.
    pub async fn stop(&self) {
        unimplemented!()
    }
}
