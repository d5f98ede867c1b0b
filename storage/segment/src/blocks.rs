//! Reads a segment file below the Parquet reader: no byte leaves here that was not checked against its block's hash.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use quorate_wal::{Disk, DiskFile, OpenMode};

use crate::cache::{ScanReads, SegmentCaches, count};
use crate::format::{BLOCK_BYTES, BlockTable, TABLE_FORMAT, TableError};
use crate::{Error, SegmentMeta};

/// Blocks from which on a read passes the cache by.
const LONG_READ_BLOCKS: u64 = 16;

/// A file whose bytes are nobody's word yet.
#[derive(Debug)]
pub(crate) struct RawFile {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    /// Its length.
    pub(crate) bytes: u64,
}

impl RawFile {
    pub(crate) fn open(disk: &Arc<dyn Disk>, path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Io { action: "open", path: path.to_owned(), source };
        let file = disk.open(path, OpenMode::Read).map_err(failed)?;
        let bytes = file.len().map_err(failed)?;
        Ok(Self { path: path.to_owned(), file, bytes })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads `range`, unverified. A file that ends before its end is damaged.
    pub(crate) fn read(&self, range: Range<u64>) -> Result<Vec<u8>, Error> {
        let len = range.end.checked_sub(range.start).and_then(|len| usize::try_from(len).ok());
        let Some(len) = len.filter(|_| range.end <= self.bytes) else {
            return Err(self.corrupt(self.bytes, "the file is shorter than it should be"));
        };
        let mut buffer = vec![0; len];
        self.fill(&mut buffer, range.start)?;
        Ok(buffer)
    }

    fn fill(&self, buffer: &mut [u8], offset: u64) -> Result<(), Error> {
        self.file.read_exact_at(buffer, offset).map_err(|source| {
            if source.kind() == io::ErrorKind::UnexpectedEof {
                self.corrupt(offset, "the file is shorter than it should be")
            } else {
                Error::Io { action: "read", path: self.path.clone(), source }
            }
        })
    }

    pub(crate) fn corrupt(&self, offset: u64, what: impl Into<String>) -> Error {
        Error::Corrupt { path: self.path.clone(), offset, what: what.into() }
    }

    /// Reads the block table at `offset`, and checks it.
    pub(crate) fn block_table(
        &self,
        offset: u64,
        want: Option<&[u8; 32]>,
    ) -> Result<BlockTable, Error> {
        if offset > self.bytes {
            return Err(self.corrupt(self.bytes, "the file ends before its block table"));
        }
        let bytes = self.read(offset..offset + BlockTable::encoded_len(offset) as u64)?;
        BlockTable::decode(&bytes, offset, want).map_err(|error| match error {
            TableError::Damaged => self.corrupt(offset, "the block table does not match its hash"),
            TableError::Newer(found) => self.newer(found, TABLE_FORMAT),
        })
    }

    /// Reads the tail, and checks it.
    pub(crate) fn tail(&self, table: &BlockTable) -> Result<Bytes, Error> {
        let start = table.offset + BlockTable::encoded_len(table.offset) as u64;
        let tail = self.read(start..self.bytes)?;
        if blake3::hash(&tail).as_bytes() == &table.tail {
            Ok(tail.into())
        } else {
            Err(self.corrupt(start, "the footer does not match its hash"))
        }
    }

    pub(crate) fn newer(&self, found: u32, supported: u32) -> Error {
        Error::Unsupported { path: self.path.clone(), found, supported }
    }
}

/// A file whose front is read in verified blocks.
#[derive(Debug)]
pub(crate) struct VerifiedFile {
    raw: RawFile,
    table: BlockTable,
    /// Names the file in the cache.
    id: u128,
    caches: Arc<SegmentCaches>,
}

impl VerifiedFile {
    /// Opens a file that a manifest describes; gives its tail, too.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        path: &Path,
        meta: &SegmentMeta,
        caches: Arc<SegmentCaches>,
    ) -> Result<(Self, Bytes), Error> {
        let raw = RawFile::open(disk, path)?;
        let open = || {
            if raw.bytes != meta.bytes {
                let what = format!("the file has {} bytes instead of {}", raw.bytes, meta.bytes);
                return Err(raw.corrupt(raw.bytes.min(meta.bytes), what));
            }
            let table = raw.block_table(meta.block_table_offset, Some(&meta.block_table_hash))?;
            let tail = raw.tail(&table)?;
            count(&caches.counters.bytes_read, raw.bytes - table.offset);
            Ok((table, tail))
        };
        let (table, tail) = open().inspect_err(|error| {
            if matches!(error, Error::Corrupt { .. }) {
                count(&caches.counters.blocks_corrupt, 1);
            }
        })?;
        let [first, ..] = meta.file_hash.as_chunks::<16>().0 else {
            unreachable!("a hash has 32 bytes");
        };
        Ok((Self { raw, table, id: u128::from_le_bytes(*first), caches }, tail))
    }

    pub(crate) fn raw(&self) -> &RawFile {
        &self.raw
    }

    pub(crate) fn caches(&self) -> &Arc<SegmentCaches> {
        &self.caches
    }

