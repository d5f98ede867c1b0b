//! Values as DataFusion's files write them: floats rounded to twelve digits behind the point, decimals without trailing
//! zeros, an empty text as `(empty)`, and a text of several lines in the last column as several rows. Sessions have a time
//! zone here, UTC unless said, and DataFusion's have none: the `Z` behind a time is not compared.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Schema};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::config::{ConfigField, FormatOptions as DataFusionFormat};
use futures::TryStreamExt;
use quorate_flight::{Client, ClientError, ClientOutcome};
use sqllogictest::{AsyncDB, ColumnType, DBOutput, Normalizer};

/// Digits behind the point that are compared.
const DIGITS: usize = 12;

/// The letters that DataFusion's files have for types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Boolean,
    DateTime,
    Integer,
    Number,
    Text,
    Timestamp,
    Other,
}

impl ColumnType for Kind {
    fn from_char(letter: char) -> Option<Self> {
        Some(match letter {
            'B' => Self::Boolean,
            'D' => Self::DateTime,
            'I' => Self::Integer,
            'P' => Self::Timestamp,
            'R' => Self::Number,
            'T' => Self::Text,
            _ => Self::Other,
        })
    }

    fn to_char(&self) -> char {
        match self {
            Self::Boolean => 'B',
            Self::DateTime => 'D',
            Self::Integer => 'I',
            Self::Timestamp => 'P',
            Self::Number => 'R',
            Self::Text => 'T',
            Self::Other => '?',
        }
    }
}

impl Kind {
    fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Boolean => Self::Boolean,
            t if t.is_integer() => Self::Integer,
            t if t.is_floating() || t.is_decimal() => Self::Number,
            t if t.is_string() => Self::Text,
            DataType::Date32 | DataType::Date64 | DataType::Time32(_) | DataType::Time64(_) => {
                Self::DateTime
            }
            DataType::Timestamp(_, _) => Self::Timestamp,
            _ => Self::Other,
        }
    }
}

/// Why a record cannot be run, or its answer not be read.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        // As the files have it: DataFusion's own runner calls its errors so.
        Self(format!("DataFusion error: {error}"))
    }
}

/// A connection that runs the records.
#[derive(Debug)]
pub(crate) struct Connection {
    client: Client,
}

impl Connection {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }
}

#[async_trait::async_trait]
impl AsyncDB for Connection {
    type Error = Failure;
    type ColumnType = Kind;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<Kind>, Failure> {
        let word = sql.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
        match self.client.execute(sql).await? {
            // DataFusion answers these with a row.
            ClientOutcome::Updated(Some(count))
                if ["insert", "update", "delete"].contains(&word.as_str()) =>
            {
                Ok(DBOutput::Rows {
                    types: vec![Kind::Integer],
                    rows: vec![vec![count.to_string()]],
                })
            }
            ClientOutcome::Updated(_) => Ok(DBOutput::StatementComplete(0)),
            ClientOutcome::Rows { schema, batches } => {
                let batches: Vec<RecordBatch> = batches.try_collect().await?;
                let mut rows = Vec::new();
                for batch in &batches {
                    append(&mut rows, batch).map_err(|e| Failure(e.to_string()))?;
                }
                Ok(DBOutput::Rows { types: kinds(&schema), rows })
            }
        }
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &'static str {
        "DataFusion"
    }
}

fn kinds(schema: &Schema) -> Vec<Kind> {
    schema.fields().iter().map(|field| Kind::of(field.data_type())).collect()
}

fn append(
    rows: &mut Vec<Vec<String>>,
    batch: &RecordBatch,
) -> Result<(), arrow::error::ArrowError> {
    for row in 0..batch.num_rows() {
        let cells = batch.columns().iter().map(|column| cell(column, row));
        let mut cells = cells.collect::<Result<Vec<String>, _>>()?;
        let last = cells.pop().unwrap_or_default();
        let lines: Vec<&str> = last.split('\n').collect();
        if lines.len() < 2 {
            cells.push(last);
            rows.push(cells);
            continue;
        }
        rows.push(cells);
        for (number, line) in lines.iter().enumerate() {
            let text = line.trim_start();
            let indent = "-".repeat(line.len() - text.len());
            rows.push(vec![format!("{:02}){indent}{text}", number + 1)]);
        }
    }
    Ok(())
}

