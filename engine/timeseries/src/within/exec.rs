//! [`Within`]: how a [`SortWithinExec`] sorts.

use std::fmt;

use datafusion::error::Result;
use datafusion::physical_expr::PhysicalSortExpr;
use datafusion::physical_plan::DisplayFormatType;
use datafusion::physical_plan::sorts::sort::SortExec;

use super::stream::WithinStream;
use crate::stand_in::{Means, StandIn, Work};

/// Sorts rows whose first columns of the order are sorted.
pub(super) type SortWithinExec = StandIn<Within>;

/// Sorts one group of rows at a time; what the rows are sorted by.
#[derive(Clone, Debug)]
pub(super) struct Within(pub(super) Vec<PhysicalSortExpr>);

impl Work for Within {
    type For = SortExec;
    type Batches = WithinStream;

    const NAME: &'static str = "SortWithinExec";
    // Large groups are left to an operator that spills, with a reservation of its own.
    const GIVES_BACK: bool = false;

    fn begin(&self, stands_for: &SortExec, means: Means) -> Result<WithinStream> {
        Ok(WithinStream::new((stands_for.expr().clone(), self.0.clone()), means))
    }

    fn fmt_as(
        &self,
        stands_for: &SortExec,
        format: DisplayFormatType,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        let expr = stands_for.expr();
        let sorted: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        let sorted = sorted.join(", ");
        match format {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "SortWithinExec: expr=[{expr}], sorted_by=[{sorted}]")
            }
            DisplayFormatType::TreeRender => {
                writeln!(f, "{expr}")?;
                writeln!(f, "sorted_by={sorted}")
            }
        }
    }
}
