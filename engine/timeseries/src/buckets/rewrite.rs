//! Words of a statement that DataFusion's planner does not know, put into words that it does.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Statement, VisitMut, VisitorMut};

use super::{duration, function};
use crate::gapfill::take_zone;

/// Spells out compact lengths of time, and puts arguments that have names into their places.
pub(crate) fn rewrite(statement: &mut Statement) {
    let _: ControlFlow<()> = statement.visit(&mut Words);
}

struct Words;

impl VisitorMut for Words {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Interval(interval) => duration::rewrite(interval),
            Expr::Function(call) => {
                function::take_names(call);
                take_zone(call);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
