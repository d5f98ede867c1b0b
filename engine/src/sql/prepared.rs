//! `PREPARE`, `EXECUTE`, `DEALLOCATE`: statements that a session keeps as text.
//!
//! The text travels with the session (over Flight SQL in its cookie), so it is bounded, and any node can run it.

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::sql::parser::Statement as FrontStatement;
use datafusion::sql::sqlparser::ast::{DataType, Expr, Ident, ObjectName, Statement};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};
use futures::TryStreamExt;

use super::action::{Action, unsupported};
use super::names::{name_of, quote_always, single};
use super::parameters::Parameters;
use super::parse::{Parsed, ParsedStatement, parse};
use super::query;
use crate::{Error, ErrorKind, PreparedText, Session, StatementKind};

/// Bytes of all names and texts of a session: they must fit into a header of every call.
const BYTES_MAX: usize = 2_048;

/// A `PREPARE`.
#[derive(Debug)]
pub(crate) struct Preparation {
    name: String,
    types: Vec<DataType>,
    /// What follows `AS`.
    text: String,
}

impl Preparation {
    /// Takes the statement that is prepared out of the text as it was written.
    pub(super) fn of(sql: &str, tokens: &[TokenWithSpan], statement: &Statement) -> Option<Self> {
        let Statement::Prepare { name, data_types, .. } = statement else { return None };
        let text = text_after_as(sql, tokens)?;
        Some(Self { name: name_of(name), types: data_types.clone(), text })
    }

    /// Plans the statement and keeps it in the session.
    pub(super) async fn keep(&self, session: &Session) -> Result<(), Error> {
        let Self { name, types, text } = self;
        if session.options().prepared.iter().any(|known| known.name == *name) {
            let message =
                format!("Prepared statement '{name}' already exists; DEALLOCATE it first");
            return Err(Error::request(ErrorKind::Conflict, message));
        }
        must_be_kept(session)?;
        let Parsed { statement, parameters } = parse(text)?;
        let nested =
            matches!(statement, ParsedStatement::Prepare(_)) || execution(&statement).is_some();
        if nested || Action::of(statement)?.kind() == StatementKind::Command {
            return Err(unsupported(
                "PREPARE of anything but a query, INSERT, UPDATE, DELETE or COPY",
            ));
        }
        if !types.is_empty() && types.len() != parameters.len() {
            let message = format!(
                "Prepare specifies {} data types but query has {} parameters",
                types.len(),
                parameters.len()
            );
            return Err(Error::request(ErrorKind::Invalid, message));
        }
        let numbered = |id: &&String| id.trim_start_matches('$').parse::<usize>().is_ok();
        if let Some(named) = parameters.iter().find(|id| !numbered(id)) {
            let message = format!(
                "Unknown placeholder: {named}; EXECUTE gives values by position: write $1 or ?"
            );
            return Err(Error::request(ErrorKind::Invalid, message));
        }
        // What cannot be planned is told now.
        super::run::plan_again(session, text, None).await?;
        let kept = PreparedText {
            name: name.clone(),
            types: types.iter().map(ToString::to_string).collect(),
            text: text.clone(),
        };
        session.change(|options| {
            let bytes: usize = options.prepared.iter().chain([&kept]).map(PreparedText::bytes).sum();
            if bytes > BYTES_MAX {
                let message = format!(
                    "the prepared statements of a session may take {BYTES_MAX} bytes together, and with \
                     '{name}' they take {bytes}; DEALLOCATE some, or prepare by the client's own call"
                );
                return Err(Error::request(ErrorKind::Exhausted, message));
            }
            options.prepared.push(kept);
            Ok(())
        })
    }
}

/// What a statement has after its first `AS`, as it was written.
pub(super) fn text_after_as(sql: &str, tokens: &[TokenWithSpan]) -> Option<String> {
    let after = tokens.iter().skip_while(|t| !is_as(t)).nth(1)?;
    let text = sql.get(offset_of(sql, after.span.start)..)?;
    Some(text.trim().trim_end_matches(';').trim_end().to_owned())
}

fn is_as(token: &TokenWithSpan) -> bool {
    matches!(&token.token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("AS"))
}

/// The byte at which a line and column (in characters, both from 1) begin.
pub(super) fn offset_of(sql: &str, at: Location) -> usize {
    let line = usize::try_from(at.line.saturating_sub(1)).unwrap_or(usize::MAX);
    let column = usize::try_from(at.column.saturating_sub(1)).unwrap_or(usize::MAX);
    let begin: usize = sql.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = sql.get(begin..).unwrap_or_default();
    begin + rest.chars().take(column).map(char::len_utf8).sum::<usize>()
}

