//! Statements that change a memory database. DataFusion plans them; its tables take them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{DataType, SchemaRef, UInt64Type};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::{
    CreateMemoryTable, DdlStatement, DmlStatement, Expr, LogicalPlan, LogicalPlanBuilder, WriteOp,
};
use datafusion::sql::parser::Statement as FrontStatement;
use datafusion::sql::sqlparser::ast::{
    AssignmentTarget, CreateView, Delete, FromTable, ObjectName, ObjectType, Statement,
    TableFactor, TableObject, Update,
};
use futures::TryStreamExt;
use quorate_storage::catalog::View;

use super::action::{only, unsupported};
use super::cast::cast_exact;
use super::names::{TablePlace, no_column, no_table, parts, quote_always, single_place};
use super::parameters::{ParameterRow, Parameters, bind};
use super::parse::{ParsedStatement, parse};
use super::table_functions::{has_open_columns, with_values};
use super::{StatementContext, delete, points, query, view};
use crate::memory::{MemoryDatabase, MemoryDatabases, Relation};
use crate::{Error, ErrorKind, Outcome, QueryStream, Session, StatementKind};

/// A statement that changes a memory database.
#[derive(Debug)]
pub(crate) struct MemoryStatement {
    statement: FrontStatement,
    place: TablePlace,
    database: Arc<MemoryDatabase>,
}

fn of_factor(factor: &TableFactor) -> Option<&ObjectName> {
    match factor {
        TableFactor::Table { name, .. } => Some(name),
        _ => None,
    }
}

/// The name that a statement changes, if it changes one.
fn changed(statement: &Statement) -> Option<&ObjectName> {
    match statement {
        Statement::CreateTable(create) => Some(&create.name),
        Statement::CreateView(create) => Some(&create.name),
        Statement::AlterTable(alter) => Some(&alter.name),
        Statement::Drop { object_type: ObjectType::Table | ObjectType::View, names, .. } => {
            names.first()
        }
        Statement::Insert(insert) => match &insert.table {
            TableObject::TableName(name) => Some(name),
            _ => None,
        },
        Statement::Delete(delete) => {
            let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
            from.first().and_then(|table| of_factor(&table.relation))
        }
        Statement::Update(update) => of_factor(&update.table.relation),
        Statement::Truncate(truncate) => truncate.table_names.first().map(|target| &target.name),
        _ => None,
    }
}

impl MemoryStatement {
    /// The statement as one that changes a memory database, if it is one. A durable database goes before a memory
    /// database of its name.
    pub(super) fn of(session: &Session, statement: &ParsedStatement) -> Option<Self> {
        let ParsedStatement::Sql(front) = statement else { return None };
        let FrontStatement::Statement(inner) = front.as_ref() else { return None };
        let options = session.options();
        let place = single_place(&parts(changed(inner)?).ok()?, super::current_database(&options))?;
        let engine = session.engine();
        if engine.store().catalog().database(&place.database).is_some() {
            return None;
        }
        let database = engine.memory().get(&place.database)?;
        Some(Self { statement: (**front).clone(), place, database })
    }

    /// What its answer looks like.
    pub(super) fn kind(&self) -> StatementKind {
        match self.inner() {
            Some(Statement::CreateTable(create)) if create.query.is_none() => {
                StatementKind::Command
            }
            Some(Statement::CreateView(_) | Statement::Drop { .. } | Statement::AlterTable(_)) => {
                StatementKind::Command
            }
            _ => StatementKind::Update,
        }
    }

    fn inner(&self) -> Option<&Statement> {
        match &self.statement {
            FrontStatement::Statement(inner) => Some(inner),
            _ => None,
        }
    }

    /// Types of its parameters.
    pub(super) async fn parameter_types(
        &self,
        context: &StatementContext,
    ) -> Result<BTreeMap<String, DataType>, Error> {
        if self.kind() == StatementKind::Command {
            return Ok(BTreeMap::new());
        }
        let ours = match self.rewritten_types(context).await {
            None => None,
            Some(Ok(types)) => return Ok(types),
            Some(Err(error)) => Some(error),
        };
        if has_open_columns(&self.statement) {
            return Ok(BTreeMap::new());
        }
        // DataFusion's errors tell the place in the text.
        let plan = context.state.statement_to_plan(self.statement.clone()).await;
        let plan = plan.map_err(query::planning_error)?;
        ours.map_or_else(|| query::parameter_types(&plan), Err)
    }

