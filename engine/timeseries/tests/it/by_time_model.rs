//! `first`, `last`, `min_by`, `max_by` and selectors against a plain model, over random partitions and batches.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use datafusion::datasource::MemTable;
use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestRunner};

use crate::fixture::{run, session};

/// Group, value, time.
type Row = (i64, Option<f64>, Option<i64>);

fn values() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        1 => proptest::strategy::Just(None),
        1 => proptest::strategy::Just(Some(f64::NAN)),
        6 => (-3..4_i32).prop_map(|v| Some(f64::from(v) / 2.0)),
    ]
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let time = prop_oneof![1 => proptest::strategy::Just(None), 8 => (-4..5_i64).prop_map(Some)];
    proptest::collection::vec((0..3_i64, values(), time), 0..40)
}

fn batch(rows: &[Row]) -> RecordBatch {
    let groups = Int64Array::from_iter_values(rows.iter().map(|r| r.0));
    let values: Float64Array = rows.iter().map(|r| r.1).collect();
    // The same order as numbers, for keys that are bytes.
    let texts: StringArray = rows.iter().map(|r| r.1.map(text)).collect();
    let times: Int64Array = rows.iter().map(|r| r.2).collect();
    let columns: [(&str, ArrayRef, bool); 4] = [
        ("k", Arc::new(groups), true),
        ("x", Arc::new(values), true),
        ("s", Arc::new(texts), true),
        ("t", Arc::new(times), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn text(value: f64) -> String {
    if value.is_nan() { "z".to_owned() } else { format!("v{}", value + 5.0) }
}

fn larger(a: Option<f64>, b: Option<f64>) -> Ordering {
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(a), Some(b)) => a.total_cmp(&b),
    }
}

fn shown(value: Option<f64>) -> String {
    value.map_or_else(|| "NULL".to_owned(), |v| format!("{v:?}"))
}

/// The answers of a group: first, last, `min_by(t, x)`, `max_by(t, x)`, times of `selector_min` and `selector_max`, and
/// `last` of the texts.
fn model(rows: &[Row], group: i64) -> String {
    let timed: Vec<(i64, Option<f64>)> =
        rows.iter().filter(|r| r.0 == group).filter_map(|r| Some((r.2?, r.1))).collect();
    let full: Vec<(i64, f64)> = timed.iter().filter_map(|&(t, x)| Some((t, x?))).collect();
    let first = timed.iter().max_by(|a, b| b.0.cmp(&a.0).then(larger(a.1, b.1)));
    let last = timed.iter().max_by(|a, b| a.0.cmp(&b.0).then(larger(a.1, b.1)));
    let min_by = full.iter().max_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let max_by = full.iter().max_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    let loses = |x: f64, nan: f64| if x.is_nan() { nan } else { x };
    let low = full.iter().max_by(|a, b| {
        let (x, y) = (loses(a.1, f64::INFINITY), loses(b.1, f64::INFINITY));
        y.total_cmp(&x).then(b.0.cmp(&a.0))
    });
    let high = full.iter().max_by(|a, b| {
        let (x, y) = (loses(a.1, f64::NEG_INFINITY), loses(b.1, f64::NEG_INFINITY));
        x.total_cmp(&y).then(b.0.cmp(&a.0))
    });
    let time =
        |row: Option<&(i64, f64)>| row.map_or_else(|| "NULL".to_owned(), |r| r.0.to_string());
    let last_text = last.and_then(|l| l.1).map_or_else(|| "NULL".to_owned(), text);
    [
        shown(first.and_then(|f| f.1)),
        shown(last.and_then(|l| l.1)),
        time(min_by),
        time(max_by),
        time(low),
        time(high),
        last_text,
    ]
    .join(" ")
}

const FUNCTIONS: &str = "first(x, t) AS a, last(x, t) AS b, min_by(t, x) AS c, max_by(t, x) AS d, \
                         selector_min(x, t)['time'] AS e, selector_max(x, t)['time'] AS f, last(s, t) AS g";

async fn agrees(rows: &[Row], cuts: &[usize]) {
    let session = session();
    let mut partitions = vec![Vec::new(), Vec::new(), Vec::new()];
    let mut from = 0;
    for (i, &cut) in cuts.iter().chain([&rows.len()]).enumerate() {
        let until = cut.clamp(from, rows.len());
        partitions[i % 3].push(batch(&rows[from..until]));
        from = until;
    }
    let table = MemTable::try_new(batch(&[]).schema(), partitions).unwrap();
    session.register_table("r", Arc::new(table)).unwrap();
    let grouped = format!("SELECT k, {FUNCTIONS} FROM r GROUP BY k ORDER BY k");
    let got = run(&session, &grouped).await.unwrap();
    let groups = (0..3).filter(|g| rows.iter().any(|r| r.0 == *g));
    let want: Vec<String> = groups.map(|g| format!("{g} {}", model(rows, g))).collect();
    assert_eq!(got[1..], want, "{rows:?} {cuts:?}");
    let single: Vec<Row> = rows.iter().map(|r| (0, r.1, r.2)).collect();
    let all = run(&session, &format!("SELECT {FUNCTIONS} FROM r")).await.unwrap();
    assert_eq!(all[1], model(&single, 0), "{rows:?} {cuts:?}");
}

#[test]
fn answers_do_not_depend_on_the_order_of_rows_and_partitions() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut runner =
        TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let cuts = proptest::collection::vec(any::<proptest::sample::Index>(), 0..6);
    runner
        .run(&(rows(), cuts), |(rows, cuts)| {
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(rows.len() + 1)).collect();
            cuts.sort_unstable();
            runtime.block_on(agrees(&rows, &cuts));
            Ok(())
        })
        .unwrap();
}
