//! Reads a segment: every byte from disk is verified against its block's hash first.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::{ColumnId, Error, SegmentMeta, SeriesEntry, SeriesKey, SeriesRows};
use quorate_wal::Disk;

/// Row numbers to read: ascending, disjoint, not touching.
pub type RowRanges = Vec<Range<u64>>;

/// What reads cost, shared by all readers.
#[derive(Debug, Default)]
pub struct ReadCounters {
    /// Bytes read from disk and verified.
    pub bytes_read: AtomicU64,
    /// Blocks that failed their hash.
    pub blocks_corrupt: AtomicU64,
    /// Rows decoded.
    pub rows_decoded: AtomicU64,
    /// Pages that selections left out.
    pub pages_skipped: AtomicU64,
}

/// Caches and counters that the readers of a store share.
#[derive(Debug, Default)]
pub struct SegmentCaches {
    /// What reads cost.
    pub counters: ReadCounters,
}

impl SegmentCaches {
    /// Caches bounded to this many bytes in all.
    pub fn new(_bytes_max: u64) -> Arc<Self> {
        unimplemented!()
    }
}

/// An open segment. Share it through `Arc`; scans are independent.
#[derive(Debug)]
pub struct SegmentReader {}

impl SegmentReader {
    /// Opens a file and checks footer and directory against `meta`.
    pub fn open(
        _disk: Arc<dyn Disk>,
        _path: &Path,
        _meta: Arc<SegmentMeta>,
        _caches: Arc<SegmentCaches>,
    ) -> Result<Arc<Self>, Error> {
        unimplemented!()
    }
    /// Reads a file that no manifest describes (orphans, fixtures, `verify`): everything is checked.
    pub fn recover_meta(_disk: Arc<dyn Disk>, _path: &Path) -> Result<SegmentMeta, Error> {
        unimplemented!()
    }
    /// What the manifest says of it.
    pub fn meta(&self) -> &Arc<SegmentMeta> {
        unimplemented!()
    }
    /// The entry of one series.
    pub fn find(&self, _key: &SeriesKey) -> Result<Option<SeriesEntry>, Error> {
        unimplemented!()
    }
    /// Entries in key order, from the first whose key is not below `from`, read block by block.
    pub fn directory(
        self: &Arc<Self>,
        _from: Option<&SeriesKey>,
    ) -> Result<Box<dyn Iterator<Item = Result<SeriesEntry, Error>> + Send>, Error> {
        unimplemented!()
    }
    /// Rows of one series with time in `[time_min, time_max]`, narrowed by page statistics, not row by row:
    /// the first and last row may lie outside. For cutting ranges before [`SegmentReader::scan`].
    pub fn narrow(
        &self,
        _entry: &SeriesEntry,
        _time_min: i64,
        _time_max: i64,
    ) -> Result<Range<u64>, Error> {
        unimplemented!()
    }
    /// Scans the given series (ascending by key) with these row ranges (each within its entry's rows), for the time,
    /// the projected fields (absent ones come as nulls) and, if asked for, the cleared marks.
    pub fn scan(
        self: &Arc<Self>,
        _series: Vec<SeriesEntry>,
        _fields: &[(ColumnId, crate::FieldType)],
        _with_cleared: bool,
    ) -> Result<SegmentScan, Error> {
        unimplemented!()
    }
    /// Reads and checks every block of the file and the hash of the whole.
    pub fn verify(&self) -> Result<(), Error> {
        unimplemented!()
    }
}

/// Rows of one scan, series by series. A long series comes in several pieces of at most 8,192 rows.
#[derive(Debug)]
pub struct SegmentScan {}

impl Iterator for SegmentScan {
    type Item = Result<SeriesRows, Error>;
    fn next(&mut self) -> Option<Self::Item> {
        unimplemented!()
    }
}
