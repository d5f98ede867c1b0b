//! The statistics of one field over cells.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveBuilder, UInt32Array};
use arrow::datatypes::{ArrowPrimitiveType, Float64Type, Int64Type, UInt64Type};

use super::CellStatistic;
use crate::FieldType;

/// A stretch of rows of a batch that lies in one cell.
#[derive(Clone, Debug)]
pub(super) struct Stretch {
    pub(super) rows: Range<usize>,
    /// Whether it begins a cell, rather than go on with the last one.
    pub(super) begins: bool,
}

/// A field's cells while a file is written.
pub(super) trait FieldCells: Debug + Send {
    /// Adds the rows of a batch.
    fn update(&mut self, values: &ArrayRef, stretches: &[Stretch]);
    /// Joins cells: `joins[i]` says whether cell `i` becomes a part of the one before it.
    fn join(&mut self, joins: &[bool]);
    /// The columns, a row for each cell.
    fn columns(&self) -> Vec<(CellStatistic, ArrayRef)>;
}

/// Cells for a field, if its type has them.
pub(super) fn cells_of(kind: FieldType) -> Option<Box<dyn FieldCells>> {
    match kind {
        FieldType::Float64 => Some(Box::new(NumberCells::<Float64Type>(Vec::new()))),
        FieldType::Int64 => Some(Box::new(NumberCells::<Int64Type>(Vec::new()))),
        FieldType::UInt64 => Some(Box::new(NumberCells::<UInt64Type>(Vec::new()))),
        FieldType::Boolean | FieldType::Utf8 | FieldType::Timestamp => None,
    }
}

/// What numbers of a type are summed up in, and how they compare.
pub(super) trait Number: ArrowPrimitiveType<Native: PartialOrd> + Debug {
    type Sum: Copy + Debug + Default + Send;
    /// A number that stands for the value, and compares by the total order: −0 is below +0.
    type Rank: Copy + Ord + Debug + Send;
    fn is_nan(value: Self::Native) -> bool;
    fn rank(value: Self::Native) -> Self::Rank;
    fn of_rank(rank: Self::Rank) -> Self::Native;
    fn add(sum: Self::Sum, value: Self::Native) -> Self::Sum;
    fn join(a: Self::Sum, b: Self::Sum) -> Self::Sum;
    /// The sum as a number of the type, if it is one.
    fn total(sum: Self::Sum) -> Option<Self::Native>;
}

/// A sum of floats and what rounding took from it: Neumaier, "Rundungsfehleranalyse einiger Verfahren zur Summation
/// endlicher Summen", 1974.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FloatSum {
    sum: f64,
    lost: f64,
}

impl FloatSum {
    /// What rounding takes is found without asking which number is the larger one: Knuth, "The Art of Computer Programming",
    /// volume 2, 4.2.2, theorem B.
    fn add(self, value: f64) -> Self {
        let sum = self.sum + value;
        let added = sum - self.sum;
        let lost = (self.sum - (sum - added)) + (value - added);
        Self { sum, lost: self.lost + lost }
    }
}

impl Number for Float64Type {
    type Sum = FloatSum;
    type Rank = i64;
    fn is_nan(value: f64) -> bool {
        value.is_nan()
    }
    /// The bits, those behind the sign turned over in negative numbers: as `f64::total_cmp` compares.
    fn rank(value: f64) -> i64 {
        let bits = value.to_bits().cast_signed();
        bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
    }
    fn of_rank(rank: i64) -> f64 {
        let bits = rank ^ ((rank >> 63).cast_unsigned() >> 1).cast_signed();
        f64::from_bits(bits.cast_unsigned())
    }
    fn add(sum: FloatSum, value: f64) -> FloatSum {
        sum.add(value)
    }
    fn join(a: FloatSum, b: FloatSum) -> FloatSum {
        let sum = a.add(b.sum);
        FloatSum { lost: sum.lost + b.lost, ..sum }
    }
    /// Infinities and sums that overflow leave no remainder that means anything: such cells have no sum.
    fn total(sum: FloatSum) -> Option<f64> {
        Some(sum.sum + sum.lost).filter(|total| total.is_finite())
    }
}

impl Number for Int64Type {
    type Sum = i128;
    type Rank = i64;
    fn is_nan(_: i64) -> bool {
        false
    }
    fn rank(value: i64) -> i64 {
        value
    }
    fn of_rank(rank: i64) -> i64 {
        rank
    }
    fn add(sum: i128, value: i64) -> i128 {
        sum + i128::from(value)
    }
    fn join(a: i128, b: i128) -> i128 {
        a + b
    }
    fn total(sum: i128) -> Option<i64> {
        i64::try_from(sum).ok()
    }
}

