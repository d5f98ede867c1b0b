//! [`SlidingSum`]: the sum of the last n rows, without ever subtracting.
//!
//! A sum of doubles from which an old value is taken away keeps the rounding that the value caused, and NaN once an
//! infinity has been in it. So the rows are a queue of two stacks: `front` has the sum of each of its suffixes, `back`
//! the sum of all that came since. A row costs amortised constant time.

use crate::counters::{Number, Total};

/// The sum of the last n rows, and how many of them are values.
#[derive(Debug)]
pub(super) struct SlidingSum<N: Number> {
    rows: usize,
    front: Vec<Part<N>>,
    back: Vec<Option<N>>,
    back_sum: Part<N>,
}

#[derive(Debug, Clone, Copy)]
struct Part<N: Number> {
    sum: N::Sum,
    count: usize,
}

impl<N: Number> Part<N> {
    fn empty() -> Self {
        Self { sum: N::Sum::default(), count: 0 }
    }

    fn add(&mut self, row: Option<N>) {
        if let Some(value) = row {
            self.sum.add(value);
            self.count += 1;
        }
    }
}

impl<N: Number> SlidingSum<N> {
    /// Of no rows yet, of `rows` at most.
    pub(super) fn new(rows: usize) -> Self {
        Self { rows, front: Vec::new(), back: Vec::new(), back_sum: Part::empty() }
    }

    /// Takes the next row; the oldest goes if there are too many.
    pub(super) fn push(&mut self, row: Option<N>) {
        if self.front.len() + self.back.len() == self.rows {
            self.pop();
        }
        self.back.push(row);
        self.back_sum.add(row);
    }

    fn pop(&mut self) {
        if self.front.is_empty() {
            let mut sum = Part::empty();
            while let Some(row) = self.back.pop() {
                sum.add(row);
                self.front.push(sum);
            }
            self.back_sum = Part::empty();
        }
        self.front.pop();
    }

    /// The average of the values among the rows, none if there are none.
    pub(super) fn average(&self) -> Option<f64> {
        let mut all = self.front.last().copied().unwrap_or_else(Part::empty);
        all.sum.merge(&self.back_sum.sum);
        all.count += self.back_sum.count;
        (all.count > 0).then(|| all.sum.rounded() / all.count as f64)
    }
}
