//! The newest buckets first: the same buckets as of all rows, and few rows read for them.

use crate::fixture::Fixture;

/// Columns, and what stands between them and the order.
const QUERIES: [(&str, &str); 7] = [
    ("date_bin(INTERVAL '1 minute', time) AS b, max(usage), count(*)", "FROM t GROUP BY b"),
    (
        "max(usage) AS m, date_bin(INTERVAL '5 minutes', time) AS b",
        "FROM t WHERE host <> 'h1' GROUP BY b",
    ),
    (
        "date_bin(INTERVAL '1 minute', time) AS b, sum(usage)",
        "FROM t WHERE time < '2024-01-03T04:05:06Z' GROUP BY b",
    ),
    ("date_trunc('hour', time) AS b, min(usage)", "FROM t WHERE host = 'h0' GROUP BY b"),
    (
        "time_bucket(INTERVAL '1 hour', time, 'Asia/Kathmandu') AS b, count(usage)",
        "FROM t GROUP BY b",
    ),
    ("date_bin(INTERVAL '7 minutes', time) AS b, count(DISTINCT host)", "FROM t GROUP BY b"),
    (
        "date_bin(INTERVAL '1 minute', time, TIMESTAMP '2024-01-01T00:00:30Z') AS b, count(*) AS n",
        "FROM t WHERE time > '2024-01-01T12:00:00Z' GROUP BY b",
    ),
];

async fn compare(db: &Fixture, when: &str) {
    for (columns, rest) in QUERIES {
        let all = db.rows(&format!("SELECT {columns} {rest} ORDER BY b DESC")).await;
        for limit in [1, 5, 100] {
            let sql = format!("SELECT {columns} {rest} ORDER BY b DESC LIMIT {limit}");
            assert_eq!(db.rows(&sql).await, all[..limit.min(all.len())], "{when}: {sql}");
        }
    }
}

/// Two series with a row every ten seconds in some hours of three days, and one with three rows.
async fn table(db: &Fixture) {
    db.run("CREATE TABLE t (time TIMESTAMP NOT NULL, host STRING, usage DOUBLE, PRIMARY KEY (host, time))")
        .await;
    db.run(
        "INSERT INTO t SELECT TIMESTAMP '2024-01-01T00:00:00Z' + i * INTERVAL '10 seconds', 'h' || i % 2, i % 997
         FROM generate_series(0, 25919) AS g(i) WHERE i / 360 % 7 NOT IN (1, 4, 5) AND i % 1000 > 50",
    )
    .await;
    db.run(
        "INSERT INTO t VALUES ('2024-01-01T05:00:00Z', 'late', 1), ('2024-01-02T05:00:00Z', 'late', 2),
         ('2024-01-03T05:00:00Z', 'late', 3)",
    )
    .await;
}

#[tokio::test]
async fn the_newest_buckets_are_those_of_all_rows() {
    let db = Fixture::new().await;
    table(&db).await;
    compare(&db, "in memory").await;
    db.run("CHECKPOINT").await;
    compare(&db, "in segments").await;
    db.run("INSERT INTO t VALUES ('2024-01-03T23:59:59.5Z', 'h0', 5000), ('2024-01-02T01:00:00Z', 'h1', -1)")
        .await;
    compare(&db, "with rows in memory").await;
    db.run("DELETE FROM t WHERE time > '2024-01-03T20:00:00Z'").await;
    compare(&db, "without the last hours").await;
    db.run("DELETE FROM t WHERE host <> 'late'").await;
    compare(&db, "with three rows").await;
    db.run("DELETE FROM t").await;
    compare(&db, "empty").await;
}

#[tokio::test]
async fn few_rows_are_read_for_them() {
    let db = Fixture::new().await;
    table(&db).await;
    db.run("CHECKPOINT").await;
    let sql = "SELECT date_bin(INTERVAL '1 minute', time) AS b, max(usage) FROM t GROUP BY b ORDER BY b DESC LIMIT 5";
    let plan = db.rows(&format!("EXPLAIN ANALYZE {sql}")).await.join("\n");
    assert!(plan.contains("NewestBucketsExec: buckets=5"), "{plan}");
    assert!(plan.contains("time=[2024-01-03T"), "{plan}");
    // Neither the oldest ones, nor those by another key or of another order, are found so.
    for other in ["ORDER BY b LIMIT 5", "ORDER BY m DESC LIMIT 5", "ORDER BY b DESC"] {
        let sql = format!(
            "SELECT date_bin(INTERVAL '1 minute', time) AS b, max(usage) AS m FROM t GROUP BY b {other}"
        );
        let plan = db.rows(&format!("EXPLAIN {sql}")).await.join("\n");
        assert!(!plan.contains("NewestBucketsExec"), "{plan}");
    }
}
