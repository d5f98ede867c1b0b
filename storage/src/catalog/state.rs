//! What the metadata group has agreed on.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_segment::{ColumnId, ColumnKind, RowSchema, TableId};
use serde::{Deserialize, Serialize};

use super::Notes;

/// A database, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DatabaseId(pub u64);

/// One version of the catalog. Immutable; a new one is made per applied command.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    /// Log index of the metadata group's last command that changed it.
    pub index: u64,
    /// Databases by id.
    pub databases: BTreeMap<DatabaseId, Arc<Database>>,
    /// Tables by id.
    pub tables: BTreeMap<TableId, Arc<Table>>,
    /// Ids of dropped tables.
    pub dropped: std::collections::BTreeSet<TableId>,
    /// The next database's and table's id.
    pub id_next: u64,
    /// Views by database and name. They share their names with tables.
    pub views: BTreeMap<(DatabaseId, String), Arc<View>>,
    /// What is said of all this.
    pub notes: Notes,
}

/// A query under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Name.
    pub name: String,
    /// The query's text. Names in it are looked up from the view's database.
    pub query: String,
}

/// [`Catalog`] as it was kept before there were views.
#[derive(Debug, Deserialize)]
pub(crate) struct CatalogWithoutViews {
    index: u64,
    databases: BTreeMap<DatabaseId, Arc<Database>>,
    tables: BTreeMap<TableId, Arc<Table>>,
    dropped: std::collections::BTreeSet<TableId>,
    id_next: u64,
}

impl From<CatalogWithoutViews> for Catalog {
    fn from(old: CatalogWithoutViews) -> Self {
        let CatalogWithoutViews { index, databases, tables, dropped, id_next } = old;
        let views = BTreeMap::new();
        Self { index, databases, tables, dropped, id_next, views, notes: Notes::default() }
    }
}

/// [`Catalog`] as it was kept before there were notes.
#[derive(Debug, Deserialize)]
pub(crate) struct CatalogWithoutNotes {
    index: u64,
    databases: BTreeMap<DatabaseId, Arc<Database>>,
    tables: BTreeMap<TableId, Arc<Table>>,
    dropped: std::collections::BTreeSet<TableId>,
    id_next: u64,
    views: BTreeMap<(DatabaseId, String), Arc<View>>,
}

impl From<CatalogWithoutNotes> for Catalog {
    fn from(old: CatalogWithoutNotes) -> Self {
        let CatalogWithoutNotes { index, databases, tables, dropped, id_next, views } = old;
        Self { index, databases, tables, dropped, id_next, views, notes: Notes::default() }
    }
}

/// A database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Database {
    /// Identity.
    pub id: DatabaseId,
    /// Name.
    pub name: String,
    /// Its tables by name.
    pub tables: BTreeMap<String, TableId>,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Identity within the table.
    pub id: ColumnId,
    /// Name.
    pub name: String,
    /// What it is.
    pub kind: ColumnKind,
}

/// Options of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableOptions {
    /// Age in ns after which rows may go; `None` keeps them.
    pub retention_ns: Option<i64>,
    /// Width of a time slice in ns.
    pub time_slice_ns: i64,
    /// Over how many tokens the series of one slice spread.
    pub spread: u32,
}

/// Which options of a table are to change, and to what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptionsChange {
    /// Retention to be; the inner `None` keeps all rows.
    pub retention_ns: Option<Option<i64>>,
    /// Width of a time slice to be.
    pub time_slice_ns: Option<i64>,
    /// Spread to be.
    pub spread: Option<u32>,
}

impl OptionsChange {
    /// The options after the change.
    pub fn of(&self, options: &TableOptions) -> TableOptions {
        TableOptions {
            retention_ns: self.retention_ns.unwrap_or(options.retention_ns),
            time_slice_ns: self.time_slice_ns.unwrap_or(options.time_slice_ns),
            spread: self.spread.unwrap_or(options.spread),
        }
    }
}

impl TableOptions {
    /// Whether rows are placed alike.
    pub(crate) fn routes_as(&self, other: &Self) -> bool {
        (self.time_slice_ns, self.spread) == (other.time_slice_ns, other.spread)
    }
}

impl Default for TableOptions {
    fn default() -> Self {
        Self { retention_ns: None, time_slice_ns: 86_400_000_000_000, spread: 1 }
    }
}

/// A table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Identity.
    pub id: TableId,
    /// Its database.
    pub database: DatabaseId,
    /// Name.
    pub name: String,
    /// Columns in the order in which SQL shows them; ids ascend within each kind.
    pub columns: Vec<Column>,
    /// Options.
    pub options: TableOptions,
    /// The next column's id.
    pub column_id_next: u32,
    /// Log index of the command that changed it last.
    pub changed_at: u64,
}

impl Catalog {
    /// A database by name.
    pub fn database(&self, name: &str) -> Option<&Arc<Database>> {
        self.databases.values().find(|d| d.name == name)
    }
    /// A table by names.
    pub fn table(&self, database: &str, table: &str) -> Option<&Arc<Table>> {
        self.tables.get(self.database(database)?.tables.get(table)?)
    }
    /// A view by names.
    pub fn view(&self, database: &str, view: &str) -> Option<&Arc<View>> {
        self.views.get(&(self.database(database)?.id, view.to_owned()))
    }
    /// The views of a database, by name.
    pub fn views_of(&self, database: DatabaseId) -> impl Iterator<Item = &Arc<View>> {
        let of = move |((id, _), _): &(&(DatabaseId, String), &Arc<View>)| *id == database;
        self.views.iter().filter(of).map(|(_, view)| view)
    }
}

impl Table {
    /// The time column.
    ///
    /// # Panics
    ///
    /// Never: a table without a time column is refused.
    pub fn time(&self) -> &Column {
        self.columns
            .iter()
            .find(|c| c.kind == ColumnKind::Time)
            .expect("every table has a time column")
    }
    /// Tags, ascending by id: the positions of a series key.
    pub fn tags(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|c| c.kind == ColumnKind::Tag)
    }
    /// Fields, ascending by id.
    pub fn fields(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|c| matches!(c.kind, ColumnKind::Field(_)))
    }
    /// A column by name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }
    /// The columns as stored.
    pub fn row_schema(&self) -> RowSchema {
        let spec = |c: &Column| quorate_segment::ColumnSpec {
            id: c.id,
            name: c.name.clone(),
            kind: c.kind,
        };
        RowSchema {
            table: self.id,
            time: spec(self.time()),
            tags: self.tags().map(spec).collect(),
            fields: self.fields().map(spec).collect(),
        }
    }
}
