//! Rows of an Arrow batch by identity: series told apart, values widened exactly, rows that do not fit left out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringViewArray,
    TimestampNanosecondArray, UInt32Array, UInt64Array,
};
use arrow::compute::{cast, filter, is_null};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, UInt64Type};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use quorate_storage::batch::{Nulls, RowBatch};
use quorate_storage::catalog::Table;
use quorate_storage::{ColumnId, ColumnKind, FieldType, SeriesKey};

use super::batch_plan::{BatchPlan, PlannedColumn};
use super::hash::BytesHash;
use crate::{Error, ErrorKind};

/// Bytes of values after which the rows of a batch are cut into another chunk.
const CHUNK_BYTES: usize = 8 << 20;

/// Rows of a batch, converted, and those that could not be.
#[derive(Debug)]
pub(super) struct ConvertedRows {
    /// What can be stored, in chunks.
    pub(super) chunks: Vec<RowBatch>,
    /// Row number within the batch, and why it is left out.
    pub(super) rejected: BTreeMap<usize, String>,
}

/// Columns of a batch, converted row by row.
struct Columns {
    time: Int64Array,
    /// Position in the series key, and the values.
    tags: Vec<(usize, StringViewArray)>,
    fields: Vec<(ColumnId, ArrayRef)>,
}

/// Converts a batch. The table has all columns of the plan.
pub(super) fn convert(
    batch: &RecordBatch,
    plan: &BatchPlan,
    table: &Table,
    nulls: Nulls,
) -> Result<ConvertedRows, Error> {
    let mut rejected = BTreeMap::new();
    let mut columns =
        Columns { time: Int64Array::from(Vec::<i64>::new()), tags: Vec::new(), fields: Vec::new() };
    for planned in &plan.columns {
        let array = batch.column(planned.index);
        let column = table.column(&planned.name).filter(|c| c.kind == planned.kind);
        let column = column.ok_or_else(|| {
            let what = format!(
                "column {:?} of table {:?} changed meanwhile; retry",
                planned.name, table.name
            );
            Error::request(ErrorKind::Conflict, what)
        })?;
        match planned.kind {
            ColumnKind::Time => {
                columns.time = nanoseconds(array, &planned.name, &mut rejected)?;
                let nulls = columns.time.nulls().into_iter().flat_map(|n| {
                    n.iter().enumerate().filter(|(_, valid)| !valid).map(|(row, _)| row)
                });
                for row in nulls {
                    rejected.entry(row).or_insert_with(|| "the time is null".to_owned());
                }
            }
            ColumnKind::Tag => {
                let position = table.tags().position(|t| t.id == column.id);
                let position = position.expect("the column is a tag of the table");
                let text = cast(&unpacked(array)?, &DataType::Utf8View).map_err(refused)?;
                columns.tags.push((position, text.as_string_view().clone()));
            }
            ColumnKind::Field(want) => {
                columns.fields.push((column.id, values(array, planned, want, &mut rejected)?));
            }
        }
    }
    columns.tags.sort_by_key(|(position, _)| *position);
    columns.fields.sort_by_key(|(id, _)| *id);
    if !rejected.is_empty() {
        columns.leave_out(batch.num_rows(), &rejected)?;
    }
    Ok(ConvertedRows { chunks: columns.chunks(nulls), rejected })
}

impl Columns {
    fn leave_out(&mut self, rows: usize, rejected: &BTreeMap<usize, String>) -> Result<(), Error> {
        let keep: BooleanArray = (0..rows).map(|row| Some(!rejected.contains_key(&row))).collect();
        self.time = filter(&self.time, &keep).map_err(refused)?.as_primitive().clone();
        for (_, tag) in &mut self.tags {
            *tag = filter(tag, &keep).map_err(refused)?.as_string_view().clone();
        }
        for (_, field) in &mut self.fields {
            *field = filter(field, &keep).map_err(refused)?;
        }
        Ok(())
    }

