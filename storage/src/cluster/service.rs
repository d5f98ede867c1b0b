//! [`NodeService`]: what a node answers its peers, from before it belongs to a cluster until it stops.
//!
//! Made before the store, so that whatever serves the transport has it; the store tells it which groups and shards run.
//! A peer of another cluster, or a node that was replaced, is refused before its message is read.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::RwLock;
use quorate_consensus::{
    Group, GroupId, GroupStatus, LogPosition, Message, PeerIdentity, Receiver, StateMachine as _,
    Timers,
};
use quorate_wal::Wal;
use tokio::sync::watch;

use super::place::{Member, Place};
use super::replica::wait_for_all;
use super::report::{NodeReport, ReplicaReport};
use super::wire::{Hello, PeerReply, PeerRequest, Refusal, decode, encode};
use super::{MetaMachine, forming};
use crate::shard::{ShardMachine, restamp};
use crate::store::ShardId;
use crate::{Error, blocking};

/// Longest piece of a file in one answer.
pub(crate) const PIECE_BYTES_MAX: u64 = 4 << 20;

/// What a node answers its peers.
#[derive(Default)]
pub struct NodeService {
    state: RwLock<State>,
    /// Whether the node has begun to look for its cluster.
    introduced: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    own: Option<Hello>,
    /// Nodes without a cluster that said hello, by name.
    known: BTreeMap<String, forming::Heard>,
    cluster: u128,
    place: Option<Place>,
    groups: BTreeMap<GroupId, Group>,
    meta: Option<Arc<MetaMachine>>,
    shards: BTreeMap<ShardId, Arc<ShardMachine>>,
    /// Why a shard does not run here.
    refused: BTreeMap<ShardId, String>,
    clock: Option<Arc<dyn quorate_wal::Clock>>,
    pace: Pace,
    wal: Option<Wal>,
    /// Why the others do not talk to this node any more.
    expelled: Option<String>,
}

/// How fast this node is, and its timers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace {
    /// Raft's timers, of all its groups.
    pub(crate) timers: Timers,
    /// How long syncs of its log take now, µs.
    pub(crate) sync_micros: u64,
    /// Whether its disk is full, or too slow to lead.
    pub(crate) disk_stalls: bool,
}

impl fmt::Debug for NodeService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.read();
        f.debug_struct("NodeService")
            .field("own", &state.own)
            .field("groups", &state.groups.keys())
            .finish_non_exhaustive()
    }
}

/// What [`NodeService`] needs to know of a node, and who tells it.
impl NodeService {
    /// The node begins to look for its cluster.
    pub(crate) fn introduce(&self, own: Hello, clock: Arc<dyn quorate_wal::Clock>) {
        *self.state.write() = State { own: Some(own), clock: Some(clock), ..State::default() };
        self.introduced.send_replace(true);
    }

    /// Resolves once the data directory is this process's and the node looks for its cluster.
    pub async fn introduced(&self) {
        let mut introduced = self.introduced.subscribe();
        // The sender lives as long as this.
        let _ = introduced.wait_for(|introduced| *introduced).await;
    }

    /// The node belongs to a cluster.
    pub(crate) fn join(&self, cluster: u128, place: &Place) {
        let mut state = self.state.write();
        state.cluster = cluster;
        state.place = Some(place.clone());
        state.known.clear();
        if let Some(own) = &mut state.own {
            own.cluster = Some(cluster);
        }
    }

    /// A group runs here.
    pub(crate) fn add_group(&self, group: Group) {
        self.state.write().groups.insert(group.id(), group);
    }

    /// The groups that run here.
    pub(crate) fn groups(&self) -> Vec<Group> {
        self.state.read().groups.values().cloned().collect()
    }

    /// How fast this node is.
    pub(crate) fn pace(&self) -> Pace {
        self.state.read().pace.clone()
    }

    /// Notes how fast this node is.
    pub(crate) fn set_pace(&self, pace: Pace) {
        self.state.write().pace = pace;
    }

    /// Why the others do not talk to this node any more, if they do not.
    pub(crate) fn expelled(&self) -> Option<String> {
        self.state.read().expelled.clone()
    }

    /// Notes whether the others still talk to this node.
    pub(crate) fn set_expelled(&self, why: Option<String>) {
        self.state.write().expelled = why;
    }

