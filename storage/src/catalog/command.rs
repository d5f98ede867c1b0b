//! Commands of the metadata group that change the catalog, and their replies.

use std::collections::BTreeMap;

use quorate_segment::{ColumnId, ColumnKind, SeriesKey, TableId};
use serde::{Deserialize, Serialize};

use super::{DatabaseId, NoteChange, NoteTarget, TableOptions};

/// A column that a statement or a write asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnDefinition {
    /// Name.
    pub name: String,
    /// What it is.
    pub kind: ColumnKind,
}

/// A change of a table that is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum TableChange {
    /// Adds the columns that are missing; one that is there with the same kind is left alone, with another kind it is
    /// a conflict.
    AddColumns(Vec<ColumnDefinition>),
    /// Sets the options.
    SetOptions(TableOptions),
    /// Gives the table another name within its database.
    Rename(String),
    /// Gives a column another name.
    RenameColumn {
        /// Which.
        column: ColumnId,
        /// Its name from now on.
        name: String,
    },
    /// Drops a field. Its id is never given again: a column of its name that comes later is another one.
    DropColumn(ColumnId),
}

/// What becomes of a view that is there when one of its name is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExistingView {
    /// It stays, and the command is refused.
    Refuse,
    /// It stays, which is fine.
    Keep,
    /// It goes.
    Replace,
}

/// A command. Names are case-sensitive; all commands may be repeated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CatalogCommand {
    /// Makes a database.
    CreateDatabase {
        /// Name.
        name: String,
        /// Whether an existing one is fine.
        if_not_exists: bool,
    },
    /// Drops a database with its tables.
    DropDatabase {
        /// Name.
        name: String,
        /// Whether a missing one is fine.
        if_exists: bool,
    },
    /// Makes a table. With `if_not_exists`, an existing table gets the missing columns only if `extend`.
    CreateTable {
        /// Database.
        database: String,
        /// Name.
        name: String,
        /// Columns in SQL's order, exactly one of them the time.
        columns: Vec<ColumnDefinition>,
        /// Options.
        options: TableOptions,
        /// Whether an existing one is fine.
        if_not_exists: bool,
        /// Whether an existing one gets the columns that it lacks (schema on write).
        extend: bool,
    },
    /// Changes a table.
    AlterTable {
        /// Which.
        table: TableId,
        /// How.
        change: TableChange,
    },
    /// Drops a table.
    DropTable {
        /// Database.
        database: String,
        /// Name.
        name: String,
        /// Whether a missing one is fine.
        if_exists: bool,
    },
    /// Makes a view.
    CreateView {
        /// Database.
        database: String,
        /// Name.
        name: String,
        /// Its query, which was planned.
        query: String,
        /// What becomes of one that is there.
        existing: ExistingView,
    },
    /// Drops a view.
    DropView {
        /// Database.
        database: String,
        /// Name.
        name: String,
        /// Whether a missing one is fine.
        if_exists: bool,
    },
    /// Changes what is said of a database, view, table or column.
    Annotate {
        /// Of which.
        target: NoteTarget,
        /// How.
        changes: Vec<NoteChange>,
    },
    /// Sets labels of series.
    Label {
        /// The table.
        table: TableId,
        /// Which of its series.
        series: Vec<SeriesKey>,
        /// Name to value; no value removes the label.
        labels: BTreeMap<String, Option<String>>,
    },
}

/// Why a command was refused. All replicas agree on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum CatalogRejection {
    /// No such database.
    #[error("database {0:?} does not exist")]
    NoDatabase(String),
    /// No such table.
    #[error("table {0:?} does not exist")]
    NoTable(String),
    /// There already.
    #[error("database {0:?} already exists")]
    DatabaseExists(String),
    /// There already.
    #[error("table {0:?} already exists")]
    TableExists(String),
    /// A column of the name is there with another kind.
    #[error("column {column:?} of table {table:?} is {have}, not {want}")]
    ColumnConflict {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// What it is.
        have: String,
        /// What was asked for.
        want: String,
    },
    /// A limit of the catalog.
    #[error("{0}")]
    Limit(String),
    /// A definition that makes no table, such as one without a time column.
    #[error("{0}")]
    Invalid(String),
    /// No such view.
    #[error("view {0:?} does not exist")]
    NoView(String),
    /// There already.
    #[error("view {0:?} already exists")]
    ViewExists(String),
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CatalogReply {
    /// Changed; the id of what it was about.
    Changed {
        /// Database, where there is one.
        database: Option<DatabaseId>,
        /// Table, where there is one.
        table: Option<TableId>,
    },
    /// It was so already.
    Unchanged {
        /// Database, where there is one.
        database: Option<DatabaseId>,
        /// Table, where there is one.
        table: Option<TableId>,
    },
    /// Refused.
    Rejected(CatalogRejection),
}
