//! [`RunStream`]: one partition of [`super::exec::RunAggregateExec`].

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::logical_expr::EmitTo;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::InputOrderMode;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use datafusion::physical_plan::aggregates::{
    AggregateExec, AggregateMode, aggregate_expressions, evaluate_many,
};
use datafusion::physical_plan::metrics::BaselineMetrics;
use futures::StreamExt;

use super::fold::{Fold, Grouped};
use super::keys::RunKeys;
use crate::stand_in::{Batches, Means};

/// Groups after which states of sorted rows are given away: no row of most of them will follow.
const SORTED_GROUPS_MAX: usize = 1 << 16;
/// Bytes after which they are, too: some functions hold every point of a group.
const SORTED_BYTES_MAX: usize = 8 << 20;

type Expr = Arc<dyn PhysicalExpr>;

/// States of groups in the making.
pub(super) struct RunStream {
    schema: SchemaRef,
    keys: RunKeys,
    input: SendableRecordBatchStream,
    ended: bool,
    groups: Box<dyn GroupValues>,
    folds: Vec<Fold>,
    arguments: Vec<Vec<Expr>>,
    filters: Vec<Option<Expr>>,
    /// Whether groups come in an order, by some of their keys at least.
    sorted: bool,
    batch_rows: usize,
    ready: VecDeque<RecordBatch>,
    reservation: MemoryReservation,
    metrics: BaselineMetrics,
    /// Scratch: groups of the runs of a batch.
    of_runs: Vec<usize>,
}

impl Batches for RunStream {
    /// The next states.
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                self.metrics.record_output(batch.num_rows());
                return Ok(Some(batch));
            }
            if self.ended {
                self.reservation.free();
                return Ok(None);
            }
            match self.input.next().await.transpose()? {
                Some(batch) if batch.num_rows() == 0 => {}
                Some(batch) => {
                    let time = self.metrics.elapsed_compute().clone();
                    let _timer = time.timer();
                    self.take_in(&batch)?;
                    self.make_room()?;
                }
                None => {
                    let time = self.metrics.elapsed_compute().clone();
                    let _timer = time.timer();
                    self.ended = true;
                    self.give_away()?;
                }
            }
        }
    }
}

impl RunStream {
    /// Over rows for an aggregate.
    pub(super) fn new(aggregate: &AggregateExec, keys: RunKeys, means: Means) -> Result<Self> {
        let Means { input, reservation, context, metrics } = means;
        let group = aggregate.group_expr();
        let schema = group.group_schema(&aggregate.input().schema())?;
        let aggregates = aggregate.aggr_expr();
        Ok(Self {
            schema: datafusion::physical_plan::ExecutionPlan::schema(aggregate),
            keys,
            input,
            ended: false,
            groups: new_group_values(schema, &GroupOrdering::None)?,
            folds: aggregates.iter().map(Fold::new).collect::<Result<_>>()?,
            arguments: aggregate_expressions(
                aggregates,
                &AggregateMode::Partial,
                group.num_group_exprs(),
            )?,
            filters: aggregate.filter_expr().to_vec(),
            sorted: *aggregate.input_order_mode() != InputOrderMode::Linear,
            batch_rows: context.session_config().batch_size().max(1),
            ready: VecDeque::new(),
            reservation,
            metrics,
            of_runs: Vec::new(),
        })
    }

    fn take_in(&mut self, batch: &RecordBatch) -> Result<()> {
        let rows = batch.num_rows();
        let runs = self.keys.runs(batch)?;
        self.groups.intern(&runs.keys, &mut self.of_runs)?;
        let ends = runs.starts.iter().skip(1).map(|start| *start as usize).chain([rows]);
        let ranges = runs.starts.iter().map(|start| *start as usize).zip(ends);
        let grouped: Vec<(Range<usize>, usize)> =
            ranges.zip(&self.of_runs).map(|((start, end), group)| (start..end, *group)).collect();
        let groups = self.groups.len();
        let grouped = Grouped { runs: &grouped, rows: OnceCell::new(), groups };
        let arguments = evaluate_many(&self.arguments, batch)?;
        for ((fold, arguments), filter) in self.folds.iter_mut().zip(&arguments).zip(&self.filters)
        {
            let kept = filter.as_ref().map(|filter| filter.evaluate(batch)?.into_array(rows));
            fold.update(arguments, kept.transpose()?.as_ref(), &grouped)?;
        }
        Ok(())
    }

    /// Sees to it that what is held is paid for, or gives it away.
    fn make_room(&mut self) -> Result<()> {
        let bytes = self.bytes();
        let is_much = self.groups.len() >= SORTED_GROUPS_MAX || bytes >= SORTED_BYTES_MAX;
        if self.sorted && is_much {
            return self.give_away();
        }
        match self.reservation.try_resize(bytes) {
            Ok(()) => Ok(()),
            Err(DataFusionError::ResourcesExhausted(_)) if !self.groups.is_empty() => {
                self.give_away()
            }
            Err(error) => Err(error),
        }
    }

    fn bytes(&self) -> usize {
        let folds: usize = self.folds.iter().map(Fold::bytes).sum();
        let scratch = self.of_runs.capacity() * size_of::<usize>();
        folds + self.groups.size() + scratch
    }

    /// Makes batches of all states.
    fn give_away(&mut self) -> Result<()> {
        if self.groups.is_empty() {
            return Ok(());
        }
        let mut columns: Vec<ArrayRef> = self.groups.emit(EmitTo::All)?;
        for fold in &mut self.folds {
            columns.extend(fold.take()?);
        }
        self.groups.clear_shrink(0);
        let all = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        let mut row = 0;
        while row < all.num_rows() {
            let rows = self.batch_rows.min(all.num_rows() - row);
            self.ready.push_back(all.slice(row, rows));
            row += rows;
        }
        // What is left is scratch; it was held a moment ago.
        self.reservation.resize(self.bytes());
        Ok(())
    }
}
