//! Recovery: reading the log again after a stop, a crash, or a power cut.
//!
//! Called by [`crate::Wal::open`], before the writer thread exists. Each segment is synced first (what is read
//! may so far live in the page cache only), then read from the device, scanned for frames, and replayed.
//!
//! What is found falls into four classes, after Protocol-Aware Recovery (FAST '18):
//!
//! - **VALID**: one copy of the directory and all payloads are intact. A damaged copy is mended.
//! - **FAULTY**: the directory is known and a payload is damaged. The entry stays, as damaged: it may have been
//!   acknowledged, so it is never dropped for a bad checksum.
//! - **TORN**: the last thing in the log, written when the power went and never acknowledged: at most one frame,
//!   either unreadable, or with damaged payload and without footer, or with payload sectors that are zero since
//!   they were never written. It is discarded. This is the only class that is.
//! - **LOST**: anything else that is missing. See [`crate::replay`] for which groups it touches.
//!
//! Invariants:
//!
//! - Everything in the log behind the point where it goes on is zero, so that the next recovery finds a torn
//!   frame only where one was being written.
//! - A frame that has a later frame, a later segment, or the segment's mark behind it was synced: whatever is
//!   wrong with it is damage. So was the first frame of a segment, which gets its name only then.
//!
//! Limits: an acknowledged last frame whose mark is not durable yet looks TORN if both copies of its directory are
//! lost, or if sectors of it were set to zero. On several nodes the peers notice.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bytes::BLOCK;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::entry::GroupState;
use crate::frame::{self, Copy};
use crate::hardstate::{HARDSTATE, HardState, HardStateFound};
use crate::log_segment::{
    Identity, Image, NoHeader, SPARE, SegmentHeader, marked_frame, segment_of_name, segment_path,
};
use crate::replay::{GroupOutcome, Replay};
use crate::scan::{self, Found, Scan, Tail};
use crate::{Error, GroupId, LogPosition};

/// A file that says that the process before ended because a write or sync failed.
pub(crate) const POISONED: &str = "POISONED";

/// What opening found.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Groups with anything in the log.
    pub groups: BTreeMap<GroupId, GroupState>,
    /// Entries whose place is known and whose bytes are damaged, by group.
    pub faulty: BTreeMap<GroupId, Vec<LogPosition>>,
    /// Groups that cannot prove that they lost nothing: they take nothing until the loss is accepted.
    pub quarantined: BTreeSet<GroupId>,
    /// Bytes of torn, never acknowledged frames that were discarded.
    pub bytes_torn: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Damaged copies of directories and headers that were written anew from the other copy.
    pub copies_mended: u64,
    /// Why the log cannot be trusted to be whole, if so.
    pub lost: Option<String>,
}

/// A segment on disk.
#[derive(Clone, Debug)]
pub(crate) struct LogSegment {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Bytes up to the end of its last frame.
    pub(crate) used: u64,
    /// Length of the file.
    pub(crate) len: u64,
}

/// Where the writer goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resume {
    /// The newest segment.
    pub(crate) newest_segment: u64,
    /// Whether the newest segment takes further frames.
    pub(crate) in_newest: bool,
    pub(crate) next_frame: u64,
    pub(crate) previous_crc: u32,
    pub(crate) oldest_segment: u64,
}

/// All that recovery hands over.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) report: Recovery,
    pub(crate) groups: BTreeMap<GroupId, GroupOutcome>,
    pub(crate) segments: BTreeMap<u64, LogSegment>,
    pub(crate) hardstate: HardState,
    pub(crate) resume: Resume,
}

