//! Text to one statement: tokens, parameters numbered, errors with their place.

use std::collections::VecDeque;

use datafusion::error::DataFusionError;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::chains;
use super::cluster::{self, ClusterChange};
use super::concat;
use super::copy::{self, CopyStatement};
use super::distinct;
use super::item_names;
use super::notes::{self, NoteStatement};
use super::prepared::{self, Preparation};
use super::series::{self, SeriesQuestion};
use super::table_functions;
use super::zones;
use crate::{Error, ErrorKind};

/// The dialect: the widest one of sqlparser, the one that DataFusion is tested with.
const DIALECT: GenericDialect = GenericDialect {};

/// Expressions nested deeper than this are refused, long before the stack ends.
const DEPTH_MAX: usize = 100;

/// A statement as parsed.
#[derive(Debug)]
pub(crate) enum ParsedStatement {
    /// What sqlparser and DataFusion know.
    Sql(Box<Statement>),
    /// `CREATE DATABASE … WITH (kind = 'memory')`, without what follows the name.
    MemoryDatabase(Box<Statement>),
    /// `CHECKPOINT`.
    Checkpoint,
    /// `ALTER CLUSTER`.
    Cluster(ClusterChange),
    /// `COPY`.
    Copy(Box<CopyStatement>),
    /// `PREPARE`.
    Prepare(Preparation),
    /// `SHOW SERIES`, `SHOW TAG …`.
    Series(SeriesQuestion),
    /// Notes and labels that `ALTER TABLE` sets.
    Note(Box<NoteStatement>),
}

/// One statement and its parameters.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// The statement, with `$n` in the place of every `?`.
    pub(crate) statement: ParsedStatement,
    /// Ids of the parameters in order: `$1`, `$2` … without gaps, then named ones by first appearance.
    pub(crate) parameters: Vec<String>,
}

/// The tokens of a text.
pub(super) fn tokens(sql: &str) -> Result<Vec<TokenWithSpan>, Error> {
    Tokenizer::new(&DIALECT, sql)
        .tokenize_with_location()
        .map_err(|e| syntax(e.message, e.location.line, e.location.column))
}

/// What a statement has after its first `AS`, as it was written.
pub(super) fn text_after_as(sql: &str) -> Result<String, Error> {
    let tokens = tokens(sql)?;
    prepared::text_after_as(sql, &tokens)
        .ok_or_else(|| Error::request(ErrorKind::Internal, format!("there is no AS in {sql}")))
}

/// Parses the query of a view.
pub(crate) fn query(sql: &str) -> Result<Statement, Error> {
    match parse(sql)?.statement {
        ParsedStatement::Sql(statement) => Ok(*statement),
        _ => Err(Error::request(ErrorKind::Invalid, format!("not a query: {sql}"))),
    }
}

/// Parses one statement.
pub(crate) fn parse(sql: &str) -> Result<Parsed, Error> {
    let tokens = tokens(sql)?;
    chains::check(&tokens)?;
    let (tokens, parameters) = number_parameters(without_parentheses(tokens))?;
    let end = end_of(&tokens);
    let tokens = quorate_timeseries::rewrite_tokens(tokens).map_err(|e| parser_error(&e, end))?;
    if let Some(statement) = own_statement(&tokens) {
        return Ok(Parsed { statement, parameters });
    }
    if let Some(change) = cluster::parse(&tokens) {
        return Ok(Parsed { statement: ParsedStatement::Cluster(change?), parameters });
    }
    if let Some(question) = series::parse(&tokens) {
        return Ok(Parsed { statement: ParsedStatement::Series(question?), parameters });
    }
    if let Some(note) = notes::parse(&tokens) {
        return Ok(Parsed { statement: ParsedStatement::Note(Box::new(note?)), parameters });
    }
    if begins_with(&tokens, "COPY") {
        let statement = ParsedStatement::Copy(Box::new(copy_statement(&tokens)?));
        return Ok(Parsed { statement, parameters });
    }
    let prepared = begins_with(&tokens, "PREPARE").then(|| tokens.clone());
    let (tokens, kind) = without_kind(tokens)?;
    let end = end_of(&tokens);
    let mut statements = front_statements(tokens).map_err(|e| parser_error(&e, end))?;
    match (statements.pop_front(), statements.len()) {
        (Some(statement), 0) => {
            if let (Some(tokens), Statement::Statement(inner)) = (prepared, &statement)
                && let Some(preparation) = Preparation::of(sql, &tokens, inner)
            {
                // Its parameters are those of a later `EXECUTE`.
                let statement = ParsedStatement::Prepare(preparation);
                return Ok(Parsed { statement, parameters: Vec::new() });
            }
            let statement = Box::new(statement);
            let statement = match kind {
                DatabaseKind::Durable => ParsedStatement::Sql(statement),
                DatabaseKind::Memory => ParsedStatement::MemoryDatabase(statement),
            };
            Ok(Parsed { statement, parameters })
        }
        (Some(_), more) => Err(Error::request(
            ErrorKind::Invalid,
            format!("found {} statements; send one at a time", more + 1),
        )),
        (None, _) => Err(syntax("the statement is empty".to_owned(), 1, 1)),
    }
}

