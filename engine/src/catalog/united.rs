//! Several stored tables as one row source: a `table_name`, and their columns united by name.
//!
//! Columns of one name must be of one kind, so a filter means the same in every table. It is sorted out once, against a
//! table that has all the columns; `table_name` is a tag of it. Conditions on `table_name` alone leave out tables while
//! the query is planned; other conditions on tags become the series filter of each table, with NULL for a tag that the
//! table does not have. Tables without rows in the time that is asked for are left out as well.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{Array, ArrayRef, StringViewArray, new_null_array};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Column as ColumnName;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use quorate_storage::catalog::limits::COLUMNS_PER_TABLE_MAX;
use quorate_storage::catalog::{Column, DatabaseId, Table, TableOptions};
use quorate_storage::scan::{ScanRequest, SeriesFilter};
use quorate_storage::{ColumnId, ColumnKind, FieldType, TableId};

use super::{shown_schema, views_of};
use crate::prune::{Pruning, Pushdown, TagFilter, TimeColumn, WidenedFilter, classify};
use crate::scan::{OutputColumn, ScanLabel, TablePart, TablesScanExec};
use crate::{Error, ErrorKind};

/// The column that tells which table a row is of.
const TABLE_NAME: &str = "table_name";

/// Tables with their columns united.
#[derive(Debug)]
pub(crate) struct United {
    tables: Vec<Arc<Table>>,
    /// A table with all the columns, as far as filters and types go. No store knows it.
    all: Table,
    schema: SchemaRef,
    utc: bool,
}

/// A table that a filter left, with the filter of its series.
#[derive(Clone, Debug)]
pub(crate) struct UnitedPart {
    pub(crate) table: Arc<Table>,
    pub(crate) series: Option<Arc<dyn SeriesFilter>>,
}

impl United {
    /// Unites the columns of tables, at least one.
    pub(crate) fn of(tables: Vec<Arc<Table>>, zone: &Arc<str>) -> Result<Self, Error> {
        let columns = unite(&tables)?;
        let all = Table {
            id: TableId(0),
            database: DatabaseId(0),
            name: "series()".to_owned(),
            columns,
            options: TableOptions::default(),
            column_id_next: 0,
            changed_at: 0,
        };
        let schema = shown_schema(&all, zone);
        Ok(Self { tables, all, schema, utc: &**zone == "UTC" })
    }

    /// The tables, by name.
    pub(crate) fn tables(&self) -> &[Arc<Table>] {
        &self.tables
    }

    /// What a column is: `table_name` is a tag.
    pub(crate) fn column_kind(&self, index: usize) -> Option<ColumnKind> {
        self.all.columns.get(index).map(|column| column.kind)
    }

    /// What a filter is to the scans of all tables.
    pub(crate) fn classify(&self, filter: &Expr) -> Pushdown {
        classify(filter, &self.all, &self.time_column())
    }

    /// What filters leave of every table.
    pub(crate) fn pruning(&self, filters: &[Expr]) -> Pruning {
        Pruning::of(filters, &self.all, &self.time_column())
    }

