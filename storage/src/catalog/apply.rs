//! The catalog's state machine: one command in, one reply and the next catalog out.
//!
//! [`Catalog::apply`] is pure: no clock, no configuration, no randomness, so that every replica of the metadata group
//! holds the same catalog at the same log index. A command that is repeated changes nothing the second time.
//!
//! Invariants:
//! - ids of databases, tables and columns only ascend and are never reused, those of dropped ones included;
//! - a rejected command leaves the catalog as it was;
//! - a tag and a field of one table never share a name; a table has exactly one time column.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_segment::{ColumnId, ColumnKind, TableId};

use super::limits::{
    DATABASES_MAX, TABLES_PER_DATABASE_MAX, check_columns, check_counts, check_name, check_options,
    kind_text,
};
use super::{
    Catalog, CatalogCommand, CatalogRejection, CatalogReply, Column, ColumnDefinition, Database,
    DatabaseId, OptionsChange, Table, TableChange, TableOptions, View,
};

pub(super) type Outcome = Result<CatalogReply, CatalogRejection>;

/// What `CREATE TABLE` asks for.
struct NewTable {
    database: String,
    name: String,
    columns: Vec<ColumnDefinition>,
    options: TableOptions,
    if_not_exists: bool,
    extend: bool,
}

impl Catalog {
    /// Applies the command of log entry `index` of the metadata group.
    pub fn apply(&mut self, index: u64, command: CatalogCommand) -> CatalogReply {
        let outcome = match command {
            CatalogCommand::CreateDatabase { name, if_not_exists } => {
                self.create_database(name, if_not_exists)
            }
            CatalogCommand::DropDatabase { name, if_exists } => {
                self.drop_database(&name, if_exists)
            }
            CatalogCommand::CreateTable {
                database,
                name,
                columns,
                options,
                if_not_exists,
                extend,
            } => self.create_table(
                index,
                NewTable { database, name, columns, options, if_not_exists, extend },
            ),
            CatalogCommand::AlterTable { table, change } => self.alter_table(index, table, change),
            CatalogCommand::DropTable { database, name, if_exists } => {
                self.drop_table(&database, &name, if_exists)
            }
            CatalogCommand::CreateView { database, name, query, existing } => {
                self.create_view(&database, View { name, query }, existing)
            }
            CatalogCommand::DropView { database, name, if_exists } => {
                self.drop_view(&database, &name, if_exists)
            }
            CatalogCommand::Annotate { target, changes } => self.annotate(&target, changes),
            CatalogCommand::Label { table, series, labels } => self.label(table, &series, &labels),
        };
        match outcome {
            Ok(reply) => {
                if matches!(reply, CatalogReply::Changed { .. }) {
                    self.index = index;
                }
                reply
            }
            Err(rejection) => CatalogReply::Rejected(rejection),
        }
    }

    fn create_database(&mut self, name: String, if_not_exists: bool) -> Outcome {
        if let Some(database) = self.database(&name) {
            return if if_not_exists {
                Ok(CatalogReply::Unchanged { database: Some(database.id), table: None })
            } else {
                Err(CatalogRejection::DatabaseExists(name))
            };
        }
        check_name("database", &name)?;
        if self.databases.len() >= DATABASES_MAX {
            return Err(CatalogRejection::Limit(format!(
                "the cluster has {DATABASES_MAX} databases, the most it can have"
            )));
        }
        let id = DatabaseId(self.take_id());
        self.databases.insert(id, Arc::new(Database { id, name, tables: BTreeMap::default() }));
        Ok(CatalogReply::Changed { database: Some(id), table: None })
    }

    fn drop_database(&mut self, name: &str, if_exists: bool) -> Outcome {
        let Some(database) = self.database(name).map(Arc::clone) else {
            return if if_exists {
                Ok(CatalogReply::Unchanged { database: None, table: None })
            } else {
                Err(CatalogRejection::NoDatabase(name.to_owned()))
            };
        };
        for table in database.tables.values() {
            self.tables.remove(table);
            self.dropped.insert(*table);
        }
        self.databases.remove(&database.id);
        self.views.retain(|(of, _), _| *of != database.id);
        self.drop_notes();
        Ok(CatalogReply::Changed { database: Some(database.id), table: None })
    }

    fn create_table(&mut self, index: u64, new: NewTable) -> Outcome {
        let Some(database) = self.database(&new.database).map(Arc::clone) else {
            return Err(CatalogRejection::NoDatabase(new.database));
        };
        if let Some(&id) = database.tables.get(&new.name) {
            if !new.if_not_exists {
                return Err(CatalogRejection::TableExists(new.name));
            }
            return if new.extend {
                self.add_columns(index, id, new.columns)
            } else {
                Ok(CatalogReply::Unchanged { database: Some(database.id), table: Some(id) })
            };
        }
        self.check_no_view(database.id, &new.name)?;
        check_name("table", &new.name)?;
        check_columns(&new.columns)?;
        check_options(&new.options)?;
        if database.tables.len() >= TABLES_PER_DATABASE_MAX {
            return Err(CatalogRejection::Limit(format!(
                "database {:?} has {TABLES_PER_DATABASE_MAX} tables, the most it can have",
                database.name
            )));
        }
        let id = TableId(self.take_id());
        let mut table = Table {
            id,
            database: database.id,
            name: new.name.clone(),
            columns: Vec::with_capacity(new.columns.len()),
            options: new.options,
            column_id_next: 1,
            changed_at: index,
        };
        for column in new.columns {
            table.push_column(column);
        }
        self.tables.insert(id, Arc::new(table));
        let entry = self.databases.get_mut(&database.id).expect("found by name above");
        Arc::make_mut(entry).tables.insert(new.name, id);
        Ok(CatalogReply::Changed { database: Some(database.id), table: Some(id) })
    }

