//! Values by their time, or by any other column: `first`, `last`, `min_by`, `max_by`, and selectors.
//!
//! ```text
//! aggregate::ByTime      the functions of SQL: names, types, which accumulator
//!   → ranking::Ranking   which column counts first, and whether larger or smaller values win
//!   → words, rows        rows as keys of which the greatest wins: two 64-bit words, or bytes of any columns
//!   → accumulators       the greatest key of each group, of one group, of a sliding frame
//! ```
//!
//! A key holds all arguments of its row, and keys are totally ordered. So the greatest is the same in whatever order
//! rows, batches and partitions come, and the answer is read out of it.

mod accumulators;
mod aggregate;
mod ranking;
mod rows;
mod words;

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::AggregateUDF;

/// Adds them to a state.
pub(crate) fn install(state: &mut SessionState) -> Result<()> {
    for function in aggregate::functions() {
        state.register_udaf(Arc::new(AggregateUDF::from(function)))?;
    }
    Ok(())
}
