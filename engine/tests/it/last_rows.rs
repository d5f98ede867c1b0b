//! Last values, wherever the rows lie: what the store leaves out for them is never missed.

use crate::fixture::Fixture;

/// Each with a query that says the same and reads all rows.
const QUERIES: [(&str, &str); 9] = [
    (
        "SELECT DISTINCT ON (host, region) host, region, time, usage, note, n FROM t
         ORDER BY host, region, time DESC",
        "SELECT host, region, time, usage, note, n FROM (SELECT *, row_number()
         OVER (PARTITION BY host, region ORDER BY time DESC) AS r FROM t) WHERE r = 1
         ORDER BY host, region",
    ),
    (
        "SELECT region, max(time) FROM t GROUP BY region ORDER BY region",
        "SELECT region, max(time) OVER (PARTITION BY region) FROM t
         QUALIFY row_number() OVER (PARTITION BY region ORDER BY time DESC) = 1 ORDER BY region",
    ),
    (
        "SELECT host, region, last_value(usage ORDER BY time) IGNORE NULLS FROM t
         GROUP BY host, region ORDER BY host, region",
        "SELECT host, region, last_value(usage * 2 / 2 ORDER BY time)
         IGNORE NULLS FROM t GROUP BY host, region ORDER BY host, region",
    ),
    (
        "SELECT host, region, last_value(usage ORDER BY time) FROM t
         WHERE time < '2024-01-03T12:00:00Z' GROUP BY host, region ORDER BY host, region",
        "SELECT host, region, usage FROM t WHERE time < '2024-01-03T12:00:00Z'
         QUALIFY row_number() OVER (PARTITION BY host, region ORDER BY time DESC) = 1
         ORDER BY host, region",
    ),
    (
        "SELECT t.host, t.region, t.time, t.n FROM t JOIN
         (SELECT host, region, max(time) AS last FROM t GROUP BY host, region) AS m
         ON t.host = m.host AND t.region = m.region AND t.time = m.last ORDER BY 1, 2",
        "SELECT host, region, time, n FROM t WHERE host IS NOT NULL AND region IS NOT NULL
         QUALIFY row_number() OVER (PARTITION BY host, region ORDER BY time DESC) = 1 ORDER BY 1, 2",
    ),
    // Groups of several series, whose last rows may be of one time.
    (
        "SELECT DISTINCT ON (host) host, time FROM t ORDER BY host, time DESC",
        "SELECT host, time FROM t
         QUALIFY row_number() OVER (PARTITION BY host ORDER BY time DESC) = 1 ORDER BY host",
    ),
    (
        "SELECT host, max(time), last_value(time ORDER BY time), first_value(host ORDER BY time DESC) FROM t
         GROUP BY host ORDER BY host DESC",
        "SELECT host, time, time AS same, host || '' FROM t
         QUALIFY row_number() OVER (PARTITION BY host ORDER BY time DESC) = 1 ORDER BY host DESC",
    ),
    (
        "SELECT count(*) FROM (SELECT DISTINCT ON (host) * FROM t ORDER BY host, time DESC) AS l
         JOIN t AS r ON l.host = r.host AND l.time = r.time AND l.region IS NOT DISTINCT FROM r.region
         AND l.usage IS NOT DISTINCT FROM r.usage AND l.note IS NOT DISTINCT FROM r.note
         AND l.n IS NOT DISTINCT FROM r.n",
        "SELECT count(DISTINCT host) FROM (SELECT host || '' AS host FROM t) AS t",
    ),
    (
        "SELECT DISTINCT host FROM t ORDER BY host",
        "SELECT host FROM t GROUP BY host HAVING count(*) > 0 ORDER BY host",
    ),
];

async fn compare(db: &Fixture, when: &str) {
    for (last, all) in QUERIES {
        let plan = db.rows(&format!("EXPLAIN FORMAT INDENT {last}")).await.join("\n");
        let marked = plan.contains("rows=last of each series");
        assert!(marked || plan.contains("EmptyExec"), "{last}:\n{plan}");
        assert_eq!(db.rows(last).await, db.rows(all).await, "{when}: {last}");
    }
}

