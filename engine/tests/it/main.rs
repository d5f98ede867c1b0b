//! The engine over a real store in a temporary directory.

#![expect(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

mod as_of;
mod copies;
mod fixture;
mod gaps;
mod in_lists;
mod last_rows;
mod limits;
mod newest;
mod notes;
mod parameters;
mod plans;
mod queries;
mod repeated;
mod series;
mod sessions;
mod statements;
mod summaries;
mod tools;
mod values;
