//! Parameters: their types as planned, their values as bound.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, DurationSecondArray, Float64Array, Int64Array, StringArray, TimestampMillisecondArray,
};
use datafusion::arrow::record_batch::RecordBatch;
use quorate_engine::{ErrorKind, Outcome};

use crate::fixture::{Fixture, rows, run};

fn batch(columns: Vec<ArrayRef>) -> RecordBatch {
    let named = columns.into_iter().enumerate().map(|(i, c)| (format!("p{i}"), c, true));
    RecordBatch::try_from_iter_with_nullable(named).unwrap()
}

fn text(values: Vec<&str>) -> ArrayRef {
    Arc::new(StringArray::from(values))
}

async fn check_types(db: &Fixture, sql: &str, want: &str) {
    let plan = db.session.plan(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    let types = plan
        .parameters
        .fields()
        .iter()
        .map(|f| format!("{} {}", f.name(), f.data_type()))
        .collect::<Vec<_>>();
    assert_eq!(types.join("; "), want, "{sql}");
}

#[tokio::test]
async fn types_are_those_of_what_parameters_are_compared_with_or_fill() {
    let db = Fixture::new().await.cpu().await;
    for (sql, want) in [
        ("SELECT * FROM cpu WHERE host = ? AND usage > ?", "$1 Utf8; $2 Float64"),
        ("SELECT * FROM cpu WHERE time >= $2 AND n = $1", "$1 Int64; $2 Timestamp(ns, \"UTC\")"),
        ("SELECT * FROM cpu LIMIT ? OFFSET ?", "$1 Int64; $2 Int64"),
        ("SELECT ?", "$1 Utf8"),
        ("SELECT CAST($1 AS BIGINT) + 1, $2::TIMESTAMP", "$1 Int64; $2 Timestamp(ns)"),
        ("SELECT $3 FROM cpu WHERE n = $1", "$1 Int64; $2 Utf8; $3 Utf8"),
        ("SELECT * FROM cpu WHERE host = $name", "$name Utf8"),
        (
            "INSERT INTO cpu (time, host, usage, n) VALUES (?, ?, ?, ? + 1)",
            "$1 Timestamp(ns, \"UTC\"); $2 Utf8; $3 Float64; $4 Utf8",
        ),
        ("DELETE FROM cpu WHERE host = ? AND time < ?", "$1 Utf8; $2 Timestamp(ns, \"UTC\")"),
    ] {
        check_types(&db, sql, want).await;
    }
}

#[tokio::test]
async fn queries_run_once_per_row_of_parameters() {
    let db = Fixture::new().await.cpu().await;
    let query = async |sql: &str, columns: Vec<ArrayRef>| {
        rows(&db.session, sql, Some(batch(columns))).await.map(|rows| rows.join("|"))
    };
    let sql = "SELECT usage FROM cpu WHERE host = ? AND usage > ? ORDER BY usage";
    assert_eq!(
        query(sql, vec![text(vec!["a"]), Arc::new(Int64Array::from(vec![1]))]).await.unwrap(),
        "2.0"
    );
    let sql = "SELECT usage FROM cpu WHERE time = $1 ORDER BY usage LIMIT $2";
    let time = Arc::new(TimestampMillisecondArray::from(vec![1_704_067_200_000])) as ArrayRef;
    assert_eq!(query(sql, vec![time, text(vec!["2"])]).await.unwrap(), "1.0|3.0");
    let time = text(vec!["2024-01-01T00:00:00"]);
    assert_eq!(query(sql, vec![time, text(vec!["1"])]).await.unwrap(), "1.0");

    let sql = "SELECT ? AS asked, usage FROM cpu WHERE host = ? ORDER BY usage DESC LIMIT 1";
    let hosts = text(vec!["b", "x", "a"]);
    let each = query(sql, vec![Arc::clone(&hosts), hosts]).await.unwrap();
    let one = async |host: &str| query(sql, vec![text(vec![host]); 2]).await.unwrap();
    assert_eq!(each, [one("b").await, one("a").await].join("|"));
    db.run("CREATE TABLE m_a (time TIMESTAMP, x DOUBLE)").await;
    db.run("CREATE TABLE m_b (time TIMESTAMP, y DOUBLE)").await;
    let sql = "SELECT * FROM series(?)";
    let wrong = query(sql, vec![text(vec!["m_a", "m_b"])]).await.unwrap_err();
    assert!(wrong.to_string().contains("answers with different columns"), "{wrong}");
    let wrong = query("SELECT ?", vec![text(vec![])]).await.unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Invalid, "{wrong}");
    let wrong = query("SELECT ?, ?", vec![text(vec!["a"])]).await.unwrap_err();
    assert!(wrong.to_string().contains("2 parameters, and 1"), "{wrong}");
    let wrong = query("SELECT * FROM cpu WHERE n = ?", vec![text(vec!["x"])]).await.unwrap_err();
    assert!(wrong.to_string().contains("parameter $1"), "{wrong}");
    let missing = rows(&db.session, "SELECT ?", None).await.unwrap_err();
    assert!(missing.to_string().contains("1 parameters, and 0"), "{missing}");
}

#[tokio::test]
async fn named_parameters_are_bound_by_name() {
    let db = Fixture::new().await.cpu().await;
    let values = RecordBatch::try_from_iter([
        ("n", Arc::new(Int64Array::from(vec![20])) as ArrayRef),
        ("host", text(vec!["a"])),
    ])
    .unwrap();
    let sql = "SELECT usage FROM cpu WHERE host = $host AND n = $n";
    assert_eq!(rows(&db.session, sql, Some(values)).await.unwrap(), ["2.0"]);
}

