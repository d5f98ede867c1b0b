//! The SQL front: text in, one statement out, carried out by the engine and by nobody else.
//!
//! ```text
//! text → parse (tokens, `?` numbered) → Action (every statement kind, none forgotten) ─┬→ query   DataFusion plans it
//!                                                                                      ├→ insert, delete, create …
//!                                                                                      └→ error   named, never silence
//! ```
//!
//! DataFusion would run DDL in this node's memory, answer OK, and forget it at restart; so only what [`query`] has
//! checked to be a pure read reaches it.

mod action;
mod alter;
mod cast;
mod chains;
mod cluster;
mod concat;
mod context;
mod copy;
mod create;
mod delete;
mod delete_series;
mod distinct;
mod duration;
mod functions;
mod gaps;
mod insert;
mod item_names;
mod keyed;
mod memory;
mod names;
mod notes;
mod optimize;
mod parameters;
mod parse;
mod plans;
mod points;
mod prepared;
mod query;
mod run;
mod series;
mod session_functions;
mod settings;
mod shapes;
mod show;
mod table_functions;
mod templates;
#[cfg(test)]
mod test_support;
mod update;
mod values;
mod view;
mod warm_up;
mod words;
mod zones;

pub(crate) use context::StatementContext;
pub(crate) use copy::remove_unfinished;
pub(crate) use duration::format_duration;
pub(crate) use gaps::install as install_gaps;
pub(crate) use parse::query as parse_query;
pub(crate) use plans::KnownPlans;
pub(crate) use run::{execute, plan};
pub(crate) use session_functions::{install as install_session_functions, set_database};
use settings::current_database;
pub(crate) use show::sql_type;
pub(crate) use warm_up::warm_up;
