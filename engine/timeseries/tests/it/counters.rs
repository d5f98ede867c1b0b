//! Counters, as aggregates and over windows.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, TimestampNanosecondArray,
    UInt64Array,
};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, TimeUnit};
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, proptest};
use proptest::test_runner::Config;

use crate::fixture::{check, run, session};

const ALL: &str = "rate(v, t) AS rate, increase(v, t) AS increase, delta(v, t) AS delta, \
    irate(v, t) AS irate, idelta(v, t) AS idelta, deriv(v, t) AS deriv, resets(v, t) AS resets, \
    changes(v, t) AS changes";

const NAMES: &str = "rate increase delta irate idelta deriv resets changes";

/// The rows `(time of day, value)` as the table `c (t, v)`.
fn points(of_type: &str, rows: &[(&str, &str)]) -> String {
    let rows: Vec<String> = rows
        .iter()
        .map(|(time, value)| {
            let time = if *time == "NULL" {
                "CAST(NULL AS TIMESTAMP)".to_owned()
            } else {
                format!("TIMESTAMP '2024-01-01T{time}'")
            };
            format!("({time}, CAST({value} AS {of_type}))")
        })
        .collect();
    format!("WITH c (t, v) AS (VALUES {})", rows.join(", "))
}

async fn check_all(of_type: &str, rows: &[(&str, &str)], want: &str) {
    let sql = format!("{} SELECT {ALL} FROM c", points(of_type, rows));
    check(&sql, &[NAMES, want]).await;
}

async fn check_error(sql: &str, want: &str) {
    let error = run(&session(), sql).await.expect_err(sql).to_string();
    assert!(error.contains(want), "{sql}: {error}");
}

#[tokio::test]
async fn a_counter_that_falls_began_anew_at_zero() {
    let rows = [("00:00:00", "10"), ("00:00:10", "20"), ("00:00:20", "5"), ("00:00:30", "25")];
    for of_type in ["DOUBLE", "BIGINT", "BIGINT UNSIGNED", "INT", "FLOAT"] {
        check_all(of_type, &rows, "1.1666666666666667 35.0 15.0 2.0 20.0 0.3 1 3").await;
    }
}

#[tokio::test]
async fn the_order_of_rows_does_not_matter() {
    let rows = [("00:00:20", "5"), ("00:00:00", "10"), ("00:00:30", "25"), ("00:00:10", "20")];
    check_all("BIGINT", &rows, "1.1666666666666667 35.0 15.0 2.0 20.0 0.3 1 3").await;
}

#[tokio::test]
async fn one_point_has_no_rate_and_changed_never() {
    check_all("DOUBLE", &[("00:00:00", "10")], "NULL NULL NULL NULL NULL NULL 0 0").await;
}

#[tokio::test]
async fn no_points_have_nothing() {
    check_all("DOUBLE", &[("00:00:00", "NULL")], "NULL NULL NULL NULL NULL NULL NULL NULL").await;
}

#[tokio::test]
async fn points_without_value_time_or_number_are_left_out() {
    let rows = [
        ("00:00:00", "1"),
        ("00:00:01", "'NaN'"),
        ("00:00:02", "NULL"),
        ("NULL", "100"),
        ("00:00:04", "3"),
        ("00:00:05", "'NaN'"),
    ];
    check_all("DOUBLE", &rows, "0.5 2.0 2.0 0.5 2.0 0.5 0 1").await;
}

#[tokio::test]
async fn integers_lose_nothing_beyond_what_a_double_holds() {
    let rows = [("00:00:00", "9007199254740992"), ("00:00:01", "9007199254740993")];
    check_all("BIGINT", &rows, "1.0 1.0 1.0 1.0 1.0 1.0 0 1").await;
    let rows = [("00:00:00", "18446744073709551614"), ("00:00:01", "18446744073709551615")];
    check_all("BIGINT UNSIGNED", &rows, "1.0 1.0 1.0 1.0 1.0 1.0 0 1").await;
    let rows = [("00:00:00", "-9223372036854775808"), ("00:00:01", "9223372036854775807")];
    let big = "1.8446744073709552e19";
    check_all("BIGINT", &rows, &format!("{big} {big} {big} {big} {big} {big} 0 1")).await;
    let rows = [("00:00:00", "18446744073709551615"), ("00:00:01", "0")];
    check_all("BIGINT UNSIGNED", &rows, &format!("0.0 0.0 -{big} 0.0 -{big} -{big} 1 1")).await;
}

