//! What a `COPY` says, in the words of `PostgreSQL` or of `DataFusion`.

use std::path::Path;

use datafusion::sql::parser::{CopyToSource, CopyToStatement};
use datafusion::sql::sqlparser::ast::{
    CopyOption, CopySource, CopyTarget, Ident, ObjectName, Query, Statement, Value,
};

use super::super::action::unsupported;
use crate::{Error, ErrorKind};

/// A `COPY`.
#[derive(Clone, Debug)]
pub(crate) struct CopyStatement {
    pub(super) direction: Direction,
    /// As it was written.
    pub(super) file: String,
    pub(super) options: FileOptions,
}

/// From where to where.
#[derive(Clone, Debug)]
pub(super) enum Direction {
    /// A table's columns, all if none is named, into a file.
    TableTo(ObjectName, Vec<Ident>),
    /// A query's rows into a file.
    QueryTo(Box<Query>),
    /// A file into a table's columns, those that the file names if none is named.
    From(ObjectName, Vec<Ident>),
}

/// How rows are written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Csv,
    /// One object for each line.
    Json,
    Parquet,
    /// Arrow's file, or its stream.
    Arrow,
}

/// What is said of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileOptions {
    pub(super) format: Format,
    pub(super) header: bool,
    pub(super) delimiter: u8,
    /// What stands for NULL.
    pub(super) null: String,
}

/// Options as they are given; what is not given follows from the others.
#[derive(Debug, Default)]
struct Given {
    format: Option<Format>,
    header: Option<bool>,
    delimiter: Option<u8>,
    null: Option<String>,
}

/// `COPY … TO '…' (…)`, `COPY … FROM '…' (…)`.
pub(in crate::sql) fn of_sql(statement: Statement) -> Result<CopyStatement, Error> {
    let Statement::Copy { source, to, target, options, legacy_options, values: _ } = statement
    else {
        return Err(unsupported("COPY INTO (use COPY … FROM and COPY … TO)"));
    };
    let file = match target {
        CopyTarget::File { filename } => filename,
        CopyTarget::Stdin | CopyTarget::Stdout => {
            return Err(unsupported(
                "COPY with STDIN or STDOUT (`quorate load` loads files of the client, a query's answer is its output)",
            ));
        }
        CopyTarget::Program { .. } => return Err(unsupported("COPY with PROGRAM")),
    };
    if let Some(option) = legacy_options.first() {
        return Err(unsupported(&format!("COPY with {option} (write options in parentheses)")));
    }
    let mut given = Given::default();
    for option in options {
        given.take(option)?;
    }
    let direction = match (source, to) {
        (CopySource::Table { table_name, columns }, true) => {
            Direction::TableTo(table_name, columns)
        }
        (CopySource::Table { table_name, columns }, false) => Direction::From(table_name, columns),
        (CopySource::Query(query), _) => Direction::QueryTo(query),
    };
    let options = given.whole(&file)?;
    Ok(CopyStatement { direction, file, options })
}

/// `COPY … TO '…' STORED AS … OPTIONS (…)`.
pub(in crate::sql) fn of_datafusion(copy: CopyToStatement) -> Result<CopyStatement, Error> {
    let CopyToStatement { source, target: file, partitioned_by, stored_as, options } = copy;
    if !partitioned_by.is_empty() {
        return Err(unsupported("COPY with PARTITIONED BY"));
    }
    let direction = match source {
        CopyToSource::Relation(name) => Direction::TableTo(name, Vec::new()),
        CopyToSource::Query(query) => Direction::QueryTo(query),
    };
    let mut given = Given::default();
    if let Some(format) = stored_as {
        given.format = Some(format_of(&format)?);
    }
    for (name, value) in options {
        given.take_named(&name, &value)?;
    }
    let options = given.whole(&file)?;
    Ok(CopyStatement { direction, file, options })
}

fn format_of(name: &str) -> Result<Format, Error> {
    match name.to_ascii_lowercase().as_str() {
        "csv" => Ok(Format::Csv),
        "json" | "ndjson" => Ok(Format::Json),
        "parquet" => Ok(Format::Parquet),
        "arrow" => Ok(Format::Arrow),
        other => Err(unsupported(&format!(
            "COPY with format {other:?} (there are csv, json, parquet, arrow)"
        ))),
    }
}

impl Given {
    fn take(&mut self, option: CopyOption) -> Result<(), Error> {
        match option {
            CopyOption::Format(name) => self.format = Some(format_of(&name.value)?),
            CopyOption::Header(header) => self.header = Some(header),
            CopyOption::Delimiter(delimiter) => {
                self.delimiter = Some(ascii(&delimiter.to_string())?);
            }
            CopyOption::Null(null) => self.null = Some(null),
            other => return Err(unknown(&other.to_string())),
        }
        Ok(())
    }