    fn alter_table(&mut self, index: u64, table: TableId, change: TableChange) -> Outcome {
        match change {
            TableChange::AddColumns(columns) => self.add_columns(index, table, columns),
            TableChange::SetOptions(options) => self.set_options(index, table, options),
            TableChange::Rename(name) => self.rename_table(index, table, name),
            TableChange::RenameColumn { column, name } => {
                self.rename_column(index, table, column, name)
            }
            TableChange::DropColumn(column) => self.drop_column(index, table, column),
        }
    }

    fn add_columns(&mut self, index: u64, id: TableId, columns: Vec<ColumnDefinition>) -> Outcome {
        let current = self.known_table(id)?;
        let mut missing: Vec<ColumnDefinition> = Vec::new();
        for column in columns {
            let have = current
                .column(&column.name)
                .map(|c| c.kind)
                .or_else(|| missing.iter().find(|c| c.name == column.name).map(|c| c.kind));
            match have {
                Some(have) if have == column.kind => {}
                Some(have) => {
                    return Err(CatalogRejection::ColumnConflict {
                        table: current.name.clone(),
                        column: column.name,
                        have: kind_text(have).to_owned(),
                        want: kind_text(column.kind).to_owned(),
                    });
                }
                None if column.kind == ColumnKind::Time => {
                    return Err(CatalogRejection::Invalid(format!(
                        "the time column of table {:?} is {:?}, not {:?}",
                        current.name,
                        current.time().name,
                        column.name
                    )));
                }
                None => {
                    check_name("column", &column.name)?;
                    missing.push(column);
                }
            }
        }
        let database = Some(current.database);
        if missing.is_empty() {
            return Ok(CatalogReply::Unchanged { database, table: Some(id) });
        }
        check_counts(current.columns.iter().map(|c| c.kind).chain(missing.iter().map(|c| c.kind)))?;
        let table = self.table_mut(id);
        for column in missing {
            table.push_column(column);
        }
        table.changed_at = index;
        Ok(CatalogReply::Changed { database, table: Some(id) })
    }

    fn set_options(&mut self, index: u64, id: TableId, options: TableOptions) -> Outcome {
        let current = self.known_table(id)?;
        let database = Some(current.database);
        if current.options == options {
            return Ok(CatalogReply::Unchanged { database, table: Some(id) });
        }
        check_options(&options)?;
        if !options.routes_as(&current.options) {
            return Err(CatalogRejection::Invalid(format!(
                "time_slice or spread of table {:?} were changed by somebody else meanwhile; try again",
                current.name
            )));
        }
        self.put_options(index, id, options);
        Ok(CatalogReply::Changed { database, table: Some(id) })
    }

    /// The options that a table would have after a change of its routing; checked.
    pub(crate) fn options_after(
        &self,
        id: TableId,
        change: &OptionsChange,
    ) -> Result<TableOptions, CatalogRejection> {
        let options = change.of(&self.known_table(id)?.options);
        check_options(&options)?;
        Ok(options)
    }

    /// Sets options of a table that is there, in the metadata group's entry `index`.
    pub(crate) fn put_options(&mut self, index: u64, id: TableId, options: TableOptions) {
        let table = self.table_mut(id);
        table.options = options;
        table.changed_at = index;
        self.index = index;
    }

    fn drop_table(&mut self, database: &str, name: &str, if_exists: bool) -> Outcome {
        let Some(found) = self.database(database).map(Arc::clone) else {
            return if if_exists {
                Ok(CatalogReply::Unchanged { database: None, table: None })
            } else {
                Err(CatalogRejection::NoDatabase(database.to_owned()))
            };
        };
        let Some(&id) = found.tables.get(name) else {
            return if if_exists {
                Ok(CatalogReply::Unchanged { database: Some(found.id), table: None })
            } else {
                Err(CatalogRejection::NoTable(name.to_owned()))
            };
        };
        self.tables.remove(&id);
        self.dropped.insert(id);
        let entry = self.databases.get_mut(&found.id).expect("found by name above");
        Arc::make_mut(entry).tables.remove(name);
        self.drop_notes();
        Ok(CatalogReply::Changed { database: Some(found.id), table: Some(id) })
    }

    pub(super) fn known_table(&self, id: TableId) -> Result<&Arc<Table>, CatalogRejection> {
        self.tables.get(&id).ok_or_else(|| CatalogRejection::NoTable(format!("#{}", id.0)))
    }

    pub(super) fn table_mut(&mut self, id: TableId) -> &mut Table {
        Arc::make_mut(self.tables.get_mut(&id).expect("checked by the caller"))
    }

    fn take_id(&mut self) -> u64 {
        // Ids start at 1, so that 0 never names anything.
        self.id_next = self.id_next.max(1);
        let id = self.id_next;
        self.id_next += 1;
        id
    }
}

impl Table {
    fn push_column(&mut self, column: ColumnDefinition) {
        let id = ColumnId(self.column_id_next);
        self.column_id_next += 1;
        self.columns.push(Column { id, name: column.name, kind: column.kind });
    }
}

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
