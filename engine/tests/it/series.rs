//! Picking tables and series by pattern.

use std::fmt::Write as _;

use crate::fixture::Fixture;

async fn plan(db: &Fixture, sql: &str) -> String {
    db.rows(&format!("EXPLAIN FORMAT INDENT {sql}")).await.join("\n")
}

/// `cpu`, and two tables whose names begin with it: one lacks `region`, and has `n` as a DOUBLE and a field of its own.
async fn tables() -> Fixture {
    let db = Fixture::new().await.cpu().await;
    db.run(
        "CREATE TABLE cpu_old (time TIMESTAMP NOT NULL, host STRING, n DOUBLE, temp DOUBLE, PRIMARY KEY (host, time))",
    )
    .await;
    db.run("INSERT INTO cpu_old VALUES ('2023-01-01T00:00:00Z', 'a', 1.5, 40), ('2023-01-02T00:00:00Z', 'z', 2.5, 41)")
        .await;
    db.run("CREATE TABLE mem (time TIMESTAMP NOT NULL, host STRING, used BIGINT, PRIMARY KEY (host, time))").await;
    db.run("INSERT INTO mem VALUES ('2024-01-01T00:00:00Z', 'a', 7)").await;
    db
}

#[tokio::test]
async fn tables_whose_whole_name_matches_are_one_row_source() {
    let db = tables().await;
    for _ in 0..2 {
        db.check(
            "SELECT table_name, time, host, region, n, temp FROM series('cpu.*') ORDER BY time, host",
            &[
                "cpu_old 2023-01-01T00:00:00Z a NULL 1.5 40.0",
                "cpu_old 2023-01-02T00:00:00Z z NULL 2.5 41.0",
                "cpu 2024-01-01T00:00:00Z a eu 10.0 NULL",
                "cpu 2024-01-01T00:00:00Z b us NULL NULL",
                "cpu 2024-01-01T00:00:00Z c NULL 50.0 NULL",
                "cpu 2024-01-01T00:01:00Z a eu 20.0 NULL",
                "cpu 2024-01-01T00:02:00Z b us 40.0 NULL",
            ],
        )
        .await;
        db.check(
            "SELECT table_name, count(*) FROM series('cpu|mem') GROUP BY table_name ORDER BY 1",
            &["cpu 5", "mem 1"],
        )
        .await;
        db.check_error(
            "SELECT count(*) FROM series('pu')",
            "no table of database \"main\" matches \"pu\"",
        )
        .await;
        db.run("CHECKPOINT").await;
    }
}

#[tokio::test]
async fn filters_reach_the_tables_and_conditions_on_names_leave_tables_out() {
    let db = tables().await;
    let sql = "SELECT n FROM series('cpu.*|mem') WHERE table_name ~ '^cpu' AND host = 'a' \
               AND time >= '2024-01-01' AND time < '2024-01-02'";
    let shown = plan(&db, sql).await;
    for text in [
        "TablesScanExec: table=series('cpu.*|mem'), matching=3",
        "series=",
        "tables=1",
        "columns=[n]",
    ] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    assert!(
        shown.contains("time=[2024-01-01T00:00:00Z, 2024-01-01T23:59:59.999999999Z]"),
        "{shown}"
    );
    assert!(!shown.contains("FilterExec"), "{shown}");
    db.check(&format!("{sql} ORDER BY n"), &["10.0", "20.0"]).await;
    // A tag that a table lacks is NULL in it.
    db.check(
        "SELECT table_name, host FROM series('cpu.*') WHERE region IS NULL ORDER BY 1, 2",
        &["cpu c", "cpu_old a", "cpu_old z"],
    )
    .await;
    db.check(
        "SELECT table_name, host FROM series('cpu.*') WHERE table_name = 'cpu_old' OR region = 'us' ORDER BY 1, 2, time",
        &["cpu b", "cpu b", "cpu_old a", "cpu_old z"],
    )
    .await;
    db.check("SELECT host FROM series('cpu.*') WHERE temp > 40", &["z"]).await;
    db.check("SELECT count(*) FROM series('cpu.*') WHERE table_name = 'none'", &["0"]).await;
    db.check("SELECT count(*) FROM (SELECT * FROM series('cpu.*') LIMIT 3)", &["3"]).await;
    let limited = plan(&db, "SELECT * FROM series('cpu.*') WHERE host = 'a' LIMIT 1").await;
    assert!(limited.contains("limit=1"), "{limited}");
}

