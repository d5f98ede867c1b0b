//! The state machine of one shard as Raft sees it, with the files behind it.
//!
//! [`ShardMachine`] decodes entries, gives them to [`ShardState`], and holds what the state does not know of: open
//! segments, pins, manifests. Jobs ([`super::jobs`]) build files beside it and install them here.
//!
//! Invariants:
//! - every segment of the live version is open and pinned; those of the manifests on disk are pinned too, so that no
//!   file goes that a restart would look for;
//! - inputs of a compaction stay pinned until a majority agreed on what came out;
//! - the manifest on disk is never newer than what its files hold: files are durable before it is written.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use quorate_consensus::{Applied, Fatal, Snapshot, StateMachine};
use quorate_segment::{SegmentCaches, SegmentReader};
use quorate_wal::{Disk, Faults, OpenMode, PlantedBug};
use tokio::sync::{Notify, watch};

use super::budget::Budget;
use super::command::{Command, Reply, decode};
use super::dedup::DedupRecord;
use super::fetch::Fetcher;
use super::jobs::Made;
use super::recover::Remedy;
use super::scrub::ScrubStatus;
use super::state::{Effect, PendingFlush, ShardState};
use crate::batch::{DecodedBatches, RowBatch};
use crate::manifest::{Manifest, ManifestStore, ShardRecord};
use crate::scan::{OpenSegment, Tails};
use crate::store::ShardId;
use crate::version::{FileHash, LiveSegment, SegmentPin, SegmentPins, Version};
use crate::{Error, LogPosition, blocking, with_causes};

/// Frozen memtables per shard above which proposals wait.
pub(crate) const FROZEN_MAX: usize = 4;

/// Open segments, by hash.
type OpenFiles = BTreeMap<FileHash, Arc<OpenSegment>>;

/// State and files, changed together.
#[derive(Debug)]
pub(crate) struct Live {
    /// What the log says.
    pub(crate) state: ShardState,
    /// The segments of the version, by hash.
    pub(crate) files: OpenFiles,
    /// Inputs of compactions that are installed and not verified, by job.
    pub(crate) held: BTreeMap<u64, Vec<Arc<SegmentPin>>>,
    /// Jobs that were verified and whose leftovers are to go.
    pub(crate) verified: Vec<u64>,
}

impl Live {
    /// Forgets the files of segments that are no longer live.
    fn prune(&mut self) {
        let live: std::collections::BTreeSet<FileHash> =
            self.state.version.iter().map(|s| s.meta.file_hash).collect();
        self.files.retain(|hash, _| live.contains(hash));
    }

    /// Bytes of the active and the frozen memtables.
    pub(crate) fn memtable_bytes(&self) -> u64 {
        let frozen: u64 = self.state.flushes.values().map(|f| f.frozen.bytes()).sum();
        self.state.active.bytes() + frozen
    }
}

/// What is durable.
#[derive(Debug, Default)]
struct Durable {
    current: Option<(Manifest, [u8; 32])>,
    previous: Option<LogPosition>,
    /// Pins of the generations on disk, newest last.
    generations: VecDeque<Vec<Arc<SegmentPin>>>,
}

/// Where a shard keeps its files.
#[derive(Debug)]
pub(crate) struct ShardFiles {
    /// What helps where they are damaged.
    pub(crate) remedy: Remedy,
    /// The disk.
    pub(crate) disk: Arc<dyn Disk>,
    /// Segments.
    pub(crate) segments: PathBuf,
    /// Manifests.
    pub(crate) manifests: ManifestStore,
    /// Caches of the node.
    pub(crate) caches: Arc<SegmentCaches>,
    /// Last rows of the node's segments.
    pub(crate) tails: Arc<Tails>,
    /// Batches that the node has encoded.
    pub(crate) decoded: Arc<DecodedBatches>,
    /// Who holds which segment.
    pub(crate) pins: Arc<SegmentPins>,
    /// For simulators only.
    pub(crate) faults: Faults,
    /// Gets files from other replicas; none on a node of its own.
    pub(crate) fetcher: Option<Fetcher>,
    /// Why the process must end, once it must.
    pub(crate) failure: watch::Sender<Option<String>>,
}

/// How large memtables may become, and who is told.
#[derive(Clone, Debug)]
pub(crate) struct MemtableLimits {
    /// Of all shards.
    pub(crate) budget: Arc<Budget>,
    /// Of the active one of a shard.
    pub(crate) flush_bytes: u64,
    /// Woken when a memtable is full.
    pub(crate) full: Arc<Notify>,
}

