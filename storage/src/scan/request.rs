//! What a query wants of a table.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::record_batch::RecordBatch;
use quorate_segment::ValueRange;
use serde::{Deserialize, Serialize};

use crate::{ColumnId, Error};

/// Times from `start` to `end`, both included, in ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeRange {
    /// First.
    pub start: i64,
    /// Last.
    pub end: i64,
}

impl TimeRange {
    /// All of time.
    pub const ALL: Self = Self { start: i64::MIN, end: i64::MAX };

    /// Whether it holds this time.
    pub fn contains(self, time: i64) -> bool {
        self.start <= time && time <= self.end
    }
    /// Whether it holds all of the other range.
    pub fn covers(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }
    /// Whether the two share a time.
    pub fn overlaps(self, other: Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }
}

/// Which series a query wants: evaluated once per distinct series, never per row.
pub trait SeriesFilter: Debug + Send + Sync {
    /// `tags` has one column per tag of the table (`Utf8View`, nullable, named as in the table) and one row per
    /// distinct series. The answer is one truth value per row; null is false.
    fn keep(&self, tags: &RecordBatch) -> Result<BooleanArray, Error>;

    /// What kept series begin with: each of them has, as its first tags in id order, the values of one of these lists. Only
    /// series that begin so are looked at; all, if there is no list.
    fn first_tags(&self) -> &[Vec<String>] {
        &[]
    }
}

/// Nothing but the last rows is needed: of each series the last one in the range of time, and for each of these fields the
/// last one that has it. Earlier rows may come, too, and may lack what was written to them later: they say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastRows {
    /// Fields whose last values are needed.
    pub carrying: Vec<ColumnId>,
}

/// What a query wants of a table.
#[derive(Clone, Debug)]
pub struct ScanRequest {
    /// Columns to return, in this order; may be empty (rows are then counted by the batches' row counts).
    pub columns: Vec<ColumnId>,
    /// Only rows in this range (exact, not a hint).
    pub time: TimeRange,
    /// Rows without these values are not needed, and may be left out.
    pub values: Vec<ValueRange>,
    /// Only these series (exact).
    pub series: Option<Arc<dyn SeriesFilter>>,
    /// Streams wanted; fewer may come. Series are split over them, each sorted by (tags in id order, nulls first, time).
    pub partitions: usize,
    /// Rows after which a partition may stop.
    pub limit: Option<usize>,
    /// Whether the last rows are enough.
    pub last: Option<LastRows>,
}