#[tokio::test]
async fn views_joins_and_time_zones_work_over_several_tables() {
    let db = tables().await;
    db.run("CREATE VIEW hosts AS SELECT DISTINCT table_name, host FROM series('cpu.*')").await;
    db.check("SELECT count(*) FROM hosts", &["5"]).await;
    db.check(
        "SELECT count(*) FROM series('cpu.*') a JOIN cpu b ON a.time = b.time AND a.host = b.host",
        &["5"],
    )
    .await;
    db.run("SET timezone = 'Europe/Berlin'").await;
    db.check("SELECT time FROM series('mem')", &["2024-01-01T01:00:00+01:00"]).await;
}

#[tokio::test]
async fn columns_that_do_not_go_together_are_errors_that_name_both_tables() {
    let db = tables().await;
    db.run("CREATE TABLE a1 (time TIMESTAMP NOT NULL, host STRING, v BIGINT UNSIGNED, PRIMARY KEY (host, time))").await;
    db.run("CREATE TABLE a2 (time TIMESTAMP NOT NULL, host STRING, v BIGINT, PRIMARY KEY (host, time))").await;
    db.run("CREATE TABLE a3 (time TIMESTAMP NOT NULL, host STRING, v DOUBLE, PRIMARY KEY (time))")
        .await;
    db.run("CREATE TABLE a4 (ts TIMESTAMP NOT NULL, host STRING, PRIMARY KEY (host, ts))").await;
    db.run("CREATE TABLE a5 (time TIMESTAMP NOT NULL, table_name STRING, PRIMARY KEY (table_name, time))").await;
    for (pattern, text) in [
        (
            "a1|a2",
            "tables \"a1\" and \"a2\" cannot be read as one: column \"v\" is a BIGINT UNSIGNED in the first and a BIGINT in",
        ),
        (
            "a1|a3",
            "column \"host\" is a tag in the first and a STRING that is no tag in the second",
        ),
        ("a2|a4", "their times are \"time\" and \"ts\""),
        ("a5", "\"a5\" has a column \"table_name\""),
    ] {
        db.check_error(&format!("SELECT * FROM series('{pattern}')"), text).await;
    }
}

#[tokio::test]
async fn tables_with_the_same_columns_and_others_between_them_keep_their_names() {
    let db = Fixture::new().await;
    let columns = "time TIMESTAMP NOT NULL, host STRING, v DOUBLE, PRIMARY KEY (host, time)";
    for (table, columns) in [
        ("m1", columns),
        ("m2", columns),
        ("m3", "time TIMESTAMP NOT NULL, v BIGINT, w BIGINT, PRIMARY KEY (time)"),
        ("m4", columns),
        ("m5", "time TIMESTAMP NOT NULL, host STRING, w BIGINT, PRIMARY KEY (host, time)"),
        ("m6", "time TIMESTAMP NOT NULL, host STRING, w BIGINT, PRIMARY KEY (host, time)"),
    ] {
        db.run(&format!("CREATE TABLE {table} ({columns})")).await;
        let number = table.trim_start_matches('m');
        let value = if columns.contains("v ") { "v" } else { "w" };
        db.run(&format!("INSERT INTO {table} (time, {value}) VALUES ('2024-01-01', {number})"))
            .await;
    }
    db.check(
        "SELECT table_name, host, v, w FROM series('m[0-9]') ORDER BY table_name",
        &[
            "m1 NULL 1.0 NULL",
            "m2 NULL 2.0 NULL",
            "m3 NULL 3.0 NULL",
            "m4 NULL 4.0 NULL",
            "m5 NULL NULL 5",
            "m6 NULL NULL 6",
        ],
    )
    .await;
    db.check("SELECT w, table_name FROM series('m5|m6') ORDER BY w", &["5 m5", "6 m6"]).await;
}

#[tokio::test]
async fn wrong_patterns_of_tables_are_errors() {
    let db = tables().await;
    for (argument, text) in [
        ("'cpu['", "unclosed character class, at character 4"),
        ("'((a{1000}){1000}){1000}'", "more than 10485760 bytes"),
        ("", "takes one text"),
        ("'a', 'b'", "2 were given"),
        ("1", "takes one text"),
        ("NULL", "takes one text"),
    ] {
        let sql = format!("SELECT * FROM series({argument})");
        let error = db.engine.session(crate::fixture::stateful()).plan(&sql).await.unwrap_err();
        assert!(error.to_string().contains(text), "{sql}: {error}");
    }
}