    /// Types of the parameters of the queries that run in its stead.
    async fn rewritten_types(
        &self,
        context: &StatementContext,
    ) -> Option<Result<BTreeMap<String, DataType>, Error>> {
        let rewrite = Rewrite::of(self.inner()?)?;
        let types = async {
            let (rewrite, table) = (rewrite?, self.table()?);
            let after = rewrite.after(&table.schema())?;
            let plan = rewrite.plan(context, &after, &ParameterRow::new()).await?;
            query::parameter_types(&plan)
        };
        Some(types.await)
    }

    /// The table that it changes.
    fn table(&self) -> Result<Arc<MemTable>, Error> {
        match self.database.relations.read().get(&self.place.table) {
            Some(Relation::Table(table)) => Ok(Arc::clone(table)),
            Some(Relation::View(_)) => Err(unsupported("a change of a view")),
            None => Err(no_table(&self.place.database, &self.place.table, [])),
        }
    }

    /// Runs it, once per row of parameters.
    pub(super) async fn run(
        &self,
        session: &Session,
        sql: &str,
        parameters: &Parameters,
    ) -> Result<Outcome, Error> {
        let memory = session.engine().memory();
        let _turn = memory.changing.lock().await;
        match self.inner() {
            Some(Statement::CreateView(create)) => {
                return self.create_view(session, sql, create).await;
            }
            Some(Statement::Drop { object_type, names, if_exists, .. }) => {
                if names.len() != 1 {
                    return Err(unsupported("DROP of several names at once"));
                }
                return self.drop_relation(*object_type, *if_exists);
            }
            Some(Statement::AlterTable(_) | Statement::Truncate(_)) => {
                return Err(unsupported("ALTER TABLE and TRUNCATE in a memory database"));
            }
            _ => {}
        }
        let mut changed = 0;
        for row in 0..parameters.rows() {
            let context = StatementContext::of(session).await?;
            if let Some(rewrite) = self.inner().and_then(Rewrite::of) {
                let values = parameters.row(row)?;
                changed += self.rewrite(session, sql, &context, &rewrite?, &values).await?;
                continue;
            }
            let values = parameters.row(row)?;
            let statement = with_values(&self.statement, &values)?.into_owned();
            let plan = context.state.statement_to_plan(statement).await;
            let mut plan = plan.map_err(query::planning_error)?;
            if !values.is_empty() {
                let types = query::parameter_types(&plan)?;
                plan = plan.with_param_values(bind(&values, &types)?)?;
            }
            changed += match plan {
                LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)) => {
                    let made = self.create_table(session, sql, &context, create).await?;
                    if self.kind() == StatementKind::Command {
                        return Ok(Outcome::Done);
                    }
                    made
                }
                LogicalPlan::Dml(change) => self.write(session, sql, &context, change).await?,
                _ => return Err(unsupported("this statement in a memory database")),
            };
        }
        Ok(Outcome::Updated(Some(changed)))
    }

    async fn create_table(
        &self,
        session: &Session,
        sql: &str,
        context: &StatementContext,
        create: CreateMemoryTable,
    ) -> Result<u64, Error> {
        let name = &self.place.table;
        let known = self.database.relations.read().contains_key(name);
        if known && create.if_not_exists {
            return Ok(0);
        }
        if known && !create.or_replace {
            return Err(exists(name));
        }
        let schema: SchemaRef = Arc::clone(create.input.schema().inner());
        let room = session.engine().memory().room().await?;
        let (rows, batches) = self.collect(session, sql, context, &create.input, room).await?;
        let table = MemTable::try_new(schema, vec![batches])?
            .with_constraints(create.constraints)
            .with_column_defaults(create.column_defaults.into_iter().collect::<HashMap<_, _>>());
        let relation = Relation::Table(Arc::new(table));
        self.database.relations.write().insert(name.clone(), relation);
        Ok(rows)
    }

    /// `INSERT`. What it takes is computed first, so that it is known to fit.
    async fn write(
        &self,
        session: &Session,
        sql: &str,
        context: &StatementContext,
        change: DmlStatement,
    ) -> Result<u64, Error> {
        if !matches!(change.op, WriteOp::Insert(_)) {
            return Err(unsupported("this statement in a memory database"));
        }
        let schema = Arc::clone(change.input.schema().inner());
        let room = session.engine().memory().room().await?;
        let (_, batches) = self.collect(session, sql, context, &change.input, room).await?;
        let rows = MemTable::try_new(schema, vec![batches])?;
        let input = LogicalPlanBuilder::scan("rows", provider_as_source(Arc::new(rows)), None)?;
        let change = DmlStatement { input: Arc::new(input.build()?), ..change };
        let mut answer = query::stream(session, sql, context, &LogicalPlan::Dml(change)).await?;
        let mut changed = 0;
        while let Some(batch) = answer.batches.try_next().await? {
            let counts = batch.column(0).as_primitive_opt::<UInt64Type>();
            changed += counts.map_or(0, |counts| counts.values().iter().sum());
        }
        Ok(changed)
    }

    /// `UPDATE`, `DELETE`: the rows as they are afterwards take the place of those that are there. DataFusion's own way
    /// takes the predicate from the optimized plan, where it may be gone.
    async fn rewrite(
        &self,
        session: &Session,
        sql: &str,
        context: &StatementContext,
        rewrite: &Rewrite,
        values: &ParameterRow,
    ) -> Result<u64, Error> {
        let table = self.table()?;
        let memory = session.engine().memory();
        let count = rewrite.plan(context, &rewrite.count(), values).await?;
        let changed = points::count(query::stream(session, sql, context, &count).await?).await?;
        let schema = table.schema();
        let after = rewrite.plan(context, &rewrite.after(&schema)?, values).await?;
        let room = if rewrite.set.is_empty() { memory.bytes_max() } else { memory.room().await? };
        let (_, batches) = self.collect(session, sql, context, &after, room).await?;
        let batches = batches.iter().map(|batch| in_schema(batch, &schema));
        let mut batches = batches.collect::<Result<Vec<_>, Error>>()?;
        table.sort_order.lock().clear();
        for partition in &table.batches {
            *partition.write().await = std::mem::take(&mut batches);
        }
        Ok(changed)
    }

    /// The rows of a plan, as far as they fit.
    async fn collect(
        &self,
        session: &Session,
        sql: &str,
        context: &StatementContext,
        plan: &LogicalPlan,
        mut room: usize,
    ) -> Result<(u64, Vec<RecordBatch>), Error> {
        let memory: &MemoryDatabases = session.engine().memory();
        let mut rows: QueryStream = query::stream(session, sql, context, plan).await?;
        let (mut count, mut batches) = (0, Vec::new());
        while let Some(batch) = rows.batches.try_next().await? {
            let left = room.checked_sub(batch.get_array_memory_size());
            room = left.ok_or_else(|| memory.full())?;
            count += batch.num_rows() as u64;
            batches.push(batch);
        }
        Ok((count, batches))
    }

    async fn create_view(
        &self,
        session: &Session,
        sql: &str,
        create: &CreateView,
    ) -> Result<Outcome, Error> {
        let context = StatementContext::of(session).await?;
        let query = view::checked_query(&context, sql, create, &self.place).await?;
        let name = &self.place.table;
        let mut relations = self.database.relations.write();
        match relations.get(name) {
            Some(_) if create.if_not_exists => return Ok(Outcome::Done),
            Some(Relation::View(_)) if create.or_replace => {}
            Some(_) => return Err(exists(name)),
            None => {}
        }
        relations.insert(name.clone(), Relation::View(View { name: name.clone(), query }));
        Ok(Outcome::Done)
    }

    fn drop_relation(&self, kind: ObjectType, if_exists: bool) -> Result<Outcome, Error> {
        let name = &self.place.table;
        let mut relations = self.database.relations.write();
        let fits = match relations.get(name) {
            Some(Relation::Table(_)) => kind == ObjectType::Table,
            Some(Relation::View(_)) => kind == ObjectType::View,
            None if if_exists => return Ok(Outcome::Done),
            None => {
                let known = relations.keys().map(String::as_str);
                return Err(no_table(&self.place.database, name, known));
            }
        };
        if !fits {
            let message = format!("{name:?} is not a {}", kind.to_string().to_lowercase());
            return Err(Error::request(ErrorKind::Invalid, message));
        }
        relations.remove(name);
        Ok(Outcome::Done)
    }
}

