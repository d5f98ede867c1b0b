//! The last row of each series of a segment, kept in memory.
//!
//! A segment never changes, so what was read of it once stays true: one row per series, as a run of its own, which scans
//! that need no more than the last row of each series read instead of the file. [`Tails`] holds them for all segments of a
//! node, the most recently used ones, up to a number of bytes.
//!
//! **Limits.** A segment whose series have few rows gains nothing and is left alone, as is one whose last rows alone would
//! take a large part of the memory.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::take;
use parking_lot::Mutex;
use quorate_segment::{ScanReads, SeriesEntry};

use super::OpenSegment;
use crate::memtable::{Run, union_layout};
use crate::rows::{Block, Layout, Picks, gather_block};
use crate::version::FileHash;
use crate::{Error, SeriesKey};

/// Rows that a series must have on average for its last one to be worth a place.
const ROWS_PER_SERIES_MIN: u64 = 2;
/// A segment's last rows may take this part of all that is kept.
const SEGMENT_SHARE: u64 = 4;
/// Bytes that a series takes, about, besides its key and its fields.
const SERIES_BYTES: u64 = 64;
/// Bytes that a field of a row takes, about.
const FIELD_BYTES: u64 = 16;
/// Series that are decoded at once.
const CHUNK_SERIES: usize = 8192;

/// Last rows of the segments of a node.
#[derive(Default)]
pub(crate) struct Tails {
    bytes_max: u64,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    places: HashMap<FileHash, Place>,
    bytes: u64,
    /// Counts uses, for the order of them.
    clock: u64,
}

struct Place {
    slot: Arc<Slot>,
    bytes: u64,
    used: u64,
}

/// One segment's; locked while it is read, so that it is read once.
#[derive(Default)]
struct Slot {
    run: Mutex<Option<Arc<Run>>>,
}

impl Debug for Tails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tails").field("bytes_max", &self.bytes_max).finish_non_exhaustive()
    }
}

impl Tails {
    /// Keeps at most about this many bytes.
    pub(crate) fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self { bytes_max, ..Self::default() })
    }

    /// The last row of each series of a segment, with at least these fields; `None` where that is not worth it.
    pub(super) fn of(
        &self,
        segment: &OpenSegment,
        layout: &Layout,
        reads: &Arc<ScanReads>,
    ) -> Result<Option<Arc<Run>>, Error> {
        let meta = &segment.live.meta;
        let fields = layout.len() as u64 * FIELD_BYTES;
        let key = (meta.key_min.len() + meta.key_max.len()) as u64 / 2;
        let bytes = meta.series.saturating_mul(SERIES_BYTES + key + fields);
        let few = meta.rows < meta.series.saturating_mul(ROWS_PER_SERIES_MIN);
        if few || bytes > self.bytes_max / SEGMENT_SHARE {
            return Ok(None);
        }
        let slot = self.slot(&meta.file_hash);
        let mut run = slot.run.lock();
        if let Some(run) = run.as_ref().filter(|run| has_fields(run, layout)) {
            return Ok(Some(Arc::clone(run)));
        }
        let all = match run.as_ref() {
            Some(run) => union_layout([run.layout(), layout].into_iter()),
            None => Arc::clone(layout),
        };
        let read = Arc::new(read(segment, &all, reads)?);
        *run = Some(Arc::clone(&read));
        self.weigh(&meta.file_hash, read.bytes());
        Ok(Some(read))
    }

    fn slot(&self, hash: &FileHash) -> Arc<Slot> {
        let mut kept = self.kept.lock();
        kept.clock += 1;
        let used = kept.clock;
        let new = || Place { slot: Arc::default(), bytes: 0, used };
        let place = kept.places.entry(*hash).or_insert_with(new);
        place.used = used;
        Arc::clone(&place.slot)
    }

    /// Notes what a segment's take now, and lets go of those that were not used for longest.
    fn weigh(&self, hash: &FileHash, bytes: u64) {
        let mut kept = self.kept.lock();
        let Some(place) = kept.places.get_mut(hash) else { return };
        let before = std::mem::replace(&mut place.bytes, bytes);
        kept.bytes = kept.bytes - before + bytes;
        while kept.bytes > self.bytes_max {
            let oldest = kept.places.iter().min_by_key(|(_, place)| place.used);
            let Some(oldest) = oldest.map(|(hash, _)| *hash) else { return };
            if let Some(place) = kept.places.remove(&oldest) {
                kept.bytes -= place.bytes;
            }
        }
    }
}

fn has_fields(run: &Run, layout: &Layout) -> bool {
    layout.iter().all(|field| run.layout().binary_search(field).is_ok())
}

/// Reads the last row of each series.
fn read(segment: &OpenSegment, layout: &Layout, reads: &Arc<ScanReads>) -> Result<Run, Error> {
    let reader = &segment.reader;
    let fields = &reader.meta().schema.fields;
    let has = |id| fields.binary_search_by_key(id, |field| field.id).is_ok();
    let present: Vec<bool> = layout.iter().map(|(id, _)| has(id)).collect();
    let mut series = Vec::new();
    let mut chunks = Vec::new();
    let mut entries = reader.directory(None)?;
    loop {
        let chunk = entries.by_ref().take(CHUNK_SERIES).map(|entry| Ok(last_row(entry?)));
        let chunk = chunk.collect::<Result<Vec<SeriesEntry>, Error>>()?;
        if chunk.is_empty() {
            break;
        }
        let with_cleared = reader.meta().has_cleared;
        let mut rows = Vec::with_capacity(chunk.len());
        for one in reader.scan(chunk, layout, with_cleared)?.counted_by(Arc::clone(reads)) {
            let one = one?;
            series.push(one.key.clone());
            rows.push(Block::from_series_rows(one, &present)?);
        }
        chunks.push(joined(&rows, layout)?);
    }
    let block = joined(&chunks, layout)?;
    Ok(one_row_each(layout, block, series))
}

fn last_row(entry: SeriesEntry) -> SeriesEntry {
    SeriesEntry { rows: entry.rows.end - 1..entry.rows.end, time_min: entry.time_max, ..entry }
}

fn one_row_each(layout: &Layout, block: Block, series: Vec<SeriesKey>) -> Run {
    let starts = (0u32..).take(series.len()).collect();
    Run::new(Arc::clone(layout), block, series, starts)
}

/// Blocks one after another, as a copy that keeps nothing of what they were cut from.
fn joined(blocks: &[Block], layout: &Layout) -> Result<Block, Error> {
    let mut picks = Picks::default();
    for (source, block) in (0u32..).zip(blocks) {
        picks.push(source, 0, block.rows());
    }
    let sources: Vec<&Block> = blocks.iter().collect();
    let mut block = gather_block(&sources, layout, &picks, true);
    if let [_] = picks.slices() {
        // One slice is shared with its source instead of copied.
        let rows = UInt32Array::from_iter_values((0u32..).take(block.rows()));
        block.time = block.time.to_vec().into();
        for field in block.fields.iter_mut().flatten() {
            *field = copied(field, &rows)?;
        }
    }
    Ok(block)
}

fn copied(array: &ArrayRef, rows: &UInt32Array) -> Result<ArrayRef, Error> {
    let copy = take(array, rows, None)?;
    let texts = copy.as_any().downcast_ref::<arrow::array::StringViewArray>();
    Ok(texts.map_or_else(|| Arc::clone(&copy), |texts| Arc::new(texts.gc()) as ArrayRef))
}
