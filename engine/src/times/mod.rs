//! Times without a zone made instants: what a text, a date or a clock on the wall says, in a zone.
//!
//! Arrow refuses a local time that its zone skips or shows twice. Here it is an instant, as in `PostgreSQL` and `DuckDB`: of a
//! time that is skipped, the one as long after the change as it would have been without it; of a time that is shown twice,
//! the later one. A date begins with its first instant.

mod coalesce;
mod function;
mod rewrite;
mod rows;
mod rule;

use std::sync::Arc;

use chrono::{
    DateTime, Days, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone,
    Utc,
};
use datafusion::arrow::array::timezone::Tz;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, TimestampNanosecondArray};
use datafusion::arrow::compute::kernels::cast_utils::string_to_datetime;
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Date32Type, TimeUnit, TimestampNanosecondType};
use datafusion::error::DataFusionError;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::optimizer::AnalyzerRule;

pub(crate) use rows::{in_zone, with_zone};

use crate::engine::UTC;

/// The rule that comes before all others of an analyzer.
pub(crate) fn rule() -> Arc<dyn AnalyzerRule + Send + Sync> {
    Arc::new(rule::TimeRule)
}

/// Makes a state read times as this module does.
pub(crate) fn install(state: &mut SessionState) -> Result<(), DataFusionError> {
    state.register_function_rewrite(Arc::new(rewrite::TimeRewrite))?;
    for function in coalesce::functions() {
        state.register_udf(function)?;
    }
    Ok(())
}

/// What there is of times: the whole range of nanoseconds since 1970 in 64 bits.
const RANGE: &str =
    "times are from 1677-09-21T00:12:43.145224192Z to 2262-04-11T23:47:16.854775807Z";

/// A value that is no time: which of them, from 0, and why.
#[derive(Debug)]
pub(crate) struct NoTime {
    pub(crate) row: usize,
    pub(crate) message: String,
}

/// The zone of a name that Arrow knows.
fn zone_of(name: &str) -> Result<Tz, String> {
    name.parse().map_err(|_| format!("{name:?} is not a time zone"))
}

/// Nanoseconds since 1970-01-01 UTC.
fn nanoseconds<Z: TimeZone>(time: &DateTime<Z>) -> Option<i64> {
    time.timestamp_nanos_opt()
}

/// The instant at which a clock on the wall of a zone shows a time: if it never does, as if the clock had not been put
/// forward; if it does twice, the second one.
fn instant(wall: &NaiveDateTime, zone: Tz) -> Option<i64> {
    let local = zone.from_local_datetime(wall);
    let time = match local.latest() {
        Some(time) => time.to_utc(),
        None => skipped(wall, zone)?,
    };
    nanoseconds(&time)
}

/// What a skipped time would have been without the change of the clock.
fn skipped(wall: &NaiveDateTime, zone: Tz) -> Option<DateTime<Utc>> {
    // No zone is so far from UTC that this is not before the change.
    let before = wall.checked_sub_days(Days::new(1))?;
    let offset = zone.offset_from_utc_datetime(&before).fix();
    Some(wall.checked_sub_offset(offset)?.and_utc())
}

/// The first instant of a date in a zone.
fn beginning(date: NaiveDate, zone: Tz) -> Option<i64> {
    let midnight = date.and_time(NaiveTime::MIN);
    let local = zone.from_local_datetime(&midnight);
    if let Some(time) = local.earliest() {
        return nanoseconds(&time);
    }
    // Midnight is skipped: the date begins with the change, which is between these.
    let shown = |time: &DateTime<Utc>| time.with_timezone(&zone).naive_local();
    let mut after = skipped(&midnight, zone)?;
    let mut before = after.checked_sub_signed(TimeDelta::days(1))?;
    while after - before > TimeDelta::seconds(1) {
        let middle = before + TimeDelta::seconds((after - before).num_seconds() / 2);
        if shown(&middle) < midnight {
            before = middle;
        } else {
            after = middle;
        }
    }
    nanoseconds(&after)
}

/// A text with its seconds, which may be left out: `2024-01-31 06:30`.
fn with_seconds(text: &str) -> String {
    match text.split_at_checked(16) {
        Some((minutes, rest)) if minutes.as_bytes()[13] == b':' && !rest.starts_with(':') => {
            format!("{minutes}:00{rest}")
        }
        Some(_) | None => text.to_owned(),
    }
}

