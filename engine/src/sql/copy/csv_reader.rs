//! CSV (RFC 4180) as columns of text, which are cast to the table's types as any other text is.
//!
//! ```text
//! file → records (values, each with or without quotes) → batches of text, NULL where a value stands for it
//! ```
//!
//! A value without quotes that is the text for NULL (nothing, unless said otherwise) is NULL; `""` is the empty text.
//! In columns that hold no text, `""` is NULL, too, where nothing is.
//!
//! **Limits.** A record has [`RECORD_BYTES_MAX`] bytes at most.

use std::io::BufRead;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, StringBuilder};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::record_batch::RecordBatch;

use super::source::BATCH_ROWS;
use super::statement::FileOptions;

/// A record that is longer has lost its closing quote, or is no record.
const RECORD_BYTES_MAX: usize = 64 << 20;
/// Bytes after which a batch ends.
const BATCH_BYTES: usize = 16 << 20;
/// What some programs begin a file with.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The values of a record.
#[derive(Debug, Default)]
pub(super) struct Record {
    bytes: Vec<u8>,
    /// Where each value ends, and whether it was in quotes.
    values: Vec<(usize, bool)>,
    /// The line that it begins at, from 1.
    line: u64,
}

/// Where the reader stands within a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first byte of a value.
    Begin,
    /// In a value without quotes.
    Plain,
    /// In quotes.
    Quoted,
    /// After a quote within quotes: the last one, or the first of two.
    Quote,
}

/// Records of a file, one after the other.
#[derive(Debug)]
pub(super) struct Records<R> {
    input: R,
    delimiter: u8,
    /// The line that comes next, from 1.
    line: u64,
    begun: bool,
    /// Whether a carriage return came last: the line feed after it is of the same end of line.
    returned: bool,
}

impl<R: BufRead> Records<R> {
    /// Of a file from its beginning.
    pub(super) fn new(input: R, delimiter: u8) -> Self {
        Self { input, delimiter, line: 1, begun: false, returned: false }
    }

    /// Reads the next record into `record`; `false` at the end. A line without anything is a record of one value.
    pub(super) fn next(&mut self, record: &mut Record) -> Result<bool, ArrowError> {
        self.begin()?;
        record.bytes.clear();
        record.values.clear();
        record.line = self.line;
        let mut state = State::Begin;
        let mut some = false;
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                return end(record, state, some);
            }
            let mut used = 0;
            let mut ended = false;
            for &byte in buffer {
                used += 1;
                if std::mem::take(&mut self.returned) && byte == b'\n' && !some {
                    continue;
                }
                some = true;
                if byte == b'\n' && state == State::Quoted {
                    self.line += 1;
                }
                if step(record, &mut state, byte, self.delimiter)? {
                    self.line += 1;
                    self.returned = byte == b'\r';
                    ended = true;
                    break;
                }
            }
            self.input.consume(used);
            if ended {
                return Ok(true);
            }
            if record.bytes.len() > RECORD_BYTES_MAX {
                return Err(wrong(
                    record.line,
                    "the record is longer than 64 MiB: is a quote missing?",
                ));
            }
        }
    }

    /// Passes over a byte order mark.
    fn begin(&mut self) -> Result<(), ArrowError> {
        if !std::mem::replace(&mut self.begun, true)
            && self.input.fill_buf()?.starts_with(BYTE_ORDER_MARK)
        {
            self.input.consume(BYTE_ORDER_MARK.len());
        }
        Ok(())
    }
}

/// The file ends: with the last record, unless that ended with its line.
fn end(record: &mut Record, state: State, some: bool) -> Result<bool, ArrowError> {
    if state == State::Quoted {
        return Err(wrong(record.line, "a quoted value does not end"));
    }
    if some {
        record.close(state == State::Quote);
    }
    Ok(some)
}

