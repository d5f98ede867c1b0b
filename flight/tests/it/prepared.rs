//! Prepared statements: what they tell of themselves, parameters, updates.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use arrow_flight::sql::client::PreparedStatement;
use futures::TryStreamExt;
use tonic::transport::Channel;

use crate::server::{Server, cpu, pretty, table};

fn one_row(columns: Vec<ArrayRef>) -> RecordBatch {
    let named = columns.into_iter().enumerate().map(|(i, c)| (i.to_string(), c));
    RecordBatch::try_from_iter(named).unwrap()
}

async fn fetch(
    statement: &mut PreparedStatement<Channel>,
    server: &Server,
) -> Result<String, arrow_flight::error::FlightError> {
    let info = statement.execute().await?;
    let mut client = server.flight_sql().await;
    let stream = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await?;
    let batches: Vec<RecordBatch> = stream.try_collect().await?;
    Ok(pretty(&batches))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_tells_its_columns_and_an_update_none() {
    let server = Server::start().await;
    cpu(&mut server.client().await).await;
    let mut client = server.flight_sql().await;
    let query = client.prepare("SELECT host FROM cpu WHERE usage > $1".into(), None).await.unwrap();
    assert_eq!(query.dataset_schema().unwrap().field(0).name(), "host");
    assert_eq!(query.parameter_schema().unwrap().field(0).data_type(), &DataType::Float64);
    for sql in ["INSERT INTO cpu (time, host) VALUES ($1, $2)", "DROP TABLE cpu"] {
        let update = client.prepare(sql.into(), None).await.unwrap();
        assert!(update.dataset_schema().unwrap().fields().is_empty(), "{sql}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters_of_both_styles_are_bound() {
    let server = Server::start().await;
    cpu(&mut server.client().await).await;
    let mut client = server.flight_sql().await;
    for sql in [
        "SELECT n FROM cpu WHERE host = $1 AND usage > $2 ORDER BY n",
        "SELECT n FROM cpu WHERE host = ? AND usage > ? ORDER BY n",
    ] {
        let mut statement = client.prepare(sql.into(), None).await.unwrap();
        for (host, usage, want) in [("a", 0.0, "1\n3"), ("a", 1.0, "3"), ("b", 0.0, "2")] {
            let host: ArrayRef = Arc::new(StringArray::from(vec![host]));
            let usage: ArrayRef = Arc::new(Float64Array::from(vec![usage]));
            statement.set_parameters(one_row(vec![host, usage])).unwrap();
            assert_eq!(fetch(&mut statement, &server).await.unwrap(), want, "{sql}");
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_runs_once_per_row_of_parameters() {
    let server = Server::start().await;
    let mut ours = server.client().await;
    cpu(&mut ours).await;
    let mut client = server.flight_sql().await;
    let sql = "INSERT INTO cpu (time, host, n) VALUES (to_timestamp_seconds($1), $2, $3)";
    let mut statement = client.prepare(sql.into(), None).await.unwrap();
    let seconds: ArrayRef = Arc::new(Int64Array::from_iter_values(0..50));
    let hosts: ArrayRef = Arc::new(StringArray::from_iter_values((0..50).map(|i| format!("p{i}"))));
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(100..150));
    statement.set_parameters(one_row(vec![seconds, hosts, numbers])).unwrap();
    assert_eq!(statement.execute_update().await.unwrap(), 50);
    let got = table(&mut ours, "SELECT count(*), min(n), max(n) FROM cpu WHERE n >= 100").await;
    assert_eq!(got, "50 100 149");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_parameters_are_an_error() {
    let server = Server::start().await;
    cpu(&mut server.client().await).await;
    let mut client = server.flight_sql().await;
    let sql = "SELECT n FROM cpu WHERE host = $1";
    let mut none = client.prepare(sql.into(), None).await.unwrap();
    let error = fetch(&mut none, &server).await.unwrap_err().to_string();
    assert!(error.contains("parameter"), "{error}");
    let mut two = client.prepare(sql.into(), None).await.unwrap();
    let host: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    two.set_parameters(one_row(vec![Arc::clone(&host), host])).unwrap();
    let error = fetch(&mut two, &server).await.unwrap_err().to_string();
    assert!(error.contains("has 1 parameters, and 2 values were given"), "{error}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_runs_once_per_row_of_parameters() {
    let server = Server::start().await;
    cpu(&mut server.client().await).await;
    let mut client = server.flight_sql().await;
    let sql = "SELECT $1 AS asked, max(n) AS n FROM cpu WHERE host = $1";
    let mut statement = client.prepare(sql.into(), None).await.unwrap();
    let hosts: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), Some("x"), None, Some("a")]));
    statement.set_parameters(one_row(vec![hosts])).unwrap();
    let got = fetch(&mut statement, &server).await.unwrap();
    assert_eq!(got, "b 2\nx\n\na 3");
    // The second run fails: the rows of the first are no answer.
    let mut statement = client.prepare("SELECT 6 / $1 AS v".into(), None).await.unwrap();
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![3, 0, 2]));
    statement.set_parameters(one_row(vec![numbers])).unwrap();
    let error = fetch(&mut statement, &server).await.unwrap_err().to_string();
    assert!(error.to_lowercase().contains("divide by zero"), "{error}");
    server.stop().await;
}
