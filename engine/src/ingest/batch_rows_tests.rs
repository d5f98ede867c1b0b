//! What becomes of the values of a batch.

use arrow::array::{
    Date32Array, DictionaryArray, Int8Array, StringArray, TimestampMillisecondArray,
    TimestampSecondArray, new_null_array,
};
use arrow::datatypes::{Int32Type, TimestampNanosecondType};
use quorate_storage::TableId;
use quorate_storage::catalog::{Column, DatabaseId, TableOptions};

use super::super::{IngestMode, TableIngest};
use super::*;

/// Plans, makes the table as planned (columns of `before` first), and converts.
fn run(batch: &RecordBatch, before: &[(&str, ColumnKind)]) -> (Table, ConvertedRows) {
    let mut table = Table {
        id: TableId(1),
        database: DatabaseId(1),
        name: "t".to_owned(),
        columns: Vec::new(),
        options: TableOptions::default(),
        column_id_next: 0,
        changed_at: 1,
    };
    let add = |table: &mut Table, name: &str, kind| {
        if table.column(name).is_none() {
            let id = ColumnId(table.column_id_next);
            table.columns.push(Column { id, name: name.to_owned(), kind });
            table.column_id_next += 1;
        }
    };
    for (name, kind) in before {
        add(&mut table, name, *kind);
    }
    let target = TableIngest {
        database: None,
        table: "t".to_owned(),
        mode: IngestMode::CreateAppend,
        tags: None,
        time: None,
        nulls: Nulls::Absent,
        digest: None,
    };
    let known = (!before.is_empty()).then(|| table.clone());
    let plan = BatchPlan::new(&batch.schema(), &target, known.as_ref()).unwrap();
    for column in plan.definitions() {
        add(&mut table, &column.name, column.kind);
    }
    let rows = convert(batch, &plan, &table, Nulls::Absent).unwrap();
    (table, rows)
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true)))
        .unwrap()
}

fn seconds(values: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampSecondArray::from(values))
}

fn times(rows: &RowBatch) -> Vec<i64> {
    rows.time.as_primitive::<TimestampNanosecondType>().values().to_vec()
}

const INT: ColumnKind = ColumnKind::Field(FieldType::Int64);
const UINT: ColumnKind = ColumnKind::Field(FieldType::UInt64);
const FLOAT: ColumnKind = ColumnKind::Field(FieldType::Float64);

#[test]
fn series_are_told_apart_by_their_tags() {
    let host: DictionaryArray<Int32Type> =
        vec![Some("a"), Some("a"), None, Some(""), Some("b"), Some("a")].into_iter().collect();
    let rack = StringArray::from(vec![None, None, Some("1"), Some("1"), None, None]);
    let rows = batch(vec![
        ("time", seconds(vec![1, 2, 3, 4, 5, 6])),
        ("host", Arc::new(host)),
        ("rack", Arc::new(rack)),
        ("v", Arc::new(Int8Array::from(vec![1, 2, 3, 4, 5, 6]))),
    ]);
    let (_, converted) = run(&rows, &[]);
    let [rows] = &converted.chunks[..] else { panic!("one chunk") };
    assert_eq!(rows.series_of_row.values(), &[0, 0, 1, 1, 2, 0]);
    let tags: Vec<_> = rows.series.iter().map(SeriesKey::decode).collect();
    assert_eq!(tags[0], [Some("a".to_owned())]);
    assert_eq!(tags[1], [None, Some("1".to_owned())]);
    assert_eq!(tags[2], [Some("b".to_owned())]);
    // A table whose tags have another order has another place for each in the key.
    let tag = ColumnKind::Tag;
    let (_, converted) =
        run(&rows_of(&["x"]), &[("time", ColumnKind::Time), ("first", tag), ("host", tag)]);
    assert_eq!(converted.chunks[0].series[0].decode(), [None, Some("x".to_owned())]);
}

fn rows_of(hosts: &[&str]) -> RecordBatch {
    let times = (0..hosts.len()).map(|t| i64::try_from(t).unwrap()).collect();
    batch(vec![("time", seconds(times)), ("host", Arc::new(StringArray::from(hosts.to_vec())))])
}

