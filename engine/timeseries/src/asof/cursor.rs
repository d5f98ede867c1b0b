//! [`Cursor`]: walks the right side once, and holds the one row that may be a partner.
//!
//! ```text
//! left    a:10      a:20 a:30   b:5              for >= the partner is the last row that was passed,
//! right     a:11 a:12   a:25      b:4 b:6        for <= the first one that is ahead
//! ```
//!
//! Between two calls the cursor stands behind the partner, which is held with its batch; what is before it has been
//! dropped. Rows with null keys or times are passed and never held.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::arrow::array::{DynComparator, make_comparator};
use datafusion::arrow::compute::SortOptions;
use datafusion::error::Result;

use super::comparison::Comparison;
use super::sorted::Sorted;

/// A right row that may be a partner.
#[derive(Clone, Debug)]
pub(super) struct Partner {
    pub(super) batch: Arc<Sorted>,
    pub(super) row: usize,
    run: usize,
    pub(super) time: i64,
}

/// What a search came to.
pub(super) enum Search {
    /// The partner that the cursor holds is the row's, if it holds one.
    Done,
    /// The next batch is wanted.
    Hungry,
}

/// A place in the right side.
pub(super) struct Cursor {
    comparison: Comparison,
    batch: Option<Arc<Sorted>>,
    run: usize,
    row: usize,
    ended: bool,
    /// Key of the left rows that ask.
    key: Vec<u8>,
    /// The key of the run at hand against it.
    against: Ordering,
    held: Option<Partner>,
    ties: Ties,
}

impl Cursor {
    /// Before the first row.
    pub(super) fn new(comparison: Comparison) -> Self {
        Self {
            comparison,
            batch: None,
            run: 0,
            row: 0,
            ended: false,
            key: Vec::new(),
            against: Ordering::Equal,
            held: None,
            ties: Ties::default(),
        }
    }

    /// Left rows with this key ask from now on.
    pub(super) fn begin(&mut self, key: &[u8]) {
        key.clone_into(&mut self.key);
        if self.held.as_ref().is_some_and(|held| held.batch.key(held.run) != key) {
            self.held = None;
        }
        self.compare();
    }

    /// Gives the next batch, which has rows.
    pub(super) fn feed(&mut self, batch: Sorted) {
        self.batch = Some(Arc::new(batch));
        self.run = 0;
        self.row = 0;
        self.compare();
    }

    /// There are no more batches.
    pub(super) fn end(&mut self) {
        self.batch = None;
        self.ended = true;
    }

    /// The partner, after a search.
    pub(super) fn held(&self, time: i64) -> Option<&Partner> {
        self.held.as_ref().filter(|held| self.comparison.holds(time, held.time))
    }

    /// Bytes of the batches that it holds.
    pub(super) fn bytes(&self) -> usize {
        let batch = self.batch.as_ref().map_or(0, |batch| batch.bytes());
        match (&self.held, &self.batch) {
            (Some(held), Some(batch)) if Arc::ptr_eq(&held.batch, batch) => batch.bytes(),
            (Some(held), _) => batch + held.batch.bytes(),
            (None, _) => batch,
        }
    }

    /// Finds the partner for a left row with the key at hand and this time.
    pub(super) fn search(&mut self, time: i64) -> Result<Search> {
        loop {
            let Some(batch) = &self.batch else {
                return Ok(if self.ended { Search::Done } else { Search::Hungry });
            };
            let Some(run) = batch.runs.get(self.run).copied() else {
                self.batch = None;
                continue;
            };
            match self.against {
                Ordering::Less => self.next_run(),
                Ordering::Greater => return Ok(Search::Done),
                Ordering::Equal if run.null || self.row == run.end => self.next_run(),
                Ordering::Equal if self.comparison.looks_back() && batch.nulls.is_none() => {
                    let rows = &batch.times[self.row..run.end];
                    let holds = |at: &&i64| self.comparison.holds(time, **at);
                    let passed = &rows[..rows.iter().take_while(holds).count()];
                    let Some(last) = passed.last() else { return Ok(Search::Done) };
                    let tied = passed.iter().rev().take_while(|at| *at == last).count();
                    self.row += passed.len();
                    for row in self.row - tied..self.row {
                        let place = (row, self.run, *last);
                        hold(&mut self.held, &mut self.ties, batch, place);
                    }
                }
                Ordering::Equal => match batch.time(self.row) {
                    None => self.row += 1,
                    Some(at) if self.takes(time, at) => {
                        let place = (self.row, self.run, at);
                        hold(&mut self.held, &mut self.ties, batch, place);
                        self.row += 1;
                    }
                    Some(at) if self.passes(time, at) => self.row += 1,
                    Some(_) => return Ok(Search::Done),
                },
            }
        }
    }

