//! The read views that the scans of one statement share.
//!
//! A table that a statement names once is viewed over the times that it asks for, so that only the shards that may hold
//! them are asked. A table that it names several times (a self join) is viewed once, over all of time: both sides must
//! see the same rows.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::RwLock;
use quorate_storage::scan::{TableView, TimeRange};
use quorate_storage::{ReadLevel, Store, TableId};

use crate::Error;

/// The read views of one statement.
#[derive(Debug)]
pub(crate) struct ReadViews {
    store: Store,
    level: ReadLevel,
    shared: RwLock<BTreeSet<TableId>>,
    taken: tokio::sync::Mutex<BTreeMap<TableId, TableView>>,
}

impl ReadViews {
    /// No views yet; they are taken at this level.
    pub(crate) fn new(store: Store, level: ReadLevel) -> Self {
        Self { store, level, shared: RwLock::default(), taken: tokio::sync::Mutex::default() }
    }

    /// Says which tables are scanned several times.
    pub(crate) fn share(&self, tables: BTreeSet<TableId>) {
        *self.shared.write() = tables;
    }

    /// A view of a table that has its rows in `time`.
    pub(crate) async fn view(&self, table: TableId, time: TimeRange) -> Result<TableView, Error> {
        if !self.shared.read().contains(&table) {
            return Ok(self.store.view(table, time, &self.level).await?);
        }
        let mut taken = self.taken.lock().await;
        if let Some(view) = taken.get(&table) {
            return Ok(view.clone());
        }
        let view = self.store.view(table, TimeRange::ALL, &self.level).await?;
        taken.insert(table, view.clone());
        Ok(view)
    }
}
