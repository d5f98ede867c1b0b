//! The settings of a node: flags, environment, file, defaults, in that order.
//!
//! One [`Layer`] is what one source says; [`Settings::resolve`] puts them on top of each other and remembers for
//! `system.settings` where each value came from. The three sources name the same settings: `--http-addr`,
//! `QUORATE_HTTP_ADDR`, and `http_addr` in the file.

mod layer;
mod resolve;
mod units;

pub(crate) use layer::Layer;
pub(crate) use resolve::{ClusterSettings, LogFormat, Settings};
pub(crate) use units::Span;
