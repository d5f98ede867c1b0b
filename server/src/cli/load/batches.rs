//! Parquet and Arrow IPC: their columns, and their rows in chunks.
//!
//! Values are sent as the file has them; the node widens them, and rejects rows that do not fit. Two things are done here:
//! dictionaries are unpacked, so that a chunk does not carry values of others, and integers that are to be times become
//! such. Limits: a Parquet page and an Arrow batch are read whole.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, ArrayRef};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReader, StreamReader};
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::chunk::{CHUNK_BYTES, CHUNK_ROWS, Places, RowChunk};
use super::columns::{Sample, Type};
use super::plan::{FileColumns, Plan, Values};
use super::source::{FileFormat, Source};

/// First bytes of an Arrow IPC file; a stream has none of its own.
const ARROW_MAGIC: &[u8; 6] = b"ARROW1";

/// Batches of a file, however it is written.
enum Batches {
    Parquet {
        reader: ParquetRecordBatchReader,
        /// Rows and bytes of the file.
        size: (u64, u64),
    },
    File(FileReader<BufReader<File>>),
    Stream(StreamReader<Box<dyn BufRead + Send>>),
}

impl Batches {
    fn open(source: &Source, read: &Arc<AtomicU64>) -> Result<Self, String> {
        let malformed = |e: &dyn std::fmt::Display| source.cannot_read(e);
        if source.format == FileFormat::Parquet {
            let file = source.file()?.ok_or_else(|| malformed(&"it is no file"))?;
            let builder =
                ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| malformed(&e))?;
            let rows = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
            let reader = builder.with_batch_size(CHUNK_ROWS).build().map_err(|e| malformed(&e))?;
            let size = (rows, source.bytes.unwrap_or_default());
            return Ok(Self::Parquet { reader, size });
        }
        if let Some(mut file) = source.file()? {
            let mut magic = [0; ARROW_MAGIC.len()];
            if file.read_exact(&mut magic).is_ok() && &magic == ARROW_MAGIC {
                file.seek(SeekFrom::Start(0)).map_err(|e| malformed(&e))?;
                let reader = FileReader::try_new_buffered(file, None).map_err(|e| malformed(&e))?;
                return Ok(Self::File(reader));
            }
        }
        let reader = StreamReader::try_new(source.open(read)?, None).map_err(|e| malformed(&e))?;
        Ok(Self::Stream(reader))
    }

    fn schema(&self) -> SchemaRef {
        match self {
            Self::Parquet { reader, .. } => arrow::record_batch::RecordBatchReader::schema(reader),
            Self::File(reader) => reader.schema(),
            Self::Stream(reader) => reader.schema(),
        }
    }

    fn next(&mut self, read: &AtomicU64) -> Option<Result<RecordBatch, ArrowError>> {
        match self {
            Self::Parquet { reader, size: (rows, bytes) } => {
                let batch = reader.next()?;
                if let Ok(batch) = &batch {
                    let share = batch.num_rows() as u64 * *bytes / (*rows).max(1);
                    read.fetch_add(share, Ordering::Relaxed);
                }
                Some(batch)
            }
            Self::File(reader) => {
                let batch = reader.next()?;
                if let Ok(batch) = &batch {
                    read.fetch_add(batch.get_array_memory_size() as u64, Ordering::Relaxed);
                }
                Some(batch)
            }
            Self::Stream(reader) => reader.next(),
        }
    }
}

/// The columns of a file, by its schema.
pub(super) fn look(source: &Source) -> Result<FileColumns, String> {
    let schema = if source.format == FileFormat::Arrow && source.file()?.is_none() {
        let (bytes, _) = source.peek()?;
        StreamReader::try_new(bytes, None).map_err(|e| source.cannot_read(&e))?.schema()
    } else {
        Batches::open(source, &Arc::default())?.schema()
    };
    let mut columns = Vec::new();
    for field in schema.fields() {
        let found = Type::of_arrow(field.data_type());
        if found.is_none() && field.data_type() != &DataType::Null {
            return Err(format!(
                "column {:?} of {} has the type {}, which no table can hold",
                field.name(),
                source.name,
                field.data_type()
            ));
        }
        columns.push((field.name().clone(), Sample::of_type(found)));
    }
    Ok(FileColumns { file: source.name.clone(), columns, values: Values::Typed })
}

