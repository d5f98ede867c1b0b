//! The log of one group: what is where, and the handle to it.
//!
//! Entries that are appended stand in memory at once, so that they can be read before they are synced; the
//! writer thread fills in their places on disk, and drops payloads once the node's cache is full. Reads of
//! what is no longer in memory come from disk and are verified each time.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::OpenMode;
use crate::entry::{Entry, EntryKind, GroupId, GroupState, LogPosition};
use crate::queue::{Item, ItemKind};
use crate::replay::GroupOutcome;
use crate::shared::Shared;
use crate::wal::Handle;
use crate::{Error, Faults, SyncCallback};

/// Votes must fit a block of the hard state.
const VOTE_LEN_MAX: usize = 2048;

/// Where a payload lies on disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

/// An entry without its index, which is its place in the queue of slots.
#[derive(Clone, Debug)]
struct Slot {
    position: LogPosition,
    kind: EntryKind,
    len: u32,
    crc: u32,
    /// Tells apart two entries that had the same index.
    ticket: u64,
    /// Payload bytes of the group's log up to and with this entry.
    bytes_end: u64,
    /// `None` until it is synced.
    place: Option<Place>,
    /// Always there until it is synced.
    payload: Option<Arc<[u8]>>,
    faulty: bool,
}

/// One group of the node.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) id: GroupId,
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    state: GroupState,
    slots: VecDeque<Slot>,
    next_ticket: u64,
    /// `bytes_end` of the last entry that was purged.
    bytes_purged: u64,
    /// The oldest segment that holds a live entry, as far as it is written.
    oldest_segment: Option<u64>,
    /// Entries behind a hole, known by name only.
    beyond: Vec<LogPosition>,
    quarantined: bool,
}

impl Log {
    fn first_index(&self) -> Option<u64> {
        self.slots.front().map(|slot| slot.position.index)
    }

    fn slot_mut(&mut self, index: u64) -> Option<&mut Slot> {
        let at = index.checked_sub(self.first_index()?)?;
        self.slots.get_mut(usize::try_from(at).ok()?)
    }

    fn bytes_end(&self) -> u64 {
        self.slots.back().map_or(self.bytes_purged, |slot| slot.bytes_end)
    }

    fn keep_up_to(&mut self, last: Option<LogPosition>) {
        let keep = last.map_or(0, |last| last.index + 1);
        while self.slots.back().is_some_and(|slot| slot.position.index >= keep) {
            self.slots.pop_back();
        }
        self.state.last = self.slots.back().map(|slot| slot.position);
    }

    fn purge(&mut self, upto: LogPosition) {
        while self.slots.front().is_some_and(|slot| slot.position.index <= upto.index) {
            if let Some(slot) = self.slots.pop_front() {
                self.bytes_purged = slot.bytes_end;
            }
        }
        self.state.purged = Some(upto);
        self.state.last = self.slots.back().map(|slot| slot.position);
    }
}

impl Group {
    pub(crate) fn new(id: GroupId) -> Self {
        Self { id, log: Mutex::new(Log::default()) }
    }

    /// The group as recovery found it.
    pub(crate) fn recovered(id: GroupId, outcome: &GroupOutcome) -> Self {
        let image = &outcome.mirror.image;
        let mut bytes_end = 0;
        let slots = outcome.entries.iter().map(|entry| {
            bytes_end += u64::from(entry.len);
            Slot {
                position: entry.position,
                kind: entry.kind,
                len: entry.len,
                crc: entry.crc,
                ticket: 0,
                bytes_end,
                place: Some(Place { segment: entry.segment, offset: entry.offset }),
                payload: None,
                faulty: entry.faulty,
            }
        });
        let log = Log {
            slots: slots.collect(),
            state: GroupState {
                vote: image.vote.clone(),
                committed: image.committed.clone(),
                purged: image.purged,
                last: outcome.entries.last().map(|entry| entry.position),
            },
            next_ticket: 1,
            bytes_purged: 0,
            oldest_segment: outcome.mirror.oldest_segment(),
            beyond: outcome.beyond.clone(),
            quarantined: outcome.quarantined,
        };
        Self { id, log: Mutex::new(log) }
    }

    /// The oldest segment that it needs.
    pub(crate) fn oldest_segment(&self) -> Option<u64> {
        self.log.lock().oldest_segment
    }

    pub(crate) fn set_oldest_segment(&self, segment: Option<u64>) {
        self.log.lock().oldest_segment = segment;
    }

