//! Values by their time.

use crate::fixture::{check, run, session};

const ROWS: &str = "(VALUES \
    ('a', 1.0, 10, '2024-01-01T00:00:00Z'::TIMESTAMPTZ), \
    ('a', 3.0, 30, '2024-01-01T00:02:00Z'::TIMESTAMPTZ), \
    ('a', 2.0, 20, '2024-01-01T00:01:00Z'::TIMESTAMPTZ), \
    ('b', 5.0, NULL, '2024-01-01T00:05:00Z'::TIMESTAMPTZ), \
    ('b', 4.0, 40, '2024-01-01T00:04:00Z'::TIMESTAMPTZ), \
    ('b', 9.0, 90, NULL)) AS t (k, x, n, time)";

#[tokio::test]
async fn first_and_last_go_by_time() {
    check(
        &format!(
            "SELECT k, first(x, time) AS f, last(x, time) AS l FROM {ROWS} GROUP BY k ORDER BY k"
        ),
        &["k f l", "a 1.0 3.0", "b 4.0 5.0"],
    )
    .await;
    check(&format!("SELECT first(k, time) AS f, last(k, time) AS l FROM {ROWS}"), &["f l", "a b"])
        .await;
}

#[tokio::test]
async fn null_values_count_for_first_and_last_unless_they_are_ignored() {
    check(
        &format!("SELECT last(n, time) AS l, last(n, time) IGNORE NULLS AS i FROM {ROWS}"),
        &["l i", "NULL 40"],
    )
    .await;
    check(
        &format!("SELECT k, last(n, time) AS l, last(n, time) IGNORE NULLS AS i FROM {ROWS} GROUP BY k ORDER BY k"),
        &["k l i", "a 30 30", "b NULL 40"],
    )
    .await;
}

#[tokio::test]
async fn of_equal_times_the_larger_value_counts() {
    let rows = "(VALUES (1, 7), (3, 7), (NULL, 7), (2, 7)) AS t (x, time)";
    check(&format!("SELECT first(x, time) AS f, last(x, time) AS l FROM {rows}"), &["f l", "3 3"])
        .await;
    check(
        &format!("SELECT min_by(x, time) AS f, max_by(x, time) AS l FROM {rows}"),
        &["f l", "3 3"],
    )
    .await;
}

#[tokio::test]
async fn min_by_and_max_by_leave_out_null_on_either_side() {
    check(
        &format!("SELECT min_by(n, x) AS a, max_by(n, x) AS b, arg_min(k, n) AS c, arg_max(k, n) AS d FROM {ROWS}"),
        &["a b c d", "10 90 a b"],
    )
    .await;
    check(&format!("SELECT max_by(n, time) AS m FROM {ROWS}"), &["m", "40"]).await;
    check(
        "SELECT argmin(x, y) AS m FROM (VALUES (1, CAST(NULL AS INT))) AS t (x, y)",
        &["m", "NULL"],
    )
    .await;
}

#[tokio::test]
async fn nan_is_the_greatest_for_min_by_and_max_by() {
    let rows = "(VALUES ('n', 'NaN'::DOUBLE), ('i', 'Infinity'::DOUBLE), ('o', 1.0)) AS t (x, y)";
    check(&format!("SELECT min_by(x, y) AS a, max_by(x, y) AS b FROM {rows}"), &["a b", "o n"])
        .await;
    let rows = "(VALUES (1, 'NaN'::DOUBLE), (2, 'Infinity'::DOUBLE), (3, 1.0)) AS t (x, y)";
    check(&format!("SELECT min_by(x, y) AS a, max_by(x, y) AS b FROM {rows}"), &["a b", "3 1"])
        .await;
}

#[tokio::test]
async fn selectors_answer_value_time_and_what_else_the_row_has() {
    check(
        &format!("SELECT selector_first(x, time, k) AS s FROM {ROWS}"),
        &["s", "{value: 1.0, time: 2024-01-01T00:00:00Z, other_1: a}"],
    )
    .await;
    check(
        &format!(
            "SELECT k, selector_last(n, time)['value'] AS v, selector_max(x, time)['time'] AS t \
                  FROM {ROWS} GROUP BY k ORDER BY k"
        ),
        &["k v t", "a 30 2024-01-01T00:02:00Z", "b 40 2024-01-01T00:05:00Z"],
    )
    .await;
    check(
        "SELECT selector_min(x, time) AS s FROM (VALUES (CAST(NULL AS DOUBLE), 1)) AS t (x, time)",
        &["s", "NULL"],
    )
    .await;
}

#[tokio::test]
async fn of_equal_values_selectors_take_the_earlier_time() {
    let rows = "(VALUES (1, 20), (1, 10), (5, 40), (5, 30)) AS t (x, time)";
    check(
        &format!("SELECT selector_min(x, time)['time'] AS a, selector_max(x, time)['time'] AS b FROM {rows}"),
        &["a b", "10 30"],
    )
    .await;
    let rows = "(VALUES ('u', 20), ('u', 10), ('w', 40), ('w', 30)) AS t (x, time)";
    check(
        &format!("SELECT selector_min(x, time)['time'] AS a, selector_max(x, time)['time'] AS b FROM {rows}"),
        &["a b", "10 30"],
    )
    .await;
}

