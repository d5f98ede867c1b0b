//! The store through its public interface.

#![expect(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

mod basics;
mod cluster;
mod cluster_mending;
mod crash;
mod damage;
mod limits;
mod support;