/// One shard's state machine.
#[derive(Debug)]
pub(crate) struct ShardMachine {
    pub(crate) shard: ShardId,
    pub(crate) files: ShardFiles,
    live: Mutex<Live>,
    durable: Mutex<Durable>,
    budget: Arc<Budget>,
    /// A compaction waits, or a job was verified.
    pub(crate) work: Notify,
    /// A flush waits.
    pub(crate) flush_work: Notify,
    /// The active memtable is as large as it may be: maintenance has to flush.
    full: Arc<Notify>,
    flush_bytes: u64,
    /// A flush or compaction was installed, or one failed.
    pub(crate) installed: Notify,
    /// The last attempt to build files failed: nothing waits for it.
    pub(crate) failing: AtomicBool,
    /// Set once, when the store closes: jobs stop.
    pub(crate) cancelled: Arc<AtomicBool>,
    /// What jobs made and nobody agreed on yet.
    pub(crate) to_verify: Mutex<Vec<Made>>,
    /// How the latest scrub stands.
    scrub: Mutex<ScrubStatus>,
    /// Serialises the writing of manifests.
    writing: Mutex<()>,
    /// Held while files for a Raft snapshot are fetched: the leader may offer it again meanwhile.
    preparing: tokio::sync::Mutex<()>,
    /// Files of a Raft snapshot that waits to be installed.
    prepared: Mutex<Vec<Arc<SegmentPin>>>,
    stopped: Mutex<Option<String>>,
}

impl ShardMachine {
    /// Over what `recover` found.
    pub(crate) fn new(
        shard: ShardId,
        files: ShardFiles,
        limits: MemtableLimits,
        recovered: super::recover::Recovered,
    ) -> Result<Self, Error> {
        let (position, membership, record) = match &recovered.current {
            Some((manifest, _)) => {
                (Some(manifest.position), manifest.membership.clone(), recovered.record)
            }
            None => (None, Bytes::new(), ShardRecord::default()),
        };
        let live = Live {
            state: ShardState::from_record(position, membership, record)?,
            files: recovered.open,
            held: BTreeMap::new(),
            verified: Vec::new(),
        };
        let durable = Durable {
            current: recovered.current,
            previous: recovered.previous,
            generations: recovered.generations.into(),
        };
        Ok(Self {
            shard,
            files,
            live: Mutex::new(live),
            durable: Mutex::new(durable),
            budget: limits.budget,
            work: Notify::new(),
            flush_work: Notify::new(),
            full: limits.full,
            flush_bytes: limits.flush_bytes,
            installed: Notify::new(),
            failing: AtomicBool::new(false),
            cancelled: Arc::default(),
            to_verify: Mutex::default(),
            scrub: Mutex::new(ScrubStatus::of(shard)),
            writing: Mutex::default(),
            preparing: tokio::sync::Mutex::default(),
            prepared: Mutex::default(),
            stopped: Mutex::new(None),
        })
    }

