//! Tests of the wire's schema, casts and message sizes.

use arrow::array::{
    AsArray, BinaryViewArray, BooleanArray, Decimal64Array, DictionaryArray, Float16Array,
    Float64Array, Int32Array, Int64Array, LargeListArray, ListArray, ListViewArray, MapBuilder,
    RunArray, StringArray, StringBuilder, StringViewArray, StringViewBuilder, StructArray,
    TimestampNanosecondArray,
};
use arrow::datatypes::{Int32Type, Int64Type};

use super::*;

/// One column of every type that is changed, and some that are not, each of three rows with a null in the middle.
fn every_type() -> RecordBatch {
    let view: ArrayRef = Arc::new(StringViewArray::from(vec![
        Some("a string that is longer than twelve bytes"),
        None,
        Some("b"),
    ]));
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
    ]);
    let large_list = LargeListArray::from_iter_primitive::<Int64Type, _, _>(vec![
        Some(vec![Some(1)]),
        None,
        Some(vec![Some(2)]),
    ]);
    let list_view = ListViewArray::from_iter_primitive::<Int64Type, _, _>(vec![
        Some(vec![Some(1)]),
        None,
        Some(vec![Some(2)]),
    ]);
    let dictionary: DictionaryArray<Int32Type> =
        vec![Some("x"), None, Some("x")].into_iter().collect();
    let runs: RunArray<Int32Type> = vec![Some("x"), None, Some("x")].into_iter().collect();
    let structs = StructArray::from(vec![(
        Arc::new(Field::new("inner", DataType::Utf8View, true)),
        Arc::clone(&view),
    )]);
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringViewBuilder::new());
    for key in ["k", "l", "m"] {
        map.keys().append_value(key);
        map.values().append_value("value");
        map.append(true).unwrap();
    }
    let half = |x: f32| half_from(x);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("utf8view", view),
        ("binaryview", Arc::new(BinaryViewArray::from(vec![Some(b"x".as_ref()), None, None]))),
        ("dictionary", Arc::new(dictionary)),
        ("runs", Arc::new(runs)),
        ("list", Arc::new(list)),
        ("largelist", Arc::new(large_list)),
        ("listview", Arc::new(list_view)),
        ("struct", Arc::new(structs)),
        ("map", Arc::new(map.finish())),
        ("f16", Arc::new(Float16Array::from(vec![half(1.0), half(2.0), half(3.0)]))),
        (
            "decimal",
            Arc::new(
                Decimal64Array::from(vec![Some(150), None, Some(1)])
                    .with_precision_and_scale(10, 2)
                    .unwrap(),
            ),
        ),
        ("bool", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        ("f64", Arc::new(Float64Array::from(vec![Some(f64::NAN), None, Some(-0.0)]))),
        ("time", Arc::new(TimestampNanosecondArray::from(vec![1, 2, 3]).with_timezone("UTC"))),
        ("i32", Arc::new(Int32Array::from(vec![1, 2, 3]))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn half_from(
    x: f32,
) -> <arrow::datatypes::Float16Type as arrow::datatypes::ArrowPrimitiveType>::Native {
    <arrow::datatypes::Float16Type as arrow::datatypes::ArrowPrimitiveType>::Native::from_f32(x)
}

#[test]
fn every_type_is_cast_to_the_schema_that_is_announced() {
    let batch = every_type();
    let schema = wire_schema(&batch.schema(), Times::Zoned);
    let wire = wire_batch(&batch, &schema).unwrap();
    assert_eq!(wire.schema(), schema);
    assert_eq!(wire.num_rows(), 3);
    for (field, column) in schema.fields().iter().zip(wire.columns()) {
        assert_eq!(field.data_type(), column.data_type(), "{}", field.name());
        assert!(field.is_nullable(), "{}", field.name());
    }
    assert_eq!(schema.field_with_name("utf8view").unwrap().data_type(), &DataType::Utf8);
    assert_eq!(schema.field_with_name("dictionary").unwrap().data_type(), &DataType::Utf8);
    assert_eq!(schema.field_with_name("runs").unwrap().data_type(), &DataType::Utf8);
    assert_eq!(
        schema.field_with_name("decimal").unwrap().data_type(),
        &DataType::Decimal128(10, 2)
    );
    let strings = wire.column_by_name("dictionary").unwrap().as_string::<i32>();
    assert_eq!(strings.iter().collect::<Vec<_>>(), vec![Some("x"), None, Some("x")]);
    let structs = wire.column_by_name("struct").unwrap().as_struct();
    assert_eq!(structs.column(0).data_type(), &DataType::Utf8);
}

#[test]
fn the_wire_schema_of_a_wire_schema_is_itself() {
    let schema = wire_schema(&every_type().schema(), Times::Zoned);
    assert_eq!(wire_schema(&schema, Times::Zoned), schema);
}

#[test]
fn metadata_is_left_out() {
    let field = Field::new("a", DataType::Int64, false)
        .with_metadata([("k".to_owned(), "v".to_owned())].into());
    let schema = Schema::new(vec![field]).with_metadata([("k".to_owned(), "v".to_owned())].into());
    assert_eq!(
        *wire_schema(&schema, Times::Zoned),
        Schema::new(vec![Field::new("a", DataType::Int64, true)])
    );
}

#[test]
fn a_batch_without_columns_keeps_its_rows() {
    let options = RecordBatchOptions::new().with_row_count(Some(7));
    let schema = Arc::new(Schema::empty());
    let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), vec![], &options).unwrap();
    assert_eq!(wire_batch(&batch, &schema).unwrap().num_rows(), 7);
}

