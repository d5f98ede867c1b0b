//! What the readers of a store share: a bounded cache of verified blocks, and counters.
//!
//! The cache holds blocks of small reads (directory blocks, the pages of a few series) by the hash of their file, so a
//! block is read and hashed once while it is wanted. Long reads pass it by. Eviction is CLOCK: a block that was hit since
//! the hand came by stays for another round.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::format::BLOCK_BYTES;

const SHARDS: usize = 16;

/// What reads cost, shared by all readers.
#[derive(Debug, Default)]
pub struct ReadCounters {
    /// Bytes read from disk and verified.
    pub bytes_read: AtomicU64,
    /// Bytes that the block cache had.
    pub bytes_cached: AtomicU64,
    /// Blocks that failed their hash.
    pub blocks_corrupt: AtomicU64,
    /// Rows decoded.
    pub rows_decoded: AtomicU64,
    /// Pages that selections left out.
    pub pages_skipped: AtomicU64,
}

/// What one scan reads, for those who ask what it cost.
#[derive(Debug, Default)]
pub struct ScanReads {
    /// Pages read and decoded.
    pub pages: AtomicU64,
    /// Pages left out, of the row groups that something was read of.
    pub pages_skipped: AtomicU64,
    /// Bytes read from disk and verified.
    pub bytes_read: AtomicU64,
    /// Bytes that the block cache had.
    pub bytes_cached: AtomicU64,
}

/// Adds to a counter that nothing is ordered by.
pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// Caches and counters that the readers of a store share.
#[derive(Debug, Default)]
pub struct SegmentCaches {
    /// What reads cost.
    pub counters: ReadCounters,
    shards: [Mutex<Clock>; SHARDS],
    /// Blocks that a shard may hold.
    shard_blocks_max: usize,
}

/// A block of a file: the first half of the file's hash, and the block's number.
pub(crate) type BlockKey = (u128, u64);

#[derive(Debug, Default)]
struct Clock {
    places: HashMap<BlockKey, usize>,
    slots: Vec<Slot>,
    hand: usize,
}

#[derive(Debug)]
struct Slot {
    key: BlockKey,
    block: Bytes,
    hit: bool,
}

impl SegmentCaches {
    /// Caches bounded to this many bytes in all.
    pub fn new(bytes_max: u64) -> Arc<Self> {
        let blocks = usize::try_from(bytes_max / BLOCK_BYTES as u64).unwrap_or(usize::MAX);
        Arc::new(Self { shard_blocks_max: blocks / SHARDS, ..Self::default() })
    }

    /// Bytes of the blocks that it holds, about.
    pub fn bytes_held(&self) -> u64 {
        let blocks: usize = self.shards.iter().map(|shard| shard.lock().slots.len()).sum();
        blocks as u64 * BLOCK_BYTES as u64
    }

    pub(crate) fn get(&self, key: BlockKey) -> Option<Bytes> {
        if self.shard_blocks_max == 0 {
            return None;
        }
        let mut clock = self.shard(key).lock();
        let place = *clock.places.get(&key)?;
        let slot = &mut clock.slots[place];
        slot.hit = true;
        Some(slot.block.clone())
    }

    /// Keeps a verified block.
    pub(crate) fn put(&self, key: BlockKey, block: &[u8]) {
        if self.shard_blocks_max == 0 {
            return;
        }
        let slot = Slot { key, block: Bytes::copy_from_slice(block), hit: false };
        self.shard(key).lock().put(slot, self.shard_blocks_max);
    }

    fn shard(&self, key: BlockKey) -> &Mutex<Clock> {
        let [file, ..] = key.0.to_le_bytes();
        let [block, ..] = key.1.to_le_bytes();
        &self.shards[usize::from(file.wrapping_add(block)) % SHARDS]
    }
}

impl Clock {
    fn put(&mut self, slot: Slot, blocks_max: usize) {
        if self.places.contains_key(&slot.key) {
            return;
        }
        if self.slots.len() < blocks_max {
            self.places.insert(slot.key, self.slots.len());
            self.slots.push(slot);
            return;
        }
        while std::mem::take(&mut self.slots[self.hand].hit) {
            self.hand = (self.hand + 1) % self.slots.len();
        }
        self.places.remove(&self.slots[self.hand].key);
        self.places.insert(slot.key, self.hand);
        self.slots[self.hand] = slot;
        self.hand = (self.hand + 1) % self.slots.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_keeps_what_is_hit_and_stays_in_its_bounds() {
        let caches = SegmentCaches::new(4 * (SHARDS * BLOCK_BYTES) as u64);
        for block in 0..1_000 {
            caches.put((7, block), &[1]);
            if block > 0 {
                assert!(caches.get((7, 0)).is_some(), "block 0 after {block}");
            }
        }
        let kept = (0..1_000).filter(|&block| caches.get((7, block)).is_some()).count();
        assert!(kept <= 4 * SHARDS, "{kept} blocks");
        assert!(kept > SHARDS, "{kept} blocks");
        assert_eq!(caches.bytes_held(), (kept * BLOCK_BYTES) as u64);
        let none = SegmentCaches::new(0);
        none.put((7, 0), &[1]);
        assert!(none.get((7, 0)).is_none());
    }
}