    fn chunks(&self, nulls: Nulls) -> Vec<RowBatch> {
        let rows = self.time.len();
        let bytes: usize = self.fields.iter().map(|(_, f)| value_bytes(f)).sum();
        let per_row = (bytes / rows.max(1)).max(8) + 12;
        let rows_max = (CHUNK_BYTES / per_row).max(1_024);
        let starts = (0..rows).step_by(rows_max);
        starts.map(|start| self.chunk(start, rows_max.min(rows - start), nulls)).collect()
    }

    fn chunk(&self, start: usize, rows: usize, nulls: Nulls) -> RowBatch {
        let tags: Vec<(usize, StringViewArray)> =
            self.tags.iter().map(|(position, tag)| (*position, tag.slice(start, rows))).collect();
        let (series, series_of_row) = series(&tags, rows);
        let time = self.time.slice(start, rows);
        let time = TimestampNanosecondArray::new(time.values().clone(), None).with_timezone("UTC");
        RowBatch {
            series,
            series_of_row: UInt32Array::from(series_of_row),
            time: Arc::new(time),
            fields: self.fields.iter().map(|(id, f)| (*id, f.slice(start, rows))).collect(),
            nulls,
        }
    }
}

fn value_bytes(field: &ArrayRef) -> usize {
    match field.as_string_opt::<i32>() {
        Some(text) => {
            let offsets = text.value_offsets();
            usize::try_from(offsets[offsets.len() - 1] - offsets[0]).expect("offsets ascend")
        }
        None => field.len() * 8,
    }
}

/// Tells the series of a chunk apart: one look-up per row, none where the row before has the same tags.
fn series(tags: &[(usize, StringViewArray)], rows: usize) -> (Vec<SeriesKey>, Vec<u32>) {
    let mut numbers: HashMap<Vec<u8>, u32, BytesHash> = HashMap::default();
    let mut series = Vec::new();
    let mut of_row = Vec::with_capacity(rows);
    let mut scratch = Vec::new();
    let mut values = vec![None; tags.iter().map(|(position, _)| position + 1).max().unwrap_or(0)];
    for row in 0..rows {
        if row > 0 && tags.iter().all(|(_, tag)| same(tag, row - 1, row)) {
            of_row.push(of_row[row - 1]);
            continue;
        }
        scratch.clear();
        for (position, tag) in tags {
            let value = tag.is_valid(row).then(|| tag.value(row)).filter(|v| !v.is_empty());
            values[*position] = value;
            let value = value.unwrap_or_default();
            scratch.extend_from_slice(&(value.len() as u64).to_le_bytes());
            scratch.extend_from_slice(value.as_bytes());
        }
        let number = if let Some(number) = numbers.get(scratch.as_slice()) {
            *number
        } else {
            let number = u32::try_from(series.len()).expect("a chunk has fewer than 2^32 rows");
            series.push(SeriesKey::encode(values.iter().copied()));
            numbers.insert(scratch.clone(), number);
            number
        };
        of_row.push(number);
    }
    (series, of_row)
}

/// Whether two values are the same bytes of the same buffer. May say no for equal values.
fn same(tag: &StringViewArray, a: usize, b: usize) -> bool {
    tag.is_valid(a) == tag.is_valid(b) && tag.views()[a] == tag.views()[b]
}

/// A dictionary's values row by row; other arrays as they are.
fn unpacked(array: &ArrayRef) -> Result<ArrayRef, Error> {
    match array.data_type() {
        DataType::Dictionary(_, values) => cast(array, values).map_err(refused),
        _ => Ok(Arc::clone(array)),
    }
}

