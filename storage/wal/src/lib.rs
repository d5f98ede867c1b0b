//! The node's shared write-ahead log.

mod disk;
mod error;
mod wal;

pub use disk::{Disk, DiskFile, DiskLock, DiskSpace, OpenMode};
pub use error::{Error, ErrorKind};
pub use wal::{
    Entry, EntryKind, GroupId, GroupLog, GroupState, LogPosition, Recovery, SyncCallback, Wal,
    WalOptions, WalStatus,
};
