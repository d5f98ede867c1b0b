//! What the SQL tests share: real server processes, alone or as a cluster, the network between them, and a sqllogictest
//! connection that speaks Flight SQL.
//!
//! Nothing here knows the server's internals; everything goes over its sockets.

mod connection;
mod server;

mod cluster;
mod node;

mod network;
mod proxy;

pub use cluster::{Answer, Cluster, ClusterOptions, NODES, eventually};
pub use connection::{Connection, SltError};
pub use network::Network;
pub use proxy::{Flow, Proxy};
pub use server::{Addresses, Disk, Server, ServerOptions, binary, pause};
