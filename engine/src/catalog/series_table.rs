//! `system.series`: the series of all stored tables, found by reading their times.
//!
//! Conditions on `database_name` and `table_name` leave out tables; the others are read when the query runs, a table after
//! the other, and only series that have rows are there.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{Array, ArrayRef, StringViewArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::unnormalize_col;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use quorate_storage::TableId;
use quorate_storage::catalog::{Catalog, Table};
use quorate_storage::scan::{ScanRequest, TimeRange};

use super::views_of;
use crate::Error;
use crate::scan::{OutputColumn, ScanLabel, SeriesFold, TablePart, TablesScanExec, folded};

/// `system.series`.
#[derive(Debug)]
pub(super) struct SeriesTable {
    schema: SchemaRef,
    catalog: Arc<Catalog>,
}

/// What each column of the table is made of, after the two names.
const FOLDED: [usize; 6] = [
    folded::SERIES,
    folded::TAGS,
    folded::LABELS,
    folded::ROWS,
    folded::TIME_MIN,
    folded::TIME_MAX,
];

impl SeriesTable {
    /// Its name in the schema `system`.
    pub(super) const NAME: &'static str = "series";

    pub(super) fn new(catalog: &Arc<Catalog>, time_zone: &Arc<str>) -> Self {
        let zone = Some(Arc::clone(time_zone));
        let time = DataType::Timestamp(TimeUnit::Nanosecond, zone);
        let columns = [
            ("database_name", DataType::Utf8View),
            ("table_name", DataType::Utf8View),
            ("series", DataType::Utf8View),
            ("tags", DataType::Utf8View),
            ("labels", DataType::Utf8View),
            ("rows", DataType::UInt64),
            ("time_min", time.clone()),
            ("time_max", time),
        ];
        let fields = columns.into_iter().map(|(name, of)| Field::new(name, of, true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Self { schema, catalog: Arc::clone(catalog) }
    }

    /// The tables, with the names of their databases, that the filters leave.
    fn tables(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<(&str, &Arc<Table>)>> {
        let catalog = &*self.catalog;
        let mut all: Vec<(&str, &Arc<Table>)> = Vec::new();
        for database in catalog.databases.values() {
            let tables = database.tables.values().filter_map(|id| catalog.tables.get(id));
            all.extend(tables.map(|table| (database.name.as_str(), table)));
        }
        let Some(filter) = conjunction(filters.iter().cloned().map(unnormalize_col)) else {
            return Ok(all);
        };
        let schema = self.schema.project(&[0, 1])?;
        let names = |of: Vec<&str>| {
            Arc::new(of.into_iter().map(Some).collect::<StringViewArray>()) as ArrayRef
        };
        let columns = vec![
            names(all.iter().map(|(database, _)| *database).collect()),
            names(all.iter().map(|(_, table)| table.name.as_str()).collect()),
        ];
        let predicate = state.create_physical_expr(filter, &DFSchema::try_from(schema.clone())?)?;
        let batch = RecordBatch::try_new(Arc::new(schema), columns)?;
        let keep = predicate.evaluate(&batch)?.into_array(all.len())?;
        let keep = datafusion::common::cast::as_boolean_array(&keep)?;
        let kept = all.into_iter().enumerate();
        Ok(kept.filter(|(at, _)| keep.is_valid(*at) && keep.value(*at)).map(|(_, t)| t).collect())
    }
}

/// Whether a filter is about the names of tables alone, and always in the same way.
fn is_of_names(filter: &Expr) -> bool {
    let columns = filter.column_refs();
    !columns.is_empty()
        && !filter.is_volatile()
        && columns.iter().all(|c| matches!(c.name.as_str(), "database_name" | "table_name"))
}

#[async_trait]
impl TableProvider for SeriesTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| {
            if is_of_names(filter) {
                TableProviderFilterPushDown::Exact
            } else {
                TableProviderFilterPushDown::Unsupported
            }
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let projection = match projection {
            Some(projection) => projection.clone(),
            None => (0..self.schema.fields().len()).collect(),
        };
        let schema = Arc::new(self.schema.project(&projection)?);
        let kept = self.tables(state, filters)?;
        let ids: Vec<TableId> = kept.iter().map(|(_, table)| table.id).collect();
        let views = views_of(state)?.several(&ids, TimeRange::ALL).await;
        let views = views.map_err(Error::into_datafusion)?;
        let partitions = state.config().target_partitions();
        let found = kept.iter().zip(views).filter(|(_, view)| !view.is_empty());
        let parts = found.map(|((database, _), view)| {
            let table = Arc::clone(view.table());
            let column = |i: &usize| match i {
                0 => OutputColumn::Text((*database).to_owned()),
                1 => OutputColumn::Text(table.name.clone()),
                i => OutputColumn::Read(FOLDED[i - 2]),
            };
            let request = ScanRequest {
                columns: SeriesFold::columns(&table),
                time: TimeRange::ALL,
                values: Vec::new(),
                series: None,
                partitions,
                limit: None,
                last: None,
            };
            let fold = SeriesFold::new(&table, self.catalog.notes.of_table(table.id));
            TablePart::new(view, request, projection.iter().map(column).collect()).folded(fold)
        });
        let parts: Vec<TablePart> = parts.collect();
        if parts.is_empty() {
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let label = ScanLabel::of_all("system.series", kept.len());
        Ok(Arc::new(TablesScanExec::new(schema, parts, partitions, limit, label)))
    }
}
