//! The trace of a run: a hash over all events in order, so that two runs can be compared, and the events themselves where
//! somebody wants to read them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

/// Collects what happens. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    hash: u64,
    events: u64,
    now: Duration,
    verbose: bool,
}

impl Trace {
    pub(crate) fn new(verbose: bool) -> Self {
        let inner = Inner { verbose, ..Inner::default() };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Time goes on.
    pub(crate) fn advance(&self, now: Duration) {
        self.inner.lock().now = now;
    }

    /// Adds an event.
    pub(crate) fn note(&self, event: fmt::Arguments<'_>) {
        let mut inner = self.inner.lock();
        let line = format!("{:>9} {event}", inner.now.as_micros());
        let chained = [inner.hash.to_le_bytes(), xxh3_64(line.as_bytes()).to_le_bytes()].concat();
        inner.hash = xxh3_64(&chained);
        inner.events += 1;
        if inner.verbose {
            #[expect(clippy::print_stdout, reason = "whoever asked for the trace reads it there")]
            {
                println!("{line}");
            }
        }
    }

    /// The hash over all events so far, and their number.
    pub(crate) fn digest(&self) -> (u64, u64) {
        let inner = self.inner.lock();
        (inner.hash, inner.events)
    }
}
