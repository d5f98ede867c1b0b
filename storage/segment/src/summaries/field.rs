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
    fn is_nan(value: Self::Native) -> bool;
    /// By the total order: −0 is below +0.
    fn is_below(a: Self::Native, b: Self::Native) -> bool;
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
    fn add(self, value: f64) -> Self {
        let sum = self.sum + value;
        let (large, small) =
            if self.sum.abs() >= value.abs() { (self.sum, value) } else { (value, self.sum) };
        Self { sum, lost: self.lost + ((large - sum) + small) }
    }
}

impl Number for Float64Type {
    type Sum = FloatSum;
    fn is_nan(value: f64) -> bool {
        value.is_nan()
    }
    fn is_below(a: f64, b: f64) -> bool {
        a.total_cmp(&b).is_lt()
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
    fn is_nan(_: i64) -> bool {
        false
    }
    fn is_below(a: i64, b: i64) -> bool {
        a < b
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
    fn is_nan(_: u64) -> bool {
        false
    }
    fn is_below(a: u64, b: u64) -> bool {
        a < b
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
    /// Smallest and largest value that is no NaN.
    bounds: Option<(T::Native, T::Native)>,
    sum: T::Sum,
    /// Values of the first and of the last row, which may have none.
    first: Option<T::Native>,
    last: Option<T::Native>,
}

impl<T: Number> Cell<T> {
    fn add(&mut self, value: T::Native) {
        self.count += 1;
        if T::is_nan(value) {
            self.nans += 1;
            return;
        }
        self.sum = T::add(self.sum, value);
        self.bounds = Some(match self.bounds {
            None => (value, value),
            Some((min, max)) if T::is_below(value, min) => (value, max),
            Some((min, max)) if T::is_below(max, value) => (min, value),
            Some(bounds) => bounds,
        });
    }

    fn join(&mut self, next: &Self) {
        self.count += next.count;
        self.nans += next.nans;
        self.sum = T::join(self.sum, next.sum);
        self.last = next.last;
        self.bounds = match (self.bounds, next.bounds) {
            (Some((a, b)), Some((c, d))) => {
                Some((if T::is_below(c, a) { c } else { a }, if T::is_below(b, d) { d } else { b }))
            }
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
                values.values()[rows.clone()].iter().for_each(|value| cell.add(*value));
            } else {
                rows.clone().filter_map(at).for_each(|value| cell.add(value));
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
            (CellStatistic::Min, values(|cell| cell.bounds.map(|(min, _)| min))),
            (CellStatistic::Max, values(|cell| cell.bounds.map(|(_, max)| max))),
            (CellStatistic::Sum, values(|cell| cell.bounds.and_then(|_| T::total(cell.sum)))),
            (CellStatistic::First, values(|cell| cell.first)),
            (CellStatistic::Last, values(|cell| cell.last)),
        ]
    }
}
