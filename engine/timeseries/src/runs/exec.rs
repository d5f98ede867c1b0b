//! [`ByRuns`]: how a [`RunAggregateExec`] aggregates.

use std::fmt;

use datafusion::error::Result;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan};

use super::keys::RunKeys;
use super::stream::RunStream;
use crate::stand_in::{Means, StandIn, Work};

/// The first stage of an aggregate, by runs.
pub(super) type RunAggregateExec = StandIn<ByRuns>;

/// Whether an operator aggregates by runs: it keeps nothing of one execution for the next.
pub fn is_by_runs(plan: &dyn ExecutionPlan) -> bool {
    plan.downcast_ref::<RunAggregateExec>().is_some()
}

/// Finds groups once for each run of rows with the same keys.
#[derive(Clone, Debug)]
pub(super) struct ByRuns(pub(super) RunKeys);

impl Work for ByRuns {
    type For = AggregateExec;
    type Batches = RunStream;

    const NAME: &'static str = "RunAggregateExec";
    // It gives its states away.
    const GIVES_BACK: bool = true;

    fn begin(&self, stands_for: &AggregateExec, means: Means) -> Result<RunStream> {
        RunStream::new(stands_for, self.0.clone(), means)
    }

    fn fmt_as(
        &self,
        stands_for: &AggregateExec,
        format: DisplayFormatType,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        match format {
            DisplayFormatType::Default | DisplayFormatType::Verbose => f.write_str("Run")?,
            DisplayFormatType::TreeRender => {}
        }
        // `AggregateExec: mode=Partial, …`
        DisplayAs::fmt_as(stands_for, format, f)
    }
}
