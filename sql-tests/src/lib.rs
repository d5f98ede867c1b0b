//! What the SQL tests share: a real server process, and a sqllogictest connection that speaks Flight SQL.
//!
//! Nothing here knows the server's internals; everything goes over its sockets.

mod connection;
mod server;

pub use connection::{Connection, SltError};
pub use server::{Disk, Server, ServerOptions};
