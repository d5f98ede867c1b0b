//! What a session changes holds for later calls of the clients that can hold it.

use arrow_flight::Action;
use futures::TryStreamExt;

use crate::server::{Server, change, cpu, failure, table};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_keeps_cookies_has_a_session() {
    let server = Server::start().await;
    let mut client = server.client().await;
    change(&mut client, "CREATE DATABASE other").await;
    change(&mut client, "USE other").await;
    cpu(&mut client).await;
    assert_eq!(table(&mut client, "SELECT count(*) FROM cpu").await, "3");
    assert_eq!(failure(&mut server.client().await, "SELECT * FROM cpu").await.0, "NOT_FOUND");
    change(&mut client, "SET timezone = '+02:00'").await;
    change(&mut client, "USE main").await;
    assert_eq!(failure(&mut client, "SELECT * FROM cpu").await.0, "NOT_FOUND");
    let zone = table(&mut client, "SHOW timezone").await;
    assert!(zone.contains("+02:00"), "{zone}");
    change(&mut client, "SET application_name = 'report'").await;
    assert_eq!(table(&mut client, "SELECT application FROM system.queries").await, "report");
    change(&mut client, "RESET application_name").await;
    assert_eq!(table(&mut client, "SELECT application FROM system.queries").await, "");
    client.use_database("other");
    assert_eq!(table(&mut client, "SELECT count(*) FROM cpu").await, "3");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_our_token_has_a_session() {
    let server = Server::start().await;
    change(&mut server.client().await, "CREATE DATABASE other").await;
    let mut client = server.flight_sql().await;
    client.handshake("any", "password").await.unwrap();
    assert!(client.token().is_some());
    assert_eq!(client.execute_update("USE other".into(), None).await.unwrap(), 0);
    cpu(&mut server.client_with(&[("database", "other")]).await).await;
    assert!(client.execute("SELECT * FROM cpu".into(), None).await.is_ok());
    let close = client.do_action(Action::new("CloseSession", "")).await.unwrap();
    assert_eq!(close.try_collect::<Vec<_>>().await.unwrap().len(), 1);
    assert!(client.execute("SELECT * FROM cpu".into(), None).await.is_err());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn set_is_refused_where_nothing_holds_it() {
    let server = Server::start().await;
    let mut client = server.flight_sql().await;
    let error = client.execute_update("SET timezone = 'UTC'".into(), None).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("timezone") && text.contains("query-timeout"), "{text}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_of_every_kind_are_answered_with_a_token() {
    let server = Server::start().await;
    let mut flight = server.flight().await;
    for (messages, header) in
        [(0, None), (1, None), (1, Some("Basic YTpi")), (0, Some("Bearer apiv3_x"))]
    {
        let message = arrow_flight::HandshakeRequest::default();
        let mut request = tonic::Request::new(futures::stream::iter(vec![message; messages]));
        if let Some(header) = header {
            request.metadata_mut().insert("authorization", header.parse().unwrap());
        }
        let response = flight.handshake(request).await.unwrap();
        let token = response.metadata().get("authorization").unwrap().to_str().unwrap();
        assert!(token.starts_with("Bearer "), "{token}");
        assert_eq!(response.into_inner().try_collect::<Vec<_>>().await.unwrap().len(), messages);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_say_how_a_call_runs() {
    let server = Server::start().await;
    change(&mut server.client().await, "CREATE DATABASE other").await;
    for header in ["database", "bucket", "iox-namespace-name"] {
        let mut client = server.client_with(&[(header, "other")]).await;
        change(&mut client, &format!("CREATE TABLE \"{header}\" (time TIMESTAMP NOT NULL)")).await;
    }
    let tables =
        table(&mut server.client_with(&[("database", "other")]).await, "SHOW TABLES").await;
    assert_eq!(tables.lines().count(), 3, "{tables}");
    let mut client = server.client_with(&[("query-timeout", "whenever")]).await;
    let (code, message) = failure(&mut client, "SELECT 1").await;
    assert_eq!(code, "INVALID_ARGUMENT");
    assert!(message.contains("header query-timeout"), "{message}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_with_a_key_has_one_effect() {
    let server = Server::start().await;
    let mut client = server.client().await;
    cpu(&mut client).await;
    let mut keyed = server.client_with(&[("idempotency-key", "k1")]).await;
    let insert = |n: u32| {
        format!("INSERT INTO cpu (time, host, n) VALUES ('2024-06-01T00:00:00Z', 'k', {n})")
    };
    change(&mut keyed, &insert(1)).await;
    change(&mut client, &insert(2)).await;
    // A retry of the first one; without its key it would overwrite the second.
    change(&mut keyed, &insert(1)).await;
    assert_eq!(table(&mut client, "SELECT n FROM cpu WHERE host = 'k'").await, "2");
    let delete = "DELETE FROM cpu WHERE host = 'k'";
    for other in [insert(3).as_str(), delete] {
        let (code, message) = failure(&mut keyed, other).await;
        assert_eq!(code, "INVALID_ARGUMENT", "{message}");
        assert!(message.contains("k1"), "{message}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_of_a_key_finds_the_time_of_the_first_try() {
    let server = Server::start().await;
    let mut client = server.client().await;
    cpu(&mut client).await;
    for (key, insert) in [
        (
            "values",
            "INSERT INTO cpu (time, host, n) VALUES (now(), 'v', CAST(random() * 1000 AS BIGINT))",
        ),
        ("query", "INSERT INTO cpu (time, host, n) SELECT now(), 'q', count(*) FROM cpu"),
    ] {
        let mut keyed = server.client_with(&[("idempotency-key", key)]).await;
        for _ in 0..3 {
            change(&mut keyed, insert).await;
        }
    }
    let counts = "SELECT host, count(*) FROM cpu WHERE host IN ('q', 'v') GROUP BY host ORDER BY 1";
    assert_eq!(table(&mut client, counts).await, "q 1\nv 1");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyed_delete_is_not_repeated() {
    let server = Server::start().await;
    let mut client = server.client().await;
    cpu(&mut client).await;
    let insert = "INSERT INTO cpu (time, host, n) VALUES ('2024-06-01T00:00:00Z', 'd', 1)";
    let delete = "DELETE FROM cpu WHERE host = 'd'";
    let mut keyed = server.client_with(&[("idempotency-key", "d1")]).await;
    // The first time there is nothing to delete: that, too, is what the key stands for.
    for _ in 0..2 {
        change(&mut keyed, delete).await;
        change(&mut client, insert).await;
    }
    assert_eq!(table(&mut client, "SELECT count(*) FROM cpu WHERE host = 'd'").await, "1");
    change(&mut client, delete).await;
    assert_eq!(table(&mut client, "SELECT count(*) FROM cpu WHERE host = 'd'").await, "0");
    server.stop().await;
}
