//! Queries over memtables, segments, and both.

use crate::fixture::Fixture;

#[tokio::test]
async fn filters_give_the_same_rows_wherever_they_are_evaluated() {
    let db = Fixture::new().await.cpu().await;
    for round in ["memtable", "segment"] {
        for (filter, want) in [
            ("time >= '2024-01-01T00:01:00Z'", "2 4"),
            ("time > '2024-01-01' AND time < '2024-01-01T00:02:00Z'", "2"),
            ("time BETWEEN '2024-01-01' AND '2024-01-01T00:01:00'", "1 2 3 5"),
            ("time = TIMESTAMP '2024-01-01T00:02:00'", "4"),
            ("time = '2024-01-01T02:02:00+02:00'", "4"),
            ("time < now() - INTERVAL '1 hour'", "1 2 3 4 5"),
            ("time > now()", ""),
            ("time IN ('2024-01-01T00:01:00', '2024-01-01T00:02:00')", "2 4"),
            ("time = '2024-01-01' OR time = '2024-01-01T00:02:00'", "1 3 4 5"),
            ("time::date = '2024-01-01'", "1 2 3 4 5"),
            ("date_trunc('minute', time) = '2024-01-01T00:01:00'", "2"),
            ("date_bin(INTERVAL '2 minutes', time) = '2024-01-01'", "1 2 3 5"),
            ("time <> '2024-01-01'", "2 4"),
            ("host = 'a'", "1 2"),
            ("'a' = host", "1 2"),
            ("host IN ('a', 'c')", "1 2 5"),
            ("host NOT IN ('a', 'c')", "3 4"),
            ("host LIKE '_' AND host > 'a'", "3 4 5"),
            ("host ~ '^[bc]$'", "3 4 5"),
            ("host !~ '^[bc]$'", "1 2"),
            ("regexp_like(host, 'A', 'i')", "1 2"),
            ("upper(host) = 'B'", "3 4"),
            ("region IS NULL", "5"),
            ("region IS NOT NULL", "1 2 3 4"),
            ("region <> 'eu'", "3 4"),
            ("NOT (region = 'eu')", "3 4"),
            ("region IS DISTINCT FROM 'eu'", "3 4 5"),
            ("region = ''", ""),
            ("host = 'a' OR region = 'us'", "1 2 3 4"),
            ("host = 'a' OR usage = 5", "1 2 5"),
            ("host = 'a' AND usage > 1", "2"),
            ("host || region = 'aeu'", "1 2"),
            ("coalesce(region, host) = 'c'", "5"),
            ("n IS NULL", "3"),
            ("usage > 1 AND time > '2024-01-01'", "2 4"),
            ("host = (SELECT max(host) FROM cpu)", "5"),
            ("host IN (SELECT host FROM cpu WHERE usage > 3)", "3 4 5"),
            ("EXISTS (SELECT 1 FROM cpu c WHERE c.host = cpu.host AND c.usage = 4)", "3 4"),
            ("true", "1 2 3 4 5"),
            ("false", ""),
            ("host = 'nobody'", ""),
        ] {
            let sql =
                format!("SELECT cast(usage AS BIGINT) AS u FROM cpu WHERE {filter} ORDER BY u");
            assert_eq!(db.rows(&sql).await.join(" "), want, "{round}: {sql}");
            let sql = format!("SELECT count(*) FROM cpu WHERE {filter}");
            let count = want.split_whitespace().count().to_string();
            assert_eq!(db.rows(&sql).await, [count], "{round}: {sql}");
        }
        db.run("CHECKPOINT").await;
    }
}

