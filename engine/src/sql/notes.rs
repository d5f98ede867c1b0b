//! Notes and labels: `COMMENT ON`, units and descriptions, labels of series.
//!
//! ```text
//! COMMENT [IF EXISTS] ON DATABASE | TABLE | VIEW | COLUMN name IS 'text' | NULL
//! ALTER TABLE [IF EXISTS] table SET (description = 'text', unit = …, comment = …)
//! ALTER TABLE [IF EXISTS] table ALTER [COLUMN] column SET (unit = 'ms', description = …, comment = …)
//! ALTER TABLE [IF EXISTS] table SET LABELS (name = 'value' | NULL, …) [WHERE condition on tags]
//! ```

use std::collections::BTreeMap;

use datafusion::sql::parser::Statement as FrontStatement;
use datafusion::sql::sqlparser::ast::{
    CommentObject, Expr, ObjectName, ObjectNamePart, Query, SetExpr, SqlOption, Statement, Value,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use futures::TryStreamExt;
use quorate_storage::SeriesKey;
use quorate_storage::catalog::limits::LABELLED_SERIES_MAX;
use quorate_storage::catalog::{CatalogCommand, NoteChange, NoteTarget, Table};

use super::action::unsupported;
use super::names::{TablePlace, name_of, no_column, quote_always, single, stored_table};
use super::parameters::ParameterRow;
use super::parse::{ParsedStatement, parse as parse_statement};
use super::words::Words;
use super::{StatementContext, points, query};
use crate::{Error, ErrorKind, Outcome, Session};

/// A statement about notes.
#[derive(Clone, Debug)]
pub(crate) struct NoteStatement {
    on: On,
    if_exists: bool,
    change: Change,
}

#[derive(Clone, Debug)]
enum On {
    Database(ObjectName),
    View(ObjectName),
    Table(ObjectName),
    /// The table's name, and the column's.
    Column(ObjectName, String),
}

#[derive(Clone, Debug)]
enum Change {
    Note(Vec<NoteChange>),
    Labels { labels: BTreeMap<String, Option<String>>, of: Option<Box<Expr>> },
}

/// Reads `ALTER TABLE … ALTER COLUMN … SET (…)` and `ALTER TABLE … SET LABELS …`, if the statement is one of them.
pub(super) fn parse(tokens: &[TokenWithSpan]) -> Option<Result<NoteStatement, Error>> {
    if !Words::begin(tokens, &["ALTER", "TABLE"]) {
        return None;
    }
    let mut words = Words::new(tokens, &GenericDialect {});
    words.expect("ALTER").and_then(|()| words.expect("TABLE")).ok()?;
    let if_exists = words.take("IF") && words.take("EXISTS");
    let table = words.object_name().ok()?;
    if words.take("SET") {
        return words.take("LABELS").then(|| labels(words, table, if_exists));
    }
    if !words.take("ALTER") {
        return None;
    }
    words.take("COLUMN");
    let column = words.name().ok()?;
    if !words.take("SET") || !words.take_token(&Token::LParen) {
        return None;
    }
    Some(settings(words, table, column, if_exists))
}

fn labels(
    mut words: Words<'_>,
    table: ObjectName,
    if_exists: bool,
) -> Result<NoteStatement, Error> {
    let mut labels = BTreeMap::new();
    words.expect_token(&Token::LParen)?;
    loop {
        let name = words.name()?;
        let value = value(&mut words)?;
        if labels.insert(name.clone(), value).is_some() {
            let message = format!("label {name:?} is set twice");
            return Err(Error::request(ErrorKind::Invalid, message));
        }
        if !words.take_token(&Token::Comma) {
            break;
        }
    }
    words.expect_token(&Token::RParen)?;
    let of = if words.take("WHERE") { Some(Box::new(words.expr()?)) } else { None };
    words.end()?;
    Ok(NoteStatement { on: On::Table(table), if_exists, change: Change::Labels { labels, of } })
}

fn settings(
    mut words: Words<'_>,
    table: ObjectName,
    column: String,
    if_exists: bool,
) -> Result<NoteStatement, Error> {
    let mut changes = Vec::new();
    loop {
        let name = words.name()?;
        let value = value(&mut words)?;
        changes.push(change_of(&name, value).ok_or_else(|| {
            let message =
                format!("{name:?} is not set for columns; there are unit, description and comment");
            Error::request(ErrorKind::Invalid, message)
        })?);
        if !words.take_token(&Token::Comma) {
            break;
        }
    }
    words.expect_token(&Token::RParen)?;
    words.end()?;
    Ok(NoteStatement { on: On::Column(table, column), if_exists, change: Change::Note(changes) })
}

/// `= 'text'` or `= NULL`.
fn value(words: &mut Words<'_>) -> Result<Option<String>, Error> {
    words.expect_token(&Token::Eq)?;
    if words.take("NULL") { Ok(None) } else { Ok(Some(words.text()?)) }
}

fn change_of(name: &str, value: Option<String>) -> Option<NoteChange> {
    match name {
        "comment" => Some(NoteChange::Comment(value)),
        "unit" => Some(NoteChange::Unit(value)),
        "description" => Some(NoteChange::Description(value)),
        _ => None,
    }
}

/// The changes that `ALTER TABLE … SET (…)` asks for, if they are all of the table's note.
pub(super) fn of_options(options: &[SqlOption]) -> Result<Option<Vec<NoteChange>>, Error> {
    let mut changes = Vec::new();
    for option in options {
        let SqlOption::KeyValue { key, value } = option else { continue };
        let text = match value {
            Expr::Value(value) => match &value.value {
                Value::SingleQuotedString(text) => Some(text.clone()),
                _ => None,
            },
            _ => None,
        };
        changes.extend(change_of(&name_of(key), text.clone()));
        let is_null = matches!(value, Expr::Value(value) if value.value == Value::Null);
        if change_of(&name_of(key), None).is_some() && text.is_none() && !is_null {
            let message = format!("{key} is a text in single quotes or NULL, not {value}");
            return Err(Error::request(ErrorKind::Invalid, message));
        }
    }
    if changes.is_empty() {
        return Ok(None);
    }
    if changes.len() < options.len() {
        return Err(unsupported("SET of notes (comment, unit, description) and options at once"));
    }
    Ok(Some(changes))
}

/// `COMMENT ON`.
pub(super) fn of_comment(
    object: CommentObject,
    name: ObjectName,
    comment: Option<String>,
    if_exists: bool,
) -> Result<NoteStatement, Error> {
    let on = match object {
        CommentObject::Database => On::Database(name),
        CommentObject::View => On::View(name),
        CommentObject::Table => On::Table(name),
        CommentObject::Column => {
            let mut table = name;
            let column = if table.0.len() > 1 { table.0.pop() } else { None };
            let column = column.as_ref().and_then(ObjectNamePart::as_ident).map(name_of);
            let column = column.ok_or_else(|| {
                Error::request(ErrorKind::Invalid, "write COMMENT ON COLUMN table.column IS …")
            })?;
            On::Column(table, column)
        }
        CommentObject::Collation
        | CommentObject::Domain
        | CommentObject::Extension
        | CommentObject::Function
        | CommentObject::Index
        | CommentObject::MaterializedView
        | CommentObject::Procedure
        | CommentObject::Role
        | CommentObject::Schema
        | CommentObject::Sequence
        | CommentObject::Type
        | CommentObject::User => {
            return Err(unsupported(&format!(
                "COMMENT ON {object} (there are DATABASE, TABLE, VIEW and COLUMN)"
            )));
        }
    };
    let change = Change::Note(vec![NoteChange::Comment(comment)]);
    Ok(NoteStatement { on, if_exists, change })
}

/// Carries it out.
pub(super) async fn run(
    session: &Session,
    sql: &str,
    statement: &NoteStatement,
) -> Result<Outcome, Error> {
    super::run::retry_stale(|| run_once(session, sql, statement)).await
}

async fn run_once(
    session: &Session,
    sql: &str,
    statement: &NoteStatement,
) -> Result<Outcome, Error> {
    let context = StatementContext::of(session).await?;
    let target = match target(&context, &statement.on) {
        Err(e) if statement.if_exists && e.kind() == ErrorKind::NotFound => {
            return Ok(Outcome::Done);
        }
        target => target?,
    };
    let command = match (&statement.change, &statement.on) {
        (Change::Note(changes), _) => CatalogCommand::Annotate { target, changes: changes.clone() },
        (Change::Labels { labels, of }, On::Table(name)) => {
            let place = stored_table(name, context.database_name())?;
            let table = context.table(&place)?;
            let series = series(session, sql, &place, table, of.as_deref()).await?;
            CatalogCommand::Label { table: table.id, series, labels: labels.clone() }
        }
        (Change::Labels { .. }, On::Database(_) | On::View(_) | On::Column(..)) => {
            return Err(unsupported("labels of anything but series"));
        }
    };
    session.engine().store().change_catalog(command).await?;
    Ok(Outcome::Done)
}

fn target(context: &StatementContext, on: &On) -> Result<NoteTarget, Error> {
    Ok(match on {
        On::Database(name) => {
            NoteTarget::Database(context.database(&single(name, "database")?)?.id)
        }
        On::View(name) => {
            let TablePlace { database, table } = stored_table(name, context.database_name())?;
            let id = context.database(&database)?.id;
            if context.catalog.view(&database, &table).is_none() {
                let message = format!("view {table:?} does not exist in database {database:?}");
                return Err(Error::request(ErrorKind::NotFound, message));
            }
            NoteTarget::View(id, table)
        }
        On::Table(name) => {
            let place = stored_table(name, context.database_name())?;
            NoteTarget::Table(context.table(&place)?.id)
        }
        On::Column(name, column) => {
            let table = context.table(&stored_table(name, context.database_name())?)?;
            let names = table.columns.iter().map(|c| c.name.as_str());
            let found =
                table.column(column).ok_or_else(|| no_column(&table.name, column, names))?;
            NoteTarget::Column(table.id, found.id)
        }
    })
}

/// The series that a condition on tags finds: those that have rows now.
async fn series(
    session: &Session,
    sql: &str,
    place: &TablePlace,
    table: &Table,
    of: Option<&Expr>,
) -> Result<Vec<SeriesKey>, Error> {
    let tags: Vec<String> = table.tags().map(|tag| quote_always(&tag.name)).collect();
    if tags.is_empty() {
        return Ok(vec![SeriesKey::encode([])]);
    }
    let text = format!(
        "SELECT DISTINCT {} FROM {}.public.{} LIMIT {}",
        tags.join(", "),
        quote_always(&place.database),
        quote_always(&place.table),
        LABELLED_SERIES_MAX + 1
    );
    let ParsedStatement::Sql(mut statement) = parse_statement(&text)?.statement else {
        return Err(Error::request(ErrorKind::Internal, format!("{text} is no query")));
    };
    if let Some(query) = query_of(&mut statement)
        && let SetExpr::Select(select) = query.body.as_mut()
    {
        select.selection = of.cloned();
    }
    let mut rows = query::start(session, sql, &statement, &ParameterRow::new()).await?;
    let mut found = Vec::new();
    while let Some(batch) = rows.batches.try_next().await? {
        found.extend(points::keys(batch.columns())?);
    }
    if found.len() > LABELLED_SERIES_MAX {
        let message =
            format!("the condition finds more than {LABELLED_SERIES_MAX} series; narrow it");
        return Err(Error::request(ErrorKind::Exhausted, message));
    }
    if found.is_empty() {
        let message = format!("no series of table {:?} is found by the condition", table.name);
        return Err(Error::request(ErrorKind::NotFound, message));
    }
    Ok(found)
}

fn query_of(statement: &mut FrontStatement) -> Option<&mut Query> {
    match statement {
        FrontStatement::Statement(inner) => match inner.as_mut() {
            Statement::Query(query) => Some(query),
            _ => None,
        },
        _ => None,
    }
}