    /// The node's log, from which peers mend theirs; before the groups run.
    pub(crate) fn set_log(&self, wal: Wal) {
        self.state.write().wal = Some(wal);
    }

    /// The metadata group's state machine.
    pub(crate) fn set_meta(&self, meta: Arc<MetaMachine>) {
        self.state.write().meta = Some(meta);
    }

    /// A shard's state machine.
    pub(crate) fn add_shard(&self, machine: Arc<ShardMachine>) {
        self.state.write().shards.insert(machine.shard, machine);
    }

    /// A shard does not run here.
    pub(crate) fn refuse_shard(&self, shard: ShardId, why: String) {
        self.state.write().refused.insert(shard, why);
    }

    /// The node stops: nothing is answered any more.
    pub(crate) fn stop(&self) {
        *self.state.write() = State::default();
    }

    /// Nodes without a cluster that were heard of.
    pub(crate) fn heard(&self) -> BTreeMap<String, forming::Heard> {
        self.state.read().known.clone()
    }

    /// Nodes without a cluster that were heard of, as they introduced themselves.
    pub(crate) fn waiting(&self) -> Vec<Hello> {
        self.state.read().known.values().map(|heard| heard.hello.clone()).collect()
    }

    /// How this node introduces itself.
    pub(crate) fn own_hello(&self) -> Option<Hello> {
        self.state.read().own.clone()
    }

    /// Notes what a node says of itself.
    pub(crate) fn hear(&self, hello: Hello, directly: bool) -> Result<(), String> {
        let mut state = self.state.write();
        let Some(own) = &state.own else { return Err("the node is starting".to_owned()) };
        if hello.name == own.name && hello.disk != own.disk {
            return Err(format!(
                "two nodes are called {}: one at {}, one at {}; give each its own --node-name",
                own.name, own.addr, hello.addr
            ));
        }
        if hello.name == own.name {
            return Ok(());
        }
        if hello.cluster.is_some() {
            state.known.remove(&hello.name);
            return Ok(());
        }
        forming::hear(&mut state.known, hello, directly)
    }

    /// The members that this node knows of.
    pub(crate) fn members(&self) -> Vec<Member> {
        let state = self.state.read();
        if let Some(meta) = &state.meta {
            let nodes = meta.state().nodes;
            if !nodes.is_empty() {
                return nodes.values().filter(|n| !n.removed).map(|n| n.member.clone()).collect();
            }
        }
        state.place.as_ref().map(|place| place.members.clone()).unwrap_or_default()
    }

    /// How this node's replicas of all groups stand.
    pub fn statuses(&self) -> Vec<GroupStatus> {
        self.state.read().groups.values().map(Group::status).collect()
    }

    /// How this node's replicas stand, for its peers.
    pub(crate) fn report(&self) -> NodeReport {
        let state = self.state.read();
        let mut report = NodeReport::default();
        for (id, group) in &state.groups {
            let shard = id.0.checked_sub(1).and_then(|n| u32::try_from(n).ok()).map(ShardId);
            let machine = shard.and_then(|shard| state.shards.get(&shard));
            let problem = machine.and_then(|machine| machine.stopped());
            report.replicas.push(ReplicaReport::of(&group.status(), problem));
        }
        for (shard, why) in &state.refused {
            let group = u64::from(shard.0) + 1;
            if !state.groups.contains_key(&GroupId(group)) {
                report.replicas.push(ReplicaReport::stopped(group, why.clone()));
            }
        }
        let bytes = |machine: &Arc<ShardMachine>| {
            machine.version().iter().map(|s| s.meta.bytes).sum::<u64>()
        };
        report.clock_ns = state.clock.as_ref().map_or(0, |clock| clock.now_nanos());
        report.heartbeat_ms =
            u64::try_from(state.pace.timers.heartbeat.as_millis()).unwrap_or(u64::MAX);
        report.sync_us = state.pace.sync_micros;
        report.disk_stalls = state.pace.disk_stalls;
        report.segment_bytes = state.shards.values().map(bytes).sum();
        report
    }

    fn group(&self, id: u64) -> Result<Group, Refusal> {
        let group = self.state.read().groups.get(&GroupId(id)).cloned();
        group.ok_or_else(|| Refusal::unavailable("the node has no replica of the group now"))
    }