/// What DataFusion's parser makes of the tokens.
fn front_statements(tokens: Vec<TokenWithSpan>) -> Result<VecDeque<Statement>, DataFusionError> {
    DFParserBuilder::new(tokens)
        .with_dialect(&DIALECT)
        .with_recursion_limit(DEPTH_MAX)
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .and_then(|mut statements| {
            for statement in &mut statements {
                rewrite(statement)?;
            }
            Ok(statements)
        })
}

/// Puts time-series syntax into the planner's words.
fn rewrite(statement: &mut Statement) -> Result<(), DataFusionError> {
    match statement {
        Statement::Statement(inner) => rewrite_inner(inner),
        Statement::Explain(explain) => rewrite(&mut explain.statement),
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => Ok(()),
    }
}

fn rewrite_inner(statement: &mut SqlStatement) -> Result<(), DataFusionError> {
    chains::balance(statement);
    concat::regroup(statement);
    zones::name_zones(statement);
    item_names::name_casts(statement);
    distinct::rebind(statement);
    table_functions::name_tables(statement);
    quorate_timeseries::rewrite(statement)
}

/// `COPY` as `PostgreSQL` writes it, else as DataFusion does (`COPY … TO … STORED AS … OPTIONS (…)`).
fn copy_statement(tokens: &[TokenWithSpan]) -> Result<CopyStatement, Error> {
    let mut parser = Parser::new(&DIALECT)
        .with_recursion_limit(DEPTH_MAX)
        .with_tokens_with_locations(tokens.to_vec());
    let parsed = parser.parse_statement().and_then(|statement| {
        while parser.consume_token(&Token::SemiColon) {}
        parser.expect_token(&Token::EOF).map(|_| statement)
    });
    let error = match parsed {
        Ok(mut statement) => {
            rewrite_inner(&mut statement).map_err(|e| parser_error(&e, end_of(tokens)))?;
            return copy::of_sql(statement);
        }
        Err(error) => DataFusionError::SQL(Box::new(error), None),
    };
    match front_statements(tokens.to_vec()).ok().and_then(|mut all| all.pop_front()) {
        Some(Statement::CopyTo(copy)) => copy::of_datafusion(copy),
        _ => Err(parser_error(&error, end_of(tokens))),
    }
}

fn end_of(tokens: &[TokenWithSpan]) -> (u64, u64) {
    tokens.iter().map(|t| t.span.end).max().map_or((1, 1), |end| (end.line, end.column))
}

/// Whether the first word is this one.
fn begins_with(tokens: &[TokenWithSpan], keyword: &str) -> bool {
    let first = tokens.iter().map(|t| &t.token).find(|t| !matches!(t, Token::Whitespace(_)));
    matches!(first, Some(Token::Word(word)) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(keyword))
}

/// Takes the `()` off `current_user()` and its like, which sqlparser knows without them only.
fn without_parentheses(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let is_function = |token: &Token| {
        let Token::Word(word) = token else { return false };
        let names = ["CURRENT_USER", "SESSION_USER", "CURRENT_CATALOG"];
        word.quote_style.is_none() && names.iter().any(|n| word.value.eq_ignore_ascii_case(n))
    };
    let mut at = 0;
    while let Some(next) = tokens.iter().skip(at).position(|t| is_function(&t.token)) {
        at += next + 1;
        let after = |from: usize| {
            (from..tokens.len()).find(|i| !matches!(tokens[*i].token, Token::Whitespace(_)))
        };
        let open = after(at).filter(|i| tokens[*i].token == Token::LParen);
        let close = open.and_then(|open| after(open + 1));
        if let Some(close) = close.filter(|i| tokens[*i].token == Token::RParen) {
            tokens.drain(at..=close);
        }
    }
    tokens
}

