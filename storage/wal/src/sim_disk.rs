//! A disk in memory that can lose power, and fail in every way that a real one does.
//!
//! Of each file it keeps what was written and what is durable, by sectors of 512 bytes. A power cut keeps a random
//! subset of the sectors that were not synced, and for each directory a random prefix of its operations that were
//! not synced (file systems journal them in order). A sync that fails does what Linux does: the pages count as
//! clean, some were written and some were not, and the next sync succeeds.
//!
//! Everything random comes from the seed.
//!
//! Limits: directories themselves are durable at once. A rename belongs to the directory that it goes to.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::disk::{Disk, DiskFile, DiskLock, DiskSpace, OpenMode};

/// What a power cut keeps or loses as a whole.
const SECTOR: usize = 512;

/// A failure that a [`SimDisk`] is told to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskFault {
    /// A read fails with EIO.
    Read,
    /// A write fails with EIO; nothing of it is written.
    Write,
    /// A write fails after a random part of it.
    ShortWrite,
    /// A sync fails with EIO; a random part of what it was for is durable, and the rest counts as clean.
    Sync,
    /// The power goes while a sync is under way.
    PowerCut,
}

/// A disk in memory. Cheap to clone: clones are the same disk. Processes see it through
/// [`SimDisk::process`].
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    random: Random,
    /// Counts the deaths of the process: files opened before are dead.
    life: u64,
    dirs: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Arc<Mutex<Content>>>,
    durable_files: BTreeMap<PathBuf, Arc<Mutex<Content>>>,
    /// By directory, in order.
    unsynced: BTreeMap<PathBuf, Vec<DirOperation>>,
    locks: BTreeSet<PathBuf>,
    capacity: u64,
    faults: Vec<Planned>,
}

#[derive(Clone, Debug)]
enum DirOperation {
    Create(PathBuf, Arc<Mutex<Content>>),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

#[derive(Clone, Debug)]
struct Planned {
    fault: DiskFault,
    name: String,
    /// Operations that still go well.
    skip: u64,
}

/// A file: what was written, and what survives a power cut.
#[derive(Clone, Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors in which the two may differ and that the next sync writes.
    dirty: BTreeSet<usize>,
}

impl Content {
    fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if end > self.bytes.len() {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
        self.dirty.extend(offset / SECTOR..end.div_ceil(SECTOR));
    }

    /// Makes a sector durable.
    fn keep(&mut self, sector: usize) {
        let from = sector * SECTOR;
        let to = (from + SECTOR).min(self.bytes.len());
        if from >= to {
            return;
        }
        if to > self.durable.len() {
            self.durable.resize(to, 0);
        }
        self.durable[from..to].copy_from_slice(&self.bytes[from..to]);
    }

    fn sync(&mut self) {
        self.durable.resize(self.bytes.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            self.keep(sector);
        }
    }

    /// Makes a random part of what is dirty durable, and takes the rest for clean.
    fn sync_partly(&mut self, random: &mut Random) {
        let chance = random.chance();
        if random.below(2) == 0 {
            self.durable.resize(self.bytes.len(), 0);
        }
        for sector in std::mem::take(&mut self.dirty) {
            if random.below(100) < chance {
                self.keep(sector);
            }
        }
    }

    fn lose_power(&mut self, random: &mut Random) {
        self.sync_partly(random);
        self.bytes = self.durable.clone();
    }

    /// A copy that shares nothing.
    fn fork(shared: &Arc<Mutex<Self>>) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(shared.lock().clone()))
    }
}

