//! Statistics, as aggregates and as window functions.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, TimestampNanosecondArray,
};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{Float64Type, Int64Type, TimestampNanosecondType};
use datafusion::datasource::MemTable;
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};
use proptest::test_runner::Config;

use crate::fixture::{check, run, session};

const POINTS: &str = "WITH c (t, v) AS (VALUES \
    (TIMESTAMP '2024-01-01T00:00:40', 40), \
    (TIMESTAMP '2024-01-01T00:00:00', 0), \
    (TIMESTAMP '2024-01-01T00:00:10', 10))";

async fn check_error(sql: &str, want: &str) {
    let error = run(&session(), sql).await.expect_err(sql).to_string();
    assert!(error.contains(want), "{sql}: {error}");
}

#[tokio::test]
async fn histograms_count_below_within_and_above() {
    let values =
        "(VALUES (-1.0), (0.0), (1.9), (2.0), (9.99), (10.0), ('NaN'::DOUBLE), (NULL)) AS c (x)";
    let sql = format!("SELECT histogram(x, 0, 10, 5) AS h FROM {values}");
    check(&sql, &["h", "[1, 2, 1, 0, 0, 1, 1]"]).await;
    let sql = "SELECT histogram(x, 0, 10, 1) AS h FROM (VALUES (NULL)) AS c (x)";
    check(sql, &["h", "[0, 0, 0]"]).await;
    let infinite =
        "(VALUES ('Infinity'::DOUBLE), ('-Infinity'::DOUBLE), (1.5e308), (-1.5e308)) AS c (x)";
    let sql = format!("SELECT histogram(x, -1.6e308, 1.6e308, 2) AS h FROM {infinite}");
    check(&sql, &["h", "[1, 1, 1, 1]"]).await;
}

#[tokio::test]
async fn histograms_move_with_their_window() {
    let sql = "SELECT histogram(x, 0, 2, 2) OVER (ORDER BY x ROWS 1 PRECEDING) AS h \
        FROM (VALUES (0), (1), (2)) AS c (x) ORDER BY x";
    check(sql, &["h", "[0, 1, 0, 0]", "[0, 1, 1, 0]", "[0, 0, 1, 1]"]).await;
}

#[tokio::test]
async fn averages_over_time_weigh_values_by_how_long_they_last() {
    let sql = format!(
        "{POINTS} SELECT time_weighted_avg(v, t) AS a, time_weighted_avg(v, t, 'linear') AS b, \
         time_weighted_avg(v, t, 'LOCF') AS c FROM c"
    );
    check(&sql, &["a b c", "20.0 20.0 7.5"]).await;
    let sql = format!("{POINTS} SELECT time_weighted_avg(v, t) AS a FROM c WHERE v = 10");
    check(&sql, &["a", "10.0"]).await;
    let sql = format!("{POINTS} SELECT time_weighted_avg(v, t) AS a FROM c WHERE v > 99");
    check(&sql, &["a", "NULL"]).await;
    let sql =
        "SELECT time_weighted_avg(x, TIMESTAMP '2024-01-01') AS a FROM (VALUES (1), (4)) AS c (x)";
    check(sql, &["a", "2.5"]).await;
}

#[tokio::test]
async fn the_average_over_time_of_a_constant_is_the_constant() {
    let sql = "SELECT time_weighted_avg(0.1, to_timestamp(n * n)) AS linear, \
        time_weighted_avg(0.1, to_timestamp(n * n), 'locf') AS locf FROM generate_series(1, 1000) AS g (n)";
    check(sql, &["linear locf", "0.1 0.1"]).await;
}

