//! What waits for the writer thread.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use crate::entry::{EntryKind, GroupId, LogPosition};
use crate::group::Group;
use crate::wal::SyncCallback;

/// What an item adds to the directory of its frame, at most, beside its payload.
const ITEM_OVERHEAD: u64 = 128;

/// Something to be made durable.
pub(crate) struct Item {
    pub(crate) group: Arc<Group>,
    pub(crate) kind: ItemKind,
    pub(crate) done: Option<SyncCallback>,
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item")
            .field("group", &self.group.id)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// What an item says.
#[derive(Clone, Debug)]
pub(crate) enum ItemKind {
    Entry {
        position: LogPosition,
        kind: EntryKind,
        crc: u32,
        ticket: u64,
        payload: Arc<[u8]>,
    },
    Vote(Arc<[u8]>),
    Committed(Arc<[u8]>),
    TruncateAfter(Option<LogPosition>),
    Purge(LogPosition),
    LossAccepted(Option<LogPosition>),
    /// Nothing; its callback runs after the sync of what was there before it.
    Barrier,
}

impl ItemKind {
    /// About how long it makes its frame.
    pub(crate) fn bytes(&self) -> u64 {
        ITEM_OVERHEAD
            + match self {
                Self::Entry { payload, .. } => payload.len() as u64,
                Self::Vote(bytes) | Self::Committed(bytes) => bytes.len() as u64,
                Self::TruncateAfter(_) | Self::Purge(_) | Self::LossAccepted(_) | Self::Barrier => {
                    0
                }
            }
    }
}

/// The queue, under the lock of [`crate::shared::Shared`].
#[derive(Debug, Default)]
pub(crate) struct Queue {
    items: VecDeque<Item>,
    /// Commit positions that ride along with the next frame, and never cause one.
    committed: BTreeMap<GroupId, (Arc<Group>, Arc<[u8]>)>,
    /// Bytes of what waits and of what is being written.
    pub(crate) bytes: u64,
    pub(crate) closing: bool,
    pub(crate) poisoned: bool,
}

impl Queue {
    pub(crate) fn push(&mut self, item: Item) {
        self.bytes += item.kind.bytes();
        self.items.push_back(item);
    }

    pub(crate) fn push_committed(&mut self, group: &Arc<Group>, committed: Arc<[u8]>) {
        self.committed.insert(group.id, (Arc::clone(group), committed));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether items wait that can still be written.
    pub(crate) fn waits(&self) -> bool {
        !self.items.is_empty() && !self.poisoned
    }

    /// Whether anything is left to be written before the log can be closed.
    pub(crate) fn is_drained(&self) -> bool {
        self.items.is_empty() && self.committed.is_empty()
    }

    /// A batch that was taken is written, or never will be.
    pub(crate) fn ended(&mut self, bytes: u64) {
        assert!(bytes <= self.bytes, "{bytes} bytes end of {} in the queue", self.bytes);
        self.bytes -= bytes;
    }

    /// Takes items from the front, at least one, up to about `bytes_max`. Commit positions come along only when
    /// nothing is left behind, so that none gets ahead of the entry that it names.
    pub(crate) fn take(&mut self, bytes_max: u64) -> Vec<Item> {
        let mut bytes = 0;
        let mut batch = Vec::new();
        while let Some(item) = self.items.front() {
            bytes += item.kind.bytes();
            if bytes > bytes_max && !batch.is_empty() {
                break;
            }
            batch.extend(self.items.pop_front());
        }
        if self.items.is_empty() {
            for (group, committed) in std::mem::take(&mut self.committed).into_values() {
                let item = Item { group, kind: ItemKind::Committed(committed), done: None };
                self.bytes += item.kind.bytes();
                batch.push(item);
            }
        }
        batch
    }
}