#[tokio::test]
async fn queries_of_many_shapes_answer() {
    let db = Fixture::new().await.cpu().await;
    for round in 0..2 {
        for (sql, want) in [
            (
                "SELECT count(*), count(n), sum(n), min(time), max(time) FROM cpu",
                "5 4 120 2024-01-01T00:00:00Z 2024-01-01T00:02:00Z",
            ),
            (
                "SELECT DISTINCT ON (host) host, usage FROM cpu ORDER BY host, time DESC",
                "a 2.0|b 4.0|c 5.0",
            ),
            (
                "SELECT host, last_value(usage ORDER BY time) FROM cpu GROUP BY host ORDER BY host",
                "a 2.0|b 4.0|c 5.0",
            ),
            (
                "SELECT date_bin(INTERVAL '1 minute', time) AS m, sum(usage) FROM cpu GROUP BY m ORDER BY m",
                "2024-01-01T00:00:00Z 9.0|2024-01-01T00:01:00Z 2.0|2024-01-01T00:02:00Z 4.0",
            ),
            (
                "SELECT host, usage - lag(usage) OVER (PARTITION BY host ORDER BY time) FROM cpu WHERE host = 'a' ORDER BY time",
                "a NULL|a 1.0",
            ),
            (
                "SELECT a.usage, b.usage FROM cpu a JOIN cpu b ON a.time = b.time AND a.host = 'a' AND b.host = 'b'",
                "1.0 3.0",
            ),
            (
                "SELECT x.host, y.host FROM cpu x LEFT JOIN cpu y ON x.region = y.region AND x.usage < y.usage ORDER BY x.usage",
                "a a|a NULL|b b|b NULL|c NULL",
            ),
            ("SELECT usage FROM cpu ORDER BY time DESC, host LIMIT 2", "4.0|2.0"),
            ("SELECT usage FROM cpu ORDER BY host DESC, time DESC LIMIT 3 OFFSET 1", "4.0|3.0|2.0"),
            ("SELECT host FROM cpu WHERE host = 'a' ORDER BY time LIMIT 1", "a"),
            (
                "SELECT region, count(*) FROM cpu GROUP BY region ORDER BY region NULLS FIRST",
                "NULL 1|eu 2|us 2",
            ),
            ("SELECT DISTINCT region FROM cpu ORDER BY region", "eu|us|NULL"),
            (
                "SELECT host FROM cpu WHERE usage = 1 UNION ALL SELECT host FROM cpu WHERE usage = 5 ORDER BY host",
                "a|c",
            ),
            (
                "WITH m AS (SELECT host, avg(usage) AS u FROM cpu GROUP BY host) SELECT host FROM m WHERE u > (SELECT avg(u) FROM m) ORDER BY host",
                "b|c",
            ),
            ("SELECT count(*) FROM (SELECT 1 FROM cpu)", "5"),
            ("SELECT 1 FROM cpu LIMIT 1", "1"),
            ("SELECT sum(1) FROM cpu WHERE host = 'a'", "2"),
            ("SELECT value FROM generate_series(1, 3) ORDER BY value", "1|2|3"),
            (
                "SELECT arrow_typeof(time), arrow_typeof(host) FROM cpu LIMIT 1",
                "Timestamp(ns, \"UTC\") Utf8View",
            ),
            ("SELECT count(*) FROM cpu c1, cpu c2, cpu c3", "125"),
            (
                "SELECT host, array_agg(usage ORDER BY time) FROM cpu GROUP BY host ORDER BY host",
                "a [1.0, 2.0]|b [3.0, 4.0]|c [5.0]",
            ),
            ("VALUES (1, 'a'), (2, 'b')", "1 a|2 b"),
        ] {
            assert_eq!(db.rows(sql).await.join("|"), want, "round {round}: {sql}");
        }
        db.run("CHECKPOINT").await;
    }
}

#[tokio::test]
async fn newer_values_win_over_memtable_and_segments() {
    let db = Fixture::new().await.cpu().await;
    db.run("CHECKPOINT").await;
    db.run("INSERT INTO cpu (time, host, region, usage) VALUES ('2024-01-01', 'a', 'eu', 100)")
        .await;
    db.run("INSERT INTO cpu (time, host, region, n) VALUES ('2024-01-01', 'b', 'us', 33)").await;
    db.run("INSERT INTO cpu (time, host, n) VALUES ('2024-01-01', 'c', NULL)").await;
    let want = ["a 100.0 10", "a 2.0 20", "b 3.0 33", "b 4.0 40", "c 5.0 NULL"];
    for step in ["CHECKPOINT", "VACUUM", "CHECKPOINT"] {
        db.check("SELECT host, usage, n FROM cpu ORDER BY host, time", &want).await;
        db.check("SELECT count(*), sum(usage), sum(n) FROM cpu", &["5 114.0 103"]).await;
        db.check("SELECT n FROM cpu WHERE host = 'c'", &["NULL"]).await;
        db.run(step).await;
    }
}

