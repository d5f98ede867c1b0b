//! `FROM gaps('table', interval [, tolerance])`: planned over the table that it names, whose tags the catalog knows.

use std::sync::Arc;

use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::common::{
    Column, DFSchema, ResolvedTableReference, ScalarValue, TableReference, not_impl_err, plan_err,
};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::sqlparser::ast::{FunctionArg, FunctionArgExpr, ObjectName, TableFactor};
use quorate_storage::catalog::{Catalog, Table};
use quorate_timeseries::{GapLimits, fixed_interval, gaps};

use super::names::{no_database, no_table};
use crate::catalog::{ReadViews, StoredTable};

/// Name of the function.
pub(super) const NAME: &str = "gaps";

const USAGE: &str = "gaps('table', INTERVAL '1 minute' [, tolerance])";

/// Plans `gaps` over the tables of one statement.
#[derive(Debug)]
pub(crate) struct GapsPlanner {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) views: Arc<ReadViews>,
    pub(crate) time_zone: Arc<str>,
    pub(crate) current_database: String,
}

/// Lets a state plan `gaps`.
pub(crate) fn register(state: &mut SessionState, planner: GapsPlanner) -> Result<()> {
    state.register_relation_planner(Arc::new(planner))
}

fn is_gaps(name: &ObjectName) -> bool {
    matches!(&name.0[..], [part] if part.as_ident().is_some_and(|i| i.value.eq_ignore_ascii_case(NAME)))
}

impl GapsPlanner {
    fn table(&self, name: &str) -> Result<(ResolvedTableReference, &Arc<Table>)> {
        let place = TableReference::parse_str(name).resolve(&self.current_database, "public");
        let (database, table) = (place.catalog.to_string(), place.table.to_string());
        let Some(known) = self.catalog.database(&database) else {
            let names = self.catalog.databases.values().map(|d| d.name.as_str());
            return Err(no_database(&database, names).into_datafusion());
        };
        match self.catalog.table(&database, &table) {
            Some(found) if &*place.schema == "public" => Ok((place, found)),
            Some(_) | None if self.catalog.view(&database, &table).is_some() => {
                not_impl_err!("gaps: {table:?} is a view; gaps are looked for in stored tables")
            }
            Some(_) | None => {
                let names = known.tables.keys().map(String::as_str);
                Err(no_table(&database, &table, names).into_datafusion())
            }
        }
    }
}

/// A constant argument.
fn constant(arg: FunctionArg, context: &mut dyn RelationPlannerContext) -> Result<ScalarValue> {
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = arg else {
        return plan_err!("gaps: arguments have no names; write {USAGE}");
    };
    let schema = Arc::new(DFSchema::empty());
    let expr = context.sql_to_expr(expr, &schema)?;
    let simplify = SimplifyContext::builder().with_schema(schema).build();
    match ExprSimplifier::new(simplify).simplify(expr)? {
        Expr::Literal(value, _) => Ok(value),
        other => plan_err!("gaps: {other} is not a constant; write {USAGE}"),
    }
}

impl RelationPlanner for GapsPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let (args, alias) = match relation {
            TableFactor::Table { name, args: Some(args), alias, .. } if is_gaps(&name) => {
                (args.args, alias)
            }
            other => return Ok(RelationPlanning::Original(Box::new(other))),
        };
        let mut values = Vec::with_capacity(args.len());
        for arg in args {
            values.push(constant(arg, context)?);
        }
        let (name, interval, tolerance) = match &values[..] {
            [name, interval] => (name, interval, None),
            [name, interval, tolerance] => (name, interval, Some(tolerance)),
            _ => return plan_err!("gaps takes two or three arguments; write {USAGE}"),
        };
        let Some(name) = name.try_as_str().flatten() else {
            return plan_err!("gaps: the table is a text; write {USAGE}");
        };
        let limits = GapLimits {
            interval: fixed_interval("gaps", "the interval", interval)?,
            tolerance: tolerance.map_or(Ok(0), |t| fixed_interval("gaps", "the tolerance", t))?,
        };
        let (place, table) = self.table(name)?;
        let provider =
            StoredTable::new(Arc::clone(table), &self.time_zone, Arc::clone(&self.views));
        let place = TableReference::from(place);
        let column = |name: &str| Column::new(Some(place.clone()), name);
        let tags: Vec<Column> = table.tags().map(|tag| column(&tag.name)).collect();
        let time = column(&table.time().name);
        let source = provider_as_source(Arc::new(provider));
        let scan = LogicalPlanBuilder::scan(place.clone(), source, None)?.build()?;
        let plan = gaps(scan, &tags, &time, limits)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}
