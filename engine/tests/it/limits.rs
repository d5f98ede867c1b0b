//! Limits: time, memory, cancellation, and who may see a query.

use std::time::Duration;

use futures::StreamExt;
use quorate_engine::ingest::Precision;
use quorate_engine::{Error, ErrorKind, Outcome, SessionOptions};

use crate::fixture::{Fixture, collect, rows, stateful};

/// A query that would run for hours.
const ENDLESS: &str =
    "SELECT count(*) FROM generate_series(1, 9000000000000000000) WHERE value % 7 = 8";

#[tokio::test]
async fn a_line_with_too_many_fields_does_not_keep_others_out_of_a_new_table() {
    let db = Fixture::new().await;
    let many: Vec<String> = (0..5_000).map(|i| format!("f{i}=1")).collect();
    let body = format!("t,host=a x=1 1\nt,host=a {} 2\nt,host=a x=3 3\n", many.join(","));
    let write = async |accept_partial| {
        let body = bytes::Bytes::from(body.clone());
        let report = db.session.write_lines(body, Precision::Nanosecond, accept_partial).await;
        let report = report.unwrap();
        let lines: Vec<u64> = report.rejected.iter().map(|line| line.line_number).collect();
        (report.points, lines)
    };
    // Where all or nothing is stored, no columns are made for what will be refused.
    assert_eq!(write(false).await.0, 0);
    db.check("SHOW TABLES", &[]).await;
    assert_eq!(write(true).await, (2, vec![2]));
    db.check("SELECT x FROM t ORDER BY time", &["1.0", "3.0"]).await;
}

#[tokio::test]
async fn a_query_ends_at_its_timeout() {
    let db = Fixture::new().await;
    let options = SessionOptions {
        query_timeout: Some(Duration::from_millis(200)),
        ..SessionOptions::default()
    };
    let error = rows(&db.engine.session(options), ENDLESS, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.to_string().contains("query_timeout of 200ms"), "{error}");
    db.check("SELECT 1", &["1"]).await;
}

#[tokio::test]
async fn joins_that_never_end_leave_the_threads_to_others_when_their_time_is_over() {
    let db = Fixture::new().await.cpu().await;
    let options = SessionOptions {
        query_timeout: Some(Duration::from_millis(200)),
        ..SessionOptions::default()
    };
    let tables = |count: usize| (0..count).map(|i| format!("cpu t{i}")).collect::<Vec<_>>();
    let sql = [
        format!("SELECT count(*) FROM {}", tables(40).join(", ")),
        format!("SELECT count(*) FROM {}", tables(40).join(" CROSS JOIN ")),
        "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b"
            .to_owned(),
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n FROM r) SELECT count(*) FROM r"
            .to_owned(),
    ];
    // As many as there are threads would be enough.
    for sql in sql.iter().cycle().take(3 * sql.len()) {
        let error = rows(&db.engine.session(options.clone()), sql, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{sql}: {error}");
    }
    db.check("SELECT 1", &["1"]).await;
}

#[tokio::test]
async fn kill_query_ends_a_query() {
    let db = Fixture::new().await;
    let session = db.engine.session(stateful());
    let Outcome::Rows(mut stream) = session.execute(ENDLESS, None).await.unwrap() else {
        panic!("a query gives rows")
    };
    db.check(
        "SELECT count(*) FROM system.queries WHERE query LIKE '%value % 7%' AND query NOT LIKE '%system%'",
        &["1"],
    )
    .await;
    db.run(&format!("KILL QUERY {}", stream.id)).await;
    let error = Error::from(stream.batches.next().await.unwrap().unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    assert!(stream.batches.next().await.is_none());
    until_alone(&db).await;
    assert!(!db.engine.cancel(stream.id));
}

/// Waits until no query but the one that asks is listed: one that was told to end is, until its operators yield.
async fn until_alone(db: &Fixture) {
    let alone = async {
        while db.rows("SELECT query_id FROM system.queries").await.len() > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), alone).await.expect("a query still runs");
}

#[tokio::test]
async fn a_dropped_stream_ends_its_query() {
    let db = Fixture::new().await;
    let outcome = db.session.execute(ENDLESS, None).await.unwrap();
    drop(outcome);
    until_alone(&db).await;
}

#[tokio::test]
async fn a_query_over_the_memory_limit_fails_and_the_node_goes_on() {
    let db = Fixture::with(|options| options.query_memory_bytes = 2 << 20).await;
    let sql = "SELECT array_agg(value) FROM generate_series(1, 5000000)";
    let error = rows(&db.session, sql, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
    assert!(error.to_string().contains("memory_limit"), "{error}");
    db.check("SELECT 1", &["1"]).await;
}

#[tokio::test]
async fn a_large_sort_spills() {
    let db = Fixture::with(|options| options.query_memory_bytes = 64 << 20).await;
    let sql = "SELECT max(n) FROM (SELECT row_number() OVER (ORDER BY md5(value::text)) AS n
               FROM generate_series(1, 1000000))";
    db.check(sql, &["1000000"]).await;
}

#[tokio::test]
async fn a_closed_engine_refuses_queries() {
    let db = Fixture::new().await;
    let session = db.engine.session(stateful());
    db.engine.close().await.unwrap();
    let outcome = session.execute("SELECT 1", None).await;
    let error = match outcome {
        Ok(outcome) => collect(outcome).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Internal), "{error}");
}
