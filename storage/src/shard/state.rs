//! The state of a shard, and how entries change it.
//!
//! [`ShardState::apply`] is deterministic: it reads the entry and the state, nothing else: no clock, no configuration, no
//! randomness, no hash-map order. What it decides, every replica decides alike at the same index.
//!
//! ```text
//!            Write, Delete            Flush at F                       job done
//!  entries ───────────────▶ active ───────────────▶ frozen (F) ───────────────────▶ segments
//!                                     └ captured: the state as of exactly F ─ + files ─▶ manifest F
//! ```
//!
//! Invariants:
//! - flushes install in log order; a capture of index F receives the edits of jobs up to F and no later ones, so that
//!   a manifest is the state as of exactly its own index;
//! - segments that a pending compaction names stay until it is installed, so that the live set is the same function of
//!   the log on every replica, whenever its jobs happen to end;
//! - a dropped table has no rows, segments or tombstones, and never gets any again.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use quorate_segment::TableId;

use super::command::{
    Command, CompactCommand, DeleteCommand, FlushCommand, RejectReason, Reply, StoredResult,
    TableRecord, VerifyCommand, WriteCommand, WriteItem, WriteKey, WriteOutcome, WritePart,
};
use super::dedup::{DedupWindow, Known};
use super::jobs::content_of;
use crate::batch::RowBatch;
use crate::manifest::{Counters, PendingCompaction, ShardRecord, TableState};
use crate::memtable::{FrozenMemtable, Memtable, SlicePart};
use crate::version::{Edit, LiveSegment, SegmentRef, Tombstone, Version};
use crate::{Error, LogPosition};

/// A memtable that waits for its files, with the state as of the `Flush` that froze it.
#[derive(Debug)]
pub(crate) struct PendingFlush {
    /// The `Flush`.
    pub(crate) position: LogPosition,
    /// The rows.
    pub(crate) frozen: Arc<FrozenMemtable>,
    /// Encoder settings.
    pub(crate) writer: u32,
    /// The state as of the `Flush`.
    pub(crate) captured: Captured,
}

/// The state as of one log index, for the manifest of that index.
#[derive(Clone, Debug)]
pub(crate) struct Captured {
    /// The membership.
    pub(crate) membership: Bytes,
    /// Rows that stay in memory and go into the manifest.
    pub(crate) kept: Vec<SlicePart>,
    /// The rest.
    pub(crate) record: ShardRecord,
}

/// What apply asks of the jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing.
    None,
    /// A flush or compaction waits.
    Job,
    /// The job is agreed on: what it replaced may go.
    Verified(u64),
}

/// The state of one shard.
#[derive(Debug)]
pub(crate) struct ShardState {
    /// The last entry applied.
    pub(crate) applied: Option<LogPosition>,
    /// The group's membership.
    pub(crate) membership: Bytes,
    /// Live segments, tombstones, watermarks, dropped tables.
    pub(crate) version: Arc<Version>,
    /// Tables as the log describes them.
    pub(crate) tables: BTreeMap<TableId, Arc<TableRecord>>,
    /// Routing epochs below which entries are refused.
    pub(crate) fences: BTreeMap<TableId, u64>,
    /// Recent keys.
    pub(crate) dedup: DedupWindow,
    /// The latest leader time in the log.
    pub(crate) time: i64,
    /// Counts.
    pub(crate) counters: Counters,
    /// The memtable that is written.
    pub(crate) active: Memtable,
    /// Flushes that are not installed, by log index.
    pub(crate) flushes: BTreeMap<u64, PendingFlush>,
    /// Compactions that are not installed, by log index.
    pub(crate) compactions: BTreeMap<u64, PendingCompaction>,
    /// Content hashes of what jobs made here, until a majority's is known.
    pub(crate) made: BTreeMap<u64, [u8; 32]>,
    /// Content hashes that a majority agreed on before the job was done here.
    pub(crate) agreed: BTreeMap<u64, [u8; 32]>,
    /// The last job that was verified since start.
    pub(crate) verified: Option<u64>,
    /// Entries applied since start, those applied again included.
    pub(crate) entries_applied: u64,
}

/// This replica's state is not what the log says; it stops.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Diverged(pub(crate) String);

