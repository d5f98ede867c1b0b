//! Window functions that lack their window: an error that says so, where the planner would call them unknown.

use std::ops::ControlFlow;

use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::sql::sqlparser::ast::{Expr, Ident, Statement, visit_expressions};

use super::along_rows::Kind;
use super::zscore;

/// Refuses window functions without `OVER`. The error ends with the place, as a parser's do.
pub(crate) fn refuse(statement: &Statement) -> Result<()> {
    let found = visit_expressions(statement, |expr| match expr {
        Expr::Function(function) if function.over.is_none() => {
            let name = match function.name.0.as_slice() {
                [part] => part.as_ident(),
                _ => None,
            };
            name.filter(|name| is_window_function(name))
                .map_or(ControlFlow::Continue(()), |name| ControlFlow::Break(name.clone()))
        }
        _ => ControlFlow::Continue(()),
    });
    match found {
        ControlFlow::Break(Ident { value, span, .. }) => {
            let (name, place) = (value.to_lowercase(), span.start);
            plan_err!(
                "{name} is a window function: write {name}(…) OVER (PARTITION BY … ORDER BY time) at Line: {}, Column: {}",
                place.line,
                place.column
            )
        }
        ControlFlow::Continue(()) => Ok(()),
    }
}

fn is_window_function(name: &Ident) -> bool {
    let is = |known: &str| name.value.eq_ignore_ascii_case(known);
    is(zscore::NAME) || Kind::ALL.iter().any(|kind| is(kind.name()))
}
