//! [`Cells`]: reading summaries.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, UInt32Array, new_null_array};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int64Type, UInt32Type, UInt64Type};
use arrow::record_batch::RecordBatch;
use bytes::buf::Reader;
use bytes::{Buf, Bytes};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::statistics::Statistics;

use super::{FIRST_ROW, FIRST_TIME, KEY_WIDTH, LAST_TIME, ROWS, START, ValueRange, column_name};
use crate::blocks::VerifiedFile;
use crate::cache::ScanReads;
use crate::format::Section;
use crate::scan::arrow_type;
use crate::{ColumnId, Error, FieldType, SegmentReader, SeriesEntry};

/// What a cell knows of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CellStatistic {
    /// Values, NaN among them (`UInt32`).
    Count,
    /// Values that are NaN (`UInt32`).
    NanCount,
    /// Smallest value that is no NaN, by IEEE 754's total order; null if there is none.
    Min,
    /// Largest value, likewise.
    Max,
    /// Sum of the values that are no NaN; floats are added with compensation and then rounded once. Null where the type
    /// cannot hold it, an infinity is among them, or there are none.
    Sum,
    /// Value of the first row; null if that has none.
    First,
    /// Value of the last row; null if that has none.
    Last,
}

/// Cells of a segment, in the order of their rows.
#[derive(Clone, Debug, Default)]
pub struct Cells {
    /// The rows of each cell.
    pub rows: Vec<Range<u64>>,
    /// Beginning of each cell in ns.
    pub starts: Vec<i64>,
    /// Times of the first row of each cell in ns.
    pub first_times: Vec<i64>,
    /// Times of the last row of each cell in ns.
    pub last_times: Vec<i64>,
    /// The statistics that were asked for.
    pub columns: Vec<ArrayRef>,
}

/// What is kept of the section once it was looked at.
#[derive(Debug)]
pub(crate) struct SummaryFooter {
    parquet: ArrowReaderMetadata,
    width: i64,
}

impl SummaryFooter {
    /// Reads the footer of the section; `None` if that is empty.
    pub(crate) fn read(file: &VerifiedFile, section: Section) -> Result<Option<Self>, Error> {
        if section.bytes == 0 {
            return Ok(None);
        }
        let inner = Inner { file, section, reads: &ScanReads::default() };
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
        let parquet = ArrowReaderMetadata::load(&inner, options);
        let parquet = parquet.map_err(|error| failed(file, error))?;
        let pairs = parquet.metadata().file_metadata().key_value_metadata();
        let width = pairs.into_iter().flatten().find(|pair| pair.key == KEY_WIDTH);
        let width = width.and_then(|pair| pair.value.as_ref()?.parse().ok());
        let width = width.filter(|width: &i64| *width > 0).ok_or_else(|| {
            file.raw().corrupt(section.offset, "the summaries do not say how wide their cells are")
        })?;
        Ok(Some(Self { parquet, width }))
    }

    fn column(&self, name: &str) -> Option<usize> {
        let columns = self.parquet.parquet_schema().columns();
        columns.iter().position(|column| column.name() == name)
    }

    /// First row of each row group.
    fn firsts(&self) -> Option<Vec<u64>> {
        let column = self.column(FIRST_ROW)?;
        let groups = self.parquet.metadata().row_groups().iter();
        let first = groups.map(|group| match group.column(column).statistics()? {
            Statistics::Int64(bounds) => bounds.min_opt().map(|first| first.cast_unsigned()),
            _ => None,
        });
        first.collect()
    }
}

impl SegmentReader {
    /// Width of the cells of its summaries in ns; `None` if it has none. Cells begin at multiples of it since 1970.
    pub fn cell_width(&self) -> Result<Option<i64>, Error> {
        Ok(self.summary_footer()?.map(|footer| footer.width))
    }

    /// Number of its cells.
    pub fn cell_count(&self) -> Result<u64, Error> {
        let footer = self.summary_footer()?;
        let groups = footer.map(|footer| footer.parquet.metadata().row_groups());
        Ok(groups.into_iter().flatten().map(|group| group.num_rows().cast_unsigned()).sum())
    }

    /// Whether cells have statistics of a field: none have those of text, say.
    pub fn has_cells_of(&self, field: ColumnId) -> Result<bool, Error> {
        let name = column_name(field, CellStatistic::Count);
        Ok(self.summary_footer()?.is_some_and(|footer| footer.column(&name).is_some()))
    }

