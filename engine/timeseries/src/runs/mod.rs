//! Grouping by runs: rows of sorted series have the same group for a while, so its keys are computed, hashed and looked up
//! once for all of them.
//!
//! ```text
//! AggregateExec(Partial) over sorted rows → RunAggregateExec, which gives the same states
//!     keys.rs: where runs begin; stream.rs: their groups; reduce.rs, fold.rs: states
//! ```
//!
//! How rows are sorted decides how fast it is, never what it answers: wherever a key may change a run ends, and runs with
//! the same keys find the same group.

mod changes;
mod exec;
mod fold;
mod keys;
mod reduce;
mod rule;
mod stream;

pub(crate) use changes::{mark_changes, mark_changes_of_sorted};
pub use exec::is_by_runs;
pub use rule::group_by_runs;
