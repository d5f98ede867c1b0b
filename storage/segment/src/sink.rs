//! Where the encoder's bytes go: hashed, and written through the [`Disk`].
//!
//! The front streams to the file in writes of 1 MiB. What comes after [`Sink::begin_tail`] is kept in memory, because the
//! block table, which stands before it in the file, holds its hash.

use std::fmt::Debug;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quorate_wal::{Disk, DiskFile, OpenMode};

use crate::Error;
use crate::format::{BLOCK_BYTES, BlockTable, FileFacts};

const WRITE_BYTES: usize = 16 * BLOCK_BYTES;

/// A file under a temporary name, removed unless it is [`TempFile::persist`]ed.
#[derive(Debug)]
pub(crate) struct TempFile {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    /// Whether the name is still there.
    live: bool,
}

impl TempFile {
    /// Creates `segment-N.tmp` in `dir`, for the first free N of this process. What a crash leaves under such a name
    /// belongs to nobody: start-up removes it.
    pub(crate) fn create(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Self, Error> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = dir.join(format!("segment-{number}.tmp"));
            match disk.open(&path, OpenMode::CreateNew) {
                Ok(file) => {
                    let disk = Arc::clone(disk);
                    return Ok(Self { disk, dir: dir.to_owned(), path, file, live: true });
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(Error::Io { action: "create", path, source }),
            }
        }
    }

    /// Its present name.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The open file.
    pub(crate) fn file(&self) -> &Arc<dyn DiskFile> {
        &self.file
    }

    /// Makes the content durable, then the name. A crash before the rename leaves a temporary file, one before the
    /// last sync either name; the content is whole under both.
    pub(crate) fn persist(mut self, name: &str) -> Result<(), Error> {
        let to = self.dir.join(name);
        self.file.sync_data().map_err(|e| self.error("sync", e))?;
        self.disk.rename(&self.path, &to).map_err(|e| self.error("rename", e))?;
        self.live = false;
        self.disk.sync_dir(&self.dir).map_err(|source| Error::Io {
            action: "sync the directory of",
            path: to,
            source,
        })
    }

    /// Removes the file.
    pub(crate) fn remove(mut self) -> Result<(), Error> {
        self.live = false;
        self.disk.remove(&self.path).map_err(|e| self.error("remove", e))
    }

    fn error(&self, action: &'static str, source: io::Error) -> Error {
        Error::Io { action, path: self.path.clone(), source }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if self.live
            && let Err(error) = self.disk.remove(&self.path)
        {
            tracing::debug!(path = %self.path.display(), %error, "a temporary file stays");
        }
    }
}

/// Hashes and writes.
#[derive(Debug)]
pub(crate) struct Sink {
    file: Arc<dyn DiskFile>,
    /// Bytes of the front that are not written yet; begins at a block's start.
    buffer: Vec<u8>,
    /// Where the buffer begins in the file.
    written: u64,
    blocks: Vec<[u8; 32]>,
    whole: blake3::Hasher,
    tail: Option<Vec<u8>>,
}

impl Sink {
    pub(crate) fn new(file: Arc<dyn DiskFile>) -> Self {
        Self {
            file,
            buffer: Vec::with_capacity(2 * WRITE_BYTES),
            written: 0,
            blocks: Vec::new(),
            whole: blake3::Hasher::new(),
            tail: None,
        }
    }

    /// Ends the front: what is written from now on is the table's placeholder and the tail.
    pub(crate) fn begin_tail(&mut self) -> io::Result<()> {
        self.write_front(self.buffer.len())?;
        self.tail = Some(Vec::new());
        Ok(())
    }

    /// Fills the table in and writes it and the tail. Nothing is synced yet.
    pub(crate) fn finish(mut self) -> io::Result<FileFacts> {
        let mut rest = self.tail.take().expect("the tail was begun");
        let offset = self.written;
        let table_len = BlockTable::encoded_len(offset);
        let tail = *blake3::hash(&rest[table_len..]).as_bytes();
        let table = BlockTable { offset, blocks: std::mem::take(&mut self.blocks), tail };
        let (bytes, block_table_hash) = table.encode();
        rest[..table_len].copy_from_slice(&bytes);
        self.whole.update(&rest);
        self.file.write_all_at(&rest, offset)?;
        Ok(FileFacts {
            file_hash: *self.whole.finalize().as_bytes(),
            bytes: offset + rest.len() as u64,
            block_table_offset: offset,
            block_table_hash,
        })
    }

    fn write_front(&mut self, len: usize) -> io::Result<()> {
        let bytes = &self.buffer[..len];
        self.blocks.extend(bytes.chunks(BLOCK_BYTES).map(|b| *blake3::hash(b).as_bytes()));
        self.whole.update(bytes);
        if !bytes.is_empty() {
            self.file.write_all_at(bytes, self.written)?;
        }
        self.written += len as u64;
        self.buffer.drain(..len);
        Ok(())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(tail) = &mut self.tail {
            tail.extend_from_slice(bytes);
        } else {
            self.buffer.extend_from_slice(bytes);
            if self.buffer.len() >= WRITE_BYTES {
                self.write_front(self.buffer.len() / WRITE_BYTES * WRITE_BYTES)?;
            }
        }
        Ok(bytes.len())
    }

    /// Does nothing: what is buffered is on its way, and only [`TempFile::persist`] makes anything durable.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
