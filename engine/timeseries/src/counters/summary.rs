//! Summaries of points in the order of time: what is kept of a run of points to answer from.
//!
//! A summary grows by the next point, or by the summary of the run that follows. It cannot take a point from
//! between two that it has seen: who has those must sort first.

use std::fmt::Debug;

use super::measure::Measure;
use super::number::{Compensated, Number, Total};
use super::points::Point;

const NANOSECONDS: f64 = 1e9;

/// What is kept of a run of points.
pub(crate) trait Summary<N: Number>: Clone + Debug + Send + Sync + 'static {
    /// Of one point.
    fn of(point: Point<N>) -> Self;

    /// Adds the next point, which is not before any that was seen.
    fn push(&mut self, point: Point<N>);

    /// Adds the run that follows.
    fn join(&mut self, later: &Self);

    /// What a measure is of it; none where it takes more points or time than there are.
    fn answer(&self, measure: Measure) -> Option<f64>;
}

/// The summary of points in order, none if there are none.
pub(crate) fn summary_of<N: Number, S: Summary<N>>(
    points: impl IntoIterator<Item = Point<N>>,
) -> Option<S> {
    let mut points = points.into_iter();
    let mut summary = S::of(points.next()?);
    points.for_each(|point| summary.push(point));
    Some(summary)
}

/// The length of time from one to another, in seconds.
fn seconds(from: i64, to: i64) -> f64 {
    nanoseconds(from, to) / NANOSECONDS
}

fn nanoseconds(from: i64, to: i64) -> f64 {
    (i128::from(to) - i128::from(from)) as f64
}

/// Ends of a run, and its steps from point to point.
#[derive(Debug, Clone)]
pub(crate) struct Steps<N: Number> {
    first: Point<N>,
    before_last: Option<Point<N>>,
    last: Point<N>,
    increase: N::Sum,
    resets: u64,
    changes: u64,
}

impl<N: Number> Steps<N> {
    fn step(&mut self, from: N, to: N) {
        add_increase::<N>(&mut self.increase, from, to);
        self.resets += u64::from(N::is_below(to, from));
        self.changes += u64::from(N::is_below(to, from) || N::is_below(from, to));
    }
}

/// A counter that fell began anew at zero.
fn add_increase<N: Number>(sum: &mut N::Sum, from: N, to: N) {
    if N::is_below(to, from) {
        sum.add(to);
    } else {
        sum.add_difference(to, from);
    }
}

impl<N: Number> Summary<N> for Steps<N> {
    fn of(point: Point<N>) -> Self {
        let increase = N::Sum::default();
        Self { first: point, before_last: None, last: point, increase, resets: 0, changes: 0 }
    }

    fn push(&mut self, point: Point<N>) {
        self.step(self.last.value, point.value);
        self.before_last = Some(self.last);
        self.last = point;
    }

    fn join(&mut self, later: &Self) {
        self.step(self.last.value, later.first.value);
        self.increase.merge(&later.increase);
        self.resets += later.resets;
        self.changes += later.changes;
        self.before_last = Some(later.before_last.unwrap_or(self.last));
        self.last = later.last;
    }

    fn answer(&self, measure: Measure) -> Option<f64> {
        match measure {
            Measure::Resets => return Some(self.resets as f64),
            Measure::Changes => return Some(self.changes as f64),
            Measure::Rate
            | Measure::Increase
            | Measure::Delta
            | Measure::Irate
            | Measure::Idelta
            | Measure::Deriv
            | Measure::AverageLinear
            | Measure::AverageLocf => {}
        }
        let before_last = self.before_last?;
        match measure {
            Measure::Rate => {
                let seconds = seconds(self.first.time, self.last.time);
                (seconds > 0.0).then(|| self.increase.rounded() / seconds)
            }
            Measure::Irate => {
                let mut increase = N::Sum::default();
                add_increase::<N>(&mut increase, before_last.value, self.last.value);
                let seconds = seconds(before_last.time, self.last.time);
                (seconds > 0.0).then(|| increase.rounded() / seconds)
            }
            Measure::Increase => Some(self.increase.rounded()),
            Measure::Delta => Some(N::difference(self.last.value, self.first.value)),
            Measure::Idelta => Some(N::difference(self.last.value, before_last.value)),
            Measure::Resets
            | Measure::Changes
            | Measure::Deriv
            | Measure::AverageLinear
            | Measure::AverageLocf => None,
        }
    }
}

