//! Queries that differ in what their conditions compare columns with, and in nothing else, are planned alike.
//!
//! A dashboard asks the same of another host and of another hour. The texts in `host = 'a'`, `time >= '2024-01-01'`,
//! `host IN ('a', 'b')` and `time BETWEEN '…' AND '…'` are taken out of such a query, those of `time >= TIMESTAMP '…'`, and
//! the seconds in `time >= to_timestamp(1704067200)`; what is left, the template, is planned once with parameters in their
//! places, and for each query they are put in again. What follows from the texts themselves (their types, constants,
//! pruning) is left to the query, as for parameters of a prepared statement.
//!
//! Only of queries with one SELECT and no parameters of their own. What cannot be planned this way, or fails, is planned
//! as it stands, and errors are those of the query as it stands.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement as FrontStatement;
use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use super::action::Action;
use super::parameters::{ParameterRow, bind};
use super::parse::{ParsedStatement, parse, tokens};
use super::plans::{KnownPlan, KnownTemplate, Source, TEXT_BYTES_MAX};
use super::prepared::offset_of;
use super::{StatementContext, query};
use crate::engine::UTC;
use crate::{Error, Session};

/// Texts that are taken out of one query.
const VALUES_MAX: usize = 64;
/// Tokens of a query that is put together where it arrives: it nests too little to need the stack of the query threads, and
/// takes less time than the way to them.
const TOKENS_FEW: usize = 200;

/// A query without the texts that its conditions compare with.
#[derive(Debug, PartialEq, Eq)]
struct Template {
    /// With `$1`, `$2` … in their places.
    text: String,
    values: Vec<ScalarValue>,
    /// Whether the query is a short one.
    is_short: bool,
}

/// The plan of a query that is like one that was planned before.
pub(super) async fn plan(session: &Session, sql: &str) -> Result<Option<Arc<KnownPlan>>, Error> {
    let Some(template) = Template::of(sql) else { return Ok(None) };
    let engine = session.engine();
    let known = engine.plans().template(&template.text, &session.options())?;
    // It is known that this cannot be planned so: what is left is the way of all other queries, which reads the catalog.
    if known.as_ref().is_some_and(|known| known.is_hopeless(&engine.store().catalog())) {
        return Ok(None);
    }
    let context = StatementContext::of(session).await?;
    context.check_database(context.database_name())?;
    let known = known.filter(|known| known.is_current(&context.catalog));
    if let Some(known) = &known {
        engine.plans().count();
        if template.is_short {
            return put_together(&context, sql, template.values, known);
        }
    }
    let sql = sql.to_owned();
    let work = async move {
        let Template { text, values, .. } = template;
        let known = if let Some(known) = known {
            known
        } else {
            let plan = open(&context, &text).await;
            context.engine.plans().keep_template(&text, &context, plan)?
        };
        put_together(&context, &sql, values, &known)
    };
    engine.runtime().run(work).await
}

/// The plan of a query, of its template and its texts.
fn put_together(
    context: &StatementContext,
    sql: &str,
    values: Vec<ScalarValue>,
    known: &Arc<KnownTemplate>,
) -> Result<Option<Arc<KnownPlan>>, Error> {
    let value = |(number, value): (usize, ScalarValue)| (format!("${}", number + 1), value);
    let values: ParameterRow = values.into_iter().enumerate().map(value).collect();
    let plans = context.engine.plans();
    if let Some(shape) = known.shape()
        && let Ok(Some(filters)) = shape.filters(context, &values)
    {
        let schema = Arc::clone(&shape.schema);
        let source = Source::Shape(shape, filters, Arc::clone(known), values);
        return plans.keep_like(sql, context, (schema, source), known).map(Some);
    }
    let Some(plan) = bound(context, &values, known)? else { return Ok(None) };
    let schema = Arc::clone(plan.schema().inner());
    let source = Source::Template(plan, Arc::clone(known), values);
    plans.keep_like(sql, context, (schema, source), known).map(Some)
}

