//! Time slices: intervals of time that are routed, kept and compacted as one.

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::scan::TimeRange;

/// From a time on, slices of one width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceSpan {
    /// First time that it is in force for, ns; the first span's is `i64::MIN`.
    pub from: i64,
    /// Width of a slice, ns. Slices start at multiples of it.
    pub width: i64,
}

/// How a table's time is cut into slices: mostly one width for all of time, otherwise one span per change of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeSlices {
    spans: Vec<SliceSpan>,
}

impl TimeSlices {
    /// One width for all of time; widths below 1 ns count as 1.
    pub fn uniform(width: i64) -> Self {
        Self { spans: vec![SliceSpan { from: i64::MIN, width: width.max(1) }] }
    }

    /// Spans that ascend, the first from `i64::MIN`, with positive widths.
    pub fn new(spans: Vec<SliceSpan>) -> Result<Self, Error> {
        let is_right = spans.first().is_some_and(|span| span.from == i64::MIN)
            && spans.is_sorted_by(|a, b| a.from < b.from)
            && spans.iter().all(|span| span.width > 0);
        if is_right {
            Ok(Self { spans })
        } else {
            Err(Error::Invalid("spans of time slices do not cover all of time once".into()))
        }
    }

    /// The spans.
    pub fn spans(&self) -> &[SliceSpan] {
        &self.spans
    }

    /// The slice of a time, both ends included. Its start identifies it.
    pub fn of(&self, time: i64) -> TimeRange {
        let at = self.spans.partition_point(|span| span.from <= time).max(1) - 1;
        let span = self.spans.get(at).copied();
        let span = span.unwrap_or(SliceSpan { from: i64::MIN, width: 86_400_000_000_000 });
        let start = i128::from(time.div_euclid(span.width)) * i128::from(span.width);
        let end = start + i128::from(span.width) - 1;
        let clamp =
            |time: i128| i64::try_from(time).unwrap_or(if time < 0 { i64::MIN } else { i64::MAX });
        let next = self.spans.get(at + 1).map_or(i64::MAX, |next| next.from - 1);
        TimeRange { start: clamp(start).max(span.from), end: clamp(end).min(next) }
    }
}
