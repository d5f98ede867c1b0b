//! The schema `system`: what the node tells of itself, the same in every database.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, StringViewArray, TimestampNanosecondArray,
    UInt32Array, UInt64Array,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use quorate_storage::catalog::{Catalog, Table};

use super::{Reads, cluster};
use crate::sql::sql_type;
use crate::{Engine, Error, ErrorKind};

/// Which table.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Tables,
    Columns,
    Segments,
    Queries,
    Settings,
    Nodes,
    Shards,
    Replicas,
    Routing,
    Scrub,
}

/// A table of the schema `system`; its rows are made when it is scanned.
#[derive(Debug)]
pub(super) struct SystemTable {
    kind: Kind,
    schema: SchemaRef,
    catalog: Arc<Catalog>,
    reads: Reads,
}

impl SystemTable {
    /// All there are.
    pub(super) const NAMES: [&'static str; 10] = [
        "columns", "nodes", "queries", "replicas", "routing", "scrub", "segments", "settings",
        "shards", "tables",
    ];

    /// A table by name.
    pub(super) fn named(name: &str, catalog: &Arc<Catalog>, reads: &Reads) -> Option<Self> {
        let kind = match name {
            "tables" => Kind::Tables,
            "columns" => Kind::Columns,
            "segments" => Kind::Segments,
            "queries" => Kind::Queries,
            "settings" => Kind::Settings,
            "nodes" => Kind::Nodes,
            "shards" => Kind::Shards,
            "replicas" => Kind::Replicas,
            "routing" => Kind::Routing,
            "scrub" => Kind::Scrub,
            _ => return None,
        };
        let schema = kind.schema(&reads.time_zone);
        Some(Self { kind, schema, catalog: Arc::clone(catalog), reads: reads.clone() })
    }

    async fn rows(&self) -> Result<RecordBatch, Error> {
        let engine =
            self.reads.engine.upgrade().ok_or_else(|| {
                Error::request(ErrorKind::Unavailable, "the node is shutting down")
            })?;
        let columns = match self.kind {
            Kind::Tables => tables(&engine, &self.catalog),
            Kind::Columns => columns(&self.catalog),
            Kind::Segments => segments(&engine, &self.catalog),
            Kind::Queries => queries(&engine),
            Kind::Settings => settings(&self.reads),
            Kind::Routing => routing(&engine, &self.catalog),
            Kind::Scrub => scrub(&engine),
            Kind::Nodes | Kind::Shards | Kind::Replicas => {
                let status = engine.store().cluster_status().await;
                match self.kind {
                    Kind::Nodes => cluster::nodes(&status),
                    Kind::Shards => cluster::shards(&status),
                    _ => cluster::replica_rows(&status),
                }
            }
        };
        let zone = &self.reads.time_zone;
        let columns = columns.into_iter().map(|column| column.into_array(zone)).collect();
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|e| Error::from(datafusion::error::DataFusionError::from(e)))
    }
}

#[async_trait]
impl TableProvider for SystemTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = self.rows().await.map_err(Error::into_datafusion)?;
        let table = MemTable::try_new(self.schema(), vec![vec![rows]])?;
        table.scan(state, projection, filters, limit).await
    }
}

/// A column being filled.
pub(super) enum Column {
    Text(Vec<Option<String>>),
    Flag(Vec<bool>),
    Count(Vec<u64>),
    Maybe(Vec<Option<u64>>),
    Small(Vec<u32>),
    Signed(Vec<i64>),
    Real(Vec<f64>),
    Time(Vec<Option<i64>>),
}