impl From<Error> for Diverged {
    fn from(error: Error) -> Self {
        Self(format!("a committed entry cannot be applied: {error}"))
    }
}

impl ShardState {
    /// The state of a manifest, or an empty one.
    pub(crate) fn from_record(
        position: Option<LogPosition>,
        membership: Bytes,
        record: ShardRecord,
    ) -> Result<Self, Error> {
        let mut active = Memtable::new(position.map_or(0, |p| p.index + 1));
        for part in &record.checkpoint {
            active.restore(SlicePart::decode(part)?);
        }
        let tables = record.tables.into_iter().map(|t| (t.record.schema.table, t.record));
        let compactions = record.compactions.into_iter().map(|c| (c.position.index, c));
        Ok(Self {
            applied: position,
            membership,
            version: Arc::new(record.version),
            tables: tables.map(|(id, record)| (id, Arc::new(record))).collect(),
            fences: record.fences.into_iter().collect(),
            dedup: DedupWindow::from_record(record.dedup),
            time: record.time,
            counters: record.counters,
            active,
            flushes: BTreeMap::new(),
            compactions: compactions.collect(),
            made: BTreeMap::new(),
            agreed: BTreeMap::new(),
            verified: None,
            entries_applied: 0,
        })
    }

    /// Applies one entry. `batches` are the decoded parts of a write, in order.
    pub(crate) fn apply(
        &mut self,
        position: LogPosition,
        command: Command,
        batches: Vec<RowBatch>,
    ) -> Result<(Reply, Effect), Diverged> {
        let mut effect = Effect::None;
        let reply = match command {
            Command::Write(write) => Reply::Written(self.write(position, write, batches)?),
            Command::Delete(delete) => Reply::Written(vec![self.delete(position, delete)]),
            Command::Expire { table, before } => {
                self.expire(table, before);
                Reply::Done
            }
            Command::DropTables { tables } => {
                for table in tables {
                    self.drop_table(table);
                }
                Reply::Done
            }
            Command::Flush(flush) => {
                self.advance_time(flush.time);
                self.freeze(position, flush);
                effect = Effect::Job;
                Reply::Done
            }
            Command::Compact(command) => {
                if self.accept_compaction(position, command) {
                    effect = Effect::Job;
                }
                Reply::Done
            }
            Command::Verify(verify) => {
                self.verify(&verify)?;
                effect = Effect::Verified(verify.job);
                Reply::Done
            }
            Command::KeyTime { key, proposed, time } => {
                self.advance_time(time);
                Reply::KeyTime(self.dedup.time_of(&key, proposed, self.time))
            }
            Command::Fence { table, epoch } => {
                let fence = self.fences.entry(table).or_insert(epoch);
                *fence = epoch.max(*fence);
                Reply::Done
            }
        };
        Ok((reply, effect))
    }

    /// Notes that an entry was applied. Positions never fall.
    pub(crate) fn advance(&mut self, position: LogPosition) {
        if let Some(applied) = self.applied {
            assert!(applied < position, "applied index regression {applied:?} → {position:?}");
        }
        self.applied = Some(position);
        self.entries_applied += 1;
    }

    fn advance_time(&mut self, time: i64) {
        self.time = self.time.max(time);
        self.dedup.expire(self.time);
    }

    fn write(
        &mut self,
        position: LogPosition,
        write: WriteCommand,
        batches: Vec<RowBatch>,
    ) -> Result<Vec<WriteOutcome>, Diverged> {
        self.advance_time(write.time);
        for record in write.tables {
            let table = record.schema.table;
            let newer = self.tables.get(&table).is_none_or(|t| t.changed_at < record.changed_at);
            if newer && !self.version.dropped.contains(&table) {
                self.tables.insert(table, Arc::new(record));
            }
        }
        let mut batches = batches.into_iter();
        let mut outcomes = Vec::with_capacity(write.writes.len());
        for item in write.writes {
            let rows: Vec<RowBatch> = batches.by_ref().take(item.parts.len()).collect();
            outcomes.push(self.write_item(position, item, rows)?);
        }
        Ok(outcomes)
    }

