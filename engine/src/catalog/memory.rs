//! Memory databases for DataFusion's name lookup.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::TableType;
use quorate_storage::catalog::Catalog;

use super::Reads;
use super::information::{self, InformationSchema};
use super::view::view_table;
use crate::memory::{MemoryDatabase, Relation};

/// A memory database, with what its views read stored tables with.
#[derive(Clone, Debug)]
pub(super) struct MemoryCatalog {
    pub(super) name: String,
    pub(super) database: Arc<MemoryDatabase>,
    pub(super) catalog: Arc<Catalog>,
    pub(super) reads: Reads,
}

impl CatalogProvider for MemoryCatalog {
    fn schema_names(&self) -> Vec<String> {
        vec!["public".to_owned()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        match name {
            "public" => Some(Arc::new(MemorySchema(self.clone()))),
            information::NAME => Some(Arc::new(InformationSchema::new(&self.catalog, &self.reads))),
            _ => None,
        }
    }
}

#[derive(Debug)]
struct MemorySchema(MemoryCatalog);

impl MemorySchema {
    fn relation(&self, name: &str) -> Option<Relation> {
        self.0.database.relations.read().get(name).cloned()
    }
}

#[async_trait]
impl SchemaProvider for MemorySchema {
    fn table_names(&self) -> Vec<String> {
        self.0.database.relations.read().keys().cloned().collect()
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        Ok(self.relation(name).map(|relation| match relation {
            Relation::Table(_) => TableType::Base,
            Relation::View(_) => TableType::View,
        }))
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let MemoryCatalog { name: database, catalog, reads, .. } = &self.0;
        Ok(match self.relation(name) {
            Some(Relation::Table(table)) => Some(table as Arc<dyn TableProvider>),
            Some(Relation::View(view)) => Some(view_table(catalog, reads, database, &view).await),
            None => None,
        })
    }

    fn table_exist(&self, name: &str) -> bool {
        self.0.database.relations.read().contains_key(name)
    }
}
