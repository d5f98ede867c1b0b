//! Aggregates answered from summaries: the same as from all rows, whatever happens to the rows.

use crate::fixture::Fixture;

/// Columns, and the rest of the statement. Sums are exact: `usage` is a multiple of a quarter.
const QUERIES: [(&str, &str); 16] = [
    (
        "host, first(usage, time), last(n, time), min(time), max(time), first(n, time) IGNORE NULLS",
        "FROM t GROUP BY host ORDER BY host",
    ),
    (
        "date_bin(INTERVAL '1 hour', time) AS b, first(usage, time), max(time), last(n, time) RESPECT NULLS",
        "FROM t WHERE host = 'h1' GROUP BY b ORDER BY b",
    ),
    (
        "region, first(n, time), last(usage, time), min(time)",
        "FROM t WHERE time > '2024-01-01T01:00:00Z' GROUP BY region ORDER BY region",
    ),
    (
        "host, date_bin(INTERVAL '1 hour', time) AS b, count(*), sum(n), min(usage), max(usage), avg(usage)",
        "FROM t GROUP BY host, b ORDER BY host, b",
    ),
    ("date_bin(INTERVAL '1 day', time) AS b, sum(usage), count(n), count(time)", "FROM t GROUP BY b ORDER BY b"),
    ("count(*), sum(n), count(usage), min(n), max(n), avg(n), sum(usage)", "FROM t"),
    (
        "host, region, max(n), min(usage), count(*)",
        "FROM t WHERE time >= '2024-01-01T03:07:11Z' AND time < '2024-01-01T20:00:00.5Z'
         GROUP BY host, region ORDER BY host, region",
    ),
    (
        "date_trunc('hour', time) AS b, host, avg(n), sum(n)",
        "FROM t WHERE host IN ('h1', 'h3') GROUP BY b, host ORDER BY b, host",
    ),
    (
        "time_bucket(INTERVAL '1 month', time) AS b, min(n), max(usage)",
        "FROM t WHERE host <> 'h2' GROUP BY b ORDER BY b",
    ),
    (
        "time_bucket(INTERVAL '1 day', time, 'Asia/Kathmandu') AS b, sum(n), count(*)",
        "FROM t GROUP BY b ORDER BY b",
    ),
    ("date_bin(INTERVAL '45 minutes', time) AS b, sum(n)", "FROM t GROUP BY b ORDER BY b"),
    (
        "host, date_bin_gapfill(INTERVAL '1 hour', time) AS b, locf(avg(usage)) AS u, sum(n), count(*)",
        "FROM t WHERE time >= '2023-12-31T21:00:00Z' AND time < '2024-01-02T08:00:00Z'
         GROUP BY host, b ORDER BY host, b",
    ),
    (
        "time_bucket_gapfill(INTERVAL '6 hours', time) AS b, interpolate(avg(n)) AS n, max(usage)",
        "FROM t WHERE time >= '2023-12-31' AND time < '2024-01-03' AND host = 'h3' GROUP BY b ORDER BY b",
    ),
    (
        "date_bin(INTERVAL '1 hour', time, TIMESTAMP '2024-01-01T00:20:00Z') AS b, sum(n)",
        "FROM t GROUP BY b ORDER BY b",
    ),
    ("host, sum(n)", "FROM t GROUP BY host HAVING sum(n) > 10 ORDER BY sum(n) DESC, host LIMIT 3"),
    (
        "a.host, a.s, b.s",
        "FROM (SELECT host, sum(n) AS s FROM t GROUP BY host) a
         JOIN (SELECT host, max(usage) AS s FROM t GROUP BY host) b ON a.host = b.host ORDER BY a.host",
    ),
];

/// Rows that cells stood for, of what `EXPLAIN ANALYZE` says.
async fn rows_summarised(db: &Fixture, sql: &str) -> u64 {
    let plan = db.rows(&format!("EXPLAIN ANALYZE {sql}")).await.join("\n");
    let lines = plan.lines().filter_map(|line| line.split_once(" in place of "));
    let counts = lines.map(|(_, rest)| {
        let digits = rest.chars().take_while(|c| c.is_ascii_digit() || *c == ',');
        digits.filter(|c| *c != ',').collect::<String>().parse::<u64>().unwrap()
    });
    counts.sum()
}

