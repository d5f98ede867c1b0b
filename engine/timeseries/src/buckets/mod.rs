//! Buckets of time: `time_bucket`, `date_bin` with widths as text and without negative ones, `date_trunc`, and epochs of times.
//!
//! ```text
//! INTERVAL '1h30m'      → rewrite, before planning: duration
//! time_bucket(…)        → function: reads its constants into a Grid, plans ranges of time out of comparisons
//! Grid                  → step: cells of one width on a line without zones
//!                       → zone: what a clock on the wall showed at an instant
//! ```
//!
//! A bucket starts at or before all of its times, and a later time never has an earlier bucket, in every time zone:
//! sorted times have sorted buckets.

mod arguments;
mod duration;
mod epoch;
mod function;
mod grid;
mod numbered;
mod rewrite;
mod step;
mod trunc;
mod zone;

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::ScalarUDF;

pub(crate) use arguments::numbered_buckets;
pub use duration::parse_duration;
pub(crate) use function::TimeBucket;
pub(crate) use numbered::NumberedBuckets;
pub(crate) use rewrite::rewrite;

/// Adds them to a state.
pub(crate) fn install(state: &mut SessionState) -> Result<()> {
    let mut functions = vec![
        ScalarUDF::from(TimeBucket::new()),
        ScalarUDF::from(function::DateBin::new()),
        ScalarUDF::from(trunc::DateTrunc::new()),
    ];
    functions.extend(epoch::functions().map(ScalarUDF::from));
    for function in functions {
        state.register_udf(Arc::new(function))?;
    }
    Ok(())
}
