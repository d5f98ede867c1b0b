//! Integration tests of the log.

mod basics;
mod faults;
mod model;
mod support;
