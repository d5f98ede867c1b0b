//! As-of joins of random tables against a nested loop, and their plans over sorted tables.

use std::fmt::Write;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray,
};
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext, col};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{ProptestConfig, Strategy, prop_assert_eq, proptest};

use crate::fixture::run;

/// Two keys, a time, and a value.
type Row = (Option<u8>, Option<u8>, Option<i64>, i64);

fn rows(most: usize) -> impl Strategy<Value = Vec<Row>> {
    let key = || option::weighted(0.9, 0..3_u8);
    let row = (key(), key(), option::weighted(0.9, -20..20_i64), 0..4_i64);
    vec(row, 0..most)
}

fn batch(rows: &[Row]) -> RecordBatch {
    let host: StringArray = rows.iter().map(|r| r.0.map(|k| format!("h{k}"))).collect();
    let core: Int64Array = rows.iter().map(|r| r.1.map(i64::from)).collect();
    let time: TimestampNanosecondArray = rows.iter().map(|r| r.2).collect();
    let value: Int64Array = rows.iter().map(|r| Some(r.3)).collect();
    let columns: [(&str, ArrayRef, bool); 4] = [
        ("host", Arc::new(host), true),
        ("core", Arc::new(core), true),
        ("time", Arc::new(time), true),
        ("v", Arc::new(value), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).expect("columns have one length")
}

/// How the rows of a table lie.
#[derive(Clone, Copy, Debug)]
enum Dealt {
    /// Batch by batch, as they come.
    Unsorted,
    /// Sorted, so many rows to one partition, so many to the other, and so on.
    InTurns(usize),
}

/// A session whose tables `l` and `r` have these rows, in several batches and two partitions.
fn session(
    tables: [&[Row]; 2],
    partitions: usize,
    batch_rows: usize,
    dealt: Dealt,
) -> SessionContext {
    let config =
        SessionConfig::new().with_target_partitions(partitions).with_batch_size(batch_rows);
    let mut config = config.with_information_schema(true);
    config.options_mut().optimizer.prefer_existing_sort = true;
    let state = SessionContext::new_with_config(config).state();
    let state = quorate_timeseries::install(state).expect("functions are added");
    let session = SessionContext::new_with_state(state);
    for (name, rows) in ["l", "r"].into_iter().zip(tables) {
        let mut rows = rows.to_vec();
        let mut parts = vec![Vec::new(), Vec::new()];
        match dealt {
            Dealt::Unsorted => {
                for (index, part) in rows.chunks(batch_rows).enumerate() {
                    parts[index % 2].push(batch(part));
                }
            }
            Dealt::InTurns(turn) => {
                rows.sort();
                for (place, part) in parts.iter_mut().enumerate() {
                    let turns = rows.chunks(turn).skip(place).step_by(2);
                    let rows: Vec<Row> = turns.flatten().copied().collect();
                    part.extend(rows.chunks(batch_rows).map(batch));
                }
            }
        }
        let table = MemTable::try_new(batch(&[]).schema(), parts).expect("batches have one schema");
        let order = ["host", "core", "time"].map(|name| col(name).sort(true, true)).to_vec();
        let table = match dealt {
            Dealt::Unsorted => table,
            Dealt::InTurns(_) => table.with_sort_order(vec![order]),
        };
        session.register_table(name, Arc::new(table)).expect("the name is free");
    }
    session
}

/// What a join asks for.
#[derive(Clone, Copy, Debug)]
struct Asked {
    comparison: &'static str,
    /// How many of the two keys are equal.
    keys: usize,
    is_left: bool,
    tolerance: Option<u8>,
}

impl Asked {
    fn sql(self) -> String {
        let mut on = format!("l.time {} r.time", self.comparison);
        for key in ["host", "core"].into_iter().take(self.keys) {
            let _ = write!(on, " AND l.{key} = r.{key}");
        }
        if let Some(most) = self.tolerance {
            let _ = write!(on, " TOLERANCE INTERVAL '{most} nanoseconds'");
        }
        let kind = if self.is_left { "LEFT " } else { "" };
        let columns = ["host", "core", "time", "v"];
        let columns = ["l", "r"].map(|t| columns.map(|c| format!("{t}.{c} AS {t}{c}")).join(", "));
        format!("SELECT {} FROM l ASOF {kind}JOIN r ON {on}", columns.join(", "))
    }

    fn holds(self, l: &Row, r: &Row) -> bool {
        let (Some(left), Some(right)) = (l.2, r.2) else { return false };
        let equal = |l: Option<u8>, r: Option<u8>| l.is_some() && l == r;
        let keys = [equal(l.0, r.0), equal(l.1, r.1)];
        let near = |most: u8| left.abs_diff(right) <= u64::from(most);
        keys.iter().take(self.keys).all(|equal| *equal)
            && self.tolerance.is_none_or(near)
            && match self.comparison {
                ">=" => left >= right,
                ">" => left > right,
                "<=" => left <= right,
                _ => left < right,
            }
    }

    /// The rows of the answer, sorted.
    fn model(self, left: &[Row], right: &[Row]) -> Vec<String> {
        let mut lines = Vec::new();
        for l in left {
            let matching = right.iter().filter(|r| self.holds(l, r));
            // Of equal times the greatest by host, core, value, nulls least.
            let of_row = |r: &&Row| (r.2, r.0, r.1, r.3);
            let ahead = self.comparison.starts_with('<');
            let nearest = if ahead {
                matching.clone().map(|r| r.2).min()
            } else {
                matching.clone().map(|r| r.2).max()
            };
            let partner = matching.filter(|r| Some(r.2) == nearest).max_by_key(of_row);
            if partner.is_some() || self.is_left {
                lines.push(format!("{} {}", text(Some(l)), text(partner)));
            }
        }
        lines.sort();
        lines
    }
}

fn text(row: Option<&Row>) -> String {
    let null = || "NULL".to_owned();
    let Some((host, core, time, value)) = row else {
        return [null(), null(), null(), null()].join(" ");
    };
    let time = time.map_or_else(null, |t| {
        let at = chrono::DateTime::from_timestamp_nanos(t).naive_utc();
        at.format("%Y-%m-%dT%H:%M:%S%.f").to_string()
    });
    let host = host.map_or_else(null, |k| format!("h{k}"));
    let core = core.map_or_else(null, |k| k.to_string());
    format!("{host} {core} {time} {value}")
}

async fn answer(session: &SessionContext, asked: Asked) -> Vec<String> {
    let mut lines = run(session, &asked.sql()).await.expect("it runs");
    lines.remove(0);
    lines.sort();
    lines
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn joins_answer_as_a_nested_loop(
        left in rows(24),
        right in rows(40),
        partitions in 1..4_usize,
        batch_rows in 1..9_usize,
        turn in option::of(1..40_usize),
        keys in 0..3_usize,
        tolerance in option::of(0..12_u8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let dealt = turn.map_or(Dealt::Unsorted, Dealt::InTurns);
        let session = session([&left, &right], partitions, batch_rows, dealt);
        for comparison in [">=", ">", "<=", "<"] {
            for is_left in [false, true] {
                let asked = Asked { comparison, keys, is_left, tolerance };
                let got = runtime.block_on(answer(&session, asked));
                prop_assert_eq!(got, asked.model(&left, &right), "{:?}", asked);
            }
        }
    }
}

fn series() -> Vec<Row> {
    let mut rows: Vec<Row> =
        (0..60_u8).map(|n| (Some(n % 3), Some(n % 2), Some(i64::from(n)), i64::from(n))).collect();
    rows.sort();
    rows
}

/// Rows of several series, far more than are copied together.
fn long_series(step: i64) -> Vec<Row> {
    let series = [(Some(0), Some(0), 1300), (Some(0), Some(1), 20), (Some(1), Some(0), 900)];
    let rows = series.into_iter().flat_map(|(host, core, count)| {
        (0..count).map(move |n| (host, core, Some(n * step), n % 5))
    });
    rows.collect()
}

#[tokio::test]
async fn long_runs_join_however_their_rows_are_dealt_out() {
    let (left, right) = (long_series(3), long_series(4));
    for (turn, batch_rows) in [(1, 1000), (40, 1000), (700, 64), (1300, 1024), (5000, 512)] {
        let session = session([&left, &right], 2, batch_rows, Dealt::InTurns(turn));
        for (comparison, keys) in [(">=", 2), ("<", 2), (">", 0)] {
            let asked = Asked { comparison, keys, is_left: true, tolerance: None };
            assert_eq!(
                answer(&session, asked).await,
                asked.model(&left, &right),
                "{turn} {asked:?}"
            );
        }
    }
}

async fn physical(session: &SessionContext, sql: &str) -> String {
    let lines = run(session, &format!("EXPLAIN {sql}")).await.expect(sql).join("\n");
    lines.split_once("physical_plan").expect("both plans are shown").1.to_owned()
}

#[tokio::test]
async fn sorted_tables_are_merged_without_a_sort() {
    let rows = series();
    let session = session([&rows, &rows], 2, 4, Dealt::InTurns(30));
    for on in ["l.host = r.host AND l.core = r.core", "l.core = r.core AND l.host = r.host"] {
        let sql = format!("SELECT l.v, r.v FROM l ASOF JOIN r ON {on} AND l.time > r.time");
        let plan = physical(&session, &sql).await;
        assert!(plan.contains("AsOfJoinExec: type=Inner"), "{plan}");
        assert!(!plan.contains("SortExec") && !plan.contains("RepartitionExec"), "{plan}");
        assert!(!plan.contains("SortPreservingMergeExec"), "{plan}");
        assert_eq!(run(&session, &sql).await.expect("it runs").len(), 1 + 54);
    }
    let sql = "SELECT l.v, r.v FROM l ASOF JOIN r ON l.host = r.host AND l.time > r.time \
               WHERE l.host = 'h1' AND l.core = 1 AND r.core = 1";
    let plan = physical(&session, sql).await;
    assert!(plan.contains("AsOfJoinExec"), "{plan}");
}

#[tokio::test]
async fn columns_that_nobody_asks_for_are_not_put_together() {
    const ALL: [&str; 6] = ["l.host", "l.core", "l.time", "l.v", "r.time", "r.v"];
    let rows = series();
    let session = session([&rows, &rows], 2, 4, Dealt::InTurns(30));
    for kind in ["", "LEFT "] {
        let join = format!(
            "FROM l ASOF {kind}JOIN r ON l.host = r.host AND l.core = r.core AND l.time > r.time"
        );
        let all = format!("SELECT {} {join}", ALL.join(", "));
        let all = run(&session, &all).await.expect(&all);
        for (asked, shown) in [
            (&["r.v"][..], "columns=[v]"),
            (&["r.v", "l.v"], "columns=[v, v]"),
            (&["l.v", "r.time", "l.host"], "columns=[v, time, host]"),
            (&["l.core", "l.time"], "columns=[core, time]"),
        ] {
            let sql = format!("SELECT {} {join}", asked.join(", "));
            let plan = physical(&session, &sql).await;
            assert!(plan.contains(shown), "{sql}: {plan}");
            let places = asked.iter().filter_map(|name| ALL.iter().position(|known| known == name));
            let places: Vec<usize> = places.collect();
            let pick = |line: &String| {
                let cells: Vec<&str> = line.split(' ').collect();
                places.iter().map(|place| cells[*place]).collect::<Vec<_>>().join(" ")
            };
            let mut want: Vec<String> = all.iter().skip(1).map(pick).collect();
            let mut got = run(&session, &sql).await.expect(&sql).split_off(1);
            want.sort();
            got.sort();
            assert_eq!(got, want, "{sql}");
        }
        let sql = format!("SELECT count(*) {join}");
        let plan = physical(&session, &sql).await;
        // Of a left join the number of rows is known.
        assert!(plan.contains("columns=[]") || kind == "LEFT ", "{plan}");
        assert_eq!(run(&session, &sql).await.expect(&sql)[1], (all.len() - 1).to_string());
    }
}

#[tokio::test]
async fn the_order_of_the_left_side_is_that_of_the_answer() {
    let rows = series();
    let session = session([&rows, &rows], 1, 4, Dealt::InTurns(7));
    let sql = "SELECT l.host, l.core, l.time, r.v FROM l ASOF LEFT JOIN r USING (host, core, time) \
               ORDER BY l.host NULLS FIRST, l.core NULLS FIRST, l.time NULLS FIRST";
    let plan = physical(&session, sql).await;
    assert!(plan.contains("AsOfJoinExec: type=Left") && !plan.contains("SortExec"), "{plan}");
}

#[tokio::test]
async fn unsorted_tables_are_parted_by_keys_and_sorted() {
    let rows = series();
    let session = session([&rows, &rows], 3, 4, Dealt::Unsorted);
    let sql = "SELECT l.v, r.v FROM l ASOF JOIN r ON l.host = r.host AND l.time > r.time";
    let plan = physical(&session, sql).await;
    assert!(plan.contains("SortExec") && plan.contains("Hash([host"), "{plan}");
}
