//! The content hash and the statistics of a segment's rows: what every writer version computes alike.
//!
//! The content hash is BLAKE3 over hashes of streams, one per kind of thing, so that neither the encoding, nor the
//! cut into row groups, nor the pieces in which rows were pushed show in it:
//!
//! ```text
//! series   per series: u32 key length, key, u64 number of rows
//! time     per row: i64
//! runs     per field, per longest stretch of rows that have a value: u64 first row, u64 number of rows
//! values   per field, per value: its 8 bytes; a boolean's 1 byte; for text u32 length and bytes
//! cleared  per row with cleared fields: u64 row, u32 length, the column ids
//! content  "quorate rows 1", u64 table, u64 rows, hash(series), hash(time),
//!          per field with a value, ascending: u32 column id, u8 type, hash(runs), hash(values),
//!          and, if any row has cleared fields: u32::MAX, hash(cleared)
//! ```
//!
//! All integers are little-endian. A field without any value leaves no trace: the rows are the same rows with it and
//! without it.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray};
use arrow::datatypes::{Float64Type, Int64Type, TimestampNanosecondType, ToByteSlice, UInt64Type};

use crate::rows::Batch;
use crate::{ColumnKind, FieldStatistics, FieldType, RowSchema, SeriesKey, TableId};

const DOMAIN: &[u8] = b"quorate rows 1";

// The streams are hashed from memory as it is.
const _: () = assert!(cfg!(target_endian = "little"));

/// What was computed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Content {
    pub(crate) hash: [u8; 32],
    pub(crate) fields: Vec<FieldStatistics>,
}

/// Computes [`Content`] from batches in order.
#[derive(Debug)]
pub(crate) struct ContentHasher {
    table: TableId,
    rows: u64,
    series: blake3::Hasher,
    /// The series that is being counted, and its rows so far.
    open_series: Option<(SeriesKey, u64)>,
    time: blake3::Hasher,
    fields: Vec<FieldHasher>,
    cleared: blake3::Hasher,
    any_cleared: bool,
}

impl ContentHasher {
    pub(crate) fn new(schema: &RowSchema) -> Self {
        Self {
            table: schema.table,
            rows: 0,
            series: blake3::Hasher::new(),
            open_series: None,
            time: blake3::Hasher::new(),
            fields: schema
                .fields
                .iter()
                .map(|field| match field.kind {
                    ColumnKind::Field(kind) => FieldHasher::new(field.id, kind),
                    ColumnKind::Time | ColumnKind::Tag => {
                        panic!("column {} is not a field", field.id.0)
                    }
                })
                .collect(),
            cleared: blake3::Hasher::new(),
            any_cleared: false,
        }
    }

    pub(crate) fn update(&mut self, batch: &Batch) {
        for run in &batch.runs {
            match &mut self.open_series {
                Some((key, rows)) if *key == run.key => *rows += run.rows as u64,
                _ => {
                    self.end_series();
                    self.open_series = Some((run.key.clone(), run.rows as u64));
                }
            }
        }
        self.time.update(batch.time.values().inner().as_slice());
        for (hasher, array) in self.fields.iter_mut().zip(&batch.fields) {
            hasher.update(array, self.rows);
        }
        if let Some(cleared) = &batch.cleared {
            self.update_cleared(cleared);
        }
        self.rows += batch.rows() as u64;
    }

    pub(crate) fn finish(mut self) -> Content {
        self.end_series();
        let mut all = blake3::Hasher::new();
        all.update(DOMAIN);
        all.update(&self.table.0.to_le_bytes());
        all.update(&self.rows.to_le_bytes());
        all.update(self.series.finalize().as_bytes());
        all.update(self.time.finalize().as_bytes());
        let mut fields = Vec::with_capacity(self.fields.len());
        for field in self.fields {
            fields.push(field.finish(&mut all));
        }
        if self.any_cleared {
            all.update(&u32::MAX.to_le_bytes());
            all.update(self.cleared.finalize().as_bytes());
        }
        Content { hash: *all.finalize().as_bytes(), fields }
    }

    fn end_series(&mut self) {
        if let Some((key, rows)) = self.open_series.take() {
            self.series.update(&length_le(key.as_bytes().len()));
            self.series.update(key.as_bytes());
            self.series.update(&rows.to_le_bytes());
        }
    }

    fn update_cleared(&mut self, cleared: &BinaryArray) {
        for (row, ids) in cleared.iter().enumerate() {
            if let Some(ids) = ids {
                self.any_cleared = true;
                self.cleared.update(&(self.rows + row as u64).to_le_bytes());
                self.cleared.update(&length_le(ids.len()));
                self.cleared.update(ids);
            }
        }
    }
}

/// The streams and statistics of one field.
#[derive(Debug)]
struct FieldHasher {
    kind: FieldType,
    statistics: FieldStatistics,
    /// Smallest and largest value, mapped to integers that order alike.
    range: Option<(i64, i64)>,
    runs: blake3::Hasher,
    values: blake3::Hasher,
    /// The stretch of rows with values that may go on.
    open_run: Range<u64>,
}

