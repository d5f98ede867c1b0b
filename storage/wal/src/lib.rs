//! The node's shared write-ahead log.

mod background;
mod bytes;
mod clock;
mod disk;
mod entry;
mod error;
mod frame;
mod group;
mod hardstate;
mod log_segment;
mod metrics;
mod queue;
mod real_disk;
mod record;
mod recovery;
mod replay;
mod scan;
mod shared;
mod wal;
mod writer;

pub use clock::{Clock, ManualClock, SystemClock};
pub use disk::{Disk, DiskFile, DiskLock, DiskSpace, OpenMode};
pub use entry::{Entry, EntryKind, GroupId, GroupState, LogPosition};
pub use error::{Error, ErrorKind};
pub use group::GroupLog;
pub use metrics::WalStatus;
pub use real_disk::RealDisk;
pub use recovery::Recovery;
pub use wal::{SyncCallback, Wal, WalOptions};
