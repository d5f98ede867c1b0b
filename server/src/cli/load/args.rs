//! The command line of `quorate load`.

use std::path::PathBuf;

use arrow::datatypes::TimeUnit;
use clap::{Args, ValueEnum};

use super::columns::Type;
use super::csv_rows::Dialect;
use super::http::Precision;
use super::plan::Wishes;
use super::source::FileFormat;

/// Arguments of `load`.
#[derive(Args, Clone, Debug)]
pub(crate) struct LoadArgs {
    /// Files, patterns such as 'day-*.csv.gz', or `-` for standard input
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<String>,
    /// Table of the rows, made if it is not there; lines of line protocol name theirs
    #[arg(short = 't', long, value_name = "TABLE")]
    pub(super) table: Option<String>,
    /// What is in the files, where their names do not tell
    #[arg(long, value_enum)]
    pub(super) format: Option<FileFormat>,
    #[command(flatten)]
    pub(super) node: NodeArgs,
    #[command(flatten)]
    pub(super) columns: ColumnArgs,
    #[command(flatten)]
    pub(super) dialect: DialectArgs,
    #[command(flatten)]
    pub(super) outcome: OutcomeArgs,
    /// Show the columns as the files and the table give them, and send nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Send what earlier loads sent, too, such as rows that were deleted since
    #[arg(long)]
    pub(super) again: bool,
}

/// Where the rows go.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Node")]
pub(super) struct NodeArgs {
    /// Where Flight SQL is served
    #[arg(long, env = "QUORATE_ADDR", default_value = "grpc://127.0.0.1:50051")]
    pub(super) addr: String,
    /// Where HTTP is served, which takes line protocol: `host:port` or `http://host:port`
    #[arg(long, env = "QUORATE_HTTP_ADDR", default_value = "http://127.0.0.1:8086")]
    pub(super) http_addr: String,
    /// Database of the table
    #[arg(long, env = "QUORATE_DATABASE", default_value = "main")]
    pub(super) database: String,
    /// Bearer token
    #[arg(long, env = "QUORATE_TOKEN", hide_env_values = true)]
    pub(super) token: Option<String>,
}

/// What the columns become.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Columns")]
pub(super) struct ColumnArgs {
    /// The column that is the time [default: `time`, else the only one that holds times]
    #[arg(long, value_name = "COLUMN")]
    pub(super) time: Option<String>,
    /// The columns that are tags of a new table, with commas; an empty text is none [default: all texts]
    #[arg(long, value_name = "COLUMNS")]
    pub(super) tags: Option<String>,
    /// What integers in the time count since 1970
    #[arg(long, value_enum, value_name = "UNIT")]
    pub(super) time_unit: Option<Unit>,
    /// Types of columns, where the rows that are looked at do not tell: `n=DOUBLE,code=STRING`
    #[arg(long, value_name = "TYPES")]
    pub(super) types: Option<String>,
    /// Rows that are looked at for the types of columns, over the beginnings of all files
    #[arg(long, value_name = "ROWS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) sample: u64,
}

/// How text files are written.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Text files")]
pub(super) struct DialectArgs {
    /// The character between values of CSV: `;`, `\t` [default: a comma, a tab in .tsv]
    #[arg(long, value_name = "CHARACTER", value_parser = delimiter)]
    pub(super) delimiter: Option<u8>,
    /// Names of the columns, with commas, of CSV that has no line with names
    #[arg(long, value_name = "NAMES")]
    pub(super) header: Option<String>,
    /// A text that stands for no value in CSV, besides nothing; may be given more than once
    #[arg(long, value_name = "TEXT")]
    pub(super) null: Vec<String>,
    /// Unit of the timestamps of line protocol
    #[arg(long, value_enum, default_value_t = Precision::Ns, value_name = "UNIT")]
    pub(super) precision: Precision,
}

/// What becomes of rejected rows, and how the end is told.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Outcome")]
pub(super) struct OutcomeArgs {
    /// CSV file for rejected rows: file, line, reason, text
    #[arg(long, value_name = "FILE")]
    pub(super) rejected: Option<PathBuf>,
    /// End with status 0 although rows were rejected
    #[arg(long)]
    pub(super) allow_rejected: bool,
    /// Tell the outcome as one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// What an integer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Unit {
    /// Seconds
    S,
    /// Milliseconds
    Ms,
    /// Microseconds
    Us,
    /// Nanoseconds
    Ns,
}

