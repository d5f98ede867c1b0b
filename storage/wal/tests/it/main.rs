//! Integration tests of the log.

#![expect(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

mod basics;
mod faults;
mod model;
mod support;
