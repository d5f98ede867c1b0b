//! The log's handles: [`Wal`] for the node, [`GroupLog`] for one Raft group.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Clock, Disk, Error, SystemClock};

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

/// Called once, from the writer thread, after the sync that covers the call (or after it failed).
pub type SyncCallback = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// Settings of the log.
#[derive(Clone, Debug)]
pub struct WalOptions {
    /// Directory of the log's files.
    pub dir: PathBuf,
    /// The cluster that this log belongs to; another one is refused.
    pub cluster: u128,
    /// The node that this log belongs to; another one is refused.
    pub node: u128,
    /// Size of a log segment.
    pub segment_bytes: u64,
    /// Bytes waiting in the writer's queue above which `append` blocks.
    pub queue_bytes_max: u64,
    /// Free space below which [`Wal::admit`] refuses with [`Error::DiskFull`].
    pub reserve_bytes: u64,
    /// Bytes of entries kept in memory per node for readers.
    pub cache_bytes: u64,
    /// Times the syncs.
    pub clock: Arc<dyn Clock>,
}

impl WalOptions {
    /// The defaults of `docs/operations.md`.
    pub fn new(dir: impl Into<PathBuf>, cluster: u128, node: u128) -> Self {
        Self {
            dir: dir.into(),
            cluster,
            node,
            segment_bytes: 64 << 20,
            queue_bytes_max: 32 << 20,
            reserve_bytes: 256 << 20,
            cache_bytes: 64 << 20,
            clock: Arc::new(SystemClock::new()),
        }
    }
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

/// What opening found.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Groups with anything in the log.
    pub groups: BTreeMap<GroupId, GroupState>,
    /// Entries whose place is known and whose bytes are damaged, by group.
    pub faulty: BTreeMap<GroupId, Vec<LogPosition>>,
    /// Bytes of torn, never acknowledged frames that were discarded.
    pub bytes_torn: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Why the log cannot be trusted to be whole, if so.
    pub lost: Option<String>,
}

/// Counters of the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct WalStatus {
    /// Bytes of all log segments on disk that still hold live entries.
    pub bytes_live: u64,
    /// Bytes written since start.
    pub bytes_written: u64,
    /// Syncs since start.
    pub syncs: u64,
    /// Entries appended since start.
    pub entries: u64,
    /// Duration of the last syncs: 50th percentile, in microseconds.
    pub sync_micros_p50: u64,
    /// 99th percentile, in microseconds.
    pub sync_micros_p99: u64,
    /// Whether a write or sync failed.
    pub poisoned: bool,
    /// Whether appends are refused for want of space.
    pub disk_full: bool,
}

/// The node's log: one writer thread, shared by all groups.
#[derive(Clone, Debug)]
pub struct Wal {}

impl Wal {
    /// Opens or creates the log and reads what it holds.
    pub fn open(_disk: Arc<dyn Disk>, _options: WalOptions) -> Result<(Self, Recovery), Error> {
        unimplemented!()
    }
    /// The handle of one group, created on first use.
    pub fn group(&self, _group: GroupId) -> GroupLog {
        unimplemented!()
    }
    /// Counters.
    pub fn status(&self) -> WalStatus {
        unimplemented!()
    }
    /// Bytes of log segments from the one with the oldest entry of `group` on: what the group keeps from
    /// being removed, alone or with others.
    pub fn bytes_held_by(&self, _group: GroupId) -> u64 {
        unimplemented!()
    }
    /// Whether a new proposal may be made. Refuses with [`Error::DiskFull`] while less than the reserve is
    /// free: ask before proposing, since Raft's own entries may draw on the reserve.
    pub fn admit(&self) -> Result<(), Error> {
        unimplemented!()
    }
    /// Calls `hook` once, from the writer thread, when a write or sync has failed (at once, if one has).
    /// The process must then end: what was pending is unknown.
    pub fn on_poison(&self, _hook: Box<dyn FnOnce() + Send>) {
        unimplemented!()
    }
    /// Forgets the FAULTY entries of a group and all after them, recording the loss. Returns what goes.
    pub fn accept_loss(&self, _group: GroupId) -> Result<Vec<LogPosition>, Error> {
        unimplemented!()
    }
    /// Syncs what is queued, ends the writer thread, and releases the files.
    pub fn close(&self) -> Result<(), Error> {
        unimplemented!()
    }
}

/// One group's part of the log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct GroupLog {}

impl GroupLog {
    /// [`Wal::admit`], where only the group is at hand.
    pub fn admit(&self) -> Result<(), Error> {
        unimplemented!()
    }
    /// What the group's log holds now, unsynced entries included.
    pub fn state(&self) -> GroupState {
        unimplemented!()
    }
    /// Appends consecutive entries. On return they are readable; `done` runs after they are synced.
    pub fn append(&self, _entries: Vec<Entry>, _done: SyncCallback) -> Result<(), Error> {
        unimplemented!()
    }
    /// Saves the vote; `done` runs after it is synced.
    pub fn save_vote(&self, _vote: Arc<[u8]>, _done: SyncCallback) -> Result<(), Error> {
        unimplemented!()
    }
    /// Saves the commit position with the next sync, whenever that is.
    pub fn save_committed(&self, _committed: Arc<[u8]>) -> Result<(), Error> {
        unimplemented!()
    }
    /// Drops the entries above `last` (all, when `None`).
    pub fn truncate_after(&self, _last: Option<LogPosition>) -> Result<(), Error> {
        unimplemented!()
    }
    /// Drops the entries up to `upto`, which may lie above the last one: the log then goes on behind it.
    pub fn purge(&self, _upto: LogPosition) -> Result<(), Error> {
        unimplemented!()
    }
    /// Entries of an index range, in order, at least one (if there is one) and at most about `bytes_max`.
    pub fn read(&self, _range: Range<u64>, _bytes_max: u64) -> Result<Vec<Entry>, Error> {
        unimplemented!()
    }
    /// Bytes of payload above `index`: what a flush at `index` would leave in the log.
    pub fn bytes_above(&self, _index: u64) -> u64 {
        unimplemented!()
    }
}