#[tokio::test]
async fn the_mode_is_the_most_frequent_value_and_of_several_the_smallest() {
    let sql = "SELECT mode(x) AS m FROM (VALUES (3), (1), (3), (2), (1), (NULL), (NULL), (NULL)) AS c (x)";
    check(sql, &["m", "1"]).await;
    let sql = "SELECT mode(x) AS m, mode() WITHIN GROUP (ORDER BY x) AS n \
        FROM (VALUES ('b'), ('a'), ('b')) AS c (x)";
    check(sql, &["m n", "b b"]).await;
    let sql = "SELECT mode(x) AS m FROM (VALUES ('NaN'::DOUBLE), ('NaN'::DOUBLE), (-0.0), (0.0), (1.0)) AS c (x)";
    check(sql, &["m", "0.0"]).await;
    let sql =
        "SELECT mode(x) AS m FROM (VALUES (-5), (-5), (4)) AS c (x) GROUP BY x > 0 ORDER BY m";
    check(sql, &["m", "-5", "4"]).await;
    check("SELECT mode(x) AS m FROM (VALUES (1)) AS c (x) WHERE x > 1", &["m", "NULL"]).await;
    let sql = "SELECT mode(x) OVER (ORDER BY i ROWS 2 PRECEDING) AS m \
        FROM (VALUES (1, 7), (2, 7), (3, 5), (4, 5), (5, 5)) AS c (i, x) ORDER BY i";
    check(sql, &["m", "7", "7", "7", "5", "5"]).await;
    let sql = "SELECT mode(DISTINCT x) AS m FROM (VALUES (3), (1), (3)) AS c (x)";
    check(sql, &["m", "1"]).await;
}

#[tokio::test]
async fn mad_is_the_median_distance_from_the_median() {
    let sql = "SELECT mad(x) AS m FROM (VALUES (100), (1), (2), (3), (4)) AS c (x)";
    check(sql, &["m", "1.0"]).await;
    let sql = "SELECT mad(x) AS m FROM (VALUES (10.0), (1.0), (2.0), (3.0), ('NaN'::DOUBLE), (NULL)) AS c (x)";
    check(sql, &["m", "1.0"]).await;
    let sql =
        "SELECT mad(x) AS m FROM (VALUES (9223372036854775806), (9223372036854775807)) AS c (x)";
    check(sql, &["m", "0.5"]).await;
    check("SELECT mad(x) AS m FROM (VALUES (1)) AS c (x) WHERE x > 1", &["m", "NULL"]).await;
    let sql = "SELECT mad(x) OVER (ORDER BY x ROWS 2 PRECEDING) AS m \
        FROM (VALUES (1), (2), (4), (8)) AS c (x) ORDER BY x";
    check(sql, &["m", "0.0", "0.5", "1.0", "2.0"]).await;
}

const LINE: &str = "WITH c (t, v) AS (VALUES \
    (TIMESTAMP '2024-01-01T00:00:05', 0), (TIMESTAMP '2024-01-01T00:00:00', 0), \
    (TIMESTAMP '2024-01-01T00:00:01', 10), (TIMESTAMP '2024-01-01T00:00:02', 0), \
    (TIMESTAMP '2024-01-01T00:00:03', 0), (TIMESTAMP '2024-01-01T00:00:04', -20))";

#[tokio::test]
async fn lttb_keeps_the_ends_and_the_largest_triangles() {
    let sql = format!(
        "{LINE} SELECT point['time'] AS time, point['value'] AS value \
         FROM (SELECT unnest(lttb(t, v, 4)) AS point FROM c) AS p"
    );
    let want = [
        "time value",
        "2024-01-01T00:00:00 0",
        "2024-01-01T00:00:01 10",
        "2024-01-01T00:00:04 -20",
        "2024-01-01T00:00:05 0",
    ];
    check(&sql, &want).await;
}

#[tokio::test]
async fn lttb_of_few_points_is_all_of_them() {
    let sql = "SELECT lttb(t, v, 3) AS l FROM (VALUES (TIMESTAMP '2024-01-01T00:00:00Z', 1.5)) AS c (t, v)";
    check(sql, &["l", "[{time: 2024-01-01T00:00:00, value: 1.5}]"]).await;
    let sql = format!("{LINE} SELECT lttb(t, v, 3) AS l FROM c WHERE v > 99");
    check(&sql, &["l", "NULL"]).await;
    let sql = format!(
        "{LINE} SELECT count(*) AS n FROM (SELECT unnest(lttb(t, v, 3)) FROM c WHERE v > 99)"
    );
    check(&sql, &["n", "0"]).await;
}

