//! Differential runs: the same random rows in a server and in a plain in-memory DataFusion table, the same queries,
//! the same answers.
//!
//! Rows come late, twice, and with fields missing; some are deleted, some fields cleared. The server holds them in
//! memtables, in overlapping segments, compacted, and in a mix; queries run in each of these states.
//! `QUORATE_DIFFERENTIAL_SEED` repeats a run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray, TimestampNanosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::TryStreamExt;
use quorate_flight::{Client, ClientOutcome};
use quorate_sql_tests::{Server, ServerOptions};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const SECOND_NS: i64 = 1_000_000_000;
const DAY_NS: i64 = 86_400 * SECOND_NS;
/// 2024-02-28T00:00:00Z: the rows reach over a leap day.
const BASE_NS: i64 = 1_709_078_400 * SECOND_NS;
const DAYS: i64 = 3;

/// Tags of a row: absent is `None`.
type Tags = (Option<String>, Option<String>);

/// Fields of a row.
#[derive(Clone, Debug, Default, PartialEq)]
struct Fields {
    a: Option<f64>,
    b: Option<i64>,
    c: Option<String>,
}

/// The rows as they must be.
type Model = BTreeMap<(Tags, i64), Fields>;

fn random_tags(rng: &mut StdRng) -> Tags {
    let host = rng.random_range(0..12);
    let region = rng.random_range(0..4);
    ((host > 0).then(|| format!("host_{host}")), (region > 0).then(|| format!("region {region}")))
}

/// Few distinct times, so that rows meet again.
fn random_time(rng: &mut StdRng) -> i64 {
    BASE_NS + rng.random_range(0..DAYS * 24 * 12) * 300 * SECOND_NS
}

/// Halves and whole numbers: their sums are exact in any order.
fn random_fields(rng: &mut StdRng) -> Fields {
    let mut fields = Fields {
        a: rng.random_bool(0.8).then(|| f64::from(rng.random_range(-1000..1000)) / 2.0),
        b: rng.random_bool(0.7).then(|| rng.random_range(-50..50)),
        c: rng.random_bool(0.5).then(|| format!("text {}", rng.random_range(0..20))),
    };
    if fields == Fields::default() {
        fields.b = Some(0);
    }
    fields
}

fn append_line(text: &mut String, tags: &Tags, time: i64, fields: &Fields) {
    text.push('m');
    for (name, value) in [("host", &tags.0), ("region", &tags.1)] {
        if let Some(value) = value {
            write!(text, ",{name}={}", value.replace(' ', "\\ ")).expect("a String takes text");
        }
    }
    let mut parts = Vec::new();
    parts.extend(fields.a.map(|a| format!("a={a}")));
    parts.extend(fields.b.map(|b| format!("b={b}i")));
    parts.extend(fields.c.as_ref().map(|c| format!("c=\"{c}\"")));
    writeln!(text, " {} {time}", parts.join(",")).expect("a String takes text");
}

fn write_rows(server: &Server, model: &mut Model, rng: &mut StdRng, rows: usize) {
    let mut text = String::new();
    for i in 0..rows {
        let (mut tags, time, mut fields) = (random_tags(rng), random_time(rng), random_fields(rng));
        if i == 0 {
            // Columns stand in the order in which they first came: the first row carries each of them.
            tags = (Some("host_1".to_owned()), Some("region 1".to_owned()));
            fields = Fields { a: Some(0.5), b: Some(1), c: Some("text 0".to_owned()) };
        }
        append_line(&mut text, &tags, time, &fields);
        let row = model.entry((tags, time)).or_default();
        row.a = fields.a.or(row.a);
        row.b = fields.b.or(row.b);
        row.c = fields.c.or(row.c.take());
    }
    let (status, body) = server.write("main", &text).expect("an answer");
    assert_eq!(status, 204, "{body}");
}

/// A tag's value as an SQL literal.
fn literal(tag: Option<&String>) -> String {
    tag.map_or_else(|| "NULL".to_owned(), |t| format!("'{t}'"))
}

/// Clears a field of a row by an explicit NULL.
async fn clear(client: &mut Client, model: &mut Model, rng: &mut StdRng) {
    let Some(((tags, time), row)) = model.iter_mut().nth(rng.random_range(0..50)) else { return };
    row.a = None;
    let (host, region) = (literal(tags.0.as_ref()), literal(tags.1.as_ref()));
    let sql = format!(
        "INSERT INTO m (time, host, region, a) VALUES (to_timestamp_nanos({time}), {host}, {region}, NULL)"
    );
    run(client, &sql).await;
}

