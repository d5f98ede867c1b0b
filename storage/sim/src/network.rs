//! The simulated network: one queue of packets for all nodes, ordered by when they arrive.
//!
//! A packet is a message of Raft's, a request, or the answer to either. It is drawn for it, from the seed, how long it
//! takes (so that packets overtake each other), whether it is lost, and, for messages of Raft's, whether it comes twice:
//! requests go over a connection that tells repeats apart. Each directed link can be cut; what is sent over it is lost, as is
//! what was on its way. Whoever waits for it hears, after [`GIVEN_UP_US`], that the connection is gone: no connection loses
//! something and goes on.
//!
//! A node that is down refuses connections or is silent, as it is told; requests that a killed process leaves behind are
//! reset.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use quorate_consensus::{Lane, Message, MessageKind, Node, PeerIdentity, Receiver, Transport};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use xxhash_rust::xxh3::xxh3_64;

use crate::random::Random;
use crate::trace::Trace;

/// How long a connection tries to get something through, in microseconds.
const GIVEN_UP_US: u64 = 8_000_000;

/// How a directed link behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) cut: bool,
    /// How long a packet takes, in microseconds: from, to.
    pub(crate) delay: (u64, u64),
    /// Packets lost, of a thousand.
    pub(crate) lost: u64,
    /// Messages of Raft's that come twice, of a thousand.
    pub(crate) doubled: u64,
    /// Packets that take up to ten seconds, of a thousand.
    pub(crate) stray: u64,
}

impl Link {
    pub(crate) const GOOD: Self =
        Self { cut: false, delay: (200, 1_500), lost: 0, doubled: 0, stray: 0 };
}

/// What a node is to whoever sends to it.
#[derive(Clone, Debug)]
pub(crate) enum Presence {
    /// It runs.
    Up { receiver: Arc<dyn Receiver>, runtime: Handle },
    /// Its machine refuses connections.
    Refusing,
    /// Nothing is there.
    Silent,
}

#[derive(Clone, Debug)]
enum Content {
    Message { from: PeerIdentity, to: u64, message: Message },
    Request { from: PeerIdentity, to: u64, request: Bytes },
    Answer(Result<Bytes, (io::ErrorKind, String)>),
}

#[derive(Clone, Debug)]
struct Packet {
    /// Which exchange it belongs to.
    id: u64,
    from: usize,
    to: usize,
    /// Not the first copy.
    repeated: bool,
    /// What a node's own connection tells it: no link is in its way.
    is_local: bool,
    content: Content,
}

/// Somebody who waits for an answer.
#[derive(Debug)]
struct Waiting {
    from: usize,
    to: usize,
    answer: oneshot::Sender<Result<Bytes, (io::ErrorKind, String)>>,
}

#[derive(Debug)]
struct State {
    now_us: u64,
    random: Random,
    trace: Trace,
    sent: u64,
    queue: BTreeMap<(u64, u64), Packet>,
    links: BTreeMap<(usize, usize), Link>,
    nodes: Vec<Presence>,
    waiting: BTreeMap<u64, Waiting>,
}

/// The network. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    state: Arc<Mutex<State>>,
}

/// Address of a node.
pub(crate) fn addr(node: usize) -> String {
    format!("sim:{node}")
}

fn place(addr: &str) -> Option<usize> {
    addr.strip_prefix("sim:")?.parse().ok()
}