    fn shard(&self, id: u32) -> Result<Arc<ShardMachine>, Refusal> {
        let machine = self.state.read().shards.get(&ShardId(id)).cloned();
        machine.ok_or_else(|| Refusal::unavailable("the node has no replica of the shard now"))
    }

    fn hello(&self, from: Hello) -> Result<PeerReply, Refusal> {
        let (disk, name) = (from.disk, from.name.clone());
        self.hear(from, true).map_err(Refusal::unavailable)?;
        let members = self.members();
        let state = self.state.read();
        let Some(own) = state.own.clone() else {
            return Err(Refusal::unavailable("the node is starting"));
        };
        let place = state.place.as_ref().and_then(|place| {
            let member = members.iter().find(|m| m.disk == disk && m.name == name)?;
            let founder = place.founders.iter().any(|m| m.id == member.id);
            let founders = if founder { place.founders.clone() } else { Vec::new() };
            let place =
                Place { id: member.id, founders, members: members.clone(), shards: place.shards };
            Some((state.cluster, place))
        });
        let known = state.known.values().map(|heard| heard.hello.clone()).collect();
        Ok(PeerReply::Hello { own, known, place })
    }

    async fn propose(
        &self,
        group: u64,
        command: Bytes,
        deadline: Duration,
    ) -> Result<(PeerReply, Bytes), Refusal> {
        let clock = self.state.read().clock.clone();
        let command = match (group, clock) {
            (0, _) | (_, None) => command,
            // Times in a shard's log are the leader's.
            (_, Some(clock)) => restamp(&command, clock.now_nanos())
                .map_err(|e| Refusal::unavailable(e.to_string()))?,
        };
        let group = self.group(group)?;
        let (position, reply) =
            group.propose(command, deadline).await.map_err(|e| Refusal::from(&e))?;
        Ok((PeerReply::At(position), reply))
    }

    /// An entry of the log, whether the group runs or not.
    async fn entry(
        &self,
        group: u64,
        position: LogPosition,
    ) -> Result<(PeerReply, Bytes), Refusal> {
        let wal = {
            let state = self.state.read();
            let known = |place: &Place| group <= u64::from(place.shards);
            state.wal.clone().filter(|_| state.place.as_ref().is_some_and(known))
        };
        let wal = wal.ok_or_else(|| Refusal::unavailable("the node is starting"))?;
        let reading = move || {
            let log = wal.group(GroupId(group));
            if log.is_quarantined() {
                return Err(Error::Corrupt("the log is not whole".to_owned()));
            }
            let index = position.index;
            if log.position_at(index) == Some(position) {
                let entries = log.read(index..index + 1, 0)?;
                let found = entries.into_iter().find(|entry| entry.position == position);
                return Ok(found.map(|entry| (PeerReply::Entry, Bytes::from_owner(entry.payload))));
            }
            let purged = log.state().purged.is_some_and(|purged| purged.index >= index);
            Ok(Some((PeerReply::NoEntry { purged }, Bytes::new())))
        };
        let read = blocking::run("reading the log", reading).await;
        read.map_err(|e| Refusal::unavailable(crate::with_causes(&e)))?
            .ok_or_else(|| Refusal::unavailable("the entry goes just now"))
    }

    /// The newest manifest of a group.
    async fn manifest(&self, group: u64) -> Result<(PeerReply, Bytes), Refusal> {
        let durable = match group.checked_sub(1).map(u32::try_from) {
            None => {
                let meta = self.state.read().meta.clone();
                let meta = meta.ok_or_else(|| Refusal::unavailable("the node is starting"))?;
                meta.durable().await
            }
            Some(Ok(shard)) => self.shard(shard)?.durable().await,
            Some(Err(_)) => return Err(Refusal::unavailable("there is no such group")),
        };
        let snapshot = durable.map_err(|e| Refusal::unavailable(e.to_string()))?;
        let position =
            snapshot.position.ok_or_else(|| Refusal::unavailable("there is no manifest yet"))?;
        let membership = snapshot.membership.to_vec();
        Ok((PeerReply::Manifest { position, membership }, snapshot.manifest))
    }

