//! Keeps files as long as a version or a read view names them, and no longer.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use quorate_segment::SegmentMeta;

use super::FileHash;

/// Holding one keeps its file. Versions and read views hold them.
#[derive(Debug)]
pub struct SegmentPin {
    meta: Arc<SegmentMeta>,
    pins: Weak<SegmentPins>,
}

impl SegmentPin {
    /// What is known of the file.
    pub fn meta(&self) -> &Arc<SegmentMeta> {
        &self.meta
    }
}

impl Drop for SegmentPin {
    fn drop(&mut self) {
        if let Some(pins) = self.pins.upgrade() {
            pins.released.lock().push(self.meta.file_hash);
        }
    }
}

/// All pins of a shard. Files are named by their content, so the file of a cancelled job may come back under the same
/// name while the old one waits to be removed: creating and removing exclude one another here.
#[derive(Debug, Default)]
pub struct SegmentPins {
    /// Held shared while a file gets its final name, and alone while files are removed.
    naming: RwLock<()>,
    pinned: Mutex<BTreeMap<FileHash, Weak<SegmentPin>>>,
    /// A lock of its own: pins are dropped wherever a view ends.
    released: Mutex<Vec<FileHash>>,
}

impl SegmentPins {
    /// Of a shard that has no files yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The pin of a file that is there.
    pub fn pin(self: &Arc<Self>, meta: &Arc<SegmentMeta>) -> Arc<SegmentPin> {
        let mut pinned = self.pinned.lock();
        if let Some(pin) = pinned.get(&meta.file_hash).and_then(Weak::upgrade) {
            return pin;
        }
        let pin = Arc::new(SegmentPin { meta: Arc::clone(meta), pins: Arc::downgrade(self) });
        pinned.insert(meta.file_hash, Arc::downgrade(&pin));
        pin
    }

    /// Runs the last step of a writer, which gives files their final names, and pins what it made before any of it can
    /// be removed.
    pub fn create<E>(
        self: &Arc<Self>,
        finish: impl FnOnce() -> Result<Vec<Arc<SegmentMeta>>, E>,
    ) -> Result<Vec<Arc<SegmentPin>>, E> {
        let _naming = self.naming.read();
        Ok(finish()?.iter().map(|meta| self.pin(meta)).collect())
    }

    /// Calls `remove` for every file whose last pin is gone. A file that `remove` refuses is kept for the next time,
    /// and so are those after it.
    pub fn remove_released<E>(
        &self,
        mut remove: impl FnMut(&FileHash) -> Result<(), E>,
    ) -> Result<usize, E> {
        let _naming = self.naming.write();
        let mut released = std::mem::take(&mut *self.released.lock());
        released.sort_unstable();
        released.dedup();
        let mut pinned = self.pinned.lock();
        let mut removed = 0;
        while let Some(hash) = released.pop() {
            if pinned.get(&hash).is_some_and(|pin| pin.strong_count() > 0) {
                continue;
            }
            if let Err(error) = remove(&hash) {
                released.push(hash);
                self.released.lock().append(&mut released);
                return Err(error);
            }
            pinned.remove(&hash);
            removed += 1;
        }
        Ok(removed)
    }

    /// Files that are pinned now.
    pub fn pinned(&self) -> Vec<FileHash> {
        let pinned = self.pinned.lock();
        pinned.iter().filter(|(_, pin)| pin.strong_count() > 0).map(|(hash, _)| *hash).collect()
    }
}

#[cfg(test)]
#[path = "pins_tests.rs"]
mod tests;