    fn write_item(
        &mut self,
        position: LogPosition,
        item: WriteItem,
        batches: Vec<RowBatch>,
    ) -> Result<WriteOutcome, Diverged> {
        // Before the key is looked up: the owner of a key may know it without rows, which is no answer to rows that only an
        // older routing brings here.
        let stale = |part: &WritePart| {
            self.fences.get(&part.table).is_some_and(|fence| part.routing_epoch < *fence)
        };
        if item.parts.iter().any(stale) {
            return Ok(WriteOutcome::StaleRouting);
        }
        if let Some(known) = self.known(item.key.as_ref()) {
            return Ok(known);
        }
        let mut result = StoredResult {
            position,
            accepted: 0,
            rejected: 0,
            reason: None,
            rejections: item.rejections,
            duplicate: false,
        };
        for (part, rows) in item.parts.iter().zip(batches) {
            let total = part.rows;
            if self.version.dropped.contains(&part.table) {
                result.rejected += total;
                result.reason = Some(RejectReason::TableDropped(part.table));
                self.counters.rows_dropped += total;
                continue;
            }
            let kept = match self.version.expired_before(part.table) {
                Some(before) => rows.since(before)?,
                None => Some(rows),
            };
            let accepted = kept.as_ref().map_or(0, |rows| rows.rows() as u64);
            if accepted < total {
                result.rejected += total - accepted;
                result.reason = Some(RejectReason::Expired);
                self.counters.rows_expired += total - accepted;
            }
            if let Some(kept) = kept {
                let record = self.tables.get(&part.table).ok_or_else(|| {
                    Diverged(format!("entry {} does not describe its table", position.index))
                })?;
                self.active.insert(part.table, kept, &record.slices, position.index)?;
            }
            result.accepted += accepted;
            self.counters.rows_accepted += accepted;
        }
        self.keep(item.key.as_ref(), &result);
        Ok(WriteOutcome::Stored(result))
    }

    /// The answer to a write whose key is known.
    fn known(&mut self, key: Option<&WriteKey>) -> Option<WriteOutcome> {
        match self.dedup.find(key?) {
            Known::New => None,
            Known::Same(result) => {
                self.counters.writes_duplicate += 1;
                Some(WriteOutcome::Stored(StoredResult { duplicate: true, ..result }))
            }
            Known::Other => Some(WriteOutcome::KeyReused),
        }
    }

    fn keep(&mut self, key: Option<&WriteKey>, result: &StoredResult) {
        if let Some(key) = key {
            self.dedup.keep(key, self.time, result.clone());
        }
    }

    fn delete(&mut self, position: LogPosition, delete: DeleteCommand) -> WriteOutcome {
        self.advance_time(delete.time);
        if let Some(known) = self.known(delete.key.as_ref()) {
            return known;
        }
        let mut result = StoredResult {
            position,
            accepted: 0,
            rejected: 0,
            reason: None,
            rejections: Vec::new(),
            duplicate: false,
        };
        if self.version.dropped.contains(&delete.table) {
            result.reason = Some(RejectReason::TableDropped(delete.table));
        } else if delete.series.as_ref().is_none_or(|series| !series.is_empty()) {
            let tombstone = Tombstone {
                table: delete.table,
                series: delete.series.map(|series| series.into_iter().collect()),
                time: delete.range,
                log_index: position.index,
            };
            self.active.delete(tombstone.table, tombstone.series.as_ref(), tombstone.time);
            let pending = self.flush_pending();
            let version = Arc::make_mut(&mut self.version);
            version.add_tombstone(Arc::new(tombstone));
            // Where no older source holds rows of it, the memtable's edit was all there is to do.
            version.forget_tombstones(pending);
        }
        self.keep(delete.key.as_ref(), &result);
        WriteOutcome::Stored(result)
    }

    fn flush_pending(&self) -> Option<u64> {
        self.flushes.keys().next().copied()
    }

    fn expire(&mut self, table: TableId, before: i64) {
        if self.version.dropped.contains(&table) {
            return;
        }
        self.active.expire(table, before);
        let version = Arc::make_mut(&mut self.version);
        version.expire(table, before);
        remove_expired(version, self.compactions.values());
    }

    fn drop_table(&mut self, table: TableId) {
        let version = Arc::make_mut(&mut self.version);
        version.drop_table(table);
        self.active.drop_table(table);
        self.tables.remove(&table);
        self.fences.remove(&table);
        self.compactions.retain(|_, c| c.command.choice.table != table);
    }

