//! [`PeerStream`]: the stream of Raft's messages to one node at one address.
//!
//! ```text
//!            first message                    connected, stream opened
//! Closed ───────────────────────→ Opening ───────────────────────────────→ Open
//!    ↑  (once the pause is over)     │                                      │
//!    └── everything that waits fails ┴── no connection, lost, refused ──────┘
//! ```
//!
//! A task owns the stream while there is one: it connects, reads the answers, and tells everybody when that ends. What
//! goes out is [`Outgoing`], which HTTP/2 polls when it can send. A stream that brought no answer is followed by a
//! pause of 20 to 500 ms, during which messages fail at once.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use http::uri::PathAndQuery;
use parking_lot::Mutex;
use quorate_storage::cluster::{Message, PeerIdentity};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use tonic::{Request, Status, Streaming};

use super::RAFT;
use super::connection::{self, Connection};
use super::envelope::{Envelope, Header, ProstCodec};
use super::mailbox::{CLASSES, Lost, Mailbox, Ticket, class};

/// Bytes that may wait in each class; a message that is larger may, alone.
const ROOM_BYTES: [u32; CLASSES] = [1 << 20, 1 << 20, 16 << 20];

/// What a message counts besides its payload.
const ITEM_BYTES: usize = 64;

/// Pauses after a stream that brought no answer.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// The stream to one node.
#[derive(Debug)]
pub(super) struct PeerStream {
    connection: Arc<Connection>,
    /// Who is meant: [`Node::node`](quorate_storage::cluster::Node::node).
    node: u64,
    /// Room in the mailbox, by class.
    rooms: [Arc<Semaphore>; CLASSES],
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    mailbox: Mailbox,
    phase: Phase,
    /// Counts streams that ended, so that what is left of one does not touch the next.
    ended: u64,
    /// As whom this node speaks, or spoke, on the stream.
    from: PeerIdentity,
    /// Whether the stream brought an answer.
    answered: bool,
    pause: Duration,
    task: Option<AbortHandle>,
    /// Waits for messages to send.
    outgoing: Option<Waker>,
}

#[derive(Debug)]
enum Phase {
    /// There is no stream, and before a certain time there will not be one.
    Closed { until: Option<Instant>, why: String },
    /// Nothing was written yet.
    Opening,
    /// Messages are written as they come.
    Open,
}

impl PeerStream {
    /// A stream that is not open yet.
    pub(super) fn new(connection: Arc<Connection>, node: u64) -> Self {
        Self {
            connection,
            node,
            rooms: ROOM_BYTES.map(|bytes| Arc::new(Semaphore::new(bytes as usize))),
            state: Mutex::new(State {
                mailbox: Mailbox::default(),
                phase: Phase::Closed { until: None, why: String::new() },
                ended: 0,
                from: PeerIdentity::default(),
                answered: false,
                pause: Duration::ZERO,
                task: None,
                outgoing: None,
            }),
        }
    }

    /// Sends a message as a node and waits for the answer.
    pub(super) async fn send(
        self: &Arc<Self>,
        from: PeerIdentity,
        message: Message,
        deadline: Duration,
    ) -> io::Result<Bytes> {
        let mut waiter = None;
        match timeout(deadline, self.exchange(from, message, &mut waiter)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.give_up(waiter, deadline)),
        }
    }

    /// Ends the stream, as it is no longer wanted.
    pub(super) fn close(&self, why: &str) {
        self.state.lock().close(self.connection.addr(), why);
    }

    /// Number of messages that were sent or wait to be.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.state.lock().mailbox.len()
    }

    async fn exchange(
        self: &Arc<Self>,
        from: PeerIdentity,
        message: Message,
        waiter: &mut Option<Waiter>,
    ) -> io::Result<Bytes> {
        let room = self.room(&message).await?;
        waiter.insert(self.queue(from, message, room)?).answer().await
    }

    /// Waits until the mailbox has room for a message.
    async fn room(&self, message: &Message) -> io::Result<OwnedSemaphorePermit> {
        let class = class(message.kind);
        let bytes = u32::try_from(message.payload.len() + ITEM_BYTES).unwrap_or(u32::MAX);
        let bytes = bytes.min(ROOM_BYTES[class]);
        let room = &self.rooms[class];
        // The first poll must queue the message if it can, and `acquire` yields to other tasks now and then. Nobody is
        // overtaken: while somebody waits, there is no permit to take.
        if let Ok(permit) = Arc::clone(room).try_acquire_many_owned(bytes) {
            return Ok(permit);
        }
        Arc::clone(room).acquire_many_owned(bytes).await.map_err(io::Error::other)
    }

    /// Puts a message into the mailbox, and opens the stream if there is none.
    fn queue(
        self: &Arc<Self>,
        from: PeerIdentity,
        message: Message,
        room: OwnedSemaphorePermit,
    ) -> io::Result<Waiter> {
        let mut state = self.state.lock();
        if state.from != from {
            state.close(self.connection.addr(), "this node's identity changed");
            state.from = from;
        }
        if let Some(error) = state.refusal() {
            return Err(error);
        }
        if matches!(state.phase, Phase::Closed { .. }) {
            state.phase = Phase::Opening;
            state.answered = false;
            let task = tokio::spawn(run(Arc::clone(self), state.ended, from));
            state.task = Some(task.abort_handle());
        }
        let (ticket, answered) = state.mailbox.push(message, room);
        let outgoing = state.outgoing.take();
        drop(state);
        if let Some(outgoing) = outgoing {
            outgoing.wake();
        }
        Ok(Waiter { stream: Arc::clone(self), ticket, answered })
    }

    /// The error of a message whose deadline has passed.
    fn give_up(&self, waiter: Option<Waiter>, deadline: Duration) -> io::Error {
        let addr = self.connection.addr();
        if let Some(waiter) = waiter {
            let mut state = self.state.lock();
            let unwritten = state.mailbox.withdraw(waiter.ticket);
            let opening = matches!(state.phase, Phase::Opening);
            // The waiter withdraws as well when it is dropped.
            drop(state);
            if unwritten && opening {
                return connection::not_connected(addr, &format!("no connection in {deadline:?}"));
            }
        }
        io::Error::new(io::ErrorKind::TimedOut, format!("{addr}: no answer in {deadline:?}"))
    }

    /// Opens the stream and reads it to its end.
    async fn converse(self: &Arc<Self>, number: u64, from: PeerIdentity) -> Lost {
        let addr = self.connection.addr();
        let (channel, attempt) = match self.connection.open().await {
            Ok(open) => open,
            Err(error) => return Lost::of(&error),
        };
        let header = Header::new(from, self.node);
        let outgoing = Outgoing { stream: Arc::clone(self), number, header };
        let codec = ProstCodec::<Envelope, Envelope>::default();
        let path = PathAndQuery::from_static(RAFT);
        let status = match connection::client(channel).await {
            // The client is held to the end: a connection without clients shuts down.
            Ok(mut client) => match client.streaming(Request::new(outgoing), path, codec).await {
                Ok(answers) => self.read(number, answers.into_inner()).await,
                Err(status) => status,
            },
            Err(status) => status,
        };
        if connection::is_broken(&status) {
            self.connection.forget(attempt);
        }
        Lost::of(&connection::error_of(addr, &status))
    }

    /// Hands out answers until the stream ends; with what.
    async fn read(&self, number: u64, mut answers: Streaming<Envelope>) -> Status {
        loop {
            let envelope = match answers.message().await {
                Ok(Some(envelope)) => envelope,
                Ok(None) => return Status::unavailable("the peer ended the stream"),
                Err(status) => return status,
            };
            if let Err(status) = Header::read(envelope.header.as_ref()) {
                return status;
            }
            let mut state = self.state.lock();
            if state.ended == number {
                state.answered |= !envelope.answers.is_empty();
                for answer in envelope.answers {
                    state.mailbox.answer(answer);
                }
            }
        }
    }
}

