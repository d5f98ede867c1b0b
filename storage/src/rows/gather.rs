//! Copies rows of several blocks into one: the only place that knows how each type of field is copied.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BinaryBuilder, BooleanArray,
    BooleanBufferBuilder, PrimitiveArray, StringViewBuilder, TimestampNanosecondArray,
};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, Float64Type, Int64Type, TimeUnit, TimestampNanosecondType, UInt64Type,
};

use super::{Block, Layout, Picks};
use crate::FieldType;

/// Consecutive rows of one of several sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    /// Which source.
    pub(crate) source: u32,
    /// First row.
    pub(crate) start: u32,
    /// Number of rows.
    pub(crate) len: u32,
}

impl Slice {
    /// Its rows.
    pub(crate) fn range(self) -> std::ops::Range<usize> {
        self.start as usize..(self.start + self.len) as usize
    }
}

/// Arrow's type of a field inside the store.
pub(crate) fn arrow_type(kind: FieldType) -> DataType {
    match kind {
        FieldType::Float64 => DataType::Float64,
        FieldType::Int64 => DataType::Int64,
        FieldType::UInt64 => DataType::UInt64,
        FieldType::Boolean => DataType::Boolean,
        FieldType::Utf8 => DataType::Utf8View,
        FieldType::Timestamp => timestamp_type(),
    }
}

/// `Timestamp(Nanosecond, "UTC")`.
pub(crate) fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

/// Gives times their zone.
pub(crate) fn utc(times: TimestampNanosecondArray) -> TimestampNanosecondArray {
    times.with_timezone("UTC")
}

/// Copies the picked rows of the sources, folding where several rows make one. `keep_cleared` says whether marks of
/// cleared fields are still needed.
pub(crate) fn gather_block(
    sources: &[&Block],
    layout: &Layout,
    picks: &Picks,
    keep_cleared: bool,
) -> Block {
    let fields = layout.iter().enumerate().map(|(position, (id, kind))| {
        let arrays: Vec<_> = sources.iter().map(|b| b.fields[position].as_ref()).collect();
        match picks.patched(sources, position, *id) {
            None => gather_field(*kind, &arrays, picks.slices(), picks.rows()),
            Some(slices) => gather_field(*kind, &arrays, &slices, picks.rows()),
        }
    });
    Block {
        time: gather_times(sources, picks.slices(), picks.rows()),
        fields: fields.collect(),
        cleared: if keep_cleared { gather_cleared(sources, layout, picks) } else { None },
    }
}

/// Copies times.
pub(crate) fn gather_times(sources: &[&Block], slices: &[Slice], rows: usize) -> ScalarBuffer<i64> {
    if let [only] = slices {
        let times = &sources[only.source as usize].time;
        return times.slice(only.start as usize, only.len as usize);
    }
    let mut times = Vec::with_capacity(rows);
    for slice in slices {
        times.extend_from_slice(&sources[slice.source as usize].time[slice.range()]);
    }
    times.into()
}

/// Copies one field. `None` stands for a source without the field, and for a result that is null throughout.
pub(crate) fn gather_field(
    kind: FieldType,
    sources: &[Option<&ArrayRef>],
    slices: &[Slice],
    rows: usize,
) -> Option<ArrayRef> {
    if let [only] = slices {
        let array = sources[only.source as usize]?;
        return Some(array.slice(only.start as usize, only.len as usize));
    }
    if slices.iter().all(|slice| sources[slice.source as usize].is_none()) {
        return None;
    }
    Some(match kind {
        FieldType::Float64 => Arc::new(gather_primitive::<Float64Type>(sources, slices, rows)),
        FieldType::Int64 => Arc::new(gather_primitive::<Int64Type>(sources, slices, rows)),
        FieldType::UInt64 => Arc::new(gather_primitive::<UInt64Type>(sources, slices, rows)),
        FieldType::Timestamp => {
            Arc::new(utc(gather_primitive::<TimestampNanosecondType>(sources, slices, rows)))
        }
        FieldType::Boolean => Arc::new(gather_boolean(sources, slices, rows)),
        FieldType::Utf8 => gather_text(sources, slices, rows),
    })
}

