//! A real disk whose syncs can be held back, and which can lose power while they are.

use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use quorate_wal::{Disk, DiskFile, DiskLock, DiskSpace, OpenMode, RealDisk};

/// While held, nothing that is written reaches the real disk before it is released, and syncs wait for that. Losing
/// power drops it all, and fails whatever still runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeldDisk {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of a test")]
struct State {
    held: bool,
    dead: bool,
    full: bool,
    waiting: Vec<(Arc<dyn DiskFile>, u64, Vec<u8>)>,
    syncs_waiting: usize,
}

impl HeldDisk {
    /// Holds back what is written from now on.
    pub(crate) fn hold(&self) {
        self.shared.state.lock().held = true;
    }

    /// Lets everything through again.
    pub(crate) fn release(&self) {
        let mut state = self.shared.state.lock();
        for (file, offset, bytes) in std::mem::take(&mut state.waiting) {
            file.write_all_at(&bytes, offset).unwrap();
        }
        state.held = false;
        self.shared.changed.notify_all();
    }

    /// Loses what is held back. The disk is of no use afterwards; open the directory with another.
    pub(crate) fn lose_power(&self) {
        let mut state = self.shared.state.lock();
        state.waiting.clear();
        state.dead = true;
        self.shared.changed.notify_all();
    }

    /// Whether a sync waits.
    pub(crate) fn is_syncing(&self) -> bool {
        self.shared.state.lock().syncs_waiting > 0
    }

    /// Pretends that no space is left, or that there is some.
    pub(crate) fn fill(&self, full: bool) {
        self.shared.state.lock().full = full;
    }

    fn alive(&self) -> io::Result<()> {
        if self.shared.state.lock().dead { Err(io::Error::other("power lost")) } else { Ok(()) }
    }
}

impl Disk for HeldDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.alive()?;
        RealDisk.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        self.alive()?;
        let file = RealDisk.open(path, mode)?;
        Ok(Arc::new(HeldFile { file, disk: self.clone() }))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        RealDisk.exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.alive()?;
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.alive()?;
        RealDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.alive()?;
        RealDisk.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        RealDisk.lock(path)
    }

    fn space(&self, dir: &Path) -> io::Result<DiskSpace> {
        let space = RealDisk.space(dir)?;
        let full = self.shared.state.lock().full;
        Ok(if full { DiskSpace { bytes_free: 0, ..space } } else { space })
    }
}

#[derive(Debug)]
struct HeldFile {
    file: Arc<dyn DiskFile>,
    disk: HeldDisk,
}

impl DiskFile for HeldFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.alive()?;
        let mut state = self.disk.shared.state.lock();
        if state.held {
            state.waiting.push((Arc::clone(&self.file), offset, bytes.to_vec()));
            return Ok(());
        }
        self.file.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.shared.state.lock();
        state.syncs_waiting += 1;
        while state.held && !state.dead {
            self.disk.shared.changed.wait(&mut state);
        }
        state.syncs_waiting -= 1;
        drop(state);
        self.disk.alive()?;
        self.file.sync_data()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.disk.alive()?;
        self.file.allocate(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
