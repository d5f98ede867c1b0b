//! Writes results: as a table that is cut, or streamed as CSV, JSON or Arrow.
//!
//! The streamed forms are those of the HTTP interface, and hold one batch in memory. Times are written as RFC 3339, in
//! the zone of their column.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::util::display::FormatOptions;
use arrow::util::pretty::pretty_format_batches_with_options;

use super::Format;
use crate::http::{Form, RowsWriter};

/// Rows that a table shows.
const TABLE_ROWS_MAX: usize = 1_000;

/// Whether more rows are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum More {
    /// Go on.
    Wanted,
    /// What follows would not be shown.
    Enough,
}

/// The rows of one result on their way to `W`.
pub(super) struct Output<W: Write> {
    out: W,
    form: OutputForm,
}

enum OutputForm {
    /// Rows are kept until the end, as a column is as wide as its widest value.
    Table(Table),
    Streamed(Box<RowsWriter>),
}

struct Table {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    rows: usize,
    cut: bool,
}

impl<W: Write> Output<W> {
    /// Begins a result.
    pub(super) fn begin(format: Format, schema: &SchemaRef, out: W) -> Result<Self, ArrowError> {
        let streamed = |form| -> Result<OutputForm, ArrowError> {
            Ok(OutputForm::Streamed(Box::new(RowsWriter::new(form, schema)?)))
        };
        let form = match format {
            Format::Table => OutputForm::Table(Table {
                schema: Arc::clone(schema),
                batches: Vec::new(),
                rows: 0,
                cut: false,
            }),
            Format::Csv => streamed(Form::Csv)?,
            Format::Json => streamed(Form::Json)?,
            Format::Ndjson => streamed(Form::Lines)?,
            Format::Arrow => streamed(Form::Arrow)?,
        };
        Ok(Self { out, form })
    }

    /// Writes the rows of a batch.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<More, ArrowError> {
        match &mut self.form {
            OutputForm::Table(table) => Ok(table.keep(batch)),
            OutputForm::Streamed(writer) => {
                writer.batch(batch)?;
                self.out.write_all(&writer.take())?;
                Ok(More::Wanted)
            }
        }
    }

    /// Ends the result.
    pub(super) fn finish(mut self, format: Format) -> Result<(), ArrowError> {
        match self.form {
            OutputForm::Table(table) => table.draw(&mut self.out)?,
            OutputForm::Streamed(mut writer) => {
                writer.finish()?;
                self.out.write_all(&writer.take())?;
                if format == Format::Json {
                    writeln!(self.out)?;
                }
            }
        }
        Ok(self.out.flush()?)
    }
}

impl Table {
    fn keep(&mut self, batch: &RecordBatch) -> More {
        let kept = batch.num_rows().min(TABLE_ROWS_MAX - self.rows);
        self.cut |= kept < batch.num_rows();
        self.rows += kept;
        if kept > 0 {
            self.batches.push(batch.slice(0, kept));
        }
        if self.cut { More::Enough } else { More::Wanted }
    }

    fn draw(mut self, out: &mut impl Write) -> Result<(), ArrowError> {
        if self.batches.is_empty() {
            self.batches.push(RecordBatch::new_empty(self.schema));
        }
        let options = FormatOptions::new().with_null("NULL").with_display_error(true);
        let table = pretty_format_batches_with_options(&self.batches, &options)?;
        writeln!(out, "{table}")?;
        let rows = self.rows;
        if self.cut {
            writeln!(
                out,
                "the first {rows} rows; more are left out (--format csv has all of them)"
            )?;
        } else {
            writeln!(out, "{rows} row{}", if rows == 1 { "" } else { "s" })?;
        }
        Ok(())
    }
}

/// Whether the reader of our output went away.
pub(super) fn is_broken_pipe(error: &ArrowError) -> bool {
    match error {
        ArrowError::IoError(_, e) => e.kind() == io::ErrorKind::BrokenPipe,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, TimestampNanosecondArray};

    use super::*;

    fn batch() -> RecordBatch {
        let times = TimestampNanosecondArray::from(vec![Some(1_600_000_000_000_000_001), None]);
        RecordBatch::try_from_iter_with_nullable([
            ("time", Arc::new(times.with_timezone("UTC")) as ArrayRef, true),
            ("i", Arc::new(Int64Array::from(vec![Some(i64::MIN), None])), true),
        ])
        .unwrap()
    }

    fn written(format: Format, batch: &RecordBatch) -> String {
        let mut out = Vec::new();
        let mut output = Output::begin(format, &batch.schema(), &mut out).unwrap();
        output.write(batch).unwrap();
        output.finish(format).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn streamed_forms_are_whole() {
        let batch = batch();
        let time = "2020-09-13T12:26:40.000000001Z";
        let csv = written(Format::Csv, &batch);
        assert_eq!(csv, format!("time,i\n{time},-9223372036854775808\n,\n"));
        let json: serde_json::Value = serde_json::from_str(&written(Format::Json, &batch)).unwrap();
        assert_eq!((&json[0]["time"], &json[0]["i"]), (&time.into(), &i64::MIN.into()));
        assert_eq!(json[1]["i"], serde_json::Value::Null);
        assert_eq!(written(Format::Ndjson, &batch).lines().count(), 2);
        assert_eq!(written(Format::Json, &batch.slice(0, 0)).trim(), "[]");
    }

    #[test]
    fn arrow_is_an_ipc_stream() {
        let mut out = Vec::new();
        let mut output = Output::begin(Format::Arrow, &batch().schema(), &mut out).unwrap();
        output.write(&batch()).unwrap();
        output.finish(Format::Arrow).unwrap();
        let reader = arrow::ipc::reader::StreamReader::try_new(out.as_slice(), None).unwrap();
        let batches: Vec<_> = reader.collect::<Result<_, _>>().unwrap();
        assert_eq!(batches, [batch()]);
    }

    #[test]
    fn a_table_is_cut_and_says_so() {
        let long: ArrayRef = Arc::new(Int64Array::from_iter_values(0..2_500));
        let long = RecordBatch::try_from_iter([("i", long)]).unwrap();
        let mut out = Vec::new();
        let mut output = Output::begin(Format::Table, &long.schema(), &mut out).unwrap();
        assert_eq!(output.write(&long.slice(0, 1_000)).unwrap(), More::Wanted);
        assert_eq!(output.write(&long.slice(1_000, 1)).unwrap(), More::Enough);
        output.finish(Format::Table).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("the first 1000 rows; more are left out"), "{text}");
        assert!(text.contains("| 999 ") && !text.contains("| 1000"), "{text}");
    }

    #[test]
    fn a_table_without_rows_shows_its_columns() {
        let text = written(Format::Table, &batch().slice(0, 0));
        assert!(text.contains("| time |") && text.ends_with("0 rows\n"), "{text}");
    }

    #[test]
    fn a_table_tells_null_from_nothing() {
        let text = written(Format::Table, &batch());
        assert!(text.contains("NULL") && text.contains("2020-09-13T12:26:40.000000001Z"), "{text}");
        assert!(text.ends_with("2 rows\n"), "{text}");
    }
}
