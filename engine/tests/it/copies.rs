//! `COPY` between tables and files: what CSV tells apart, what is an error, what is left behind.

use std::fs;
use std::path::Path;

use quorate_engine::ErrorKind;
use tempfile::TempDir;

use crate::fixture::Fixture;

/// An engine that reads and writes files in a directory, and a table with texts and floats.
async fn fixture() -> (Fixture, TempDir) {
    let files = TempDir::new().unwrap();
    let dir = files.path().to_owned();
    let db = Fixture::with(|options| options.file_dir = Some(dir)).await;
    for name in ["t", "copy"] {
        db.run(&format!(
            "CREATE TABLE {name} (time TIMESTAMP, host STRING, note STRING, x DOUBLE, n BIGINT, PRIMARY KEY (host, time))"
        ))
        .await;
    }
    (db, files)
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn csv_tells_the_empty_text_from_null_both_ways() {
    let (db, files) = fixture().await;
    db.run(
        "INSERT INTO t VALUES ('2024-01-01T00:00:00Z', 'a', '', 'Infinity', 1),
         ('2024-01-01T00:00:01Z', 'a', NULL, '-Infinity', NULL),
         ('2024-01-01T00:00:02Z', 'a', 'x,\"y\"', 'NaN', -1)",
    )
    .await;
    db.run("COPY t TO 't.csv'").await;
    let text = fs::read_to_string(files.path().join("t.csv")).unwrap();
    let want = "time,host,note,x,n\n\
                2024-01-01T00:00:00Z,a,\"\",Infinity,1\n\
                2024-01-01T00:00:01Z,a,,-Infinity,\n\
                2024-01-01T00:00:02Z,a,\"x,\"\"y\"\"\",NaN,-1\n";
    assert_eq!(text, want);
    db.run("COPY copy FROM 't.csv'").await;
    db.check(
        "SELECT note IS NULL, note, x, n FROM copy ORDER BY time",
        &["false  inf 1", "true NULL -inf NULL", "false x,\"y\" NaN -1"],
    )
    .await;
    // A text that is the one for NULL is in quotes.
    db.run("COPY (SELECT time, host, CASE WHEN n > 0 THEN 'NA' END AS note FROM t) TO 'na.csv' (NULL 'NA')")
        .await;
    let text = fs::read_to_string(files.path().join("na.csv")).unwrap();
    assert!(text.contains("00:00Z,a,\"NA\"\n") && text.contains("00:01Z,a,NA\n"), "{text}");
    db.run("DELETE FROM copy").await;
    db.run("COPY copy FROM 'na.csv' (NULL 'NA')").await;
    db.check("SELECT note FROM copy ORDER BY time", &["NA", "NULL", "NULL"]).await;
    db.check_error("COPY (SELECT [1, 2] AS list) TO 'list.csv'", "CSV has no").await;
}

#[tokio::test]
async fn wrong_csv_is_named_by_line_or_row_and_stores_nothing() {
    let (db, files) = fixture().await;
    for (body, text) in [
        ("time,host,n\n2024-01-01,a,1\n2024-01-02,a\n", "line 3: the record has 2 values"),
        (
            "time,host,n\n2024-01-01,\"a\n\",1\n2024-01-02,\"a\" b,1\n",
            "line 4: there is text after",
        ),
        ("time,host,n\n2024-01-01,\"a,1\n", "line 2: a quoted value does not end"),
        ("time,host,n\n2024-01-01,a,1\n2024-01-02,a,many\n", "row 2): 'many' is not a BIGINT"),
        ("time,host,n\n2024-01-01,a,1\n,a,2\n", "row 2: the time \"time\" must not be NULL"),
        ("time,host,nope\n2024-01-01,a,1\n", "nope"),
        ("", "no line of names"),
    ] {
        fs::write(files.path().join("wrong.csv"), body).unwrap();
        let error = db.check_error("COPY t FROM 'wrong.csv'", text).await;
        assert!(matches!(error.kind(), ErrorKind::Invalid | ErrorKind::NotFound), "{error}");
    }
    fs::write(files.path().join("wrong.csv"), b"time,host\n2024-01-01,\xFF\n").unwrap();
    db.check_error("COPY t FROM 'wrong.csv'", "line 2: the record is not UTF-8").await;
    db.check("SELECT count(*) FROM t", &["0"]).await;
}

#[tokio::test]
async fn what_a_crash_leaves_of_a_copy_is_removed_at_the_next_start_and_nothing_else() {
    let (db, files) = fixture().await;
    db.run("COPY (SELECT 1 AS a) TO 'one.csv'").await;
    db.check_error("COPY (SELECT CAST('NaN' AS DOUBLE) AS x) TO 'nan.json'", "NaN").await;
    assert_eq!(names(files.path()), ["one.csv"]);
    let notes = db.dir().join("copies");
    assert!(names(&notes).is_empty());
    let other = ".b.csv.0000000000000002.part";
    let unfinished = ".a.csv.0000000000000001.part";
    for name in [unfinished, other] {
        fs::write(files.path().join(name), "1").unwrap();
    }
    let noted = |name: &str| files.path().join(name).into_os_string().into_encoded_bytes();
    fs::write(notes.join("0000000000000001.part"), noted(unfinished)).unwrap();
    // Notes whose file is gone, that were cut short, and that name what is not theirs.
    fs::write(notes.join("0000000000000003.part"), noted(".c.0000000000000003.part")).unwrap();
    fs::write(notes.join("0000000000000004.part"), "").unwrap();
    fs::write(notes.join("0000000000000005.part"), noted("one.csv")).unwrap();
    let db = db.restart().await;
    assert_eq!(names(files.path()), [other, "one.csv"]);
    assert!(names(&notes).is_empty());
    drop(db);
}

#[tokio::test]
async fn a_pipe_is_no_file_and_nobody_waits_for_its_writer() {
    let (db, files) = fixture().await;
    let made = std::process::Command::new("mkfifo").arg(files.path().join("pipe.csv")).status();
    assert!(made.unwrap().success());
    for sql in ["COPY t FROM 'pipe.csv'", "COPY t FROM 'pipe.csv' (FORMAT parquet)"] {
        let error = db.check_error(sql, "\"pipe.csv\" is not a file").await;
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}
