//! `ALTER CLUSTER`: nodes taken in, replaced and removed.
//!
//! ```text
//! ALTER CLUSTER ADD NODE name
//! ALTER CLUSTER REPLACE NODE name [WITH name]
//! ALTER CLUSTER REMOVE NODE name [FORCE]
//! ```
//!
//! A name is an identifier, as it is written, or a string.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::{Error, Session};

/// A change of the cluster's nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClusterChange {
    /// A node that waits for a place gets one.
    Add {
        /// Its name.
        node: String,
    },
    /// A node that waits for a place gets that of another one, which is removed.
    Replace {
        /// The one that goes.
        node: String,
        /// The one that comes.
        with: String,
    },
    /// A node goes.
    Remove {
        /// Its name.
        node: String,
        /// Even if no majority of the others answers.
        force: bool,
    },
}

/// Reads the statement, if it is one of these.
pub(super) fn parse(tokens: &[TokenWithSpan]) -> Option<Result<ClusterChange, Error>> {
    let tokens: Vec<&TokenWithSpan> =
        tokens.iter().filter(|t| !matches!(t.token, Token::Whitespace(_) | Token::EOF)).collect();
    let mut words = Words { tokens: &tokens, next: 0 };
    (words.take("ALTER") && words.take("CLUSTER")).then(|| words.change())
}

struct Words<'a> {
    tokens: &'a [&'a TokenWithSpan],
    next: usize,
}

impl Words<'_> {
    /// Takes a key word, if it is next.
    fn take(&mut self, word: &str) -> bool {
        let is_next = match self.tokens.get(self.next).map(|t| &t.token) {
            Some(Token::Word(w)) => w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word),
            Some(_) | None => false,
        };
        self.next += usize::from(is_next);
        is_next
    }

    fn change(mut self) -> Result<ClusterChange, Error> {
        let change = if self.take("ADD") {
            ClusterChange::Add { node: self.node()? }
        } else if self.take("REPLACE") {
            let node = self.node()?;
            let with = if self.take("WITH") { self.name()? } else { node.clone() };
            ClusterChange::Replace { node, with }
        } else if self.take("REMOVE") {
            let node = self.node()?;
            ClusterChange::Remove { node, force: self.take("FORCE") }
        } else {
            return Err(self.expected("ADD NODE, REPLACE NODE or REMOVE NODE"));
        };
        while self.tokens.get(self.next).is_some_and(|t| t.token == Token::SemiColon) {
            self.next += 1;
        }
        if self.next < self.tokens.len() {
            return Err(self.expected("the end of the statement"));
        }
        Ok(change)
    }

    fn node(&mut self) -> Result<String, Error> {
        if self.take("NODE") { self.name() } else { Err(self.expected("NODE")) }
    }

    fn name(&mut self) -> Result<String, Error> {
        let name = match self.tokens.get(self.next).map(|t| &t.token) {
            Some(Token::Word(word)) => word.value.clone(),
            Some(Token::SingleQuotedString(name)) => name.clone(),
            Some(_) | None => return Err(self.expected("the name of a node")),
        };
        self.next += 1;
        Ok(name)
    }

    fn expected(&self, what: &str) -> Error {
        let (found, line, column) = if let Some(t) = self.tokens.get(self.next) {
            (t.token.to_string(), t.span.start.line, t.span.start.column)
        } else {
            let end = self.tokens.last().map(|t| t.span.end);
            ("the end".to_owned(), end.map_or(1, |e| e.line), end.map_or(1, |e| e.column))
        };
        Error::Syntax { message: format!("expected {what}, found {found}"), line, column }
    }
}

/// Carries it out; returns once the metadata group has it. Replicas move in the background.
pub(super) async fn run(session: &Session, change: &ClusterChange) -> Result<(), Error> {
    let store = session.engine().store();
    match change {
        ClusterChange::Add { node } => store.add_node(node, None).await.map(|_| ())?,
        ClusterChange::Replace { node, with } => {
            store.add_node(with, Some(node)).await.map(|_| ())?;
        }
        ClusterChange::Remove { node, force } => store.remove_node(node, *force).await?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;

    use super::*;

    fn parsed(sql: &str) -> Option<Result<ClusterChange, String>> {
        let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location().unwrap();
        parse(&tokens).map(|change| change.map_err(|e| e.to_string()))
    }

    #[test]
    fn nodes_are_named_as_identifiers_or_strings() {
        let text = |s: &str| s.to_owned();
        for (sql, change) in [
            ("alter cluster add node n4;", ClusterChange::Add { node: text("n4") }),
            (
                "ALTER CLUSTER REPLACE NODE 'n-2'",
                ClusterChange::Replace { node: text("n-2"), with: text("n-2") },
            ),
            (
                "ALTER CLUSTER REPLACE NODE n2 WITH \"n4\"",
                ClusterChange::Replace { node: text("n2"), with: text("n4") },
            ),
            (
                "ALTER CLUSTER REMOVE NODE n2 FORCE",
                ClusterChange::Remove { node: text("n2"), force: true },
            ),
        ] {
            assert_eq!(parsed(sql), Some(Ok(change)), "{sql}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        assert_eq!(parsed("ALTER TABLE t ADD COLUMN c INT"), None);
        let wrong = |sql: &str| parsed(sql).unwrap().unwrap_err();
        assert!(wrong("ALTER CLUSTER MOVE NODE n1").contains("REMOVE NODE"));
        assert!(wrong("ALTER CLUSTER ADD n1").contains("NODE"));
        assert!(wrong("ALTER CLUSTER ADD NODE").contains("name of a node"));
        assert!(wrong("ALTER CLUSTER ADD NODE n1 n2").contains("end of the statement"));
    }
}
