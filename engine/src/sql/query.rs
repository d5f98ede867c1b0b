//! Queries: planned by DataFusion over the statement's catalog, after a check that they only read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::default_table_source::DefaultTableSource;
use datafusion::common::format::ExplainStatementOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{ResolvedTableReference, ScalarValue, TableReference};
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::{SessionState, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::parser::Statement as FrontStatement;
use futures::StreamExt;
use quorate_storage::TableId;
use tokio::time::Instant;

use super::StatementContext;
use super::names::{case_hint, no_database, no_table, quote};
use super::optimize::optimize;
use super::parameters::{ParameterRow, Parameters, bind};
use super::plans::{KnownPlan, Source};
use super::shapes::Shape;
use super::table_functions::{has_open_columns, with_any_lengths, with_values};
use super::templates;
use crate::catalog::{broken_view, is_stored, united_of};
use crate::exec::{QueryTicket, stream_plan, stream_plans};
use crate::profile::{Phases, ProfileExec};
use crate::{Error, ErrorKind, Outcome, QueryStream, Session};

/// Plans and starts the query that a text is.
pub(super) async fn run(
    session: &Session,
    sql: &str,
    statement: &FrontStatement,
    values: &ParameterRow,
) -> Result<Outcome, Error> {
    Ok(Outcome::Rows(plan_and_start(session, sql, (statement, true), values).await?))
}

/// Starts a query that runs once per row of parameters. All runs see the same rows of tables, at the same `now()`.
pub(super) async fn run_each(
    session: &Session,
    sql: &str,
    statement: &FrontStatement,
    parameters: &Arc<Parameters>,
) -> Result<Outcome, Error> {
    let (options, now) = (session.options(), session.now());
    let engine = Arc::clone(session.engine());
    let ticket = begin(session, sql);
    let (context, plan, task) = {
        let engine = Arc::clone(&engine);
        let (statement, values) = (statement.clone(), parameters.row(0)?);
        let work = async move {
            let context = StatementContext::new(&engine, options, now).await?;
            let (plan, task) =
                physical(&context, None, &statement, &values, Phases::default()).await?;
            Ok((Arc::new(context), plan, task))
        };
        ticket.limit(session.engine().runtime().run(work)).await?
    };
    let (statement, parameters) = (Arc::new(statement.clone()), Arc::clone(parameters));
    let rest = futures::stream::iter(1..parameters.rows()).then(move |row| {
        let (context, statement) = (Arc::clone(&context), Arc::clone(&statement));
        let values = parameters.row(row);
        async move {
            physical(&context, None, &statement, &values?, Phases::default())
                .await
                .map(|(plan, _)| plan)
        }
    });
    Ok(Outcome::Rows(stream_plans(engine.runtime(), plan, rest.boxed(), task, ticket)))
}

/// Plans and starts a query that a statement of another text needs.
pub(super) async fn start(
    session: &Session,
    sql: &str,
    statement: &FrontStatement,
    values: &ParameterRow,
) -> Result<QueryStream, Error> {
    plan_and_start(session, sql, (statement, false), values).await
}

/// Plans and starts a statement, which the text is, or else only has to do with.
async fn plan_and_start(
    session: &Session,
    sql: &str,
    (statement, is_text): (&FrontStatement, bool),
    values: &ParameterRow,
) -> Result<QueryStream, Error> {
    let (options, now) = (session.options(), session.now());
    let engine = Arc::clone(session.engine());
    let ticket = begin(session, sql);
    let text = is_text.then(|| sql.to_owned());
    let (statement, values) = (statement.clone(), values.clone());
    let started = ticket.clone();
    // The query starts where it is planned: the way back here and there again takes as long as a narrow one.
    let work = async move {
        let begun = Instant::now();
        let context = StatementContext::new(&engine, options, now).await?;
        let phases = Phases { catalog: begun.elapsed(), ..Phases::default() };
        let (plan, task) = physical(&context, text.as_deref(), &statement, &values, phases).await?;
        Ok(stream_plan(engine.runtime(), plan, task, started))
    };
    ticket.limit(session.engine().runtime().run(work)).await
}

/// Starts a query whose plan is known; none if it is not current any more.
pub(super) async fn start_known(
    session: &Session,
    sql: &str,
    known: Arc<KnownPlan>,
) -> Result<Option<QueryStream>, Error> {
    let (options, now) = (session.options(), session.now());
    let engine = Arc::clone(session.engine());
    let ticket = begin(session, sql);
    let started = ticket.clone();
    let work = async move {
        let context = StatementContext::new(&engine, options, now).await?;
        if !known.is_current(&context.catalog) {
            return Ok(None);
        }
        context.check_database(context.database_name())?;
        context.views.share(known.shared.clone());
        engine.plans().count();
        let plan = of_known(&context, &known).await?;
        let task = context.state.task_ctx();
        Ok(plan.map(|plan| stream_plan(engine.runtime(), plan, task, started)))
    };
    ticket.limit(session.engine().runtime().run(work)).await
}

/// The physical plan of a known plan; none where it is wanting.
async fn of_known(
    context: &StatementContext,
    known: &KnownPlan,
) -> Result<Option<Arc<dyn ExecutionPlan>>, Error> {
    let bound;
    let (analyzed, template, values) = match &known.source {
        Source::Plan(plan) => return Ok(Some(optimized(&context.state, plan.clone()).await?)),
        Source::Template(plan, template, values) => (plan, template, values),
        Source::Shape(shape, filters, template, values) => {
            if let Some(plan) = shape.plan(context, filters).await? {
                return Ok(Some(plan));
            }
            let Some(plan) = templates::bound(context, values, template)? else { return Ok(None) };
            bound = plan;
            (&bound, template, values)
        }
    };
    let logical = optimize(&context.state, analyzed.clone())?;
    let plan = context.state.query_planner().create_physical_plan(&logical, &context.state).await?;
    if let Some(open) = &template.plan {
        let stages = [open, analyzed, &logical];
        if let Some(shape) = Shape::learn(context, values, stages, &plan)? {
            template.learn(shape);
        }
    }
    Ok(Some(plan))
}

/// The physical plan of a logical plan that is analyzed.
pub(super) async fn optimized(
    state: &SessionState,
    plan: LogicalPlan,
) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    let plan = optimize(state, plan)?;
    state.query_planner().create_physical_plan(&plan, state).await
}

