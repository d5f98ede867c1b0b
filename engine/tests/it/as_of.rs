//! As-of joins in parts: the same rows as in one.

use crate::fixture::Fixture;

/// From the join on. Those that are joined in parts on two threads, and those that are not.
const QUERIES: [(&str, bool); 10] = [
    ("t a ASOF LEFT JOIN u b ON a.host = b.host AND a.time >= b.time", true),
    ("t a ASOF JOIN u b ON a.host = b.host AND a.room = b.room AND a.time > b.time", true),
    ("u a ASOF JOIN t b ON a.room = b.room AND a.host = b.host AND a.time <= b.time", true),
    (
        "t a ASOF JOIN t b MATCH_CONDITION (a.time >= b.time) ON a.host = b.host WHERE a.host ~ '[1-9]' AND a.v > 3",
        true,
    ),
    (
        "(SELECT v, time, host AS h FROM t WHERE v % 7 <> 0) a ASOF JOIN (SELECT host AS i, time, v FROM u) b \
         MATCH_CONDITION (a.time >= b.time) ON a.h = b.i",
        true,
    ),
    (
        "t a ASOF LEFT JOIN u b ON a.host = b.host AND a.time > b.time TOLERANCE INTERVAL '90 seconds'",
        true,
    ),
    // A tag that is not the first, an expression, and two tags with one another.
    ("t a ASOF LEFT JOIN u b ON a.room = b.room AND a.time >= b.time", false),
    ("t a ASOF LEFT JOIN u b ON upper(a.host) = upper(b.host) AND a.time >= b.time", false),
    ("t a ASOF LEFT JOIN u b ON a.host = b.room AND a.time >= b.time", false),
    ("t a ASOF LEFT JOIN u b ON a.time >= b.time", false),
];

/// Two tables with series of one host in many rooms, without a room, and without a host.
async fn tables(db: &Fixture) {
    // Few rows are not dealt out.
    for (table, rows, step, rooms) in [("t", 60_000, 3, 13), ("u", 10_000, 17, 5)] {
        db.run(&format!(
            "CREATE TABLE {table} (time TIMESTAMP NOT NULL, host STRING, room STRING, v BIGINT, \
             PRIMARY KEY (host, room, time)) WITH (time_slice = '1h')"
        ))
        .await;
        db.run(&format!(
            "INSERT INTO {table} SELECT TIMESTAMP '2024-01-01T00:00:00Z' + i * {step} * INTERVAL '1 second',
                    CASE WHEN i % 17 > 0 THEN 'h' || least(i % 29, 9) END,
                    CASE WHEN i % 19 > 0 THEN 'h' || i % {rooms} END, i
             FROM generate_series(1, {rows}) AS g(i)"
        ))
        .await;
    }
}

async fn compare(parts: &Fixture, one: &Fixture, when: &str) {
    for (join, in_parts) in QUERIES {
        let sql = format!(
            "SELECT count(*), count(b.v), sum(a.v), sum(b.v), sum((a.v % 101) * b.v) FROM {join}"
        );
        let plan = parts.rows(&format!("EXPLAIN {sql}")).await.join("\n");
        assert_eq!(plan.contains("parts=alike"), in_parts, "{when}: {plan}");
        assert_eq!(parts.rows(&sql).await, one.rows(&sql).await, "{when}: {sql}");
    }
}

#[tokio::test]
async fn joins_in_parts_have_the_rows_of_one() {
    let parts = Fixture::new().await;
    let one = Fixture::with(|options| options.partitions = 1).await;
    tables(&parts).await;
    tables(&one).await;
    compare(&parts, &one, "in memory").await;
    for db in [&parts, &one] {
        db.run("CHECKPOINT").await;
        db.run("DELETE FROM u WHERE host = 'h3' AND time < '2024-01-01T03:00:00Z'").await;
    }
    compare(&parts, &one, "in segments").await;
    for db in [&parts, &one] {
        tables_again(db).await;
        db.engine.store().compact().await.unwrap();
    }
    compare(&parts, &one, "compacted, and in memory").await;
}

/// Rows that are written once more, and others of series that are not in the segments.
async fn tables_again(db: &Fixture) {
    db.run(
        "INSERT INTO u SELECT time, CASE WHEN v % 3 > 0 THEN host ELSE 'g' END, room, v + 1 FROM u WHERE v % 2 = 0",
    )
    .await;
}

/// Limits of a subquery stay one of all its rows.
#[tokio::test]
async fn a_limit_below_a_join_is_one_of_all_rows() {
    let db = Fixture::new().await;
    for (table, hosts) in [
        ("l", "CASE WHEN i < 2000 THEN 'a' ELSE 'z' END"),
        ("r", "CASE WHEN i < 20000 THEN 'a' ELSE 'm' END"),
    ] {
        db.run(&format!(
            "CREATE TABLE {table} (time TIMESTAMP NOT NULL, host STRING, v BIGINT, PRIMARY KEY (host, time))"
        ))
        .await;
        db.run(&format!(
            "INSERT INTO {table} SELECT TIMESTAMP '2024-01-01T00:00:00Z' + i * INTERVAL '1 second', {hosts}, i
             FROM generate_series(0, {}) AS g(i)",
            if table == "l" { 29_999 } else { 39_999 }
        ))
        .await;
    }
    for filter in ["v >= 0", "v >= 0 AND host <> 'q'"] {
        let sql = format!(
            "SELECT count(*), count(DISTINCT a.v) FROM (SELECT * FROM l WHERE {filter} LIMIT 9000) a \
             ASOF LEFT JOIN r b ON a.host = b.host AND a.time >= b.time"
        );
        assert_eq!(
            db.rows(&sql).await,
            ["9000 9000"],
            "{:?}",
            db.rows(&format!("EXPLAIN {sql}")).await
        );
    }
}
