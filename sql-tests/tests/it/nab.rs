//! Real series with gaps and repeated timestamps, through both doors, against values computed straight from the files.
//!
//! The data is found through `QUORATE_TEST_DATA` (its folder `nab`); without it the test says that it was skipped.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, StringArray, TimestampSecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, TimeUnit};
use arrow::record_batch::RecordBatch;
use futures::TryStreamExt;
use quorate_flight::{Client, ClientOutcome};
use quorate_sql_tests::{Server, ServerOptions};

/// One file: its name's parts, and its rows in file order.
struct Series {
    source: String,
    name: String,
    rows: Vec<(i64, f64)>,
}

/// What is compared per series.
#[derive(Debug, PartialEq)]
struct Summary {
    count: i64,
    min: f64,
    max: f64,
    first: f64,
    last: f64,
    sum: f64,
}

fn folder() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("QUORATE_TEST_DATA")?).join("nab");
    folder.is_dir().then_some(folder)
}

fn read_all(folder: &Path) -> Vec<Series> {
    let mut all = Vec::new();
    for source in sorted(folder) {
        for file in sorted(&source) {
            let name = |path: &Path| {
                path.file_stem().and_then(|s| s.to_str()).unwrap_or_default().to_owned()
            };
            all.push(Series { source: name(&source), name: name(&file), rows: read(&file) });
        }
    }
    all
}

fn sorted(folder: &Path) -> Vec<PathBuf> {
    if !folder.is_dir() {
        return Vec::new();
    }
    let entries = std::fs::read_dir(folder).expect("the folder can be read");
    let mut paths: Vec<PathBuf> =
        entries.map(|e| e.expect("the folder can be read").path()).collect();
    paths.sort();
    paths
}

/// Times are naive and mean UTC.
fn read(file: &Path) -> Vec<(i64, f64)> {
    let mut reader = csv::Reader::from_path(file).expect("the file can be read");
    let rows = reader.records().map(|record| {
        let record = record.expect("the file is CSV");
        let text: ArrayRef = Arc::new(StringArray::from(vec![record[0].to_owned()]));
        let time = cast(&text, &DataType::Timestamp(TimeUnit::Second, None)).expect("a time");
        let time = time.as_primitive::<arrow::datatypes::TimestampSecondType>().value(0);
        (time, record[1].parse().expect("a number"))
    });
    rows.collect()
}

/// Of rows with one time, the last in file order counts.
fn summary(series: &Series) -> Summary {
    let rows: BTreeMap<i64, f64> = series.rows.iter().copied().collect();
    let values: Vec<f64> = rows.values().copied().collect();
    Summary {
        count: i64::try_from(values.len()).expect("few rows"),
        min: values.iter().copied().fold(f64::INFINITY, f64::min),
        max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        first: values[0],
        last: values[values.len() - 1],
        sum: values.iter().sum(),
    }
}

async fn rows_of(client: &mut Client, sql: &str) -> RecordBatch {
    match client.execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}")) {
        ClientOutcome::Rows { schema, batches } => {
            let batches: Vec<RecordBatch> =
                batches.try_collect().await.expect("the rows can be read");
            arrow::compute::concat_batches(&schema, &batches).expect("one schema")
        }
        ClientOutcome::Updated(_) => panic!("{sql} returns rows"),
    }
}

async fn check(server: &Server, database: &str, all: &[Series]) {
    let mut client = server.client(database).await.expect("the server is ready");
    let sql = "SELECT source, series, COUNT(*) AS count, MIN(value), MAX(value), \
               FIRST_VALUE(value ORDER BY time), LAST_VALUE(value ORDER BY time), SUM(value) \
               FROM nab GROUP BY source, series ORDER BY source, series";
    let batch = rows_of(&mut client, sql).await;
    assert_eq!(batch.num_rows(), all.len(), "{database}: number of series");
    let text = |c: usize, row: usize| batch.column(c).as_string::<i32>().value(row).to_owned();
    let float = |c: usize, row: usize| batch.column(c).as_primitive::<Float64Type>().value(row);
    for (row, series) in all.iter().enumerate() {
        assert_eq!((text(0, row), text(1, row)), (series.source.clone(), series.name.clone()));
        let want = summary(series);
        let got = Summary {
            count: batch.column(2).as_primitive::<Int64Type>().value(row),
            min: float(3, row),
            max: float(4, row),
            first: float(5, row),
            last: float(6, row),
            sum: want.sum,
        };
        assert_eq!(got, want, "{database}: {}", series.name);
        // The order of additions is the engine's own.
        let difference = (float(7, row) - want.sum).abs();
        assert!(difference <= 1e-9 * want.sum.abs().max(1.0), "{database}: {}: sum", series.name);
    }
}

fn line_protocol(series: &Series) -> String {
    let mut text = String::new();
    for (time, value) in &series.rows {
        writeln!(text, "nab,source={},series={} value={value} {time}", series.source, series.name)
            .expect("a String takes text");
    }
    text
}

fn batch(series: &Series) -> RecordBatch {
    let len = series.rows.len();
    let time = DataType::Timestamp(TimeUnit::Second, Some("UTC".into()));
    let schema = Schema::new(vec![
        Field::new("time", time, false),
        Field::new("source", DataType::Utf8, false),
        Field::new("series", DataType::Utf8, false),
        Field::new("value", DataType::Float64, true),
    ]);
    let times: Vec<i64> = series.rows.iter().map(|r| r.0).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampSecondArray::from(times).with_timezone("UTC")),
        Arc::new(StringArray::from(vec![series.source.as_str(); len])),
        Arc::new(StringArray::from(vec![series.name.as_str(); len])),
        Arc::new(Float64Array::from_iter_values(series.rows.iter().map(|r| r.1))),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).expect("the columns fit the schema")
}

#[tokio::test(flavor = "multi_thread")]
async fn real_series_are_stored_exactly_through_both_doors() {
    let Some(folder) = folder() else {
        eprintln!("SKIPPED: QUORATE_TEST_DATA names no folder with nab/");
        return;
    };
    let all = read_all(&folder);
    assert_eq!(all.len(), 47, "the folder holds 47 series");
    let data = tempfile::tempdir().expect("a temporary directory can be made");
    let server = Server::start(data.path(), &ServerOptions::default());
    let mut admin = server.client("main").await.expect("the server is ready");
    for database in ["nab_lines", "nab_flight"] {
        admin.execute(&format!("CREATE DATABASE {database}")).await.expect("a new name");
    }
    for series in &all {
        let path = "/write?db=nab_lines&precision=s";
        let (status, body) = server.post(path, &line_protocol(series)).expect("an answer");
        assert_eq!(status, 204, "{}: {body}", series.name);
    }
    let mut client = server.client("nab_flight").await.expect("the server is ready");
    let batches: Vec<RecordBatch> = all.iter().map(batch).collect();
    let sent: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let stored =
        client.ingest("nab", Some("source,series"), batches).await.expect("the rows are valid");
    assert_eq!(usize::try_from(stored).expect("few rows"), sent);

    for database in ["nab_lines", "nab_flight"] {
        check(&server, database, &all).await;
    }
    // Again after a restart: from the log and from segments.
    server.stop();
    let server = Server::start(data.path(), &ServerOptions::default());
    for database in ["nab_lines", "nab_flight"] {
        check(&server, database, &all).await;
    }
}
