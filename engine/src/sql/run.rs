//! Carries statements out.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::sql::parser::Statement as FrontStatement;
use futures::FutureExt;
use futures::future::BoxFuture;
use quorate_storage::catalog::CatalogCommand;

use super::action::Action;
use super::memory::{self, MemoryStatement};
use super::parameters::{ParameterRow, Parameters};
use super::parse::{Parsed, parse};
use super::series::SeriesQuestion;
use super::{
    StatementContext, alter, cluster, context, create, current_database, delete, insert, notes,
    prepared, query, settings, show, templates, update, view,
};
use crate::exec::all_nullable;
use crate::{
    Error, ErrorKind, Outcome, QueryId, QueryStream, Session, StatementKind, StatementPlan,
};

/// How often a statement is planned anew because the catalog moved under it.
const PLANS_MAX: usize = 5;

/// Statements up to this length are parsed where they arrive.
const SHORT_BYTES: usize = 16 << 10;

/// Parses and plans a statement without running it, with the values of its parameters if they are known.
pub(crate) async fn plan(
    session: &Session,
    sql: &str,
    values: Option<RecordBatch>,
) -> Result<StatementPlan, Error> {
    if values.is_none()
        && let Some(schema) = known_schema(session, sql).await?
    {
        let (kind, parameters) = (StatementKind::Query, Arc::new(Schema::empty()));
        return Ok(StatementPlan { kind, schema, parameters });
    }
    let Parsed { statement, parameters } = parse_aside(session, sql).await?;
    if let Some(execution) = prepared::execution(&statement) {
        let outer = Parameters::new(parameters, values)?;
        let (text, values) = execution.resolve(session, sql, &outer).await?;
        let plan = plan_again(session, &text, values).await?;
        return Ok(StatementPlan { parameters: Arc::new(Schema::empty()), ..plan });
    }
    if let Some(statement) = MemoryStatement::of(session, &statement) {
        let context = StatementContext::of(session).await?;
        let types = statement.parameter_types(&context).await?;
        let (kind, schema) = (statement.kind(), count_schema());
        return Ok(StatementPlan {
            kind,
            schema,
            parameters: parameter_schema(&parameters, &types),
        });
    }
    let action = Action::of(statement)?;
    let (values, runs) = match values {
        Some(batch) if action.kind() == StatementKind::Query => {
            let values = Parameters::new(parameters.clone(), Some(batch))?;
            match (&action, values.rows()) {
                (Action::Query(_) | Action::Explain(_), 2..) => {
                    (Some(values.row(0)?), values.rows())
                }
                _ => (Some(values.single_row()?), 1),
            }
        }
        Some(_) | None => (None, 1),
    };
    let kind = action.kind();
    let context = StatementContext::of(session).await?;
    let (engine, sql) = (Arc::clone(session.engine()), sql.to_owned());
    let work = async move {
        if let (Action::Query(statement), true) = (&action, parameters.is_empty()) {
            let schema = query::schema(&context, &sql, statement).await?;
            return Ok(StatementPlan { kind, schema, parameters: Arc::new(Schema::empty()) });
        }
        let (mut schema, types) = types_of(&action, &context, &parameters, values.as_ref()).await?;
        if runs > 1 {
            schema = all_nullable(&schema);
        }
        Ok(StatementPlan { kind, schema, parameters: parameter_schema(&parameters, &types) })
    };
    engine.runtime().run(work).await
}

/// The schema of a query whose plan is known and still current.
async fn known_schema(session: &Session, sql: &str) -> Result<Option<SchemaRef>, Error> {
    let (engine, options) = (session.engine(), session.options());
    let Some(known) = engine.plans().get(sql, &options) else {
        let like = templates::plan(session, sql).await?;
        return Ok(like.map(|known| Arc::clone(&known.schema)));
    };
    let catalog = context::catalog(engine, &options).await?;
    if !known.is_current(&catalog) {
        return Ok(None);
    }
    context::check_database(engine, &catalog, current_database(&options))?;
    engine.plans().count();
    Ok(Some(Arc::clone(&known.schema)))
}

/// Runs a query, once per row of parameters.
async fn run_query(
    session: &Session,
    sql: &str,
    statement: &FrontStatement,
    parameters: Parameters,
) -> Result<Outcome, Error> {
    if parameters.rows() > 1 {
        let parameters = Arc::new(parameters);
        return retry_stale(|| query::run_each(session, sql, statement, &parameters)).await;
    }
    let values = parameters.single_row()?;
    retry_stale(|| query::run(session, sql, statement, &values)).await
}

