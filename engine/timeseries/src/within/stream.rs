//! [`WithinStream`]: one partition of [`super::exec::SortWithinExec`].

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::{
    LexicographicalComparator, SortColumn, concat, concat_batches, lexsort_to_indices,
    take_record_batch,
};
use datafusion::arrow::datatypes::{SchemaRef, TimestampNanosecondType};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::utils::memory::get_record_batch_memory_size;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::BaselineMetrics;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::channel::mpsc;
use futures::{SinkExt, StreamExt};
use parking_lot::Mutex;

use crate::runs::{mark_changes, mark_changes_of_sorted};
use crate::stand_in::{Batches, Means};

/// Bytes from which on a group is sorted by an operator that spills.
const GROUP_BYTES_MAX: usize = 16 << 20;

/// Sorts the rows of one partition.
pub(super) struct WithinStream {
    input: SendableRecordBatchStream,
    schema: SchemaRef,
    order: LexOrdering,
    /// What the rows are sorted by.
    prefix: Vec<PhysicalSortExpr>,
    /// The rest of the order.
    within: Vec<PhysicalSortExpr>,
    context: Arc<TaskContext>,
    reservation: MemoryReservation,
    metrics: BaselineMetrics,
    ended: bool,
    /// Rows that were read behind the group at hand.
    rest: Option<RecordBatch>,
    /// The last group so far, in pieces.
    group: Vec<RecordBatch>,
    /// The prefix of the last row of the group.
    last: Vec<ArrayRef>,
    ready: VecDeque<RecordBatch>,
    /// A large group in the making.
    large: Option<SendableRecordBatchStream>,
}

impl Batches for WithinStream {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                self.metrics.record_output(batch.num_rows());
                return Ok(Some(batch));
            }
            if let Some(large) = &mut self.large {
                match large.next().await.transpose()? {
                    Some(batch) => self.ready.push_back(batch),
                    None => self.large = None,
                }
                continue;
            }
            if self.ended && self.rest.is_none() {
                self.reservation.free();
                return Ok(None);
            }
            match self.read().await? {
                Some(batch) => {
                    let time = self.metrics.elapsed_compute().clone();
                    let timer = time.timer();
                    let fits = self.take_in(&batch)?;
                    drop(timer);
                    if !fits {
                        self.sort_large().await?;
                    }
                }
                None => self.finish_group()?,
            }
        }
    }
}

impl WithinStream {
    /// Over rows that are to be sorted by the first of `order`, and are by the second.
    pub(super) fn new((order, prefix): (LexOrdering, Vec<PhysicalSortExpr>), means: Means) -> Self {
        let Means { input, reservation, context, metrics } = means;
        Self {
            schema: input.schema(),
            input,
            within: order.iter().filter(|sort| !prefix.contains(sort)).cloned().collect(),
            order,
            prefix,
            context,
            reservation,
            metrics,
            ended: false,
            rest: None,
            group: Vec::new(),
            last: Vec::new(),
            ready: VecDeque::new(),
            large: None,
        }
    }

    /// The next rows of the input that there are; none at its end.
    async fn read(&mut self) -> Result<Option<RecordBatch>> {
        if let Some(rest) = self.rest.take() {
            return Ok(Some(rest));
        }
        while !self.ended {
            match self.input.next().await.transpose()? {
                Some(batch) if batch.num_rows() > 0 => return Ok(Some(batch)),
                Some(_) => {}
                None => self.ended = true,
            }
        }
        Ok(None)
    }

    /// Takes rows in, and finishes the groups before the last one. Whether the last one can be held.
    fn take_in(&mut self, batch: &RecordBatch) -> Result<bool> {
        let rows = batch.num_rows();
        let (first, last) = self.open_group(batch, !self.group.is_empty())?;
        if first > 0 {
            self.group.push(batch.slice(0, first));
        }
        if first == rows {
            return Ok(self.holds());
        }
        self.finish_group()?;
        if last > first {
            // Groups that begin and end in it, all together.
            let done = batch.slice(first, last - first);
            self.sort(&[done])?;
        }
        self.group.push(batch.slice(last, rows - last));
        Ok(self.holds())
    }

    /// How many rows go on with the group at hand, if there is one, and where the last group begins.
    fn open_group(&mut self, batch: &RecordBatch, mut goes_on: bool) -> Result<(usize, usize)> {
        let rows = batch.num_rows();
        let prefix = values(self.prefix.iter(), batch)?;
        let mut marks = vec![false; rows];
        mark_changes_of_sorted(&prefix, &mut marks)?;
        for (place, column) in prefix.iter().enumerate() {
            if let (true, Some(before)) = (goes_on, self.last.get(place)) {
                let pair = concat(&[before.as_ref(), column.slice(0, 1).as_ref()])?;
                let mut changed = [false; 2];
                mark_changes(&pair, &mut changed)?;
                goes_on &= !changed[1];
            }
        }
        self.last = prefix.iter().map(|column| column.slice(rows - 1, 1)).collect();
        let first = if goes_on { marks.iter().position(|mark| *mark).unwrap_or(rows) } else { 0 };
        let last = marks.iter().rposition(|mark| *mark).unwrap_or(0);
        Ok((first, last.max(first)))
    }

    /// Sees to it that the group at hand is paid for; whether it is small enough for it.
    fn holds(&mut self) -> bool {
        let bytes: usize = self.group.iter().map(get_record_batch_memory_size).sum();
        bytes < GROUP_BYTES_MAX && self.reservation.try_resize(bytes).is_ok()
    }

