//! A batch as bytes of a log entry.
//!
//! ```text
//! version: u8 = 1 | nulls: u8 (0 absent, 1 explicit) | Arrow IPC stream, one batch, LZ4
//! ```
//!
//! The stream's columns are `series` (dictionary of keys: `u32` into binary), `time`, and one per field, named by its column
//! id. It describes itself: decoding needs no catalog.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, DictionaryArray, RecordBatch, UInt32Array,
};
use arrow::datatypes::{DataType, Field, Schema, UInt32Type};
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

use super::columns::{batch_type, field_type};
use super::{Nulls, RowBatch};
use crate::rows::timestamp_type;
use crate::{ColumnId, Error, SeriesKey};

const VERSION: u8 = 1;

impl RowBatch {
    /// As bytes of a log entry.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let keys = BinaryArray::from_iter_values(self.series.iter().map(SeriesKey::as_bytes));
        let series =
            DictionaryArray::<UInt32Type>::try_new(self.series_of_row.clone(), Arc::new(keys))?;
        let mut schema = vec![
            Field::new("series", series.data_type().clone(), false),
            Field::new("time", timestamp_type(), false),
        ];
        let mut columns: Vec<ArrayRef> = vec![Arc::new(series), Arc::clone(&self.time)];
        for (id, array) in &self.fields {
            schema.push(Field::new(id.0.to_string(), array.data_type().clone(), true));
            columns.push(Arc::clone(array));
        }
        let nulls = match self.nulls {
            Nulls::Absent => 0,
            Nulls::Explicit => 1,
        };
        encode_stream(vec![VERSION, nulls], schema, columns)
    }

    /// Reads what [`RowBatch::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let damaged = |what: &str| Error::Corrupt(format!("a batch of rows in the log {what}"));
        let [version, nulls, stream @ ..] = bytes else { return Err(damaged("is cut short")) };
        if *version != VERSION {
            return Err(damaged(&format!("has version {version}; this node reads {VERSION}")));
        }
        let nulls = match nulls {
            0 => Nulls::Absent,
            1 => Nulls::Explicit,
            other => return Err(damaged(&format!("has null meaning {other}"))),
        };
        let batch = decode_stream(stream)?;
        let schema = batch.schema();
        if batch.num_columns() < 2 || batch.column(1).data_type() != &timestamp_type() {
            return Err(damaged("lacks a column"));
        }
        let (series, series_of_row) = decode_series(batch.column(0))?;
        let mut fields = Vec::with_capacity(batch.num_columns() - 2);
        for (field, array) in schema.fields().iter().zip(batch.columns()).skip(2) {
            let id = field.name().parse().map_err(|_| damaged("has a column without an id"))?;
            let kind = field_type(array);
            if kind.is_none_or(|kind| batch_type(kind) != *array.data_type()) {
                return Err(damaged(&format!("has a column of {}", array.data_type())));
            }
            fields.push((ColumnId(id), Arc::clone(array)));
        }
        Ok(Self { series, series_of_row, time: Arc::clone(batch.column(1)), fields, nulls })
    }
}

/// Appends a stream of one batch to `out`.
pub(crate) fn encode_stream(
    out: Vec<u8>,
    schema: Vec<Field>,
    columns: Vec<ArrayRef>,
) -> Result<Vec<u8>, Error> {
    let schema = Arc::new(Schema::new(schema));
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    let options =
        IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
    let mut writer = StreamWriter::try_new_with_options(out, &schema, options)?;
    writer.write(&batch)?;
    Ok(writer.into_inner()?)
}

/// Reads what [`encode_stream`] wrote.
pub(crate) fn decode_stream(stream: &[u8]) -> Result<RecordBatch, Error> {
    let mut reader = StreamReader::try_new(Cursor::new(stream), None)?;
    let batch = reader.next().transpose()?;
    batch.ok_or_else(|| Error::Corrupt("a stream of rows holds no batch".into()))
}

/// Series and their numbers per row, from a dictionary of keys.
pub(crate) fn decode_series(column: &ArrayRef) -> Result<(Vec<SeriesKey>, UInt32Array), Error> {
    let damaged = || Error::Corrupt("a column of series is not a dictionary of keys".into());
    let dictionary = column.as_dictionary_opt::<UInt32Type>().ok_or_else(damaged)?;
    if *dictionary.values().data_type() != DataType::Binary || dictionary.null_count() > 0 {
        return Err(damaged());
    }
    let keys = dictionary.values().as_binary::<i32>();
    let series = keys
        .iter()
        .map(|key| SeriesKey::from_bytes(key.ok_or_else(damaged)?).map_err(|_| damaged()));
    Ok((series.collect::<Result<_, Error>>()?, dictionary.keys().clone()))
}
