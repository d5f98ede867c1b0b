//! As-of joins.

use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::sql::sqlparser::ast::Statement;

/// Writes as-of joins so that the planner takes them.
pub(crate) fn rewrite(_statement: &mut Statement) -> Result<()> {
    Ok(())
}

/// Adds them to a state.
pub(crate) fn install(_state: &mut SessionState) -> Result<()> {
    Ok(())
}
