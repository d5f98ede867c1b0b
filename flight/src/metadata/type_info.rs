//! `GetXdbcTypeInfo`: the types of columns, for JDBC's `getTypeInfo`.

use std::sync::LazyLock;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::sql::metadata::{XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder};
use arrow_flight::sql::{
    CommandGetXdbcTypeInfo, Nullable, Searchable, XdbcDataType, XdbcDatetimeSubcode,
};
use tonic::Status;

use super::built;

static TYPES: LazyLock<Result<XdbcTypeInfoData, String>> = LazyLock::new(|| {
    let mut types = XdbcTypeInfoDataBuilder::new();
    types.append(number("DOUBLE", XdbcDataType::XdbcDouble, 53, 2));
    types.append(number("BIGINT", XdbcDataType::XdbcBigint, 19, 10));
    types.append(XdbcTypeInfo {
        unsigned_attribute: Some(true),
        ..number("BIGINT UNSIGNED", XdbcDataType::XdbcBigint, 20, 10)
    });
    types.append(XdbcTypeInfo {
        searchable: Searchable::Basic,
        ..named("BOOLEAN", XdbcDataType::XdbcBit, 1)
    });
    types.append(XdbcTypeInfo {
        literal_prefix: Some("'".to_owned()),
        literal_suffix: Some("'".to_owned()),
        case_sensitive: true,
        ..named("VARCHAR", XdbcDataType::XdbcVarchar, i32::MAX)
    });
    types.append(XdbcTypeInfo {
        literal_prefix: Some("TIMESTAMP '".to_owned()),
        literal_suffix: Some("'".to_owned()),
        minimum_scale: Some(9),
        maximum_scale: Some(9),
        sql_data_type: XdbcDataType::XdbcDatetime,
        datetime_subcode: Some(XdbcDatetimeSubcode::XdbcSubcodeTimestamp),
        // 2262-04-11T23:47:16.854775807Z
        ..named("TIMESTAMP(9) WITH TIME ZONE", XdbcDataType::XdbcTimestamp, 30)
    });
    types.build().map_err(|e| e.to_string())
});

fn named(name: &str, data_type: XdbcDataType, column_size: i32) -> XdbcTypeInfo {
    XdbcTypeInfo {
        type_name: name.to_owned(),
        data_type,
        sql_data_type: data_type,
        column_size: Some(column_size),
        nullable: Nullable::NullabilityNullable,
        searchable: Searchable::Full,
        local_type_name: Some(name.to_owned()),
        ..XdbcTypeInfo::default()
    }
}

fn number(name: &str, data_type: XdbcDataType, digits: i32, radix: i32) -> XdbcTypeInfo {
    XdbcTypeInfo {
        unsigned_attribute: Some(false),
        auto_increment: Some(false),
        num_prec_radix: Some(radix),
        searchable: Searchable::Basic,
        ..named(name, data_type, digits)
    }
}

/// Columns of `GetXdbcTypeInfo`.
pub(super) fn schema() -> SchemaRef {
    XdbcTypeInfoDataBuilder::new().schema()
}

/// `GetXdbcTypeInfo`.
pub(super) fn batch(command: CommandGetXdbcTypeInfo) -> Result<RecordBatch, Status> {
    let types = TYPES.as_ref().map_err(Status::internal)?;
    built(types.record_batch(command.data_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_listed_and_filtered() {
        let all = batch(CommandGetXdbcTypeInfo { data_type: None }).unwrap();
        assert_eq!((all.num_rows(), all.schema()), (6, schema()));
        let bigint = CommandGetXdbcTypeInfo { data_type: Some(XdbcDataType::XdbcBigint as i32) };
        assert_eq!(batch(bigint).unwrap().num_rows(), 2);
    }
}