/// Writes `$n` for every `?`, and collects the parameters.
fn number_parameters(
    mut tokens: Vec<TokenWithSpan>,
) -> Result<(Vec<TokenWithSpan>, Vec<String>), Error> {
    let mut questions = 0_usize;
    let mut numbered_max = 0_usize;
    let mut named: Vec<String> = Vec::new();
    for TokenWithSpan { token, span } in &mut tokens {
        let Token::Placeholder(id) = token else { continue };
        let at = |message: String| syntax(message, span.start.line, span.start.column);
        if id == "?" {
            questions += 1;
            *id = format!("${questions}");
        } else if let Some(name) = id.strip_prefix('$') {
            match name.parse::<usize>() {
                Ok(0) => return Err(at("parameters are numbered from $1".to_owned())),
                Ok(n) if n > usize::from(u16::MAX) => {
                    return Err(at(format!("there may be at most {} parameters", u16::MAX)));
                }
                Ok(n) => numbered_max = numbered_max.max(n),
                Err(_) if named.contains(id) => {}
                Err(_) => named.push(id.clone()),
            }
        } else {
            return Err(at(format!("{id} is no parameter; write ? or $1")));
        }
        if questions > 0 && (numbered_max > 0 || !named.is_empty()) {
            return Err(at("? and $ parameters cannot be mixed in one statement".to_owned()));
        }
    }
    let mut ids: Vec<String> = (1..=questions.max(numbered_max)).map(|n| format!("${n}")).collect();
    ids.append(&mut named);
    Ok((tokens, ids))
}

/// What a database is kept on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DatabaseKind {
    Durable,
    Memory,
}

/// Takes `WITH (kind = '…')` off the end of a `CREATE DATABASE`, which sqlparser does not know.
fn without_kind(tokens: Vec<TokenWithSpan>) -> Result<(Vec<TokenWithSpan>, DatabaseKind), Error> {
    let said = |t: &TokenWithSpan| {
        !matches!(t.token, Token::Whitespace(_) | Token::SemiColon | Token::EOF)
    };
    let is = |index: usize, word: &str| match tokens.get(index).map(|t| &t.token) {
        Some(Token::Word(w)) => w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word),
        _ => false,
    };
    let places: Vec<usize> = (0..tokens.len()).filter(|i| said(&tokens[*i])).collect();
    let [first, second, .., with, open, kind, equals, value, close] = places.as_slice() else {
        return Ok((tokens, DatabaseKind::Durable));
    };
    let ours = is(*first, "CREATE")
        && is(*second, "DATABASE")
        && is(*with, "WITH")
        && is(*kind, "kind")
        && tokens[*open].token == Token::LParen
        && tokens[*equals].token == Token::Eq
        && tokens[*close].token == Token::RParen;
    if !ours {
        return Ok((tokens, DatabaseKind::Durable));
    }
    let kind = match &tokens[*value].token {
        Token::SingleQuotedString(kind) if kind == "memory" => DatabaseKind::Memory,
        Token::SingleQuotedString(kind) if kind == "durable" => DatabaseKind::Durable,
        other => {
            let place = tokens[*value].span.start;
            let message = format!("the kind of a database is 'durable' or 'memory', not {other}");
            return Err(syntax(message, place.line, place.column));
        }
    };
    Ok((tokens.into_iter().take(*with).collect(), kind))
}

/// The statement of ours that sqlparser does not know.
fn own_statement(tokens: &[TokenWithSpan]) -> Option<ParsedStatement> {
    let mut words = tokens
        .iter()
        .map(|t| &t.token)
        .filter(|t| !matches!(t, Token::Whitespace(_) | Token::SemiColon | Token::EOF));
    let (Some(Token::Word(word)), None) = (words.next(), words.next()) else { return None };
    let ours = word.quote_style.is_none() && word.value.eq_ignore_ascii_case("CHECKPOINT");
    ours.then_some(ParsedStatement::Checkpoint)
}

fn syntax(message: String, line: u64, column: u64) -> Error {
    Error::Syntax { message, line, column }
}

