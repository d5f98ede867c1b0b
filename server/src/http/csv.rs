//! Rows as CSV (RFC 4180): a line of names, then a line a row.
//!
//! NULL is nothing and the empty text is `""`, as `PostgreSQL` has it. Lists, structs and maps are the JSON text that
//! [`rows`](super::rows) gives them, in quotes; numbers and times are the same texts as in JSON.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;
use arrow::json::writer::{EncoderOptions, NullableEncoder, make_encoder};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::rows::Floats;

/// Bytes of CSV under construction.
#[derive(Debug)]
pub(super) struct CsvWriter {
    out: Vec<u8>,
    options: EncoderOptions,
}

/// How the values of a column become text.
enum Cells<'a> {
    /// As JSON has them.
    Json(NullableEncoder<'a>),
    /// Floats: as JSON has them, without the quotes of what JSON has no number for.
    Float(NullableEncoder<'a>),
    /// As people write them.
    Plain(ArrayFormatter<'a>),
}

impl CsvWriter {
    /// Begins with the line of names.
    pub(super) fn new(schema: &Schema) -> Self {
        let options = EncoderOptions::default().with_explicit_nulls(true);
        let options = options.with_encoder_factory(Arc::new(Floats));
        let mut csv = Self { out: Vec::new(), options };
        for (i, field) in schema.fields().iter().enumerate() {
            separate(&mut csv.out, i);
            quoted(&mut csv.out, field.name().as_bytes());
        }
        csv.out.push(b'\n');
        csv
    }

    /// Adds rows.
    pub(super) fn batch(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let format = FormatOptions::new();
        let (schema, options) = (batch.schema(), &self.options);
        let cells = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
            Ok(match field.data_type() {
                DataType::Float32 | DataType::Float64 => {
                    Cells::Float(make_encoder(field, column, options)?)
                }
                nested if nested.is_nested() => Cells::Json(make_encoder(field, column, options)?),
                _ => Cells::Plain(ArrayFormatter::try_new(column, &format)?),
            })
        });
        let mut cells = cells.collect::<Result<Vec<Cells<'_>>, ArrowError>>()?;
        let nulls: Vec<_> = batch.columns().iter().map(Array::logical_nulls).collect();
        let mut text = Vec::new();
        for row in 0..batch.num_rows() {
            for (i, (cell, nulls)) in cells.iter_mut().zip(&nulls).enumerate() {
                separate(&mut self.out, i);
                if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                    continue;
                }
                text.clear();
                match cell {
                    Cells::Json(encoder) | Cells::Float(encoder) => encoder.encode(row, &mut text),
                    Cells::Plain(formatter) => {
                        let value = formatter.value(row).try_to_string()?;
                        text.extend_from_slice(value.as_bytes());
                    }
                }
                let unquoted = match cell {
                    Cells::Float(_) => {
                        let inner = text.strip_prefix(b"\"").and_then(|t| t.strip_suffix(b"\""));
                        inner.unwrap_or(&text)
                    }
                    Cells::Json(_) | Cells::Plain(_) => &text,
                };
                quoted(&mut self.out, unquoted);
            }
            self.out.push(b'\n');
        }
        Ok(())
    }

    /// The bytes written since the last call.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }
}

fn separate(out: &mut Vec<u8>, column: usize) {
    if column > 0 {
        out.push(b',');
    }
}

/// A field, in quotes if it would be taken for another without them.
fn quoted(out: &mut Vec<u8>, text: &[u8]) {
    if !text.is_empty()
        && memchr::memchr3(b',', b'"', b'\n', text).is_none()
        && !text.contains(&b'\r')
    {
        return out.extend_from_slice(text);
    }
    out.push(b'"');
    for byte in text {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
}
