//! Raft groups: the façade over openraft, the only crate that names it.

mod error;
mod group;
mod transport;

pub use error::{Error, ErrorKind};
pub use group::{
    Applied, Fatal, Group, GroupOptions, GroupStatus, Node, ReplicaId, Role, Snapshot,
    StateMachine, Timers,
};
pub use quorate_wal::{GroupId, LogPosition};
pub use transport::{MemoryTransport, Message, MessageKind, Transport};
