//! Cells in place of rows: a partition of a scan split into what summaries answer and the rows that remain.
//!
//! A cell of a segment stands for its rows where nothing else has a say in them: all of the cell's times are wanted and
//! none is expired, no tombstone touches the series there, no other source of the shard has rows of the series in its time,
//! and its fields hold no NaN. The rows of all other cells, and of all other sources, are scanned as ever; every row is
//! thus counted once.

use std::fmt::{self, Debug};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, TimestampNanosecondArray, UInt32Array, new_null_array,
};
use arrow::compute::take;
use arrow::datatypes::UInt32Type;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use quorate_segment::{CellStatistic, Cells, SeriesEntry};

use super::partition::{OutputColumn, PartitionPlan};
use super::series::{Wanted, tag_columns};
use super::source::{Origin, Source, entries};
use super::{OpenSegment, ScanPartition, TimeRange};
use crate::rows::{arrow_type, utc};
use crate::{ColumnId, Error, FieldType, SeriesKey};

/// Values of statistics that are read of a partition at most; the rows of further segments are scanned.
const VALUES_MAX: u64 = 16 << 20;

/// Tells of times, first and last of each, whether a cell between them may stand for its rows: whether the query makes no
/// difference between them.
pub type Together = dyn Fn(&[TimeRange]) -> Result<Vec<bool>, Error> + Send + Sync;

/// What may come as cells.
#[derive(Clone)]
pub struct CellRequest {
    /// The statistics that are wanted.
    pub statistics: Vec<(ColumnId, CellStatistic)>,
    /// Whether times belong together.
    pub together: Arc<Together>,
}

impl Debug for CellRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CellRequest").field("statistics", &self.statistics).finish_non_exhaustive()
    }
}

/// Cells that stand for their rows.
#[derive(Debug)]
pub struct CellBatch {
    /// A row for each cell with the columns of the scan: tags, and for the time the beginning of the cell; fields are null.
    pub keys: RecordBatch,
    /// Rows of each cell.
    pub rows: Vec<u64>,
    /// Times of the first row of each cell in ns.
    pub first_times: Vec<i64>,
    /// Times of the last row of each cell in ns.
    pub last_times: Vec<i64>,
    /// The statistics, as asked for. Counts are `UInt32`.
    pub statistics: Vec<ArrayRef>,
}

/// A partition in two parts that are without a row in common.
#[derive(Debug)]
pub struct SplitPartition {
    /// Cells, by segment.
    pub cells: Vec<CellBatch>,
    /// The other rows.
    pub rest: ScanPartition,
}

/// What is read of one segment instead of its rows.
struct Summarised {
    entries: Vec<SeriesEntry>,
    cells: Cells,
    /// Whether a cell may stand for its rows as far as the query and its own values go.
    usable: Vec<bool>,
    width: i64,
}

/// Times of the series of a source that the partition wants, ascending by key.
type SeriesTimes = Vec<(SeriesKey, TimeRange)>;

/// Splits a partition; `None` where cells answer nothing.
pub(super) fn split(
    partition: &ScanPartition,
    request: &CellRequest,
) -> Result<Option<SplitPartition>, Error> {
    let (plan, wanted) = (partition.plan(), partition.wanted());
    if plan.limit.is_some() || plan.last.is_some() {
        return Ok(None);
    }
    let live = |source: &&Source| wanted.overlaps(source.key_min(), source.key_max());
    let sources: Vec<&Source> = plan.sources.iter().filter(live).collect();
    let mut times: Vec<Option<SeriesTimes>> = sources.iter().map(|_| None).collect();
    let mut rest = plan.sources.iter().map(|_| None).collect::<Vec<_>>();
    let mut batches = Vec::new();
    let (mut answered, mut left) = (0, VALUES_MAX);
    for source in &sources {
        let Origin::Segment(segment) = &source.origin else { continue };
        let summarised = summarise(segment, source, plan, (wanted, request), &mut left)?;
        let Some(summarised) = summarised else { continue };
        let rivals: Vec<usize> =
            (0..sources.len()).filter(|at| source.rivals(sources[*at])).collect();
        for at in &rivals {
            if times[*at].is_none() {
                times[*at] = Some(series_times(sources[*at], wanted)?);
            }
        }
        let rivals: Vec<&SeriesTimes> =
            rivals.iter().filter_map(|at| times[*at].as_ref()).collect();
        let chosen = choose(&summarised, source, &rivals);
        if chosen.cells.is_empty() {
            continue;
        }
        let counts = chosen.cells.iter().map(|at| rows_of(&summarised.cells, *at));
        answered += counts.sum::<u64>();
        batches.push(batch(plan, &summarised, &chosen)?);
        let place = plan.sources.iter().position(|other| std::ptr::eq(other, *source));
        rest[place.expect("it is one of them")] = Some(chosen.rest.into());
    }
    if batches.is_empty() {
        return Ok(None);
    }
    let rest = partition.with_rest(rest.into(), answered);
    Ok(Some(SplitPartition { cells: batches, rest }))
}

