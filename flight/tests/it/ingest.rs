//! Bulk ingest.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Float32Array, Float64Array, RecordBatch, StringArray,
    TimestampMillisecondArray, TimestampNanosecondArray,
};
use arrow::datatypes::Int32Type;
use arrow_flight::error::FlightError;
use arrow_flight::sql::{
    CommandStatementIngest, TableDefinitionOptions, TableExistsOption, TableNotExistOption,
};

use quorate_flight::IngestChunk;

use crate::server::{Server, change, table};

fn batch(start: i64, rows: i64) -> RecordBatch {
    let times = (start..start + rows).map(|i| i * 1_000_000_000);
    let times = TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC");
    let hosts = StringArray::from_iter_values((0..rows).map(|i| format!("h{}", i % 3)));
    let values = Float64Array::from_iter_values((start..start + rows).map(|i| i as f64));
    RecordBatch::try_from_iter([
        ("time", Arc::new(times) as ArrayRef),
        ("host", Arc::new(hosts)),
        ("value", Arc::new(values)),
    ])
    .unwrap()
}

fn command(missing: TableNotExistOption, present: TableExistsOption) -> CommandStatementIngest {
    CommandStatementIngest {
        table_definition_options: Some(TableDefinitionOptions {
            if_not_exist: missing.into(),
            if_exists: present.into(),
        }),
        table: "m".to_owned(),
        ..CommandStatementIngest::default()
    }
}

