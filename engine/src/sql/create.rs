//! `CREATE TABLE`: the definition translated to a command of the catalog; `AS` goes through the ingest.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::sql::parser::Statement as FrontStatement;
use datafusion::sql::sqlparser::ast::helpers::stmt_create_table::CreateTableBuilder;
use datafusion::sql::sqlparser::ast::{
    ColumnDef, ColumnOption, CreateTable, CreateTableOptions, DataType, Expr, Ident, Query,
    SqlOption, Statement, TableConstraint, Value,
};
use quorate_storage::batch::Nulls;
use quorate_storage::catalog::limits::{SPREAD_MAX, TIME_SLICE_NS_MIN};
use quorate_storage::catalog::{CatalogCommand, ColumnDefinition, OptionsChange, TableOptions};
use quorate_storage::{ColumnKind, FieldType};

use super::action::unsupported;
use super::duration::parse_duration;
use super::names::{TablePlace, name_of, stored_table};
use super::parameters::ParameterRow;
use super::{StatementContext, insert, query};
use crate::ingest::{IngestMode, TableIngest};
use crate::times::{in_zone, with_zone};
use crate::{Error, ErrorKind, Outcome, Session};

/// Runs a `CREATE TABLE`.
pub(super) async fn run(
    session: &Session,
    sql: &str,
    create: &CreateTable,
) -> Result<Outcome, Error> {
    check_clauses(create)?;
    let options = session.options();
    let place = stored_table(&create.name, super::current_database(&options))?;
    if let Some(source) = &create.query {
        return create_as(session, sql, create, source, place).await;
    }
    let command = CatalogCommand::CreateTable {
        columns: columns_of(create)?,
        options: options_of(&create.table_options)?,
        database: place.database,
        name: place.table,
        if_not_exists: create.if_not_exists,
        extend: false,
    };
    session.engine().store().change_catalog(command).await?;
    Ok(Outcome::Done)
}

/// `CREATE TABLE … AS`: the table is made from the schema of the rows, as any ingest makes one.
async fn create_as(
    session: &Session,
    sql: &str,
    create: &CreateTable,
    source: &Query,
    place: TablePlace,
) -> Result<Outcome, Error> {
    if !create.columns.is_empty() || !create.constraints.is_empty() {
        return Err(unsupported("CREATE TABLE AS with columns (create the table, then INSERT)"));
    }
    if create.table_options != CreateTableOptions::None {
        return Err(unsupported("CREATE TABLE AS with options (create the table, then INSERT)"));
    }
    let context = StatementContext::of(session).await?;
    if create.if_not_exists && context.catalog.table(&place.database, &place.table).is_some() {
        return Ok(Outcome::Updated(Some(0)));
    }
    let statement = FrontStatement::Statement(Box::new(Statement::Query(Box::new(source.clone()))));
    let stream = query::start(session, sql, &statement, &ParameterRow::new()).await?;
    let zone = super::settings::time_zone(&context.options)?;
    let schema = with_zone(&stream.schema, &zone);
    let mut writer = session
        .ingest(TableIngest {
            database: Some(place.database),
            table: place.table,
            mode: IngestMode::Create,
            tags: None,
            time: None,
            nulls: Nulls::Absent,
            digest: None,
        })
        .await?;
    // Without rows, too, there is a table afterwards.
    writer.write(&RecordBatch::new_empty(Arc::clone(&schema))).await?;
    insert::write_all(&mut writer, stream.batches, |batch| in_zone(batch, &schema)).await?;
    insert::finish(writer).await
}

/// Refuses what is not carried out: the statement is built again from what is, and must be the same.
fn check_clauses(create: &CreateTable) -> Result<(), Error> {
    let supported = CreateTableBuilder::new(create.name.clone())
        .if_not_exists(create.if_not_exists)
        .columns(create.columns.clone())
        .constraints(create.constraints.clone())
        .table_options(create.table_options.clone())
        .hive_formats(create.hive_formats.clone())
        .query(create.query.clone())
        .build();
    if supported == *create {
        return Ok(());
    }
    if create.temporary {
        return Err(unsupported(
            "CREATE TEMPORARY TABLE (make it in a memory database: CREATE DATABASE scratch WITH (kind = 'memory'))",
        ));
    }
    Err(Error::request(
        ErrorKind::Unsupported,
        "CREATE TABLE is supported with IF NOT EXISTS, columns, PRIMARY KEY, WITH (retention, time_slice, \
         spread), or AS; this statement has another clause",
    ))
}