#[tokio::test]
async fn points_at_one_time_come_in_the_order_of_their_values() {
    let rows = [("00:00:00", "3"), ("00:00:00", "1")];
    check_all("DOUBLE", &rows, "NULL 2.0 2.0 NULL 2.0 NULL 0 1").await;
    let rows = [("00:00:10", "0"), ("00:00:00", "3"), ("00:00:10", "4"), ("00:00:00", "1")];
    let sql = format!(
        "{} SELECT rate(v, t) AS rate, increase(v, t) AS increase, delta(v, t) AS delta, \
         irate(v, t) AS irate, idelta(v, t) AS idelta, resets(v, t) AS resets FROM c",
        points("DOUBLE", &rows)
    );
    check(&sql, &["rate increase delta irate idelta resets", "0.6 6.0 3.0 NULL 4.0 1"]).await;
}

#[tokio::test]
async fn zeros_of_either_sign_are_equal() {
    let rows = [("00:00:00", "0.0"), ("00:00:10", "-0.0"), ("00:00:20", "0.0")];
    let sql =
        format!("{} SELECT resets(v, t) AS r, changes(v, t) AS c FROM c", points("DOUBLE", &rows));
    check(&sql, &["r c", "0 0"]).await;
}

#[tokio::test]
async fn slopes_are_right_far_from_zero() {
    let rows =
        [("00:00:00", "1e15"), ("00:00:01", "1000000000000001"), ("00:00:02", "1000000000000002")];
    let sql = format!("{} SELECT deriv(v, t) AS d FROM c", points("DOUBLE", &rows));
    check(&sql, &["d", "1.0"]).await;
}

#[tokio::test]
async fn rates_are_taken_per_bucket_and_with_filters() {
    let rows = [
        ("00:00:00", "0"),
        ("00:00:30", "30"),
        ("00:01:00", "90"),
        ("00:01:30", "0"),
        ("00:01:45", "15"),
    ];
    let sql = format!(
        "{} SELECT date_bin(INTERVAL '1 minute', t) AS minute, rate(v, t) AS rate, \
         increase(v, t) FILTER (WHERE v > 0) AS some FROM c GROUP BY minute ORDER BY minute",
        points("BIGINT", &rows)
    );
    let want = [
        "minute rate some",
        "2024-01-01T00:00:00 1.0 NULL",
        "2024-01-01T00:01:00 0.3333333333333333 15.0",
    ];
    check(&sql, &want).await;
}

#[tokio::test]
async fn rates_move_with_their_window() {
    let rows = [
        ("00:00:00", "0"),
        ("00:00:10", "10"),
        ("00:00:20", "40"),
        ("00:00:30", "6"),
        ("00:00:40", "16"),
    ];
    let sql = format!(
        "{} SELECT v, rate(v, t) OVER w AS rate, increase(v, t) OVER w AS increase, \
         irate(v, t) OVER w AS irate, round(deriv(v, t) OVER w, 9) AS deriv, resets(v, t) OVER w AS resets FROM c \
         WINDOW w AS (ORDER BY t RANGE BETWEEN INTERVAL '20 seconds' PRECEDING AND CURRENT ROW) ORDER BY t",
        points("BIGINT", &rows)
    );
    let want = [
        "v rate increase irate deriv resets",
        "0 NULL NULL NULL NULL 0",
        "10 1.0 10.0 1.0 1.0 0",
        "40 2.0 40.0 3.0 2.0 0",
        "6 1.8 36.0 0.6 -0.2 1",
        "16 0.8 16.0 1.0 -1.2 1",
    ];
    check(&sql, &want).await;
}

#[tokio::test]
async fn bad_arguments_are_named() {
    let now = "TIMESTAMP '2024-01-01'";
    for (call, want) in [
        ("rate(1)".to_owned(), "rate(value, time) takes 2 arguments, not 1"),
        (format!("rate('a', {now})"), "rate: value must be a number, not STRING"),
        (format!("increase(TRUE, {now})"), "increase: value must be a number, not BOOLEAN"),
        ("deriv(1, 2)".to_owned(), "deriv: time must be a timestamp, not BIGINT"),
        (format!("delta(1, {now}, 3)"), "delta(value, time) takes 2 arguments, not 3"),
        (format!("changes(DISTINCT 1, {now})"), "changes: DISTINCT is not supported"),
    ] {
        check_error(&format!("SELECT {call}"), want).await;
    }
}

