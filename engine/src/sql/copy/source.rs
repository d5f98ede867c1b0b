//! `COPY … FROM`: batches out of a file, with the types of a table's columns where the file has none of its own.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::sync::Arc;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::reader::{FileReader, StreamReader};
use datafusion::arrow::json;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::csv_reader::{self, CsvBatches};
use super::place::cannot;
use super::statement::{FileOptions, Format};
use crate::{Error, ErrorKind};

/// Rows of a batch.
pub(super) const BATCH_ROWS: usize = 8_192;

/// Bytes that CSV is read by.
const READ_BYTES: usize = 256 << 10;

/// First bytes of an Arrow file; a stream has others.
const ARROW_MAGIC: &[u8] = b"ARROW1";

/// The rows of a file.
pub(super) type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>;

/// Names of the columns in a file, where it tells them.
pub(super) fn names(
    file: &str,
    opened: &mut File,
    options: &FileOptions,
) -> Result<Option<Vec<String>>, Error> {
    let names = match options.format {
        Format::Csv if options.header => {
            let names = csv_reader::header(BufReader::new(&*opened), options.delimiter);
            Some(names.map_err(|e| unreadable(file, &e))?)
        }
        Format::Csv | Format::Json => None,
        Format::Parquet => {
            let copy = opened.try_clone().map_err(|e| cannot("read", file, &e))?;
            let builder = ParquetRecordBatchReaderBuilder::try_new(copy)
                .map_err(|e| unreadable(file, &ArrowError::from(e)))?;
            Some(names_of(builder.schema()))
        }
        Format::Arrow => {
            let copy = opened.try_clone().map_err(|e| cannot("read", file, &e))?;
            let (schema, _) = arrow_batches(copy).map_err(|e| unreadable(file, &e))?;
            Some(names_of(&schema))
        }
    };
    opened.rewind().map_err(|e| cannot("read", file, &e))?;
    Ok(names)
}

fn names_of(schema: &Schema) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

/// The rows. `types` are the columns wanted, in the order of a CSV file's; Parquet and Arrow files have their own.
pub(super) fn batches(
    file: &str,
    opened: File,
    options: &FileOptions,
    types: &SchemaRef,
) -> Result<Batches, Error> {
    let failed = |e: ArrowError| unreadable(file, &e);
    Ok(match options.format {
        Format::Csv => {
            let input = BufReader::with_capacity(READ_BYTES, opened);
            Box::new(CsvBatches::begin(input, options, types).map_err(failed)?)
        }
        Format::Json => {
            let reader = json::ReaderBuilder::new(Arc::clone(types))
                .with_strict_mode(true)
                .with_batch_size(BATCH_ROWS)
                .build(BufReader::new(opened));
            Box::new(reader.map_err(failed)?)
        }
        Format::Parquet => {
            let builder = ParquetRecordBatchReaderBuilder::try_new(opened)
                .map_err(|e| failed(ArrowError::from(e)))?;
            let reader = builder.with_batch_size(BATCH_ROWS).build();
            Box::new(reader.map_err(|e| failed(ArrowError::from(e)))?)
        }
        Format::Arrow => arrow_batches(opened).map_err(failed)?.1,
    })
}

fn arrow_batches(mut opened: File) -> Result<(SchemaRef, Batches), ArrowError> {
    let mut first = [0; ARROW_MAGIC.len()];
    let magic = opened.read_exact(&mut first).is_ok() && first == ARROW_MAGIC;
    opened.rewind()?;
    let opened = BufReader::new(opened);
    if magic {
        let reader = FileReader::try_new(opened, None)?;
        Ok((reader.schema(), Box::new(reader)))
    } else {
        let reader = StreamReader::try_new(opened, None)?;
        Ok((reader.schema(), Box::new(reader)))
    }
}

/// The error for a file that is not what it should be.
pub(super) fn unreadable(file: &str, error: &ArrowError) -> Error {
    let why = match error {
        ArrowError::IoError(_, error) => return cannot("read", file, error),
        ArrowError::CsvError(why) | ArrowError::JsonError(why) | ArrowError::ParseError(why) => {
            why.clone()
        }
        other => other.to_string(),
    };
    Error::request(ErrorKind::Invalid, format!("{file:?}: {why}"))
}
