//! The writer thread: natural group commit.
//!
//! Takes what waits in the queue, writes it as one frame, syncs once, and runs the callbacks in order. While a
//! sync runs the next frame gathers; nothing waits for company on an idle log. One frame is in flight at a time,
//! which is what recovery builds on.
//!
//! ```text
//! queue → frame → write → sync → (vote? hard state → sync) → places, callbacks → old segments
//!   idle? mark  └ full? header + states into the spare → sync → name → sync directory
//! ```
//!
//! A write or sync that fails poisons the log: what the disk holds is then unknown, since the kernel may mark
//! pages clean that it failed to write (Rebello et al., ATC '20). Nothing is tried again, all that was
//! pending fails, and the process must end.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::bytes::BLOCK;
use crate::disk::{DiskFile, OpenMode};
use crate::entry::GroupId;
use crate::frame::{self, Frame, FramePlace};
use crate::group::{Group, Place};
use crate::hardstate::HardState;
use crate::log_segment::{
    FRAMES_OFFSET, Identity, MARK_OFFSET, SPARE, SegmentHeader, encode_mark, segment_path,
};
use crate::queue::{Item, ItemKind};
use crate::record::{GroupMirror, Record, Tagged};
use crate::recovery::{LogSegment, POISONED, Resume, io};
use crate::shared::Shared;
use crate::{Error, PlantedBug};

/// About how long a frame becomes, unless one entry is longer.
const FRAME_BYTES_MAX: u64 = 8 << 20;
/// Less than this is left unused rather than filled with small frames.
const SEGMENT_REST_MIN: u64 = 256 << 10;

/// The thread's own state.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    identity: Identity,
    hardstate: HardState,
    /// What the log on disk says about each group.
    mirrors: BTreeMap<GroupId, GroupMirror>,
    current: Option<Current>,
    newest_segment: u64,
    oldest_segment: u64,
    next_frame: u64,
    previous_crc: u32,
    buffer: Vec<u8>,
    cache: Cache,
}

/// The segment being written.
#[derive(Debug)]
struct Current {
    number: u64,
    file: Arc<dyn DiskFile>,
    /// Where the next frame goes.
    offset: u64,
    len: u64,
}

/// Payloads in memory, oldest first. Entries that were purged are still counted until their turn comes.
#[derive(Debug, Default)]
struct Cache {
    entries: VecDeque<(Arc<Group>, u64, u64, u64)>,
    bytes: u64,
}

impl Cache {
    fn push(&mut self, group: &Arc<Group>, index: u64, ticket: u64, bytes: u64) {
        self.entries.push_back((Arc::clone(group), index, ticket, bytes));
        self.bytes += bytes;
    }

