//! Counters of the log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// How many syncs the percentiles are over.
const SYNCS_KEPT: usize = 1024;

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
    /// Duration of the last syncs: 50th percentile, in microseconds.
    pub sync_micros_p50: u64,
    /// 99th percentile, in microseconds.
    pub sync_micros_p99: u64,
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
    /// The last syncs, oldest overwritten first.
    sync_micros: Mutex<Vec<u64>>,
}

impl Metrics {
    pub(crate) fn frame_written(&self, bytes: u64, entries: u64, sync: Duration) {
        self.bytes_written.fetch_add(bytes, Ordering::Relaxed);
        self.entries.fetch_add(entries, Ordering::Relaxed);
        let sync_number = self.syncs.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(sync.as_micros()).unwrap_or(u64::MAX);
        let mut kept = self.sync_micros.lock();
        if kept.len() < SYNCS_KEPT {
            kept.push(micros);
        } else {
            let at = usize::try_from(sync_number).unwrap_or(0) % SYNCS_KEPT;
            kept[at] = micros;
        }
    }

    /// The counters; what is not counted here is left at its default.
    pub(crate) fn status(&self) -> WalStatus {
        let mut micros = self.sync_micros.lock().clone();
        micros.sort_unstable();
        let percentile = |percent: usize| {
            micros.get((micros.len() * percent / 100).min(micros.len().saturating_sub(1))).copied()
        };
        WalStatus {
            bytes_written: self.bytes_written.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed),
            entries: self.entries.load(Ordering::Relaxed),
            sync_micros_p50: percentile(50).unwrap_or(0),
            sync_micros_p99: percentile(99).unwrap_or(0),
            ..WalStatus::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_over_the_last_syncs() {
        let metrics = Metrics::default();
        for _ in 0..SYNCS_KEPT {
            metrics.frame_written(1, 1, Duration::from_secs(9));
        }
        for micros in 0..SYNCS_KEPT as u64 {
            metrics.frame_written(10, 2, Duration::from_micros(micros));
        }
        let status = metrics.status();
        assert_eq!((status.sync_micros_p50, status.sync_micros_p99), (512, 1013));
        assert_eq!((status.bytes_written, status.entries), (1024 * 11, 1024 * 3));
    }
}