#[tokio::test]
async fn deletes_hide_rows_and_no_others() {
    let db = Fixture::new().await.cpu().await;
    for (delete, left) in [
        ("DELETE FROM cpu WHERE time > '2024-01-01T00:01:00Z'", "1.0 2.0 3.0 5.0"),
        ("DELETE FROM cpu WHERE host = 'b' AND time > '2024-01-01T00:01:00Z'", "1.0 2.0 3.0 5.0"),
        ("DELETE FROM cpu WHERE region IS NULL", "1.0 2.0 3.0"),
        ("DELETE FROM cpu AS c WHERE c.host ~ '[bx]' AND c.time <= now()", "1.0 2.0"),
        ("DELETE FROM cpu WHERE host = 'nobody'", "1.0 2.0"),
        ("DELETE FROM cpu WHERE usage > 1.5", "1.0"),
        ("DELETE FROM cpu", ""),
    ] {
        db.run(delete).await;
        let rows = db.rows("SELECT usage FROM cpu ORDER BY usage").await;
        assert_eq!(rows.join(" "), left, "{delete}");
    }
    db.run("INSERT INTO cpu (time, host, region, usage) VALUES ('2024-01-01', 'a', 'eu', 7)").await;
    db.check("SELECT usage, n FROM cpu", &["7.0 NULL"]).await;
}

#[tokio::test]
async fn a_self_join_sees_one_state_of_the_table() {
    let db = Fixture::new().await.cpu().await;
    let writer = db.engine.session(crate::fixture::stateful());
    let write = async {
        for i in 0..30 {
            let sql = format!(
                "INSERT INTO cpu (time, host, region, usage) VALUES ('2024-02-01', 'h{i}', 'x', 1)"
            );
            writer.execute(&sql, None).await.unwrap();
        }
    };
    let read = async {
        for _ in 0..30 {
            let sql = "SELECT (SELECT count(*) FROM cpu WHERE usage > 0)
                       - (SELECT count(*) FROM cpu WHERE usage >= 0)";
            db.check(sql, &["0"]).await;
        }
    };
    tokio::join!(write, read);
}

#[tokio::test]
async fn filters_over_outer_joins_keep_apart_columns_of_one_name() {
    let db = Fixture::new().await;
    for table in ["today", "before"] {
        db.run(&format!(
            "CREATE TABLE {table} (time TIMESTAMP NOT NULL, host STRING, n BIGINT, PRIMARY KEY (host, time))"
        ))
        .await;
    }
    db.run("INSERT INTO today VALUES (1, 'a', 1), (2, 'a', 2), (3, 'a', 3)").await;
    db.run("INSERT INTO before VALUES (1, 'a', 9), (2, 'a', 2)").await;
    let joins = ["before b RIGHT JOIN today t", "today t LEFT JOIN before b"];
    for join in joins {
        let from = format!("FROM {join} ON t.host = b.host AND t.time = b.time");
        let sql = format!(
            "SELECT t.n, b.n AS old {from} WHERE (t.n IS DISTINCT FROM b.n) AND t.n > 0 ORDER BY t.n"
        );
        db.check(&sql, &["1 9", "3 NULL"]).await;
        let sql = format!("SELECT t.n {from} WHERE b.n = b.n AND t.n > 0 ORDER BY t.n");
        db.check(&sql, &["1", "2"]).await;
    }
}

#[tokio::test]
async fn truth_tests_that_are_never_null_can_be_grouped_by() {
    let db = Fixture::new().await.cpu().await;
    db.check(
        "SELECT DISTINCT (n > 10) IS NOT TRUE AS low FROM cpu ORDER BY low",
        &["false", "true"],
    )
    .await;
    let sql = "SELECT (n > 10) IS NOT TRUE AS low, count(*) FROM cpu GROUP BY low ORDER BY low";
    db.check(sql, &["false 3", "true 2"]).await;
}

#[tokio::test]
async fn groups_of_nan_can_be_limited() {
    let db = Fixture::new().await;
    db.run(
        "CREATE TABLE g (time TIMESTAMP NOT NULL, host STRING, v DOUBLE, PRIMARY KEY (host, time))",
    )
    .await;
    db.run(
        "INSERT INTO g VALUES (1, 'a', 'NaN'), (2, 'a', 1), (3, 'b', 'NaN'), (4, 'b', 2), (5, 'c', 'NaN'), (6, 'd', 3)",
    )
    .await;
    db.check("SELECT DISTINCT v FROM g ORDER BY v DESC LIMIT 1", &["NaN"]).await;
    db.check("SELECT v FROM g GROUP BY v ORDER BY v DESC LIMIT 3", &["NaN", "3.0", "2.0"]).await;
    let sql = "SELECT host, max(v) AS m FROM g GROUP BY host ORDER BY m, host LIMIT 2";
    db.check(sql, &["d 3.0", "a NaN"]).await;
    let sql = "SELECT max(v) AS m FROM g GROUP BY host ORDER BY m DESC LIMIT 1";
    db.check(sql, &["NaN"]).await;
}