#[tokio::test]
async fn moving_averages_are_over_the_last_rows() {
    let sql = "SELECT moving_average(x, 3) OVER (ORDER BY i) AS a, moving_average(n, 2) OVER (ORDER BY i) AS b \
        FROM (VALUES (1, 1.0, 1), (2, 2.0, NULL), (3, 'NaN'::DOUBLE, NULL), (4, 6.0, 4), (5, 3.0, 5)) \
        AS c (i, x, n) ORDER BY i";
    let want = ["a b", "1.0 1.0", "1.5 1.0", "1.5 NULL", "4.0 4.0", "4.5 4.5"];
    check(sql, &want).await;
}

#[tokio::test]
async fn what_has_left_a_moving_average_leaves_no_trace() {
    let sql = "SELECT moving_average(x, 2) OVER (ORDER BY i) AS a FROM (VALUES \
        (1, 'Infinity'::DOUBLE), (2, 1e300), (3, 1e150), (4, 1.0), (5, 3.0)) AS c (i, x) ORDER BY i";
    check(sql, &["a", "inf", "inf", "5e299", "5e149", "2.0"]).await;
}

#[tokio::test]
async fn ema_is_recursive_from_the_first_value() {
    let sql = "SELECT ema(x, 0.5) OVER (PARTITION BY g ORDER BY i) AS e \
        FROM (VALUES (1, 1, NULL), (1, 2, 4), (1, 3, 8), (1, 4, NULL), (1, 5, 0), (2, 1, 1)) AS c (g, i, x) \
        ORDER BY g, i";
    check(sql, &["e", "NULL", "4.0", "6.0", "6.0", "3.0", "1.0"]).await;
}

#[tokio::test]
async fn derivatives_are_quotients_per_second_or_unit() {
    let sql = format!(
        "{POINTS} SELECT derivative(v, t) OVER w AS d, derivative(v * 2, t, INTERVAL '1 minute') OVER w AS m, \
         derivative(v, t) OVER (ORDER BY t DESC) AS back FROM c WINDOW w AS (ORDER BY t) ORDER BY t"
    );
    check(&sql, &["d m back", "NULL NULL 1.0", "1.0 120.0 1.0", "1.0 120.0 NULL"]).await;
    let sql = "SELECT derivative(x, t) OVER (ORDER BY t, i) AS d FROM (VALUES \
        (1, TIMESTAMP '2024-01-01T00:00:00', 1), (2, TIMESTAMP '2024-01-01T00:00:00', 5), \
        (3, TIMESTAMP '2024-01-01T00:00:01', NULL), (4, TIMESTAMP '2024-01-01T00:00:02', 9)) AS c (i, t, x) ORDER BY i";
    check(sql, &["d", "NULL", "NULL", "NULL", "2.0"]).await;
}

#[tokio::test]
async fn cumulative_sums_of_integers_are_exact() {
    let sql = "SELECT cumulative_sum(x) OVER (ORDER BY i) AS s, arrow_typeof(cumulative_sum(x) OVER (ORDER BY i)) AS t \
        FROM (VALUES (1, NULL), (2, 9007199254740993), (3, NULL), (4, 1)) AS c (i, x) ORDER BY i";
    let want = [
        "s t",
        "NULL Int64",
        "9007199254740993 Int64",
        "9007199254740993 Int64",
        "9007199254740994 Int64",
    ];
    check(sql, &want).await;
    let sql = "SELECT cumulative_sum(x) OVER (ORDER BY i) AS s FROM (VALUES (1, 1e16), (2, 1.0), (3, -1e16), \
        (4, 'NaN'::DOUBLE)) AS c (i, x) ORDER BY i";
    check(sql, &["s", "1e16", "1e16", "1.0", "1.0"]).await;
    let sql = "SELECT cumulative_sum(x) OVER (ORDER BY x DESC) FROM (VALUES (9223372036854775807), (1)) AS c (x)";
    check_error(sql, "cumulative_sum: the sum does not fit its type: cast x to DOUBLE").await;
}

