//! [`Point`]s as they come in batches and lie in states of aggregates.
//!
//! A state is two lists, times and values. It keeps every point: those of another state may lie between them.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListArray, PrimitiveArray,
};
use datafusion::arrow::buffer::{OffsetBuffer, ScalarBuffer};
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, FieldRef, Int64Type, TimestampNanosecondType,
};
use datafusion::common::exec_err;
use datafusion::error::Result;

use super::number::Number;

/// A value and its time, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point<V> {
    /// When.
    pub(crate) time: i64,
    /// What.
    pub(crate) value: V,
}

/// The order of points: by time, and at one time by value.
pub(crate) fn order<N: Number>(a: &Point<N>, b: &Point<N>) -> Ordering {
    a.time.cmp(&b.time).then_with(|| N::order(a.value, b.value))
}

/// The points of the columns `(value, time)`, by their rows: those without value or time are none.
pub(crate) fn points_of<'a, N: Number>(
    values: &'a ArrayRef,
    times: &'a ArrayRef,
) -> impl Iterator<Item = Option<Point<N>>> + 'a {
    let values = values.as_primitive::<N::Arrow>().iter();
    let times = times.as_primitive::<TimestampNanosecondType>().iter();
    values.zip(times).map(|(value, time)| {
        let value = value.filter(|value| N::is_value(*value))?;
        Some(Point { time: time?, value })
    })
}

/// The points of states, each with the row of the state.
pub(crate) fn points_of_states<N: Number>(
    states: &[ArrayRef],
) -> Result<impl Iterator<Item = (usize, Point<N>)>> {
    let [times, values] = states else {
        return exec_err!("a state of points has two columns, not {}", states.len());
    };
    let (times, values) = (times.as_list::<i32>(), values.as_list::<i32>());
    Ok((0..times.len()).flat_map(move |row| {
        let (times, values) = (times.value(row), values.value(row));
        let (times, values) =
            (times.as_primitive::<Int64Type>().clone(), values.as_primitive::<N::Arrow>().clone());
        (0..times.len()).map(move |i| (row, Point { time: times.value(i), value: values.value(i) }))
    }))
}

/// The columns of a state.
pub(crate) fn state_fields<N: Number>(name: &str) -> Vec<FieldRef> {
    let column = |part: &str, item: DataType| {
        let list = DataType::List(Arc::new(Field::new_list_field(item, false)));
        Arc::new(Field::new(format!("{name}[{part}]"), list, true))
    };
    vec![column("times", DataType::Int64), column("values", N::Arrow::DATA_TYPE)]
}

/// States, of as many points each as told, from the points of all of them.
pub(crate) fn states<N: Number>(
    points: impl Iterator<Item = Point<N>>,
    lengths: impl IntoIterator<Item = usize>,
) -> Result<Vec<ArrayRef>> {
    let (times, values): (Vec<i64>, Vec<N>) = points.map(|p| (p.time, p.value)).unzip();
    if i32::try_from(times.len()).is_err() {
        return exec_err!("an aggregate holds more than {} points", i32::MAX);
    }
    let offsets: OffsetBuffer<i32> = OffsetBuffer::from_lengths(lengths);
    let list = |items: ArrayRef, offsets: &OffsetBuffer<i32>| {
        let field = Arc::new(Field::new_list_field(items.data_type().clone(), false));
        Arc::new(ListArray::new(field, offsets.clone(), items, None)) as ArrayRef
    };
    let times = Int64Array::new(ScalarBuffer::from(times), None);
    let values = PrimitiveArray::<N::Arrow>::new(ScalarBuffer::from(values), None);
    Ok(vec![list(Arc::new(times), &offsets), list(Arc::new(values), &offsets)])
}

/// A point and the group it belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<V> {
    pub(crate) group: usize,
    pub(crate) point: Point<V>,
}

/// The points of many groups, in one vector.
#[derive(Debug)]
pub(crate) struct GroupedPoints<N: Number> {
    entries: Vec<Entry<N>>,
    groups: usize,
    /// Whether they lie by group, and in it by time.
    ordered: bool,
}

impl<N: Number> GroupedPoints<N> {
    /// Of no groups.
    pub(crate) fn new() -> Self {
        Self { entries: Vec::new(), groups: 0, ordered: true }
    }

    /// Knows of as many groups.
    pub(crate) fn grow(&mut self, groups: usize) {
        self.groups = self.groups.max(groups);
    }

    /// Adds a point to a group.
    pub(crate) fn push(&mut self, group: usize, point: Point<N>) {
        let entry = Entry { group, point };
        if let Some(last) = self.entries.last() {
            self.ordered = self.ordered && entry_order::<N>(last, &entry) != Ordering::Greater;
        }
        self.entries.push(entry);
    }

    /// Adds the points of batches of rows.
    pub(crate) fn push_rows(
        &mut self,
        points: impl Iterator<Item = Option<Point<N>>>,
        groups: &[usize],
        filter: Option<&BooleanArray>,
    ) {
        for (row, (point, group)) in points.zip(groups).enumerate() {
            let wanted = filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            if let (Some(point), true) = (point, wanted) {
                self.push(*group, point);
            }
        }
    }

    /// Takes out the first groups, or all, in order; with how many they are. The groups that are left move up.
    pub(crate) fn take(&mut self, first: Option<usize>) -> (Vec<Entry<N>>, usize) {
        if !self.ordered {
            self.entries.sort_unstable_by(entry_order::<N>);
            self.ordered = true;
        }
        let Some(groups) = first else {
            return (std::mem::take(&mut self.entries), std::mem::take(&mut self.groups));
        };
        let end = self.entries.partition_point(|entry| entry.group < groups);
        let rest = self.entries.split_off(end);
        let taken = std::mem::replace(&mut self.entries, rest);
        self.entries.iter_mut().for_each(|entry| entry.group -= groups);
        self.groups -= groups;
        if self.entries.is_empty() {
            self.ordered = true;
        }
        (taken, groups)
    }

    /// Bytes that it holds.
    pub(crate) fn size(&self) -> usize {
        self.entries.capacity() * size_of::<Entry<N>>()
    }
}

fn entry_order<N: Number>(a: &Entry<N>, b: &Entry<N>) -> Ordering {
    a.group.cmp(&b.group).then_with(|| order::<N>(&a.point, &b.point))
}

/// The entries of each of so many groups, empty ones included.
pub(crate) fn by_group<V>(
    entries: &[Entry<V>],
    groups: usize,
) -> impl Iterator<Item = &[Entry<V>]> {
    let mut rest = entries;
    (0..groups).map(move |group| {
        let length = rest.iter().take_while(|entry| entry.group == group).count();
        let (these, others) = rest.split_at(length);
        rest = others;
        these
    })
}
