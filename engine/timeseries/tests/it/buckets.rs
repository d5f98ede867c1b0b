//! Buckets of time.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, TimestampNanosecondArray};
use datafusion::datasource::MemTable;
use datafusion::prelude::col;

use crate::fixture::{check, run, session};

async fn bucket(arguments: &str, want: &str) {
    check(&format!("SELECT time_bucket({arguments}) AS t"), &["t", want]).await;
}

async fn refused(sql: &str, part: &str) {
    let error = run(&session(), sql).await.expect_err(sql).to_string();
    assert!(error.contains(part), "{sql}: {error}");
}

#[tokio::test]
async fn short_widths_count_from_midnight() {
    bucket("'1h30m', '2024-01-01T04:40:00Z'::TIMESTAMPTZ", "2024-01-01T04:30:00Z").await;
    bucket(
        "INTERVAL '15 minutes', '2024-01-01T04:59:59.999999999Z'::TIMESTAMPTZ",
        "2024-01-01T04:45:00Z",
    )
    .await;
    bucket(
        "'1ns', '2024-01-01T00:00:00.000000001Z'::TIMESTAMPTZ",
        "2024-01-01T00:00:00.000000001Z",
    )
    .await;
}

#[tokio::test]
async fn weeks_begin_on_mondays_and_days_count_from_one() {
    bucket("'1w', TIMESTAMP '2024-05-19 23:59:59'", "2024-05-13T00:00:00").await;
    bucket("'1w', TIMESTAMP '2024-05-20 00:00:00'", "2024-05-20T00:00:00").await;
    // 2000-01-03, 08, 13, … as in TimescaleDB and DuckDB.
    bucket("'5 days', TIMESTAMP '2000-01-09'", "2000-01-08T00:00:00").await;
    bucket("'5 days', TIMESTAMP '2000-01-02'", "1999-12-29T00:00:00").await;
}

#[tokio::test]
async fn months_are_those_of_the_calendar() {
    bucket("'1mo', TIMESTAMP '2024-02-29 12:00:00'", "2024-02-01T00:00:00").await;
    bucket("'3mo', TIMESTAMP '1969-12-31 12:00:00'", "1969-10-01T00:00:00").await;
    bucket("'5mo', TIMESTAMP '2000-06-01'", "2000-06-01T00:00:00").await;
    bucket("'5mo', TIMESTAMP '2000-05-31'", "2000-01-01T00:00:00").await;
    bucket("'1y', TIMESTAMP '1700-06-01'", "1700-01-01T00:00:00").await;
    bucket("'10y', TIMESTAMP '2024-06-01'", "2020-01-01T00:00:00").await;
}

#[tokio::test]
async fn origins_and_offsets_move_the_starts() {
    let time = "'2024-01-01T00:20:00Z'::TIMESTAMPTZ";
    bucket(&format!("'1h', {time}, '15m'"), "2024-01-01T00:15:00Z").await;
    bucket(&format!("'1h', {time}, INTERVAL '-15 minutes'"), "2023-12-31T23:45:00Z").await;
    bucket(&format!("'1h', {time}, TIMESTAMP '2030-01-01 00:05:00'"), "2024-01-01T00:05:00Z").await;
    bucket(&format!("'1w', {time}, '1970-01-01'"), "2023-12-28T00:00:00Z").await;
    bucket(&format!("'1d', {time}, NULL"), "2024-01-01T00:00:00Z").await;
    // Months have the month of the origin, and its day does not count, as in TimescaleDB and DuckDB.
    bucket("'3mo', TIMESTAMP '2024-03-15', TIMESTAMP '2023-02-10'", "2024-02-01T00:00:00").await;
    bucket("'1mo', TIMESTAMP '2024-03-04', '4d'", "2024-02-05T00:00:00").await;
    bucket("'1y', TIMESTAMP '2024-03-04', INTERVAL '3 months'", "2023-04-01T00:00:00").await;
}