fn rows_of(cells: &Cells, at: usize) -> u64 {
    cells.rows[at].end - cells.rows[at].start
}

fn series_times(source: &Source, wanted: &Wanted) -> Result<SeriesTimes, Error> {
    match &source.origin {
        Origin::Run(run) => {
            let places = wanted.places(run.series()).into_iter();
            Ok(places.map(|at| (run.series()[at].clone(), run.time_of(at))).collect())
        }
        Origin::Segment(segment) => {
            let times = |entry: Result<SeriesEntry, Error>| {
                let entry = entry?;
                Ok((entry.key, TimeRange { start: entry.time_min, end: entry.time_max }))
            };
            entries(&segment.reader, wanted)?.map(times).collect()
        }
    }
}

/// Reads the cells of the wanted series; `None` where there are none, or they do not say what is asked for.
fn summarise(
    segment: &OpenSegment,
    source: &Source,
    plan: &PartitionPlan,
    (wanted, request): (&Wanted, &CellRequest),
    left: &mut u64,
) -> Result<Option<Summarised>, Error> {
    let reader = &segment.reader;
    let Some(width) = reader.cell_width()? else { return Ok(None) };
    let mut statistics = Vec::with_capacity(request.statistics.len() * 3);
    for (id, of) in &request.statistics {
        let Some(kind) = field_kind(plan, *id) else { return Ok(None) };
        let is_stored = reader.meta().schema.fields.iter().any(|field| field.id == *id);
        if is_stored && !reader.has_cells_of(*id)? {
            return Ok(None);
        }
        let all = [*of, CellStatistic::Count, CellStatistic::NanCount];
        statistics.extend(all.map(|of| (*id, kind, of)));
    }
    let overlaps = |entry: &Result<SeriesEntry, Error>| {
        entry.as_ref().map_or(true, |entry| {
            let times = TimeRange { start: entry.time_min, end: entry.time_max };
            source.hiding.time.overlaps(times)
        })
    };
    let entries: Vec<SeriesEntry> =
        entries(reader, wanted)?.filter(overlaps).collect::<Result<_, Error>>()?;
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for entry in &entries {
        match ranges.last_mut() {
            Some(last) if last.end == entry.rows.start => last.end = entry.rows.end,
            _ => ranges.push(entry.rows.clone()),
        }
    }
    let rows: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    let part = rows as f64 / reader.meta().rows.max(1) as f64;
    let values = part * reader.cell_count()? as f64 * (statistics.len() + 3) as f64;
    if values > *left as f64 {
        return Ok(None);
    }
    let mut cells = reader.cells(&ranges, &statistics, &plan.counters.reads)?;
    *left = left.saturating_sub((cells.rows.len() * (statistics.len() + 3)) as u64);
    let usable = usable(&cells, width, source, request)?;
    // Counts of values and of NaNs have done their work.
    cells.columns = cells.columns.into_iter().step_by(3).collect();
    Ok(Some(Summarised { entries, cells, usable, width }))
}

fn field_kind(plan: &PartitionPlan, id: ColumnId) -> Option<FieldType> {
    plan.layout.iter().find(|(field, _)| *field == id).map(|(_, kind)| *kind)
}

/// Times of a cell; the last cell of time ends with it.
fn times_of(start: i64, width: i64) -> TimeRange {
    TimeRange { start, end: start.saturating_add(width - 1) }
}

fn usable(
    cells: &Cells,
    width: i64,
    source: &Source,
    request: &CellRequest,
) -> Result<Vec<bool>, Error> {
    // Cells of all series begin at the same few times.
    let mut starts = cells.starts.clone();
    starts.sort_unstable();
    starts.dedup();
    let times: Vec<TimeRange> = starts.iter().map(|start| times_of(*start, width)).collect();
    let together = (request.together)(&times)?;
    if together.len() != times.len() {
        return Err(Error::Internal("an answer is about other cells".into()));
    }
    let alive = |time: &TimeRange| {
        let hiding = &source.hiding;
        hiding.time.covers(*time) && hiding.expired_before.is_none_or(|before| before <= time.start)
    };
    let fits: Vec<bool> = times.iter().zip(together).map(|(t, fits)| fits && alive(t)).collect();
    let fits_of = |start: &i64| starts.binary_search(start).is_ok_and(|at| fits[at]);
    let mut usable: Vec<bool> = cells.starts.iter().map(fits_of).collect();
    for ((_, of), columns) in request.statistics.iter().zip(cells.columns.chunks(3)) {
        let [wanted, count, nans] = columns else { continue };
        let count = count.as_primitive::<UInt32Type>().values();
        let nans = nans.as_primitive::<UInt32Type>().values();
        for (at, usable) in usable.iter_mut().enumerate() {
            let is_known = wanted.is_valid(at) || count[at] == 0;
            let is_count = *of == CellStatistic::Count;
            *usable = *usable && (is_count || (nans[at] == 0 && is_known));
        }
    }
    Ok(usable)
}

