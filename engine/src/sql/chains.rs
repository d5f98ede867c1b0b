//! Long chains of operators: `a OR b OR c OR …`, `1 + 1 + …`, `SELECT … UNION ALL SELECT … UNION ALL …`.
//!
//! The parser counts how deep parentheses nest, but a chain without any is a tree as deep as it is long, and most of what
//! comes after the parser goes down trees by recursion. So chains are measured among the tokens, before there is a tree:
//! those of AND and OR, which tools write by the thousand, are made balanced trees; others are refused from a length on.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Statement, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::Error;

/// Operators, other than AND and OR, from the top of an expression to its bottom, with the tables of the join that it stands
/// in and the queries that set operations put together.
const CHAIN_MAX: usize = 500;
/// Conditions that AND and OR put together.
const CONDITIONS_MAX: usize = 5_000;
/// Conditions from which on a chain is made a balanced tree.
const BALANCED_MIN: usize = 64;

/// What is in one pair of parentheses, or between CASE and END.
#[derive(Debug, Default)]
struct Level {
    is_case: bool,
    /// Operators of the expression at hand, and the deepest of what is in parentheses within it.
    operators: usize,
    within: usize,
    /// The deepest of the expressions before, of the SELECT at hand.
    deepest: usize,
    /// ANDs and ORs of the expression at hand.
    conditions: usize,
    /// Joins of the SELECT at hand.
    joins: usize,
    /// The deepest SELECT before, and the set operations that put them together.
    selects: usize,
    set_operations: usize,
    /// Whether commas are between tables.
    in_from: bool,
}

impl Level {
    /// How deep its tree is, about.
    fn depth(&self) -> usize {
        self.selects.max(self.select()) + self.set_operations
    }

    /// How deep the SELECT at hand is.
    fn select(&self) -> usize {
        self.deepest.max(self.operators + self.within) + self.joins
    }

    /// Another SELECT begins, which a set operation puts beside those before.
    fn next_select(&mut self) {
        self.selects = self.selects.max(self.select());
        self.set_operations += 1;
        self.next_expression();
        (self.deepest, self.joins, self.in_from) = (0, 0, false);
    }

    /// Another expression begins, which may be a condition of the same chain.
    fn next_condition(&mut self) {
        self.deepest = self.deepest.max(self.operators + self.within);
        (self.operators, self.within) = (0, 0);
    }

    /// Another expression begins.
    fn next_expression(&mut self) {
        self.next_condition();
        self.conditions = 0;
    }

    fn keyword(&mut self, keyword: Keyword, after_distinct: bool) {
        match keyword {
            Keyword::AND | Keyword::OR => {
                self.next_condition();
                self.conditions += 1;
            }
            Keyword::LIKE
            | Keyword::ILIKE
            | Keyword::SIMILAR
            | Keyword::RLIKE
            | Keyword::REGEXP
            | Keyword::IS
            | Keyword::IN
            | Keyword::BETWEEN
            | Keyword::COLLATE
            | Keyword::AT
            | Keyword::XOR
            | Keyword::DIV
            | Keyword::OVERLAPS
            | Keyword::NOTNULL => self.operators += 1,
            Keyword::JOIN => self.joins += 1,
            Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT | Keyword::MINUS => {
                self.next_select();
            }
            Keyword::FROM => self.in_from |= !after_distinct,
            Keyword::SELECT
            | Keyword::WHERE
            | Keyword::BY
            | Keyword::HAVING
            | Keyword::SET
            | Keyword::VALUES => {
                self.in_from = false;
                self.next_expression();
            }
            Keyword::ON | Keyword::WHEN | Keyword::THEN | Keyword::ELSE => self.next_expression(),
            _ => {}
        }
    }
}

/// Refuses chains that are too long, with their place.
pub(super) fn check(tokens: &[TokenWithSpan]) -> Result<(), Error> {
    let mut levels = vec![Level::default()];
    let mut after_distinct = false;
    for TokenWithSpan { token, span } in tokens {
        let keyword = match token {
            Token::Whitespace(_) => continue,
            Token::Word(word) if word.quote_style.is_none() => word.keyword,
            _ => Keyword::NoKeyword,
        };
        let closes = match token {
            Token::RParen | Token::RBracket | Token::RBrace => true,
            _ => keyword == Keyword::END && levels.last().is_some_and(|level| level.is_case),
        };
        if closes && levels.len() > 1 {
            let depth = levels.pop().map_or(0, |level| level.depth());
            if let Some(outer) = levels.last_mut() {
                outer.within = outer.within.max(depth);
            }
        }
        let Some(level) = levels.last_mut() else { break };
        let opens = match token {
            Token::LParen | Token::LBrace => true,
            Token::LBracket => {
                level.operators += 1;
                true
            }
            _ => keyword == Keyword::CASE,
        };
        match token {
            Token::Comma => {
                level.joins += usize::from(level.in_from);
                level.next_expression();
            }
            Token::Word(_) => level.keyword(keyword, after_distinct),
            token if !closes && !opens && is_operator(token) => level.operators += 1,
            _ => {}
        }
        let place = (span.start.line, span.start.column);
        if level.depth() > CHAIN_MAX {
            let what = "put the work into subqueries, functions or fewer statements";
            return Err(too_long("operators, set operations or joins", CHAIN_MAX, what, place));
        }
        if level.conditions >= CONDITIONS_MAX {
            let what = "use IN with a list, or join the values";
            return Err(too_long("conditions by AND and OR", CONDITIONS_MAX, what, place));
        }
        if opens {
            levels.push(Level { is_case: keyword == Keyword::CASE, ..Level::default() });
        }
        after_distinct = keyword == Keyword::DISTINCT;
    }
    Ok(())
}