#[tokio::test]
async fn zscores_are_of_the_whole_partition() {
    let sql = "SELECT zscore(x) OVER (PARTITION BY g) AS z FROM (VALUES \
        (1, 1, 1.0), (1, 2, 2.0), (1, 3, 3.0), (1, 4, NULL), (1, 5, 'NaN'::DOUBLE), (2, 1, 7.0), (3, 1, 5.0), (3, 2, 5.0)) \
        AS c (g, i, x) ORDER BY g, i";
    let want = ["z", "-1.0", "0.0", "1.0", "NULL", "NULL", "NULL", "NULL", "NULL"];
    check(sql, &want).await;
    let sql = "SELECT zscore(x) OVER () AS z FROM (VALUES (9007199254740992), (9007199254740993), \
        (9007199254740994)) AS c (x) ORDER BY x";
    check(sql, &["z", "-1.0", "0.0", "1.0"]).await;
}

#[tokio::test]
async fn what_datafusion_has_is_there_by_group() {
    let sql = "SELECT g, count(DISTINCT x) AS exact, approx_distinct(n) AS approximate, median(x) AS median, \
        percentile_cont(0.25) WITHIN GROUP (ORDER BY x) AS quarter, quantile_cont(x, 0.25) AS same, \
        approx_percentile_cont(1.0) WITHIN GROUP (ORDER BY x) AS digest, approx_quantile(x, 1.0) AS also, \
        round(stddev_pop(x), 6) AS deviation, round(corr(x, y), 6) AS corr \
        FROM (VALUES ('a', 1.0, 2.0, 7), ('a', 2.0, 4.0, 8), ('a', 3.0, 6.0, 9), ('a', 3.0, 6.0, 9), ('b', 5.0, 1.0, 7), ('b', 7.0, -1.0, 8)) \
        AS c (g, x, y, n) GROUP BY g ORDER BY g";
    let want = [
        "g exact approximate median quarter same digest also deviation corr",
        "a 3 3 2.5 1.75 1.75 3.0 3.0 0.829156 1.0",
        "b 2 2 6.0 5.5 5.5 7.0 7.0 1.0 -1.0",
    ];
    check(sql, &want).await;
}

/// Calls over `(x, t)`, a number and a time, and what is said of them.
const BAD_CALLS: &[(&str, &str)] = &[
    ("histogram(x, 0, 10)", "histogram(x, lo, hi, n) takes 4 arguments, not 3"),
    ("histogram('a', 0, 10, 5)", "histogram: x must be a number, not STRING"),
    ("histogram(x, 10, 10, 5)", "histogram: lo must be below hi, not 10 and 10"),
    ("histogram(x, 'NaN'::DOUBLE, 10, 5)", "histogram: lo must be a finite number, not NaN"),
    ("histogram(x, 0, 'Infinity'::DOUBLE, 5)", "histogram: hi must be a finite number, not inf"),
    ("histogram(x, 0, 10, 0)", "histogram: n must be a whole number from 1 to 100000, not 0"),
    ("histogram(x, 0, 10, -1)", "histogram: n must be a whole number from 1 to 100000, not -1"),
    (
        "histogram(x, 0, 10, 100001)",
        "histogram: n must be a whole number from 1 to 100000, not 100001",
    ),
    ("histogram(x, 0, 10, 2.5)", "histogram: n must be a whole number from 1 to 100000, not 2.5"),
    ("histogram(x, 0, 10, NULL)", "histogram: n must not be NULL"),
    ("histogram(x, 0, x, 5)", "histogram: hi must be a constant, not "),
    (
        "time_weighted_avg(x, t, 'cubic')",
        "time_weighted_avg: the method is 'linear' or 'locf', not cubic",
    ),
    (
        "time_weighted_avg(x, t, 1)",
        "time_weighted_avg: the method is 'linear' or 'locf', not a Int64",
    ),
    (
        "time_weighted_avg(x)",
        "time_weighted_avg(value, time[, 'linear' | 'locf']) takes 2 to 3 arguments, not 1",
    ),
    ("mode(x, x)", "mode(x) takes 1 arguments, not 2"),
    ("mad('a')", "mad: x must be a number, not STRING"),
    ("lttb(t, x, 2)", "lttb: n must be a whole number from 3 to 100000, not 2"),
    ("lttb(x, t, 5)", "lttb: time must be a timestamp, not BIGINT"),
    ("lttb(t, x, x)", "lttb: n must be a constant, not "),
    (
        "moving_average(x, 0) OVER ()",
        "moving_average: n must be a whole number from 1 to 100000, not 0",
    ),
    ("moving_average(x, x) OVER ()", "moving_average: n must be a constant, not "),
    ("ema(x, 0) OVER ()", "ema: alpha must be above 0 and at most 1, not 0"),
    ("ema(x, 1.5) OVER ()", "ema: alpha must be above 0 and at most 1, not 1.5"),
    ("derivative(x, x) OVER ()", "derivative: time must be a timestamp, not BIGINT"),
    (
        "derivative(x, t, 'soon') OVER ()",
        "derivative: unit must be an interval, such as '1m', not soon",
    ),
    (
        "derivative(x, t, 5) OVER ()",
        "derivative: unit must be an interval, such as '1m', not BIGINT",
    ),
    (
        "derivative(x, t, INTERVAL '1 month') OVER ()",
        "derivative: unit must not have months or years",
    ),
    ("derivative(x, t, INTERVAL '0 seconds') OVER ()", "derivative: unit must be longer than zero"),
    ("cumulative_sum('a') OVER ()", "cumulative_sum: x must be a number, not STRING"),
    ("zscore(x, x) OVER ()", "zscore(x) takes 1 arguments, not 2"),
];

