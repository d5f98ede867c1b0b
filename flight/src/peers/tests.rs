//! Both ends over loopback, with a receiver that answers when the test lets it.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{join, join_all, join3};
use http::uri::PathAndQuery;
use parking_lot::Mutex;
use quorate_storage::GroupId;
use quorate_storage::cluster::{
    Lane, Message, MessageKind, Node, PeerIdentity, Receiver, ReplicaId, Transport,
};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request};

use super::connection::{self, Connection};
use super::envelope::{AnswerItem, CallRequest, Header, ProstCodec};
use super::{CALL, PeerServer, PeerTransport, PeerTransportOptions};

const CLUSTER: u128 = 9;
const OWN: PeerIdentity = PeerIdentity { cluster: CLUSTER, node: 1 };
const PEER: u64 = 2;

/// A deadline that no test waits for.
const LONG: Duration = Duration::from_mins(10);

/// The peer: notes what begins, and holds what begins with "hold" until it is released.
#[derive(Debug, Default)]
struct Script {
    begun: watch::Sender<Vec<Bytes>>,
    released: watch::Sender<bool>,
    meant: Mutex<Vec<u64>>,
}

impl Script {
    /// Waits until a number of messages and requests have begun.
    async fn begun(&self, count: usize) {
        let mut begun = self.begun.subscribe();
        assert!(soon(begun.wait_for(|begun| begun.len() >= count)).await.is_ok());
    }

    fn release(&self) {
        self.released.send_replace(true);
    }

    async fn answer(&self, payload: Bytes) -> io::Result<Bytes> {
        self.begun.send_modify(|begun| begun.push(payload.clone()));
        if payload.starts_with(b"hold") {
            let mut released = self.released.subscribe();
            assert!(released.wait_for(|released| *released).await.is_ok());
        }
        if payload.starts_with(b"full") {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the disk is full"));
        }
        Ok(payload)
    }
}

#[async_trait::async_trait]
impl Receiver for Script {
    fn identity(&self) -> PeerIdentity {
        PeerIdentity { cluster: CLUSTER, node: PEER }
    }

    fn admit(&self, from: PeerIdentity, to: u64) -> Result<(), String> {
        self.meant.lock().push(to);
        if from.cluster == CLUSTER { Ok(()) } else { Err("another cluster".to_owned()) }
    }

    async fn message(&self, message: Message) -> io::Result<Bytes> {
        assert_eq!((message.group, message.from), (GroupId(5), ReplicaId(7)));
        self.answer(message.payload).await
    }

    async fn request(&self, from: PeerIdentity, request: Bytes) -> io::Result<Bytes> {
        assert_eq!(from, OWN);
        self.answer(request).await
    }
}

/// A peer that runs.
struct Served {
    script: Arc<Script>,
    node: Node,
    cancel: CancellationToken,
    task: JoinHandle<io::Result<()>>,
}

impl Served {
    async fn start() -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn start_on(listener: TcpListener) -> Self {
        let addr = listener.local_addr().unwrap().to_string();
        let script = Arc::new(Script::default());
        let cancel = CancellationToken::new();
        let server = PeerServer::new(Arc::clone(&script) as Arc<dyn Receiver>);
        let task = tokio::spawn(server.serve(listener, cancel.clone()));
        Self { script, node: node(&addr), cancel, task }
    }

    async fn stop(self) {
        self.cancel.cancel();
        soon(self.task).await.unwrap().unwrap();
    }
}

fn node(addr: &str) -> Node {
    Node { node: PEER, name: "b".to_owned(), addr: addr.to_owned() }
}

/// A node that does not listen, and the socket that keeps others from taking its address.
fn silent() -> (Node, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let addr = socket.local_addr().unwrap().to_string();
    (node(&addr), socket)
}

fn transport() -> Arc<PeerTransport> {
    let transport = PeerTransport::new(PeerTransportOptions::default());
    transport.set_identity(OWN);
    Arc::new(transport)
}

fn message(kind: MessageKind, payload: impl Into<Bytes>) -> Message {
    let (from, to) = (ReplicaId(7), ReplicaId(8));
    Message { group: GroupId(5), from, to, kind, payload: payload.into() }
}

async fn send(transport: &PeerTransport, to: &Node, payload: &'static str) -> io::Result<Bytes> {
    soon(transport.send(to, message(MessageKind::Append, payload), LONG)).await
}

async fn call(transport: &PeerTransport, to: &Node, payload: &'static str) -> io::Result<Bytes> {
    soon(transport.call(to, Bytes::from(payload), Lane::Control, LONG)).await
}

