//! Grouping by runs answers what DataFusion's own grouping does, over random series, batches and partitions.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Int64Array, RecordBatch, StringViewArray, TimestampNanosecondArray,
};
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionContext, col};
use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestRunner};

use crate::fixture::{run, session};

const RULE: &str = "group_by_runs";

/// Two tags, a time, a value.
pub(crate) type Row = (Option<&'static str>, Option<&'static str>, i64, Option<i64>);

const QUERIES: [&str; 14] = [
    "SELECT a, count(*), sum(v), avg(v), min(v), max(v) FROM t GROUP BY a",
    "SELECT a, b, count(v) FILTER (WHERE v > 0), sum(v) FILTER (WHERE v < 0) FROM t GROUP BY a, b",
    "SELECT a, date_bin('20 seconds', time), sum(v), count(*) FROM t GROUP BY 1, 2",
    "SELECT b, date_bin('20 seconds', time), sum(v), count(*) FROM t GROUP BY 1, 2",
    "SELECT date_bin('1 minute', time), count(*) FROM t GROUP BY 1",
    "SELECT date_trunc('minute', time), upper(a), avg(v) FROM t GROUP BY 1, 2",
    "SELECT time_bucket('1 month', time), a, count(*) FROM t GROUP BY 1, 2",
    "SELECT date_bin('7 seconds', time), date_bin('1 hour', time), a || 'x', max(v) FROM t GROUP BY 1, 2, 3",
    "SELECT a, date_bin('1 minute', time), count(DISTINCT v), median(v) FROM t GROUP BY 1, 2",
    "SELECT a, b, date_bin('1 minute', time), increase(v, time), rate(v, time) FILTER (WHERE v > 0) FROM t GROUP BY 1, 2, 3",
    "SELECT a, b, first_value(v ORDER BY time, v), last(v, time) FROM t GROUP BY a, b",
    "SELECT a, date_bin('10 seconds', time), sum(v) FROM t WHERE v IS DISTINCT FROM 1 GROUP BY 1, 2",
    "SELECT a, date_bin_gapfill('7 seconds', time) AS s, count(*), locf(sum(v)) FROM t \
     WHERE time >= '1970-01-01' AND time < '1970-01-01T00:05:00Z' GROUP BY 1, 2",
    "SELECT DISTINCT a, date_bin('30 seconds', time) FROM t",
];

pub(crate) fn rows() -> impl Strategy<Value = Vec<Row>> {
    let tag = || {
        prop_oneof![
            1 => proptest::strategy::Just(None),
            2 => proptest::strategy::Just(Some("")),
            2 => proptest::strategy::Just(Some("short")),
            2 => proptest::strategy::Just(Some("a text longer than a view, 1")),
            2 => proptest::strategy::Just(Some("a text longer than a view, 2")),
        ]
    };
    let second = prop_oneof![4 => 0..600_i64, 1 => -90_000_000..90_000_000_i64];
    let value = proptest::option::weighted(0.9, -3..4_i64);
    proptest::collection::vec((tag(), tag(), second, value), 0..900)
}

