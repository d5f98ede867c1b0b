//! Every kind of statement: it has its effect, also after a restart, or it is an error; never silence.

use quorate_engine::{ErrorKind, Outcome, StatementKind};

use crate::fixture::Fixture;

#[tokio::test]
async fn effects_are_there_after_a_restart() {
    let db = Fixture::new().await.cpu().await;
    db.run("CREATE DATABASE other").await;
    db.run("CREATE DATABASE gone").await;
    db.run("CREATE TABLE gone.public.t (time TIMESTAMP, x DOUBLE)").await;
    db.run("DROP DATABASE gone").await;
    db.run("CREATE TABLE other.public.\"T x\" (at TIMESTAMP, Host TEXT, u BIGINT UNSIGNED, PRIMARY KEY (host, at))
            WITH (retention = '3650d', time_slice = '12h', spread = 2)").await;
    db.run("INSERT INTO other.public.\"T x\" VALUES ('2024-01-01', 'a', 18446744073709551615)")
        .await;
    db.run("CREATE TABLE placed (time TIMESTAMP, host TEXT, x DOUBLE)").await;
    db.run("INSERT INTO placed VALUES ('2024-01-01', 'a', 1)").await;
    db.run("ALTER TABLE placed SET (retention = '3000d', spread = 8, time_slice = '2h')").await;
    db.run("INSERT INTO placed VALUES ('2024-01-01', 'a', 2), ('2024-01-02T03:00:00Z', 'b', 3)")
        .await;
    db.run("CREATE TABLE dropped (time TIMESTAMP, x DOUBLE)").await;
    db.run("DROP TABLE dropped").await;
    db.run("CREATE TABLE summary AS SELECT date_trunc('hour', time) AS time, host, sum(usage) AS s FROM cpu GROUP BY 1, 2").await;
    db.run("INSERT INTO cpu (time, host, region, usage) SELECT time, host, 'copy', usage * 10 FROM cpu WHERE host = 'a'").await;
    db.run("DELETE FROM cpu WHERE host = 'b' AND time >= '2024-01-01T00:01:00Z'").await;

    let check = async |db: &Fixture| {
        db.check("SHOW DATABASES", &["main durable", "other durable"]).await;
        db.check(
            "SELECT host, region, usage FROM cpu ORDER BY host, region, time",
            &["a copy 10.0", "a copy 20.0", "a eu 1.0", "a eu 2.0", "b us 3.0", "c NULL 5.0"],
        )
        .await;
        db.check("SELECT host, u FROM other.public.\"T x\"", &["a 18446744073709551615"]).await;
        db.check("SELECT host, s FROM summary ORDER BY host", &["a 3.0", "b 7.0", "c 5.0"]).await;
        db.check_error("SELECT * FROM dropped", "does not exist").await;
        db.check(
            "SELECT retention, time_slice, spread FROM system.tables WHERE table_name = 'T x'",
            &["3650d 12h 2"],
        )
        .await;
        db.check("SELECT host, x FROM placed ORDER BY host", &["a 2.0", "b 3.0"]).await;
        let placed = db.rows("SHOW CREATE TABLE placed").await.join("\n");
        let options = "WITH (retention = '3000d', time_slice = '2h', spread = 8)";
        assert!(placed.ends_with(options), "{placed}");
        db.check(
            "SELECT time_slice, spread, in_force FROM system.routing WHERE table_name = 'placed'",
            &["1d 1 true", "2h 8 true"],
        )
        .await;
    };
    check(&db).await;
    let db = db.restart().await;
    check(&db).await;
    db.run("CHECKPOINT").await;
    check(&db).await;
    db.run("VACUUM").await;
    let db = db.restart().await;
    check(&db).await;
}

#[tokio::test]
async fn outcomes_tell_what_was_done() {
    let db = Fixture::new().await.cpu().await;
    for (sql, want) in [
        ("INSERT INTO cpu (time, host) VALUES (now(), 'x'), (now(), 'y')", "Updated(Some(2))"),
        (
            "INSERT INTO cpu (time, host) SELECT time, 'z' FROM cpu WHERE host = 'a'",
            "Updated(Some(2))",
        ),
        ("DELETE FROM cpu WHERE host = 'x'", "Updated(Some(1))"),
        ("DELETE FROM cpu WHERE host = 'x'", "Updated(Some(0))"),
        ("DELETE FROM cpu WHERE usage IS NULL", "Updated(Some(3))"),
        ("DELETE FROM cpu WHERE false", "Updated(Some(0))"),
        ("CREATE DATABASE d", "Done"),
        ("CREATE DATABASE IF NOT EXISTS d", "Done"),
        ("DROP DATABASE d", "Done"),
        ("DROP DATABASE IF EXISTS d", "Done"),
        ("CREATE TABLE IF NOT EXISTS cpu (time TIMESTAMP, a DOUBLE)", "Done"),
        ("DROP TABLE IF EXISTS nothing", "Done"),
        ("SET query_timeout = '5s'", "Done"),
        ("RESET query_timeout", "Done"),
        ("USE main", "Done"),
    ] {
        let outcome = match db.run(sql).await {
            Outcome::Rows(_) => "Rows".to_owned(),
            other => format!("{other:?}"),
        };
        assert_eq!(outcome, want, "{sql}");
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a list of cases")]
async fn what_cannot_be_done_is_an_error() {
    let db = Fixture::new().await.cpu().await;
    for (sql, kind, text) in [
        ("CREATE DATABASE main", ErrorKind::Conflict, "already exists"),
        ("CREATE TABLE cpu (time TIMESTAMP, a DOUBLE)", ErrorKind::Conflict, "already exists"),
        (
            "CREATE TABLE nowhere.public.t (time TIMESTAMP, a DOUBLE)",
            ErrorKind::NotFound,
            "nowhere",
        ),
        ("CREATE TABLE system.t (time TIMESTAMP, a DOUBLE)", ErrorKind::Invalid, "read-only"),
        ("CREATE TABLE t (a DOUBLE)", ErrorKind::Invalid, "no TIMESTAMP"),
        ("CREATE TABLE t AS SELECT 1 AS a", ErrorKind::Invalid, "time"),
        ("DROP DATABASE nowhere", ErrorKind::NotFound, "nowhere"),
        ("DROP DATABASE main", ErrorKind::Conflict, "this session"),
        ("DROP TABLE nothing", ErrorKind::NotFound, "nothing"),
        ("USE nowhere", ErrorKind::NotFound, "nowhere"),
        ("KILL QUERY 12345", ErrorKind::NotFound, "12345"),
        ("INSERT INTO nothing VALUES (1)", ErrorKind::NotFound, "nothing"),
        ("INSERT INTO cpu (host, usage) VALUES ('a', 1)", ErrorKind::Invalid, "time column"),
        ("INSERT INTO cpu (time, host) VALUES (NULL, 'a')", ErrorKind::Invalid, "must not be NULL"),
        ("INSERT INTO cpu (time, Nope) VALUES (now(), 1)", ErrorKind::NotFound, "nope"),
        ("INSERT INTO cpu (time, time) VALUES (now(), now())", ErrorKind::Invalid, "twice"),
        (
            "INSERT INTO cpu (time, host) VALUES (now())",
            ErrorKind::Invalid,
            "2 columns and 1 values",
        ),
        (
            "INSERT INTO cpu (time, host) SELECT time FROM cpu",
            ErrorKind::Invalid,
            "2 columns and 1",
        ),
        ("INSERT INTO cpu (time, n) VALUES (now(), 1), (now(), 1.5)", ErrorKind::Invalid, "row 2"),
        ("INSERT INTO cpu (time, n) VALUES (now(), 1.5)", ErrorKind::Invalid, "BIGINT"),
        (
            "INSERT INTO cpu (time, n) SELECT time, usage + 0.5 FROM cpu",
            ErrorKind::Invalid,
            "exactly",
        ),
        ("INSERT INTO cpu (time, usage) VALUES (now(), 'much')", ErrorKind::Invalid, "'much'"),
        ("INSERT INTO cpu (time, usage) VALUES ('soon', 1)", ErrorKind::Invalid, "'soon'"),
        (
            "INSERT INTO cpu (time) VALUES (now()) RETURNING time",
            ErrorKind::Unsupported,
            "RETURNING",
        ),
        (
            "INSERT INTO cpu (time) VALUES (now()) ON CONFLICT DO NOTHING",
            ErrorKind::Unsupported,
            "ON CONFLICT",
        ),
        ("DELETE FROM cpu WHERE nope > 1", ErrorKind::NotFound, "nope"),
        ("DELETE FROM nothing", ErrorKind::NotFound, "nothing"),
        ("UPDATE cpu SET host = 'x'", ErrorKind::Unsupported, "which row"),
        ("UPDATE cpu SET Nope = 1", ErrorKind::NotFound, "nope"),
        ("UPDATE cpu SET n = 1.5", ErrorKind::Invalid, "exactly"),
        ("TRUNCATE TABLE nothing", ErrorKind::NotFound, "nothing"),
        ("ALTER TABLE cpu DROP COLUMN host", ErrorKind::Invalid, "is a tag"),
        ("ALTER TABLE cpu ADD COLUMN n DOUBLE", ErrorKind::Conflict, "already"),
        ("ALTER TABLE nothing RENAME TO cpu", ErrorKind::NotFound, "nothing"),
        ("CREATE VIEW cpu AS SELECT 1 AS a", ErrorKind::Conflict, "already exists"),
        ("CREATE VIEW v AS SELECT * FROM nothing", ErrorKind::NotFound, "nothing"),
        ("DROP VIEW cpu", ErrorKind::NotFound, "cpu"),
        ("SELECT * INTO t FROM cpu", ErrorKind::Unsupported, "not"),
        (
            "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
            ErrorKind::Unsupported,
            "EXTERNAL",
        ),
        ("COPY cpu TO '/tmp/x.parquet'", ErrorKind::Unsupported, "COPY"),
        ("EXPLAIN DELETE FROM cpu", ErrorKind::Unsupported, "EXPLAIN"),
        ("BEGIN", ErrorKind::Unsupported, "transaction"),
        ("SET datafusion.execution.batch_size = 1", ErrorKind::Invalid, "not a setting"),
        ("SHOW nothing", ErrorKind::NotFound, "nothing"),
        ("SHOW COLUMNS FROM nothing", ErrorKind::NotFound, "nothing"),
        ("SHOW TABLES FROM nowhere", ErrorKind::NotFound, "nowhere"),
        ("SELECT * FROM '/etc/passwd'", ErrorKind::NotFound, "passwd"),
        ("SELECT 1; SELECT 2", ErrorKind::Invalid, "one at a time"),
        ("SELECT 1 / 0", ErrorKind::Invalid, "ivide by zero"),
    ] {
        let error = db.check_error(sql, text).await;
        assert_eq!(error.kind(), kind, "{sql}: {error}");
    }
    // Nothing of it has left a trace.
    db.check("SELECT count(*) FROM cpu", &["5"]).await;
    db.check("SHOW TABLES", &["main public cpu BASE TABLE"]).await;
}

#[tokio::test]
async fn names_that_fail_for_their_case_are_told_in_quotes() {
    let db = Fixture::new().await;
    db.run("CREATE TABLE \"Cpu\" (time TIMESTAMP, \"Host\" STRING, \"Usage_User\" DOUBLE, PRIMARY KEY (\"Host\", time))").await;
    db.run("CREATE DATABASE \"Other\"").await;
    for (sql, text) in [
        ("SELECT Usage_User FROM \"Cpu\"", "\"Usage_User\""),
        ("SELECT 1 FROM \"Cpu\" c WHERE c.host = 'a'", "\"Host\""),
        ("SELECT * FROM Cpu", "Write it as \"Cpu\""),
        ("SELECT * FROM Other.public.t", "Write it as \"Other\""),
        ("INSERT INTO \"Cpu\" (time, host) VALUES (now(), 'a')", "Write it as \"Host\""),
        ("DROP TABLE cpu", "cpu"),
        ("DESCRIBE cpu", "Write it as \"Cpu\""),
        ("USE other", "Write it as \"Other\""),
    ] {
        let error = db.check_error(sql, text).await;
        assert_eq!(error.kind(), ErrorKind::NotFound, "{sql}: {error}");
    }
}

#[tokio::test]
async fn errors_of_planning_tell_the_place() {
    let db = Fixture::new().await.cpu().await;
    db.check_error("SELECT host,\n  nope FROM cpu", "at line 2, column 3").await;
    db.check_error("SELECT host FRO cpu WHERE", "at line 1, column").await;
}

#[tokio::test]
async fn plans_tell_kinds_and_schemas() {
    let db = Fixture::new().await.cpu().await;
    for (sql, kind, columns) in [
        ("SELECT time, usage FROM cpu", StatementKind::Query, "time usage"),
        ("EXPLAIN SELECT 1", StatementKind::Query, "plan_type plan"),
        ("SHOW TABLES", StatementKind::Query, "table_catalog table_schema table_name table_type"),
        ("DESCRIBE cpu", StatementKind::Query, "column_name data_type is_nullable column_kind"),
        ("INSERT INTO cpu (time) VALUES (now())", StatementKind::Update, "count"),
        ("DELETE FROM cpu", StatementKind::Update, "count"),
        ("CREATE TABLE t AS SELECT * FROM cpu", StatementKind::Update, "count"),
        ("CREATE DATABASE x", StatementKind::Command, "count"),
        ("DROP TABLE cpu", StatementKind::Command, "count"),
        ("SET timezone = 'UTC'", StatementKind::Command, "count"),
        ("KILL QUERY 1", StatementKind::Command, "count"),
    ] {
        let plan = db.session.plan(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        assert_eq!(plan.kind, kind, "{sql}");
        let names = plan.schema.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>();
        assert_eq!(names.join(" "), columns, "{sql}");
        assert!(plan.parameters.fields().is_empty());
    }
    // Planning has run nothing.
    db.check("SELECT count(*) FROM cpu", &["5"]).await;
    db.check("SHOW DATABASES", &["main durable"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_keywords_can_be_updated_and_viewed() {
    let db = Fixture::new().await;
    db.run(
        "CREATE TABLE \"order\" (time TIMESTAMP NOT NULL, \"group\" STRING, \"select\" BIGINT, \"A b\" BIGINT, \
         PRIMARY KEY (\"group\", time))",
    )
    .await;
    db.run("INSERT INTO \"order\" VALUES ('2024-01-01T00:00:00Z', 'a', 1, 2)").await;
    db.run("UPDATE \"order\" SET \"select\" = \"A b\" + 5, \"A b\" = \"select\"").await;
    db.check("SELECT \"group\", \"select\", \"A b\" FROM \"order\"", &["a 7 1"]).await;
    db.run("UPDATE \"order\" AS \"from\" SET \"select\" = \"from\".\"select\" + 1").await;
    db.run("CREATE VIEW \"where\" (\"having\") AS SELECT \"select\" FROM \"order\"").await;
    db.check("SELECT \"having\" FROM \"where\"", &["8"]).await;
}
