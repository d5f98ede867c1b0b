//! [`Connection`]: an HTTP/2 connection to an address, opened when it is wanted and again after it was lost; and what
//! gRPC's errors mean for those who called.
//!
//! Connecting is a step of its own, never part of a call: its failure is the one error that says for certain that
//! nothing was sent.

use std::error::Error as _;
use std::io;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use quorate_storage::with_causes;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, ConnectError, Status};

use super::{
    CONNECT_MAX, CONNECTION_WINDOW_BYTES, KEEPALIVE, MESSAGE_BYTES_MAX, STREAM_WINDOW_BYTES,
};

/// A connection to an address. All that want it while it is being opened wait for the same attempt.
#[derive(Debug)]
pub(super) struct Connection {
    addr: String,
    slot: Mutex<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    /// Counts attempts, so that news of an old connection does not close its successor.
    attempt: u64,
    opening: Option<Opening>,
}

type Opening = Shared<BoxFuture<'static, Result<Channel, Arc<str>>>>;

impl Connection {
    /// A connection that is not open yet.
    pub(super) fn new(addr: &str) -> Self {
        Self { addr: addr.to_owned(), slot: Mutex::default() }
    }

    /// Where it leads.
    pub(super) fn addr(&self) -> &str {
        &self.addr
    }

    /// The open connection, and the number to [forget](Self::forget) it by; or `NotConnected`.
    pub(super) async fn open(self: &Arc<Self>) -> io::Result<(Channel, u64)> {
        let (opening, attempt) = self.opening();
        match opening.await {
            Ok(channel) => Ok((channel, attempt)),
            Err(why) => Err(not_connected(&self.addr, &why)),
        }
    }

    /// The connection broke: who wants it next opens another one.
    pub(super) fn forget(&self, attempt: u64) {
        let mut slot = self.slot.lock();
        if slot.attempt == attempt {
            slot.opening = None;
        }
    }

    fn opening(self: &Arc<Self>) -> (Opening, u64) {
        let mut slot = self.slot.lock();
        if let Some(opening) = &slot.opening {
            return (opening.clone(), slot.attempt);
        }
        slot.attempt += 1;
        let attempt = slot.attempt;
        let connection = Arc::clone(self);
        // A task, as an attempt must end, and be forgotten if it failed, even when its caller no longer waits.
        let task = tokio::spawn(async move {
            let opened = connect(&connection.addr).await;
            if opened.is_err() {
                connection.forget(attempt);
            }
            opened
        });
        let stopped = || Err(Arc::from("the node stops"));
        let opening = task.map(move |opened| opened.unwrap_or_else(|_| stopped())).boxed().shared();
        slot.opening = Some(opening.clone());
        (opening, attempt)
    }
}

async fn connect(addr: &str) -> Result<Channel, Arc<str>> {
    let endpoint = Endpoint::from_shared(format!("http://{addr}"))
        .map_err(|error| told(&error))?
        .connect_timeout(CONNECT_MAX)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    // The endpoint's own limit does not count the time to resolve the name.
    match timeout(CONNECT_MAX, endpoint.connect()).await {
        Ok(connected) => connected.map_err(|error| told(&error)),
        Err(_) => Err(Arc::from(format!("no connection within {CONNECT_MAX:?}"))),
    }
}

fn told(error: &tonic::transport::Error) -> Arc<str> {
    Arc::from(with_causes(error))
}

/// A client over an open connection, ready for one call.
pub(super) async fn client(channel: Channel) -> Result<Grpc<Channel>, Status> {
    let mut client = Grpc::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    match client.ready().await {
        Ok(()) => Ok(client),
        Err(error) => Err(Status::from_error(Box::new(ConnectError(Box::new(error))))),
    }
}

/// The error of a peer that was not reached.
pub(super) fn not_connected(addr: &str, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, format!("{addr}: {why}"))
}

/// What a status means for the call that it ended.
pub(super) fn error_of(addr: &str, status: &Status) -> io::Error {
    let text = match status.source() {
        Some(source) => with_causes(source),
        None => status.message().to_owned(),
    };
    let kind = match status.code() {
        _ if was_not_sent(status) => io::ErrorKind::NotConnected,
        Code::PermissionDenied => io::ErrorKind::PermissionDenied,
        Code::DeadlineExceeded => io::ErrorKind::TimedOut,
        Code::FailedPrecondition | Code::Unimplemented => io::ErrorKind::Unsupported,
        Code::OutOfRange | Code::ResourceExhausted => io::ErrorKind::InvalidInput,
        _ => io::ErrorKind::ConnectionReset,
    };
    io::Error::new(kind, format!("{addr}: {text}"))
}

/// Whether a status leaves doubt that the connection still works. The others are words of the peer's.
pub(super) fn is_broken(status: &Status) -> bool {
    !matches!(
        status.code(),
        Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::Unimplemented
            | Code::InvalidArgument
            | Code::OutOfRange
            | Code::ResourceExhausted
    )
}

/// Whether tonic, which connects again by itself when it finds the connection closed, could not.
fn was_not_sent(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}