impl FieldHasher {
    fn new(column: crate::ColumnId, kind: FieldType) -> Self {
        Self {
            kind,
            statistics: FieldStatistics {
                column,
                count: 0,
                nan_count: 0,
                min_bits: None,
                max_bits: None,
            },
            range: None,
            runs: blake3::Hasher::new(),
            values: blake3::Hasher::new(),
            open_run: 0..0,
        }
    }

    fn update(&mut self, array: &ArrayRef, first_row: u64) {
        match array.nulls().filter(|nulls| nulls.null_count() > 0) {
            None => self.update_run(array, 0..array.len(), first_row),
            Some(nulls) => {
                for (start, end) in nulls.valid_slices() {
                    self.update_run(array, start..end, first_row);
                }
            }
        }
    }

    /// Rows `run` of `array` all have a value.
    fn update_run(&mut self, array: &ArrayRef, run: Range<usize>, first_row: u64) {
        if run.is_empty() {
            return;
        }
        self.statistics.count += run.len() as u64;
        let rows = first_row + run.start as u64..first_row + run.end as u64;
        if self.open_run.end == rows.start && !self.open_run.is_empty() {
            self.open_run.end = rows.end;
        } else {
            self.end_run();
            self.open_run = rows;
        }
        match self.kind {
            FieldType::Float64 => {
                let values = &array.as_primitive::<Float64Type>().values()[run];
                self.values.update(values.to_byte_slice());
                self.statistics.nan_count += values.iter().filter(|v| v.is_nan()).count() as u64;
                self.widen(values.iter().map(|v| total_order(v.to_bits().cast_signed())));
            }
            FieldType::Int64 => {
                let values = &array.as_primitive::<Int64Type>().values()[run];
                self.values.update(values.to_byte_slice());
                self.widen(values.iter().copied());
            }
            FieldType::UInt64 => {
                let values = &array.as_primitive::<UInt64Type>().values()[run];
                self.values.update(values.to_byte_slice());
                self.widen(values.iter().map(|v| (v ^ SIGN).cast_signed()));
            }
            FieldType::Timestamp => {
                let values = &array.as_primitive::<TimestampNanosecondType>().values()[run];
                self.values.update(values.to_byte_slice());
                self.widen(values.iter().copied());
            }
            FieldType::Boolean => {
                let array = array.as_boolean();
                let values: Vec<u8> = run.map(|row| u8::from(array.value(row))).collect();
                self.values.update(&values);
                self.widen(values.iter().map(|&v| i64::from(v)));
            }
            FieldType::Utf8 => {
                let array = array.as_string_view();
                let mut bytes = Vec::new();
                for row in run {
                    let text = array.value(row);
                    bytes.extend_from_slice(&length_le(text.len()));
                    bytes.extend_from_slice(text.as_bytes());
                }
                self.values.update(&bytes);
            }
        }
    }

    fn widen(&mut self, values: impl Iterator<Item = i64>) {
        let (mut min, mut max) = self.range.unwrap_or((i64::MAX, i64::MIN));
        for value in values {
            min = min.min(value);
            max = max.max(value);
        }
        self.range = Some((min, max));
    }

    fn end_run(&mut self) {
        if !self.open_run.is_empty() {
            self.runs.update(&self.open_run.start.to_le_bytes());
            self.runs.update(&(self.open_run.end - self.open_run.start).to_le_bytes());
        }
    }

    fn finish(mut self, all: &mut blake3::Hasher) -> FieldStatistics {
        self.end_run();
        if self.statistics.count > 0 {
            all.update(&self.statistics.column.0.to_le_bytes());
            all.update(&[type_code(self.kind)]);
            all.update(self.runs.finalize().as_bytes());
            all.update(self.values.finalize().as_bytes());
        }
        if self.statistics.nan_count == 0
            && let Some((min, max)) = self.range
        {
            self.statistics.min_bits = Some(self.bits(min));
            self.statistics.max_bits = Some(self.bits(max));
        }
        self.statistics
    }

    /// The bits of the value that was mapped to this integer by [`FieldHasher::update_run`].
    fn bits(&self, ordered: i64) -> u64 {
        match self.kind {
            FieldType::UInt64 => ordered.cast_unsigned() ^ SIGN,
            FieldType::Float64 => total_order(ordered).cast_unsigned(),
            FieldType::Int64 | FieldType::Timestamp | FieldType::Boolean | FieldType::Utf8 => {
                ordered.cast_unsigned()
            }
        }
    }
}

const SIGN: u64 = 1 << 63;

/// Maps the bits of a double to an integer in IEEE 754's total order; its own inverse.
fn total_order(bits: i64) -> i64 {
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

fn type_code(kind: FieldType) -> u8 {
    match kind {
        FieldType::Float64 => 1,
        FieldType::Int64 => 2,
        FieldType::UInt64 => 3,
        FieldType::Boolean => 4,
        FieldType::Utf8 => 5,
        FieldType::Timestamp => 6,
    }
}

fn length_le(len: usize) -> [u8; 4] {
    u32::try_from(len).expect("keys and values are below 4 GiB").to_le_bytes()
}
