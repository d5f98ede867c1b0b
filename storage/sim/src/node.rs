//! One node: a disk, a clock, and, while it runs, a process: a runtime of its own and a store on it.
//!
//! The runtime has one thread, which is the simulation's: it runs when it is the node's turn, until nothing is left to do
//! at that time. A process that dies takes its runtime with it, and all tasks on it, at whatever they wait for.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use quorate_storage::cluster::{ClusterOptions, NodeService};
use quorate_storage::{Error, Faults, Store, StoreOptions};
use quorate_wal::{PlantedBug, SimDisk};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::log_driver::SimLog;
use crate::network::{Network, Presence, addr};
use crate::random::Random;
use crate::time::{SimClock, set_monotonic};

/// Where the data directory is on every disk.
pub(crate) const DIR: &str = "/data";

/// What all nodes of a cluster are opened with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) nodes: usize,
    pub(crate) shards: u32,
    pub(crate) flush_bytes: u64,
    pub(crate) wal_segment_bytes: u64,
    pub(crate) write_deadline: Duration,
    pub(crate) bug: Option<PlantedBug>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            nodes: 3,
            shards: 2,
            flush_bytes: 2 << 20,
            wal_segment_bytes: 128 << 10,
            write_deadline: Duration::from_secs(5),
            bug: None,
        }
    }
}

/// How a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// What was written stays, synced or not.
    Kill,
    /// What was not synced is lost, in part.
    PowerCut,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) index: usize,
    pub(crate) disk: SimDisk,
    pub(crate) clock: SimClock,
    random: Random,
    /// Counts its processes.
    pub(crate) life: u64,
    process: Option<Process>,
}

#[derive(Debug)]
struct Process {
    runtime: Option<Runtime>,
    idle: Arc<Idle>,
    service: Arc<NodeService>,
    log: SimLog,
    opened: Arc<Mutex<Option<Result<Store, Error>>>>,
    failed: Arc<Mutex<Option<String>>>,
    /// Of the disk, when it began.
    deaths: u64,
}

impl Node {
    pub(crate) fn new(index: usize, drift_ppm: i64, mut random: Random) -> Self {
        let disk = SimDisk::new(random.next());
        let clock = SimClock::new(drift_ppm);
        Self { index, disk, clock, random, life: 0, process: None }
    }

    /// Whether a process runs.
    pub(crate) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// The store, once it is open.
    pub(crate) fn store(&self) -> Option<Store> {
        let opened = self.process.as_ref()?.opened.lock();
        opened.as_ref()?.as_ref().ok().cloned()
    }

    /// Why the store could not be opened, if it could not.
    pub(crate) fn refused(&self) -> Option<String> {
        let opened = self.process.as_ref()?.opened.lock();
        let error = opened.as_ref()?.as_ref().err()?;
        Some(quorate_storage::with_causes(error))
    }

