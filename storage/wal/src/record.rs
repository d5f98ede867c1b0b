//! Records: what a frame says about a group, and the state that follows from them.
//!
//! The writer and recovery both feed every record through [`GroupMirror::apply`]; so what the writer
//! believes to be on disk and what a restart will find cannot differ.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::bytes::{Fields, put_bytes, put_position, put_u64};
use crate::{EntryKind, GroupId, LogPosition};

/// One statement about one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// An entry; its payload lies behind the directory.
    Entry { position: LogPosition, kind: EntryKind, len: u32, crc: u32 },
    /// The vote.
    Vote(Arc<[u8]>),
    /// The commit position.
    Committed(Arc<[u8]>),
    /// Entries above are gone (all, for `None`).
    TruncateAfter(Option<LogPosition>),
    /// Entries up to here are gone.
    Purge(LogPosition),
    /// Everything about the group that is not an entry, so that older segments can be removed.
    State(GroupImage),
    /// An operator gave up what is damaged or lost; entries above are gone (all, for `None`).
    LossAccepted(Option<LogPosition>),
}

/// A record with its group and its place among the group's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tagged {
    pub(crate) group: GroupId,
    /// Counts the group's records without gaps, from 1: a jump proves that records are missing.
    pub(crate) seq: u64,
    pub(crate) record: Record,
}

/// The state of a group that no entry carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupImage {
    pub(crate) vote: Option<Arc<[u8]>>,
    /// The record that set the vote.
    pub(crate) vote_seq: u64,
    pub(crate) committed: Option<Arc<[u8]>>,
    pub(crate) purged: Option<LogPosition>,
    pub(crate) last: Option<LogPosition>,
    /// Records of the group were lost and nobody has accepted that.
    pub(crate) quarantined: bool,
}

impl GroupImage {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let flags = u8::from(self.purged.is_some())
            | u8::from(self.last.is_some()) << 1
            | u8::from(self.quarantined) << 2;
        out.push(flags);
        put_u64(out, self.vote_seq);
        put_position(out, self.purged);
        put_position(out, self.last);
        put_bytes(out, self.vote.as_deref());
        put_bytes(out, self.committed.as_deref());
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        let flags = fields.u8()?;
        let vote_seq = fields.u64()?;
        let purged = fields.position()?;
        let last = fields.position()?;
        Some(Self {
            vote_seq,
            purged: (flags & 1 != 0).then_some(purged),
            last: (flags & 2 != 0).then_some(last),
            quarantined: flags & 4 != 0,
            vote: fields.optional_bytes()?.map(Arc::from),
            committed: fields.optional_bytes()?.map(Arc::from),
        })
    }
}

/// Entries of a group that lie in one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    segment: u64,
    first: u64,
    last: u64,
}

/// What the log says about a group, up to some record.
#[derive(Clone, Debug)]
pub(crate) struct GroupMirror {
    pub(crate) image: GroupImage,
    /// The number of the group's next record.
    pub(crate) next_seq: u64,
    /// Which segments hold live entries, ascending.
    runs: VecDeque<Run>,
}

impl Default for GroupMirror {
    /// A group without records.
    fn default() -> Self {
        Self { image: GroupImage::default(), next_seq: 1, runs: VecDeque::new() }
    }
}

impl GroupMirror {
    /// The oldest segment that holds a live entry.
    pub(crate) fn oldest_segment(&self) -> Option<u64> {
        self.runs.front().map(|run| run.segment)
    }

