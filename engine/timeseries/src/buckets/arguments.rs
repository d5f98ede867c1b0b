//! Constants of `time_bucket` and `date_bin`, read into a [`Grid`].

use datafusion::arrow::array::timezone::Tz;
use datafusion::arrow::compute::kernels::cast_utils::string_to_datetime;
use datafusion::arrow::datatypes::{DataType, IntervalMonthDayNano};
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::Result;

use super::duration;
use super::grid::Grid;
use super::numbered::NumberedBuckets;
use super::parse_duration;
use super::step::{DAY, Step, month_of_days};
use super::zone::Zone;
use crate::zone_named;

/// Monday 2000-01-03, where weeks, days and what is shorter count from.
const MONDAY: i128 = 10_959 * DAY;

/// January 2000, where months count from.
const JANUARY_2000: i128 = 2000 * 12;

/// January 1970.
const JANUARY_1970: i128 = 1970 * 12;

/// What constants come to.
pub(super) enum Given {
    /// NULL: so is the answer.
    Nothing,
    /// One of them is not a constant.
    Column,
    /// Buckets.
    Grid(Grid),
}

/// Whether a type is one of texts.
pub(super) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// A width: months, or nanoseconds, above 0.
enum Width {
    Months(i32),
    Nanos(i128),
}

fn width(function: &str, interval: IntervalMonthDayNano) -> Result<Width> {
    let IntervalMonthDayNano { months, days, nanoseconds } = interval;
    let nanos = i128::from(days) * DAY + i128::from(nanoseconds);
    if months < 0 || nanos < 0 || (months == 0 && nanos == 0) {
        return plan_err!("the width of {function} must be above zero");
    }
    match (months, nanos) {
        (0, nanos) => Ok(Width::Nanos(nanos)),
        (months, 0) => Ok(Width::Months(months)),
        _ => plan_err!(
            "the width of {function} mixes months with days or shorter units, which have no fixed length in months; \
             use one of them"
        ),
    }
}

#[derive(Default)]
struct Options {
    zone: Option<Tz>,
    /// Nanoseconds since 1970-01-01 UTC.
    origin: Option<i128>,
    offset: Option<IntervalMonthDayNano>,
}

fn duplicate<T>(what: &str) -> Result<T> {
    plan_err!("time_bucket has two {what}; give one")
}

impl Options {
    /// False if a constant has not the type yet that it is going to be cast to.
    fn take(&mut self, argument: &ScalarValue, naive: Tz) -> Result<bool> {
        match argument {
            ScalarValue::IntervalMonthDayNano(offset) => self.set_offset(*offset)?,
            ScalarValue::TimestampNanosecond(origin, _) => {
                self.set_origin(origin.map(i128::from))?;
            }
            ScalarValue::Utf8(Some(text)) => self.take_text(text, naive)?,
            other => return Ok(other.is_null()),
        }
        Ok(true)
    }

    fn take_text(&mut self, text: &str, naive: Tz) -> Result<()> {
        if let Some(zone) = zone_named(text) {
            let zone = zone.parse::<Tz>()?;
            return match self.zone.replace(zone) {
                None => Ok(()),
                Some(_) => duplicate("time zones"),
            };
        }
        if let Some(offset) = parse_duration(text) {
            return self.set_offset(Some(offset));
        }
        if let Ok(origin) = string_to_datetime(&naive, text) {
            let ns = i128::from(origin.timestamp()) * 1_000_000_000
                + i128::from(origin.timestamp_subsec_nanos());
            return self.set_origin(Some(ns));
        }
        plan_err!(
            "{text:?} is neither a time zone ('Europe/Berlin', '+02:00') nor an origin ('2024-01-01') nor an offset \
             ('15m') of time_bucket"
        )
    }

    fn set_origin(&mut self, origin: Option<i128>) -> Result<()> {
        match (self.origin, origin) {
            (Some(_), Some(_)) => duplicate("origins"),
            (_, None) => Ok(()),
            (None, origin) => {
                self.origin = origin;
                Ok(())
            }
        }
    }

    fn set_offset(&mut self, offset: Option<IntervalMonthDayNano>) -> Result<()> {
        match (self.offset, offset) {
            (Some(_), Some(_)) => duplicate("offsets"),
            (_, None) => Ok(()),
            (None, offset) => {
                self.offset = offset;
                Ok(())
            }
        }
    }
}

/// The interval of a constant: an interval, or a length of time as text; none if it is NULL.
fn interval(function: &str, value: &ScalarValue) -> Result<Option<IntervalMonthDayNano>> {
    match value {
        ScalarValue::IntervalMonthDayNano(interval) => Ok(*interval),
        ScalarValue::Utf8(Some(text)) => match parse_duration(text) {
            Some(interval) => Ok(Some(interval)),
            None => duration::refuse(function, "width", text),
        },
        ScalarValue::IntervalDayTime(Some(v)) => {
            let nanos = i64::from(v.milliseconds) * 1_000_000;
            Ok(Some(IntervalMonthDayNano::new(0, v.days, nanos)))
        }
        _ => Ok(None),
    }
}