#[tokio::test]
async fn rows_are_deleted_from_all_matching_tables() {
    let db = tables().await;
    let outcome = db
        .run("DELETE FROM series('cpu.*') WHERE host = 'a' AND time < '2024-01-01T00:01:00Z'")
        .await;
    assert!(matches!(outcome, quorate_engine::Outcome::Updated(Some(2))), "{outcome:?}");
    db.check(
        "SELECT table_name, host, time FROM series('cpu.*') ORDER BY 1, 2, 3",
        &[
            "cpu a 2024-01-01T00:01:00Z",
            "cpu b 2024-01-01T00:00:00Z",
            "cpu b 2024-01-01T00:02:00Z",
            "cpu c 2024-01-01T00:00:00Z",
            "cpu_old z 2023-01-02T00:00:00Z",
        ],
    )
    .await;
    db.run("DELETE FROM series('.*') WHERE table_name = 'mem' OR host = 'z'").await;
    db.check("SELECT table_name, count(*) FROM series('cpu.*|mem') GROUP BY 1", &["cpu 4"]).await;
    db.check_error("DELETE FROM series('cpu.*') WHERE usage > 1", "Delete from one table").await;
    db.check_error("DELETE FROM series('none.*')", "no table").await;
    db.run("DELETE FROM series('cpu.*')").await;
    db.check("SELECT count(*) FROM series('cpu.*')", &["0"]).await;
}

#[tokio::test]
async fn many_tables_are_one_row_source() {
    let db = Fixture::new().await;
    for i in 0..150 {
        db.run(&format!("CREATE TABLE t{i} (time TIMESTAMP NOT NULL, host STRING, v BIGINT, PRIMARY KEY (host, time))"))
            .await;
    }
    let mut want = 0;
    for i in (0..150).step_by(3) {
        let mut rows = String::new();
        for second in 0..=i % 5 {
            let comma = if second == 0 { "" } else { ", " };
            write!(rows, "{comma}('2024-01-01T00:00:0{second}Z', 'h', {i})").unwrap();
            want += i;
        }
        db.run(&format!("INSERT INTO t{i} VALUES {rows}")).await;
    }
    db.check(
        "SELECT sum(v), count(DISTINCT table_name) FROM series('t[0-9]+')",
        &[&format!("{want} 50")],
    )
    .await;
    let shown = plan(&db, "SELECT v FROM series('t[0-9]+')").await;
    assert!(shown.contains("matching=150, tables=50"), "{shown}");
}

#[tokio::test]
async fn series_tags_and_values_are_shown() {
    let db = tables().await;
    for _ in 0..2 {
        db.check(
            "SHOW SERIES FROM cpu",
            &["cpu cpu,host=a,region=eu", "cpu cpu,host=b,region=us", "cpu cpu,host=c"],
        )
        .await;
        db.check(
            "SHOW SERIES LIKE '%host=a%'",
            &["cpu cpu,host=a,region=eu", "cpu_old cpu_old,host=a", "mem mem,host=a"],
        )
        .await;
        db.check("SHOW TAG KEYS FROM cpu", &["cpu host", "cpu region"]).await;
        db.check("SHOW TAG KEYS LIKE 'r%'", &["cpu region"]).await;
        db.check(
            "SHOW TAG VALUES FROM cpu WITH KEY = host",
            &["cpu host a", "cpu host b", "cpu host c"],
        )
        .await;
        db.check("SHOW TAG VALUES FROM cpu LIKE 'e%'", &["cpu region eu"]).await;
        db.check("SHOW TAG VALUES LIKE 'a'", &["cpu host a", "cpu_old host a", "mem host a"]).await;
        db.check("SHOW TAG VALUES WITH KEY IN (region) LIKE 'e%'", &["cpu region eu"]).await;
        db.check(
            "SHOW TAG VALUES FROM cpu WITH KEY IN (\"region\", host) LIKE '_'",
            &["cpu host a", "cpu host b", "cpu host c"],
        )
        .await;
        db.check(
            "SELECT series, rows, time_min, time_max FROM system.series WHERE table_name = 'cpu' ORDER BY series",
            &[
                "cpu,host=a,region=eu 2 2024-01-01T00:00:00Z 2024-01-01T00:01:00Z",
                "cpu,host=b,region=us 2 2024-01-01T00:00:00Z 2024-01-01T00:02:00Z",
                "cpu,host=c 1 2024-01-01T00:00:00Z 2024-01-01T00:00:00Z",
            ],
        )
        .await;
        db.run("CHECKPOINT").await;
    }
    db.run("DELETE FROM cpu WHERE host = 'c'").await;
    db.check("SELECT count(*) FROM system.series WHERE table_name = 'cpu'", &["2"]).await;
    let shown =
        plan(&db, "SELECT tags FROM system.series WHERE table_name = 'cpu' AND rows > 1").await;
    assert!(shown.contains("tables=1") && shown.contains("FilterExec"), "{shown}");
    db.check_error("SHOW SERIES FROM none", "table \"none\" does not exist").await;
    db.check_error("SHOW TAG VALUES FROM cpu WITH KEY = usage", "is no tag").await;
    db.check_error("SHOW TAG VALUES WITH KEY = none", "no table of database").await;
    db.check_error("SHOW TAG VALUES FROM cpu WITH host", "Expected: KEY").await;
    db.check_error("SHOW TAG THINGS", "KEYS or VALUES").await;
}

