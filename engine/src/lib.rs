//! The SQL engine: sessions, the SQL front, schema on write, planning and operators over the store.
//!
//! ```text
//! session → sql (parse, action) → catalog (providers) → prune → scan → exec (query threads, stream) → client
//!                    └→ ingest → storage
//! ```

mod buckets;
mod catalog;
mod engine;
mod error;
mod exec;
mod in_lists;
pub mod ingest;
mod intervals;
mod latest;
mod lossy_casts;
mod memory;
mod newest;
mod one_zero;
mod outcome;
mod patterns;
mod physical;
mod profile;
mod prune;
mod scan;
mod session;
mod sql;
mod summaries;
mod times;

pub use engine::{Engine, EngineOptions, QueryStatus, Setting};
pub use error::{Error, ErrorKind};
pub use outcome::{Outcome, QueryId, QueryStream, StatementKind, StatementPlan};
pub use quorate_timeseries::zone_named;
pub use session::{PreparedText, Session, SessionOptions};
