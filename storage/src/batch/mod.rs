//! Rows on their way into the log: the type states of the write path.
//!
//! ```text
//! decoded columns ─ RowBatch ─ check ─→ ValidBatch ─ split ─→ one RowBatch per shard ─ encode ─→ log ─ decode ─→ memtable
//! ```
//!
//! A [`RowBatch`] tells series apart once, not per row. [`ValidBatch::check`] is the only way to a [`ValidBatch`], and only
//! that can be written; it also *sorts*: series ascending by key, rows by (series, time), rows with equal keys in the order
//! in which they came. Every later step keeps that order, so applying a batch needs no sort. The node that encoded a batch
//! keeps it until it is applied ([`DecodedBatches`]).

mod check;
mod codec;
mod columns;
mod decoded;
mod slices;
mod sort;
mod split;

pub use check::ValidBatch;
pub(crate) use codec::{decode_series, decode_stream, encode_stream};
pub use columns::{Nulls, RowBatch};
pub(crate) use columns::{array_bytes, field_type};
pub(crate) use decoded::DecodedBatches;
pub use slices::{SliceSpan, TimeSlices};

#[cfg(test)]
mod tests;