/// The task of one stream.
async fn run(stream: Arc<PeerStream>, number: u64, from: PeerIdentity) {
    let lost = stream.converse(number, from).await;
    tracing::debug!(why = lost.why, "a stream to a peer ended");
    let mut state = stream.state.lock();
    if state.ended == number {
        state.pause = if state.answered {
            Duration::ZERO
        } else {
            (state.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX)
        };
        let until = Instant::now() + state.pause;
        state.end(&lost, Some(until));
    }
}

impl State {
    /// The error of a message that comes during a pause.
    fn refusal(&self) -> Option<io::Error> {
        match &self.phase {
            Phase::Closed { until: Some(until), why } if Instant::now() < *until => {
                Some(io::Error::new(io::ErrorKind::NotConnected, why.clone()))
            }
            Phase::Closed { .. } | Phase::Opening | Phase::Open => None,
        }
    }

    /// Ends the stream, if there is one, without a pause.
    fn close(&mut self, addr: &str, why: &str) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        self.pause = Duration::ZERO;
        let why = format!("{addr}: {why}");
        let (written, queued) = (io::ErrorKind::ConnectionReset, io::ErrorKind::NotConnected);
        self.end(&Lost { written, queued, why }, None);
    }

    fn end(&mut self, lost: &Lost, until: Option<Instant>) {
        self.ended += 1;
        self.phase = Phase::Closed { until, why: lost.why.clone() };
        self.task = None;
        self.mailbox.fail(lost);
        // The half of the stream that HTTP/2 holds notices that it is over.
        if let Some(outgoing) = self.outgoing.take() {
            outgoing.wake();
        }
    }
}

impl Lost {
    /// A refusal holds for everything; else what was not written was not sent.
    fn of(error: &io::Error) -> Self {
        let queued = match error.kind() {
            io::ErrorKind::PermissionDenied => io::ErrorKind::PermissionDenied,
            _ => io::ErrorKind::NotConnected,
        };
        // Whatever else ended the stream, it is gone, and with it the answers.
        let written = match error.kind() {
            kind @ (io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) => kind,
            _ => io::ErrorKind::ConnectionReset,
        };
        Self { written, queued, why: error.to_string() }
    }
}

/// Somebody who waits for an answer; the message leaves the mailbox when it is dropped.
#[derive(Debug)]
struct Waiter {
    stream: Arc<PeerStream>,
    ticket: Ticket,
    answered: oneshot::Receiver<io::Result<Bytes>>,
}

impl Waiter {
    async fn answer(&mut self) -> io::Result<Bytes> {
        let lost = |_| io::Error::new(io::ErrorKind::ConnectionReset, "the stream is gone");
        (&mut self.answered).await.map_err(lost)?
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.stream.state.lock().mailbox.withdraw(self.ticket);
    }
}

/// The half of a stream that is sent: HTTP/2 polls it when it has taken the last envelope.
#[derive(Debug)]
struct Outgoing {
    stream: Arc<PeerStream>,
    number: u64,
    header: Header,
}

impl Stream for Outgoing {
    type Item = Envelope;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Envelope>> {
        let mut state = self.stream.state.lock();
        if state.ended != self.number {
            return Poll::Ready(None);
        }
        state.phase = Phase::Open;
        let requests = state.mailbox.drain();
        if requests.is_empty() {
            state.outgoing = Some(context.waker().clone());
            return Poll::Pending;
        }
        let header = Some(self.header.clone());
        Poll::Ready(Some(Envelope { header, requests, answers: Vec::new() }))
    }
}
