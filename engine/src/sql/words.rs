//! Statements of ours that begin with words which sqlparser takes for something else: read word by word, with sqlparser
//! for names and expressions.

use datafusion::sql::sqlparser::ast::{Expr, Ident, ObjectName};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::action::NameFilter;
use super::names::name_of;
use crate::Error;

/// Expressions nested deeper than this are refused.
const DEPTH_MAX: usize = 100;

/// A reader of words.
pub(super) struct Words<'a> {
    parser: Parser<'a>,
}

impl<'a> Words<'a> {
    pub(super) fn new(tokens: &[TokenWithSpan], dialect: &'a GenericDialect) -> Self {
        let parser = Parser::new(dialect).with_recursion_limit(DEPTH_MAX);
        Self { parser: parser.with_tokens_with_locations(tokens.to_vec()) }
    }

    /// Whether the words at the start are these.
    pub(super) fn begin(tokens: &[TokenWithSpan], words: &[&str]) -> bool {
        let mut said = tokens.iter().filter(|t| !matches!(t.token, Token::Whitespace(_)));
        words.iter().all(|word| said.next().is_some_and(|token| is(&token.token, word)))
    }

    /// Takes a word, if it is next.
    pub(super) fn take(&mut self, word: &str) -> bool {
        let found = is(&self.parser.peek_token_ref().token, word);
        if found {
            self.parser.advance_token();
        }
        found
    }

    /// Takes a token, if it is next.
    pub(super) fn take_token(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    /// Takes a word that must be next.
    pub(super) fn expect(&mut self, word: &str) -> Result<(), Error> {
        if self.take(word) { Ok(()) } else { Err(self.unexpected(word)) }
    }

    /// Takes a token that must be next.
    pub(super) fn expect_token(&mut self, token: &Token) -> Result<(), Error> {
        if self.take_token(token) { Ok(()) } else { Err(self.unexpected(&token.to_string())) }
    }

    /// The error for what is next, where `wanted` should be.
    pub(super) fn unexpected(&self, wanted: &str) -> Error {
        let found = self.parser.peek_token_ref();
        let message = format!("Expected: {wanted}, found: {}", found.token);
        let place = found.span.start;
        Error::Syntax { message, line: place.line.max(1), column: place.column.max(1) }
    }

    pub(super) fn object_name(&mut self) -> Result<ObjectName, Error> {
        let parsed = self.parser.parse_object_name(false);
        parsed.map_err(|e| self.failed(&e))
    }

    pub(super) fn ident(&mut self) -> Result<Ident, Error> {
        let parsed = self.parser.parse_identifier();
        parsed.map_err(|e| self.failed(&e))
    }

    pub(super) fn name(&mut self) -> Result<String, Error> {
        Ok(name_of(&self.ident()?))
    }

    pub(super) fn expr(&mut self) -> Result<Expr, Error> {
        let parsed = self.parser.parse_expr();
        parsed.map_err(|e| self.failed(&e))
    }

    pub(super) fn text(&mut self) -> Result<String, Error> {
        match &self.parser.peek_token_ref().token {
            Token::SingleQuotedString(text) => {
                let text = text.clone();
                self.parser.advance_token();
                Ok(text)
            }
            _ => Err(self.unexpected("a text in single quotes")),
        }
    }

    /// `LIKE 'pattern'` or `ILIKE 'pattern'`, if it is next.
    pub(super) fn filter(&mut self) -> Result<Option<NameFilter>, Error> {
        let ignore_case = self.take("ILIKE");
        if !ignore_case && !self.take("LIKE") {
            return Ok(None);
        }
        Ok(Some(NameFilter { pattern: self.text()?, ignore_case }))
    }

    /// Checks that nothing follows.
    pub(super) fn end(mut self) -> Result<(), Error> {
        while self.take_token(&Token::SemiColon) {}
        if self.parser.peek_token_ref().token == Token::EOF {
            return Ok(());
        }
        Err(self.unexpected("the end of the statement"))
    }

    fn failed(&self, error: &ParserError) -> Error {
        let place = self.parser.peek_token_ref().span.start;
        let message = match error {
            ParserError::ParserError(text) | ParserError::TokenizerError(text) => {
                // sqlparser ends its messages in the place, which ours tells as well.
                text.split(" at Line: ").next().unwrap_or(text).to_owned()
            }
            ParserError::RecursionLimitExceeded => "expressions are nested too deep".to_owned(),
        };
        Error::Syntax { message, line: place.line.max(1), column: place.column.max(1) }
    }
}

fn is(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}
