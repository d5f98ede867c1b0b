//! Notes: what people say of databases, views, tables, columns and series. The store makes nothing of them.
//!
//! They are kept beside what they are about, by its identity, so that a rename keeps them, a drop takes them along, and
//! no record of a table is changed by them: rows that were planned with the table as it was are still taken.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_segment::{ColumnId, SeriesKey, TableId};
use serde::{Deserialize, Serialize};

use super::apply::Outcome;
use super::limits::{
    LABEL_BYTES_MAX, LABELLED_SERIES_MAX, LABELS_PER_SERIES_MAX, NAME_BYTES_MAX, NOTE_BYTES_MAX,
    check_name,
};
use super::{Catalog, CatalogRejection, CatalogReply, DatabaseId};

/// What is said of one thing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// `COMMENT ON`.
    pub comment: Option<String>,
    /// What its values are measured in.
    pub unit: Option<String>,
    /// What it is, at length.
    pub description: Option<String>,
}

/// What is said of a table, its columns and its series.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableNotes {
    /// Of the table itself.
    pub table: Note,
    /// By column.
    pub columns: BTreeMap<ColumnId, Note>,
    /// Labels, name to value, by series.
    pub labels: BTreeMap<SeriesKey, BTreeMap<String, String>>,
}

/// What is said of everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notes {
    /// By database.
    pub databases: BTreeMap<DatabaseId, Note>,
    /// By database and name of a view.
    pub views: BTreeMap<(DatabaseId, String), Note>,
    /// By table.
    pub tables: BTreeMap<TableId, Arc<TableNotes>>,
}

/// What a note is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoteTarget {
    /// A database.
    Database(DatabaseId),
    /// A view, by its database and name.
    View(DatabaseId, String),
    /// A table.
    Table(TableId),
    /// A column of a table.
    Column(TableId, ColumnId),
}

/// One part of a note, from now on; `None` removes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoteChange {
    /// Its comment.
    Comment(Option<String>),
    /// Its unit.
    Unit(Option<String>),
    /// Its description.
    Description(Option<String>),
}

impl Note {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn change(&mut self, change: NoteChange) -> Result<(), CatalogRejection> {
        let (place, text, what, most) = match change {
            NoteChange::Comment(text) => (&mut self.comment, text, "comment", NOTE_BYTES_MAX),
            NoteChange::Unit(text) => (&mut self.unit, text, "unit", NAME_BYTES_MAX),
            NoteChange::Description(text) => {
                (&mut self.description, text, "description", NOTE_BYTES_MAX)
            }
        };
        if let Some(text) = &text {
            check_bytes(what, text, most)?;
        }
        *place = text;
        Ok(())
    }
}

fn check_bytes(what: &str, text: &str, most: usize) -> Result<(), CatalogRejection> {
    if text.len() > most {
        return Err(CatalogRejection::Limit(format!(
            "the {what} has {} bytes, more than {most}",
            text.len()
        )));
    }
    Ok(())
}

impl Notes {
    /// What is said of a table, if anything is.
    pub fn of_table(&self, table: TableId) -> Option<&TableNotes> {
        self.tables.get(&table).map(|notes| &**notes)
    }
}

impl Catalog {
    /// Changes what is said of one thing.
    pub(super) fn annotate(&mut self, target: &NoteTarget, changes: Vec<NoteChange>) -> Outcome {
        let (database, table) = self.target(target)?;
        let before = self.note(target).cloned().unwrap_or_default();
        let mut note = before.clone();
        for change in changes {
            note.change(change)?;
        }
        if note == before {
            return Ok(CatalogReply::Unchanged { database, table });
        }
        match target {
            NoteTarget::Database(id) => put(&mut self.notes.databases, *id, note),
            NoteTarget::View(id, name) => put(&mut self.notes.views, (*id, name.clone()), note),
            NoteTarget::Table(id) => self.table_notes(*id, |notes| notes.table = note),
            NoteTarget::Column(id, column) => {
                self.table_notes(*id, |notes| put(&mut notes.columns, *column, note));
            }
        }
        Ok(CatalogReply::Changed { database, table })
    }

