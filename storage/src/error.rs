//! Errors of the store.

use crate::TableId;
use crate::catalog::CatalogRejection;

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Fix the request.
    Invalid,
    /// It is not there.
    NotFound,
    /// Retry as a new request.
    Conflict,
    /// Ask the leader.
    NotLeader,
    /// Retry later; nothing was done.
    Unavailable,
    /// It may have been done, or still be: repeat it under the same idempotency key.
    Unknown,
    /// Later, or smaller.
    Exhausted,
    /// An operator must look.
    Corrupt,
    /// Our bug.
    Internal,
}

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The catalog refused.
    #[error("{0}")]
    Catalog(CatalogRejection),
    /// The table is dropped or was never there.
    #[error("table {} does not exist", .0.0)]
    NoTable(TableId),
    /// A request that cannot be right.
    #[error("{0}")]
    Invalid(String),
    /// The catalog or routing moved since the request was planned: plan again.
    #[error("{what} changed while the request was planned; retry")]
    Stale {
        /// What moved.
        what: &'static str,
    },
    /// The same idempotency key came with other bytes.
    #[error("idempotency key {key:?} was used before with a different body")]
    KeyReused {
        /// The key.
        key: String,
    },
    /// A group refuses or does not answer.
    #[error("{shard} is not available")]
    Group {
        /// Which: `shard 3`, or `metadata`.
        shard: String,
        /// Why; shared by the writes of one entry.
        #[source]
        source: std::sync::Arc<quorate_consensus::Error>,
    },
    /// Limits on memory, bytes in flight, or disk.
    #[error("{0}")]
    Exhausted(String),
    /// A replica stopped, or needs a repair.
    #[error("{0}")]
    Corrupt(String),
    /// A segment failed.
    #[error("cannot read or write a segment")]
    Segment(#[from] quorate_segment::Error),
    /// The log failed.
    #[error("the write-ahead log failed")]
    Log(#[from] quorate_wal::Error),
    /// The disk failed under a manifest.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file or directory.
        path: std::path::PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The data directory cannot be used.
    #[error("data directory {}: {what}", path.display())]
    DataDir {
        /// Which.
        path: std::path::PathBuf,
        /// Why: locked, of a newer format, read-only, of another node.
        what: String,
    },
    /// Arrow refused what was validated.
    #[error("cannot process rows")]
    Arrow(#[from] arrow::error::ArrowError),
    /// Our bug.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        use quorate_consensus::ErrorKind as Raft;
        match self {
            Self::Catalog(
                CatalogRejection::NoDatabase(_)
                | CatalogRejection::NoTable(_)
                | CatalogRejection::NoView(_),
            )
            | Self::NoTable(_) => ErrorKind::NotFound,
            Self::Catalog(
                CatalogRejection::DatabaseExists(_)
                | CatalogRejection::TableExists(_)
                | CatalogRejection::ViewExists(_),
            )
            | Self::Stale { .. } => ErrorKind::Conflict,
            Self::Catalog(_) | Self::Invalid(_) | Self::KeyReused { .. } | Self::DataDir { .. } => {
                ErrorKind::Invalid
            }
            Self::Group { source, .. } => match source.kind() {
                Raft::NotLeader { .. } => ErrorKind::NotLeader,
                Raft::Unavailable => ErrorKind::Unavailable,
                Raft::Unknown => ErrorKind::Unknown,
                Raft::Fatal => ErrorKind::Corrupt,
                Raft::Exhausted => ErrorKind::Exhausted,
            },
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                ErrorKind::Exhausted
            }
            Self::Exhausted(_) => ErrorKind::Exhausted,
            Self::Corrupt(_) => ErrorKind::Corrupt,
            Self::Segment(e) => match e.kind() {
                quorate_segment::ErrorKind::Corrupt | quorate_segment::ErrorKind::Unsupported => {
                    ErrorKind::Corrupt
                }
                quorate_segment::ErrorKind::Exhausted => ErrorKind::Exhausted,
                quorate_segment::ErrorKind::Io | quorate_segment::ErrorKind::Internal => {
                    ErrorKind::Internal
                }
            },
            Self::Log(e) => match e.kind() {
                quorate_wal::ErrorKind::Exhausted => ErrorKind::Exhausted,
                quorate_wal::ErrorKind::Corrupt => ErrorKind::Corrupt,
                quorate_wal::ErrorKind::Conflict => ErrorKind::Invalid,
                quorate_wal::ErrorKind::Poisoned | quorate_wal::ErrorKind::Io => {
                    ErrorKind::Internal
                }
            },
            Self::Io { .. } | Self::Arrow(_) | Self::Internal(_) => ErrorKind::Internal,
        }
    }

    /// Whether a disk failed, and not for want of space: nobody knows what it holds until it is read anew.
    pub(crate) fn is_io(&self) -> bool {
        match self {
            Self::Io { .. } => self.kind() != ErrorKind::Exhausted,
            Self::Segment(e) => e.kind() == quorate_segment::ErrorKind::Io,
            _ => false,
        }
    }
}

/// The message of an error and those of its causes that it does not repeat, on one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Transparent wrappers repeat what they wrap.
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
