//! Writes results: as a table or as records that are cut, or streamed as CSV, JSON or Arrow.
//!
//! The streamed forms are those of the HTTP interface, and hold one batch in memory. Times are written as RFC 3339, in
//! the zone of their column.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow::util::pretty::pretty_format_batches_with_options;
use console::measure_text_width;

use super::Format;
use crate::http::{Form, RowsWriter};

/// How one result is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// As the format says.
    Plain(Format),
    /// A line per column, under a line per row.
    Records,
}

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
    /// Drawn with a line per column.
    records: bool,
}

impl<W: Write> Output<W> {
    /// Begins a result.
    pub(super) fn begin(shape: Shape, schema: &SchemaRef, out: W) -> Result<Self, ArrowError> {
        let streamed = |form| -> Result<OutputForm, ArrowError> {
            Ok(OutputForm::Streamed(Box::new(RowsWriter::new(form, schema)?)))
        };
        let kept = |records| {
            OutputForm::Table(Table {
                schema: Arc::clone(schema),
                batches: Vec::new(),
                rows: 0,
                cut: false,
                records,
            })
        };
        let form = match shape {
            Shape::Records => kept(true),
            Shape::Plain(Format::Table) => kept(false),
            Shape::Plain(Format::Csv) => streamed(Form::Csv)?,
            Shape::Plain(Format::Json) => streamed(Form::Json)?,
            Shape::Plain(Format::Ndjson) => streamed(Form::Lines)?,
            Shape::Plain(Format::Arrow) => streamed(Form::Arrow)?,
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
    pub(super) fn finish(mut self) -> Result<(), ArrowError> {
        match self.form {
            OutputForm::Table(table) => table.draw(&mut self.out)?,
            OutputForm::Streamed(mut writer) => {
                writer.finish()?;
                self.out.write_all(&writer.take())?;
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
        if self.records {
            let mut number = 0;
            for batch in &self.batches {
                number = draw_records(out, batch, number, &options)?;
            }
        } else {
            let table = pretty_format_batches_with_options(&self.batches, &options)?;
            writeln!(out, "{table}")?;
        }
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

/// Draws a batch with a line per column; `number` rows are drawn before it, and the answer counts its rows, too.
fn draw_records(
    out: &mut impl Write,
    batch: &RecordBatch,
    mut number: usize,
    options: &FormatOptions<'_>,
) -> Result<usize, ArrowError> {
    let schema = batch.schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let width = names.iter().map(|name| measure_text_width(name)).max().unwrap_or(0);
    let columns: Vec<ArrayFormatter<'_>> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, options))
        .collect::<Result<_, _>>()?;
    for row in 0..batch.num_rows() {
        number += 1;
        writeln!(out, "-[ row {number} ]-")?;
        for (name, column) in names.iter().zip(&columns) {
            let value = column.value(row).to_string();
            for (n, line) in value.split('\n').enumerate() {
                let name = if n == 0 { *name } else { "" };
                let blanks = width.saturating_sub(measure_text_width(name));
                writeln!(out, "{name}{:blanks$} | {line}", "")?;
            }
        }
    }
    Ok(number)
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
    use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampNanosecondArray};

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
        shaped(Shape::Plain(format), batch)
    }

    fn shaped(shape: Shape, batch: &RecordBatch) -> String {
        let mut out = Vec::new();
        let mut output = Output::begin(shape, &batch.schema(), &mut out).unwrap();
        output.write(batch).unwrap();
        output.finish().unwrap();
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
        let mut output =
            Output::begin(Shape::Plain(Format::Arrow), &batch().schema(), &mut out).unwrap();
        output.write(&batch()).unwrap();
        output.finish().unwrap();
        let reader = arrow::ipc::reader::StreamReader::try_new(out.as_slice(), None).unwrap();
        let batches: Vec<_> = reader.collect::<Result<_, _>>().unwrap();
        assert_eq!(batches, [batch()]);
    }

    #[test]
    fn a_table_is_cut_and_says_so() {
        let long: ArrayRef = Arc::new(Int64Array::from_iter_values(0..2_500));
        let long = RecordBatch::try_from_iter([("i", long)]).unwrap();
        let mut out = Vec::new();
        let mut output =
            Output::begin(Shape::Plain(Format::Table), &long.schema(), &mut out).unwrap();
        assert_eq!(output.write(&long.slice(0, 1_000)).unwrap(), More::Wanted);
        assert_eq!(output.write(&long.slice(1_000, 1)).unwrap(), More::Enough);
        output.finish().unwrap();
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

    #[test]
    fn records_have_a_line_per_column() {
        let notes: ArrayRef = Arc::new(StringArray::from(vec![Some("a\nb"), None]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![7, -8]));
        let batch = RecordBatch::try_from_iter([("größe", numbers), ("n", notes)]).unwrap();
        let want = "-[ row 1 ]-\ngröße | 7\nn     | a\n      | b\n\
                    -[ row 2 ]-\ngröße | -8\nn     | NULL\n2 rows\n";
        assert_eq!(shaped(Shape::Records, &batch), want);
        assert_eq!(shaped(Shape::Records, &batch.slice(0, 0)), "0 rows\n");
    }

    #[test]
    fn records_are_numbered_across_batches_and_cut() {
        let long: ArrayRef = Arc::new(Int64Array::from_iter_values(0..2_500));
        let long = RecordBatch::try_from_iter([("i", long)]).unwrap();
        let mut out = Vec::new();
        let mut output = Output::begin(Shape::Records, &long.schema(), &mut out).unwrap();
        assert_eq!(output.write(&long.slice(0, 2)).unwrap(), More::Wanted);
        assert_eq!(output.write(&long.slice(2, 2_000)).unwrap(), More::Enough);
        output.finish().unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("-[ row 3 ]-\ni | 2\n"), "{text}");
        assert!(text.contains("-[ row 1000 ]-\ni | 999\nthe first 1000 rows"), "{text}");
    }
}
