//! The newest buckets first: `GROUP BY bucket ORDER BY bucket DESC LIMIT n` reads as far back as it takes to have `n`
//! buckets, not all rows.
//!
//! ```text
//! SortExec(fetch=n, bucket DESC) ─ AggregateExec ─ … ─ SeriesScanExec
//! becomes
//! SortExec(fetch=n, bucket DESC) ─ NewestBucketsExec ─ AggregateExec ─ … ─ SeriesScanExec
//! ```
//!
//! [`NewestBucketsExec`] runs what is below it for a stretch of time that begins with a bucket and ends with all times. All
//! buckets of such a stretch are whole, and none that is older can come before them: if there are `n`, that is all that the
//! sort above asks for. If there are fewer, since some have no rows, the stretch becomes longer and it runs anew.

mod exec;
mod rule;

pub(crate) use exec::NewestBucketsExec;
pub(crate) use rule::NewestBucketsRule;