    /// Freezes the memtable at its own log index and captures the state as of then.
    fn freeze(&mut self, position: LogPosition, flush: FlushCommand) {
        let keep = flush.keep.into_iter().collect();
        let (frozen, kept) = self.active.freeze_but(position.index, &keep);
        let record = ShardRecord {
            version: (*self.version).clone(),
            tables: self
                .tables
                .values()
                .map(|record| TableState { record: (**record).clone() })
                .collect(),
            fences: self.fences.iter().map(|(t, e)| (*t, *e)).collect(),
            dedup: self.dedup.record(),
            time: self.time,
            counters: self.counters,
            compactions: self.compactions.values().cloned().collect(),
            checkpoint: Vec::new(),
        };
        let captured = Captured { membership: self.membership.clone(), kept, record };
        let writer = flush.writer;
        self.flushes.insert(position.index, PendingFlush { position, frozen, writer, captured });
    }

    /// Takes up a compaction unless it is void: an input was dropped, expired, or is another one's already. Whether an
    /// input is there is decided by the log alone: one that an earlier job has yet to make counts as there.
    fn accept_compaction(&mut self, position: LogPosition, command: CompactCommand) -> bool {
        let live = |input: &SegmentRef| self.version.find(input).is_some();
        let taken = |input: &SegmentRef| {
            self.compactions.values().any(|c| c.command.choice.inputs.contains(input))
        };
        let coming = |input: &SegmentRef| {
            self.flushes.contains_key(&input.job) || self.compactions.contains_key(&input.job)
        };
        let valid = |input: &SegmentRef| {
            !self.version.dropped.contains(&input.table)
                && !taken(input)
                && (live(input) || coming(input))
        };
        let inputs = &command.choice.inputs;
        if inputs.is_empty() || !inputs.iter().all(valid) {
            return false;
        }
        let expired_before = self.version.expired_before(command.choice.table);
        self.compactions
            .insert(position.index, PendingCompaction { position, command, expired_before });
        true
    }

    fn verify(&mut self, verify: &VerifyCommand) -> Result<(), Diverged> {
        if self.verified.is_none_or(|job| job < verify.job) {
            self.verified = Some(verify.job);
        }
        if let Some(made) = self.made.remove(&verify.job) {
            check_content(verify.job, &made, &verify.content_hash)?;
        } else if self.flushes.contains_key(&verify.job)
            || self.compactions.contains_key(&verify.job)
        {
            self.agreed.insert(verify.job, verify.content_hash);
        }
        Ok(())
    }

    /// Notes what a job made here, and compares it with what a majority agreed on, if that is known. Returns whether it
    /// is: nobody will say so again.
    pub(crate) fn note_made(&mut self, job: u64, content_hash: [u8; 32]) -> Result<bool, Diverged> {
        if let Some(agreed) = self.agreed.remove(&job) {
            return check_content(job, &content_hash, &agreed).map(|()| true);
        }
        self.made.insert(job, content_hash);
        Ok(false)
    }

    /// Whether a job made the same here as there; `None` if it is not done, or if nothing can be said any more: the hash is
    /// over all that the job made, and a part of that may have been merged, have expired, or been dropped since.
    pub(crate) fn made_same(&self, job: u64, content: &[u8; 32]) -> Option<bool> {
        if let Some(made) = self.made.get(&job) {
            return Some(made == content);
        }
        let pending = self.flushes.contains_key(&job) || self.compactions.contains_key(&job);
        if pending || self.applied.is_none_or(|at| at.index < job) {
            return None;
        }
        // It was done before this replica started, or came with a Raft snapshot.
        let version = &self.version;
        let mut segments: Vec<_> = version.iter().filter(|s| s.job.index == job).collect();
        segments.sort_unstable_by_key(|s| s.name());
        if segments.is_empty() || content_of(segments) == *content {
            return Some(true);
        }
        let merges = |s: &LiveSegment| s.job.index > job && s.level > 0 && s.log_index_min() <= job;
        let is_whole = !version.iter().any(merges)
            && version.dropped.is_empty()
            && self.tables.keys().all(|table| version.expired_before(*table).is_none());
        is_whole.then_some(false)
    }