#[tokio::test]
async fn points_that_do_not_fit_into_memory_are_an_error() {
    let runtime =
        RuntimeEnvBuilder::new().with_memory_limit(4 << 20, 1.0).build_arc().expect("it is there");
    let config = SessionConfig::new().with_target_partitions(2);
    let state = SessionStateBuilder::new().with_config(config).with_runtime_env(runtime);
    let state =
        quorate_timeseries::install(state.with_default_features().build()).expect("it is there");
    let session = SessionContext::new_with_state(state);
    let sql = "SELECT rate(n, to_timestamp(n)) AS r, lttb(to_timestamp(n), n, 3) AS l \
        FROM generate_series(1, 1000000) AS g (n) GROUP BY n % 2";
    let error = run(&session, sql).await.expect_err(sql).to_string();
    assert!(error.contains("Resources exhausted"), "{error}");
}

/// A point as the model has it.
type Row = (i64, i64);

/// What the functions answer for integer values at whole seconds; the naive way.
#[derive(Debug, PartialEq)]
struct Model {
    rate: Option<f64>,
    increase: Option<f64>,
    delta: Option<f64>,
    irate: Option<f64>,
    idelta: Option<f64>,
    deriv: Option<f64>,
    resets: Option<i64>,
    changes: Option<i64>,
    linear: Option<f64>,
    locf: Option<f64>,
}

fn model(points: &[Row]) -> Model {
    let mut points = points.to_vec();
    points.sort_unstable();
    let pairs = || points.windows(2).map(|pair| (pair[0], pair[1]));
    let step = |(a, b): (Row, Row)| if b.1 < a.1 { b.1 } else { b.1 - a.1 };
    let some = !points.is_empty();
    let increase = (points.len() > 1).then(|| pairs().map(step).sum::<i64>() as f64);
    let per = |change: i64, time: i64| (time > 0).then(|| change as f64 / time as f64);
    let last = pairs().next_back();
    let time = if some { points[points.len() - 1].0 - points[0].0 } else { 0 };
    let area = |height: fn(Row, Row) -> i64| -> Option<f64> {
        if !some {
            return None;
        }
        if time == 0 {
            return Some(points.iter().map(|p| p.1).sum::<i64>() as f64 / points.len() as f64);
        }
        let twice: i64 = pairs().map(|(a, b)| height(a, b) * (b.0 - a.0)).sum();
        Some(twice as f64 / 2.0 / time as f64)
    };
    Model {
        rate: increase.and_then(|increase| (time > 0).then(|| increase / time as f64)),
        increase,
        delta: last.map(|(_, b)| (b.1 - points[0].1) as f64),
        irate: last.and_then(|(a, b)| per(step((a, b)), b.0 - a.0)),
        idelta: last.map(|(a, b)| (b.1 - a.1) as f64),
        deriv: slope(&points),
        resets: some.then(|| pairs().map(|(a, b)| i64::from(b.1 < a.1)).sum()),
        changes: some.then(|| pairs().map(|(a, b)| i64::from(b.1 != a.1)).sum()),
        linear: area(|a, b| a.1 + b.1),
        locf: area(|a, _| 2 * a.1),
    }
}

fn slope(points: &[Row]) -> Option<f64> {
    let sum = |of: fn(&Row) -> i128| points.iter().map(of).sum::<i128>();
    let count = points.len() as i128;
    let (times, values) = (sum(|p| p.0.into()), sum(|p| p.1.into()));
    let squares = sum(|p| i128::from(p.0) * i128::from(p.0));
    let products = sum(|p| i128::from(p.0) * i128::from(p.1));
    let below = count * squares - times * times;
    (below != 0).then(|| (count * products - times * values) as f64 / below as f64)
}

/// A row of a group, in one of three partitions.
#[derive(Debug, Clone)]
struct Given {
    group: i64,
    time: i64,
    value: Option<i64>,
    partition: usize,
}

fn given() -> impl Strategy<Value = Vec<Given>> {
    let value = proptest::option::weighted(0.9, 0..50_i64);
    let row = (0..4_i64, -40..40_i64, value, 0..3_usize)
        .prop_map(|(group, time, value, partition)| Given { group, time, value, partition });
    let rows = proptest::collection::vec(row, 0..120);
    // Half of them in the order of time, as they come from a store.
    (rows, any::<bool>()).prop_map(|(mut rows, sorted)| {
        if sorted {
            rows.sort_by_key(|row| row.time);
        }
        rows
    })
}