#[tokio::test]
async fn an_insert_runs_once_per_row() {
    let db = Fixture::new().await.cpu().await;
    let times = text(vec!["2024-03-01", "2024-03-02", "2024-03-03"]);
    let usage = Arc::new(Float64Array::from(vec![Some(1.0), None, Some(3.0)])) as ArrayRef;
    let sql = "INSERT INTO cpu (time, host, region, usage) VALUES (?, 'p', upper('x'), ?)";
    let outcome =
        run(&db.session, sql, Some(batch(vec![Arc::clone(&times), Arc::clone(&usage)]))).await;
    assert!(matches!(outcome.unwrap(), Outcome::Updated(Some(3))));
    db.check(
        "SELECT host, region, usage FROM cpu WHERE host = 'p' ORDER BY time",
        &["p X 1.0", "p X NULL", "p X 3.0"],
    )
    .await;
    // With an expression over a parameter, and several rows of values.
    let sql = "INSERT INTO cpu (time, host, usage) VALUES ($1, 'q', $2 * 2), ($1, 'r', $2)";
    let outcome = run(&db.session, sql, Some(batch(vec![times, usage]))).await;
    assert!(matches!(outcome.unwrap(), Outcome::Updated(Some(6))));
    db.check(
        "SELECT host, sum(usage) FROM cpu WHERE host IN ('q', 'r') GROUP BY host ORDER BY host",
        &["q 8.0", "r 4.0"],
    )
    .await;
    let sql = "INSERT INTO cpu (time, host, usage) SELECT time, ?, usage FROM cpu WHERE host = 'a'";
    let outcome = run(&db.session, sql, Some(batch(vec![text(vec!["s", "t"])]))).await;
    assert!(matches!(outcome.unwrap(), Outcome::Updated(Some(4))));
}

#[tokio::test]
async fn a_delete_runs_once_per_row() {
    let db = Fixture::new().await.cpu().await;
    let values = batch(vec![text(vec!["a", "c"])]);
    run(&db.session, "DELETE FROM cpu WHERE host = ?", Some(values)).await.unwrap();
    db.check("SELECT DISTINCT host FROM cpu", &["b"]).await;
}

#[tokio::test]
async fn parameters_of_row_sources_are_bound_before_planning() {
    let db = Fixture::new().await.cpu().await;
    let query = async |sql: &str, columns: Vec<ArrayRef>| {
        rows(&db.session, sql, Some(batch(columns))).await.map(|rows| rows.join("|"))
    };
    let sql = "SELECT table_name, count(*) FROM series($1) WHERE host = $2 GROUP BY table_name";
    assert_eq!(query(sql, vec![text(vec!["c.*"]), text(vec!["a"])]).await.unwrap(), "cpu 2");
    let sql = "SELECT host, missing FROM gaps(?, ?, ?)";
    let seconds = |n: i64| Arc::new(DurationSecondArray::from(vec![n])) as ArrayRef;
    let gaps = async |table: ArrayRef, every: ArrayRef, tolerance: ArrayRef| {
        query(sql, vec![table, every, tolerance]).await
    };
    assert_eq!(gaps(text(vec!["cpu"]), seconds(30), seconds(60)).await.unwrap(), "b 3");
    assert_eq!(gaps(text(vec!["cpu"]), text(vec!["1m"]), text(vec!["1s"])).await.unwrap(), "b 1");
    let wrong = gaps(text(vec!["cpu"]), text(vec!["1m"]), text(vec!["soon"])).await.unwrap_err();
    assert!(wrong.to_string().contains("gaps: the tolerance"), "{wrong}");
    let one = Arc::new(Int64Array::from(vec![1])) as ArrayRef;
    let wrong = query("SELECT * FROM series($1)", vec![Arc::clone(&one)]).await.unwrap_err();
    assert!(wrong.to_string().contains("parameter $1 is a text, the regular"), "{wrong}");
    let wrong = gaps(one, seconds(1), seconds(1)).await.unwrap_err();
    assert!(wrong.to_string().contains("parameter $1 is a text or an interval"), "{wrong}");
    let wrong = query("SELECT * FROM series($1)", vec![text(vec!["x"])]).await.unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::NotFound, "{wrong}");
}

#[tokio::test]
async fn a_plan_has_made_up_columns_while_a_parameter_decides_them() {
    let db = Fixture::new().await.cpu().await;
    for sql in ["SELECT * FROM series($1) WHERE n > $2", "SELECT * FROM gaps($1, $2)"] {
        let plan = db.session.plan(sql).await.unwrap();
        assert_eq!(plan.schema.field(0).name(), "result", "{sql}");
        check_types(&db, sql, "$1 Utf8; $2 Utf8").await;
    }
    let plan = db.session.plan("SELECT * FROM gaps('cpu', $1)").await.unwrap();
    let names: Vec<&str> = plan.schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names, ["host", "region", "gap_start", "gap_end", "missing"]);
    check_types(&db, "DELETE FROM series($1) WHERE host = $2", "$1 Utf8; $2 Utf8").await;
}

#[tokio::test]
async fn a_delete_from_series_by_parameters_runs_once_per_row() {
    let db = Fixture::new().await.cpu().await;
    let values = batch(vec![text(vec!["c.*", "cpu"]), text(vec!["a", "c"])]);
    let sql = "DELETE FROM series($1) WHERE host = $2";
    let outcome = run(&db.session, sql, Some(values)).await.unwrap();
    assert!(matches!(outcome, Outcome::Updated(Some(3))), "{outcome:?}");
    db.check("SELECT DISTINCT host FROM cpu", &["b"]).await;
}
