//! [`PeerServer`]: the side that answers.
//!
//! A stream of Raft's messages is one loop, run by HTTP/2 as it asks for answers:
//!
//! ```text
//! envelope ─→ admit ─→ for each message: first poll of the receiver ─┬─ ready ──────→ answers ─→ envelope
//!                                                                    └─ pending ─→ unanswered ─┘
//! ```
//!
//! The first poll puts a message into the receiver's order, so each is polled before the next is begun. The loop reads
//! nothing while [`UNANSWERED_MAX`] messages wait; HTTP/2's windows then hold the peer back.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, FuturesUnordered};
use quorate_storage::cluster::{PeerIdentity, Receiver};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codec::Codec;
use tonic::server::{Grpc, NamedService, StreamingService, UnaryService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use super::envelope::{AnswerItem, CallRequest, Envelope, Header, ProstCodec, RequestItem};
use super::{
    BULK, CALL, CONNECTION_WINDOW_BYTES, ENVELOPE_BYTES_MAX, ENVELOPE_ITEMS_MAX, KEEPALIVE,
    MESSAGE_BYTES_MAX, RAFT, SERVICE, STREAM_WINDOW_BYTES,
};

/// Messages of one stream that may wait for the receiver.
const UNANSWERED_MAX: usize = 1024;

/// How long connections may take to close after the streams on them have ended.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// Answers peers.
#[derive(Debug)]
pub struct PeerServer {
    receiver: Arc<dyn Receiver>,
}

impl PeerServer {
    /// A server that hands what arrives to a receiver.
    pub fn new(receiver: Arc<dyn Receiver>) -> Self {
        Self { receiver }
    }

    /// Serves on a listener until it is cancelled; then streams and requests end at once.
    pub async fn serve(self, listener: TcpListener, cancel: CancellationToken) -> io::Result<()> {
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let peers = Peers { receiver: self.receiver, cancel: cancel.clone() };
        let mut server = Server::builder()
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE));
        let serving = server
            .add_service(peers)
            .serve_with_incoming_shutdown(incoming, cancel.clone().cancelled_owned());
        let mut serving = pin!(serving);
        tokio::select! {
            served = &mut serving => served.map_err(io::Error::other),
            // A peer that does not read must not hold up the node's stop.
            () = expiry(&cancel) => Ok(()),
        }
    }
}

async fn expiry(cancel: &CancellationToken) {
    cancel.cancelled().await;
    tokio::time::sleep(CLOSE_MAX).await;
}

/// The service, as tonic's server calls it.
#[derive(Clone, Debug)]
struct Peers {
    receiver: Arc<dyn Receiver>,
    cancel: CancellationToken,
}

impl NamedService for Peers {
    const NAME: &'static str = SERVICE;
}

impl tower::Service<http::Request<Body>> for Peers {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let peers = self.clone();
        Box::pin(async move {
            let cancel = peers.cancel.clone();
            let response = tokio::select! {
                biased;
                () = cancel.cancelled() => stopping().into_http(),
                response = peers.answer(request) => response,
            };
            Ok(response)
        })
    }
}

impl Peers {
    async fn answer(self, request: http::Request<Body>) -> http::Response<Body> {
        let path = request.uri().path().to_owned();
        match path.as_str() {
            RAFT => {
                let codec = ProstCodec::<Envelope, Envelope>::default();
                grpc(codec).streaming(RaftMethod(self), request).await
            }
            CALL | BULK => {
                let codec = ProstCodec::<AnswerItem, CallRequest>::default();
                grpc(codec).unary(CallMethod(self), request).await
            }
            _ => Status::unimplemented(format!("there is no {path}")).into_http(),
        }
    }
}