    /// Notes where an entry was written, unless it was truncated meanwhile.
    pub(crate) fn set_place(&self, index: u64, ticket: u64, place: Place) {
        if let Some(slot) = self.log.lock().slot_mut(index)
            && slot.ticket == ticket
        {
            slot.place = Some(place);
        }
    }

    /// Drops the payload of a synced entry from memory.
    pub(crate) fn evict(&self, index: u64, ticket: u64) {
        if let Some(slot) = self.log.lock().slot_mut(index)
            && slot.ticket == ticket
        {
            debug_assert!(slot.place.is_some(), "only synced entries are evicted");
            slot.payload = None;
        }
    }

    /// Drops everything from the first entry that is damaged or behind a hole on. Returns what goes.
    pub(crate) fn accept_loss(
        self: &Arc<Self>,
        shared: &Shared,
        done: SyncCallback,
    ) -> Result<Vec<LogPosition>, Error> {
        let mut log = self.log.lock();
        let kept = log.slots.iter().position(|slot| slot.faulty).unwrap_or(log.slots.len());
        if kept == log.slots.len() && !log.quarantined {
            done(Ok(()));
            return Ok(Vec::new());
        }
        let mut gone: Vec<_> = log.slots.iter().skip(kept).map(|slot| slot.position).collect();
        gone.extend_from_slice(&log.beyond);
        let last = kept.checked_sub(1).map(|at| log.slots[at].position);
        shared.enqueue([self.item(ItemKind::LossAccepted(last), Some(done))])?;
        log.keep_up_to(last);
        log.state.committed = None;
        log.beyond.clear();
        log.quarantined = false;
        Ok(gone)
    }

    fn item(self: &Arc<Self>, kind: ItemKind, done: Option<SyncCallback>) -> Item {
        Item { group: Arc::clone(self), kind, done }
    }

    fn check_writable(&self, log: &Log, shared: &Shared) -> Result<(), Error> {
        if log.quarantined {
            let what = format!(
                "records of group {} are missing in the write-ahead log, and the loss is not accepted",
                self.id.0
            );
            return Err(Error::Corrupt { path: shared.options.dir.clone(), offset: 0, what });
        }
        Ok(())
    }
}

/// One group's part of the log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct GroupLog {
    handle: Arc<Handle>,
    group: Arc<Group>,
}

impl GroupLog {
    pub(crate) fn new(handle: Arc<Handle>, group: Arc<Group>) -> Self {
        Self { handle, group }
    }

    fn shared(&self) -> &Shared {
        self.handle.shared()
    }

    /// The group.
    pub fn id(&self) -> GroupId {
        self.group.id
    }

    /// What the log was opened with for a simulator.
    pub fn faults(&self) -> &Faults {
        &self.shared().options.faults
    }

    /// [`crate::Wal::admit`], where only the group is at hand.
    pub fn admit(&self) -> Result<(), Error> {
        self.shared().admit()
    }

    /// What the group's log holds now, unsynced entries included.
    pub fn state(&self) -> GroupState {
        self.group.log.lock().state.clone()
    }

    /// Entries that are damaged on disk.
    pub fn faulty(&self) -> Vec<LogPosition> {
        let log = self.group.log.lock();
        log.slots.iter().filter(|slot| slot.faulty).map(|slot| slot.position).collect()
    }

    /// Whether records of the group are missing: what it holds is then no proof of what it never held.
    pub fn is_quarantined(&self) -> bool {
        self.group.log.lock().quarantined
    }

    /// What stands at an index, FAULTY or not.
    pub fn position_at(&self, index: u64) -> Option<LogPosition> {
        self.group.log.lock().slot_mut(index).map(|slot| slot.position)
    }