/// Reads the log in `dir`, or makes an empty one. The caller holds the directory's lock.
pub(crate) fn recover(disk: &dyn Disk, dir: &Path, identity: Identity) -> Result<Recovered, Error> {
    let names = disk.list(dir).map_err(io("list", dir))?;
    if names.iter().any(|name| name == SPARE) {
        let spare = dir.join(SPARE);
        disk.remove(&spare).map_err(io("remove", &spare))?;
    }
    let numbers: Vec<u64> = names.iter().filter_map(|name| segment_of_name(name)).collect();
    let (hardstate, found) = if names.iter().any(|name| name == HARDSTATE) {
        HardState::open(disk, dir, identity)?
    } else {
        let damaged = !numbers.is_empty();
        let found = HardStateFound { damaged, ..HardStateFound::default() };
        (HardState::create(disk, dir, identity)?, found)
    };

    let mut reader = Reader {
        disk,
        dir,
        identity,
        identity_known: !found.damaged,
        replay: Replay::default(),
        report: Recovery::default(),
        segments: BTreeMap::new(),
        pending: None,
        image: Image::default(),
    };
    for number in numbers {
        reader.read_segment(number)?;
    }
    let end = End {
        damaged: reader.settle_end()?,
        missing: reader.check_ends(found.newest_segment),
        poisoned: names.iter().any(|name| name == POISONED),
    };
    reader.finish(hardstate, found, end)
}

/// What stands at the end of the last segment that was read, to be judged by what follows.
#[derive(Debug)]
struct Pending {
    segment: u64,
    /// A frame that a crash in the middle of its write would leave like this.
    maybe_torn: Option<Found>,
    tail: Tail,
    /// The last frame that was surely acknowledged, as far as the segment's mark tells.
    marked: u64,
    /// No frame of the segment could be read.
    no_frames: bool,
}

/// What is wrong with the end of the log.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent findings, not states")]
struct End {
    /// Bytes of unknown content stand there.
    damaged: bool,
    /// The newest segment is missing.
    missing: bool,
    /// The process before could not sync: what it wrote last is not written over.
    poisoned: bool,
}

struct Reader<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    identity: Identity,
    /// Some file has shown that the directory belongs to this log.
    identity_known: bool,
    replay: Replay,
    report: Recovery,
    segments: BTreeMap<u64, LogSegment>,
    pending: Option<Pending>,
    image: Image,
}

