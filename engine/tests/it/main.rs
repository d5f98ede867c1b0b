//! The engine over a real store in a temporary directory.

mod fixture;
mod limits;
mod parameters;
mod plans;
mod queries;
mod sessions;
mod statements;
