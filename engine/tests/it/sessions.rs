//! Sessions: settings, databases, time zones, what they show.

use quorate_engine::{ErrorKind, SessionOptions};
use quorate_storage::ReadLevel;

use crate::fixture::{Fixture, rows};

#[tokio::test]
async fn use_changes_where_names_are_looked_up() {
    let db = Fixture::new().await.cpu().await;
    db.run("CREATE DATABASE other").await;
    db.run("USE other").await;
    assert_eq!(db.session.options().database.as_deref(), Some("other"));
    db.check("SHOW TABLES", &[]).await;
    db.check_error("SELECT * FROM cpu", "does not exist in database \"other\"").await;
    db.check_error("SELECT * FROM main.cpu", "did you mean main.public.cpu?").await;
    db.check("SELECT count(*) FROM main.public.cpu", &["5"]).await;
    db.run("CREATE TABLE cpu AS SELECT * FROM main.public.cpu WHERE host = 'a'").await;
    db.check("SELECT count(*) FROM cpu JOIN main.public.cpu m USING (host, time)", &["2"]).await;
    db.check("SHOW TABLES FROM main", &["main public cpu BASE TABLE"]).await;
    db.check("SHOW database", &["database other"]).await;
}

#[tokio::test]
async fn the_time_zone_is_that_of_naive_times_and_of_answers() {
    let db = Fixture::new().await.cpu().await;
    db.check("SELECT min(time) FROM cpu", &["2024-01-01T00:00:00Z"]).await;
    db.run("SET timezone = 'Europe/Berlin'").await;
    db.check("SELECT min(time) FROM cpu", &["2024-01-01T01:00:00+01:00"]).await;
    db.check("SELECT usage FROM cpu WHERE time = '2024-01-01 01:01:00'", &["2.0"]).await;
    db.check("SELECT usage FROM cpu WHERE time = '2024-01-01T00:01:00Z'", &["2.0"]).await;
    db.check("SELECT count(*) FROM cpu WHERE time >= '2024-01-01'", &["5"]).await;
    db.check("SELECT count(*) FROM cpu WHERE time::date = '2024-01-01'", &["5"]).await;
    db.run("INSERT INTO cpu (time, host, usage) VALUES ('2024-07-01 02:00:00', 'z', 9)").await;
    db.run("RESET timezone").await;
    db.check("SELECT time FROM cpu WHERE host = 'z'", &["2024-07-01T00:00:00Z"]).await;
    db.check_error("SET timezone = 'Nowhere'", "not a time zone").await;
    // Numbers are instants in every zone.
    for zone in ["UTC", "Europe/Berlin", "-05:00"] {
        db.run(&format!("SET timezone = '{zone}'")).await;
        for instant in [
            "to_timestamp(1704067200)",
            "to_timestamp(1704067200.0)",
            "to_timestamp_seconds(1704067200)",
            "to_timestamp_millis(1704067200000)",
            "to_timestamp('2024-01-01T00:00:00Z')",
        ] {
            let sql = format!("SELECT {instant} = '2024-01-01T00:00:00Z'::timestamptz");
            assert_eq!(db.rows(&sql).await, ["true"], "{sql} in {zone}");
        }
        let sql = "SELECT bool_and(to_timestamp(v) = '1970-01-01T00:00:01Z'::timestamptz) FROM (VALUES (1), (1)) t (v)";
        assert_eq!(db.rows(sql).await, ["true"], "in {zone}");
    }
}

#[tokio::test]
async fn a_session_without_memory_refuses_set() {
    let db = Fixture::new().await;
    let session = db.engine.session(SessionOptions::default());
    for sql in ["SET timezone = 'UTC'", "USE main", "RESET timezone"] {
        let error = session.execute(sql, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains("query-timeout"), "{error}");
    }
}