impl SimDisk {
    /// An empty disk without limits.
    pub fn new(seed: u64) -> Self {
        let state = State {
            random: Random(seed),
            life: 0,
            dirs: BTreeSet::new(),
            files: BTreeMap::new(),
            durable_files: BTreeMap::new(),
            unsynced: BTreeMap::new(),
            locks: BTreeSet::new(),
            capacity: u64::MAX,
            faults: Vec::new(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The disk as a process that starts now sees it: until it is killed, or the power is cut.
    pub fn process(&self) -> Arc<dyn Disk> {
        let life = self.state.lock().life;
        Arc::new(SimProcess { disk: self.clone(), life })
    }

    /// Cuts the power: what was not synced is lost, in part. Files that are open are dead.
    pub fn cut_power(&self) {
        self.state.lock().cut_power();
    }

    /// Kills the process: files that are open are dead, and nothing else happens.
    pub fn kill(&self) {
        self.state.lock().die();
    }

    /// How often the process has died, by [`DiskFault::PowerCut`] too.
    pub fn deaths(&self) -> u64 {
        self.state.lock().life
    }

    /// A disk with the same content, which shares nothing with this one.
    #[must_use]
    pub fn fork(&self, seed: u64) -> Self {
        let state = self.state.lock();
        let mut copies: BTreeMap<*const Mutex<Content>, Arc<Mutex<Content>>> = BTreeMap::new();
        let mut copy = |content: &Arc<Mutex<Content>>| {
            let copied =
                copies.entry(Arc::as_ptr(content)).or_insert_with(|| Content::fork(content));
            Arc::clone(copied)
        };
        let mut copy_all = |files: &BTreeMap<PathBuf, Arc<Mutex<Content>>>| {
            files.iter().map(|(path, content)| (path.clone(), copy(content))).collect()
        };
        let files = copy_all(&state.files);
        let durable_files = copy_all(&state.durable_files);
        let mut unsynced = state.unsynced.clone();
        for operation in unsynced.values_mut().flatten() {
            if let DirOperation::Create(_, content) = operation {
                *content = copy(content);
            }
        }
        let copied = State {
            random: Random(seed),
            life: 0,
            dirs: state.dirs.clone(),
            files,
            durable_files,
            unsynced,
            locks: BTreeSet::new(),
            capacity: state.capacity,
            faults: Vec::new(),
        };
        Self { state: Arc::new(Mutex::new(copied)) }
    }

    /// Limits the bytes of all files.
    pub fn set_capacity(&self, bytes: u64) {
        self.state.lock().capacity = bytes;
    }

    /// Bytes of all files.
    pub fn bytes_used(&self) -> u64 {
        self.state.lock().bytes_used()
    }

    /// Has one operation on a file whose name contains `name` fail, after `skip` that go well.
    pub fn inject(&self, fault: DiskFault, name: &str, skip: u64) {
        self.state.lock().faults.push(Planned { fault, name: name.to_owned(), skip });
    }

    /// Forgets injected faults that have not shown.
    pub fn clear_faults(&self) {
        self.state.lock().faults.clear();
    }

    /// Flips a bit of a file, durably.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> io::Result<()> {
        self.damage(path, bit / 8, |byte| *byte ^= 1 << (bit % 8))
    }

    /// Sets bytes of a file, durably.
    pub fn overwrite(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        for (byte, at) in bytes.iter().zip(offset..) {
            self.damage(path, at, |old| *old = *byte)?;
        }
        Ok(())
    }

    fn alive(&self, life: u64) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state.lock();
        if state.life == life { Ok(state) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }

    fn damage(&self, path: &Path, at: u64, change: impl Fn(&mut u8)) -> io::Result<()> {
        let content = self.state.lock().file(path)?;
        let at = usize::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
        let content = &mut *content.lock();
        for bytes in [&mut content.bytes, &mut content.durable] {
            change(bytes.get_mut(at).ok_or(io::ErrorKind::InvalidInput)?);
        }
        Ok(())
    }

    /// The bytes of a file.
    pub fn content(&self, path: &Path) -> io::Result<Vec<u8>> {
        let content = self.state.lock().file(path)?;
        let bytes = content.lock().bytes.clone();
        Ok(bytes)
    }
}

impl State {
    fn die(&mut self) {
        self.life += 1;
        self.locks.clear();
    }

    fn cut_power(&mut self) {
        self.die();
        for operations in std::mem::take(&mut self.unsynced).into_values() {
            let kept = self.random.below(operations.len() as u64 + 1);
            for operation in operations.into_iter().take(usize::try_from(kept).unwrap_or(0)) {
                apply(&mut self.durable_files, operation);
            }
        }
        self.files.clone_from(&self.durable_files);
        let Self { files, random, .. } = self;
        for content in files.values() {
            content.lock().lose_power(random);
        }
    }

    fn file(&self, path: &Path) -> io::Result<Arc<Mutex<Content>>> {
        self.files.get(path).map(Arc::clone).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn bytes_used(&self) -> u64 {
        self.files.values().map(|content| content.lock().bytes.len() as u64).sum()
    }

    fn operate(&mut self, dir: Option<&Path>, operation: DirOperation) {
        apply(&mut self.files, operation.clone());
        let dir = dir.unwrap_or(Path::new("")).to_owned();
        self.unsynced.entry(dir).or_default().push(operation);
    }

    /// Which fault, if any, an operation shows.
    fn fault(&mut self, path: &Path, kinds: &[DiskFault]) -> Option<DiskFault> {
        let name = path.to_string_lossy();
        for at in 0..self.faults.len() {
            let planned = &mut self.faults[at];
            if !kinds.contains(&planned.fault) || !name.contains(&planned.name) {
                continue;
            }
            if planned.skip == 0 {
                return Some(self.faults.swap_remove(at).fault);
            }
            planned.skip -= 1;
        }
        None
    }
}

fn apply(files: &mut BTreeMap<PathBuf, Arc<Mutex<Content>>>, operation: DirOperation) {
    match operation {
        DirOperation::Create(path, content) => {
            files.insert(path, content);
        }
        DirOperation::Rename(from, to) => {
            if let Some(content) = files.remove(&from) {
                files.insert(to, content);
            }
        }
        DirOperation::Remove(path) => {
            files.remove(&path);
        }
    }
}

/// The disk in the hands of one process.
#[derive(Debug)]
struct SimProcess {
    disk: SimDisk,
    life: u64,
}

impl SimProcess {
    /// The disk, unless the process is dead.
    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        self.disk.alive(self.life)
    }
}

impl Disk for SimProcess {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let dirs = dir.ancestors().map(Path::to_owned);
        self.alive()?.dirs.extend(dirs);
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.alive()?;
        if !state.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let paths = state.files.keys().chain(&state.dirs);
        let names = paths.filter(|path| path.parent() == Some(dir)).filter_map(|p| p.file_name());
        let names: BTreeSet<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        Ok(names.into_iter().collect())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.alive()?;
        let content = match mode {
            OpenMode::Read | OpenMode::ReadWrite => state.file(path)?,
            OpenMode::CreateNew => {
                if state.files.contains_key(path) {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                let content = Arc::new(Mutex::new(Content::default()));
                let create = DirOperation::Create(path.to_owned(), Arc::clone(&content));
                state.operate(path.parent(), create);
                content
            }
        };
        drop(state);
        let disk = self.disk.clone();
        Ok(Arc::new(SimFile { disk, path: path.to_owned(), content, life: self.life }))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.alive()?;
        Ok(state.files.contains_key(path) || state.dirs.contains(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        state.file(from)?;
        let rename = DirOperation::Rename(from.to_owned(), to.to_owned());
        state.operate(to.parent(), rename);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        state.file(path)?;
        state.operate(path.parent(), DirOperation::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let state = &mut *self.alive()?;
        if state.fault(dir, &[DiskFault::Sync]).is_some() {
            return Err(eio());
        }
        for operation in state.unsynced.remove(dir).unwrap_or_default() {
            apply(&mut state.durable_files, operation);
        }
        Ok(())
    }

    fn space(&self, _dir: &Path) -> io::Result<DiskSpace> {
        let state = self.alive()?;
        let bytes_free = state.capacity.saturating_sub(state.bytes_used());
        Ok(DiskSpace { bytes_total: state.capacity, bytes_free })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let mut state = self.alive()?;
        if !state.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock { disk: self.disk.clone(), path: path.to_owned(), life: self.life }))
    }
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    path: PathBuf,
    life: u64,
}

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        if state.life == self.life {
            state.locks.remove(&self.path);
        }
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    content: Arc<Mutex<Content>>,
    life: u64,
}

impl SimFile {
    /// The disk, unless the process that opened the file is dead.
    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        self.disk.alive(self.life)
    }

    /// The name that the file has now.
    fn name(&self, state: &State) -> PathBuf {
        let named = state.files.iter().find(|(_, content)| Arc::ptr_eq(content, &self.content));
        named.map_or_else(|| self.path.clone(), |(path, _)| path.clone())
    }

    /// Refuses to grow the file over the disk's capacity.
    fn check_growth(&self, state: &State, end: usize) -> io::Result<()> {
        let len = self.content.lock().bytes.len();
        let grows = end.saturating_sub(len) as u64;
        if grows > state.capacity.saturating_sub(state.bytes_used()) && grows > 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.alive()?;
        let name = self.name(&state);
        if state.fault(&name, &[DiskFault::Read]).is_some() {
            return Err(eio());
        }
        drop(state);
        let content = self.content.lock();
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(content.bytes.len());
        let len = buf.len().min(content.bytes.len() - from);
        buf[..len].copy_from_slice(&content.bytes[from..from + len]);
        Ok(len)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.alive()?;
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let name = self.name(&state);
        let fault = state.fault(&name, &[DiskFault::Write, DiskFault::ShortWrite]);
        match fault {
            None | Some(DiskFault::Read | DiskFault::Sync | DiskFault::PowerCut) => {
                self.check_growth(&state, offset + bytes.len())?;
                self.content.lock().write(bytes, offset);
                Ok(())
            }
            Some(DiskFault::Write) => Err(eio()),
            Some(DiskFault::ShortWrite) => {
                let len = state.random.below(bytes.len() as u64);
                let written = &bytes[..usize::try_from(len).unwrap_or(0)];
                self.content.lock().write(written, offset);
                Err(io::ErrorKind::WriteZero.into())
            }
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.alive()?;
        let name = self.name(&state);
        match state.fault(&name, &[DiskFault::Sync, DiskFault::PowerCut]) {
            None | Some(DiskFault::Read | DiskFault::Write | DiskFault::ShortWrite) => {
                self.content.lock().sync();
                Ok(())
            }
            Some(DiskFault::Sync) => {
                self.content.lock().sync_partly(&mut state.random);
                Err(eio())
            }
            Some(DiskFault::PowerCut) => {
                state.cut_power();
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let state = self.alive()?;
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.check_growth(&state, len)?;
        let mut content = self.content.lock();
        if len > content.bytes.len() {
            content.bytes.resize(len, 0);
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let _alive = self.alive()?;
        Ok(self.content.lock().bytes.len() as u64)
    }

    fn forget_cached(&self) -> io::Result<()> {
        let _alive = self.alive()?;
        let content = &mut *self.content.lock();
        for (from, to) in (0..content.durable.len()).step_by(SECTOR).map(|at| (at, at + SECTOR)) {
            if !content.dirty.contains(&(from / SECTOR)) {
                let to = to.min(content.durable.len()).min(content.bytes.len());
                if from < to {
                    content.bytes[from..to].copy_from_slice(&content.durable[from..to]);
                }
            }
        }
        Ok(())
    }
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

/// `SplitMix64`: enough for faults, and the same on every machine.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.next() % end }
    }

    /// A chance in percent: none and all are as likely as everything between them.
    fn chance(&mut self) -> u64 {
        match self.below(4) {
            0 => 0,
            1 => 100,
            _ => self.below(101),
        }
    }
}

#[cfg(test)]
#[path = "sim_disk_tests.rs"]
mod tests;
