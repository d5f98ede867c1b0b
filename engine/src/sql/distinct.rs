//! `IS [NOT] DISTINCT FROM` binds its other side as tightly as a comparison does.
//!
//! sqlparser 0.62 takes all that follows for the other side: `a IS DISTINCT FROM b AND c` is `a IS DISTINCT FROM (b AND c)`
//! to it, and of `p AND a IS DISTINCT FROM b OR c` the `OR` is lost within the `AND` (0.63 has it right). Parentheses are
//! nodes of their own in its trees, so that the operators `AND`, `OR` and `NOT` that were written in a row can be laid out
//! in a row again, and be bound anew.

use std::convert::Infallible;
use std::mem;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, UnaryOperator, Value, Visit, VisitMut, VisitorMut, visit_expressions,
};

/// Binds every `IS DISTINCT FROM` of a statement.
pub(super) fn rebind<V: Visit + VisitMut>(node: &mut V) {
    let found = visit_expressions(node, |expr| match expr {
        Expr::IsDistinctFrom(_, right) | Expr::IsNotDistinctFrom(_, right) if is_row(right) => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    if found.is_break() {
        let ControlFlow::Continue(()) = VisitMut::visit(node, &mut Rebind);
    }
}

/// Whether it is operands joined by `AND` or `OR`, without parentheses around them.
fn is_row(expr: &Expr) -> bool {
    matches!(expr, Expr::BinaryOp { op: BinaryOperator::And | BinaryOperator::Or, .. })
}

struct Rebind;

impl VisitorMut for Rebind {
    type Break = Infallible;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Infallible> {
        let is_loose = is_row(expr)
            || matches!(
                expr,
                Expr::IsDistinctFrom(..)
                    | Expr::IsNotDistinctFrom(..)
                    | Expr::UnaryOp { op: UnaryOperator::Not, .. }
            );
        if is_loose {
            let mut row = Row::default();
            row.lay_out(mem::replace(expr, nothing()));
            *expr = row.bind();
        }
        ControlFlow::Continue(())
    }
}

/// What stands in an expression's place for a moment.
fn nothing() -> Expr {
    Expr::value(Value::Null)
}

/// Operands as they were written, and the `AND`s and `OR`s between them.
#[derive(Default)]
struct Row {
    operands: Vec<Expr>,
    operators: Vec<BinaryOperator>,
}

impl Row {
    fn lay_out(&mut self, expr: Expr) {
        match expr {
            Expr::BinaryOp { left, op: op @ (BinaryOperator::And | BinaryOperator::Or), right } => {
                self.lay_out(*left);
                self.operators.push(op);
                self.lay_out(*right);
            }
            Expr::IsDistinctFrom(left, right) => {
                self.begin(*right, |first| Expr::IsDistinctFrom(left, first));
            }
            Expr::IsNotDistinctFrom(left, right) => {
                self.begin(*right, |first| Expr::IsNotDistinctFrom(left, first));
            }
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => {
                self.begin(*expr, |expr| Expr::UnaryOp { op: UnaryOperator::Not, expr });
            }
            operand => self.operands.push(operand),
        }
    }

    /// Lays out what follows an operator that takes only the first operand of it.
    fn begin(&mut self, rest: Expr, operator: impl FnOnce(Box<Expr>) -> Expr) {
        let place = self.operands.len();
        self.lay_out(rest);
        let first = mem::replace(&mut self.operands[place], nothing());
        self.operands[place] = operator(Box::new(first));
    }

    /// The tree of the row: `AND` before `OR`, from left to right.
    fn bind(self) -> Expr {
        let mut operands = self.operands.into_iter();
        let mut last = operands.next().expect("a row begins with an operand");
        let mut before: Option<Expr> = None;
        for (op, operand) in self.operators.into_iter().zip(operands) {
            if op == BinaryOperator::And {
                last = join(last, op, operand);
            } else {
                before = Some(with(before, last));
                last = operand;
            }
        }
        with(before, last)
    }
}

fn with(before: Option<Expr>, last: Expr) -> Expr {
    match before {
        Some(before) => join(before, BinaryOperator::Or, last),
        None => last,
    }
}

fn join(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}
