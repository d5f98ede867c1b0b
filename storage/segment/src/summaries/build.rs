//! [`SummaryBuilder`]: cells of the rows of a file while it is written.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, UInt32Array, UInt64Array};
use arrow::datatypes::{Field, Schema};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression as Codec, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::field::{FieldCells, Stretch, cells_of};
use super::{
    CELL_ROWS_MIN, CellStatistic, FIRST_ROW, FIRST_TIME, KEY_WIDTH, LAST_TIME, ROWS, SHARE_MAX,
    START, WIDTHS, column_name,
};
use crate::rows::Batch;
use crate::{ColumnId, ColumnKind, RowSchema, SeriesKey};

/// Cells of a row group of the section: what a narrow query decodes.
const GROUP_CELLS: usize = 4_096;
/// Cells, times columns of statistics, that are held at most: some 170 MB. Beyond, cells become wider, or are given up.
const HELD_MAX: usize = 2 << 20;
/// Cells from which on their rows on average say whether they are too short.
const SAMPLE_CELLS: usize = 128;

/// What a cell knows of its rows besides their values.
#[derive(Clone, Copy, Debug)]
struct CellRows {
    rows: u32,
    start: i64,
    first_time: i64,
    last_time: i64,
    begins_series: bool,
}

/// Makes the summaries of a file.
#[derive(Debug)]
pub(crate) struct SummaryBuilder {
    /// Place of the width among [`WIDTHS`].
    width: usize,
    rows: u64,
    cells: Vec<CellRows>,
    last: Option<SeriesKey>,
    fields: Vec<(ColumnId, Option<Box<dyn FieldCells>>)>,
    /// Whether there were too many cells of the widest.
    given_up: bool,
}

impl SummaryBuilder {
    pub(crate) fn new(schema: &RowSchema) -> Self {
        let fields = schema.fields.iter().map(|field| {
            let cells = match field.kind {
                ColumnKind::Field(kind) => cells_of(kind),
                ColumnKind::Time | ColumnKind::Tag => None,
            };
            (field.id, cells)
        });
        let fields = fields.collect();
        let (cells, given_up) = (Vec::new(), false);
        Self { width: 0, rows: 0, cells, last: None, fields, given_up }
    }

    /// Adds rows in order.
    pub(crate) fn add(&mut self, batch: &Batch) {
        if self.given_up {
            return;
        }
        let stretches = self.cut(batch);
        for ((_, cells), values) in self.fields.iter_mut().zip(&batch.fields) {
            if let Some(cells) = cells {
                cells.update(values, &stretches);
            }
        }
        self.rows += batch.rows() as u64;
        while self.cells.len() >= SAMPLE_CELLS && (self.is_short() || self.is_large()) {
            if !self.widen() {
                if self.is_large() {
                    self.give_up();
                }
                break;
            }
        }
    }

    fn is_large(&self) -> bool {
        self.held() > HELD_MAX
    }

    /// Cells times columns of statistics.
    pub(super) fn held(&self) -> usize {
        let fields = self.fields.iter().filter(|(_, cells)| cells.is_some()).count();
        self.cells.len() * (fields + 1)
    }

    /// Lets go of all: as many series with few rows as this have no use for cells.
    fn give_up(&mut self) {
        self.given_up = true;
        self.cells = Vec::new();
        self.fields = Vec::new();
    }

    /// The section; `None` where summaries are not worth their bytes, beside `data_bytes` of rows.
    pub(crate) fn finish(mut self, data_bytes: u64) -> Result<Option<Vec<u8>>, ParquetError> {
        loop {
            if self.cells.is_empty() || self.fields.iter().all(|(_, cells)| cells.is_none()) {
                return Ok(None);
            }
            if !self.is_short() {
                let encoded = self.encode()?;
                if encoded.len() as u64 <= data_bytes / SHARE_MAX {
                    return Ok(Some(encoded));
                }
            }
            if !self.widen() {
                return Ok(None);
            }
        }
    }

    fn is_short(&self) -> bool {
        self.rows < self.cells.len() as u64 * CELL_ROWS_MIN
    }

    /// Where the rows of a batch begin cells.
    fn cut(&mut self, batch: &Batch) -> Vec<Stretch> {
        let (width, times) = (WIDTHS[self.width], batch.time.values());
        let mut stretches = Vec::new();
        let mut row = 0;
        for run in &batch.runs {
            let end = row + run.rows;
            let goes_on = self.last.as_ref() == Some(&run.key);
            let mut open = self.cells.last().filter(|_| goes_on).map(|cell| cell.start);
            if !goes_on {
                self.last = Some(run.key.clone());
            }
            while row < end {
                let start = floor(times[row], width);
                // The last cell of time ends with time.
                let rest = times[row..end].iter();
                let rows = match start.checked_add(width) {
                    Some(next) => rest.take_while(|time| **time < next).count(),
                    None => rest.len(),
                };
                let begins = open != Some(start);
                if begins {
                    let (first_time, begins_series) = (times[row], open.is_none());
                    let cell = CellRows {
                        rows: 0,
                        start,
                        first_time,
                        last_time: first_time,
                        begins_series,
                    };
                    self.cells.push(cell);
                    open = Some(start);
                }
                stretches.push(Stretch { rows: row..row + rows, begins });
                row += rows;
                let cell = self.cells.last_mut().expect("one is open");
                cell.rows += u32::try_from(rows).expect("a batch has few rows");
                cell.last_time = times[row - 1];
            }
        }
        stretches
    }