    async fn answer(
        &self,
        request: PeerRequest,
        payload: Bytes,
    ) -> Result<(PeerReply, Bytes), Refusal> {
        let reply = match request {
            PeerRequest::Hello(hello) => self.hello(hello)?,
            PeerRequest::Propose { group, deadline } => {
                return self.propose(group, payload, Duration::from_millis(deadline)).await;
            }
            PeerRequest::ReadIndex { group, deadline } => {
                let reading = self.group(group)?;
                let deadline = Duration::from_millis(deadline);
                let at = reading.read_index(deadline).await.map_err(|e| Refusal::from(&e))?;
                PeerReply::At(at)
            }
            PeerRequest::WaitForAll { group, index, deadline } => {
                let deadline = Duration::from_millis(deadline);
                let group = self.group(group)?;
                wait_for_all(&group, index, deadline).await.map_err(|e| Refusal::from(&e))?;
                PeerReply::Done
            }
            PeerRequest::Made { shard, job, content } => {
                PeerReply::Made(self.shard(shard)?.made_same(job, &content))
            }
            PeerRequest::Piece { shard, hash, offset, len } => {
                let machine = self.shard(shard)?;
                let len = len.min(PIECE_BYTES_MAX);
                let reading = move || machine.read_piece(&hash, offset, len);
                let read = blocking::run("reading a file", reading).await;
                let (file_len, piece) =
                    read.map_err(|e| Refusal::unavailable(crate::with_causes(&e)))?;
                return Ok((PeerReply::Piece { file_len }, piece));
            }
            PeerRequest::Report => PeerReply::Report(self.report()),
            PeerRequest::Ping => {
                PeerReply::Pong { sync_micros: self.state.read().pace.sync_micros }
            }
            PeerRequest::Entry { group, position } => return self.entry(group, position).await,
            PeerRequest::Manifest { group } => return self.manifest(group).await,
        };
        Ok((reply, Bytes::new()))
    }
}

#[async_trait::async_trait]
impl Receiver for NodeService {
    fn identity(&self) -> PeerIdentity {
        let state = self.state.read();
        let node = state.place.as_ref().map_or(0, |place| place.id);
        PeerIdentity { cluster: state.cluster, node }
    }

    fn admit(&self, from: PeerIdentity, to: u64) -> Result<(), String> {
        let state = self.state.read();
        let own = state.place.as_ref().map_or(0, |place| place.id);
        if from.cluster != 0 && state.cluster != 0 && from.cluster != state.cluster {
            return Err(format!(
                "this node belongs to cluster {:032x}, the peer to {:032x}",
                state.cluster, from.cluster
            ));
        }
        if to != 0 && own != 0 && to != own {
            return Err(format!("this is node {own}, not node {to}: one has replaced the other"));
        }
        if let (Some(meta), true) = (&state.meta, from.node != 0) {
            let nodes = meta.state().nodes;
            // As long as a group counts on its vote, the change that takes it may need it.
            let counts = |group: &Group| {
                group.status().voters.contains_key(&quorate_consensus::ReplicaId(from.node))
            };
            if nodes.get(&from.node).is_some_and(|node| node.removed)
                && !state.groups.values().any(counts)
            {
                return Err(format!(
                    "node {} was removed from the cluster; start it with an empty data directory",
                    from.node
                ));
            }
        }
        Ok(())
    }

    async fn message(&self, message: Message) -> io::Result<Bytes> {
        let group = self.state.read().groups.get(&message.group).cloned();
        let group = group.ok_or_else(|| io::Error::other("no replica of the group runs here"))?;
        group.handle(message).await.map_err(io::Error::other)
    }

    async fn request(&self, from: PeerIdentity, request: Bytes) -> io::Result<Bytes> {
        let invalid = |e: String| io::Error::new(io::ErrorKind::InvalidData, e);
        let (request, payload): (PeerRequest, Bytes) = decode(&request).map_err(invalid)?;
        if from.cluster == 0 && !matches!(request, PeerRequest::Hello(_)) {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "only a member of the cluster may ask that",
            ));
        }
        let (reply, payload) = self
            .answer(request, payload)
            .await
            .unwrap_or_else(|refusal| (PeerReply::Refused(refusal), Bytes::new()));
        encode(&reply, &payload).map_err(|e| invalid(e.to_string()))
    }
}
