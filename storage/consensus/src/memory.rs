//! Replicas and nodes in one process, for tests.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::RwLock;
use quorate_wal::GroupId;

use crate::{Group, Lane, Message, Node, PeerIdentity, Receiver, ReplicaId, Transport};

/// Replicas in one process, or whole nodes, with links that tests can cut. Clones share them.
///
/// A message over a cut link fails at once. A link that is cut one way only loses the answers to messages that go the
/// other way. A node's links are those of the replica with the node's id.
#[derive(Clone, Debug, Default)]
pub struct MemoryTransport {
    links: Arc<RwLock<Links>>,
    own: Option<Arc<dyn Receiver>>,
}

#[derive(Debug, Default)]
struct Links {
    replicas: HashMap<(GroupId, ReplicaId), Group>,
    nodes: HashMap<String, Arc<dyn Receiver>>,
    cut: HashSet<(ReplicaId, ReplicaId)>,
    /// Who gets no files.
    cut_bulk: HashSet<u64>,
    /// How long every message and every answer takes.
    delay: Duration,
}

impl MemoryTransport {
    /// The same links, as this node uses them.
    #[must_use]
    pub fn of(&self, own: Arc<dyn Receiver>) -> Self {
        Self { links: Arc::clone(&self.links), own: Some(own) }
    }

    fn identity(&self) -> PeerIdentity {
        self.own.as_ref().map_or_else(PeerIdentity::default, |own| own.identity())
    }

    /// Makes a node reachable at an address, until it is unregistered.
    pub fn register_node(&self, addr: &str, receiver: Arc<dyn Receiver>) {
        self.links.write().nodes.insert(addr.to_owned(), receiver);
    }

    /// Makes a node unreachable.
    pub fn unregister_node(&self, addr: &str) {
        self.links.write().nodes.remove(addr);
    }

    /// Makes a replica reachable, until it is unregistered.
    pub fn register(&self, replica: ReplicaId, group: Group) {
        self.links.write().replicas.insert((group.id(), replica), group);
    }

    /// Makes a replica unreachable.
    pub fn unregister(&self, group: GroupId, replica: ReplicaId) {
        self.links.write().replicas.remove(&(group, replica));
    }

    /// Cuts (or mends) messages from one replica to another.
    pub fn cut(&self, from: ReplicaId, to: ReplicaId, cut: bool) {
        let mut links = self.links.write();
        if cut {
            links.cut.insert((from, to));
        } else {
            links.cut.remove(&(from, to));
        }
    }

    /// Has a node's requests for files fail (or reach the others again), whatever becomes of the rest.
    pub fn cut_bulk(&self, node: u64, cut: bool) {
        let mut links = self.links.write();
        if cut {
            links.cut_bulk.insert(node);
        } else {
            links.cut_bulk.remove(&node);
        }
    }

    /// Makes every message and every answer take so long, over all links.
    pub fn set_delay(&self, delay: Duration) {
        self.links.write().delay = delay;
    }

    /// As a trait object.
    pub fn shared(self) -> Arc<dyn Transport> {
        Arc::new(self)
    }

    fn node(&self, to: &Node) -> Option<Arc<dyn Receiver>> {
        self.links.read().nodes.get(&to.addr).cloned()
    }

    fn is_cut(&self, from: ReplicaId, to: ReplicaId) -> bool {
        self.links.read().cut.contains(&(from, to))
    }

    fn replica(&self, message: &Message) -> io::Result<Group> {
        let links = self.links.read();
        let replica = links.replicas.get(&(message.group, message.to));
        replica.cloned().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Carries a request there and its answer back.
    async fn carry(
        &self,
        (from, to): (ReplicaId, ReplicaId),
        deadline: Duration,
        answering: impl Future<Output = io::Result<Bytes>> + Send,
    ) -> io::Result<Bytes> {
        if self.is_cut(from, to) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let delay = self.links.read().delay;
        let there_and_back = async {
            if delay.is_zero() {
                return answering.await;
            }
            tokio::time::sleep(delay).await;
            let answer = answering.await;
            tokio::time::sleep(delay).await;
            answer
        };
        let answer = tokio::time::timeout(deadline, there_and_back)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
        if self.is_cut(to, from) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        answer
    }
}

fn refused(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, what)
}

#[async_trait::async_trait]
impl Transport for MemoryTransport {
    async fn send(&self, to: &Node, message: Message, deadline: Duration) -> io::Result<Bytes> {
        let link = (message.from, message.to);
        if let Some(receiver) = self.node(to) {
            receiver.admit(self.identity(), to.node).map_err(refused)?;
            return self.carry(link, deadline, receiver.message(message)).await;
        }
        let group = self.replica(&message)?;
        let answering = async { group.handle(message).await.map_err(io::Error::other) };
        self.carry(link, deadline, answering).await
    }

    async fn call(
        &self,
        to: &Node,
        request: Bytes,
        lane: Lane,
        deadline: Duration,
    ) -> io::Result<Bytes> {
        let receiver = self.node(to).ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        receiver.admit(self.identity(), to.node).map_err(refused)?;
        let own = self.identity().node;
        if lane == Lane::Bulk && self.links.read().cut_bulk.contains(&own) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let link = (ReplicaId(own), ReplicaId(to.node));
        self.carry(link, deadline, receiver.request(self.identity(), request)).await
    }
}
