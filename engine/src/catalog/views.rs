//! The read views that the scans of one statement share.
//!
//! A table that a statement names once is viewed over the times that it asks for, so that only the shards that may hold
//! them are asked. A table that it names several times (a self join) is viewed once, over all of time: both sides must
//! see the same rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::internal_datafusion_err;
use datafusion::error::DataFusionError;
use parking_lot::RwLock;
use quorate_storage::scan::{TableView, TimeRange};
use quorate_storage::{ReadLevel, Store, TableId};

use crate::Error;

/// The read views of one statement, which finds them among its state's extensions.
#[derive(Debug)]
pub(crate) struct ReadViews {
    store: Store,
    level: ReadLevel,
    shared: RwLock<BTreeSet<TableId>>,
    taken: tokio::sync::Mutex<BTreeMap<TableId, TableView>>,
}

/// The read views of the statement that a state belongs to.
pub(crate) fn views_of(state: &dyn Session) -> Result<Arc<ReadViews>, DataFusionError> {
    let views = state.config().get_extension::<ReadViews>();
    views.ok_or_else(|| internal_datafusion_err!("a statement without read views"))
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

    /// Which tables are scanned several times.
    pub(crate) fn shared(&self) -> BTreeSet<TableId> {
        self.shared.read().clone()
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

    /// Views of several tables, in their order.
    pub(crate) async fn several(
        &self,
        tables: &[TableId],
        time: TimeRange,
    ) -> Result<Vec<TableView>, Error> {
        let shared: Vec<TableId> = {
            let shared = self.shared.read();
            tables.iter().filter(|table| shared.contains(table)).copied().collect()
        };
        if shared.is_empty() {
            return Ok(self.store.views(tables, time, &self.level).await?);
        }
        let mut taken = self.taken.lock().await;
        let missing: Vec<_> = shared.into_iter().filter(|t| !taken.contains_key(t)).collect();
        let views = self.store.views(&missing, TimeRange::ALL, &self.level).await?;
        taken.extend(missing.into_iter().zip(views));
        let others: Vec<_> = tables.iter().filter(|t| !taken.contains_key(t)).copied().collect();
        let views = self.store.views(&others, time, &self.level).await?;
        let others: BTreeMap<_, _> = others.into_iter().zip(views).collect();
        let view = |table| taken.get(table).or_else(|| others.get(table)).cloned();
        Ok(tables.iter().filter_map(view).collect())
    }
}