impl Network {
    pub(crate) fn new(nodes: usize, random: Random, trace: Trace) -> Self {
        let state = State {
            now_us: 0,
            random,
            trace,
            sent: 0,
            queue: BTreeMap::new(),
            links: BTreeMap::new(),
            nodes: vec![Presence::Silent; nodes],
            waiting: BTreeMap::new(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// How the others see a node from here on.
    pub(crate) fn set_presence(&self, node: usize, presence: Presence) {
        self.state.lock().nodes[node] = presence;
    }

    /// Changes one directed link.
    pub(crate) fn change(&self, from: usize, to: usize, change: impl FnOnce(&mut Link)) {
        change(self.state.lock().links.entry((from, to)).or_insert(Link::GOOD));
    }

    /// Mends all links.
    pub(crate) fn mend(&self) {
        self.state.lock().links.clear();
    }

    /// What `node` sends through.
    pub(crate) fn transport(&self, node: usize, own: Arc<dyn Receiver>) -> Arc<dyn Transport> {
        Arc::new(SimTransport { network: self.clone(), node, own })
    }

    /// The process of a node has died: those who wait for it, or whom it waited for, are told or forgotten.
    pub(crate) fn reset(&self, node: usize, tell: bool) {
        let mut state = self.state.lock();
        let gone: Vec<u64> =
            state.waiting.iter().filter(|(_, w)| w.from == node).map(|(id, _)| *id).collect();
        for id in gone {
            state.waiting.remove(&id);
        }
        let left: Vec<(u64, usize)> = state
            .waiting
            .iter()
            .filter(|(_, w)| w.to == node)
            .map(|(id, w)| (*id, w.from))
            .collect();
        for (id, from) in left.into_iter().filter(|_| tell) {
            let what = (io::ErrorKind::ConnectionReset, "the peer has died".to_owned());
            let content = Content::Answer(Err(what));
            state.send(Packet {
                id,
                from: node,
                to: from,
                repeated: false,
                is_local: false,
                content,
            });
        }
    }

    /// Time goes on: what arrives is handed over.
    pub(crate) fn deliver(&self, now: Duration) {
        let now_us = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        self.state.lock().now_us = now_us;
        loop {
            let mut state = self.state.lock();
            let Some(entry) = state.queue.first_entry() else { return };
            if entry.key().0 > now_us {
                return;
            }
            let packet = entry.remove();
            if state.link(packet.from, packet.to).cut && !packet.is_local {
                state.lose(&packet);
                continue;
            }
            state.arrived(&packet);
            let presence = state.nodes[packet.to].clone();
            drop(state);
            self.hand_over(packet, presence);
        }
    }

    fn hand_over(&self, packet: Packet, presence: Presence) {
        let Packet { id, from, to, repeated, content, .. } = packet;
        let work = match content {
            Content::Answer(answer) => {
                let waiting = self.state.lock().waiting.remove(&id);
                if let Some(waiting) = waiting {
                    // Whoever gave up at a deadline no longer listens.
                    let _ = waiting.answer.send(answer);
                }
                return;
            }
            Content::Message { .. } | Content::Request { .. } => content,
        };
        match presence {
            Presence::Up { receiver, runtime } => {
                let network = self.clone();
                runtime.spawn(async move {
                    let answer = answer_of(&*receiver, work).await;
                    let answer = answer.map_err(|e| (e.kind(), e.to_string()));
                    let content = Content::Answer(answer);
                    let packet = Packet {
                        id,
                        from: to,
                        to: from,
                        repeated: false,
                        is_local: false,
                        content,
                    };
                    network.state.lock().send(packet);
                });
            }
            Presence::Refusing if !repeated => {
                let what = (io::ErrorKind::NotConnected, "connection refused".to_owned());
                let content = Content::Answer(Err(what));
                let packet =
                    Packet { id, from: to, to: from, repeated: false, is_local: false, content };
                self.state.lock().send(packet);
            }
            Presence::Refusing | Presence::Silent => {
                let mut state = self.state.lock();
                state.lose_exchange(id, from);
            }
        }
    }

    /// Sends something and waits for the answer.
    async fn exchange(
        &self,
        from: usize,
        to: &Node,
        content: Content,
        deadline: Duration,
    ) -> io::Result<Bytes> {
        let place = place(&to.addr).ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        let (answer, answered) = oneshot::channel();
        {
            let mut state = self.state.lock();
            state.sent += 1;
            let id = state.sent;
            state.waiting.insert(id, Waiting { from, to: place, answer });
            state.send(Packet { id, from, to: place, repeated: false, is_local: false, content });
        }
        match tokio::time::timeout(deadline, answered).await {
            Ok(Ok(answer)) => answer.map_err(|(kind, what)| io::Error::new(kind, what)),
            Ok(Err(_)) => Err(io::ErrorKind::ConnectionReset.into()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

async fn answer_of(receiver: &dyn Receiver, content: Content) -> io::Result<Bytes> {
    let refused = |what: String| io::Error::new(io::ErrorKind::PermissionDenied, what);
    match content {
        Content::Message { from, to, message } => {
            receiver.admit(from, to).map_err(refused)?;
            receiver.message(message).await
        }
        Content::Request { from, to, request } => {
            receiver.admit(from, to).map_err(refused)?;
            receiver.request(from, request).await
        }
        Content::Answer(answer) => answer.map_err(|(kind, what)| io::Error::new(kind, what)),
    }
}

impl State {
    fn link(&self, from: usize, to: usize) -> Link {
        self.links.get(&(from, to)).copied().unwrap_or(Link::GOOD)
    }

    /// Puts a packet on its way, or loses it.
    fn send(&mut self, packet: Packet) {
        let link = self.link(packet.from, packet.to);
        let lost = self.random.permille(link.lost);
        let is_message = matches!(packet.content, Content::Message { .. });
        let doubled = self.random.permille(link.doubled) && is_message && !packet.repeated;
        let (low, high) = link.delay;
        let mut takes = self.random.between(low, high);
        if self.random.permille(link.stray) {
            takes += self.random.below(10_000_000);
        }
        if link.cut || lost {
            return self.lose(&packet);
        }
        self.sent += 1;
        let key = (self.now_us + takes, self.sent);
        if doubled {
            self.send(Packet { repeated: true, ..packet.clone() });
        }
        self.queue.insert(key, packet);
    }

    /// A packet is lost: whoever waits for the answer is told some time.
    fn lose(&mut self, packet: &Packet) {
        let waits = match packet.content {
            Content::Answer(_) => packet.to,
            Content::Message { .. } | Content::Request { .. } => packet.from,
        };
        self.lose_exchange(packet.id, waits);
    }

    fn lose_exchange(&mut self, id: u64, waits: usize) {
        self.sent += 1;
        let key = (self.now_us + GIVEN_UP_US, self.sent);
        let what = (io::ErrorKind::ConnectionReset, "the connection was lost".to_owned());
        let content = Content::Answer(Err(what));
        let (from, to) = (waits, waits);
        let packet = Packet { id, from, to, repeated: false, is_local: true, content };
        self.queue.insert(key, packet);
    }

    fn arrived(&self, packet: &Packet) {
        let Packet { id, from, to, .. } = packet;
        let (kind, digest) = match &packet.content {
            Content::Message { message, .. } => {
                let kind = match message.kind {
                    MessageKind::Append => "append",
                    MessageKind::Heartbeat => "heartbeat",
                    MessageKind::Vote => "vote",
                    MessageKind::Snapshot => "snapshot",
                    MessageKind::Transfer => "transfer",
                };
                (kind, xxh3_64(&message.payload) ^ message.group.0)
            }
            Content::Request { request, .. } => ("request", xxh3_64(request)),
            Content::Answer(Ok(answer)) => ("answer", xxh3_64(answer)),
            Content::Answer(Err((_, what))) => {
                return self.trace.note(format_args!("packet {id} {from}>{to} error {what}"));
            }
        };
        self.trace.note(format_args!("packet {id} {from}>{to} {kind} {digest:016x}"));
    }
}

/// The network as one node uses it.
#[derive(Debug)]
struct SimTransport {
    network: Network,
    node: usize,
    own: Arc<dyn Receiver>,
}

#[async_trait::async_trait]
impl Transport for SimTransport {
    async fn send(&self, to: &Node, message: Message, deadline: Duration) -> io::Result<Bytes> {
        let content = Content::Message { from: self.own.identity(), to: to.node, message };
        self.network.exchange(self.node, to, content, deadline).await
    }

    async fn call(
        &self,
        to: &Node,
        request: Bytes,
        _lane: Lane,
        deadline: Duration,
    ) -> io::Result<Bytes> {
        let content = Content::Request { from: self.own.identity(), to: to.node, request };
        self.network.exchange(self.node, to, content, deadline).await
    }
}
