//! Casts that are exact, and those that are refused.

use datafusion::arrow::array::{
    BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, NullArray, StringArray,
    Time32MillisecondArray, Time64NanosecondArray, TimestampMillisecondArray,
    TimestampNanosecondArray, UInt64Array,
};
use datafusion::arrow::datatypes::{
    Float64Type, Int64Type, Time64NanosecondType, TimestampNanosecondType,
};

use super::*;

fn zone(name: &str) -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some(Arc::from(name)))
}

fn times(array: impl Array + 'static, want: &DataType) -> Vec<i64> {
    let cast = cast_exact(&(Arc::new(array) as ArrayRef), want).unwrap();
    assert_eq!(cast.data_type(), want);
    cast.as_primitive::<TimestampNanosecondType>().values().to_vec()
}

fn check_error(array: impl Array + 'static, want: &DataType, text: &str) {
    let error = cast_exact(&(Arc::new(array) as ArrayRef), want).unwrap_err().named("column \"c\"");
    assert!(error.to_string().contains(text), "{error}");
}

#[test]
fn numbers_become_others_only_exactly() {
    let ints = Arc::new(Int64Array::from(vec![Some(-3), None, Some(1 << 53)])) as ArrayRef;
    let floats = cast_exact(&ints, &DataType::Float64).unwrap();
    assert_eq!(
        floats.as_primitive::<Float64Type>().value(2).to_bits(),
        9_007_199_254_740_992_f64.to_bits()
    );
    let back = cast_exact(&floats, &DataType::Int64).unwrap();
    assert_eq!(back.as_primitive::<Int64Type>(), ints.as_primitive::<Int64Type>());
    let zero = Arc::new(Float64Array::from(vec![-0.0])) as ArrayRef;
    assert_eq!(
        cast_exact(&zero, &DataType::Int64).unwrap().as_primitive::<Int64Type>().value(0),
        0
    );

    check_error(
        Int64Array::from(vec![1, (1 << 53) + 1]),
        &DataType::Float64,
        "column \"c\" (row 2): 9007199254740993 is not exactly a DOUBLE",
    );
    check_error(Float64Array::from(vec![1.5]), &DataType::Int64, "1.5 is not exactly a BIGINT");
    check_error(Float64Array::from(vec![f64::NAN]), &DataType::Int64, "NaN");
    check_error(Float64Array::from(vec![1e300]), &DataType::Int64, "is not a BIGINT");
    check_error(Int64Array::from(vec![i64::MAX]), &DataType::Float64, "is not exactly a DOUBLE");
    check_error(Int64Array::from(vec![-1]), &DataType::UInt64, "-1 is not a BIGINT UNSIGNED");
    check_error(UInt64Array::from(vec![u64::MAX]), &DataType::Int64, "is not a BIGINT");
}

#[test]
fn texts_become_what_they_say() {
    let text = |t: &str| StringArray::from(vec![t.to_owned()]);
    let float = cast_exact(&(Arc::new(text("1.5")) as ArrayRef), &DataType::Float64).unwrap();
    assert_eq!(float.as_primitive::<Float64Type>().value(0).to_bits(), 1.5_f64.to_bits());
    check_error(text("one"), &DataType::Float64, "'one' is not a DOUBLE");
    check_error(text("1.5"), &DataType::Int64, "'1.5' is not a BIGINT");
    check_error(text("yesterday"), &zone("UTC"), "'yesterday' is not a time; write");
    check_error(BooleanArray::from(vec![true]), &DataType::Float64, "cannot become");
    let null = cast_exact(&(Arc::new(NullArray::new(2)) as ArrayRef), &DataType::Int64).unwrap();
    assert_eq!(null.null_count(), 2);
}

#[test]
fn times_are_instants_or_wall_time_in_the_zone() {
    let hour = 3_600_000_000_000;
    let (utc, plus2) = (zone("UTC"), zone("+02:00"));
    let text = || StringArray::from(vec!["1970-01-01T02:00:00"]);
    assert_eq!(times(text(), &utc), [2 * hour]);
    assert_eq!(times(text(), &plus2), [0]);
    assert_eq!(times(StringArray::from(vec!["1970-01-01T02:00:00Z"]), &plus2), [2 * hour]);
    assert_eq!(times(StringArray::from(vec!["1970-01-02"]), &utc), [24 * hour]);
    assert_eq!(times(TimestampMillisecondArray::from(vec![1]), &utc), [1_000_000]);
    let wall = || TimestampNanosecondArray::from(vec![2 * hour]);
    assert_eq!(times(wall(), &plus2), [0]);
    assert_eq!(times(wall().with_timezone("+01:00"), &plus2), [2 * hour]);
    assert_eq!(times(Int64Array::from(vec![7]), &plus2), [7]);
    assert_eq!(times(Int32Array::from(vec![7]), &utc), [7]);
    assert_eq!(times(Date32Array::from(vec![1]), &plus2), [22 * hour]);
    check_error(TimestampMillisecondArray::from(vec![i64::MAX]), &utc, "the time is out of range");
    check_error(Float64Array::from(vec![1.0]), &utc, "cannot become");
}

#[test]
fn times_of_day_change_their_unit_only_exactly() {
    let nanos = DataType::Time64(TimeUnit::Nanosecond);
    let millis = Arc::new(Time32MillisecondArray::from(vec![45_296_000])) as ArrayRef;
    let there = cast_exact(&millis, &nanos).unwrap();
    assert_eq!(there.as_primitive::<Time64NanosecondType>().value(0), 45_296_000_000_000);
    let uneven = Time64NanosecondArray::from(vec![1_000_001]);
    check_error(uneven, &DataType::Time32(TimeUnit::Millisecond), "is not exactly");
}
