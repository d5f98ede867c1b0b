//! Errors of a Raft group.

use quorate_wal::GroupId;

use crate::ReplicaId;

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Ask the leader, if one is named.
    NotLeader {
        /// Who leads, if known.
        leader: Option<ReplicaId>,
    },
    /// Retry later; the command was not appended.
    Unavailable,
    /// The command may or may not commit: retry with the same idempotency key.
    Unknown,
    /// The replica stopped.
    Fatal,
    /// The disk is full: retry later, the command was not appended.
    Exhausted,
}

/// An error of a Raft group.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another replica leads.
    #[error("replica is not the leader of group {}", group.0)]
    NotLeader {
        /// The group.
        group: GroupId,
        /// Who leads, if known.
        leader: Option<ReplicaId>,
    },
    /// No quorum or no leader now.
    #[error("group {} is not available: {what}", group.0)]
    Unavailable {
        /// The group.
        group: GroupId,
        /// Why.
        what: String,
    },
    /// The deadline passed, or leadership was lost, after the command was handed in.
    #[error("the outcome of a command of group {} is unknown: {what}", group.0)]
    Unknown {
        /// The group.
        group: GroupId,
        /// Why.
        what: String,
    },
    /// The replica stopped.
    #[error("the replica of group {} has stopped: {what}", group.0)]
    Fatal {
        /// The group.
        group: GroupId,
        /// Why.
        what: String,
    },
    /// The log cannot take more.
    #[error("the log refuses commands of group {}", group.0)]
    Log {
        /// The group.
        group: GroupId,
        /// Why.
        #[source]
        source: quorate_wal::Error,
    },
    /// A peer's message cannot be read; nothing was done.
    #[error("a message to group {} cannot be read", group.0)]
    Message {
        /// The group.
        group: GroupId,
        /// Why.
        #[source]
        source: postcard::Error,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotLeader { leader, .. } => ErrorKind::NotLeader { leader: *leader },
            Self::Unavailable { .. } | Self::Message { .. } => ErrorKind::Unavailable,
            Self::Unknown { .. } => ErrorKind::Unknown,
            Self::Fatal { .. } => ErrorKind::Fatal,
            Self::Log { source, .. } => match source.kind() {
                quorate_wal::ErrorKind::Exhausted => ErrorKind::Exhausted,
                quorate_wal::ErrorKind::Poisoned
                | quorate_wal::ErrorKind::Corrupt
                | quorate_wal::ErrorKind::Conflict
                | quorate_wal::ErrorKind::Io => ErrorKind::Fatal,
            },
        }
    }
}
