//! [`AsOfPlanner`]: the operator for an [`AsOfJoin`].

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};

use super::exec::{AsOfJoinExec, Matched};
use super::node::AsOfJoin;

/// Plans as-of joins.
#[derive(Debug)]
pub(crate) struct AsOfPlanner;

#[async_trait]
impl ExtensionPlanner for AsOfPlanner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let (Some(join), [left, right]) = (node.as_any().downcast_ref::<AsOfJoin>(), inputs) else {
            return Ok(None);
        };
        let physical = |expr: &Expr, schema: &DFSchema| -> Result<Arc<dyn PhysicalExpr>> {
            planner.create_physical_expr(expr, schema, session, context)
        };
        let (of_left, of_right) = (join.left.schema(), join.right.schema());
        let keys = join.on.iter().map(|(l, r)| Ok((physical(l, of_left)?, physical(r, of_right)?)));
        let matched = Matched {
            on: keys.collect::<Result<Vec<_>>>()?,
            left: physical(&join.matching.left, of_left)?,
            comparison: join.matching.comparison,
            right: physical(&join.matching.right, of_right)?,
            tolerance: join.matching.tolerance.clone(),
            kind: join.kind,
        };
        let exec = AsOfJoinExec::plan(Arc::clone(left), Arc::clone(right), matched)?;
        Ok(Some(Arc::new(exec)))
    }
}