/// Takes one byte; whether the record ends with it.
fn step(
    record: &mut Record,
    state: &mut State,
    byte: u8,
    delimiter: u8,
) -> Result<bool, ArrowError> {
    match (*state, byte) {
        (State::Quoted, b'"') => *state = State::Quote,
        (State::Quote, b'"') => {
            record.bytes.push(byte);
            *state = State::Quoted;
        }
        (State::Quoted, _) => record.bytes.push(byte),
        (State::Begin, b'"') => *state = State::Quoted,
        (_, b'\n' | b'\r') => {
            record.close(*state == State::Quote);
            return Ok(true);
        }
        _ if byte == delimiter => {
            record.close(*state == State::Quote);
            *state = State::Begin;
        }
        (State::Quote, _) => {
            return Err(wrong(record.line, "there is text after a closing quote"));
        }
        (State::Begin | State::Plain, _) => {
            record.bytes.push(byte);
            *state = State::Plain;
        }
    }
    Ok(false)
}

fn wrong(line: u64, what: &str) -> ArrowError {
    ArrowError::CsvError(format!("line {line}: {what}"))
}

impl Record {
    fn close(&mut self, quoted: bool) {
        self.values.push((self.bytes.len(), quoted));
    }

    /// Whether it is a line without anything.
    fn is_blank(&self) -> bool {
        self.values == [(0, false)]
    }

    /// The values as text, each with whether it was in quotes.
    pub(super) fn texts(&self) -> Result<impl Iterator<Item = (&str, bool)>, ArrowError> {
        // Halves of a character in two values would be text together.
        let text = std::str::from_utf8(&self.bytes).ok();
        let text =
            text.filter(|text| self.values.iter().all(|(end, _)| text.is_char_boundary(*end)));
        let text = text.ok_or_else(|| wrong(self.line, "the record is not UTF-8"))?;
        let starts = std::iter::once(0).chain(self.values.iter().map(|(end, _)| *end));
        Ok(starts
            .zip(&self.values)
            .map(|(start, (end, quoted))| (text.get(start..*end).unwrap_or_default(), *quoted)))
    }
}

/// A CSV file as batches of text.
#[derive(Debug)]
pub(super) struct CsvBatches<R> {
    records: Records<R>,
    record: Record,
    null: String,
    schema: SchemaRef,
    /// Which columns hold text.
    text: Vec<bool>,
    done: bool,
}

impl<R: BufRead> CsvBatches<R> {
    /// The rows after the line of names, if there is one. `types` are those of the columns in the order of the file.
    pub(super) fn begin(
        input: R,
        options: &FileOptions,
        types: &SchemaRef,
    ) -> Result<Self, ArrowError> {
        let mut records = Records::new(input, options.delimiter);
        let mut record = Record::default();
        if options.header {
            records.next(&mut record)?;
        }
        let is_text = |field: &Arc<Field>| {
            matches!(field.data_type(), DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8)
        };
        let field = |field: &Arc<Field>| Field::new(field.name(), DataType::Utf8, true);
        Ok(Self {
            records,
            record,
            null: options.null.clone(),
            schema: Arc::new(Schema::new(types.fields().iter().map(field).collect::<Vec<_>>())),
            text: types.fields().iter().map(is_text).collect(),
            done: false,
        })
    }

    fn batch(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        let width = self.text.len();
        let mut columns: Vec<_> = (0..width).map(|_| StringBuilder::new()).collect();
        let (mut rows, mut bytes) = (0, 0);
        while rows < BATCH_ROWS && bytes < BATCH_BYTES {
            if !self.records.next(&mut self.record)? {
                self.done = true;
                break;
            }
            let record = &self.record;
            if record.is_blank() && width > 1 {
                continue;
            }
            if record.values.len() != width {
                let have = record.values.len();
                let message = format!("the record has {have} values instead of {width}");
                return Err(wrong(record.line, &message));
            }
            for ((value, quoted), (column, is_text)) in
                record.texts()?.zip(columns.iter_mut().zip(&self.text))
            {
                let null = value == self.null && (!quoted || (value.is_empty() && !is_text));
                column.append_option((!null).then_some(value));
            }
            rows += 1;
            bytes += record.bytes.len();
        }
        if rows == 0 {
            return Ok(None);
        }
        let columns = columns.iter_mut().map(|c| Arc::new(c.finish()) as ArrayRef).collect();
        RecordBatch::try_new(Arc::clone(&self.schema), columns).map(Some)
    }
}

