//! Sorting within: rows that are sorted by the first columns of an order already are sorted one group of those at a time.
//!
//! Series are sorted by their tags and time. An order by the first tag and time, which windows and as-of joins ask for, is
//! nearly that: only series with one first tag have to be put together, which takes the memory of one such group, where a
//! sort takes that of all rows.

mod exec;
mod rule;
mod stream;

use datafusion::physical_plan::ExecutionPlan;

pub use rule::sort_within;

/// Whether an operator sorts within, each partition by itself.
pub(crate) fn sorts_within(node: &dyn ExecutionPlan) -> bool {
    node.downcast_ref::<exec::SortWithinExec>().is_some()
}
