//! [`Shard`]: one shard of this node: its Raft group, its state machine, its queue of writes, and its jobs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use quorate_consensus::{Fatal, Group, Snapshot, StateMachine as _};
use quorate_segment::TableId;
use quorate_wal::{Clock, GroupId, PlantedBug};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::command::{Command, CompactCommand, FlushCommand, Reply};
use super::machine::{FROZEN_MAX, ShardMachine};
use super::proposer::{Answer, Proposer, Submission, propose_command};
use crate::cluster::{PeerReply, PeerRequest, Replica};
use crate::compaction::{Config, pick};
use crate::manifest::{Manifest, ShardRecord};
use crate::store::{SegmentStatus, ShardId, ShardStatus, StoreOptions, TableStatus};
use crate::version::FileHash;
use crate::{Error, LogPosition, blocking, with_causes};

/// Bytes of a part (one table and slice) below which it gets no file of its own.
const SMALL_PART_BYTES: u64 = 256 << 10;
/// Bytes of all small parts of a shard together that a manifest may hold.
const CHECKPOINT_BYTES_MAX: u64 = 16 << 20;
/// Bytes after which a compaction goes on in another file.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// When a shard is flushed, and what stays in memory then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlushLimits {
    /// Bytes of the active memtable from which on it is full.
    full: u64,
    /// Bytes of small parts that stay. Well below what leads to a flush: else one flush would follow the other.
    stay: u64,
}

impl FlushLimits {
    /// A full memtable loses at least half; all shards together keep at most half of what memory is tight at.
    pub(crate) fn of(options: &StoreOptions) -> Self {
        let share = options.memory_bytes / 4 / u64::from(options.shards.max(1));
        let full = options.flush_bytes;
        Self { full, stay: CHECKPOINT_BYTES_MAX.min(full / 2).min(share) }
    }
}

/// One shard of this node.
#[derive(Debug)]
pub(crate) struct Shard {
    id: ShardId,
    replica: Replica,
    machine: Arc<ShardMachine>,
    proposer: Proposer,
    clock: Arc<dyn Clock>,
    limits: FlushLimits,
    flush_proposed: AtomicBool,
    /// Since when (monotonic) the active memtable has had rows.
    active_since: Mutex<Option<Duration>>,
}

/// The Raft group of a shard.
pub(crate) fn group_of(shard: ShardId) -> GroupId {
    GroupId(u64::from(shard.0) + 1)
}

impl Shard {
    /// Over a running group.
    pub(crate) fn new(
        machine: Arc<ShardMachine>,
        replica: Replica,
        clock: Arc<dyn Clock>,
        limits: FlushLimits,
        tasks: &TaskTracker,
        cancel: CancellationToken,
    ) -> Self {
        let id = machine.shard;
        let early = machine.files.faults.has(PlantedBug::EarlyAcknowledgement);
        let proposer =
            Proposer::start(id, replica.clone(), Arc::clone(&clock), early, tasks, cancel);
        Self {
            id,
            replica,
            machine,
            proposer,
            clock,
            limits,
            flush_proposed: AtomicBool::new(false),
            active_since: Mutex::new(None),
        }
    }

    /// Which one.
    pub(crate) fn id(&self) -> ShardId {
        self.id
    }

    /// Its Raft group.
    pub(crate) fn group(&self) -> &Group {
        self.replica.group()
    }

    /// Its state machine.
    pub(crate) fn machine(&self) -> &Arc<ShardMachine> {
        &self.machine
    }

    /// Why it stopped, if it did.
    pub(crate) fn stopped(&self) -> Option<String> {
        self.machine.stopped()
    }

    /// Whether it has a leader and serves.
    pub(crate) fn ready(&self) -> bool {
        self.stopped().is_none() && self.replica.group().leader().is_some()
    }

    /// Whether this replica leads.
    pub(crate) fn leads(&self) -> bool {
        self.stopped().is_none() && self.replica.group().is_leader()
    }

    /// Hands a write in.
    pub(crate) async fn submit(&self, submission: Submission) -> Answer {
        self.proposer.submit(submission).await
    }

    /// Proposes any other command.
    pub(crate) async fn propose(
        &self,
        command: &Command,
        deadline: Duration,
    ) -> Result<(LogPosition, Reply), Error> {
        propose_command(self.id, &self.replica, command, &[], deadline)
            .await
            .map_err(|e| e.to_error(self.id))
    }

    /// Takes a read index and waits until it is applied here.
    pub(crate) async fn read_index(&self, deadline: Duration) -> Result<LogPosition, Error> {
        self.replica.read_index(deadline).await.map_err(|e| self.group_error(e))
    }