/// An `UPDATE` or `DELETE` as queries.
struct Rewrite {
    /// The table, with its alias.
    from: String,
    predicate: Option<String>,
    /// Columns and their new values; none for a `DELETE`.
    set: Vec<(String, String)>,
}

impl Rewrite {
    fn of(statement: &Statement) -> Option<Result<Self, Error>> {
        match statement {
            Statement::Delete(delete) => Some(Self::of_delete(delete)),
            Statement::Update(update) => Some(Self::of_update(update)),
            _ => None,
        }
    }

    fn of_delete(delete: &Delete) -> Result<Self, Error> {
        delete::as_query("*", delete)?;
        let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
        let from = from.first().map(ToString::to_string).unwrap_or_default();
        let predicate = delete.selection.as_ref().map(ToString::to_string);
        Ok(Self { from, predicate, set: Vec::new() })
    }

    fn of_update(update: &Update) -> Result<Self, Error> {
        let mut set: Vec<(String, String)> = Vec::new();
        for assignment in &update.assignments {
            let AssignmentTarget::ColumnName(name) = &assignment.target else {
                return Err(unsupported("UPDATE of several columns from one value"));
            };
            let column = parts(name)?.pop().unwrap_or_default();
            if set.iter().any(|(known, _)| *known == column) {
                let message = format!("column {column:?} is set twice");
                return Err(Error::request(ErrorKind::Invalid, message));
            }
            set.push((column, assignment.value.to_string()));
        }
        let values: Vec<String> = update.assignments.iter().map(ToString::to_string).collect();
        let filter = update.selection.as_ref().map(|p| format!(" WHERE {p}")).unwrap_or_default();
        let plain = format!("UPDATE {} SET {}{filter}", update.table, values.join(", "));
        only(&update.to_string(), &plain)?;
        let predicate = update.selection.as_ref().map(ToString::to_string);
        Ok(Self { from: update.table.to_string(), predicate, set })
    }

