//! `EXPLAIN ANALYZE` for people: a query is run, its rows are thrown away, and what each operator did is told as text.
//!
//! ```text
//! SortExec: expr=[host@0 ASC NULLS LAST], preserve_partitioning=[false]
//! │   2 rows · 12.1µs
//! └─ SeriesScanExec: table=cpu, columns=[host]
//!        2 rows · 80.5µs
//!        segments: 1 read, 0 left out · pages: 2 read, 0 left out · …
//! ```
//!
//! Other forms of `EXPLAIN` are DataFusion's.

mod exec;
mod text;

pub(crate) use exec::ProfileExec;
pub(crate) use text::Phases;
