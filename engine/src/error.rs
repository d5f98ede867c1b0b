//! Errors of the engine.

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Fix the request.
    Invalid,
    /// It is not there.
    NotFound,
    /// It is there already, or changed meanwhile: retry as a new request.
    Conflict,
    /// Known, and not supported.
    Unsupported,
    /// Ask the leader.
    NotLeader,
    /// Retry later.
    Unavailable,
    /// Later, or smaller: memory, disk, size limits.
    Exhausted,
    /// `query_timeout` passed.
    Timeout,
    /// Cancelled by the client or `KILL QUERY`.
    Cancelled,
    /// An operator must look.
    Corrupt,
    /// Our bug.
    Internal,
}

/// An error of the engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SQL that does not parse.
    #[error("{message} at line {line}, column {column}")]
    Syntax {
        /// What was expected or found.
        message: String,
        /// From 1.
        line: u64,
        /// From 1.
        column: u64,
    },
    /// SQL or a request that cannot be carried out as it stands.
    #[error("{message}")]
    Request {
        /// What the caller can do.
        kind: ErrorKind,
        /// Names the thing, the place, the remedy.
        message: String,
    },
    /// DataFusion refused or failed.
    #[error("{message}")]
    Query {
        /// What the caller can do.
        kind: ErrorKind,
        /// DataFusion's message, with a remedy where one is known.
        message: String,
        /// The cause.
        #[source]
        source: Box<datafusion::error::DataFusionError>,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] quorate_storage::Error),
}

impl Error {
    /// A request that cannot be carried out as it stands.
    pub fn request(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::Request { kind, message: message.into() }
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Syntax { .. } => ErrorKind::Invalid,
            Self::Request { kind, .. } | Self::Query { kind, .. } => *kind,
            Self::Store(e) => match e.kind() {
                quorate_storage::ErrorKind::Invalid => ErrorKind::Invalid,
                quorate_storage::ErrorKind::NotFound => ErrorKind::NotFound,
                quorate_storage::ErrorKind::Conflict => ErrorKind::Conflict,
                quorate_storage::ErrorKind::NotLeader => ErrorKind::NotLeader,
                quorate_storage::ErrorKind::Unavailable => ErrorKind::Unavailable,
                quorate_storage::ErrorKind::Exhausted => ErrorKind::Exhausted,
                quorate_storage::ErrorKind::Corrupt => ErrorKind::Corrupt,
                quorate_storage::ErrorKind::Internal => ErrorKind::Internal,
            },
        }
    }
}
