//! The SQL engine: sessions, the SQL front, schema on write, planning and operators over the store.

mod engine;
mod error;
pub mod ingest;
mod outcome;
mod session;

pub use engine::{Engine, EngineOptions, Setting};
pub use error::{Error, ErrorKind};
pub use outcome::{Outcome, QueryId, QueryStream, StatementKind, StatementPlan};
pub use session::{Session, SessionOptions};
