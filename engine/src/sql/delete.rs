//! `DELETE`. By a range of time and by tags, the store logs it as such; the rows are read to be counted only. Any other
//! predicate is resolved into points ([`points`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::parser::Statement as FrontStatement;
use datafusion::sql::sqlparser::ast::{
    Delete as DeleteStatement, FromTable, ObjectName, Query, Statement, TableFactor,
};
use quorate_storage::{Delete, SeriesSelection, WriteOptions};

use super::action::unsupported;
use super::delete_series::is_series;
use super::keyed::Keyed;
use super::names::stored_table;
use super::parameters::{ParameterRow, Parameters, bind};
use super::table_functions::has_open_columns;
use super::{StatementContext, delete_series, points, query};
use crate::ingest::everywhere;
use crate::prune::{Pruning, TagFilter, TimeColumn, classify};
use crate::{Error, ErrorKind, Outcome, Session};

/// Runs a `DELETE`, once per row of parameters.
pub(super) async fn run(
    session: &Session,
    sql: &str,
    delete: &DeleteStatement,
    parameters: &Parameters,
) -> Result<Outcome, Error> {
    if is_series(delete) {
        return delete_series::run(session, sql, delete, parameters).await;
    }
    let keyed = Keyed::begin(session, sql, delete, parameters).await?;
    let mut deleted = Some(0);
    for row in 0..parameters.rows() {
        let (values, part) = (parameters.row(row)?, part(row)?);
        let once = || run_once(&keyed, sql, delete, &values, part);
        let rows = super::run::retry_stale(once).await?;
        deleted = deleted.zip(rows).map(|(deleted, rows)| deleted + rows);
    }
    Ok(Outcome::Updated(deleted))
}

/// The number under the statement's key of the delete that a row of parameters makes.
fn part(row: usize) -> Result<u32, Error> {
    u32::try_from(row)
        .map_err(|_| Error::request(ErrorKind::Invalid, "too many rows of parameters"))
}

/// Types of a `DELETE`'s parameters.
pub(super) async fn parameter_types(
    context: &StatementContext,
    delete: &DeleteStatement,
) -> Result<BTreeMap<String, DataType>, Error> {
    let query = as_query("*", delete)?;
    if has_open_columns(&query) {
        return Ok(BTreeMap::new());
    }
    let plan = query::logical(context, &query, &ParameterRow::new()).await?;
    query::parameter_types(&plan)
}

/// Returns how many rows there were to delete when they were counted, which is before they are deleted. What was done under
/// the same key before was counted then.
async fn run_once(
    keyed: &Keyed<'_>,
    sql: &str,
    delete: &DeleteStatement,
    values: &ParameterRow,
    part: u32,
) -> Result<Option<u64>, Error> {
    let session = keyed.session();
    let context = StatementContext::of(session).await?;
    let place = stored_table(table_name(delete)?, context.database_name())?;
    let table = Arc::clone(context.table(&place)?);
    let time = TimeColumn {
        name: &table.time().name,
        utc: &*super::settings::time_zone(&context.options)? == "UTC",
    };

    let Some(filters) = filters(&context, delete, values).await? else { return Ok(Some(0)) };
    let options = WriteOptions {
        idempotency_key: context.options.idempotency_key.clone().map(|key| (key, part)),
        digest: keyed.digest(),
        level: context.options.write_level,
        deadline: context.options.query_timeout,
        ..WriteOptions::default()
    };
    if !filters.iter().all(|filter| classify(filter, &table, &time).is_exact()) {
        let query = as_query(&points::columns(&table), delete)?;
        let rows = query::start(session, sql, &query, values).await?;
        return Ok(Some(points::delete(session.engine().store(), &table, rows, &options).await?));
    }
    let pruning = Pruning::of(&filters, &table, &time);
    if pruning.is_empty() {
        return Ok(Some(0));
    }
    let series = match TagFilter::compile(&context.state, &table, &pruning.tags)? {
        Some(filter) => SeriesSelection::Matching(filter),
        None => SeriesSelection::All,
    };
    let query = as_query("count(*)", delete)?;
    let deleted = points::count(query::start(session, sql, &query, values).await?).await?;
    let delete = Delete { table: table.id, time: pruning.time, series };
    let receipt = session.engine().store().delete(delete, &options).await?;
    everywhere([&receipt])?;
    let repeated = receipt.shards.iter().any(|part| part.duplicate);
    Ok((!repeated).then_some(deleted))
}

