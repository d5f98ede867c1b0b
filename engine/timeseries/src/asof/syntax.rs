//! [`rewrite_tokens`]: as-of joins as ordinary joins with marks, before the parser sees them.
//!
//! | as written | as parsed |
//! |---|---|
//! | `ASOF JOIN r MATCH_CONDITION (c) ON e` | `LEFT JOIN r ON __asof_match(c, …) AND e` |
//! | `ASOF JOIN r MATCH_CONDITION (c) USING (k)` | `LEFT JOIN r USING (k) LEFT SEMI JOIN (SELECT 1) ON __asof_match(c, …)` |
//! | `ASOF [LEFT] JOIN r ON e` | `INNER` or `LEFT JOIN r ON __asof_on(…) AND e` |
//! | `ASOF [LEFT] JOIN r USING (k, t)` | `INNER` or `LEFT JOIN r USING (k, t) LEFT SEMI JOIN (SELECT 1) ON __asof_using(…)` |
//! | `TOLERANCE x` | `AND __asof_tolerance(x)` |
//!
//! The semi join carries a mark where `USING` leaves no room for one; its columns are those of the join below.
//! Tokens that are put in have the place of what they stand for, so that the parser's errors point at the text.

use datafusion::error::{DataFusionError, Result};
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan, Word};

use super::mark::{MATCH, ON, TOLERANCE, USING};

/// Words after which an `ON` and what belongs to it are over.
const ENDS: &[&str] = &[
    "JOIN",
    "LEFT",
    "RIGHT",
    "FULL",
    "INNER",
    "CROSS",
    "NATURAL",
    "ASOF",
    "WHERE",
    "GROUP",
    "HAVING",
    "ORDER",
    "LIMIT",
    "OFFSET",
    "UNION",
    "EXCEPT",
    "INTERSECT",
    "SELECT",
    "WINDOW",
    "QUALIFY",
    "FETCH",
    "RETURNING",
    "SEMI",
    "ANTI",
];

/// Words that no operand ends with, so that a name follows.
const BEFORE_NAMES: &[&str] = &[
    "FROM", "JOIN", "AS", "AND", "OR", "NOT", "ON", "WHERE", "LATERAL", "ONLY", "IN", "LIKE",
    "ILIKE", "BETWEEN", "IS", "CASE", "WHEN", "THEN", "ELSE", "SELECT", "BY", "TO", "USING",
    "INTO", "UPDATE", "TABLE", "DISTINCT",
];

/// Words that may follow the value of an `INTERVAL`.
const UNITS: &[&str] = &[
    "NANOSECOND",
    "NANOSECONDS",
    "MICROSECOND",
    "MICROSECONDS",
    "MILLISECOND",
    "MILLISECONDS",
    "SECOND",
    "SECONDS",
    "MINUTE",
    "MINUTES",
    "HOUR",
    "HOURS",
    "DAY",
    "DAYS",
    "WEEK",
    "WEEKS",
];

/// Puts as-of joins into words that the parser and the planner know.
pub(crate) fn rewrite_tokens(tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>> {
    if !tokens.iter().any(|t| is_word(&t.token, "ASOF")) {
        return Ok(tokens);
    }
    let mut rewriter =
        Rewriter { tokens: &tokens, at: 0, out: Vec::new(), depth: 0, open: Vec::new() };
    rewriter.run()?;
    Ok(rewriter.out)
}

/// How far an as-of join has been read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The right table; its condition is to come.
    Table,
    /// `MATCH_CONDITION` was read; `TOLERANCE` and `ON` may come.
    Match,
    /// `ON` or `USING` was read; `TOLERANCE` may come.
    Condition,
}

struct OpenJoin {
    depth: usize,
    stage: Stage,
    /// Of the word `ASOF`.
    span: Span,
    /// Where the word for its kind was put, if it was not said.
    kind: Option<usize>,
}

struct Rewriter<'a> {
    tokens: &'a [TokenWithSpan],
    at: usize,
    out: Vec<TokenWithSpan>,
    depth: usize,
    open: Vec<OpenJoin>,
}

