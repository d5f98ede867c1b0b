//! `UPDATE`: the rows that the predicate keeps are read, and written again with their new values.
//!
//! It is the `INSERT` of a query over the same table: a row keeps its key, so that what is written replaces what was
//! read. A row that is deleted meanwhile comes back with the columns that were set; the documents say so.

use std::collections::BTreeMap;

use datafusion::arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{
    Assignment, AssignmentTarget, Expr, Ident, Insert, ObjectName, Statement, TableFactor, Update,
    Value,
};
use datafusion::sql::sqlparser::{dialect::GenericDialect, parser::Parser};
use quorate_storage::ColumnKind;
use quorate_storage::catalog::Table;

use super::action::unsupported;
use super::names::{no_column, parts, quote_always, stored_table};
use super::parameters::Parameters;
use super::{StatementContext, insert};
use crate::catalog::shown_schema;
use crate::{Error, ErrorKind, Outcome, Session};

/// Runs an `UPDATE`, once per row of parameters.
pub(super) async fn run(
    session: &Session,
    sql: &str,
    update: &Update,
    parameters: Parameters,
) -> Result<Outcome, Error> {
    let context = StatementContext::of(session).await?;
    let insert = as_insert(&context, update)?;
    insert::run(session, sql, insert, parameters).await
}

/// Types of an `UPDATE`'s parameters: where one is all of a new value, that of its column.
pub(super) async fn parameter_types(
    context: &StatementContext,
    update: &Update,
    parameters: &[String],
) -> Result<BTreeMap<String, DataType>, Error> {
    let insert = as_insert(context, update)?;
    let mut types = insert::parameter_types(context, &insert, parameters).await?;
    let table = table_of(context, update)?;
    let zone = super::settings::time_zone(&context.options)?;
    let shown = shown_schema(table, &zone);
    for assignment in &update.assignments {
        if let Expr::Value(value) = &assignment.value
            && let Value::Placeholder(id) = &value.value
            && let Ok(field) = shown.field_with_name(&column_name(assignment)?)
        {
            types.insert(id.clone(), field.data_type().clone());
        }
    }
    Ok(types)
}

fn table_name(update: &Update) -> Result<&ObjectName, Error> {
    let table = &update.table;
    match &table.relation {
        TableFactor::Table { name, args: None, .. } if table.joins.is_empty() => Ok(name),
        _ => Err(unsupported("UPDATE of anything but a table")),
    }
}

fn table_of<'a>(context: &'a StatementContext, update: &Update) -> Result<&'a Table, Error> {
    let place = stored_table(table_name(update)?, context.database_name())?;
    Ok(context.table(&place)?)
}

/// Name of the column that an assignment sets; it may be written with the table's name before it.
fn column_name(assignment: &Assignment) -> Result<String, Error> {
    match &assignment.target {
        AssignmentTarget::ColumnName(name) => {
            let invalid = || {
                let message = format!("{name} is not the name of a column");
                Error::request(ErrorKind::Invalid, message)
            };
            parts(name)?.pop().ok_or_else(invalid)
        }
        AssignmentTarget::Tuple(_) => Err(unsupported("SET of several columns by one value")),
    }
}

/// `INSERT INTO t (tags, time, columns) SELECT tags, time, values FROM t WHERE …`.
fn as_insert(context: &StatementContext, update: &Update) -> Result<Box<Insert>, Error> {
    let Update {
        update_token: _,
        optimizer_hints,
        table: _,
        assignments,
        from,
        selection,
        returning,
        output,
        or,
        order_by,
        limit,
    } = update;
    for (given, clause) in [
        (!optimizer_hints.is_empty(), "a hint in UPDATE"),
        (from.is_some(), "UPDATE … FROM"),
        (returning.is_some() || output.is_some(), "RETURNING"),
        (or.is_some(), "UPDATE OR"),
        (!order_by.is_empty() || limit.is_some(), "ORDER BY or LIMIT in UPDATE"),
    ] {
        if given {
            return Err(unsupported(clause));
        }
    }
    let table = table_of(context, update)?;
    let mut set: Vec<(String, &Expr)> = Vec::new();
    for assignment in assignments {
        let name = column_name(assignment)?;
        check_column(table, &name)?;
        if set.iter().any(|(other, _)| *other == name) {
            let message = format!("column {name:?} is set twice");
            return Err(Error::request(ErrorKind::Invalid, message));
        }
        set.push((name, &assignment.value));
    }
    let key = || table.tags().chain([table.time()]).map(|column| quote_always(&column.name));
    let columns: Vec<String> =
        key().chain(set.iter().map(|(name, _)| quote_always(name))).collect();
    let of = qualifier(update);
    let mut values: Vec<String> = key().map(|name| format!("{of}.{name}")).collect();
    values.extend(set.iter().map(|(_, value)| format!("({value})")));
    let name = table_name(update)?;
    let predicate = selection.as_ref().map_or_else(String::new, |kept| format!(" WHERE {kept}"));
    let text = format!(
        "INSERT INTO {name} ({}) SELECT {} FROM {}{predicate}",
        columns.join(", "),
        values.join(", "),
        update.table
    );
    let statement = Parser::new(&GenericDialect {})
        .try_with_sql(&text)
        .and_then(|mut parser| parser.parse_statement());
    match statement {
        Ok(Statement::Insert(insert)) => Ok(Box::new(insert)),
        _ => Err(unsupported("this form of UPDATE")),
    }
}

/// What the table is called within the statement.
fn qualifier(update: &Update) -> String {
    let ident = |ident: &Ident| quote_always(&super::names::name_of(ident));
    match &update.table.relation {
        TableFactor::Table { alias: Some(alias), .. } => ident(&alias.name),
        TableFactor::Table { name, .. } => {
            name.0.last().and_then(|part| part.as_ident()).map_or_else(String::new, ident)
        }
        _ => String::new(),
    }
}

fn check_column(table: &Table, name: &str) -> Result<(), Error> {
    let names = table.columns.iter().map(|c| c.name.as_str());
    let column = table.column(name).ok_or_else(|| no_column(&table.name, name, names))?;
    let what = match column.kind {
        ColumnKind::Field(_) => return Ok(()),
        ColumnKind::Tag => "a tag",
        ColumnKind::Time => "the time",
    };
    Err(Error::request(
        ErrorKind::Unsupported,
        format!(
            "{name:?} is {what} and tells which row it is: insert the row with another one, and delete this one"
        ),
    ))
}
