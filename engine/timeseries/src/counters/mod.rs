//! Counters: what values did over time, as aggregates over `(value, time)`.
//!
//! The functions are registered in each session and called by DataFusion's aggregation and windows. None trusts the
//! order of its input: states keep points, not sums of them, since points of another partition may lie between
//! any two. They are sorted and summed when a group is answered.
//!
//! ```text
//! rows → points (NULL and NaN left out) → state: times, values → merged → sorted by (time, value) → summary → answer
//! ```
//!
//! - An answer depends on the set of points alone, not on batches, partitions or the order of rows.
//! - Points at one time are taken in the order of their values.
//!
//! A group's points must fit into the memory limit: 24 bytes each, about the same again while states are merged.

mod accumulate;
pub(crate) mod arguments;
mod function;
mod measure;
mod number;
mod points;
mod summary;

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::AggregateUDF;

pub(crate) use function::OverTime;
pub(crate) use measure::Measure;
pub(crate) use number::{Compensated, Number, Total};
pub(crate) use points::{Point, order, points_of, points_of_states, state_fields, states};

/// Adds them to a state.
pub(crate) fn install(state: &mut SessionState) -> Result<()> {
    let measures = [
        Measure::Rate,
        Measure::Increase,
        Measure::Delta,
        Measure::Irate,
        Measure::Idelta,
        Measure::Deriv,
        Measure::Resets,
        Measure::Changes,
    ];
    for measure in measures {
        state.register_udaf(Arc::new(AggregateUDF::new_from_impl(OverTime::new(measure))))?;
    }
    Ok(())
}
