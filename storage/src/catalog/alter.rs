//! Changes of names and of columns within a table.
//!
//! Columns are named by id, so that a command that is repeated finds that it was carried out.

use std::sync::Arc;

use quorate_segment::{ColumnId, ColumnKind, TableId};

use super::apply::Outcome;
use super::limits::check_name;
use super::{Catalog, CatalogRejection, CatalogReply};

impl Catalog {
    pub(super) fn rename_table(&mut self, index: u64, id: TableId, name: String) -> Outcome {
        let current = Arc::clone(self.known_table(id)?);
        let database = Some(current.database);
        if current.name == name {
            return Ok(CatalogReply::Unchanged { database, table: Some(id) });
        }
        check_name("table", &name)?;
        self.check_no_view(current.database, &name)?;
        let Some(entry) = self.databases.get_mut(&current.database) else {
            return Err(CatalogRejection::NoTable(current.name.clone()));
        };
        if entry.tables.contains_key(&name) {
            return Err(CatalogRejection::TableExists(name));
        }
        let entry = Arc::make_mut(entry);
        entry.tables.remove(&current.name);
        entry.tables.insert(name.clone(), id);
        let table = self.table_mut(id);
        table.name = name;
        table.changed_at = index;
        Ok(CatalogReply::Changed { database, table: Some(id) })
    }

    pub(super) fn rename_column(
        &mut self,
        index: u64,
        id: TableId,
        column: ColumnId,
        name: String,
    ) -> Outcome {
        let current = Arc::clone(self.known_table(id)?);
        let database = Some(current.database);
        let Some(at) = current.columns.iter().position(|c| c.id == column) else {
            return Err(CatalogRejection::Invalid(format!(
                "the column to be renamed to {name:?} was dropped from table {:?}",
                current.name
            )));
        };
        if current.columns[at].name == name {
            return Ok(CatalogReply::Unchanged { database, table: Some(id) });
        }
        check_name("column", &name)?;
        if current.column(&name).is_some() {
            return Err(CatalogRejection::Invalid(format!(
                "table {:?} has a column {name:?} already",
                current.name
            )));
        }
        let table = self.table_mut(id);
        table.columns[at].name = name;
        table.changed_at = index;
        Ok(CatalogReply::Changed { database, table: Some(id) })
    }

    pub(super) fn drop_column(&mut self, index: u64, id: TableId, column: ColumnId) -> Outcome {
        let current = Arc::clone(self.known_table(id)?);
        let database = Some(current.database);
        let Some(at) = current.columns.iter().position(|c| c.id == column) else {
            return Ok(CatalogReply::Unchanged { database, table: Some(id) });
        };
        let what = match current.columns[at].kind {
            ColumnKind::Field(_) => None,
            ColumnKind::Tag => Some("is a tag: rows that differ in nothing else would become one"),
            ColumnKind::Time => Some("is the time, which every table has"),
        };
        if let Some(what) = what {
            return Err(CatalogRejection::Invalid(format!(
                "column {:?} of table {:?} {what}; it cannot be dropped",
                current.columns[at].name, current.name
            )));
        }
        let table = self.table_mut(id);
        table.columns.remove(at);
        table.changed_at = index;
        self.drop_column_note(id, column);
        Ok(CatalogReply::Changed { database, table: Some(id) })
    }
}
