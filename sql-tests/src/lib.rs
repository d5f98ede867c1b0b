//! What the SQL tests share: real server processes, alone or as a cluster, and a sqllogictest connection that speaks
//! Flight SQL.
//!
//! Nothing here knows the server's internals; everything goes over its sockets.

mod cluster;
mod connection;
mod server;

pub use cluster::{Answer, Cluster, NODES, eventually};
pub use connection::{Connection, SltError};
pub use server::{Disk, Server, ServerOptions};