/// The rows of a file, in chunks.
pub(super) struct FileRows {
    source: Source,
    batches: Batches,
    /// Place in the file, name in the table, and whether integers become times.
    columns: Vec<(usize, String, Option<TimeUnit>)>,
    read: Arc<AtomicU64>,
    /// What is left of a batch.
    rest: Option<RecordBatch>,
    rows: u64,
    ended: bool,
}

impl FileRows {
    /// Opens a file that was planned.
    pub(super) fn open(
        source: &Source,
        plan: &Plan,
        time_unit: Option<TimeUnit>,
        read: &Arc<AtomicU64>,
    ) -> Result<Self, String> {
        let batches = Batches::open(source, read)?;
        let mut columns = Vec::new();
        for (index, field) in batches.schema().fields().iter().enumerate() {
            let Some(found) = Type::of_arrow(field.data_type()) else { continue };
            if let Some(target) = plan.target(field.name()) {
                let counts = target.data_type == Type::Time && found != Type::Time;
                columns.push((index, target.name.clone(), time_unit.filter(|_| counts)));
            }
        }
        let (source, read) = (source.clone(), Arc::clone(read));
        Ok(Self { source, batches, columns, read, rest: None, rows: 0, ended: false })
    }

    fn chunk(&mut self) -> Option<Result<RowChunk, ArrowError>> {
        let batch = loop {
            if let Some(rest) = self.rest.take() {
                break rest;
            }
            match self.batches.next(&self.read)? {
                Ok(batch) if batch.num_rows() == 0 => {}
                Ok(batch) => match self.planned(&batch) {
                    Ok(batch) => break batch,
                    Err(error) => return Some(Err(error)),
                },
                Err(error) => return Some(Err(error)),
            }
        };
        let rows = rows_of_chunk(&batch);
        if rows < batch.num_rows() {
            self.rest = Some(batch.slice(rows, batch.num_rows() - rows));
        }
        let places = Places::Rows { first: self.rows + 1, count: rows };
        self.rows += rows as u64;
        Some(Ok(RowChunk { batch: batch.slice(0, rows), places, rejected: Vec::new() }))
    }

    /// The columns that are written, as the table calls them.
    fn planned(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let mut fields = Vec::new();
        let mut arrays: Vec<ArrayRef> = Vec::new();
        for (index, name, unit) in &self.columns {
            let mut array = Arc::clone(batch.column(*index));
            if let DataType::Dictionary(_, values) = array.data_type() {
                array = cast(&array, values)?;
            }
            if let Some(unit) = unit {
                let counts = cast(&array, &DataType::Int64)?;
                array = cast(&counts, &DataType::Timestamp(*unit, Some("UTC".into())))?;
            }
            fields.push(Field::new(name, array.data_type().clone(), true));
            arrays.push(array);
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
    }
}

impl Iterator for FileRows {
    type Item = Result<RowChunk, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let chunk = self.chunk();
        self.ended = !matches!(chunk, Some(Ok(_)));
        let (name, rows) = (&self.source.name, self.rows);
        chunk.map(|chunk| chunk.map_err(|e| format!("cannot read {name} after row {rows}: {e}")))
    }
}

/// How many of the first rows of a batch a chunk takes.
fn rows_of_chunk(batch: &RecordBatch) -> usize {
    let rows = batch.num_rows().min(CHUNK_ROWS);
    let first = batch.slice(0, rows);
    let bytes: usize =
        first.columns().iter().filter_map(|c| c.to_data().get_slice_memory_size().ok()).sum();
    if bytes <= CHUNK_BYTES {
        return rows;
    }
    (rows * CHUNK_BYTES / bytes).max(1)
}

#[cfg(test)]
#[path = "batches_tests.rs"]
mod tests;
