//! Filters by values: cells that cannot hold them are not read, and the answers are those of all rows.

use crate::fixture::Fixture;

/// Conditions on values, each with one that keeps the same rows and that a scan knows nothing of.
const CONDITIONS: [(&str, &str); 10] = [
    ("usage > 95", "(usage > 95) IS TRUE"),
    ("usage >= 99.75", "(usage >= 99.75) IS TRUE"),
    ("usage < -99.5", "(usage < -99.5) IS TRUE"),
    ("usage = 0", "(usage = 0) IS TRUE"),
    ("usage > 0 AND usage < 0.5", "(usage > 0) IS TRUE AND (usage < 0.5) IS TRUE"),
    ("n BETWEEN 7 AND 9", "(n >= 7) IS TRUE AND (n <= 9) IS TRUE"),
    ("n = 33 AND usage > 50", "(n = 33) IS TRUE AND (usage > 50) IS TRUE"),
    ("500 < n", "(n > 500) IS TRUE"),
    ("usage > 'Infinity'", "(usage > 'Infinity') IS TRUE"),
    ("later > 3", "(later > 3) IS TRUE"),
];

/// Two series with a row every second over two and a half days: the values of each go up and down slowly.
async fn table(db: &Fixture) {
    db.run(
        "CREATE TABLE t (time TIMESTAMP NOT NULL, host STRING, usage DOUBLE, n BIGINT, later DOUBLE, note STRING,
         PRIMARY KEY (host, time))",
    )
    .await;
    db.run(
        "INSERT INTO t (time, host, usage, n, note)
         SELECT TIMESTAMP '2024-01-01T00:00:00Z' + i / 2 * INTERVAL '1 second', 'h' || (i % 2),
         round(400 * sin(i / 9000.0)) / 4, CASE WHEN i % 1000 > 0 THEN i / 1000 END, CAST(i AS STRING)
         FROM generate_series(0, 439999) AS g(i)",
    )
    .await;
}

/// Pages that a query read.
async fn pages(db: &Fixture, sql: &str) -> u64 {
    let plan = db.rows(&format!("EXPLAIN ANALYZE {sql}")).await.join("\n");
    let counts = plan.split("pages: ").skip(1).map(|rest| {
        let digits = rest.chars().take_while(|c| c.is_ascii_digit() || *c == ',');
        digits.filter(|c| *c != ',').collect::<String>().parse::<u64>().unwrap()
    });
    counts.sum()
}

/// Compares every condition with its like; gives the pages that were read for both.
async fn compare(db: &Fixture, when: &str) -> (u64, u64) {
    let (mut fewer, mut all) = (0, 0);
    for (condition, like) in CONDITIONS {
        let sql = |condition: &str| {
            format!(
                "SELECT time, host, usage, n, later, note FROM t WHERE {condition} ORDER BY host, time"
            )
        };
        let plan = db.rows(&format!("EXPLAIN {}", sql(like))).await.join("\n");
        assert!(!plan.contains("values="), "{plan}");
        let plan = db.rows(&format!("EXPLAIN {}", sql(condition))).await.join("\n");
        assert!(plan.contains("values="), "{plan}");
        let (have, want) = (db.rows(&sql(condition)).await, db.rows(&sql(like)).await);
        assert!(have == want, "{when}: {condition}: {} rows, not {}", have.len(), want.len());
        let count =
            |condition: &str| format!("SELECT count(*), min(time) FROM t WHERE {condition}");
        assert_eq!(db.rows(&count(condition)).await, db.rows(&count(like)).await, "{when}");
        fewer += pages(db, &sql(condition)).await;
        all += pages(db, &sql(like)).await;
    }
    (fewer, all)
}

#[tokio::test]
async fn rows_are_left_out_for_their_values_and_none_is_missed() {
    let db = Fixture::with(|options| options.partitions = 1).await;
    table(&db).await;
    compare(&db, "in memory").await;
    db.run("CHECKPOINT").await;
    let (fewer, all) = compare(&db, "in a segment").await;
    assert!(fewer < all / 2, "{fewer} of {all} pages");
    // Rows that are folded of several sources: a value that came later, or was cleared, makes or unmakes a match.
    db.run(
        "INSERT INTO t (time, host, usage) VALUES ('2024-01-01T10:00:01Z', 'h1', 99.9),
         ('2024-01-01T11:00:01Z', 'h1', 0)",
    )
    .await;
    db.run("INSERT INTO t (time, host, later) VALUES ('2024-01-02T10:00:01Z', 'h0', 5)").await;
    db.run("UPDATE t SET n = NULL WHERE host = 'h0' AND n = 8").await;
    db.run("UPDATE t SET usage = 1000 WHERE host = 'h0' AND n = 33").await;
    compare(&db, "with changes in memory").await;
    db.run("CHECKPOINT").await;
    compare(&db, "with changes in a segment").await;
    db.run("DELETE FROM t WHERE host = 'h1' AND time < '2024-01-01T06:00:00Z'").await;
    compare(&db, "with a tombstone").await;
    db.run("INSERT INTO t (time, host, usage) VALUES ('2024-01-03T00:00:00Z', 'h0', 'NaN'), ('2024-01-03T00:00:01Z', 'h0', '-0.0')")
        .await;
    db.run("CHECKPOINT").await;
    db.engine.store().compact().await.unwrap();
    let (fewer, all) = compare(&db, "compacted").await;
    assert!(fewer < all * 3 / 4, "{fewer} of {all} pages");
}
