//! [`Merge`]: the sorted partitions of one side as one, a run at a time.
//!
//! Partitions of series have long runs of equal keys, and few keys in common. So keys are compared once per run, and what
//! comes before the next row of all others is handed on as a slice; single rows are copied only where partitions have
//! rows of one key in turns. Each partition is read and taken apart in a task of its own, one batch ahead,
//! unless other threads have parts of their own to join.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::compute::interleave_record_batch;
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::metrics::Time;
use futures::channel::mpsc;
use futures::{SinkExt, StreamExt};

use super::sorted::{Keys, Run, Sorted, Sorter};

/// Slices of fewer rows are copied together.
const SLICE_ROWS_MIN: usize = 512;
/// Rows that are copied together at most.
const COPIED_ROWS_MAX: usize = 8192;

/// One side.
pub(super) struct Merge {
    inputs: Vec<Input>,
    nulls_first: bool,
    /// Batches that were handed out.
    batches: usize,
    /// Slices to be copied together.
    small: Vec<Slice>,
}

/// A partition, and the row of it that is next.
struct Input {
    source: Source,
    at: Option<Slice>,
}

/// Where the batches of a partition come from.
enum Source {
    /// A task.
    Task { sorted: mpsc::Receiver<Sorted>, task: SpawnedTask<Result<()>> },
    /// Here.
    Stream { stream: SendableRecordBatchStream, sorter: Arc<Sorter>, time: Time },
    /// It has ended.
    None,
}

/// Rows of a batch that are neighbours, the first of which are in a run.
#[derive(Clone)]
struct Slice {
    batch: Arc<Sorted>,
    rows: Range<usize>,
    run: usize,
}

impl Slice {
    fn key(&self) -> &[u8] {
        self.batch.key(self.run)
    }

    fn time(&self) -> Option<i64> {
        self.batch.time(self.rows.start)
    }

    /// Its rows as a batch, without a copy.
    fn cut(&self, id: usize) -> Sorted {
        let Range { start, end } = self.rows;
        let runs = self.batch.runs.iter().enumerate().skip(self.run);
        let mut keys = Keys::default();
        let mut cut = Vec::new();
        for (index, run) in runs.take_while(|(_, run)| run.begin < end) {
            keys.push(self.batch.key(index));
            let (begin, end) = (run.begin.max(start) - start, run.end.min(end) - start);
            cut.push(Run { begin, end, null: run.null });
        }
        Sorted {
            id,
            batch: self.batch.batch.slice(start, end - start),
            runs: cut,
            keys,
            times: self.batch.times.slice(start, end - start),
            nulls: self.batch.nulls.as_ref().map(|nulls| nulls.slice(start, end - start)),
        }
    }
}

impl Input {
    fn new(source: Source) -> Self {
        Self { source, at: None }
    }

    /// Sees to it that the next row is known, if there is one.
    async fn fill(&mut self) -> Result<()> {
        if self.at.is_some() {
            return Ok(());
        }
        let batch = match &mut self.source {
            Source::Task { sorted, .. } => sorted.next().await,
            Source::Stream { stream, sorter, time } => next(stream, sorter, time).await?,
            Source::None => return Ok(()),
        };
        if let Some(batch) = batch {
            let rows = 0..batch.batch.num_rows();
            self.at = Some(Slice { batch: Arc::new(batch), rows, run: 0 });
        } else if let Source::Task { task, .. } = std::mem::replace(&mut self.source, Source::None)
        {
            // It may have ended by an error.
            task.join_unwind().await.map_err(|e| DataFusionError::ExecutionJoin(Box::new(e)))??;
        }
        Ok(())
    }

    /// Takes the rows before this one off.
    fn take(&mut self, end: usize) -> Option<Slice> {
        let at = self.at.as_mut()?;
        let taken = Slice { rows: at.rows.start..end, ..at.clone() };
        at.rows.start = end;
        while at.batch.runs.get(at.run).is_some_and(|run| run.end <= end) {
            at.run += 1;
        }
        if at.rows.is_empty() {
            self.at = None;
        }
        Some(taken)
    }
}

/// The next batch that has rows, taken apart.
async fn next(
    stream: &mut SendableRecordBatchStream,
    sorter: &Sorter,
    time: &Time,
) -> Result<Option<Sorted>> {
    while let Some(batch) = stream.next().await.transpose()? {
        if batch.num_rows() > 0 {
            let _timer = time.timer();
            return sorter.sorted(0, batch).map(Some);
        }
    }
    Ok(None)
}

/// Reads in a task of its own, one batch ahead.
fn ahead(mut stream: SendableRecordBatchStream, sorter: Arc<Sorter>, time: Time) -> Source {
    let (mut sender, sorted) = mpsc::channel(0);
    let task = SpawnedTask::spawn(async move {
        while let Some(batch) = next(&mut stream, &sorter, &time).await? {
            if sender.send(batch).await.is_err() {
                break;
            }
        }
        Ok(())
    });
    Source::Task { sorted, task }
}

impl Merge {
    /// Reads the partitions of a side, which are sorted by keys and time.
    pub(super) fn new(
        streams: Vec<SendableRecordBatchStream>,
        sorter: Sorter,
        nulls_first: bool,
        time: &Time,
    ) -> Self {
        let sorter = Arc::new(sorter);
        let read = |stream| Input::new(ahead(stream, Arc::clone(&sorter), time.clone()));
        Self::of(streams.into_iter().map(read).collect(), nulls_first)
    }

