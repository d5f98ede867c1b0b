//! What database tools ask when they connect and look around: by habit of `PostgreSQL`, or of JDBC and `SQLAlchemy`.

use quorate_engine::{ErrorKind, SessionOptions};

use crate::fixture::{Fixture, rows};

#[tokio::test]
async fn the_functions_that_tools_call_at_connect_answer() {
    let db = Fixture::new().await.cpu().await;
    let version = format!("Quorate {}", env!("CARGO_PKG_VERSION"));
    db.check("SELECT version()", &[&version]).await;
    db.check("select 1", &["1"]).await;
    db.check(
        "SELECT current_database(), current_schema(), current_catalog()",
        &["main public main"],
    )
    .await;
    db.check("SELECT CURRENT_CATALOG AS a, CURRENT_SCHEMA() AS b", &["main public"]).await;
    db.check(
        "SELECT current_user, session_user, current_user() AS same",
        &["anonymous anonymous anonymous"],
    )
    .await;
    db.check("SELECT count(*) FROM cpu WHERE current_database() = 'main'", &["5"]).await;
    db.run("CREATE DATABASE other").await;
    db.run("USE other").await;
    db.check("SELECT current_database()", &["other"]).await;
    // Names in a view are looked up from its database.
    db.run("CREATE VIEW here AS SELECT current_database() AS d").await;
    db.run("USE main").await;
    db.check("SELECT d FROM other.public.here", &["other"]).await;
}

#[tokio::test]
async fn the_settings_that_tools_ask_for_answer() {
    let db = Fixture::new().await;
    let version = format!("server_version {}", env!("CARGO_PKG_VERSION"));
    for (sql, want) in [
        ("SHOW search_path", "search_path public"),
        ("SHOW TRANSACTION ISOLATION LEVEL", "transaction_isolation read committed"),
        ("SHOW transaction_isolation", "transaction_isolation read committed"),
        ("SHOW server_version", version.as_str()),
        ("SHOW client_encoding", "client_encoding UTF8"),
        ("SHOW standard_conforming_strings", "standard_conforming_strings on"),
        ("SHOW TIME ZONE", "timezone UTC"),
    ] {
        db.check(sql, &[want]).await;
    }
    // What is so already can be set, by those who remember nothing, too.
    let stateless = db.engine.session(SessionOptions::default());
    for sql in [
        "SET client_encoding = 'UTF8'",
        "SET search_path TO public",
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "SET TRANSACTION READ WRITE, ISOLATION LEVEL READ COMMITTED",
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED",
    ] {
        rows(&stateless, sql, None).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
    for (sql, kind, text) in [
        ("SET client_encoding = 'LATIN1'", ErrorKind::Unsupported, "always \"UTF8\""),
        ("SET search_path = private", ErrorKind::Unsupported, "always \"public\""),
        (
            "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            ErrorKind::Unsupported,
            "\"serializable\"",
        ),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            ErrorKind::Unsupported,
            "\"repeatable read\"",
        ),
        ("SET TRANSACTION READ ONLY", ErrorKind::Unsupported, "READ ONLY"),
        ("SET search_paths = 'tool'", ErrorKind::Invalid, "not a setting of a session"),
        ("SHOW search_paths", ErrorKind::NotFound, "SHOW ALL"),
        ("SELECT * FROM pg_catalog.pg_class", ErrorKind::NotFound, "pg_catalog"),
    ] {
        let error = db.check_error(sql, text).await;
        assert_eq!(error.kind(), kind, "{sql}: {error}");
    }
}

#[tokio::test]
async fn an_application_says_what_it_is_called() {
    let db = Fixture::new().await;
    let named = "SELECT application FROM system.queries";
    db.check("SHOW application_name", &["application_name "]).await;
    db.check(named, &[""]).await;
    db.run("SET application_name = 'monthly report'").await;
    db.check("SHOW application_name", &["application_name monthly report"]).await;
    assert!(db.rows("SHOW ALL").await.contains(&"application_name monthly report".to_owned()));
    db.check(named, &["monthly report"]).await;
    let long = format!("SET application_name = '{}'", "x".repeat(257));
    db.check_error(&long, "more than 256").await;
    db.run("RESET application_name").await;
    db.check(named, &[""]).await;
    let stateless = db.engine.session(SessionOptions::default());
    let error = rows(&stateless, "SET application_name = 'x'", None).await.unwrap_err();
    assert!(error.to_string().contains("application-name"), "{error}");
}

#[tokio::test]
async fn every_function_is_shown() {
    let db = Fixture::new().await;
    let names = |rows: Vec<String>| -> std::collections::BTreeSet<String> {
        rows.iter().filter_map(|row| row.split(' ').next()).map(str::to_owned).collect()
    };
    let shown = names(db.rows("SHOW FUNCTIONS").await);
    let all = "SELECT DISTINCT routine_name FROM information_schema.routines";
    assert_eq!(shown, names(db.rows(all).await));
    for name in
        ["rate", "time_bucket", "locf", "first", "lttb", "epoch_ms", "date_bin", "interpolate"]
    {
        assert!(shown.contains(name), "{name} is not shown");
        let rows = db.rows(&format!("SHOW FUNCTIONS LIKE '{name}'")).await;
        assert_eq!(names(rows), [name.to_owned()].into());
    }
    let some = names(db.rows("SHOW FUNCTIONS ILIKE 'TIME\\_%'").await);
    assert!(!some.is_empty() && some.iter().all(|name| name.starts_with("time_")), "{some:?}");
    // One row for each way to call it, with its arguments in their order.
    let lpad = db.rows("SHOW FUNCTIONS LIKE 'lpad'").await;
    assert!(lpad.iter().any(|row| row.contains("[str, n, padding_str]")), "{lpad:?}");
    db.check_error("SHOW FUNCTIONS WHERE function_name = 'rate'", "information_schema").await;
}