    /// Waits until every voter has an entry in its log, synced. What is committed stays so either way.
    pub(crate) async fn wait_for_all(&self, index: u64, until: Instant) -> Result<(), Error> {
        let deadline = until.saturating_duration_since(Instant::now());
        self.replica.wait_for_all(index, deadline).await.map_err(|e| self.group_error(e))
    }

    /// Whether a majority of the voters, this leader among them, made the same by a job. Voters that have not done it
    /// yet are waited for by asking again.
    pub(crate) async fn majority_made(
        &self,
        job: u64,
        content: &[u8; 32],
        deadline: Duration,
    ) -> Result<bool, Error> {
        let asked = PeerRequest::Made { shard: self.id.0, job, content: *content };
        let agrees = |reply: &PeerReply| match reply {
            PeerReply::Made(agrees) => *agrees,
            _ => None,
        };
        let votes = self.replica.ask_voters(&asked, deadline).await;
        let voters = votes.len() + 1;
        let same = 1 + votes.iter().flatten().filter(|r| agrees(r) == Some(true)).count();
        let other = votes.iter().flatten().filter(|r| agrees(r) == Some(false)).count();
        if other > voters / 2 {
            let why = format!(
                "job {job}: {other} of {voters} replicas made other rows than this one; what they \
                 have counts"
            );
            self.machine.stop(&why);
            return Err(Error::Corrupt(why));
        }
        Ok(same > voters / 2)
    }

    fn group_error(&self, source: quorate_consensus::Error) -> Error {
        Error::Group { shard: format!("shard {}", self.id.0), source: Arc::new(source) }
    }

    /// Whether a write need not wait for a flush.
    pub(crate) fn admits_writes(&self) -> bool {
        let live = self.machine.live();
        live.state.flushes.len() < FROZEN_MAX || live.state.active.bytes() < self.limits.full
    }

    /// Bytes of the active memtable.
    pub(crate) fn active_bytes(&self) -> u64 {
        self.machine.live().state.active.bytes()
    }

    /// How long the active memtable has had rows that no manifest holds, as seen by whoever asks regularly.
    pub(crate) fn active_age(&self) -> Option<Duration> {
        let empty = self.machine.live().state.active.log_index_first().is_none();
        let now = self.clock.monotonic();
        let mut since = self.active_since.lock();
        if empty {
            *since = None;
            return None;
        }
        Some(now.saturating_sub(*since.get_or_insert(now)))
    }

    /// Whether a flush is logged and not installed.
    pub(crate) fn flush_pending(&self) -> bool {
        self.flush_proposed.load(Ordering::SeqCst) || !self.machine.live().state.flushes.is_empty()
    }

    /// Whether one more memtable may be frozen.
    pub(crate) fn may_freeze(&self) -> bool {
        !self.flush_proposed.load(Ordering::SeqCst)
            && self.machine.live().state.flushes.len() < FROZEN_MAX
    }

    /// Proposes a flush; returns its place in the log. With `small_stay`, parts too small for a file stay in memory and
    /// go into the manifest.
    pub(crate) async fn propose_flush(
        &self,
        small_stay: bool,
        deadline: Duration,
    ) -> Result<LogPosition, Error> {
        self.flush_proposed.store(true, Ordering::SeqCst);
        let keep = if small_stay {
            let live = self.machine.live();
            live.state.active.small_parts(SMALL_PART_BYTES, self.limits.stay)
        } else {
            Vec::new()
        };
        let command = Command::Flush(FlushCommand {
            time: self.clock.now_nanos(),
            writer: quorate_segment::SegmentWriter::WRITER_ID,
            keep,
        });
        let proposed = self.propose(&command, deadline).await;
        *self.active_since.lock() = None;
        self.flush_proposed.store(false, Ordering::SeqCst);
        proposed.map(|(position, _)| position)
    }

    /// Proposes a compaction, if there is anything to compact and none is pending. Returns whether it did.
    pub(crate) async fn propose_compaction(
        &self,
        config: &Config,
        deadline: Duration,
    ) -> Result<bool, Error> {
        let version = {
            let live = self.machine.live();
            if !live.state.compactions.is_empty() {
                return Ok(false);
            }
            Arc::clone(&live.state.version)
        };
        let Some(mut choice) = pick(&version, config, &BTreeSet::new()) else { return Ok(false) };
        if self.machine.files.faults.has(PlantedBug::DistantMerge) && choice.inputs.len() > 2 {
            choice.inputs.remove(1);
        }
        let command = Command::Compact(CompactCommand {
            choice,
            writer: quorate_segment::SegmentWriter::WRITER_ID,
            segment_bytes_max: SEGMENT_BYTES_MAX,
        });
        self.propose(&command, deadline).await?;
        Ok(true)
    }