    /// Joins cells to those of the next width, if there is one.
    fn widen(&mut self) -> bool {
        let Some(width) = WIDTHS.get(self.width + 1) else { return false };
        self.width += 1;
        let mut joined: Vec<CellRows> = Vec::with_capacity(self.cells.len() / 2);
        let mut joins = Vec::with_capacity(self.cells.len());
        for cell in &self.cells {
            let start = floor(cell.start, *width);
            let last = joined.last_mut().filter(|last| !cell.begins_series && last.start == start);
            joins.push(last.is_some());
            match last {
                Some(last) => {
                    last.rows += cell.rows;
                    last.last_time = cell.last_time;
                }
                None => joined.push(CellRows { start, ..*cell }),
            }
        }
        self.cells = joined;
        for (_, cells) in &mut self.fields {
            if let Some(cells) = cells {
                cells.join(&joins);
            }
        }
        true
    }

    fn encode(&self) -> Result<Vec<u8>, ParquetError> {
        let firsts = self.cells.iter().scan(0, |next, cell| {
            let first = *next;
            *next += u64::from(cell.rows);
            Some(first)
        });
        let plain = |name: &str, array: ArrayRef| (name.to_owned(), array);
        let times = |of: fn(&CellRows) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(self.cells.iter().map(of)))
        };
        let mut columns = vec![
            plain(FIRST_ROW, Arc::new(UInt64Array::from_iter_values(firsts))),
            plain(ROWS, Arc::new(UInt32Array::from_iter_values(self.cells.iter().map(|c| c.rows)))),
            plain(START, times(|cell| cell.start)),
            plain(FIRST_TIME, times(|cell| cell.first_time)),
            plain(LAST_TIME, times(|cell| cell.last_time)),
        ];
        for (id, cells) in &self.fields {
            for (statistic, array) in cells.iter().flat_map(|cells| cells.columns()) {
                // Most fields have no NaN, and many a value in every row.
                if statistic == CellStatistic::NanCount && is_zero(&array) {
                    continue;
                }
                columns.push((column_name(*id, statistic), array));
            }
        }
        let fields = columns.iter().map(|(name, array)| {
            Field::new(name, array.data_type().clone(), array.null_count() > 0)
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let properties = self.properties(&columns);
        let columns = columns.into_iter().map(|(_, array)| array).collect();
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
        let mut out = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut out, schema, Some(properties))?;
        writer.write(&batch)?;
        writer.close()?;
        Ok(out)
    }

    fn properties(&self, columns: &[(String, ArrayRef)]) -> WriterProperties {
        let width = KeyValue::new(KEY_WIDTH.to_owned(), WIDTHS[self.width].to_string());
        let mut builder = WriterProperties::builder()
            .set_created_by("quorate".to_owned())
            .set_compression(Codec::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(GROUP_CELLS))
            .set_statistics_enabled(EnabledStatistics::None)
            .set_dictionary_enabled(true)
            .set_key_value_metadata(Some(vec![width]));
        for (name, array) in columns {
            let path = ColumnPath::from(name.as_str());
            let encoding = if array.data_type().is_floating() {
                Encoding::BYTE_STREAM_SPLIT
            } else {
                Encoding::DELTA_BINARY_PACKED
            };
            builder = builder.set_column_encoding(path.clone(), encoding);
            if [FIRST_ROW, START, FIRST_TIME, LAST_TIME].contains(&name.as_str()) {
                builder = builder.set_column_dictionary_enabled(path.clone(), false);
            }
            if name == FIRST_ROW {
                builder = builder.set_column_statistics_enabled(path, EnabledStatistics::Chunk);
            }
        }
        builder.build()
    }
}

/// The last multiple of the width that is not above a time; the first of time begins with time.
fn floor(time: i64, width: i64) -> i64 {
    time.checked_sub(time.rem_euclid(width)).unwrap_or(i64::MIN)
}

fn is_zero(array: &ArrayRef) -> bool {
    use arrow::array::AsArray as _;
    let counts = array.as_primitive::<arrow::datatypes::UInt32Type>();
    counts.values().iter().all(|count| *count == 0)
}