/// An `EXECUTE`.
#[derive(Debug)]
pub(super) struct Execution {
    name: ObjectName,
    arguments: Vec<Expr>,
}

/// The statement as an `EXECUTE`, if it is one that is supported.
pub(super) fn execution(statement: &ParsedStatement) -> Option<Execution> {
    let ParsedStatement::Sql(front) = statement else { return None };
    let FrontStatement::Statement(inner) = front.as_ref() else { return None };
    let Statement::Execute { name, parameters, immediate, into, using, output, default, .. } =
        inner.as_ref()
    else {
        return None;
    };
    let plain = !immediate && into.is_empty() && using.is_empty() && !output && !default;
    let name = name.clone().filter(|_| plain)?;
    Some(Execution { name, arguments: parameters.clone() })
}

impl Execution {
    /// The text to run and the values of its parameters: those of `EXECUTE`, which may be computed.
    pub(super) async fn resolve(
        &self,
        session: &Session,
        sql: &str,
        outer: &Parameters,
    ) -> Result<(String, Option<RecordBatch>), Error> {
        let name = single(&self.name, "prepared statement")?;
        let options = session.options();
        let kept = options.prepared.iter().find(|known| known.name == name);
        let Some(kept) = kept else { return Err(unknown(&name)) };
        let wanted = parse(&kept.text)?.parameters.len();
        if wanted != self.arguments.len() {
            let message = format!(
                "Prepared statement '{name}' expects {wanted} parameters, but {} provided",
                self.arguments.len()
            );
            return Err(Error::request(ErrorKind::Invalid, message));
        }
        if self.arguments.is_empty() {
            return Ok((kept.text.clone(), None));
        }
        let value = |(index, argument): (usize, &Expr)| {
            let id = quote_always(&format!("${}", index + 1));
            match kept.types.get(index) {
                Some(data_type) => format!("CAST({argument} AS {data_type}) AS {id}"),
                None => format!("{argument} AS {id}"),
            }
        };
        let values: Vec<String> = self.arguments.iter().enumerate().map(value).collect();
        let ParsedStatement::Sql(values) =
            parse(&format!("SELECT {}", values.join(", ")))?.statement
        else {
            return Err(unknown(&name));
        };
        let stream = query::start(session, sql, &values, &outer.single_row()?).await?;
        let batches: Vec<RecordBatch> = stream.batches.try_collect().await?;
        let row = batches.into_iter().find(|batch| batch.num_rows() > 0);
        Ok((kept.text.clone(), row))
    }
}

/// `DEALLOCATE`; `ALL` is no name.
pub(super) fn deallocate(session: &Session, name: &Ident) -> Result<(), Error> {
    must_be_kept(session)?;
    let all = name.quote_style.is_none() && name.value.eq_ignore_ascii_case("ALL");
    let name = name_of(name);
    session.change(|options| {
        let before = options.prepared.len();
        options.prepared.retain(|known| !all && known.name != name);
        if all || options.prepared.len() < before { Ok(()) } else { Err(unknown(&name)) }
    })
}

/// Refuses what nobody would remember.
fn must_be_kept(session: &Session) -> Result<(), Error> {
    if session.options().stateful {
        return Ok(());
    }
    Err(Error::request(
        ErrorKind::Unsupported,
        "nothing would remember a prepared statement: the connection sends no session cookie; prepare by the \
         client's own call, or send the statement with its parameters each time",
    ))
}

fn unknown(name: &str) -> Error {
    Error::request(ErrorKind::NotFound, format!("Prepared statement '{name}' does not exist"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(sql: &str) -> (String, String) {
        match parse(sql).unwrap().statement {
            ParsedStatement::Prepare(p) => (p.name, p.text),
            other => panic!("{sql}: {other:?}"),
        }
    }

    #[test]
    fn the_text_is_kept_as_it_was_written() {
        for (sql, name, text) in [
            ("PREPARE p AS SELECT ?", "p", "SELECT ?"),
            (
                "prepare \"P q\"(INT, DECIMAL(10, 2)) as\n  SELECT 'ä''s' AS x, $1 + $2 ;",
                "P q",
                "SELECT 'ä''s' AS x, $1 + $2",
            ),
            ("PREPARE ü AS /* größe */ SELECT\n 'AS'", "ü", "/* größe */ SELECT\n 'AS'"),
        ] {
            let (n, t) = text_of(sql);
            assert_eq!((n.as_str(), t.as_str()), (name, text), "{sql}");
        }
        assert!(parse("PREPARE p AS SELECT $1").unwrap().parameters.is_empty());
    }
}