#[tokio::test]
async fn prepare_without_a_session_names_other_ways() {
    let db = Fixture::new().await;
    let session = db.engine.session(SessionOptions::default());
    for sql in ["PREPARE p AS SELECT 1", "DEALLOCATE p", "DEALLOCATE ALL"] {
        let error = session.execute(sql, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{sql}: {error}");
        assert!(error.to_string().contains("the client's own call"), "{sql}: {error}");
    }
}

#[tokio::test]
async fn a_session_in_no_database_cannot_query() {
    let db = Fixture::new().await;
    let options =
        SessionOptions { database: Some("nowhere".to_owned()), ..SessionOptions::default() };
    let session = db.engine.session(options);
    for sql in ["SELECT 1", "SHOW TABLES", "INSERT INTO t VALUES (1)"] {
        let error = rows(&session, sql, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{sql}: {error}");
    }
}

#[tokio::test]
async fn local_reads_see_what_was_acknowledged_here() {
    let db = Fixture::new().await.cpu().await;
    let options = SessionOptions { read_level: ReadLevel::Local, ..SessionOptions::default() };
    let session = db.engine.session(options);
    assert_eq!(rows(&session, "SELECT count(*) FROM cpu", None).await.unwrap(), ["5"]);
}

#[tokio::test]
async fn information_schema_and_system_tables_show_what_is_there() {
    let db = Fixture::new().await.cpu().await;
    db.run("CREATE DATABASE other").await;
    db.run("CREATE TABLE other.public.t (time TIMESTAMP, x DOUBLE)").await;
    db.check(
        "SELECT table_catalog, table_name FROM information_schema.tables WHERE table_schema = 'public'
         ORDER BY 1, 2",
        &["main cpu", "other t"],
    )
    .await;
    db.check(
        "SELECT column_name, is_nullable FROM information_schema.columns
         WHERE table_catalog = 'main' AND table_name = 'cpu' ORDER BY ordinal_position",
        &["time NO", "host YES", "region YES", "usage YES", "n YES"],
    )
    .await;
    db.check(
        "SELECT DISTINCT catalog_name FROM information_schema.schemata ORDER BY 1",
        &["main", "other"],
    )
    .await;
    db.check(
        "SELECT value FROM information_schema.df_settings
         WHERE name = 'datafusion.optimizer.prefer_existing_sort'",
        &["true"],
    )
    .await;
    db.check(
        "SELECT database_name, table_name, tags, fields FROM system.tables ORDER BY 1, 2",
        &["main cpu 2 2", "other t 0 1"],
    )
    .await;
    db.check("SELECT count(*) FROM main.system.settings WHERE name = 'timezone'", &["1"]).await;
    db.check("SELECT database_name, client FROM system.queries", &["main test"]).await;
    db.run("CHECKPOINT").await;
    db.check(
        "SELECT table_name, sum(rows), min(time_min) FROM system.segments GROUP BY 1",
        &["cpu 5 2024-01-01T00:00:00Z"],
    )
    .await;
}

#[tokio::test]
async fn show_and_describe_answer() {
    let db = Fixture::new().await.cpu().await;
    db.run("CREATE TABLE mem (time TIMESTAMP, x DOUBLE)").await;
    db.check("SHOW TABLES LIKE 'c%'", &["main public cpu BASE TABLE"]).await;
    db.check("SHOW DATABASES LIKE 'x%'", &[]).await;
    let columns = [
        "time TIMESTAMP(9) WITH TIME ZONE NO time",
        "host STRING YES tag",
        "region STRING YES tag",
        "usage DOUBLE YES field",
        "n BIGINT YES field",
    ];
    db.check("DESCRIBE cpu", &columns).await;
    db.check("SHOW COLUMNS FROM main.public.cpu", &columns).await;
    db.check("SHOW COLUMNS FROM cpu LIKE 'h%'", &columns[1..2]).await;
    assert_eq!(db.rows("DESCRIBE system.settings").await.len(), 4);
    let create = db.rows("SHOW CREATE TABLE cpu").await.join("\n");
    assert!(create.contains("PRIMARY KEY (host, region, time)"), "{create}");
    db.run(
        "CREATE TABLE \"order\" (time TIMESTAMP, \"group\" STRING, \"select\" BIGINT, PRIMARY KEY (\"group\", time))",
    )
    .await;
    let create = db.rows("SHOW CREATE TABLE \"order\"").await.join("\n");
    let create = create.strip_prefix("order ").unwrap_or(&create).to_owned();
    let described = db.rows("DESCRIBE \"order\"").await;
    db.run("DROP TABLE \"order\"").await;
    db.run(&create).await;
    assert_eq!(db.rows("DESCRIBE \"order\"").await, described, "{create}");
    db.check("SHOW timezone", &["timezone UTC"]).await;
    assert!(db.rows("SHOW ALL").await.contains(&"query_timeout 1m".to_owned()));
    let functions = db.rows("SHOW FUNCTIONS").await;
    assert!(functions.iter().any(|row| row.starts_with("levenshtein ")), "it is a function");
    let internal = functions.iter().find(|row| row.starts_with("__"));
    assert_eq!(internal, None, "syntax that has no name is listed as a function");
}
