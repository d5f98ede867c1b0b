//! Rows as CSV (RFC 4180), as `PostgreSQL` writes it: NULL is nothing and the empty text is `""`, so that both come back.

use std::io::{self, Write};

use datafusion::arrow::array::Array;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

use super::statement::FileOptions;

/// A CSV file that is being written.
#[derive(Debug)]
pub(super) struct CsvWriter<W> {
    out: W,
    delimiter: u8,
    /// What stands for NULL.
    null: String,
}

impl<W: Write> CsvWriter<W> {
    /// Begins with the line of names, if it is wanted.
    pub(super) fn begin(
        out: W,
        options: &FileOptions,
        schema: &SchemaRef,
    ) -> Result<Self, ArrowError> {
        if let Some(field) = schema.fields().iter().find(|field| field.data_type().is_nested()) {
            let message = format!("column {:?}: CSV has no {}", field.name(), field.data_type());
            return Err(ArrowError::CsvError(message));
        }
        let mut csv = Self { out, delimiter: options.delimiter, null: options.null.clone() };
        if options.header {
            for (i, field) in schema.fields().iter().enumerate() {
                csv.separate(i)?;
                csv.value(field.name())?;
            }
            csv.out.write_all(b"\n")?;
        }
        Ok(csv)
    }

    /// Adds rows.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let options = FormatOptions::new();
        let cells = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
        let cells = cells.collect::<Result<Vec<_>, _>>()?;
        let nulls: Vec<_> = batch.columns().iter().map(Array::logical_nulls).collect();
        let float: Vec<_> = batch.columns().iter().map(|c| c.data_type().is_floating()).collect();
        for row in 0..batch.num_rows() {
            for (i, (cell, nulls)) in cells.iter().zip(&nulls).enumerate() {
                self.separate(i)?;
                if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                    self.out.write_all(self.null.as_bytes())?;
                    continue;
                }
                let text = cell.value(row).try_to_string()?;
                let text = match text.as_str() {
                    "inf" if float[i] => "Infinity",
                    "-inf" if float[i] => "-Infinity",
                    other => other,
                };
                self.value(text)?;
            }
            self.out.write_all(b"\n")?;
        }
        Ok(())
    }

    /// What it writes to.
    pub(super) fn into_inner(self) -> W {
        self.out
    }

    fn separate(&mut self, column: usize) -> io::Result<()> {
        if column > 0 { self.out.write_all(&[self.delimiter]) } else { Ok(()) }
    }

    /// A value, in quotes if it would be taken for another without them.
    fn value(&mut self, text: &str) -> io::Result<()> {
        let special = |byte: u8| matches!(byte, b'"' | b'\n' | b'\r') || byte == self.delimiter;
        if !text.is_empty() && text != self.null && !text.bytes().any(special) {
            return self.out.write_all(text.as_bytes());
        }
        self.out.write_all(b"\"")?;
        for (i, piece) in text.split('"').enumerate() {
            if i > 0 {
                self.out.write_all(b"\"\"")?;
            }
            self.out.write_all(piece.as_bytes())?;
        }
        self.out.write_all(b"\"")
    }
}