    /// The cells with rows in these ranges, which ascend, and perhaps neighbours of theirs, with statistics of fields. Those
    /// of a field that the segment lacks are 0 and null.
    pub fn cells(
        &self,
        ranges: &[Range<u64>],
        statistics: &[(ColumnId, FieldType, CellStatistic)],
        reads: &ScanReads,
    ) -> Result<Cells, Error> {
        let Some(footer) = self.summary_footer()? else { return Ok(Cells::default()) };
        let corrupt = |what: &str| self.file().raw().corrupt(self.summaries().offset, what);
        let firsts = footer.firsts().ok_or_else(|| corrupt("the summaries lack their rows"))?;
        let of_group = |group: usize| {
            firsts[group]..firsts.get(group + 1).copied().unwrap_or(self.meta().rows)
        };
        let wanted = |group: &usize| {
            let rows = of_group(*group);
            let next = ranges.partition_point(|range| range.end <= rows.start);
            ranges.get(next).is_some_and(|range| range.start < rows.end)
        };
        let groups: Vec<usize> = (0..firsts.len()).filter(wanted).collect();
        let names = [FIRST_ROW, ROWS, START, FIRST_TIME, LAST_TIME];
        let names = names.map(|name| footer.column(name));
        let places = statistics.iter().map(|(id, _, of)| footer.column(&column_name(*id, *of)));
        let places: Vec<Option<usize>> = names.into_iter().chain(places).collect();
        let mut mask: Vec<usize> = places.iter().copied().flatten().collect();
        mask.sort_unstable();
        mask.dedup();
        let batch = self.read_cells(footer, groups, &mask, reads)?;
        let column = |place: Option<usize>| {
            let place = mask.binary_search(&place?).ok()?;
            Some(batch.column(place))
        };
        let [first, rows, times @ ..] = names.map(column);
        let first = first.and_then(|first| first.as_primitive_opt::<UInt64Type>());
        let rows = rows.and_then(|rows| rows.as_primitive_opt::<UInt32Type>());
        let times = times.map(|times| {
            let times = times?.as_primitive_opt::<Int64Type>()?;
            Some(times.values().to_vec())
        });
        let (Some(first), Some(rows)) = (first, rows) else {
            return Err(corrupt("the summaries do not say which rows they are of"));
        };
        let [Some(starts), Some(first_times), Some(last_times)] = times else {
            return Err(corrupt("the summaries do not say which times they are of"));
        };
        let ends = first.values().iter().zip(rows.values());
        let columns =
            statistics.iter().zip(&places[names.len()..]).map(|((_, kind, of), place)| {
                column(*place).map_or_else(|| absent(*kind, *of, batch.num_rows()), Arc::clone)
            });
        Ok(Cells {
            rows: ends.map(|(first, rows)| *first..first + u64::from(*rows)).collect(),
            starts,
            first_times,
            last_times,
            columns: columns.collect(),
        })
    }

    /// Narrows rows of series to those of the cells that overlap `[time_min, time_max]` and may hold the wanted values: closer
    /// than pages do, for the price of reading where the cells are. In times that are not `apart`, other rows have a say in
    /// values, and cells are narrowed by time alone. The entries ascend; those without rows go, others become several.
    /// Without summaries nothing is narrowed.
    pub fn narrow_by_cells(
        &self,
        entries: Vec<SeriesEntry>,
        (time_min, time_max): (i64, i64),
        values: &[ValueRange],
        apart: &dyn Fn(i64, i64) -> bool,
        reads: &ScanReads,
    ) -> Result<Vec<SeriesEntry>, Error> {
        let mut known = Vec::with_capacity(values.len());
        for value in values {
            let stored = self.meta().schema.fields.iter().any(|field| field.id == value.field);
            if !stored || self.has_cells_of(value.field)? {
                known.push(value);
            }
        }
        let statistics: Vec<_> = known.iter().flat_map(|value| value.statistics()).collect();
        let ranges: Vec<Range<u64>> = entries.iter().map(|entry| entry.rows.clone()).collect();
        let cells = self.cells(&ranges, &statistics, reads)?;
        let mut kept = vec![true; cells.rows.len()];
        for (value, statistics) in known.iter().zip(cells.columns.chunks(4)) {
            value.narrow(statistics, &mut kept);
        }
        for (at, kept) in kept.iter_mut().enumerate() {
            let (first, last) = (cells.first_times[at], cells.last_times[at]);
            let in_time = time_min <= last && first <= time_max;
            *kept = in_time && (*kept || !apart(first, last));
        }
        let mut narrowed = Vec::with_capacity(entries.len());
        let mut next = 0;
        for entry in entries {
            next += cells.rows[next..].partition_point(|rows| rows.end <= entry.rows.start);
            let end = next + cells.rows[next..].partition_point(|rows| rows.start < entry.rows.end);
            if next == end {
                narrowed.push(entry);
                continue;
            }
            let mut at = next;
            for same in kept[next..end].chunk_by(|a, b| a == b) {
                let (first, last) = (at, at + same.len() - 1);
                at += same.len();
                let start = entry.rows.start.max(cells.rows[first].start);
                let rows = start..entry.rows.end.min(cells.rows[last].end);
                if same[0] && !rows.is_empty() {
                    narrowed.push(SeriesEntry {
                        key: entry.key.clone(),
                        rows,
                        time_min: entry.time_min.max(cells.first_times[first]),
                        time_max: entry.time_max.min(cells.last_times[last]),
                    });
                }
            }
        }
        Ok(narrowed)
    }

