//! Where a scan's rows come from: memtable runs and segments behind one face.

use std::sync::Arc;

use arrow::array::Array;
use quorate_segment::{ScanReads, SegmentReader, SegmentScan, SeriesEntry, ValueRange};

use super::series::{KeyRange, Keys, Wanted};
use super::{OpenSegment, TimeRange};
use crate::memtable::Run;
use crate::rows::{Block, Cut, Hiding, Layout, Piece, PieceStream};
use crate::version::Tombstone;
use crate::{Error, SeriesKey};

/// Series that one call of a segment's reader is given at most.
const CHUNK_SERIES_MAX: usize = 8192;
/// Rows after which a chunk of series ends.
const CHUNK_ROWS: u64 = 1 << 20;
/// A segment's directory is searched for single keys while it has this many times more series than are wanted.
const FIND_RATIO: u64 = 32;

/// Rows from which on reading where a segment's cells are costs less than the rows beside them that pages have.
const CELLS_ROWS_MIN: u64 = 64 << 10;

/// Blocks of a segment's directory from which on their first keys are sample enough.
const MARKS_MIN: usize = 64;

#[derive(Clone, Debug)]
pub(super) enum Origin {
    Run(Arc<Run>),
    Segment(Arc<OpenSegment>),
}

/// One sorted source of a scan, and what hides rows of it.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) origin: Origin,
    pub(super) hiding: Hiding,
    /// Number of its shard in the view.
    pub(super) shard: usize,
}

impl Source {
    pub(super) fn time(&self) -> TimeRange {
        match &self.origin {
            Origin::Run(run) => run.time(),
            Origin::Segment(segment) => segment.live.time(),
        }
    }
    pub(super) fn rows(&self) -> u64 {
        match &self.origin {
            Origin::Run(run) => run.rows() as u64,
            Origin::Segment(segment) => segment.live.meta.rows,
        }
    }
    pub(super) fn has_cleared(&self) -> bool {
        match &self.origin {
            Origin::Run(run) => run.has_cleared(),
            Origin::Segment(segment) => segment.live.meta.has_cleared,
        }
    }
    pub(super) fn key_min(&self) -> &[u8] {
        match &self.origin {
            Origin::Run(run) => run.series().first().map_or(&[], SeriesKey::as_bytes),
            Origin::Segment(segment) => &segment.live.meta.key_min,
        }
    }
    pub(super) fn key_max(&self) -> &[u8] {
        match &self.origin {
            Origin::Run(run) => run.series().last().map_or(&[], SeriesKey::as_bytes),
            Origin::Segment(segment) => &segment.live.meta.key_max,
        }
    }

    /// Rows of series in a range: exact for runs, an upper bound for segments.
    pub(super) fn rows_in(&self, range: &KeyRange) -> u64 {
        if !range.overlaps(self.key_min(), self.key_max()) {
            return 0;
        }
        match &self.origin {
            Origin::Run(run) => {
                let places = range.places(run.series());
                places.map(|at| run.rows_of(at).len() as u64).sum()
            }
            Origin::Segment(segment) => {
                let (mut start, mut end) = (0, segment.live.meta.rows);
                for (key, row) in segment.reader.marks() {
                    if range.from.as_ref().is_some_and(|from| key <= from.as_bytes()) {
                        start = row;
                    }
                    if range.to.as_ref().is_some_and(|to| to.as_bytes() <= key) {
                        end = row;
                        break;
                    }
                }
                end.saturating_sub(start)
            }
        }
    }

    /// Some keys, spread over the rows, each with the rows from it up to the next one.
    pub(super) fn sample(
        &self,
        count: usize,
        samples: &mut Vec<(SeriesKey, u64)>,
    ) -> Result<(), Error> {
        if let Origin::Segment(segment) = &self.origin
            && segment.reader.marks().len() >= MARKS_MIN
        {
            let marks: Vec<_> = segment.reader.marks().collect();
            let step = (marks.len() / count).max(1);
            for (at, (key, row)) in marks.iter().enumerate().step_by(step) {
                let key = SeriesKey::from_bytes(key);
                let key = key.map_err(|e| Error::Internal(format!("a directory's mark: {e}")))?;
                let end = marks.get(at + step).map_or(segment.live.meta.rows, |(_, row)| *row);
                samples.push((key, end - row));
            }
            return Ok(());
        }
        let step = (self.rows() / count as u64).max(1);
        let mut open: Option<(SeriesKey, u64)> = None;
        for entry in self.directory_of(&SeriesKey::encode([]))? {
            let (key, rows, _) = entry?;
            match &mut open {
                Some((_, sum)) if *sum < step => *sum += rows,
                _ => samples.extend(open.replace((key, rows))),
            }
        }
        samples.extend(open);
        Ok(())
    }

