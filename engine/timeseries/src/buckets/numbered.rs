//! [`NumberedBuckets`]: the buckets of a wall clock in a row, each with a number, so that those between two can be counted.
//!
//! They are the buckets of [`super::grid::Grid`] in a time zone. Within a stretch in which the clock runs evenly, those that
//! begin there are neighbouring cells of the local time:
//!
//! ```text
//! stretch      ahead of UTC by 1 h       │  ahead by 2 h (begins by a jump over 02:00 … 03:00)
//! cells        … 00:00  01:00            │  02:00 (begins at the jump)  03:00 …     by 1 h: 02:00 is in the jump, not there
//! numbers      …   7      8              │    –                           9   …
//! ```
//!
//! So a stretch is kept with the cell of its first bucket and that bucket's number. Stretches are found from the year 2000
//! on in either direction, as far as is asked.

use std::collections::VecDeque;

use datafusion::common::exec_err;
use datafusion::error::Result;

use super::step::{HOUR, Step};
use super::zone::Zone;

/// 2000-01-03, in nanoseconds: in the stretch whose first bucket has the number 0.
const MIDDLE: i128 = 946_857_600_000_000_000;

/// Farthest from 1970 that stretches are looked for: what 64 bits of nanoseconds hold.
const REACH: i128 = i64::MAX as i128;

/// The buckets that begin in a stretch.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// The stretch: its first instant, the first after it, what the clock is ahead of UTC.
    from: i128,
    until: i128,
    ahead: i128,
    /// Index of the cell of the first bucket.
    cell: i128,
    /// How many buckets begin here.
    count: i128,
    /// Number of the first.
    number: i128,
}

impl Run {
    /// The number of the bucket of an instant of the stretch: of an earlier stretch, if its cell began there.
    fn number_of(&self, step: &Step, at: i128) -> i128 {
        let cell = step.index_of(at + self.ahead);
        if cell < self.cell { self.number - 1 } else { self.number + (cell - self.cell) }
    }

    fn start_of(&self, step: &Step, number: i128) -> i128 {
        let cell = self.cell + (number - self.number);
        (step.start_of(cell) - self.ahead).max(self.from)
    }
}

/// Numbered buckets of a time zone.
#[derive(Debug)]
pub(crate) struct NumberedBuckets {
    step: Step,
    zone: Zone,
    /// Neighbours, by time.
    runs: VecDeque<Run>,
}

impl NumberedBuckets {
    pub(super) fn new(step: Step, zone: Zone) -> Self {
        Self { step, zone, runs: VecDeque::new() }
    }

    /// The stretch of an instant, its first bucket numbered 0.
    fn run_at(&mut self, at: i128) -> Result<Run> {
        let here = self.zone.stretch(at)?;
        let before = here.from - 1;
        let shown_before = before + self.zone.stretch(before)?.ahead;
        let first = self.step.index_of(here.from + here.ahead);
        let last = self.step.index_of(here.until - 1 + here.ahead);
        // Up to an hour, cells are buckets again each time that the clock shows them.
        let again = matches!(self.step, Step::Fixed { width, .. } if width <= HOUR);
        let cell = if again {
            let start = self.step.start_of(first);
            let is_new = start == here.from + here.ahead || start > shown_before;
            if is_new { first } else { first + 1 }
        } else {
            first.max(self.step.index_of(shown_before) + 1)
        };
        let count = (last - cell + 1).max(0);
        let (from, until, ahead) = (here.from, here.until, here.ahead);
        Ok(Run { from, until, ahead, cell, count, number: 0 })
    }

    /// Another stretch at the end.
    fn extend(&mut self) -> Result<()> {
        let next = match self.runs.back().copied() {
            None => self.run_at(MIDDLE)?,
            Some(last) => Run { number: last.number + last.count, ..self.run_at(last.until)? },
        };
        self.runs.push_back(next);
        Ok(())
    }

    /// Another stretch at the beginning.
    fn extend_back(&mut self) -> Result<()> {
        let Some(first) = self.runs.front().copied() else { return self.extend() };
        let before = self.run_at(first.from - 1)?;
        self.runs.push_front(Run { number: first.number - before.count, ..before });
        Ok(())
    }