/// Rows without their last column, which has no spaces.
async fn without_words(db: &Fixture, sql: &str) -> Vec<String> {
    let rows = db.rows(sql).await;
    let shorter = rows.iter().map(|row| row.rsplit_once(' ').map_or("", |(row, _)| row).to_owned());
    shorter.collect()
}

/// Compares every query with its like over rows, and gives the rows that cells stood for in all.
async fn compare(db: &Fixture, when: &str) -> u64 {
    compare_those(db, when, |_| true).await
}

async fn compare_those(
    db: &Fixture,
    when: &str,
    wanted: impl Fn(&str) -> bool + Send + Sync,
) -> u64 {
    let mut summarised = 0;
    for (columns, rest) in QUERIES.into_iter().filter(|(columns, _)| wanted(columns)) {
        let sql = format!("SELECT {columns} {rest}");
        // A function that summaries do not know, and one word for its answer.
        let all = if rest.contains("JOIN") {
            sql.replace("AS s FROM t", "AS s, max(note) AS z FROM t")
                .replace("b.s", "b.s, a.z || b.z")
        } else {
            format!("SELECT {columns}, max(note) {rest}")
        };
        let want = without_words(db, &all).await;
        assert_eq!(rows_summarised(db, &all).await, 0, "{when}: {all}");
        assert_eq!(db.rows(&sql).await, want, "{when}: {sql}");
        summarised += rows_summarised(db, &sql).await;
    }
    summarised
}

/// Five series with a row every five seconds over 28 hours. The notes outweigh cells of a quarter of an hour.
async fn table(db: &Fixture) {
    db.run(
        "CREATE TABLE t (time TIMESTAMP NOT NULL, host STRING, region STRING, usage DOUBLE, n BIGINT,
         note STRING, PRIMARY KEY (host, region, time))",
    )
    .await;
    db.run(
        "INSERT INTO t (time, host, region, usage, n, note)
         SELECT TIMESTAMP '2024-01-01T00:00:00Z' + i * INTERVAL '1 second', 'h' || (i % 5),
         CASE WHEN i % 5 < 3 THEN 'eu' END, (i * 7919 % 1000) / 4.0,
         CASE WHEN i % 11 > 0 THEN i * 31 % 977 - 400 END, md5(CAST(i AS STRING)) FROM generate_series(0, 99999) AS g(i)",
    )
    .await;
}

#[tokio::test]
async fn summaries_answer_what_the_rows_would() {
    let db = Fixture::new().await;
    table(&db).await;
    assert_eq!(compare(&db, "in memory").await, 0);
    db.run("CHECKPOINT").await;
    let all = compare(&db, "in segments").await;
    assert!(all > 400_000, "{all} rows");
    // A late row, over another and beside all, takes the place of the cells that it touches.
    db.run(
        "INSERT INTO t (time, host, region, usage) VALUES ('2024-01-01T10:00:01Z', 'h1', 'eu', 1000),
         ('2024-01-01T10:00:01.5Z', 'h1', 'eu', 2000)",
    )
    .await;
    let late = compare(&db, "late rows in memory").await;
    assert!(late < all && late > all / 2, "{late} of {all}");
    db.run("CHECKPOINT").await;
    assert_eq!(compare(&db, "late rows in a segment").await, late);
    db.run("UPDATE t SET n = NULL WHERE host = 'h2' AND time = '2024-01-01T07:00:02Z'").await;
    compare(&db, "a field cleared").await;
    db.run("CHECKPOINT").await;
    let cleared = compare(&db, "a field cleared in a segment").await;
    assert!(cleared < late && cleared > all / 2, "{cleared} of {all}");
    db.run("DELETE FROM t WHERE host = 'h3' AND time BETWEEN '2024-01-01T05:00:00Z' AND '2024-01-01T05:30:00Z'")
        .await;
    let deleted = compare(&db, "rows deleted").await;
    assert!(deleted < cleared && deleted > all / 2, "{deleted} of {all}");
    db.engine.store().compact().await.unwrap();
    let compacted = compare(&db, "compacted").await;
    assert!(compacted > deleted, "{compacted} rows, {deleted} before");
    let db = db.restart().await;
    assert_eq!(compare(&db, "after a restart").await, compacted);
}

