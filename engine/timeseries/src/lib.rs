//! Time-series SQL for DataFusion: functions and operators that know rows, and nothing of stores.
//!
//! The engine calls [`rewrite_tokens`] on every statement before it parses it and [`rewrite`] afterwards, and [`install`]
//! once on the state that all statements start from. A plain DataFusion session with both has the same SQL, which is how
//! this crate is tested. [`group_by_runs`], [`sort_within`] and [`part_as_of_joins`] make plans faster where rows come
//! sorted.
//!
//! ```text
//! tokens → rewrite → statement → DataFusion's planner → analyzer rules → optimizer → extension planners → operators
//! ```

mod asof;
mod buckets;
mod by_time;
mod counters;
mod extremes;
mod gapfill;
mod gaps;
mod planner;
mod runs;
mod stand_in;
mod statistics;
mod types;
mod within;
mod zones;

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::tokenizer::TokenWithSpan;

pub use asof::{CutAlike, Keyed, part_as_of_joins};
pub use buckets::parse_duration;
pub use gaps::{GapLimits, fixed_interval, fixed_tolerance, gaps};
pub use runs::{group_by_runs, is_by_runs};
pub use types::type_name;
pub use within::sort_within;
pub use zones::zone_named;

use planner::TimeSeriesPlanner;

/// Puts syntax that the parser does not know into words that it does, before anything is parsed.
///
/// Errors are those of a parser, and end with the place: ` at Line: 1, Column: 15`.
pub fn rewrite_tokens(tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>> {
    asof::rewrite_tokens(tokens)
}

/// Puts syntax that DataFusion's planner does not know into words that it does.
pub fn rewrite(statement: &mut Statement) -> Result<()> {
    buckets::rewrite(statement);
    statistics::refuse_without_over(statement)
}

/// A state with the functions, rules and operators of this crate.
pub fn install(state: SessionState) -> Result<SessionState> {
    let planner = Arc::new(TimeSeriesPlanner);
    let mut state =
        SessionStateBuilder::new_from_existing(state).with_query_planner(planner).build();
    buckets::install(&mut state)?;
    by_time::install(&mut state)?;
    counters::install(&mut state)?;
    extremes::install(&mut state)?;
    statistics::install(&mut state)?;
    gapfill::install(&mut state)?;
    asof::install(&mut state)?;
    Ok(state)
}