    /// Installs the files of the oldest pending flush: from here on they answer instead of the frozen memtable.
    /// Returns the capture, which is then complete. A flush that is installed already is left alone.
    pub(crate) fn install_flush(
        &mut self,
        job: u64,
        added: Vec<LiveSegment>,
        deduplicated: u64,
    ) -> Result<Option<PendingFlush>, Error> {
        let Some(oldest) = self.flush_pending() else { return Ok(None) };
        if oldest != job {
            return if oldest > job {
                Ok(None)
            } else {
                Err(Error::Internal(format!("flush {job} would install before flush {oldest}")))
            };
        }
        let Some(mut flush) = self.flushes.remove(&job) else { return Ok(None) };
        let pending = self.flush_pending();
        self.counters.rows_deduplicated += deduplicated;
        let edit = Edit { removed: Vec::new(), added };
        for capture in std::iter::once(&mut flush).chain(self.flushes.values_mut()) {
            let record = &mut capture.captured.record;
            record.counters.rows_deduplicated += deduplicated;
            edit_record(record, &edit)?;
        }
        self.edit_live(&edit, pending)?;
        Ok(Some(flush))
    }

    /// Installs what a compaction made in place of its inputs. One that is installed, or void, is left alone; returns
    /// whether it was installed.
    pub(crate) fn install_compaction(
        &mut self,
        job: u64,
        added: Vec<LiveSegment>,
        deduplicated: u64,
    ) -> Result<bool, Error> {
        let Some(compaction) = self.compactions.remove(&job) else { return Ok(false) };
        let edit = Edit { removed: compaction.command.choice.inputs, added };
        self.counters.rows_deduplicated += deduplicated;
        for (_, flush) in self.flushes.range_mut(job..) {
            let record = &mut flush.captured.record;
            record.compactions.retain(|c| c.position.index != job);
            record.counters.rows_deduplicated += deduplicated;
            edit_record(record, &edit)?;
        }
        let pending = self.flush_pending();
        self.edit_live(&edit, pending)?;
        Ok(true)
    }

    fn edit_live(&mut self, edit: &Edit, pending: Option<u64>) -> Result<(), Error> {
        let edit = without_dropped(edit, &self.version);
        let mut next = self.version.apply(&edit)?;
        remove_expired(&mut next, self.compactions.values());
        next.forget_tombstones(pending);
        self.version = Arc::new(next);
        Ok(())
    }

    /// Whether all inputs of a compaction are there, so that it can run.
    pub(crate) fn runnable(&self, compaction: &PendingCompaction) -> bool {
        compaction.command.choice.inputs.iter().all(|input| self.version.find(input).is_some())
    }
}

fn check_content(job: u64, made: &[u8; 32], agreed: &[u8; 32]) -> Result<(), Diverged> {
    if made == agreed {
        return Ok(());
    }
    Err(Diverged(format!(
        "job {job} made rows with content hash {} here, a majority has {}",
        blake3::Hash::from_bytes(*made).to_hex(),
        blake3::Hash::from_bytes(*agreed).to_hex()
    )))
}

/// An edit without the segments of dropped tables: their files are nobody's.
fn without_dropped(edit: &Edit, version: &Version) -> Edit {
    let kept = |table: &TableId| !version.dropped.contains(table);
    Edit {
        removed: edit.removed.iter().filter(|s| kept(&s.table)).copied().collect(),
        added: edit.added.iter().filter(|s| kept(&s.table())).cloned().collect(),
    }
}

fn edit_record(record: &mut ShardRecord, edit: &Edit) -> Result<(), Error> {
    let edit = without_dropped(edit, &record.version);
    let mut next = record.version.apply(&edit)?;
    remove_expired(&mut next, record.compactions.iter());
    record.version = next;
    Ok(())
}

/// Lets segments go whose rows are all expired, except those that a pending compaction has yet to read.
fn remove_expired<'a>(
    version: &mut Version,
    compactions: impl Iterator<Item = &'a PendingCompaction>,
) {
    let mut expired = version.expired_segments();
    if expired.is_empty() {
        return;
    }
    for compaction in compactions {
        expired.retain(|s| !compaction.command.choice.inputs.contains(s));
    }
    for name in expired {
        if let Some(segments) = version.segments.get_mut(&(name.table, name.slice_start)) {
            segments.retain(|s| s.name() != name);
        }
    }
    version.segments.retain(|_, segments| !segments.is_empty());
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