    /// Reads a range of the front.
    pub(crate) fn read(&self, range: Range<u64>) -> Result<Bytes, Error> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let pieces = self.read_ranges(std::slice::from_ref(&range), &ScanReads::default())?;
        Ok(pieces.slice(range).expect("one range was read in one piece"))
    }

    /// Reads ranges of the front, ascending: blocks that follow each other in one piece.
    pub(crate) fn read_ranges(
        &self,
        ranges: &[Range<u64>],
        reads: &ScanReads,
    ) -> Result<FrontPieces, Error> {
        const SIZE: u64 = BLOCK_BYTES as u64;
        let mut runs: Vec<Range<u64>> = Vec::new();
        for range in ranges.iter().filter(|range| !range.is_empty()) {
            if range.end > self.table.offset {
                return Err(self.raw.corrupt(range.start, "data lies beyond the block table"));
            }
            let (start, end) = (range.start / SIZE, range.end.div_ceil(SIZE));
            match runs.last_mut() {
                Some(last) if start <= last.end => last.end = last.end.max(end),
                _ => runs.push(start..end),
            }
        }
        let pieces = runs
            .into_iter()
            .map(|run| Ok((run.start * SIZE, self.read_blocks(run, reads)?)))
            .collect::<Result<_, Error>>()?;
        Ok(FrontPieces { pieces })
    }

    /// Reads and checks every block of the front and the whole file's hash, past the cache.
    pub(crate) fn verify(&self, want: &[u8; 32]) -> Result<(), Error> {
        let mut whole = blake3::Hasher::new();
        let blocks = self.table.blocks.len() as u64;
        for start in (0..blocks).step_by(16) {
            let run = start..blocks.min(start + 16);
            let bytes = self.read_from_disk(&run)?;
            whole.update(&bytes);
        }
        whole.update(&self.raw.read(self.table.offset..self.raw.bytes)?);
        if whole.finalize().as_bytes() == want {
            Ok(())
        } else {
            count(&self.caches.counters.blocks_corrupt, 1);
            Err(self.raw.corrupt(self.table.offset, "the file does not match its hash"))
        }
    }

    /// Reads the blocks of `run`, from the cache as far as it has them.
    fn read_blocks(&self, run: Range<u64>, reads: &ScanReads) -> Result<Bytes, Error> {
        if run.end - run.start >= LONG_READ_BLOCKS {
            let bytes = self.read_from_disk(&run)?;
            count(&reads.bytes_read, bytes.len() as u64);
            return Ok(bytes.into());
        }
        let cached: Vec<_> = run.clone().map(|block| self.caches.get((self.id, block))).collect();
        let hit: usize = cached.iter().flatten().map(Bytes::len).sum();
        count(&reads.bytes_cached, hit as u64);
        count(&self.caches.counters.bytes_cached, hit as u64);
        if let [Some(block)] = cached.as_slice() {
            return Ok(block.clone());
        }
        if cached.iter().all(Option::is_none) {
            return Ok(self.read_and_keep(&run, reads)?.into());
        }
        let mut bytes = Vec::with_capacity(cached.len() * BLOCK_BYTES);
        let mut block = run.start;
        for same in cached.chunk_by(|a, b| a.is_some() == b.is_some()) {
            let end = block + same.len() as u64;
            if same[0].is_some() {
                same.iter().flatten().for_each(|cached| bytes.extend_from_slice(cached));
            } else {
                bytes.extend_from_slice(&self.read_and_keep(&(block..end), reads)?);
            }
            block = end;
        }
        Ok(bytes.into())
    }

    /// Reads blocks that the cache does not have, and gives them to it.
    fn read_and_keep(&self, run: &Range<u64>, reads: &ScanReads) -> Result<Vec<u8>, Error> {
        let bytes = self.read_from_disk(run)?;
        count(&reads.bytes_read, bytes.len() as u64);
        for (number, block) in run.clone().zip(bytes.chunks(BLOCK_BYTES)) {
            self.caches.put((self.id, number), block);
        }
        Ok(bytes)
    }

    fn read_from_disk(&self, run: &Range<u64>) -> Result<Vec<u8>, Error> {
        let start = run.start * BLOCK_BYTES as u64;
        let end = (run.end * BLOCK_BYTES as u64).min(self.table.offset);
        let bytes = self.raw.read(start..end)?;
        let counters = &self.caches.counters;
        count(&counters.bytes_read, bytes.len() as u64);
        for (number, block) in run.clone().zip(bytes.chunks(BLOCK_BYTES)) {
            let want = usize::try_from(number).ok().and_then(|i| self.table.blocks.get(i));
            if want != Some(blake3::hash(block).as_bytes()) {
                count(&counters.blocks_corrupt, 1);
                let offset = number * BLOCK_BYTES as u64;
                return Err(self.raw.corrupt(offset, "a block does not match its hash"));
            }
        }
        Ok(bytes)
    }
}

/// Verified bytes from places of the front: what the Parquet reader is given to read.
#[derive(Clone, Debug)]
pub(crate) struct FrontPieces {
    /// Offset and bytes, ascending, not touching.
    pieces: Vec<(u64, Bytes)>,
}

impl FrontPieces {
    pub(crate) fn slice(&self, range: Range<u64>) -> Option<Bytes> {
        let place = self.pieces.partition_point(|(offset, _)| *offset <= range.start);
        let (offset, bytes) = self.pieces.get(place.checked_sub(1)?)?;
        let start = usize::try_from(range.start - offset).ok()?;
        let end = usize::try_from(range.end - offset).ok()?;
        (end <= bytes.len()).then(|| bytes.slice(start..end))
    }
}

impl Length for FrontPieces {
    fn len(&self) -> u64 {
        self.pieces.last().map_or(0, |(offset, bytes)| offset + bytes.len() as u64)
    }
}

impl ChunkReader for FrontPieces {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Err(ParquetError::General(format!("read without end at {start}: pages have an index")))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.slice(start..start + length as u64).ok_or_else(|| {
            ParquetError::General(format!("{length} bytes at {start} were not selected"))
        })
    }
}