    /// Lets the log go that manifests cover. The log above the manifest before the newest is kept, so that a damaged
    /// manifest can be replaced by the one before it; `all` gives that up to make room.
    pub(crate) async fn purge_log(&self, all: bool) -> Result<(), Error> {
        let (newest, before) = (self.machine.manifest_position(), self.machine.manifest_before());
        let verified = self.machine.live().state.verified;
        let keep_after = if all { newest } else { before };
        let Some(keep_after) = keep_after else { return Ok(()) };
        if verified < newest.map(|p| p.index) && all {
            return Ok(());
        }
        if self.replica.group().status().purged >= Some(keep_after) {
            return Ok(());
        }
        assert!(Some(keep_after) <= newest, "{keep_after:?} is behind manifest {newest:?}");
        if newest > self.machine.live().state.applied {
            // Another replica's manifest is about to be the state.
            return Ok(());
        }
        self.group().snapshot_moved(keep_after).await.map_err(|e| self.group_error(e))
    }

    /// Goes on from another replica's manifest that names none of these files, which nobody has any more: the others have
    /// merged them. Returns whether there was one.
    pub(crate) async fn go_on_without(&self, files: &BTreeSet<FileHash>) -> Result<bool, Error> {
        let Some(fetcher) = &self.machine.files.fetcher else { return Ok(false) };
        let (newest, trouble) = fetcher.newest_manifest(self.id).await;
        let Some(manifest) = newest else { return Err(Error::Exhausted(trouble)) };
        let record = ShardRecord::decode(&manifest.body)?;
        let is_older = Some(manifest.position) < self.machine.manifest_position();
        if is_older || record.version.iter().any(|s| files.contains(&s.meta.file_hash)) {
            return Ok(false);
        }
        let Manifest { position, membership, body, .. } = manifest;
        let snapshot = Snapshot { position: Some(position), membership, manifest: body };
        let prepared = self.machine.prepare(&snapshot).await;
        prepared.map_err(|e| Error::Exhausted(with_causes(&e)))?;
        let machine = Arc::clone(&self.machine);
        let taking = async move {
            let taken = blocking::run("taking a manifest", move || machine.take_manifest(snapshot));
            taken.await.map_err(|e| Fatal { what: with_causes(&e), source: None })
        };
        self.group().go_back(taking).await.map_err(|e| self.group_error(e))?;
        Ok(true)
    }

    /// Segments of the current version.
    pub(crate) fn segments(&self) -> Vec<SegmentStatus> {
        let status = |s: &crate::version::LiveSegment| SegmentStatus {
            shard: self.id,
            slice_start: s.slice_start,
            job: s.job,
            level: s.level,
            meta: Arc::clone(&s.meta),
        };
        self.machine.version().iter().map(status).collect()
    }

    /// Adds what this shard knows of a table.
    pub(crate) fn add_table_status(&self, table: TableId, status: &mut TableStatus) {
        let mut see = |time_min: i64, time_max: i64| {
            status.time_min = Some(status.time_min.map_or(time_min, |t| t.min(time_min)));
            status.time_max = Some(status.time_max.map_or(time_max, |t| t.max(time_max)));
        };
        let live = self.machine.live();
        for segment in live.state.version.of_table(table, crate::scan::TimeRange::ALL) {
            status.rows += segment.meta.rows;
            status.bytes += segment.meta.bytes;
            status.segments += 1;
            see(segment.meta.time_min, segment.meta.time_max);
        }
        let all = crate::scan::TimeRange::ALL;
        let frozen = live.state.flushes.values().map(|f| f.frozen.view(table, all));
        for memtable in frozen.chain([live.state.active.view(table, all)]) {
            status.rows += memtable.rows();
            status.memtable_rows += memtable.rows();
            if let Some(time) = memtable.time() {
                see(time.start, time.end);
            }
        }
    }

    /// Counters.
    pub(crate) fn status(&self) -> ShardStatus {
        let group = self.replica.group().status();
        let live = self.machine.live();
        ShardStatus {
            shard: self.id,
            group,
            memtable_bytes: live.memtable_bytes(),
            flushes_pending: live.state.flushes.len() as u64,
            compactions_pending: live.state.compactions.len() as u64,
            segments: live.state.version.iter().count() as u64,
            rows_deduplicated: live.state.counters.rows_deduplicated,
            rows_expired: live.state.counters.rows_expired,
            writes_duplicate: live.state.counters.writes_duplicate,
            entries_applied: live.state.entries_applied,
        }
    }
}