/// Which cells stand for their rows, and what remains.
#[derive(Default)]
struct Chosen {
    /// Places of the cells, ascending.
    cells: Vec<usize>,
    /// Series of them, with the number of their cells.
    series: Vec<(SeriesKey, usize)>,
    rest: Vec<SeriesEntry>,
}

fn choose(summarised: &Summarised, source: &Source, rivals: &[&SeriesTimes]) -> Chosen {
    let (cells, mut chosen) = (&summarised.cells, Chosen::default());
    let mut at = 0;
    for entry in &summarised.entries {
        let key = &entry.key;
        let known = |times: &&SeriesTimes| {
            let place = times.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
            Some(times[place].1)
        };
        let tombstones = source.hiding.tombstones.iter().filter(|t| t.has_series(key));
        let touched = rivals.iter().filter_map(known).chain(tombstones.map(|t| t.time));
        let touched: Vec<TimeRange> = touched.collect();
        at += cells.rows[at..].partition_point(|rows| rows.start < entry.rows.start);
        let before = chosen.cells.len();
        // Rows from here on are not answered yet, and their first time is at least this.
        let (mut row, mut from) = (entry.rows.start, entry.time_min);
        while at < cells.rows.len() && cells.rows[at].start < entry.rows.end {
            let times = times_of(cells.starts[at], summarised.width);
            if !source.hiding.time.overlaps(times) {
                // Nobody asks for its rows.
                remain(entry, row..cells.rows[at].start, (from, times.start), &mut chosen.rest);
                (row, from) = (cells.rows[at].end, times.end);
            } else if summarised.usable[at] && !touched.iter().any(|other| other.overlaps(times)) {
                remain(entry, row..cells.rows[at].start, (from, times.start), &mut chosen.rest);
                (row, from) = (cells.rows[at].end, times.end);
                chosen.cells.push(at);
            }
            at += 1;
        }
        remain(entry, row..entry.rows.end, (from, entry.time_max), &mut chosen.rest);
        if chosen.cells.len() > before {
            chosen.series.push((key.clone(), chosen.cells.len() - before));
        }
    }
    chosen
}

/// Keeps rows of a series that no cell stands for, with bounds of their times.
fn remain(entry: &SeriesEntry, rows: Range<u64>, time: (i64, i64), rest: &mut Vec<SeriesEntry>) {
    if !rows.is_empty() {
        let time_min = time.0.max(entry.time_min);
        let time_max = time.1.min(entry.time_max);
        rest.push(SeriesEntry { key: entry.key.clone(), rows, time_min, time_max });
    }
}

fn batch(
    plan: &PartitionPlan,
    summarised: &Summarised,
    chosen: &Chosen,
) -> Result<CellBatch, Error> {
    let cells = &summarised.cells;
    let positions = plan.columns.iter().filter_map(|column| match column {
        OutputColumn::Tag(position) => Some(*position),
        OutputColumn::Time | OutputColumn::Field(..) => None,
    });
    let mut positions: Vec<usize> = positions.collect();
    positions.sort_unstable();
    positions.dedup();
    let tags = tag_columns(chosen.series.iter().map(|(key, _)| key), &positions);
    let numbers = (0u32..).zip(&chosen.series);
    let numbers = numbers.flat_map(|(n, (_, cells))| std::iter::repeat_n(n, *cells));
    let numbers = UInt32Array::from_iter_values(numbers);
    let places = chosen.cells.iter().map(|at| u32::try_from(*at));
    let places = places.collect::<Result<Vec<u32>, _>>();
    let places = places.map_err(|_| Error::Internal("a partition has 2^32 cells".into()))?;
    let columns = plan.columns.iter().map(|column| match *column {
        OutputColumn::Time => {
            let starts = chosen.cells.iter().map(|at| cells.starts[*at]);
            let starts = TimestampNanosecondArray::from_iter_values(starts);
            Ok(Arc::new(utc(starts)) as ArrayRef)
        }
        OutputColumn::Tag(position) => {
            let at = positions.binary_search(&position).expect("it is one of them");
            Ok(take(&tags[at], &numbers, None)?)
        }
        OutputColumn::Field(_, kind) => Ok(new_null_array(&arrow_type(kind), chosen.cells.len())),
    });
    let columns = columns.collect::<Result<Vec<_>, Error>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(chosen.cells.len()));
    let keys = RecordBatch::try_new_with_options(Arc::clone(&plan.schema), columns, &options)?;
    let places = UInt32Array::from(places);
    let statistics = cells.columns.iter().map(|column| Ok(take(column, &places, None)?));
    Ok(CellBatch {
        keys,
        rows: chosen.cells.iter().map(|at| rows_of(cells, *at)).collect(),
        first_times: chosen.cells.iter().map(|at| cells.first_times[*at]).collect(),
        last_times: chosen.cells.iter().map(|at| cells.last_times[*at]).collect(),
        statistics: statistics.collect::<Result<_, Error>>()?,
    })
}