    /// Writes the bytes of a FAULTY entry anew where they were, from a copy of another replica. Durable on return.
    /// Bytes that are not those that were appended are refused. Blocks on the disk.
    pub fn mend(&self, position: LogPosition, payload: &[u8]) -> Result<(), Error> {
        let shared = self.shared();
        let slot = self.group.log.lock().slot_mut(position.index).map(|slot| slot.clone());
        let Some(slot) = slot.filter(|slot| slot.position == position && slot.faulty) else {
            return Ok(());
        };
        let refuse = |path, what: String| Error::Corrupt { path, offset: 0, what };
        let same = payload.len() == slot.len as usize && crc32c::crc32c(payload) == slot.crc;
        let Some((place, segment)) = slot
            .place
            .and_then(|place| Some((place, shared.segment(place.segment)?)))
            .filter(|_| same)
        else {
            let what = format!("the copy of entry {} is not what was appended", position.index);
            return Err(refuse(shared.options.dir.clone(), what));
        };
        let io = |action| crate::recovery::io(action, &segment.path);
        let file = shared.disk.open(&segment.path, OpenMode::ReadWrite).map_err(io("open"))?;
        file.write_all_at(payload, place.offset).map_err(io("write"))?;
        file.sync_data().map_err(io("sync"))?;
        let mended = Slot { faulty: false, ..slot };
        self.read_payload(&mended, place)?;
        if let Some(slot) = self.group.log.lock().slot_mut(position.index)
            && slot.position == position
        {
            slot.faulty = false;
        }
        Ok(())
    }

    pub(crate) fn accept_loss(&self, done: SyncCallback) -> Result<Vec<LogPosition>, Error> {
        self.group.accept_loss(self.shared(), done)
    }

    /// Appends consecutive entries. On return they are readable; `done` runs after they are synced. Blocks while
    /// the writer's queue is full. After an error nothing was appended and `done` is not called.
    ///
    /// # Panics
    ///
    /// If the entries do not follow the last one.
    pub fn append(&self, entries: Vec<Entry>, done: SyncCallback) -> Result<(), Error> {
        let shared = self.shared();
        let crcs: Vec<u32> = entries.iter().map(|entry| crc32c::crc32c(&entry.payload)).collect();
        shared.wait_for_room(&entries)?;
        let mut log = self.group.log.lock();
        self.group.check_writable(&log, shared)?;
        let (mut slots, mut items) = (Vec::new(), Vec::new());
        let mut bytes_end = log.bytes_end();
        let mut previous = log.state.last.or(log.state.purged);
        for (entry, crc) in entries.into_iter().zip(crcs) {
            let Entry { position, kind, payload } = entry;
            if let Some(previous) = previous {
                let follows = position.index == previous.index + 1;
                assert!(follows, "append of {position:?} after {previous:?}");
            }
            previous = Some(position);
            let ticket = log.next_ticket + slots.len() as u64;
            let len = u32::try_from(payload.len()).expect("an entry is smaller than 4 GiB");
            bytes_end += u64::from(len);
            let kind_of_item =
                ItemKind::Entry { position, kind, crc, ticket, payload: Arc::clone(&payload) };
            items.push(self.group.item(kind_of_item, None));
            let payload = Some(payload);
            let place = None;
            let faulty = false;
            slots.push(Slot {
                position,
                kind,
                len,
                crc,
                ticket,
                bytes_end,
                place,
                payload,
                faulty,
            });
        }
        match items.last_mut() {
            Some(item) => item.done = Some(done),
            None => items.push(self.group.item(ItemKind::Barrier, Some(done))),
        }
        shared.enqueue(items)?;
        log.next_ticket += slots.len() as u64;
        log.slots.extend(slots);
        log.state.last = log.slots.back().map(|slot| slot.position);
        Ok(())
    }

    /// Saves the vote; `done` runs after it is synced.
    ///
    /// # Panics
    ///
    /// If the vote is longer than 2 KiB.
    pub fn save_vote(&self, vote: Arc<[u8]>, done: SyncCallback) -> Result<(), Error> {
        assert!(vote.len() <= VOTE_LEN_MAX, "vote of {} bytes", vote.len());
        let mut log = self.group.log.lock();
        self.group.check_writable(&log, self.shared())?;
        let item = self.group.item(ItemKind::Vote(Arc::clone(&vote)), Some(done));
        self.shared().enqueue([item])?;
        log.state.vote = Some(vote);
        Ok(())
    }

    /// Saves the commit position with the next sync, whenever that is.
    ///
    /// # Panics
    ///
    /// If the commit position is longer than 2 KiB.
    pub fn save_committed(&self, committed: Arc<[u8]>) -> Result<(), Error> {
        assert!(committed.len() <= VOTE_LEN_MAX, "commit position of {} bytes", committed.len());
        let mut log = self.group.log.lock();
        self.group.check_writable(&log, self.shared())?;
        self.shared().enqueue_committed(&self.group, Arc::clone(&committed))?;
        log.state.committed = Some(committed);
        Ok(())
    }

