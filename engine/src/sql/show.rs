//! `SHOW`, `DESCRIBE`: small answers out of the catalog and the settings.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{ArrayRef, BooleanArray, StringArray};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::compute::kernels::comparison::{ilike, like};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::ObjectName;
use quorate_storage::catalog::{Column, Note, Table, TableNotes, TableOptions};
use quorate_storage::{ColumnKind, FieldType};
use quorate_timeseries::type_name;

use super::action::{Action, NameFilter};
use super::names::{no_table, parts, quote, stored_table};
use super::series::literal;
use super::{StatementContext, format_duration};
use crate::exec::batches;
use crate::memory::{MemoryDatabase, Relation};
use crate::{Error, ErrorKind, Outcome};

/// A small answer: columns of texts.
struct Answer {
    names: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

/// Names of the columns of an answer.
fn columns(action: &Action) -> &'static [&'static str] {
    match action {
        Action::ShowDatabases { .. } => &["database_name", "kind"],
        Action::ShowTables { .. } => &["table_catalog", "table_schema", "table_name", "table_type"],
        Action::ShowColumns { .. } => &["column_name", "data_type", "is_nullable", "column_kind"],
        Action::ShowCreateTable { .. } => &["table_name", "create_statement"],
        Action::ShowQueries => {
            &["query_id", "elapsed", "database_name", "client", "cancelled", "query"]
        }
        Action::ShowSetting { .. } => &["name", "value"],
        Action::Query(_)
        | Action::Explain(_)
        | Action::CreateDatabase { .. }
        | Action::MemoryDatabase { .. }
        | Action::DropDatabase { .. }
        | Action::CreateTable(_)
        | Action::DropTable { .. }
        | Action::Insert(_)
        | Action::Delete(_)
        | Action::Update(_)
        | Action::AlterTable(_)
        | Action::CreateView(_)
        | Action::DropView { .. }
        | Action::Use { .. }
        | Action::Set { .. }
        | Action::Reset { .. }
        | Action::Kill { .. }
        | Action::Checkpoint
        | Action::Vacuum
        | Action::ShowSeries(_)
        | Action::Note(_)
        | Action::Copy(_)
        | Action::Prepare(_)
        | Action::Deallocate { .. }
        | Action::Cluster(_) => &[],
    }
}

/// Schema of the answer.
pub(super) fn schema(action: &Action, _context: &StatementContext) -> SchemaRef {
    schema_of(columns(action))
}

fn schema_of(names: &[&str]) -> SchemaRef {
    let field = |name: &&str| Field::new(*name, DataType::Utf8, true);
    Arc::new(Schema::new(names.iter().map(field).collect::<Vec<_>>()))
}

/// Answers.
pub(super) async fn run(context: &StatementContext, action: &Action) -> Result<Outcome, Error> {
    let names = columns(action);
    let (rows, filter) = match action {
        Action::ShowDatabases { filter } => (databases(context), filter.as_ref()),
        Action::ShowTables { database, filter } => {
            (tables(context, database.as_deref())?, filter.as_ref())
        }
        Action::ShowColumns { table, filter } => (describe(context, table).await?, filter.as_ref()),
        Action::ShowCreateTable { table } => (create_table(context, table)?, None),
        Action::ShowQueries => (queries(context), None),
        Action::ShowSetting { name } => (settings(context, name.as_deref())?, None),
        other => {
            return Err(Error::request(ErrorKind::Internal, format!("{other:?} shows nothing")));
        }
    };
    let mut batch = Answer { names, rows }.into_batch()?;
    if let Some(filter) = filter {
        let name = if matches!(action, Action::ShowTables { .. }) { 2 } else { 0 };
        batch = filter.apply(&batch, name)?;
    }
    let id = context.engine.queries().next_id();
    Ok(Outcome::Rows(batches(id, batch.schema(), vec![batch])))
}

impl Answer {
    fn into_batch(self) -> Result<RecordBatch, Error> {
        let column = |i: usize| {
            let values = self.rows.iter().map(|row| row[i].as_str());
            Arc::new(StringArray::from_iter_values(values)) as ArrayRef
        };
        let columns = (0..self.names.len()).map(column).collect();
        Ok(RecordBatch::try_new(schema_of(self.names), columns).map_err(DataFusionError::from)?)
    }
}

impl NameFilter {
    fn apply(&self, batch: &RecordBatch, column: usize) -> Result<RecordBatch, Error> {
        let pattern = StringArray::new_scalar(&self.pattern);
        let names = batch.column(column);
        let keep: BooleanArray =
            if self.ignore_case { ilike(names, &pattern) } else { like(names, &pattern) }
                .map_err(DataFusionError::from)?;
        Ok(filter_record_batch(batch, &keep).map_err(DataFusionError::from)?)
    }
}