#[tokio::test]
async fn selectors_of_extremes_leave_out_nan_unless_there_is_nothing_else() {
    let rows = "(VALUES ('NaN'::DOUBLE, 1), ('-Infinity'::DOUBLE, 2), (0.5, 3), ('NaN'::DOUBLE, 4)) AS t (x, time)";
    check(
        &format!("SELECT selector_min(x, time)['time'] AS a, selector_max(x, time)['time'] AS b FROM {rows}"),
        &["a b", "2 3"],
    )
    .await;
    check(
        &format!("SELECT selector_min(x, time, 'e')['time'] AS a, selector_max(x, time, 'e')['time'] AS b FROM {rows}"),
        &["a b", "2 3"],
    )
    .await;
    check(
        "SELECT selector_max(x, time) AS m FROM (VALUES ('NaN'::DOUBLE, 2), ('NaN'::DOUBLE, 1)) AS t (x, time)",
        &["m", "{value: NaN, time: 1}"],
    )
    .await;
}

#[tokio::test]
async fn values_of_every_type_come_back_as_they_were() {
    for (value, text) in [
        ("true", "true"),
        ("(-5)::TINYINT", "-5"),
        ("(-5)::SMALLINT", "-5"),
        ("(-5)::INT", "-5"),
        ("(-9223372036854775808)::BIGINT", "-9223372036854775808"),
        ("200::TINYINT UNSIGNED", "200"),
        ("4000000000::INT UNSIGNED", "4000000000"),
        ("18446744073709551615::BIGINT UNSIGNED", "18446744073709551615"),
        ("(-0.25)::REAL", "-0.25"),
        ("(-0.0)::DOUBLE", "-0.0"),
        ("1.50::DECIMAL(5, 2)", "1.50"),
        ("'text'", "text"),
        ("arrow_cast('view', 'Utf8View')", "view"),
        ("arrow_cast('dict', 'Dictionary(Int32, Utf8)')", "dict"),
        ("X'00ff'", "00ff"),
        ("DATE '1969-12-31'", "1969-12-31"),
        ("TIME '23:59:59'", "23:59:59"),
        ("TIMESTAMP '1677-09-21T00:12:43.145224192'", "1677-09-21T00:12:43.145224192"),
        ("'2262-04-11T23:47:16.854775807Z'::TIMESTAMPTZ", "2262-04-11T23:47:16.854775807Z"),
        ("INTERVAL '1 month'", "1 mons"),
        ("[1, 2]", "[1, 2]"),
    ] {
        let rows = format!("(SELECT {value} AS x, 1 AS t)");
        let grouped = format!("SELECT first(x, t) AS f, last(x, t) AS l FROM {rows} GROUP BY t");
        let all = format!(
            "SELECT max_by(x, t) AS f, selector_last(x, t, 'other')['value'] AS l FROM {rows}"
        );
        let want = format!("{text} {text}");
        check(&grouped, &["f l", &want]).await;
        check(&all, &["f l", &want]).await;
    }
}

#[tokio::test]
async fn frames_that_grow_and_frames_that_slide_have_their_own_winners() {
    let rows = "(VALUES (1, 4), (2, 9), (3, 1), (4, 7), (5, 2)) AS t (time, x)";
    check(
        &format!("SELECT time, max_by(time, x) OVER (ORDER BY time) AS g, \
                  max_by(time, x) OVER (ORDER BY time ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS s, \
                  min_by(time, x) OVER (ORDER BY time ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING) AS c, \
                  last(x, time) OVER () AS l FROM {rows} ORDER BY time"),
        &["time g s c l", "1 1 1 1 2", "2 2 2 3 2", "3 2 2 3 2", "4 2 4 3 2", "5 2 4 5 2"],
    )
    .await;
}

#[tokio::test]
async fn filters_and_distinct_are_obeyed() {
    check(
        &format!(
            "SELECT k, last(x, time) FILTER (WHERE x < 3) AS l, last(DISTINCT x, time) AS d \
                  FROM {ROWS} GROUP BY k ORDER BY k"
        ),
        &["k l d", "a 2.0 3.0", "b NULL 5.0"],
    )
    .await;
}

#[tokio::test]
async fn first_value_is_what_it_was() {
    check(
        &format!(
            "SELECT first_value(n ORDER BY x DESC) AS f, last_value(n ORDER BY x) AS l FROM {ROWS}"
        ),
        &["f l", "90 90"],
    )
    .await;
}

async fn refused(sql: &str, part: &str) {
    let error = run(&session(), sql).await.expect_err(sql).to_string();
    assert!(error.contains(part), "{sql}: {error}");
}

#[tokio::test]
async fn wrong_arguments_are_refused_by_name() {
    refused("SELECT first(1)", "first takes a value and its time; it got 1 arguments").await;
    refused("SELECT last(1, 2, 3)", "last takes a value and its time; it got 3 arguments").await;
    refused("SELECT min_by(1)", "min_by takes a value and the column to compare").await;
    refused("SELECT selector_max(1)", "selector_max takes a value and its time").await;
    refused("SELECT max_by(1, 2) IGNORE NULLS", "max_by").await;
}
