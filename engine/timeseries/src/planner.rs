//! [`TimeSeriesPlanner`]: DataFusion's query planner with the planners of this crate's operators.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::error::Result;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};

use crate::asof::AsOfPlanner;
use crate::gapfill::GapFillPlanner;

/// Plans what DataFusion plans, and the nodes of this crate.
#[derive(Debug)]
pub(crate) struct TimeSeriesPlanner;

fn planners() -> Vec<Arc<dyn ExtensionPlanner + Send + Sync>> {
    vec![Arc::new(AsOfPlanner), Arc::new(GapFillPlanner)]
}

#[async_trait]
impl QueryPlanner for TimeSeriesPlanner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        state: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(planners());
        planner.create_physical_plan(plan, state).await
    }
}
