//! Which series a scan wants, and how they are cut into partitions.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::{Deref, Range};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringViewBuilder};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use super::source::{DirectoryStream, Source};
use super::{SeriesFilter, TimeRange};
use crate::catalog::Table;
use crate::rows::each_tag;
use crate::{Error, SeriesKey};

/// Distinct series that a filter is asked about at once.
const FILTER_ROWS: usize = 8192;
/// Keys that one source offers as places for a cut, about.
const SAMPLES: usize = 512;

/// Series from one key to below another.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyRange {
    /// First, included; `None` from the start.
    pub(super) from: Option<SeriesKey>,
    /// Last, excluded; `None` to the end.
    pub(super) to: Option<SeriesKey>,
}

impl KeyRange {
    /// Whether it may hold a key between these, both included.
    pub(super) fn overlaps(&self, key_min: &[u8], key_max: &[u8]) -> bool {
        self.from.as_ref().is_none_or(|from| from.as_bytes() <= key_max)
            && self.to.as_ref().is_none_or(|to| key_min < to.as_bytes())
    }
    /// The places of sorted keys that lie in it.
    pub(super) fn places(&self, keys: &[SeriesKey]) -> Range<usize> {
        let from = self.from.as_ref().map_or(0, |from| keys.partition_point(|key| key < from));
        let to = self.to.as_ref().map_or(keys.len(), |to| keys.partition_point(|key| key < to));
        from..to.max(from)
    }
}

/// Some of a shared, sorted list of keys.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    all: Arc<[SeriesKey]>,
    range: Range<usize>,
}

impl Deref for Keys {
    type Target = [SeriesKey];
    fn deref(&self) -> &[SeriesKey] {
        &self.all[self.range.clone()]
    }
}

impl Keys {
    /// All of a sorted list.
    pub(super) fn new(keys: Vec<SeriesKey>) -> Self {
        Self { range: 0..keys.len(), all: keys.into() }
    }

    /// Those of the whole list that lie in a range.
    pub(super) fn all_within(&self, range: &KeyRange) -> Self {
        Self { all: Arc::clone(&self.all), range: range.places(&self.all) }
    }
}

/// The series of a partition.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    /// All in a range.
    Range(KeyRange),
    /// These.
    Keys(Keys),
}

impl Wanted {
    /// All series.
    pub(super) const ALL: Self = Self::Range(KeyRange { from: None, to: None });

    /// The places of sorted keys that are wanted.
    pub(super) fn places(&self, keys: &[SeriesKey]) -> Vec<usize> {
        match self {
            Self::Range(range) => range.places(keys).collect(),
            Self::Keys(wanted) => {
                wanted.iter().filter_map(|key| keys.binary_search(key).ok()).collect()
            }
        }
    }

    /// Whether it may hold a key between these, both included.
    pub(super) fn overlaps(&self, key_min: &[u8], key_max: &[u8]) -> bool {
        match self {
            Self::Range(range) => range.overlaps(key_min, key_max),
            Self::Keys(keys) => {
                let at = keys.partition_point(|key| key.as_bytes() < key_min);
                keys.get(at).is_some_and(|key| key.as_bytes() <= key_max)
            }
        }
    }
}

/// Cuts all series into about `count` ranges with about the same number of rows.
pub(super) fn cut_ranges(sources: &[Source], count: usize) -> Result<Vec<KeyRange>, Error> {
    if count <= 1 || sources.is_empty() {
        return Ok(vec![KeyRange::default()]);
    }
    let mut samples: Vec<(SeriesKey, u64)> = Vec::new();
    for source in sources {
        source.sample(SAMPLES.max(count * 8), &mut samples)?;
    }
    samples.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    let total: u64 = samples.iter().map(|(_, rows)| rows).sum();
    let mut bounds: Vec<SeriesKey> = Vec::with_capacity(count);
    let mut seen = 0;
    for (key, rows) in samples {
        let wanted = total * (bounds.len() as u64 + 1) / count as u64;
        if seen >= wanted && seen > 0 && bounds.len() + 1 < count && bounds.last() != Some(&key) {
            bounds.push(key);
        }
        seen += rows;
    }
    let froms = std::iter::once(None).chain(bounds.iter().cloned().map(Some));
    let tos = bounds.iter().cloned().map(Some).chain(std::iter::once(None));
    Ok(froms.zip(tos).map(|(from, to)| KeyRange { from, to }).collect())
}

/// The keys of the first tags that a filter asks for, ascending: all that it keeps begin with the bytes of one of them, and
/// none of them with those of another.
pub(super) fn first_keys(filter: &dyn SeriesFilter) -> Vec<SeriesKey> {
    let key = |tags: &[String]| {
        // An absent tag among them would say nothing about what follows it.
        let present = tags.iter().take_while(|tag| !tag.is_empty());
        SeriesKey::encode(present.map(|tag| Some(tag.as_str())))
    };
    let mut keys: Vec<_> = filter.first_tags().iter().map(|tags| key(tags)).collect();
    if keys.is_empty() {
        keys.push(key(&[]));
    }
    keys.sort_unstable();
    keys.dedup_by(|key, before| key.as_bytes().starts_with(before.as_bytes()));
    keys
}

/// The series that a filter keeps, and how many rows each may have.
#[derive(Debug, Default)]
pub(super) struct Selection {
    keys: Vec<SeriesKey>,
    rows: Vec<u64>,
    /// Distinct series that the filter saw.
    pub(super) seen: u64,
}

