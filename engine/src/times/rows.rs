//! Rows whose times have no zone, read in one.

use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::error::DataFusionError;

use super::instants;
use crate::{Error, ErrorKind};

/// A schema whose times without a zone have this one.
pub(crate) fn with_zone(schema: &Schema, zone: &Arc<str>) -> SchemaRef {
    let field = |field: &Arc<Field>| match field.data_type() {
        DataType::Timestamp(_, None) => {
            let kind = DataType::Timestamp(TimeUnit::Nanosecond, Some(Arc::clone(zone)));
            Arc::new(field.as_ref().clone().with_data_type(kind))
        }
        _ => Arc::clone(field),
    };
    let fields: Vec<_> = schema.fields().iter().map(field).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// Rows whose times without a zone are read in the one that the schema has for them.
pub(crate) fn in_zone(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Error> {
    let column =
        |(array, field): (&ArrayRef, &Arc<Field>)| match (array.data_type(), field.data_type()) {
            (DataType::Timestamp(_, None), DataType::Timestamp(_, Some(zone))) => {
                instants(array, Some(zone)).map_err(|e| {
                    let message =
                        format!("column {:?} (row {}): {}", field.name(), e.row + 1, e.message);
                    Error::request(ErrorKind::Invalid, message)
                })
            }
            _ => Ok(Arc::clone(array)),
        };
    let columns = batch.columns().iter().zip(schema.fields()).map(column);
    RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<Vec<_>, _>>()?)
        .map_err(|e| Error::from(DataFusionError::from(e)))
}
