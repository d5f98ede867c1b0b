//! Durations counted in buckets, which those of several nodes can be added up from.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper limits of the buckets, in microseconds.
pub const BUCKETS: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 10_000_000, 60_000_000,
];

/// Counts durations.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS.len()],
    count: AtomicU64,
    micros: AtomicU64,
}

/// What a [`Histogram`] has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// How many were at most as long as each of [`BUCKETS`], shorter ones included.
    pub up_to: [u64; BUCKETS.len()],
    /// How many there were.
    pub count: u64,
    /// Their sum, in microseconds.
    pub micros: u64,
}

impl Histogram {
    /// Counts a duration.
    pub fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = BUCKETS.iter().position(|limit| micros <= *limit) {
            self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        }
        self.micros.fetch_add(micros, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn durations(&self) -> Durations {
        // Before the buckets: none of them may hold more than all together.
        let mut durations = Durations {
            count: self.count.load(Ordering::Relaxed),
            micros: self.micros.load(Ordering::Relaxed),
            ..Durations::default()
        };
        let mut shorter = 0;
        for (bucket, up_to) in self.buckets.iter().zip(&mut durations.up_to) {
            shorter += bucket.load(Ordering::Relaxed);
            *up_to = shorter;
        }
        durations.count = durations.count.max(shorter);
        durations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_is_shorter() {
        let histogram = Histogram::default();
        for micros in [1, 100, 101, 3_000_000, 100_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let durations = histogram.durations();
        assert_eq!(durations.up_to[..3], [2, 3, 3]);
        assert_eq!(durations.up_to[13..], [3, 4, 4]);
        assert_eq!((durations.count, durations.micros), (5, 103_000_202));
    }
}
