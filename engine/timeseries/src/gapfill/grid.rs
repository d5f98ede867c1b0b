//! [`Grid`]: the buckets of all time, numbered from the origin.
//!
//! Bucket `k` begins at `origin + k * width`; on the wall clock of a time zone, where [`NumberedBuckets`] says. All is
//! counted in the unit of the time column, so that results are exact, and in 128 bits where 64 could overflow: times may
//! lie anywhere in the range of their type.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::{DataType, TimeUnit};
use chrono::{DateTime, Datelike, Months, NaiveDate, Utc};
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;

use super::width::Width;
use crate::buckets::NumberedBuckets;

/// Nanoseconds of one step of a unit.
pub(super) fn unit_ns(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

/// Equal or calendar buckets, counted in `unit`.
#[derive(Debug, Clone)]
pub(super) struct Grid {
    step: Step,
    origin: i64,
    unit: TimeUnit,
    /// Buckets of a time zone instead; the streams of an operator share what was found out about it.
    wall: Option<Arc<Mutex<NumberedBuckets>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// In units.
    Fixed(i64),
    Months(i32),
}

/// The instant of a time that is counted in `unit`, where the calendar has it.
fn civil(time: i64, unit: TimeUnit) -> Option<DateTime<Utc>> {
    let per_second = 1_000_000_000 / unit_ns(unit);
    let fraction = time.rem_euclid(per_second) * unit_ns(unit);
    DateTime::from_timestamp(time.div_euclid(per_second), u32::try_from(fraction).ok()?)
}

fn uncivil(time: DateTime<Utc>, unit: TimeUnit) -> Option<i64> {
    match unit {
        TimeUnit::Second => Some(time.timestamp()),
        TimeUnit::Millisecond => Some(time.timestamp_millis()),
        TimeUnit::Microsecond => Some(time.timestamp_micros()),
        TimeUnit::Nanosecond => time.timestamp_nanos_opt(),
    }
}

fn month_number(time: DateTime<Utc>) -> i64 {
    i64::from(time.year()) * 12 + i64::from(time.month0())
}

impl Grid {
    /// Buckets of a width for `function`; without an origin they are counted from 1970-01-01.
    pub(super) fn new(
        function: &str,
        width: Width,
        data_type: &DataType,
        origin: i64,
    ) -> Result<Self> {
        let DataType::Timestamp(unit, _) = data_type else {
            return plan_err!("{function}: the time is {data_type}, not a timestamp");
        };
        let step = match width {
            Width::Months(months) => Step::Months(months),
            Width::Nanoseconds(ns) if ns % unit_ns(*unit) != 0 => {
                return plan_err!(
                    "{function}: the width is not a multiple of the unit of the time, {data_type}; widen it"
                );
            }
            Width::Nanoseconds(ns) => Step::Fixed(ns / unit_ns(*unit)),
        };
        Ok(Self { step, origin, unit: *unit, wall: None })
    }

    /// With the buckets of a wall clock, if there is one.
    pub(super) fn on_wall(self, buckets: Option<NumberedBuckets>) -> Self {
        Self { wall: buckets.map(|buckets| Arc::new(Mutex::new(buckets))), ..self }
    }

    /// Number of the bucket that holds a time.
    pub(super) fn index_of(&self, time: i64) -> Result<i128> {
        if let Some(wall) = &self.wall {
            let at = i128::from(time) * i128::from(unit_ns(self.unit));
            return wall.lock().unwrap_or_else(PoisonError::into_inner).number_of(at);
        }
        match self.step {
            Step::Fixed(step) => Ok(match time.checked_sub(self.origin) {
                Some(distance) => i128::from(distance.div_euclid(step)),
                None => (i128::from(time) - i128::from(self.origin)).div_euclid(step.into()),
            }),
            Step::Months(step) => {
                let (Some(of), Some(origin)) =
                    (civil(time, self.unit), civil(self.origin, self.unit))
                else {
                    return exec_err!("time {time} is out of the calendar's range");
                };
                let index = (month_number(of) - month_number(origin)).div_euclid(step.into());
                // An origin within a month puts the beginning of that month into the bucket before.
                match self.start(index.into()) {
                    Some(start) if start <= time => Ok(index.into()),
                    Some(_) | None => Ok(i128::from(index) - 1),
                }
            }
        }
    }

    /// When a bucket begins, if its type can tell.
    pub(super) fn start(&self, index: i128) -> Option<i64> {
        if let Some(wall) = &self.wall {
            let start = wall.lock().unwrap_or_else(PoisonError::into_inner).start_of(index);
            let start = start.ok().flatten()?;
            return i64::try_from(start.div_euclid(unit_ns(self.unit).into())).ok();
        }
        match self.step {
            Step::Fixed(step) => {
                let distance = index.checked_mul(step.into())?;
                i64::try_from(distance.checked_add(self.origin.into())?).ok()
            }
            Step::Months(step) => {
                let origin = civil(self.origin, self.unit)?;
                let months = i64::try_from(index).ok()?.checked_mul(step.into())?;
                let distance = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
                let start = if months < 0 {
                    origin.checked_sub_months(distance)
                } else {
                    origin.checked_add_months(distance)
                };
                uncivil(start?, self.unit)
            }
        }
    }

    /// When the bucket of a time begins.
    pub(super) fn floor(&self, time: i64) -> Result<i64> {
        let start = match self.step {
            Step::Fixed(step) if self.wall.is_none() => match time.checked_sub(self.origin) {
                Some(distance) => time.checked_sub(distance.rem_euclid(step)),
                None => self.start(self.index_of(time)?),
            },
            Step::Fixed(_) | Step::Months(_) => self.start(self.index_of(time)?),
        };
        if let Some(start) = start {
            Ok(start)
        } else {
            exec_err!("the bucket of time {time} begins before the range of its type")
        }
    }
}

/// 2000-01-03, a Monday, or 2000-01-01 for months: where `time_bucket` begins to count, as in `TimescaleDB` and `DuckDB`.
pub(super) fn bucket_origin(width: Width, unit: TimeUnit) -> i64 {
    let day = match width {
        Width::Nanoseconds(_) => 3,
        Width::Months(_) => 1,
    };
    let date = NaiveDate::from_ymd_opt(2000, 1, day).expect("the date is in the calendar");
    date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp() * (1_000_000_000 / unit_ns(unit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn nanoseconds(width: Width, origin: i64) -> Grid {
        Grid::new("f", width, &DataType::Timestamp(TimeUnit::Nanosecond, None), origin).unwrap()
    }

    proptest! {
        #[test]
        fn a_time_is_in_the_bucket_of_its_number(
            time in any::<i64>(), origin in any::<i64>(), width in 1..i64::MAX, months in 1..100_i32
        ) {
            for width in [Width::Nanoseconds(width), Width::Months(months)] {
                let grid = nanoseconds(width, origin);
                let Ok(index) = grid.index_of(time) else { continue };
                if let Some(start) = grid.start(index) {
                    prop_assert!(start <= time);
                    prop_assert_eq!(grid.floor(time).unwrap(), start);
                }
                if let Some(next) = grid.start(index + 1) {
                    prop_assert!(time < next);
                }
            }
        }
    }

    #[test]
    fn months_are_counted_from_the_day_of_the_origin() {
        let ns = |text: &str| -> i64 {
            DateTime::parse_from_rfc3339(text).unwrap().timestamp_nanos_opt().unwrap()
        };
        let grid = nanoseconds(Width::Months(1), ns("2000-01-31T00:00:00Z"));
        let floor = |text: &str| grid.floor(ns(text)).unwrap();
        assert_eq!(floor("2024-03-01T00:00:00Z"), ns("2024-02-29T00:00:00Z"));
        assert_eq!(floor("2024-02-28T00:00:00Z"), ns("2024-01-31T00:00:00Z"));
    }

    #[test]
    fn a_bucket_that_begins_before_time_does_is_an_error() {
        let grid = nanoseconds(Width::Nanoseconds(1_000), 0);
        assert!(grid.floor(i64::MIN).is_err());
    }
}
