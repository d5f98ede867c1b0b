//! When segments are read again: once in a while, and soon after a read has met damage.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Store;
use super::core::Inner;
use crate::shard::{ScrubStatus, Shard, scrub};

/// How often it is looked whether a pass is due.
const EVERY: Duration = Duration::from_millis(500);
/// The first pass begins so long after the start: a node that is restarted daily is scrubbed, too.
const FIRST_AFTER: Duration = Duration::from_mins(1);
/// Between two passes for the sake of damage that could not be mended.
const UNMENDED_EVERY: Duration = Duration::from_mins(10);

/// Starts the task; it ends when the store closes.
pub(super) fn start(store: &Store) {
    let inner = Arc::downgrade(&store.inner);
    let cancel = store.inner.cancel.clone();
    store.inner.tasks.spawn(async move {
        let mut due = Instant::now() + FIRST_AFTER;
        let (mut seen, mut suspect_after) = (0, Instant::now());
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = sleep(EVERY) => {}
            }
            let Some(inner) = inner.upgrade() else { return };
            let suspect = corrupt_blocks(&inner) > seen && Instant::now() >= suspect_after;
            if !suspect && Instant::now() < due {
                continue;
            }
            // What a query has stumbled over is looked for at full speed.
            let rate = if suspect { u64::MAX } else { inner.options.scrub_bytes_per_second };
            let mended = pass(&inner, rate).await;
            seen = corrupt_blocks(&inner);
            if !suspect {
                due = Instant::now() + inner.options.scrub_every;
            } else if !mended {
                suspect_after = Instant::now() + UNMENDED_EVERY;
            }
        }
    });
}

fn corrupt_blocks(inner: &Inner) -> u64 {
    let shard = inner.running().next();
    shard.map_or(0, |shard| {
        // The counters are the node's, shared by its shards.
        shard.machine().files.caches.counters.blocks_corrupt.load(Ordering::Relaxed)
    })
}

/// One pass over all shards. Returns whether something was mended.
async fn pass(inner: &Inner, rate: u64) -> bool {
    let clock = Arc::clone(&inner.options.clock);
    let mut mended = false;
    let shards: Vec<Arc<Shard>> = inner.running().cloned().collect();
    for shard in shards {
        let before = shard.machine().scrub_status().repaired;
        scrub(shard.machine(), rate, || clock.now_nanos(), &inner.cancel).await;
        mended |= shard.machine().scrub_status().repaired > before;
    }
    mended
}

impl Store {
    /// Reads every byte of all segments again, at once, and fetches damaged files from other replicas.
    pub async fn scrub(&self) -> Vec<ScrubStatus> {
        pass(&self.inner, u64::MAX).await;
        self.scrub_status()
    }

    /// How the latest passes stand.
    pub fn scrub_status(&self) -> Vec<ScrubStatus> {
        self.inner.running().map(|shard| shard.machine().scrub_status()).collect()
    }
}
