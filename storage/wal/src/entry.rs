//! What a log holds: groups, positions, entries, and the state of a group's log.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A Raft group on this node. 0 is the metadata group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupId(pub u64);

/// Where an entry stands in a group's log: openraft's log id, flattened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogPosition {
    /// Term in which a leader appended it.
    pub term: u64,
    /// Replica id of that leader.
    pub leader: u64,
    /// Index; openraft's first index is 0.
    pub index: u64,
}

/// What an entry carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A command of the state machine.
    Normal,
    /// A membership of the group.
    Membership,
    /// Nothing: a new leader's first entry.
    Blank,
}

/// One entry of a group's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub position: LogPosition,
    /// What the payload is.
    pub kind: EntryKind,
    /// The bytes that were proposed.
    pub payload: Arc<[u8]>,
}

/// What a group's log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupState {
    /// Last saved vote, as its owner encoded it.
    pub vote: Option<Arc<[u8]>>,
    /// Last saved commit position (a lower bound), as its owner encoded it.
    pub committed: Option<Arc<[u8]>>,
    /// All up to here was purged.
    pub purged: Option<LogPosition>,
    /// The last entry; `None` when the log holds none above `purged`.
    pub last: Option<LogPosition>,
}
