//! Rows as JSON by columns: one object with a list of values for each column, as plotting code wants it.
//!
//! The second column begins where the first one ends, so nothing can go out before the last row is known. All of it is
//! held in memory, and so it has a bound: what is longer is refused before anything is sent.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::json::writer::{EncoderOptions, make_encoder};

use super::rows::Floats;

/// How long the lists of a result may be together.
const COLUMNS_BYTES_MAX: usize = 16 << 20;

/// Writes the batches of one result.
#[derive(Debug)]
pub(super) struct ColumnsWriter {
    schema: SchemaRef,
    /// The values of each column, with commas between them.
    columns: Vec<Vec<u8>>,
    /// The whole, once it is.
    out: Vec<u8>,
}

impl ColumnsWriter {
    /// A writer for rows of this schema, whose names are distinct.
    pub(super) fn new(schema: &SchemaRef) -> Self {
        let columns = vec![Vec::new(); schema.fields().len()];
        Self { schema: Arc::clone(schema), columns, out: Vec::new() }
    }

    /// Adds a batch; [`ArrowError::NotYetImplemented`] if the result becomes too long for this form.
    pub(super) fn batch(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let options = EncoderOptions::default()
            .with_explicit_nulls(true)
            .with_encoder_factory(Arc::new(Floats));
        let mut left = COLUMNS_BYTES_MAX.saturating_sub(self.columns.iter().map(Vec::len).sum());
        let fields = self.schema.fields().iter();
        for ((field, values), out) in fields.zip(batch.columns()).zip(&mut self.columns) {
            let mut encoder = make_encoder(field, values.as_ref(), &options)?;
            for row in 0..values.len() {
                let before = out.len();
                if before > 0 {
                    out.push(b',');
                }
                if encoder.is_null(row) {
                    out.extend_from_slice(b"null");
                } else {
                    encoder.encode(row, out);
                }
                left = left.checked_sub(out.len() - before).ok_or_else(too_long)?;
            }
        }
        Ok(())
    }

    /// Ends the result.
    pub(super) fn finish(&mut self) {
        self.out.push(b'{');
        for (n, (field, values)) in self.schema.fields().iter().zip(&mut self.columns).enumerate() {
            if n > 0 {
                self.out.push(b',');
            }
            let name = serde_json::Value::from(field.name().as_str()).to_string();
            self.out.extend_from_slice(name.as_bytes());
            self.out.extend_from_slice(b":[");
            // What is copied is let go at once.
            self.out.extend_from_slice(&std::mem::take(values));
            self.out.push(b']');
        }
        self.out.extend_from_slice(b"}\n");
    }

    /// The bytes written since the last call.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }
}

fn too_long() -> ArrowError {
    ArrowError::NotYetImplemented(format!(
        "the rows take more than {COLUMNS_BYTES_MAX} bytes, which is all that goes by columns: add a LIMIT, or ask for a \
         form whose rows go out as they come, such as application/x-ndjson"
    ))
}