/// Takes the place out of the parser's message; the end of the text where it names none.
fn parser_error(error: &DataFusionError, end: (u64, u64)) -> Error {
    let message = match error.find_root() {
        DataFusionError::SQL(e, _) => match e.as_ref() {
            ParserError::ParserError(m) | ParserError::TokenizerError(m) => m.clone(),
            ParserError::RecursionLimitExceeded => {
                format!("expressions are nested deeper than {DEPTH_MAX}")
            }
        },
        other => other.strip_backtrace(),
    };
    match split_place(&message) {
        Some((message, line, column)) => syntax(message.to_owned(), line, column),
        None => syntax(message, end.0, end.1),
    }
}

fn split_place(message: &str) -> Option<(&str, u64, u64)> {
    let (head, place) = message.rsplit_once(" at Line: ")?;
    let (line, column) = place.split_once(", Column: ")?;
    Some((head, line.trim().parse().ok()?, column.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_parameters(sql: &str, want: &[&str], text: &str) {
        let parsed = parse(sql).unwrap();
        assert_eq!(parsed.parameters, want, "{sql}");
        let ParsedStatement::Sql(statement) = parsed.statement else { panic!("{sql}") };
        assert_eq!(statement.to_string(), text);
    }

    fn check_error(sql: &str, line: u64, column: u64, text: &str) {
        match parse(sql).unwrap_err() {
            Error::Syntax { message, line: l, column: c } => {
                assert!(message.contains(text), "{sql}: {message}");
                assert_eq!((l, c), (line, column), "{sql}: {message}");
            }
            other => panic!("{sql}: {other:?}"),
        }
    }

    #[test]
    fn question_marks_are_numbered_from_left_to_right_outside_of_strings() {
        check_parameters(
            "SELECT ?, '?', \"?\" -- ?\n FROM t WHERE a > ? /* ? */ LIMIT ?",
            &["$1", "$2", "$3"],
            "SELECT $1, '?', \"?\" FROM t WHERE a > $2 LIMIT $3",
        );
    }

    #[test]
    fn dollar_parameters_keep_their_numbers_and_names() {
        check_parameters("SELECT $2, $1, $2", &["$1", "$2"], "SELECT $2, $1, $2");
        check_parameters("SELECT $3", &["$1", "$2", "$3"], "SELECT $3");
        check_parameters("SELECT $b, $a, $b", &["$b", "$a"], "SELECT $b, $a, $b");
    }

    #[test]
    fn functions_that_are_keywords_may_have_parentheses() {
        for (sql, text) in [
            ("SELECT current_user()", "SELECT current_user"),
            ("SELECT (Session_User ( )), f()", "SELECT (Session_User), f()"),
            ("SELECT current_catalog() FROM t", "SELECT current_catalog FROM t"),
        ] {
            check_parameters(sql, &[], text);
        }
        assert!(parse("SELECT current_user(1)").is_err());
    }

    #[test]
    fn wrong_parameters_are_errors_with_their_place() {
        check_error("SELECT ?,\n $1", 2, 2, "mixed");
        check_error("SELECT $0", 1, 8, "numbered from $1");
        check_error("SELECT ?7", 1, 8, "no parameter");
        check_error("SELECT $70000", 1, 8, "at most 65535");
    }

    #[test]
    fn syntax_errors_tell_line_and_column() {
        check_error("SELECT\n  a b c FROM t", 2, 7, "Expected");
        check_error("SELECT 'abc", 1, 8, "Unterminated string literal");
        check_error("SELECT (1", 1, 10, "Expected");
        check_error("FROBNICATE x", 1, 1, "FROBNICATE");
        check_error("", 1, 1, "empty");
        check_error(" ; -- nothing", 1, 1, "empty");
    }

    #[test]
    fn several_statements_are_refused() {
        let error = parse("SELECT 1; SELECT 2").unwrap_err();
        assert_eq!(error.to_string(), "found 2 statements; send one at a time");
        parse("SELECT 1;").unwrap();
    }

    #[test]
    fn deep_nesting_is_an_error_not_a_crash() {
        let sql = format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000));
        assert!(parse(&sql).unwrap_err().to_string().contains("nested deeper"));
    }

    #[test]
    fn checkpoint_is_a_statement_of_one_word() {
        for sql in ["checkpoint ;", " CHECKPOINT -- now"] {
            assert!(matches!(parse(sql).unwrap().statement, ParsedStatement::Checkpoint), "{sql}");
        }
        assert!(parse("CHECKPOINT now").is_err());
    }
}
