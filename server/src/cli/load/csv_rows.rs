//! CSV: what its columns hold, and its rows in chunks.
//!
//! A row that does not fit is rejected by itself: its values are checked before any of them is kept. Its line is where it
//! begins; a value in quotes may hold line ends.

use std::io::{BufRead, Chain, Read};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arrow::array::RecordBatchOptions;
use arrow::datatypes::{Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use csv::{ByteRecord, Reader, ReaderBuilder, Terminator};

use super::cells::{Cell, CellColumn};
use super::chunk::{CHUNK_BYTES, CHUNK_ROWS, Places, Rejection, RowChunk, rejected_record};
use super::columns::{Role, Sample, Type};
use super::plan::{FileColumns, Plan, Values};
use super::source::Source;

/// Characters of a value that an error shows.
const SHOWN_CHARS: usize = 60;

/// How CSV is written.
#[derive(Clone, Debug, Default)]
pub(super) struct Dialect {
    /// Between values; unless given, a comma, or a tab in `.tsv`.
    pub(super) delimiter: Option<u8>,
    /// Names of the columns, of files whose first line is a row.
    pub(super) names: Option<Vec<String>>,
    /// Texts that stand for no value, besides nothing.
    pub(super) nulls: Vec<String>,
}

impl Dialect {
    fn delimiter(&self, source: &Source) -> u8 {
        self.delimiter.unwrap_or(if source.tabs { b'\t' } else { b',' })
    }

    fn is_null(&self, text: &str) -> bool {
        self.nulls.iter().any(|null| null == text)
    }

    fn records(&self, source: &Source, bytes: Box<dyn BufRead + Send>) -> Records {
        let reader = ReaderBuilder::new()
            .delimiter(self.delimiter(source))
            .has_headers(self.names.is_none())
            .flexible(true)
            .terminator(Terminator::Any(b'\n'))
            .from_reader(bytes.chain(LINE_END));
        Records { reader }
    }

    /// Names of the columns of a file.
    fn header(&self, source: &Source, records: &mut Records) -> Result<Vec<String>, String> {
        if let Some(names) = &self.names {
            return Ok(names.clone());
        }
        let header = records.reader.headers().map_err(|e| source.cannot_read(&e))?;
        if header.is_empty() {
            return Err(format!("{} is empty: there is no line with names", source.name));
        }
        Ok(header.iter().map(|name| name.trim().to_owned()).collect())
    }
}

/// Put behind a file, so that its last line ends like the others; an empty line is no record.
const LINE_END: &[u8] = b"\n";

/// The records of a file. Lines end with a line feed; a carriage return before it is no part of the last value. (The
/// reader's own rule for both leaves the line feed to the next record, which then seems to begin a line too early.)
struct Records {
    reader: Reader<Chain<Box<dyn BufRead + Send>, &'static [u8]>>,
}

impl Records {
    /// Reads the next record, with the line where it begins; false at the end.
    fn read(&mut self, record: &mut ByteRecord) -> csv::Result<bool> {
        while self.reader.read_byte_record(record)? {
            let text = record.as_slice();
            if record.len() == 1 && text == b"\r" {
                continue;
            }
            // All of its line ends, the last one included, were read.
            let line_ends = memchr::memchr_iter(b'\n', text).count() as u64 + 1;
            if text.ends_with(b"\r")
                && let Some(last) = record.len().checked_sub(1)
            {
                let value = record.get(last).unwrap_or_default();
                let value = value.strip_suffix(b"\r").unwrap_or(value).to_vec();
                record.truncate(last);
                record.push_field(&value);
            }
            let mut place = self.reader.position().clone();
            let line = place.line().saturating_sub(line_ends);
            place.set_line(line);
            record.set_position(Some(place));
            return Ok(true);
        }
        Ok(false)
    }
}

/// The columns of a file, by its first rows; how many rows were looked at.
pub(super) fn look(
    source: &Source,
    dialect: &Dialect,
    rows_max: usize,
) -> Result<(FileColumns, usize), String> {
    let (bytes, cut) = source.peek()?;
    let mut records = dialect.records(source, bytes);
    let names = dialect.header(source, &mut records)?;
    let mut samples = vec![Sample::default(); names.len()];
    let mut record = ByteRecord::new();
    let mut last: Option<ByteRecord> = None;
    let mut rows = 0;
    let mut see = |record: &ByteRecord| {
        if record.len() != samples.len() {
            return;
        }
        for (sample, value) in samples.iter_mut().zip(record) {
            if let Ok(text) = std::str::from_utf8(value)
                && !text.trim().is_empty()
                && !dialect.is_null(text)
            {
                sample.see(text);
            }
        }
    };
    while rows < rows_max {
        match records.read(&mut record) {
            Ok(true) => {}
            Ok(false) => break,
            // The beginning of a packed standard input ends anywhere.
            Err(_) if cut => break,
            Err(e) => return Err(source.cannot_read(&e)),
        }
        rows += 1;
        if let Some(before) = last.replace(record.clone()) {
            see(&before);
        }
    }
    // The last one may be cut off.
    if let Some(last) = last.filter(|_| !cut || rows == rows_max) {
        see(&last);
    }
    let columns = names.into_iter().zip(samples).collect();
    Ok((FileColumns { file: source.name.clone(), columns, values: Values::Text }, rows))
}

/// What a column of the file goes to.
#[derive(Clone, Debug)]
struct Slot {
    name: String,
    /// `None` if it is left out.
    data_type: Option<Type>,
    is_time: bool,
}

/// The rows of a file, in chunks.
pub(super) struct CsvRows {
    source: Source,
    dialect: Dialect,
    records: Records,
    slots: Vec<Slot>,
    schema: SchemaRef,
    time_unit: Option<TimeUnit>,
    ended: bool,
}

impl CsvRows {
    /// Opens a file that was planned.
    pub(super) fn open(
        source: &Source,
        dialect: &Dialect,
        plan: &Plan,
        time_unit: Option<TimeUnit>,
        read: &Arc<AtomicU64>,
    ) -> Result<Self, String> {
        let mut records = dialect.records(source, source.open(read)?);
        let names = dialect.header(source, &mut records)?;
        let mut fields = Vec::new();
        let mut slots = Vec::new();
        for name in names {
            let target = plan.target(&name);
            if let Some(column) = target {
                let arrow = CellColumn::arrow_type(column.data_type);
                fields.push(Field::new(&column.name, arrow, true));
            }
            slots.push(Slot {
                data_type: target.map(|column| column.data_type),
                is_time: target.is_some_and(|column| column.role == Role::Time),
                name,
            });
        }
        let schema = Arc::new(Schema::new(fields));
        let (source, dialect) = (source.clone(), dialect.clone());
        Ok(Self { source, dialect, records, slots, schema, time_unit, ended: false })
    }

    fn chunk(&mut self) -> Result<Option<RowChunk>, String> {
        let types = self.slots.iter().filter_map(|slot| slot.data_type);
        let mut columns: Vec<CellColumn> = types.map(CellColumn::new).collect();
        let mut records = Vec::new();
        let mut rejected: Vec<Rejection> = Vec::new();
        let mut bytes = 0;
        let delimiter = self.dialect.delimiter(&self.source);
        while records.len() + rejected.len() < CHUNK_ROWS && bytes < CHUNK_BYTES {
            let mut record = ByteRecord::new();
            match self.records.read(&mut record) {
                Ok(true) => {}
                Ok(false) => {
                    self.ended = true;
                    break;
                }
                Err(e) => {
                    let line = self.records.reader.position().line();
                    let name = &self.source.name;
                    return Err(format!("cannot read {name} after line {line}: {e}"));
                }
            }
            bytes += record.as_slice().len();
            match self.cells(&record) {
                Ok(cells) => {
                    for (column, cell) in columns.iter_mut().zip(cells) {
                        column.push(cell);
                    }
                    records.push(record);
                }
                Err(reason) => rejected.push(rejected_record(&record, delimiter, reason)),
            }
        }
        if records.is_empty() && rejected.is_empty() {
            return Ok(None);
        }
        let arrays = columns.into_iter().map(CellColumn::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(records.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)
            .map_err(|e| self.source.cannot_read(&e))?;
        Ok(Some(RowChunk { batch, places: Places::Records { records, delimiter }, rejected }))
    }

    /// The values of a record that are kept, or why it is rejected.
    fn cells<'a>(&self, record: &'a ByteRecord) -> Result<Vec<Cell<'a>>, String> {
        if record.len() != self.slots.len() {
            return Err(format!("{} values, not {}", record.len(), self.slots.len()));
        }
        let mut cells = Vec::with_capacity(self.slots.len());
        for (slot, value) in self.slots.iter().zip(record) {
            let name = &slot.name;
            let text =
                std::str::from_utf8(value).map_err(|_| format!("column {name:?} is not UTF-8"))?;
            let text = if self.dialect.is_null(text) { "" } else { text };
            let Some(data_type) = slot.data_type else {
                if text.trim().is_empty() {
                    continue;
                }
                return Err(format!(
                    "column {name:?} has no type, as the rows that were looked at have no value \
                     there: --types gives it one"
                ));
            };
            let cell = Cell::read(text, data_type, self.time_unit.as_ref());
            let cell =
                cell.ok_or_else(|| format!("column {name:?}: {} is no {data_type}", shown(text)))?;
            if slot.is_time && cell == Cell::Absent {
                return Err(format!("column {name:?}: the time is missing"));
            }
            cells.push(cell);
        }
        Ok(cells)
    }
}

impl Iterator for CsvRows {
    type Item = Result<RowChunk, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let chunk = self.chunk().transpose();
        self.ended |= !matches!(chunk, Some(Ok(_)));
        chunk
    }
}

/// A value as errors show it.
fn shown(text: &str) -> String {
    let mut start: String = text.chars().take(SHOWN_CHARS).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    format!("{start:?}")
}

#[cfg(test)]
#[path = "csv_rows_tests.rs"]
mod tests;