/// Sends in a task of its own.
fn sending(
    transport: &Arc<PeerTransport>,
    to: &Node,
    payload: &'static str,
) -> JoinHandle<io::Result<Bytes>> {
    let (transport, to) = (Arc::clone(transport), to.clone());
    tokio::spawn(
        async move { transport.send(&to, message(MessageKind::Append, payload), LONG).await },
    )
}

/// What takes longer is stuck; [`LONG`] is longer.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_mins(1), what).await.expect("it should not take so long")
}

#[track_caller]
fn check_kind(outcome: io::Result<Bytes>, want: io::ErrorKind) -> String {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), want, "{error}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_begin_in_the_order_in_which_send_was_polled() {
    let served = Served::start().await;
    let transport = transport();
    let payloads: Vec<Bytes> = (0..500).map(|n| Bytes::from(format!("hold {n}"))).collect();
    let send = |payload: &Bytes| {
        transport.send(&served.node, message(MessageKind::Append, payload.clone()), LONG)
    };
    let mut sends: Vec<_> = payloads.iter().map(send).collect();
    for send in &mut sends {
        assert!(futures::poll!(send.as_mut()).is_pending());
    }
    served.script.begun(payloads.len()).await;
    assert_eq!(*served.script.begun.borrow(), payloads);
    assert!(served.script.meant.lock().iter().all(|to| *to == PEER));
    served.script.release();
    let answers: io::Result<Vec<Bytes>> = soon(join_all(sends)).await.into_iter().collect();
    assert_eq!(answers.unwrap(), payloads);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_find_their_callers_in_any_order() {
    let served = Served::start().await;
    let transport = transport();
    let held = sending(&transport, &served.node, "hold 1");
    served.script.begun(1).await;
    let quick = send(&transport, &served.node, "quick").await;
    assert_eq!(quick.unwrap(), "quick");
    assert!(!held.is_finished());
    served.script.release();
    assert_eq!(soon(held).await.unwrap().unwrap(), "hold 1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_the_receiver_reach_the_caller() {
    let served = Served::start().await;
    let transport = transport();
    let told = check_kind(send(&transport, &served.node, "full").await, io::ErrorKind::StorageFull);
    assert_eq!(told, "the disk is full");
    check_kind(call(&transport, &served.node, "full").await, io::ErrorKind::StorageFull);
    assert_eq!(call(&transport, &served.node, "ask").await.unwrap(), "ask");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadlines_end_calls_and_leave_nothing_behind() {
    let served = Served::start().await;
    let transport = transport();
    // The connection is not what takes time.
    assert_eq!(send(&transport, &served.node, "first").await.unwrap(), "first");
    let short = Duration::from_millis(50);
    let held = message(MessageKind::Vote, "hold");
    let late = soon(transport.send(&served.node, held, short)).await;
    check_kind(late, io::ErrorKind::TimedOut);
    assert_eq!(transport.stream(&served.node).waiting(), 0);
    let held = Bytes::from("hold");
    let late = soon(transport.call(&served.node, held, Lane::Control, short)).await;
    check_kind(late, io::ErrorKind::TimedOut);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_callers_leave_nothing_behind() {
    let served = Served::start().await;
    let transport = transport();
    let held = sending(&transport, &served.node, "hold");
    served.script.begun(1).await;
    let stream = transport.stream(&served.node);
    assert_eq!(stream.waiting(), 1);
    held.abort();
    assert!(soon(held).await.unwrap_err().is_cancelled());
    assert_eq!(stream.waiting(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_peer_is_told_at_once_and_found_when_it_is_there() {
    let (to, socket) = silent();
    let transport = transport();
    for _ in 0..3 {
        check_kind(send(&transport, &to, "x").await, io::ErrorKind::NotConnected);
        check_kind(call(&transport, &to, "x").await, io::ErrorKind::NotConnected);
    }
    assert_eq!(transport.stream(&to).waiting(), 0);
    let _served = Served::start_on(socket.listen(16).unwrap());
    let mut answer = send(&transport, &to, "x").await;
    for _ in 0..1000 {
        match answer {
            Ok(_) => break,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotConnected, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        answer = send(&transport, &to, "x").await;
    }
    assert_eq!(answer.unwrap(), "x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_node_is_told_why_and_served_once_its_identity_is_right() {
    let served = Served::start().await;
    let transport = transport();
    transport.set_identity(PeerIdentity { cluster: CLUSTER + 1, node: 1 });
    let told = send(&transport, &served.node, "x").await;
    assert!(check_kind(told, io::ErrorKind::PermissionDenied).contains("another cluster"));
    let told = call(&transport, &served.node, "x").await;
    assert!(check_kind(told, io::ErrorKind::PermissionDenied).contains("another cluster"));
    assert!(served.script.begun.borrow().is_empty());
    // No pause follows: the refusal was of somebody else.
    transport.set_identity(OWN);
    assert_eq!(send(&transport, &served.node, "x").await.unwrap(), "x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transport_speaks_as_its_node_does() {
    let served = Served::start().await;
    let own = Arc::clone(&served.script) as Arc<dyn Receiver>;
    let transport = PeerTransport::of(own, PeerTransportOptions::default());
    assert_eq!(send(&transport, &served.node, "x").await.unwrap(), "x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_fail_at_once_when_the_peer_stops_and_succeed_when_it_is_back() {
    // A second handle keeps the port while the peer is away.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let again = listener.try_clone().unwrap();
    let served = Served::start_on(TcpListener::from_std(listener).unwrap());
    let (to, script) = (served.node.clone(), Arc::clone(&served.script));
    let transport = transport();
    assert_eq!(send(&transport, &to, "first").await.unwrap(), "first");
    let stop = async {
        script.begun(3).await;
        served.stop().await;
    };
    let (sent, called) = (send(&transport, &to, "hold"), call(&transport, &to, "hold"));
    let (sent, called, ()) = join3(sent, called, stop).await;
    check_kind(sent, io::ErrorKind::ConnectionReset);
    check_kind(called, io::ErrorKind::ConnectionReset);
    let served = Served::start_on(TcpListener::from_std(again).unwrap());
    assert_eq!(send(&transport, &served.node, "again").await.unwrap(), "again");
    assert_eq!(call(&transport, &served.node, "ask").await.unwrap(), "ask");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_connection_fails_what_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = node(&listener.local_addr().unwrap().to_string());
    let transport = transport();
    let peer = async {
        let (mut socket, _from) = soon(listener.accept()).await.unwrap();
        let mut read = Vec::new();
        while !read.windows(7).any(|window| window == b"payload") {
            assert!(soon(socket.read_buf(&mut read)).await.unwrap() > 0);
        }
    };
    let (sent, ()) = join(send(&transport, &to, "payload"), peer).await;
    check_kind(sent, io::ErrorKind::ConnectionReset);
    assert_eq!(transport.stream(&to).waiting(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulk_request_does_not_hold_up_a_heartbeat() {
    let served = Served::start().await;
    let transport = transport();
    let mut piece = vec![7; 20 << 20];
    piece[..4].copy_from_slice(b"hold");
    let piece = Bytes::from(piece);
    let bulk = transport.call(&served.node, piece.clone(), Lane::Bulk, LONG);
    let heartbeat = async {
        served.script.begun(1).await;
        let beat = message(MessageKind::Heartbeat, "beat");
        let answer = soon(transport.send(&served.node, beat, LONG)).await;
        served.script.release();
        answer
    };
    let (bulk, heartbeat) = soon(join(bulk, heartbeat)).await;
    assert_eq!(heartbeat.unwrap(), "beat");
    assert_eq!(bulk.unwrap(), piece);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_larger_than_the_mailbox_passes_alone() {
    let served = Served::start().await;
    let transport = transport();
    let entry = Bytes::from(vec![1; 20 << 20]);
    let append = || transport.send(&served.node, message(MessageKind::Append, entry.clone()), LONG);
    let answers = soon(join_all([append(), append(), append()])).await;
    for answer in answers {
        assert_eq!(answer.unwrap(), entry);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_override_replaces_the_announced_address() {
    let served = Served::start().await;
    let overrides = BTreeMap::from([("b".to_owned(), served.node.addr.clone())]);
    let transport = PeerTransport::new(PeerTransportOptions { overrides });
    transport.set_identity(OWN);
    let (announced, _socket) = silent();
    assert_eq!(send(&transport, &announced, "x").await.unwrap(), "x");
    assert_eq!(call(&transport, &announced, "x").await.unwrap(), "x");
    let unnamed = Node { name: String::new(), ..announced };
    check_kind(send(&transport, &unnamed, "x").await, io::ErrorKind::NotConnected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_version_of_the_protocol_is_refused_by_number() {
    let served = Served::start().await;
    let connection = Arc::new(Connection::new(&served.node.addr));
    let (channel, _attempt) = soon(connection.open()).await.unwrap();
    let mut client = soon(connection::client(channel)).await.unwrap();
    let header = Header { version: 77, ..Header::new(OWN, PEER) };
    let request = CallRequest { header: Some(header), payload: Bytes::new() };
    let codec = ProstCodec::<CallRequest, AnswerItem>::default();
    let path = PathAndQuery::from_static(CALL);
    let status = soon(client.unary(Request::new(request), path, codec)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("version 77") && status.message().contains("version 1"));
}
