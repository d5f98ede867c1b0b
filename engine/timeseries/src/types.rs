//! Names of types, as SQL has them.

use datafusion::arrow::datatypes::{DataType, TimeUnit};

/// A type as SQL names it.
#[must_use]
pub fn type_name(data_type: &DataType) -> String {
    let name = match data_type {
        DataType::Float64 => "DOUBLE",
        DataType::Float32 => "REAL",
        DataType::Int64 => "BIGINT",
        DataType::Int32 => "INTEGER",
        DataType::Int16 => "SMALLINT",
        DataType::UInt64 => "BIGINT UNSIGNED",
        DataType::Boolean => "BOOLEAN",
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => "STRING",
        DataType::Date32 => "DATE",
        DataType::Interval(_) => "INTERVAL",
        DataType::Timestamp(TimeUnit::Nanosecond, Some(_)) => "TIMESTAMP(9) WITH TIME ZONE",
        DataType::Timestamp(TimeUnit::Nanosecond, None) => "TIMESTAMP(9)",
        other => return other.to_string(),
    };
    name.to_owned()
}
