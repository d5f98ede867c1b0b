//! Gap filling: which rows are added, with which values.

use datafusion::prelude::SessionContext;

use crate::fixture::{check, run, session};

/// Two series with gaps, and one without a name: buckets of a minute.
pub(crate) const POINTS: &str = "
    (VALUES
      (TIMESTAMP '2024-01-01T00:01:10', 'a', 1.0, 10),
      (TIMESTAMP '2024-01-01T00:01:50', 'a', 3.0, 20),
      (TIMESTAMP '2024-01-01T00:04:00', 'a', 5.0, 31),
      (TIMESTAMP '2024-01-01T00:02:00', 'b', 7.0, CAST(NULL AS BIGINT)),
      (TIMESTAMP '2024-01-01T00:03:00', NULL, 9.0, 90)
    ) AS points (time, host, x, n)";

const RANGE: &str =
    "time >= TIMESTAMP '2024-01-01T00:00:00' AND time < TIMESTAMP '2024-01-01T00:06:00'";

async fn error(sql: &str, text: &str) {
    match run(&session(), sql).await {
        Ok(rows) => panic!("{sql}: {rows:?}"),
        Err(e) => assert!(e.to_string().contains(text), "{sql}: {e}"),
    }
}

/// Checks the rows of `select` over the points in the range, by series and minute.
async fn filled(select: &str, want: &[&str]) {
    let sql = format!(
        "SELECT host, date_part('minute', minute) AS m, value FROM (
           SELECT host, date_bin_gapfill(INTERVAL '1 minute', time) AS minute, {select} AS value
           FROM {POINTS} WHERE {RANGE} GROUP BY host, minute
         ) ORDER BY host, m",
    );
    let mut lines = vec!["host m value"];
    lines.extend(want);
    check(&sql, &lines).await;
}

#[tokio::test]
async fn every_bucket_of_the_range_is_there_for_every_series() {
    filled(
        "avg(x)",
        &[
            "a 0 NULL",
            "a 1 2.0",
            "a 2 NULL",
            "a 3 NULL",
            "a 4 5.0",
            "a 5 NULL",
            "b 0 NULL",
            "b 1 NULL",
            "b 2 7.0",
            "b 3 NULL",
            "b 4 NULL",
            "b 5 NULL",
            "NULL 0 NULL",
            "NULL 1 NULL",
            "NULL 2 NULL",
            "NULL 3 9.0",
            "NULL 4 NULL",
            "NULL 5 NULL",
        ],
    )
    .await;
}

#[tokio::test]
async fn locf_carries_the_last_value_on_within_its_series() {
    filled(
        "locf(avg(x))",
        &[
            "a 0 NULL",
            "a 1 2.0",
            "a 2 2.0",
            "a 3 2.0",
            "a 4 5.0",
            "a 5 5.0",
            "b 0 NULL",
            "b 1 NULL",
            "b 2 7.0",
            "b 3 7.0",
            "b 4 7.0",
            "b 5 7.0",
            "NULL 0 NULL",
            "NULL 1 NULL",
            "NULL 2 NULL",
            "NULL 3 9.0",
            "NULL 4 9.0",
            "NULL 5 9.0",
        ],
    )
    .await;
}

#[tokio::test]
async fn interpolate_draws_lines_between_values_and_not_beyond() {
    filled(
        "interpolate(max(n))",
        &[
            "a 0 NULL",
            "a 1 20",
            "a 2 24",
            "a 3 27",
            "a 4 31",
            "a 5 NULL",
            "b 0 NULL",
            "b 1 NULL",
            "b 2 NULL",
            "b 3 NULL",
            "b 4 NULL",
            "b 5 NULL",
            "NULL 0 NULL",
            "NULL 1 NULL",
            "NULL 2 NULL",
            "NULL 3 90",
            "NULL 4 NULL",
            "NULL 5 NULL",
        ],
    )
    .await;
}

