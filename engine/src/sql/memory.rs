//! Statements that change a memory database. DataFusion plans them; its tables take them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{DataType, SchemaRef, UInt64Type};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::{
    CreateMemoryTable, DdlStatement, DmlStatement, LogicalPlan, LogicalPlanBuilder, WriteOp,
};
use datafusion::sql::parser::Statement as FrontStatement;
use datafusion::sql::sqlparser::ast::{
    CreateView, FromTable, ObjectName, ObjectType, Statement, TableFactor, TableObject,
};
use futures::TryStreamExt;
use quorate_storage::catalog::View;

use super::action::unsupported;
use super::names::{TablePlace, no_table, parts, single_place};
use super::parameters::{Parameters, bind};
use super::parse::ParsedStatement;
use super::{StatementContext, query, view};
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
        let plan = context.state.statement_to_plan(self.statement.clone()).await;
        query::parameter_types(&plan.map_err(query::planning_error)?)
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
            Some(Statement::CreateView(create)) => return self.create_view(session, create).await,
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
            let plan = context.state.statement_to_plan(self.statement.clone()).await;
            let mut plan = plan.map_err(query::planning_error)?;
            let values = parameters.row(row)?;
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
        let (rows, batches) = self.collect(session, sql, context, &create.input).await?;
        let table = MemTable::try_new(schema, vec![batches])?
            .with_constraints(create.constraints)
            .with_column_defaults(create.column_defaults.into_iter().collect::<HashMap<_, _>>());
        let relation = Relation::Table(Arc::new(table));
        self.database.relations.write().insert(name.clone(), relation);
        Ok(rows)
    }

    /// `INSERT`, `UPDATE`, `DELETE`. What an `INSERT` takes is computed first, so that it is known to fit.
    async fn write(
        &self,
        session: &Session,
        sql: &str,
        context: &StatementContext,
        change: DmlStatement,
    ) -> Result<u64, Error> {
        let change = if matches!(change.op, WriteOp::Insert(_)) {
            let schema = Arc::clone(change.input.schema().inner());
            let (_, batches) = self.collect(session, sql, context, &change.input).await?;
            let rows = MemTable::try_new(schema, vec![batches])?;
            let input = LogicalPlanBuilder::scan("rows", provider_as_source(Arc::new(rows)), None)?;
            DmlStatement { input: Arc::new(input.build()?), ..change }
        } else {
            session.engine().memory().room().await?;
            change
        };
        let mut answer = query::stream(session, sql, context, &LogicalPlan::Dml(change)).await?;
        let mut changed = 0;
        while let Some(batch) = answer.batches.try_next().await? {
            let counts = batch.column(0).as_primitive_opt::<UInt64Type>();
            changed += counts.map_or(0, |counts| counts.values().iter().sum());
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
    ) -> Result<(u64, Vec<RecordBatch>), Error> {
        let memory: &MemoryDatabases = session.engine().memory();
        let mut room = memory.room().await?;
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

    async fn create_view(&self, session: &Session, create: &CreateView) -> Result<Outcome, Error> {
        let context = StatementContext::of(session).await?;
        let query = view::checked_query(&context, create, &self.place).await?;
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