#[tokio::test]
async fn arguments_may_have_names() {
    let time = "'2024-07-01T00:20:00Z'::TIMESTAMPTZ";
    bucket(&format!("'1h', {time}, offset => INTERVAL '15 minutes'"), "2024-07-01T00:15:00Z").await;
    bucket(&format!("'1h', {time}, \"offset\" => '15m'"), "2024-07-01T00:15:00Z").await;
    bucket(&format!("'1d', {time}, timezone => 'Europe/Berlin'"), "2024-06-30T22:00:00Z").await;
    bucket(&format!("'1d', {time}, origin => '2024-01-01 06:00:00'"), "2024-06-30T06:00:00Z").await;
}

#[tokio::test]
async fn local_days_have_23_and_25_hours() {
    let day = |time: &str| format!("'1d', '{time}'::TIMESTAMPTZ, 'Europe/Berlin'");
    bucket(&day("2024-03-31T21:59:59Z"), "2024-03-30T23:00:00Z").await;
    bucket(&day("2024-03-31T22:00:00Z"), "2024-03-31T22:00:00Z").await;
    bucket(&day("2024-10-27T22:59:59Z"), "2024-10-26T22:00:00Z").await;
    bucket(&day("2024-10-27T23:00:00Z"), "2024-10-27T23:00:00Z").await;
    bucket("'1mo', '2024-04-15T00:00:00Z'::TIMESTAMPTZ, 'Europe/Berlin'", "2024-03-31T22:00:00Z")
        .await;
    bucket("'1w', '2024-03-31T12:00:00Z'::TIMESTAMPTZ, 'Europe/Berlin'", "2024-03-24T23:00:00Z")
        .await;
    bucket("'1d', '2024-01-01T20:00:00Z'::TIMESTAMPTZ, '+05:30'", "2024-01-01T18:30:00Z").await;
}

#[tokio::test]
async fn a_day_that_begins_twice_is_one_bucket() {
    // Havana's clocks went from 01:00 back to 00:00 on 2023-11-05, so that day has 25 hours.
    let day = |time: &str| format!("'1d', '{time}'::TIMESTAMPTZ, 'America/Havana'");
    bucket(&day("2023-11-05T04:30:00Z"), "2023-11-05T04:00:00Z").await;
    bucket(&day("2023-11-05T05:30:00Z"), "2023-11-05T04:00:00Z").await;
    // Clocks of São Paulo went from 00:00 to 01:00 on 2018-11-04, so that day begins at 01:00.
    bucket(
        "'1d', '2018-11-04T12:00:00Z'::TIMESTAMPTZ, 'America/Sao_Paulo'",
        "2018-11-04T03:00:00Z",
    )
    .await;
}

#[tokio::test]
async fn an_hour_that_runs_twice_has_buckets_twice() {
    let wall =
        |width: &str, time: &str| format!("'{width}', '{time}'::TIMESTAMPTZ, 'Europe/Berlin'");
    bucket(&wall("15m", "2024-10-27T00:20:00Z"), "2024-10-27T00:15:00Z").await;
    bucket(&wall("15m", "2024-10-27T01:20:00Z"), "2024-10-27T01:15:00Z").await;
    bucket(&wall("1h", "2024-10-27T01:20:00Z"), "2024-10-27T01:00:00Z").await;
    // Two hours from 02:00 on, of which the first runs twice, are one bucket of three.
    bucket(&wall("2h", "2024-10-27T00:20:00Z"), "2024-10-27T00:00:00Z").await;
    bucket(&wall("2h", "2024-10-27T02:20:00Z"), "2024-10-27T00:00:00Z").await;
    // 02:00 is jumped over, and its bucket begins at 03:00.
    bucket(&wall("2h", "2024-03-31T01:20:00Z"), "2024-03-31T01:00:00Z").await;
}

#[tokio::test]
async fn dates_and_coarser_timestamps_keep_their_type() {
    bucket("'1w', DATE '2024-05-19'", "2024-05-13").await;
    bucket("'1mo', DATE '1969-12-31'", "1969-12-01").await;
    bucket(
        "'1h', arrow_cast('1969-12-31T23:59:59', 'Timestamp(Second, None)')",
        "1969-12-31T23:00:00",
    )
    .await;
    bucket(
        "'1500us', arrow_cast('1969-12-31T23:59:59.999', 'Timestamp(Millisecond, None)')",
        "1969-12-31T23:59:59.998",
    )
    .await;
}

