//! What a node tells of itself to the others.

use quorate_consensus::{GroupStatus, LogPosition, Role};
use serde::{Deserialize, Serialize};

/// How a node's replicas stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// One for each group: 0 is the metadata group, n + 1 is shard n.
    pub replicas: Vec<ReplicaReport>,
    /// Bytes of its segments.
    pub segment_bytes: u64,
    /// What time it is there, ns.
    pub clock_ns: i64,
    /// Raft's heartbeat there, ms: it follows the round trips and syncs that the node measures.
    pub heartbeat_ms: u64,
    /// How long syncs of its log took in the last ten seconds (99th percentile), or the write under way takes so far, µs.
    pub sync_us: u64,
    /// Whether its disk is full, or too slow to lead.
    pub disk_stalls: bool,
}

/// How one replica stands, in its own eyes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaReport {
    /// Its group.
    pub group: u64,
    /// `leader`, `follower`, `candidate`, `learner`, or `stopped`.
    pub role: String,
    /// Its term.
    pub term: u64,
    /// Who leads, if it knows.
    pub leader: Option<u64>,
    /// Index of the last entry of its log.
    pub last_index: u64,
    /// Index of the last entry that it knows to be committed.
    pub committed_index: u64,
    /// Index of the last entry that it applied.
    pub applied_index: u64,
    /// Index that its manifest covers.
    pub snapshot_index: u64,
    /// Why it refuses service, if it does.
    pub problem: Option<String>,
}

impl ReplicaReport {
    /// Of a replica that runs.
    pub(crate) fn of(status: &GroupStatus, problem: Option<String>) -> Self {
        let index = |at: Option<LogPosition>| at.map_or(0, |at| at.index);
        let role = match status.role {
            _ if problem.is_some() => "stopped",
            Role::Leader => "leader",
            Role::Follower => "follower",
            Role::Candidate => "candidate",
            Role::Learner => "learner",
            Role::Stopped => "stopped",
        };
        Self {
            group: status.group.0,
            role: role.to_owned(),
            term: status.term,
            leader: status.leader.map(|leader| leader.0),
            last_index: index(status.last),
            committed_index: index(status.committed),
            applied_index: index(status.applied),
            snapshot_index: index(status.snapshot),
            problem,
        }
    }

    /// Of one that does not run.
    pub(crate) fn stopped(group: u64, why: String) -> Self {
        Self { group, role: "stopped".to_owned(), problem: Some(why), ..Self::default() }
    }
}
