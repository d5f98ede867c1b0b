//! Statistics over time series, beyond those of DataFusion.
//!
//! Aggregates keep what their answer needs: counts ([`histogram`], [`mode`]), values ([`mad`]), points ([`lttb`], and
//! the average over time, which is one of the [counters](crate::counters)). Window functions go along the rows
//! ([`along_rows`]) or see their whole partition ([`zscore`]).
//!
//! - NULL and NaN are no values: they are left out.
//! - Integers are summed and compared as integers.
//! - What an argument that must be a constant may be has a bound, so that a state has.

mod along_rows;
mod histogram;
mod lttb;
mod mad;
mod mode;
mod sliding_sum;
mod without_over;
mod zscore;

use std::sync::Arc;

use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::functions_aggregate::approx_percentile_cont::approx_percentile_cont_udaf;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{AggregateUDF, WindowUDF};

use crate::counters::{Measure, OverTime};

pub(crate) use without_over::refuse as refuse_without_over;

/// Adds them to a state.
pub(crate) fn install(state: &mut SessionState) -> Result<()> {
    let aggregates = [
        AggregateUDF::new_from_impl(histogram::Histogram::new()),
        AggregateUDF::new_from_impl(mode::Mode::new()),
        AggregateUDF::new_from_impl(mad::Mad::new()),
        AggregateUDF::new_from_impl(lttb::Lttb::new()),
        AggregateUDF::new_from_impl(OverTime::new(Measure::AverageLinear)),
        approx_percentile_cont_udaf().as_ref().clone().with_aliases(["approx_quantile"]),
    ];
    for aggregate in aggregates {
        state.register_udaf(Arc::new(aggregate))?;
    }
    for kind in along_rows::Kind::ALL {
        let function = along_rows::AlongRows::new(kind);
        state.register_udwf(Arc::new(WindowUDF::new_from_impl(function)))?;
    }
    state.register_udwf(Arc::new(WindowUDF::new_from_impl(zscore::ZScore::new())))?;
    Ok(())
}

/// DataFusion takes most `DISTINCT` aggregates apart itself; what is left is refused.
fn refuse_distinct(name: &str, args: &AccumulatorArgs<'_>) -> Result<()> {
    if args.is_distinct {
        return plan_err!("{name}: DISTINCT is not supported here: take it in a subquery");
    }
    Ok(())
}