    fn take_named(&mut self, name: &str, value: &Value) -> Result<(), Error> {
        let text = match value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => text.clone(),
            other => other.to_string(),
        };
        let name = name.to_ascii_lowercase();
        match name.strip_prefix("format.").unwrap_or(&name) {
            "header" | "has_header" => {
                let header = text.to_ascii_lowercase().parse();
                self.header = Some(header.map_err(|_| {
                    invalid(format!("option {name} is true or false, not {text:?}"))
                })?);
            }
            "delimiter" => self.delimiter = Some(ascii(&text)?),
            "null" | "null_value" => self.null = Some(text),
            _ => return Err(unknown(&name)),
        }
        Ok(())
    }

    fn whole(self, file: &str) -> Result<FileOptions, Error> {
        let extension =
            Path::new(file).extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        let named = match extension.as_deref() {
            Some("csv" | "tsv" | "txt") => Some(Format::Csv),
            Some("json" | "ndjson" | "jsonl") => Some(Format::Json),
            Some("parquet") => Some(Format::Parquet),
            Some("arrow" | "feather" | "ipc") => Some(Format::Arrow),
            _ => None,
        };
        let Some(format) = self.format.or(named) else {
            return Err(invalid(format!(
                "the format of {file:?} cannot be told by its name; write (FORMAT csv), or json, parquet, arrow"
            )));
        };
        let given = self.header.is_some() || self.delimiter.is_some() || self.null.is_some();
        if given && format != Format::Csv {
            return Err(invalid(
                "HEADER, DELIMITER and NULL are options of CSV files only".to_owned(),
            ));
        }
        let tabs = extension.as_deref() == Some("tsv");
        Ok(FileOptions {
            format,
            header: self.header.unwrap_or(true),
            delimiter: self.delimiter.unwrap_or(if tabs { b'\t' } else { b',' }),
            null: self.null.unwrap_or_default(),
        })
    }
}

fn ascii(delimiter: &str) -> Result<u8, Error> {
    match delimiter.as_bytes() {
        [b'\\', b't'] => Ok(b'\t'),
        [one] if one.is_ascii() && !matches!(one, b'\n' | b'\r' | b'"') => Ok(*one),
        _ => Err(invalid(format!(
            "the delimiter is one ASCII character other than a quote or a line's end, not {delimiter:?}"
        ))),
    }
}

fn unknown(option: &str) -> Error {
    unsupported(&format!("the option {option} of COPY (there are FORMAT, HEADER, DELIMITER, NULL)"))
}

fn invalid(message: String) -> Error {
    Error::request(ErrorKind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use super::super::super::parse::{ParsedStatement, parse};
    use super::*;

    fn copy(sql: &str) -> Result<CopyStatement, Error> {
        match parse(sql)?.statement {
            ParsedStatement::Copy(copy) => Ok(*copy),
            other => panic!("{sql}: {other:?}"),
        }
    }

    fn csv(header: bool, delimiter: u8, null: &str) -> FileOptions {
        FileOptions { format: Format::Csv, header, delimiter, null: null.to_owned() }
    }

    #[test]
    fn both_ways_of_writing_are_understood() {
        for (sql, want) in [
            ("COPY t TO 'a.csv'", csv(true, b',', "")),
            ("copy t(a, b) to 'a.tsv' with (header false, null 'NA');", csv(false, b'\t', "NA")),
            ("COPY t FROM 'x' (FORMAT csv, DELIMITER ';')", csv(true, b';', "")),
            (
                "COPY (SELECT 1) TO 'x' STORED AS CSV OPTIONS ('has_header' 'false', 'format.delimiter' '\\t')",
                csv(false, b'\t', ""),
            ),
        ] {
            assert_eq!(copy(sql).unwrap().options, want, "{sql}");
        }
        assert_eq!(
            copy("COPY t TO 'x' STORED AS PARQUET").unwrap().options.format,
            Format::Parquet
        );
        assert_eq!(copy("COPY t FROM 'x.ndjson'").unwrap().options.format, Format::Json);
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (sql, text) in [
            ("COPY t TO 'x'", "(FORMAT csv)"),
            ("COPY t TO 'x.orc'", "cannot be told by its name"),
            ("COPY t TO 'x.csv' (FORMAT orc)", "there are csv, json, parquet, arrow"),
            ("COPY t TO 'x.csv' (QUOTE '''')", "QUOTE"),
            ("COPY t TO 'x.parquet' (HEADER)", "CSV files only"),
            ("COPY t TO 'x.csv' (DELIMITER 'ß')", "Expect a char"),
            ("COPY t TO 'x' STORED AS CSV OPTIONS ('delimiter' 'ß')", "one ASCII character"),
            ("COPY t FROM STDIN", "quorate load"),
            ("COPY t TO PROGRAM 'cat'", "PROGRAM"),
            ("COPY t TO 'x' STORED AS CSV PARTITIONED BY (a)", "PARTITIONED BY"),
            ("COPY t TO 'x.csv' STORED AS CSV OPTIONS ('speed' 'high')", "speed"),
            ("COPY t INTO 'x.csv'", "Expected"),
        ] {
            let error = copy(sql).unwrap_err().to_string();
            assert!(error.contains(text), "{sql}: {error}");
        }
    }
}
