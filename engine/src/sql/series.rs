//! `SHOW SERIES`, `SHOW TAG KEYS`, `SHOW TAG VALUES`: what series there are.
//!
//! ```text
//! SHOW SERIES [FROM table] [LIKE 'pattern']
//! SHOW TAG KEYS [FROM table] [LIKE 'pattern']
//! SHOW TAG VALUES [FROM table] [WITH KEY = tag | WITH KEY IN (tag, …)] [LIKE 'pattern']
//! ```
//!
//! Series and values are found by a query: the first over `system.series`, the others over the tables that have the tag.

use std::collections::BTreeSet;

use datafusion::sql::parser::Statement as FrontStatement;
use datafusion::sql::sqlparser::ast::ObjectName;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use quorate_storage::catalog::Table;

use super::StatementContext;
use super::action::NameFilter;
use super::names::{no_column, quote_always, stored_table};
use super::parse::{ParsedStatement, parse as parse_statement};
use super::words::Words;
use crate::{Error, ErrorKind};

/// Tables that one statement reads the values of a tag from.
const TABLES_MAX: usize = 1_000;

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct SeriesQuestion {
    what: What,
    table: Option<ObjectName>,
    filter: Option<NameFilter>,
}

#[derive(Clone, Debug)]
enum What {
    Series,
    Keys,
    Values(Vec<String>),
}

/// Reads the statement, if it is one of these.
pub(super) fn parse(tokens: &[TokenWithSpan]) -> Option<Result<SeriesQuestion, Error>> {
    let ours = Words::begin(tokens, &["SHOW", "SERIES"]) || Words::begin(tokens, &["SHOW", "TAG"]);
    ours.then(|| read(Words::new(tokens, &GenericDialect {})))
}

fn read(mut words: Words<'_>) -> Result<SeriesQuestion, Error> {
    words.expect("SHOW")?;
    let mut what = What::Series;
    if !words.take("SERIES") {
        words.expect("TAG")?;
        what = if words.take("KEYS") {
            What::Keys
        } else if words.take("VALUES") {
            What::Values(Vec::new())
        } else {
            return Err(words.unexpected("KEYS or VALUES"));
        };
    }
    let table =
        if words.take("FROM") || words.take("IN") { Some(words.object_name()?) } else { None };
    if let What::Values(keys) = &mut what
        && words.take("WITH")
    {
        words.expect("KEY")?;
        if words.take("IN") {
            words.expect_token(&Token::LParen)?;
            keys.push(words.name()?);
            while words.take_token(&Token::Comma) {
                keys.push(words.name()?);
            }
            words.expect_token(&Token::RParen)?;
        } else {
            words.expect_token(&Token::Eq)?;
            keys.push(words.name()?);
        }
    }
    let filter = words.filter()?;
    words.end()?;
    Ok(SeriesQuestion { what, table, filter })
}

impl SeriesQuestion {
    /// The query that answers it.
    pub(super) fn as_query(
        &self,
        context: &StatementContext,
    ) -> Result<Box<FrontStatement>, Error> {
        let text = match &self.what {
            What::Series => self.series(context)?,
            What::Keys => self.keys(context)?,
            What::Values(keys) => self.values(context, keys)?,
        };
        let ParsedStatement::Sql(statement) = parse_statement(&text)?.statement else {
            return Err(Error::request(ErrorKind::Internal, format!("{text} is no query")));
        };
        Ok(statement)
    }