fn databases(context: &StatementContext) -> Vec<Vec<String>> {
    let durable = context.catalog.databases.values().map(|d| (d.name.clone(), "durable"));
    let memory = context.engine.memory().names().into_iter();
    let memory = memory.filter(|name| context.catalog.database(name).is_none());
    let memory = memory.map(|name| (name, "memory"));
    let mut all: Vec<_> = durable.chain(memory).collect();
    all.sort_unstable();
    all.into_iter().map(|(name, kind)| vec![name, kind.to_owned()]).collect()
}

/// A memory database that no durable one hides.
fn memory(context: &StatementContext, name: &str) -> Option<Arc<MemoryDatabase>> {
    let durable = context.catalog.database(name).is_some();
    context.engine.memory().get(name).filter(|_| !durable)
}

fn tables(context: &StatementContext, database: Option<&str>) -> Result<Vec<Vec<String>>, Error> {
    let name = database.unwrap_or(context.database_name());
    if let Some(memory) = memory(context, name) {
        let row = |(table, relation): (&String, &Relation)| {
            let kind = match relation {
                Relation::Table(_) => "BASE TABLE",
                Relation::View(_) => "VIEW",
            };
            [name, "public", table, kind].map(str::to_owned).to_vec()
        };
        return Ok(memory.relations.read().iter().map(row).collect());
    }
    let database = context.database(name)?;
    let tables = database.tables.keys().map(|table| (table, "BASE TABLE"));
    let views = context.catalog.views_of(database.id).map(|view| (&view.name, "VIEW"));
    let mut all: Vec<(&String, &str)> = tables.chain(views).collect();
    all.sort_unstable();
    let row = |(name, kind): (&String, &str)| {
        vec![database.name.clone(), "public".to_owned(), name.clone(), kind.to_owned()]
    };
    Ok(all.into_iter().map(row).collect())
}

/// Columns of a stored table by their roles; of a system table and of a view by their types.
async fn describe(
    context: &StatementContext,
    name: &ObjectName,
) -> Result<Vec<Vec<String>>, Error> {
    let names = parts(name)?;
    let schema = names.len().checked_sub(2).map(|i| names[i].as_str());
    if matches!(schema, Some("system" | "information_schema")) {
        return describe_system(context, &names).await;
    }
    let place = stored_table(name, context.database_name())?;
    if memory(context, &place.database).is_some()
        || context.catalog.view(&place.database, &place.table).is_some()
    {
        return describe_system(context, &[place.database, "public".to_owned(), place.table]).await;
    }
    let table = context.table(&place)?;
    let row = |column: &Column| {
        let (data_type, kind) = sql_type(column.kind);
        let nullable = if column.kind == ColumnKind::Time { "NO" } else { "YES" };
        vec![column.name.clone(), data_type.to_owned(), nullable.to_owned(), kind.to_owned()]
    };
    Ok(table.columns.iter().map(row).collect())
}

async fn describe_system(
    context: &StatementContext,
    names: &[String],
) -> Result<Vec<Vec<String>>, Error> {
    let (database, schema, table) = match names {
        [schema, table] => (context.database_name(), schema, table),
        [database, schema, table] => (database.as_str(), schema, table),
        _ => return Err(Error::request(ErrorKind::Invalid, "this is not the name of a table")),
    };
    let reference = datafusion::common::TableReference::full(
        database.to_owned(),
        schema.clone(),
        table.clone(),
    );
    let provider = context.state.schema_for_ref(reference)?;
    let Some(found) = provider.table(table).await? else {
        let known = provider.table_names();
        return Err(no_table(database, table, known.iter().map(String::as_str)));
    };
    let row = |field: &Arc<Field>| {
        let nullable = if field.is_nullable() { "YES" } else { "NO" };
        let data_type = type_name(field.data_type());
        vec![field.name().clone(), data_type, nullable.to_owned(), "column".to_owned()]
    };
    Ok(found.schema().fields().iter().map(row).collect())
}

/// A column's type as SQL writes it, and its role.
pub(crate) fn sql_type(kind: ColumnKind) -> (&'static str, &'static str) {
    match kind {
        ColumnKind::Time => ("TIMESTAMP(9) WITH TIME ZONE", "time"),
        ColumnKind::Tag => ("STRING", "tag"),
        ColumnKind::Field(field) => match field {
            FieldType::Float64 => ("DOUBLE", "field"),
            FieldType::Int64 => ("BIGINT", "field"),
            FieldType::UInt64 => ("BIGINT UNSIGNED", "field"),
            FieldType::Boolean => ("BOOLEAN", "field"),
            FieldType::Utf8 => ("STRING", "field"),
            FieldType::Timestamp => ("TIMESTAMP(9) WITH TIME ZONE", "field"),
        },
    }
}

fn create_table(context: &StatementContext, name: &ObjectName) -> Result<Vec<Vec<String>>, Error> {
    let place = stored_table(name, context.database_name())?;
    if let Some(view) = context.catalog.view(&place.database, &place.table) {
        let text = format!("CREATE VIEW {} AS {}", quote(&view.name), view.query);
        return Ok(vec![vec![view.name.clone(), text]]);
    }
    let table = context.table(&place)?;
    let mut text = definition(table);
    if let Some(notes) = context.catalog.notes.of_table(table.id) {
        text.push_str(&note_statements(table, notes));
    }
    Ok(vec![vec![table.name.clone(), text]])
}

