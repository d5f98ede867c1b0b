//! The schema `information_schema`: DataFusion's tables over all databases, and the keys of stored tables.
//!
//! Where DataFusion's rows are not what the standard has, they are mended on their way: places of columns are counted
//! from 1, views are views only, and the schema's own tables, and the schema itself, are on the lists.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, Int32Array, StringArray, new_null_array};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::catalog::information_schema::InformationSchemaProvider;
use datafusion::catalog::{MemTable, SchemaProvider, TableProvider};
use datafusion::datasource::ViewTable;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{LogicalPlanBuilder, TableType, col, lit};
use quorate_storage::catalog::{Catalog, Table};

use super::{Reads, databases};
use crate::memory::Relation;

/// Its name.
pub(super) const NAME: &str = "information_schema";

/// Tables that DataFusion does not have.
const KEYS: [&str; 2] = ["key_column_usage", "table_constraints"];

/// Tables of functions, by `specific_name`.
const OF_FUNCTIONS: [&str; 2] = ["routines", "parameters"];

/// Functions whose names begin so stand in plans only, for syntax that has no name; no statement calls them.
const UNNAMED: &str = "\\_\\_%";

/// The schema, the same in every database.
#[derive(Debug)]
pub(super) struct InformationSchema {
    inner: InformationSchemaProvider,
    catalog: Arc<Catalog>,
    reads: Reads,
}

impl InformationSchema {
    /// Over all databases of a catalog.
    pub(super) fn new(catalog: &Arc<Catalog>, reads: &Reads) -> Self {
        let functions = reads.engine.upgrade().map(|engine| {
            let functions = engine.template().table_functions();
            functions.iter().map(|(name, f)| (name.clone(), Arc::clone(f))).collect()
        });
        let inner = InformationSchemaProvider::new(databases(Arc::clone(catalog), reads.clone()))
            .with_table_functions(functions.unwrap_or_default());
        Self { inner, catalog: Arc::clone(catalog), reads: reads.clone() }
    }

    /// Names of the databases, those in memory too.
    fn databases(&self) -> Vec<String> {
        databases(Arc::clone(&self.catalog), self.reads.clone()).catalog_names()
    }

    /// One of DataFusion's tables, which it always has.
    async fn datafusions(&self, name: &str) -> Result<Arc<dyn TableProvider>> {
        let missing = || DataFusionError::Internal(format!("{NAME}.{name} is missing"));
        self.inner.table(name).await?.ok_or_else(missing)
    }

    /// The tables that DataFusion leaves out of its list: ours.
    fn own_tables(&self, schema: &SchemaRef) -> Result<RecordBatch> {
        let rows: Vec<(String, &str)> = self
            .databases()
            .into_iter()
            .flat_map(|name| KEYS.map(|key| (name.clone(), key)))
            .collect();
        filled(schema, rows.len(), |column| {
            Some(texts(rows.iter().map(|(database, table)| match column {
                "table_catalog" => database.as_str(),
                "table_schema" => NAME,
                "table_type" => "VIEW",
                _ => table,
            })))
        })
    }

    /// The schema that DataFusion leaves out of its list: this one.
    fn own_schemata(&self, schema: &SchemaRef) -> Result<RecordBatch> {
        let names = self.databases();
        filled(schema, names.len(), |column| match column {
            "catalog_name" => Some(texts(names.iter())),
            "schema_name" => Some(texts(names.iter().map(|_| NAME))),
            _ => None,
        })
    }

    /// The views of all databases, by what they were made from: none is planned for this.
    fn views(&self) -> Result<RecordBatch> {
        let mut rows: Vec<(String, String, String)> = Vec::new();
        for database in self.catalog.databases.values() {
            let views = self.catalog.views_of(database.id);
            rows.extend(views.map(|v| (database.name.clone(), v.name.clone(), v.query.clone())));
        }
        let engine = self.reads.engine.upgrade();
        let memory = engine.iter().flat_map(|engine| {
            let names = engine.memory().names().into_iter();
            names.filter_map(|name| Some((engine.memory().get(&name)?, name)))
        });
        for (database, name) in memory.filter(|(_, name)| self.catalog.database(name).is_none()) {
            for relation in database.relations.read().values() {
                if let Relation::View(view) = relation {
                    rows.push((name.clone(), view.name.clone(), view.query.clone()));
                }
            }
        }
        let always = |text: &'static str| texts(rows.iter().map(|_| text));
        let queries = || texts(rows.iter().map(|(.., query)| query));
        Ok(RecordBatch::try_from_iter([
            ("table_catalog", texts(rows.iter().map(|(database, ..)| database))),
            ("table_schema", always("public")),
            ("table_name", texts(rows.iter().map(|(_, view, _)| view))),
            ("view_definition", queries()),
            ("check_option", always("NONE")),
            ("is_updatable", always("NO")),
            ("definition", queries()),
        ])?)
    }
}