    fn time_column(&self) -> TimeColumn<'_> {
        TimeColumn { name: &self.all.time().name, utc: self.utc }
    }

    /// The tables whose names the filters leave, each with the filter of its series.
    pub(crate) fn parts(&self, state: &dyn Session, pruning: &Pruning) -> Result<Vec<UnitedPart>> {
        let (of_names, of_series): (Vec<Expr>, Vec<Expr>) =
            pruning.tags.iter().cloned().partition(is_of_name);
        let kept = self.named(state, &of_names)?;
        let filter = TagFilter::compile(state, &self.all, &of_series)?;
        let part = |table: &Arc<Table>| {
            let series = filter.as_ref().map(|filter| {
                let filter = WidenedFilter::new(filter, &self.all, table, &of_series);
                Arc::new(filter) as Arc<dyn SeriesFilter>
            });
            UnitedPart { table: Arc::clone(table), series }
        };
        Ok(kept.into_iter().map(part).collect())
    }

    /// The tables for whose names all predicates hold.
    fn named(&self, state: &dyn Session, predicates: &[Expr]) -> Result<Vec<&Arc<Table>>> {
        let Some(filter) = TagFilter::compile(state, &self.all, predicates)? else {
            return Ok(self.tables.iter().collect());
        };
        let names = self.tables.iter().map(|table| Some(table.name.as_str()));
        let names: ArrayRef = Arc::new(names.collect::<StringViewArray>());
        let field = |tag: &Column| Field::new(&tag.name, DataType::Utf8View, true);
        let schema = Schema::new(self.all.tags().map(field).collect::<Vec<_>>());
        let other = new_null_array(&DataType::Utf8View, self.tables.len());
        let others = schema.fields().len() - 1;
        let columns = std::iter::once(names).chain((0..others).map(|_| Arc::clone(&other)));
        let batch = RecordBatch::try_new(Arc::new(schema), columns.collect())?;
        let keep = filter.keep(&batch).map_err(|e| Error::from(e).into_datafusion())?;
        let kept = |(at, table)| (keep.is_valid(at) && keep.value(at)).then_some(table);
        Ok(self.tables.iter().enumerate().filter_map(kept).collect())
    }

    /// What the columns of a projection are made of in one table, and what is asked of its scan.
    fn columns_of(
        &self,
        table: &Table,
        projection: &[usize],
    ) -> (Vec<OutputColumn>, Vec<ColumnId>) {
        let by_name: HashMap<&str, &Column> =
            table.columns.iter().map(|c| (c.name.as_str(), c)).collect();
        let mut asked = Vec::new();
        let columns = projection.iter().map(|i| {
            let wanted = &self.all.columns[*i];
            if *i == 0 {
                return OutputColumn::Text(table.name.clone());
            }
            match by_name.get(wanted.name.as_str()) {
                None => OutputColumn::Null,
                Some(column) => {
                    asked.push(column.id);
                    if column.kind == wanted.kind {
                        OutputColumn::Read(asked.len() - 1)
                    } else {
                        OutputColumn::Widened(asked.len() - 1)
                    }
                }
            }
        });
        (columns.collect(), asked)
    }
}

/// Columns of one table for another one that has the same.
fn renamed(columns: Vec<OutputColumn>, table: &str) -> Vec<OutputColumn> {
    let rename = |column| match column {
        OutputColumn::Text(_) => OutputColumn::Text(table.to_owned()),
        OutputColumn::Null | OutputColumn::Read(_) | OutputColumn::Widened(_) => column,
    };
    columns.into_iter().map(rename).collect()
}

/// Whether a predicate is about the name of the table alone.
fn is_of_name(predicate: &Expr) -> bool {
    predicate.column_refs().iter().all(|column: &&ColumnName| column.name == TABLE_NAME)
}

/// The columns of all tables by name: the table's name, the time, the tags, the fields.
fn unite(tables: &[Arc<Table>]) -> Result<Vec<Column>, Error> {
    /// A column, and the first table that has it.
    struct Known<'a> {
        kind: ColumnKind,
        table: &'a str,
    }
    let mut known: HashMap<&str, Known<'_>> = HashMap::new();
    let mut order: Vec<&str> = Vec::new();
    let time = tables.first().map(|first| (first.time().name.as_str(), first.name.as_str()));
    let mut columns_before: Option<&[Column]> = None;
    for table in tables {
        // Tables with names alike mostly have the same columns: nothing new comes from them.
        if columns_before.replace(&table.columns) == Some(&table.columns) {
            continue;
        }
        let own = table.time().name.as_str();
        if let Some((name, first)) = time.filter(|(name, _)| *name != own) {
            return Err(conflict(format!(
                "tables {first:?} and {:?} cannot be read as one: their times are {name:?} and {own:?}",
                table.name
            )));
        }
        for column in &table.columns {
            let name = column.name.as_str();
            if name == TABLE_NAME {
                return Err(conflict(format!(
                    "table {:?} has a column {TABLE_NAME:?}, which series() adds itself; rename it or leave out the \
                     table",
                    table.name
                )));
            }
            let Some(before) = known.get_mut(name) else {
                known.insert(name, Known { kind: column.kind, table: &table.name });
                order.push(name);
                continue;
            };
            before.kind = both(before.kind, column.kind).ok_or_else(|| {
                conflict(format!(
                    "tables {:?} and {:?} cannot be read as one: column {name:?} is {} in the first and {} in the second",
                    before.table,
                    table.name,
                    kind_text(before.kind),
                    kind_text(column.kind)
                ))
            })?;
        }
    }
    if order.len() >= COLUMNS_PER_TABLE_MAX {
        return Err(conflict(format!(
            "the {} tables have {} columns of different names together, more than {COLUMNS_PER_TABLE_MAX}; match fewer",
            tables.len(),
            order.len()
        )));
    }
    // Stable: within a kind, columns stay in the order of their first appearance.
    order.sort_by_key(|name| match known[name].kind {
        ColumnKind::Time => 0,
        ColumnKind::Tag => 1,
        ColumnKind::Field(_) => 2,
    });
    let name = std::iter::once((TABLE_NAME, ColumnKind::Tag));
    let columns = name.chain(order.into_iter().map(|name| (name, known[name].kind)));
    let column = |(id, (name, kind)): (u32, (&str, ColumnKind))| Column {
        id: ColumnId(id),
        name: name.to_owned(),
        kind,
    };
    Ok((0..).zip(columns).map(column).collect())
}

