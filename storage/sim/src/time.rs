//! The one clock of a simulation, as each node sees it.
//!
//! A process has one monotonic clock. The nodes of a simulation run one after the other on one thread, so before each turn
//! the clock is set to what that node's own would show: its time may run fast or slow.
//! Whoever replaces the clock of the operating system ([`monotonic_nanos`], [`wall_nanos`]) makes `std` and Tokio follow.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use quorate_wal::Clock;

/// What the wall clocks show when a simulation begins: 2026-01-01.
pub(crate) const WALL_START_NS: i64 = 1_767_225_600_000_000_000;

/// The monotonic clock of the node whose turn it is.
static NOW_NS: AtomicU64 = AtomicU64::new(0);

/// What the monotonic clock of the process is to show, ns.
pub fn monotonic_nanos() -> u64 {
    NOW_NS.load(Ordering::Relaxed)
}

/// What the wall clock of the process is to show, ns. Nodes take the time from a [`SimClock`] instead.
pub fn wall_nanos() -> i64 {
    WALL_START_NS.saturating_add_unsigned(monotonic_nanos())
}

/// Sets the clock for the turn of a node.
pub(crate) fn set_monotonic(nanos: u64) {
    NOW_NS.store(nanos, Ordering::Relaxed);
}

/// The clock of one node.
#[derive(Clone, Debug)]
pub(crate) struct SimClock {
    /// What its wall clock shows beyond the true time.
    offset_ns: Arc<AtomicI64>,
    /// By how much it runs fast, in millionths.
    drift_ppm: i64,
}

impl SimClock {
    pub(crate) fn new(drift_ppm: i64) -> Self {
        Self { offset_ns: Arc::default(), drift_ppm }
    }

    /// What this node's monotonic clock shows after so much true time.
    pub(crate) fn local(&self, elapsed: Duration) -> u64 {
        let elapsed = i128::try_from(elapsed.as_nanos()).unwrap_or(i128::MAX);
        let local = elapsed + elapsed * i128::from(self.drift_ppm) / 1_000_000;
        u64::try_from(local).unwrap_or(0)
    }

    /// Has the wall clock jump to so much beyond the true time.
    pub(crate) fn jump(&self, offset_ns: i64) {
        self.offset_ns.store(offset_ns, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now_nanos(&self) -> i64 {
        wall_nanos().saturating_add(self.offset_ns.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(monotonic_nanos())
    }
}