fn column(kind: Kind, rows: &[&Given]) -> ArrayRef {
    let values = rows.iter().map(|row| row.value);
    match kind {
        // NaN stands for no value, too.
        Kind::Double => Arc::new(Float64Array::from_iter_values(
            values.map(|value| value.map_or(f64::NAN, |value| value as f64)),
        )),
        Kind::Signed => Arc::new(values.collect::<Int64Array>()),
        Kind::Unsigned => {
            let value = |value: Option<i64>| value.map(i64::unsigned_abs);
            Arc::new(values.map(value).collect::<UInt64Array>())
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Double,
    Signed,
    Unsigned,
}

fn kind() -> impl Strategy<Value = Kind> {
    proptest::prop_oneof![Just(Kind::Double), Just(Kind::Signed), Just(Kind::Unsigned)]
}

/// The rows as the table `c (g, i, t, v)`; `i` is their place.
fn table(kind: Kind, rows: &[Given]) -> Arc<MemTable> {
    let partitions: Vec<Vec<RecordBatch>> = (0..3)
        .map(|partition| {
            let numbered = rows.iter().zip(0_i64..).filter(|(row, _)| row.partition == partition);
            let (these, places): (Vec<&Given>, Vec<i64>) = numbered.unzip();
            let times = these.iter().map(|row| row.time * 1_000_000_000);
            let groups = these.iter().map(|row| row.group);
            let batch = RecordBatch::try_from_iter_with_nullable(vec![
                ("g", Arc::new(Int64Array::from_iter_values(groups)) as ArrayRef, true),
                ("i", Arc::new(Int64Array::from(places)), true),
                ("t", Arc::new(TimestampNanosecondArray::from_iter_values(times)), true),
                ("v", column(kind, &these), true),
            ]);
            let batch = batch.expect("it is there");
            // Small batches, so that states grow in several steps.
            (0..batch.num_rows())
                .step_by(7)
                .map(|i| batch.slice(i, 7.min(batch.num_rows() - i)))
                .collect()
        })
        .collect();
    let schema = Arc::new(Schema::new(vec![
        Field::new("g", DataType::Int64, true),
        Field::new("i", DataType::Int64, true),
        Field::new("t", DataType::Timestamp(TimeUnit::Nanosecond, None), true),
        Field::new("v", column(kind, &[]).data_type().clone(), true),
    ]));
    Arc::new(MemTable::try_new(schema, partitions).expect("it is there"))
}

fn answers(kind: Kind, rows: &[Given], sql: &str) -> RecordBatch {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("it is there");
    runtime.block_on(async {
        let session = session();
        session.register_table("c", table(kind, rows)).expect("it is there");
        let frame = session.sql(sql).await.expect("it is there");
        let schema = Arc::clone(frame.schema().inner());
        concat_batches(&schema, &frame.collect().await.expect("it is there")).expect("it is there")
    })
}

fn doubles(batch: &RecordBatch, name: &str, row: usize) -> Option<f64> {
    batch
        .column_by_name(name)
        .expect("it is there")
        .as_primitive::<Float64Type>()
        .iter()
        .nth(row)
        .expect("it is there")
}

fn counts(batch: &RecordBatch, name: &str, row: usize) -> Option<i64> {
    batch
        .column_by_name(name)
        .expect("it is there")
        .as_primitive::<Int64Type>()
        .iter()
        .nth(row)
        .expect("it is there")
}

/// What a row of answers says, slopes and areas rounded to what the model has if they are near enough.
fn answer(batch: &RecordBatch, row: usize, model: &Model) -> Model {
    let near = |name: &str, want: Option<f64>| {
        let got = doubles(batch, name, row);
        match (got, want) {
            (Some(got), Some(want)) if (got - want).abs() <= 1e-9 * want.abs().max(1.0) => {
                Some(want)
            }
            _ => got,
        }
    };
    Model {
        rate: doubles(batch, "rate", row),
        increase: doubles(batch, "increase", row),
        delta: doubles(batch, "delta", row),
        irate: doubles(batch, "irate", row),
        idelta: doubles(batch, "idelta", row),
        deriv: near("deriv", model.deriv),
        resets: counts(batch, "resets", row),
        changes: counts(batch, "changes", row),
        linear: near("linear", model.linear),
        locf: near("locf", model.locf),
    }
}

fn all(over: &str) -> String {
    let calls = ["rate", "increase", "delta", "irate", "idelta", "deriv", "resets", "changes"];
    let mut calls: Vec<String> =
        calls.iter().map(|name| format!("{name}(v, t) {over} AS {name}")).collect();
    calls.push(format!("time_weighted_avg(v, t) {over} AS linear"));
    calls.push(format!("time_weighted_avg(v, t, 'locf') {over} AS locf"));
    calls.join(", ")
}

fn valued<'a>(rows: impl Iterator<Item = &'a Given>) -> Vec<Row> {
    rows.filter_map(|row| Some((row.time, row.value?))).collect()
}

proptest! {
    #![proptest_config(Config { cases: 48, ..Config::default() })]

    #[test]
    fn aggregates_equal_the_model_in_any_order_and_partitioning(rows in given(), kind in kind()) {
        let sql = format!("SELECT g, {} FROM c GROUP BY g ORDER BY g", all(""));
        let got = answers(kind, &rows, &sql);
        let mut groups: Vec<i64> = rows.iter().map(|row| row.group).collect();
        groups.sort_unstable();
        groups.dedup();
        prop_assert_eq!(got.num_rows(), groups.len());
        for (i, group) in groups.into_iter().enumerate() {
            let want = model(&valued(rows.iter().filter(|row| row.group == group)));
            prop_assert_eq!(answer(&got, i, &want), want);
        }
        let got = answers(kind, &rows, &format!("SELECT {} FROM c", all("")));
        let want = model(&valued(rows.iter()));
        prop_assert_eq!(answer(&got, 0, &want), want);
    }

    #[test]
    fn windows_of_rows_equal_the_model(
        rows in given(),
        kind in kind(),
        before in 0..9_usize,
        after in 0..4_usize,
        by_time in any::<bool>(),
    ) {
        let order = if by_time { "t, i" } else { "i" };
        let over = format!(
            "OVER (PARTITION BY g ORDER BY {order} ROWS BETWEEN {before} PRECEDING AND {after} FOLLOWING)"
        );
        let sql = format!("SELECT {} FROM c ORDER BY g, {order}", all(&over));
        let got = answers(kind, &rows, &sql);
        let mut sorted: Vec<(&Given, usize)> = rows.iter().zip(0..).collect();
        sorted.sort_by_key(|(row, i)| (row.group, if by_time { row.time } else { 0 }, *i));
        for (at, (row, _)) in sorted.iter().enumerate() {
            let frame = &sorted[at.saturating_sub(before)..(at + after + 1).min(sorted.len())];
            let frame = frame.iter().map(|(other, _)| *other).filter(|other| other.group == row.group);
            let want = model(&valued(frame));
            prop_assert_eq!(answer(&got, at, &want), want);
        }
    }

    #[test]
    fn windows_of_time_equal_the_model(rows in given(), kind in kind(), before in 0..30_i64) {
        let over = format!(
            "OVER (PARTITION BY g ORDER BY t RANGE BETWEEN INTERVAL '{before} seconds' PRECEDING AND CURRENT ROW)"
        );
        let sql = format!("SELECT {} FROM c ORDER BY g, t, i", all(&over));
        let got = answers(kind, &rows, &sql);
        let mut sorted: Vec<(&Given, usize)> = rows.iter().zip(0..).collect();
        sorted.sort_by_key(|(row, i)| (row.group, row.time, *i));
        for (at, (row, _)) in sorted.iter().enumerate() {
            let frame = rows.iter().filter(|other| {
                other.group == row.group && (row.time - before..=row.time).contains(&other.time)
            });
            let want = model(&valued(frame));
            prop_assert_eq!(answer(&got, at, &want), want);
        }
    }

    #[test]
    fn windows_that_only_grow_equal_the_model(rows in given(), kind in kind()) {
        let over = "OVER (PARTITION BY g ORDER BY t, i ROWS UNBOUNDED PRECEDING)";
        let sql = format!("SELECT {} FROM c ORDER BY g, t, i", all(over));
        let got = answers(kind, &rows, &sql);
        let mut sorted: Vec<(&Given, usize)> = rows.iter().zip(0..).collect();
        sorted.sort_by_key(|(row, i)| (row.group, row.time, *i));
        for (at, (row, _)) in sorted.iter().enumerate() {
            let frame = sorted[..=at].iter().map(|(other, _)| *other);
            let want = model(&valued(frame.filter(|other| other.group == row.group)));
            prop_assert_eq!(answer(&got, at, &want), want);
        }
    }
}