    /// The tables that it is about, by name.
    fn tables<'a>(&self, context: &'a StatementContext) -> Result<Vec<&'a Table>, Error> {
        if let Some(name) = &self.table {
            let place = stored_table(name, context.database_name())?;
            return Ok(vec![&**context.table(&place)?]);
        }
        let database = context.database(context.database_name())?;
        let tables = database.tables.values().filter_map(|id| context.catalog.tables.get(id));
        Ok(tables.map(|table| &**table).collect())
    }

    /// The condition that the pattern puts on a column.
    fn like(&self, column: &str) -> String {
        self.filter.as_ref().map_or_else(String::new, |filter| {
            let like = if filter.ignore_case { "ILIKE" } else { "LIKE" };
            format!(" AND {column} {like} {}", literal(&filter.pattern))
        })
    }

    fn series(&self, context: &StatementContext) -> Result<String, Error> {
        let mut database = context.database_name().to_owned();
        let mut of_table = String::new();
        if let Some(name) = &self.table {
            let place = stored_table(name, context.database_name())?;
            of_table = format!(" AND table_name = {}", literal(&context.table(&place)?.name));
            database = place.database;
        }
        context.database(&database)?;
        let (like, name) = (self.like("series"), literal(&database));
        Ok(format!(
            "SELECT table_name, series FROM {}.system.series WHERE database_name = {name}{of_table}{like} \
             ORDER BY table_name, series",
            quote_always(&database)
        ))
    }

    fn keys(&self, context: &StatementContext) -> Result<String, Error> {
        let mut rows = Vec::new();
        for table in self.tables(context)? {
            let row = |tag| format!("({}, {})", literal(&table.name), literal(tag));
            rows.extend(table.tags().map(|tag| row(&tag.name)));
        }
        let none = if rows.is_empty() { " AND false" } else { "" };
        if rows.is_empty() {
            rows.push("('', '')".to_owned());
        }
        // The order is that of the tables' names and of the tags in the key.
        Ok(format!(
            "SELECT table_name, tag_key FROM (VALUES {}) AS tags (table_name, tag_key) WHERE true{none}{}",
            rows.join(", "),
            self.like("tag_key")
        ))
    }

    fn values(&self, context: &StatementContext, keys: &[String]) -> Result<String, Error> {
        let mut parts = Vec::new();
        let tables = self.tables(context)?;
        let all: BTreeSet<&str> = match keys {
            [] => {
                tables.iter().flat_map(|table| table.tags()).map(|tag| tag.name.as_str()).collect()
            }
            keys => keys.iter().map(String::as_str).collect(),
        };
        if all.is_empty() {
            let none = "SELECT '' AS table_name, '' AS tag_key, '' AS value WHERE false";
            return Ok(none.to_owned());
        }
        for key in all {
            let with = tables.iter().filter(|table| table.tags().any(|tag| tag.name == key));
            let before = parts.len();
            parts.extend(with.map(|table| self.values_of(context, table, key)));
            if parts.len() == before {
                return Err(no_tag(&tables, context.database_name(), key));
            }
        }
        if parts.len() > TABLES_MAX {
            let message = format!(
                "{} tables have these tags, more than {TABLES_MAX}; name one with FROM",
                parts.len()
            );
            return Err(Error::request(ErrorKind::Unsupported, message));
        }
        Ok(format!("{} ORDER BY table_name, tag_key, value", parts.join(" UNION ALL ")))
    }

    fn values_of(&self, context: &StatementContext, table: &Table, key: &str) -> String {
        let database = context.catalog.databases.get(&table.database);
        let database = database.map_or("", |database| database.name.as_str());
        let column = quote_always(key);
        format!(
            "SELECT DISTINCT {} AS table_name, {} AS tag_key, {column} AS value FROM {}.public.{} \
             WHERE {column} IS NOT NULL{}",
            literal(&table.name),
            literal(key),
            quote_always(database),
            quote_always(&table.name),
            self.like(&column)
        )
    }
}

fn no_tag(tables: &[&Table], database: &str, key: &str) -> Error {
    match tables {
        [table] => match table.column(key) {
            Some(_) => Error::request(
                ErrorKind::Invalid,
                format!(
                    "column {key:?} of table {:?} is no tag; SHOW TAG KEYS lists tags",
                    table.name
                ),
            ),
            None => no_column(&table.name, key, table.tags().map(|tag| tag.name.as_str())),
        },
        _ => Error::request(
            ErrorKind::NotFound,
            format!(
                "no table of database {database:?} has a tag {key:?}; SHOW TAG KEYS lists tags"
            ),
        ),
    }
}

/// A text as SQL writes it.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