async fn delete(client: &mut Client, model: &mut Model, rng: &mut StdRng) {
    let from = random_time(rng);
    let to = from + rng.random_range(1..40) * 300 * SECOND_NS;
    let host = format!("host_{}", rng.random_range(1..12));
    let sql = format!(
        "DELETE FROM m WHERE host = '{host}' AND time >= to_timestamp_nanos({from}) AND time < to_timestamp_nanos({to})"
    );
    run(client, &sql).await;
    model.retain(|(tags, time), _| tags.0.as_ref() != Some(&host) || *time < from || *time >= to);
}

async fn run(client: &mut Client, sql: &str) {
    match client.execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}")) {
        ClientOutcome::Updated(_) => {}
        ClientOutcome::Rows { batches, .. } => {
            batches
                .try_for_each(|_| async { Ok(()) })
                .await
                .unwrap_or_else(|e| panic!("{sql}: {e}"));
        }
    }
}

fn reference(model: &Model) -> SessionContext {
    let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    let schema = Arc::new(Schema::new(vec![
        Field::new("time", time, false),
        Field::new("host", DataType::Utf8, true),
        Field::new("region", DataType::Utf8, true),
        Field::new("a", DataType::Float64, true),
        Field::new("b", DataType::Int64, true),
        Field::new("c", DataType::Utf8, true),
    ]));
    let times: Vec<i64> = model.keys().map(|(_, t)| *t).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampNanosecondArray::from(times).with_timezone("UTC")),
        Arc::new(model.keys().map(|(t, _)| t.0.clone()).collect::<StringArray>()),
        Arc::new(model.keys().map(|(t, _)| t.1.clone()).collect::<StringArray>()),
        Arc::new(model.values().map(|f| f.a).collect::<Float64Array>()),
        Arc::new(model.values().map(|f| f.b).collect::<Int64Array>()),
        Arc::new(model.values().map(|f| f.c.clone()).collect::<StringArray>()),
    ];
    let batch = RecordBatch::try_new(schema, columns).expect("the columns fit the schema");
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    context.register_batch("m", batch).expect("a fresh context");
    context
}

/// Queries whose answers are the same whatever the plan; `ORDER BY` with ties is avoided.
fn queries(rng: &mut StdRng) -> Vec<String> {
    let from = random_time(rng);
    let to = from + rng.random_range(1..DAY_NS / SECOND_NS) * SECOND_NS;
    let range = format!("time >= to_timestamp_nanos({from}) AND time < to_timestamp_nanos({to})");
    let host = format!("host_{}", rng.random_range(1..12));
    let aggregates = "COUNT(*), COUNT(a), SUM(a), MIN(b), MAX(b), COUNT(DISTINCT c)";
    vec![
        "SELECT * FROM m".to_owned(),
        "SELECT COUNT(*) FROM m".to_owned(),
        "SELECT COUNT(a), COUNT(b), COUNT(c), COUNT(host), COUNT(region) FROM m".to_owned(),
        "SELECT MIN(time), MAX(time) FROM m".to_owned(),
        format!("SELECT MIN(time), MAX(time), {aggregates} FROM m WHERE {range}"),
        format!("SELECT * FROM m WHERE {range}"),
        format!("SELECT time, a FROM m WHERE host = '{host}' AND {range}"),
        format!("SELECT host, region, {aggregates} FROM m GROUP BY host, region"),
        format!("SELECT host, {aggregates} FROM m WHERE {range} GROUP BY host"),
        format!("SELECT date_bin(INTERVAL '1 hour', time) AS h, host, SUM(a), COUNT(*) FROM m WHERE {range} GROUP BY h, host"),
        format!("SELECT date_trunc('day', time) AS d, {aggregates} FROM m GROUP BY d"),
        format!("SELECT * FROM m WHERE host = '{host}' ORDER BY region, time"),
        format!("SELECT time, host, region, b FROM m WHERE b > 40 AND {range}"),
        "SELECT time, host, region, c FROM m WHERE c = 'text 7'".to_owned(),
        "SELECT host, region, time, a FROM m WHERE host IS NULL".to_owned(),
        "SELECT host, region, COUNT(*) FROM m WHERE region IS NULL OR host LIKE 'host_1%' GROUP BY host, region".to_owned(),
        "SELECT COUNT(*), SUM(b) FROM m WHERE host ~ '^host_[1-3]$'".to_owned(),
        "SELECT COUNT(*), SUM(b) FROM m WHERE host !~ '1' AND region IN ('region 1', 'region 3')".to_owned(),
        "SELECT DISTINCT host, region FROM m".to_owned(),
        "SELECT DISTINCT ON (host, region) host, region, time, a, b, c FROM m ORDER BY host, region, time DESC".to_owned(),
        "SELECT host, region, time, b FROM m ORDER BY host, region, time LIMIT 37".to_owned(),
        "SELECT host, region, time, b FROM m ORDER BY time DESC, host, region LIMIT 11".to_owned(),
        format!("SELECT host, LAST_VALUE(b ORDER BY time), FIRST_VALUE(c ORDER BY time) FROM m WHERE region = 'region 2' AND {range} GROUP BY host"),
        "SELECT host, region, time, b - LAG(b) OVER (PARTITION BY host, region ORDER BY time) AS d FROM m WHERE b IS NOT NULL".to_owned(),
        "SELECT x.host, x.region, x.time, x.a, y.b FROM m x JOIN m y ON x.host = y.host AND x.region = y.region AND x.time = y.time WHERE x.a > 0".to_owned(),
        format!("SELECT host, a FROM m WHERE time = to_timestamp_nanos({from})"),
        format!("SELECT COUNT(*) FROM m WHERE {range} AND host = '{host}' AND a IS NULL"),
        format!("SELECT COUNT(*) FROM m WHERE NOT ({range})"),
        format!("SELECT COUNT(*) FROM m WHERE {range} OR host = '{host}'"),
        "SELECT COUNT(*) FROM m WHERE false".to_owned(),
        "SELECT time FROM m WHERE host = 'nobody'".to_owned(),
        "SELECT COUNT(*) FROM m WHERE time > '2024-02-29' AND time <= '2024-02-29T12:00:00Z'".to_owned(),
    ]
}

