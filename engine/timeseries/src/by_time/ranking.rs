//! [`Ranking`]: which rows win.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::nullif;
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::error::Result;

/// How rows are compared: by one of the first two arguments, then by the other, then by the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent of each other")]
pub(super) struct Ranking {
    /// The argument that counts first, 0 or 1. Rows in which it is NULL do not count.
    pub(super) lead: usize,
    /// Whether larger values of the lead win.
    pub(super) lead_larger: bool,
    /// Whether larger values of the other one win.
    pub(super) follow_larger: bool,
    /// Whether NaN of the lead loses against all; else it is the greatest of all numbers.
    pub(super) nan_loses: bool,
    /// Whether rows count in which the other one is NULL. NULL loses among rows with equal leads.
    pub(super) null_follow: bool,
}

impl Ranking {
    /// The argument that counts second.
    pub(super) fn follow(self) -> usize {
        1 - self.lead
    }

    /// Rows that count: none is NULL that must not be.
    pub(super) fn counted(self, args: &[ArrayRef]) -> Option<NullBuffer> {
        let lead = args[self.lead].logical_nulls();
        if self.null_follow {
            return lead;
        }
        let follow = args[self.follow()].logical_nulls();
        NullBuffer::union(lead.as_ref(), follow.as_ref())
    }

    /// The arguments, with NULL as the lead of rows that do not count.
    pub(super) fn mark(
        self,
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let rows = args[0].len();
        let counted = self.counted(args);
        let uncounted = (0..rows).map(|row| {
            counted.as_ref().is_some_and(|c| c.is_null(row))
                || filter.is_some_and(|f| f.is_null(row) || !f.value(row))
        });
        let uncounted: BooleanArray = uncounted.map(Some).collect();
        let mut marked = args.to_vec();
        marked[self.lead] = nullif(&args[self.lead], &uncounted)?;
        Ok(marked)
    }

    /// The lead with every NaN as the one that Arrow's total order puts where this ranking wants it.
    pub(super) fn settle_nan(self, lead: &ArrayRef) -> ArrayRef {
        // −NaN is below all numbers, NaN above all.
        let below = self.nan_loses && self.lead_larger;
        match lead.data_type() {
            DataType::Float64 => {
                let nan = if below { -f64::NAN } else { f64::NAN };
                let settle = |v: f64| if v.is_nan() { nan } else { v };
                Arc::new(lead.as_primitive::<Float64Type>().unary::<_, Float64Type>(settle))
            }
            DataType::Float32 => {
                let nan = if below { -f32::NAN } else { f32::NAN };
                let settle = |v: f32| if v.is_nan() { nan } else { v };
                Arc::new(lead.as_primitive::<Float32Type>().unary::<_, Float32Type>(settle))
            }
            _ => Arc::clone(lead),
        }
    }
}
