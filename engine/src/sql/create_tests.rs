//! Definitions that make a table, and those that make none.

use super::*;
use crate::sql::action::Action;
use crate::sql::parse::parse;

fn create(sql: &str) -> CreateTable {
    match Action::of(parse(sql).unwrap_or_else(|e| panic!("{sql}: {e}")).statement).unwrap() {
        Action::CreateTable(create) => *create,
        other => panic!("{other:?}"),
    }
}

fn check_columns(sql: &str, want: &str) {
    let create = create(sql);
    check_clauses(&create).unwrap();
    let columns = columns_of(&create).unwrap_or_else(|e| panic!("{sql}: {e}"));
    let shown = columns
        .iter()
        .map(|c| match c.kind {
            ColumnKind::Time => format!("{} time", c.name),
            ColumnKind::Tag => format!("{} tag", c.name),
            ColumnKind::Field(field) => format!("{} {field:?}", c.name),
        })
        .collect::<Vec<_>>();
    assert_eq!(shown.join(", "), want, "{sql}");
}

fn check_error(sql: &str, text: &str) {
    let create = create(sql);
    let error = check_clauses(&create)
        .and_then(|()| columns_of(&create))
        .and_then(|_| options_of(&create.table_options))
        .unwrap_err();
    assert!(error.to_string().contains(text), "{sql}: {error}");
}

#[test]
fn the_primary_key_tells_time_and_tags_from_fields() {
    check_columns(
        "CREATE TABLE cpu (time TIMESTAMP NOT NULL, host STRING, region STRING, usage DOUBLE, note TEXT,
         PRIMARY KEY (host, region, time))",
        "time time, host tag, region tag, usage Float64, note Utf8",
    );
    check_columns(
        "CREATE TABLE IF NOT EXISTS t (at TIMESTAMP(3) WITH TIME ZONE PRIMARY KEY, \"Tag\" VARCHAR(20))",
        "at time, Tag Utf8",
    );
    check_columns(
        "CREATE TABLE t (n BIGINT, u BIGINT UNSIGNED, b BOOLEAN, i INT, f REAL, at2 TIMESTAMP, Time TIMESTAMP,
         host TEXT)",
        "n Int64, u UInt64, b Boolean, i Int64, f Float64, at2 Timestamp, time time, host tag",
    );
}

#[test]
fn definitions_that_make_no_table_are_errors() {
    for (sql, text) in [
        ("CREATE TABLE t (a DOUBLE)", "no TIMESTAMP"),
        ("CREATE TABLE t (a TIMESTAMP, b TIMESTAMP)", "several TIMESTAMP"),
        ("CREATE TABLE t (time TIMESTAMP, a STRING, PRIMARY KEY (a))", "no TIMESTAMP"),
        ("CREATE TABLE t (time TIMESTAMP, a DOUBLE, PRIMARY KEY (a, time))", "cannot be in"),
        ("CREATE TABLE t (time TIMESTAMP, PRIMARY KEY (b, time))", "not defined"),
        ("CREATE TABLE t (time TIMESTAMP, \"A\" TEXT, PRIMARY KEY (a, time))", "\"A\""),
        ("CREATE TABLE t (time TIMESTAMP, PRIMARY KEY (time, time))", "twice"),
        ("CREATE TABLE t (time TIMESTAMP, u TIMESTAMP, PRIMARY KEY (time, u))", "two TIMESTAMP"),
        ("CREATE TABLE t (time TIMESTAMP PRIMARY KEY, PRIMARY KEY (time))", "one PRIMARY KEY"),
        ("CREATE TABLE t (time TIMESTAMP, A DOUBLE, a DOUBLE)", "defined twice"),
        ("CREATE TABLE t (time TIMESTAMP, a DOUBLE NOT NULL)", "NOT NULL"),
        ("CREATE TABLE t (time TIMESTAMP, a DOUBLE DEFAULT 1)", "DEFAULT"),
        ("CREATE TABLE t (time TIMESTAMP, a DECIMAL(10, 2))", "DECIMAL"),
        ("CREATE TABLE t (time TIMESTAMP, a INT[])", "not supported"),
        ("CREATE TABLE t (time TIMESTAMP, UNIQUE (time))", "UNIQUE"),
        ("CREATE TEMPORARY TABLE t (time TIMESTAMP)", "memory database"),
        ("CREATE OR REPLACE TABLE t (time TIMESTAMP)", "another clause"),
        ("CREATE TABLE t (time TIMESTAMP) WITH (compression = 'x')", "not an option"),
        ("CREATE TABLE t (time TIMESTAMP) WITH (spread = 0)", "1 to 1024"),
        ("CREATE TABLE t (time TIMESTAMP) WITH (spread = 1, spread = 2)", "twice"),
        ("CREATE TABLE t (time TIMESTAMP) WITH (retention = 'long')", "length of time"),
        ("CREATE TABLE t (time TIMESTAMP) WITH (time_slice = '0s')", "longer than nothing"),
        ("CREATE TABLE t (time TIMESTAMP) WITH (time_slice = '10ms')", "a second at least"),
    ] {
        check_error(sql, text);
    }
}

#[test]
fn options_are_read() {
    let create = create(
        "CREATE TABLE t (time TIMESTAMP) WITH (retention = '30d', TIME_SLICE = '12h', spread = 4)",
    );
    check_clauses(&create).unwrap();
    let options = options_of(&create.table_options).unwrap();
    assert_eq!(options.retention_ns, Some(30 * 86_400_000_000_000));
    assert_eq!(options.time_slice_ns, 12 * 3_600_000_000_000);
    assert_eq!(options.spread, 4);
    assert_eq!(options_of(&CreateTableOptions::None).unwrap(), TableOptions::default());
}