/// The columns, told apart by the primary key. Without one, texts are tags, as for any table made on write.
pub(super) fn columns_of(create: &CreateTable) -> Result<Vec<ColumnDefinition>, Error> {
    let mut names: Vec<String> = Vec::new();
    let mut types = Vec::new();
    let mut key: Option<Vec<String>> = None;
    for column in &create.columns {
        let name = name_of(&column.name);
        if names.contains(&name) {
            return Err(invalid(format!("column {name:?} is defined twice")));
        }
        let field = field_type(&name, &column.data_type)?;
        if column_key(column, &name, field)? && key.replace(vec![name.clone()]).is_some() {
            return Err(invalid("there may be one PRIMARY KEY".to_owned()));
        }
        names.push(name);
        types.push(field);
    }
    for constraint in &create.constraints {
        let TableConstraint::PrimaryKey(primary) = constraint else {
            return Err(unsupported(&format!("the constraint {constraint}")));
        };
        let column = |c: &datafusion::sql::sqlparser::ast::IndexColumn| match &c.column.expr {
            Expr::Identifier(ident) => Ok(name_of(ident)),
            other => Err(invalid(format!("{other} in PRIMARY KEY is not a column"))),
        };
        let columns = primary.columns.iter().map(column).collect::<Result<Vec<_>, _>>()?;
        if key.replace(columns).is_some() {
            return Err(invalid("there may be one PRIMARY KEY".to_owned()));
        }
    }
    let (time, tags) = match key {
        Some(key) => key_columns(&key, &names, &types)?,
        None => default_key(&names, &types)?,
    };
    let definition = |(i, (name, field)): (usize, (String, FieldType))| ColumnDefinition {
        name,
        kind: if i == time {
            ColumnKind::Time
        } else if tags.contains(&i) {
            ColumnKind::Tag
        } else {
            ColumnKind::Field(field)
        },
    };
    Ok(names.into_iter().zip(types).enumerate().map(definition).collect())
}

fn invalid(message: String) -> Error {
    Error::request(ErrorKind::Invalid, message)
}

/// Time and tags of a primary key, as positions.
fn key_columns(
    key: &[String],
    names: &[String],
    types: &[FieldType],
) -> Result<(usize, Vec<usize>), Error> {
    let mut time = None;
    let mut tags = Vec::new();
    for name in key {
        let Some(index) = names.iter().position(|n| n == name) else {
            let known = names.iter().map(String::as_str);
            let hint = super::names::case_hint(name, known);
            return Err(invalid(format!(
                "column {name:?} of the PRIMARY KEY is not defined{hint}"
            )));
        };
        if tags.contains(&index) || time == Some(index) {
            return Err(invalid(format!("column {name:?} is in the PRIMARY KEY twice")));
        }
        match types[index] {
            FieldType::Utf8 => tags.push(index),
            FieldType::Timestamp if time.is_none() => time = Some(index),
            FieldType::Timestamp => {
                return Err(invalid("the PRIMARY KEY has two TIMESTAMP columns".to_owned()));
            }
            FieldType::Float64 | FieldType::Int64 | FieldType::UInt64 | FieldType::Boolean => {
                return Err(invalid(format!(
                    "column {name:?} cannot be in the PRIMARY KEY: it holds STRING columns (the tags) and the \
                     time"
                )));
            }
        }
    }
    match time {
        Some(time) => Ok((time, tags)),
        None => Err(invalid(
            "the PRIMARY KEY has no TIMESTAMP column: every table needs a time".to_owned(),
        )),
    }
}

/// Time and tags without a primary key: the column `time`, else the only timestamp; all texts.
fn default_key(names: &[String], types: &[FieldType]) -> Result<(usize, Vec<usize>), Error> {
    let of_type = |wanted: FieldType| {
        types.iter().enumerate().filter(move |(_, t)| **t == wanted).map(|(i, _)| i)
    };
    let times = of_type(FieldType::Timestamp).collect::<Vec<_>>();
    let time = match times.as_slice() {
        [] => {
            return Err(invalid(
                "the table has no TIMESTAMP column: every table needs a time".to_owned(),
            ));
        }
        [one] => *one,
        several => *several.iter().find(|i| names[**i] == "time").ok_or_else(|| {
            invalid(
                "the table has several TIMESTAMP columns: name the time in PRIMARY KEY".to_owned(),
            )
        })?,
    };
    Ok((time, of_type(FieldType::Utf8).collect()))
}

/// Whether a column is declared to be the key; refuses other options.
fn column_key(column: &ColumnDef, name: &str, field: FieldType) -> Result<bool, Error> {
    let mut key = false;
    for option in &column.options {
        match &option.option {
            ColumnOption::Null => {}
            ColumnOption::NotNull if field == FieldType::Timestamp => {}
            ColumnOption::NotNull => {
                return Err(Error::request(
                    ErrorKind::Unsupported,
                    format!(
                        "NOT NULL of column {name:?} is not supported: only the time must be there"
                    ),
                ));
            }
            ColumnOption::PrimaryKey(_) => key = true,
            other => return Err(unsupported(&format!("{other} of column {name:?}"))),
        }
    }
    Ok(key)
}