#[tokio::test]
async fn cells_with_a_nan_or_a_sum_out_of_range_are_read_by_row() {
    let db = Fixture::new().await;
    table(&db).await;
    db.run(
        "INSERT INTO t (time, host, region, usage) VALUES ('2024-01-01T02:00:00Z', 'h0', 'eu', 'NaN'),
         ('2024-01-01T03:00:01Z', 'h1', 'eu', 'Infinity'), ('2024-01-01T04:00:01Z', 'h1', 'eu', '-0.0')",
    )
    .await;
    db.run(
        "INSERT INTO t (time, host, region, n) VALUES
         ('2024-01-01T05:00:00Z', 'h0', 'eu', 9223372036854775807),
         ('2024-01-01T05:00:05Z', 'h0', 'eu', 9223372036854775807)",
    )
    .await;
    db.run("CHECKPOINT").await;
    db.engine.store().compact().await.unwrap();
    // The average of numbers beyond 2^53 depends on the order in which they are added.
    let exact = |columns: &str| !columns.contains("avg(n)");
    assert!(compare_those(&db, "strange values", exact).await > 0);
}

#[tokio::test]
async fn fields_that_came_later_and_expired_rows_are_right() {
    let db = Fixture::new().await;
    table(&db).await;
    db.run("CHECKPOINT").await;
    db.run("ALTER TABLE t ADD COLUMN later DOUBLE").await;
    db.run(
        "INSERT INTO t (time, host, region, later) VALUES ('2024-01-01T10:00:01Z', 'h1', 'eu', 5)",
    )
    .await;
    let sql = "SELECT host, count(later), sum(later), max(later), count(*) FROM t GROUP BY host ORDER BY host";
    let want = without_words(&db, &sql.replace("count(*)", "count(*), max(note)")).await;
    assert_eq!(db.rows(sql).await, want);
    assert!(rows_summarised(&db, sql).await > 0);
    db.run("ALTER TABLE t DROP COLUMN later").await;
    db.run("ALTER TABLE t ADD COLUMN later DOUBLE").await;
    db.check("SELECT sum(later), count(later) FROM t", &["NULL 0"]).await;
}

#[tokio::test]
async fn summaries_can_be_turned_off() {
    let db = Fixture::with(|options| options.summaries = false).await;
    table(&db).await;
    db.run("CHECKPOINT").await;
    assert_eq!(compare(&db, "turned off").await, 0);
}

/// A number below `end`, by `SplitMix64`.
fn below(state: &mut u64, end: u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) % end
}

#[tokio::test]
async fn summaries_stay_right_through_random_histories() {
    let seed = std::env::var("QUORATE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut random = seed.unwrap_or(20_260_101);
    println!("QUORATE_TEST_SEED={random}");
    let db = Fixture::new().await;
    table(&db).await;
    let mut used = 0;
    for step in 0..16 {
        let (host, second) = (below(&mut random, 6), below(&mut random, 110_000));
        let span = 1 << below(&mut random, 14);
        let place = format!(
            "host = 'h{host}' AND time >= TIMESTAMP '2024-01-01T00:00:00Z' + {second} * INTERVAL '1 second'
             AND time < TIMESTAMP '2024-01-01T00:00:00Z' + {} * INTERVAL '1 second'",
            second + span
        );
        let sql = match below(&mut random, 8) {
            0..=2 => format!(
                "INSERT INTO t (time, host, region, n)
                 SELECT TIMESTAMP '2024-01-01T00:00:00Z' + i * INTERVAL '1 second', 'h{host}', 'eu', i % 100
                 FROM generate_series({second}, {}) AS g(i)",
                second + span
            ),
            3 => format!("DELETE FROM t WHERE {place}"),
            4 => format!("UPDATE t SET usage = NULL WHERE {place}"),
            5 => format!("UPDATE t SET n = n + 1 WHERE {place}"),
            6 => "CHECKPOINT".to_owned(),
            _ => {
                db.run("CHECKPOINT").await;
                db.engine.store().compact().await.unwrap();
                "SELECT 1".to_owned()
            }
        };
        db.run(&sql).await;
        let only = below(&mut random, QUERIES.len() as u64);
        let only = QUERIES[usize::try_from(only).unwrap()].0;
        used += compare_those(&db, &format!("step {step}: {sql}"), |columns| columns == only).await;
    }
    assert!(used > 0);
}
