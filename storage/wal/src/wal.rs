//! The node's handle to the log.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;

use crate::bytes::{BLOCK, blocks};
use crate::entry::{GroupId, LogPosition};
use crate::group::{Group, GroupLog};
use crate::log_segment::Identity;
use crate::metrics::WalStatus;
use crate::recovery::{self, POISONED, Recovered, Recovery};
use crate::shared::{PoisonHook, Shared};
use crate::writer::Writer;
use crate::{Clock, Disk, Error, Faults, LogStepper, PlantedBug, SystemClock};

/// Called once, from the writer thread, after the sync that covers the call (or after it failed). In the order
/// of the calls of a group.
pub type SyncCallback = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// Name of the lock file.
const LOCK: &str = "LOCK";
const SEGMENT_BYTES_MIN: usize = 16 * BLOCK;

/// Settings of the log.
#[derive(Clone, Debug)]
pub struct WalOptions {
    /// Directory of the log's files.
    pub dir: PathBuf,
    /// The cluster that this log belongs to; another one is refused.
    pub cluster: u128,
    /// The node that this log belongs to; another one is refused.
    pub node: u128,
    /// Size of a log segment. Rounded up to whole blocks of 4 KiB, at least 16 of them.
    pub segment_bytes: u64,
    /// Bytes waiting in the writer's queue above which `append` blocks.
    pub queue_bytes_max: u64,
    /// Free space below which [`Wal::admit`] refuses with [`Error::DiskFull`].
    pub reserve_bytes: u64,
    /// Bytes of entries kept in memory per node for readers.
    pub cache_bytes: u64,
    /// Times the syncs.
    pub clock: Arc<dyn Clock>,
    /// For simulators only.
    pub faults: Faults,
}

impl WalOptions {
    /// The defaults of `docs/operations.md`.
    pub fn new(dir: impl Into<PathBuf>, cluster: u128, node: u128) -> Self {
        Self {
            dir: dir.into(),
            cluster,
            node,
            segment_bytes: 64 << 20,
            queue_bytes_max: 32 << 20,
            reserve_bytes: 256 << 20,
            cache_bytes: 64 << 20,
            clock: Arc::new(SystemClock::new()),
            faults: Faults::default(),
        }
    }
}

/// The node's log: one writer thread, shared by all groups. Cheap to clone.
///
/// Closed by [`Wal::close`], or when the last clone and the last [`GroupLog`] are dropped.
#[derive(Clone, Debug)]
pub struct Wal {
    handle: Arc<Handle>,
}

/// The threads, which end when this is dropped.
#[derive(Debug)]
pub(crate) struct Handle {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Handle {
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    fn close(&self) {
        self.shared.close();
        self.shared.end_steps();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            // A callback may hold the last handle: then this is the writer thread itself.
            if thread.thread().id() != thread::current().id() && thread.join().is_err() {
                tracing::error!("a thread of the write-ahead log panicked");
            }
        }
        self.shared.release_lock();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

impl Wal {
    /// Opens or creates the log and reads what it holds.
    pub fn open(disk: Arc<dyn Disk>, mut options: WalOptions) -> Result<(Self, Recovery), Error> {
        let dir = options.dir.clone();
        let segment_bytes = usize::try_from(options.segment_bytes).unwrap_or(usize::MAX / 2);
        options.segment_bytes = blocks(segment_bytes.max(SEGMENT_BYTES_MIN)) as u64;
        disk.create_dir_all(&dir).map_err(recovery::io("create", &dir))?;
        let lock_path = dir.join(LOCK);
        let lock = disk.lock(&lock_path).map_err(|source| {
            if source.kind() == io::ErrorKind::WouldBlock {
                let what = "is locked by another process".to_owned();
                return Error::Conflict { path: dir.clone(), what };
            }
            Error::Io { action: "lock", path: lock_path.clone(), source }
        })?;

        let identity = Identity { cluster: options.cluster, node: options.node };
        let recovered = recovery::recover(&*disk, &dir, identity)?;
        let mark = dir.join(POISONED);
        if disk.exists(&mark).map_err(recovery::io("look at", &mark))? {
            disk.remove(&mark).map_err(recovery::io("remove", &mark))?;
            disk.sync_dir(&dir).map_err(recovery::io("sync", &dir))?;
        }
        let Recovered { report, groups: outcomes, segments, hardstate, resume } = recovered;
        let mut groups = BTreeMap::new();
        let mut mirrors = BTreeMap::new();
        for (id, outcome) in outcomes {
            groups.insert(id, Arc::new(Group::recovered(id, &outcome)));
            mirrors.insert(id, outcome.mirror);
        }
        let shared = Arc::new(Shared::new(disk, options, lock, groups, segments));
        let writer = Writer::new(Arc::clone(&shared), identity, hardstate, mirrors, resume);
        let threads = start(&shared, writer)?;
        let handle = Handle { shared, threads: Mutex::new(threads) };
        let wal = Self { handle: Arc::new(handle) };
        let shared = &wal.handle.shared;
        if let Some(driver) = &shared.options.faults.driver {
            driver.drive(&wal, LogStepper::new(shared));
        }
        let report = wal.truncate_damage(report)?;
        Ok((wal, report))
    }

