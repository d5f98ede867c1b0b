//! Aggregates answered from the summaries of segments: what a stretch of time comes to is kept beside the rows, so they
//! need not be read.
//!
//! ```text
//! AggregateExec(Partial) ─ SeriesScanExec    becomes    UnionExec ─┬─ AggregateExec(Partial) ─ SeriesScanExec, the rest
//!                                                                 └─ SummaryScanExec, a state for each cell
//! ```
//!
//! The stage above puts states together and does not ask where they come from. Which cells may answer is the store's to say
//! (`quorate_storage::scan`, cells), save for one thing: all times of a cell must fall into one group. Groups are made of tags
//! and of buckets of the time, whose functions never go back as time goes on; that both ends of a cell have the same bucket
//! is thus enough.
//!
//! Counts, minima, maxima and sums of integers are what the rows would give, bit for bit; sums of floating point differ from
//! those by rounding: they are more exact.

mod answer;
mod exec;
mod rule;

pub(crate) use exec::SummaryScanExec;
pub(crate) use rule::SummariesRule;
