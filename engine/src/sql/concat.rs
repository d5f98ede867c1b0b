//! `||` binds looser than `*`, `/`, `%`, `+` and `-`, and tighter than comparisons, as in `PostgreSQL` and `DuckDB`:
//! `'host_' || i % 10` is `'host_' || (i % 10)`. sqlparser's generic dialect has it bind as tightly as `*`.

use std::convert::Infallible;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Statement, Value, VisitMut, VisitorMut,
};

/// Groups the operands of `||` anew. What is in parentheses stays.
pub(super) fn regroup(statement: &mut Statement) {
    let ControlFlow::Continue(()) = VisitMut::visit(statement, &mut Regroup);
}

struct Regroup;

impl VisitorMut for Regroup {
    type Break = Infallible;

    /// Operands come before what they are operands of.
    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Infallible> {
        let is_to_change = match &*expr {
            Expr::BinaryOp { left, op, right } => {
                is_arithmetic(op) && (is_concatenation(left) || is_concatenation(right))
            }
            _ => false,
        };
        if is_to_change {
            let none = Expr::value(Value::Null);
            if let Expr::BinaryOp { left, op, right } = std::mem::replace(expr, none) {
                *expr = arithmetic(*left, op, *right);
            }
        }
        ControlFlow::Continue(())
    }
}

fn is_arithmetic(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Divide, Minus, Modulo, Multiply, Plus};
    matches!(op, Multiply | Divide | Modulo | Plus | Minus)
}

fn is_concatenation(expr: &Expr) -> bool {
    matches!(expr, Expr::BinaryOp { op: BinaryOperator::StringConcat, .. })
}

/// `a || b % c` becomes `a || (b % c)`, and `a + b || c` becomes `(a + b) || c`.
fn arithmetic(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    match (left, right) {
        (Expr::BinaryOp { left: a, op: concat @ BinaryOperator::StringConcat, right: b }, c) => {
            let right = Box::new(arithmetic(*b, op, c));
            Expr::BinaryOp { left: a, op: concat, right }
        }
        (a, Expr::BinaryOp { left: b, op: concat @ BinaryOperator::StringConcat, right: c }) => {
            let left = Box::new(arithmetic(a, op, *b));
            Expr::BinaryOp { left, op: concat, right: c }
        }
        (left, right) => Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) },
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    /// With parentheses around everything.
    fn grouped(expr: &Expr) -> String {
        match expr {
            Expr::BinaryOp { left, op, right } => {
                format!("({} {op} {})", grouped(left), grouped(right))
            }
            Expr::Nested(inner) => format!("[{}]", grouped(inner)),
            other => other.to_string(),
        }
    }

    fn check(sql: &str, want: &str) {
        let parse = |sql: &str| {
            Parser::parse_sql(&GenericDialect {}, &format!("SELECT 1 WHERE {sql}"))
                .unwrap()
                .remove(0)
        };
        let mut statement = parse(sql);
        regroup(&mut statement);
        let Statement::Query(query) = &statement else { panic!("{statement}") };
        let selection = query.body.as_select().unwrap().selection.as_ref().unwrap();
        assert_eq!(grouped(selection), want, "{sql}");
    }

    #[test]
    fn concatenation_binds_looser_than_arithmetic() {
        check("a || b % c", "(a || (b % c))");
        check("a || b % c || d", "((a || (b % c)) || d)");
        check("a + b || c", "((a + b) || c)");
        check("a * b || c * d", "((a * b) || (c * d))");
        check("a - b || c - d", "((a - b) || (c - d))");
        check("a || b || c + d * e - f", "((a || b) || ((c + (d * e)) - f))");
        check("a || b + c || d", "(a || ((b + c) || d))");
        check("(a || b) % c", "([(a || b)] % c)");
        check("a % (b || c % d)", "(a % [(b || (c % d))])");
        check("a || b = c || d AND e", "(((a || b) = (c || d)) AND e)");
    }
}
