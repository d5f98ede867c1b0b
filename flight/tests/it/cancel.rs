//! Cancellation: by action, by a dropped stream, by time.

use std::time::Duration;

use arrow_flight::{
    Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo,
};
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

/// Cancels by action.
async fn cancel(server: &Server, info: &FlightInfo) -> CancelStatus {
    let body = CancelFlightInfoRequest::new(info.clone()).encode_to_vec();
    let action = Action::new("CancelFlightInfo", body);
    let results = server.flight_sql().await.do_action(action).await.unwrap();
    let results: Vec<_> = results.try_collect().await.unwrap();
    assert_eq!(results.len(), 1);
    CancelFlightInfoResult::decode(results[0].body.clone()).unwrap().status()
}

/// Asks for the rows of a query that is cancelled.
async fn fetch_cancelled(server: &Server, info: &FlightInfo) {
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let mut client = server.flight_sql().await;
    let rows = async { client.do_get(ticket).await?.try_collect::<Vec<_>>().await };
    let error = rows.await.unwrap_err().to_string();
    assert!(error.contains("cancelled"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_is_cancelled_by_action_while_its_rows_are_fetched() {
    let server = Server::start().await;
    let info = server.flight_sql().await.execute(ENDLESS.to_owned(), None).await.unwrap();
    let canceller = async {
        until_running(&server).await;
        assert_eq!(cancel(&server, &info).await, CancelStatus::Cancelled);
    };
    tokio::join!(fetch_cancelled(&server, &info), canceller);
    until_idle(&server).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_is_cancelled_before_its_rows_are_fetched_does_not_run_again() {
    // With a head start that does not end, one that has ended, and none.
    for head_start in [Duration::from_hours(1), Duration::from_millis(1), Duration::ZERO] {
        let server = Server::start_with(ServiceOptions { head_start, ..Default::default() }).await;
        let info = server.flight_sql().await.execute(ENDLESS.to_owned(), None).await.unwrap();
        if head_start < Duration::from_mins(1) {
            until_idle(&server).await;
        }
        for _ in 0..2 {
            assert_eq!(cancel(&server, &info).await, CancelStatus::Cancelled);
            until_idle(&server).await;
            fetch_cancelled(&server, &info).await;
        }
        // The text may be asked again.
        let again = server.flight_sql().await.execute(ENDLESS.to_owned(), None).await.unwrap();
        assert_eq!(cancel(&server, &again).await, CancelStatus::Cancelled);
        until_idle(&server).await;
        server.stop().await;
    }
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