/// The predicate as conjuncts, types settled and constants folded; `None` if it keeps no row.
pub(super) async fn filters(
    context: &StatementContext,
    delete: &DeleteStatement,
    values: &ParameterRow,
) -> Result<Option<Vec<Expr>>, Error> {
    let mut plan = query::logical(context, &as_query("*", delete)?, values).await?;
    if !values.is_empty() {
        let types = query::parameter_types(&plan)?;
        plan = plan.with_param_values(bind(values, &types)?)?;
    }
    let mut predicate = None;
    plan.apply(|node| {
        Ok(match node {
            LogicalPlan::Filter(filter) => {
                let schema = Arc::clone(filter.input.schema());
                predicate = Some((filter.predicate.clone(), schema));
                TreeNodeRecursion::Stop
            }
            _ => TreeNodeRecursion::Continue,
        })
    })?;
    let Some((predicate, schema)) = predicate else { return Ok(Some(Vec::new())) };
    let folded = context.fold(predicate, &schema)?;
    let mut filters = Vec::new();
    for filter in split_conjunction(&folded) {
        match filter {
            Expr::Literal(ScalarValue::Boolean(Some(true)), _) => {}
            Expr::Literal(ScalarValue::Boolean(_) | ScalarValue::Null, _) => return Ok(None),
            other => filters.push(other.clone()),
        }
    }
    Ok(Some(filters))
}

fn table_name(delete: &DeleteStatement) -> Result<&ObjectName, Error> {
    let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
    match from.as_slice() {
        [one] if one.joins.is_empty() => match &one.relation {
            TableFactor::Table { name, args: None, .. } => Ok(name),
            _ => Err(unsupported("DELETE from anything but a table")),
        },
        _ => Err(unsupported("DELETE from several tables")),
    }
}

/// `SELECT columns FROM t WHERE …`: planned as a query, the predicate gets the same meaning as in one.
pub(super) fn as_query(columns: &str, delete: &DeleteStatement) -> Result<FrontStatement, Error> {
    let DeleteStatement {
        delete_token: _,
        optimizer_hints,
        tables,
        from,
        using,
        selection,
        returning,
        output,
        order_by,
        limit,
    } = delete;
    for (given, clause) in [
        (!optimizer_hints.is_empty(), "a hint in DELETE"),
        (!tables.is_empty(), "DELETE from several tables"),
        (using.is_some(), "DELETE USING"),
        (returning.is_some() || output.is_some(), "RETURNING"),
        (!order_by.is_empty() || limit.is_some(), "ORDER BY or LIMIT in DELETE"),
    ] {
        if given {
            return Err(unsupported(clause));
        }
    }
    if !is_series(delete) {
        table_name(delete)?;
    }
    let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = from;
    let mut query = template(columns)?;
    let datafusion::sql::sqlparser::ast::SetExpr::Select(select) = query.body.as_mut() else {
        return Err(Error::request(ErrorKind::Internal, "the template of DELETE is no SELECT"));
    };
    select.from.clone_from(from);
    select.selection.clone_from(selection);
    Ok(FrontStatement::Statement(Box::new(Statement::Query(query))))
}

fn template(columns: &str) -> Result<Box<Query>, Error> {
    use datafusion::sql::sqlparser::{dialect::GenericDialect, parser::Parser};
    Parser::new(&GenericDialect {})
        .try_with_sql(&format!("SELECT {columns}"))
        .and_then(|mut parser| parser.parse_query())
        .map_err(|e| Error::request(ErrorKind::Internal, format!("DELETE as a query: {e}")))
}
