//! Errors of the log.

use std::path::{Path, PathBuf};

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// No space, or shutting down: retry later, nothing was written.
    Exhausted,
    /// A write or sync failed: pending writes are unknown, the process must end.
    Poisoned,
    /// Bytes on disk are damaged or lost: an operator must look.
    Corrupt,
    /// The data directory is of another format, cluster, or node, or locked by another process.
    Conflict,
    /// Another failure of the disk.
    Io,
}

/// An error of the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk has less free space than the log's reserve.
    #[error("the disk that holds {} is full: {bytes_free} bytes are free", path.display())]
    DiskFull {
        /// The log's directory.
        path: PathBuf,
        /// What is left.
        bytes_free: u64,
    },
    /// An earlier write or sync failed.
    #[error("the write-ahead log is poisoned by a failed write or sync")]
    Poisoned,
    /// Damage.
    #[error("{what} in {} at byte {offset}", path.display())]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What was found.
        what: String,
    },
    /// The directory belongs to something else.
    #[error("{}: {what}", path.display())]
    Conflict {
        /// The file or directory.
        path: PathBuf,
        /// Why it cannot be used.
        what: String,
    },
    /// The log was closed.
    #[error("the write-ahead log is closed")]
    Closed,
    /// The disk failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn newer_format(path: &Path, version: u64) -> Self {
        let what = format!("is of a newer format (version {version}); a newer quorate wrote it");
        Self::Conflict { path: path.to_owned(), what }
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::DiskFull { .. } | Self::Closed => ErrorKind::Exhausted,
            Self::Poisoned => ErrorKind::Poisoned,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Conflict { .. } => ErrorKind::Conflict,
            Self::Io { .. } => ErrorKind::Io,
        }
    }
}