#[async_trait]
impl SchemaProvider for InformationSchema {
    fn table_names(&self) -> Vec<String> {
        let own = KEYS.iter().map(|name| (*name).to_owned());
        self.inner.table_names().into_iter().chain(own).collect()
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        Ok(self.table_exist(name).then_some(TableType::View))
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let rows = match name.to_ascii_lowercase().as_str() {
            "key_column_usage" => key_columns(&self.catalog)?,
            "table_constraints" => constraints(&self.catalog)?,
            "views" => self.views()?,
            "tables" => {
                let others = self.datafusions("tables").await?;
                let own = self.own_tables(&others.schema())?;
                return with_rows(others, own).map(Some);
            }
            "schemata" => {
                let others = self.datafusions("schemata").await?;
                let own = self.own_schemata(&others.schema())?;
                return with_rows(others, own).map(Some);
            }
            "columns" => return counted_from_one(self.datafusions("columns").await?).map(Some),
            of_functions if OF_FUNCTIONS.contains(&of_functions) => {
                return self.inner.table(name).await?.map(without_unnamed).transpose();
            }
            _ => return self.inner.table(name).await,
        };
        Ok(Some(Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?)))
    }

    fn table_exist(&self, name: &str) -> bool {
        KEYS.contains(&name.to_ascii_lowercase().as_str()) || self.inner.table_exist(name)
    }
}

/// The functions that statements can call.
fn without_unnamed(all: Arc<dyn TableProvider>) -> Result<Arc<dyn TableProvider>> {
    let plan = LogicalPlanBuilder::scan("functions", provider_as_source(all), None)?
        .filter(col("specific_name").not_like(lit(UNNAMED)))?
        .build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

/// The same table with more rows.
fn with_rows(others: Arc<dyn TableProvider>, own: RecordBatch) -> Result<Arc<dyn TableProvider>> {
    let own: Arc<dyn TableProvider> = Arc::new(MemTable::try_new(own.schema(), vec![vec![own]])?);
    let own = LogicalPlanBuilder::scan("own", provider_as_source(own), None)?.build()?;
    let plan = LogicalPlanBuilder::scan("others", provider_as_source(others), None)?
        .union(own)?
        .build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

/// The columns of all tables; DataFusion counts their places from 0, the standard from 1.
fn counted_from_one(columns: Arc<dyn TableProvider>) -> Result<Arc<dyn TableProvider>> {
    const PLACE: &str = "ordinal_position";
    let schema = columns.schema();
    let column = |name: &str| match name {
        PLACE => (col(PLACE) + lit(1_u64)).alias(PLACE),
        _ => col(name),
    };
    let plan = LogicalPlanBuilder::scan("columns", provider_as_source(columns), None)?
        .project(schema.fields().iter().map(|field| column(field.name())))?
        .build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

/// Rows of a schema, null where there is no column.
fn filled(
    schema: &SchemaRef,
    rows: usize,
    column: impl Fn(&str) -> Option<ArrayRef>,
) -> Result<RecordBatch> {
    let columns = schema.fields().iter().map(|field| {
        column(field.name()).unwrap_or_else(|| new_null_array(field.data_type(), rows))
    });
    Ok(RecordBatch::try_new(Arc::clone(schema), columns.collect())?)
}

/// Name of a primary key, as `PostgreSQL` makes it.
fn key_name(table: &Table) -> String {
    format!("{}_pkey", table.name)
}

/// The tables of a catalog, each with the name of its database.
fn tables(catalog: &Catalog) -> impl Iterator<Item = (&str, &Table)> {
    catalog.databases.values().flat_map(|database| {
        let tables = database.tables.values().filter_map(|id| catalog.tables.get(id));
        tables.map(|table| (database.name.as_str(), &**table))
    })
}

/// One primary key for each table.
fn constraints(catalog: &Catalog) -> Result<RecordBatch> {
    let all: Vec<_> = tables(catalog).collect();
    let database = || texts(all.iter().map(|(database, _)| *database));
    let always = |text: &'static str| texts(all.iter().map(|_| text));
    Ok(RecordBatch::try_from_iter([
        ("constraint_catalog", database()),
        ("constraint_schema", always("public")),
        ("constraint_name", texts(all.iter().map(|(_, table)| key_name(table)))),
        ("table_catalog", database()),
        ("table_schema", always("public")),
        ("table_name", texts(all.iter().map(|(_, table)| table.name.as_str()))),
        ("constraint_type", always("PRIMARY KEY")),
        ("is_deferrable", always("NO")),
        ("initially_deferred", always("NO")),
    ])?)
}

/// The columns of the primary keys: the tags, then the time.
fn key_columns(catalog: &Catalog) -> Result<RecordBatch> {
    let columns = tables(catalog).flat_map(|(database, table)| {
        let columns = table.tags().chain([table.time()]).zip(1..);
        columns.map(move |(column, place)| (database, table, column.name.as_str(), place))
    });
    let all: Vec<(&str, &Table, &str, i32)> = columns.collect();
    let database = || texts(all.iter().map(|(database, ..)| *database));
    let public = || texts(all.iter().map(|_| "public"));
    let places = Int32Array::from_iter_values(all.iter().map(|(.., place)| *place));
    Ok(RecordBatch::try_from_iter([
        ("constraint_catalog", database()),
        ("constraint_schema", public()),
        ("constraint_name", texts(all.iter().map(|(_, table, ..)| key_name(table)))),
        ("table_catalog", database()),
        ("table_schema", public()),
        ("table_name", texts(all.iter().map(|(_, table, ..)| table.name.as_str()))),
        ("column_name", texts(all.iter().map(|(_, _, column, _)| *column))),
        ("ordinal_position", Arc::new(places) as ArrayRef),
    ])?)
}

fn texts<T: AsRef<str>>(values: impl Iterator<Item = T>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}
