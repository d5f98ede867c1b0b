//! Metadata commands: what drivers ask to fill their trees of tables and to learn what the server can do.
//!
//! A database is a catalog; its tables are in the schema `public`. The ticket of a metadata command is the command
//! itself, as several drivers expect. Names and order of the columns are those of the protocol, which drivers look up
//! by name.

mod keys;
mod sql_info;
mod tables;
mod type_info;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::sql::Command;
use arrow_flight::{FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use futures::StreamExt;
use tonic::{Response, Status};

use crate::call::Call;
use crate::service::{Outgoing, Shared, unknown};
use crate::status;
use crate::wire::encode;

/// The `FlightInfo` of a metadata command.
pub(crate) fn info(
    command: &Command,
    descriptor: FlightDescriptor,
) -> Result<Response<FlightInfo>, Status> {
    let schema = schema(command)?;
    let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(descriptor.cmd.clone()));
    let info = FlightInfo::new()
        .try_with_schema(&schema)
        .map_err(|e| status::internal(&e))?
        .with_endpoint(endpoint)
        .with_descriptor(descriptor);
    Ok(Response::new(info))
}

/// The schema of a metadata command's result.
pub(crate) fn schema(command: &Command) -> Result<SchemaRef, Status> {
    Ok(match command {
        Command::CommandGetCatalogs(c) => c.into_builder().schema(),
        Command::CommandGetDbSchemas(c) => c.clone().into_builder().schema(),
        Command::CommandGetTables(c) => c.clone().into_builder().schema(),
        Command::CommandGetTableTypes(c) => c.into_builder().schema(),
        Command::CommandGetSqlInfo(_) => sql_info::schema(),
        Command::CommandGetXdbcTypeInfo(_) => type_info::schema(),
        Command::CommandGetPrimaryKeys(_) => keys::primary_schema(),
        Command::CommandGetExportedKeys(_)
        | Command::CommandGetImportedKeys(_)
        | Command::CommandGetCrossReference(_) => keys::foreign_schema(),
        other => return Err(unknown(other)),
    })
}

/// The result of a metadata command.
pub(crate) async fn get(
    shared: &Shared,
    call: &Call,
    command: Command,
) -> Result<Response<Outgoing<FlightData>>, Status> {
    let batch: RecordBatch = match command {
        Command::CommandGetCatalogs(c) => tables::catalogs(shared, call, c).await?,
        Command::CommandGetDbSchemas(c) => tables::schemas(shared, call, c).await?,
        Command::CommandGetTables(c) => tables::tables(shared, call, c).await?,
        Command::CommandGetTableTypes(c) => tables::types(c)?,
        Command::CommandGetSqlInfo(c) => sql_info::batch(&c)?,
        Command::CommandGetXdbcTypeInfo(c) => type_info::batch(c)?,
        Command::CommandGetPrimaryKeys(c) => keys::primary(shared, call, &c).await?,
        Command::CommandGetExportedKeys(_)
        | Command::CommandGetImportedKeys(_)
        | Command::CommandGetCrossReference(_) => RecordBatch::new_empty(keys::foreign_schema()),
        other => return Err(unknown(&other)),
    };
    let schema = batch.schema();
    let batches = futures::stream::iter([Ok(batch)]);
    Ok(Response::new(encode(&schema, batches).boxed()))
}

/// The status of a metadata builder's refusal: our bug.
fn built<T>(result: arrow_flight::error::Result<T>) -> Result<T, Status> {
    result.map_err(|e| Status::internal(e.to_string()))
}
