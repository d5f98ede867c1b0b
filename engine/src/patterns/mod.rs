//! Patterns that statements are written with: regular expressions, checked before anything is read with them.
//!
//! A pattern that stands in a statement is compiled once while the statement is planned. One that is wrong, or so large
//! that it would take the node's memory (`(a{1000}){1000}`), is an error that names it, its place or the limit.

mod limits;
mod rewrite;
mod similar;

pub(crate) use limits::whole;
pub(crate) use rewrite::PatternRewrite;
