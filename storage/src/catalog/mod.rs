//! The catalog: databases, tables and columns, by identity. State of the metadata group.

mod alter;
mod apply;
mod command;
pub mod limits;
mod notes;
mod state;
mod view;

pub use command::{
    CatalogCommand, CatalogRejection, CatalogReply, ColumnDefinition, ExistingView, TableChange,
};
pub use notes::{Note, NoteChange, NoteTarget, Notes, TableNotes};
pub use state::{Catalog, Column, Database, DatabaseId, OptionsChange, Table, TableOptions, View};
pub(crate) use state::{CatalogWithoutNotes, CatalogWithoutViews};
