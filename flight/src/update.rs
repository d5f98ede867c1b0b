//! `DoPut`: uploads by what they are for, and statements that are run as updates.

use std::panic::AssertUnwindSafe;

use arrow::array::RecordBatch;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::{
    Command, CommandPreparedStatementUpdate, CommandStatementUpdate, DoPutUpdateResult,
};
use arrow_flight::{FlightData, PutResult};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use prost::Message;
use quorate_engine::{Outcome, Session, StatementKind};
use tonic::{Response, Status, Streaming};

use crate::call::Call;
use crate::inspect::{Inspector, Refusal};
use crate::prepare;
use crate::query::{execute, hold_changes, refuse_transaction};
use crate::running::RunGuard;
use crate::service::{self, Outgoing, Shared};
use crate::statement::Statement;
use crate::status;

/// What a client uploads: the message that bore the command, and those that follow.
pub(crate) struct Upload {
    first: FlightData,
    rest: Streaming<FlightData>,
    /// Largest message, unpacked.
    bytes_max: usize,
}

/// Reads the command that an upload begins with.
pub(crate) async fn begin(
    mut stream: Streaming<FlightData>,
    bytes_max: usize,
) -> Result<(Command, Upload), Status> {
    let first = stream
        .message()
        .await?
        .ok_or_else(|| status::invalid("the upload is empty: it must begin with a command"))?;
    let descriptor = first
        .flight_descriptor
        .as_ref()
        .ok_or_else(|| status::invalid("the upload does not begin with a descriptor"))?;
    let command = service::command_of(descriptor)?;
    Ok((command, Upload { first, rest: stream, bytes_max }))
}

impl Upload {
    /// The batches of the upload.
    pub(crate) fn into_batches(self) -> BoxStream<'static, Result<RecordBatch, Status>> {
        // A client without parameters sends its command and no schema.
        let first = (!self.first.data_header.is_empty()).then_some(Ok(self.first));
        let messages = futures::stream::iter(first).chain(self.rest);
        decoded(messages, self.bytes_max).boxed()
    }
}

/// The batches in messages, none of which is taken at its word: see [`crate::inspect`].
pub(crate) fn decoded(
    messages: impl Stream<Item = Result<FlightData, Status>> + Send + 'static,
    bytes_max: usize,
) -> impl Stream<Item = Result<RecordBatch, Status>> + Send {
    let mut inspector = Inspector::new(bytes_max);
    let messages = messages.map(move |message| {
        let message = message?;
        inspector.message(&message).map_err(refused)?;
        Ok::<_, Status>(message)
    });
    let messages = messages.map_err(FlightError::from);
    let batches = FlightRecordBatchStream::new_from_flight_data(messages);
    // The last resort: arrow's decoder asserts what only the types of the columns tell, such as that a column's bits are
    // as many as its rows. It is thrown away with its message, so that nothing half decoded is seen.
    let batches = AssertUnwindSafe(batches).catch_unwind();
    let sizes = Inspector::new(bytes_max);
    batches.map(move |batch| match batch {
        Ok(Ok(batch)) => {
            sizes.decoded(&batch).map_err(refused)?;
            Ok(batch)
        }
        Ok(Err(FlightError::Tonic(status))) => Err(*status),
        Ok(Err(other)) => Err(status::invalid(format!("the upload cannot be read: {other}"))),
        Err(_panic) => Err(status::invalid(UNREADABLE)),
    })
}

/// What is said of a message that the decoder gave up on.
pub(crate) const UNREADABLE: &str =
    "the upload cannot be read: the buffers of a message do not fit its columns";

#[expect(clippy::needless_pass_by_value, reason = "given to map_err")]
fn refused(refusal: Refusal) -> Status {
    match &refusal {
        Refusal::Damaged(_) => status::invalid(format!("the upload cannot be read: {refusal}")),
        Refusal::Unsupported(_) => Status::unimplemented(refusal.to_string()),
        Refusal::TooLarge { .. } => Status::resource_exhausted(refusal.to_string()),
    }
}

/// Runs a statement.
pub(crate) async fn statement(
    shared: &Shared,
    call: &Call,
    command: CommandStatementUpdate,
) -> Result<Response<Outgoing<PutResult>>, Status> {
    refuse_transaction(command.transaction_id.as_ref())?;
    let statement = Statement::new(call, command.query, StatementKind::Update);
    let guard = shared.running.enter(statement.id.clone());
    let session = shared.session(call.options.clone());
    let count = run(&session, &statement.sql, None, &guard).await?;
    let mut response = counted(count);
    hold_changes(shared, call, &call.options, &session.options(), &mut response);
    Ok(response)
}

/// Runs a prepared statement, once per row of parameters.
pub(crate) async fn prepared(
    shared: &Shared,
    call: &Call,
    command: &CommandPreparedStatementUpdate,
    upload: Upload,
) -> Result<Response<Outgoing<PutResult>>, Status> {
    let handle = &command.prepared_statement_handle;
    let statement = prepare::open(shared, handle)?;
    let guard = shared.running.enter(statement.id.clone());
    let mut options = statement.options(call);
    options.idempotency_key.clone_from(&call.options.idempotency_key);
    let mut total = Some(0);
    let mut runs = 0_u64;
    let mut session = shared.session(options.clone());
    let mut batches = upload.into_batches();
    let mut uploaded = false;
    while let Some(batch) = batches.try_next().await? {
        if batch.num_columns() == 0 {
            continue;
        }
        uploaded = true;
        if batch.num_rows() == 0 {
            continue;
        }
        if runs > 0 {
            session = shared.session(chunk_options(&options, runs));
        }
        total = add(total, run(&session, &statement.sql, Some(batch), &guard).await?);
        runs += 1;
    }
    if !uploaded {
        total = run(&session, &statement.sql, statement.parameters, &guard).await?;
    }
    let mut response = counted(total);
    hold_changes(shared, call, &options, &session.options(), &mut response);
    Ok(response)
}

/// Options of a later batch of one call: its key is the call's with a number, as each batch is a write of its own.
fn chunk_options(
    options: &quorate_engine::SessionOptions,
    chunk: u64,
) -> quorate_engine::SessionOptions {
    let key = options.idempotency_key.as_ref().map(|key| format!("{key}#{chunk}"));
    quorate_engine::SessionOptions { idempotency_key: key, ..options.clone() }
}

fn add(total: Option<u64>, count: Option<u64>) -> Option<u64> {
    Some(total? + count?)
}

async fn run(
    session: &Session,
    sql: &str,
    parameters: Option<RecordBatch>,
    guard: &RunGuard,
) -> Result<Option<u64>, Status> {
    match execute(session, sql, parameters, guard).await? {
        Outcome::Updated(count) => Ok(count),
        Outcome::Done => Ok(Some(0)),
        Outcome::Rows(_) => {
            Err(status::invalid("the statement returns rows: run it as a query, not as an update"))
        }
    }
}

/// The number of rows that changed; −1 where they are not counted, as the protocol has it.
pub(crate) fn counted(count: Option<u64>) -> Response<Outgoing<PutResult>> {
    let record_count = count.map_or(-1, |n| i64::try_from(n).unwrap_or(i64::MAX));
    let result = DoPutUpdateResult { record_count };
    let put = PutResult { app_metadata: result.encode_to_vec().into() };
    Response::new(futures::stream::iter([Ok(put)]).boxed())
}