    /// Sorts the group at hand.
    fn finish_group(&mut self) -> Result<()> {
        let group = std::mem::take(&mut self.group);
        self.sort(&group)?;
        self.reservation.free();
        Ok(())
    }

    /// Makes rows ready that are sorted by the prefix. Those that are sorted by all are passed on as they are.
    fn sort(&mut self, pieces: &[RecordBatch]) -> Result<()> {
        if self.is_sorted(pieces)? {
            self.ready.extend(pieces.iter().cloned());
            return Ok(());
        }
        let whole = concat_batches(&self.schema, pieces)?;
        let columns = columns(self.order.iter(), &whole)?;
        let indices = lexsort_to_indices(&columns, None)?;
        let sorted = take_record_batch(&whole, &indices)?;
        let most = self.context.session_config().batch_size().max(1);
        for row in (0..sorted.num_rows()).step_by(most) {
            self.ready.push_back(sorted.slice(row, most.min(sorted.num_rows() - row)));
        }
        Ok(())
    }

    /// Whether pieces, which are sorted by the prefix, are sorted by all.
    fn is_sorted(&self, pieces: &[RecordBatch]) -> Result<bool> {
        let mut last: Option<RecordBatch> = None;
        for piece in pieces {
            let rows = piece.num_rows();
            if let Some(last) = &last {
                let pair = concat_batches(&self.schema, [last, &piece.slice(0, 1)])?;
                let order =
                    LexicographicalComparator::try_new(&columns(self.order.iter(), &pair)?)?;
                if order.compare(0, 1).is_gt() {
                    return Ok(false);
                }
            }
            let mut marks = vec![false; rows];
            mark_changes_of_sorted(&values(self.prefix.iter(), piece)?, &mut marks)?;
            if falls(&columns(self.within.iter(), piece)?, &marks)? {
                return Ok(false);
            }
            last = Some(piece.slice(rows - 1, 1));
        }
        Ok(true)
    }

    /// Sorts the group at hand, and what of it is still to come, by an operator that spills.
    async fn sort_large(&mut self) -> Result<()> {
        let (sender, receiver) = mpsc::channel(1);
        let rows = RecordBatchStreamAdapter::new(Arc::clone(&self.schema), receiver);
        let once =
            Once { schema: Arc::clone(&self.schema), rows: Mutex::new(Some(Box::pin(rows))) };
        let input = StreamingTableExec::try_new(
            Arc::clone(&self.schema),
            vec![Arc::new(once)],
            None,
            None,
            false,
            None,
        )?;
        let sort = SortExec::new(self.order.clone(), Arc::new(input));
        let mut sorted = sort.execute(0, Arc::clone(&self.context))?;
        let (fed, first) = futures::join!(self.feed(sender), sorted.next());
        fed?;
        if let Some(first) = first.transpose()? {
            self.ready.push_back(first);
            self.large = Some(sorted);
        }
        Ok(())
    }

    /// Gives the rows of the group at hand away, to its end.
    async fn feed(&mut self, mut to: mpsc::Sender<Result<RecordBatch>>) -> Result<()> {
        // Whoever does not take them has failed, and says why itself.
        for piece in std::mem::take(&mut self.group) {
            let _ = to.send(Ok(piece)).await;
        }
        self.reservation.free();
        while let Some(batch) = self.read().await? {
            let (first, _) = self.open_group(&batch, true)?;
            let rows = batch.num_rows();
            if first > 0 && to.send(Ok(batch.slice(0, first))).await.is_err() {
                break;
            }
            if first < rows {
                self.rest = Some(batch.slice(first, rows - first));
                break;
            }
        }
        Ok(())
    }
}

/// Whether a row comes before its predecessor, but for those that are marked.
fn falls(order: &[SortColumn], marks: &[bool]) -> Result<bool> {
    if let [only] = order
        && only.values.null_count() == 0
        && let Some(times) = only.values.as_primitive_opt::<TimestampNanosecondType>()
    {
        let descending = only.options.is_some_and(|options| options.descending);
        let pairs = times.values().windows(2).zip(&marks[1..]);
        let falls = |pair: &[i64]| if descending { pair[0] < pair[1] } else { pair[0] > pair[1] };
        return Ok(pairs.into_iter().any(|(pair, mark)| !mark && falls(pair)));
    }
    let comparator = LexicographicalComparator::try_new(order)?;
    Ok((1..marks.len()).any(|row| !marks[row] && comparator.compare(row - 1, row).is_gt()))
}

/// What an order compares of rows.
fn columns<'a>(
    order: impl Iterator<Item = &'a PhysicalSortExpr>,
    rows: &RecordBatch,
) -> Result<Vec<SortColumn>> {
    order.map(|sort| sort.evaluate_to_sort_column(rows)).collect()
}

/// The values that an order compares.
fn values<'a>(
    order: impl Iterator<Item = &'a PhysicalSortExpr>,
    rows: &RecordBatch,
) -> Result<Vec<ArrayRef>> {
    Ok(columns(order, rows)?.into_iter().map(|column| column.values).collect())
}

/// Rows that can be read once.
struct Once {
    schema: SchemaRef,
    rows: Mutex<Option<SendableRecordBatchStream>>,
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Once")
    }
}

impl PartitionStream for Once {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.rows.lock().take();
        rows.unwrap_or_else(|| {
            let again = DataFusionError::Internal("a group is read once".to_owned());
            let once = futures::stream::once(async { Err(again) });
            Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), once))
        })
    }
}