impl Column {
    fn into_array(self, zone: &Arc<str>) -> ArrayRef {
        match self {
            Self::Text(values) => Arc::new(StringViewArray::from_iter(values)),
            Self::Flag(values) => Arc::new(BooleanArray::from(values)),
            Self::Count(values) => Arc::new(UInt64Array::from(values)),
            Self::Maybe(values) => Arc::new(UInt64Array::from(values)),
            Self::Small(values) => Arc::new(UInt32Array::from(values)),
            Self::Signed(values) => Arc::new(Int64Array::from(values)),
            Self::Real(values) => Arc::new(Float64Array::from(values)),
            Self::Time(values) => {
                let times = TimestampNanosecondArray::from(values);
                Arc::new(times.with_timezone(Arc::clone(zone)))
            }
        }
    }

    pub(super) fn text(values: impl Iterator<Item = String>) -> Self {
        Self::Text(values.map(Some).collect())
    }
}

/// Columns of `system.tables`.
fn table_columns(time: DataType) -> Vec<(&'static str, DataType)> {
    let (text, count) = (DataType::Utf8View, DataType::UInt64);
    vec![
        ("database_name", text.clone()),
        ("table_name", text.clone()),
        ("table_id", count.clone()),
        ("tags", count.clone()),
        ("fields", count.clone()),
        ("retention", text.clone()),
        ("time_slice", text.clone()),
        ("spread", DataType::UInt32),
        ("rows", count.clone()),
        ("memtable_rows", count.clone()),
        ("segments", count.clone()),
        ("bytes", count),
        ("time_min", time.clone()),
        ("time_max", time),
        ("comment", text.clone()),
        ("unit", text.clone()),
        ("description", text),
    ]
}

/// Columns of `system.columns`.
fn column_columns() -> Vec<(&'static str, DataType)> {
    let text = DataType::Utf8View;
    vec![
        ("database_name", text.clone()),
        ("table_name", text.clone()),
        ("column_name", text.clone()),
        ("ordinal_position", DataType::UInt32),
        ("data_type", text.clone()),
        ("column_kind", text.clone()),
        ("comment", text.clone()),
        ("unit", text.clone()),
        ("description", text),
    ]
}

impl Kind {
    fn schema(self, zone: &Arc<str>) -> SchemaRef {
        let text = DataType::Utf8View;
        let time = DataType::Timestamp(TimeUnit::Nanosecond, Some(Arc::clone(zone)));
        let (count, small) = (DataType::UInt64, DataType::UInt32);
        let fields = match self {
            Self::Tables => table_columns(time),
            Self::Columns => column_columns(),
            Self::Segments => vec![
                ("shard", small.clone()),
                ("database_name", text.clone()),
                ("table_name", text.clone()),
                ("slice_start", time.clone()),
                ("level", small),
                ("log_index_min", count.clone()),
                ("log_index_max", count.clone()),
                ("rows", count.clone()),
                ("series", count.clone()),
                ("bytes", count),
                ("time_min", time.clone()),
                ("time_max", time),
                ("file_name", text),
            ],
            Self::Queries => vec![
                ("query_id", DataType::Int64),
                ("started", time),
                ("elapsed_seconds", DataType::Float64),
                ("database_name", text.clone()),
                ("client", text.clone()),
                ("application", text.clone()),
                ("cancelled", DataType::Boolean),
                ("query", text),
            ],
            Self::Settings => vec![
                ("name", text.clone()),
                ("value", text.clone()),
                ("source", text.clone()),
                ("description", text),
            ],
            Self::Scrub => vec![
                ("shard", small),
                ("begun", time.clone()),
                ("finished", time),
                ("files", count.clone()),
                ("files_done", count.clone()),
                ("bytes_done", count.clone()),
                ("damaged", count.clone()),
                ("repaired", count.clone()),
                ("failed", count),
            ],
            Self::Routing => vec![
                ("database_name", text.clone()),
                ("table_name", text.clone()),
                ("first_slice", time),
                ("time_slice", text),
                ("spread", small),
                ("in_force", DataType::Boolean),
            ],
            Self::Nodes => cluster::node_columns(),
            Self::Shards => cluster::shard_columns(),
            Self::Replicas => cluster::replica_columns(),
        };
        let field = |(name, data_type)| Field::new(name, data_type, true);
        Arc::new(Schema::new(fields.into_iter().map(field).collect::<Vec<Field>>()))
    }
}