fn text(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|c| ArrayFormatter::try_new(c, &options).expect("a printable type"))
            .collect();
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = columns.iter().map(|c| c.value(row).to_string()).collect();
            rows.push(cells.join(" | "));
        }
    }
    rows
}

async fn check(client: &mut Client, model: &Model, rng: &mut StdRng, state: &str) {
    let context = reference(model);
    for sql in queries(rng) {
        let want = context.sql(&sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        let mut want = text(&want.collect().await.unwrap_or_else(|e| panic!("{sql}: {e}")));
        let got = match client.execute(&sql).await.unwrap_or_else(|e| panic!("{state}: {sql}: {e}"))
        {
            ClientOutcome::Rows { batches, .. } => batches,
            ClientOutcome::Updated(_) => panic!("{sql} returns rows"),
        };
        let got: Vec<RecordBatch> =
            got.try_collect().await.unwrap_or_else(|e| panic!("{state}: {sql}: {e}"));
        let mut got = text(&got);
        if !sql.contains("ORDER BY time DESC") && !sql.contains("LIMIT") {
            want.sort();
            got.sort();
        }
        let first = want.iter().zip(&got).position(|(w, g)| w != g);
        assert!(
            want == got,
            "{state}: {sql}\n{} rows wanted, {} came; first difference at {first:?}:\nwant {:?}\n got {:?}",
            want.len(),
            got.len(),
            first.map(|i| &want[i]),
            first.map(|i| &got[i]),
        );
    }
}

#[expect(clippy::print_stderr, reason = "prints the seed")]
fn seed() -> u64 {
    let seed =
        std::env::var("QUORATE_DIFFERENTIAL_SEED").ok().map(|s| s.parse().expect("a number"));
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    eprintln!("QUORATE_DIFFERENTIAL_SEED={seed}");
    seed
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_equal_the_reference_in_every_state_of_the_store() {
    let mut rng = StdRng::seed_from_u64(seed());
    let data = tempfile::tempdir().expect("a temporary directory can be made");
    let mut server = Server::start(data.path(), &ServerOptions::default());
    let mut model = Model::new();
    write_rows(&server, &mut model, &mut rng, 2000);
    for round in 0..4 {
        let mut client = server.client("main").await.expect("the server is ready");
        check(&mut client, &model, &mut rng, &format!("round {round}: memtable over segments"))
            .await;
        for _ in 0..3 {
            write_rows(&server, &mut model, &mut rng, 700);
            delete(&mut client, &mut model, &mut rng).await;
            clear(&mut client, &mut model, &mut rng).await;
            run(&mut client, "CHECKPOINT").await;
        }
        check(&mut client, &model, &mut rng, &format!("round {round}: overlapping segments")).await;
        write_rows(&server, &mut model, &mut rng, 300);
        delete(&mut client, &mut model, &mut rng).await;
        check(&mut client, &model, &mut rng, &format!("round {round}: segments and memtable"))
            .await;
        run(&mut client, "VACUUM").await;
        check(&mut client, &model, &mut rng, &format!("round {round}: compacted")).await;
        write_rows(&server, &mut model, &mut rng, 300);
        clear(&mut client, &mut model, &mut rng).await;
        server.stop();
        server = Server::start(data.path(), &ServerOptions::default());
    }
}
