//! Time as the store sees it: the one place where the machine's clocks are read.
//!
//! Everything else takes a [`Clock`], so that replay, tests, and simulation decide what time it is.

use std::fmt::Debug;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The two clocks of a machine.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Nanoseconds since 1970-01-01 UTC. May jump, in both directions.
    fn now_nanos(&self) -> i64;
    /// Time since some fixed point in the past. Never goes backwards.
    fn monotonic(&self) -> Duration;
}

/// The clocks of the operating system.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    pub fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the clock that all others take")]
        let start = Instant::now();
        Self { start }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now_nanos(&self) -> i64 {
        #[expect(clippy::disallowed_methods, reason = "this is the clock that all others take")]
        let now = SystemTime::now();
        match now.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => {
                i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, i64::wrapping_neg)
            }
        }
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that stands still until it is told otherwise.
#[derive(Debug, Default)]
pub struct ManualClock {
    nanos: AtomicI64,
    monotonic_nanos: AtomicU64,
}

impl ManualClock {
    /// A clock that shows this time, with its monotonic time at zero.
    pub fn new(now_nanos: i64) -> Self {
        Self { nanos: AtomicI64::new(now_nanos), monotonic_nanos: AtomicU64::new(0) }
    }

    /// Lets time pass, on both clocks.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.monotonic_nanos.fetch_add(nanos, Ordering::SeqCst);
        self.nanos.fetch_add(i64::try_from(nanos).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Makes the wall clock jump; monotonic time does not move.
    pub fn set(&self, now_nanos: i64) {
        self.nanos.store(now_nanos, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_nanos(&self) -> i64 {
        self.nanos.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.monotonic_nanos.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manual_clock_moves_only_when_told() {
        let clock = ManualClock::new(5);
        clock.advance(Duration::from_nanos(7));
        assert_eq!(clock.now_nanos(), 12);
        clock.set(-3);
        assert_eq!(clock.now_nanos(), -3);
        assert_eq!(clock.monotonic(), Duration::from_nanos(7));
    }

    #[test]
    fn system_clock_shows_a_time_after_2020_and_does_not_run_backwards() {
        let clock = SystemClock::new();
        let before = clock.monotonic();
        assert!(clock.now_nanos() > 1_577_836_800_000_000_000);
        assert!(clock.monotonic() >= before);
    }
}
