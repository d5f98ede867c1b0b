//! Views for DataFusion: the query of a view is planned where its name is looked up, over the same catalog and the same
//! reads as the statement that names it.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::ViewTable;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, TableType};
use datafusion::physical_plan::ExecutionPlan;
use quorate_storage::catalog::{Catalog, View};

use super::{Reads, SERIES, SeriesFunction, databases};
use crate::engine::set_time_zone;
use crate::sql::set_database;

/// Views that may be defined by each other.
const NESTED_MAX: u8 = 16;

/// A view as a table. One that cannot be planned any more is there all the same, so that lists of tables go on.
pub(super) async fn view_table(
    catalog: &Arc<Catalog>,
    reads: &Reads,
    database: &str,
    view: &View,
) -> Arc<dyn TableProvider> {
    match plan_view(catalog, reads, database, &view.query).await {
        Ok(plan) => Arc::new(ViewTable::new(plan, Some(view.query.clone()))),
        Err(e) => Arc::new(BrokenView {
            why: format!("view {:?} cannot be used: {}", view.name, e.strip_backtrace()),
            query: view.query.clone(),
            schema: Arc::new(Schema::empty()),
        }),
    }
}

/// Plans the query of a view; names in it are looked up from the view's database.
async fn plan_view(
    catalog: &Arc<Catalog>,
    reads: &Reads,
    database: &str,
    query: &str,
) -> Result<LogicalPlan> {
    let engine = reads.engine.upgrade().ok_or_else(|| {
        DataFusionError::ResourcesExhausted("the node is shutting down".to_owned())
    })?;
    if reads.nested >= NESTED_MAX {
        let why = format!("views are defined by each other more than {NESTED_MAX} deep");
        return Err(DataFusionError::Plan(why));
    }
    let reads = Reads { nested: reads.nested + 1, ..reads.clone() };
    let mut state = engine.template().clone();
    let zone = Arc::clone(&reads.time_zone);
    let series = SeriesFunction {
        catalog: Arc::clone(catalog),
        database: database.to_owned(),
        reads: reads.clone(),
    };
    state.register_udtf(SERIES, Arc::new(series));
    state.register_catalog_list(databases(Arc::clone(catalog), reads));
    let config = state.config_mut().options_mut();
    database.clone_into(&mut config.catalog.default_catalog);
    set_time_zone(&mut state, &zone)?;
    set_database(&mut state, database)?;
    let statement =
        crate::sql::parse_query(query).map_err(|e| DataFusionError::Plan(e.to_string()))?;
    state.statement_to_plan(statement).await
}

/// Why a view cannot be used, if the provider is one that cannot.
pub(crate) fn broken_view(provider: &dyn TableProvider) -> Option<&str> {
    provider.downcast_ref::<BrokenView>().map(|broken| broken.why.as_str())
}

#[derive(Debug)]
struct BrokenView {
    why: String,
    query: String,
    schema: SchemaRef,
}

#[async_trait]
impl TableProvider for BrokenView {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn get_table_definition(&self) -> Option<&str> {
        Some(&self.query)
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        _projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Err(DataFusionError::Plan(self.why.clone()))
    }
}
