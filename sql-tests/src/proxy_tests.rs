//! The proxy between a client and a server of two sockets each.

use super::*;

const NOTICE: Duration = Duration::from_millis(300);

/// A proxy, and the server behind it.
async fn proxy() -> (Proxy, TcpListener) {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::new(&Handle::current()).unwrap();
    proxy.set_target(Some(server.local_addr().unwrap()));
    (proxy, server)
}

/// Both ends of a connection through the proxy.
async fn connected(proxy: &Proxy, server: &TcpListener) -> (TcpStream, TcpStream) {
    let dialler = dial(proxy).await;
    let (accepted, _) = server.accept().await.unwrap();
    (dialler, accepted)
}

/// The proxy begins to listen a moment after it was told where to.
async fn dial(proxy: &Proxy) -> TcpStream {
    loop {
        if let Ok(stream) = TcpStream::connect(proxy.addr()).await {
            return stream;
        }
        tokio::task::yield_now().await;
    }
}

async fn refused(proxy: &Proxy) {
    while TcpStream::connect(proxy.addr()).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

async fn receive(stream: &mut TcpStream, want: &[u8]) {
    let mut got = vec![0; want.len()];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(got, want);
}

async fn silent(stream: &mut TcpStream) {
    let mut byte = [0];
    let read = tokio::time::timeout(NOTICE, stream.read(&mut byte)).await;
    assert!(read.is_err(), "something arrived: {read:?}");
}

#[tokio::test]
async fn both_directions_and_their_ends_pass() {
    let (proxy, server) = proxy().await;
    let (mut dialler, mut accepted) = connected(&proxy, &server).await;
    dialler.write_all(b"ask").await.unwrap();
    receive(&mut accepted, b"ask").await;
    dialler.shutdown().await.unwrap();
    assert_eq!(accepted.read(&mut [0]).await.unwrap(), 0);
    accepted.write_all(b"answer").await.unwrap();
    receive(&mut dialler, b"answer").await;
}

#[tokio::test]
async fn a_delay_keeps_order_and_throughput() {
    const CHUNKS: usize = 200;
    let delay = Duration::from_millis(200);
    let (proxy, server) = proxy().await;
    let (mut dialler, mut accepted) = connected(&proxy, &server).await;
    proxy.set_forward(Flow::Delay(delay));
    let begun = Instant::now();
    let chunk: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    let writes = async {
        for _ in 0..CHUNKS {
            dialler.write_all(&chunk).await.unwrap();
        }
    };
    let reads = async {
        receive(&mut accepted, &chunk).await;
        assert!(begun.elapsed() >= delay);
        for _ in 1..CHUNKS {
            receive(&mut accepted, &chunk).await;
        }
    };
    tokio::join!(writes, reads);
    // One after the other they would take 40 s.
    assert!(begun.elapsed() < delay * 50, "{:?}", begun.elapsed());
    // The other direction is not slow.
    accepted.write_all(b"answer").await.unwrap();
    receive(&mut dialler, b"answer").await;
}

#[tokio::test]
async fn what_is_held_in_one_direction_arrives_once_it_is_healed() {
    let (proxy, server) = proxy().await;
    let (mut dialler, mut accepted) = connected(&proxy, &server).await;
    proxy.set_backward(Flow::Hold);
    dialler.write_all(b"ask").await.unwrap();
    receive(&mut accepted, b"ask").await;
    accepted.write_all(b"answer").await.unwrap();
    silent(&mut dialler).await;
    proxy.heal();
    receive(&mut dialler, b"answer").await;
}

#[tokio::test]
async fn a_cut_resets_and_refuses_until_it_is_healed() {
    let (proxy, server) = proxy().await;
    let (mut dialler, mut accepted) = connected(&proxy, &server).await;
    proxy.set_cut(true);
    for end in [&mut dialler, &mut accepted] {
        let error = end.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
    refused(&proxy).await;
    proxy.heal();
    let (mut dialler, mut accepted) = connected(&proxy, &server).await;
    dialler.write_all(b"ask").await.unwrap();
    receive(&mut accepted, b"ask").await;
}

#[tokio::test]
async fn a_server_that_is_down_refuses() {
    let (proxy, server) = proxy().await;
    let (mut dialler, mut accepted) = connected(&proxy, &server).await;
    proxy.set_target(None);
    refused(&proxy).await;
    // Whoever is connected stays so.
    dialler.write_all(b"ask").await.unwrap();
    receive(&mut accepted, b"ask").await;
}
