//! Counters of the log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::histogram::{Durations, Histogram};

/// How many syncs the percentiles are over.
const SYNCS_KEPT: usize = 1024;
/// How far back [`WalStatus::sync_micros_recent_p99`] looks.
const RECENT: Duration = Duration::from_secs(10);

/// Counters of the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct WalStatus {
    /// Bytes of all log segments on disk that still hold live entries.
    pub bytes_live: u64,
    /// Bytes written since start.
    pub bytes_written: u64,
    /// Syncs since start.
    pub syncs: u64,
    /// Entries appended since start.
    pub entries: u64,
    /// Durations of the syncs since start.
    pub sync_durations: Durations,
    /// Duration of the last syncs: 50th percentile, in microseconds.
    pub sync_micros_p50: u64,
    /// 99th percentile, in microseconds.
    pub sync_micros_p99: u64,
    /// Those of the last 10 seconds: 50th percentile, in microseconds; 0 without any.
    pub sync_micros_recent_p50: u64,
    /// 99th percentile, in microseconds.
    pub sync_micros_recent_p99: u64,
    /// How long the write that is under way has taken so far, its sync included, in microseconds; 0 without one.
    pub pending_micros: u64,
    /// Whether a write or sync failed.
    pub poisoned: bool,
    /// Whether proposals are refused for want of space.
    pub disk_full: bool,
}

/// What the writer counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    bytes_written: AtomicU64,
    syncs: AtomicU64,
    entries: AtomicU64,
    durations: Histogram,
    /// The last syncs: when, and how long; oldest overwritten first.
    sync_micros: Mutex<Vec<(Duration, u64)>>,
    /// When the write that is under way began, in microseconds of the clock; 0 without one.
    pending_since: AtomicU64,
}

impl Metrics {
    /// A frame is about to be written.
    pub(crate) fn frame_begins(&self, now: Duration) {
        self.pending_since.store(micros(now).max(1), Ordering::Relaxed);
    }

    /// It is written, or never will be.
    pub(crate) fn frame_ended(&self) {
        self.pending_since.store(0, Ordering::Relaxed);
    }

    pub(crate) fn frame_written(&self, now: Duration, bytes: u64, entries: u64, sync: Duration) {
        self.bytes_written.fetch_add(bytes, Ordering::Relaxed);
        self.entries.fetch_add(entries, Ordering::Relaxed);
        let sync_number = self.syncs.fetch_add(1, Ordering::Relaxed);
        self.durations.observe(sync);
        let micros = micros(sync);
        let mut kept = self.sync_micros.lock();
        if kept.len() < SYNCS_KEPT {
            kept.push((now, micros));
        } else {
            let at = usize::try_from(sync_number).unwrap_or(0) % SYNCS_KEPT;
            kept[at] = (now, micros);
        }
    }

    /// The counters; what is not counted here is left at its default.
    pub(crate) fn status(&self, now: Duration) -> WalStatus {
        let kept = self.sync_micros.lock().clone();
        let mut all: Vec<u64> = kept.iter().map(|(_, micros)| *micros).collect();
        let recent = kept.iter().filter(|(at, _)| now.saturating_sub(*at) <= RECENT);
        let mut recent: Vec<u64> = recent.map(|(_, micros)| *micros).collect();
        all.sort_unstable();
        recent.sort_unstable();
        let percentile = |percent: usize| {
            all.get((all.len() * percent / 100).min(all.len().saturating_sub(1))).copied()
        };
        let of_recent = |percent: usize| {
            recent.get(recent.len().saturating_sub(1) * percent / 100).copied().unwrap_or(0)
        };
        let pending = self.pending_since.load(Ordering::Relaxed);
        WalStatus {
            bytes_written: self.bytes_written.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed),
            entries: self.entries.load(Ordering::Relaxed),
            sync_durations: self.durations.durations(),
            sync_micros_p50: percentile(50).unwrap_or(0),
            sync_micros_p99: percentile(99).unwrap_or(0),
            sync_micros_recent_p50: of_recent(50),
            sync_micros_recent_p99: of_recent(99),
            pending_micros: if pending == 0 {
                0
            } else {
                micros(now).saturating_sub(pending).max(1)
            },
            ..WalStatus::default()
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_over_the_last_syncs() {
        let metrics = Metrics::default();
        for _ in 0..SYNCS_KEPT {
            metrics.frame_written(Duration::ZERO, 1, 1, Duration::from_secs(9));
        }
        for micros in 0..SYNCS_KEPT as u64 {
            metrics.frame_written(Duration::from_secs(20), 10, 2, Duration::from_micros(micros));
        }
        let status = metrics.status(Duration::from_secs(20));
        assert_eq!((status.sync_micros_p50, status.sync_micros_p99), (512, 1013));
        assert_eq!((status.bytes_written, status.entries), (1024 * 11, 1024 * 3));
    }
    #[test]
    fn recent_syncs_are_those_of_the_last_seconds() {
        let (metrics, at) = (Metrics::default(), Duration::from_secs);
        metrics.frame_written(at(1), 1, 1, Duration::from_millis(900));
        metrics.frame_written(at(30), 1, 1, Duration::from_millis(3));
        assert_eq!(metrics.status(at(31)).sync_micros_recent_p99, 3000);
        assert_eq!(metrics.status(at(50)).sync_micros_recent_p99, 0);
    }

    #[test]
    fn a_write_that_is_under_way_ages() {
        let (metrics, at) = (Metrics::default(), Duration::from_secs);
        assert_eq!(metrics.status(at(1)).pending_micros, 0);
        metrics.frame_begins(at(1));
        assert_eq!(metrics.status(at(3)).pending_micros, 2_000_000);
        metrics.frame_ended();
        assert_eq!(metrics.status(at(4)).pending_micros, 0);
    }
}