#[test]
fn times_of_any_unit_are_widened_or_rejected() {
    let rows = batch(vec![
        (
            "time",
            Arc::new(TimestampMillisecondArray::from(vec![
                Some(1),
                None,
                Some(i64::MAX),
                Some(-1),
            ])),
        ),
        ("d", Arc::new(Date32Array::from(vec![Some(1), Some(1), Some(1), None]))),
    ]);
    let (_, converted) = run(&rows, &[]);
    assert_eq!(times(&converted.chunks[0]), [1_000_000, -1_000_000]);
    let dates = converted.chunks[0].fields[0].1.as_primitive::<TimestampNanosecondType>().clone();
    assert_eq!((dates.value(0), dates.is_null(1)), (86_400_000_000_000, true));
    assert_eq!(converted.rejected[&1], "the time is null");
    assert!(converted.rejected[&2].starts_with("column \"time\": the time is out of range"));
    assert_eq!(converted.rejected.len(), 2);
}

#[test]
fn numbers_that_do_not_fit_reject_their_row_only() {
    let big = 9_007_199_254_740_993_i64;
    let rows = batch(vec![
        ("time", seconds(vec![1, 2, 3, 4])),
        ("f", Arc::new(Int64Array::from(vec![Some(1), Some(big), None, Some(i64::MAX)]))),
        ("i", Arc::new(UInt64Array::from(vec![Some(1), Some(1), Some(u64::MAX), None]))),
        ("u", Arc::new(Int8Array::from(vec![Some(1), Some(-1), Some(0), Some(0)]))),
    ]);
    let before = [("time", ColumnKind::Time), ("f", FLOAT), ("i", INT), ("u", UINT)];
    let (_, converted) = run(&rows, &before);
    assert_eq!(times(&converted.chunks[0]), [1_000_000_000]);
    assert_eq!(converted.rejected[&1], "column \"f\": the value does not fit Float64 exactly");
    assert_eq!(converted.rejected[&2], "column \"i\": the value does not fit Int64 exactly");
    assert_eq!(converted.rejected[&3], "column \"f\": the value does not fit Float64 exactly");
}

#[test]
fn floats_keep_their_bits() {
    let odd = f64::from_bits(0x7ff8_0000_0000_1234);
    let values = vec![odd, -0.0, f64::INFINITY, f64::MIN_POSITIVE / 2.0];
    let rows = batch(vec![
        ("time", seconds(vec![1, 2, 3, 4])),
        ("f", Arc::new(Float64Array::from(values.clone()))),
    ]);
    let (_, converted) = run(&rows, &[]);
    let found = converted.chunks[0].fields[0].1.as_primitive::<Float64Type>().values().to_vec();
    let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&found), bits(&values));
}

#[test]
fn a_column_without_values_is_null_where_the_table_knows_it() {
    let rows = batch(vec![
        ("time", seconds(vec![1])),
        ("host", new_null_array(&DataType::Null, 1)),
        ("f", new_null_array(&DataType::Null, 1)),
        ("unknown", new_null_array(&DataType::Null, 1)),
    ]);
    let before = [("time", ColumnKind::Time), ("host", ColumnKind::Tag), ("f", FLOAT)];
    let (table, converted) = run(&rows, &before);
    assert!(table.column("unknown").is_none());
    assert_eq!(converted.chunks[0].fields.len(), 1);
    assert_eq!(converted.chunks[0].fields[0].1.null_count(), 1);
    assert_eq!(converted.chunks[0].series[0].as_bytes(), b"");
}

#[test]
fn long_batches_are_cut_into_chunks() {
    let rows = 1_000_000;
    let long = batch(vec![
        ("time", seconds((0..rows).collect())),
        ("v", Arc::new(Int64Array::from_iter_values(0..rows))),
    ]);
    let (_, converted) = run(&long, &[]);
    assert!(converted.chunks.len() > 1);
    let found: Vec<i64> = converted.chunks.iter().flat_map(times).collect();
    assert_eq!(found, (0..rows).map(|t| t * 1_000_000_000).collect::<Vec<_>>());
}
