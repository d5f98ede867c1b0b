//! Which segments are live: plain, immutable data that a manifest embeds, and the pins that keep files.
//!
//! A [`Version`] is one state, an [`Edit`] the step to the next one. Both are decided by the shard's log, so every
//! replica has the same ones; neither does IO. Files are another matter: a [`SegmentPin`] is held by each version and
//! each read view that names a file, and [`SegmentPins`] removes a file only when nobody holds its pin.
//!
//! **Log ranges.** A segment covers the log indexes `log_index_min..=log_index_max`, without gaps among the live segments
//! of one (table, slice) that could hold rows in between: flushes cover neighbouring ranges, and compactions merge
//! neighbours only. Hence "newer" is a total order wherever keys overlap.
//!
//! **Tombstones.** A [`Tombstone`] hides the rows of every segment and frozen memtable whose log range ends below its
//! own index. A source never straddles a tombstone: a delete that arrives while a memtable is active edits its rows in
//! place, so whatever the range of that memtable holds at freeze has seen the delete already.

mod edit;
mod pins;
mod segment;
mod state;
mod tombstone;

pub use edit::Edit;
pub use pins::{SegmentPin, SegmentPins};
pub use segment::{FileHash, LiveSegment, SegmentRef};
pub use state::Version;
pub use tombstone::Tombstone;

#[cfg(test)]
pub(crate) use state::tests;