/// The statement that makes a table like this one.
fn definition(table: &Table) -> String {
    let mut text = format!("CREATE TABLE {} (", quote(&table.name));
    for column in &table.columns {
        let null = if column.kind == ColumnKind::Time { " NOT NULL" } else { "" };
        let (data_type, _) = sql_type(column.kind);
        write!(text, "\n  {} {data_type}{null},", quote(&column.name))
            .expect("a String takes every write");
    }
    let key = table
        .tags()
        .map(|tag| quote(&tag.name))
        .chain([quote(&table.time().name)])
        .collect::<Vec<_>>();
    write!(text, "\n  PRIMARY KEY ({})\n)", key.join(", ")).expect("a String takes every write");
    let TableOptions { retention_ns, time_slice_ns, spread } = table.options;
    let length = |ns: i64| format_duration(Duration::from_nanos(ns.unsigned_abs()));
    let retention = retention_ns.map(|ns| format!("retention = '{}', ", length(ns)));
    write!(
        text,
        " WITH ({}time_slice = '{}', spread = {spread})",
        retention.unwrap_or_default(),
        length(time_slice_ns)
    )
    .expect("a String takes every write");
    text
}

/// The statements that say of a table and its columns what is said of this one. Labels of series are not among them: they
/// are of rows.
fn note_statements(table: &Table, notes: &TableNotes) -> String {
    let mut text = String::new();
    let mut set = |on: &str, alter: &str, note: &Note| {
        let Note { comment, unit, description } = note;
        if let Some(comment) = comment {
            write!(text, ";\nCOMMENT ON {on} IS {}", literal(comment))
                .expect("a String takes every write");
        }
        let named = [("unit", unit), ("description", description)].into_iter();
        let set = named.filter_map(|(name, said)| {
            said.as_ref().map(|said| format!("{name} = {}", literal(said)))
        });
        let set = set.collect::<Vec<_>>().join(", ");
        if !set.is_empty() {
            write!(text, ";\nALTER TABLE {alter} SET ({set})").expect("a String takes every write");
        }
    };
    let name = quote(&table.name);
    set(&format!("TABLE {name}"), &name, &notes.table);
    for column in &table.columns {
        if let Some(note) = notes.columns.get(&column.id) {
            let column = quote(&column.name);
            let alter = format!("{name} ALTER COLUMN {column}");
            set(&format!("COLUMN {name}.{column}"), &alter, note);
        }
    }
    text
}

fn queries(context: &StatementContext) -> Vec<Vec<String>> {
    let row = |(id, query): (crate::QueryId, crate::exec::RunningQuery)| {
        vec![
            id.to_string(),
            format!("{:.3}s", query.elapsed().as_secs_f64()),
            query.database.clone(),
            query.client.clone(),
            query.cancelled().to_string(),
            query.sql,
        ]
    };
    context.engine.queries().list().into_iter().map(row).collect()
}

fn settings(context: &StatementContext, name: Option<&str>) -> Result<Vec<Vec<String>>, Error> {
    let mut all = super::settings::list(&context.engine, &context.options)
        .into_iter()
        .map(|setting| vec![setting.name, setting.value])
        .collect::<Vec<_>>();
    let of_datafusion = context
        .state
        .config_options()
        .entries()
        .into_iter()
        .map(|entry| vec![entry.key, entry.value.unwrap_or_else(|| "NULL".to_owned())]);
    all.extend(of_datafusion);
    all.extend(super::settings::fixed().map(|(name, value)| vec![name.into(), value.into()]));
    if let Some(name) = name {
        all.retain(|row| row[0] == name);
        if all.is_empty() {
            return Err(Error::request(
                ErrorKind::NotFound,
                format!("{name:?} is not a setting; SHOW ALL lists them"),
            ));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::tests::cpu_table;
    use crate::sql::parse::parse;

    #[test]
    fn a_shown_definition_makes_the_same_table() {
        let mut table = cpu_table();
        table.options.retention_ns = Some(3_600_000_000_000);
        let text = definition(&table);
        let Action::CreateTable(create) = Action::of(parse(&text).unwrap().statement).unwrap()
        else {
            panic!("{text}")
        };
        let columns = super::super::create::columns_of(&create).unwrap();
        let kinds = columns.iter().map(|c| (c.name.as_str(), c.kind)).collect::<Vec<_>>();
        let want = table.columns.iter().map(|c| (c.name.as_str(), c.kind)).collect::<Vec<_>>();
        assert_eq!(kinds, want, "{text}");
        let options = super::super::create::options_of(&create.table_options).unwrap();
        assert_eq!(options, table.options);
    }
}