#[tokio::test]
async fn counts_of_added_rows_are_zero_and_gap_filled_tells_them() {
    filled(
        "concat(count(*), ' ', count(n), ' ', gap_filled())",
        &[
            "a 0 0 0 true",
            "a 1 2 2 false",
            "a 2 0 0 true",
            "a 3 0 0 true",
            "a 4 1 1 false",
            "a 5 0 0 true",
            "b 0 0 0 true",
            "b 1 0 0 true",
            "b 2 1 0 false",
            "b 3 0 0 true",
            "b 4 0 0 true",
            "b 5 0 0 true",
            "NULL 0 0 0 true",
            "NULL 1 0 0 true",
            "NULL 2 0 0 true",
            "NULL 3 1 1 false",
            "NULL 4 0 0 true",
            "NULL 5 0 0 true",
        ],
    )
    .await;
}

/// Checks what a query over the points in the range answers for host `a`; `BUCKET` and `FROM` are written out.
async fn of_a(sql: &str, want: &[&str]) {
    let sql = sql
        .replace("BUCKET", "date_bin_gapfill(INTERVAL '1 minute', time)")
        .replace("FROM", &format!("FROM {POINTS} WHERE host = 'a' AND {RANGE}"));
    check(&sql, want).await;
}

#[tokio::test]
async fn fills_stand_in_expressions_having_and_order() {
    of_a(
        "SELECT round(coalesce(interpolate(avg(x)), locf(avg(x)), -1) * 10) AS v FROM
         GROUP BY BUCKET ORDER BY BUCKET",
        &["v", "-10.0", "20.0", "30.0", "40.0", "50.0", "50.0"],
    )
    .await;
    of_a(
        "SELECT locf(max(x) - min(x)) AS v, count(*) AS c FROM GROUP BY BUCKET ORDER BY BUCKET",
        &["v c", "NULL 0", "2.0 2", "2.0 0", "2.0 0", "0.0 1", "0.0 0"],
    )
    .await;
    of_a(
        "SELECT date_part('minute', BUCKET) AS m FROM GROUP BY BUCKET
         HAVING gap_filled() AND locf(avg(x)) > 2 ORDER BY m",
        &["m", "5"],
    )
    .await;
    of_a(
        "SELECT date_part('minute', BUCKET) AS m FROM GROUP BY BUCKET
         ORDER BY interpolate(avg(x)) DESC NULLS LAST, BUCKET LIMIT 3",
        &["m", "4", "3", "2"],
    )
    .await;
    of_a(
        "SELECT sum(locf(avg(x))) OVER (ORDER BY BUCKET) AS s FROM GROUP BY BUCKET ORDER BY BUCKET",
        &["s", "NULL", "2.0", "4.0", "6.0", "11.0", "16.0"],
    )
    .await;
}

#[tokio::test]
async fn a_condition_on_values_is_of_filled_rows() {
    of_a(
        "SELECT date_part('minute', BUCKET) AS m, count(*) AS c FROM GROUP BY BUCKET
         HAVING count(*) = 0 ORDER BY m",
        &["m c", "0 0", "2 0", "3 0", "5 0"],
    )
    .await;
}

#[tokio::test]
async fn queries_within_queries_fill_each_for_itself() {
    let sql = format!(
        "WITH one AS (
           SELECT date_bin_gapfill('2m', time) AS t, count(*) AS c
           FROM {POINTS} WHERE {RANGE} GROUP BY t
         ), two AS (
           SELECT host, time_bucket_gapfill('3 minutes', time) AS t, locf(sum(x)) AS s
           FROM {POINTS} WHERE {RANGE} AND host IN ('a', 'b') GROUP BY 1, 2
         )
         SELECT one.t, c, host, s FROM one JOIN two ON one.t = two.t
         WHERE s > (SELECT count(*) FROM (
           SELECT date_bin_gapfill('1m', time) FROM {POINTS} WHERE {RANGE} GROUP BY 1)) - 3
         ORDER BY one.t, host"
    );
    check(&sql, &["t c host s", "2024-01-01T00:00:00 2 a 4.0", "2024-01-01T00:00:00 2 b 7.0"])
        .await;
}