    /// Whether the power went in the middle of a sync.
    pub(crate) fn lost_power(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.deaths != self.disk.deaths())
    }

    /// Why the process has to end, if it does.
    pub(crate) fn failed(&self) -> Option<String> {
        self.process.as_ref()?.failed.lock().clone()
    }

    pub(crate) fn service(&self) -> Option<&Arc<NodeService>> {
        self.process.as_ref().map(|process| &process.service)
    }

    pub(crate) fn log(&self) -> Option<&SimLog> {
        self.process.as_ref().map(|process| &process.log)
    }

    pub(crate) fn runtime(&self) -> Option<Handle> {
        Some(self.process.as_ref()?.runtime.as_ref()?.handle().clone())
    }

    /// Starts a process over what the disk holds.
    pub(crate) fn start(&mut self, now: Duration, network: &Network, settings: &Settings) {
        assert!(self.process.is_none(), "one process at a time");
        // The runtime's timers count from when it was made, by this node's clock.
        set_monotonic(self.clock.local(now));
        self.life += 1;
        let idle = Arc::new(Idle::default());
        let parking = Arc::clone(&idle);
        let runtime = Builder::new_current_thread()
            .enable_time()
            .on_thread_park(move || parking.parked())
            .build()
            .expect("a runtime of one thread needs nothing that could be missing");
        let log = SimLog::new(self.random.fork());
        let service: Arc<NodeService> = Arc::default();
        let options = self.options(network, settings, &service, &log);
        let process = Process {
            runtime: None,
            idle,
            service: Arc::clone(&service),
            log,
            opened: Arc::default(),
            failed: Arc::default(),
            deaths: self.disk.deaths(),
        };
        let (opened, failed) = (Arc::clone(&process.opened), Arc::clone(&process.failed));
        let disk = self.disk.process();
        runtime.spawn(async move {
            let store = Store::open(disk, options).await;
            let running = store.as_ref().ok().cloned();
            *opened.lock() = Some(store);
            if let Some(store) = running {
                let what = store.failed().await;
                *failed.lock() = Some(what);
            }
        });
        let presence = Presence::Up { receiver: service, runtime: runtime.handle().clone() };
        network.set_presence(self.index, presence);
        self.process = Some(Process { runtime: Some(runtime), ..process });
    }

    fn options(
        &self,
        network: &Network,
        settings: &Settings,
        service: &Arc<NodeService>,
        log: &SimLog,
    ) -> StoreOptions {
        let receiver: Arc<NodeService> = Arc::clone(service);
        StoreOptions {
            shards: settings.shards,
            flush_bytes: settings.flush_bytes,
            flush_log_bytes: 1 << 20,
            flush_age: Duration::from_secs(5),
            wal_segment_bytes: settings.wal_segment_bytes,
            write_deadline: settings.write_deadline,
            cache_bytes: 1 << 20,
            memory_bytes: 64 << 20,
            clock: Arc::new(self.clock.clone()),
            scrub_every: Duration::from_secs(20),
            faults: Faults::driven_by(Arc::new(log.clone())).with_bug(settings.bug),
            cluster: Some(ClusterOptions {
                name: format!("n{}", self.index),
                addr: addr(self.index),
                seeds: (0..settings.nodes).map(addr).collect(),
                expect: u32::try_from(settings.nodes).expect("a few nodes"),
                transport: network.transport(self.index, receiver),
                service: Arc::clone(service),
            }),
            ..StoreOptions::new(DIR)
        }
    }

    /// Its turn: runs until nothing is left to do now.
    pub(crate) fn step(&mut self, now: Duration) {
        let Some(process) = &self.process else { return };
        let Some(runtime) = &process.runtime else { return };
        set_monotonic(self.clock.local(now));
        process.idle.begin();
        runtime.block_on(UntilIdle(&process.idle));
    }

    /// Ends the process.
    pub(crate) fn die(&mut self, death: Death, network: &Network, presence: Presence) {
        let Some(mut process) = self.process.take() else { return };
        // First of all, so that nothing that is dropped below can write.
        match death {
            Death::Kill => self.disk.kill(),
            Death::PowerCut => self.disk.cut_power(),
        }
        network.reset(self.index, matches!(presence, Presence::Refusing));
        network.set_presence(self.index, presence);
        drop(process.runtime.take());
        process.log.forget();
    }
}

/// Notices when a runtime has nothing left to do.
#[derive(Debug, Default)]
struct Idle {
    parks: AtomicU32,
    waker: Mutex<Option<Waker>>,
}

impl Idle {
    fn begin(&self) {
        self.parks.store(0, Ordering::Relaxed);
    }

    /// Every task waits for something. The first time, timers that are due have yet to fire.
    fn parked(&self) {
        self.parks.fetch_add(1, Ordering::Relaxed);
        if let Some(waker) = self.waker.lock().take() {
            waker.wake();
        }
    }
}

/// Ends when the runtime that it runs on has been idle twice: all that was due was done.
struct UntilIdle<'a>(&'a Idle);

impl Future for UntilIdle<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0.parks.load(Ordering::Relaxed) >= 2 {
            return Poll::Ready(());
        }
        *self.0.waker.lock() = Some(context.waker().clone());
        Poll::Pending
    }
}