/// The instant that a text is. One that tells no zone is in the zone given.
fn read(text: &str, zone: Tz) -> Result<i64, String> {
    let full = with_seconds(text.trim());
    let shown: String = text.chars().take(80).collect();
    let wrong = || {
        format!(
            "'{shown}' is not a time; write for example '2024-01-31', '2024-01-31 06:30', \
             '2024-01-31T06:30:00.123456789Z' or '2024-01-31 06:30:00+01:00'"
        )
    };
    if let Some((clock, name)) = full.rsplit_once(' ')
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && let Some(zone) = quorate_timeseries::zone_named(name)
    {
        return read(clock, zone_of(zone)?);
    }
    let utc = string_to_datetime(&Utc, &full).map_err(|_| wrong())?;
    // A text with a zone of its own is the same instant wherever it is read.
    let elsewhere = FixedOffset::east_opt(3600).ok_or_else(wrong)?;
    let elsewhere = string_to_datetime(&elsewhere, &full).map_err(|_| wrong())?;
    let time = if utc == elsewhere {
        nanoseconds(&utc)
    } else if full.len() == 10 {
        beginning(utc.date_naive(), zone)
    } else {
        instant(&utc.naive_utc(), zone)
    };
    time.ok_or_else(|| format!("'{shown}' is out of range: {RANGE}"))
}

/// Instants of texts, dates or times without a zone, with the zone in which they are read; without one, times that have
/// none.
pub(crate) fn instants(array: &dyn Array, zone: Option<&Arc<str>>) -> Result<ArrayRef, NoTime> {
    let tz = zone_of(zone.map_or(UTC, |zone| zone.as_ref()));
    let tz = tz.map_err(|message| NoTime { row: 0, message })?;
    let times = match array.data_type() {
        DataType::Utf8 => each(array.as_string::<i32>().iter(), |text| read(text, tz)),
        DataType::LargeUtf8 => each(array.as_string::<i64>().iter(), |text| read(text, tz)),
        DataType::Utf8View => each(array.as_string_view().iter(), |text| read(text, tz)),
        DataType::Date32 => each(array.as_primitive::<Date32Type>().iter(), |days| {
            Date32Type::to_naive_date_opt(days)
                .and_then(|date| beginning(date, tz))
                .ok_or_else(|| format!("a date {days} days from 1970 is out of range: {RANGE}"))
        }),
        DataType::Date64 => {
            return instants(&cast_to(array, &DataType::Date32)?, zone);
        }
        _ => {
            let walls = cast_to(array, &DataType::Timestamp(TimeUnit::Nanosecond, None))?;
            each(walls.as_primitive::<TimestampNanosecondType>().iter(), |wall| {
                let wall = DateTime::from_timestamp_nanos(wall).naive_utc();
                instant(&wall, tz).ok_or_else(|| format!("{wall} is out of range: {RANGE}"))
            })
        }
    }?;
    Ok(Arc::new(times.with_timezone_opt(zone.cloned())))
}

/// What clocks on the wall of the zone of times show.
fn walls(array: &dyn Array) -> Result<ArrayRef, NoTime> {
    let DataType::Timestamp(_, Some(zone)) = array.data_type() else {
        return cast_to(array, &DataType::Timestamp(TimeUnit::Nanosecond, None));
    };
    let tz = zone_of(zone).map_err(|message| NoTime { row: 0, message })?;
    let kind = DataType::Timestamp(TimeUnit::Nanosecond, Some(Arc::clone(zone)));
    let times = cast_to(array, &kind)?;
    let walls = each(times.as_primitive::<TimestampNanosecondType>().iter(), |time| {
        let time = DateTime::from_timestamp_nanos(time);
        let wall = time.with_timezone(&tz).naive_local();
        nanoseconds(&wall.and_utc())
            .ok_or_else(|| format!("{time}, as {zone} shows it, is out of range: {RANGE}"))
    })?;
    Ok(Arc::new(walls))
}

fn cast_to(array: &dyn Array, want: &DataType) -> Result<ArrayRef, NoTime> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, want, &options).map_err(|_| {
        // Only an error pays for finding out which one it was.
        let fails = |row: &usize| cast_with_options(&array.slice(*row, 1), want, &options).is_err();
        let row = (0..array.len()).find(fails).unwrap_or_default();
        NoTime { row, message: format!("the time is out of range: {RANGE}") }
    })
}