#[tokio::test]
async fn arguments_bound_the_range_and_rows_outside_stay() {
    let sql = format!(
        "SELECT time_bucket_gapfill('1m', time, '2024-01-01T00:03:00', '2024-01-01T00:07:00') AS t,
                locf(max(x)) AS x, gap_filled() AS filled
         FROM {POINTS} WHERE host = 'a' GROUP BY t ORDER BY t"
    );
    let want = [
        "t x filled",
        "2024-01-01T00:01:00 3.0 false",
        "2024-01-01T00:03:00 3.0 true",
        "2024-01-01T00:04:00 5.0 false",
        "2024-01-01T00:05:00 5.0 true",
        "2024-01-01T00:06:00 5.0 true",
    ];
    check(&sql, &want).await;
    let named = sql
        .replace(", '2024-01-01T00:07", ", finish => '2024-01-01T00:07")
        .replace("time, '2024", "time, start => '2024");
    check(&named, &want).await;
}

#[tokio::test]
async fn without_a_lower_bound_a_series_begins_at_its_first_row() {
    let sql = format!(
        "SELECT host, date_bin_gapfill('1m', time) AS t, count(*) AS c FROM {POINTS}
         WHERE time <= '2024-01-01T00:04:00' GROUP BY host, t ORDER BY host, t"
    );
    check(
        &sql,
        &[
            "host t c",
            "a 2024-01-01T00:01:00 2",
            "a 2024-01-01T00:02:00 0",
            "a 2024-01-01T00:03:00 0",
            "a 2024-01-01T00:04:00 1",
            "b 2024-01-01T00:02:00 1",
            "b 2024-01-01T00:03:00 0",
            "b 2024-01-01T00:04:00 0",
            "NULL 2024-01-01T00:03:00 1",
            "NULL 2024-01-01T00:04:00 0",
        ],
    )
    .await;
}

#[tokio::test]
async fn months_and_weeks_are_filled_as_time_bucket_counts_them() {
    check(
        "SELECT time_bucket_gapfill('1 month', t) AS month, count(*) AS c
         FROM (VALUES (TIMESTAMP '2024-02-29T12:00:00')) AS v (t)
         WHERE t BETWEEN '2023-12-31' AND '2024-03-01' GROUP BY 1 ORDER BY 1",
        &[
            "month c",
            "2023-12-01T00:00:00 0",
            "2024-01-01T00:00:00 0",
            "2024-02-01T00:00:00 1",
            "2024-03-01T00:00:00 0",
        ],
    )
    .await;
    // Weeks begin on Mondays, as 2000-01-03 was one.
    check(
        "SELECT time_bucket_gapfill(INTERVAL '7 days', t) AS week, count(*) AS c
         FROM (VALUES (TIMESTAMP '2024-01-02T12:00:00')) AS v (t)
         WHERE t >= '2023-12-31' AND t < '2024-01-08' GROUP BY 1 ORDER BY 1",
        &["week c", "2023-12-25T00:00:00 0", "2024-01-01T00:00:00 1"],
    )
    .await;
    check(
        "SELECT date_bin_gapfill('1d', t, TIMESTAMP '1970-01-01T06:00:00') AS day, count(*) AS c
         FROM (VALUES (TIMESTAMP '1969-12-31T12:00:00')) AS v (t)
         WHERE t >= '1969-12-30T06:00:00' AND t < '1970-01-01T06:00:00' GROUP BY 1 ORDER BY 1",
        &["day c", "1969-12-30T06:00:00 0", "1969-12-31T06:00:00 1"],
    )
    .await;
}

#[tokio::test]
async fn bounds_come_through_subqueries_joins_and_dates() {
    let sql = format!(
        "SELECT host, time_bucket_gapfill('12h', at) AS t, count(*) AS c
         FROM (SELECT time AS at, host FROM {POINTS} WHERE time::date = '2024-01-01') AS p
         JOIN (VALUES ('b')) AS hosts (name) ON host = name
         GROUP BY host, t ORDER BY t"
    );
    check(&sql, &["host t c", "b 2024-01-01T00:00:00 1", "b 2024-01-01T12:00:00 0"]).await;
    check(
        "SELECT count(*) AS c FROM (
           SELECT date_bin_gapfill('1h', t) FROM (VALUES (now() - INTERVAL '90 minutes')) AS v (t)
           WHERE t > date_bin(INTERVAL '1 hour', now()) - INTERVAL '5 hours' AND t < date_bin(INTERVAL '1 hour', now())
           GROUP BY 1)",
        &["c", "5"],
    )
    .await;
}