#[tokio::test]
async fn ends_of_the_range_are_right_or_refused() {
    let last = "'2262-04-11T23:47:16.854775807Z'::TIMESTAMPTZ";
    let first = "'1677-09-21T00:12:43.145224192Z'::TIMESTAMPTZ";
    bucket(&format!("'1d', {last}"), "2262-04-11T00:00:00Z").await;
    bucket(&format!("'1mo', {last}, 'Asia/Tokyo'"), "2262-03-31T15:00:00Z").await;
    bucket(&format!("'1ns', {first}"), "1677-09-21T00:12:43.145224192Z").await;
    for width in ["3ns", "1d", "1mo", "292y", "2000000000 days"] {
        refused(&format!("SELECT time_bucket('{width}', {first})"), "time_bucket: the bucket of")
            .await;
        refused(
            &format!("SELECT time_bucket('{width}', t) FROM (VALUES ({last}), ({first})) AS v (t)"),
            "time_bucket: the bucket of",
        )
        .await;
    }
    refused(&format!("SELECT time_bucket('1d', {first}, 'Asia/Tokyo')"), "starts before").await;
    check(
        &format!("SELECT date_bin('3ns', {first}) IS NULL AS n, date_bin('1d', {last}) AS l"),
        &["n l", "true 2262-04-11T00:00:00Z"],
    )
    .await;
}

#[tokio::test]
async fn null_is_null() {
    check(
        "SELECT time_bucket(NULL, now()) AS a, time_bucket('1h', NULL) AS b, time_bucket('1h', t) AS c \
         FROM (VALUES (CAST(NULL AS TIMESTAMPTZ)), ('2024-01-01T00:10:00Z'::TIMESTAMPTZ)) AS v (t)",
        &["a b c", "NULL NULL NULL", "NULL NULL 2024-01-01T00:00:00Z"],
    )
    .await;
}

#[tokio::test]
async fn wrong_arguments_are_refused_by_name() {
    let time = "'2024-01-01T00:00:00Z'::TIMESTAMPTZ";
    for width in ["0s", "-5 minutes", "1 month -1 day"] {
        refused(
            &format!("SELECT time_bucket('{width}', {time})"),
            "the width of time_bucket must be above zero",
        )
        .await;
    }
    refused(
        &format!("SELECT date_bin('-5 minutes', {time})"),
        "the width of date_bin must be above zero",
    )
    .await;
    refused(
        &format!("SELECT date_bin(INTERVAL '-1 month', {time})"),
        "the width of date_bin must be above zero",
    )
    .await;
    refused(&format!("SELECT date_bin('0s', {time})"), "DATE_BIN stride must be non-zero").await;
    refused(&format!("SELECT time_bucket('1mo1d', {time})"), "mixes months with days").await;
    refused(&format!("SELECT time_bucket('5', {time})"), "is not a length of time").await;
    refused(
        &format!("SELECT date_bin('5 parsecs', {time})"),
        "the width of date_bin is \"5 parsecs\"",
    )
    .await;
    refused(&format!("SELECT time_bucket(5, {time})"), "the width of time_bucket is an interval")
        .await;
    refused("SELECT time_bucket('5m', 1)", "time_bucket makes buckets of times, not of Int64")
        .await;
    refused(
        &format!("SELECT time_bucket('1d', {time}, 'Mars/Olympus')"),
        "\"Mars/Olympus\" is neither a time zone",
    )
    .await;
    refused(
        "SELECT time_bucket('1d', TIMESTAMP '2024-01-01', 'Europe/Berlin')",
        "cast it to TIMESTAMPTZ",
    )
    .await;
    refused(&format!("SELECT time_bucket('1d', {time}, '1h', '2h')"), "two offsets").await;
    refused(
        &format!("SELECT time_bucket('1d', {time}, INTERVAL '1 month')"),
        "the offset of time_bucket has months",
    )
    .await;
    refused("SELECT time_bucket('1h', DATE '2024-01-01')", "whole days").await;
    refused(&format!("SELECT time_bucket('1h', {time}, 5)"), "not BIGINT").await;
    refused("SELECT time_bucket('1h')", "time_bucket takes a width and a time").await;
    refused(
        &format!("SELECT time_bucket(w, t) FROM (VALUES (INTERVAL '1 hour', {time}), (INTERVAL '2 hours', {time})) AS v (w, t)"),
        "are constants, not columns",
    )
    .await;
}