fn batch(rows: &[Row]) -> RecordBatch {
    let times = rows.iter().map(|row| row.2 * 1_000_000_000);
    let columns: [(&str, ArrayRef, bool); 4] = [
        ("a", Arc::new(rows.iter().map(|row| row.0).collect::<StringViewArray>()), true),
        ("b", Arc::new(rows.iter().map(|row| row.1).collect::<StringViewArray>()), true),
        (
            "time",
            Arc::new(TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC")),
            false,
        ),
        ("v", Arc::new(rows.iter().map(|row| row.3).collect::<Int64Array>()), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// The rows sorted by tags and time, cut into partitions and batches.
pub(crate) fn table(mut rows: Vec<Row>, cuts: &[(u8, bool)], sorted: bool) -> MemTable {
    if sorted {
        rows.sort_by_key(|row| (row.0, row.1, row.2));
    }
    let schema = batch(&[]).schema();
    let mut partitions = vec![vec![]];
    let mut cuts = cuts.iter().cycle();
    let mut rest = rows.as_slice();
    while let (false, Some((len, next))) = (rest.is_empty(), cuts.next()) {
        let (piece, left) = rest.split_at(rest.len().min(usize::from(*len) + 1));
        rest = left;
        if *next {
            partitions.push(vec![]);
        }
        partitions.last_mut().unwrap().push(batch(piece));
    }
    let table = MemTable::try_new(schema, partitions).unwrap();
    if !sorted {
        return table;
    }
    let order = ["a", "b", "time"].map(|name| col(name).sort(true, true));
    table.with_sort_order(vec![order.to_vec()])
}

fn without_rule() -> SessionContext {
    let state = session().state();
    let rules = state.physical_optimizers().to_vec();
    let kept = rules.into_iter().filter(|rule| rule.name() != RULE).collect();
    let state =
        SessionStateBuilder::new_from_existing(state).with_physical_optimizer_rules(kept).build();
    SessionContext::new_with_state(state)
}

async fn answers(session: &SessionContext, table: &Arc<MemTable>, sql: &str) -> Vec<String> {
    let _ = session.deregister_table("t").unwrap();
    let _ = session.register_table("t", Arc::clone(table) as _).unwrap();
    let mut lines = run(session, sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    lines[1..].sort_unstable();
    lines
}

#[test]
fn groups_are_those_of_plain_grouping() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let cuts = proptest::collection::vec((any::<u8>(), proptest::bool::weighted(0.3)), 1..12);
    let mut runner = TestRunner::new(Config { cases: 96, ..Config::default() });
    let (ours, plain) = (session(), without_rule());
    let result = runner.run(&(rows(), cuts, any::<bool>()), |(rows, cuts, sorted)| {
        let table = Arc::new(table(rows, &cuts, sorted));
        runtime.block_on(async {
            for sql in QUERIES {
                let want = answers(&plain, &table, sql).await;
                proptest::prop_assert_eq!(answers(&ours, &table, sql).await, want, "{}", sql);
            }
            Ok(())
        })
    });
    result.unwrap_or_else(|e| panic!("{e}\n{runner}"));
}

#[tokio::test]
async fn sorted_rows_are_grouped_by_runs() {
    let rows = (0..100).map(|second| (Some("x"), None, second, Some(second))).collect();
    let cuts = [(30, false), (10, true)];
    let table = Arc::new(table(rows, &cuts, true));
    let session = session();
    // The keys of a DISTINCT are computed below it.
    for sql in QUERIES.iter().filter(|sql| !sql.contains("SELECT DISTINCT")) {
        let plan = answers(&session, &table, &format!("EXPLAIN {sql}")).await.join("\n");
        assert!(plan.contains("RunAggregateExec: mode=Partial"), "{sql}: {plan}");
    }
    for sql in [
        "SELECT time, count(*) FROM t GROUP BY time",
        "SELECT v, count(*) FROM t GROUP BY v",
        "SELECT extract(hour FROM time), count(*) FROM t GROUP BY 1",
        "SELECT date_bin('1 minute', time + interval '1 second'), count(*) FROM t GROUP BY 1",
        "SELECT a, random(), count(*) FROM t GROUP BY 1, 2",
        "SELECT count(*) FROM t",
    ] {
        let plan = answers(&session, &table, &format!("EXPLAIN {sql}")).await.join("\n");
        assert!(!plan.contains("RunAggregateExec"), "{sql}: {plan}");
    }
}

/// More groups than are kept of sorted rows, and more than there is memory for.
#[tokio::test]
async fn many_groups_are_given_away_in_parts() {
    let rows: Vec<Row> = (0..150_000)
        .map(|second| (Some(if second < 75_000 { "x" } else { "y" }), None, second, Some(1)))
        .collect();
    let table = Arc::new(table(rows, &[(255, false), (255, false), (7, true)], true));
    let sql = "SELECT count(*), sum(n), min(n) FROM (SELECT a, date_bin('1 second', time) AS s, \
               sum(v) AS n FROM t GROUP BY 1, 2)";
    let want = ["count(*) sum(n) min(n)", "150000 150000 1"];
    assert_eq!(answers(&session(), &table, sql).await, want);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(12 << 20)))
        .build_arc()
        .unwrap();
    let state = SessionStateBuilder::new_from_existing(session().state()).with_runtime_env(runtime);
    let narrow = SessionContext::new_with_state(state.build());
    assert_eq!(answers(&narrow, &table, sql).await, want);
    let unsorted = sql.replace("a, ", "").replace("GROUP BY 1, 2", "GROUP BY 1");
    assert_eq!(answers(&narrow, &table, &unsorted).await, want);
}