#[tokio::test]
async fn information_schema_lists_what_there_is() {
    let db = Fixture::new().await.cpu().await;
    db.run("CREATE DATABASE scratch WITH (kind = 'memory')").await;
    db.run("CREATE VIEW v AS SELECT host FROM cpu").await;
    db.run("CREATE VIEW of_views AS SELECT * FROM information_schema.views").await;
    db.run("USE scratch").await;
    db.run("CREATE TABLE t (a INT)").await;
    db.run("CREATE VIEW w AS SELECT a FROM t").await;
    db.check(
        "SELECT table_catalog, table_schema, table_name, view_definition, is_updatable
         FROM information_schema.views ORDER BY 1, 3",
        &[
            "main public of_views SELECT * FROM information_schema.views NO",
            "main public v SELECT host FROM cpu NO",
            "scratch public w SELECT a FROM t NO",
        ],
    )
    .await;
    db.run("USE main").await;
    db.check("SELECT count(*) FROM of_views", &["3"]).await;
    db.check(
        "SELECT column_name, ordinal_position FROM information_schema.columns
         WHERE table_name = 'cpu' AND table_schema = 'public' ORDER BY ordinal_position",
        &["time 1", "host 2", "region 3", "usage 4", "n 5"],
    )
    .await;
    db.check(
        "SELECT table_catalog, table_name, table_type FROM information_schema.tables
         WHERE table_schema = 'information_schema' AND table_name LIKE '%\\_%' ORDER BY 1, 2",
        &[
            "main df_settings VIEW",
            "main key_column_usage VIEW",
            "main table_constraints VIEW",
            "scratch df_settings VIEW",
            "scratch key_column_usage VIEW",
            "scratch table_constraints VIEW",
        ],
    )
    .await;
    db.check(
        "SELECT catalog_name, schema_name FROM information_schema.schemata ORDER BY 1, 2",
        &[
            "main information_schema",
            "main public",
            "main system",
            "scratch information_schema",
            "scratch public",
        ],
    )
    .await;
}

#[tokio::test]
async fn what_is_not_there_or_not_supported_is_named() {
    let db = Fixture::new().await.cpu().await;
    for (sql, kind, text) in [
        (
            "SELECT * FROM system.nosuch",
            ErrorKind::NotFound,
            "table \"nosuch\" does not exist in schema \"system\"",
        ),
        (
            "SELECT * FROM main.information_schema.nosuch",
            ErrorKind::NotFound,
            "table \"nosuch\" does not exist in schema \"information_schema\"",
        ),
        ("SELECT 1 INTO x", ErrorKind::Unsupported, "SELECT … INTO (use CREATE TABLE … AS"),
        ("EXPLAIN SELECT * INTO x FROM cpu", ErrorKind::Unsupported, "SELECT … INTO"),
        ("(SELECT 1 INTO x) UNION SELECT 2", ErrorKind::Unsupported, "SELECT … INTO"),
        ("CREATE TEMP TABLE x (a INT)", ErrorKind::Unsupported, "CREATE TEMPORARY TABLE"),
        (
            "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION 'x.csv'",
            ErrorKind::Unsupported,
            "COPY … FROM",
        ),
    ] {
        let error = db.check_error(sql, text).await;
        assert_eq!(error.kind(), kind, "{sql}: {error}");
    }
}

#[tokio::test]
async fn information_schema_tells_of_keys_too() {
    let db = Fixture::new().await.cpu().await;
    db.run("CREATE DATABASE other").await;
    db.run("CREATE TABLE other.public.t (time TIMESTAMP, x DOUBLE)").await;
    db.run("CREATE DATABASE scratch WITH (kind = 'memory')").await;
    db.run("CREATE VIEW v AS SELECT host FROM cpu").await;
    db.check(
        "SELECT constraint_catalog, constraint_schema, constraint_name, table_catalog, table_name, constraint_type
         FROM information_schema.table_constraints ORDER BY 1, 3",
        &["main public cpu_pkey main cpu PRIMARY KEY", "other public t_pkey other t PRIMARY KEY"],
    )
    .await;
    db.check(
        "SELECT k.table_name, k.column_name, k.ordinal_position FROM information_schema.key_column_usage k
         JOIN information_schema.table_constraints USING (constraint_catalog, constraint_name)
         ORDER BY k.table_catalog, k.ordinal_position",
        &["cpu host 1", "cpu region 2", "cpu time 3", "t time 1"],
    )
    .await;
    for database in ["main", "scratch"] {
        db.run(&format!("USE {database}")).await;
        for table in
            ["schemata", "tables", "columns", "views", "routines", "parameters", "df_settings"]
        {
            let all = db.rows(&format!("SELECT * FROM information_schema.{table}")).await;
            assert!(!all.is_empty(), "{table} in {database}");
        }
    }
    db.check(
        "SELECT table_name, definition FROM information_schema.views WHERE definition IS NOT NULL",
        &["v SELECT host FROM cpu"],
    )
    .await;
    let described = db.rows("DESCRIBE information_schema.table_constraints").await;
    assert_eq!(described.len(), 9);
    db.check_error("SELECT * FROM information_schema.nothing", "nothing").await;
}
