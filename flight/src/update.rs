//! `DoPut`: uploads by what they are for, and statements that are run as updates.

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
}

/// Reads the command that an upload begins with.
pub(crate) async fn begin(mut stream: Streaming<FlightData>) -> Result<(Command, Upload), Status> {
    let first = stream
        .message()
        .await?
        .ok_or_else(|| status::invalid("the upload is empty: it must begin with a command"))?;
    let descriptor = first
        .flight_descriptor
        .as_ref()
        .ok_or_else(|| status::invalid("the upload does not begin with a descriptor"))?;
    let command = service::command(&descriptor.cmd)?;
    Ok((command, Upload { first, rest: stream }))
}

impl Upload {
    /// The batches of the upload.
    pub(crate) fn into_batches(self) -> BoxStream<'static, Result<RecordBatch, Status>> {
        // A client without parameters sends its command and no schema.
        let first = (!self.first.data_header.is_empty()).then_some(Ok(self.first));
        let messages = futures::stream::iter(first).chain(self.rest.map_err(FlightError::from));
        decoded(FlightRecordBatchStream::new_from_flight_data(messages)).boxed()
    }
}

fn decoded(stream: FlightRecordBatchStream) -> impl Stream<Item = Result<RecordBatch, Status>> {
    stream.map_err(|error| match error {
        FlightError::Tonic(status) => *status,
        other => status::invalid(format!("the upload cannot be read: {other}")),
    })
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