    /// Its directory: the series whose first tags are those of one of `firsts`, which ascend, with the number of their rows
    /// and their times.
    pub(super) fn directory(&self, firsts: &[SeriesKey]) -> Result<DirectoryStream, Error> {
        let firsts = firsts.iter().filter(|first| self.may_begin(first));
        let mut parts =
            firsts.map(|first| self.directory_of(first)).collect::<Result<Vec<_>, _>>()?;
        Ok(match parts.len() {
            1 => parts.remove(0),
            _ => Box::new(parts.into_iter().flatten()),
        })
    }

    fn directory_of(&self, first: &SeriesKey) -> Result<DirectoryStream, Error> {
        let begins = {
            let first = first.clone();
            move |key: &SeriesKey| key.as_bytes().starts_with(first.as_bytes())
        };
        match &self.origin {
            Origin::Run(run) => {
                let run = Arc::clone(run);
                let start = run.series().partition_point(|key| key < first);
                let places = (start..run.series().len()).map(move |at| {
                    (run.series()[at].clone(), run.rows_of(at).len() as u64, run.time())
                });
                Ok(Box::new(places.take_while(move |(key, ..)| begins(key)).map(Ok)))
            }
            Origin::Segment(segment) => {
                let entries = segment.reader.directory(Some(first))?;
                let entries =
                    entries.take_while(move |e| e.as_ref().map_or(true, |e| begins(&e.key)));
                Ok(Box::new(entries.map(|entry| {
                    let entry = entry?;
                    let time = TimeRange { start: entry.time_min, end: entry.time_max };
                    Ok((entry.key, entry.rows.end - entry.rows.start, time))
                })))
            }
        }
    }

    /// Whether it may hold series whose first tags are those of `first`.
    pub(super) fn may_begin(&self, first: &SeriesKey) -> bool {
        let (first, min) = (first.as_bytes(), self.key_min());
        first <= self.key_max() && &min[..min.len().min(first.len())] <= first
    }

    /// Whether it and another source may hold rows with the same key.
    pub(super) fn rivals(&self, other: &Self) -> bool {
        !std::ptr::eq(self, other)
            && self.shard == other.shard
            && self.time().overlaps(other.time())
            && self.key_min() <= other.key_max()
            && other.key_min() <= self.key_max()
    }

    /// Whether all its series have the first tags of `first`.
    pub(super) fn begins(&self, first: &SeriesKey) -> bool {
        [self.key_min(), self.key_max()].iter().all(|key| key.starts_with(first.as_bytes()))
    }

    /// Opens it for these series, for rows with `values` where that is known of them; `None` if it has none of them for sure.
    pub(super) fn open(
        &self,
        wanted: &Wanted,
        (layout, with_cleared): (&Layout, bool),
        values: Option<WantedValues>,
        reads: &Arc<ScanReads>,
    ) -> Result<Option<Cut>, Error> {
        if !wanted.overlaps(self.key_min(), self.key_max()) {
            return Ok(None);
        }
        let stream: PieceStream = match &self.origin {
            Origin::Run(run) => {
                let rows = wanted.places(run.series()).into_iter().map(|at| (at, run.rows_of(at)));
                run.pieces(Arc::new(run.project(layout)), rows.collect())
            }
            Origin::Segment(segment) => {
                let layout = (layout, with_cleared);
                let stream =
                    SegmentStream::open(&segment.reader, wanted, self.hiding.time, layout)?;
                Box::new(SegmentStream { values, reads: Arc::clone(reads), ..stream })
            }
        };
        Ok(Some(Cut::new(stream, self.hiding.clone())))
    }

    /// As [`Source::open`], for these rows of a segment's series.
    pub(super) fn open_rest(
        &self,
        segment: &OpenSegment,
        rest: &Arc<[SeriesEntry]>,
        (layout, with_cleared): (&Layout, bool),
        reads: &Arc<ScanReads>,
    ) -> Cut {
        let all = Arc::clone(rest);
        let entries = (0..all.len()).map(move |at| Ok(all[at].clone()));
        let what = (self.hiding.time, layout, with_cleared);
        let stream = SegmentStream::of_entries(&segment.reader, Box::new(entries), what);
        let stream = SegmentStream { reads: Arc::clone(reads), by_cells: false, ..stream };
        Cut::new(Box::new(stream), self.hiding.clone())
    }