fn is_operator(token: &Token) -> bool {
    !matches!(
        token,
        Token::Number(..)
            | Token::Char(_)
            | Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::DollarQuotedString(_)
            | Token::NationalStringLiteral(_)
            | Token::EscapedStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::HexStringLiteral(_)
            | Token::Placeholder(_)
            | Token::Period
            | Token::SemiColon
            | Token::EOF
    )
}

fn too_long(what: &str, most: usize, remedy: &str, (line, column): (u64, u64)) -> Error {
    let message = format!("a chain of more than {most} {what}; {remedy}");
    Error::Syntax { message, line, column }
}

/// Makes balanced trees of long chains of AND and OR.
pub(super) fn balance(statement: &mut Statement) {
    let ControlFlow::Continue(()) = VisitMut::visit(statement, &mut Balance);
}

struct Balance;

impl VisitorMut for Balance {
    type Break = std::convert::Infallible;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        let Expr::BinaryOp { op: op @ (BinaryOperator::And | BinaryOperator::Or), .. } = expr
        else {
            return ControlFlow::Continue(());
        };
        let op = op.clone();
        if has_conditions(expr, &op, BALANCED_MIN) {
            let chain = std::mem::replace(expr, Expr::value(Value::Null));
            *expr = balanced(conditions(chain, &op), &op);
        }
        ControlFlow::Continue(())
    }
}

/// Whether a chain goes down on its left side so far without being a balanced tree.
fn has_conditions(mut expr: &Expr, by: &BinaryOperator, least: usize) -> bool {
    for _ in 0..least {
        match expr {
            Expr::BinaryOp { left, op, .. } if op == by => expr = left,
            _ => return false,
        }
    }
    true
}

/// The conditions of a chain in order. Takes the tree apart without recursion.
fn conditions(chain: Expr, by: &BinaryOperator) -> Vec<Expr> {
    let mut conditions = Vec::new();
    let mut rest = vec![chain];
    while let Some(expr) = rest.pop() {
        match expr {
            Expr::BinaryOp { left, op, right } if op == *by => rest.extend([*right, *left]),
            condition => conditions.push(condition),
        }
    }
    conditions
}

/// A tree of conditions in order, as deep as it must be.
fn balanced(mut conditions: Vec<Expr>, by: &BinaryOperator) -> Expr {
    while conditions.len() > 1 {
        let mut halves = Vec::with_capacity(conditions.len().div_ceil(2));
        let mut rest = conditions.into_iter();
        while let Some(left) = rest.next() {
            halves.push(match rest.next() {
                Some(right) => {
                    Expr::BinaryOp { left: Box::new(left), op: by.clone(), right: Box::new(right) }
                }
                None => left,
            });
        }
        conditions = halves;
    }
    conditions.pop().unwrap_or_else(|| Expr::value(Value::Null))
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;

    use super::*;

    fn place_of_refusal(sql: &str) -> Option<(u64, u64)> {
        let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location().unwrap();
        match check(&tokens) {
            Ok(()) => None,
            Err(Error::Syntax { line, column, .. }) => Some((line, column)),
            Err(error) => panic!("{error}"),
        }
    }

    fn chain(of: &str, by: &str, count: usize) -> String {
        vec![of; count].join(by)
    }

    #[test]
    fn queries_of_a_set_operation_do_not_add_up_their_joins_and_operators() {
        let joins = "SELECT 1 FROM a JOIN b ON a.x = b.x, c";
        let sums = "SELECT 1 + 1 + 1 + 1";
        for query in [joins, sums] {
            assert_eq!(place_of_refusal(&chain(query, " UNION ALL ", 490)), None, "{query}");
        }
        let long = format!("SELECT {}", chain("1", " + ", 300));
        let unions = chain(sums, " UNION ", 300);
        assert_eq!(place_of_refusal(&format!("{long} UNION SELECT 1")), None);
        assert!(place_of_refusal(&format!("{long} UNION {unions}")).is_some());
        assert!(place_of_refusal(&format!("{unions} UNION {long}")).is_some());
    }

    #[test]
    fn joins_of_one_query_and_operators_add_up() {
        let joins = format!("SELECT 1 FROM {}", chain("a", " JOIN ", 300));
        assert_eq!(place_of_refusal(&joins), None);
        let sums = format!("{joins} WHERE {} = 1", chain("1", " + ", 300));
        assert!(place_of_refusal(&sums).is_some());
        let commas = format!("SELECT 1 FROM {}", chain("a", ",\n", 600));
        assert_eq!(place_of_refusal(&commas), Some((501, 2)));
    }
}
