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
    for sql in ["SET client_encoding = 'UTF8'", "SET search_path TO public"] {
        rows(&stateless, sql, None).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
    for (sql, kind, text) in [
        ("SET client_encoding = 'LATIN1'", ErrorKind::Unsupported, "always \"UTF8\""),
        ("SET search_path = private", ErrorKind::Unsupported, "always \"public\""),
        ("SET application_name = 'tool'", ErrorKind::Invalid, "not a setting of a session"),
        ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", ErrorKind::Unsupported, "SET TRANSACTION"),
        ("SHOW application_name", ErrorKind::NotFound, "SHOW ALL"),
        ("SELECT * FROM pg_catalog.pg_class", ErrorKind::NotFound, "pg_catalog"),
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
