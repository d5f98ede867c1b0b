//! Raft groups: a façade over openraft, and the only crate that names it.
//!
//! Above it, `quorate-storage` proposes commands to a [`Group`] and implements [`StateMachine`]; below it, entries and
//! votes go to the node's shared log ([`quorate_wal::GroupLog`]), and messages to the other replicas go through a
//! [`Transport`].
//!
//! ```text
//!            propose, read_index, snapshot_moved, …
//!                          │
//!                        Group ───────────────┐ handle(message)
//!                          │                  │
//!   StateMachine ◄── Applier ◄── openraft ──► Peers ──► Transport ──► other replicas
//!                          │
//!                       LogStore ──► GroupLog (shared write-ahead log, one sync for many groups)
//! ```
//!
//! **Invariants.**
//! - `purged ≤ Raft snapshot ≤ applied ≤ committed ≤ last` at every replica.
//! - A vote is synced before it is given; an entry is synced before this replica counts towards its quorum.
//! - A leader that restarts needs a new term: a log id never stands for two contents.
//! - A replica that voted before it restarted takes no part in elections until every lease that it may have
//!   confirmed has run out.
//! - An answer is never made up: what cannot be reached is an error.
//! - An error says whether the command was handed in: [`ErrorKind::Unknown`] is the only one after which it may commit.
//!
//! - Other timers are another run of openraft over the same open log and state machine; a leader goes on in its term.
//!
//! **Limits.** Replicas of a group should run the same [`Timers`]. A group costs about a dozen tasks and a tick every
//! 16 ms; at most some dozens of groups belong on a node.

mod error;
mod group;
mod machine;
mod memory;
mod status;
mod timers;
mod transport;

mod applier;
mod codec;
mod core;
mod log;
mod peers;
mod raft;
mod reads;
mod receive;
mod runtime;

pub use error::{Error, ErrorKind};
pub use group::{Group, GroupOptions};
pub use machine::{Applied, Fatal, Snapshot, StateMachine};
pub use memory::MemoryTransport;
pub use quorate_wal::{GroupId, LogPosition};
pub use status::{GroupStatus, Node, ReplicaId, Role};
pub use timers::Timers;
pub use transport::{Lane, Message, MessageKind, PeerIdentity, Receiver, Transport};
