//! The node's shared write-ahead log.

mod background;
mod bytes;
mod clock;
mod disk;
mod entry;
mod error;
mod faults;
mod frame;
mod group;
mod hardstate;
mod log_segment;
mod metrics;
mod power_cut_disk;
mod queue;
mod real_disk;
mod record;
mod recovery;
mod replay;
mod scan;
mod shared;
mod sim_disk;
mod wal;
mod writer;

pub use clock::{Clock, ManualClock, SystemClock};
pub use disk::{Disk, DiskFile, DiskLock, DiskSpace, OpenMode};
pub use entry::{Entry, EntryKind, GroupId, GroupState, LogPosition};
pub use error::{Error, ErrorKind};
pub use faults::{Faults, LogDriver, LogStepper, PlantedBug};
pub use group::GroupLog;
pub use metrics::WalStatus;
pub use power_cut_disk::{PowerCutDisk, disk_from_environment};
pub use real_disk::RealDisk;
pub use recovery::Recovery;
pub use sim_disk::{DiskFault, SimDisk};
pub use wal::{SyncCallback, Wal, WalOptions};
