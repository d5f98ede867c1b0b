//! Arrow Flight SQL: the service, and the client that the command line uses.

mod client;
mod service;

pub use client::{Client, ClientError, ClientOptions, ClientOutcome};
pub use service::{Service, ServiceOptions};
