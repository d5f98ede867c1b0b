//! How nodes reach each other: the storage layer's [`Transport`](quorate_storage::cluster::Transport) over gRPC.
//!
//! *What it is*: both ends of the service `quorate.Peers`, written by hand as there are only three calls. *Where it
//! sits*: the store sends Raft's messages and its own requests through [`PeerTransport`]; [`PeerServer`] hands what
//! arrives to the store's [`Receiver`](quorate_storage::cluster::Receiver). Neither looks into a payload.
//!
//! ```text
//! send ─→ mailbox ─→ stream ── Raft ──→ serve ─→ Receiver::message     one stream per node, over the connection
//! call ─────────────────────── Call ──→ serve ─→ Receiver::request     that short requests share with it
//! call ─────────────────────── Bulk ──→ serve ─→ Receiver::request     a connection of its own
//! ```
//!
//! A message waits in the mailbox until HTTP/2 asks the stream for more: only then are the most urgent ones put into an
//! envelope, so that a vote overtakes whatever was not yet encoded. The answer finds its caller by a number. Every
//! envelope and request says who sends it and who is meant; the receiver refuses what is not for it.
//!
//! Invariants:
//! - `NotConnected` is only told when nothing was sent, and never sent by a peer.
//! - A call ends by its deadline, and at once when its connection is lost; it leaves nothing behind, whoever drops it.
//! - What waits to be sent is bounded in bytes for each class of urgency: a flood of entries leaves room for votes.
//!
//! Limits: no encryption, no compression. A message of 256 MiB does hold up the heartbeats behind it.

mod envelope;

mod transport;

mod connection;
mod mailbox;
mod stream;

mod serve;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use serve::PeerServer;
pub use transport::{PeerTransport, PeerTransportOptions};

/// The service's name.
const SERVICE: &str = "quorate.Peers";

/// Its calls.
const RAFT: &str = "/quorate.Peers/Raft";
const CALL: &str = "/quorate.Peers/Call";
const BULK: &str = "/quorate.Peers/Bulk";

/// Largest message of gRPC: an entry has at most 256 MiB.
const MESSAGE_BYTES_MAX: usize = 300 << 20;

/// Largest payload: what is around it always fits.
const PAYLOAD_BYTES_MAX: usize = MESSAGE_BYTES_MAX - (1 << 20);

/// Most items of an envelope, and the bytes after which no further one is added.
const ENVELOPE_ITEMS_MAX: usize = 256;
const ENVELOPE_BYTES_MAX: usize = 1 << 20;

/// Bytes that a peer may send ahead on one stream, and on one connection.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;

/// How often a silent connection is asked whether it is there, and how long it may take to say so.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Longest time to connect.
const CONNECT_MAX: Duration = Duration::from_secs(2);