impl Rewriter<'_> {
    fn run(&mut self) -> Result<()> {
        while let Some(token) = self.tokens.get(self.at) {
            match &token.token {
                Token::LParen => {
                    self.depth += 1;
                    self.copy();
                }
                Token::RParen => {
                    self.close_all(self.depth)?;
                    self.depth = self.depth.saturating_sub(1);
                    self.copy();
                }
                Token::Comma => {
                    self.close_here()?;
                    self.copy();
                }
                Token::SemiColon | Token::EOF => {
                    self.close_all(0)?;
                    self.copy();
                }
                Token::Word(_) => self.word()?,
                _ => self.copy(),
            }
        }
        self.close_all(0)
    }

    fn copy(&mut self) {
        self.out.push(self.tokens[self.at].clone());
        self.at += 1;
    }

    fn put(&mut self, token: Token, span: Span) {
        self.out.push(TokenWithSpan::new(token, span));
    }

    fn put_words(&mut self, words: &[&str], span: Span) {
        for word in words {
            self.put(Token::make_keyword(word), span);
        }
    }

    /// `name(` … `, line, column)`, with the tokens of a range within.
    fn put_mark(&mut self, name: &str, argument: Option<(usize, usize)>, span: Span) -> Result<()> {
        self.put(Token::make_word(name, None), span);
        self.put(Token::LParen, span);
        if let Some((from, to)) = argument {
            self.nested(from, to)?;
            self.put(Token::Comma, span);
        }
        self.put(Token::Number(span.start.line.to_string(), false), span);
        self.put(Token::Comma, span);
        self.put(Token::Number(span.start.column.to_string(), false), span);
        self.put(Token::RParen, span);
        Ok(())
    }

    /// Puts a range of tokens, rewritten.
    fn nested(&mut self, from: usize, to: usize) -> Result<()> {
        let inner = rewrite_tokens(self.tokens[from..to].to_vec())?;
        self.out.extend(inner);
        Ok(())
    }

    /// The next token from an index on that says something.
    fn next(&self, from: usize) -> Option<usize> {
        (from..self.tokens.len()).find(|i| !is_blank(&self.tokens[*i].token))
    }

    fn is(&self, index: Option<usize>, word: &str) -> bool {
        index.is_some_and(|i| is_word(&self.tokens[i].token, word))
    }

    /// Whether what was just read is an operand, so that no name can follow.
    fn after_operand(&self) -> bool {
        let before = self.tokens[..self.at].iter().rev().find(|t| !is_blank(&t.token));
        match before.map(|t| &t.token) {
            Some(Token::Word(word)) if word.quote_style.is_none() => {
                !BEFORE_NAMES.iter().any(|name| word.value.eq_ignore_ascii_case(name))
            }
            Some(
                Token::Word(_)
                | Token::Number(..)
                | Token::SingleQuotedString(_)
                | Token::Placeholder(_)
                | Token::RParen
                | Token::RBracket,
            ) => true,
            _ => false,
        }
    }

    fn word(&mut self) -> Result<()> {
        let token = &self.tokens[self.at];
        let span = token.span;
        let next = self.next(self.at + 1);
        let called = next.is_some_and(|i| self.tokens[i].token == Token::LParen);
        if is_word(&token.token, "ASOF") && self.after_operand() && self.begin(span)? {
            return Ok(());
        }
        let depth = self.depth;
        let here = self.open.last().filter(|join| join.depth == depth).map(|join| join.stage);
        let Some(stage) = here else {
            self.copy();
            return Ok(());
        };
        let says = |word: &str| is_word(&token.token, word);
        match stage {
            Stage::Table if says("MATCH_CONDITION") && called => self.match_condition(),
            Stage::Table if says("ON") => {
                self.put(Token::make_keyword("ON"), span);
                self.put_mark(ON, None, self.opened_at())?;
                self.put(Token::make_keyword("AND"), span);
                self.at += 1;
                self.stage(Stage::Condition);
                Ok(())
            }
            Stage::Table if says("USING") && called => self.using(),
            Stage::Match if says("ON") => {
                self.put(Token::make_keyword("AND"), span);
                self.at += 1;
                self.stage(Stage::Condition);
                Ok(())
            }
            Stage::Match | Stage::Condition if says("TOLERANCE") && self.after_operand() => {
                self.tolerance(self.at)
            }
            _ if !called && ENDS.iter().any(|end| says(end)) => {
                self.close_here()?;
                self.copy();
                Ok(())
            }
            _ => {
                self.copy();
                Ok(())
            }
        }
    }

    fn stage(&mut self, stage: Stage) {
        if let Some(join) = self.open.last_mut() {
            join.stage = stage;
        }
    }

    /// Where the innermost as-of join begins.
    fn opened_at(&self) -> Span {
        self.open.last().map_or_else(Span::empty, |join| join.span)
    }

    /// Reads `ASOF [INNER | LEFT [OUTER]] JOIN`; false if it is none.
    fn begin(&mut self, span: Span) -> Result<bool> {
        let Some(first) = self.next(self.at + 1) else { return Ok(false) };
        let Token::Word(word) = &self.tokens[first].token else { return Ok(false) };
        let said = word.value.to_ascii_uppercase();
        match said.as_str() {
            "JOIN" | "LEFT" | "INNER" => {}
            "RIGHT" | "FULL" | "CROSS" | "NATURAL" | "OUTER" | "SEMI" | "ANTI" => {
                let message = format!(
                    "ASOF {said} JOIN is not supported: write ASOF JOIN or ASOF LEFT JOIN, with the table whose \
                     rows are kept on the left"
                );
                return Err(error(&message, span));
            }
            _ => return Ok(false),
        }
        self.close_here()?;
        let kind = (said == "JOIN").then(|| {
            self.put(Token::make_keyword("INNER"), span);
            self.out.len() - 1
        });
        self.at += 1;
        let mut next = self.next(self.at);
        while let Some(index) = next {
            self.at = index;
            let ends = is_word(&self.tokens[index].token, "JOIN");
            self.copy();
            if ends {
                break;
            }
            next = self.next(self.at).filter(|i| {
                ["OUTER", "JOIN"].iter().any(|word| is_word(&self.tokens[*i].token, word))
            });
            if next.is_none() {
                return Err(error("ASOF LEFT is followed by JOIN", span));
            }
        }
        self.open.push(OpenJoin { depth: self.depth, stage: Stage::Table, span, kind });
        Ok(true)
    }

    /// Reads `MATCH_CONDITION (…)`, and `TOLERANCE …` and `USING (…)` behind it.
    fn match_condition(&mut self) -> Result<()> {
        let span = self.opened_at();
        if let Some(kind) = self.open.last().and_then(|join| join.kind) {
            self.out[kind].token = Token::make_keyword("LEFT");
        }
        let (from, to) = self.parens(self.at + 1)?;
        let mut after = self.next(to + 1);
        let mut tolerance = None;
        if self.is(after, "TOLERANCE") {
            tolerance = after;
            after = self.next(self.value(after.unwrap_or(to))?.1);
        }
        if let Some(using) = after.filter(|_| self.is(after, "USING")) {
            let (_, close) = self.parens(using + 1)?;
            self.out.extend(self.tokens[using..=close].iter().cloned());
            self.put_semi_join(span);
            self.put_mark(MATCH, Some((from, to)), span)?;
            match tolerance {
                Some(at) => self.tolerance(at)?,
                None => self.stage(Stage::Condition),
            }
            self.at = close + 1;
        } else {
            self.put(Token::make_keyword("ON"), self.tokens[self.at].span);
            self.put_mark(MATCH, Some((from, to)), span)?;
            self.at = to + 1;
            self.stage(Stage::Match);
        }
        Ok(())
    }

    /// Reads `USING (…)` whose last column is the time.
    fn using(&mut self) -> Result<()> {
        let span = self.opened_at();
        let (_, close) = self.parens(self.at + 1)?;
        self.out.extend(self.tokens[self.at..=close].iter().cloned());
        self.put_semi_join(span);
        self.put_mark(USING, None, span)?;
        self.at = close + 1;
        self.stage(Stage::Condition);
        Ok(())
    }

    fn put_semi_join(&mut self, span: Span) {
        self.put_words(&["LEFT", "SEMI", "JOIN"], span);
        self.put(Token::LParen, span);
        self.put(Token::make_keyword("SELECT"), span);
        self.put(Token::Number("1".to_owned(), false), span);
        self.put(Token::RParen, span);
        self.put(Token::make_keyword("ON"), span);
    }

    /// Reads `TOLERANCE …`, which is at an index.
    fn tolerance(&mut self, at: usize) -> Result<()> {
        let span = self.tokens[at].span;
        let (from, to) = self.value(at)?;
        self.put(Token::make_keyword("AND"), span);
        self.put(Token::make_word(TOLERANCE, None), span);
        self.put(Token::LParen, span);
        self.out.extend(self.tokens[from..to].iter().cloned());
        self.put(Token::RParen, span);
        self.at = to;
        let said_before_on = self.is(self.next(to), "ON");
        match self.open.last().map(|join| join.stage) {
            Some(Stage::Match) if said_before_on => {}
            _ => {
                self.open.pop();
            }
        }
        Ok(())
    }

    /// The tokens of the value behind the word at an index: `INTERVAL '…' [unit]`, one token, or what is in parentheses.
    fn value(&self, word: usize) -> Result<(usize, usize)> {
        let missing = || {
            let message = "TOLERANCE is followed by how far rows may be apart: INTERVAL '…', or a number if whole \
                           numbers are compared";
            error(message, self.tokens[word].span)
        };
        let from = self.next(word + 1).ok_or_else(missing)?;
        let mut at = from;
        if matches!(self.tokens[at].token, Token::Minus | Token::Plus)
            || self.is(Some(at), "INTERVAL")
        {
            at = self.next(at + 1).ok_or_else(missing)?;
        }
        let mut to = match &self.tokens[at].token {
            Token::LParen => self.parens(at)?.1 + 1,
            Token::SingleQuotedString(_) | Token::Number(..) | Token::Placeholder(_) => at + 1,
            _ => return Err(missing()),
        };
        if self.is(Some(from), "INTERVAL")
            && let Some(unit) = self.next(to)
            && UNITS.iter().any(|name| is_word(&self.tokens[unit].token, name))
        {
            to = unit + 1;
        }
        Ok((from, to))
    }

    /// What is between the parentheses that open at or after an index: its first token and the closing parenthesis.
    fn parens(&self, from: usize) -> Result<(usize, usize)> {
        let open = self.next(from).unwrap_or(from);
        let mut depth = 0_usize;
        for (index, token) in self.tokens.iter().enumerate().skip(open) {
            match token.token {
                Token::LParen => depth += 1,
                Token::RParen if depth == 1 => return Ok((open + 1, index)),
                Token::RParen => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        let place = self.tokens.get(open).map_or_else(Span::empty, |t| t.span);
        Err(error("a parenthesis is not closed", place))
    }

    /// Ends the joins that are open at this depth.
    fn close_here(&mut self) -> Result<()> {
        while let Some(join) = self.open.pop_if(|join| join.depth == self.depth) {
            join.close()?;
        }
        Ok(())
    }

    /// Ends the joins that are open at a depth or deeper.
    fn close_all(&mut self, depth: usize) -> Result<()> {
        while let Some(join) = self.open.pop_if(|join| join.depth >= depth) {
            join.close()?;
        }
        Ok(())
    }
}

impl OpenJoin {
    fn close(&self) -> Result<()> {
        match self.stage {
            Stage::Match | Stage::Condition => Ok(()),
            Stage::Table => {
                let message = "ASOF JOIN is followed by a table and its condition: MATCH_CONDITION (l.time >= r.time) \
                               ON …, or ON … AND l.time >= r.time; put joins within the right table in parentheses";
                Err(error(message, self.span))
            }
        }
    }
}

fn is_blank(token: &Token) -> bool {
    matches!(token, Token::Whitespace(_))
}

fn is_word(token: &Token, name: &str) -> bool {
    matches!(token, Token::Word(Word { value, quote_style: None, .. }) if value.eq_ignore_ascii_case(name))
}

fn error(message: &str, span: Span) -> DataFusionError {
    let message = format!("{message}{}", span.start);
    DataFusionError::SQL(Box::new(ParserError::ParserError(message)), None)
}