    /// Finds the partners of left rows with these ascending times for as long as a glance at the run at hand is enough: no
    /// nulls, no right rows of equal times, no end of the run. Adds each one's row to `partners` and gives the batch that
    /// they are in. The rows that are left are for [`Cursor::search`].
    pub(super) fn sweep(
        &mut self,
        times: &[i64],
        partners: &mut Vec<usize>,
    ) -> Option<&Arc<Sorted>> {
        let batch = self.batch.as_ref()?;
        let run = batch.runs.get(self.run)?;
        let is_plain = self.comparison.looks_back() && batch.nulls.is_none() && !run.null;
        if !is_plain || self.against != Ordering::Equal {
            return None;
        }
        let rows = &batch.times[self.row..run.end];
        // The row before them, if it is the partner so far.
        let held = self.held.as_ref().filter(|held| Arc::ptr_eq(&held.batch, batch));
        let held = held.filter(|held| held.row + 1 == self.row);
        let comparison = self.comparison;
        let mut next = 0;
        'left: for time in times {
            loop {
                let Some(at) = rows.get(next) else { break 'left };
                if !comparison.holds(*time, *at) {
                    break;
                }
                let before = match next.checked_sub(1) {
                    Some(before) => Some(rows[before]),
                    None => self.held.as_ref().map(|held| held.time),
                };
                if before == Some(*at) {
                    break 'left;
                }
                next += 1;
            }
            if next == 0 && held.is_none() {
                break;
            }
            // The held row stands right before the first one.
            partners.push(self.row + next - 1);
        }
        let passed = next.checked_sub(1).map(|last| (self.row + last, self.run, rows[last]));
        self.row += next;
        if let Some((row, run, time)) = passed {
            self.held = Some(Partner { batch: Arc::clone(batch), row, run, time });
        }
        self.batch.as_ref()
    }

    /// Whether the row at hand, of time `at`, is to be held.
    fn takes(&self, time: i64, at: i64) -> bool {
        if !self.comparison.holds(time, at) {
            return false;
        }
        if self.comparison.looks_back() {
            return true;
        }
        // The first one ahead, and those of the same time.
        self.held(time).is_none_or(|held| held.time == at)
    }

    /// Whether the row at hand is before all that can be partners.
    fn passes(&self, time: i64, at: i64) -> bool {
        !self.comparison.looks_back() && !self.comparison.holds(time, at)
    }

    fn next_run(&mut self) {
        self.run += 1;
        if let Some(run) = self.batch.as_ref().and_then(|batch| batch.runs.get(self.run)) {
            self.row = run.begin;
            self.compare();
        }
    }

    fn compare(&mut self) {
        let batch = self.batch.as_ref().filter(|batch| self.run < batch.runs.len());
        if let Some(batch) = batch {
            self.against = batch.key(self.run).cmp(&self.key);
        }
    }
}

/// Holds a row of a batch, with its run and time, unless the one that is held has the same time and is greater.
fn hold(
    held: &mut Option<Partner>,
    ties: &mut Ties,
    batch: &Arc<Sorted>,
    (row, run, time): (usize, usize, i64),
) {
    match held {
        Some(held) if held.time == time && !ties.is_greater((batch, row), held) => {}
        Some(held) if Arc::ptr_eq(&held.batch, batch) => {
            (held.row, held.run, held.time) = (row, run, time);
        }
        _ => *held = Some(Partner { batch: Arc::clone(batch), row, run, time }),
    }
}

/// Which of several right rows with equal keys and times is the partner: the greatest by its columns, from left to right
/// and nulls least, so that the answer does not depend on how rows came.
#[derive(Default)]
struct Ties {
    /// Of the batches with these ids.
    of: Option<(usize, usize)>,
    columns: Vec<DynComparator>,
}

impl Ties {
    fn is_greater(&mut self, (batch, row): (&Sorted, usize), other: &Partner) -> bool {
        let of = (batch.id, other.batch.id);
        if self.of != Some(of) {
            let columns = batch.batch.columns().iter().zip(other.batch.batch.columns());
            // Columns of types without an order do not decide.
            self.columns = columns
                .filter_map(|(one, other)| make_comparator(one, other, SortOptions::default()).ok())
                .collect();
            self.of = Some(of);
        }
        let order = self.columns.iter().map(|compare| compare(row, other.row));
        order.fold(Ordering::Equal, Ordering::then) == Ordering::Greater
    }
}
