//! Compaction: fewer, larger, sorted segments without the dead.
//!
//! [`pick`] decides from a version alone; [`flush`] and [`compact`] do the work. Who proposes a job and who installs its files
//! is the shard's business.
//!
//! **Picking** is size-tiered within one (table, time slice). Segments of one job form a *run*; runs stand in log order, and
//! only neighbours are merged, since the fold needs "newer" to be a total order wherever keys overlap:
//!
//! ```text
//! log order →   [ 80 MiB ][ 40 MiB ][10][10][10][10]        four flushes: merge, and older runs join
//!               [ 80 MiB ][ 40 MiB ][  40 MiB      ]        while they are not larger than what is merged already
//! ```
//!
//! A slice that the newest flush did not touch is *settled*, and so are all where nothing is written for some seconds: what
//! is left of it is merged into one run, and what a flush wrote with LZ4 is written anew with ZSTD.
//!
//! **Merging** streams through [`crate::rows`]: exactly the tombstones below the job's own index are applied to each input that
//! ends below them, before fields are folded. Marks of cleared fields go when no older run is left.
//!
//! **Invariants**
//! - The same inputs, tombstones and settings give the same bytes.
//! - A file gets its final name and its pin in one step ([`crate::version::SegmentPins::create`]).
//! - A failed or cancelled job leaves no file behind.

mod picker;
mod writing;

pub use crate::rows::MergeCounts;
pub use picker::{Choice, Config, pick};
pub use writing::{CompactionInputs, Output, Written, compact, flush};

#[cfg(test)]
mod tests;
