//! The latest row of each group, by columns that its rows are sorted by: `DISTINCT ON (host) … ORDER BY host, time DESC`.
//!
//! ```text
//! AggregateExec(by host: first_value(x ORDER BY host, time DESC), …) ─ SeriesScanExec(last of each series)
//! becomes
//! LatestRowsExec(by host) ─ SeriesScanExec(last of each series)
//! ```
//!
//! To DataFusion each column of such a query is an aggregate of its own, which compares the times of all rows once more. But
//! the rows of a group are one after another, since series are sorted by their tags, so its latest is found in one pass, and
//! all columns are taken from it. Of several rows at the same time the first one is taken, for all columns alike.

mod exec;
mod rule;

pub(crate) use rule::LatestRowsRule;