/// The buckets of `time_bucket`; `time` is the type of its times.
pub(super) fn time_bucket_grid(args: &[Option<&ScalarValue>], time: &DataType) -> Result<Given> {
    const NAME: &str = "time_bucket";
    let own_zone = match time {
        DataType::Timestamp(_, zone) => zone.as_deref(),
        _ => None,
    };
    let utc: Tz = "UTC".parse().expect("a time zone");
    let naive = own_zone.map_or(Ok(utc), str::parse)?;
    let Some(given) = args[0] else { return Ok(Given::Column) };
    let Some(interval) = interval(NAME, given)? else { return Ok(Given::Nothing) };
    let width = width(NAME, interval)?;
    let mut options = Options::default();
    for argument in &args[2..] {
        let Some(argument) = argument else { return Ok(Given::Column) };
        if matches!(argument, ScalarValue::Utf8(None)) {
            return Ok(Given::Nothing);
        }
        if !options.take(argument, naive)? {
            return Ok(Given::Column);
        }
    }
    if options.zone.is_some() && own_zone.is_none() {
        return plan_err!(
            "time_bucket with a time zone takes instants, and {time} has no zone; cast it to TIMESTAMPTZ"
        );
    }
    if *time == DataType::Date32 {
        let whole = |n: i128| n % DAY == 0;
        let offset = options.offset.map_or(0, |o| i128::from(o.nanoseconds));
        if matches!(width, Width::Nanos(n) if !whole(n)) || !whole(offset) {
            return plan_err!(
                "time_bucket of dates takes widths and offsets of whole days; cast the dates to TIMESTAMP for others"
            );
        }
    }
    let fixed = |zone: &Tz| ["UTC", "+00:00"].contains(&format!("{zone:?}").as_str());
    let zone = options.zone.filter(|zone| !fixed(zone));
    let origin = options.origin.map(|at| on_wall(zone.as_ref(), at)).transpose()?;
    let offset = options.offset.unwrap_or(IntervalMonthDayNano::new(0, 0, 0));
    let shift = i128::from(offset.days) * DAY + i128::from(offset.nanoseconds);
    let step = match width {
        Width::Nanos(_) if offset.months != 0 => {
            return plan_err!(
                "the offset of time_bucket has months, which have no fixed length; use days, or a width of months"
            );
        }
        Width::Nanos(width) => Step::Fixed { width, origin: origin.unwrap_or(MONDAY) + shift },
        Width::Months(months) => {
            let origin = origin.map_or(JANUARY_2000, |at| month_of_days(at.div_euclid(DAY)).0);
            let origin = origin + i128::from(offset.months);
            Step::Months { months: months.into(), origin, day: 1, shift }
        }
    };
    Ok(Given::Grid(Grid::new(step, zone.map(Zone::new))))
}

/// The buckets of `time_bucket(width, time, zone)` with numbers; `None` where buckets of UTC are the same.
pub(crate) fn numbered_buckets(
    width: &ScalarValue,
    zone: &ScalarValue,
    time: &DataType,
) -> Result<Option<NumberedBuckets>> {
    match time_bucket_grid(&[Some(width), None, Some(zone)], time)? {
        Given::Grid(grid) => Ok(grid.numbered()),
        Given::Nothing | Given::Column => Ok(None),
    }
}

/// What the clock of a zone shows at an instant.
fn on_wall(zone: Option<&Tz>, at: i128) -> Result<i128> {
    match zone {
        None => Ok(at),
        Some(zone) => Ok(at + Zone::new(*zone).stretch(at)?.ahead),
    }
}

/// The buckets of `date_bin`. What DataFusion refuses in its own words is left to it, as [`Given::Column`].
pub(super) fn date_bin_grid(args: &[Option<&ScalarValue>]) -> Result<Given> {
    const NAME: &str = "date_bin";
    let Some(given) = args[0] else { return Ok(Given::Column) };
    let Some(interval) = interval(NAME, given)? else { return Ok(Given::Nothing) };
    if interval.months < 0 || interval.days < 0 || interval.nanoseconds < 0 {
        return plan_err!("the width of {NAME} must be above zero");
    }
    let origin = match args.get(2) {
        None => 0,
        Some(Some(ScalarValue::TimestampNanosecond(Some(origin), _))) => i128::from(*origin),
        Some(_) => return Ok(Given::Column),
    };
    let step = match width(NAME, interval) {
        Err(_) => return Ok(Given::Column),
        Ok(Width::Nanos(width)) if width > i128::from(i64::MAX) => return Ok(Given::Column),
        Ok(Width::Nanos(width)) => Step::Fixed { width, origin },
        Ok(Width::Months(months)) => {
            let (month, day) = month_of_days(origin.div_euclid(DAY));
            let origin_month = if args.len() > 2 { month } else { JANUARY_1970 };
            Step::Months {
                months: months.into(),
                origin: origin_month,
                day,
                shift: origin.rem_euclid(DAY),
            }
        }
    };
    Ok(Given::Grid(Grid::new(step, None)))
}