fn database_name(catalog: &Catalog, table: &Table) -> String {
    catalog.databases.get(&table.database).map_or_else(String::new, |d| d.name.clone())
}

fn duration_text(ns: i64) -> String {
    crate::sql::format_duration(std::time::Duration::from_nanos(ns.unsigned_abs()))
}

fn tables(engine: &Engine, catalog: &Catalog) -> Vec<Column> {
    let tables = || catalog.tables.values();
    let status = tables().map(|t| engine.store().table_status(t.id)).collect::<Vec<_>>();
    let note = |table: &Arc<Table>| catalog.notes.of_table(table.id).map(|notes| &notes.table);
    vec![
        Column::text(tables().map(|t| database_name(catalog, t))),
        Column::text(tables().map(|t| t.name.clone())),
        Column::Count(tables().map(|t| t.id.0).collect()),
        Column::Count(tables().map(|t| t.tags().count() as u64).collect()),
        Column::Count(tables().map(|t| t.fields().count() as u64).collect()),
        Column::Text(tables().map(|t| t.options.retention_ns.map(duration_text)).collect()),
        Column::text(tables().map(|t| duration_text(t.options.time_slice_ns))),
        Column::Small(tables().map(|t| t.options.spread).collect()),
        Column::Count(status.iter().map(|s| s.rows).collect()),
        Column::Count(status.iter().map(|s| s.memtable_rows).collect()),
        Column::Count(status.iter().map(|s| s.segments).collect()),
        Column::Count(status.iter().map(|s| s.bytes).collect()),
        Column::Time(status.iter().map(|s| s.time_min).collect()),
        Column::Time(status.iter().map(|s| s.time_max).collect()),
        Column::Text(tables().map(|t| note(t).and_then(|n| n.comment.clone())).collect()),
        Column::Text(tables().map(|t| note(t).and_then(|n| n.unit.clone())).collect()),
        Column::Text(tables().map(|t| note(t).and_then(|n| n.description.clone())).collect()),
    ]
}

/// One row per column of a stored table.
fn columns(catalog: &Catalog) -> Vec<Column> {
    let all = || {
        let tables = catalog.tables.values();
        tables.flat_map(|table| {
            let notes = catalog.notes.of_table(table.id);
            table.columns.iter().zip(1_u32..).map(move |(column, place)| {
                let note = notes.and_then(|notes| notes.columns.get(&column.id));
                (table, column, place, note)
            })
        })
    };
    vec![
        Column::text(all().map(|(table, ..)| database_name(catalog, table))),
        Column::text(all().map(|(table, ..)| table.name.clone())),
        Column::text(all().map(|(_, column, ..)| column.name.clone())),
        Column::Small(all().map(|(_, _, place, _)| place).collect()),
        Column::text(all().map(|(_, column, ..)| sql_type(column.kind).0.to_owned())),
        Column::text(all().map(|(_, column, ..)| sql_type(column.kind).1.to_owned())),
        Column::Text(all().map(|(.., note)| note.and_then(|n| n.comment.clone())).collect()),
        Column::Text(all().map(|(.., note)| note.and_then(|n| n.unit.clone())).collect()),
        Column::Text(all().map(|(.., note)| note.and_then(|n| n.description.clone())).collect()),
    ]
}

/// One row per table and change of its routing.
fn routing(engine: &Engine, catalog: &Catalog) -> Vec<Column> {
    let of_table = |table: &Arc<Table>| {
        let records = engine.store().routing(table.id);
        records.into_iter().map(|record| (Arc::clone(table), record)).collect::<Vec<_>>()
    };
    let all: Vec<_> = catalog.tables.values().flat_map(of_table).collect();
    vec![
        Column::text(all.iter().map(|(table, _)| database_name(catalog, table))),
        Column::text(all.iter().map(|(table, _)| table.name.clone())),
        Column::Time(all.iter().map(|(_, record)| record.first_slice).collect()),
        Column::text(all.iter().map(|(_, record)| duration_text(record.time_slice_ns))),
        Column::Small(all.iter().map(|(_, record)| record.spread).collect()),
        Column::Flag(all.iter().map(|(_, record)| record.in_force).collect()),
    ]
}