fn gather_primitive<T: ArrowPrimitiveType>(
    sources: &[Option<&ArrayRef>],
    slices: &[Slice],
    rows: usize,
) -> PrimitiveArray<T> {
    let arrays: Vec<_> = sources.iter().map(|s| s.map(AsArray::as_primitive::<T>)).collect();
    let mut values: Vec<T::Native> = Vec::with_capacity(rows);
    for slice in slices {
        match arrays[slice.source as usize] {
            Some(array) if slice.len == 1 => values.push(array.values()[slice.start as usize]),
            Some(array) => values.extend_from_slice(&array.values()[slice.range()]),
            None => values.resize(values.len() + slice.len as usize, T::Native::default()),
        }
    }
    PrimitiveArray::new(values.into(), gather_nulls(sources, slices, rows))
}

fn gather_boolean(sources: &[Option<&ArrayRef>], slices: &[Slice], rows: usize) -> BooleanArray {
    let mut values = BooleanBufferBuilder::new(rows);
    for slice in slices {
        match sources[slice.source as usize] {
            Some(array) => {
                let bits = array.as_boolean().values();
                let at = bits.offset() + slice.start as usize;
                values.append_packed_range(at..at + slice.len as usize, bits.values());
            }
            None => values.append_n(slice.len as usize, false),
        }
    }
    BooleanArray::new(values.finish(), gather_nulls(sources, slices, rows))
}

/// Copies the texts themselves: views would keep the blocks of all merged sources alive.
fn gather_text(sources: &[Option<&ArrayRef>], slices: &[Slice], rows: usize) -> ArrayRef {
    let arrays: Vec<_> = sources.iter().map(|s| s.map(AsArray::as_string_view)).collect();
    let mut texts = StringViewBuilder::with_capacity(rows);
    for slice in slices {
        for row in slice.range() {
            match arrays[slice.source as usize] {
                Some(array) if array.is_valid(row) => texts.append_value(array.value(row)),
                Some(_) | None => texts.append_null(),
            }
        }
    }
    Arc::new(texts.finish())
}

fn gather_nulls(
    sources: &[Option<&ArrayRef>],
    slices: &[Slice],
    rows: usize,
) -> Option<NullBuffer> {
    let has_nulls = |s: Option<&ArrayRef>| s.is_none_or(|array| array.null_count() > 0);
    if !sources.iter().any(|s| has_nulls(*s)) {
        return None;
    }
    let nulls: Vec<_> = sources.iter().map(|s| s.and_then(|array| array.nulls())).collect();
    let mut valid = BooleanBufferBuilder::new(rows);
    for slice in slices {
        let source = slice.source as usize;
        match (sources[source], nulls[source]) {
            (None, _) => valid.append_n(slice.len as usize, false),
            (Some(_), None) => valid.append_n(slice.len as usize, true),
            (Some(_), Some(bits)) => {
                let bits = bits.inner();
                let at = bits.offset() + slice.start as usize;
                valid.append_packed_range(at..at + slice.len as usize, bits.values());
            }
        }
    }
    Some(NullBuffer::new(valid.finish())).filter(|nulls| nulls.null_count() > 0)
}

fn gather_cleared(sources: &[&Block], layout: &Layout, picks: &Picks) -> Option<BinaryArray> {
    if sources.iter().all(|block| block.cleared.is_none()) {
        return None;
    }
    let mut marks = BinaryBuilder::with_capacity(picks.rows(), picks.rows() * 4);
    let mut groups = picks.groups().peekable();
    let mut out = 0;
    for slice in picks.slices() {
        for row in slice.range() {
            if let Some((_, candidates)) = groups.next_if(|(at, _)| *at == out) {
                let ids = Picks::cleared_by(sources, layout, candidates);
                if ids.is_empty() { marks.append_null() } else { marks.append_value(ids) }
            } else {
                match &sources[slice.source as usize].cleared {
                    Some(array) if array.is_valid(row) => marks.append_value(array.value(row)),
                    Some(_) | None => marks.append_null(),
                }
            }
            out += 1;
        }
    }
    Some(marks.finish()).filter(|marks| marks.null_count() < marks.len())
}
