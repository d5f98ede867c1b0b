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

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use tokio::sync::mpsc;

use super::runtime::lost;
use super::{QueryRuntime, QueryTicket};
use crate::{Error, QueryId, QueryStream};

/// Batches computed before the client takes them.
const BATCHES_AHEAD: usize = 2;

/// Starts a plan on the query threads.
pub(crate) fn stream_plan(
    runtime: &QueryRuntime,
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    ticket: QueryTicket,
) -> QueryStream {
    let id = ticket.id();
    let schema = plan.schema();
    let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
    let producer = {
        let _entered = runtime.handle().enter();
        SpawnedTask::spawn(produce(plan, context, ticket.clone(), sender))
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

/// Runs the plan; ends when the client is gone.
async fn produce(
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    ticket: QueryTicket,
    sender: mpsc::Sender<Result<RecordBatch, DataFusionError>>,
) {
    let work = async {
        let mut stream = execute_stream(plan, context).map_err(Error::from)?;
        while let Some(batch) = stream.next().await {
            if sender.send(Ok(batch.map_err(Error::from)?)).await.is_err() {
                break;
            }
        }
        Ok(())
    };
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
