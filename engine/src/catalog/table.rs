//! A stored table for DataFusion: what its filters leave is asked of the store, what its order is gets declared.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::{ScanArgs, ScanResult, Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use quorate_storage::catalog::{Column, Table};
use quorate_storage::scan::{LastRows, ScanRequest, SeriesFilter, TableScan, TableView};
use quorate_storage::{ColumnKind, FieldType};

use super::{united_of, views_of};
use crate::Error;
use crate::prune::{Pruning, Pushdown, TagFilter, TimeColumn, classify};
use crate::scan::{ScanLabel, SeriesScanExec};

/// A stored table. What a scan reads comes from the statement that it is part of: see [`views_of`].
#[derive(Debug)]
pub(crate) struct StoredTable {
    table: Arc<Table>,
    schema: SchemaRef,
    utc: bool,
    last: Option<LastRows>,
}

/// Whether a provider is a stored table, and which.
pub(crate) fn is_stored(provider: &dyn TableProvider) -> Option<&Arc<Table>> {
    provider.downcast_ref::<StoredTable>().map(|stored| &stored.table)
}

/// Which last rows of its series are enough of a provider, if they are.
pub(crate) fn last_rows_of(provider: &dyn TableProvider) -> Option<&LastRows> {
    provider.downcast_ref::<StoredTable>().and_then(StoredTable::last)
}

/// What a column of a stored table, or of several as one, is; `None` for other providers.
pub(crate) fn column_kind(provider: &dyn TableProvider, index: usize) -> Option<ColumnKind> {
    match (is_stored(provider), united_of(provider)) {
        (Some(table), _) => table.columns.get(index).map(|column| column.kind),
        (None, Some(united)) => united.column_kind(index),
        (None, None) => None,
    }
}

/// Type of a column as SQL shows it in a time zone. The zone changes how times are read and written, not the instants.
fn shown_type(kind: ColumnKind, zone: &Arc<str>) -> DataType {
    let time = || DataType::Timestamp(TimeUnit::Nanosecond, Some(Arc::clone(zone)));
    match kind {
        ColumnKind::Time => time(),
        ColumnKind::Tag => DataType::Utf8View,
        ColumnKind::Field(field) => match field {
            FieldType::Float64 => DataType::Float64,
            FieldType::Int64 => DataType::Int64,
            FieldType::UInt64 => DataType::UInt64,
            FieldType::Boolean => DataType::Boolean,
            FieldType::Utf8 => DataType::Utf8View,
            FieldType::Timestamp => time(),
        },
    }
}

/// Schema of a table as SQL shows it in a time zone.
pub(crate) fn shown_schema(table: &Table, zone: &Arc<str>) -> SchemaRef {
    let field = |column: &Column| {
        let nullable = column.kind != ColumnKind::Time;
        Field::new(&column.name, shown_type(column.kind, zone), nullable)
    };
    Arc::new(Schema::new(table.columns.iter().map(field).collect::<Vec<_>>()))
}

impl StoredTable {
    /// A table, its times in `zone`.
    pub(crate) fn new(table: Arc<Table>, zone: &Arc<str>) -> Self {
        let schema = shown_schema(&table, zone);
        Self { table, schema, utc: &**zone == "UTC", last: None }
    }

    /// The same table for a scan whose last rows are enough.
    pub(crate) fn with_last(&self, last: LastRows) -> Self {
        Self {
            table: Arc::clone(&self.table),
            schema: Arc::clone(&self.schema),
            utc: self.utc,
            last: Some(last),
        }
    }

    /// Its record.
    pub(crate) fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Which last rows are enough, if they are.
    pub(crate) fn last(&self) -> Option<&LastRows> {
        self.last.as_ref()
    }

    fn time_column(&self) -> TimeColumn<'_> {
        TimeColumn { name: &self.table.time().name, utc: self.utc }
    }

    /// Column positions of the table for a projection.
    fn projected(&self, projection: Option<&[usize]>) -> Vec<usize> {
        match projection {
            Some(projection) => projection.to_vec(),
            None => (0..self.table.columns.len()).collect(),
        }
    }
}

/// Starts a scan, and says whether it gives last rows alone: not where all that is wanted is the time, and statistics
/// answer for it.
fn start(
    view: &TableView,
    mut request: ScanRequest,
) -> Result<(TableScan, bool), quorate_storage::Error> {
    let only_time = request.columns == [view.table().time().id];
    if let Some(last) = request.last.take_if(|_| only_time) {
        let scan = view.scan(request.clone())?;
        if scan.statistics.rows_exact && scan.statistics.time_exact {
            return Ok((scan, false));
        }
        request.last = Some(last);
    }
    let last = request.last.is_some();
    Ok((view.scan(request)?, last))
}

#[async_trait]
impl TableProvider for StoredTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let time = self.time_column();
        Ok(filters.iter().map(|f| classify(f, &self.table, &time).support()).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let args = ScanArgs::default()
            .with_projection(projection.map(Vec::as_slice))
            .with_filters(Some(filters))
            .with_limit(limit);
        Ok(self.scan_with_args(state, args).await?.into_inner())
    }

    async fn scan_with_args<'a>(
        &self,
        state: &dyn Session,
        args: ScanArgs<'a>,
    ) -> Result<ScanResult> {
        let filters = args.filters().unwrap_or_default();
        let time = self.time_column();
        let exact = |f: &Expr| {
            classify(f, &self.table, &time).support() == TableProviderFilterPushDown::Exact
        };
        // A limit below a filter that is evaluated again above would come up short.
        let limit = args.limit().filter(|_| filters.iter().all(exact));
        let pruning = Pruning::of(filters, &self.table, &time);
        let projection = self.projected(args.projection());
        let schema = Arc::new(self.schema.project(&projection)?);
        if pruning.is_empty() {
            return Ok(ScanResult::new(Arc::new(EmptyExec::new(schema))));
        }
        let series = TagFilter::compile(state, &self.table, &pruning.tags)?;
        let view = views_of(state)?.view(self.table.id, pruning.time).await;
        let view = view.map_err(Error::into_datafusion)?;
        let request = ScanRequest {
            columns: projection.iter().map(|i| self.table.columns[*i].id).collect(),
            time: pruning.time,
            values: pruning.values.clone(),
            series: series.map(|filter| filter as Arc<dyn SeriesFilter>),
            partitions: state.config().target_partitions(),
            limit,
            last: self.last.clone(),
        };
        let (scan, last) = start(&view, request).map_err(|e| Error::from(e).into_datafusion())?;
        if scan.partitions.is_empty() {
            return Ok(ScanResult::new(Arc::new(EmptyExec::new(schema))));
        }
        let label = ScanLabel::new(&self.table, &pruning, limit, last);
        let plan = SeriesScanExec::new(&self.table, schema, scan, &pruning, label)?;
        Ok(ScanResult::new(Arc::new(plan)))
    }
}

impl Pushdown {
    /// Whether a delete can carry it out: exactly, and by time or tags.
    pub(crate) fn is_exact(&self) -> bool {
        self.support() == TableProviderFilterPushDown::Exact
    }
}
