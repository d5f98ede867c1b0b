//! Aggregation of points: of many groups at once, and of one group or window frame.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{ScalarValue, exec_err};
use datafusion::error::Result;
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

use super::measure::Measure;
use super::number::Number;
use super::points::{self, GroupedPoints, Point, by_group, points_of, points_of_states};
use super::summary::{Summary, summary_of};

/// A measure of each of many groups.
#[derive(Debug)]
pub(crate) struct GroupedMeasure<N: Number, S> {
    measure: Measure,
    points: GroupedPoints<N>,
    summary: PhantomData<fn() -> S>,
}

impl<N: Number, S: Summary<N>> GroupedMeasure<N, S> {
    /// Of no groups yet.
    pub(crate) fn new(measure: Measure) -> Self {
        Self { measure, points: GroupedPoints::new(), summary: PhantomData }
    }
}

impl<N: Number, S: Summary<N>> GroupsAccumulator for GroupedMeasure<N, S> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.points.grow(total_num_groups);
        self.points.push_rows(points_of::<N>(&values[0], &values[1]), group_indices, opt_filter);
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let (entries, groups) = self.points.take(first_groups(emit_to));
        let answers = by_group(&entries, groups).map(|entries| {
            let summary: Option<S> = summary_of(entries.iter().map(|entry| entry.point));
            summary?.answer(self.measure)
        });
        Ok(answers_array(self.measure, answers))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let (entries, groups) = self.points.take(first_groups(emit_to));
        let lengths = by_group(&entries, groups).map(<[_]>::len);
        points::states::<N>(entries.iter().map(|entry| entry.point), lengths)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.points.grow(total_num_groups);
        for (row, point) in points_of_states::<N>(values)? {
            self.points.push(group_indices[row], point);
        }
        Ok(())
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let mut points = GroupedPoints::<N>::new();
        let rows: Vec<usize> = (0..values[0].len()).collect();
        points.push_rows(points_of::<N>(&values[0], &values[1]), &rows, opt_filter);
        let (entries, _) = points.take(None);
        let lengths = by_group(&entries, rows.len()).map(<[_]>::len);
        points::states::<N>(entries.iter().map(|entry| entry.point), lengths)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.points.size()
    }
}

fn first_groups(emit_to: EmitTo) -> Option<usize> {
    match emit_to {
        EmitTo::All => None,
        EmitTo::First(groups) => Some(groups),
    }
}

fn answers_array(measure: Measure, answers: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    if measure.data_type() == DataType::Int64 {
        Arc::new(answers.map(|answer| answer.map(count)).collect::<Int64Array>())
    } else {
        Arc::new(answers.collect::<Float64Array>())
    }
}

/// A count that went through a double: exact, since no memory holds 2⁵³ points.
#[expect(clippy::cast_possible_truncation, reason = "counts of points are whole and below 2^53")]
fn count(answer: f64) -> i64 {
    answer as i64
}

/// A measure of the points that have come and not gone.
///
/// While they come in order, an answer costs amortised constant time: the points are cut in two, `front` has the
/// summary of each of its suffixes, `back` one summary of all that came since. A point that goes takes the suffix
/// that began with it along; when `front` is empty it is made anew from all points. (The queue of two stacks; see
/// Tangwongsan, Hirzel, Schneider, Wu, "General Incremental Sliding-Window Aggregation", VLDB 2015.) Otherwise the
/// points are sorted for each answer.
#[derive(Debug)]
pub(crate) struct FrameMeasure<N: Number, S> {
    measure: Measure,
    points: VecDeque<Point<N>>,
    /// How many points come before their predecessor.
    disorder: usize,
    /// Whether a point has gone: until then all are summed in `back`.
    slides: bool,
    front: Vec<S>,
    back: Option<S>,
    /// How many points `front` and `back` are of: the others came later.
    summed: usize,
}

impl<N: Number, S: Summary<N>> FrameMeasure<N, S> {
    /// Of no points yet.
    pub(crate) fn new(measure: Measure) -> Self {
        let (points, front) = (VecDeque::new(), Vec::new());
        Self { measure, points, disorder: 0, slides: false, front, back: None, summed: 0 }
    }

    fn push(&mut self, point: Point<N>) {
        if let Some(last) = self.points.back() {
            self.disorder += usize::from(points::order::<N>(&point, last) == Ordering::Less);
        }
        self.points.push_back(point);
    }

    fn pop(&mut self) {
        let Some(gone) = self.points.pop_front() else { return };
        self.slides = true;
        if let Some(next) = self.points.front() {
            self.disorder -= usize::from(points::order::<N>(next, &gone) == Ordering::Less);
        }
        if self.front.pop().is_some() {
            self.summed -= 1;
        } else {
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.front.clear();
        self.back = None;
        self.summed = 0;
    }

    fn summary(&mut self) -> Option<S> {
        if self.disorder > 0 {
            self.forget();
            let mut points: Vec<_> = self.points.iter().copied().collect();
            points.sort_unstable_by(points::order::<N>);
            return summary_of(points);
        }
        if self.slides && self.summed == 0 {
            self.sum_suffixes();
        }
        for point in self.points.range(self.summed..) {
            match &mut self.back {
                Some(back) => back.push(*point),
                None => self.back = Some(S::of(*point)),
            }
        }
        self.summed = self.points.len();
        match (self.front.last().cloned(), &self.back) {
            (Some(mut front), Some(back)) => {
                front.join(back);
                Some(front)
            }
            (front, back) => front.or_else(|| back.clone()),
        }
    }

    fn sum_suffixes(&mut self) {
        for point in self.points.iter().rev() {
            let mut summary = S::of(*point);
            if let Some(later) = self.front.last() {
                summary.join(later);
            }
            self.front.push(summary);
        }
        self.summed = self.points.len();
    }
}

impl<N: Number, S: Summary<N>> Accumulator for FrameMeasure<N, S> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        points_of::<N>(&values[0], &values[1]).flatten().for_each(|point| self.push(point));
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let gone = points_of::<N>(&values[0], &values[1]).flatten().count();
        if gone > self.points.len() {
            return exec_err!("{} of {} points leave a window", gone, self.points.len());
        }
        (0..gone).for_each(|_| self.pop());
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        points_of_states::<N>(states)?.for_each(|(_, point)| self.push(point));
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let states = points::states::<N>(self.points.iter().copied(), [self.points.len()])?;
        states.iter().map(|state| ScalarValue::try_from_array(state, 0)).collect()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let answer = self.summary().and_then(|summary| summary.answer(self.measure));
        ScalarValue::try_from_array(&answers_array(self.measure, std::iter::once(answer)), 0)
    }

    fn size(&self) -> usize {
        size_of::<Self>()
            + self.points.capacity() * size_of::<Point<N>>()
            + self.front.capacity() * size_of::<S>()
    }
}
