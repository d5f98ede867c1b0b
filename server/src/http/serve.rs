//! The HTTP listener: a task for each connection, until the node stops.
//!
//! *How it works*: as `axum::serve` does, with limits that it cannot be given. A client that begins a request and does not
//! finish its head would hold its connection and its buffer for ever; so would one that is gone without a word. The body
//! has a limit of its own, see [`super::body`].

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use axum::serve::Listener;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// How long a connection may be without a whole request head. It counts from the answer before, too, and clients keep
/// connections for later: Go's, and so Telegraf, for 90 seconds. They are to close first, as what they send at the moment
/// of a close is lost.
pub(crate) const HEAD_WAIT: Duration = Duration::from_mins(3);

/// How often a silent HTTP/2 connection is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Serves until `shutdown`; requests in progress end first.
pub(crate) async fn serve(
    mut listener: TcpListener,
    router: Router,
    head_wait: Duration,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(head_wait);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(KEEPALIVE);
    let connections = TaskTracker::new();
    loop {
        let (stream, peer) = tokio::select! {
            // It waits by itself where the system has no more connections to give.
            accepted = Listener::accept(&mut listener) => accepted,
            () = shutdown.cancelled() => break,
        };
        let (builder, router, shutdown) = (builder.clone(), router.clone(), shutdown.clone());
        connections.spawn(converse(stream, peer, builder, router, shutdown));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
    Ok(())
}

/// One connection.
async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    builder: Builder<TokioExecutor>,
    router: Router,
    shutdown: CancellationToken,
) {
    // Answers are small: they must not wait for more.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let service = router.map_request(move |request: Request<_>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        request
    });
    let service = TowerToHyperService::new(service);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, error = %error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;

    use super::*;

    async fn start(head_wait: Duration) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/", get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string()));
        let shutdown = CancellationToken::new();
        let stopped = shutdown.clone();
        let serving = tokio::spawn(async move {
            serve(listener, router, head_wait, stopped).await.unwrap();
        });
        (addr, shutdown, serving)
    }

    #[tokio::test]
    async fn a_head_that_does_not_end_ends_its_connection() {
        let (addr, shutdown, serving) = start(Duration::from_millis(1)).await;
        for begun in ["GET / HTTP/1.1\r\nHost: x\r\n", "POST / HTTP/1.1\r\nX: "] {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            stream.write_all(begun.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            // It would never come to its end.
            stream.read_to_end(&mut answer).await.unwrap();
            assert!(!answer.starts_with(b"HTTP/1.1 200"), "{begun}");
        }
        shutdown.cancel();
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_stop_ends_connections_that_wait_and_answers_know_their_client() {
        let (addr, shutdown, serving) = start(HEAD_WAIT).await;
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        shutdown.cancel();
        serving.await.unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert!(rest.ends_with(&stream.local_addr().unwrap().to_string()), "{rest}");
    }
}