#[test]
fn a_small_slice_of_a_large_batch_is_one_message() {
    let large = RecordBatch::try_from_iter([
        ("a", Arc::new(Int64Array::from_iter_values(0..2_000_000)) as ArrayRef),
        ("b", Arc::new(StringArray::from_iter_values((0..2_000_000).map(|i| format!("{i:08}"))))),
    ])
    .unwrap();
    assert_eq!(split(&large.slice(1_000_000, 1000)).len(), 1);
    let pieces = split(&large);
    assert!(pieces.len() > 8 && pieces.len() < 64, "{}", pieces.len());
    assert_eq!(pieces.iter().map(RecordBatch::num_rows).sum::<usize>(), 2_000_000);
}

#[tokio::test]
async fn what_is_encoded_decodes_to_the_same_rows() {
    let batch = every_type();
    let schema = wire_schema(&batch.schema(), Times::Zoned);
    let want = wire_batch(&batch, &schema).unwrap();
    let messages =
        encode(&schema, futures::stream::iter([Ok(batch.slice(0, 2)), Ok(batch.slice(2, 1))]));
    let decoded = arrow_flight::decode::FlightRecordBatchStream::new_from_flight_data(
        messages.map_err(FlightError::from),
    );
    let batches: Vec<RecordBatch> = decoded.try_collect().await.unwrap();
    let got = arrow::compute::concat_batches(&schema, &batches).unwrap();
    assert_eq!(got.schema(), schema);
    // NaN is not equal to itself, so the printed form is compared.
    assert_eq!(format!("{got:?}"), format!("{want:?}"));
}

#[tokio::test]
async fn the_schema_is_sent_when_no_row_is() {
    let schema = wire_schema(&every_type().schema(), Times::Zoned);
    let mut stream = arrow_flight::decode::FlightRecordBatchStream::new_from_flight_data(
        encode(&schema, futures::stream::empty()).map_err(FlightError::from),
    );
    assert!(stream.next().await.is_none());
    assert_eq!(stream.schema(), Some(&schema));
}

#[test]
fn naive_times_are_the_same_instants() {
    let batch = every_type();
    let schema = wire_schema(&batch.schema(), Times::Naive);
    let time = schema.field_with_name("time").unwrap();
    assert_eq!(time.data_type(), &DataType::Timestamp(TimeUnit::Nanosecond, None));
    let wire = wire_batch(&batch, &schema).unwrap();
    let values = |batch: &RecordBatch| {
        let column = batch.column_by_name("time").unwrap();
        column.as_primitive::<arrow::datatypes::TimestampNanosecondType>().values().to_vec()
    };
    assert_eq!(values(&wire), values(&batch));
}

#[test]
fn times_are_asked_for_in_milliseconds() {
    let zone: Option<Arc<str>> = Some("UTC".into());
    let plan = Schema::new(vec![
        Field::new("$1", DataType::Timestamp(TimeUnit::Nanosecond, zone.clone()), true),
        Field::new("$2", DataType::Utf8View, true),
    ]);
    let want = Schema::new(vec![
        Field::new("$1", DataType::Timestamp(TimeUnit::Millisecond, zone), true),
        Field::new("$2", DataType::Utf8, true),
    ]);
    assert_eq!(*parameter_schema(&plan), want);
}