/// Schema of a statement's answer, and types of its parameters.
async fn types_of(
    action: &Action,
    context: &StatementContext,
    parameters: &[String],
    values: Option<&ParameterRow>,
) -> Result<(SchemaRef, BTreeMap<String, DataType>), Error> {
    Ok(match action {
        Action::Query(statement) | Action::Explain(statement) => {
            query::describe(context, statement, parameters, values).await?
        }
        Action::ShowSeries(question) => {
            let statement = question.as_query(context)?;
            query::describe(context, &statement, parameters, values).await?
        }
        Action::Insert(insert) => {
            (count_schema(), insert::parameter_types(context, insert, parameters).await?)
        }
        Action::Delete(delete) => (count_schema(), delete::parameter_types(context, delete).await?),
        Action::Update(update) => {
            (count_schema(), update::parameter_types(context, update, parameters).await?)
        }
        Action::Copy(copy) => (count_schema(), copy.parameter_types(context, parameters).await?),
        Action::ShowDatabases { .. }
        | Action::ShowTables { .. }
        | Action::ShowColumns { .. }
        | Action::ShowCreateTable { .. }
        | Action::ShowQueries
        | Action::ShowSetting { .. } => (show::schema(action, context), BTreeMap::new()),
        Action::CreateDatabase { .. }
        | Action::MemoryDatabase { .. }
        | Action::DropDatabase { .. }
        | Action::CreateTable(_)
        | Action::DropTable { .. }
        | Action::AlterTable(_)
        | Action::CreateView(_)
        | Action::DropView { .. }
        | Action::Use { .. }
        | Action::Set { .. }
        | Action::Reset { .. }
        | Action::Kill { .. }
        | Action::Checkpoint
        | Action::Vacuum
        | Action::Note(_)
        | Action::Prepare(_)
        | Action::Deallocate { .. }
        | Action::Cluster(_) => (count_schema(), BTreeMap::new()),
    })
}

/// Runs a statement.
pub(crate) async fn execute(
    session: &Session,
    sql: &str,
    parameters: Option<RecordBatch>,
) -> Result<Outcome, Error> {
    if parameters.is_none()
        && let Some(rows) = start_known(session, sql).await?
    {
        return Ok(Outcome::Rows(rows));
    }
    let Parsed { statement, parameters: ids } = parse_aside(session, sql).await?;
    let parameters = Parameters::new(ids, parameters)?;
    if let Some(execution) = prepared::execution(&statement) {
        let (text, values) = execution.resolve(session, sql, &parameters).await?;
        return execute_again(session, &text, values).await;
    }
    if let Some(statement) = MemoryStatement::of(session, &statement) {
        return Box::pin(statement.run(session, sql, &parameters)).await;
    }
    let action = Action::of(statement)?;
    if action.kind() == StatementKind::Command && !parameters.is_empty() {
        return Err(Error::request(ErrorKind::Invalid, "this statement takes no parameters"));
    }
    match action {
        Action::Query(statement) | Action::Explain(statement) => {
            return run_query(session, sql, &statement, parameters).await;
        }
        Action::Insert(insert) => return insert::run(session, sql, insert, parameters).await,
        Action::Delete(delete) => return delete::run(session, sql, &delete, &parameters).await,
        Action::Update(update) => return update::run(session, sql, &update, parameters).await,
        Action::Copy(copy) => return copy.run(session, sql, &parameters).await,
        Action::CreateTable(create) => return create::run(session, sql, &create).await,
        Action::CreateView(view) => return retry_stale(|| view::create(session, sql, &view)).await,
        Action::AlterTable(alter) => return alter::run(session, &alter).await,
        Action::ShowSeries(question) => {
            return retry_stale(|| show_series(session, sql, &question)).await;
        }
        Action::Note(note) => return notes::run(session, sql, &note).await,
        Action::Use { .. } | Action::Set { .. } | Action::Reset { .. } => {
            return set(session, action).await;
        }
        Action::Kill { query } => return kill(session, query),
        Action::MemoryDatabase { name, if_not_exists } => {
            return memory::create_database(session, &name, if_not_exists);
        }
        Action::DropDatabase { ref name, .. } if drops_memory(session, name) => {}
        Action::Checkpoint => session.engine().store().flush().await?,
        Action::Vacuum => session.engine().store().compact().await?,
        Action::Cluster(change) => cluster::run(session, &change).await?,
        Action::Prepare(preparation) => preparation.keep(session).await?,
        Action::Deallocate { name } => prepared::deallocate(session, &name)?,
        Action::CreateDatabase { .. }
        | Action::DropDatabase { .. }
        | Action::DropTable { .. }
        | Action::DropView { .. } => {
            let command = command_of(session, action).await?;
            session.engine().store().change_catalog(command).await?;
        }
        Action::ShowDatabases { .. }
        | Action::ShowTables { .. }
        | Action::ShowColumns { .. }
        | Action::ShowCreateTable { .. }
        | Action::ShowQueries
        | Action::ShowSetting { .. } => {
            let context = StatementContext::of(session).await?;
            return show::run(&context, &action).await;
        }
    }
    Ok(Outcome::Done)
}

/// Starts a query whose plan is known, if it is and can still be used.
async fn start_known(session: &Session, sql: &str) -> Result<Option<QueryStream>, Error> {
    let known = match session.engine().plans().get(sql, &session.options()) {
        Some(known) => known,
        None => match templates::plan(session, sql).await? {
            Some(known) => known,
            None => return Ok(None),
        },
    };
    match query::start_known(session, sql, known).await {
        // The catalog moved.
        Err(Error::Store(quorate_storage::Error::Stale { .. })) => Ok(None),
        started => started,
    }
}