/// Registers a statement that reads, for as long as the ticket lives.
pub(super) fn begin(session: &Session, sql: &str) -> QueryTicket {
    let (engine, options) = (session.engine(), session.options());
    let timeout = options.query_timeout.unwrap_or(engine.options().query_timeout);
    engine.queries().begin(sql, super::current_database(&options), &options, timeout)
}

/// Starts a plan of a statement that changes a memory database.
pub(super) async fn stream(
    session: &Session,
    sql: &str,
    context: &StatementContext,
    plan: &LogicalPlan,
) -> Result<QueryStream, Error> {
    let engine = session.engine();
    let ticket = begin(session, sql);
    let state = context.state.clone();
    let task = state.task_ctx();
    let plan = plan.clone();
    let work = async move { Ok(state.create_physical_plan(&plan).await?) };
    let plan = ticket.limit(engine.runtime().run(work)).await?;
    Ok(stream_plan(engine.runtime(), plan, task, ticket))
}

async fn physical(
    context: &StatementContext,
    text: Option<&str>,
    statement: &FrontStatement,
    values: &ParameterRow,
    mut phases: Phases,
) -> Result<(Arc<dyn ExecutionPlan>, Arc<TaskContext>), Error> {
    let begun = Instant::now();
    let mut plan = logical(context, statement, values).await?;
    let (state, task) = (&context.state, context.state.task_ctx());
    if !values.is_empty() {
        let types = parameter_types(&plan)?;
        plan = plan.with_param_values(bind(values, &types)?)?;
    } else if let Some(text) = text
        && !matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_))
    {
        let plan = keep(context, text, plan)?;
        return Ok((optimized(state, plan).await?, task));
    }
    let analyze = match &plan {
        LogicalPlan::Analyze(analyze) if is_profile(statement) => analyze,
        LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) => {
            return Ok((state.create_physical_plan(&plan).await?, task));
        }
        _ => return Ok((optimized(state, analyzed(state, plan)?).await?, task)),
    };
    phases.logical = begun.elapsed();
    let begun = Instant::now();
    let input = optimize(state, analyzed(state, analyze.input.as_ref().clone())?)?;
    phases.rules = begun.elapsed();
    let begun = Instant::now();
    let input = state.query_planner().create_physical_plan(&input, state).await?;
    phases.physical = begun.elapsed();
    let schema = Arc::clone(analyze.schema.inner());
    Ok((Arc::new(ProfileExec::new(input, schema, phases)), task))
}