    fn shrink(&mut self, bytes_max: u64) {
        while self.bytes > bytes_max
            && let Some((group, index, ticket, bytes)) = self.entries.pop_front()
        {
            self.bytes -= bytes;
            group.evict(index, ticket);
        }
    }
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        identity: Identity,
        hardstate: HardState,
        mirrors: BTreeMap<GroupId, GroupMirror>,
        resume: Resume,
    ) -> Self {
        let newest = shared.segment(resume.newest_segment).filter(|_| resume.in_newest);
        let current = newest.map(|segment| Current {
            number: resume.newest_segment,
            file: segment.file,
            offset: segment.used,
            len: segment.len,
        });
        let left = current.as_ref().map_or(0, |current| current.len.saturating_sub(current.offset));
        shared.segment_left.store(left, Ordering::Relaxed);
        shared.background.remove_below(resume.oldest_segment);
        Self {
            shared,
            identity,
            hardstate,
            mirrors,
            current,
            newest_segment: resume.newest_segment,
            oldest_segment: resume.oldest_segment,
            next_frame: resume.next_frame,
            previous_crc: resume.previous_crc,
            buffer: Vec::new(),
            cache: Cache::default(),
        }
    }

    /// The thread: ends when the log is closed or poisoned.
    pub(crate) fn run(mut self) {
        let mut guard = PoisonOnPanic { shared: Arc::clone(&self.shared), armed: true };
        while let Some(batch) = self.shared.next_batch(self.batch_bytes_max()) {
            if !self.write_batch(batch) {
                guard.armed = false;
                return;
            }
        }
        guard.armed = false;
        self.end();
    }

    /// Makes a batch durable and tells everyone. False once the log is poisoned.
    pub(crate) fn write_batch(&mut self, batch: Vec<Item>) -> bool {
        let bytes = batch.iter().map(|item| item.kind.bytes()).sum();
        self.shared.metrics.frame_begins(self.shared.options.clock.monotonic());
        let committed = self.commit(&batch);
        self.shared.metrics.frame_ended();
        match committed {
            Ok(frame) => self.publish(batch, &frame),
            Err(error) => {
                poison(&self.shared, batch, &error);
                return false;
            }
        }
        let idle = self.shared.batch_ended(bytes);
        if idle && let Err(error) = self.mark(false) {
            poison(&self.shared, Vec::new(), &error);
            return false;
        }
        true
    }

    /// The log is closed, and all is written.
    pub(crate) fn end(self) {
        if let Err(error) = self.mark(true) {
            return poison(&self.shared, Vec::new(), &error);
        }
        self.shared.background.stop();
    }

    /// Notes in the segment that its last frame was acknowledged. Durable with the next sync, whenever that is.
    fn mark(&self, sync: bool) -> Result<(), Error> {
        let Some(current) = &self.current else { return Ok(()) };
        let mark = encode_mark(current.number, self.next_frame - 1);
        let path = segment_path(self.dir(), current.number);
        current.file.write_all_at(&mark, MARK_OFFSET).map_err(io("write", &path))?;
        if sync { current.file.sync_data().map_err(io("sync", &path)) } else { Ok(()) }
    }

    /// A frame should fill the rest of a segment rather than go over it.
    pub(crate) fn batch_bytes_max(&self) -> u64 {
        let left = self.current.as_ref().map_or(0, |current| current.len - current.offset);
        if left < SEGMENT_REST_MIN {
            return FRAME_BYTES_MAX;
        }
        // Padding, both directories' fixed parts, and rounding.
        (left - left / 8 - 4 * BLOCK as u64).min(FRAME_BYTES_MAX)
    }

    /// Makes a batch durable.
    fn commit(&mut self, batch: &[Item]) -> Result<Frame, Error> {
        let records = batch.iter().filter_map(record_of).collect::<Vec<_>>();
        let payload_len: usize =
            batch.iter().map(|item| payload_of(item).map_or(0, <[u8]>::len)).sum();
        let inline_len: usize = records.iter().map(|(_, record)| frame::inline_len(record)).sum();
        let len = frame::frame_len(records.len(), inline_len, payload_len) as u64;
        match self.current.take() {
            Some(current) if current.offset + len <= current.len => {
                let frame = self.encode(&current, records, batch);
                self.write(&current.file, &segment_path(self.dir(), current.number), &frame)?;
                self.written(current, &frame);
                self.save_votes(batch)?;
                Ok(frame)
            }
            Some(_) | None => self.rotate(records, batch),
        }
    }

    fn dir(&self) -> &std::path::Path {
        &self.shared.options.dir
    }

    /// Writes a batch as the first frame of a new segment, behind the state of each group.
    fn rotate(&mut self, records: Vec<(GroupId, Record)>, batch: &[Item]) -> Result<Frame, Error> {
        let spare_path = self.dir().join(SPARE);
        let number = self.newest_segment + 1;
        let path = segment_path(self.dir(), number);
        let shared = Arc::clone(&self.shared);
        let spare = self.shared.background.take_spare(|| shared.gives_up());
        let spare = spare.map_err(io("prepare", &spare_path))?;
        let current = Current { number, file: spare.file, offset: FRAMES_OFFSET, len: spare.len };

        let states =
            self.mirrors.iter().map(|(id, mirror)| (*id, Record::State(mirror.image.clone())));
        let records = states.chain(records).collect();
        let header = SegmentHeader {
            identity: self.identity,
            segment: number,
            first_frame: self.next_frame,
            previous_crc: self.previous_crc,
        };
        let frame = self.encode(&current, records, batch);
        if frame.header.end() > current.len {
            // An entry larger than a segment. Where there is no space for it the frame waits.
            let larger = || current.file.allocate(frame.header.end());
            let background = &self.shared.background;
            background.wait_for_space(larger, || shared.gives_up()).map_err(io("extend", &path))?;
        }
        let copy = header.encode();
        let headers = [copy.as_slice(), copy.as_slice()].concat();
        current.file.write_all_at(&headers, 0).map_err(io("write", &spare_path))?;
        self.write(&current.file, &spare_path, &frame)?;
        let disk = &self.shared.disk;
        disk.rename(&spare_path, &path).map_err(io("rename", &spare_path))?;
        disk.sync_dir(self.dir()).map_err(io("sync", self.dir()))?;
        self.shared.background.spare_named();
        self.hardstate.save_newest_segment(number)?;
        self.newest_segment = number;
        let segment = LogSegment {
            path,
            file: Arc::clone(&current.file),
            used: frame.header.end(),
            len: current.len.max(frame.header.end()),
        };
        self.shared.segments.write().insert(number, segment);
        self.written(current, &frame);
        self.save_votes(batch)?;
        Ok(frame)
    }

    /// Fills the buffer with the next frame, and takes its records as said.
    fn encode(
        &mut self,
        current: &Current,
        records: Vec<(GroupId, Record)>,
        batch: &[Item],
    ) -> Frame {
        let mut tagged = Vec::with_capacity(records.len());
        for (group, record) in records {
            let mirror = self.mirrors.entry(group).or_default();
            let seq = mirror.next_seq;
            mirror.apply(seq, &record, current.number);
            tagged.push(Tagged { group, seq, record });
        }
        let oldest = self.mirrors.values().filter_map(GroupMirror::oldest_segment).min();
        self.oldest_segment = oldest.unwrap_or(current.number);
        let place = FramePlace {
            segment: current.number,
            frame: self.next_frame,
            offset: current.offset,
            durable_frame: self.next_frame - 1,
            oldest_segment: self.oldest_segment,
            previous_crc: self.previous_crc,
        };
        frame::encode(&mut self.buffer, place, tagged, batch.iter().filter_map(payload_of))
    }

    /// Writes and syncs what is in the buffer.
    fn write(
        &self,
        file: &Arc<dyn DiskFile>,
        path: &std::path::Path,
        frame: &Frame,
    ) -> Result<(), Error> {
        file.write_all_at(&self.buffer, frame.header.offset).map_err(io("write", path))?;
        let clock = &self.shared.options.clock;
        let before = clock.monotonic();
        if !self.shared.options.faults.has(PlantedBug::SkippedSync) {
            file.sync_data().map_err(io("sync", path))?;
        }
        let now = clock.monotonic();
        let sync = now.checked_sub(before).unwrap_or(Duration::ZERO);
        let entries = frame.entries().count() as u64;
        self.shared.metrics.frame_written(now, frame.header.len, entries, sync);
        Ok(())
    }

    /// A frame is on disk: the next one goes behind it.
    fn written(&mut self, mut current: Current, frame: &Frame) {
        current.offset = frame.header.end();
        self.next_frame = frame.header.frame + 1;
        self.previous_crc = frame.crc;
        if let Some(segment) = self.shared.segments.write().get_mut(&current.number) {
            segment.used = current.offset;
        }
        let left = current.len.saturating_sub(current.offset);
        self.shared.segment_left.store(left, Ordering::Relaxed);
        // An entry larger than a segment makes its segment longer, and is the last one in it.
        current.len = current.len.max(current.offset);
        self.current = Some(current);
    }

    /// Writes the second copy of the votes in a batch. They are acknowledged only after it.
    fn save_votes(&mut self, batch: &[Item]) -> Result<(), Error> {
        let mut saved = false;
        for item in batch {
            if let ItemKind::Vote(_) = item.kind {
                let mirror = &self.mirrors[&item.group.id];
                self.hardstate.save_vote(item.group.id, &mirror.image)?;
                saved = true;
            }
        }
        if saved { self.hardstate.sync() } else { Ok(()) }
    }

    /// Tells everyone that a batch is durable.
    fn publish(&mut self, batch: Vec<Item>, frame: &Frame) {
        let segment = frame.header.segment;
        let offsets = frame.entries().map(|(offset, ..)| offset);
        let entries = batch.iter().filter_map(|item| match &item.kind {
            ItemKind::Entry { position, ticket, payload, .. } => {
                Some((&item.group, position.index, *ticket, payload.len() as u64))
            }
            ItemKind::Vote(_)
            | ItemKind::Committed(_)
            | ItemKind::TruncateAfter(_)
            | ItemKind::Purge(_)
            | ItemKind::LossAccepted(_)
            | ItemKind::Barrier => None,
        });
        for ((group, index, ticket, bytes), offset) in entries.zip(offsets) {
            group.set_place(index, ticket, Place { segment, offset });
            self.cache.push(group, index, ticket, bytes);
        }
        for item in &batch {
            let mirror = self.mirrors.get(&item.group.id);
            item.group.set_oldest_segment(mirror.and_then(GroupMirror::oldest_segment));
        }
        self.cache.shrink(self.shared.options.cache_bytes);
        self.buffer.clear();
        self.buffer.shrink_to(2 * usize::try_from(FRAME_BYTES_MAX).unwrap_or(0));
        for item in batch {
            if let Some(done) = item.done {
                done(Ok(()));
            }
        }
        self.shared.background.remove_below(self.oldest_segment);
    }
}

