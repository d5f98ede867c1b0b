//! A real disk that forgets what was not synced when its process is killed.
//!
//! For tests of the real binary: `kill -9` then is a power cut. Bytes that were not synced stay in this process's
//! memory and are written through by the sync; directory operations wait for [`Disk::sync_dir`] in the same way.
//! So memory holds what is unsynced and nothing else.
//!
//! A file that was created and whose directory was not synced lives under a hidden name in its directory; such
//! files of processes that were killed are removed when a directory is listed for the first time.
//!
//! Limits: unsynced bytes are lost as a whole (the simulated disk loses them in part); directories themselves are
//! durable at once; a file must not be opened under the same name through another disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile, DiskLock, DiskSpace, OpenMode};
use crate::real_disk::RealDisk;

/// Names the disk of a process: unset or `real`, or `power-cut`.
const ENVIRONMENT: &str = "QUORATE_DISK";
const HIDDEN: &str = ".unsynced-";

/// The disk that the environment asks for: [`RealDisk`], or [`PowerCutDisk`] where `QUORATE_DISK` is `power-cut`.
///
/// # Panics
///
/// If `QUORATE_DISK` is anything else: a test that means to cut the power must not run without.
pub fn disk_from_environment() -> Arc<dyn Disk> {
    match std::env::var(ENVIRONMENT).as_deref() {
        Err(_) | Ok("" | "real") => RealDisk::shared(),
        Ok("power-cut") => {
            tracing::warn!(
                "unsynced bytes are lost when this process ends ({ENVIRONMENT}=power-cut)"
            );
            Arc::new(PowerCutDisk::default())
        }
        Ok(other) => panic!("{ENVIRONMENT} is `real` or `power-cut`, not `{other}`"),
    }
}

/// A real disk that forgets what was not synced when its process is killed.
#[derive(Debug, Default)]
pub struct PowerCutDisk {
    real: RealDisk,
    names: Mutex<Names>,
    hidden_count: AtomicU64,
}

/// The names as this process sees them, where they differ from the real ones or files are open.
#[derive(Debug, Default)]
struct Names {
    /// Names whose directory was not synced since; `None` for one that was removed and is still there on disk.
    changed: BTreeMap<PathBuf, Option<Arc<Cached>>>,
    /// Files under their real names that are open or have unsynced bytes.
    open: BTreeMap<PathBuf, Arc<Cached>>,
    /// By directory, in order.
    unsynced: BTreeMap<PathBuf, Vec<DirOperation>>,
    /// Directories whose hidden files of former processes are gone.
    swept: BTreeSet<PathBuf>,
}

/// What [`Disk::sync_dir`] does on the real disk.
#[derive(Debug)]
enum DirOperation {
    /// Also for creation: from the hidden name.
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

/// An open file with its unsynced bytes.
#[derive(Debug)]
struct Cached {
    real: Arc<dyn DiskFile>,
    unsynced: Mutex<Unsynced>,
}

#[derive(Debug, Default)]
struct Unsynced {
    /// Length as the process sees it, once it is more than the real one.
    len: u64,
    /// What was written, by where it begins; disjoint.
    extents: BTreeMap<u64, Vec<u8>>,
}

impl PowerCutDisk {
    /// A wrapper around the real disk.
    pub fn new() -> Self {
        Self::default()
    }

    fn dir_of(path: &Path) -> PathBuf {
        path.parent().unwrap_or(Path::new("")).to_owned()
    }

    /// Removes what processes that were killed left behind, once for each directory.
    fn sweep(&self, names: &mut Names, dir: &Path) -> io::Result<()> {
        if !names.swept.insert(dir.to_owned()) {
            return Ok(());
        }
        let own = std::process::id().to_string();
        for name in self.real.list(dir)? {
            let Some(rest) = name.strip_prefix(HIDDEN) else { continue };
            let process = rest.split('-').next().unwrap_or(rest);
            if process == own || !self.real.exists(&Path::new("/proc").join(process))? {
                self.real.remove(&dir.join(name))?;
            }
        }
        Ok(())
    }

    /// The file of a name, if the process sees one. All who open it share its unsynced bytes.
    fn cached(&self, names: &mut Names, path: &Path) -> io::Result<Arc<Cached>> {
        names.open.retain(|_, cached| {
            Arc::strong_count(cached) > 1 || !cached.unsynced.lock().extents.is_empty()
        });
        match names.changed.get(path) {
            Some(Some(cached)) => return Ok(Arc::clone(cached)),
            Some(None) => return Err(io::ErrorKind::NotFound.into()),
            None => {}
        }
        if let Some(cached) = names.open.get(path) {
            return Ok(Arc::clone(cached));
        }
        let real = match self.real.open(path, OpenMode::ReadWrite) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.real.open(path, OpenMode::Read)?
            }
            opened => opened?,
        };
        let cached = Arc::new(Cached { real, unsynced: Mutex::default() });
        names.open.insert(path.to_owned(), Arc::clone(&cached));
        Ok(cached)
    }

    fn sees(&self, names: &Names, path: &Path) -> io::Result<bool> {
        match names.changed.get(path) {
            Some(cached) => Ok(cached.is_some()),
            None => self.real.exists(path),
        }
    }
}

