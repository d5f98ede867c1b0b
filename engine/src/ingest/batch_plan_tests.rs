//! Which column of a batch becomes what.

use std::sync::Arc;

use arrow::datatypes::TimeUnit;
use quorate_storage::batch::Nulls;
use quorate_storage::catalog::{Column, DatabaseId, TableOptions};
use quorate_storage::{ColumnId, TableId};

use super::super::IngestMode;
use super::*;

const NS: DataType = DataType::Timestamp(TimeUnit::Nanosecond, None);

fn schema(columns: &[(&str, DataType)]) -> Schema {
    Schema::new(columns.iter().map(|(n, t)| Field::new(*n, t.clone(), true)).collect::<Vec<_>>())
}

fn target(tags: Option<&[&str]>, time: Option<&str>) -> TableIngest {
    TableIngest {
        database: None,
        table: "t".to_owned(),
        mode: IngestMode::CreateAppend,
        tags: tags.map(|tags| tags.iter().map(|t| (*t).to_owned()).collect()),
        time: time.map(str::to_owned),
        nulls: Nulls::Absent,
        digest: None,
    }
}

/// A table with the time `time`, the tag `host`, and the fields `usage` (float) and `seen` (timestamp).
fn table() -> Table {
    let columns = [
        ("time", ColumnKind::Time),
        ("host", ColumnKind::Tag),
        ("usage", ColumnKind::Field(FieldType::Float64)),
        ("seen", ColumnKind::Field(FieldType::Timestamp)),
    ];
    let columns = columns.into_iter().zip(0..).map(|((name, kind), id)| Column {
        id: ColumnId(id),
        name: name.to_owned(),
        kind,
    });
    Table {
        id: TableId(1),
        database: DatabaseId(1),
        name: "t".to_owned(),
        columns: columns.collect(),
        options: TableOptions::default(),
        column_id_next: 4,
        changed_at: 1,
    }
}

fn check(schema: &Schema, target: &TableIngest, table: Option<&Table>, want: &[&str]) {
    let plan = BatchPlan::new(schema, target, table).unwrap();
    let found: Vec<String> = plan
        .columns
        .iter()
        .map(|c| match c.kind {
            ColumnKind::Time => format!("{} time", c.name),
            ColumnKind::Tag => format!("{} tag", c.name),
            ColumnKind::Field(field) => format!("{} {field:?}", c.name),
        })
        .chain(plan.notices)
        .collect();
    assert_eq!(found, want);
}

fn check_error(schema: &Schema, target: &TableIngest, table: Option<&Table>, want: &str) {
    let error = BatchPlan::new(schema, target, table).unwrap_err().to_string();
    assert!(error.contains(want), "{error}");
}

#[test]
fn a_new_table_has_its_text_columns_as_tags() {
    let dictionary = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::LargeUtf8));
    let rows = schema(&[
        ("host", DataType::Utf8View),
        ("region", dictionary),
        ("time", DataType::Timestamp(TimeUnit::Millisecond, Some(Arc::from("+02:00")))),
        ("f", DataType::Float32),
        ("i", DataType::Int8),
        ("u", DataType::UInt16),
        ("b", DataType::Boolean),
        ("d", DataType::Date32),
        ("nothing", DataType::Null),
    ]);
    check(
        &rows,
        &target(None, None),
        None,
        &[
            "host tag",
            "region tag",
            "time time",
            "f Float64",
            "i Int64",
            "u UInt64",
            "b Boolean",
            "d Timestamp",
        ],
    );
    check(
        &rows,
        &target(Some(&["region"]), None),
        None,
        &[
            "host Utf8",
            "region tag",
            "time time",
            "f Float64",
            "i Int64",
            "u UInt64",
            "b Boolean",
            "d Timestamp",
        ],
    );
}

#[test]
fn the_only_timestamp_becomes_the_time_and_says_so() {
    let rows = schema(&[("ts", NS), ("v", DataType::Int64)]);
    let notice = "column \"ts\" is the time, stored as \"time\"";
    check(&rows, &target(None, None), None, &["time time", "v Int64", notice]);
    // In a table that is there, its own timestamp fields are no candidates.
    let rows = schema(&[("seen", NS), ("ts", NS)]);
    check(&rows, &target(None, None), Some(&table()), &["seen Timestamp", "time time", notice]);
    check(
        &rows,
        &target(None, Some("seen")),
        None,
        &["time time", "ts Timestamp", "column \"seen\" is the time, stored as \"time\""],
    );
}

#[test]
fn a_batch_without_a_clear_time_is_an_error() {
    let two = schema(&[("a", NS), ("b", NS)]);
    check_error(
        &schema(&[("v", DataType::Int64)]),
        &target(None, None),
        None,
        "no timestamp column",
    );
    check_error(&two, &target(None, None), None, "more than one timestamp column");
    check_error(&two, &target(None, Some("c")), None, "no column \"c\"");
    let number = schema(&[("time", DataType::Int64)]);
    check_error(&number, &target(None, None), None, "is Int64, not a timestamp");
    let both = schema(&[("time", NS), ("ts", NS)]);
    check_error(&both, &target(None, Some("ts")), None, "there is a column \"time\", too");
}

#[test]
fn a_table_that_is_there_decides_by_name() {
    let rows = schema(&[
        ("time", NS),
        ("host", DataType::Utf8),
        ("usage", DataType::Int32),
        ("comment", DataType::Utf8),
        ("seen", DataType::Date64),
    ]);
    check(
        &rows,
        &target(None, None),
        Some(&table()),
        &["time time", "host tag", "usage Float64", "comment Utf8", "seen Timestamp"],
    );
    check(
        &rows,
        &target(Some(&["host", "comment"]), None),
        Some(&table()),
        &["time time", "host tag", "usage Float64", "comment tag", "seen Timestamp"],
    );
}

#[test]
fn conflicts_and_unknown_types_name_the_column() {
    let with = |name: &str, data_type: DataType| schema(&[("time", NS), (name, data_type)]);
    let plain = target(None, None);
    let table = table();
    check_error(
        &with("usage", DataType::Utf8),
        &plain,
        Some(&table),
        "\"usage\" of table \"t\" is Float64, not Utf8",
    );
    check_error(
        &with("host", DataType::Int64),
        &plain,
        Some(&table),
        "\"host\" of table \"t\" is a tag, not Int64",
    );
    check_error(&with("seen", DataType::Int64), &plain, Some(&table), "is Timestamp, not Int64");
    check_error(
        &with("usage", DataType::Utf8),
        &target(Some(&["usage"]), None),
        Some(&table),
        "is a field",
    );
    check_error(
        &with("l", DataType::new_list(DataType::Int64, true)),
        &plain,
        None,
        "\"l\" of table \"t\" has the type List",
    );
    check_error(&with("d", DataType::Decimal128(10, 2)), &plain, None, "cannot be stored");
    check_error(
        &with("n", DataType::Int64),
        &target(Some(&["n"]), None),
        None,
        "\"n\" cannot be a tag",
    );
    check_error(&with("n", DataType::Int64), &target(Some(&["m"]), None), None, "no column \"m\"");
    check_error(&with("time", DataType::Int64), &plain, None, "twice");
}
