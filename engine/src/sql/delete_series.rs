//! `DELETE FROM series('…')`: by time and tags, in every table whose name matches.

use std::sync::Arc;

use datafusion::catalog::default_table_source::DefaultTableSource;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{
    Delete as DeleteStatement, FromTable, ObjectNamePart, TableFactor,
};
use futures::{StreamExt, TryStreamExt};
use quorate_storage::{Delete, SeriesSelection, WriteOptions};

use super::action::unsupported;
use super::delete::{as_query, filters};
use super::keyed::Keyed;
use super::names::name_of;
use super::parameters::{ParameterRow, Parameters};
use super::{StatementContext, points, query};
use crate::catalog::{SERIES, United, united_of};
use crate::ingest::everywhere;
use crate::{Error, ErrorKind, Outcome, Session};

/// Tables that are deleted from at the same time.
const AT_ONCE: usize = 16;

/// Whether a `DELETE` is from `series(…)`.
pub(super) fn is_series(delete: &DeleteStatement) -> bool {
    let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
    let [one] = from.as_slice() else { return false };
    let TableFactor::Table { name, args: Some(_), .. } = &one.relation else { return false };
    let [ObjectNamePart::Identifier(name)] = name.0.as_slice() else { return false };
    one.joins.is_empty() && name_of(name) == SERIES
}

/// Runs it, once per row of parameters.
pub(super) async fn run(
    session: &Session,
    sql: &str,
    delete: &DeleteStatement,
    parameters: &Parameters,
) -> Result<Outcome, Error> {
    let keyed = Keyed::begin(session, sql, delete, parameters).await?;
    if keyed.digest().is_some() && parameters.rows() > 1 {
        return Err(unsupported(
            "DELETE FROM series() with an idempotency key and several rows of parameters",
        ));
    }
    let mut deleted = Some(0);
    for row in 0..parameters.rows() {
        let values = parameters.row(row)?;
        let once = || run_once(&keyed, sql, delete, &values);
        let rows = super::run::retry_stale(once).await?;
        deleted = deleted.zip(rows).map(|(deleted, rows)| deleted + rows);
    }
    Ok(Outcome::Updated(deleted))
}

/// Returns how many rows there were when they were counted, which is before they are deleted.
async fn run_once(
    keyed: &Keyed<'_>,
    sql: &str,
    delete: &DeleteStatement,
    values: &ParameterRow,
) -> Result<Option<u64>, Error> {
    let session = keyed.session();
    let context = StatementContext::of(session).await?;
    let united = united(&context, delete, values).await?;
    let Some(filters) = filters(&context, delete, values).await? else { return Ok(Some(0)) };
    if let Some(other) = filters.iter().find(|filter| !united.classify(filter).is_exact()) {
        let message = format!(
            "DELETE FROM series() takes one range of time, conditions on tags, and conditions on table_name, joined by \
             AND; not {other}. Delete from one table for any other condition"
        );
        return Err(Error::request(ErrorKind::Unsupported, message));
    }
    let pruning = united.pruning(&filters);
    if pruning.is_empty() {
        return Ok(Some(0));
    }
    let parts = united.parts(&context.state, &pruning)?;
    let query = as_query("count(*)", delete)?;
    let deleted = points::count(query::start(session, sql, &query, values).await?).await?;
    let store = session.engine().store();
    let key = context.options.idempotency_key.as_ref();
    let (context, digest) = (&context, keyed.digest());
    let deletes = parts.into_iter().map(|part| async move {
        let options = WriteOptions {
            // Tables are told apart by their ids, which a repeat of the statement finds again.
            idempotency_key: match key {
                Some(key) => Some((key.clone(), part_of(part.table.id.0)?)),
                None => None,
            },
            digest,
            level: context.options.write_level,
            deadline: context.options.query_timeout,
            ..WriteOptions::default()
        };
        let series = part.series.map_or(SeriesSelection::All, SeriesSelection::Matching);
        let delete = Delete { table: part.table.id, time: pruning.time, series };
        Ok::<_, Error>(store.delete(delete, &options).await?)
    });
    let receipts: Vec<_> =
        futures::stream::iter(deletes).buffer_unordered(AT_ONCE).try_collect().await?;
    everywhere(&receipts)?;
    let mut shards = receipts.iter().flat_map(|receipt| &receipt.shards);
    Ok((!shards.any(|part| part.duplicate)).then_some(deleted))
}

/// The number under the statement's key of the delete from a table.
fn part_of(table: u64) -> Result<u32, Error> {
    let too_many = || Error::request(ErrorKind::Exhausted, "the table's id is too large for a key");
    u32::try_from(table).map_err(|_| too_many())
}

/// The tables that the statement is about.
async fn united(
    context: &StatementContext,
    delete: &DeleteStatement,
    values: &ParameterRow,
) -> Result<Arc<United>, Error> {
    let plan = query::logical(context, &as_query("*", delete)?, values).await?;
    let mut found = None;
    plan.apply(|node| {
        Ok(match node {
            LogicalPlan::TableScan(scan) => {
                let source = scan.source.downcast_ref::<DefaultTableSource>();
                found =
                    source.and_then(|source| united_of(source.table_provider.as_ref())).cloned();
                TreeNodeRecursion::Stop
            }
            _ => TreeNodeRecursion::Continue,
        })
    })?;
    found.ok_or_else(|| Error::request(ErrorKind::Internal, "series() made no row source"))
}
