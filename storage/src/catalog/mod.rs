//! The catalog: databases, tables and columns, by identity. State of the metadata group.

mod apply;
mod command;
pub mod limits;
mod state;

pub use command::{CatalogCommand, CatalogRejection, CatalogReply, ColumnDefinition, TableChange};
pub use state::{Catalog, Column, Database, DatabaseId, Table, TableOptions};