    /// Drops the entries above `last` (all, when `None`). Durable with the next sync.
    pub fn truncate_after(&self, last: Option<LogPosition>) -> Result<(), Error> {
        let mut log = self.group.log.lock();
        self.group.check_writable(&log, self.shared())?;
        let item = self.group.item(ItemKind::TruncateAfter(last), None);
        self.shared().enqueue([item])?;
        log.keep_up_to(last);
        Ok(())
    }

    /// Drops the entries up to `upto`, which may lie above the last one: the log then goes on behind it.
    pub fn purge(&self, upto: LogPosition) -> Result<(), Error> {
        let mut log = self.group.log.lock();
        self.group.check_writable(&log, self.shared())?;
        if log.state.purged.is_some_and(|purged| purged.index >= upto.index) {
            return Ok(());
        }
        self.shared().enqueue([self.group.item(ItemKind::Purge(upto), None)])?;
        log.purge(upto);
        Ok(())
    }

    /// Entries of an index range, in order, at least one (if there is one) and at most about `bytes_max`.
    ///
    /// Ends before a FAULTY entry; fails with [`Error::Corrupt`] if the first one is FAULTY.
    pub fn read(&self, range: Range<u64>, bytes_max: u64) -> Result<Vec<Entry>, Error> {
        // A segment can be removed between the look at the slots and the read: then its entries were purged,
        // and a second look shows that.
        loop {
            let slots = self.slots(range.clone(), bytes_max);
            let mut entries = Vec::with_capacity(slots.len());
            let mut removed = false;
            for slot in slots {
                if slot.faulty && !entries.is_empty() {
                    break;
                }
                let Some(entry) = self.entry(&slot)? else {
                    removed = true;
                    break;
                };
                entries.push(entry);
            }
            if !removed {
                return Ok(entries);
            }
        }
    }

    fn slots(&self, range: Range<u64>, bytes_max: u64) -> Vec<Slot> {
        let log = self.group.log.lock();
        let Some(first) = log.first_index() else { return Vec::new() };
        let skip = usize::try_from(range.start.saturating_sub(first)).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let mut slots = Vec::new();
        for slot in log.slots.iter().skip(skip) {
            bytes += u64::from(slot.len);
            if slot.position.index >= range.end || (bytes > bytes_max && !slots.is_empty()) {
                break;
            }
            slots.push(slot.clone());
        }
        slots
    }

    /// The entry of a slot; `None` if its segment was removed.
    fn entry(&self, slot: &Slot) -> Result<Option<Entry>, Error> {
        let Slot { position, kind, .. } = *slot;
        let payload = match (&slot.payload, slot.place) {
            (Some(payload), _) => Arc::clone(payload),
            (None, Some(place)) => match self.read_payload(slot, place)? {
                Some(payload) => payload,
                None => return Ok(None),
            },
            (None, None) => unreachable!("entry {position:?} is neither in memory nor on disk"),
        };
        Ok(Some(Entry { position, kind, payload }))
    }

    fn read_payload(&self, slot: &Slot, place: Place) -> Result<Option<Arc<[u8]>>, Error> {
        let Some(segment) = self.shared().segment(place.segment) else { return Ok(None) };
        let mut payload: Arc<[u8]> = std::iter::repeat_n(0, slot.len as usize).collect();
        let bytes = Arc::get_mut(&mut payload).expect("it was just made");
        let read = segment.file.read_exact_at(bytes, place.offset);
        let intact = !slot.faulty && read.is_ok() && crc32c::crc32c(bytes) == slot.crc;
        if intact {
            return Ok(Some(payload));
        }
        let LogPosition { term, index, .. } = slot.position;
        let what = match read {
            Err(error) => {
                format!(
                    "entry {index} (term {term}) of group {} is unreadable: {error}",
                    self.group.id.0
                )
            }
            Ok(()) => {
                format!("entry {index} (term {term}) of group {} is damaged", self.group.id.0)
            }
        };
        Err(Error::Corrupt { path: segment.path, offset: place.offset, what })
    }

    /// Bytes of payload above `index`: what a flush at `index` would leave in the log.
    pub fn bytes_above(&self, index: u64) -> u64 {
        let log = self.group.log.lock();
        let end = log.bytes_end();
        let Some(first) = log.first_index() else { return 0 };
        let below = match index.checked_sub(first) {
            None => log.bytes_purged,
            Some(at) => {
                let at = usize::try_from(at).unwrap_or(usize::MAX);
                log.slots.get(at).map_or(end, |slot| slot.bytes_end)
            }
        };
        end - below
    }
}
