//! Sorted rows in motion: what memtables, scans, flushes and compactions share.
//!
//! Rows flow as [`Piece`]s: consecutive rows of one series within a shared [`Block`] of columns. A source yields pieces by
//! series key, then by time. [`Cut`] leaves out what a time range, a tombstone or a watermark hides; [`Merge`] makes one
//! sorted stream of many sources.
//!
//! ```text
//! memtable run ─┐
//! memtable run ─┼─ Cut ─┐
//! segment ──────┼─ Cut ─┼─ Merge ─→ record batches (scan), or a segment writer (flush, compaction)
//! segment ──────┴─ Cut ─┘
//! ```
//!
//! **The fold.** Rows with equal (series, time) become one: per field, the newest row that *carries* it wins. A row
//! carries a field when its value is not null, or when it is explicitly cleared. Sources are given old to new, that is, by
//! log range.
//!
//! **Invariants**
//! - Within a source, keys ascend, and times within a key ascend strictly.
//! - Pieces are never empty.
//! - Sources of one merge share a [`Layout`]: position i of every block is the same field.
//!
//! **Limits.** A merge holds one piece per source, and at most one folded block: memory grows with the number of sources,
//! not with the rows.

mod block;
mod cut;
mod gather;
mod merge;
mod picks;
mod tags;

pub(crate) use block::{Block, Layout, Piece, PieceStream};
pub(crate) use cut::{Cut, Hiding};
pub(crate) use gather::{
    Slice, arrow_type, gather_block, gather_field, gather_times, timestamp_type, utc,
};
pub use merge::MergeCounts;
pub(crate) use merge::{Merge, MergeOptions};
pub(crate) use picks::{Head, Picks};
pub(crate) use tags::{each_tag, tag_count};
