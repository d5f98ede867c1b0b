//! How far the load is: a bar on standard error, where that is a terminal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

const TICK: Duration = Duration::from_millis(200);

/// The bar, and the bytes that were read of the files.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    /// Counted by who reads.
    pub(super) read: Arc<AtomicU64>,
}

impl Progress {
    /// A bar for so many bytes; without a number, of standard input, there is none to reach.
    pub(super) fn begin(bytes: Option<u64>) -> Self {
        let (bar, template) = match bytes {
            Some(bytes) => (
                ProgressBar::new(bytes),
                "{bar:30} {percent:>3} %  {elapsed_precise}  {msg}, {eta} left",
            ),
            None => (ProgressBar::new_spinner(), "{spinner} {elapsed_precise}  {msg}"),
        };
        let bar = match ProgressStyle::with_template(template) {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        };
        bar.enable_steady_tick(TICK);
        Self { bar, read: Arc::default() }
    }

    /// Shows what was done so far.
    pub(super) fn show(&self, rows: u64, rejected: u64, elapsed: Duration) {
        self.bar.set_position(self.read.load(Ordering::Relaxed));
        let rate = HumanCount(per_second(rows, elapsed));
        let rejected = match rejected {
            0 => String::new(),
            n => format!(", {} rejected", HumanCount(n)),
        };
        self.bar.set_message(format!("{} rows, {rate} rows/s{rejected}", HumanCount(rows)));
    }

    /// Writes a line without breaking the bar.
    pub(super) fn tell(&self, line: &str) {
        self.bar.suspend(|| super::tell(line));
    }

    /// Wipes the bar away.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

/// A rate, whole.
pub(super) fn per_second(rows: u64, elapsed: Duration) -> u64 {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    rows.saturating_mul(1_000) / millis
}