#[tokio::test]
async fn without_keys_an_empty_range_of_rows_is_filled() {
    check(
        "SELECT date_bin_gapfill('1m', t) AS t, count(*) AS c, locf(max(x)) AS x, gap_filled() AS f
         FROM (VALUES (TIMESTAMP '2020-01-01', 1)) AS v (t, x)
         WHERE t >= '2024-01-01' AND t < '2024-01-01T00:02:00' GROUP BY 1 ORDER BY 1",
        &["t c x f", "2024-01-01T00:00:00 0 NULL true", "2024-01-01T00:01:00 0 NULL true"],
    )
    .await;
    let none = format!(
        "SELECT host, date_bin_gapfill('1m', time) AS t FROM {POINTS}
         WHERE {RANGE} AND host = 'z' GROUP BY host, t"
    );
    check(&none, &["host t"]).await;
}

#[tokio::test]
async fn a_null_is_missing_unless_locf_is_told_otherwise() {
    let points =
        "(VALUES (TIMESTAMP '2024-01-01T00:00:00', 1.0), (TIMESTAMP '2024-01-01T00:01:00', NULL),
        (TIMESTAMP '2024-01-01T00:03:00', 4.0)) AS v (t, x)";
    let sql = format!(
        "SELECT locf(max(x)) AS l, locf(max(x), treat_null_as_missing => false) AS k,
                interpolate(max(x)) AS i, gap_filled() AS f FROM {points}
         WHERE t <= '2024-01-01T00:04:00' GROUP BY date_bin_gapfill('1m', t)
         ORDER BY date_bin_gapfill('1m', t)"
    );
    check(
        &sql,
        &[
            "l k i f",
            "1.0 1.0 1.0 false",
            "1.0 NULL 2.0 false",
            "1.0 NULL 3.0 true",
            "4.0 4.0 4.0 false",
            "4.0 4.0 NULL true",
        ],
    )
    .await;
}

#[tokio::test]
async fn integers_and_times_are_interpolated_exactly() {
    check(
        "SELECT interpolate(max(i)) AS i, interpolate(max(u)) AS u, interpolate(max(w)) AS w
         FROM (VALUES
           (TIMESTAMP '2024-01-01T00:00:00', -9223372036854775808, arrow_cast(0, 'UInt64'), TIMESTAMP '1700-01-01'),
           (TIMESTAMP '2024-01-01T00:02:00', 9223372036854775807, arrow_cast(18446744073709551615, 'UInt64'),
            TIMESTAMP '2200-01-01')) AS v (t, i, u, w)
         WHERE t <= '2024-01-01T00:02:00' GROUP BY date_bin_gapfill('1m', t)
         ORDER BY date_bin_gapfill('1m', t)",
        &[
            "i u w",
            "-9223372036854775808 0 1700-01-01T00:00:00",
            "0 9223372036854775808 1950-01-01T12:00:00",
            "9223372036854775807 18446744073709551615 2200-01-01T00:00:00",
        ],
    )
    .await;
}

