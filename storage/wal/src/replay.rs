//! Replay: from the frames that were found, in order, to what each group's log holds.
//!
//! A frame that is missing (its number is skipped, or the link to it is wrong) may have held anything of any
//! group. A group is cleared of the suspicion by its own next record: records of a group are numbered
//! without gaps, so the right number proves that it lost nothing. Without a next record, or with a wrong
//! number, the group is *quarantined* until an operator accepts the loss, unless Raft's log matching property
//! (Raft §5.3: same index and term, same prefix) proves its entries to be whole all the same.

use std::collections::BTreeMap;

use crate::hardstate::HardVote;
use crate::record::{GroupMirror, Record, Tagged};
use crate::scan::Found;
use crate::{EntryKind, GroupId, LogPosition};

/// An entry as the directory of its frame tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplayedEntry {
    pub(crate) position: LogPosition,
    pub(crate) kind: EntryKind,
    pub(crate) len: u32,
    pub(crate) crc: u32,
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    /// Its bytes on disk are damaged.
    pub(crate) faulty: bool,
    seq: u64,
}

/// One group during replay.
#[derive(Debug)]
pub(crate) struct ReplayedGroup {
    pub(crate) mirror: GroupMirror,
    entries: BTreeMap<u64, ReplayedEntry>,
    /// Records from each of these numbers on came after records that are missing.
    gaps: Vec<u64>,
    /// The state at the head of the oldest segment tells of entries that stood before it.
    entries_before: Option<u64>,
    /// A frame is missing and the group had no record since.
    unproven: bool,
    /// The last record that tells where the log ends.
    last_told_seq: u64,
}

/// What replay makes of a group.
#[derive(Debug)]
pub(crate) struct GroupOutcome {
    pub(crate) mirror: GroupMirror,
    /// Consecutive entries that are what was appended, FAULTY ones included.
    pub(crate) entries: Vec<ReplayedEntry>,
    /// Entries behind a hole: they go when the loss is accepted.
    pub(crate) beyond: Vec<LogPosition>,
    pub(crate) quarantined: bool,
}

/// The state of replay.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    groups: BTreeMap<GroupId, ReplayedGroup>,
    /// Number and link of the last frame.
    pub(crate) last_frame: Option<(u64, u32)>,
    pub(crate) oldest_segment: u64,
    /// The first reason to think that something is missing.
    pub(crate) lost: Option<String>,
}

impl Replay {
    /// The number of the last frame.
    pub(crate) fn last_number(&self) -> u64 {
        self.last_frame.map_or(0, |(frame, _)| frame)
    }

    /// Whether a frame continues the log where replay stands.
    pub(crate) fn continues(&self, found: &Found) -> bool {
        let header = &found.frame.header;
        self.last_frame
            .is_none_or(|(frame, crc)| header.frame == frame + 1 && header.previous_crc == crc)
    }

    /// Takes the next frame.
    pub(crate) fn apply(&mut self, found: &Found) {
        let header = &found.frame.header;
        let base = self.last_frame.is_none();
        if let Some((frame, _)) = self.last_frame {
            if header.frame <= frame {
                let what = format!(
                    "segment {:016x} holds frame {} after frame {frame}",
                    header.segment, header.frame
                );
                return self.mark_lost(what);
            }
            if !self.continues(found) {
                let what = format!(
                    "frames between {frame} and {} are missing before byte {} of segment {:016x}",
                    header.frame, header.offset, header.segment
                );
                self.mark_lost(what);
            }
        }
        self.last_frame = Some((header.frame, found.frame.crc));
        self.oldest_segment = self.oldest_segment.max(header.oldest_segment);
        let mut places = found.frame.entries().zip(&found.damaged);
        for tagged in &found.frame.records {
            let entry = match &tagged.record {
                Record::Entry { position, kind, len, crc } => {
                    let ((offset, ..), faulty) =
                        places.next().expect("each entry of a frame was examined");
                    Some(ReplayedEntry {
                        position: *position,
                        kind: *kind,
                        len: *len,
                        crc: *crc,
                        segment: header.segment,
                        offset,
                        faulty: *faulty,
                        seq: tagged.seq,
                    })
                }
                Record::Vote(_)
                | Record::Committed(_)
                | Record::TruncateAfter(_)
                | Record::Purge(_)
                | Record::State(_)
                | Record::LossAccepted(_) => None,
            };
            self.groups.entry(tagged.group).or_insert_with(ReplayedGroup::new).apply(
                tagged,
                entry,
                header.segment,
                base,
            );
        }
    }

    /// Something of unknown content is missing here.
    pub(crate) fn mark_lost(&mut self, what: String) {
        tracing::warn!(what, "the write-ahead log is damaged");
        self.lost.get_or_insert(what);
        for group in self.groups.values_mut() {
            group.unproven = true;
        }
    }