    /// Sets labels of series of a table; a label without a value is removed.
    pub(super) fn label(
        &mut self,
        id: TableId,
        series: &[SeriesKey],
        labels: &BTreeMap<String, Option<String>>,
    ) -> Outcome {
        let table = Arc::clone(self.known_table(id)?);
        for (name, value) in labels {
            check_name("label", name)?;
            check_bytes("value of a label", value.as_deref().unwrap_or_default(), LABEL_BYTES_MAX)?;
        }
        let before = self.notes.of_table(id).map(|notes| notes.labels.clone()).unwrap_or_default();
        let mut after = before.clone();
        for key in series {
            let of_series = after.entry(key.clone()).or_default();
            for (name, value) in labels {
                match value {
                    Some(value) => of_series.insert(name.clone(), value.clone()),
                    None => of_series.remove(name),
                };
            }
            if of_series.len() > LABELS_PER_SERIES_MAX {
                return Err(CatalogRejection::Limit(format!(
                    "a series of table {:?} would have {} labels, more than {LABELS_PER_SERIES_MAX}",
                    table.name,
                    of_series.len()
                )));
            }
        }
        after.retain(|_, labels| !labels.is_empty());
        if after.len() > LABELLED_SERIES_MAX {
            return Err(CatalogRejection::Limit(format!(
                "{} series of table {:?} would have labels, more than {LABELLED_SERIES_MAX}",
                after.len(),
                table.name
            )));
        }
        let (database, table) = (Some(table.database), Some(id));
        if after == before {
            return Ok(CatalogReply::Unchanged { database, table });
        }
        self.table_notes(id, |notes| notes.labels = after);
        Ok(CatalogReply::Changed { database, table })
    }

    /// Forgets what was said of things that are gone.
    pub(super) fn drop_notes(&mut self) {
        let Self { notes, databases, tables, views, .. } = self;
        notes.databases.retain(|id, _| databases.contains_key(id));
        notes.views.retain(|view, _| views.contains_key(view));
        notes.tables.retain(|id, _| tables.contains_key(id));
    }

    /// Forgets what was said of a column.
    pub(super) fn drop_column_note(&mut self, id: TableId, column: ColumnId) {
        if self.notes.of_table(id).is_some_and(|notes| notes.columns.contains_key(&column)) {
            self.table_notes(id, |notes| {
                notes.columns.remove(&column);
            });
        }
    }

    /// The database and table of a target that is there.
    fn target(
        &self,
        target: &NoteTarget,
    ) -> Result<(Option<DatabaseId>, Option<TableId>), CatalogRejection> {
        let database = |id: &DatabaseId| {
            let no_database = || CatalogRejection::NoDatabase(format!("#{}", id.0));
            self.databases.get(id).map(|_| Some(*id)).ok_or_else(no_database)
        };
        match target {
            NoteTarget::Database(id) => Ok((database(id)?, None)),
            NoteTarget::View(id, name) => {
                if !self.views.contains_key(&(*id, name.clone())) {
                    return Err(CatalogRejection::NoView(name.clone()));
                }
                Ok((database(id)?, None))
            }
            NoteTarget::Table(id) => Ok((Some(self.known_table(*id)?.database), Some(*id))),
            NoteTarget::Column(id, column) => {
                let table = self.known_table(*id)?;
                if !table.columns.iter().any(|c| c.id == *column) {
                    return Err(CatalogRejection::Invalid(format!(
                        "the column was dropped from table {:?}",
                        table.name
                    )));
                }
                Ok((Some(table.database), Some(*id)))
            }
        }
    }

    fn note(&self, target: &NoteTarget) -> Option<&Note> {
        match target {
            NoteTarget::Database(id) => self.notes.databases.get(id),
            NoteTarget::View(id, name) => self.notes.views.get(&(*id, name.clone())),
            NoteTarget::Table(id) => self.notes.of_table(*id).map(|notes| &notes.table),
            NoteTarget::Column(id, column) => self.notes.of_table(*id)?.columns.get(column),
        }
    }

    /// Changes the notes of a table, and keeps them if there are some.
    fn table_notes(&mut self, id: TableId, change: impl FnOnce(&mut TableNotes)) {
        let notes = self.notes.tables.entry(id).or_default();
        change(Arc::make_mut(notes));
        if **notes == TableNotes::default() {
            self.notes.tables.remove(&id);
        }
    }
}

/// Puts a note into its place, which one that says nothing does not have.
fn put<K: Ord>(notes: &mut BTreeMap<K, Note>, key: K, note: Note) {
    if note.is_empty() {
        notes.remove(&key);
    } else {
        notes.insert(key, note);
    }
}