fn cell(column: &ArrayRef, row: usize) -> Result<String, arrow::error::ArrowError> {
    if column.is_null(row) {
        return Ok("NULL".to_owned());
    }
    Ok(match column.data_type() {
        DataType::Float32 => number(&column.as_primitive::<Float32Type>().value(row).to_string()),
        DataType::Float64 => number(&column.as_primitive::<Float64Type>().value(row).to_string()),
        t if t.is_string() || t.is_decimal() => {
            let options = FormatOptions::default();
            let text = ArrayFormatter::try_new(column, &options)?.value(row).to_string();
            if t.is_decimal() { decimal(&text) } else { shown(&text) }
        }
        _ => {
            let mut format = DataFusionFormat::default();
            format.set("null", "NULL")?;
            let options: FormatOptions<'_> = (&format).try_into()?;
            ArrayFormatter::try_new(column, &options)?.value(row).to_string()
        }
    })
}

fn shown(text: &str) -> String {
    if text.is_empty() {
        "(empty)".to_owned()
    } else {
        text.trim_end_matches('\n').replace('\u{0}', "\\0")
    }
}

fn number(text: &str) -> String {
    match text {
        "inf" => "Infinity".to_owned(),
        "-inf" => "-Infinity".to_owned(),
        _ if text.contains("NaN") => "NaN".to_owned(),
        _ => decimal(&rounded(text)),
    }
}

/// A number written with digits and a point, rounded half to even.
fn rounded(text: &str) -> String {
    let Some((whole, fraction)) = text.split_once('.') else { return text.to_owned() };
    if fraction.len() <= DIGITS {
        return text.to_owned();
    }
    let (kept, cut) = fraction.split_at(DIGITS);
    let sign = if whole.starts_with('-') { "-" } else { "" };
    let mut digits: Vec<u8> = format!("0{}{kept}", whole.trim_start_matches('-')).into_bytes();
    let half = cut.starts_with('5') && cut[1..].bytes().all(|digit| digit == b'0');
    let odd = digits.last().is_some_and(|digit| digit % 2 == 1);
    if if half { odd } else { cut.as_bytes()[0] >= b'5' } {
        for digit in digits.iter_mut().rev() {
            if *digit != b'9' {
                *digit += 1;
                break;
            }
            *digit = b'0';
        }
    }
    let digits = String::from_utf8(digits).expect("digits are ASCII");
    let (whole, fraction) = digits.split_at(digits.len() - DIGITS);
    let whole = whole.trim_start_matches('0');
    format!("{sign}{}.{fraction}", if whole.is_empty() { "0" } else { whole })
}

/// Without zeros at the end.
fn decimal(text: &str) -> String {
    let text = match text.split_once('.') {
        Some(_) => text.trim_end_matches('0').trim_end_matches('.'),
        None => text,
    };
    if text.trim_start_matches('-').bytes().all(|b| matches!(b, b'0' | b'.')) { "0" } else { text }
        .to_owned()
}

/// What is compared of a line: not whether times are in UTC or in no zone, since sessions have one here.
pub(crate) fn normalize(line: &String) -> String {
    let bare = |word: &str| match word.strip_suffix('Z') {
        Some(time) if time.contains('T') && time.ends_with(|c: char| c.is_ascii_digit()) => {
            time.to_owned()
        }
        _ => word.to_owned(),
    };
    let line = line.replace(r#", "UTC")"#, ")");
    line.trim_end().split(' ').map(bare).collect::<Vec<_>>().join(" ")
}

/// Whether rows are what is expected; `<slt:ignore>` stands for anything.
pub(crate) fn are_equal(
    normalize: Normalizer,
    actual: &[Vec<String>],
    expected: &[String],
) -> bool {
    let actual: Vec<String> = actual.iter().map(|row| normalize(&row.join(" "))).collect();
    let expected: Vec<String> = expected.iter().map(normalize).collect();
    if !expected.iter().any(|line| line.contains("<slt:ignore>")) {
        return actual == expected;
    }
    let (actual, expected) = (actual.join("\n"), expected.join("\n"));
    let mut rest = actual.as_str();
    for (number, part) in expected.split("<slt:ignore>").enumerate() {
        match rest.find(part) {
            Some(at) if number > 0 || at == 0 => rest = &rest[at + part.len()..],
            _ => return false,
        }
    }
    true
}
