//! What a catalog may hold: names, counts, and options are checked here, on every replica alike.

use std::collections::BTreeSet;

use quorate_segment::{ColumnKind, FieldType};

use super::{CatalogRejection, ColumnDefinition, TableOptions};

/// Databases of a cluster.
pub const DATABASES_MAX: usize = 1_000;
/// Tables of a database.
pub const TABLES_PER_DATABASE_MAX: usize = 100_000;
/// Columns of a table, the time and the tags included.
pub const COLUMNS_PER_TABLE_MAX: usize = 4_096;
/// Tags of a table.
pub const TAGS_PER_TABLE_MAX: usize = 64;
/// Bytes of a view's query.
pub const VIEW_BYTES_MAX: usize = 1 << 20;
/// Bytes of a name.
pub const NAME_BYTES_MAX: usize = 255;
/// Bytes of a comment or description.
pub const NOTE_BYTES_MAX: usize = 16 << 10;
/// Bytes of a label's value.
pub const LABEL_BYTES_MAX: usize = 1 << 10;
/// Labels of a series.
pub const LABELS_PER_SERIES_MAX: usize = 64;
/// Series of a table that have labels.
pub const LABELLED_SERIES_MAX: usize = 10_000;
/// Tokens that the series of one time slice may spread over.
pub const SPREAD_MAX: u32 = 1_024;
/// Narrowest time slice: one second.
pub const TIME_SLICE_NS_MIN: i64 = 1_000_000_000;

/// Checks the name of a database, table, or column (`what`).
pub(super) fn check_name(what: &str, name: &str) -> Result<(), CatalogRejection> {
    if name.is_empty() {
        return Err(CatalogRejection::Invalid(format!("the name of a {what} is empty")));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(CatalogRejection::Limit(format!(
            "the name of a {what} has {} bytes, more than {NAME_BYTES_MAX}",
            name.len()
        )));
    }
    if name.chars().any(char::is_control) {
        return Err(CatalogRejection::Invalid(format!(
            "the name of {what} {name:?} has a control character"
        )));
    }
    Ok(())
}

/// Checks the options of a table.
pub(super) fn check_options(options: &TableOptions) -> Result<(), CatalogRejection> {
    let invalid = |text: String| Err(CatalogRejection::Invalid(text));
    if options.time_slice_ns < TIME_SLICE_NS_MIN {
        return invalid(format!(
            "time_slice is {} ns, less than {TIME_SLICE_NS_MIN}",
            options.time_slice_ns
        ));
    }
    if options.spread == 0 || options.spread > SPREAD_MAX {
        return invalid(format!("spread is {}, not between 1 and {SPREAD_MAX}", options.spread));
    }
    match options.retention_ns {
        Some(ns) if ns <= 0 => invalid(format!("retention is {ns} ns, not above zero")),
        Some(_) | None => Ok(()),
    }
}

/// Checks the columns of a new table.
pub(super) fn check_columns(columns: &[ColumnDefinition]) -> Result<(), CatalogRejection> {
    let times = columns.iter().filter(|c| c.kind == ColumnKind::Time).count();
    if times != 1 {
        return Err(CatalogRejection::Invalid(format!(
            "a table has exactly one time column, not {times}"
        )));
    }
    let mut names = BTreeSet::new();
    for column in columns {
        check_name("column", &column.name)?;
        if !names.insert(&column.name) {
            return Err(CatalogRejection::Invalid(format!(
                "column {:?} is defined twice",
                column.name
            )));
        }
    }
    check_counts(columns.iter().map(|c| c.kind))
}

/// Checks how many columns a table would have.
pub(super) fn check_counts(
    kinds: impl Iterator<Item = ColumnKind>,
) -> Result<(), CatalogRejection> {
    let (mut columns, mut tags) = (0, 0);
    for kind in kinds {
        columns += 1;
        tags += usize::from(kind == ColumnKind::Tag);
    }
    if columns > COLUMNS_PER_TABLE_MAX {
        return Err(CatalogRejection::Limit(format!(
            "the table would have {columns} columns, more than {COLUMNS_PER_TABLE_MAX}"
        )));
    }
    if tags > TAGS_PER_TABLE_MAX {
        return Err(CatalogRejection::Limit(format!(
            "the table would have {tags} tags, more than {TAGS_PER_TABLE_MAX}"
        )));
    }
    Ok(())
}

/// A kind in words, for messages.
pub(super) fn kind_text(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Time => "the time",
        ColumnKind::Tag => "a tag",
        ColumnKind::Field(FieldType::Float64) => "a float64 field",
        ColumnKind::Field(FieldType::Int64) => "an int64 field",
        ColumnKind::Field(FieldType::UInt64) => "a uint64 field",
        ColumnKind::Field(FieldType::Boolean) => "a boolean field",
        ColumnKind::Field(FieldType::Utf8) => "a string field",
        ColumnKind::Field(FieldType::Timestamp) => "a timestamp field",
    }
}
