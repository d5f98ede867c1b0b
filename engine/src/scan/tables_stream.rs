//! The batches of one stream over many tables.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use datafusion::arrow::array::{ArrayRef, AsArray, StringViewArray, new_null_array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, SchemaRef, TimestampNanosecondType};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::RecordBatchStream;
use datafusion::physical_plan::metrics::BaselineMetrics;
use futures::Stream;
use quorate_storage::Error as StoreError;

use super::{OutputColumn, TablePart};
use crate::Error;

/// Tables without rows for this stream that it passes over before it lets others run.
const PASSED_MAX: usize = 64;

pub(super) type Batches = Box<dyn Iterator<Item = Result<RecordBatch, StoreError>> + Send>;

/// The batches of one stream. Planning, reading and decoding happen in `poll_next`, which runs on the query threads.
pub(super) struct TablesScanStream {
    parts: Arc<[TablePart]>,
    /// This stream, and how many there are.
    share: (usize, usize),
    schema: SchemaRef,
    /// Rows that may still be given.
    left: usize,
    /// The table that is read next.
    next: usize,
    open: Option<Batches>,
    metrics: BaselineMetrics,
}

impl TablesScanStream {
    pub(super) fn new(
        parts: Arc<[TablePart]>,
        share: (usize, usize),
        schema: SchemaRef,
        limit: Option<usize>,
        metrics: BaselineMetrics,
    ) -> Self {
        let left = limit.unwrap_or(usize::MAX);
        Self { parts, share, schema, left, next: 0, open: None, metrics }
    }

    /// The next batch; pending where it passed over many tables.
    fn next(&mut self) -> Poll<Option<Result<RecordBatch>>> {
        for _ in 0..PASSED_MAX {
            if self.left == 0 {
                return Poll::Ready(None);
            }
            if let Some(batches) = &mut self.open {
                match batches.next() {
                    Some(batch) => return Poll::Ready(Some(self.shown(batch))),
                    None => self.open = None,
                }
            }
            let Some(part) = self.parts.get(self.next) else { return Poll::Ready(None) };
            let (stream, streams) = self.share;
            let opened = part.plan().and_then(|planned| {
                let share = planned.share(stream, streams, self.next);
                share.map(|partition| part.open(partition)).transpose()
            });
            self.next += 1;
            match opened {
                Ok(batches) => self.open = batches,
                Err(e) => return Poll::Ready(Some(Err(self.fail(e)))),
            }
        }
        Poll::Pending
    }

    fn fail(&mut self, error: StoreError) -> DataFusionError {
        self.left = 0;
        Error::from(error).into_datafusion()
    }

    /// A stored batch with the columns of the answer.
    fn shown(&mut self, batch: Result<RecordBatch, StoreError>) -> Result<RecordBatch> {
        let batch = match batch {
            Ok(batch) => batch,
            Err(e) => return Err(self.fail(e)),
        };
        let rows = batch.num_rows().min(self.left);
        let batch = batch.slice(0, rows);
        self.left -= rows;
        let part = &self.parts[self.next - 1];
        let columns = part.columns.iter().zip(self.schema.fields());
        let columns = columns.map(|(column, field)| shown(column, field, &batch));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

fn shown(column: &OutputColumn, field: &Field, batch: &RecordBatch) -> Result<ArrayRef> {
    Ok(match column {
        OutputColumn::Text(text) => {
            let texts = std::iter::repeat_n(Some(text.as_str()), batch.num_rows());
            Arc::new(texts.collect::<StringViewArray>())
        }
        OutputColumn::Null => new_null_array(field.data_type(), batch.num_rows()),
        OutputColumn::Widened(place) => cast(batch.column(*place), field.data_type())?,
        OutputColumn::Read(place) => {
            let array = batch.column(*place);
            match field.data_type() {
                DataType::Timestamp(_, zone) if array.data_type() != field.data_type() => {
                    let times = array.as_primitive::<TimestampNanosecondType>().clone();
                    Arc::new(times.with_timezone_opt(zone.clone()))
                }
                _ => Arc::clone(array),
            }
        }
    })
}

impl Stream for TablesScanStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let timer = self.metrics.elapsed_compute().clone();
        let _timing = timer.timer();
        let item = self.next();
        if item.is_pending() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.metrics.record_poll(item)
    }
}

impl RecordBatchStream for TablesScanStream {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
