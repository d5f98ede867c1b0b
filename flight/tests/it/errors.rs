//! Errors: their codes and what they say.

use arrow_flight::sql::{CommandStatementSubstraitPlan, ProstMessageExt};
use arrow_flight::{Action, FlightDescriptor, Ticket};
use prost::Message;
use tonic::Code;

use crate::server::{Server, change, cpu, failure};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_fail_with_code_and_words() {
    let server = Server::start().await;
    let mut client = server.client().await;
    cpu(&mut client).await;
    for (sql, want, words) in [
        ("SELEC 1", "INVALID_ARGUMENT", "line 1"),
        ("SELECT * FROM nowhere", "NOT_FOUND", "nowhere"),
        ("SELECT missing FROM cpu", "NOT_FOUND", "missing"),
        ("CREATE TABLE cpu (time TIMESTAMP NOT NULL)", "ALREADY_EXISTS", "cpu"),
        ("CREATE TABLE timeless (host STRING)", "INVALID_ARGUMENT", "time"),
        ("SELECT * FROM nowhere.public.cpu", "NOT_FOUND", "nowhere"),
        ("USE nowhere", "NOT_FOUND", "nowhere"),
        ("BEGIN", "UNIMPLEMENTED", ""),
        ("SELECT 1 / 0", "INVALID_ARGUMENT", "ivide by zero"),
    ] {
        let (code, message) = failure(&mut client, sql).await;
        assert_eq!(code, want, "{sql}: {message}");
        assert!(message.contains(words), "{sql}: {message}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_as_an_update_is_refused() {
    let server = Server::start().await;
    let mut client = server.flight_sql().await;
    let error = client.execute_update("SELECT 1".into(), None).await.unwrap_err();
    assert!(error.to_string().contains("run it as a query"), "{error}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_says_so() {
    let server = Server::start().await;
    let mut flight = server.flight().await;
    let plan = CommandStatementSubstraitPlan::default().as_any().encode_to_vec();
    let error = flight.get_flight_info(FlightDescriptor::new_cmd(plan)).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    assert!(error.message().contains("CommandStatementSubstraitPlan"), "{error}");
    let error = flight.do_action(Action::new("BeginTransaction", "")).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    let error = flight.do_action(Action::new("Nonsense", "")).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    let error = flight.poll_flight_info(FlightDescriptor::new_cmd("x")).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_is_refused() {
    let server = Server::start().await;
    let mut flight = server.flight().await;
    for ticket in [&b"nonsense"[..], b"{", b"{\"sql_query\": 1}", b""] {
        let error = flight.do_get(Ticket::new(ticket.to_vec())).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{ticket:?}: {error}");
    }
    let put = flight.do_put(futures::stream::empty()).await.unwrap_err();
    assert_eq!(put.code(), Code::InvalidArgument);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_tickets_run_sql_and_nothing_else() {
    let server = Server::start().await;
    let mut flight = server.flight().await;
    cpu(&mut server.client().await).await;
    change(&mut server.client().await, "CREATE DATABASE other").await;
    let run = |text: &str| {
        let mut flight = flight.clone();
        let ticket = Ticket::new(text.to_owned());
        async move {
            let mut stream = flight.do_get(ticket).await?.into_inner();
            let mut data = Vec::new();
            while let Some(message) = stream.message().await? {
                data.push(message);
            }
            let batches = arrow_flight::utils::flight_data_to_batches(&data).unwrap();
            Ok::<_, tonic::Status>(crate::server::pretty(&batches))
        }
    };
    let text = r#"{"database": "main", "sql_query": "SELECT n FROM cpu WHERE host = $host ORDER BY n", "query_type": "sql", "params": {"host": "a"}}"#;
    assert_eq!(run(text).await.unwrap(), "1\n3");
    let text = r#"{"database": "other", "sql_query": "SELECT n FROM cpu"}"#;
    assert_eq!(run(text).await.unwrap_err().code(), Code::NotFound);
    let text = r#"{"sql_query": "SELECT 1", "query_type": "influxql"}"#;
    let error = run(text).await.unwrap_err();
    assert!(error.message().contains("influxql"), "{error}");
    let _ = flight.list_actions(arrow_flight::Empty {}).await.unwrap();
    server.stop().await;
}
