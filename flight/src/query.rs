//! Statements that are asked for as queries: planned by `GetFlightInfo`, run by `DoGet`.
//!
//! The ticket that `GetFlightInfo` gives holds the statement; `DoGet` runs it and streams. A query has a head start, see
//! [`crate::ahead`]; everything else runs with `DoGet` alone. Some drivers send every statement this way, `INSERT` and
//! `CREATE TABLE` too: such a ticket runs once, however often it is fetched, and its result is one row with the number of
//! rows that changed.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::sql::{
    CommandPreparedStatementQuery, CommandStatementQuery, ProstMessageExt, TicketStatementQuery,
};
use arrow_flight::{FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt};
use prost::Message;
use quorate_engine::{
    Error, ErrorKind, Outcome, QueryStream, Session, SessionOptions, StatementKind,
};
use tokio::task::JoinError;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{Response, Status};

use crate::call::Call;
use crate::prepare;
use crate::running::RunGuard;
use crate::seal::Purpose;
use crate::service::{Outgoing, Shared};
use crate::statement::{Statement, run_name, schema_hash};
use crate::status;
use crate::wire::{encode, wire_schema};

/// Plans a statement.
pub(crate) async fn statement_info(
    shared: &Shared,
    call: &Call,
    command: CommandStatementQuery,
    descriptor: FlightDescriptor,
) -> Result<Response<FlightInfo>, Status> {
    refuse_transaction(command.transaction_id.as_ref())?;
    let statement = Statement::new(call, command.query, StatementKind::Query);
    info(shared, call, statement, descriptor).await
}

/// Plans a prepared statement.
pub(crate) async fn prepared_info(
    shared: &Shared,
    call: &Call,
    command: &CommandPreparedStatementQuery,
    descriptor: FlightDescriptor,
) -> Result<Response<FlightInfo>, Status> {
    let prepared = prepare::open(shared, &command.prepared_statement_handle)?;
    let statement = Statement {
        id: Statement::new(call, String::new(), StatementKind::Query).id,
        idempotency_key: call.options.idempotency_key.clone(),
        ..prepared
    };
    info(shared, call, statement, descriptor).await
}

async fn info(
    shared: &Shared,
    call: &Call,
    mut statement: Statement,
    descriptor: FlightDescriptor,
) -> Result<Response<FlightInfo>, Status> {
    let session = shared.session(statement.options(call));
    let planning = session.plan_bound(&statement.sql, statement.parameters.clone());
    let plan = planning.await.map_err(|e| status::of(&e))?;
    let schema = wire_schema(&plan.schema, statement.times);
    statement.kind = plan.kind;
    statement.schema_hash = schema_hash(&schema)?;
    if statement.kind == StatementKind::Query {
        let query = (statement.sql.clone(), statement.parameters.clone());
        shared.ahead.start(statement.id.clone(), &shared.engine, session, query);
    }
    let ticket =
        TicketStatementQuery { statement_handle: statement.close(Purpose::Ticket, &shared.seal)? };
    let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(ticket.as_any().encode_to_vec()));
    let info = FlightInfo::new()
        .try_with_schema(&schema)
        .map_err(|e| status::internal(&e))?
        .with_endpoint(endpoint)
        .with_descriptor(descriptor)
        .with_app_metadata(run_name(&statement.id));
    Ok(Response::new(info))
}

/// The schema that a statement's result would have.
pub(crate) async fn statement_schema(
    shared: &Shared,
    call: &Call,
    sql: &str,
) -> Result<SchemaRef, Status> {
    let session = shared.session(call.options.clone());
    let plan = session.plan(sql).await.map_err(|e| status::of(&e))?;
    Ok(wire_schema(&plan.schema, call.times))
}

/// The schema that a prepared statement's result would have.
pub(crate) async fn prepared_schema(
    shared: &Shared,
    call: &Call,
    command: &CommandPreparedStatementQuery,
) -> Result<SchemaRef, Status> {
    let prepared = prepare::open(shared, &command.prepared_statement_handle)?;
    let session = shared.session(prepared.options(call));
    let planning = session.plan_bound(&prepared.sql, prepared.parameters.clone());
    let plan = planning.await.map_err(|e| status::of(&e))?;
    Ok(wire_schema(&plan.schema, prepared.times))
}

/// Runs what a ticket holds.
pub(crate) async fn get_ticket(
    shared: &Shared,
    call: Call,
    ticket: &[u8],
) -> Result<Response<Outgoing<FlightData>>, Status> {
    let statement = Statement::open(Purpose::Ticket, ticket, &shared.seal)?;
    get(shared, call, statement).await
}

/// Runs a prepared statement whose handle is used as a ticket.
pub(crate) async fn get_prepared(
    shared: &Shared,
    call: Call,
    command: &CommandPreparedStatementQuery,
) -> Result<Response<Outgoing<FlightData>>, Status> {
    let prepared = prepare::open(shared, &command.prepared_statement_handle)?;
    let fresh = Statement::new(&call, String::new(), prepared.kind);
    let statement = Statement { id: fresh.id, idempotency_key: fresh.idempotency_key, ..prepared };
    get(shared, call, statement).await
}

/// Runs a statement that is used as a ticket.
pub(crate) async fn get_statement(
    shared: &Shared,
    call: Call,
    sql: String,
) -> Result<Response<Outgoing<FlightData>>, Status> {
    let session = shared.session(call.options.clone());
    let plan = session.plan(&sql).await.map_err(|e| status::of(&e))?;
    let statement = Statement::new(&call, sql, plan.kind);
    get(shared, call, statement).await
}

