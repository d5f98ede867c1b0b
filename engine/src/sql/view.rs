//! `CREATE VIEW`: the query is planned once, to see that it can be, and kept as it was written.

use std::collections::BTreeSet;

use datafusion::common::TableReference;
use datafusion::sql::parser::Statement as FrontStatement;
use datafusion::sql::sqlparser::ast::{CreateView, Statement};
use quorate_storage::catalog::{CatalogCommand, ExistingView};

use super::action::{only, unsupported};
use super::names::{TablePlace, name_of, quote_always, stored_table};
use super::parameters::ParameterRow;
use super::{StatementContext, parse, query};
use crate::{Error, ErrorKind, Outcome, Session};

/// Runs a `CREATE VIEW`.
pub(super) async fn create(
    session: &Session,
    sql: &str,
    view: &CreateView,
) -> Result<Outcome, Error> {
    let context = StatementContext::of(session).await?;
    let place = stored_table(&view.name, context.database_name())?;
    let text = checked_query(&context, sql, view, &place).await?;
    let command = CatalogCommand::CreateView {
        database: place.database,
        name: place.table,
        query: text,
        existing: if view.or_replace {
            ExistingView::Replace
        } else if view.if_not_exists {
            ExistingView::Keep
        } else {
            ExistingView::Refuse
        },
    };
    session.engine().store().change_catalog(command).await?;
    Ok(Outcome::Done)
}

/// The text of a view's query, which can be planned as things are.
pub(super) async fn checked_query(
    context: &StatementContext,
    sql: &str,
    view: &CreateView,
    place: &TablePlace,
) -> Result<String, Error> {
    check_clauses(view)?;
    if place.database != context.database_name() {
        return Err(unsupported(
            "CREATE VIEW in another database than the session's (USE it first)",
        ));
    }
    let text = text_of(sql, view)?;
    let parsed = parse::parse(&text)?;
    if !parsed.parameters.is_empty() {
        let message = "a view takes no parameters: write the values";
        return Err(Error::request(ErrorKind::Invalid, message));
    }
    let statement = FrontStatement::Statement(Box::new(Statement::Query(view.query.clone())));
    query::logical(context, &statement, &ParameterRow::new()).await?;
    if uses(context, &text, &place.table)? {
        let message = format!("view {:?} would be defined by itself", place.table);
        return Err(Error::request(ErrorKind::Invalid, message));
    }
    Ok(text)
}

fn check_clauses(view: &CreateView) -> Result<(), Error> {
    let replace = if view.or_replace { "OR REPLACE " } else { "" };
    let exists = if view.if_not_exists { "IF NOT EXISTS " } else { "" };
    let columns: Vec<String> = view.columns.iter().map(|c| c.name.to_string()).collect();
    let columns =
        if columns.is_empty() { String::new() } else { format!(" ({})", columns.join(", ")) };
    let supported =
        format!("CREATE {replace}VIEW {exists}{}{columns} AS {}", view.name, view.query);
    only(&view.to_string(), &supported)
}

/// The query, with the columns' names where they are given.
fn text_of(sql: &str, view: &CreateView) -> Result<String, Error> {
    let query = parse::text_after_as(sql)?;
    if view.columns.is_empty() {
        return Ok(query);
    }
    let columns: Vec<String> =
        view.columns.iter().map(|column| quote_always(&name_of(&column.name))).collect();
    // The query may end in a comment.
    Ok(format!("SELECT * FROM ({query}\n) AS view ({})", columns.join(", ")))
}

/// Whether a query of the session's database reads a view, be it through others.
fn uses(context: &StatementContext, text: &str, name: &str) -> Result<bool, Error> {
    let mut seen = BTreeSet::new();
    let mut left = vec![(context.database_name().to_owned(), text.to_owned())];
    while let Some((database, text)) = left.pop() {
        let statement = parse::query(&text)?;
        for reference in context.state.resolve_table_references(&statement)? {
            let place = TableReference::resolve(reference, &database, "public");
            if &*place.schema != "public" {
                continue;
            }
            if *place.catalog == *context.database_name() && &*place.table == name {
                return Ok(true);
            }
            let (database, view) = (place.catalog.to_string(), place.table.to_string());
            if let Some(view) = context.catalog.view(&database, &view)
                && seen.insert((database.clone(), view.name.clone()))
            {
                left.push((database, view.query.clone()));
            }
        }
    }
    Ok(false)
}
