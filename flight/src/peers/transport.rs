//! [`PeerTransport`]: the side that sends.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use parking_lot::Mutex;
use quorate_storage::cluster::{Lane, Message, Node, PeerIdentity, Receiver, Transport};
use tokio::time::{Instant, timeout};
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::connection::{self, Connection};
use super::envelope::{AnswerItem, CallRequest, Header, ProstCodec, fitting};
use super::stream::PeerStream;
use super::{BULK, CALL, CONNECT_MAX};

/// Settings of [`PeerTransport`].
#[derive(Clone, Debug, Default)]
pub struct PeerTransportOptions {
    /// Addresses to dial instead of those that nodes announce, by the nodes' names: for peers behind a proxy.
    pub overrides: BTreeMap<String, String>,
}

/// Reaches peers over gRPC. It needs a tokio runtime around its calls.
#[derive(Debug)]
pub struct PeerTransport {
    options: PeerTransportOptions,
    identity: Mutex<Identity>,
    /// By the address that is dialled.
    peers: Mutex<HashMap<String, Arc<Peer>>>,
}

/// Where the transport learns as whom it speaks.
#[derive(Debug)]
enum Identity {
    Told(PeerIdentity),
    Of(Arc<dyn Receiver>),
}

/// What leads to one address.
#[derive(Debug)]
struct Peer {
    control: Arc<Connection>,
    bulk: Arc<Connection>,
    /// By [`Node::node`]: when a node was replaced, the refusal of what is still sent to the old one must not end the
    /// stream to the new one.
    streams: Mutex<BTreeMap<u64, Arc<PeerStream>>>,
}

impl PeerTransport {
    /// A transport of a node without a cluster, until [told](Self::set_identity) otherwise.
    pub fn new(options: PeerTransportOptions) -> Self {
        Self::with(Identity::Told(PeerIdentity::default()), options)
    }

    /// A transport that speaks as whoever the node [is](Receiver::identity) at the time.
    pub fn of(own: Arc<dyn Receiver>, options: PeerTransportOptions) -> Self {
        Self::with(Identity::Of(own), options)
    }

    /// As whom the node speaks from now on. Streams of another identity end with their next message.
    pub fn set_identity(&self, identity: PeerIdentity) {
        *self.identity.lock() = Identity::Told(identity);
    }

    fn with(identity: Identity, options: PeerTransportOptions) -> Self {
        Self { options, identity: Mutex::new(identity), peers: Mutex::default() }
    }

    fn identity(&self) -> PeerIdentity {
        match &*self.identity.lock() {
            Identity::Told(identity) => *identity,
            Identity::Of(own) => own.identity(),
        }
    }

    fn peer(&self, to: &Node) -> Arc<Peer> {
        let addr = self.options.overrides.get(&to.name).unwrap_or(&to.addr);
        let mut peers = self.peers.lock();
        if let Some(peer) = peers.get(addr) {
            return Arc::clone(peer);
        }
        let peer = Arc::new(Peer {
            control: Arc::new(Connection::new(addr)),
            bulk: Arc::new(Connection::new(addr)),
            streams: Mutex::default(),
        });
        peers.insert(addr.clone(), Arc::clone(&peer));
        peer
    }

    pub(super) fn stream(&self, to: &Node) -> Arc<PeerStream> {
        let peer = self.peer(to);
        let mut streams = peer.streams.lock();
        let new = || Arc::new(PeerStream::new(Arc::clone(&peer.control), to.node));
        Arc::clone(streams.entry(to.node).or_insert_with(new))
    }
}

impl Drop for PeerTransport {
    /// The streams' tasks hold what they work on, so nothing else would end them.
    fn drop(&mut self) {
        for peer in self.peers.get_mut().values() {
            for stream in peer.streams.lock().values() {
                stream.close("the transport was closed");
            }
        }
    }
}

#[async_trait::async_trait]
impl Transport for PeerTransport {
    async fn send(&self, to: &Node, mut message: Message, deadline: Duration) -> io::Result<Bytes> {
        message.payload = fitting(message.payload)?;
        self.stream(to).send(self.identity(), message, deadline).await
    }

    async fn call(
        &self,
        to: &Node,
        request: Bytes,
        lane: Lane,
        deadline: Duration,
    ) -> io::Result<Bytes> {
        let payload = fitting(request)?;
        let begun = Instant::now();
        let peer = self.peer(to);
        let (connection, path) = match lane {
            Lane::Control => (&peer.control, CALL),
            Lane::Bulk => (&peer.bulk, BULK),
        };
        let addr = connection.addr();
        let patience = deadline.min(CONNECT_MAX);
        let Ok(opened) = timeout(patience, connection.open()).await else {
            let why = format!("no connection in {patience:?}");
            return Err(connection::not_connected(addr, &why));
        };
        let (channel, attempt) = opened?;
        let request = CallRequest { header: Some(Header::new(self.identity(), to.node)), payload };
        let left = deadline.saturating_sub(begun.elapsed());
        match timeout(left, unary(channel, PathAndQuery::from_static(path), request)).await {
            Ok(Ok(answer)) => answer.into_outcome(),
            Ok(Err(status)) => {
                if connection::is_broken(&status) {
                    connection.forget(attempt);
                }
                Err(connection::error_of(addr, &status))
            }
            Err(_) => {
                let text = format!("{addr}: no answer in {deadline:?}");
                Err(io::Error::new(io::ErrorKind::TimedOut, text))
            }
        }
    }
}

async fn unary(
    channel: Channel,
    path: PathAndQuery,
    request: CallRequest,
) -> Result<AnswerItem, Status> {
    let mut client = connection::client(channel).await?;
    let codec = ProstCodec::<CallRequest, AnswerItem>::default();
    let answer = client.unary(Request::new(request), path, codec).await?;
    Ok(answer.into_inner())
}