fn grpc<C: Codec>(codec: C) -> Grpc<C> {
    Grpc::new(codec)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

fn stopping() -> Status {
    Status::unavailable("the node stops")
}

/// Who sends, if this node talks to it.
fn admit(receiver: &dyn Receiver, header: Option<&Header>) -> Result<PeerIdentity, Status> {
    let (from, to) = Header::read(header)?;
    receiver.admit(from, to).map_err(Status::permission_denied)?;
    Ok(from)
}

/// `Call` and `Bulk`.
struct CallMethod(Peers);

impl UnaryService<CallRequest> for CallMethod {
    type Response = AnswerItem;
    type Future = BoxFuture<'static, Result<Response<AnswerItem>, Status>>;

    fn call(&mut self, request: Request<CallRequest>) -> Self::Future {
        let receiver = Arc::clone(&self.0.receiver);
        Box::pin(async move {
            let CallRequest { header, payload } = request.into_inner();
            let from = admit(&*receiver, header.as_ref())?;
            let outcome = receiver.request(from, payload).await;
            Ok(Response::new(AnswerItem::new(0, outcome)))
        })
    }
}

/// `Raft`.
struct RaftMethod(Peers);

impl StreamingService<Envelope> for RaftMethod {
    type Response = Envelope;
    type ResponseStream = BoxStream<'static, Result<Envelope, Status>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Envelope>>) -> Self::Future {
        let conversation = Conversation {
            peers: self.0.clone(),
            envelopes: request.into_inner(),
            from: PeerIdentity::default(),
            arrived: VecDeque::new(),
            unanswered: FuturesUnordered::new(),
            answers: VecDeque::new(),
            failed: false,
        };
        ready(Ok(Response::new(stream::unfold(conversation, Conversation::next).boxed())))
    }
}

/// A stream of Raft's messages, and their answers.
struct Conversation {
    peers: Peers,
    envelopes: Streaming<Envelope>,
    /// Who sent the last envelope.
    from: PeerIdentity,
    /// Messages that the receiver has not seen yet.
    arrived: VecDeque<RequestItem>,
    unanswered: FuturesUnordered<BoxFuture<'static, AnswerItem>>,
    answers: VecDeque<AnswerItem>,
    failed: bool,
}

impl Conversation {
    /// The next envelope of answers.
    async fn next(mut self) -> Option<(Result<Envelope, Status>, Self)> {
        if self.failed {
            return None;
        }
        match self.advance().await {
            Ok(envelope) => envelope.map(|envelope| (Ok(envelope), self)),
            Err(status) => {
                self.failed = true;
                Some((Err(status), self))
            }
        }
    }

    /// Reads and answers until an envelope is there to send; `None` when the peer has ended the stream.
    async fn advance(&mut self) -> Result<Option<Envelope>, Status> {
        loop {
            self.begin().await;
            self.collect().await;
            if !self.answers.is_empty() {
                return Ok(Some(self.envelope()));
            }
            tokio::select! {
                () = self.peers.cancel.cancelled() => return Err(stopping()),
                Some(answer) = self.unanswered.next() => self.answers.push_back(answer),
                envelope = self.envelopes.message(), if self.arrived.is_empty() => {
                    match envelope? {
                        Some(envelope) => self.admit(envelope)?,
                        // The peer no longer waits for answers.
                        None => return Ok(None),
                    }
                }
            }
        }
    }

    fn admit(&mut self, envelope: Envelope) -> Result<(), Status> {
        self.from = admit(&*self.peers.receiver, envelope.header.as_ref())?;
        self.arrived.extend(envelope.requests);
        Ok(())
    }

    /// Hands messages to the receiver, in order.
    async fn begin(&mut self) {
        while self.unanswered.len() + self.answers.len() < UNANSWERED_MAX {
            let Some(item) = self.arrived.pop_front() else { break };
            let mut answering = self.answering(item);
            match futures::poll!(answering.as_mut()) {
                Poll::Ready(answer) => self.answers.push_back(answer),
                Poll::Pending => self.unanswered.push(answering),
            }
        }
    }

    fn answering(&self, item: RequestItem) -> BoxFuture<'static, AnswerItem> {
        let receiver = Arc::clone(&self.peers.receiver);
        Box::pin(async move {
            let corr = item.corr;
            let outcome = match item.into_message() {
                Ok(message) => receiver.message(message).await,
                Err(error) => Err(error),
            };
            AnswerItem::new(corr, outcome)
        })
    }

    /// Takes the answers that are there, so that they go out together.
    async fn collect(&mut self) {
        while self.answers.len() < ENVELOPE_ITEMS_MAX {
            let Poll::Ready(Some(answer)) = futures::poll!(self.unanswered.next()) else { break };
            self.answers.push_back(answer);
        }
    }

    fn envelope(&mut self) -> Envelope {
        let mut answers = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.answers.front() {
            bytes += next.payload.len();
            let full = answers.len() >= ENVELOPE_ITEMS_MAX || bytes > ENVELOPE_BYTES_MAX;
            if full && !answers.is_empty() {
                break;
            }
            answers.extend(self.answers.pop_front());
        }
        let header = Header::new(self.peers.receiver.identity(), self.from.node);
        Envelope { header: Some(header), requests: Vec::new(), answers }
    }
}