impl Disk for PowerCutDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.real.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = self.names.lock();
        self.sweep(&mut names, dir)?;
        let mut seen: BTreeSet<String> = self.real.list(dir)?.into_iter().collect();
        seen.retain(|name| !name.starts_with(HIDDEN));
        for (path, cached) in &names.changed {
            if path.parent() != Some(dir) {
                continue;
            }
            let Some(name) = path.file_name() else { continue };
            let name = name.to_string_lossy().into_owned();
            if cached.is_some() {
                seen.insert(name);
            } else {
                seen.remove(&name);
            }
        }
        Ok(seen.into_iter().collect())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut names = self.names.lock();
        let cached = match mode {
            OpenMode::Read | OpenMode::ReadWrite => self.cached(&mut names, path)?,
            OpenMode::CreateNew => {
                if self.sees(&names, path)? {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                let dir = Self::dir_of(path);
                self.sweep(&mut names, &dir)?;
                let number = self.hidden_count.fetch_add(1, Ordering::Relaxed);
                let hidden = dir.join(format!("{HIDDEN}{}-{number}", std::process::id()));
                let real = self.real.open(&hidden, OpenMode::CreateNew)?;
                let create = DirOperation::Rename(hidden, path.to_owned());
                names.unsynced.entry(dir).or_default().push(create);
                let cached = Arc::new(Cached { real, unsynced: Mutex::default() });
                names.changed.insert(path.to_owned(), Some(Arc::clone(&cached)));
                cached
            }
        };
        Ok(Arc::new(PowerCutFile { cached }))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.sees(&self.names.lock(), path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut names = self.names.lock();
        let cached = self.cached(&mut names, from)?;
        names.open.remove(from);
        names.open.remove(to);
        names.changed.insert(from.to_owned(), None);
        names.changed.insert(to.to_owned(), Some(cached));
        let rename = DirOperation::Rename(from.to_owned(), to.to_owned());
        names.unsynced.entry(Self::dir_of(to)).or_default().push(rename);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut names = self.names.lock();
        if !self.sees(&names, path)? {
            return Err(io::ErrorKind::NotFound.into());
        }
        names.open.remove(path);
        names.changed.insert(path.to_owned(), None);
        let remove = DirOperation::Remove(path.to_owned());
        names.unsynced.entry(Self::dir_of(path)).or_default().push(remove);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let names = &mut *self.names.lock();
        for operation in names.unsynced.remove(dir).unwrap_or_default() {
            match operation {
                DirOperation::Rename(from, to) => self.real.rename(&from, &to)?,
                DirOperation::Remove(path) => self.real.remove(&path)?,
            }
        }
        self.real.sync_dir(dir)?;
        // The names are now the real ones.
        let (synced, changed) = std::mem::take(&mut names.changed)
            .into_iter()
            .partition(|(path, _)| path.parent() == Some(dir));
        names.changed = changed;
        let synced: BTreeMap<PathBuf, Option<Arc<Cached>>> = synced;
        names.open.extend(synced.into_iter().filter_map(|(path, cached)| Some((path, cached?))));
        Ok(())
    }

    fn space(&self, dir: &Path) -> io::Result<DiskSpace> {
        self.real.space(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.real.lock(path)
    }
}

#[derive(Debug)]
struct PowerCutFile {
    cached: Arc<Cached>,
}

impl Unsynced {
    fn write(&mut self, bytes: &[u8], offset: u64) {
        let end = offset + bytes.len() as u64;
        self.len = self.len.max(end);
        // Cut what the new bytes cover out of the extents around.
        let touched: Vec<u64> = self
            .extents
            .range(..end)
            .rev()
            .take_while(|(from, old)| *from + old.len() as u64 > offset)
            .map(|(from, _)| *from)
            .collect();
        for from in touched {
            let Some(old) = self.extents.remove(&from) else { continue };
            let old_end = from + old.len() as u64;
            if from < offset {
                let kept = usize::try_from(offset - from).unwrap_or(old.len());
                self.extents.insert(from, old[..kept].to_vec());
            }
            if old_end > end {
                let cut = usize::try_from(end - from).unwrap_or(old.len());
                self.extents.insert(end, old[cut..].to_vec());
            }
        }
        self.extents.insert(offset, bytes.to_vec());
    }

    /// Replaces the parts of `buf`, which stands at `offset`, that were written.
    fn overlay(&self, buf: &mut [u8], offset: u64) {
        let end = offset + buf.len() as u64;
        for (from, bytes) in self.extents.range(..end) {
            let (start, stop) = ((*from).max(offset), (from + bytes.len() as u64).min(end));
            if start >= stop {
                continue;
            }
            let within = |at: u64, base: u64| usize::try_from(at - base).unwrap_or(usize::MAX);
            buf[within(start, offset)..within(stop, offset)]
                .copy_from_slice(&bytes[within(start, *from)..within(stop, *from)]);
        }
    }
}

impl DiskFile for PowerCutFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let unsynced = self.cached.unsynced.lock();
        let len = self.cached.real.len()?.max(unsynced.len).saturating_sub(offset);
        let len = usize::try_from(len).map_or(buf.len(), |len| len.min(buf.len()));
        let buf = &mut buf[..len];
        buf.fill(0);
        let mut read = 0;
        while read < len {
            match self.cached.real.read_at(&mut buf[read..], offset + read as u64)? {
                0 => break,
                more => read += more,
            }
        }
        unsynced.overlay(buf, offset);
        Ok(len)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if !bytes.is_empty() {
            self.cached.unsynced.lock().write(bytes, offset);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut unsynced = self.cached.unsynced.lock();
        for (offset, bytes) in &unsynced.extents {
            self.cached.real.write_all_at(bytes, *offset)?;
        }
        *unsynced = Unsynced::default();
        self.cached.real.sync_data()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        // That the length survives is one of the things that a power cut may leave.
        self.cached.real.allocate(len)
    }

    fn len(&self) -> io::Result<u64> {
        let unsynced = self.cached.unsynced.lock();
        Ok(self.cached.real.len()?.max(unsynced.len))
    }
}

#[cfg(test)]
#[path = "power_cut_disk_tests.rs"]
mod tests;