#[tokio::test]
async fn distinct_from_takes_one_operand_and_no_more() {
    let db = Fixture::new().await;
    for (sql, want) in [
        ("1 IS DISTINCT FROM 2 AND false", "false"),
        ("false AND true IS DISTINCT FROM true OR true", "true"),
        ("NOT true IS DISTINCT FROM false AND true", "false"),
        ("NULL IS NOT DISTINCT FROM NULL AND 2 > 1 OR false", "true"),
        ("true IS DISTINCT FROM (true AND false)", "true"),
        (
            "'a' IS DISTINCT FROM 'b' AND 1 IS DISTINCT FROM 1 OR 3 IS NOT DISTINCT FROM 3 AND true",
            "true",
        ),
        ("CASE WHEN 1 IS DISTINCT FROM 1 OR true THEN 'yes' ELSE 'no' END", "yes"),
        ("1 + 1 IS DISTINCT FROM 2 OR false", "false"),
    ] {
        db.check(&format!("SELECT {sql} AS v"), &[want]).await;
    }
}

#[tokio::test]
async fn groups_of_the_first_rows_of_a_window_can_be_limited() {
    let db = Fixture::new().await.cpu().await;
    let first = "SELECT n, row_number() OVER (PARTITION BY n ORDER BY time) AS r FROM cpu";
    let sql =
        format!("SELECT count(*) FROM (SELECT DISTINCT n FROM ({first}) WHERE r <= 1 LIMIT 3)");
    db.check(&sql, &["3"]).await;
    let sql = format!("SELECT n FROM ({first}) WHERE r <= 1 GROUP BY n LIMIT 9");
    assert_eq!(db.rows(&sql).await.len(), 5);
}

#[tokio::test]
async fn queries_ahead_of_the_first_run_and_are_not_counted() {
    let db = Fixture::new().await;
    db.engine.warm_up().await.unwrap();
    // Names, a text and a tag that is absent, which need care; the second table is larger, and has no numbers.
    let (odd, plain) = (r#""An ""odd"" name""#, "notes");
    let columns = r#"("A Time" TIMESTAMP, "A Tag" STRING, b STRING, "A Value" DOUBLE, PRIMARY KEY ("A Tag", b, "A Time"))"#;
    db.run(&format!("CREATE TABLE {odd} {columns}")).await;
    db.run("CREATE TABLE notes (time TIMESTAMP, text STRING, PRIMARY KEY (time))").await;
    for (table, seconds) in [(odd, 10), (plain, 20)] {
        let row = |second: i32| match table {
            "notes" => format!("('2024-01-01T00:00:{second}Z', 'x')"),
            _ => format!("('2024-01-01T00:00:{second}Z', 'it''s', NULL, {second})"),
        };
        let rows: Vec<_> = (10..10 + seconds).map(row).collect();
        db.run(&format!("INSERT INTO {table} VALUES {}", rows.join(", "))).await;
        db.run("CHECKPOINT").await;
        let before = db.engine.query_status();
        let decoded = || db.engine.store().status().reads.rows_decoded;
        let decoded_before = decoded();
        db.engine.warm_up().await.unwrap();
        assert!(decoded() > decoded_before, "rows of {table} were read");
        let status = db.engine.query_status();
        assert_eq!((status.running, status.plans_reused), (0, before.plans_reused));
        assert_eq!(format!("{:?}", status.durations), format!("{:?}", before.durations));
        if table == odd {
            let decoded_before = decoded();
            let last = format!(
                r#"SELECT DISTINCT ON ("A Tag") "A Value" FROM {odd} ORDER BY "A Tag", "A Time" DESC"#
            );
            db.check(&last, &["19.0"]).await;
            assert_eq!(decoded(), decoded_before, "last rows are in memory");
        }
    }
}
