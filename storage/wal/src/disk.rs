//! The disk as the store sees it: the few calls whose order decides what a power cut leaves behind.
//!
//! Everything durable (log, segments, manifests) goes through [`Disk`], so that a simulated disk can
//! lose unsynced sectors, flip bits, and fail, and so that a test of the real binary can cut the power.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// The file must exist; it is only read.
    Read,
    /// The file must not exist; it is created empty, for reading and writing.
    CreateNew,
    /// The file must exist; it is read and written.
    ReadWrite,
}

/// Space of the file system that holds a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Size of the file system.
    pub bytes_total: u64,
    /// What this process may still use.
    pub bytes_free: u64,
}

/// A file system. Calls block; callers on an async runtime move them to a blocking thread.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Creates a directory and its parents.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Names of the entries of a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;
    /// Whether a file or directory of this name exists.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Renames a file, replacing the target. Durable only after [`Disk::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Durable only after [`Disk::sync_dir`].
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in a directory survive power loss.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the file `path` (created if missing) for this process until the guard is dropped; `WouldBlock` when
    /// another process holds it. A disk that one process alone can reach has nothing to lock.
    fn lock(&self, _path: &Path) -> io::Result<Box<dyn DiskLock>> {
        Ok(Box::new(()))
    }
    /// Space of the file system that holds `dir`.
    fn space(&self, dir: &Path) -> io::Result<DiskSpace>;
}

/// A lock that is released when it is dropped.
pub trait DiskLock: Debug + Send + Sync + 'static {}

impl DiskLock for () {}

/// An open file.
pub trait DiskFile: Debug + Send + Sync + 'static {
    /// Reads up to `buf.len()` bytes at `offset`; 0 at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`, extending the file where needed.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes content and length survive power loss (fdatasync).
    fn sync_data(&self) -> io::Result<()>;
    /// Reserves `len` bytes from the start of the file, zero-filled; the file is that long afterwards.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Drops cached content, so that the next read comes from the device. A hint.
    fn forget_cached(&self) -> io::Result<()> {
        Ok(())
    }
    /// Current length.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Fills `buf` from `offset`, or fails with `UnexpectedEof`.
    fn read_exact_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match self.read_at(buf, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    buf = &mut buf[n..];
                    offset += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
