//! [`Number`]: the types of values that points have, with sums and differences that lose nothing on the way.
//!
//! Integers are summed in 128 bits and rounded once, at the end. Doubles are summed with a compensation
//! (Neumaier, "Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen", 1974).

use std::cmp::Ordering;
use std::fmt::Debug;

use datafusion::arrow::array::{ArrowNativeTypeOp, ArrowPrimitiveType};
use datafusion::arrow::datatypes::{Float64Type, Int64Type, UInt64Type};

/// A sum that grows by values and by differences.
pub(crate) trait Total<V>: Copy + Default + Debug + Send + Sync + 'static {
    /// Adds a value.
    fn add(&mut self, value: V);

    /// Adds `later − earlier`, exactly.
    fn add_difference(&mut self, later: V, earlier: V);

    /// Adds another sum.
    fn merge(&mut self, other: &Self);

    /// The sum, rounded once.
    fn rounded(&self) -> f64;
}

/// A type of values: `DOUBLE`, `BIGINT`, `BIGINT UNSIGNED`.
pub(crate) trait Number: ArrowNativeTypeOp {
    /// Its type in Arrow.
    type Arrow: ArrowPrimitiveType<Native = Self>;

    /// What its values are summed in.
    type Sum: Total<Self>;

    /// Whether it is a value: NaN is none.
    fn is_value(value: Self) -> bool;

    /// A total order, that of numbers wherever they have one.
    fn order(a: Self, b: Self) -> Ordering;

    /// The nearest double.
    fn to_f64(value: Self) -> f64;

    /// `a − b`, rounded once.
    fn difference(a: Self, b: Self) -> f64 {
        let mut sum = Self::Sum::default();
        sum.add_difference(a, b);
        sum.rounded()
    }

    /// Whether `a` is below `b` as numbers are: −0 is not below 0.
    fn is_below(a: Self, b: Self) -> bool;
}

impl Number for f64 {
    type Arrow = Float64Type;
    type Sum = Compensated;

    fn is_value(value: f64) -> bool {
        !value.is_nan()
    }

    fn order(a: f64, b: f64) -> Ordering {
        a.total_cmp(&b)
    }

    fn to_f64(value: f64) -> f64 {
        value
    }

    fn is_below(a: f64, b: f64) -> bool {
        a < b
    }
}

impl Number for i64 {
    type Arrow = Int64Type;
    type Sum = i128;

    fn is_value(_value: i64) -> bool {
        true
    }

    fn order(a: i64, b: i64) -> Ordering {
        a.cmp(&b)
    }

    fn to_f64(value: i64) -> f64 {
        value as f64
    }

    fn is_below(a: i64, b: i64) -> bool {
        a < b
    }
}

impl Number for u64 {
    type Arrow = UInt64Type;
    type Sum = i128;

    fn is_value(_value: u64) -> bool {
        true
    }

    fn order(a: u64, b: u64) -> Ordering {
        a.cmp(&b)
    }

    fn to_f64(value: u64) -> f64 {
        value as f64
    }

    fn is_below(a: u64, b: u64) -> bool {
        a < b
    }
}

impl<V: Into<i128> + Copy> Total<V> for i128 {
    fn add(&mut self, value: V) {
        *self += value.into();
    }

    fn add_difference(&mut self, later: V, earlier: V) {
        *self += later.into() - earlier.into();
    }

    fn merge(&mut self, other: &Self) {
        *self += other;
    }

    fn rounded(&self) -> f64 {
        *self as f64
    }
}

/// A sum of doubles and of what rounding took from it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Compensated {
    sum: f64,
    lost: f64,
}

impl Total<f64> for Compensated {
    fn add(&mut self, value: f64) {
        let (sum, lost) = two_sum(self.sum, value);
        self.sum = sum;
        self.lost += lost;
    }

    fn add_difference(&mut self, later: f64, earlier: f64) {
        let (difference, lost) = two_sum(later, -earlier);
        self.add(difference);
        if difference.is_finite() {
            self.add(lost);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.add(other.sum);
        self.lost += other.lost;
    }

    fn rounded(&self) -> f64 {
        // Next to an infinity, what was lost is NaN.
        if self.sum.is_finite() { self.sum + self.lost } else { self.sum }
    }
}

impl Compensated {
    /// Adds the exact product of two doubles.
    pub(crate) fn add_product(&mut self, a: f64, b: f64) {
        let product = a * b;
        self.add(product);
        if product.is_finite() {
            self.add(a.mul_add(b, -product));
        }
    }
}

/// The rounded sum, and what rounding took from it (Knuth, TAOCP 2, 4.2.2).
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_in_sum = sum - a;
    (sum, (a - (sum - b_in_sum)) + (b - b_in_sum))
}
