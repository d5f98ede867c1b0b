//! [`AsOfStream`]: walks both sides at once.

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::metrics::BaselineMetrics;

use super::cursor::{Cursor, Search};
use super::gather::Gather;
use super::merge::Merge;
use super::sorted::Sorted;
use crate::stand_in::Batches;

/// A merge under way.
pub(super) struct AsOfStream {
    pub(super) left: Merge,
    pub(super) right: Merge,
    pub(super) cursor: Cursor,
    pub(super) gather: Gather,
    /// How far partners may be, in units of time.
    pub(super) distance: Option<u64>,
    /// Partners that one sweep found; kept for their room.
    pub(super) partners: Vec<usize>,
    pub(super) reservation: MemoryReservation,
    pub(super) metrics: BaselineMetrics,
}

/// The left row that is next, and the run that it is in.
#[derive(Clone, Copy, Default)]
struct Place {
    run: usize,
    row: usize,
    /// Whether the cursor knows the key of the run.
    begun: bool,
}

impl Batches for AsOfStream {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        while let Some(left) = self.left.next().await? {
            self.reserve(&left)?;
            let mut place = Place::default();
            while !self.work(&left, &mut place)? {
                match self.right.next().await? {
                    Some(batch) => self.cursor.feed(batch),
                    None => self.cursor.end(),
                }
                self.reserve(&left)?;
            }
            let timer = self.metrics.elapsed_compute().timer();
            let answer = self.gather.finish(&left.batch)?;
            timer.done();
            if let Some(answer) = answer {
                self.metrics.record_output(answer.num_rows());
                return Ok(Some(answer));
            }
        }
        self.reservation.free();
        Ok(None)
    }
}

impl AsOfStream {
    /// Goes on until the left batch is done, or until a right batch is wanted.
    fn work(&mut self, left: &Sorted, place: &mut Place) -> Result<bool> {
        let time = self.metrics.elapsed_compute().clone();
        let _timer = time.timer();
        while let Some(run) = left.runs.get(place.run) {
            if !place.begun && !run.null {
                self.cursor.begin(left.key(place.run));
            }
            place.begun = true;
            while place.row < run.end {
                if !run.null && self.sweep(left, place, run.end)? {
                    continue;
                }
                let time = if run.null { None } else { left.time(place.row) };
                let partner = match time {
                    None => None,
                    Some(time) => match self.cursor.search(time)? {
                        Search::Hungry => return Ok(false),
                        Search::Done => self.cursor.held(time).filter(|held| {
                            self.distance.is_none_or(|most| time.abs_diff(held.time) <= most)
                        }),
                    },
                };
                self.gather.push(place.row, partner)?;
                place.row += 1;
            }
            *place = Place { run: place.run + 1, row: run.end, begun: false };
        }
        Ok(true)
    }

    /// Goes on by as many rows of a run as need no search; whether there were any.
    fn sweep(&mut self, left: &Sorted, place: &mut Place, end: usize) -> Result<bool> {
        if left.nulls.is_some() {
            return Ok(false);
        }
        let times = &left.times[place.row..end];
        self.partners.clear();
        let Some(batch) = self.cursor.sweep(times, &mut self.partners) else { return Ok(false) };
        if self.partners.is_empty() {
            return Ok(false);
        }
        let near = |(time, partner): (&i64, &usize)| {
            let apart = time.abs_diff(batch.times[*partner]);
            self.distance.is_none_or(|most| apart <= most).then_some(*partner)
        };
        let partners = times.iter().zip(&self.partners).map(near);
        self.gather.push_all(place.row, batch, partners)?;
        place.row += self.partners.len();
        Ok(true)
    }

    fn reserve(&self, left: &Sorted) -> Result<()> {
        let read = self.left.bytes() + self.right.bytes();
        let partners = self.partners.capacity() * size_of::<usize>();
        let bytes = read + left.bytes() + self.cursor.bytes() + self.gather.bytes() + partners;
        self.reservation.try_resize(bytes)
    }
}