/// Moments of a run about its means, from which the line of least squares comes: single points by Welford's
/// update, runs by that of Chan, Golub and `LeVeque` ("Algorithms for Computing the Sample Variance", 1983).
/// Times and values count from the first point.
#[derive(Debug, Clone)]
pub(crate) struct Slope<N: Number> {
    origin: Point<N>,
    count: f64,
    /// In seconds from the origin.
    mean_time: f64,
    mean_value: f64,
    /// Σ (time − mean)².
    spread: Compensated,
    /// Σ (time − mean) · (value − mean).
    together: Compensated,
}

impl<N: Number> Summary<N> for Slope<N> {
    fn of(point: Point<N>) -> Self {
        let (spread, together) = (Compensated::default(), Compensated::default());
        Self { origin: point, count: 1.0, mean_time: 0.0, mean_value: 0.0, spread, together }
    }

    fn push(&mut self, point: Point<N>) {
        self.count += 1.0;
        let time = seconds(self.origin.time, point.time);
        let value = N::difference(point.value, self.origin.value);
        let time_off = time - self.mean_time;
        self.mean_time += time_off / self.count;
        self.mean_value += (value - self.mean_value) / self.count;
        self.spread.add(time_off * (time - self.mean_time));
        self.together.add(time_off * (value - self.mean_value));
    }

    fn join(&mut self, later: &Self) {
        let time = seconds(self.origin.time, later.origin.time) + later.mean_time;
        let value = N::difference(later.origin.value, self.origin.value) + later.mean_value;
        let (time_off, value_off) = (time - self.mean_time, value - self.mean_value);
        let count = self.count + later.count;
        let weight = self.count * later.count / count;
        self.spread.merge(&later.spread);
        self.spread.add(time_off * time_off * weight);
        self.together.merge(&later.together);
        self.together.add(time_off * value_off * weight);
        self.mean_time += time_off * later.count / count;
        self.mean_value += value_off * later.count / count;
        self.count = count;
    }

    fn answer(&self, _measure: Measure) -> Option<f64> {
        let spread = self.spread.rounded();
        (spread > 0.0).then(|| self.together.rounded() / spread)
    }
}

/// The area under a run of points, by both ways to draw it.
#[derive(Debug, Clone)]
pub(crate) struct Area<N: Number> {
    first: Point<N>,
    last: Point<N>,
    /// Value times nanoseconds, straight from point to point.
    linear: Compensated,
    /// Value times nanoseconds, each value kept until the next.
    locf: Compensated,
    count: f64,
    sum: N::Sum,
}

impl<N: Number> Area<N> {
    fn step(&mut self, to: Point<N>) {
        let time = nanoseconds(self.last.time, to.time);
        // Infinite values of no length would be NaN.
        if time > 0.0 {
            let (from, to) = (N::to_f64(self.last.value), N::to_f64(to.value));
            self.linear.add_product(from / 2.0 + to / 2.0, time);
            self.locf.add_product(from, time);
        }
    }
}

impl<N: Number> Summary<N> for Area<N> {
    fn of(point: Point<N>) -> Self {
        let (linear, locf) = (Compensated::default(), Compensated::default());
        let mut sum = N::Sum::default();
        sum.add(point.value);
        Self { first: point, last: point, linear, locf, count: 1.0, sum }
    }

    fn push(&mut self, point: Point<N>) {
        self.step(point);
        self.count += 1.0;
        self.sum.add(point.value);
        self.last = point;
    }

    fn join(&mut self, later: &Self) {
        self.step(later.first);
        self.linear.merge(&later.linear);
        self.locf.merge(&later.locf);
        self.count += later.count;
        self.sum.merge(&later.sum);
        self.last = later.last;
    }

    fn answer(&self, measure: Measure) -> Option<f64> {
        let time = nanoseconds(self.first.time, self.last.time);
        if time <= 0.0 {
            return Some(self.sum.rounded() / self.count);
        }
        let area = if measure == Measure::AverageLocf { &self.locf } else { &self.linear };
        Some(area.rounded() / time)
    }
}
