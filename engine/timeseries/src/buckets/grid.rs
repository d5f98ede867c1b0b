//! [`Grid`]: the buckets of all instants, in UTC or on the wall clock of a time zone.
//!
//! On a wall clock, cells are those of the local time, and instants are told from it so:
//!
//! - Where the clock jumps over the start of a cell, the bucket starts at the jump.
//! - Where the clock runs through an hour twice, widths above an hour have one bucket, which starts when the clock shows
//!   the start of its cell for the first time; a day of 25 hours is one bucket. Widths up to an hour have a bucket each
//!   time, so that the second 02:15 is not mixed with the first.
//!
//! Each of these is the last start that is not after the instant, so buckets never run backwards.

use datafusion::error::Result;

use super::numbered::NumberedBuckets;
use super::step::{HOUR, Step};
use super::zone::Zone;

/// Instants of one bucket, in nanoseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// The first instant of a part of the bucket.
    pub(super) from: i128,
    /// The first instant after that part.
    pub(super) until: i128,
    /// The start of the bucket.
    pub(super) start: i128,
}

/// Buckets of one width.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    step: Step,
    zone: Option<Zone>,
}

impl Grid {
    pub(super) fn new(step: Step, zone: Option<Zone>) -> Self {
        Self { step, zone }
    }

    /// Its buckets with numbers, if they are those of a wall clock.
    pub(super) fn numbered(self) -> Option<NumberedBuckets> {
        self.zone.map(|zone| NumberedBuckets::new(self.step, zone))
    }

    /// Width and origin, if all buckets have one width.
    pub(super) fn fixed(&self) -> Option<(i128, i128)> {
        match (&self.step, &self.zone) {
            (Step::Fixed { width, origin }, None) => Some((*width, *origin)),
            (Step::Fixed { .. } | Step::Months { .. }, _) => None,
        }
    }

    /// Whether all buckets start on a multiple of `unit` nanoseconds.
    pub(super) fn is_whole(&self, unit: i128) -> bool {
        match &self.step {
            Step::Fixed { width, origin } => width % unit == 0 && origin % unit == 0,
            Step::Months { shift, .. } => shift % unit == 0,
        }
    }

    /// The bucket of an instant, and the instants around it that have the same.
    pub(super) fn locate(&mut self, at: i128) -> Result<Span> {
        let Some(zone) = &mut self.zone else {
            let (from, until) = self.step.cell(at);
            return Ok(Span { from, until, start: from });
        };
        let here = zone.stretch(at)?;
        let (start, end) = self.step.cell(at + here.ahead);
        Ok(Span {
            from: here.from.max(start - here.ahead),
            until: here.until.min(end - here.ahead),
            start: start_on_wall(&self.step, zone, at)?,
        })
    }
}

fn start_on_wall(step: &Step, zone: &mut Zone, mut at: i128) -> Result<i128> {
    let each_time = matches!(step, Step::Fixed { width, .. } if *width <= HOUR);
    loop {
        let here = zone.stretch(at)?;
        let (cell, _) = step.cell(at + here.ahead);
        let start = cell - here.ahead;
        if each_time && start >= here.from {
            return Ok(start);
        }
        let before = here.from - 1;
        let shown_before = before + zone.stretch(before)?.ahead;
        if cell > shown_before {
            return Ok(start.max(here.from));
        }
        // The cell had begun before the clock changed: its bucket is the one that was open then.
        at = before;
    }
}