    /// State and files, for as short a time as possible.
    pub(crate) fn live(&self) -> parking_lot::MutexGuard<'_, Live> {
        self.live.lock()
    }

    /// Why it stopped, if it did.
    pub(crate) fn stopped(&self) -> Option<String> {
        self.stopped.lock().clone()
    }

    /// Stops this replica: it refuses from here on, the node goes on.
    pub(crate) fn stop(&self, why: &str) {
        let mut stopped = self.stopped.lock();
        if stopped.is_none() {
            tracing::error!("shard {} stops: {why}", self.shard.0);
            *stopped = Some(why.to_owned());
        }
    }

    /// Index of the newest manifest.
    pub(crate) fn manifest_position(&self) -> Option<LogPosition> {
        self.durable.lock().current.as_ref().map(|(m, _)| m.position)
    }

    /// Position of the manifest before it.
    pub(crate) fn manifest_before(&self) -> Option<LogPosition> {
        self.durable.lock().previous
    }

    /// Whether manifests on disk name segments that are no longer live.
    pub(crate) fn holds_replaced(&self) -> bool {
        let live = self.live.lock();
        if !live.held.is_empty() {
            return false;
        }
        let durable = self.durable.lock();
        durable.generations.iter().flatten().any(|p| !live.files.contains_key(&p.meta().file_hash))
    }

    /// Opens a segment that a job made. Blocks on the disk.
    pub(crate) fn open_segment(&self, segment: &LiveSegment) -> Result<Arc<OpenSegment>, Error> {
        open_segment(&self.files, segment)
    }

    /// How the latest scrub stands.
    pub(crate) fn scrub_status(&self) -> ScrubStatus {
        self.scrub.lock().clone()
    }

    /// Notes how the scrub goes on.
    pub(crate) fn scrubbed(&self, note: impl FnOnce(&mut ScrubStatus)) {
        note(&mut self.scrub.lock());
    }

    /// Opens a segment's file anew, which was replaced; from here on reads use it. Blocks on the disk.
    pub(crate) fn reopen(&self, segment: &LiveSegment) -> Result<(), Error> {
        let open = open_segment(&self.files, segment)?;
        let mut live = self.live.lock();
        if let Some(file) = live.files.get_mut(&segment.meta.file_hash) {
            *file = open;
        }
        Ok(())
    }

    /// See [`ShardState::made_same`].
    pub(crate) fn made_same(&self, job: u64, content: &[u8; 32]) -> Option<bool> {
        self.live.lock().state.made_same(job, content)
    }

    /// A piece of a segment's file, as it is on the disk, and the length of the file. Who asks compares the hash of the
    /// whole. Blocks on the disk.
    pub(crate) fn read_piece(
        &self,
        hash: &FileHash,
        offset: u64,
        len: u64,
    ) -> Result<(u64, Bytes), Error> {
        let path = self.files.segments.join(file_name(hash));
        let io = |source| Error::Io { action: "read", path: path.clone(), source };
        let file = self.files.disk.open(&path, OpenMode::Read).map_err(io)?;
        let file_len = file.len().map_err(io)?;
        let len = len.min(file_len.saturating_sub(offset));
        let mut piece = vec![0; usize::try_from(len).unwrap_or(0)];
        file.read_exact_at(&mut piece, offset).map_err(io)?;
        Ok((file_len, piece.into()))
    }

    /// Installs a flush and makes its manifest current. Blocks on the disk. Files are durable already. Returns whether it
    /// still applied.
    pub(crate) fn install_flush(
        &self,
        job: u64,
        added: Vec<LiveSegment>,
        open: Vec<Arc<OpenSegment>>,
        deduplicated: u64,
    ) -> Result<bool, Error> {
        // Before anybody sees that it is done, and asks for the next one.
        self.failing.store(false, Ordering::SeqCst);
        let flush = {
            let mut live = self.live.lock();
            for segment in open {
                live.files.insert(segment.live.meta.file_hash, segment);
            }
            let flush = live.state.install_flush(job, added, deduplicated)?;
            live.prune();
            self.budget.set_memtables(self.shard, live.memtable_bytes());
            flush
        };
        self.installed.notify_waiters();
        self.budget.wake();
        match flush {
            Some(flush) => self.write_manifest(flush).map(|()| true),
            None => Ok(false),
        }
    }

    /// Writes the manifest of a flush whose files are there.
    fn write_manifest(&self, mut flush: PendingFlush) -> Result<(), Error> {
        for part in &flush.captured.kept {
            flush.captured.record.checkpoint.push(part.encode()?);
        }
        if self.files.faults.has(PlantedBug::DroppedDedup) {
            flush.captured.record.dedup = DedupRecord::default();
        }
        let (position, membership) = (flush.position, flush.captured.membership);
        self.make_current(position, membership, &flush.captured.record)
    }

    /// Makes a manifest the current one. A Raft snapshot may have overtaken it: then it is nobody's.
    fn make_current(
        &self,
        position: LogPosition,
        membership: Bytes,
        record: &ShardRecord,
    ) -> Result<(), Error> {
        let _writing = self.writing.lock();
        let previous = {
            let durable = self.durable.lock();
            if durable.current.as_ref().is_some_and(|(current, _)| current.position >= position) {
                return Ok(());
            }
            durable.current.as_ref().map(|(m, hash)| (m.position, *hash))
        };
        self.write_current(position, membership, record, previous)
    }

    /// Writes a manifest behind a previous one, or in the place of the one at its position.
    fn write_current(
        &self,
        position: LogPosition,
        membership: Bytes,
        record: &ShardRecord,
        previous: Option<(LogPosition, [u8; 32])>,
    ) -> Result<(), Error> {
        let pins: Vec<Arc<SegmentPin>> =
            record.version.iter().map(|s| self.files.pins.pin(&s.meta)).collect();
        let manifest = Manifest {
            group: u64::from(self.shard.0) + 1,
            position,
            membership,
            previous: previous.map(|(_, hash)| hash),
            body: record.encode()?,
        };
        let hash = self.files.manifests.write(&manifest)?;
        let mut durable = self.durable.lock();
        if durable.current.as_ref().is_some_and(|(current, _)| current.position == position) {
            durable.generations.pop_back();
        }
        durable.previous = previous.map(|(position, _)| position);
        durable.current = Some((manifest, hash));
        durable.generations.push_back(pins);
        while durable.generations.len() > 2 {
            durable.generations.pop_front();
        }
        Ok(())
    }

    /// Replaces the state by a Raft snapshot whose files are here. Blocks on the disk.
    fn install_snapshot(&self, snapshot: Snapshot) -> Result<(), Error> {
        let Some(position) = snapshot.position else { return Ok(()) };
        let record = ShardRecord::decode(&snapshot.manifest)?;
        let files = self.open_all(&record)?;
        self.make_current(position, snapshot.membership.clone(), &record)?;
        self.go_on_from(position, snapshot, record, files)?;
        tracing::info!("shard {} goes on from the leader's manifest of {position:?}", self.shard.0);
        Ok(())
    }

    /// Replaces the state by another replica's manifest whose files are here, which may be as old as the own one, or as
    /// new. The log is to be applied from there again. Blocks on the disk.
    pub(crate) fn take_manifest(&self, snapshot: Snapshot) -> Result<(), Error> {
        let Some(position) = snapshot.position else { return Ok(()) };
        let record = ShardRecord::decode(&snapshot.manifest)?;
        let files = self.open_all(&record)?;
        {
            let _writing = self.writing.lock();
            let previous = {
                let durable = self.durable.lock();
                let current = durable.current.as_ref();
                match current {
                    Some((current, _)) if current.position > position => {
                        return Err(Error::Exhausted("a newer manifest was made here".to_owned()));
                    }
                    Some((current, _)) if current.position == position => {
                        durable.previous.zip(current.previous)
                    }
                    Some((current, hash)) => Some((current.position, *hash)),
                    None => None,
                }
            };
            self.write_current(position, snapshot.membership.clone(), &record, previous)?;
        }
        self.go_on_from(position, snapshot, record, files)?;
        tracing::warn!(
            "shard {} goes on from another replica's manifest of {position:?}",
            self.shard.0
        );
        Ok(())
    }

    fn open_all(&self, record: &ShardRecord) -> Result<OpenFiles, Error> {
        let mut files = BTreeMap::new();
        for segment in record.version.iter() {
            files.insert(segment.meta.file_hash, open_segment(&self.files, segment)?);
        }
        Ok(files)
    }

    /// Replaces the state by that of a manifest. Jobs under way find theirs gone.
    fn go_on_from(
        &self,
        position: LogPosition,
        snapshot: Snapshot,
        record: ShardRecord,
        files: OpenFiles,
    ) -> Result<(), Error> {
        let state = ShardState::from_record(Some(position), snapshot.membership, record)?;
        let mut live = self.live.lock();
        *live = Live { state, files, held: BTreeMap::new(), verified: Vec::new() };
        self.budget.set_memtables(self.shard, live.memtable_bytes());
        drop(live);
        self.prepared.lock().clear();
        self.to_verify.lock().clear();
        self.installed.notify_waiters();
        self.budget.wake();
        self.work.notify_one();
        self.remove_released()?;
        Ok(())
    }

    /// Installs a compaction. Returns whether it still applied.
    pub(crate) fn install_compaction(
        &self,
        job: u64,
        added: Vec<LiveSegment>,
        open: Vec<Arc<OpenSegment>>,
        deduplicated: u64,
    ) -> Result<bool, Error> {
        self.failing.store(false, Ordering::SeqCst);
        let mut live = self.live.lock();
        let inputs: Vec<Arc<SegmentPin>> = live
            .state
            .compactions
            .get(&job)
            .map(|c| c.command.choice.inputs.clone())
            .unwrap_or_default()
            .iter()
            .filter_map(|name| live.state.version.find(name))
            .map(|s| self.files.pins.pin(&s.meta))
            .collect();
        for segment in open {
            live.files.insert(segment.live.meta.file_hash, segment);
        }
        let installed = live.state.install_compaction(job, added, deduplicated)?;
        live.prune();
        if installed {
            live.held.insert(job, inputs);
        }
        drop(live);
        self.installed.notify_waiters();
        Ok(installed)
    }

    /// Notes what a job made, to be compared with what a majority made; in case that they were faster, at once.
    pub(crate) fn note_made(&self, made: Made) -> Result<(), Error> {
        let mut live = self.live.lock();
        let agreed = live
            .state
            .note_made(made.job, made.content)
            .map_err(|diverged| Error::Corrupt(diverged.to_string()))?;
        if agreed {
            live.verified.push(made.job);
            self.work.notify_one();
        } else {
            self.to_verify.lock().push(made);
        }
        Ok(())
    }

    /// Removes the files that nobody holds any more. Blocks on the disk.
    pub(crate) fn remove_released(&self) -> Result<usize, Error> {
        self.files.pins.remove_released(|hash| {
            let path = self.files.segments.join(file_name(hash));
            match self.files.disk.remove(&path) {
                Ok(()) => Ok(()),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
                Err(source) => Err(Error::Io { action: "remove", path, source }),
            }
        })
    }

    /// The version and what a flush in progress has yet to do, for decisions about jobs.
    pub(crate) fn version(&self) -> Arc<Version> {
        Arc::clone(&self.live.lock().state.version)
    }

    fn fatal(
        &self,
        what: String,
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Fatal {
        self.stop(&what);
        Fatal { what, source }
    }

    /// Waits while the frozen memtables are as many as may be, unless files cannot be built now.
    async fn wait_for_frozen(&self) {
        loop {
            let installed = self.installed.notified();
            tokio::pin!(installed);
            installed.as_mut().enable();
            let full = self.live.lock().state.flushes.len() >= FROZEN_MAX;
            if !full || self.failing.load(Ordering::Relaxed) {
                return;
            }
            // Woken by the next install or failure; the time only bounds a lost wake-up.
            let _ = tokio::time::timeout(Duration::from_secs(1), installed).await;
        }
    }

    fn decode(&self, entry: &Applied, bytes: &Bytes) -> Result<(Command, Vec<RowBatch>), Fatal> {
        let place = |what: &dyn std::fmt::Display| {
            format!("entry {} of shard {}: {what}", entry.position.index, self.shard.0)
        };
        let (command, parts) =
            decode(bytes).map_err(|e| self.fatal(place(&e), Some(Box::new(e))))?;
        let mut batches = Vec::with_capacity(parts.len());
        if let Command::Write(write) = &command {
            let described = write.writes.iter().flat_map(|w| &w.parts);
            for (part, bytes) in described.zip(&parts) {
                let rows = match self.files.decoded.take(bytes) {
                    Some(rows) => rows,
                    None => RowBatch::decode(bytes)
                        .map_err(|e| self.fatal(place(&e), Some(Box::new(e))))?,
                };
                if rows.rows() as u64 != part.rows {
                    return Err(self.fatal(place(&"a batch has other rows than named"), None));
                }
                batches.push(rows);
            }
        }
        Ok((command, batches))
    }

    /// Applies one entry and returns the encoded reply.
    async fn apply_one(&self, entry: &Applied) -> Result<Bytes, Fatal> {
        let decoded = match &entry.command {
            Some(bytes) => Some(self.decode(entry, bytes)?),
            None => None,
        };
        if matches!(decoded, Some((Command::Flush(_), _))) {
            self.wait_for_frozen().await;
        }
        self.apply_decoded(entry, decoded)
    }

    fn apply_decoded(
        &self,
        entry: &Applied,
        decoded: Option<(Command, Vec<RowBatch>)>,
    ) -> Result<Bytes, Fatal> {
        let mut live = self.live.lock();
        let before = Arc::clone(&live.state.version);
        let reply = match decoded {
            None => None,
            Some((command, batches)) => {
                let (reply, effect) = live
                    .state
                    .apply(entry.position, command, batches)
                    .map_err(|e| self.fatal(e.to_string(), Some(Box::new(e))))?;
                match effect {
                    Effect::None => {}
                    Effect::Job => {
                        self.flush_work.notify_one();
                        self.work.notify_one();
                    }
                    Effect::Verified(job) => {
                        live.verified.push(job);
                        self.work.notify_one();
                    }
                }
                Some(reply)
            }
        };
        if let Some(membership) = &entry.membership {
            live.state.membership = membership.clone();
        }
        live.state.advance(entry.position);
        if !Arc::ptr_eq(&before, &live.state.version) {
            live.prune();
        }
        self.budget.set_memtables(self.shard, live.memtable_bytes());
        if live.state.active.bytes() >= self.flush_bytes {
            self.full.notify_one();
        }
        drop(live);
        let encode = |reply: &Reply| {
            postcard::to_stdvec(reply)
                .map(Bytes::from)
                .map_err(|e| self.fatal(format!("cannot encode a reply: {e}"), None))
        };
        reply.as_ref().map_or_else(|| Ok(Bytes::new()), encode)
    }
}