/// The analyzed plan of a query, of its template and its texts.
pub(super) fn bound(
    context: &StatementContext,
    values: &ParameterRow,
    known: &KnownTemplate,
) -> Result<Option<LogicalPlan>, Error> {
    let Some(open) = &known.plan else { return Ok(None) };
    let bound = open.clone().with_param_values(bind(values, &BTreeMap::new())?);
    Ok(bound.and_then(|plan| query::analyzed(&context.state, plan)).ok())
}

/// The plan of a template, its parameters open, if it is a query that can be planned so.
async fn open(context: &StatementContext, text: &str) -> Option<LogicalPlan> {
    let statement = parse(text).ok()?.statement;
    let is_query = matches!(
        &statement,
        ParsedStatement::Sql(front)
            if matches!(front.as_ref(), FrontStatement::Statement(inner) if matches!(**inner, Statement::Query(_)))
    );
    match Action::of(statement).ok()? {
        Action::Query(statement) if is_query => {
            query::logical(context, &statement, &ParameterRow::new()).await.ok()
        }
        _ => None,
    }
}

impl Template {
    fn of(sql: &str) -> Option<Self> {
        if sql.len() > TEXT_BYTES_MAX {
            return None;
        }
        let tokens = tokens(sql).ok()?;
        let tokens: Vec<&TokenWithSpan> =
            tokens.iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).collect();
        let mut found = Vec::new();
        let (mut selects, mut in_where) = (0, false);
        for (at, token) in tokens.iter().enumerate() {
            match keyword(&token.token) {
                Some(Keyword::SELECT) => selects += 1,
                Some(Keyword::WHERE) => in_where = true,
                Some(
                    Keyword::GROUP
                    | Keyword::ORDER
                    | Keyword::HAVING
                    | Keyword::LIMIT
                    | Keyword::OFFSET
                    | Keyword::FETCH
                    | Keyword::WINDOW
                    | Keyword::QUALIFY
                    | Keyword::CASE
                    | Keyword::FROM,
                ) => in_where = false,
                _ => {}
            }
            if selects > 1 || matches!(token.token, Token::Placeholder(_)) {
                return None;
            }
            if in_where {
                found.extend(compared(&tokens, at));
            }
        }
        if selects != 1 || found.is_empty() || found.len() > VALUES_MAX {
            return None;
        }
        let mut text = String::with_capacity(sql.len());
        let mut values = Vec::with_capacity(found.len());
        let mut end = 0;
        for Compared { value, cast, begins, ends } in found {
            values.push(value);
            let (from, to) = (offset_of(sql, begins), offset_of(sql, ends));
            text.push_str(sql.get(end..from)?);
            let number = values.len();
            let _ = match cast {
                Some(cast) => write!(text, "CAST(${number} AS {cast})"),
                None => write!(text, "${number}"),
            };
            end = to;
        }
        text.push_str(sql.get(end..)?);
        Some(Self { text, values, is_short: tokens.len() <= TOKENS_FEW })
    }
}

/// The keyword that a token is, if it is written without quotes.
fn keyword(token: &Token) -> Option<Keyword> {
    match token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.keyword),
        _ => None,
    }
}

/// What a column is compared with, and where it stands.
struct Compared {
    value: ScalarValue,
    /// The type that is written before it.
    cast: Option<&'static str>,
    begins: Location,
    ends: Location,
}

/// The instant that `to_timestamp(n)` at a place is.
fn seconds(tokens: &[&TokenWithSpan], at: usize) -> Option<Compared> {
    let [name, open, number, close] = tokens.get(at..at + 4)? else { return None };
    let (Token::Word(word), Token::Number(digits, false)) = (&name.token, &number.token) else {
        return None;
    };
    let is_call = word.quote_style.is_none() && word.value.eq_ignore_ascii_case("to_timestamp");
    if !is_call || open.token != Token::LParen || close.token != Token::RParen {
        return None;
    }
    let ns = digits.parse::<i64>().ok()?.checked_mul(1_000_000_000)?;
    let value = ScalarValue::TimestampNanosecond(Some(ns), Some(Arc::from(UTC)));
    Some(Compared { value, cast: None, begins: name.span.start, ends: close.span.end })
}