/// Analyzes the plan of a query without parameters, and keeps it for the next time that the query is asked.
fn keep(context: &StatementContext, sql: &str, plan: LogicalPlan) -> Result<LogicalPlan, Error> {
    let plan = analyzed(&context.state, plan)?;
    context.engine.plans().keep(sql, context, &plan)?;
    Ok(plan)
}

/// Schema of a query without parameters, without running it.
pub(super) async fn schema(
    context: &StatementContext,
    sql: &str,
    statement: &FrontStatement,
) -> Result<SchemaRef, Error> {
    let plan = keep(context, sql, logical(context, statement, &ParameterRow::new()).await?)?;
    Ok(Arc::clone(plan.schema().inner()))
}

/// A plan whose types are settled, and whose views are put in.
pub(super) fn analyzed(
    state: &SessionState,
    plan: LogicalPlan,
) -> Result<LogicalPlan, DataFusionError> {
    state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})
}

/// Whether it is `EXPLAIN ANALYZE` and no more; with options it is DataFusion's.
fn is_profile(statement: &FrontStatement) -> bool {
    let FrontStatement::Explain(explain) = statement else { return false };
    let plain = ExplainStatementOptions { analyze: true, ..ExplainStatementOptions::default() };
    explain.options == plain
}

/// Schema and parameter types of a query, without running it. With values for its parameters the schema is the one that
/// the query has with them: a parameter whose type nothing tells has that of its value. While a parameter
/// without value decides the columns, one that is made up stands for them: drivers take a statement without columns for
/// an update.
pub(super) async fn describe(
    context: &StatementContext,
    statement: &FrontStatement,
    parameters: &[String],
    values: Option<&ParameterRow>,
) -> Result<(SchemaRef, BTreeMap<String, DataType>), Error> {
    let plan = match values {
        Some(values) => logical(context, statement, values).await?,
        None if has_open_columns(statement) => {
            let unknown = Field::new("result", DataType::Utf8, true);
            return Ok((Arc::new(Schema::new(vec![unknown])), BTreeMap::new()));
        }
        None => {
            let statement = with_any_lengths(statement);
            logical(context, &statement, &ParameterRow::new()).await?
        }
    };
    let mut types = parameter_types(&plan)?;
    let given = values.map(|values| bind(values, &types)).transpose()?;
    for (id, data_type) in cast_types(&plan)? {
        types.entry(id).or_insert(data_type);
    }
    let bound = match given {
        Some(given) => given,
        None => bind(&nulls(parameters, &types)?, &BTreeMap::new())?,
    };
    let bound = plan.with_param_values(bound)?;
    let analyzed = analyzed(&context.state, bound)?;
    Ok((Arc::clone(analyzed.schema().inner()), types))
}