#[tokio::test]
async fn bad_arguments_are_named() {
    let from = "FROM (VALUES (1, TIMESTAMP '2024-01-01')) AS c (x, t)";
    for (call, want) in BAD_CALLS {
        check_error(&format!("SELECT {call} {from}"), want).await;
    }
}

#[tokio::test]
async fn window_functions_ask_for_their_window() {
    for call in [
        "zscore(1)",
        "EMA(1, 0.5)",
        "moving_average(1, 2)",
        "cumulative_sum(1)",
        "derivative(1, now())",
    ] {
        let name = call.split('(').next().expect("it is there").to_lowercase();
        let want = format!("{name} is a window function: write {name}(…) OVER (");
        check_error(&format!("SELECT 1 + {call}"), &want).await;
        check_error(&format!("SELECT 1 + {call}"), " at Line: 1, Column: 12").await;
    }
}

type Row = (i64, Option<i64>);

/// The rows as the table `c (i, t, x, n)` in two partitions: `x` the value as a double, NaN if there is none.
fn table(rows: &[Row]) -> Arc<MemTable> {
    let partition = |at: usize| {
        let rows = || rows.iter().enumerate().skip(at).step_by(2);
        let doubles = rows().map(|(_, row)| row.1.map_or(f64::NAN, |value| value as f64));
        RecordBatch::try_from_iter_with_nullable(vec![
            (
                "i",
                Arc::new(Int64Array::from_iter_values(
                    rows().map(|(i, _)| i64::try_from(i).expect("few rows")),
                )) as ArrayRef,
                true,
            ),
            (
                "t",
                Arc::new(TimestampNanosecondArray::from_iter_values(rows().map(|(_, row)| row.0))),
                true,
            ),
            ("x", Arc::new(Float64Array::from_iter_values(doubles)), true),
            ("n", Arc::new(rows().map(|(_, row)| row.1).collect::<Int64Array>()), true),
        ])
        .expect("it is there")
    };
    let partitions = vec![vec![partition(0)], vec![partition(1)]];
    let schema = partitions[0][0].schema();
    Arc::new(MemTable::try_new(schema, partitions).expect("it is there"))
}