    /// As [`Source::open`], where the last rows are enough, and for the fields at these places of the layout the last
    /// values: one row of each series, or all where the last one does not settle it.
    pub(super) fn open_last(
        &self,
        wanted: &Wanted,
        (layout, with_cleared): (&Layout, bool),
        (carrying, reads): (&[usize], &Arc<ScanReads>),
        cuts: &mut Vec<Cut>,
    ) -> Result<(), Error> {
        if !wanted.overlaps(self.key_min(), self.key_max()) {
            return Ok(());
        }
        let (run, file) = match &self.origin {
            Origin::Run(run) => (Arc::clone(run), None),
            Origin::Segment(segment) => {
                let Some(tail) = segment.tails.of(segment, layout, reads)? else {
                    cuts.extend(self.open(wanted, (layout, with_cleared), None, reads)?);
                    return Ok(());
                };
                (tail, Some(segment))
            }
        };
        let block = Arc::new(run.project(layout));
        let mut ready = Vec::new();
        let mut unsettled = Vec::new();
        for at in wanted.places(run.series()) {
            let (key, rows) = (&run.series()[at], run.rows_of(at));
            let last = rows.end - 1;
            if self.settles(key, &block, last, carrying) {
                ready.push((at, last..rows.end));
            } else if file.is_some() {
                unsettled.push(key.clone());
            } else {
                ready.push((at, rows));
            }
        }
        cuts.push(Cut::new(run.pieces(block, ready), self.hiding.clone()));
        if let (Some(segment), false) = (file, unsettled.is_empty()) {
            let wanted = Wanted::Keys(Keys::new(unsettled));
            let what = (layout, with_cleared);
            let rows = SegmentStream::open(&segment.reader, &wanted, self.hiding.time, what)?;
            let rows = SegmentStream { reads: Arc::clone(reads), ..rows };
            cuts.push(Cut::new(Box::new(rows), self.hiding.clone()));
        }
        Ok(())
    }

    /// Whether no row of a series before its last one, which is this one of the block, can be asked for. Where the last
    /// row is too early or expired, so are the others.
    fn settles(&self, key: &SeriesKey, block: &Block, last: usize, carrying: &[usize]) -> bool {
        let time = block.time[last];
        let hides = |t: &Arc<Tombstone>| t.time.contains(time) && t.has_series(key);
        let has = |place: &usize| block.fields[*place].as_ref().is_some_and(|a| a.is_valid(last));
        time <= self.hiding.time.end
            && !self.hiding.tombstones.iter().any(hides)
            && carrying.iter().all(has)
    }
}

/// Series with the number of their rows and bounds of their times, ascending by key.
pub(super) type DirectoryStream =
    Box<dyn Iterator<Item = Result<(SeriesKey, u64, TimeRange), Error>> + Send>;

/// Entries of a segment's directory, ascending.
type Entries = Box<dyn Iterator<Item = Result<SeriesEntry, Error>> + Send>;

/// Values that are wanted, and where nothing else has a say in those of a source.
pub(super) struct WantedValues {
    pub(super) values: Arc<[ValueRange]>,
    /// Times of the other sources that may hold rows with the same keys, ascending and apart: there, a row may not be left out
    /// for its values, which may be folded of several sources.
    pub(super) rivals: Vec<TimeRange>,
}

/// The rows of some series of a segment. Walks the directory as it goes and scans chunk by chunk.
pub(crate) struct SegmentStream {
    reader: Arc<SegmentReader>,
    entries: Entries,
    time: TimeRange,
    layout: Layout,
    /// Whether the rows of the entries may be narrowed by cells: where they are not exact already.
    by_cells: bool,
    values: Option<WantedValues>,
    /// Which fields of the layout the file has.
    present: Vec<bool>,
    with_cleared: bool,
    scan: Option<SegmentScan>,
    reads: Arc<ScanReads>,
}

impl std::fmt::Debug for SegmentStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentStream").field("reader", &self.reader).finish_non_exhaustive()
    }
}

impl SegmentStream {
    /// All rows.
    pub(crate) fn all(
        reader: &Arc<SegmentReader>,
        layout: &Layout,
        with_cleared: bool,
    ) -> Result<Self, Error> {
        Self::open(reader, &Wanted::ALL, TimeRange::ALL, (layout, with_cleared))
    }

    /// The rows of these series; `time` narrows them, roughly.
    pub(super) fn open(
        reader: &Arc<SegmentReader>,
        wanted: &Wanted,
        time: TimeRange,
        (layout, with_cleared): (&Layout, bool),
    ) -> Result<Self, Error> {
        let what = (time, layout, with_cleared);
        Ok(Self::of_entries(reader, entries(reader, wanted)?, what))
    }