fn each<T>(
    values: impl Iterator<Item = Option<T>>,
    instant: impl Fn(T) -> Result<i64, String>,
) -> Result<TimestampNanosecondArray, NoTime> {
    let time = |(row, value): (usize, Option<T>)| {
        value.map(&instant).transpose().map_err(|message| NoTime { row, message })
    };
    values.enumerate().map(time).collect()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Date32Array, StringArray};

    use super::*;

    fn shown(array: &dyn Array, zone: &str) -> Result<String, String> {
        let times = instants(array, Some(&Arc::from(zone))).map_err(|e| e.message)?;
        let time = times.as_primitive::<TimestampNanosecondType>().value(0);
        Ok(DateTime::from_timestamp_nanos(time).format("%FT%T%.f").to_string())
    }

    fn text(text: &str, zone: &str) -> Result<String, String> {
        shown(&StringArray::from(vec![text]), zone)
    }

    fn date(date: &str, zone: &str) -> String {
        let days = Date32Type::from_naive_date(date.parse().unwrap());
        shown(&Date32Array::from(vec![days]), zone).unwrap()
    }

    #[test]
    fn a_skipped_time_is_as_long_after_the_change() {
        // As PostgreSQL and DuckDB have it.
        let new_york = |time| text(time, "America/New_York").unwrap();
        assert_eq!(new_york("2024-03-10 02:30:00"), "2024-03-10T07:30:00");
        assert_eq!(new_york("2024-03-10 01:59:59"), "2024-03-10T06:59:59");
        assert_eq!(new_york("2024-03-10 03:00:00"), "2024-03-10T07:00:00");
        // A whole day was skipped there.
        assert_eq!(text("2011-12-30 23:59:00", "Pacific/Apia").unwrap(), "2011-12-31T09:59:00");
    }

    #[test]
    fn a_time_that_is_shown_twice_is_the_later_one() {
        let new_york = |time| text(time, "America/New_York").unwrap();
        assert_eq!(new_york("2024-11-03 01:30:00"), "2024-11-03T06:30:00");
        assert_eq!(new_york("2024-11-03 01:30:00-04:00"), "2024-11-03T05:30:00");
        assert_eq!(
            text("2024-11-03 01:30 america/new_york", "UTC").unwrap(),
            "2024-11-03T06:30:00"
        );
    }

    #[test]
    fn a_date_begins_with_its_first_instant() {
        for (day, zone, begins) in [
            // Midnight is skipped, or shown twice.
            ("2018-11-04", "America/Sao_Paulo", "2018-11-04T03:00:00"),
            ("2024-11-03", "America/Havana", "2024-11-03T04:00:00"),
            // Half an hour around midnight was skipped.
            ("1919-03-31", "America/Toronto", "1919-03-31T04:30:00"),
            ("2011-12-30", "Pacific/Apia", "2011-12-30T10:00:00"),
            ("2024-01-02", "+05:30", "2024-01-01T18:30:00"),
            ("2024-01-02", "UTC", "2024-01-02T00:00:00"),
        ] {
            assert_eq!(date(day, zone), begins, "{day} {zone}");
            assert_eq!(text(day, zone).unwrap(), begins, "{day} {zone}");
        }
    }

    #[test]
    fn seconds_may_be_left_out() {
        let utc = |time| text(time, "UTC");
        assert_eq!(utc("2024-01-31 06:30").unwrap(), "2024-01-31T06:30:00");
        assert_eq!(utc(" 2024-01-31T06:30Z").unwrap(), "2024-01-31T06:30:00");
        assert_eq!(utc("2024-01-31 06:30+02:00").unwrap(), "2024-01-31T04:30:00");
        assert_eq!(utc("2024-01-31 06:30:01.5").unwrap(), "2024-01-31T06:30:01.500");
        for wrong in
            ["2024-01-31 06", "2024-01-31 06:3", "2024-02-30", "now", "", "2024-01-31 0é:30"]
        {
            let error = utc(wrong).unwrap_err();
            assert!(error.contains("is not a time; write for example"), "{wrong}: {error}");
        }
    }

    #[test]
    fn the_range_is_all_of_64_bits() {
        let utc = |time| text(time, "UTC");
        for end in ["1677-09-21T00:12:43.145224192", "2262-04-11T23:47:16.854775807"] {
            assert_eq!(utc(end).unwrap(), end);
            // And what is shown of it elsewhere is it.
            assert_eq!(text(&format!("{end}Z"), "Asia/Tokyo").unwrap(), end);
        }
        for out in ["1677-09-21T00:12:43.145224191", "2262-04-11T23:47:16.854775808", "9999-12-31"]
        {
            assert!(utc(out).unwrap_err().contains("is out of range: times are from"), "{out}");
        }
    }
}
