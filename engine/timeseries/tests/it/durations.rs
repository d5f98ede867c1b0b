//! Lengths of time as text, epochs, and what DataFusion does with times.

use crate::fixture::{check, run, session};

#[tokio::test]
async fn intervals_may_be_compact() {
    check(
        "SELECT TIMESTAMP '2024-01-01' + INTERVAL '1h30m' AS a, TIMESTAMP '2024-01-31' + INTERVAL '1mo' AS b, \
         TIMESTAMP '2024-01-01' + INTERVAL '1y2w3d4h5m6s7ms8us9ns' AS c, \
         TIMESTAMP '2024-01-01' - INTERVAL '5m' AS d",
        &["a b c d", "2024-01-01T01:30:00 2024-02-29T00:00:00 2025-01-18T04:05:06.007008009 2023-12-31T23:55:00"],
    )
    .await;
    check(
        "SELECT TIMESTAMP '2024-01-01' + INTERVAL '1 hour 30 minutes' AS a, TIMESTAMP '2024-01-01' + INTERVAL '2' DAY AS b",
        &["a b", "2024-01-01T01:30:00 2024-01-03T00:00:00"],
    )
    .await;
}

#[tokio::test]
async fn compact_intervals_work_where_expressions_are() {
    check(
        "SELECT count(*) AS n FROM (VALUES (TIMESTAMP '2024-01-01')) AS v (t) \
         WHERE t < TIMESTAMP '2024-01-01' + INTERVAL '1m30s' GROUP BY date_bin(INTERVAL '1h30m', t)",
        &["n", "1"],
    )
    .await;
}

#[tokio::test]
async fn epochs_are_whole_and_exact() {
    check(
        "SELECT epoch_s(t) AS s, epoch_ms(t) AS ms, epoch_us(t) AS us, epoch_ns(t) AS ns FROM (VALUES \
         ('2024-01-01T00:00:00.123456789Z'::TIMESTAMPTZ), ('1969-12-31T23:59:59.999999999Z'::TIMESTAMPTZ), \
         ('1677-09-21T00:12:43.145224192Z'::TIMESTAMPTZ), ('2262-04-11T23:47:16.854775807Z'::TIMESTAMPTZ), \
         (NULL)) AS v (t)",
        &[
            "s ms us ns",
            "1704067200 1704067200123 1704067200123456 1704067200123456789",
            "-1 -1 -1 -1",
            "-9223372037 -9223372036855 -9223372036854776 -9223372036854775808",
            "9223372036 9223372036854 9223372036854775 9223372036854775807",
            "NULL NULL NULL NULL",
        ],
    )
    .await;
    check(
        "SELECT epoch_s(DATE '1969-12-31') AS a, epoch_ns(arrow_cast(-1, 'Timestamp(Second, None)')) AS b",
        &["a b", "-86400 -1000000000"],
    )
    .await;
}

#[tokio::test]
async fn epochs_that_do_not_fit_are_refused() {
    for (sql, part) in [
        (
            "SELECT epoch_ns(arrow_cast(9223372037, 'Timestamp(Second, None)'))",
            "epoch_ns of a time",
        ),
        ("SELECT epoch_ms(5)", "epoch_ms takes a time, not BIGINT"),
        ("SELECT epoch_us()", "epoch_us takes one time"),
    ] {
        let error = run(&session(), sql).await.expect_err(sql).to_string();
        assert!(error.contains(part), "{sql}: {error}");
    }
}

#[tokio::test]
async fn numbers_become_times_of_their_unit() {
    check(
        "SELECT to_timestamp_seconds(-1) AS s, to_timestamp_millis(-1) AS ms, to_timestamp_micros(-1) AS us, \
         to_timestamp_nanos(-1) AS ns",
        &[
            "s ms us ns",
            "1969-12-31T23:59:59Z 1969-12-31T23:59:59.999Z 1969-12-31T23:59:59.999999Z 1969-12-31T23:59:59.999999999Z",
        ],
    )
    .await;
}

#[tokio::test]
async fn at_time_zone_shows_the_wall_clock_of_a_zone() {
    check(
        "SELECT '2024-07-01T00:00:00Z'::TIMESTAMPTZ AT TIME ZONE 'Europe/Berlin' AS t",
        &["t", "2024-07-01T02:00:00+02:00"],
    )
    .await;
}

#[tokio::test]
async fn literals_without_a_zone_are_of_the_session() {
    let session = session();
    run(&session, "SET datafusion.execution.time_zone = 'Europe/Berlin'").await.unwrap();
    let got = run(
        &session,
        "SELECT '2024-07-01'::TIMESTAMPTZ AS a, epoch_s('2024-07-01'::TIMESTAMPTZ) AS b, \
                             date_trunc('day', '2024-07-01T23:00:00Z'::TIMESTAMPTZ) AS c",
    )
    .await
    .unwrap();
    assert_eq!(got[1], "2024-07-01T00:00:00+02:00 1719784800 2024-07-02T00:00:00+02:00");
}

#[tokio::test]
async fn date_trunc_goes_down_before_1970() {
    check(
        "SELECT date_trunc('hour', TIMESTAMP '1969-12-31T23:59:59.999999999') AS a, \
         date_trunc('second', TIMESTAMP '1969-12-31T23:59:59.999999999') AS b, \
         date_trunc('month', TIMESTAMP '1677-10-15') AS c",
        &["a b c", "1969-12-31T23:00:00 1969-12-31T23:59:59 1677-10-01T00:00:00"],
    )
    .await;
}
