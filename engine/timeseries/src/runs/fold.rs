//! [`Fold`]: the states of one aggregate, by group.

use std::cell::OnceCell;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use datafusion::arrow::compute::filter;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use super::reduce::Reduce;

/// States of one aggregate.
pub(super) enum Fold {
    /// One accumulator for all groups, and how runs are reduced before they come to it.
    Groups(Box<dyn GroupsAccumulator>, Option<Reduce>),
    /// One for each group: runs come to it as slices, without a copy.
    Each(Each),
}

/// Accumulators by group.
pub(super) struct Each {
    aggregate: Arc<AggregateFunctionExpr>,
    states: Vec<Box<dyn Accumulator>>,
    bytes: usize,
}

/// Runs of a batch with their groups.
pub(super) struct Grouped<'a> {
    /// Rows and group of each run.
    pub(super) runs: &'a [(Range<usize>, usize)],
    /// Group of each row, made when one asks for it.
    pub(super) rows: OnceCell<Vec<usize>>,
    /// Number of groups.
    pub(super) groups: usize,
}

impl Grouped<'_> {
    /// Group of each row.
    fn rows(&self) -> &[usize] {
        self.rows.get_or_init(|| {
            let rows = self.runs.last().map_or(0, |(rows, _)| rows.end);
            let mut groups = Vec::with_capacity(rows);
            for (rows, group) in self.runs {
                groups.extend(std::iter::repeat_n(*group, rows.len()));
            }
            groups
        })
    }
}

impl Fold {
    pub(super) fn new(aggregate: &Arc<AggregateFunctionExpr>) -> Result<Self> {
        if aggregate.groups_accumulator_supported() {
            let reduce = Reduce::of(aggregate);
            return Ok(Self::Groups(aggregate.create_groups_accumulator()?, reduce));
        }
        let aggregate = Arc::clone(aggregate);
        Ok(Self::Each(Each { aggregate, states: Vec::new(), bytes: 0 }))
    }

    /// Takes the rows of a batch for which `kept` is true.
    pub(super) fn update(
        &mut self,
        values: &[ArrayRef],
        kept: Option<&ArrayRef>,
        grouped: &Grouped<'_>,
    ) -> Result<()> {
        let kept = kept.map(AsArray::as_boolean);
        match self {
            Self::Groups(all, reduce) => {
                let reduced = reduce.filter(|_| kept.is_none());
                match reduced.and_then(|reduce| reduce.states(values, grouped.runs)) {
                    Some(states) => {
                        let groups: Vec<usize> =
                            grouped.runs.iter().map(|(_, group)| *group).collect();
                        all.merge_batch(&states, &groups, grouped.groups)
                    }
                    None => all.update_batch(values, grouped.rows(), kept, grouped.groups),
                }
            }
            Self::Each(each) => each.update(values, kept, grouped),
        }
    }

    /// Takes the states out, a row for each group.
    pub(super) fn take(&mut self) -> Result<Vec<ArrayRef>> {
        match self {
            Self::Groups(all, _) => all.state(EmitTo::All),
            Self::Each(each) => each.take(),
        }
    }

    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Groups(all, _) => all.size(),
            Self::Each(each) => {
                each.bytes + each.states.capacity() * size_of::<Box<dyn Accumulator>>()
            }
        }
    }
}

impl Each {
    fn update(
        &mut self,
        values: &[ArrayRef],
        kept: Option<&BooleanArray>,
        grouped: &Grouped<'_>,
    ) -> Result<()> {
        while self.states.len() < grouped.groups {
            let state = self.aggregate.create_accumulator()?;
            self.bytes += state.size();
            self.states.push(state);
        }
        for (rows, group) in grouped.runs {
            let slices = values.iter().map(|array| array.slice(rows.start, rows.len()));
            let mut slices: Vec<ArrayRef> = slices.collect();
            if let Some(kept) = kept {
                let kept = kept.slice(rows.start, rows.len());
                for slice in &mut slices {
                    *slice = filter(slice, &kept)?;
                }
                if kept.true_count() == 0 {
                    continue;
                }
            }
            let state = &mut self.states[*group];
            let before = state.size();
            state.update_batch(&slices)?;
            self.bytes = self.bytes.saturating_sub(before) + state.size();
        }
        Ok(())
    }

    fn take(&mut self) -> Result<Vec<ArrayRef>> {
        self.bytes = 0;
        let mut columns: Vec<Vec<ScalarValue>> = Vec::new();
        for mut state in std::mem::take(&mut self.states) {
            let values = state.state()?;
            columns.resize_with(values.len().max(columns.len()), Vec::new);
            for (column, value) in columns.iter_mut().zip(values) {
                column.push(value);
            }
        }
        columns.into_iter().map(ScalarValue::iter_to_array).collect()
    }
}
