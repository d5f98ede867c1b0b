//! Databases, schemas and tables for DataFusion's name lookup.

use std::fmt::{Debug, Formatter};
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::TableType;
use quorate_storage::catalog::{Catalog, Database};

use super::StoredTable;
use super::information::{self, InformationSchema};
use super::memory::MemoryCatalog;
use super::series_table::SeriesTable;
use super::system::SystemTable;
use super::view::view_table;
use crate::{Engine, Setting};

/// What the tables of one statement read with.
#[derive(Clone)]
pub(crate) struct Reads {
    pub(crate) engine: Weak<Engine>,
    pub(crate) time_zone: Arc<str>,
    pub(crate) settings: Arc<Vec<Setting>>,
    /// How many views the name that is looked up is within.
    pub(crate) nested: u8,
}

impl Debug for Reads {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reads").field("time_zone", &self.time_zone).finish_non_exhaustive()
    }
}

/// The databases of a catalog.
pub(crate) fn databases(catalog: Arc<Catalog>, reads: Reads) -> Arc<dyn CatalogProviderList> {
    Arc::new(Databases { catalog, reads })
}

#[derive(Debug)]
struct Databases {
    catalog: Arc<Catalog>,
    reads: Reads,
}

impl CatalogProviderList for Databases {
    fn register_catalog(
        &self,
        _name: String,
        _catalog: Arc<dyn CatalogProvider>,
    ) -> Option<Arc<dyn CatalogProvider>> {
        // Databases are made by CREATE DATABASE alone; the SQL front lets nothing come here.
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        let memory = self.reads.engine.upgrade().map(|engine| engine.memory().names());
        let durable = self.catalog.databases.values().map(|d| d.name.clone());
        durable.chain(memory.unwrap_or_default()).collect()
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        let Some(database) = self.catalog.database(name).cloned() else {
            let database = self.reads.engine.upgrade()?.memory().get(name)?;
            let (catalog, reads) = (Arc::clone(&self.catalog), self.reads.clone());
            return Some(Arc::new(MemoryCatalog {
                name: name.to_owned(),
                database,
                catalog,
                reads,
            }));
        };
        Some(Arc::new(OneDatabase {
            catalog: Arc::clone(&self.catalog),
            database,
            reads: self.reads.clone(),
        }))
    }
}

#[derive(Debug)]
struct OneDatabase {
    catalog: Arc<Catalog>,
    database: Arc<Database>,
    reads: Reads,
}

impl CatalogProvider for OneDatabase {
    fn schema_names(&self) -> Vec<String> {
        vec!["public".to_owned(), "system".to_owned()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        match name {
            "public" => Some(Arc::new(PublicSchema {
                catalog: Arc::clone(&self.catalog),
                database: Arc::clone(&self.database),
                reads: self.reads.clone(),
            })),
            "system" => Some(Arc::new(SystemSchema {
                catalog: Arc::clone(&self.catalog),
                reads: self.reads.clone(),
            })),
            information::NAME => Some(Arc::new(InformationSchema::new(&self.catalog, &self.reads))),
            _ => None,
        }
    }
}

/// The stored tables and the views of a database.
#[derive(Debug)]
struct PublicSchema {
    catalog: Arc<Catalog>,
    database: Arc<Database>,
    reads: Reads,
}

#[async_trait]
impl SchemaProvider for PublicSchema {
    fn table_names(&self) -> Vec<String> {
        let views = self.catalog.views_of(self.database.id).map(|view| view.name.clone());
        self.database.tables.keys().cloned().chain(views).collect()
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        if self.database.tables.contains_key(name) {
            return Ok(Some(TableType::Base));
        }
        Ok(self.catalog.view(&self.database.name, name).map(|_| TableType::View))
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        if let Some(view) = self.catalog.view(&self.database.name, name) {
            let database = &self.database.name;
            return Ok(Some(view_table(&self.catalog, &self.reads, database, view).await));
        }
        let table = self.database.tables.get(name).and_then(|id| self.catalog.tables.get(id));
        Ok(table.map(|table| {
            let table = StoredTable::new(Arc::clone(table), &self.reads.time_zone);
            Arc::new(table) as Arc<dyn TableProvider>
        }))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.database.tables.contains_key(name)
            || self.catalog.view(&self.database.name, name).is_some()
    }
}

/// What the node tells of itself.
#[derive(Debug)]
struct SystemSchema {
    catalog: Arc<Catalog>,
    reads: Reads,
}

#[async_trait]
impl SchemaProvider for SystemSchema {
    fn table_names(&self) -> Vec<String> {
        let names = SystemTable::NAMES.iter().chain([&SeriesTable::NAME]);
        names.map(|name| (*name).to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        if name == SeriesTable::NAME {
            let table = SeriesTable::new(&self.catalog, &self.reads.time_zone);
            return Ok(Some(Arc::new(table)));
        }
        let table = SystemTable::named(name, &self.catalog, &self.reads);
        Ok(table.map(|table| Arc::new(table) as Arc<dyn TableProvider>))
    }

    fn table_exist(&self, name: &str) -> bool {
        name == SeriesTable::NAME || SystemTable::NAMES.contains(&name)
    }
}