    /// The query that counts the rows.
    fn count(&self) -> String {
        let filter = self.predicate.as_ref().map(|p| format!(" WHERE {p}")).unwrap_or_default();
        format!("SELECT count(*) FROM {}{filter}", self.from)
    }

    /// The query for the rows as they are afterwards.
    fn after(&self, schema: &SchemaRef) -> Result<String, Error> {
        let predicate = self.predicate.as_deref().unwrap_or("true");
        if self.set.is_empty() {
            return Ok(format!("SELECT * FROM {} WHERE ({predicate}) IS NOT TRUE", self.from));
        }
        let known = || schema.fields().iter().map(|field| field.name().as_str());
        if let Some((name, _)) = self.set.iter().find(|(name, _)| !known().any(|k| k == name)) {
            return Err(no_column(&self.from, name, known()));
        }
        let column = |name: &str| {
            let quoted = quote_always(name);
            match self.set.iter().find(|(column, _)| column == name) {
                Some((_, value)) => {
                    format!("CASE WHEN ({predicate}) THEN ({value}) ELSE {quoted} END AS {quoted}")
                }
                None => quoted,
            }
        };
        let columns: Vec<String> = known().map(column).collect();
        Ok(format!("SELECT {} FROM {}", columns.join(", "), self.from))
    }

    async fn plan(
        &self,
        context: &StatementContext,
        text: &str,
        values: &ParameterRow,
    ) -> Result<LogicalPlan, Error> {
        let ParsedStatement::Sql(statement) = parse(text)?.statement else {
            return Err(unsupported("this statement in a memory database"));
        };
        let plan = query::logical(context, &statement, values).await?;
        let mut nested = false;
        plan.apply(|node| {
            node.apply_expressions(|expr| {
                expr.apply(|e| {
                    nested |= matches!(
                        e,
                        Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_)
                    );
                    Ok(TreeNodeRecursion::Continue)
                })
            })
        })?;
        if nested {
            return Err(unsupported("a subquery in UPDATE or DELETE of a memory table"));
        }
        if values.is_empty() {
            return Ok(plan);
        }
        let types = query::parameter_types(&plan)?;
        Ok(plan.with_param_values(bind(values, &types)?)?)
    }
}

/// Rows with the columns' own types, nothing lost.
fn in_schema(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Error> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| {
        cast_exact(column, field.data_type())
            .map_err(|e| e.named(&format!("column {:?}", field.name())))
    });
    let columns = columns.collect::<Result<Vec<_>, Error>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|e| Error::request(ErrorKind::Invalid, e.to_string()))
}

fn exists(name: &str) -> Error {
    Error::request(ErrorKind::Conflict, format!("table {name:?} exists already"))
}

/// Makes a memory database on this node.
pub(super) fn create_database(
    session: &Session,
    name: &str,
    if_not_exists: bool,
) -> Result<Outcome, Error> {
    let engine = session.engine();
    let durable = engine.store().catalog().database(name).is_some();
    if durable || (!engine.memory().create(name) && !if_not_exists) {
        let kind = if durable { "durable" } else { "memory" };
        let message = format!("a {kind} database {name:?} exists already");
        return Err(Error::request(ErrorKind::Conflict, message));
    }
    Ok(Outcome::Done)
}