/// Runs a statement and streams what it gives.
pub(crate) async fn get(
    shared: &Shared,
    call: Call,
    statement: Statement,
) -> Result<Response<Outgoing<FlightData>>, Status> {
    let guard = shared.running.enter(statement.id.clone());
    match statement.kind {
        StatementKind::Query => {
            let options = statement.options(&call);
            let started = shared.ahead.take(&statement.id, &shared.engine, &options);
            let outcome = if let Some(started) = started {
                unless_cancelled(started.map(joined), &guard).await?
            } else {
                let session = shared.session(options);
                execute(&session, &statement.sql, statement.parameters.clone(), &guard).await?
            };
            match outcome {
                Outcome::Rows(rows) => stream(&call, shared, &statement, rows, guard),
                Outcome::Updated(count) => counted(count),
                Outcome::Done => counted(Some(0)),
            }
        }
        StatementKind::Update | StatementKind::Command => {
            get_count(shared, &call, statement, guard).await
        }
    }
}

/// Runs a statement that writes, once.
async fn get_count(
    shared: &Shared,
    call: &Call,
    statement: Statement,
    guard: RunGuard,
) -> Result<Response<Outgoing<FlightData>>, Status> {
    let mut options = statement.options(call);
    options.idempotency_key = Some(statement.run_key());
    let before = options.clone();
    let session = shared.session(options);
    let run = Bytes::from(statement.run_key());
    let count = shared
        .ran_once
        .run(run, async {
            match execute(&session, &statement.sql, statement.parameters.clone(), &guard).await? {
                Outcome::Updated(count) => Ok(count),
                Outcome::Done => Ok(Some(0)),
                Outcome::Rows(_) => {
                    Err(status::invalid("the statement was planned as one that returns no rows"))
                }
            }
        })
        .await?;
    let mut response = counted(count)?;
    hold_changes(shared, call, &before, &session.options(), &mut response);
    Ok(response)
}

/// Runs a statement unless it is cancelled first.
pub(crate) async fn execute(
    session: &Session,
    sql: &str,
    parameters: Option<RecordBatch>,
    guard: &RunGuard,
) -> Result<Outcome, Status> {
    // Planning makes a future of tens of kilobytes.
    unless_cancelled(Box::pin(session.execute(sql, parameters)), guard).await
}

async fn unless_cancelled(
    outcome: impl Future<Output = Result<Outcome, Error>>,
    guard: &RunGuard,
) -> Result<Outcome, Status> {
    tokio::select! {
        biased;
        () = guard.token().cancelled() => Err(status::cancelled()),
        outcome = outcome => outcome.map_err(|e| status::of(&e)),
    }
}

/// What a query that was started ahead gives.
fn joined(ended: Result<Result<Outcome, Error>, JoinError>) -> Result<Outcome, Error> {
    ended.unwrap_or_else(|_| {
        let message = "the query failed unexpectedly; the node goes on";
        Err(Error::request(ErrorKind::Internal, message))
    })
}

/// Lets the session's changes be held.
pub(crate) fn hold_changes<T>(
    shared: &Shared,
    call: &Call,
    before: &SessionOptions,
    after: &SessionOptions,
    response: &mut Response<T>,
) {
    let mut state = call.state.clone();
    state.record(before, after);
    shared.hold(call, &state, response.metadata_mut());
}

fn stream(
    call: &Call,
    shared: &Shared,
    statement: &Statement,
    rows: QueryStream,
    guard: RunGuard,
) -> Result<Response<Outgoing<FlightData>>, Status> {
    let schema = wire_schema(&rows.schema, statement.times);
    if !statement.schema_hash.is_empty() && statement.schema_hash != schema_hash(&schema)? {
        return Err(Status::aborted(
            "a table changed after the query was planned and before it was fetched; run it again",
        ));
    }
    guard.set_query(rows.id);
    let cancelled = guard.token().clone().cancelled_owned();
    let batches = Rows { cancelled: Box::pin(cancelled), query: Some(rows), _guard: guard };
    let mut response = Response::new(encode(&schema, batches).boxed());
    shared.hold(call, &call.state, response.metadata_mut());
    Ok(response)
}

/// One row with the number of rows that changed; null where they are not counted.
fn counted(count: Option<u64>) -> Result<Response<Outgoing<FlightData>>, Status> {
    let schema = Arc::new(Schema::new(vec![Field::new("count", DataType::Int64, true)]));
    let count = count.map(|n| i64::try_from(n).unwrap_or(i64::MAX));
    let column: ArrayRef = Arc::new(Int64Array::from(vec![count]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column])
        .map_err(|e| status::internal(&e))?;
    Ok(Response::new(encode(&schema, futures::stream::iter([Ok(batch)])).boxed()))
}

/// Refuses statements in a transaction.
pub(crate) fn refuse_transaction(id: Option<&Bytes>) -> Result<(), Status> {
    if id.is_some_and(|id| !id.is_empty()) {
        return Err(status::unsupported("a transaction"));
    }
    Ok(())
}

/// The rows of a query until its end, an error, or its cancellation. The query ends when this is dropped.
struct Rows {
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
    query: Option<QueryStream>,
    _guard: RunGuard,
}

impl Stream for Rows {
    type Item = Result<RecordBatch, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.query.is_none() {
            return Poll::Ready(None);
        }
        if self.cancelled.poll_unpin(cx).is_ready() {
            self.query = None;
            return Poll::Ready(Some(Err(status::cancelled())));
        }
        let Some(query) = &mut self.query else { return Poll::Ready(None) };
        match query.batches.poll_next_unpin(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(batch))) => Poll::Ready(Some(Ok(batch))),
            Poll::Ready(Some(Err(error))) => {
                self.query = None;
                Poll::Ready(Some(Err(status::of(&error.into()))))
            }
            Poll::Ready(None) => {
                self.query = None;
                Poll::Ready(None)
            }
        }
    }
}