impl<R: BufRead> Iterator for CsvBatches<R> {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let batch = self.batch().transpose();
        self.done |= !matches!(batch, Some(Ok(_)));
        batch
    }
}

/// The names in the first line.
pub(super) fn header<R: BufRead>(input: R, delimiter: u8) -> Result<Vec<String>, ArrowError> {
    let mut record = Record::default();
    if !Records::new(input, delimiter).next(&mut record)? {
        return Err(ArrowError::CsvError("the file has no line of names".to_owned()));
    }
    Ok(record.texts()?.map(|(name, _)| name.to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of each record, `'` after one that was in quotes, read from a buffer of `step` bytes.
    fn check(text: &str, want: &[&[&str]]) {
        for step in [1, 2, 3, 64] {
            let input = std::io::BufReader::with_capacity(step, text.as_bytes());
            let mut records = Records::new(input, b',');
            let mut record = Record::default();
            let mut found: Vec<Vec<String>> = Vec::new();
            while records.next(&mut record).unwrap() {
                let texts = record.texts().unwrap();
                let shown = |(text, quoted)| format!("{text}{}", if quoted { "'" } else { "" });
                found.push(texts.map(shown).collect());
            }
            assert_eq!(found, want, "{text:?} by {step}");
        }
    }

    fn check_error(text: &str, want: &str) {
        let mut records = Records::new(text.as_bytes(), b',');
        let mut record = Record::default();
        loop {
            match records.next(&mut record) {
                Ok(true) => {}
                Ok(false) => panic!("{text:?} is no error"),
                Err(error) => return assert_eq!(error.to_string(), format!("Csv error: {want}")),
            }
        }
    }

    #[test]
    fn records_are_cut_at_ends_of_lines_outside_of_quotes() {
        check("a,b\nc,d", &[&["a", "b"], &["c", "d"]]);
        check("a,b\r\nc,d\r\n", &[&["a", "b"], &["c", "d"]]);
        check("a,b\rc,d\r", &[&["a", "b"], &["c", "d"]]);
        check("", &[]);
        check("\n\n", &[&[""], &[""]]);
        check(",\n\"\",", &[&["", ""], &["'", ""]]);
        check("\"a\nb\",\"c\r\nd\"", &[&["a\nb'", "c\r\nd'"]]);
        check("\"say \"\"x\"\"\",\"ß,\"\n", &[&["say \"x\"'", "ß,'"]]);
        check("5\" pipe,x", &[&["5\" pipe", "x"]]);
    }

    #[test]
    fn wrong_records_are_errors_with_their_line() {
        check_error("a\n\"b\nc", "line 2: a quoted value does not end");
        check_error("\"a\nb\"\n\"c\"d", "line 3: there is text after a closing quote");
    }

    #[test]
    fn what_stands_for_null_is_told_from_the_empty_text() {
        let types = Arc::new(Schema::new(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("t", DataType::Utf8View, true),
        ]));
        for (null, text, want) in [
            ("", ",\n\"\",\"\"\n\n1,x", [[None, None], [None, Some("")], [Some("1"), Some("x")]]),
            (
                "NA",
                "NA,NA\n\"NA\",\"NA\"\n1,",
                [[None, None], [Some("NA"), Some("NA")], [Some("1"), Some("")]],
            ),
        ] {
            let options = FileOptions {
                format: super::super::statement::Format::Csv,
                header: false,
                delimiter: b',',
                null: null.to_owned(),
            };
            let batches = CsvBatches::begin(text.as_bytes(), &options, &types).unwrap();
            let batches: Vec<_> = batches.map(Result::unwrap).collect();
            let [batch] = batches.as_slice() else { panic!("{} batches", batches.len()) };
            let column = |i: usize| {
                use datafusion::arrow::array::AsArray;
                batch.column(i).as_string::<i32>().iter().collect::<Vec<_>>()
            };
            let rows: Vec<_> = column(0).into_iter().zip(column(1)).collect();
            assert_eq!(rows, want.map(|[n, t]| (n, t)), "{text:?}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_name() {
        let names = header("\u{feff}time,\"a b\"\n1,2".as_bytes(), b',').unwrap();
        assert_eq!(names, ["time", "a b"]);
    }
}