    fn read_cells(
        &self,
        footer: &SummaryFooter,
        groups: Vec<usize>,
        mask: &[usize],
        reads: &ScanReads,
    ) -> Result<RecordBatch, Error> {
        let inner = Inner { file: self.file(), section: self.summaries(), reads };
        let of = |group: &usize| footer.parquet.metadata().row_group(*group);
        let chunks = groups.iter().flat_map(|group| {
            mask.iter().map(|column| {
                let (start, bytes) = of(group).column(*column).byte_range();
                inner.section.offset + start..inner.section.offset + start + bytes
            })
        });
        let cells = groups.iter().map(|group| of(group).num_rows()).sum::<i64>();
        let pieces = self.file().read_ranges(&chunks.collect::<Vec<_>>(), reads)?;
        let pieces = Pieces { pieces, base: inner.section.offset };
        let leaves = ProjectionMask::leaves(footer.parquet.parquet_schema(), mask.iter().copied());
        let read = || {
            let metadata = footer.parquet.clone();
            let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(pieces, metadata)
                .with_batch_size(usize::try_from(cells).unwrap_or(usize::MAX).max(1))
                .with_row_groups(groups)
                .with_projection(leaves)
                .build()?;
            let schema = arrow::array::RecordBatchReader::schema(&reader);
            let batches = reader.collect::<Result<Vec<_>, _>>()?;
            Ok(concat_batches(&schema, &batches)?)
        };
        read().map_err(|error: ParquetError| failed(self.file(), error))
    }
}

/// Statistics of a field that no row has.
fn absent(kind: FieldType, statistic: CellStatistic, cells: usize) -> ArrayRef {
    match statistic {
        CellStatistic::Count | CellStatistic::NanCount => {
            Arc::new(UInt32Array::from_value(0, cells))
        }
        _ => new_null_array(&arrow_type(kind), cells),
    }
}

/// Failures of the disk and damage come wrapped by the Parquet reader.
fn failed(file: &VerifiedFile, error: ParquetError) -> Error {
    let path = file.raw().path().to_owned();
    match error {
        ParquetError::External(source) => match source.downcast::<Error>() {
            Ok(error) => *error,
            Err(source) => {
                let source = ParquetError::External(source);
                Error::Parquet { action: "read the summaries of", path, source }
            }
        },
        source => Error::Parquet { action: "read the summaries of", path, source },
    }
}

/// The section as a file.
struct Inner<'a> {
    file: &'a VerifiedFile,
    section: Section,
    reads: &'a ScanReads,
}

impl Length for Inner<'_> {
    fn len(&self) -> u64 {
        self.section.bytes
    }
}

impl ChunkReader for Inner<'_> {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let length = usize::try_from(self.section.bytes.saturating_sub(start));
        let length = length.map_err(|error| ParquetError::External(Box::new(error)))?;
        Ok(self.get_bytes(start, length)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        if start.saturating_add(length as u64) > self.section.bytes {
            let what = format!("{length} bytes at {start} of {}", self.section.bytes);
            return Err(ParquetError::EOF(what));
        }
        let start = self.section.offset + start;
        let range = start..start + length as u64;
        let read = self.file.read_ranges(std::slice::from_ref(&range), self.reads);
        let read = read.map_err(|error| ParquetError::External(Box::new(error)))?;
        Ok(read.slice(range).unwrap_or_default())
    }
}

/// Bytes of the section that were read.
struct Pieces {
    pieces: crate::blocks::FrontPieces,
    base: u64,
}

impl Length for Pieces {
    fn len(&self) -> u64 {
        self.pieces.len().saturating_sub(self.base)
    }
}

impl ChunkReader for Pieces {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        self.pieces.get_read(self.base + start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.pieces.get_bytes(self.base + start, length)
    }
}
