//! Rows in memory: what was applied and is not yet in a segment.
//!
//! Only a shard's apply writes here. Rows are kept by table and time slice, each slice as a few immutable, sorted
//! [`Run`]s, oldest first:
//!
//! ```text
//! insert ─→ run of 5,000 rows ┐
//!           7 runs before it  ┴─ eight of a size merge ─→ run of 40,000 rows ─ … ─→ 320,000
//! ```
//!
//! so that a row is copied once per factor of eight, an insert sorts nothing (batches come sorted), and a reader merges a
//! handful of runs. A read takes the runs' `Arc`s and holds a frozen state while writes go on.
//!
//! **Invariants**
//! - A run has one row per (series, time), sorted; doubles are folded as everywhere ([`crate::rows`]).
//! - The runs of a slice stand in log order.
//! - A delete or expiry edits the runs in place, so a memtable needs no tombstones for its own log range.
//!
//! **Limits.** A batch whose rows scatter over thousands of slices makes thousands of small runs.

mod checkpoint;
mod frozen;
mod run;
mod table;
mod tiers;

pub use frozen::{FrozenMemtable, MemtableView, SlicePart};
pub(crate) use run::{Run, union_layout};
pub use table::{InsertCounts, Memtable};

#[cfg(test)]
mod tests;
