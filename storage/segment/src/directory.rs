//! The series directory: which rows of a segment belong to which series.

use std::ops::Range;

use crate::SeriesKey;

/// One series of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesEntry {
    /// Its key.
    pub key: SeriesKey,
    /// Its rows' numbers in the file.
    pub rows: Range<u64>,
    /// Time of its first row.
    pub time_min: i64,
    /// Time of its last row.
    pub time_max: i64,
}