impl Reader<'_> {
    fn read_segment(&mut self, number: u64) -> Result<(), Error> {
        let path = segment_path(self.dir, number);
        let file = self.disk.open(&path, OpenMode::ReadWrite).map_err(io("open", &path))?;
        file.sync_data().map_err(io("sync", &path))?;
        file.forget_cached().and_then(|()| self.image.load(&*file)).map_err(io("read", &path))?;
        let len = self.image.bytes.len() as u64;
        self.report.bytes_read += len;
        let scan = scan::scan(&self.image, number)
            .map_err(|version| Error::newer_format(&path, u64::from(version)))?;
        let used = scan.tail.offset;
        self.segments.insert(number, LogSegment { path, file, used, len });
        self.check_header(number, &scan)?;
        self.settle_before_another();

        let Scan { mut frames, tail } = scan;
        let no_frames = frames.is_empty();
        let marked = marked_frame(&self.image.bytes, number);
        let may_be_torn = frames.len() > 1
            && frames
                .last()
                .is_some_and(|last| last.may_be_torn() && last.frame.header.frame > marked);
        let maybe_torn = if may_be_torn { frames.pop() } else { None };
        for found in frames {
            self.keep(number, &found);
        }
        self.pending = Some(Pending { segment: number, maybe_torn, tail, marked, no_frames });
        Ok(())
    }

    /// Checks whose segment it is, and mends its header.
    fn check_header(&mut self, number: u64, scan: &Scan) -> Result<(), Error> {
        let segment = &self.segments[&number];
        let path = segment.path.clone();
        let copies = [0, BLOCK].map(|at| {
            let copy = self.image.bytes.get(at..).unwrap_or_default();
            SegmentHeader::decode(copy)
        });
        let intact = copies.iter().find_map(|copy| copy.ok());
        let header = if let Some(header) = intact {
            self.identity.check(header.identity, &path)?;
            if header.segment != number {
                let what = format!("is segment {:016x} under another name", header.segment);
                return Err(Error::Conflict { path, what });
            }
            self.identity_known = true;
            header
        } else {
            if let Some(version) = copies.iter().find_map(|copy| match copy {
                Err(NoHeader::Newer(version)) => Some(*version),
                Ok(_) | Err(NoHeader::Invalid) => None,
            }) {
                return Err(Error::newer_format(&path, u64::from(version)));
            }
            let Some(first) = scan.frames.first().filter(|_| self.identity_known) else {
                let what = format!("the header of segment {number:016x} is damaged");
                self.replay.mark_lost(what);
                return Ok(());
            };
            let first_frame = first.frame.header.frame;
            let previous_crc = first.frame.header.previous_crc;
            SegmentHeader { identity: self.identity, segment: number, first_frame, previous_crc }
        };
        for (copy, at) in copies.iter().zip([0, BLOCK as u64]) {
            if copy.is_err() {
                self.mend(number, &header.encode(), at);
            }
        }
        Ok(())
    }

    /// Takes a frame as part of the log, and mends it where one of its copies is damaged.
    fn keep(&mut self, number: u64, found: &Found) {
        let header = &found.frame.header;
        if !found.header_intact {
            self.mend(number, &frame::copy_bytes(&found.frame, Copy::Header), header.offset);
        }
        if !found.footer_intact {
            self.mend(
                number,
                &frame::copy_bytes(&found.frame, Copy::Footer),
                header.footer_offset(),
            );
        }
        self.replay.apply(found);
    }

    /// Writes a damaged copy anew. Where that fails the other copy is still there.
    fn mend(&mut self, number: u64, bytes: &[u8], offset: u64) {
        let segment = &self.segments[&number];
        let written = segment.file.write_all_at(bytes, offset);
        match written.and_then(|()| segment.file.sync_data()) {
            Ok(()) => {
                self.report.copies_mended += 1;
                tracing::warn!(path = %segment.path.display(), offset, "mended a damaged copy");
            }
            Err(error) => {
                tracing::warn!(path = %segment.path.display(), offset, %error, "cannot mend");
            }
        }
    }

    /// Judges the end of a segment that has another one behind it: all in it was acknowledged.
    fn settle_before_another(&mut self) {
        let Some(pending) = self.pending.take() else { return };
        if let Some(found) = pending.maybe_torn {
            self.keep(pending.segment, &found);
        }
        if pending.no_frames {
            let what = format!("segment {:016x} holds no readable frame", pending.segment);
            self.replay.mark_lost(what);
        }
        // Bytes behind the last frame: if they were one, the number of the next frame tells.
    }

    /// Judges the end of the log. Returns whether it is LOST.
    fn settle_end(&mut self) -> Result<bool, Error> {
        let Some(pending) = self.pending.take() else { return Ok(false) };
        let number = pending.segment;
        let tail = pending.tail;
        let lost = if pending.no_frames {
            Some(format!("segment {number:016x} holds no readable frame"))
        } else if tail.unreadable {
            Some(format!("segment {number:016x} is unreadable behind byte {}", tail.offset))
        } else if pending.maybe_torn.is_none() && pending.marked > self.replay.last_number() {
            Some(format!("frame {} of segment {number:016x} is missing", pending.marked))
        } else if pending.maybe_torn.is_some() && !tail.is_clean() {
            Some(format!("segment {number:016x} ends with more than one damaged frame"))
        } else {
            None
        };
        if let Some(what) = lost {
            if let Some(found) = pending.maybe_torn {
                self.keep(number, &found);
            }
            self.replay.mark_lost(what);
            return Ok(true);
        }
        let from = match pending.maybe_torn {
            Some(found) if self.replay.continues(&found) => found.frame.header.offset,
            Some(found) => {
                self.keep(number, &found);
                return Ok(true);
            }
            None => tail.offset,
        };
        if from < tail.end {
            self.discard(number, from, tail.end)?;
        }
        Ok(false)
    }

    /// Overwrites a torn frame with zeros. A crash in between leaves a torn frame again.
    fn discard(&mut self, number: u64, from: u64, to: u64) -> Result<(), Error> {
        let segment = self.segments.get_mut(&number).expect("it was just read");
        tracing::warn!(
            path = %segment.path.display(), from, to,
            "discarding a torn frame that was never acknowledged"
        );
        let zeros = vec![0; 1 << 20];
        let mut at = from;
        while at < to {
            let len = usize::try_from(to - at).map_or(zeros.len(), |rest| rest.min(zeros.len()));
            let written = segment.file.write_all_at(&zeros[..len], at);
            written.map_err(io("write", &segment.path))?;
            at += len as u64;
        }
        segment.file.sync_data().map_err(io("sync", &segment.path))?;
        segment.used = from;
        self.report.bytes_torn += to - from;
        Ok(())
    }

    /// Checks that no segment is missing at either end. (In the middle, the numbers of the frames tell.)
    /// Returns whether the newest one is.
    fn check_ends(&mut self, newest_known: u64) -> bool {
        let newest = self.segments.keys().next_back().copied().unwrap_or(0);
        let newest_missing = newest_known > newest;
        if newest_missing {
            self.replay.mark_lost(format!("segment {newest_known:016x} is missing"));
        }
        if let Some(first) = self.segments.keys().next()
            && *first > self.replay.oldest_segment.max(1)
        {
            let what = format!("segment {:016x} is missing", self.replay.oldest_segment);
            self.replay.lost.get_or_insert(what);
        }
        newest_missing
    }

    fn finish(
        self,
        mut hardstate: HardState,
        found: HardStateFound,
        end: End,
    ) -> Result<Recovered, Error> {
        let Self { mut replay, mut report, segments, .. } = self;
        let known: BTreeMap<_, _> =
            found.votes.iter().map(|(group, vote)| (*group, vote.vote_seq)).collect();
        let votes_missing = replay.add_votes(found.votes);
        let newest_segment =
            segments.keys().next_back().copied().unwrap_or(0).max(found.newest_segment);
        let (frame, crc) = replay.last_frame.unwrap_or((0, 0));
        // A loss at the end stays visible as a jump in the numbers of the frames.
        let end_lost = end.damaged || end.missing || votes_missing;
        let resume = Resume {
            newest_segment,
            in_newest: !end.damaged && !end.poisoned && segments.contains_key(&newest_segment),
            next_frame: frame + if end_lost { 2 } else { 1 },
            previous_crc: if end_lost { 0 } else { crc },
            oldest_segment: replay.oldest_segment,
        };
        let lost = replay.lost.take();
        let groups = replay.finish(!found.damaged);
        for (id, group) in &groups {
            describe(*id, group, &mut report);
            let image = &group.mirror.image;
            if image.vote_seq > 0 && known.get(id) != Some(&image.vote_seq) {
                hardstate.save_vote(*id, image)?;
            }
        }
        hardstate.save_newest_segment(newest_segment)?;
        if let Some(id) = report.quarantined.first() {
            report.lost =
                Some(lost.unwrap_or_else(|| format!("records of group {} are missing", id.0)));
        }
        Ok(Recovered { report, groups, segments, hardstate, resume })
    }
}

fn describe(id: GroupId, group: &GroupOutcome, report: &mut Recovery) {
    let image = &group.mirror.image;
    let state = GroupState {
        vote: image.vote.clone(),
        committed: image.committed.clone(),
        purged: image.purged,
        last: group.entries.last().map(|entry| entry.position),
    };
    report.groups.insert(id, state);
    let faulty: Vec<_> =
        group.entries.iter().filter(|e| e.faulty).map(|entry| entry.position).collect();
    if !faulty.is_empty() {
        report.faulty.insert(id, faulty);
    }
    if group.quarantined {
        report.quarantined.insert(id);
    }
}

pub(crate) fn io<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl Fn(std::io::Error) -> Error + 'a {
    move |source| Error::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