/// A null of its type for every parameter: the analyzer settles types, and wants each to have one.
fn nulls(
    parameters: &[String],
    types: &BTreeMap<String, DataType>,
) -> Result<ParameterRow, DataFusionError> {
    let null = |id: &String| {
        let data_type = types.get(id).unwrap_or(&DataType::Utf8);
        Ok((id.clone(), ScalarValue::try_from(data_type)?))
    };
    parameters.iter().map(null).collect()
}

/// The logical plan of a query that reads and does nothing else. Of the values, those are in it that decide its columns;
/// other parameters are still open.
pub(super) async fn logical(
    context: &StatementContext,
    statement: &FrontStatement,
    values: &ParameterRow,
) -> Result<LogicalPlan, Error> {
    context.check_database(context.database_name())?;
    let statement = &*with_values(statement, values)?;
    let plan = match context.state.statement_to_plan(statement.clone()).await {
        Ok(plan) => plan,
        Err(e) => {
            if let Some(missing) = missing_table(context, statement) {
                return Err(missing);
            }
            return Err(broken(context, statement).await.unwrap_or_else(|| planning_error(e)));
        }
    };
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
        .verify_plan(&plan)
        .map_err(|e| Error::request(ErrorKind::Unsupported, e.strip_backtrace()))?;
    check_views(&plan)?;
    check_zones(&plan)?;
    context.views.share(scanned_twice(&plan)?);
    Ok(plan)
}

/// DataFusion's error, with its place in the text.
pub(super) fn planning_error(error: DataFusionError) -> Error {
    let place = error.diagnostic().and_then(|d| d.span).map(|s| (s.start.line, s.start.column));
    let error = Error::from(error);
    match place {
        Some((line, column)) => error.at(line, column),
        None => error,
    }
}

fn broken_error(why: &str) -> Error {
    Error::request(ErrorKind::Invalid, why.to_owned())
}