    /// Adds the votes of the second copy. Returns whether it knows one that the log does not.
    pub(crate) fn add_votes(&mut self, votes: BTreeMap<GroupId, HardVote>) -> bool {
        let mut missing = false;
        for (id, hard) in votes {
            let group = self.groups.entry(id).or_insert_with(ReplayedGroup::new);
            if hard.vote_seq >= group.mirror.next_seq {
                group.gaps.push(hard.vote_seq + 1);
                group.mirror.next_seq = hard.vote_seq + 1;
                if let Some(purged) = hard.purged {
                    group.purge_entries(purged.index);
                    group.mirror.image.purged = group.mirror.image.purged.max(Some(purged));
                }
                let what = format!("a vote of group {} is missing in the log", id.0);
                tracing::warn!(what, "the write-ahead log is damaged");
                self.lost.get_or_insert(what);
                missing = true;
            }
            if hard.vote_seq > group.mirror.image.vote_seq {
                group.mirror.image.vote = hard.vote;
                group.mirror.image.vote_seq = hard.vote_seq;
            }
        }
        missing
    }

    /// All groups, with a verdict on each. Without a second copy of the votes (`votes_known` is false) no
    /// group that lost records can be cleared.
    pub(crate) fn finish(self, votes_known: bool) -> BTreeMap<GroupId, GroupOutcome> {
        self.groups.into_iter().map(|(id, group)| (id, group.finish(votes_known))).collect()
    }
}

impl ReplayedGroup {
    fn new() -> Self {
        Self {
            mirror: GroupMirror::default(),
            entries: BTreeMap::new(),
            gaps: Vec::new(),
            entries_before: None,
            unproven: false,
            last_told_seq: 0,
        }
    }

    fn apply(&mut self, tagged: &Tagged, entry: Option<ReplayedEntry>, segment: u64, base: bool) {
        let seq = tagged.seq;
        // The first frame of the oldest segment begins with the state of each group.
        let is_base = base && matches!(tagged.record, Record::State(_));
        if seq != self.mirror.next_seq && !is_base {
            self.gaps.push(seq);
        }
        self.unproven = false;
        match &tagged.record {
            Record::Entry { position, .. } => {
                self.entries.split_off(&position.index);
                self.entries.extend(entry.map(|entry| (position.index, entry)));
                self.last_told_seq = seq;
            }
            Record::TruncateAfter(last) => self.keep_entries(*last),
            Record::Purge(upto) => self.purge_entries(upto.index),
            Record::State(image) => {
                if let Some(purged) = image.purged {
                    self.purge_entries(purged.index);
                }
                if is_base {
                    self.entries_before = image.last.map(|_| seq);
                } else if image.last != self.mirror.image.last {
                    self.gaps.push(seq);
                }
                self.last_told_seq = seq;
            }
            Record::LossAccepted(last) => {
                self.keep_entries(*last);
                self.gaps.clear();
                self.entries_before = None;
            }
            Record::Vote(_) | Record::Committed(_) => {}
        }
        self.mirror.apply(seq, &tagged.record, segment);
    }

    fn keep_entries(&mut self, last: Option<LogPosition>) {
        match last {
            Some(last) => {
                self.entries.split_off(&(last.index + 1));
            }
            None => self.entries.clear(),
        }
    }

    fn purge_entries(&mut self, upto: u64) {
        self.entries = self.entries.split_off(&(upto + 1));
    }

    /// How many entries from the front are surely what was appended and not truncated since.
    fn whole_prefix(&self) -> usize {
        let mut previous: Option<&ReplayedEntry> = None;
        for (count, entry) in self.entries.values().enumerate() {
            let follows = match previous {
                None => {
                    let index = entry.position.index;
                    if let Some(purged) = self.mirror.image.purged {
                        index == purged.index + 1
                    } else {
                        // A log may begin anywhere; only its beginning must not be among what is missing.
                        let mut missing = self.gaps.iter().chain(&self.entries_before);
                        index == 0 || missing.all(|gap| *gap > entry.seq)
                    }
                }
                Some(previous) => {
                    let gap_between =
                        self.gaps.iter().any(|gap| previous.seq < *gap && *gap <= entry.seq);
                    let (a, b) = (previous.position, entry.position);
                    let same_leader = (a.term, a.leader) == (b.term, b.leader);
                    b.index == a.index + 1 && b.term >= a.term && (!gap_between || same_leader)
                }
            };
            if !follows {
                return count;
            }
            previous = Some(entry);
        }
        self.entries.len()
    }

    fn finish(self, votes_known: bool) -> GroupOutcome {
        let whole = self.whole_prefix();
        let last = self.entries.values().next_back().map(|entry| entry.position);
        let last_gap = self.gaps.iter().copied().max().unwrap_or(0);
        let is_whole = !self.unproven
            && !self.mirror.image.quarantined
            && whole == self.entries.len()
            && last == self.mirror.image.last
            && (last_gap == 0 || (votes_known && self.last_told_seq >= last_gap));
        let mut entries: Vec<_> = self.entries.into_values().collect();
        let beyond = entries.split_off(whole).iter().map(|entry| entry.position).collect();
        let mut mirror = self.mirror;
        mirror.image.quarantined = !is_whole;
        GroupOutcome { mirror, entries, beyond, quarantined: !is_whole }
    }
}
