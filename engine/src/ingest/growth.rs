//! Schema on write: tables and columns that rows need, proposed to the metadata group.
//!
//! One `CREATE TABLE IF NOT EXISTS` with the missing columns per table; it may be repeated, and two requests may make
//! the same column at the same time. When they disagree about its type, the catalog's answer wins and the loser decodes
//! again: only its points of the other type are rejected.

use std::sync::Arc;

use quorate_storage::catalog::limits::{COLUMNS_PER_TABLE_MAX, TAGS_PER_TABLE_MAX};
use quorate_storage::catalog::{
    Catalog, CatalogCommand, CatalogRejection, ColumnDefinition, Table, TableOptions,
};
use quorate_storage::{ColumnKind, Store};

use crate::Error;

/// Why a line is refused that needs more columns than its table may have.
const TOO_MANY: &str = "the table has as many columns as it may have";

/// Name of the time column of tables that are made by writing to them.
pub(super) const TIME: &str = "time";

/// What a table must have before rows can be written.
#[derive(Clone, Debug)]
pub(super) struct Needed {
    /// Name of the table.
    pub(super) table: String,
    /// Its columns, in the order in which a new table shows them; the time is used for a new table only.
    pub(super) columns: Vec<ColumnDefinition>,
}

/// The columns, of those wanted, for which the table has room.
fn fitting(table: Option<&Arc<Table>>, wanted: &[ColumnDefinition]) -> Vec<ColumnDefinition> {
    let have = |kind: fn(ColumnKind) -> bool| {
        table.map_or(0, |table| table.columns.iter().filter(|c| kind(c.kind)).count())
    };
    let mut room = COLUMNS_PER_TABLE_MAX.saturating_sub(have(|_| true));
    let mut room_for_tags = TAGS_PER_TABLE_MAX.saturating_sub(have(|kind| kind == ColumnKind::Tag));
    let fits = |column: &&ColumnDefinition| {
        // That of a table which is there is named, and not made.
        if column.kind == ColumnKind::Time && table.is_some() {
            return true;
        }
        let tag = usize::from(column.kind == ColumnKind::Tag);
        let fits = room > 0 && room_for_tags >= tag;
        if fits {
            room -= 1;
            room_for_tags -= tag;
        }
        fits
    };
    wanted.iter().filter(fits).cloned().collect()
}

/// What became of a request for columns.
#[derive(Debug)]
pub(super) enum Growth {
    /// The catalog has them all.
    Done(Arc<Catalog>),
    /// The catalog has a column of the name with another kind: decode again, against this catalog.
    Changed(Arc<Catalog>),
    /// The table may not grow.
    Refused {
        /// The table.
        table: String,
        /// Why.
        why: CatalogRejection,
    },
}

impl Needed {
    /// Columns that the table lacks, or has with another kind.
    fn missing(&self, table: Option<&Arc<Table>>) -> Vec<ColumnDefinition> {
        let has = |c: &ColumnDefinition| {
            table.and_then(|t| t.column(&c.name)).is_some_and(|have| have.kind == c.kind)
        };
        let wanted = self.columns.iter().filter(|c| c.kind != ColumnKind::Time);
        wanted.filter(|c| !has(c)).cloned().collect()
    }
}

/// What to do where a table would have too many columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overflow {
    /// Make the first ones, as many as fit.
    Fill,
    /// Make none.
    Refuse,
}

/// Makes what is missing. `catalog` is what the rows were decoded with.
pub(super) async fn grow(
    store: &Store,
    database: &str,
    catalog: &Arc<Catalog>,
    needed: Vec<Needed>,
    overflow: Overflow,
) -> Result<Growth, Error> {
    let mut grown = false;
    for needed in needed {
        let table = catalog.table(database, &needed.table);
        let missing = needed.missing(table);
        if table.is_some() && missing.is_empty() {
            continue;
        }
        let columns = match table {
            None => needed.columns,
            Some(table) => {
                let time = table.time();
                let time = ColumnDefinition { name: time.name.clone(), kind: time.kind };
                std::iter::once(time).chain(missing).collect()
            }
        };
        let fitting = (overflow == Overflow::Fill)
            .then(|| fitting(table, &columns))
            .filter(|fitting| fitting.len() < columns.len());
        let command = CatalogCommand::CreateTable {
            database: database.to_owned(),
            name: needed.table.clone(),
            columns: fitting.clone().unwrap_or(columns),
            options: TableOptions::default(),
            if_not_exists: true,
            extend: true,
        };
        match store.change_catalog(command).await {
            Ok(_) if fitting.is_some() => {
                let (table, why) = (needed.table, CatalogRejection::Limit(TOO_MANY.to_owned()));
                return Ok(Growth::Refused { table, why });
            }
            Ok(_) => grown = true,
            Err(quorate_storage::Error::Catalog(CatalogRejection::ColumnConflict { .. })) => {
                return Ok(Growth::Changed(store.catalog()));
            }
            Err(quorate_storage::Error::Catalog(
                why @ (CatalogRejection::Limit(_)
                | CatalogRejection::Invalid(_)
                | CatalogRejection::ViewExists(_)),
            )) => return Ok(Growth::Refused { table: needed.table, why }),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Growth::Done(if grown { store.catalog() } else { Arc::clone(catalog) }))
}