    /// The rows of these entries.
    fn of_entries(
        reader: &Arc<SegmentReader>,
        entries: Entries,
        (time, layout, with_cleared): (TimeRange, &Layout, bool),
    ) -> Self {
        let fields = &reader.meta().schema.fields;
        let has = |id| fields.binary_search_by_key(id, |field| field.id).is_ok();
        Self {
            reader: Arc::clone(reader),
            entries,
            time,
            layout: Arc::clone(layout),
            by_cells: true,
            values: None,
            present: layout.iter().map(|(id, _)| has(id)).collect(),
            with_cleared: with_cleared && reader.meta().has_cleared,
            scan: None,
            reads: Arc::default(),
        }
    }

    /// Begins the scan of the next series; whether there are any.
    fn next_chunk(&mut self) -> Result<bool, Error> {
        let mut chunk = Vec::new();
        let mut rows = 0;
        while chunk.len() < CHUNK_SERIES_MAX && rows < CHUNK_ROWS {
            let Some(entry) = self.entries.next() else { break };
            let mut entry = entry?;
            let times = TimeRange { start: entry.time_min, end: entry.time_max };
            if !self.time.overlaps(times) {
                continue;
            }
            if !self.time.covers(times) {
                entry.rows = self.reader.narrow(&entry, self.time.start, self.time.end)?;
                if entry.rows.is_empty() {
                    continue;
                }
            }
            rows += entry.rows.end - entry.rows.start;
            chunk.push(entry);
        }
        if chunk.is_empty() {
            return Ok(false);
        }
        let all = self.reader.meta();
        let all = TimeRange { start: all.time_min, end: all.time_max };
        let (values, rivals) =
            self.values.as_ref().map_or((&[][..], &[][..]), |v| (&*v.values, v.rivals.as_slice()));
        let narrows = !values.is_empty() || !self.time.covers(all);
        if self.by_cells && rows >= CELLS_ROWS_MIN && narrows {
            let time = (self.time.start, self.time.end);
            let apart = |start, end| {
                let next = rivals.partition_point(|rival| rival.end < start);
                rivals.get(next).is_none_or(|rival| end < rival.start)
            };
            chunk = self.reader.narrow_by_cells(chunk, time, values, &apart, &self.reads)?;
        }
        // None of these series may have rows then, and the next ones some.
        let scan = self.reader.scan(chunk, &self.layout, self.with_cleared)?;
        self.scan = Some(scan.counted_by(Arc::clone(&self.reads)));
        Ok(true)
    }

    fn step(&mut self) -> Result<Option<Piece>, Error> {
        loop {
            if let Some(rows) = self.scan.as_mut().and_then(Iterator::next) {
                let rows = rows?;
                let key = rows.key.clone();
                let block = Block::from_series_rows(rows, &self.present)?;
                if block.rows() > 0 {
                    return Ok(Some(Piece { key, rows: 0..block.rows(), block: Arc::new(block) }));
                }
                continue;
            }
            self.scan = None;
            if !self.next_chunk()? {
                return Ok(None);
            }
        }
    }
}

impl Iterator for SegmentStream {
    type Item = Result<Piece, Error>;
    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// The directory entries of the wanted series.
pub(super) fn entries(reader: &Arc<SegmentReader>, wanted: &Wanted) -> Result<Entries, Error> {
    match wanted {
        Wanted::Range(range) => {
            let to = range.to.clone();
            let entries = reader.directory(range.from.as_ref())?;
            let before = move |entry: &Result<SeriesEntry, quorate_segment::Error>| {
                let key = entry.as_ref().ok().map(|entry| &entry.key);
                key.is_none_or(|key| to.as_ref().is_none_or(|to| key < to))
            };
            Ok(Box::new(entries.take_while(before).map(|entry| Ok(entry?))))
        }
        Wanted::Keys(keys) if keys.len() as u64 * FIND_RATIO <= reader.meta().series => {
            let (reader, keys) = (Arc::clone(reader), keys.clone());
            Ok(Box::new(
                (0..keys.len())
                    .filter_map(move |at| reader.find(&keys[at]).map_err(Error::from).transpose()),
            ))
        }
        Wanted::Keys(keys) => {
            let keys = keys.clone();
            let mut at = 0;
            let entries = reader.directory(keys.first())?;
            let last = keys.last().cloned();
            let before = move |entry: &Result<SeriesEntry, quorate_segment::Error>| {
                let key = entry.as_ref().ok().map(|entry| &entry.key);
                key.is_none_or(|key| last.as_ref().is_some_and(|last| key <= last))
            };
            Ok(Box::new(entries.take_while(before).filter_map(move |entry| match entry {
                Ok(entry) => {
                    while at < keys.len() && keys[at] < entry.key {
                        at += 1;
                    }
                    (at < keys.len() && keys[at] == entry.key).then_some(Ok(entry))
                }
                Err(error) => Some(Err(error.into())),
            })))
        }
    }
}
