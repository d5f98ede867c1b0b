//! The dedup window: what became of recent keyed writes, and the times of keyed batches that had none.
//!
//! Kept by the shard's state machine and its manifests, so that a repeat is known after a restart and on a new leader.
//! Expiry is deterministic: entries go by the leader times *in the log* (older than [`KEEP_NS`]) and by number
//! ([`KEYS_MAX`]), oldest first in log order. No clock is read.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::command::{StoredResult, WriteKey};

/// How long a key is kept: 24 h of logged time.
pub(crate) const KEEP_NS: i64 = 24 * 3_600_000_000_000;
/// Keys kept per shard at most.
pub(crate) const KEYS_MAX: usize = 1_000_000;

/// What a window says of a key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Known {
    /// Never seen, or expired.
    New,
    /// Seen with these bytes.
    Same(StoredResult),
    /// Seen with other bytes.
    Other,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    key: Arc<str>,
    chunk: u32,
    time: i64,
    digest: Option<[u8; 32]>,
    result: Arc<StoredResult>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct KeptTime {
    key: Arc<str>,
    logged: i64,
    time: i64,
}

/// The window of one shard.
/// An idempotency key and the number of a chunk under it.
type ChunkKey = (Arc<str>, u32);
/// The digest of the client's bytes, and what the first write of the key did.
type KeptResult = (Option<[u8; 32]>, Arc<StoredResult>);

#[derive(Clone, Debug, Default)]
pub(crate) struct DedupWindow {
    results: BTreeMap<ChunkKey, KeptResult>,
    order: VecDeque<Kept>,
    times: BTreeMap<Arc<str>, i64>,
    time_order: VecDeque<KeptTime>,
}

/// The window as a manifest keeps it, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct DedupRecord {
    results: Vec<Kept>,
    times: Vec<KeptTime>,
}

impl DedupWindow {
    /// Looks a key up.
    pub(crate) fn find(&self, key: &WriteKey) -> Known {
        match self.results.get(&(Arc::clone(&key.key), key.chunk)) {
            None => Known::New,
            Some((digest, result)) => match (digest, &key.digest) {
                (Some(a), Some(b)) if a != b => Known::Other,
                (Some(_) | None, Some(_) | None) => Known::Same((**result).clone()),
            },
        }
    }

    /// What is known of a key: its chunks, the epoch of the routing that they were placed by ([`WriteKey::placed_by`]), and
    /// what became of them.
    pub(crate) fn of_key(&self, key: &str) -> Vec<(u32, u64, StoredResult)> {
        // Nothing stands between a key and what it is with an epoch.
        let chunks = self.results.range((Arc::from(key), 0)..);
        let chunks = chunks.map_while(|((placed, chunk), (_, result))| {
            Some((*chunk, WriteKey::epoch_of(placed, key)?, (**result).clone()))
        });
        chunks.collect()
    }

    /// Keeps the result of a key that was new.
    pub(crate) fn keep(&mut self, key: &WriteKey, time: i64, result: StoredResult) {
        let result = Arc::new(result);
        self.results.insert((Arc::clone(&key.key), key.chunk), (key.digest, Arc::clone(&result)));
        self.order.push_back(Kept {
            key: Arc::clone(&key.key),
            chunk: key.chunk,
            time,
            digest: key.digest,
            result,
        });
    }

    /// The time of a key: the first one that was proposed for it.
    pub(crate) fn time_of(&mut self, key: &Arc<str>, proposed: i64, logged: i64) -> i64 {
        if let Some(time) = self.times.get(key) {
            return *time;
        }
        self.times.insert(Arc::clone(key), proposed);
        self.time_order.push_back(KeptTime { key: Arc::clone(key), logged, time: proposed });
        proposed
    }

    /// Forgets what is too old at this logged time, or too many.
    pub(crate) fn expire(&mut self, now: i64) {
        let oldest = now.saturating_sub(KEEP_NS);
        while let Some(first) = self.order.front() {
            if first.time >= oldest && self.order.len() <= KEYS_MAX {
                break;
            }
            if let Some(gone) = self.order.pop_front() {
                self.results.remove(&(gone.key, gone.chunk));
            }
        }
        while let Some(first) = self.time_order.front() {
            if first.logged >= oldest && self.time_order.len() <= KEYS_MAX {
                break;
            }
            if let Some(gone) = self.time_order.pop_front() {
                self.times.remove(&gone.key);
            }
        }
    }

