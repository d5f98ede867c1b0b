//! What the readers of a store share: a bounded cache of verified blocks, and counters.
//!
//! The cache holds blocks of small reads (directory blocks, the pages of a few series) by the hash of their file, so a
//! block is read and hashed once while it is wanted. Long reads pass it by. Eviction is like that of S3-FIFO (Yang et al., "FIFO queues are
//! all you need for cache eviction", SOSP 2023): a block that is read once goes before those that were asked for again, so that a
//! scan of many blocks does not push out what point queries need.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::format::BLOCK_BYTES;

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
#[derive(Default)]
pub struct SegmentCaches {
    /// What reads cost.
    pub counters: ReadCounters,
    blocks: Option<Cache<BlockKey, Bytes, BlockBytes>>,
}

impl Debug for SegmentCaches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentCaches")
            .field("counters", &self.counters)
            .field("bytes_held", &self.bytes_held())
            .finish_non_exhaustive()
    }
}

/// A block of a file: the first half of the file's hash, and the block's number.
pub(crate) type BlockKey = (u128, u64);

/// A block weighs its bytes.
#[derive(Clone, Copy)]
struct BlockBytes;

impl Weighter<BlockKey, Bytes> for BlockBytes {
    fn weight(&self, _: &BlockKey, block: &Bytes) -> u64 {
        block.len() as u64
    }
}

impl SegmentCaches {
    /// Caches bounded to this many bytes in all.
    pub fn new(bytes_max: u64) -> Arc<Self> {
        let blocks = usize::try_from(bytes_max / BLOCK_BYTES as u64).unwrap_or(usize::MAX);
        let blocks = (blocks > 0).then(|| Cache::with_weighter(blocks, bytes_max, BlockBytes));
        Arc::new(Self { counters: ReadCounters::default(), blocks })
    }

    /// Bytes of the blocks that it holds.
    pub fn bytes_held(&self) -> u64 {
        self.blocks.as_ref().map_or(0, Cache::weight)
    }

    pub(crate) fn get(&self, key: BlockKey) -> Option<Bytes> {
        self.blocks.as_ref()?.get(&key)
    }

    /// Keeps a verified block.
    pub(crate) fn put(&self, key: BlockKey, block: &[u8]) {
        if let Some(blocks) = &self.blocks {
            blocks.insert(key, Bytes::copy_from_slice(block));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_keeps_what_is_hit_and_stays_in_its_bounds() {
        const BYTES_MAX: u64 = 64 << 20;
        let caches = SegmentCaches::new(BYTES_MAX);
        let block = vec![1; BLOCK_BYTES];
        let wanted = 0..64;
        for block_number in wanted.clone() {
            caches.put((7, block_number), &block);
            assert!(caches.get((7, block_number)).is_some(), "block {block_number}");
        }
        // A scan of many times what it holds.
        for block_number in 0..10_000 {
            caches.put((8, block_number), &block);
            assert!(caches.bytes_held() <= BYTES_MAX, "{} bytes", caches.bytes_held());
        }
        let kept = wanted.filter(|number| caches.get((7, *number)).is_some()).count();
        assert!(kept > 56, "{kept} of 64 blocks stay");
        assert!(caches.bytes_held() > BYTES_MAX / 2, "{} bytes", caches.bytes_held());
    }

    #[test]
    fn nothing_is_kept_in_no_space() {
        let none = SegmentCaches::new(0);
        none.put((7, 0), &[1]);
        assert!(none.get((7, 0)).is_none());
        assert_eq!(none.bytes_held(), 0);
    }
}
