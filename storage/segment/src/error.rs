//! Errors of segments.

use std::path::PathBuf;

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Bytes on disk are damaged: an operator must look, or a replica helps.
    Corrupt,
    /// The file was written by a newer version.
    Unsupported,
    /// The disk is full: nothing was kept, retry later.
    Exhausted,
    /// Another failure of the disk.
    Io,
    /// Our bug.
    Internal,
}

/// An error of a segment.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Damage.
    #[error("segment {} is damaged at byte {offset}: {what}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where the damaged block starts.
        offset: u64,
        /// What was found.
        what: String,
    },
    /// Of a newer format.
    #[error("segment {} has format {found}, this version reads up to {supported}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest that is known.
        supported: u32,
    },
    /// The disk failed.
    #[error("cannot {action} segment {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Parquet refused what was verified: a bug.
    #[error("cannot {action} segment {}", path.display())]
    Parquet {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: parquet::errors::ParquetError,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                ErrorKind::Exhausted
            }
            Self::Io { .. } => ErrorKind::Io,
            Self::Parquet { .. } => ErrorKind::Internal,
        }
    }
}
