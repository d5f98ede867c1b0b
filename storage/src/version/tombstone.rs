//! A delete, as long as older files still hold what it deleted.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::scan::TimeRange;
use crate::{SeriesKey, TableId};

/// Hides older rows: those of segments and frozen memtables whose log range ends below `log_index`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The table.
    pub table: TableId,
    /// The series; `None` means all of them, those of later segments included.
    pub series: Option<BTreeSet<SeriesKey>>,
    /// Times, both included.
    pub time: TimeRange,
    /// Index of the delete in the shard's log.
    pub log_index: u64,
}

impl Tombstone {
    /// Whether rows of a source that ends at `log_index_max` are older than the delete.
    pub fn is_above(&self, log_index_max: u64) -> bool {
        log_index_max < self.log_index
    }
    /// Whether it is about this series.
    pub fn has_series(&self, key: &SeriesKey) -> bool {
        self.series.as_ref().is_none_or(|series| series.contains(key))
    }
    /// Whether it may be about a series between these keys (as bytes, both included).
    pub fn overlaps_keys(&self, key_min: &[u8], key_max: &[u8]) -> bool {
        self.series.as_ref().is_none_or(|series| {
            series.iter().any(|key| (key_min..=key_max).contains(&key.as_bytes()))
        })
    }
}