    /// The handle of one group, created on first use.
    pub fn group(&self, group: GroupId) -> GroupLog {
        let mut groups = self.handle.shared.groups.write();
        let log = groups.entry(group).or_insert_with(|| Arc::new(Group::new(group)));
        GroupLog::new(Arc::clone(&self.handle), Arc::clone(log))
    }

    /// Counters.
    pub fn status(&self) -> WalStatus {
        let shared = &self.handle.shared;
        let oldest = shared.groups.read().values().filter_map(|group| group.oldest_segment()).min();
        WalStatus {
            bytes_live: self.bytes_from(oldest),
            poisoned: shared.is_poisoned(),
            disk_full: shared.disk_full.load(Ordering::Relaxed),
            ..shared.metrics.status(shared.options.clock.monotonic())
        }
    }

    fn bytes_from(&self, oldest: Option<u64>) -> u64 {
        let Some(oldest) = oldest else { return 0 };
        let segments = self.handle.shared.segments.read();
        segments.range(oldest..).map(|(_, segment)| segment.used).sum()
    }

    /// Bytes of log segments from the one with the oldest entry of `group` on: what the group keeps from
    /// being removed, alone or with others.
    pub fn bytes_held_by(&self, group: GroupId) -> u64 {
        let group = self.handle.shared.groups.read().get(&group).map(Arc::clone);
        self.bytes_from(group.and_then(|group| group.oldest_segment()))
    }

    /// Whether a new proposal may be made. Refuses with [`Error::DiskFull`] while less than the reserve is
    /// free: ask before proposing, since Raft's own entries may draw on the reserve.
    pub fn admit(&self) -> Result<(), Error> {
        self.handle.shared.admit()
    }

    /// Calls `hook` once, from the writer thread, when a write or sync has failed (at once, if one has).
    /// The process must then end: what was pending is unknown.
    pub fn on_poison(&self, hook: PoisonHook) {
        self.handle.shared.on_poison(hook);
    }

    /// Gives up what recovery could not find whole: drops the first FAULTY entry of a group and all behind
    /// it, or what lies behind a hole. Durable on return. Returns what is known to go.
    pub fn accept_loss(&self, group: GroupId) -> Result<Vec<LogPosition>, Error> {
        let group = self.group(group);
        let (sender, receiver) = mpsc::sync_channel(1);
        let done = Box::new(move |result| {
            // The receiver waits below.
            let _ = sender.send(result);
        });
        let gone = group.accept_loss(done)?;
        receiver.recv().map_err(|_| Error::Poisoned)??;
        Ok(gone)
    }

    /// [`PlantedBug::TruncatedDamage`]: what recovery keeps as damaged is dropped without a word.
    fn truncate_damage(&self, mut report: Recovery) -> Result<Recovery, Error> {
        if self.handle.shared.options.faults.has(PlantedBug::TruncatedDamage) {
            for group in std::mem::take(&mut report.faulty).into_keys() {
                self.group(group).accept_loss(Box::new(drop))?;
            }
        }
        Ok(report)
    }

    /// Syncs what is queued, ends the threads, and releases the files.
    pub fn close(&self) -> Result<(), Error> {
        self.handle.close();
        if self.handle.shared.is_poisoned() { Err(Error::Poisoned) } else { Ok(()) }
    }
}

/// Has the writer and what goes on beside it run: on threads, or in the steps that a simulator makes.
fn start(shared: &Arc<Shared>, writer: Writer) -> Result<Vec<JoinHandle<()>>, Error> {
    if shared.options.faults.driver.is_some() {
        *shared.stepped.lock() = Some(writer);
        return Ok(Vec::new());
    }
    let in_background = Arc::clone(shared);
    Ok(vec![
        spawn("wal-writer", move || writer.run())?,
        spawn("wal-background", move || in_background.background.run(&in_background))?,
    ])
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    let builder = thread::Builder::new().name(name.to_owned());
    builder.spawn(run).map_err(recovery::io("start a thread for", name.as_ref()))
}
