//! The node's shared write-ahead log.

mod clock;
mod disk;
mod error;
mod real_disk;
mod wal;

pub use clock::{Clock, ManualClock, SystemClock};
pub use disk::{Disk, DiskFile, DiskLock, DiskSpace, OpenMode};
pub use error::{Error, ErrorKind};
pub use real_disk::RealDisk;
pub use wal::{
    Entry, EntryKind, GroupId, GroupLog, GroupState, LogPosition, Recovery, SyncCallback, Wal,
    WalOptions, WalStatus,
};