fn conflict(message: String) -> Error {
    Error::request(ErrorKind::Invalid, message)
}

/// The kind of a column that is of one kind in one table and of the other in another.
fn both(a: ColumnKind, b: ColumnKind) -> Option<ColumnKind> {
    let (int, double) =
        (ColumnKind::Field(FieldType::Int64), ColumnKind::Field(FieldType::Float64));
    match (a, b) {
        _ if a == b => Some(a),
        _ if (a, b) == (int, double) || (a, b) == (double, int) => Some(double),
        _ => None,
    }
}

fn kind_text(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Time => "the time",
        ColumnKind::Tag => "a tag",
        ColumnKind::Field(FieldType::Float64) => "a DOUBLE",
        ColumnKind::Field(FieldType::Int64) => "a BIGINT",
        ColumnKind::Field(FieldType::UInt64) => "a BIGINT UNSIGNED",
        ColumnKind::Field(FieldType::Boolean) => "a BOOLEAN",
        ColumnKind::Field(FieldType::Utf8) => "a STRING that is no tag",
        ColumnKind::Field(FieldType::Timestamp) => "a TIMESTAMP",
    }
}

/// United tables for DataFusion.
#[derive(Debug)]
pub(crate) struct UnitedTable {
    pattern: String,
    united: Arc<United>,
}

/// The united tables that a provider is, if it is.
pub(crate) fn united_of(provider: &dyn TableProvider) -> Option<&Arc<United>> {
    provider.downcast_ref::<UnitedTable>().map(|table| &table.united)
}

impl UnitedTable {
    /// Tables that `pattern` found.
    pub(crate) fn new(pattern: String, united: Arc<United>) -> Self {
        Self { pattern, united }
    }
}

#[async_trait]
impl TableProvider for UnitedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.united.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters.iter().map(|filter| self.united.classify(filter).support()).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let united = &self.united;
        // A limit below a filter that is evaluated again above would come up short.
        let exact = |filter: &Expr| united.classify(filter).is_exact();
        let limit = limit.filter(|_| filters.iter().all(exact));
        let pruning = united.pruning(filters);
        let projection = match projection {
            Some(projection) => projection.clone(),
            None => (0..united.all.columns.len()).collect(),
        };
        let schema = Arc::new(united.schema.project(&projection)?);
        if pruning.is_empty() {
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let kept = united.parts(state, &pruning)?;
        let ids: Vec<TableId> = kept.iter().map(|part| part.table.id).collect();
        let views = views_of(state)?.several(&ids, pruning.time).await;
        let views = views.map_err(Error::into_datafusion)?;
        let partitions = state.config().target_partitions();
        let found = kept.into_iter().zip(views).filter(|(_, view)| !view.is_empty());
        let mut before: Option<(Arc<Table>, Vec<OutputColumn>, Vec<ColumnId>)> = None;
        let parts = found.map(|(part, view)| {
            let same = before.take_if(|(table, ..)| table.columns == part.table.columns);
            let (columns, asked) = match same {
                Some((_, columns, asked)) => (renamed(columns, &part.table.name), asked),
                None => united.columns_of(&part.table, &projection),
            };
            before = Some((Arc::clone(&part.table), columns.clone(), asked.clone()));
            let request = ScanRequest {
                columns: asked,
                time: pruning.time,
                values: Vec::new(),
                series: part.series,
                partitions,
                limit,
                last: None,
            };
            TablePart::new(view, request, columns)
        });
        let parts: Vec<TablePart> = parts.collect();
        if parts.is_empty() {
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let label = ScanLabel::of_several(&self.pattern, united.tables().len(), &pruning, limit);
        Ok(Arc::new(TablesScanExec::new(schema, parts, partitions, limit, label)))
    }
}
