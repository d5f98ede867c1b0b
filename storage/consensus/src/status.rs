//! Where a replica stands, as others may see it.

use std::collections::BTreeMap;

use quorate_wal::{GroupId, LogPosition};
use serde::{Deserialize, Serialize};

/// A replica of a group: openraft's node id. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicaId(pub u64);

/// Where a replica lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Node {
    /// The node's id in the cluster; never given again. 0 for whoever is at the address.
    pub node: u64,
    /// Its name, as operators know it (empty on one node).
    pub name: String,
    /// How peers reach it, host and port (empty on one node).
    pub addr: String,
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
///
/// The positions are read one after the other while the replica moves on: each is true at some moment of the call.
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
    /// On the leader: the last entry that each replica is known to hold, synced. Empty elsewhere.
    pub matched: BTreeMap<ReplicaId, LogPosition>,
}
