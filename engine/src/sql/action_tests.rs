//! Which statements are recognised, and what is refused by name.

use super::*;
use crate::sql::parse::parse;

fn action(sql: &str) -> Result<Action, Error> {
    Action::of(parse(sql).unwrap_or_else(|e| panic!("{sql}: {e}")).statement)
}

fn check(sql: &str, want: &str) {
    let got = format!("{:?}", action(sql).unwrap_or_else(|e| panic!("{sql}: {e}")));
    assert!(got.starts_with(want), "{sql}: {got}");
}

fn check_unsupported(sql: &str, text: &str) {
    let error = action(sql).map(|a| format!("{a:?}")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{sql}: {error}");
    assert!(error.to_string().contains(text), "{sql}: {error}");
}

#[test]
fn statements_are_recognised() {
    check("SELECT DISTINCT ON (a) a, b FROM t ORDER BY a", "Query");
    check("WITH x AS (SELECT 1) SELECT * FROM x", "Query");
    check("VALUES (1), (2)", "Query");
    check("SHOW FUNCTIONS", "Query");
    check("EXPLAIN SELECT 1", "Explain");
    check("EXPLAIN ANALYZE VERBOSE SELECT 1", "Explain");
    check("EXPLAIN FORMAT TREE SELECT 1", "Explain");
    check("DESCRIBE SELECT 1", "Explain");
    check("CREATE DATABASE IF NOT EXISTS X", "CreateDatabase { name: \"x\", if_not_exists: true }");
    check("DROP DATABASE \"X\"", "DropDatabase { name: \"X\", if_exists: false }");
    check("CREATE TABLE t (time TIMESTAMP, PRIMARY KEY (time))", "CreateTable");
    check("DROP TABLE IF EXISTS a.public.t", "DropTable");
    check("INSERT INTO t VALUES (1)", "Insert");
    check("DELETE FROM t WHERE time < now()", "Delete");
    check("SHOW DATABASES", "ShowDatabases { filter: None }");
    check("SHOW TABLES", "ShowTables { database: None, filter: None }");
    check(
        "SHOW TABLES FROM Other LIKE 'c%'",
        "ShowTables { database: Some(\"other\"), filter: Some",
    );
    check("SHOW COLUMNS FROM t", "ShowColumns");
    check("DESCRIBE t", "ShowColumns");
    check("DESC main.public.t", "ShowColumns");
    check("SHOW CREATE TABLE t", "ShowCreateTable");
    check("SHOW QUERIES", "ShowQueries");
    check("SHOW PROCESSLIST", "ShowQueries");
    check("SHOW ALL", "ShowSetting { name: None }");
    check("SHOW timezone", "ShowSetting { name: Some(\"timezone\") }");
    check("SHOW TIME ZONE", "ShowSetting { name: Some(\"timezone\") }");
    check("USE other", "Use { database: \"other\" }");
    check("SET query_timeout = '5s'", "Set { name: \"query_timeout\", value: \"5s\" }");
    check("SET TIME ZONE 'Europe/Berlin'", "Set { name: \"timezone\", value: \"Europe/Berlin\" }");
    check("SET consistency TO local", "Set { name: \"consistency\", value: \"local\" }");
    check("RESET timezone", "Reset { name: \"timezone\" }");
    check("KILL QUERY 7", "Kill { query: QueryId(7) }");
    check("KILL 7", "Kill { query: QueryId(7) }");
    check("CHECKPOINT", "Checkpoint");
    check("VACUUM", "Vacuum");
}

#[test]
fn everything_else_is_refused_by_name() {
    for (sql, text) in [
        ("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 'x'", "EXTERNAL"),
        ("EXPLAIN INSERT INTO t VALUES (1)", "EXPLAIN"),
        ("MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE", "MERGE"),
        ("CREATE SCHEMA s", "CREATE SCHEMA"),
        ("CREATE INDEX i ON t (a)", "CREATE INDEX"),
        ("CREATE FUNCTION f() RETURNS INT RETURN 1", "CREATE FUNCTION"),
        ("CREATE SEQUENCE s", "CREATE SEQUENCE"),
        ("CREATE ROLE r", "CREATE ROLE"),
        ("DROP TABLE a, b", "several names"),
        ("TRUNCATE TABLE a, b", "several names"),
        ("TRUNCATE TABLE a CASCADE", "a clause"),
        ("DROP TABLE t CASCADE", "a clause"),
        ("CREATE DATABASE x LOCATION '/tmp'", "a clause"),
        ("BEGIN", "transaction"),
        ("COMMIT", "transaction"),
        ("ROLLBACK", "transaction"),
        ("SAVEPOINT s", "transaction"),
        ("GRANT SELECT ON t TO u", "GRANT"),
        ("REVOKE SELECT ON t FROM u", "REVOKE"),
        ("SHOW SCHEMAS", "SHOW SCHEMAS"),
        ("SHOW VIEWS", "SHOW VIEWS"),
        ("SHOW CREATE FUNCTION v", "SHOW CREATE"),
        ("DROP VIEW a, b", "several names"),
        ("ALTER VIEW v AS SELECT 1", "ALTER VIEW"),
        ("SHOW TABLES WHERE a = 1", "WHERE"),
        ("SET LOCAL timezone = 'UTC'", "LOCAL"),
        ("SET NAMES 'utf8'", "SET NAMES"),
        ("KILL CONNECTION 7", "KILL"),
        ("CALL f()", "CALL"),
        ("VACUUM FULL", "a clause"),
        ("ANALYZE TABLE t", "ANALYZE"),
        ("COMMENT ON SCHEMA s IS 'x'", "COMMENT ON SCHEMA"),
        ("CACHE TABLE t", "CACHE"),
        ("LISTEN x", "LISTEN"),
        ("LOCK TABLES t READ", "LOCK"),
        ("DISCARD ALL", "DISCARD"),
        ("ASSERT 1 = 1", "ASSERT"),
        ("PRAGMA x", "PRAGMA"),
        ("DECLARE c CURSOR FOR SELECT 1", "DECLARE"),
        ("FETCH NEXT FROM c", "FETCH"),
        ("CLOSE c", "CLOSE"),
    ] {
        // What this dialect does not even parse is refused there, with a place.
        if let Err(error) = parse(sql) {
            assert!(matches!(error, Error::Syntax { .. }), "{sql}: {error:?}");
            continue;
        }
        check_unsupported(sql, text);
    }
}
