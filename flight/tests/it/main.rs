//! The service over a real engine, spoken to by real clients.

#![expect(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

mod cancel;
mod driver;
mod errors;
mod hostile;
mod ingest;
mod metadata;
mod mutation;
mod prepared;
mod query;
mod server;
mod session;
