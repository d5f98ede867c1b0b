//! A hash for long keys that clients choose: fast, and seeded per map.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// Hashes bytes with XXH3 under a random seed.
#[derive(Clone, Copy, Debug)]
pub(super) struct BytesHash(u64);

impl Default for BytesHash {
    fn default() -> Self {
        Self(RandomState::new().build_hasher().finish())
    }
}

impl BuildHasher for BytesHash {
    type Hasher = BytesHasher;

    fn build_hasher(&self) -> BytesHasher {
        BytesHasher(self.0)
    }
}

/// The state of a [`BytesHash`].
#[derive(Clone, Copy, Debug)]
pub(super) struct BytesHasher(u64);

impl Hasher for BytesHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxhash_rust::xxh3::xxh3_64_with_seed(bytes, self.0);
    }
    fn write_usize(&mut self, n: usize) {
        // The length that the standard library puts before the bytes.
        self.0 = self.0.wrapping_add(n as u64);
    }
}