    /// Keys kept.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.order.len() + self.time_order.len()
    }

    /// For the manifest.
    pub(crate) fn record(&self) -> DedupRecord {
        DedupRecord {
            results: self.order.iter().cloned().collect(),
            times: self.time_order.iter().cloned().collect(),
        }
    }

    /// From a manifest.
    pub(crate) fn from_record(record: DedupRecord) -> Self {
        let mut window = Self::default();
        for kept in record.results {
            window.results.insert(
                (Arc::clone(&kept.key), kept.chunk),
                (kept.digest, Arc::clone(&kept.result)),
            );
            window.order.push_back(kept);
        }
        for kept in record.times {
            window.times.insert(Arc::clone(&kept.key), kept.time);
            window.time_order.push_back(kept);
        }
        window
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogPosition;

    fn key(name: &str, digest: u8) -> WriteKey {
        WriteKey { key: name.into(), chunk: 0, digest: Some([digest; 32]) }
    }

    fn result(index: u64) -> StoredResult {
        StoredResult {
            position: LogPosition { term: 1, leader: 1, index },
            accepted: 3,
            rejected: 0,
            reason: None,
            rejections: vec!["line 2: bad".to_owned()],
            duplicate: false,
        }
    }

    #[test]
    fn a_repeat_finds_the_first_result_and_other_bytes_are_told_apart() {
        let mut window = DedupWindow::default();
        assert_eq!(window.find(&key("a", 1)), Known::New);
        window.keep(&key("a", 1), 0, result(5));
        assert_eq!(window.find(&key("a", 1)), Known::Same(result(5)));
        assert_eq!(window.find(&key("a", 2)), Known::Other);
        let chunk = WriteKey { chunk: 1, ..key("a", 2) };
        assert_eq!(window.find(&chunk), Known::New, "another chunk is another write");
        window.keep(&chunk, 0, result(6));
        window.keep(&key("aa", 1), 0, result(7));
        let later = WriteKey::placed_by("a", 7);
        window.keep(&WriteKey { key: later, ..key("a", 1) }, 0, result(8));
        assert_eq!(window.of_key("a"), [(0, 0, result(5)), (1, 0, result(6)), (0, 7, result(8))]);
    }

    #[test]
    fn keys_expire_by_logged_time_and_by_number() {
        let mut window = DedupWindow::default();
        window.keep(&key("old", 1), 0, result(1));
        window.keep(&key("new", 1), KEEP_NS, result(2));
        window.expire(KEEP_NS);
        assert!(matches!(window.find(&key("old", 1)), Known::Same(_)), "exactly 24 h is kept");
        window.expire(KEEP_NS + 1);
        assert_eq!(window.find(&key("old", 1)), Known::New);
        assert!(matches!(window.find(&key("new", 1)), Known::Same(_)));
    }

    #[test]
    fn the_first_time_proposed_for_a_key_stays() {
        let mut window = DedupWindow::default();
        let name: Arc<str> = "k".into();
        assert_eq!(window.time_of(&name, 10, 10), 10);
        assert_eq!(window.time_of(&name, 99, 99), 10);
        window.expire(KEEP_NS + 11);
        assert_eq!(window.time_of(&name, 99, KEEP_NS + 11), 99, "an expired key is new");
    }

    #[test]
    fn a_window_survives_a_manifest() {
        let mut window = DedupWindow::default();
        window.keep(&key("a", 1), 0, result(5));
        window.time_of(&"k".into(), 10, 10);
        let bytes = postcard::to_stdvec(&window.record()).unwrap();
        let mut back = DedupWindow::from_record(postcard::from_bytes(&bytes).unwrap());
        assert_eq!(back.find(&key("a", 1)), Known::Same(result(5)));
        assert_eq!(back.time_of(&"k".into(), 11, 11), 10);
        assert_eq!((back.len(), back.record()), (window.len(), window.record()));
    }
}