    /// Takes the next record, which stands in `segment`.
    pub(crate) fn apply(&mut self, seq: u64, record: &Record, segment: u64) {
        self.next_seq = seq + 1;
        match record {
            Record::Entry { position, .. } => {
                self.image.last = Some(*position);
                match self.runs.back_mut() {
                    Some(run) if run.segment == segment => run.last = position.index,
                    Some(_) | None => self.runs.push_back(Run {
                        segment,
                        first: position.index,
                        last: position.index,
                    }),
                }
            }
            Record::Vote(vote) => {
                self.image.vote = Some(Arc::clone(vote));
                self.image.vote_seq = seq;
            }
            Record::Committed(committed) => self.image.committed = Some(Arc::clone(committed)),
            Record::TruncateAfter(last) => {
                let reaches =
                    |last: &LogPosition| self.image.last.is_none_or(|now| now.index <= last.index);
                if !last.as_ref().is_some_and(reaches) {
                    self.keep_up_to(*last);
                }
            }
            Record::Purge(upto) => self.purge(*upto),
            Record::State(image) => {
                if let Some(purged) = image.purged {
                    self.purge(purged);
                }
                self.image = image.clone();
            }
            Record::LossAccepted(last) => {
                self.keep_up_to(*last);
                // What was committed may be among what went, and a commit position is only a lower bound.
                self.image.committed = None;
                self.image.quarantined = false;
            }
        }
    }

    fn keep_up_to(&mut self, last: Option<LogPosition>) {
        let last = last.filter(|last| self.image.purged.is_none_or(|p| p.index < last.index));
        self.image.last = last;
        while let Some(run) = self.runs.back_mut() {
            match last {
                Some(last) if run.first <= last.index => {
                    run.last = run.last.min(last.index);
                    break;
                }
                Some(_) | None => {
                    self.runs.pop_back();
                }
            }
        }
    }

    fn purge(&mut self, upto: LogPosition) {
        if self.image.purged.is_some_and(|purged| purged.index >= upto.index) {
            return;
        }
        self.image.purged = Some(upto);
        if self.image.last.is_some_and(|last| last.index <= upto.index) {
            self.image.last = None;
        }
        while self.runs.front().is_some_and(|run| run.last <= upto.index) {
            self.runs.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(index: u64) -> LogPosition {
        LogPosition { term: 1, leader: 1, index }
    }

    fn entry(index: u64) -> Record {
        Record::Entry { position: at(index), kind: EntryKind::Normal, len: 0, crc: 0 }
    }

    #[test]
    fn a_group_keeps_the_segment_of_its_oldest_live_entry() {
        let mut mirror = GroupMirror::default();
        for (seq, (index, segment)) in [(0, 1), (1, 1), (2, 2), (3, 4)].into_iter().enumerate() {
            mirror.apply(seq as u64 + 1, &entry(index), segment);
        }
        assert_eq!(mirror.oldest_segment(), Some(1));
        mirror.apply(5, &Record::Purge(at(1)), 4);
        assert_eq!(mirror.oldest_segment(), Some(2));
        mirror.apply(6, &Record::TruncateAfter(Some(at(2))), 4);
        assert_eq!((mirror.image.last, mirror.oldest_segment()), (Some(at(2)), Some(2)));
        mirror.apply(7, &Record::Purge(at(9)), 4);
        assert_eq!((mirror.image.last, mirror.oldest_segment()), (None, None));
        assert_eq!(mirror.next_seq, 8);
    }

    #[test]
    fn truncating_above_the_end_changes_nothing() {
        let mut mirror = GroupMirror::default();
        mirror.apply(1, &entry(0), 1);
        mirror.apply(2, &Record::TruncateAfter(Some(at(7))), 1);
        assert_eq!(mirror.image.last, Some(at(0)));
        mirror.apply(3, &Record::Purge(at(3)), 1);
        mirror.apply(4, &Record::TruncateAfter(Some(at(7))), 1);
        assert_eq!((mirror.image.last, mirror.oldest_segment()), (None, None));
    }

    #[test]
    fn an_image_survives_encoding() {
        let image = GroupImage {
            vote: Some(Arc::from(*b"vote")),
            vote_seq: 7,
            committed: None,
            purged: Some(at(3)),
            last: None,
            quarantined: true,
        };
        let mut bytes = Vec::new();
        image.encode(&mut bytes);
        assert_eq!(GroupImage::decode(&bytes), Some(image));
        assert_eq!(GroupImage::decode(&bytes[..bytes.len() - 1]), None);
    }
}
