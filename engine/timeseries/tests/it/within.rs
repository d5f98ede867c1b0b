//! Sorting within groups gives the order that a sort gives, over random series, batches and partitions.

use std::sync::Arc;

use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::SessionContext;
use proptest::prelude::any;
use proptest::test_runner::{Config, TestRunner};

use crate::fixture::{run, session};
use crate::runs::{Row, rows, table};

const ORDERS: [&str; 4] = [
    "a NULLS FIRST, time, v, b",
    "a NULLS FIRST, time DESC, b, v",
    "a NULLS FIRST, b NULLS FIRST, v, time",
    "a NULLS FIRST, v DESC, time, b",
];

async fn answers(session: &SessionContext, table: &Arc<MemTable>, sql: &str) -> Vec<String> {
    let _ = session.deregister_table("t").unwrap();
    let _ = session.register_table("t", Arc::clone(table) as _).unwrap();
    run(session, sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"))
}

fn without_rule() -> SessionContext {
    let state = session().state();
    let rules = state.physical_optimizers().to_vec();
    let kept = rules.into_iter().filter(|rule| rule.name() != "sort_within").collect();
    let state =
        SessionStateBuilder::new_from_existing(state).with_physical_optimizer_rules(kept).build();
    SessionContext::new_with_state(state)
}

#[test]
fn rows_come_in_the_order_of_a_sort() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let cuts = proptest::collection::vec((any::<u8>(), proptest::bool::weighted(0.3)), 1..12);
    let mut runner = TestRunner::new(Config { cases: 96, ..Config::default() });
    let (ours, plain) = (session(), without_rule());
    let result = runner.run(&(rows(), cuts), |(rows, cuts)| {
        let table = Arc::new(table(rows, &cuts, true));
        runtime.block_on(async {
            for order in ORDERS {
                let sql = format!("SELECT a, b, time, v FROM t ORDER BY {order}");
                let want = answers(&plain, &table, &sql).await;
                proptest::prop_assert_eq!(answers(&ours, &table, &sql).await, want, "{}", sql);
            }
            Ok(())
        })
    });
    result.unwrap_or_else(|e| panic!("{e}\n{runner}"));
}

/// Each tag `a` has several series, in turns of time.
fn series(of_each: i64) -> Vec<Row> {
    let tags = [(Some("x"), Some("1")), (Some("x"), Some("2")), (Some("y"), None)];
    let points = |(a, b)| (0..of_each).map(move |second| (a, b, second, Some(second % 7)));
    tags.into_iter().flat_map(points).collect()
}

#[tokio::test]
async fn plans_say_what_is_sorted_within_what() {
    let table = Arc::new(table(series(50), &[(30, false), (10, true)], true));
    for order in ORDERS {
        let sql = format!("EXPLAIN SELECT a, b, time, v FROM t ORDER BY {order}");
        let plan = answers(&session(), &table, &sql).await.join("\n");
        assert!(plan.contains("SortWithinExec"), "{order}: {plan}");
        assert!(plan.contains("sorted_by=[a@0 ASC"), "{order}: {plan}");
    }
    for order in ["a NULLS FIRST, b NULLS FIRST, time", "time", "a NULLS FIRST, time LIMIT 3"] {
        let sql = format!("EXPLAIN SELECT a, b, time, v FROM t ORDER BY {order}");
        let plan = answers(&session(), &table, &sql).await.join("\n");
        assert!(!plan.contains("SortWithinExec"), "{order}: {plan}");
    }
}

/// Groups that are too large to be held are sorted by way of the disk.
#[tokio::test]
async fn large_groups_are_spilled() {
    let table = Arc::new(table(series(200_000), &[(255, false), (255, false), (99, true)], true));
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(48 << 20)))
        .build_arc()
        .unwrap();
    let state = SessionStateBuilder::new_from_existing(session().state()).with_runtime_env(runtime);
    let narrow = SessionContext::new_with_state(state.build());
    let sql = "SELECT a, b, time, v FROM t ORDER BY a NULLS FIRST, time, b NULLS FIRST";
    let sorted = answers(&narrow, &table, sql).await;
    let ordered = answers(&without_rule(), &table, sql).await;
    assert_eq!(sorted.len(), 600_001);
    assert!(sorted == ordered, "the rows of large groups are in another order");
}

/// The first tag as the only key of an as-of join: inputs are put in order a tag at a time, not sorted whole.
#[tokio::test]
async fn as_of_joins_by_the_first_tag_sort_within_it() {
    let session = session();
    let sorted = Arc::new(table(series(300), &[(70, false), (11, true)], true));
    let plain = Arc::new(table(series(300), &[(70, false), (11, true)], false));
    let sql = "SELECT count(*), sum(r.v), max(r.b) FROM t l ASOF JOIN t r MATCH_CONDITION (l.time > r.time) \
               ON l.a = r.a";
    let plan = answers(&session, &sorted, &format!("EXPLAIN {sql}")).await.join("\n");
    assert!(plan.contains("SortWithinExec"), "{plan}");
    assert!(!plan.contains("RepartitionExec"), "{plan}");
    let want = answers(&session, &plain, sql).await;
    assert_eq!(want[1], "900 2676 2");
    assert_eq!(answers(&session, &sorted, sql).await, want);
}
