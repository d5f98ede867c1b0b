//! As-of joins: to every row of the left table the nearest row of the right one, by time.
//!
//! ```text
//! tokens → ordinary join with a mark in its ON → AsOfJoin (logical) → AsOfJoinExec (a merge of two sorted streams)
//!          syntax.rs, mark.rs                    rule.rs, node.rs     planner.rs, exec.rs, stream.rs
//! ```
//!
//! The parser and the planner of names see a `LEFT` or `INNER JOIN`, so that aliases, `USING`, `SELECT *`, views and
//! chains of joins mean what they mean elsewhere. The mark becomes the operator before anything is optimized.

mod comparison;
mod cursor;
mod exec;
mod gather;
mod mark;
mod merge;
mod node;
mod parting;
mod planner;
mod pushdown;
mod rule;
mod sorted;
mod stream;
mod syntax;
mod tolerance;

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::{FunctionRegistry, SessionState, SessionStateBuilder};

pub use parting::{CutAlike, Keyed, part_as_of_joins};
pub(crate) use planner::AsOfPlanner;
pub(crate) use syntax::rewrite_tokens;

/// Adds them to a state.
pub(crate) fn install(state: &mut SessionState) -> Result<()> {
    for function in mark::functions() {
        state.register_udf(Arc::new(function))?;
    }
    state.add_analyzer_rule(Arc::new(rule::AsOfRule));
    // Behind the rule that brings filters down to the joins, before projections come between.
    let mut rules = state.optimizers().to_vec();
    let place = rules.iter().position(|rule| rule.name() == "push_down_filter");
    let place = place.map_or(rules.len(), |place| place + 1);
    rules.insert(place, Arc::new(pushdown::PushFilterIntoAsOf));
    *state =
        SessionStateBuilder::new_from_existing(state.clone()).with_optimizer_rules(rules).build();
    Ok(())
}
