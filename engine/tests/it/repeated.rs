//! Queries whose text was asked before: their plans are used again, and answer as if they were not.

use quorate_engine::{Outcome, SessionOptions};

use crate::fixture::{Fixture, rows, stateful};

/// Plans that were used again so far.
fn reused(db: &Fixture) -> u64 {
    db.engine.query_status().plans_reused
}

/// Checks the rows of a query, asked as Flight SQL asks: for the schema first.
async fn check(db: &Fixture, sql: &str, want: &[&str]) {
    for _ in 0..2 {
        let plan = db.session.plan(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        if let Some(row) = want.first() {
            assert_eq!(plan.schema.fields().len(), row.split(' ').count(), "{sql}");
        }
        db.check(sql, want).await;
    }
}

#[tokio::test]
async fn a_query_is_planned_once_for_its_schema_its_rows_and_later_runs() {
    let db = Fixture::new().await.cpu().await;
    let sql = "SELECT host, max(usage) FROM cpu WHERE time < now() GROUP BY host ORDER BY host";
    db.session.plan(sql).await.unwrap();
    assert_eq!(reused(&db), 0);
    check(&db, sql, &["a 2.0", "b 4.0", "c 5.0"]).await;
    assert_eq!(reused(&db), 4);
    // Rows that came meanwhile are seen, and those that went are not.
    db.run("INSERT INTO cpu (time, host, usage) VALUES ('2024-01-02T00:00:00Z', 'd', 6)").await;
    db.run("DELETE FROM cpu WHERE host = 'a'").await;
    check(&db, sql, &["b 4.0", "c 5.0", "d 6.0"]).await;
    assert_eq!(reused(&db), 8);
}

#[tokio::test]
async fn the_defaults_by_name_have_the_plans_of_the_defaults() {
    let db = Fixture::new().await.cpu().await;
    let sql = "SELECT time, usage FROM cpu WHERE host = 'c'";
    db.session.plan(sql).await.unwrap();
    let named = |zone: &str| SessionOptions {
        database: Some("main".to_owned()),
        timezone: Some(zone.to_owned()),
        ..stateful()
    };
    for (zone, count) in [("UTC", 1), ("Z", 2), ("Europe/Berlin", 2)] {
        let session = db.engine.session(named(zone));
        session.plan(sql).await.unwrap();
        assert_eq!(reused(&db), count, "{zone}");
    }
    assert!(db.engine.session(named("Mars/Olympus")).plan(sql).await.is_err());
}

#[tokio::test]
async fn a_plan_is_not_used_after_the_catalog_changed() {
    let db = Fixture::new().await.cpu().await;
    db.run("CREATE VIEW v AS SELECT host, n FROM cpu").await;
    let (table, view) = ("SELECT * FROM cpu WHERE host = 'c'", "SELECT * FROM v WHERE host = 'c'");
    check(&db, table, &["2024-01-01T00:00:00Z c NULL 5.0 50"]).await;
    check(&db, view, &["c 50"]).await;
    db.run("ALTER TABLE cpu ADD COLUMN extra BIGINT").await;
    check(&db, table, &["2024-01-01T00:00:00Z c NULL 5.0 50 NULL"]).await;
    db.run("ALTER TABLE cpu DROP COLUMN extra").await;
    check(&db, table, &["2024-01-01T00:00:00Z c NULL 5.0 50"]).await;
    db.run("CREATE OR REPLACE VIEW v AS SELECT host, n + 1 AS m, usage FROM cpu").await;
    check(&db, view, &["c 51 5.0"]).await;
    db.run("DROP VIEW v").await;
    db.check_error(view, "\"v\" does not exist").await;
    assert!(db.session.plan(view).await.is_err());
    db.run("ALTER TABLE cpu RENAME TO old").await;
    db.check_error(table, "\"cpu\" does not exist").await;
    db.run("CREATE TABLE cpu (time TIMESTAMP NOT NULL, host STRING, PRIMARY KEY (host, time))")
        .await;
    db.run("INSERT INTO cpu VALUES ('2024-01-01T00:00:00Z', 'c')").await;
    check(&db, table, &["2024-01-01T00:00:00Z c"]).await;
}

#[tokio::test]
async fn a_plan_belongs_to_a_database_and_a_time_zone() {
    let db = Fixture::new().await.cpu().await;
    db.run("CREATE DATABASE other").await;
    let sql = "SELECT current_database(), date_trunc('day', time) AS day, count(*) FROM cpu
               GROUP BY day ORDER BY day";
    check(&db, sql, &["main 2024-01-01T00:00:00Z 5"]).await;
    let there = SessionOptions { database: Some("other".to_owned()), ..stateful() };
    let there = db.engine.session(there);
    let error = rows(&there, sql, None).await.unwrap_err();
    assert!(error.to_string().contains("does not exist"), "{error}");
    rows(&there, "CREATE TABLE cpu (time TIMESTAMP NOT NULL, PRIMARY KEY (time))", None)
        .await
        .unwrap();
    assert_eq!(rows(&there, sql, None).await.unwrap(), Vec::<String>::new());
    let zone = SessionOptions { timezone: Some("America/New_York".to_owned()), ..stateful() };
    let zone = db.engine.session(zone);
    for _ in 0..2 {
        let got = rows(&zone, sql, None).await.unwrap();
        assert_eq!(got, ["main 2023-12-31T00:00:00-05:00 5"]);
    }
    check(&db, sql, &["main 2024-01-01T00:00:00Z 5"]).await;
}

#[tokio::test]
async fn what_only_its_statement_knows_is_planned_anew() {
    let db = Fixture::new().await.cpu().await;
    db.run("CREATE DATABASE scratch WITH (kind = 'memory')").await;
    db.run("CREATE TABLE scratch.public.t (a BIGINT)").await;
    let memory = "SELECT a FROM scratch.public.t JOIN cpu ON a = n";
    check(&db, memory, &[]).await;
    db.run("INSERT INTO scratch.public.t VALUES (10)").await;
    check(&db, memory, &["10"]).await;
    db.run("DROP TABLE scratch.public.t").await;
    db.check_error(memory, "t").await;
    let running = "SELECT count(*) FROM system.queries WHERE query LIKE '%system.queries%'";
    check(&db, running, &["1"]).await;
    assert_eq!(reused(&db), 0);
}

#[tokio::test]
async fn a_statement_that_writes_writes_each_time() {
    let db = Fixture::new().await.cpu().await;
    for round in 1..=3 {
        for (sql, changed) in [
            ("INSERT INTO cpu (time, host) SELECT time, 'copy' FROM cpu WHERE host = 'a'", 2),
            ("UPDATE cpu SET usage = 9 WHERE host = 'copy'", 2),
            ("DELETE FROM cpu WHERE host = 'copy'", 2),
            ("DELETE FROM cpu WHERE host = 'copy' OR usage > 100", 0),
        ] {
            match db.run(sql).await {
                Outcome::Updated(Some(count)) => assert_eq!(count, changed, "{round}: {sql}"),
                other => panic!("{round}: {sql}: {other:?}"),
            }
        }
        db.check("SELECT count(*) FROM cpu", &["5"]).await;
    }
}

#[tokio::test]
async fn both_sides_of_a_join_that_is_asked_again_see_the_same_rows() {
    let db = Fixture::new().await.cpu().await;
    let sql = "SELECT count(*) FROM cpu AS l JOIN cpu AS r ON l.host = r.host AND l.time = r.time
               WHERE r.time < '2024-01-03'";
    check(&db, sql, &["5"]).await;
    db.run("INSERT INTO cpu (time, host) VALUES ('2024-01-02T00:00:00Z', 'd')").await;
    check(&db, sql, &["6"]).await;
    assert_eq!(reused(&db), 7);
    let series = "SELECT count(*) FROM series('c.u')";
    check(&db, series, &["6"]).await;
    db.run("CREATE TABLE cxu (time TIMESTAMP NOT NULL, PRIMARY KEY (time))").await;
    db.run("INSERT INTO cxu VALUES ('2024-01-01T00:00:00Z')").await;
    check(&db, series, &["7"]).await;
}

#[tokio::test]
async fn now_moves_between_two_runs_of_one_text() {
    let db = Fixture::new().await;
    let sql = "SELECT CAST(now() AS BIGINT), random()";
    let first = db.rows(sql).await;
    let second = db.rows(sql).await;
    assert_eq!(reused(&db), 1);
    let parts = |row: &[String]| -> (i64, String) {
        let (now, random) = row[0].split_once(' ').unwrap();
        (now.parse().unwrap(), random.to_owned())
    };
    let (first, second) = (parts(&first), parts(&second));
    assert!(first.0 < second.0, "{first:?} {second:?}");
    assert_ne!(first.1, second.1);
}

#[tokio::test]
async fn queries_that_differ_in_what_they_compare_with_are_planned_alike() {
    let db = Fixture::new().await.cpu().await;
    let shape = |host: &str, from: &str, until: &str| {
        format!(
            "SELECT host, date_bin('1m', time) AS m, max(usage) FROM cpu WHERE host IN ('{host}', 'c') AND \
             time >= '{from}' AND time < '{until}' GROUP BY host, m ORDER BY host, m"
        )
    };
    let day = "2024-01-01";
    let c = "c 2024-01-01T00:00:00Z 5.0";
    db.check(&shape("a", day, "2024-01-01T00:01:00Z"), &["a 2024-01-01T00:00:00Z 1.0", c]).await;
    for (host, from, until, want) in [
        ("a", "2024-01-01 00:01", "2024-01-02", vec!["a 2024-01-01T00:01:00Z 2.0"]),
        ("b", day, "2024-01-01 00:02", vec!["b 2024-01-01T00:00:00Z 3.0", c]),
        ("it''s", day, "2024-01-02", vec![c]),
        ("$1", "2023-01-01", day, vec![]),
    ] {
        let before = reused(&db);
        db.check(&shape(host, from, until), &want).await;
        // Once for the template, and once for the text that it has made known.
        assert_eq!(reused(&db), before + 2, "{host}");
    }
    // Instants in the places of texts.
    let instants =
        shape("a", day, "2024-01-02").replace("'2024-01-01'", "to_timestamp(1704067260)");
    let before = reused(&db);
    db.check(&instants, &["a 2024-01-01T00:01:00Z 2.0"]).await;
    assert_eq!(reused(&db), before + 2);
    // What is wrong with a text is said of the text.
    db.check_error(&shape("a", "soon", day), "'soon' is not a time").await;
    db.check_error(&shape("a", day, "9999-01-01"), "'9999-01-01' is out of range").await;
    // Another catalog, another time zone.
    db.run("ALTER TABLE cpu ADD COLUMN extra BIGINT").await;
    db.check(&shape("b", day, "2024-01-01 00:02"), &["b 2024-01-01T00:00:00Z 3.0", c]).await;
    db.run("SET timezone = 'America/New_York'").await;
    db.check(&shape("a", day, "2024-01-02"), &[]).await;
    db.check(&shape("a", "2023-12-31 19:01", "2024-01-01"), &["a 2023-12-31T19:01:00-05:00 2.0"])
        .await;
}

#[tokio::test]
async fn texts_of_every_type_are_compared_as_in_a_query_that_is_planned_by_itself() {
    let db = Fixture::new().await.cpu().await;
    db.run("CREATE TABLE kinds (time TIMESTAMP NOT NULL, t STRING, f DOUBLE, i BIGINT, b BOOLEAN, s STRING, \
            PRIMARY KEY (t, time))")
        .await;
    db.run("INSERT INTO kinds VALUES ('2024-01-01', 'x', 1.5, 1, true, 'one'), ('2024-01-02', 'y', 'NaN', 10, false, \
            NULL), ('2024-01-03', NULL, -0.0, -1, NULL, '10')")
        .await;
    let values = ["x", "1.5", "1", "10", "true", "one", "NaN", "2024-01-02", "", "-1", "0"];
    for column in ["time", "t", "f", "i", "b", "s"] {
        for value in values {
            for (op, turned) in [("=", "="), ("<>", "<>"), ("<", ">"), (">=", "<=")] {
                let alike =
                    format!("SELECT time FROM kinds WHERE {column} {op} '{value}' ORDER BY time");
                let alone = format!(
                    "SELECT time FROM kinds WHERE '{value}' {turned} {column} ORDER BY time"
                );
                let got = rows(&db.session, &alike, None).await.map_err(|e| e.to_string());
                let want = rows(&db.session, &alone, None).await.map_err(|e| e.to_string());
                assert_eq!(got.is_ok(), want.is_ok(), "{alike}: {got:?} {want:?}");
                if let (Ok(got), Ok(want)) = (got, want) {
                    assert_eq!(got, want, "{alike}");
                }
            }
        }
    }
    assert!(reused(&db) > 0);
}