/// The text of `TIMESTAMP '…'` at a place.
fn typed(tokens: &[&TokenWithSpan], at: usize) -> Option<Compared> {
    let [name, text] = tokens.get(at..at + 2)? else { return None };
    let Token::SingleQuotedString(value) = &text.token else { return None };
    let value = ScalarValue::from(value.as_str());
    let is_typed = keyword(&name.token) == Some(Keyword::TIMESTAMP);
    is_typed.then(|| Compared {
        value,
        cast: Some("TIMESTAMP"),
        begins: name.span.start,
        ends: text.span.end,
    })
}

/// What a column is compared with by the operator at a place.
fn compared(tokens: &[&TokenWithSpan], at: usize) -> Vec<Compared> {
    let text = |at: usize| {
        let token = tokens.get(at)?;
        let Token::SingleQuotedString(text) = &token.token else { return None };
        let value = ScalarValue::from(text.as_str());
        Some(Compared { value, cast: None, begins: token.span.start, ends: token.span.end })
    };
    let is = |at: usize, wanted: Keyword| {
        tokens.get(at).is_some_and(|token| keyword(&token.token) == Some(wanted))
    };
    let found = match &tokens[at].token {
        Token::Eq | Token::Neq | Token::Lt | Token::LtEq | Token::Gt | Token::GtEq => {
            let instant = || seconds(tokens, at + 1).map(|instant| (vec![instant], at + 5));
            let typed = || typed(tokens, at + 1).map(|text| (vec![text], at + 3));
            text(at + 1).map(|text| (vec![text], at + 2)).or_else(typed).or_else(instant)
        }
        Token::Word(_) if is(at, Keyword::BETWEEN) && is(at + 2, Keyword::AND) => {
            text(at + 1).zip(text(at + 3)).map(|(low, high)| (vec![low, high], at + 4))
        }
        Token::Word(_) if is(at, Keyword::IN) => {
            let mut texts = Vec::new();
            let mut next = at + 1;
            while tokens.get(next).is_some_and(|token| {
                let opens = if texts.is_empty() { Token::LParen } else { Token::Comma };
                token.token == opens
            }) && let Some(text) = text(next + 1)
            {
                texts.push(text);
                next += 2;
            }
            let closed = tokens.get(next).is_some_and(|token| token.token == Token::RParen);
            closed.then_some((texts, next + 1))
        }
        _ => None,
    };
    let of_column = at.checked_sub(1).is_some_and(|before| is_column(tokens, before));
    match found {
        Some((texts, next)) if of_column && ends(tokens.get(next).copied()) => texts,
        _ => Vec::new(),
    }
}

/// Whether a token is the name of a column, or the end of one.
fn is_column(tokens: &[&TokenWithSpan], at: usize) -> bool {
    match &tokens[at].token {
        Token::Word(word) => {
            // Words of the language that are no names by themselves.
            let no_name = [Keyword::END, Keyword::NOT, Keyword::AND, Keyword::OR, Keyword::NULL];
            word.quote_style.is_some() || !no_name.contains(&word.keyword)
        }
        _ => false,
    }
}