fn record_of(item: &Item) -> Option<(GroupId, Record)> {
    let record = match &item.kind {
        ItemKind::Entry { position, kind, crc, payload, .. } => Record::Entry {
            position: *position,
            kind: *kind,
            len: u32::try_from(payload.len()).expect("an entry is smaller than 4 GiB"),
            crc: *crc,
        },
        ItemKind::Vote(vote) => Record::Vote(Arc::clone(vote)),
        ItemKind::Committed(committed) => Record::Committed(Arc::clone(committed)),
        ItemKind::TruncateAfter(last) => Record::TruncateAfter(*last),
        ItemKind::Purge(upto) => Record::Purge(*upto),
        ItemKind::LossAccepted(last) => Record::LossAccepted(*last),
        ItemKind::Barrier => return None,
    };
    Some((item.group.id, record))
}

fn payload_of(item: &Item) -> Option<&[u8]> {
    match &item.kind {
        ItemKind::Entry { payload, .. } => Some(payload),
        ItemKind::Vote(_)
        | ItemKind::Committed(_)
        | ItemKind::TruncateAfter(_)
        | ItemKind::Purge(_)
        | ItemKind::LossAccepted(_)
        | ItemKind::Barrier => None,
    }
}

/// Ends the log: fails what is pending, leaves a mark for the next start, and calls the hooks.
fn poison(shared: &Shared, batch: Vec<Item>, error: &Error) {
    let source = std::error::Error::source(error);
    tracing::error!(%error, source, "the write-ahead log has failed: the process must end");
    let waiting = shared.poison();
    for item in batch.into_iter().chain(waiting) {
        if let Some(done) = item.done {
            done(Err(Error::Poisoned));
        }
    }
    // Best effort: without the mark the next start writes on behind what the sync failed for, after reading
    // it from the device.
    let mark = shared.options.dir.join(POISONED);
    if let Err(error) = shared.disk.open(&mark, OpenMode::CreateNew) {
        tracing::warn!(path = %mark.display(), %error, "cannot leave a mark for the next start");
    }
    shared.run_hooks();
}

/// A callback that panics must not leave writers waiting for ever.
struct PoisonOnPanic {
    shared: Arc<Shared>,
    armed: bool,
}

impl Drop for PoisonOnPanic {
    fn drop(&mut self) {
        if self.armed {
            poison(&self.shared, Vec::new(), &Error::Poisoned);
        }
    }
}
