//! [`SplitScan`]: what a scan of rows and one of summaries share, so that every row is counted once.

use std::fmt::{Debug, Formatter};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, TimestampNanosecondArray, new_null_array};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_plan::metrics::MetricsSet;
use parking_lot::Mutex;
use quorate_storage::scan::{CellRequest, ScanPartition, SplitPartition};

use super::counts::push_count;
use super::stream::shown;
use crate::Error;

/// A split partition; `None` if no cell stands for rows of it.
pub(crate) type Split = Arc<Option<SplitPartition>>;

/// The partitions of a scan, each split when one of its two sides first asks for it.
pub(crate) struct SplitScan {
    partitions: Vec<ScanPartition>,
    request: CellRequest,
    splits: Vec<Mutex<Option<Split>>>,
}

impl Debug for SplitScan {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SplitScan").field("request", &self.request).finish_non_exhaustive()
    }
}

impl SplitScan {
    /// Partitions, and what of them may come as cells.
    pub(crate) fn new(partitions: Vec<ScanPartition>, request: CellRequest) -> Self {
        let splits = partitions.iter().map(|_| Mutex::default()).collect();
        Self { partitions, request, splits }
    }

    /// Number of partitions.
    pub(crate) fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// Splits a partition, or waits for the other side, which does.
    pub(crate) fn take(&self, partition: usize) -> Result<Split> {
        let mut split = self.splits[partition].lock();
        if let Some(known) = &*split {
            return Ok(Arc::clone(known));
        }
        let made = self.partitions[partition].split(&self.request);
        let made = Arc::new(made.map_err(|e| Error::from(e).into_datafusion())?);
        *split = Some(Arc::clone(&made));
        Ok(made)
    }

    /// The rows of a partition that no cell stands for.
    pub(super) fn rest(&self, partition: usize) -> Result<ScanPartition, DataFusionError> {
        let split = self.take(partition)?;
        let rest = split.as_ref().as_ref().map(|split| split.rest.clone());
        Ok(rest.unwrap_or_else(|| self.partitions[partition].clone()))
    }

    /// Adds the cells that stood for rows, and the rows.
    pub(crate) fn push_counts(&self, set: &mut MetricsSet) {
        let (mut cells, mut rows) = (0, 0);
        for split in &self.splits {
            let split = split.lock().clone();
            let split = split.as_ref().and_then(|split| split.as_ref().as_ref());
            let batches = split.iter().flat_map(|split| &split.cells);
            for batch in batches {
                cells += batch.rows.len() as u64;
                rows += batch.rows.iter().sum::<u64>();
            }
        }
        push_count(set, "cells", cells);
        push_count(set, "rows_summarised", rows);
    }
}

/// The keys of cells with the schema that SQL shows.
pub(crate) fn cell_keys(keys: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    shown(keys, schema)
}

/// Rows that have nothing but a time, in the column at this place.
pub(crate) fn times_batch(schema: &SchemaRef, time: usize, times: &[i64]) -> Result<RecordBatch> {
    let rows = times.len();
    let columns = schema.fields().iter().enumerate().map(|(at, field)| match field.data_type() {
        DataType::Timestamp(_, zone) if at == time => {
            let times = TimestampNanosecondArray::from(times.to_vec());
            Arc::new(times.with_timezone_opt(zone.clone())) as ArrayRef
        }
        other => new_null_array(other, rows),
    });
    let columns = columns.collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}
