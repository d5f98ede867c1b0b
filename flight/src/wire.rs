//! What results look like on the wire: one schema for `FlightInfo`, `GetSchema` and `DoGet`, and batches cast to it.
//!
//! Clients compare the schema that `GetFlightInfo` promised with the one that `DoGet` streams and refuse to go on when they
//! differ, so both come from [`wire_schema`], and every batch is rebuilt under it by [`wire_batch`].
//!
//! - Encodings that some client cannot read are decoded: dictionaries and run ends to their values, string and binary
//!   views to `Utf8` and `Binary`, list views and large lists to `List`, `Float16` to `Float32`, small decimals to
//!   `Decimal128`.
//! - Every field may be null, at any depth: a plan knows more about nulls than its stream keeps to.
//! - Metadata of fields and schema is left out.
//! - Times lose their zone for those who ask for it ([`Times::Naive`]).
//!
//! Values are never changed by it: each of the casts is exact.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::{FlightData, IpcMessage, SchemaAsIpc};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use tonic::Status;

use crate::{status, texts};

/// Size that messages aim at; gRPC clients commonly refuse more than 4 MiB.
const MESSAGE_BYTES_TARGET: usize = 2 << 20;

/// What times look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Times {
    /// Instants, with their zone.
    #[default]
    Zoned,
    /// The same instants without a zone, to be read as UTC: for drivers that cannot read times with one.
    Naive,
}

/// The schema that a result has on the wire.
pub(crate) fn wire_schema(schema: &Schema, times: Times) -> SchemaRef {
    Arc::new(Schema::new(wire_fields(schema.fields(), times)))
}

/// The schema in which parameters are asked for. Times are in milliseconds: the JDBC driver writes its milliseconds into
/// whatever unit it is told, unscaled. Drivers that bind with a schema of their own are not bound to it.
pub(crate) fn parameter_schema(schema: &Schema) -> SchemaRef {
    let field = |field: &FieldRef| {
        let data_type = match wire_type(field.data_type(), Times::Zoned) {
            DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Millisecond, zone),
            DataType::Time32(_) | DataType::Time64(_) => DataType::Time32(TimeUnit::Millisecond),
            other => other,
        };
        Field::new(field.name(), data_type, true)
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

fn wire_fields(fields: &Fields, times: Times) -> Fields {
    fields.iter().map(|field| wire_field(field, times)).collect()
}

fn wire_field(field: &FieldRef, times: Times) -> FieldRef {
    Arc::new(Field::new(field.name(), wire_type(field.data_type(), times), true))
}

fn wire_type(data_type: &DataType, times: Times) -> DataType {
    match data_type {
        DataType::Timestamp(unit, Some(_)) if times == Times::Naive => {
            DataType::Timestamp(*unit, None)
        }
        DataType::Dictionary(_, value) => wire_type(value, times),
        DataType::RunEndEncoded(_, values) => wire_type(values.data_type(), times),
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => DataType::List(wire_field(item, times)),
        DataType::FixedSizeList(item, size) => {
            DataType::FixedSizeList(wire_field(item, times), *size)
        }
        DataType::Struct(fields) => DataType::Struct(wire_fields(fields, times)),
        DataType::Map(entries, sorted) => DataType::Map(wire_entries(entries, times), *sorted),
        other => other.clone(),
    }
}

/// Entries of a map: Arrow wants the entries and the keys without nulls.
fn wire_entries(entries: &FieldRef, times: Times) -> FieldRef {
    let DataType::Struct(fields) = entries.data_type() else {
        return Arc::clone(entries);
    };
    let fields = fields
        .iter()
        .enumerate()
        .map(|(i, f)| {
            Arc::new(Field::new(
                f.name(),
                wire_type(f.data_type(), times),
                i > 0 && f.is_nullable(),
            ))
        })
        .collect();
    Arc::new(Field::new(entries.name(), DataType::Struct(fields), false))
}

/// A batch under the wire's schema.
pub(crate) fn wire_batch(
    batch: &RecordBatch,
    schema: &SchemaRef,
) -> Result<RecordBatch, ArrowError> {
    if batch.num_columns() != schema.fields().len() {
        return Err(ArrowError::SchemaError(format!(
            "a batch of {} columns does not fit the planned {}",
            batch.num_columns(),
            schema.fields().len()
        )));
    }
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| wire_array(column, field.data_type()))
        .collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

fn wire_array(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == data_type {
        return Ok(Arc::clone(array));
    }
    if let (DataType::Utf8, Some(views)) = (data_type, array.as_string_view_opt()) {
        return Ok(Arc::new(texts::plain(views)?));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, data_type, &options)
}

/// A batch in pieces that each encode to about [`MESSAGE_BYTES_TARGET`]. Sizes are those of the rows of the batch, not
/// of the buffers that it shares with others, so that a slice of a large batch stays one message.
fn split(batch: &RecordBatch) -> Vec<RecordBatch> {
    let bytes: usize = batch.columns().iter().map(slice_bytes).sum();
    let pieces = bytes.div_ceil(MESSAGE_BYTES_TARGET).max(1);
    if pieces == 1 {
        return vec![batch.clone()];
    }
    let rows = batch.num_rows().div_ceil(pieces).max(1);
    (0..batch.num_rows())
        .step_by(rows)
        .map(|start| batch.slice(start, rows.min(batch.num_rows() - start)))
        .collect()
}

fn slice_bytes(array: &ArrayRef) -> usize {
    array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_buffer_memory_size())
}

/// Batches as messages: the schema first, even where no batch follows.
pub(crate) fn encode(
    schema: &SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch, Status>> + Send + 'static,
) -> impl Stream<Item = Result<FlightData, Status>> + Send + 'static {
    encode_flight(schema, None, batches.map_err(FlightError::from)).map_err(Status::from)
}

/// As [`encode`], with the descriptor that begins an upload.
pub(crate) fn encode_upload(
    schema: &SchemaRef,
    descriptor: arrow_flight::FlightDescriptor,
    batches: impl Stream<Item = RecordBatch> + Send + 'static,
) -> impl Stream<Item = Result<FlightData, FlightError>> + Send + 'static {
    encode_flight(schema, Some(descriptor), batches.map(Ok))
}

fn encode_flight(
    schema: &SchemaRef,
    descriptor: Option<arrow_flight::FlightDescriptor>,
    batches: impl Stream<Item = Result<RecordBatch, FlightError>> + Send + 'static,
) -> impl Stream<Item = Result<FlightData, FlightError>> + Send + 'static {
    let wire = Arc::clone(schema);
    let batches = batches
        .map_ok(move |batch| {
            let pieces = match wire_batch(&batch, &wire) {
                Ok(batch) => split(&batch).into_iter().map(Ok).collect(),
                Err(error) => {
                    vec![Err(FlightError::from(status::internal(&error)))]
                }
            };
            futures::stream::iter(pieces)
        })
        .try_flatten();
    FlightDataEncoderBuilder::new()
        .with_schema(Arc::clone(schema))
        .with_flight_descriptor(descriptor)
        .with_max_flight_data_size(usize::MAX)
        .build(batches)
}

/// A schema as the bytes of `FlightInfo`, `SchemaResult`, and prepared statements.
pub(crate) fn schema_bytes(schema: &Schema) -> Result<Bytes, Status> {
    let options = arrow::ipc::writer::IpcWriteOptions::default();
    let message: IpcMessage =
        SchemaAsIpc::new(schema, &options).try_into().map_err(|e| status::internal(&e))?;
    Ok(message.0)
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