/// Refuses a plan that reads a view which cannot be planned itself.
fn check_views(plan: &LogicalPlan) -> Result<(), Error> {
    let mut why = None;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(source) = scan.source.downcast_ref::<DefaultTableSource>()
            && let Some(broken) = broken_view(source.table_provider.as_ref())
        {
            why = Some(broken.to_owned());
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    why.map_or(Ok(()), |why| Err(broken_error(&why)))
}

/// Refuses time zones that are none: the rows could be neither written nor read.
fn check_zones(plan: &LogicalPlan) -> Result<(), Error> {
    let mut wrong = None;
    let mut check = |data_type: &DataType| {
        let DataType::Timestamp(_, Some(zone)) = data_type else { return };
        if wrong.is_none() {
            wrong = super::settings::check_time_zone(zone).err();
        }
    };
    plan.apply_with_subqueries(|node| {
        node.schema().fields().iter().for_each(|field| check(field.data_type()));
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                match part {
                    Expr::Cast(cast) => check(cast.field.data_type()),
                    Expr::TryCast(cast) => check(cast.field.data_type()),
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    wrong.map_or(Ok(()), Err)
}

/// A clearer error where the plan failed because a view that it reads cannot be planned.
async fn broken(context: &StatementContext, statement: &FrontStatement) -> Option<Error> {
    for reference in context.state.resolve_table_references(statement).ok()? {
        let name = reference.table().to_owned();
        let Ok(schema) = context.state.schema_for_ref(reference) else { continue };
        if let Ok(Some(table)) = schema.table(&name).await
            && let Some(why) = broken_view(table.as_ref())
        {
            return Some(broken_error(why));
        }
    }
    None
}

/// A clearer error where the plan failed for want of a table.
fn missing_table(context: &StatementContext, statement: &FrontStatement) -> Option<Error> {
    let references = context.state.resolve_table_references(statement).ok()?;
    references.into_iter().find_map(|reference| missing(context, reference))
}

fn missing(context: &StatementContext, reference: TableReference) -> Option<Error> {
    let bare = matches!(reference, TableReference::Bare { .. });
    let name = reference.table();
    if bare && (context.state.table_functions().contains_key(name) || name == super::gaps::NAME) {
        return None;
    }
    let place = reference.resolve(context.database_name(), "public");
    let names = || context.catalog.databases.values().map(|d| d.name.as_str());
    if let Some(missing) = missing_of_ours(context, &place) {
        return Some(missing);
    }
    if context.engine.memory().get(&place.catalog).is_some() {
        return None;
    }
    let Some(database) = context.catalog.database(&place.catalog) else {
        return Some(no_database(&place.catalog, names()));
    };
    match &*place.schema {
        "public" => {
            let known = database.tables.contains_key(&*place.table)
                || context.catalog.view(&place.catalog, &place.table).is_some();
            let tables = database.tables.keys().map(String::as_str);
            (!known).then(|| no_table(&database.name, &place.table, tables))
        }
        "system" | "information_schema" => None,
        other => {
            let hint = match context.catalog.database(other) {
                Some(_) => {
                    format!("; did you mean {}.public.{}?", quote(other), quote(&place.table))
                }
                None => String::new(),
            };
            Some(Error::request(
                ErrorKind::NotFound,
                format!("schema {other:?} does not exist in database {:?}{hint}", database.name),
            ))
        }
    }
}

/// The error for a table that is not in a schema of ours: `system`, `information_schema`.
fn missing_of_ours(context: &StatementContext, place: &ResolvedTableReference) -> Option<Error> {
    if !matches!(&*place.schema, "system" | "information_schema") {
        return None;
    }
    let schema = context.state.schema_for_ref(place.clone()).ok()?;
    if schema.table_exist(&place.table) {
        return None;
    }
    let known = schema.table_names();
    let hint = case_hint(&place.table, known.iter().map(String::as_str));
    Some(Error::request(
        ErrorKind::NotFound,
        format!("table {:?} does not exist in schema {:?}{hint}", &*place.table, &*place.schema),
    ))
}

/// Stored tables that a plan scans more than once.
fn scanned_twice(plan: &LogicalPlan) -> Result<BTreeSet<TableId>, Error> {
    let mut once = BTreeSet::new();
    let mut twice = BTreeSet::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(source) = scan.source.downcast_ref::<DefaultTableSource>()
        {
            let provider = source.table_provider.as_ref();
            let several = united_of(provider).map_or(&[][..], |united| united.tables());
            for table in is_stored(provider).into_iter().chain(several) {
                if !once.insert(table.id) {
                    twice.insert(table.id);
                }
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(twice)
}

/// Types of the parameters that the plan tells: `LIMIT` and `OFFSET` take integers.
pub(super) fn parameter_types(plan: &LogicalPlan) -> Result<BTreeMap<String, DataType>, Error> {
    let mut types = BTreeMap::new();
    for (id, data_type) in plan.get_parameter_types()? {
        if let Some(data_type) = data_type.filter(|known| *known != DataType::Null) {
            types.insert(id, data_type);
        }
    }
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Limit(limit) = node {
            for expr in limit.skip.iter().chain(limit.fetch.iter()) {
                expr.apply(|e| {
                    if let Expr::Placeholder(placeholder) = e {
                        types.insert(placeholder.id.clone(), DataType::Int64);
                    }
                    Ok(TreeNodeRecursion::Continue)
                })?;
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(types)
}

/// Parameters that are cast, and to what: `CAST(? AS T)` asks for a `T`. A value of another type is left to the cast.
fn cast_types(plan: &LogicalPlan) -> Result<BTreeMap<String, DataType>, Error> {
    let mut types = BTreeMap::new();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|e| {
                let (inner, data_type) = match e {
                    Expr::Cast(cast) => (&cast.expr, cast.field.data_type()),
                    Expr::TryCast(cast) => (&cast.expr, cast.field.data_type()),
                    _ => return Ok(TreeNodeRecursion::Continue),
                };
                if let Expr::Placeholder(placeholder) = inner.as_ref() {
                    types.insert(placeholder.id.clone(), data_type.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(types)
}