async fn show_series(
    session: &Session,
    sql: &str,
    question: &SeriesQuestion,
) -> Result<Outcome, Error> {
    let statement = question.as_query(&StatementContext::of(session).await?)?;
    Ok(Outcome::Rows(query::start(session, sql, &statement, &ParameterRow::new()).await?))
}

/// [`plan`] of a statement that another one stands for.
pub(super) fn plan_again<'a>(
    session: &'a Session,
    sql: &'a str,
    values: Option<RecordBatch>,
) -> BoxFuture<'a, Result<StatementPlan, Error>> {
    plan(session, sql, values).boxed()
}

/// [`execute`] of a statement that another one stands for.
fn execute_again<'a>(
    session: &'a Session,
    sql: &'a str,
    values: Option<RecordBatch>,
) -> BoxFuture<'a, Result<Outcome, Error>> {
    execute(session, sql, values).boxed()
}

/// Parses a statement; a long one on the query threads, so that nothing else waits for it.
async fn parse_aside(session: &Session, sql: &str) -> Result<Parsed, Error> {
    if sql.len() <= SHORT_BYTES {
        return parse(sql);
    }
    let sql = sql.to_owned();
    session.engine().runtime().run(async move { parse(&sql) }).await
}

/// One `count` column: the answer of updates and commands.
fn count_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("count", DataType::Int64, true)]))
}

/// Parameters in order; those whose type nothing tells are text.
fn parameter_schema(ids: &[String], types: &BTreeMap<String, DataType>) -> SchemaRef {
    let field = |id: &String| {
        // Clients know text as Utf8.
        let data_type = match types.get(id) {
            None | Some(DataType::Utf8View) => DataType::Utf8,
            Some(other) => other.clone(),
        };
        Field::new(id, data_type, true)
    };
    Arc::new(Schema::new(ids.iter().map(field).collect::<Vec<_>>()))
}

/// Plans again where the catalog moved between planning and reading.
pub(super) async fn retry_stale<T, F>(run: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    for _ in 1..PLANS_MAX {
        match run().await {
            Err(Error::Store(quorate_storage::Error::Stale { .. })) => {}
            outcome => return outcome,
        }
    }
    run().await
}

async fn command_of(session: &Session, action: Action) -> Result<CatalogCommand, Error> {
    let context = StatementContext::of(session).await?;
    let current = context.database_name();
    match action {
        Action::CreateDatabase { name, if_not_exists } => {
            if session.engine().memory().get(&name).is_some() {
                let message = format!("a memory database {name:?} exists already on this node");
                return Err(Error::request(ErrorKind::Conflict, message));
            }
            Ok(CatalogCommand::CreateDatabase { name, if_not_exists })
        }
        Action::DropDatabase { name, if_exists } => {
            if name == current {
                return Err(Error::request(
                    ErrorKind::Conflict,
                    format!("database {name:?} is the one this session is in"),
                ));
            }
            if !if_exists {
                context.database(&name)?;
            }
            Ok(CatalogCommand::DropDatabase { name, if_exists })
        }
        Action::DropTable { name, if_exists } => {
            let place = super::names::stored_table(&name, current)?;
            if !if_exists {
                context.table(&place)?;
            }
            Ok(CatalogCommand::DropTable { database: place.database, name: place.table, if_exists })
        }
        Action::DropView { name, if_exists } => {
            let place = super::names::stored_table(&name, current)?;
            Ok(CatalogCommand::DropView { database: place.database, name: place.table, if_exists })
        }
        other => Err(Error::request(
            ErrorKind::Internal,
            format!("{other:?} is not a change of the catalog"),
        )),
    }
}

async fn set(session: &Session, action: Action) -> Result<Outcome, Error> {
    let (name, value) = match action {
        Action::Use { database } => ("database".to_owned(), Some(database)),
        Action::Set { name, value } => (name, Some(value)),
        Action::Reset { name } => (name, None),
        other => {
            return Err(Error::request(ErrorKind::Internal, format!("{other:?} is not a setting")));
        }
    };
    let Some(value) = value else {
        session.change(|options| settings::reset(options, &name))?;
        return Ok(Outcome::Done);
    };
    if name == "database" {
        let context = StatementContext::of(session).await?;
        context.check_database(&value)?;
    }
    session.change(|options| settings::set(options, &name, &value))?;
    Ok(Outcome::Done)
}

/// Drops a memory database, if it is one that goes: the session's own stays.
fn drops_memory(session: &Session, name: &str) -> bool {
    let engine = session.engine();
    let own = current_database(&session.options()) == name;
    let durable = engine.store().catalog().database(name).is_some();
    !own && !durable && engine.memory().drop_database(name)
}

fn kill(session: &Session, query: QueryId) -> Result<Outcome, Error> {
    if session.engine().cancel(query) {
        return Ok(Outcome::Done);
    }
    Err(Error::request(ErrorKind::NotFound, format!("query {query} is not running")))
}
