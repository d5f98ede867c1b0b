//! Gap filling: rows for the buckets of time in which there is no data.
//!
//! `GROUP BY date_bin_gapfill(width, time)` gives one row for every bucket of the time that the query covers, for every
//! value of the other keys. [`rule`] puts a [`node::GapFill`] over the aggregate, with plain buckets as the key below it, and
//! [`exec`] adds the rows to a stream that is sorted by the other keys and the bucket:
//!
//! ```text
//! Projection: host, bucket, locf(avg(x))         the fills are columns of the node
//!   GapFill: time=bucket, series=[host], fills=[locf(avg(x))]
//!     Aggregate: groupBy=[host, gap_bucket(width, time, origin)], aggr=[avg(x)]
//!       Filter: time >= … AND time < …           the bounds of filling come from here, or from arguments
//! ```
//!
//! The shape of the plan is that of `InfluxDB` 3 (`iox_query`, `HandleGapFill`); names and arguments are those of
//! `InfluxDB` 3 and of `TimescaleDB`.
//!
//! - What is filled never reaches an aggregate: filling is above all of them, so segments, slices and shards do not show.
//! - Memory is one batch, and for `interpolate` the rows since the last value that is not NULL, counted by the memory pool.
//! - At most [`FILLED_ROWS_MAX`] rows are added by one operator.

mod bucket;
mod exec;
mod expand;
mod fill;
mod functions;
mod grid;
mod interpolate;
mod node;
mod range;
mod rule;
mod stream;
mod width;
mod zone;

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::SessionState;

pub(crate) use node::GapFillPlanner;
pub(crate) use width::Width;
pub(crate) use zone::take_zone;

/// Rows that one operator may add; more is a mistake in the bounds or the width far more often than it is wanted.
pub(crate) const FILLED_ROWS_MAX: u64 = 10_000_000;

/// Adds the functions and the rule to a state.
pub(crate) fn install(state: &mut SessionState) -> Result<()> {
    functions::register(state)?;
    state.add_analyzer_rule(Arc::new(rule::GapFillRule));
    Ok(())
}
