//! Prepared statements: made by an action, bound by `DoPut`, run by [`crate::query`] or [`crate::update`].
//!
//! The handle *is* the statement, signed ([`crate::statement`]); binding answers with a new handle that holds the
//! parameters too. Drivers that were written before that answer existed go on with the old handle: for them this node
//! remembers the parameters for a while.

use arrow::array::RecordBatch;
use arrow_flight::PutResult;
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, Any, CommandPreparedStatementQuery,
    DoPutPreparedStatementResult,
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use prost::Message;
use quorate_engine::StatementKind;
use tonic::{Response, Status};

use crate::call::Call;
use crate::message::CreatePreparedStatementResult;
use crate::query::refuse_transaction;
use crate::seal::Purpose;
use crate::service::{Outgoing, Shared};
use crate::statement::Statement;
use crate::status;
use crate::update::Upload;
use crate::wire::{self, schema_bytes, wire_schema};

/// Plans a statement and answers with its handle.
pub(crate) async fn create(
    shared: &Shared,
    call: &Call,
    request: ActionCreatePreparedStatementRequest,
) -> Result<Bytes, Status> {
    refuse_transaction(request.transaction_id.as_ref())?;
    let session = shared.session(call.options.clone());
    let plan = session.plan(&request.query).await.map_err(|e| status::of(&e))?;
    let is_query = plan.kind == StatementKind::Query;
    let statement = Statement::new(call, request.query, plan.kind);
    let result = CreatePreparedStatementResult {
        prepared_statement_handle: statement.close(Purpose::Prepared, &shared.seal)?,
        // Drivers without `is_update` take a statement with an empty schema for an update.
        dataset_schema: if is_query {
            schema_bytes(&wire_schema(&plan.schema, call.times))?
        } else {
            Bytes::new()
        },
        parameter_schema: schema_bytes(&wire::parameter_schema(&plan.parameters))?,
        is_update: Some(!is_query),
    };
    let any = Any {
        type_url:
            "type.googleapis.com/arrow.flight.protocol.sql.ActionCreatePreparedStatementResult"
                .to_owned(),
        value: result.encode_to_vec().into(),
    };
    Ok(any.encode_to_vec().into())
}

/// Forgets what is remembered of a statement. A handle stays good: it is the statement.
pub(crate) fn close(shared: &Shared, handle: &[u8]) -> Result<(), Status> {
    let statement = Statement::open(Purpose::Prepared, handle, &shared.seal)?;
    shared.bound.lock().remove(&statement.id);
    Ok(())
}

/// The statement of a handle, with the parameters that were bound last.
pub(crate) fn open(shared: &Shared, handle: &[u8]) -> Result<Statement, Status> {
    let mut statement = Statement::open(Purpose::Prepared, handle, &shared.seal)?;
    if statement.parameters.is_none() {
        statement.parameters = shared.bound.lock().get(&statement.id);
    }
    Ok(statement)
}

/// Binds parameters; answers with the handle that holds them.
pub(crate) async fn bind(
    shared: &Shared,
    command: &CommandPreparedStatementQuery,
    upload: Upload,
) -> Result<Response<Outgoing<PutResult>>, Status> {
    let handle = &command.prepared_statement_handle;
    let mut statement = Statement::open(Purpose::Prepared, handle, &shared.seal)?;
    statement.parameters = parameters(&statement, upload).await?;
    let handle = statement.close(Purpose::Prepared, &shared.seal)?;
    match &statement.parameters {
        Some(parameters) => {
            // Columns may share their message, and keep it whole.
            let bytes = parameters.get_array_memory_size();
            let mut bound = shared.bound.lock();
            bound.insert_weighed(statement.id.clone(), parameters.clone(), bytes);
        }
        None => shared.bound.lock().remove(&statement.id),
    }
    let result = DoPutPreparedStatementResult { prepared_statement_handle: Some(handle) };
    let put = PutResult { app_metadata: result.encode_to_vec().into() };
    Ok(Response::new(futures::stream::iter([Ok(put)]).boxed()))
}

async fn parameters(statement: &Statement, upload: Upload) -> Result<Option<RecordBatch>, Status> {
    let mut upload = upload.into_batches();
    let mut batches: Vec<RecordBatch> = Vec::new();
    let mut bytes = 0;
    while let Some(batch) = upload.try_next().await? {
        bytes += batch.get_array_memory_size();
        if bytes > 64 << 20 {
            return Err(Status::resource_exhausted(
                "too many bound parameters; run the statement as an update, or use bulk ingest",
            ));
        }
        batches.push(batch);
    }
    let Some(first) = batches.first() else { return Ok(None) };
    if first.num_columns() == 0 {
        return Ok(None);
    }
    let all = arrow::compute::concat_batches(&first.schema(), &batches)
        .map_err(|e| status::invalid(format!("the parameters cannot be read: {e}")))?;
    if statement.kind == StatementKind::Query && all.num_rows() == 0 {
        return Err(status::invalid("a query runs once per row of parameters, and none was bound"));
    }
    Ok(Some(all))
}
