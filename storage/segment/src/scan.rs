//! Decodes chosen rows of a segment, row group by row group, and hands them out series by series.
//!
//! For a row group, the pages that hold chosen rows are found in the page index, their blocks are read (neighbours in one
//! read) and verified, and the Parquet decoder gets those bytes only. Its batches are then cut where series end, without
//! copying.

use std::collections::VecDeque;
use std::fmt::{self, Debug};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, PrimitiveArray, TimestampNanosecondArray, new_null_array,
};
use arrow::datatypes::{
    DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection, RowSelectionPolicy,
};

use crate::blocks::FrontPieces;
use crate::cache::{ScanReads, count};
use crate::columns::Unit;
use crate::scale::decode_stored;
use crate::{ColumnId, Error, FieldType, SegmentReader, SeriesEntry, SeriesKey, SeriesRows};

/// Rows of a piece at most.
const BATCH_ROWS: usize = 8_192;

/// Rows of one scan, series by series. A long series comes in several pieces of at most 8,192 rows.
pub struct SegmentScan {
    reader: Arc<SegmentReader>,
    /// Columns of the file to decode, ascending; the time is among them.
    columns: Vec<usize>,
    time: usize,
    /// Per wanted field, its place among the decoded columns, and its type.
    fields: Vec<(Option<usize>, FieldType)>,
    /// Place of the cleared marks among the decoded columns.
    cleared: Option<usize>,
    /// Row groups that are still to be read, each with rows relative to its start.
    groups: VecDeque<(usize, Vec<Range<usize>>)>,
    decoder: Option<ParquetRecordBatchReader>,
    /// Series that are still to come, with their numbers of rows.
    series: VecDeque<(SeriesKey, u64)>,
    batch: Option<DecodedBatch>,
    failed: bool,
    reads: Arc<ScanReads>,
}

/// Decoded rows, and how many of them are handed out.
struct DecodedBatch {
    time: ArrayRef,
    fields: Vec<ArrayRef>,
    cleared: Option<ArrayRef>,
    done: usize,
}

impl SegmentScan {
    pub(crate) fn new(
        reader: Arc<SegmentReader>,
        entries: Vec<SeriesEntry>,
        fields: &[(ColumnId, FieldType)],
        with_cleared: bool,
    ) -> Self {
        let time = reader.column(reader.meta().schema.time.id).expect("open has checked it");
        let cleared = if with_cleared { reader.column(ColumnId::CLEARED) } else { None };
        let places: Vec<_> = fields.iter().map(|(id, _)| reader.column(*id)).collect();
        let mut columns: Vec<usize> =
            places.iter().copied().flatten().chain([time]).chain(cleared).collect();
        columns.sort_unstable();
        columns.dedup();
        let decoded = |place: usize| columns.binary_search(&place).expect("it was collected above");
        let kinds = fields.iter().map(|(_, kind)| *kind);
        Self {
            time: decoded(time),
            fields: places.into_iter().map(|place| place.map(decoded)).zip(kinds).collect(),
            cleared: cleared.map(decoded),
            groups: plan(&reader, &entries),
            decoder: None,
            series: entries
                .into_iter()
                .filter(|entry| !entry.rows.is_empty())
                .map(|entry| (entry.key, entry.rows.end - entry.rows.start))
                .collect(),
            batch: None,
            failed: false,
            reads: Arc::default(),
            columns,
            reader,
        }
    }

    /// Adds what it reads to these counters.
    #[must_use]
    pub fn counted_by(self, reads: Arc<ScanReads>) -> Self {
        Self { reads, ..self }
    }

    /// Decodes until there are rows to hand out; `false` at the end.
    fn fill(&mut self) -> Result<bool, Error> {
        loop {
            if self.batch.is_some() {
                return Ok(true);
            }
            if let Some(decoder) = &mut self.decoder {
                match decoder.next() {
                    Some(Ok(batch)) => {
                        count(
                            &self.reader.file().caches().counters.rows_decoded,
                            batch.num_rows() as u64,
                        );
                        self.batch = (batch.num_rows() > 0).then(|| self.decoded(&batch));
                        continue;
                    }
                    Some(Err(error)) => return Err(self.error(error.into())),
                    None => self.decoder = None,
                }
            }
            let Some((group, rows)) = self.groups.pop_front() else { return Ok(false) };
            self.decoder = Some(self.open_group(group, rows)?);
        }
    }

    /// Reads what is needed of a row group.
    fn open_group(
        &self,
        group: usize,
        rows: Vec<Range<usize>>,
    ) -> Result<ParquetRecordBatchReader, Error> {
        let total = self.reader.parquet().metadata().row_group(group).num_rows();
        let total = usize::try_from(total).expect("a row group was written from memory");
        let selection = RowSelection::from_consecutive_ranges(rows.into_iter(), total);
        let bytes = self.read_pages(group, &selection)?;
        let mask = ProjectionMask::leaves(
            self.reader.parquet().parquet_schema(),
            self.columns.iter().copied(),
        );
        ParquetRecordBatchReaderBuilder::new_with_metadata(bytes, self.reader.parquet().clone())
            .with_batch_size(BATCH_ROWS)
            .with_row_groups(vec![group])
            .with_projection(mask)
            .with_row_selection_policy(RowSelectionPolicy::Selectors)
            .with_row_selection(selection)
            .build()
            .map_err(|error| self.error(error))
    }

