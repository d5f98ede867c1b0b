//! Window functions that lack their window: an error that says so, where the planner would call them unknown.

use std::ops::ControlFlow;

use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::sql::sqlparser::ast::{Expr, Statement, visit_expressions};

use super::along_rows::Kind;
use super::zscore;

/// Refuses window functions without `OVER`.
pub(crate) fn refuse(statement: &Statement) -> Result<()> {
    let found = visit_expressions(statement, |expr| match expr {
        Expr::Function(function) if function.over.is_none() => {
            let parts = &function.name.0;
            let name = match parts.as_slice() {
                [part] => part.as_ident().map(|ident| ident.value.to_lowercase()),
                _ => None,
            };
            name.filter(|name| is_window_function(name))
                .map_or(ControlFlow::Continue(()), ControlFlow::Break)
        }
        _ => ControlFlow::Continue(()),
    });
    match found {
        ControlFlow::Break(name) => plan_err!(
            "{name} is a window function: write {name}(…) OVER (PARTITION BY … ORDER BY time)"
        ),
        ControlFlow::Continue(()) => Ok(()),
    }
}

fn is_window_function(name: &str) -> bool {
    name == zscore::NAME || Kind::ALL.iter().any(|kind| kind.name() == name)
}