/// Name of a segment's file.
pub(crate) fn file_name(hash: &FileHash) -> String {
    format!("{}.parquet", blake3::Hash::from_bytes(*hash).to_hex())
}

/// Opens and pins a segment.
pub(crate) fn open_segment(
    files: &ShardFiles,
    segment: &LiveSegment,
) -> Result<Arc<OpenSegment>, Error> {
    let path: PathBuf = Path::new(&files.segments).join(segment.file_name());
    let pin = files.pins.pin(&segment.meta);
    let reader = SegmentReader::open(
        Arc::clone(&files.disk),
        &path,
        Arc::clone(&segment.meta),
        Arc::clone(&files.caches),
    )?;
    let tails = Arc::clone(&files.tails);
    Ok(Arc::new(OpenSegment { live: segment.clone(), reader, pin, tails }))
}

#[async_trait::async_trait]
impl StateMachine for ShardMachine {
    async fn durable(&self) -> Result<Snapshot, Fatal> {
        let durable = self.durable.lock();
        Ok(durable.current.as_ref().map_or_else(Snapshot::default, |(manifest, _)| Snapshot {
            position: Some(manifest.position),
            membership: manifest.membership.clone(),
            manifest: manifest.body.clone(),
        }))
    }

    async fn apply(&self, entries: Vec<Applied>) -> Result<Vec<Bytes>, Fatal> {
        let mut replies = Vec::with_capacity(entries.len());
        for entry in entries {
            if let Some(why) = self.stopped() {
                return Err(Fatal { what: why, source: None });
            }
            replies.push(self.apply_one(&entry).await?);
        }
        Ok(replies)
    }

