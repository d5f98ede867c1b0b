//! Replicas in one process, for tests.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::RwLock;
use quorate_wal::GroupId;

use crate::{Group, Message, Node, ReplicaId, Transport};

/// Replicas in one process, with links that tests can cut. Clones share the replicas.
///
/// A message over a cut link fails at once. A link that is cut one way only loses the answers to messages that go the
/// other way.
#[derive(Clone, Debug, Default)]
pub struct MemoryTransport {
    links: Arc<RwLock<Links>>,
}

#[derive(Debug, Default)]
struct Links {
    replicas: HashMap<(GroupId, ReplicaId), Group>,
    cut: HashSet<(ReplicaId, ReplicaId)>,
}

impl MemoryTransport {
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

    /// As a trait object.
    pub fn shared(self) -> Arc<dyn Transport> {
        Arc::new(self)
    }

    fn connect(&self, message: &Message) -> io::Result<Group> {
        let links = self.links.read();
        if links.cut.contains(&(message.from, message.to)) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let replica = links.replicas.get(&(message.group, message.to));
        replica.cloned().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

#[async_trait::async_trait]
impl Transport for MemoryTransport {
    async fn send(&self, _to: &Node, message: Message, deadline: Duration) -> io::Result<Bytes> {
        let group = self.connect(&message)?;
        let (from, to) = (message.from, message.to);
        let answer = tokio::time::timeout(deadline, group.handle(message))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
            .map_err(io::Error::other)?;
        if self.links.read().cut.contains(&(to, from)) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(answer)
    }
}
