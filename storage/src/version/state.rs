//! One state of a shard's segments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Edit, LiveSegment, SegmentRef, Tombstone};
use crate::scan::TimeRange;
use crate::{Error, TableId};

/// The live segments of a shard and what hides rows in them. Share it as `Arc<Version>`; a changed one is a new value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// By table and start of the time slice; within one, ascending by log range, then by key.
    pub segments: BTreeMap<(TableId, i64), Vec<LiveSegment>>,
    /// Deletes that some live segment or frozen memtable still needs, ascending by log index.
    pub tombstones: Vec<Arc<Tombstone>>,
    /// Per table, the time below which rows are expired. Never falls.
    pub expired: BTreeMap<TableId, i64>,
    /// Tables that this shard knows to be dropped: later entries for them are refused.
    pub dropped: BTreeSet<TableId>,
}

impl Version {
    /// All segments, by table, slice, log range and key.
    pub fn iter(&self) -> impl Iterator<Item = &LiveSegment> {
        self.segments.values().flatten()
    }
    /// The segments of a table that may hold rows in `time`, old to new within each slice.
    pub fn of_table(&self, table: TableId, time: TimeRange) -> impl Iterator<Item = &LiveSegment> {
        self.segments
            .range((table, i64::MIN)..=(table, i64::MAX))
            .flat_map(|(_, segments)| segments)
            .filter(move |s| s.time().overlaps(time))
    }
    /// A segment by name.
    pub fn find(&self, name: &SegmentRef) -> Option<&LiveSegment> {
        self.segments
            .get(&(name.table, name.slice_start))?
            .iter()
            .find(|s| s.job.index == name.job && s.part == name.part)
    }
    /// The deletes of a table, ascending by log index.
    pub fn tombstones_of(&self, table: TableId) -> impl Iterator<Item = &Arc<Tombstone>> {
        self.tombstones.iter().filter(move |t| t.table == table)
    }
    /// The time below which rows of a table are expired.
    pub fn expired_before(&self, table: TableId) -> Option<i64> {
        self.expired.get(&table).copied()
    }

    /// The next version. Repeating an edit that is in force changes nothing; one that removes what is not there, or
    /// whose segments cross the log ranges of others, is refused.
    pub fn apply(&self, edit: &Edit) -> Result<Self, Error> {
        let mut next = self.clone();
        let is_gone = edit.removed.iter().all(|name| self.find(name).is_none());
        if is_gone && edit.added.iter().all(|s| self.find(&s.name()).is_some()) {
            return Ok(next);
        }
        for name in &edit.removed {
            let segments = next.segments.get_mut(&(name.table, name.slice_start));
            let place = segments.and_then(|segments| {
                let at =
                    segments.iter().position(|s| s.job.index == name.job && s.part == name.part)?;
                Some(segments.remove(at))
            });
            if place.is_none() {
                return Err(Error::Internal(format!(
                    "an edit removes {name:?}, which is not live"
                )));
            }
        }
        for segment in &edit.added {
            next.add(segment.clone())?;
        }
        next.segments.retain(|_, segments| !segments.is_empty());
        Ok(next)
    }

    fn add(&mut self, segment: LiveSegment) -> Result<(), Error> {
        let segments = self.segments.entry((segment.table(), segment.slice_start)).or_default();
        let order = |s: &LiveSegment| (s.log_index_min(), s.meta.key_min.clone());
        let at = segments.partition_point(|s| order(s) < order(&segment));
        let crosses = |other: &LiveSegment| {
            other.log_index_min() <= segment.log_index_max()
                && segment.log_index_min() <= other.log_index_max()
                && (other.job != segment.job
                    || (other.meta.key_min <= segment.meta.key_max
                        && segment.meta.key_min <= other.meta.key_max))
        };
        if let Some(other) = segments.iter().find(|other| crosses(other)) {
            return Err(Error::Internal(format!(
                "segment {:?} crosses the log range of {:?}",
                segment.name(),
                other.name()
            )));
        }
        segments.insert(at, segment);
        Ok(())
    }

    /// Adds a delete. Log indexes ascend; one that is there already stays as it is.
    pub fn add_tombstone(&mut self, tombstone: Arc<Tombstone>) {
        let at = self.tombstones.partition_point(|t| t.log_index < tombstone.log_index);
        let same = |t: &Arc<Tombstone>| t.log_index == tombstone.log_index && **t == *tombstone;
        if !self.tombstones.iter().skip(at).any(same) {
            let at = self.tombstones.partition_point(|t| t.log_index <= tombstone.log_index);
            self.tombstones.insert(at, tombstone);
        }
    }

    /// Forgets deletes whose rows are gone from every live segment. `flush_pending` is the log index of the oldest
    /// flush that is not installed: its files have not seen what was deleted after it.
    pub fn forget_tombstones(&mut self, flush_pending: Option<u64>) {
        let segments = &self.segments;
        self.tombstones.retain(|t| {
            flush_pending.is_some_and(|job| job < t.log_index)
                || segments
                    .range((t.table, i64::MIN)..=(t.table, i64::MAX))
                    .flat_map(|(_, segments)| segments)
                    .any(|s| {
                        s.job.index < t.log_index
                            && s.time().overlaps(t.time)
                            && t.overlaps_keys(&s.meta.key_min, &s.meta.key_max)
                    })
        });
    }

    /// Raises the time below which rows of a table are expired.
    pub fn expire(&mut self, table: TableId, before: i64) {
        let mark = self.expired.entry(table).or_insert(before);
        *mark = before.max(*mark);
    }

    /// Marks a table as dropped and lets its segments and tombstones go. Returns the segments.
    pub fn drop_table(&mut self, table: TableId) -> Vec<LiveSegment> {
        self.dropped.insert(table);
        self.expired.remove(&table);
        self.tombstones.retain(|t| t.table != table);
        let mut gone = Vec::new();
        self.segments.retain(|(of, _), segments| {
            if *of == table {
                gone.append(segments);
            }
            *of != table
        });
        gone
    }

    /// Segments whose rows are all expired.
    pub fn expired_segments(&self) -> Vec<SegmentRef> {
        self.iter()
            .filter(|s| {
                self.expired_before(s.table()).is_some_and(|before| s.meta.time_max < before)
            })
            .map(LiveSegment::name)
            .collect()
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
pub(crate) mod tests;
