//! [`SummariesRule`]: puts [`SummaryScanExec`] beside scans whose rows summaries can answer for.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ChildrenPropertiesMode::Recompute;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, ReplaceChildrenOptions};
use quorate_storage::scan::{CellRequest, TimeRange};

use super::answer::Answer;
use super::exec::SummaryScanExec;
use crate::Error;
use crate::newest::NewestBucketsExec;
use crate::scan::{SeriesScanExec, SplitScan};

/// Rows of a scan below which reading them is as fast.
const ROWS_MIN: usize = 32 << 10;

/// A rule that answers from summaries, to stand before those that look at orders and streams.
#[derive(Debug)]
pub(crate) struct SummariesRule;

impl PhysicalOptimizerRule for SummariesRule {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_down(|node| {
            // It reads a part of the rows as it is.
            if node.downcast_ref::<NewestBucketsExec>().is_some() {
                return Ok(Transformed::new(node, false, TreeNodeRecursion::Jump));
            }
            let split = match node.downcast_ref::<AggregateExec>() {
                Some(aggregate) => split(&node, aggregate)?,
                None => None,
            };
            let done = |split| Transformed::new(split, true, TreeNodeRecursion::Jump);
            Ok(split.map_or_else(|| Transformed::no(node), done))
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "answer_from_summaries"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The aggregate over what summaries leave of its rows, beside the states that they give.
fn split(
    node: &Arc<dyn ExecutionPlan>,
    aggregate: &AggregateExec,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(scan) = aggregate.input().downcast_ref::<SeriesScanExec>() else { return Ok(None) };
    if scan.rows_expected().is_none_or(|rows| rows < ROWS_MIN) {
        return Ok(None);
    }
    let Some(answer) = Answer::of(aggregate, scan) else { return Ok(None) };
    let Some(cell) = scan.sample_cell().map_err(Error::into_datafusion)? else { return Ok(None) };
    if answer.together(&[cell])? != [true] {
        return Ok(None);
    }
    let shared = answer.clone();
    let together = move |times: &[TimeRange]| {
        let together = shared.together(times);
        together.map_err(|error| quorate_storage::Error::Internal(error.to_string()))
    };
    let request = CellRequest { statistics: answer.statistics(), together: Arc::new(together) };
    let split = Arc::new(SplitScan::new(scan.partitions().to_vec(), request));
    let rest: Arc<dyn ExecutionPlan> = Arc::new(scan.without_cells(Arc::clone(&split)));
    let options = ReplaceChildrenOptions::new(Recompute);
    let rest = Arc::clone(node).replace_children(vec![rest], options)?;
    let cells = SummaryScanExec::new(scan, split, answer);
    UnionExec::try_new(vec![rest, Arc::new(cells)]).map(Some)
}
