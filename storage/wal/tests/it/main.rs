//! Integration tests of the log.

mod basics;
mod model;
mod support;