#[tokio::test]
async fn what_cannot_be_filled_is_refused_with_a_remedy() {
    let of = |select: &str, rest: &str| format!("SELECT {select} FROM {POINTS} {rest}");
    let bucket = "date_bin_gapfill('1m', time)";
    let group = format!("WHERE {RANGE} GROUP BY {bucket}");
    error(&of(bucket, &format!("GROUP BY {bucket}")), "bound the time from above").await;
    error(
        &of(bucket, &format!("WHERE time > '2024-01-01' GROUP BY {bucket}")),
        "bound the time from above",
    )
    .await;
    error(&of(bucket, ""), "date_bin_gapfill must be a key of GROUP BY").await;
    error(&of("x", &format!("WHERE {bucket} > now()")), "must be a key of GROUP BY").await;
    error(
        &of("locf(avg(x))", "GROUP BY host"),
        "locf must stand in the SELECT list, HAVING or ORDER BY of a query that groups by",
    )
    .await;
    error(&of("gap_filled()", ""), "gap_filled must stand").await;
    error(&of("avg(locf(x))", &group), "write locf(avg(x)), not avg(locf(x))").await;
    error(&of("interpolate(locf(avg(x)))", &group), "interpolate of locf is not supported").await;
    error(&of("interpolate(max(host))", &group), "use locf(max(points.host))").await;
    error(
        &of("1", &format!("{group}, time_bucket_gapfill('2m', time)")),
        "two keys that fill gaps, date_bin_gapfill and time_bucket_gapfill",
    )
    .await;
    error(
        &of("1", &format!("WHERE {RANGE} GROUP BY ROLLUP (host, {bucket})")),
        "not supported in ROLLUP",
    )
    .await;
    let width =
        |width: &str| of("1", &format!("WHERE {RANGE} GROUP BY date_bin_gapfill({width}, time)"));
    error(&width("INTERVAL '0 minutes'"), "the width is zero").await;
    error(&width("INTERVAL '-1 minute'"), "negative").await;
    error(&width("host"), "the width must be a constant").await;
    error(&width("'soon'"), "the width soon is not an interval").await;
    error(&width("INTERVAL '1 month 1 day'"), "mixes months").await;
    error(&width("NULL"), "the width is NULL").await;
    error(&width("'1m', '1970-01-01', '1970-01-01'"), "takes 2 to 3 arguments, not 4").await;
    error(
        &of("1", "GROUP BY time_bucket_gapfill('1m', time, '2024-01-02', '2024-01-01')"),
        "start must be before finish",
    )
    .await;
    error(
        &of("1", "GROUP BY time_bucket_gapfill('1m', time, time, '2024-01-01')"),
        "start must be a constant",
    )
    .await;
    error(&of("1", "GROUP BY date_bin_gapfill('1m', x)"), "the time is Float64").await;
    error(&width("'1ns'"), "would add more than 10000000 rows").await;
}

#[tokio::test]
async fn a_plan_shows_what_is_filled() {
    let sql = format!(
        "EXPLAIN FORMAT INDENT SELECT host, locf(avg(x)), interpolate(max(n)) FROM {POINTS}
         WHERE {RANGE} GROUP BY host, date_bin_gapfill('1m', time)"
    );
    let plan = run(&session(), &sql).await.unwrap().join("\n");
    assert!(plan.contains("GapFill: time="), "{plan}");
    assert!(plan.contains("GapFillExec: time=date_bin_gapfill("), "{plan}");
    assert!(plan.contains("range=[2024-01-01T00:00:00, 2024-01-01T00:06:00)"), "{plan}");
    assert!(plan.contains("fills=[locf(avg(points.x)), interpolate(max(points.n))]"), "{plan}");
}

#[tokio::test]
async fn conditions_on_series_reach_below_and_others_do_not() {
    let inner = format!(
        "SELECT host, date_bin_gapfill('1m', time) AS t, locf(avg(x)) AS x FROM {POINTS}
         WHERE {RANGE} GROUP BY host, t"
    );
    let sql = format!(
        "SELECT t, x FROM ({inner}) WHERE host = 'a' AND t >= '2024-01-01T00:04:00' ORDER BY t"
    );
    check(&sql, &["t x", "2024-01-01T00:04:00 5.0", "2024-01-01T00:05:00 5.0"]).await;
    let nothing = "SELECT count(*) AS c FROM (
        SELECT date_bin_gapfill('1m', t) FROM (VALUES (TIMESTAMP '2024-01-01')) AS v (t)
        WHERE t >= '2024-01-01' AND t < '2024-01-02' GROUP BY 1)
        WHERE (SELECT count(*) FROM (VALUES (1)) AS w (n) WHERE n > 1) > 0";
    check(nothing, &["c", "0"]).await;
}

/// Rows of a query in a session of its own, without the names.
pub(crate) async fn rows(session: &SessionContext, sql: &str) -> Vec<String> {
    let mut lines = run(session, sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    lines.remove(0);
    lines
}
