//! [`Sorted`]: a batch of one side, its rows parted into runs of equal keys, and its times.
//!
//! Keys are compared as bytes in arrow's row format, and only the first row of a run is written in it: rows of one
//! series are neighbours, and within them only times, which are plain integers, are compared.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, UInt64Array};
use datafusion::arrow::buffer::{NullBuffer, ScalarBuffer};
use datafusion::arrow::compute::{CastOptions, cast_with_options, take};
use datafusion::arrow::datatypes::{DataType, Int64Type, UInt64Type};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::row::RowConverter;
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;

use crate::runs::mark_changes_of_sorted;

/// Takes batches of one side apart.
#[derive(Debug)]
pub(super) struct Sorter {
    /// Keys in the order of the sort.
    pub(super) keys: Vec<Arc<dyn PhysicalExpr>>,
    pub(super) time: Arc<dyn PhysicalExpr>,
    /// The same for both sides; none without keys.
    pub(super) converter: Option<Arc<RowConverter>>,
}

/// Rows with equal keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Its first row.
    pub(super) begin: usize,
    /// The row behind its last.
    pub(super) end: usize,
    /// Whether a key is null, which is equal to nothing.
    pub(super) null: bool,
}

/// A batch and what is compared of it.
#[derive(Debug)]
pub(super) struct Sorted {
    /// Different for each batch of a side.
    pub(super) id: usize,
    pub(super) batch: RecordBatch,
    pub(super) runs: Vec<Run>,
    /// The keys of the runs.
    pub(super) keys: Keys,
    pub(super) times: ScalarBuffer<i64>,
    pub(super) nulls: Option<NullBuffer>,
}

/// Keys as bytes that sort as the rows do, one after another.
#[derive(Debug, Default)]
pub(super) struct Keys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Keys {
    /// Adds one.
    pub(super) fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
    }

    fn get(&self, index: usize) -> &[u8] {
        let begin = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[begin..self.ends[index]]
    }
}

impl Sorter {
    /// Takes a batch apart that has rows.
    pub(super) fn sorted(&self, id: usize, batch: RecordBatch) -> Result<Sorted> {
        let rows = batch.num_rows();
        let time = self.time.evaluate(&batch)?.into_array(rows)?;
        let (times, nulls) = times_of(&time)?;
        let keys = self.keys.iter().map(|key| key.evaluate(&batch)?.into_array(rows));
        let keys = keys.collect::<Result<Vec<ArrayRef>>>()?;
        let Some(converter) = &self.converter else {
            let runs = vec![Run { begin: 0, end: rows, null: false }];
            let mut keys = Keys::default();
            keys.push(&[]);
            return Ok(Sorted { id, batch, runs, keys, times, nulls });
        };
        let mut changed = vec![false; rows];
        changed[0] = true;
        mark_changes_of_sorted(&keys, &mut changed)?;
        let starts = (0u64..).zip(&changed).filter(|(_, changed)| **changed);
        let starts: UInt64Array = starts.map(|(row, _)| row).collect::<Vec<_>>().into();
        let ends = starts.values().iter().skip(1).copied().chain([rows as u64]);
        let ranges: Vec<_> = starts.values().iter().copied().zip(ends).collect();
        let heads = keys.iter().map(|key| take(key, &starts, None));
        let heads = heads.collect::<Result<Vec<_>, _>>()?;
        let nulls_of: Vec<_> = heads.iter().filter_map(Array::logical_nulls).collect();
        let is_null = |index: usize| nulls_of.iter().any(|nulls| nulls.is_null(index));
        let place = |row: u64| usize::try_from(row).unwrap_or(rows);
        let runs = ranges.into_iter().enumerate().map(|(index, (begin, end))| Run {
            begin: place(begin),
            end: place(end),
            null: is_null(index),
        });
        let runs = runs.collect();
        let mut keys = Keys::default();
        for head in &converter.convert_columns(&heads)? {
            keys.push(head.data());
        }
        Ok(Sorted { id, batch, runs, keys, times, nulls })
    }
}

impl Sorted {
    /// The key of a run, as bytes that sort as the rows do.
    pub(super) fn key(&self, run: usize) -> &[u8] {
        self.keys.get(run)
    }

    /// The time of a row.
    pub(super) fn time(&self, row: usize) -> Option<i64> {
        match &self.nulls {
            Some(nulls) if nulls.is_null(row) => None,
            _ => Some(self.times[row]),
        }
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        let columns = self.batch.columns().iter();
        let data: usize =
            columns.map(|c| c.to_data().get_slice_memory_size().unwrap_or_default()).sum();
        let keys = self.keys.bytes.len() + self.keys.ends.len() * size_of::<usize>();
        data + keys + self.runs.len() * size_of::<Run>() + self.times.inner().len()
    }
}

/// Times as integers of the same order and distances.
fn times_of(time: &ArrayRef) -> Result<(ScalarBuffer<i64>, Option<NullBuffer>)> {
    if let Some(unsigned) = time.as_primitive_opt::<UInt64Type>() {
        let nulls = unsigned.nulls().cloned();
        let shifted = unsigned.values().iter().map(|v| (v ^ (1 << 63)).cast_signed());
        return Ok((shifted.collect(), nulls));
    }
    // By way of the width that the type has.
    let narrow = match time.data_type() {
        DataType::Date32 | DataType::Time32(_) => Some(DataType::Int32),
        _ => None,
    };
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let time = match narrow {
        Some(narrow) => cast_with_options(time, &narrow, &options)?,
        None => Arc::clone(time),
    };
    let time = cast_with_options(&time, &DataType::Int64, &options)?;
    let time = time.as_primitive::<Int64Type>();
    Ok((time.values().clone(), time.nulls().cloned()))
}
