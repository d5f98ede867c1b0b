//! Bounds on memory: bytes in flight and bytes in memtables, of all shards of a node.
//!
//! A write takes its bytes before it is proposed and gives them back when it is applied or failed; memtables, frozen
//! ones included, are counted where they change. Above the bound writes wait, for as long as their deadline allows, and
//! only then fail, retryably: a slow disk makes clients slow, not memory full.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::Error;
use crate::store::ShardId;

#[derive(Debug, Default)]
struct Used {
    in_flight: u64,
    memtables: BTreeMap<ShardId, u64>,
}

impl Used {
    fn memtable_bytes(&self) -> u64 {
        self.memtables.values().sum()
    }
}

/// The bound and what is used of it.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes_max: u64,
    used: Mutex<Used>,
    waiting: AtomicU64,
    freed: Notify,
    starved: Arc<Notify>,
}

/// Bytes that a write holds; given back on drop.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.budget.used.lock().in_flight -= self.bytes;
        self.budget.freed.notify_waiters();
    }
}

impl Budget {
    /// A budget of this many bytes. `starved` is woken when a write has to wait.
    pub(crate) fn new(bytes_max: u64, starved: Arc<Notify>) -> Self {
        Self {
            bytes_max,
            used: Mutex::default(),
            waiting: AtomicU64::new(0),
            freed: Notify::new(),
            starved,
        }
    }

    /// Notes what a shard's memtables hold now.
    pub(crate) fn set_memtables(&self, shard: ShardId, bytes: u64) {
        let before = self.used.lock().memtables.insert(shard, bytes).unwrap_or(0);
        if bytes < before {
            self.freed.notify_waiters();
        }
    }

    /// What the memtables of all shards hold.
    pub(crate) fn memtable_bytes(&self) -> u64 {
        self.used.lock().memtable_bytes()
    }

    /// The bound.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Writes that wait now.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Wakes writers, to look at their other conditions again.
    pub(crate) fn wake(&self) {
        self.freed.notify_waiters();
    }

    /// Takes `bytes` once there is room and `admits` says so, or fails at the deadline. A write that is larger than the
    /// budget goes alone.
    pub(crate) async fn hold(
        &self,
        bytes: u64,
        deadline: Duration,
        admits: impl Fn() -> bool + Send + Sync,
    ) -> Result<Held<'_>, Error> {
        let take = || {
            // Asked before the lock: it may look at a shard, which is held while memtables are counted.
            if !admits() {
                return false;
            }
            let mut used = self.used.lock();
            let memtables = used.memtable_bytes();
            // Memtables alone over the bound: wait for a flush, whoever else is in flight.
            let room = memtables <= self.bytes_max
                && (used.in_flight == 0 || used.in_flight + bytes + memtables <= self.bytes_max);
            if room {
                used.in_flight += bytes;
            }
            room
        };
        let wait = async {
            let _waits = Waits::begin(&self.waiting);
            self.starved.notify_one();
            loop {
                let freed = self.freed.notified();
                tokio::pin!(freed);
                freed.as_mut().enable();
                if take() {
                    return;
                }
                freed.await;
            }
        };
        if !take() && timeout(deadline, wait).await.is_err() {
            return Err(Error::Exhausted(format!(
                "the write waited {deadline:?} for memory: memtables hold {} of {} bytes and wait \
                 to be flushed; retry",
                self.memtable_bytes(),
                self.bytes_max
            )));
        }
        Ok(Held { budget: self, bytes })
    }
}

struct Waits<'a>(&'a AtomicU64);

impl<'a> Waits<'a> {
    fn begin(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_write_waits_for_room_and_fails_retryably_at_its_deadline() {
        let budget = Budget::new(100, Arc::default());
        budget.set_memtables(ShardId(0), 101);
        let error = budget.hold(1, Duration::from_millis(1), || true).await.unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Exhausted);
        let waits = budget.hold(1, Duration::from_mins(1), || true);
        let flushes = async {
            while budget.waiting() == 0 {
                tokio::task::yield_now().await;
            }
            budget.set_memtables(ShardId(0), 10);
        };
        let (held, ()) = tokio::join!(waits, flushes);
        assert!(held.is_ok());
        assert_eq!(budget.waiting(), 0);
    }

    #[tokio::test]
    async fn bytes_are_given_back_when_the_write_ends() {
        let budget = Budget::new(100, Arc::default());
        let first = budget.hold(80, Duration::from_secs(1), || true).await.unwrap();
        assert!(budget.hold(80, Duration::from_millis(1), || true).await.is_err());
        drop(first);
        let alone = budget.hold(1_000, Duration::from_secs(1), || true).await;
        assert!(alone.is_ok(), "a write above the budget goes alone");
    }
}
