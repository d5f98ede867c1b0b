//! Integration tests of the log.

mod basics;
mod support;