/// Type of a field; narrow types widen, as they do on write.
pub(super) fn field_type(name: &str, data_type: &DataType) -> Result<FieldType, Error> {
    Ok(match data_type {
        DataType::Timestamp(..)
        | DataType::TimestampNtz(_)
        | DataType::Datetime(_)
        | DataType::Datetime64(..) => FieldType::Timestamp,
        DataType::Character(_)
        | DataType::Char(_)
        | DataType::CharacterVarying(_)
        | DataType::CharVarying(_)
        | DataType::Varchar(_)
        | DataType::Nvarchar(_)
        | DataType::Text
        | DataType::TinyText
        | DataType::MediumText
        | DataType::LongText
        | DataType::String(_) => FieldType::Utf8,
        DataType::Float(_)
        | DataType::Float4
        | DataType::Float32
        | DataType::Float64
        | DataType::Float8
        | DataType::Real
        | DataType::Double(_)
        | DataType::DoublePrecision => FieldType::Float64,
        DataType::TinyInt(_)
        | DataType::Int2(_)
        | DataType::SmallInt(_)
        | DataType::MediumInt(_)
        | DataType::Int(_)
        | DataType::Int4(_)
        | DataType::Int8(_)
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Integer(_)
        | DataType::BigInt(_) => FieldType::Int64,
        DataType::TinyIntUnsigned(_)
        | DataType::UTinyInt
        | DataType::Int2Unsigned(_)
        | DataType::SmallIntUnsigned(_)
        | DataType::USmallInt
        | DataType::MediumIntUnsigned(_)
        | DataType::IntUnsigned(_)
        | DataType::Int4Unsigned(_)
        | DataType::IntegerUnsigned(_)
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::BigIntUnsigned(_)
        | DataType::UBigInt
        | DataType::Int8Unsigned(_) => FieldType::UInt64,
        DataType::Bool | DataType::Boolean => FieldType::Boolean,
        other => {
            return Err(Error::request(
                ErrorKind::Unsupported,
                format!(
                    "column {name:?}: type {other} is not supported; there are TIMESTAMP, STRING, DOUBLE, \
                     BIGINT, BIGINT UNSIGNED, BOOLEAN"
                ),
            ));
        }
    })
}

/// The options of `WITH`.
pub(super) fn options_of(options: &CreateTableOptions) -> Result<TableOptions, Error> {
    let list = match options {
        CreateTableOptions::None => return Ok(TableOptions::default()),
        CreateTableOptions::With(list) => list,
        CreateTableOptions::Options(_)
        | CreateTableOptions::Plain(_)
        | CreateTableOptions::TableProperties(_) => {
            return Err(unsupported("a table option without WITH (…)"));
        }
    };
    Ok(options_change(list)?.of(&TableOptions::default()))
}

/// What a list of options asks for.
pub(super) fn options_change(list: &[SqlOption]) -> Result<OptionsChange, Error> {
    let mut change = OptionsChange::default();
    let mut seen: Vec<String> = Vec::new();
    for option in list {
        let SqlOption::KeyValue { key, value } = option else {
            return Err(unsupported(&format!("the option {option}")));
        };
        let name = option_name(key);
        if seen.contains(&name) {
            return Err(invalid(format!("option {name} is given twice")));
        }
        let text = option_text(&name, value)?;
        match name.as_str() {
            "retention" if text.eq_ignore_ascii_case("none") => change.retention_ns = Some(None),
            "retention" => change.retention_ns = Some(Some(positive_ns(&name, &text)?)),
            "time_slice" => change.time_slice_ns = Some(time_slice_ns(&name, &text)?),
            "spread" => {
                let spread = text.parse().ok().filter(|n| (1..=SPREAD_MAX).contains(n));
                let wrong =
                    || invalid(format!("spread is a number from 1 to {SPREAD_MAX}, not {text:?}"));
                change.spread = Some(spread.ok_or_else(wrong)?);
            }
            _ => {
                return Err(invalid(format!(
                    "{name:?} is not an option of a table; there are retention, time_slice, spread"
                )));
            }
        }
        seen.push(name);
    }
    Ok(change)
}

fn option_name(key: &Ident) -> String {
    key.value.to_ascii_lowercase()
}

fn option_text(name: &str, value: &Expr) -> Result<String, Error> {
    if let Expr::Value(value) = value {
        match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => {
                return Ok(text.clone());
            }
            Value::Number(digits, _) => return Ok(digits.clone()),
            _ => {}
        }
    }
    Err(invalid(format!("{value} is not a value for option {name}")))
}

fn time_slice_ns(name: &str, text: &str) -> Result<i64, Error> {
    match positive_ns(name, text)? {
        ns if ns < TIME_SLICE_NS_MIN => Err(invalid(format!(
            "{name} is a second at least, not {text:?}: every slice of a table has files of its own"
        ))),
        ns => Ok(ns),
    }
}

fn positive_ns(name: &str, text: &str) -> Result<i64, Error> {
    let length: Duration =
        parse_duration(text).map_err(|e| invalid(format!("option {name}: {e}")))?;
    match i64::try_from(length.as_nanos()) {
        Ok(ns) if ns > 0 => Ok(ns),
        _ => Err(invalid(format!("{name} must be longer than nothing and shorter than 292 years"))),
    }
}

#[cfg(test)]
#[path = "create_tests.rs"]
mod tests;