    /// Number of the bucket that holds an instant, in nanoseconds since 1970.
    pub(crate) fn number_of(&mut self, at: i128) -> Result<i128> {
        if at.abs() > REACH {
            return exec_err!(
                "a time of {at} ns since 1970 is out of the range of buckets in time zones"
            );
        }
        while self.runs.back().is_none_or(|last| last.until <= at) {
            self.extend()?;
        }
        while self.runs.front().is_some_and(|first| at < first.from) {
            self.extend_back()?;
        }
        let index = self.runs.partition_point(|run| run.from <= at) - 1;
        Ok(self.runs[index].number_of(&self.step, at))
    }

    /// When a bucket begins; `None` if that is out of range.
    pub(crate) fn start_of(&mut self, number: i128) -> Result<Option<i128>> {
        while self.runs.back().is_none_or(|last| last.number + last.count <= number) {
            if self.runs.back().is_some_and(|last| last.until > REACH) {
                return Ok(None);
            }
            self.extend()?;
        }
        while self.runs.front().is_some_and(|first| number < first.number) {
            if self.runs.front().is_some_and(|first| first.from < -REACH) {
                return Ok(None);
            }
            self.extend_back()?;
        }
        // Stretches in which no bucket begins have the number of the next.
        let index = self.runs.partition_point(|run| run.number + run.count <= number);
        Ok(Some(self.runs[index].start_of(&self.step, number)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::super::grid::Grid;
    use super::super::step::DAY;
    use super::*;

    const MINUTE: i128 = 60_000_000_000;

    fn steps() -> impl Strategy<Value = Step> {
        let fixed = |width: i128| Step::Fixed { width, origin: 10_959 * DAY };
        prop_oneof![
            (1..100_i128).prop_map(move |n| fixed(n * MINUTE)),
            (1..60_i128).prop_map(move |n| fixed(n * HOUR)),
            Just(fixed(DAY)),
            Just(fixed(7 * DAY)),
            (1..5_i128).prop_map(|months| Step::Months {
                months,
                origin: 2_000 * 12,
                day: 1,
                shift: 0
            }),
        ]
    }

    fn zones() -> impl Strategy<Value = &'static str> {
        // Summer time; half an hour of it; a day that was left out; no changes.
        prop_oneof![
            Just("Europe/Berlin"),
            Just("America/New_York"),
            Just("Australia/Lord_Howe"),
            Just("Pacific/Apia"),
            Just("+05:30")
        ]
    }

    proptest! {
        #[test]
        fn numbers_follow_each_other_as_buckets_do(
            step in steps(), zone in zones(), from in 0..1_900_000_000_i64, count in 1..40_usize
        ) {
            let zone = Zone::new(zone.parse().unwrap());
            let mut grid = Grid::new(step.clone(), Some(zone.clone()));
            let mut numbered = NumberedBuckets::new(step, zone);
            let mut at = i128::from(from) * 1_000_000_000;
            let first = numbered.number_of(at).unwrap();
            let mut start = grid.locate(at).unwrap().start;
            for number in (first..).take(count) {
                prop_assert_eq!(numbered.number_of(at).unwrap(), number);
                prop_assert_eq!(numbered.start_of(number).unwrap(), Some(start));
                prop_assert_eq!(numbered.number_of(start).unwrap(), number);
                // The next bucket, which may be some parts of this one away.
                let here = start;
                while start == here {
                    at = grid.locate(at).unwrap().until;
                    start = grid.locate(at).unwrap().start;
                }
            }
            prop_assert!(start > i128::from(from) * 1_000_000_000 - 200 * DAY);
        }
    }

    #[test]
    fn what_is_out_of_range_is_said_to_be() {
        let step = Step::Fixed { width: DAY, origin: 0 };
        let mut numbered = NumberedBuckets::new(step, Zone::new("Europe/Berlin".parse().unwrap()));
        assert!(numbered.number_of(REACH + 1).is_err());
        assert_eq!(numbered.start_of(1 << 40).unwrap(), None);
        assert_eq!(numbered.start_of(-(1 << 40)).unwrap(), None);
        let number = numbered.number_of(-REACH).unwrap();
        assert!(numbered.start_of(number).unwrap().is_some_and(|start| start <= -REACH));
    }
}