async fn run(
    server: &Server,
    command: CommandStatementIngest,
    batch: RecordBatch,
) -> Result<i64, String> {
    let mut client = server.flight_sql().await;
    let stream = futures::stream::iter([Ok(batch)]);
    client.execute_ingest(command, stream).await.map_err(|error| match error {
        FlightError::Tonic(status) => status.message().to_owned(),
        other => other.to_string(),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_modes_of_drivers_do_what_they_say() {
    use TableExistsOption as Present;
    use TableNotExistOption as Missing;
    let server = Server::start().await;
    let mut ours = server.client().await;
    let append = command(Missing::Fail, Present::Append);
    let error = run(&server, append.clone(), batch(0, 3)).await.unwrap_err();
    assert!(error.contains("\"m\" does not exist"), "{error}");
    let create = command(Missing::Create, Present::Fail);
    assert_eq!(run(&server, create.clone(), batch(0, 3)).await, Ok(3));
    let error = run(&server, create, batch(0, 3)).await.unwrap_err();
    assert!(error.contains("\"m\" already exists"), "{error}");
    assert_eq!(run(&server, append, batch(3, 3)).await, Ok(3));
    let both = command(Missing::Create, Present::Append);
    assert_eq!(run(&server, both, batch(6, 3)).await, Ok(3));
    assert_eq!(table(&mut ours, "SELECT count(*), max(value) FROM m").await, "9 8.0");
    let replace = command(Missing::Create, Present::Replace);
    assert_eq!(run(&server, replace, batch(100, 2)).await, Ok(2));
    assert_eq!(table(&mut ours, "SELECT count(*), max(value) FROM m").await, "2 101.0");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_batches_are_streamed_and_the_same_ones_again_change_nothing() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let batches: Vec<RecordBatch> = (0..20).map(|i| batch(i * 10_000, 10_000)).collect();
    for _ in 0..2 {
        assert_eq!(client.ingest("m", None, batches.clone()).await.unwrap(), 200_000);
    }
    let got = table(&mut client, "SELECT count(*), sum(value) FROM m").await;
    assert_eq!(got, "200000 19999900000.0");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_are_those_that_are_named() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let text: ArrayRef = Arc::new(StringArray::from(vec!["hello"; 3]));
    let batch = batch(0, 3);
    let mut columns: Vec<(String, ArrayRef)> = batch
        .schema()
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(f, c)| (f.name().clone(), Arc::clone(c)))
        .collect();
    columns.push(("note".to_owned(), text));
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    client.ingest("named", Some("host"), vec![batch.clone()]).await.unwrap();
    client.ingest("all", None, vec![batch]).await.unwrap();
    let keys = |name: &str| format!("SELECT count(*) FROM {name} WHERE note = 'hello'");
    assert_eq!(table(&mut client, &keys("named")).await, "3");
    let described = table(&mut client, "DESCRIBE named").await;
    assert!(described.contains("note"), "{described}");
    let mut flight = server.flight_sql().await;
    for (name, want) in [("named", 2), ("all", 3)] {
        let keys = crate::metadata::primary_keys(&mut flight, name).await;
        assert_eq!(keys.len(), want, "{name}: {keys:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn narrow_types_and_dictionaries_widen() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let hosts: DictionaryArray<Int32Type> = vec!["a", "b"].into_iter().collect();
    let batch = RecordBatch::try_from_iter([
        ("time", Arc::new(TimestampMillisecondArray::from(vec![1, 2])) as ArrayRef),
        ("host", Arc::new(hosts)),
        ("value", Arc::new(Float32Array::from(vec![0.5, 1.5]))),
    ])
    .unwrap();
    let create = command(TableNotExistOption::Create, TableExistsOption::Fail);
    assert_eq!(run(&server, create, batch).await, Ok(2));
    let got = table(&mut client, "SELECT time, host, value FROM m ORDER BY time").await;
    assert_eq!(got, "1970-01-01T00:00:00.001Z a 0.5\n1970-01-01T00:00:00.002Z b 1.5");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_ingested_is_refused() {
    let server = Server::start().await;
    let mut ours = server.client().await;
    let create = command(TableNotExistOption::Create, TableExistsOption::Append);
    let timeless = batch(0, 2).project(&[1, 2]).unwrap();
    let error = run(&server, create.clone(), timeless).await.unwrap_err();
    assert!(error.contains("time"), "{error}");
    let temporary = CommandStatementIngest { temporary: true, ..create.clone() };
    let error = run(&server, temporary, batch(0, 2)).await.unwrap_err();
    assert!(error.contains("temporary table is not supported"), "{error}");
    let schema = CommandStatementIngest { schema: Some("other".into()), ..create.clone() };
    let error = run(&server, schema, batch(0, 2)).await.unwrap_err();
    assert!(error.contains("schema \"other\" does not exist"), "{error}");
    let nowhere = CommandStatementIngest { catalog: Some("nowhere".into()), ..create };
    let error = run(&server, nowhere, batch(0, 2)).await.unwrap_err();
    assert!(error.contains("nowhere"), "{error}");
    change(&mut ours, "CREATE DATABASE d").await;
    let into_d = CommandStatementIngest {
        catalog: Some("d".into()),
        schema: Some("public".into()),
        ..command(TableNotExistOption::Create, TableExistsOption::Fail)
    };
    assert_eq!(run(&server, into_d, batch(0, 2)).await, Ok(2));
    assert_eq!(table(&mut ours, "SELECT count(*) FROM d.public.m").await, "2");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyed_chunk_lists_what_it_rejects_and_is_known_when_it_comes_again() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let chunk = |first: Option<i64>| {
        let times = TimestampNanosecondArray::from(vec![first, Some(2), None]).with_timezone("UTC");
        let values = Float64Array::from(vec![0.5, 1.5, 2.5]);
        let columns =
            [("time", Arc::new(times) as ArrayRef), ("value", Arc::new(values) as ArrayRef)];
        IngestChunk {
            table: "m".to_owned(),
            idempotency_key: "k".to_owned(),
            batch: RecordBatch::try_from_iter(columns).unwrap(),
        }
    };
    let error = client.ingest_chunk(chunk(Some(1))).await.unwrap_err().to_string();
    assert!(error.contains("\"m\" does not exist"), "{error}");
    change(&mut client, "CREATE TABLE m (time TIMESTAMP, value DOUBLE)").await;
    for known in [false, true] {
        let answer = client.ingest_chunk(chunk(Some(1))).await.unwrap();
        assert_eq!((answer.rows, answer.rejected.total), (2, 1));
        assert_eq!(answer.rejected.rows, [(2, "the time is null".to_owned())]);
        assert!(answer.receipts.iter().all(|receipt| receipt.duplicate == known), "{answer:?}");
    }
    let error = client.ingest_chunk(chunk(Some(3))).await.unwrap_err().to_string();
    assert!(error.contains("used before with a different body"), "{error}");
    assert_eq!(table(&mut client, "SELECT sum(value) FROM m").await, "2.0");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_way_to_tell_rejected_rows_is_refused() {
    let server = Server::start().await;
    let mut create = command(TableNotExistOption::Create, TableExistsOption::Append);
    create.options.insert("quorate-rejected".to_owned(), "some".to_owned());
    let error = run(&server, create, batch(0, 2)).await.unwrap_err();
    assert!(error.contains("quorate-rejected") && error.contains("listed"), "{error}");
    server.stop().await;
}
