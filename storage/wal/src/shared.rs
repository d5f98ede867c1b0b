//! What the handles, the writer thread, and the background thread share.
//!
//! Lock order: a group's log, then the queue, then the background's state or any of the others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex, RwLock};

use crate::background::{Background, Room};
use crate::disk::{Disk, DiskLock};
use crate::entry::{Entry, GroupId};
use crate::group::Group;
use crate::metrics::Metrics;
use crate::queue::{Item, Queue};
use crate::recovery::LogSegment;
use crate::writer::Writer;
use crate::{Error, WalOptions};

/// Called once when the log is poisoned.
pub(crate) type PoisonHook = Box<dyn FnOnce() + Send>;

pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: WalOptions,
    pub(crate) groups: RwLock<BTreeMap<GroupId, Arc<Group>>>,
    pub(crate) segments: RwLock<BTreeMap<u64, LogSegment>>,
    pub(crate) queue: Mutex<Queue>,
    /// The queue holds something, or is closing.
    pub(crate) queue_filled: Condvar,
    /// The queue has room, or never will.
    pub(crate) queue_drained: Condvar,
    pub(crate) background: Background,
    /// Bytes that are left in the segment being written.
    pub(crate) segment_left: AtomicU64,
    pub(crate) disk_full: AtomicBool,
    /// Nothing new is taken, and nobody waits for space any more.
    pub(crate) closing: AtomicBool,
    pub(crate) metrics: Metrics,
    /// `None` once they were called.
    hooks: Mutex<Option<Vec<PoisonHook>>>,
    /// The writer of a log without threads, until it ends.
    pub(crate) stepped: Mutex<Option<Writer>>,
    /// Held until the log is closed.
    lock: Mutex<Option<Box<dyn DiskLock>>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wal").field("dir", &self.options.dir).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        options: WalOptions,
        lock: Box<dyn DiskLock>,
        groups: BTreeMap<GroupId, Arc<Group>>,
        segments: BTreeMap<u64, LogSegment>,
    ) -> Self {
        Self {
            disk,
            options,
            groups: RwLock::new(groups),
            segments: RwLock::new(segments),
            queue: Mutex::default(),
            queue_filled: Condvar::new(),
            queue_drained: Condvar::new(),
            background: Background::default(),
            segment_left: AtomicU64::new(0),
            disk_full: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            metrics: Metrics::default(),
            hooks: Mutex::new(Some(Vec::new())),
            stepped: Mutex::new(None),
            lock: Mutex::new(Some(lock)),
        }
    }

    pub(crate) fn segment(&self, number: u64) -> Option<LogSegment> {
        self.segments.read().get(&number).cloned()
    }

    /// See [`crate::Wal::admit`].
    pub(crate) fn admit(&self) -> Result<(), Error> {
        let dir = &self.options.dir;
        let space = self.disk.space(dir).map_err(crate::recovery::io("look at", dir))?;
        let full = space.bytes_free < self.options.reserve_bytes;
        if self.disk_full.swap(full, Ordering::Relaxed) != full {
            let bytes_free = space.bytes_free;
            if full {
                tracing::warn!(bytes_free, dir = %dir.display(), "disk full: proposals are refused");
            } else {
                tracing::warn!(bytes_free, dir = %dir.display(), "proposals are taken again");
            }
        }
        if full { Err(self.full(space.bytes_free)) } else { Ok(()) }
    }

    fn full(&self, bytes_free: u64) -> Error {
        Error::DiskFull { path: self.options.dir.clone(), bytes_free }
    }

    /// Waits until the queue is short enough and there is a place for all that is in it and for these entries.
    /// Refuses them when there is none.
    pub(crate) fn wait_for_room(&self, entries: &[Entry]) -> Result<(), Error> {
        let bytes: u64 = entries.iter().map(|entry| entry.payload.len() as u64 + 128).sum();
        let mut queue = self.queue.lock();
        let mut tried = false;
        loop {
            check_open(&queue)?;
            if queue.bytes <= self.options.queue_bytes_max {
                // Directories, padding, and the states at the head of a segment.
                let wanted = queue.bytes + bytes;
                let wanted = wanted + wanted / 8 + (32 << 10);
                if wanted <= self.segment_left.load(Ordering::Relaxed) {
                    return Ok(());
                }
                match self.background.room(wanted, queue.bytes == 0) {
                    Room::Enough => return Ok(()),
                    Room::Later => {}
                    // That may have been long ago: it is tried again before an append fails for it.
                    Room::None if !tried => tried = true,
                    Room::None => {
                        drop(queue);
                        let space = self.disk.space(&self.options.dir);
                        return Err(self.full(space.map_or(0, |space| space.bytes_free)));
                    }
                }
            }
            if self.options.faults.driver.is_none() {
                self.queue_drained.wait(&mut queue);
                continue;
            }
            drop(queue);
            if !self.step() {
                return Err(self.full(0));
            }
            queue = self.queue.lock();
        }
    }

    /// Whether the writer does not wait for space: the log closes, or there is no thread that could wait.
    pub(crate) fn gives_up(&self) -> bool {
        self.closing.load(Ordering::Relaxed) || self.options.faults.driver.is_some()
    }

    /// The background thread has something new to say about space.
    pub(crate) fn room_changed(&self) {
        // Whoever waits has looked before this lock is free, or looks after.
        drop(self.queue.lock());
        self.queue_drained.notify_all();
    }

    pub(crate) fn enqueue(&self, items: impl IntoIterator<Item = Item>) -> Result<(), Error> {
        let mut queue = self.queue.lock();
        check_open(&queue)?;
        for item in items {
            queue.push(item);
        }
        drop(queue);
        self.queue_filled.notify_one();
        if let Some(driver) = &self.options.faults.driver {
            driver.filled();
        }
        Ok(())
    }

    pub(crate) fn enqueue_committed(
        &self,
        group: &Arc<Group>,
        committed: Arc<[u8]>,
    ) -> Result<(), Error> {
        let mut queue = self.queue.lock();
        check_open(&queue)?;
        queue.push_committed(group, committed);
        Ok(())
    }

    /// Waits for something to write; `None` when the log is closed and all is written.
    pub(crate) fn next_batch(&self, bytes_max: u64) -> Option<Vec<Item>> {
        let mut queue = self.queue.lock();
        while queue.is_empty() && !queue.closing {
            self.queue_filled.wait(&mut queue);
        }
        (!queue.is_drained()).then(|| queue.take(bytes_max))
    }

    /// What the next batch is now, if anything waits.
    pub(crate) fn batch_now(&self, bytes_max: u64) -> Option<Vec<Item>> {
        let mut queue = self.queue.lock();
        (!queue.is_empty()).then(|| queue.take(bytes_max))
    }

    /// What the threads would do next, without threads. Returns whether anything was done.
    pub(crate) fn step(&self) -> bool {
        let mut stepped = self.stepped.lock();
        let Some(writer) = stepped.as_mut() else { return false };
        let mut done = false;
        while self.background.step(self) {
            done = true;
        }
        if self.waits_for_space() {
            return done;
        }
        let batch = self.batch_now(writer.batch_bytes_max());
        if let Some(batch) = batch {
            done = true;
            if !writer.write_batch(batch) {
                *stepped = None;
            }
        }
        while self.background.step(self) {}
        done
    }

    /// Whether what waits may need a segment that there is no space for: the writer would wait, so it is not begun.
    fn waits_for_space(&self) -> bool {
        let wanted = self.queue.lock().bytes;
        let wanted = wanted + wanted / 8 + (32 << 10);
        wanted > self.segment_left.load(Ordering::Relaxed) && self.background.retry_space()
    }

    /// Ends a log without threads: writes what waits.
    pub(crate) fn end_steps(&self) {
        while self.queue.lock().waits() && self.step() {}
        if let Some(writer) = self.stepped.lock().take() {
            writer.end();
        }
    }

    /// A batch is written. Returns whether nothing waits.
    pub(crate) fn batch_ended(&self, bytes: u64) -> bool {
        let mut queue = self.queue.lock();
        queue.ended(bytes);
        self.queue_drained.notify_all();
        queue.is_empty() && !queue.closing
    }

    /// From here on nothing is acknowledged. Returns what was waiting, to be told so.
    pub(crate) fn poison(&self) -> Vec<Item> {
        let mut queue = self.queue.lock();
        queue.poisoned = true;
        let waiting = queue.take(u64::MAX);
        drop(queue);
        self.queue_drained.notify_all();
        self.background.stop();
        waiting
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.queue.lock().poisoned
    }

    /// Calls the hooks: the last thing that a poisoned log does.
    pub(crate) fn run_hooks(&self) {
        for hook in self.hooks.lock().take().into_iter().flatten() {
            hook();
        }
    }

    pub(crate) fn on_poison(&self, hook: PoisonHook) {
        let mut hooks = self.hooks.lock();
        if let Some(hooks) = hooks.as_mut() {
            hooks.push(hook);
            return;
        }
        drop(hooks);
        hook();
    }

    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        self.queue.lock().closing = true;
        self.queue_filled.notify_all();
        self.queue_drained.notify_all();
    }

    pub(crate) fn release_lock(&self) {
        self.lock.lock().take();
    }
}

fn check_open(queue: &Queue) -> Result<(), Error> {
    if queue.poisoned {
        return Err(Error::Poisoned);
    }
    if queue.closing {
        return Err(Error::Closed);
    }
    Ok(())
}
