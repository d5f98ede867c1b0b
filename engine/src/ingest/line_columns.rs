//! Columns that grow line by line: the decoder's builders.
//!
//! A row that fails is taken back ([`FieldColumn::truncate`]), so rows are appended only to the columns that a line
//! names, and the gaps are filled when the next value comes: a column that most lines lack costs nothing per line.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, UInt64Array};
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::util::bit_util;
use quorate_storage::FieldType;

/// Values of one field.
#[derive(Debug)]
pub(super) enum Values {
    Float(Vec<f64>),
    Integer(Vec<i64>),
    Unsigned(Vec<u64>),
    Boolean(Vec<bool>),
    Text { bytes: Vec<u8>, ends: Vec<i32> },
}

/// One field of a table under construction.
#[derive(Debug)]
pub(super) struct FieldColumn {
    /// Its name, without escapes.
    pub(super) name: String,
    /// Its name as the lines spell it, for a quick comparison.
    pub(super) raw: Box<[u8]>,
    /// Its values; rows in a gap hold zeros.
    pub(super) values: Values,
    /// Ranges of rows without a value, ascending, the last rows left out.
    gaps: Vec<(usize, usize)>,
}

impl FieldColumn {
    /// An empty column.
    pub(super) fn new(name: String, raw: &[u8], values: Values) -> Self {
        Self { name, raw: raw.into(), values, gaps: Vec::new() }
    }

    /// Rows up to and including the last one with a value.
    pub(super) fn len(&self) -> usize {
        match &self.values {
            Values::Float(v) => v.len(),
            Values::Integer(v) => v.len(),
            Values::Unsigned(v) => v.len(),
            Values::Boolean(v) => v.len(),
            Values::Text { ends, .. } => ends.len(),
        }
    }

    /// Type of the field.
    pub(super) fn field_type(&self) -> FieldType {
        match &self.values {
            Values::Float(_) => FieldType::Float64,
            Values::Integer(_) => FieldType::Int64,
            Values::Unsigned(_) => FieldType::UInt64,
            Values::Boolean(_) => FieldType::Boolean,
            Values::Text { .. } => FieldType::Utf8,
        }
    }

    /// Fills the rows up to `row` with a gap.
    #[inline]
    pub(super) fn pad(&mut self, row: usize) {
        let len = self.len();
        if len < row {
            self.gaps.push((len, row));
            self.resize(row);
        }
    }

    /// Takes back what was appended behind `rows`.
    pub(super) fn truncate(&mut self, rows: usize) {
        if self.len() > rows {
            self.resize(rows);
            // A gap that ends here led up to the value that goes.
            if let Some((start, _)) = self.gaps.pop_if(|(_, end)| *end == rows) {
                self.resize(start);
            }
        }
    }

    fn resize(&mut self, rows: usize) {
        match &mut self.values {
            Values::Float(v) => v.resize(rows, 0.0),
            Values::Integer(v) => v.resize(rows, 0),
            Values::Unsigned(v) => v.resize(rows, 0),
            Values::Boolean(v) => v.resize(rows, false),
            Values::Text { bytes, ends } => {
                let end = match ends.get(rows.wrapping_sub(1)) {
                    Some(end) => *end,
                    None if rows == 0 => 0,
                    None => ends.last().copied().unwrap_or(0),
                };
                ends.resize(rows, end);
                bytes.truncate(usize::try_from(end).expect("ends are not negative"));
            }
        }
    }

    /// The column as an array of `rows` rows.
    pub(super) fn finish(mut self, rows: usize) -> ArrayRef {
        self.pad(rows);
        let nulls = (!self.gaps.is_empty()).then(|| {
            let mut bits = vec![0xFF_u8; bit_util::ceil(rows, 8)];
            for (start, end) in &self.gaps {
                (*start..*end).for_each(|row| bit_util::unset_bit(&mut bits, row));
            }
            NullBuffer::new(BooleanBuffer::new(bits.into(), 0, rows))
        });
        match self.values {
            Values::Float(v) => Arc::new(Float64Array::new(v.into(), nulls)),
            Values::Integer(v) => Arc::new(Int64Array::new(v.into(), nulls)),
            Values::Unsigned(v) => Arc::new(UInt64Array::new(v.into(), nulls)),
            Values::Boolean(v) => Arc::new(BooleanArray::new(BooleanBuffer::from(v), nulls)),
            Values::Text { bytes, ends } => {
                let mut offsets = Vec::with_capacity(ends.len() + 1);
                offsets.push(0);
                offsets.extend_from_slice(&ends);
                let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
                Arc::new(StringArray::new(offsets, bytes.into(), nulls))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Array;

    use super::*;

    fn push(column: &mut FieldColumn, row: usize, text: &str) {
        column.pad(row);
        let Values::Text { bytes, ends } = &mut column.values else { panic!("a text column") };
        bytes.extend_from_slice(text.as_bytes());
        ends.push(i32::try_from(bytes.len()).unwrap());
    }

    #[test]
    fn a_row_taken_back_leaves_no_trace() {
        let values = Values::Text { bytes: Vec::new(), ends: Vec::new() };
        let mut column = FieldColumn::new("f".to_owned(), b"f", values);
        push(&mut column, 0, "gone");
        column.truncate(0);
        assert_eq!(column.len(), 0);
        push(&mut column, 1, "one");
        push(&mut column, 4, "gone, with the gap before it");
        column.truncate(4);
        push(&mut column, 5, "five");
        let array = column.finish(7);
        let want = StringArray::from(vec![None, Some("one"), None, None, None, Some("five"), None]);
        assert_eq!(array.to_data(), want.to_data());
    }
}