impl Number for UInt64Type {
    type Sum = u128;
    type Rank = u64;
    fn is_nan(_: u64) -> bool {
        false
    }
    fn rank(value: u64) -> u64 {
        value
    }
    fn of_rank(rank: u64) -> u64 {
        rank
    }
    fn add(sum: u128, value: u64) -> u128 {
        sum + u128::from(value)
    }
    fn join(a: u128, b: u128) -> u128 {
        a + b
    }
    fn total(sum: u128) -> Option<u64> {
        u64::try_from(sum).ok()
    }
}

/// The statistics of a cell.
#[derive(Debug)]
struct Cell<T: Number> {
    count: u32,
    nans: u32,
    /// Ranks of the smallest and the largest value that is no NaN.
    bounds: Option<(T::Rank, T::Rank)>,
    sum: T::Sum,
    /// Values of the first and of the last row, which may have none.
    first: Option<T::Native>,
    last: Option<T::Native>,
}

impl<T: Number> Cell<T> {
    fn add(&mut self, values: impl Iterator<Item = T::Native>) {
        let (mut count, mut nans) = (0, 0);
        let (mut sum, mut bounds) = (self.sum, self.bounds);
        for value in values {
            count += 1;
            if T::is_nan(value) {
                nans += 1;
                continue;
            }
            sum = T::add(sum, value);
            let rank = T::rank(value);
            let (min, max) = bounds.unwrap_or((rank, rank));
            bounds = Some((min.min(rank), max.max(rank)));
        }
        self.count += count;
        self.nans += nans;
        (self.sum, self.bounds) = (sum, bounds);
    }

    fn join(&mut self, next: &Self) {
        self.count += next.count;
        self.nans += next.nans;
        self.sum = T::join(self.sum, next.sum);
        self.last = next.last;
        self.bounds = match (self.bounds, next.bounds) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (a, b) => a.or(b),
        };
    }
}

/// Cells of a field of numbers.
#[derive(Debug)]
struct NumberCells<T: Number>(Vec<Cell<T>>);

impl<T: Number> FieldCells for NumberCells<T>
where
    T::Native: Send,
{
    fn update(&mut self, values: &ArrayRef, stretches: &[Stretch]) {
        let values = values.as_primitive::<T>();
        let at = |row: usize| values.is_valid(row).then(|| values.value(row));
        for Stretch { rows, begins } in stretches {
            if *begins {
                self.0.push(Cell {
                    count: 0,
                    nans: 0,
                    bounds: None,
                    sum: T::Sum::default(),
                    first: at(rows.start),
                    last: None,
                });
            }
            let cell = self.0.last_mut().expect("a stretch begins a cell or goes on with one");
            if values.null_count() == 0 {
                cell.add(values.values()[rows.clone()].iter().copied());
            } else {
                cell.add(rows.clone().filter_map(at));
            }
            cell.last = at(rows.end - 1);
        }
    }

    fn join(&mut self, joins: &[bool]) {
        let mut joined: Vec<Cell<T>> = Vec::with_capacity(self.0.len() / 2);
        for (cell, joins) in std::mem::take(&mut self.0).into_iter().zip(joins) {
            match joined.last_mut() {
                Some(last) if *joins => last.join(&cell),
                _ => joined.push(cell),
            }
        }
        self.0 = joined;
    }

    fn columns(&self) -> Vec<(CellStatistic, ArrayRef)> {
        let counts = |of: fn(&Cell<T>) -> u32| -> ArrayRef {
            Arc::new(UInt32Array::from_iter_values(self.0.iter().map(of)))
        };
        let values = |of: fn(&Cell<T>) -> Option<T::Native>| -> ArrayRef {
            let mut values = PrimitiveBuilder::<T>::with_capacity(self.0.len());
            self.0.iter().for_each(|cell| values.append_option(of(cell)));
            Arc::new(values.finish())
        };
        vec![
            (CellStatistic::Count, counts(|cell| cell.count)),
            (CellStatistic::NanCount, counts(|cell| cell.nans)),
            (CellStatistic::Min, values(|cell| cell.bounds.map(|(min, _)| T::of_rank(min)))),
            (CellStatistic::Max, values(|cell| cell.bounds.map(|(_, max)| T::of_rank(max)))),
            (CellStatistic::Sum, values(|cell| cell.bounds.and_then(|_| T::total(cell.sum)))),
            (CellStatistic::First, values(|cell| cell.first)),
            (CellStatistic::Last, values(|cell| cell.last)),
        ]
    }
}