/// Whether a condition ends before a token.
fn ends(token: Option<&TokenWithSpan>) -> bool {
    let Some(token) = token else { return true };
    match &token.token {
        Token::RParen | Token::SemiColon | Token::EOF => true,
        other => matches!(
            keyword(other),
            Some(Keyword::AND | Keyword::OR | Keyword::GROUP | Keyword::ORDER | Keyword::LIMIT)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(sql: &str) -> Option<(String, Vec<String>)> {
        let template = Template::of(sql)?;
        Some((template.text, template.values.iter().map(ToString::to_string).collect()))
    }

    #[test]
    fn texts_that_columns_are_compared_with_are_taken_out() {
        for (sql, text, values) in [
            (
                "SELECT max(v) FROM t WHERE host = 'it''s' AND time >= '2024-01-01' AND t.time<'2024-01-02'",
                "SELECT max(v) FROM t WHERE host = $1 AND time >= $2 AND t.time<$3",
                vec!["it's", "2024-01-01", "2024-01-02"],
            ),
            (
                "SELECT v FROM t\nWHERE \"höst\" IN ('a', 'b')\n  AND (time BETWEEN 'x' AND 'y') ORDER BY v",
                "SELECT v FROM t\nWHERE \"höst\" IN ($1, $2)\n  AND (time BETWEEN $3 AND $4) ORDER BY v",
                vec!["a", "b", "x", "y"],
            ),
            (
                "SELECT 'a' = host FROM t WHERE v > 1 AND 'x' <> host OR host <> 'y' GROUP BY host = 'z'",
                "SELECT 'a' = host FROM t WHERE v > 1 AND 'x' <> host OR host <> $1 GROUP BY host = 'z'",
                vec!["y"],
            ),
            (
                "SELECT v FROM t WHERE time >= to_timestamp(17) AND time < TO_TIMESTAMP( 18 ) LIMIT 5",
                "SELECT v FROM t WHERE time >= $1 AND time < $2 LIMIT 5",
                vec!["17000000000", "18000000000"],
            ),
            (
                "SELECT v FROM t WHERE time >= TIMESTAMP '2024-01-01' AND time < timestamp '2024-01-02T00:00Z'",
                "SELECT v FROM t WHERE time >= CAST($1 AS TIMESTAMP) AND time < CAST($2 AS TIMESTAMP)",
                vec!["2024-01-01", "2024-01-02T00:00Z"],
            ),
        ] {
            let values = values.into_iter().map(str::to_owned).collect();
            assert_eq!(template(sql), Some((text.to_owned(), values)), "{sql}");
        }
    }

    #[test]
    fn other_texts_stay_where_they_are() {
        for sql in [
            "SELECT 'a'",
            "SELECT v FROM t WHERE host LIKE 'a%' AND host ~ 'b' AND host SIMILAR TO 'c'",
            "SELECT v FROM t WHERE time > now() - INTERVAL '1 hour' AND time < TIMESTAMP '2024-01-01' + d",
            "SELECT v FROM t WHERE time < TIMESTAMPTZ '2024-01-01' AND time > TIMESTAMP WITHOUT TIME ZONE '2024-01-01'",
            "SELECT v FROM t WHERE upper(host) = 'A'",
            "SELECT v FROM t WHERE host = 'a' || 'b'",
            "SELECT v FROM t WHERE time >= '2024-01-01'::DATE",
            "SELECT v FROM t WHERE time >= '2024-01-01' - INTERVAL '1 day'",
            "SELECT v FROM t WHERE host = 'a' AND n = $1",
            "SELECT v FROM t WHERE host = ? AND x = 'a'",
            "SELECT v FROM t WHERE host = 'a' AND v > (SELECT avg(v) FROM t)",
            "SELECT v FROM t WHERE host IN ('a', lower('B'))",
            "SELECT v FROM t WHERE CASE WHEN host = 'a' THEN true END",
            "SELECT v FROM t WHERE CASE host WHEN 'a' THEN 'x' END = 'x'",
            "SELECT v FROM t WHERE NOT 'a' = 'b'",
            "SELECT v FROM t WHERE time > to_timestamp(17.5) OR time < to_timestamp(99999999999999999)",
            "SELECT v FROM t WHERE time > to_timestamp(17, 'x') OR time < to_timestamp(n) + INTERVAL '1 day'",
            "SELECT v FROM t WHERE host = 'not closed",
            "SELECT v FROM t GROUP BY v HAVING max(host) > 'a' AND host = 'b'",
        ] {
            assert_eq!(template(sql), None, "{sql}");
        }
    }
}
