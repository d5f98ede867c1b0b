//! Queries: one schema everywhere, all values, statements that write.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, Schema};
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt};
use arrow_flight::{FlightDescriptor, Ticket};
use futures::TryStreamExt;
use prost::Message;
use quorate_flight::ServiceOptions;

use crate::server::{Server, change, cpu, pretty, rows, table};

/// A query with a column of every type that SQL can make.
const EVERY_TYPE: &str = "SELECT 1 AS i, 'x' AS s, now() AS t, true AS b, 1.5 AS f, NULL AS nothing, \
     arrow_cast('y', 'Dictionary(Int32, Utf8)') AS dictionary, arrow_cast('z', 'LargeUtf8') AS large, \
     arrow_cast('v', 'Utf8View') AS view, arrow_cast('w', 'BinaryView') AS binary_view, \
     [1, 2] AS list, {'k': 'v'} AS struct, arrow_cast([1], 'LargeList(Int64)') AS large_list, \
     arrow_cast(1, 'Decimal128(10, 2)') AS decimal, arrow_cast(1.5, 'Float16') AS f16, \
     INTERVAL '1 month' AS interval, CURRENT_DATE AS date, CURRENT_TIME AS clock, \
     arrow_cast(1, 'UInt8') AS u8, arrow_cast(1, 'Duration(Second)') AS duration";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_has_one_schema_everywhere() {
    let server = Server::start().await;
    let mut client = server.flight_sql().await;
    cpu(&mut server.client().await).await;
    for sql in [
        EVERY_TYPE,
        "SELECT * FROM cpu",
        "SELECT count(*), max(usage) FROM cpu",
        "SELECT host, min(n) FROM cpu GROUP BY host",
        "SELECT * FROM cpu WHERE false",
        "SHOW TABLES",
        "EXPLAIN SELECT * FROM cpu",
    ] {
        let info = client.execute(sql.to_owned(), None).await.unwrap();
        let command = CommandStatementQuery { query: sql.to_owned(), transaction_id: None };
        let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
        let schema = client.inner_mut().get_schema(descriptor).await.unwrap().into_inner();
        let schema = Schema::try_from(&schema).unwrap();
        assert_eq!(info.clone().try_decode_schema().unwrap(), schema, "{sql}");
        let ticket = info.endpoint[0].ticket.clone().unwrap();
        let mut stream = client.do_get(ticket).await.unwrap();
        let mut batches: Vec<RecordBatch> = Vec::new();
        while let Some(batch) = stream.try_next().await.unwrap() {
            batches.push(batch);
        }
        assert_eq!(stream.schema().unwrap().as_ref(), &schema, "{sql}");
        for batch in &batches {
            assert_eq!(batch.schema().as_ref(), &schema, "{sql}");
        }
        assert!(schema.fields().iter().all(|f| f.is_nullable()), "{sql}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_and_texts_are_utf8_on_the_wire() {
    let server = Server::start().await;
    let mut client = server.client().await;
    cpu(&mut client).await;
    let batches = rows(&mut client, "SELECT * FROM cpu").await;
    let schema = batches[0].schema();
    assert_eq!(schema.field_with_name("host").unwrap().data_type(), &DataType::Utf8);
    assert_eq!(
        schema.field_with_name("time").unwrap().data_type().to_string(),
        "Timestamp(ns, \"UTC\")"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_result_arrives_whole_in_messages_of_bounded_size() {
    let server = Server::start().await;
    let mut flight = server.flight().await;
    let sql = "SELECT value, repeat('x', 100) AS text FROM generate_series(1, 200000)";
    let command = CommandStatementQuery { query: sql.to_owned(), transaction_id: None };
    let ticket = Ticket::new(command.as_any().encode_to_vec());
    let mut messages = flight.do_get(ticket).await.unwrap().into_inner();
    let mut data = Vec::new();
    while let Some(message) = messages.message().await.unwrap() {
        assert!(message.data_body.len() < 4 << 20, "{}", message.data_body.len());
        data.push(message);
    }
    let batches = arrow_flight::utils::flight_data_to_batches(&data).unwrap();
    let sum: i64 = batches
        .iter()
        .flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec())
        .sum();
    assert_eq!(sum, 200_000 * 200_001 / 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_writes_runs_at_do_get_and_once() {
    let server = Server::start().await;
    let mut ours = server.client().await;
    cpu(&mut ours).await;
    let mut client = server.flight_sql().await;
    let sql = "INSERT INTO cpu (time, host, n) SELECT now(), 'new', 9";
    let info = client.execute(sql.to_owned(), None).await.unwrap();
    assert_eq!(table(&mut ours, "SELECT count(*) FROM cpu").await, "3");
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    for _ in 0..3 {
        let stream = client.do_get(ticket.clone()).await.unwrap();
        let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
        assert_eq!(pretty(&batches), "1");
    }
    assert_eq!(table(&mut ours, "SELECT count(*) FROM cpu").await, "4");
    let info = client.execute("DROP TABLE cpu".to_owned(), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    for _ in 0..2 {
        client.do_get(ticket.clone()).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_begins_with_the_question_for_its_schema() {
    let head_start = Duration::from_hours(1);
    let server = Server::start_with(ServiceOptions { head_start, ..Default::default() }).await;
    let mut ours = server.client().await;
    cpu(&mut ours).await;
    let mut client = server.flight_sql().await;
    let count = async |client: &mut FlightSqlServiceClient<_>, ticket: &Ticket| {
        let stream = client.do_get(ticket.clone()).await.unwrap();
        pretty(&stream.try_collect::<Vec<_>>().await.unwrap())
    };
    let sql = "SELECT count(*) AS ahead FROM cpu";
    let info = client.execute(sql.to_owned(), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    // It runs, and holds its rows until they are fetched.
    let list = "SELECT query FROM system.queries";
    while !table(&mut ours, list).await.contains("ahead") {
        tokio::task::yield_now().await;
    }
    change(&mut ours, "INSERT INTO cpu (time, host, n) VALUES ('2025-01-01', 'new', 9)").await;
    assert_eq!(count(&mut client, &ticket).await, "3", "as it was when it was asked");
    assert_eq!(count(&mut client, &ticket).await, "4", "who comes again has it run anew");

    // Under other options it is another query.
    let info = client.execute(sql.to_owned(), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    change(&mut ours, "INSERT INTO cpu (time, host, n) VALUES ('2025-01-02', 'new', 9)").await;
    client.set_header("query-timeout", "1m");
    assert_eq!(count(&mut client, &ticket).await, "5");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_changed_under_a_ticket_is_an_error() {
    let server = Server::start().await;
    let mut ours = server.client().await;
    cpu(&mut ours).await;
    let mut client = server.flight_sql().await;
    let info = client.execute("SELECT * FROM cpu".to_owned(), None).await.unwrap();
    change(&mut ours, "DROP TABLE cpu").await;
    change(&mut ours, "CREATE TABLE cpu (time TIMESTAMP NOT NULL, other DOUBLE)").await;
    let error = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("a table changed"), "{error}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exact_values_survive() {
    let server = Server::start().await;
    let mut client = server.client().await;
    change(&mut client, "CREATE TABLE v (time TIMESTAMP NOT NULL, f DOUBLE, u BIGINT UNSIGNED)")
        .await;
    let floats = [f64::NAN, f64::INFINITY, -0.0, f64::MIN_POSITIVE / 2.0];
    let times = arrow::array::TimestampNanosecondArray::from(vec![i64::MIN + 1, -1, 0, 1])
        .with_timezone("UTC");
    let batch = RecordBatch::try_from_iter([
        ("time", Arc::new(times) as arrow::array::ArrayRef),
        ("f", Arc::new(arrow::array::Float64Array::from(floats.to_vec()))),
        ("u", Arc::new(arrow::array::UInt64Array::from(vec![u64::MAX, 0, 1, 2]))),
    ])
    .unwrap();
    assert_eq!(client.ingest("v", None, vec![batch.clone()]).await.unwrap(), 4);
    let got = rows(&mut client, "SELECT time, f, u FROM v ORDER BY time").await;
    let got = arrow::compute::concat_batches(&got[0].schema(), &got).unwrap();
    let bits = |b: &RecordBatch| {
        let column = b.column(1).as_primitive::<arrow::datatypes::Float64Type>();
        column.values().iter().map(|v| v.to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(bits(&got), bits(&batch));
    assert_eq!(got.column(0), batch.column(0));
    assert_eq!(got.column(2), batch.column(2));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_ahead_of_the_first_are_answered_and_not_counted() {
    let server = Server::start().await;
    server.service.warm_up().await.unwrap();
    assert_eq!((server.service.calls().ended(), server.service.calls().running()), (vec![], 0));
    rows(&mut server.client().await, "SELECT 1").await;
    assert!(!server.service.calls().ended().is_empty());
    server.stop().await;
}
