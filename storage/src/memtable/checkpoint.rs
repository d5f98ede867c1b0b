//! The rows of one table and slice as bytes: parts too small for a segment of their own go together into a manifest's
//! checkpoint file.
//!
//! ```text
//! version: u8 = 1 | table, slice start, log index min, log index max: u64 little-endian each | Arrow IPC stream, LZ4
//! ```
//!
//! The stream's columns are `series` (dictionary of keys), `time`, `cleared` (marks of cleared fields), and one per field,
//! named by its column id.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, DictionaryArray, TimestampNanosecondArray, UInt32Array,
};
use arrow::datatypes::{DataType, Field, TimestampNanosecondType, UInt32Type};

use super::{Run, SlicePart};
use crate::batch::{decode_series, decode_stream, encode_stream, field_type};
use crate::rows::{Block, Layout, arrow_type, timestamp_type, utc};
use crate::{ColumnId, Error, SeriesKey, TableId};

const VERSION: u8 = 1;

impl SlicePart {
    /// As bytes of a checkpoint file. Equal rows give equal bytes, however they came to be here.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let (run, _) = Run::merge(&self.runs);
        let keys = BinaryArray::from_iter_values(run.series().iter().map(SeriesKey::as_bytes));
        let numbers = (0u32..).zip(0..run.series().len());
        let numbers = numbers.flat_map(|(n, at)| std::iter::repeat_n(n, run.rows_of(at).len()));
        let numbers = UInt32Array::from_iter_values(numbers);
        let series = DictionaryArray::<UInt32Type>::try_new(numbers, Arc::new(keys))?;
        let time = utc(TimestampNanosecondArray::new(run.block().time.clone(), None));
        let cleared = run.block().cleared.clone();
        let cleared = cleared.unwrap_or_else(|| BinaryArray::new_null(run.rows()));
        let mut schema = vec![
            Field::new("series", series.data_type().clone(), false),
            Field::new("time", timestamp_type(), false),
            Field::new("cleared", DataType::Binary, true),
        ];
        let mut columns: Vec<ArrayRef> = vec![Arc::new(series), Arc::new(time), Arc::new(cleared)];
        for ((id, kind), array) in run.layout().iter().zip(&run.block().fields) {
            if let Some(array) = array.as_ref().filter(|array| array.null_count() < array.len()) {
                schema.push(Field::new(id.0.to_string(), arrow_type(*kind), true));
                columns.push(Arc::clone(array));
            }
        }
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.table.0.to_le_bytes());
        out.extend_from_slice(&self.slice_start.to_le_bytes());
        out.extend_from_slice(&self.log_index_min.to_le_bytes());
        out.extend_from_slice(&self.log_index_max.to_le_bytes());
        encode_stream(out, schema, columns)
    }

    /// Reads what [`SlicePart::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let damaged = |what: &str| Error::Corrupt(format!("a checkpoint of rows {what}"));
        let short = || damaged("is cut short");
        let (version, rest) = bytes.split_first().ok_or_else(short)?;
        if *version != VERSION {
            return Err(damaged(&format!("has version {version}; this node reads {VERSION}")));
        }
        let (head, stream) = rest.split_first_chunk::<32>().ok_or_else(short)?;
        let ([table, slice_start, log_index_min, log_index_max], []) = head.as_chunks::<8>() else {
            return Err(short());
        };
        let batch = decode_stream(stream)?;
        let (schema, columns) = (batch.schema(), batch.columns());
        let [series, time, cleared, fields @ ..] = columns else {
            return Err(damaged("lacks a column"));
        };
        let (series, numbers) = decode_series(series)?;
        if *time.data_type() != timestamp_type() || *cleared.data_type() != DataType::Binary {
            return Err(damaged("has columns of other types"));
        }
        let mut layout = Vec::with_capacity(fields.len());
        for (field, array) in schema.fields().iter().skip(3).zip(fields) {
            let id = field.name().parse().map_err(|_| damaged("has a column without an id"))?;
            let kind = field_type(array).filter(|kind| arrow_type(*kind) == *array.data_type());
            layout.push((ColumnId(id), kind.ok_or_else(|| damaged("has an unknown type"))?));
        }
        let layout: Layout = layout.into();
        let marks = cleared.as_binary::<i32>();
        let block = Block {
            time: time.as_primitive::<TimestampNanosecondType>().values().clone(),
            fields: fields.iter().map(|array| Some(Arc::clone(array))).collect(),
            cleared: (marks.null_count() < marks.len()).then(|| marks.clone()),
        };
        let numbers = numbers.values();
        let is_sorted = series.is_sorted_by(|a, b| a < b)
            && (1..numbers.len()).all(|row| {
                (numbers[row - 1], block.time[row - 1]) < (numbers[row], block.time[row])
            });
        let count = numbers.chunk_by(|a, b| a == b).count();
        if !is_sorted || count != series.len() {
            return Err(damaged("is not sorted"));
        }
        let lens = numbers.chunk_by(|a, b| a == b).map(<[u32]>::len);
        let starts = lens.scan(0u32, |next, len| {
            let start = *next;
            *next += u32::try_from(len).ok()?;
            Some(start)
        });
        let starts = starts.collect();
        Ok(Self {
            table: TableId(u64::from_le_bytes(*table)),
            slice_start: i64::from_le_bytes(*slice_start),
            log_index_min: u64::from_le_bytes(*log_index_min),
            log_index_max: u64::from_le_bytes(*log_index_max),
            runs: vec![Arc::new(Run::new(layout, block, series, starts))],
        })
    }
}