fn answers(rows: &[Row], sql: &str) -> RecordBatch {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("it is there");
    runtime.block_on(async {
        let session = session();
        session.register_table("c", table(rows)).expect("it is there");
        let frame = session.sql(sql).await.expect("it is there");
        let schema = Arc::clone(frame.schema().inner());
        concat_batches(&schema, &frame.collect().await.expect("it is there")).expect("it is there")
    })
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    proptest::collection::vec((-50..50_i64, proptest::option::weighted(0.9, -9..9_i64)), 1..90)
}

fn near(got: Option<f64>, want: Option<f64>) -> bool {
    match (got, want) {
        (Some(got), Some(want)) => (got - want).abs() <= 1e-9 * want.abs().max(1.0),
        (got, want) => got == want,
    }
}

fn median(sorted: &[f64]) -> f64 {
    sorted[(sorted.len() - 1) / 2].midpoint(sorted[sorted.len() / 2])
}

fn mad(values: &[i64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().map(|value| *value as f64).collect();
    sorted.sort_by(f64::total_cmp);
    if sorted.is_empty() {
        return None;
    }
    let middle = median(&sorted);
    for value in &mut sorted {
        *value = (*value - middle).abs();
    }
    sorted.sort_by(f64::total_cmp);
    Some(median(&sorted))
}

fn mode(values: &[i64]) -> Option<i64> {
    let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
    for value in values {
        *counts.entry(*value).or_default() += 1;
    }
    let most = counts.values().max()?;
    counts.iter().find(|(_, count)| *count == most).map(|(value, _)| *value)
}

fn double(batch: &RecordBatch, column: usize, row: usize) -> Option<f64> {
    batch.column(column).as_primitive::<Float64Type>().iter().nth(row).expect("it is there")
}

fn whole(batch: &RecordBatch, column: usize, row: usize) -> Option<i64> {
    batch.column(column).as_primitive::<Int64Type>().iter().nth(row).expect("it is there")
}

proptest! {
    #![proptest_config(Config { cases: 48, ..Config::default() })]

    #[test]
    fn mode_and_mad_equal_the_model(rows in rows(), before in 0..12_usize, sliding in any::<bool>()) {
        let over = if sliding {
            format!("OVER (ORDER BY i ROWS {before} PRECEDING)")
        } else {
            "OVER (ORDER BY i)".to_owned()
        };
        let sql = format!(
            "SELECT mad(x) {over}, mad(n) {over}, mode(x) {over}, mode(n) {over} FROM c ORDER BY i"
        );
        let got = answers(&rows, &sql);
        for row in 0..rows.len() {
            let first = if sliding { row.saturating_sub(before) } else { 0 };
            let values: Vec<i64> = rows[first..=row].iter().filter_map(|row| row.1).collect();
            prop_assert_eq!(double(&got, 0, row), mad(&values));
            prop_assert_eq!(double(&got, 1, row), mad(&values));
            prop_assert_eq!(double(&got, 2, row), mode(&values).map(|mode| mode as f64));
            prop_assert_eq!(whole(&got, 3, row), mode(&values));
        }
        let got = answers(&rows, "SELECT i % 3 AS g, mad(x), mad(n), mode(x), mode(n) FROM c GROUP BY g ORDER BY g");
        for group in 0..got.num_rows() {
            let values: Vec<i64> = rows.iter().skip(group).step_by(3).filter_map(|row| row.1).collect();
            prop_assert_eq!(double(&got, 1, group), mad(&values));
            prop_assert_eq!(double(&got, 2, group), mad(&values));
            prop_assert_eq!(double(&got, 3, group), mode(&values).map(|mode| mode as f64));
            prop_assert_eq!(whole(&got, 4, group), mode(&values));
        }
    }

    #[test]
    fn histograms_equal_the_model(rows in rows(), lo in -9..0_i64, width in 1..4_i64, n in 1..6_i64) {
        let hi = lo + n * width;
        let sql = format!("SELECT histogram(x, {lo}, {hi}, {n}), histogram(n, {lo}, {hi}, {n}) FROM c GROUP BY i % 1");
        let got = answers(&rows, &sql);
        let mut want = vec![0_i64; usize::try_from(n).expect("it is there") + 2];
        for value in rows.iter().filter_map(|row| row.1) {
            let bucket = if value < lo { 0 } else { ((value - lo) / width).min(n) + 1 };
            want[usize::try_from(bucket).expect("it is there")] += 1;
        }
        for column in 0..2 {
            let counts = got.column(column).as_list::<i32>().value(0);
            prop_assert_eq!(counts.as_primitive::<Int64Type>().values().to_vec(), want.clone());
        }
    }

    #[test]
    fn walks_along_rows_equal_the_model(rows in rows(), n in 1..10_usize) {
        let sql = format!(
            "SELECT moving_average(x, {n}) OVER w, moving_average(n, {n}) OVER w, ema(x, 0.25) OVER w, \
             cumulative_sum(n) OVER w, cumulative_sum(x) OVER w, derivative(n, t) OVER w FROM c WINDOW w AS (ORDER BY i) ORDER BY i"
        );
        let got = answers(&rows, &sql);
        let (mut ema, mut sum, mut before): (Option<f64>, Option<i64>, Option<(i64, i64)>) = (None, None, None);
        for (i, (time, value)) in rows.iter().enumerate() {
            let frame = rows[(i + 1).saturating_sub(n)..=i].iter().filter_map(|row| row.1);
            let count = frame.clone().count();
            let average = (count > 0).then(|| frame.sum::<i64>() as f64 / count as f64);
            prop_assert_eq!(double(&got, 0, i), average);
            prop_assert_eq!(double(&got, 1, i), average);
            let mut quotient = None;
            if let Some(value) = value {
                let x = *value as f64;
                ema = Some(ema.map_or(x, |ema| 0.25 * x + 0.75 * ema));
                sum = Some(sum.unwrap_or(0) + value);
                quotient = before
                    .filter(|before| before.0 != *time)
                    .map(|before| (value - before.1) as f64 / ((time - before.0) as f64 / 1e9));
                before = Some((*time, *value));
            }
            prop_assert!(near(double(&got, 2, i), ema), "{:?} {:?}", double(&got, 2, i), ema);
            prop_assert_eq!(whole(&got, 3, i), sum);
            prop_assert_eq!(double(&got, 4, i), sum.map(|sum| sum as f64));
            prop_assert!(near(double(&got, 5, i), quotient));
        }
    }

    #[test]
    fn lttb_over_sliding_frames_is_lttb_of_their_rows(rows in rows(), before in 0..12_usize) {
        let sql = format!("SELECT lttb(t, x, 3) OVER (ORDER BY i ROWS {before} PRECEDING) FROM c ORDER BY i");
        let got = answers(&rows, &sql);
        let sql = format!(
            "SELECT l.i, lttb(r.t, r.x, 3) FROM c AS l JOIN c AS r ON r.i BETWEEN l.i - {before} AND l.i GROUP BY l.i ORDER BY l.i"
        );
        let want = answers(&rows, &sql);
        prop_assert_eq!(got.column(0), want.column(1));
    }

    #[test]
    fn lttb_keeps_the_ends_and_some_points_in_order(rows in rows(), n in 3..12_usize) {
        let sql = format!(
            "SELECT point['time'], point['value'] FROM (SELECT unnest(lttb(t, n, {n})) AS point FROM c)"
        );
        let got = answers(&rows, &sql);
        let mut points: Vec<(i64, i64)> = rows.iter().filter_map(|row| Some((row.0, row.1?))).collect();
        points.sort_unstable();
        let times = got.column(0).as_primitive::<TimestampNanosecondType>();
        let kept: Vec<(i64, i64)> = (0..got.num_rows()).map(|i| (times.value(i), whole(&got, 1, i).expect("it is there"))).collect();
        prop_assert_eq!(kept.len(), n.min(points.len()));
        prop_assert_eq!(kept.first(), points.first());
        prop_assert_eq!(kept.last(), points.last());
        let mut rest = points.iter();
        prop_assert!(kept.iter().all(|point| rest.any(|other| other == point)), "{:?} {:?}", kept, points);
    }
}