/// The values of a field in its type. Rows whose value does not fit are rejected.
fn values(
    array: &ArrayRef,
    planned: &PlannedColumn,
    want: FieldType,
    rejected: &mut BTreeMap<usize, String>,
) -> Result<ArrayRef, Error> {
    let array = unpacked(array)?;
    let name = &planned.name;
    let converted: ArrayRef = match want {
        FieldType::Timestamp => {
            let nanos = nanoseconds(&array, name, rejected)?;
            let (_, values, nulls) = nanos.into_parts();
            Arc::new(TimestampNanosecondArray::new(values, nulls).with_timezone("UTC"))
        }
        FieldType::Boolean => cast(&array, &DataType::Boolean).map_err(refused)?,
        FieldType::Utf8 => cast(&array, &DataType::Utf8).map_err(refused)?,
        FieldType::Int64 => cast(&array, &DataType::Int64).map_err(refused)?,
        FieldType::UInt64 => cast(&array, &DataType::UInt64).map_err(refused)?,
        FieldType::Float64 => exact_float(&array)?,
    };
    if converted.null_count() > array.logical_null_count() {
        let lost = lost_rows(&array, &converted)?;
        for row in lost {
            rejected.entry(row).or_insert_with(|| {
                format!("column {name:?}: the value does not fit {want:?} exactly")
            });
        }
    }
    Ok(converted)
}

/// Rows that had a value before the conversion, and have none after it.
fn lost_rows(before: &ArrayRef, after: &ArrayRef) -> Result<Vec<usize>, Error> {
    let (before, after) = (is_null(before).map_err(refused)?, is_null(after).map_err(refused)?);
    let rows = 0..before.len();
    Ok(rows.filter(|row| !before.value(*row) && after.value(*row)).collect())
}

/// Numbers as doubles; integers that are no double become null.
fn exact_float(array: &ArrayRef) -> Result<ArrayRef, Error> {
    let floats = cast(array, &DataType::Float64).map_err(refused)?;
    // Exact where all bits that are set lie within the 53 bits of a double.
    let fits = |n: u64| n == 0 || 64 - n.leading_zeros() - n.trailing_zeros() <= 53;
    let exact: Float64Array = match array.data_type() {
        DataType::Int64 => {
            let ints: &Int64Array = array.as_primitive::<Int64Type>();
            ints.unary_opt::<_, Float64Type>(|n| fits(n.unsigned_abs()).then_some(n as f64))
        }
        DataType::UInt64 => {
            let ints: &UInt64Array = array.as_primitive::<UInt64Type>();
            ints.unary_opt::<_, Float64Type>(|n| fits(n).then_some(n as f64))
        }
        _ => return Ok(floats),
    };
    Ok(Arc::new(exact))
}

/// Timestamps of any unit, and dates, as nanoseconds; those out of range are rejected.
fn nanoseconds(
    array: &ArrayRef,
    name: &str,
    rejected: &mut BTreeMap<usize, String>,
) -> Result<Int64Array, Error> {
    let array = unpacked(array)?;
    let factor = match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => 1_000_000_000,
        DataType::Timestamp(TimeUnit::Millisecond, _) | DataType::Date64 => 1_000_000,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000,
        DataType::Date32 => 86_400_000_000_000,
        _ => 1,
    };
    // The same number of units since 1970 UTC, whatever zone they are shown in.
    let units = match array.data_type() {
        DataType::Date32 => {
            cast(&cast(&array, &DataType::Int32).map_err(refused)?, &DataType::Int64)
        }
        _ => cast(&array, &DataType::Int64),
    };
    let units = units.map_err(refused)?;
    let units = units.as_primitive::<Int64Type>();
    if factor == 1 {
        return Ok(units.clone());
    }
    let nanos: Int64Array = units.unary_opt(|n: i64| n.checked_mul(factor));
    if nanos.null_count() > units.null_count() {
        for row in (0..units.len()).filter(|row| units.is_valid(*row) && nanos.is_null(*row)) {
            rejected.entry(row).or_insert_with(|| {
                format!("column {name:?}: the time is out of range: 1677-09-21 to 2262-04-11 can be stored")
            });
        }
    }
    Ok(nanos)
}

#[expect(clippy::needless_pass_by_value, reason = "given to map_err")]
fn refused(error: ArrowError) -> Error {
    Error::request(ErrorKind::Invalid, format!("cannot convert the rows: {error}"))
}

#[cfg(test)]
#[path = "batch_rows_tests.rs"]
mod tests;
