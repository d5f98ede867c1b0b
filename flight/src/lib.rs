//! Arrow Flight SQL: the service, and the client that the command line uses.
//!
//! *What it is*: the door that drivers come through (JDBC, ADBC, pyarrow, InfluxDB's clients). It decodes the protocol's
//! commands, lets the engine plan and run the statements in them, and streams Arrow batches back. *Where it sits*: above
//! [`quorate_engine`], below the binary; no other crate names tonic, prost or arrow-flight.
//!
//! A call in reading order: [`Service`] takes it, `call` reads its headers, `query`, `prepare`, `update`, `ingest`,
//! `metadata` or `action` carries it out, `wire` encodes what it gives, `status` says what went wrong. Apart from that,
//! [`PeerTransport`] and [`PeerServer`] carry what the nodes of a cluster say to each other.
//!
//! Invariants:
//! - A result has one schema: `FlightInfo`, `GetSchema` and `DoGet` agree to the last bit, and every batch has it.
//! - Nothing runs before `DoGet`, and a ticket that writes runs once.
//! - Handles, tickets, cookies and tokens are signed with the cluster's key and hold all that is needed to serve them.
//!
//! Limits: no transactions, no Substrait, no `PollFlightInfo`, one endpoint per query. There are no users yet: every
//! credential is taken.

mod service;

mod counts;
mod room;

mod handshake;

mod call;
mod session;
mod session_options;

mod query;
mod statement;

mod prepare;

mod inspect;
mod texts;
mod update;

mod ingest;

mod json_ticket;

mod metadata;

mod action;
mod ahead;
mod running;

mod message;
mod seal;
mod status;
mod warm_up;
mod wire;

mod client;

mod peers;

pub use client::{Client, ClientError, ClientOptions, ClientOutcome, IngestAnswer, IngestChunk};
pub use counts::CallCounts;
pub use ingest::Rejected;
pub use peers::{PeerServer, PeerTransport, PeerTransportOptions};
pub use service::{Service, ServiceOptions};