#[tokio::test]
async fn the_latest_row_of_a_group_is_found_in_one_pass() {
    let db = Fixture::new().await;
    db.run(
        "CREATE TABLE t (time TIMESTAMP NOT NULL, host STRING, region STRING, u DOUBLE,
         PRIMARY KEY (host, region, time))",
    )
    .await;
    db.run(
        "INSERT INTO t SELECT '2024-01-01'::TIMESTAMP + i * INTERVAL '1 minute', 'h' || i % 7, 'r' || i % 5, i
         FROM generate_series(0, 99) AS g(i)",
    )
    .await;
    for (sql, found) in [
        ("SELECT DISTINCT ON (host) * FROM t ORDER BY host, time DESC", true),
        ("SELECT DISTINCT ON (region, host) * FROM t ORDER BY region, host, time DESC", true),
        ("SELECT host, last_value(u ORDER BY time) FROM t GROUP BY host", true),
        ("SELECT host, max(time) AS t FROM t GROUP BY host ORDER BY host", true),
        // Not one after another.
        ("SELECT DISTINCT ON (region) * FROM t ORDER BY region, time DESC", false),
        // Not the latest, or of another row than it.
        ("SELECT DISTINCT ON (host) * FROM t ORDER BY host, time", false),
        ("SELECT DISTINCT ON (host) * FROM t ORDER BY host, time DESC, u", false),
        ("SELECT host, last_value(u ORDER BY time) IGNORE NULLS FROM t GROUP BY host", false),
        (
            "SELECT host, last_value(u ORDER BY time) FILTER (WHERE u > 3) FROM t GROUP BY host",
            false,
        ),
        ("SELECT host, last_value(u ORDER BY time), max(u) FROM t GROUP BY host", false),
        ("SELECT DISTINCT ON (host) * FROM t WHERE u > 1 ORDER BY host, time DESC", false),
    ] {
        let plan = db.rows(&format!("EXPLAIN FORMAT INDENT {sql}")).await.join("\n");
        assert_eq!(plan.contains("LatestRowsExec"), found, "{sql}:\n{plan}");
    }
    let rows =
        db.rows("SELECT DISTINCT ON (host) host, region, u FROM t ORDER BY host, time DESC").await;
    assert_eq!(
        rows,
        [
            "h0 r3 98.0",
            "h1 r4 99.0",
            "h2 r3 93.0",
            "h3 r4 94.0",
            "h4 r0 95.0",
            "h5 r1 96.0",
            "h6 r2 97.0"
        ]
    );
}

#[tokio::test]
async fn last_values_are_those_of_all_rows_through_flushes_late_rows_and_deletes() {
    let db = Fixture::new().await;
    db.run(
        "CREATE TABLE t (time TIMESTAMP NOT NULL, host STRING, region STRING, usage DOUBLE,
         note STRING, n BIGINT, PRIMARY KEY (host, region, time))",
    )
    .await;
    compare(&db, "empty").await;
    for day in [2, 4, 1, 3] {
        for hour in 0..12 {
            let time = format!("2024-01-0{day}T{:02}:00:00Z", hour * 2);
            db.run(&format!(
                "INSERT INTO t VALUES ('{time}', 'a', 'x', {hour}.5, 'd{day}', {hour}),
                 ('{time}', 'b', NULL, NULL, NULL, {day}), ('{time}', 'b', 'y', {hour}, '', NULL)"
            ))
            .await;
        }
        compare(&db, "in memory").await;
        db.run("CHECKPOINT").await;
        compare(&db, "in segments").await;
    }
    db.run("INSERT INTO t (time, host, region, n) VALUES ('2024-01-04T22:00:00Z', 'a', 'x', 7)")
        .await;
    compare(&db, "part of a last row in memory").await;
    db.run("UPDATE t SET usage = NULL WHERE host = 'b' AND time = '2024-01-04T22:00:00Z'").await;
    compare(&db, "a field cleared").await;
    db.run("CHECKPOINT").await;
    compare(&db, "a field cleared in a segment").await;
    db.run("DELETE FROM t WHERE host = 'a' AND time >= '2024-01-03T10:00:00Z'").await;
    compare(&db, "last rows of one series deleted").await;
    db.run("CHECKPOINT").await;
    db.run("DELETE FROM t WHERE time > '2024-01-04T12:00:00Z'").await;
    compare(&db, "last rows of all deleted").await;
    let db = db.restart().await;
    compare(&db, "after a restart").await;
}
