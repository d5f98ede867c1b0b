//! `COPY … TO`: rows into a file, exactly or not at all.

use std::fs::File;
use std::io::BufWriter;
use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::array::{
    Array, ArrayData, Float16Array, Float32Array, Float64Array, make_array,
};
use datafusion::arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::writer::FileWriter;
use datafusion::arrow::json::LineDelimitedWriter;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::properties::WriterProperties;

use super::csv_writer::CsvWriter;
use super::place::NewFile;
use super::statement::Format;
use super::{CopyStatement, FileAt};
use crate::{Error, ErrorKind};

/// Bytes of rows that a Parquet file gathers before it writes them.
const ROW_GROUP_BYTES: usize = 32 << 20;

/// A file that is being written.
pub(super) struct Sink {
    new: NewFile,
    writer: Writer,
    /// As it was written in the statement.
    file: String,
    rows: u64,
}

enum Writer {
    Csv(CsvWriter<BufWriter<File>>),
    Json(LineDelimitedWriter<BufWriter<File>>),
    Parquet(Box<ArrowWriter<BufWriter<File>>>),
    Arrow(Box<FileWriter<BufWriter<File>>>),
}

impl Sink {
    /// Begins the file.
    pub(super) fn create(at: &FileAt, schema: &SchemaRef) -> Result<Self, Error> {
        let FileAt { dir, path, notes, statement: CopyStatement { file, options, .. } } = at;
        let (new, opened) = NewFile::create(dir, path, file, notes)?;
        let out = BufWriter::new(opened);
        let failed = |e: ArrowError| failed(file, &e);
        let writer = match options.format {
            Format::Csv => Writer::Csv(CsvWriter::begin(out, options, schema).map_err(failed)?),
            Format::Json => Writer::Json(LineDelimitedWriter::new(out)),
            Format::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .build();
                let writer = ArrowWriter::try_new(out, Arc::clone(schema), Some(properties));
                Writer::Parquet(Box::new(writer.map_err(|e| failed_parquet(file, &e))?))
            }
            Format::Arrow => {
                Writer::Arrow(Box::new(FileWriter::try_new(out, schema).map_err(failed)?))
            }
        };
        Ok(Self { new, writer, file: file.clone(), rows: 0 })
    }

    /// Adds rows.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let file = &self.file;
        match &mut self.writer {
            Writer::Csv(writer) => writer.write(batch).map_err(|e| failed(file, &e))?,
            Writer::Json(writer) => {
                check_finite(batch)?;
                writer.write(batch).map_err(|e| failed(file, &e))?;
            }
            Writer::Parquet(writer) => {
                writer.write(batch).map_err(|e| failed_parquet(file, &e))?;
                if writer.in_progress_size() >= ROW_GROUP_BYTES {
                    writer.flush().map_err(|e| failed_parquet(file, &e))?;
                }
            }
            Writer::Arrow(writer) => writer.write(batch).map_err(|e| failed(file, &e))?,
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Ends the file and gives it its name. Returns the rows.
    pub(super) fn finish(self) -> Result<u64, Error> {
        let Self { new, writer, file, rows } = self;
        let out = match writer {
            Writer::Csv(writer) => writer.into_inner(),
            Writer::Json(mut writer) => {
                writer.finish().map_err(|e| failed(&file, &e))?;
                writer.into_inner()
            }
            Writer::Parquet(writer) => {
                writer.into_inner().map_err(|e| failed_parquet(&file, &e))?
            }
            Writer::Arrow(mut writer) => {
                writer.finish().map_err(|e| failed(&file, &e))?;
                writer.into_inner().map_err(|e| failed(&file, &e))?
            }
        };
        let opened =
            out.into_inner().map_err(|e| super::place::cannot("write", &file, e.error()))?;
        new.keep(&opened)?;
        Ok(rows)
    }
}

/// JSON has no NaN and no infinity, and Arrow writes null in their place.
fn check_finite(batch: &RecordBatch) -> Result<(), Error> {
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        if has_special(&array.to_data()) {
            let message = format!(
                "column {:?} holds NaN or an infinity, which JSON cannot say; write CSV, Parquet or Arrow, or NULLs",
                field.name()
            );
            return Err(Error::request(ErrorKind::Invalid, message));
        }
    }
    Ok(())
}

fn has_special(data: &ArrayData) -> bool {
    let array = make_array(data.clone());
    match data.data_type() {
        DataType::Float64 => {
            let array: &Float64Array = array.as_primitive::<Float64Type>();
            array.iter().flatten().any(|value| !value.is_finite())
        }
        DataType::Float32 => {
            let array: &Float32Array = array.as_primitive::<Float32Type>();
            array.iter().flatten().any(|value| !value.is_finite())
        }
        DataType::Float16 => {
            let array: &Float16Array = array.as_primitive::<Float16Type>();
            array.iter().flatten().any(|value| !value.is_finite())
        }
        _ => data.child_data().iter().any(has_special),
    }
}

fn failed(file: &str, error: &ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, error) => super::place::cannot("write", file, error),
        ArrowError::CsvError(message) | ArrowError::JsonError(message) => unwritable(file, message),
        other => unwritable(file, &other.to_string()),
    }
}

fn failed_parquet(file: &str, error: &ParquetError) -> Error {
    match error {
        ParquetError::External(source) => match source.downcast_ref::<std::io::Error>() {
            Some(error) => super::place::cannot("write", file, error),
            None => unwritable(file, &error.to_string()),
        },
        other => unwritable(file, &other.to_string()),
    }
}

fn unwritable(file: &str, why: &str) -> Error {
    Error::request(
        ErrorKind::Unsupported,
        format!("COPY cannot write these rows to {file:?}: {why}"),
    )
}
