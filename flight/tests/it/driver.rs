//! What drivers do that our own client does not: handles that are not replaced, session options, odd statements.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any,
    CommandPreparedStatementQuery, ProstMessageExt,
};
use arrow_flight::{Action, FlightDescriptor};
use futures::TryStreamExt;
use prost::Message;
use tonic::Request;
use tonic::transport::Channel;

use crate::server::{Server, change, cpu, pretty};

/// Prepares a statement; the descriptor of a query of it.
async fn prepare(flight: &mut FlightServiceClient<Channel>, sql: &str) -> FlightDescriptor {
    let request =
        ActionCreatePreparedStatementRequest { query: sql.to_owned(), transaction_id: None };
    let action = Action::new("CreatePreparedStatement", request.as_any().encode_to_vec());
    let results = flight.do_action(action).await.unwrap().into_inner();
    let results: Vec<_> = results.try_collect().await.unwrap();
    let result: ActionCreatePreparedStatementResult =
        Any::decode(results[0].body.clone()).unwrap().unpack().unwrap().unwrap();
    let command = CommandPreparedStatementQuery {
        prepared_statement_handle: result.prepared_statement_handle,
    };
    FlightDescriptor::new_cmd(command.as_any().encode_to_vec())
}

/// Runs what a descriptor says.
async fn fetch(
    flight: &mut FlightServiceClient<Channel>,
    request: Request<FlightDescriptor>,
) -> String {
    let info = flight.get_flight_info(request).await.unwrap().into_inner();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let mut stream = flight.do_get(ticket).await.unwrap().into_inner();
    let mut data = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        data.push(message);
    }
    pretty(&arrow_flight::utils::flight_data_to_batches(&data).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_keeps_the_database_that_it_was_prepared_in() {
    let server = Server::start().await;
    let mut ours = server.client().await;
    cpu(&mut ours).await;
    change(&mut ours, "CREATE DATABASE other").await;
    let mut flight = server.flight().await;
    let descriptor = prepare(&mut flight, "SELECT count(*) FROM cpu").await;
    let mut request = Request::new(descriptor);
    request.metadata_mut().insert("database", "other".parse().unwrap());
    assert_eq!(fetch(&mut flight, request).await, "3");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_that_keeps_its_old_handle_gets_what_it_bound() {
    let server = Server::start().await;
    cpu(&mut server.client().await).await;
    let mut flight = server.flight().await;
    let descriptor = prepare(&mut flight, "SELECT n FROM cpu WHERE host = ? ORDER BY n").await;
    for (host, want) in [("a", "1\n3"), ("b", "2")] {
        let column: ArrayRef = Arc::new(StringArray::from(vec![host]));
        let batch = RecordBatch::try_from_iter([("1", column)]).unwrap();
        let upload = FlightDataEncoderBuilder::new()
            .with_flight_descriptor(Some(descriptor.clone()))
            .build(futures::stream::iter([Ok::<_, FlightError>(batch)]));
        let upload: Vec<_> = upload.try_collect().await.unwrap();
        let put = flight.do_put(futures::stream::iter(upload)).await.unwrap().into_inner();
        assert_eq!(put.try_collect::<Vec<_>>().await.unwrap().len(), 1);
        assert_eq!(fetch(&mut flight, Request::new(descriptor.clone())).await, want);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_action_answers_with_one_result() {
    let server = Server::start().await;
    let mut client = server.flight_sql().await;
    client.handshake("any", "password").await.unwrap();
    for name in ["SetSessionOptions", "GetSessionOptions", "CloseSession"] {
        let results = client.do_action(Action::new(name, "")).await.unwrap();
        assert_eq!(results.try_collect::<Vec<_>>().await.unwrap().len(), 1, "{name}");
    }
    let statement = client.prepare("SELECT 1".into(), None).await.unwrap();
    statement.close().await.unwrap();
    server.stop().await;
}