#[tokio::test]
async fn date_bin_takes_texts_and_counts_from_1970() {
    check("SELECT date_bin('1w', TIMESTAMP '2024-05-19') AS t", &["t", "2024-05-16T00:00:00"])
        .await;
    check(
        "SELECT date_bin('1mo', TIMESTAMP '2024-03-30', TIMESTAMP '2024-01-31') AS t",
        &["t", "2024-02-29T00:00:00"],
    )
    .await;
    check(
        "SELECT date_bin('1500us', arrow_cast('1969-12-31T23:59:59.999', 'Timestamp(Millisecond, None)')) AS t",
        &["t", "1969-12-31T23:59:59.998"],
    )
    .await;
    check("SELECT date_bin('15m', TIME '10:20:00') AS t", &["t", "10:15:00"]).await;
}

const TIMES: &str = "CREATE TABLE r AS SELECT arrow_cast(value * 1000000000, 'Timestamp(Nanosecond, Some(\"UTC\"))') AS time \
                     FROM generate_series(-7200, 7200, 600)";

#[tokio::test]
async fn comparisons_with_buckets_become_ranges_of_time() {
    let session = session();
    run(&session, TIMES).await.unwrap();
    let plan = "EXPLAIN FORMAT INDENT SELECT * FROM r WHERE time_bucket('1h', time) = '1970-01-01T01:00:00Z'";
    let plan = run(&session, plan).await.unwrap().join("\n");
    assert!(plan.contains("time@0 >= 3600000000000 AND time@0 < 7200000000000"), "{plan}");
    for (condition, count) in [
        ("= '1970-01-01T01:00:00Z'", 6),
        ("= '1970-01-01T01:10:00Z'", 0),
        ("<> '1970-01-01T01:10:00Z'", 25),
        (">= '1970-01-01T01:10:00Z'", 1),
        ("> '1970-01-01T01:00:00Z'", 1),
        ("< '1970-01-01T01:00:00Z'", 18),
        ("<= '1970-01-01T00:10:00Z'", 18),
        ("IN ('1970-01-01T01:00:00Z', '1969-12-31T23:00:00Z')", 12),
        ("BETWEEN '1969-12-31T23:00:00Z' AND '1970-01-01T00:00:00Z'", 12),
    ] {
        for function in [
            "time_bucket('1h', time)",
            "date_bin('1h', time)",
            "time_bucket('1h', time, 'Europe/Berlin')",
        ] {
            let sql = format!("SELECT count(*) AS n FROM r WHERE {function} {condition}");
            let got = run(&session, &sql).await.unwrap();
            assert_eq!(got[1], count.to_string(), "{sql}");
            // A sum that no rule looks through.
            let sql = format!(
                "SELECT sum(CASE WHEN coalesce({function}, now()) {condition} THEN 1 ELSE 0 END) FROM r"
            );
            assert_eq!(run(&session, &sql).await.unwrap()[1], count.to_string(), "{sql}");
        }
    }
}

#[tokio::test]
async fn buckets_of_sorted_times_are_sorted() {
    let session = session();
    let column = TimestampNanosecondArray::from(vec![1, 2, 3]).with_timezone("UTC");
    let batch = RecordBatch::try_from_iter([("time", Arc::new(column) as ArrayRef)]).unwrap();
    let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
    let table = table.with_sort_order(vec![vec![col("time").sort(true, false)]]);
    session.register_table("r", Arc::new(table)).unwrap();
    for function in ["time_bucket('1h', time, 'Europe/Berlin', '5m')", "date_bin('1mo', time)"] {
        let sql =
            format!("EXPLAIN FORMAT INDENT SELECT {function} AS b, count(*) FROM r GROUP BY b");
        let plan = run(&session, &sql).await.unwrap().join("\n");
        assert!(plan.contains("ordering_mode=Sorted"), "{plan}");
    }
}