    fn read_pages(&self, group: usize, selection: &RowSelection) -> Result<FrontPieces, Error> {
        let mut ranges = Vec::new();
        let (mut read, mut skipped) = (0, 0);
        for &column in &self.columns {
            let chunk = self.reader.parquet().metadata().row_group(group).column(column);
            let pages = self.reader.pages(group, column).page_locations();
            let (start, _) = chunk.byte_range();
            let first_page = pages.first().map_or(start, |page| page.offset.cast_unsigned());
            // A dictionary stands before the first page.
            ranges.push(start..first_page);
            let selected = selection.scan_ranges(pages);
            read += selected.len();
            skipped += pages.len() - selected.len();
            ranges.extend(selected);
        }
        count(&self.reader.file().caches().counters.pages_skipped, skipped as u64);
        count(&self.reads.pages, read as u64);
        count(&self.reads.pages_skipped, skipped as u64);
        self.reader.file().read_ranges(&ranges, &self.reads)
    }

    fn decoded(&self, batch: &RecordBatch) -> DecodedBatch {
        let fields = self.fields.iter().map(|(place, kind)| match (place, kind) {
            (Some(place), FieldType::Float64) => decode_stored(batch.column(*place)),
            (Some(place), _) => ArrayRef::clone(batch.column(*place)),
            (None, _) => new_null_array(&arrow_type(*kind), batch.num_rows()),
        });
        DecodedBatch {
            time: nanoseconds(batch.column(self.time), self.reader.time_unit()),
            fields: fields.collect(),
            cleared: self
                .cleared
                .map(|place| ArrayRef::clone(batch.column(place)))
                .filter(|cleared| cleared.null_count() < cleared.len()),
            done: 0,
        }
    }

    fn error(&self, source: parquet::errors::ParquetError) -> Error {
        Error::Parquet { action: "read", path: self.reader.file().raw().path().to_owned(), source }
    }

    /// The next piece of the batch.
    fn cut(&mut self) -> Option<SeriesRows> {
        let batch = self.batch.as_mut()?;
        let (key, left) = self.series.front_mut()?;
        let waiting = batch.time.len() - batch.done;
        let rows = usize::try_from(*left).unwrap_or(usize::MAX).min(waiting);
        let piece = SeriesRows {
            key: key.clone(),
            time: batch.time.slice(batch.done, rows),
            fields: batch.fields.iter().map(|field| field.slice(batch.done, rows)).collect(),
            cleared: batch
                .cleared
                .as_ref()
                .map(|cleared| cleared.slice(batch.done, rows))
                .filter(|cleared| cleared.null_count() < rows),
        };
        batch.done += rows;
        if batch.done == batch.time.len() {
            self.batch = None;
        }
        *left -= rows as u64;
        if *left == 0 {
            self.series.pop_front();
        }
        Some(piece)
    }
}

impl Iterator for SegmentScan {
    type Item = Result<SeriesRows, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match self.fill() {
            Ok(true) => Some(Ok(self.cut().expect("as many rows were chosen as the series have"))),
            Ok(false) => {
                assert!(self.series.is_empty(), "the file has fewer rows than its directory");
                None
            }
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}

impl Debug for SegmentScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentScan")
            .field("path", &self.reader.file().raw().path())
            .field("groups", &self.groups.len())
            .field("series", &self.series.len())
            .finish_non_exhaustive()
    }
}

/// Distributes the rows of all entries over the row groups, as ranges relative to each group's start.
fn plan(reader: &SegmentReader, entries: &[SeriesEntry]) -> VecDeque<(usize, Vec<Range<usize>>)> {
    let starts = reader.group_rows();
    let mut groups: VecDeque<(usize, Vec<Range<usize>>)> = VecDeque::new();
    let mut last = 0;
    for entry in entries.iter().filter(|entry| !entry.rows.is_empty()) {
        assert!(last <= entry.rows.start, "series of a scan ascend: {last} {:?}", entry.rows);
        last = entry.rows.end;
        for group in reader.groups_of(&entry.rows) {
            let start = entry.rows.start.max(starts[group]) - starts[group];
            let end = entry.rows.end.min(starts[group + 1]) - starts[group];
            let fits = "a row group was written from memory";
            let rows = usize::try_from(start).expect(fits)..usize::try_from(end).expect(fits);
            match groups.back_mut() {
                Some((back, ranges)) if *back == group => match ranges.last_mut() {
                    Some(range) if range.end == rows.start => range.end = rows.end,
                    _ => ranges.push(rows),
                },
                _ => groups.push_back((group, vec![rows])),
            }
        }
    }
    groups
}

fn nanoseconds(time: &ArrayRef, unit: Unit) -> ArrayRef {
    let nanos = unit.nanos();
    let time: TimestampNanosecondArray = match unit {
        Unit::Milli => time.as_primitive::<TimestampMillisecondType>().unary(|t| t * nanos),
        Unit::Micro => time.as_primitive::<TimestampMicrosecondType>().unary(|t| t * nanos),
        Unit::Nano => PrimitiveArray::<TimestampNanosecondType>::clone(time.as_primitive()),
    };
    Arc::new(time.with_timezone("UTC"))
}

pub(crate) fn arrow_type(kind: FieldType) -> DataType {
    match kind {
        FieldType::Float64 => DataType::Float64,
        FieldType::Int64 => DataType::Int64,
        FieldType::UInt64 => DataType::UInt64,
        FieldType::Boolean => DataType::Boolean,
        FieldType::Utf8 => DataType::Utf8View,
        FieldType::Timestamp => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
    }
}