    async fn prepare(&self, snapshot: &Snapshot) -> Result<(), Fatal> {
        let failed = |what: String| Fatal { what, source: None };
        if let Some(why) = self.stopped() {
            return Err(failed(why));
        }
        let Some(fetcher) = &self.files.fetcher else {
            return Err(failed("a node of its own takes no snapshots".to_owned()));
        };
        let record =
            ShardRecord::decode(&snapshot.manifest).map_err(|e| failed(with_causes(&e)))?;
        let _alone = self.preparing.lock().await;
        // Pinned first: a file that is here already must not go before the snapshot is installed.
        let pins: Vec<_> = record.version.iter().map(|s| self.files.pins.pin(&s.meta)).collect();
        let segments: Vec<_> = record.version.iter().map(|s| Arc::clone(&s.meta)).collect();
        let fetched = fetcher.fetch_all(self.shard, &self.files, &segments).await;
        let fetched = fetched.map_err(|e| failed(with_causes(&e)))?;
        if fetched > 0 {
            tracing::info!("shard {}: {fetched} files of the leader's manifest came", self.shard.0);
        }
        // A file that was here already may be damaged: better found now, when another can be fetched.
        for segment in record.version.iter() {
            let opened = blocking::in_place(|| open_segment(&self.files, segment));
            if opened.is_err_and(|e| e.kind() == crate::ErrorKind::Corrupt) {
                let again = fetcher.fetch_again(self.shard, &self.files, &segment.meta).await;
                again.map_err(|e| failed(with_causes(&e)))?;
            }
        }
        *self.prepared.lock() = pins;
        Ok(())
    }

    async fn install(&self, snapshot: Snapshot) -> Result<(), Fatal> {
        // The disk is waited for here, as in apply: nothing else of this group can go on meanwhile.
        let installed = blocking::in_place(|| self.install_snapshot(snapshot));
        installed.map_err(|e| {
            let cause = with_causes(&e);
            // Nothing would start this replica again in a process that goes on.
            if e.is_io() {
                let what = format!("a leader's manifest for shard {}: {cause}", self.shard.0);
                self.files.failure.send_replace(Some(what));
            }
            self.fatal(cause, Some(Box::new(e)))
        })
    }
}