impl Selection {
    /// Asks the filter about every distinct series of the sources.
    pub(super) fn select(
        sources: &[Source],
        table: &Table,
        filter: &dyn SeriesFilter,
    ) -> Result<Self, Error> {
        let tags = TagColumns::new(table);
        let firsts = first_keys(filter);
        let mut directories =
            Directories::open(sources.iter().map(|s| Ok((s.directory(&firsts)?, s.hiding.time))))?;
        let mut selection = Self::default();
        let (mut keys, mut rows) = (Vec::new(), Vec::new());
        loop {
            let next = directories.next()?;
            let done = next.is_none();
            if let Some((key, count)) = next {
                keys.push(key);
                rows.push(count);
            }
            if keys.len() == FILTER_ROWS || (done && !keys.is_empty()) {
                selection.ask(
                    &tags,
                    filter,
                    std::mem::take(&mut keys),
                    std::mem::take(&mut rows),
                )?;
            }
            if done {
                return Ok(selection);
            }
        }
    }

    fn ask(
        &mut self,
        tags: &TagColumns,
        filter: &dyn SeriesFilter,
        keys: Vec<SeriesKey>,
        rows: Vec<u64>,
    ) -> Result<(), Error> {
        let keep = filter.keep(&tags.batch(&keys)?)?;
        if keep.len() != keys.len() {
            return Err(Error::Internal("a series filter answers for other series".into()));
        }
        self.seen += keys.len() as u64;
        for (at, (key, rows)) in keys.into_iter().zip(rows).enumerate() {
            if keep.is_valid(at) && keep.value(at) {
                self.keys.push(key);
                self.rows.push(rows);
            }
        }
        Ok(())
    }

    /// The series that were kept, ascending.
    pub(super) fn into_keys(self) -> Vec<SeriesKey> {
        self.keys
    }

    /// Number of series that were kept.
    pub(super) fn kept(&self) -> u64 {
        self.keys.len() as u64
    }

    /// Cuts the kept series into at most `count` lists with about the same number of rows, and says how many.
    pub(super) fn cut(self, count: usize) -> Vec<(Wanted, u64)> {
        let all: Arc<[SeriesKey]> = self.keys.into();
        let total: u64 = self.rows.iter().sum();
        let mut parts = Vec::new();
        let (mut start, mut sum, mut done) = (0, 0, 0);
        for (at, rows) in self.rows.iter().enumerate() {
            sum += rows;
            let wanted = total * (parts.len() as u64 + 1) / count.max(1) as u64;
            if done + sum >= wanted || at + 1 == self.rows.len() {
                let keys = Keys { all: Arc::clone(&all), range: start..at + 1 };
                parts.push((Wanted::Keys(keys), sum));
                (start, done, sum) = (at + 1, done + sum, 0);
            }
        }
        parts
    }
}

/// A merge of directories: distinct keys with the sum of their rows.
struct Directories {
    streams: Vec<(DirectoryStream, TimeRange)>,
    waiting: BinaryHeap<Reverse<(SeriesKey, usize, u64)>>,
}

impl Directories {
    fn open(
        streams: impl Iterator<Item = Result<(DirectoryStream, TimeRange), Error>>,
    ) -> Result<Self, Error> {
        let streams = streams.collect::<Result<Vec<_>, Error>>()?;
        let mut directories = Self { streams, waiting: BinaryHeap::new() };
        for at in 0..directories.streams.len() {
            directories.advance(at)?;
        }
        Ok(directories)
    }

    fn advance(&mut self, at: usize) -> Result<(), Error> {
        let (stream, wanted) = &mut self.streams[at];
        for entry in stream {
            let (key, rows, time) = entry?;
            if wanted.overlaps(time) {
                self.waiting.push(Reverse((key, at, rows)));
                return Ok(());
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<(SeriesKey, u64)>, Error> {
        let Some(Reverse((key, at, mut rows))) = self.waiting.pop() else { return Ok(None) };
        self.advance(at)?;
        while self.waiting.peek().is_some_and(|Reverse((other, ..))| *other == key) {
            let Some(Reverse((_, at, more))) = self.waiting.pop() else { break };
            rows += more;
            self.advance(at)?;
        }
        Ok(Some((key, rows)))
    }
}

/// Makes the tag columns of series.
struct TagColumns {
    schema: Arc<Schema>,
}

impl TagColumns {
    fn new(table: &Table) -> Self {
        let tags = table.tags().map(|tag| Field::new(&tag.name, DataType::Utf8View, true));
        Self { schema: Arc::new(Schema::new(tags.collect::<Vec<_>>())) }
    }

    fn batch(&self, keys: &[SeriesKey]) -> Result<RecordBatch, Error> {
        let positions: Vec<usize> = (0..self.schema.fields().len()).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(keys.len()));
        let columns = tag_columns(keys.iter(), &positions);
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

/// One column per wanted tag position, one row per key.
pub(super) fn tag_columns<'a>(
    keys: impl Iterator<Item = &'a SeriesKey>,
    positions: &[usize],
) -> Vec<ArrayRef> {
    let places = positions.iter().max().map_or(0, |max| max + 1);
    let mut builder_of = vec![None; places];
    for (builder, position) in positions.iter().enumerate() {
        builder_of[*position] = Some(builder);
    }
    let mut builders: Vec<_> = positions.iter().map(|_| StringViewBuilder::new()).collect();
    let mut filled = vec![0usize; positions.len()];
    for (row, key) in keys.enumerate() {
        each_tag(key, |position, text| {
            if let Some(Some(builder)) = builder_of.get(position) {
                builders[*builder].append_value(text);
                filled[*builder] = row + 1;
            }
        });
        for (builder, filled) in builders.iter_mut().zip(&filled) {
            if *filled <= row {
                builder.append_null();
            }
        }
    }
    builders.into_iter().map(|mut builder| Arc::new(builder.finish()) as ArrayRef).collect()
}
