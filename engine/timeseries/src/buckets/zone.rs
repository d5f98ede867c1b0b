//! [`Zone`]: what a clock on the wall of a time zone showed, in stretches between its changes.

use chrono::{DateTime, Offset, TimeZone};
use datafusion::arrow::array::timezone::Tz;
use datafusion::error::Result;

const SECOND: i128 = 1_000_000_000;
const DAY_SECONDS: i64 = 86_400;

/// Days of the longest stretch. Stretches may follow each other without a change of the clock.
const STRETCH_DAYS: i64 = 400;

/// Instants, in nanoseconds since 1970-01-01 UTC, between which a clock on the wall runs evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// The first instant.
    pub(super) from: i128,
    /// The first instant after it.
    pub(super) until: i128,
    /// What the clock shows more than UTC.
    pub(super) ahead: i128,
}

/// A time zone, and the stretches of it that were asked for.
#[derive(Clone, Debug)]
pub(super) struct Zone {
    zone: Tz,
    /// By their first instants.
    stretches: Vec<Stretch>,
}

impl Zone {
    pub(super) fn new(zone: Tz) -> Self {
        Self { zone, stretches: Vec::new() }
    }

    fn ahead(&self, seconds: i64) -> Option<i32> {
        let utc = DateTime::from_timestamp(seconds, 0)?.naive_utc();
        Some(self.zone.offset_from_utc_datetime(&utc).fix().local_minus_utc())
    }

    /// The stretch that holds an instant; an error if no calendar reaches so far.
    pub(super) fn stretch(&mut self, at: i128) -> Result<Stretch> {
        let after = self.stretches.partition_point(|s| s.from <= at);
        if let Some(known) = after.checked_sub(1).map(|i| self.stretches[i])
            && at < known.until
        {
            return Ok(known);
        }
        let found = self.find(at)?;
        self.stretches.insert(after, found);
        Ok(found)
    }

    fn find(&self, at: i128) -> Result<Stretch> {
        let seconds = i64::try_from(at.div_euclid(SECOND)).ok();
        let Some((seconds, ahead)) = seconds.and_then(|s| Some((s, self.ahead(s)?))) else {
            return datafusion::common::exec_err!(
                "a time of {at} ns since 1970 is out of the range of time zones"
            );
        };
        let same = |s: i64| self.ahead(s) == Some(ahead);
        // Ends are the same whichever instant was asked for first, so stretches do not overlap.
        let width = DAY_SECONDS * STRETCH_DAYS;
        let first = seconds.div_euclid(width) * width;
        let last = first + width;
        let mut from = seconds;
        while from > first && same((from - DAY_SECONDS).max(first)) {
            from = (from - DAY_SECONDS).max(first);
        }
        if from > first {
            from = boundary((from - DAY_SECONDS).max(first), from, same);
        }
        let mut until = seconds;
        while until < last && same((until + DAY_SECONDS).min(last)) {
            until = (until + DAY_SECONDS).min(last);
        }
        if until < last {
            until = boundary((until + DAY_SECONDS).min(last), until, same);
            // The boundary is the last second with the same offset.
            until += 1;
        }
        Ok(Stretch {
            from: i128::from(from) * SECOND,
            until: i128::from(until) * SECOND,
            ahead: i128::from(ahead) * SECOND,
        })
    }
}

/// The second next to `out` that is the same, between `out`, which is not, and `inside`, which is.
fn boundary(mut out: i64, mut inside: i64, same: impl Fn(i64) -> bool) -> i64 {
    while out.abs_diff(inside) > 1 {
        let middle = i64::midpoint(out, inside);
        if same(middle) {
            inside = middle;
        } else {
            out = middle;
        }
    }
    inside
}
