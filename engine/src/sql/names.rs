//! Names in statements: unquoted ones are lower case, as DataFusion has it.

use datafusion::sql::sqlparser::ast::{Expr, Ident, ObjectName, SelectItem, SetExpr, Statement};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use crate::{Error, ErrorKind};

/// A name as the catalog knows it.
pub(crate) fn name_of(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_ascii_lowercase(),
    }
}

/// How a name is written in SQL.
pub(crate) fn quote(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain && !means_something_else(name) { name.to_owned() } else { quote_always(name) }
}

/// Whether a plain word is no name where names of tables and columns stand. Which words are reserved depends on the
/// place, so the parser is asked.
fn means_something_else(word: &str) -> bool {
    let parsed = |sql: &str| {
        let mut parser = Parser::new(&GenericDialect {}).try_with_sql(sql).ok()?;
        parser.parse_statement().ok()
    };
    let definition = format!("CREATE TABLE {word} ({word} DOUBLE, PRIMARY KEY ({word}))");
    let defines =
        |statement| matches!(statement, Statement::CreateTable(t) if t.columns.len() == 1);
    let query = format!("SELECT {word}, {word} + 1 FROM {word} WHERE {word} = 1 ORDER BY {word}");
    let reads = |statement| match statement {
        Statement::Query(query) => matches!(
            query.body.as_ref(),
            SetExpr::Select(select) if matches!(
                select.projection.as_slice(),
                [SelectItem::UnnamedExpr(Expr::Identifier(_)), SelectItem::UnnamedExpr(_)]
            ) && select.selection.is_some()
        ),
        _ => false,
    };
    !(parsed(&definition).is_some_and(defines) && parsed(&query).is_some_and(reads))
}

/// A name in quotes, keyword or not, for text that is parsed again.
pub(crate) fn quote_always(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The parts of a dotted name.
pub(crate) fn parts(name: &ObjectName) -> Result<Vec<String>, Error> {
    name.0
        .iter()
        .map(|part| {
            part.as_ident()
                .map(name_of)
                .ok_or_else(|| Error::request(ErrorKind::Invalid, format!("{name} is not a name")))
        })
        .collect()
}

/// A name without dots.
pub(crate) fn single(name: &ObjectName, what: &str) -> Result<String, Error> {
    let [one] = <[String; 1]>::try_from(parts(name)?).map_err(|_| {
        Error::request(ErrorKind::Invalid, format!("{name} is not the name of a {what}"))
    })?;
    Ok(one)
}

/// A table's place: database and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TablePlace {
    pub(crate) database: String,
    pub(crate) table: String,
}

/// The place that the parts of a name stand for, if they are of a table in schema `public`.
pub(crate) fn single_place(parts: &[String], current: &str) -> Option<TablePlace> {
    let (database, schema, table) = match parts {
        [table] => (current, "public", table),
        [schema, table] => (current, schema.as_str(), table),
        [database, schema, table] => (database.as_str(), schema.as_str(), table),
        _ => return None,
    };
    (schema == "public").then(|| TablePlace { database: database.to_owned(), table: table.clone() })
}

/// Resolves `table`, `public.table`, `database.public.table` to a stored table's place.
pub(crate) fn stored_table(name: &ObjectName, current: &str) -> Result<TablePlace, Error> {
    let parts = parts(name)?;
    let (database, schema, table) = match parts.as_slice() {
        [table] => (current, "public", table),
        [schema, table] => (current, schema.as_str(), table),
        [database, schema, table] => (database.as_str(), schema.as_str(), table),
        _ => {
            return Err(Error::request(
                ErrorKind::Invalid,
                format!("{name} is not the name of a table; write table or database.public.table"),
            ));
        }
    };
    if schema != "public" {
        let message = if matches!(schema, "system" | "information_schema") {
            format!("schema {} is read-only", quote(schema))
        } else {
            format!(
                "schema {} does not exist; tables are in schema public of their database, as in {}.public.{}",
                quote(schema),
                quote(schema),
                quote(table)
            )
        };
        return Err(Error::request(ErrorKind::Invalid, message));
    }
    Ok(TablePlace { database: database.to_owned(), table: table.clone() })
}

/// The name among `known` that differs from `name` in case only.
pub(crate) fn other_case<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let lower = name.to_lowercase();
    known.into_iter().find(|k| *k != name && k.to_lowercase() == lower)
}

/// The sentence that helps with a name whose case is wrong.
pub(crate) fn case_hint<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match other_case(name, known) {
        Some(known) => {
            format!("; did you mean {known}? Write it as \"{}\"", known.replace('"', "\"\""))
        }
        None => String::new(),
    }
}

/// The error for a database that is not there.
pub(crate) fn no_database<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Error {
    Error::request(
        ErrorKind::NotFound,
        format!("database {name:?} does not exist{}", case_hint(name, known)),
    )
}

/// The error for a table that is not there.
pub(crate) fn no_table<'a>(
    database: &str,
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Error {
    Error::request(
        ErrorKind::NotFound,
        format!("table {name:?} does not exist in database {database:?}{}", case_hint(name, known)),
    )
}

/// The error for a column that is not there.
pub(crate) fn no_column<'a>(
    table: &str,
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Error {
    Error::request(
        ErrorKind::NotFound,
        format!("column {name:?} does not exist in table {table:?}{}", case_hint(name, known)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> ObjectName {
        Parser::new(&GenericDialect {})
            .try_with_sql(text)
            .unwrap()
            .parse_object_name(false)
            .unwrap()
    }

    fn check(text: &str, database: &str, table: &str) {
        let place = stored_table(&object(text), "main").unwrap();
        assert_eq!((place.database.as_str(), place.table.as_str()), (database, table), "{text}");
    }

    #[test]
    fn names_are_lower_case_unless_quoted() {
        check("Cpu", "main", "cpu");
        check("\"Cpu\"", "main", "Cpu");
        check("public.cpu", "main", "cpu");
        check("Other.public.\"C p\"", "other", "C p");
    }

    #[test]
    fn other_schemas_are_refused() {
        for text in ["system.tables", "main.information_schema.tables", "other.cpu", "a.b.c.d"] {
            stored_table(&object(text), "main").unwrap_err();
        }
    }

    #[test]
    fn a_name_of_the_wrong_case_gets_its_quoted_spelling() {
        let error = no_column("cpu", "usage_user", ["host", "Usage_User"]);
        assert!(error.to_string().ends_with("did you mean Usage_User? Write it as \"Usage_User\""));
        assert!(!no_column("cpu", "x", ["host"]).to_string().contains("mean"));
    }

    #[test]
    fn names_are_quoted_where_needed() {
        for (name, want) in
            [("cpu", "cpu"), ("Cpu", "\"Cpu\""), ("a\"b", "\"a\"\"b\""), ("1x", "\"1x\"")]
        {
            assert_eq!(quote(name), want);
        }
    }

    #[test]
    fn words_that_mean_something_else_are_quoted_and_others_are_not() {
        for word in ["order", "select", "group", "from", "where", "primary", "current_user"] {
            assert_eq!(quote(word), format!("\"{word}\""));
        }
        for word in ["time", "host", "region", "usage", "value", "name", "n", "date", "level"] {
            assert_eq!(quote(word), word);
        }
    }
}
