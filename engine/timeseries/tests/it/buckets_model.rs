//! `time_bucket` and `date_bin` against a plain model: a walk over the calendar, and over the changes of clocks.

use std::sync::Arc;

use chrono::{DateTime, Months, NaiveDate, NaiveDateTime, TimeZone, Utc};
use datafusion::arrow::array::timezone::Tz;
use datafusion::arrow::array::{RecordBatch, TimestampNanosecondArray};
use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestRunner};

use crate::fixture::{run, session};

fn shown(ns: i128) -> String {
    let ns = i64::try_from(ns).unwrap();
    DateTime::from_timestamp_nanos(ns).to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}

/// What SQL answers for a column of times, or its error.
fn ask(expression: &str, times: &[i64]) -> Result<Vec<String>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let session = session();
        let column = TimestampNanosecondArray::from(times.to_vec()).with_timezone("UTC");
        let batch = RecordBatch::try_from_iter([("t", Arc::new(column) as _)]).unwrap();
        session.register_batch("r", batch).unwrap();
        let sql = format!("SELECT {expression} AS b FROM r");
        let rows = run(&session, &sql).await.map_err(|e| e.to_string())?;
        Ok(rows[1..].to_vec())
    })
}

fn times() -> impl Strategy<Value = Vec<i64>> {
    let near = -10_000_000_000_000_i64..10_000_000_000_000;
    let time = prop_oneof![
        any::<i64>(),
        near,
        proptest::strategy::Just(i64::MIN),
        proptest::strategy::Just(i64::MAX),
        (0..1_000_i64).prop_map(|n| i64::MIN + n),
    ];
    proptest::collection::vec(time, 1..6)
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

#[test]
fn fixed_widths_are_floors_of_a_division() {
    let widths =
        prop_oneof![1..10_i64, 1..i64::MAX, (1..100_000_i64).prop_map(|s| s * 1_000_000_000)];
    runner(150)
        .run(&(widths, any::<i64>(), times()), |(width, origin, times)| {
            let origin_text = shown(origin.into());
            let (width_ns, origin) = (i128::from(width), i128::from(origin));
            let start = |t: &i64| {
                let t = i128::from(*t);
                t - (t - origin).rem_euclid(width_ns)
            };
            let fits = |start: i128| i64::try_from(start).is_ok();
            let want: Vec<i128> = times.iter().map(start).collect();
            let got = ask(&format!("time_bucket('{width}ns', t, '{origin_text}')"), &times);
            if want.iter().all(|s| fits(*s)) {
                let want: Vec<String> = want.iter().map(|s| shown(*s)).collect();
                assert_eq!(got, Ok(want), "{width} {origin} {times:?}");
            } else {
                assert!(got.unwrap_err().contains("starts before"), "{width} {origin} {times:?}");
            }
            let want: Vec<String> = times
                .iter()
                .map(start)
                .map(|s| if fits(s) { shown(s) } else { "NULL".to_owned() })
                .collect();
            let origin = format!("'{origin_text}'::TIMESTAMPTZ");
            let got = ask(&format!("date_bin('{width}ns', t, {origin})"), &times);
            assert_eq!(got, Ok(want), "{width} {origin} {times:?}");
            Ok(())
        })
        .unwrap();
}

/// The last start of a month bucket that is not after a time, by chrono.
fn month_start(months: u32, at: NaiveDateTime) -> NaiveDate {
    let origin = NaiveDate::from_ymd_opt(2000, 1, 1).unwrap();
    let mut start = origin;
    while start > at.date() {
        start = start - Months::new(months);
    }
    while start + Months::new(months) <= at.date() {
        start = start + Months::new(months);
    }
    start
}

#[test]
fn month_widths_follow_the_calendar() {
    runner(100)
        .run(&(1..40_u32, times()), |(months, times)| {
            let times: Vec<i64> = times.into_iter().filter(|t| *t > i64::MIN / 100 * 98).collect();
            let want: Vec<String> = times
                .iter()
                .map(|t| {
                    let at = DateTime::from_timestamp_nanos(*t).naive_utc();
                    format!("{}T00:00:00Z", month_start(months, at))
                })
                .collect();
            assert_eq!(ask(&format!("time_bucket('{months}mo', t)"), &times), Ok(want));
            Ok(())
        })
        .unwrap();
}

/// The start of a local day: the first instant at which the clock shows it, or later. By trying every minute.
fn day_start(zone: Tz, at: i64) -> i64 {
    let minute = 60_000_000_000;
    let shown = |ns: i64| {
        zone.from_utc_datetime(&DateTime::from_timestamp_nanos(ns).naive_utc()).naive_local()
    };
    // The latest that the clock has shown in the last two days.
    let from = at.div_euclid(minute) * minute - 2 * 1_440 * minute;
    let minutes = || (from..=at).step_by(usize::try_from(minute).unwrap());
    let latest = minutes().chain([at]).map(shown).max().unwrap().date();
    minutes().find(|m| shown(*m).date() >= latest).unwrap_or(at)
}

#[test]
fn local_days_begin_when_the_clock_first_shows_them() {
    let zones = [
        "Europe/Berlin",
        "America/Havana",
        "America/Sao_Paulo",
        "America/St_Johns",
        "Australia/Lord_Howe",
        "Pacific/Apia",
    ];
    let zone = proptest::sample::select(zones.to_vec());
    // From 1980 to 2030.
    let time = (315_532_800..1_893_456_000_i64).prop_map(|s| s * 1_000_000_000);
    let strategy = (zone, proptest::collection::vec(time, 1..4));
    runner(60)
        .run(&strategy, |(zone, times)| {
            let tz: Tz = zone.parse().unwrap();
            let want: Vec<String> = times.iter().map(|t| shown(day_start(tz, *t).into())).collect();
            assert_eq!(
                ask(&format!("time_bucket('1d', t, '{zone}')"), &times),
                Ok(want),
                "{zone} {times:?}"
            );
            Ok(())
        })
        .unwrap();
}

#[test]
fn later_times_never_have_earlier_buckets() {
    // Around changes of clocks: St. John's at 00:01, Lord Howe by half an hour, Apia by a day.
    for (zone, day) in [
        ("America/St_Johns", "2006-10-29"),
        ("America/St_Johns", "2006-04-02"),
        ("Australia/Lord_Howe", "2024-04-06"),
        ("Pacific/Apia", "2011-12-30"),
        ("Europe/Berlin", "2024-10-27"),
        ("America/Havana", "2023-11-05"),
    ] {
        let noon =
            NaiveDate::parse_from_str(day, "%Y-%m-%d").unwrap().and_hms_opt(12, 0, 0).unwrap();
        let noon = Utc.from_utc_datetime(&noon).timestamp_nanos_opt().unwrap();
        let minute = 60_000_000_000_i64;
        let times: Vec<i64> = (-2_000..2_000).map(|m| noon + m * minute).collect();
        for width in ["7m", "15m", "1h", "90m", "2h", "12h", "1d", "1w", "1mo"] {
            let expression = format!("time_bucket('{width}', t, '{zone}', '11m')");
            let got = ask(&expression, &times).unwrap();
            let starts: Vec<i64> = got
                .iter()
                .map(|s| DateTime::parse_from_rfc3339(s).unwrap().timestamp_nanos_opt().unwrap())
                .collect();
            assert!(starts.is_sorted(), "{expression} around {day}");
            assert!(starts.iter().zip(&times).all(|(s, t)| s <= t), "{expression} around {day}");
            let mut distinct = starts.clone();
            distinct.dedup();
            let own = ask(&expression, &distinct).unwrap();
            let again: Vec<String> = distinct.iter().map(|s| shown((*s).into())).collect();
            assert_eq!(own, again, "a start is in its own bucket: {expression} around {day}");
            // Rows in any order have the same buckets.
            let mut reversed = times.clone();
            reversed.reverse();
            let mut backwards = ask(&expression, &reversed).unwrap();
            backwards.reverse();
            assert_eq!(backwards, got, "{expression} around {day}");
        }
    }
}
