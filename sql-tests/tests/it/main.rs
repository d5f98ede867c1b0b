//! Tests over the wire of a real server process.

mod differential;
mod load;
mod nab;