fn segments(engine: &Engine, catalog: &Catalog) -> Vec<Column> {
    let mut segments = engine.store().segments();
    // Those of dropped tables wait for their files to go.
    segments.retain(|s| catalog.tables.contains_key(&s.meta.table));
    let table = |id| catalog.tables.get(id).expect("segments of other tables were left out");
    vec![
        Column::Small(segments.iter().map(|s| s.shard.0).collect()),
        Column::text(segments.iter().map(|s| database_name(catalog, table(&s.meta.table)))),
        Column::text(segments.iter().map(|s| table(&s.meta.table).name.clone())),
        Column::Time(segments.iter().map(|s| Some(s.slice_start)).collect()),
        Column::Small(segments.iter().map(|s| s.level).collect()),
        Column::Count(segments.iter().map(|s| s.meta.spec.log_index_min).collect()),
        Column::Count(segments.iter().map(|s| s.meta.spec.log_index_max).collect()),
        Column::Count(segments.iter().map(|s| s.meta.rows).collect()),
        Column::Count(segments.iter().map(|s| s.meta.series).collect()),
        Column::Count(segments.iter().map(|s| s.meta.bytes).collect()),
        Column::Time(segments.iter().map(|s| Some(s.meta.time_min)).collect()),
        Column::Time(segments.iter().map(|s| Some(s.meta.time_max)).collect()),
        Column::text(segments.iter().map(|s| s.meta.file_name())),
    ]
}

fn queries(engine: &Engine) -> Vec<Column> {
    let queries = engine.queries().list();
    let id = |id: u64| i64::try_from(id).unwrap_or(i64::MAX);
    vec![
        Column::Signed(queries.iter().map(|(q, _)| id(q.0)).collect()),
        Column::Time(queries.iter().map(|(_, q)| q.started.timestamp_nanos_opt()).collect()),
        Column::Real(queries.iter().map(|(_, q)| q.elapsed().as_secs_f64()).collect()),
        Column::text(queries.iter().map(|(_, q)| q.database.clone())),
        Column::text(queries.iter().map(|(_, q)| q.client.clone())),
        Column::text(queries.iter().map(|(_, q)| q.application.clone())),
        Column::Flag(queries.iter().map(|(_, q)| q.cancelled()).collect()),
        Column::text(queries.iter().map(|(_, q)| q.sql.clone())),
    ]
}

fn scrub(engine: &Engine) -> Vec<Column> {
    let shards = engine.store().scrub_status();
    vec![
        Column::Small(shards.iter().map(|s| s.shard.0).collect()),
        Column::Time(shards.iter().map(|s| s.begun).collect()),
        Column::Time(shards.iter().map(|s| s.finished).collect()),
        Column::Count(shards.iter().map(|s| s.files).collect()),
        Column::Count(shards.iter().map(|s| s.files_done).collect()),
        Column::Count(shards.iter().map(|s| s.bytes_done).collect()),
        Column::Count(shards.iter().map(|s| s.damaged).collect()),
        Column::Count(shards.iter().map(|s| s.repaired).collect()),
        Column::Count(shards.iter().map(|s| s.failed).collect()),
    ]
}

fn settings(reads: &Reads) -> Vec<Column> {
    let settings = &reads.settings;
    vec![
        Column::text(settings.iter().map(|s| s.name.clone())),
        Column::text(settings.iter().map(|s| s.value.clone())),
        Column::text(settings.iter().map(|s| s.source.clone())),
        Column::text(settings.iter().map(|s| s.description.clone())),
    ]
}