impl LoadArgs {
    /// What is asked of the columns.
    pub(super) fn wishes(&self, table: &str) -> Result<Wishes, String> {
        let columns = &self.columns;
        Ok(Wishes {
            table: table.to_owned(),
            time: columns.time.clone(),
            tags: columns.tags.as_deref().map(|text| names("--tags", text)).transpose()?,
            types: columns.types.as_deref().map(types).transpose()?.unwrap_or_default(),
            time_unit: columns.time_unit.map(|unit| match unit {
                Unit::S => TimeUnit::Second,
                Unit::Ms => TimeUnit::Millisecond,
                Unit::Us => TimeUnit::Microsecond,
                Unit::Ns => TimeUnit::Nanosecond,
            }),
        })
    }

    /// How CSV is written.
    pub(super) fn dialect(&self) -> Result<Dialect, String> {
        let DialectArgs { delimiter, header, null, .. } = &self.dialect;
        Ok(Dialect {
            delimiter: *delimiter,
            names: header.as_deref().map(|text| names("--header", text)).transpose()?,
            nulls: null.clone(),
        })
    }
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Ok(*byte),
        b"\\t" => Ok(b'\t'),
        _ => Err("it is one ASCII character, or \\t".to_owned()),
    }
}

/// Names between commas, as a line of CSV: one with a comma stands in quotes.
fn names(flag: &str, text: &str) -> Result<Vec<String>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    // A quote counts where a name begins, and names may have blanks before them.
    let (mut quoted, mut begins) = (false, true);
    let close: String = text
        .chars()
        .filter(|c| {
            let blank = begins && c.is_whitespace();
            quoted ^= *c == '"';
            begins = blank || (*c == ',' && !quoted);
            !blank
        })
        .collect();
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .trim(csv::Trim::All)
        .from_reader(close.as_bytes());
    let Some(Ok(record)) = reader.records().next() else {
        return Err(format!("{flag} is no list of names: {text:?}"));
    };
    let names: Vec<String> = record.iter().map(str::to_owned).collect();
    if names.iter().any(String::is_empty) {
        return Err(format!("{flag}: a name is empty in {text:?}"));
    }
    Ok(names)
}

fn types(text: &str) -> Result<Vec<(String, Type)>, String> {
    let pair = |pair: String| {
        let (name, data_type) = pair
            .rsplit_once('=')
            .ok_or_else(|| format!("--types: {pair:?} is not such as column=DOUBLE"))?;
        let known = "BOOLEAN, BIGINT, BIGINT UNSIGNED, DOUBLE, STRING, TIMESTAMP";
        let data_type = Type::of_sql(data_type)
            .ok_or_else(|| format!("--types: {data_type:?} is none of {known}"))?;
        Ok((name.trim().to_owned(), data_type))
    };
    names("--types", text)?.into_iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_with_blanks_and_quotes() {
        assert_eq!(names("--tags", "host, \"a,b\"").unwrap(), ["host", "a,b"]);
        assert_eq!(names("--tags", " ").unwrap(), Vec::<String>::new());
        assert!(names("--tags", "a,,b").unwrap_err().contains("--tags: a name is empty"));
    }

    #[test]
    fn types_are_those_of_sql() {
        let want = [("a=b".to_owned(), Type::Unsigned), ("n".to_owned(), Type::Double)];
        assert_eq!(types("a=b=bigint unsigned, n=double").unwrap(), want);
        assert!(types("n").unwrap_err().contains("column=DOUBLE"));
        assert!(types("n=DATE").unwrap_err().contains("STRING"));
    }

    #[test]
    fn a_delimiter_is_one_character() {
        assert_eq!((delimiter(";"), delimiter("\\t")), (Ok(b';'), Ok(b'\t')));
        for text in ["", ";;", "\"", "€"] {
            assert!(delimiter(text).is_err(), "{text:?}");
        }
    }
}
