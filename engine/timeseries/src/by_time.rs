//! Values by their time: `first`, `last`, `min_by`, `max_by`, selectors.

use datafusion::error::Result;
use datafusion::execution::SessionState;

/// Adds them to a state.
pub(crate) fn install(_state: &mut SessionState) -> Result<()> {
    Ok(())
}