    /// Reads the one partition of a side without a task: others work on other partitions meanwhile.
    pub(super) fn of_one(
        stream: SendableRecordBatchStream,
        sorter: Sorter,
        nulls_first: bool,
        time: &Time,
    ) -> Self {
        let source = Source::Stream { stream, sorter: Arc::new(sorter), time: time.clone() };
        Self::of(vec![Input::new(source)], nulls_first)
    }

    fn of(inputs: Vec<Input>, nulls_first: bool) -> Self {
        Self { inputs, nulls_first, batches: 0, small: Vec::new() }
    }

    /// The next rows.
    pub(super) async fn next(&mut self) -> Result<Option<Sorted>> {
        loop {
            for input in &mut self.inputs {
                input.fill().await?;
            }
            let Some(first) = self.least(None) else { return self.copied() };
            let end = self.before_others(first);
            let Some(at) = &self.inputs[first].at else { return self.copied() };
            let is_small = end - at.rows.start < SLICE_ROWS_MIN && self.inputs.len() > 1;
            if !is_small && !self.small.is_empty() {
                return self.copied();
            }
            let Some(slice) = self.inputs[first].take(end) else { return self.copied() };
            if !is_small {
                self.batches += 1;
                return Ok(Some(slice.cut(self.batches)));
            }
            self.small.push(slice);
            if self.small.iter().map(|slice| slice.rows.len()).sum::<usize>() >= COPIED_ROWS_MAX {
                return self.copied();
            }
        }
    }

    /// Bytes of the batches that it holds.
    pub(super) fn bytes(&self) -> usize {
        let next = self.inputs.iter().filter_map(|input| input.at.as_ref());
        let mut batches: Vec<&Arc<Sorted>> =
            next.chain(&self.small).map(|slice| &slice.batch).collect();
        batches.sort_by_key(|batch| Arc::as_ptr(batch));
        batches.dedup_by_key(|batch| Arc::as_ptr(batch));
        batches.iter().map(|batch| batch.bytes()).sum()
    }

    /// The input whose next row is least, but for one.
    fn least(&self, but: Option<usize>) -> Option<usize> {
        let known = self.inputs.iter().enumerate().filter(|(index, _)| Some(*index) != but);
        let known = known.filter_map(|(index, input)| Some((index, input.at.as_ref()?)));
        let least = known.min_by(|(_, one), (_, other)| {
            one.key().cmp(other.key()).then_with(|| self.by_time(one.time(), other.time()))
        });
        least.map(|(index, _)| index)
    }

    /// The row of an input behind those that come before, or with, the next row of all others.
    fn before_others(&self, first: usize) -> usize {
        let Some(at) = &self.inputs[first].at else { return 0 };
        let other = self.least(Some(first)).and_then(|other| self.inputs[other].at.as_ref());
        let Some(other) = other else { return at.rows.end };
        let (key, time) = (other.key(), other.time());
        let mut end = at.rows.start;
        for (index, run) in at.batch.runs.iter().enumerate().skip(at.run) {
            match at.batch.key(index).cmp(key) {
                Ordering::Less => end = run.end,
                Ordering::Equal => {
                    let rows = run.begin.max(end)..run.end;
                    let is_before = |row| self.by_time(at.batch.time(row), time).is_le();
                    return rows.start + partition_point(rows.len(), |n| is_before(rows.start + n));
                }
                Ordering::Greater => break,
            }
        }
        end
    }

    fn by_time(&self, one: Option<i64>, other: Option<i64>) -> Ordering {
        let order = one.is_some().cmp(&other.is_some());
        let nulls = if self.nulls_first { order } else { order.reverse() };
        nulls.then(one.cmp(&other))
    }

    /// What is to be copied together, as a batch.
    fn copied(&mut self) -> Result<Option<Sorted>> {
        let small = std::mem::take(&mut self.small);
        let slices = match small.as_slice() {
            [] => return Ok(None),
            slices => slices,
        };
        self.batches += 1;
        if let [one] = slices {
            return Ok(Some(one.cut(self.batches)));
        }
        let mut batches: Vec<&Arc<Sorted>> = Vec::new();
        let mut picks = Vec::new();
        let (mut keys, mut runs) = (Keys::default(), Vec::new());
        let (mut times, mut valid) = (Vec::new(), Vec::new());
        for slice in slices {
            let known = batches.iter().rposition(|batch| Arc::ptr_eq(batch, &slice.batch));
            let place = known.unwrap_or_else(|| {
                batches.push(&slice.batch);
                batches.len() - 1
            });
            let cut = slice.cut(0);
            let offset = picks.len();
            for (index, run) in cut.runs.iter().enumerate() {
                keys.push(cut.key(index));
                let (begin, end) = (run.begin + offset, run.end + offset);
                runs.push(Run { begin, end, ..*run });
            }
            for row in 0..cut.times.len() {
                picks.push((place, slice.rows.start + row));
                valid.push(cut.time(row).is_some());
            }
            times.extend_from_slice(&cut.times);
        }
        let batches: Vec<_> = batches.iter().map(|batch| &batch.batch).collect();
        Ok(Some(Sorted {
            id: self.batches,
            batch: interleave_record_batch(&batches, &picks)?,
            runs,
            keys,
            times: times.into(),
            nulls: valid.contains(&false).then(|| valid.into()),
        }))
    }
}

/// The first of so many numbers for which something does not hold any more.
fn partition_point(count: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut begin, mut end) = (0, count);
    while begin < end {
        let middle = begin.midpoint(end);
        if holds(middle) { begin = middle + 1 } else { end = middle }
    }
    begin
}
