//! The batches of one partition of a scan.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Field, SchemaRef, TimestampNanosecondType};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::RecordBatchStream;
use datafusion::physical_plan::metrics::BaselineMetrics;
use futures::Stream;
use quorate_storage::Error as StoreError;
use quorate_storage::scan::ScanPartition;

use super::SplitScan;
use crate::Error;

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, StoreError>> + Send>;

enum State {
    Closed(ScanPartition),
    /// Of this partition, the rows that no cell stands for.
    Split(Arc<SplitScan>, usize),
    Open(Batches),
    Done,
}

/// The batches of one partition. Reading and decoding happen in `poll_next`: it runs on the query threads, whose work
/// this is, and yields between batches.
pub(super) struct SeriesScanStream {
    state: State,
    schema: SchemaRef,
    metrics: BaselineMetrics,
}

impl SeriesScanStream {
    pub(super) fn new(
        partition: ScanPartition,
        schema: SchemaRef,
        metrics: BaselineMetrics,
    ) -> Self {
        Self { state: State::Closed(partition), schema, metrics }
    }

    /// As [`SeriesScanStream::new`], without the rows that cells stand for.
    pub(super) fn of_rest(
        split: Arc<SplitScan>,
        partition: usize,
        schema: SchemaRef,
        metrics: BaselineMetrics,
    ) -> Self {
        Self { state: State::Split(split, partition), schema, metrics }
    }

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        if let State::Split(split, partition) = &self.state {
            match split.rest(*partition) {
                Ok(rest) => self.state = State::Closed(rest),
                Err(e) => {
                    self.state = State::Done;
                    return Some(Err(e));
                }
            }
        }
        if let State::Closed(partition) = &self.state {
            match partition.open() {
                Ok(batches) => self.state = State::Open(batches),
                Err(e) => return Some(Err(self.fail(e))),
            }
        }
        let State::Open(batches) = &mut self.state else { return None };
        match batches.next() {
            Some(Ok(batch)) => Some(shown(&batch, &self.schema)),
            Some(Err(e)) => Some(Err(self.fail(e))),
            None => {
                self.state = State::Done;
                None
            }
        }
    }

    fn fail(&mut self, error: StoreError) -> DataFusionError {
        self.state = State::Done;
        Error::from(error).into_datafusion()
    }
}

/// A stored batch with the schema that SQL shows: times get the zone of the session.
pub(super) fn shown(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let column = |(array, field): (&ArrayRef, &Arc<Field>)| match field.data_type() {
        DataType::Timestamp(_, zone) if array.data_type() != field.data_type() => {
            let times = array.as_primitive::<TimestampNanosecondType>().clone();
            Arc::new(times.with_timezone_opt(zone.clone())) as ArrayRef
        }
        _ => Arc::clone(array),
    };
    let columns = batch.columns().iter().zip(schema.fields()).map(column).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

impl Stream for SeriesScanStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let timer = self.metrics.elapsed_compute().clone();
        let _timing = timer.timer();
        let item = self.next();
        self.metrics.record_poll(Poll::Ready(item))
    }
}

impl RecordBatchStream for SeriesScanStream {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
