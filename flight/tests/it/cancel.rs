//! Cancellation: by action, by a dropped stream, by time.

use std::time::Duration;

use arrow_flight::{Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus};
use futures::TryStreamExt;
use prost::Message;
use quorate_flight::ServiceOptions;

use crate::server::{Server, failure, table};

/// A query that does not end by itself.
const ENDLESS: &str =
    "SELECT sum(value % 3) AS never FROM generate_series(1, 1000000000000000) AS t(value)";

/// Waits until no query but the one that asks is running.
async fn until_idle(server: &Server) {
    let mut client = server.client().await;
    let list = "SELECT query FROM system.queries";
    while table(&mut client, list).await.contains("never") {
        tokio::task::yield_now().await;
    }
}

/// Waits until the endless query is running.
async fn until_running(server: &Server) {
    let mut client = server.client().await;
    let list = "SELECT query FROM system.queries";
    while !table(&mut client, list).await.contains("never") {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_is_cancelled_by_action() {
    let head_start = Duration::from_hours(1);
    let server = Server::start_with(ServiceOptions { head_start, ..Default::default() }).await;
    let mut client = server.flight_sql().await;
    let info = client.execute(ENDLESS.to_owned(), None).await.unwrap();
    let cancel = |info: &arrow_flight::FlightInfo| {
        let body = CancelFlightInfoRequest::new(info.clone()).encode_to_vec();
        Action::new("CancelFlightInfo", body)
    };
    let status = async |client: &mut arrow_flight::sql::client::FlightSqlServiceClient<_>| {
        let results = client.do_action(cancel(&info)).await.unwrap();
        let results: Vec<_> = results.try_collect().await.unwrap();
        assert_eq!(results.len(), 1);
        CancelFlightInfoResult::decode(results[0].body.clone()).unwrap().status()
    };
    // It has begun already, and the ticket is as good as before.
    assert_eq!(status(&mut client).await, CancelStatus::Cancelled);
    assert_eq!(status(&mut client).await, CancelStatus::NotCancellable);
    until_idle(&server).await;
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let mut fetching = server.flight_sql().await;
    let fetch =
        tokio::spawn(async move { fetching.do_get(ticket).await?.try_collect::<Vec<_>>().await });
    until_running(&server).await;
    assert_eq!(status(&mut client).await, CancelStatus::Cancelled);
    let error = fetch.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("cancelled"), "{error}");
    until_idle(&server).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_nobody_fetches_ends() {
    let head_start = Duration::from_millis(50);
    let server = Server::start_with(ServiceOptions { head_start, ..Default::default() }).await;
    let mut client = server.flight_sql().await;
    let info = client.execute(ENDLESS.to_owned(), None).await.unwrap();
    until_idle(&server).await;
    assert!(info.endpoint[0].ticket.is_some());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_ends_with_the_stream_that_is_dropped() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let outcome = client.execute(ENDLESS).await.unwrap();
    until_running(&server).await;
    drop(outcome);
    until_idle(&server).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_ends_when_its_time_is_over() {
    let server = Server::start().await;
    let mut client = server.client_with(&[("query-timeout", "50ms")]).await;
    let (code, message) = failure(&mut client, ENDLESS).await;
    assert_eq!(code, "DEADLINE_EXCEEDED", "{message}");
    until_idle(&server).await;
    server.stop().await;
}