#[tokio::test]
async fn odd_names_and_values_of_series_are_shown_as_line_protocol_writes_them() {
    let db = Fixture::new().await;
    db.run("CREATE TABLE \"a b\" (time TIMESTAMP NOT NULL, \"k,1\" STRING, v BIGINT, PRIMARY KEY (\"k,1\", time))").await;
    db.run("INSERT INTO \"a b\" VALUES ('2024-01-01', 'x=y z', 1), ('2024-01-01', NULL, 2)").await;
    db.check("SHOW SERIES", &["a b a\\ b", "a b a\\ b,k\\,1=x\\=y\\ z"]).await;
    db.check("SHOW TAG VALUES FROM \"a b\" WITH KEY = \"k,1\"", &["a b k,1 x=y z"]).await;
}

#[tokio::test]
async fn series_are_picked_by_patterns_of_tags() {
    let db = Fixture::new().await.cpu().await;
    for (condition, want) in [
        ("region ~ '^e'", "a"),
        ("region !~ '^e'", "b"),
        ("region ~* '^E'", "a"),
        ("region !~* '^E'", "b"),
        ("NOT region ~ '^e'", "b"),
        ("region ~ '.*'", "a,b"),
        ("region !~ '.*'", ""),
        ("region LIKE 'e_'", "a"),
        ("region NOT LIKE 'e%'", "b"),
        ("region ILIKE 'E%'", "a"),
        ("region SIMILAR TO 'e(u|x)'", "a"),
        ("region SIMILAR TO 'u'", ""),
        ("region SIMILAR TO '(eu|us)'", "a,b"),
        ("region NOT SIMILAR TO 'e%'", "b"),
        ("region SIMILAR TO 'e#_' ESCAPE '#'", ""),
        ("region SIMILAR TO '%'", "a,b"),
        ("region SIMILAR TO NULL", ""),
        ("region SIMILAR TO 'e%' OR region IS NULL", "a,c"),
    ] {
        let sql = format!("FROM cpu WHERE {condition}");
        let hosts = db.rows(&format!("SELECT DISTINCT host {sql} ORDER BY host")).await;
        assert_eq!(hosts.join(","), want, "{condition}");
        let shown = plan(&db, &format!("SELECT usage {sql}")).await;
        assert!(!shown.contains("FilterExec"), "{condition}: {shown}");
        assert!(shown.contains("series=") || shown.contains("EmptyExec"), "{condition}: {shown}");
    }
    db.run("DELETE FROM cpu WHERE host SIMILAR TO '(a|b)'").await;
    db.check("SELECT DISTINCT host FROM cpu", &["c"]).await;
}

#[tokio::test]
async fn patterns_mean_the_same_where_there_are_no_tags() {
    let db = Fixture::new().await;
    for (expression, want) in [
        ("'abc' SIMILAR TO 'b'", "false"),
        ("'abc' SIMILAR TO '_b_'", "true"),
        ("'abc' NOT SIMILAR TO '%c'", "false"),
        ("'a.c' SIMILAR TO 'a.c'", "true"),
        ("'abc' SIMILAR TO 'a.c'", "false"),
        ("NULL::text SIMILAR TO 'a'", "NULL"),
        ("(SELECT max(v) FROM (VALUES ('x'), ('y')) AS t (v) WHERE v SIMILAR TO '[x-z]')", "y"),
    ] {
        db.check(&format!("SELECT {expression}"), &[want]).await;
    }
    for (sql, text) in [
        ("SELECT v SIMILAR TO v FROM (VALUES ('x')) AS t (v)", "the pattern of SIMILAR TO"),
        ("SELECT 'a' SIMILAR TO '(a'", "not closed, at character 1"),
        ("SELECT v ~ 'a(' FROM (VALUES ('x')) AS t (v)", "unclosed group, at character 2"),
        (
            "SELECT v ~ '((x{1000}){1000}){1000}' FROM (VALUES ('x')) AS t (v)",
            "more than 10485760 bytes",
        ),
        (
            "SELECT v SIMILAR TO '((x{1000}){1000}){1000}' FROM (VALUES ('x')) AS t (v)",
            "more than 10485760 bytes",
        ),
    ] {
        db.check_error(sql, text).await;
    }
}
