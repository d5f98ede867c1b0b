//! The way of a query's batches from the query threads to the client.
//!
//! ```text
//! query threads:  plan.execute → limit(time, kill) → bounded channel ┐
//! client's task:                               QueryStream ←─────────┘
//! ```
//!
//! The channel holds [`BATCHES_AHEAD`] batches: a slow client holds up its query, not the node. Dropping the stream
//! aborts the producer at its next yield, and with it every operator.
//! Until then the query stays in the registry.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::stream::{BoxStream, StreamExt};
use tokio::sync::mpsc;

use super::runtime::lost;
use super::{QueryRuntime, QueryTicket};
use crate::{Error, ErrorKind, QueryId, QueryStream};

/// Batches computed before the client takes them.
const BATCHES_AHEAD: usize = 2;

/// Starts a plan on the query threads.
pub(crate) fn stream_plan(
    runtime: &QueryRuntime,
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    ticket: QueryTicket,
) -> QueryStream {
    let schema = plan.schema();
    let work = |sender| produce(plan, None, context, sender);
    start(runtime, schema, ticket, work)
}

/// Starts plans one after another, whose rows are one answer: as those of the first, and each column may be NULL.
pub(crate) fn stream_plans(
    runtime: &QueryRuntime,
    first: Arc<dyn ExecutionPlan>,
    rest: BoxStream<'static, Result<Arc<dyn ExecutionPlan>, Error>>,
    context: Arc<TaskContext>,
    ticket: QueryTicket,
) -> QueryStream {
    let schema = all_nullable(&first.schema());
    let shown = Arc::clone(&schema);
    let work = |sender: Sender| async move {
        let mut plans = futures::stream::iter([Ok(first)]).chain(rest);
        while let Some(plan) = plans.next().await {
            let (plan, shown, context) = (plan?, Arc::clone(&shown), Arc::clone(&context));
            if all_nullable(&plan.schema()).fields() != shown.fields() {
                return Err(Error::request(
                    ErrorKind::Invalid,
                    "the rows of parameters give answers with different columns; run them one by one",
                ));
            }
            produce(plan, Some(shown), context, sender.clone()).await?;
            if sender.is_closed() {
                break;
            }
        }
        Ok(())
    };
    start(runtime, schema, ticket, work)
}

/// A schema of whose columns each may be NULL.
pub(crate) fn all_nullable(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| Field::clone(field).with_nullable(true));
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()))
}

fn start<F>(
    runtime: &QueryRuntime,
    schema: SchemaRef,
    ticket: QueryTicket,
    work: impl FnOnce(Sender) -> F,
) -> QueryStream
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let id = ticket.id();
    let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
    let producer = {
        let _entered = runtime.handle().enter();
        SpawnedTask::spawn(limited(work(sender.clone()), ticket.clone(), sender))
    };
    let state = Consumer { receiver, producer: Some(producer), ticket };
    let stream = futures::stream::unfold(state, |mut state| async move {
        let item = state.next().await?;
        Some((item, state))
    });
    let batches = Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&schema), stream));
    QueryStream { id, schema, batches }
}

/// A stream over batches that are there already.
pub(crate) fn batches(id: QueryId, schema: SchemaRef, batches: Vec<RecordBatch>) -> QueryStream {
    let stream = futures::stream::iter(batches.into_iter().map(Ok));
    let batches: SendableRecordBatchStream =
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&schema), stream));
    QueryStream { id, schema, batches }
}

/// The way to the client.
type Sender = mpsc::Sender<Result<RecordBatch, DataFusionError>>;

/// Runs a plan; ends when the client is gone. Batches are given another schema where there is one.
async fn produce(
    plan: Arc<dyn ExecutionPlan>,
    schema: Option<SchemaRef>,
    context: Arc<TaskContext>,
    sender: Sender,
) -> Result<(), Error> {
    let mut stream = execute_stream(plan, context)?;
    while let Some(batch) = stream.next().await {
        let mut batch = batch?;
        if let Some(schema) = &schema {
            batch = RecordBatch::try_new(Arc::clone(schema), batch.columns().to_vec())
                .map_err(DataFusionError::from)?;
        }
        if sender.send(Ok(batch)).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Works within the limits of a query, and tells the client where that fails.
async fn limited(
    work: impl Future<Output = Result<(), Error>> + Send,
    ticket: QueryTicket,
    sender: Sender,
) {
    if let Err(error) = ticket.limit(work).await {
        // A client that is gone does not hear of it.
        drop(sender.send(Err(error.into_datafusion())).await);
    }
}

/// The client's end.
struct Consumer {
    receiver: mpsc::Receiver<Result<RecordBatch, DataFusionError>>,
    producer: Option<SpawnedTask<()>>,
    ticket: QueryTicket,
}

impl Consumer {
    async fn next(&mut self) -> Option<Result<RecordBatch, DataFusionError>> {
        // The limits hold here, too: an operator that computes for long before it yields does not keep its client.
        let received = self.ticket.limit(async { Ok(self.receiver.recv().await) });
        match received.await {
            Ok(Some(item)) => return Some(item),
            Ok(None) => {}
            Err(error) => {
                self.producer.take()?;
                return Some(Err(error.into_datafusion()));
            }
        }
        // The channel closes when the producer ends, however it ends: a panic must not look like the end of the rows.
        match self.producer.take()?.join().await {
            Ok(()) => None,
            Err(e) => Some(Err(lost(&e).into_datafusion())),
        }
    }
}
