//! Batches: what is checked, and that sorting, coding, cutting and joining keep every row.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, UInt32Array};
use arrow::datatypes::Float64Type;
use proptest::prelude::*;

use super::*;
use crate::model_tests::{batch, new_row, rows_strategy, series_key, table};
use crate::{ColumnId, Error, SeriesKey};

/// Every field of the model's table.
const ALL: u8 = 0b11_1111;

fn check(change: impl FnOnce(&mut RowBatch)) -> Result<ValidBatch, Error> {
    let mut rows = batch(&[new_row(0, 5, 1), new_row(1, 6, 2)], ALL, Nulls::Absent);
    change(&mut rows);
    ValidBatch::check(&table(), 3, rows)
}

#[test]
fn a_batch_that_fits_the_table_is_valid() {
    let valid = check(|_| {}).unwrap();
    assert_eq!((valid.catalog_index(), valid.rows().rows()), (3, 2));
}

#[test]
fn a_batch_that_does_not_fit_the_table_is_refused() {
    let float: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 2.0]));
    let short: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
    let long_key = SeriesKey::encode([None, None, Some("x")]);
    assert!(check(|b| b.fields[0].0 = ColumnId(99)).is_err(), "an unknown column");
    assert!(check(|b| b.fields[0].0 = ColumnId(1)).is_err(), "a tag as a field");
    assert!(check(|b| b.fields[1].1 = Arc::clone(&float)).is_err(), "another type");
    assert!(check(|b| b.fields[0].1 = short).is_err(), "too few values");
    assert!(check(|b| b.fields.swap(0, 1)).is_err(), "columns out of order");
    assert!(check(|b| b.fields[1] = b.fields[0].clone()).is_err(), "a column twice");
    assert!(check(|b| b.series[0] = long_key).is_err(), "more tags than the table has");
    assert!(check(|b| b.series_of_row = vec![0, 2].into()).is_err(), "a series that is not there");
    assert!(check(|b| b.series_of_row = vec![Some(0), None].into()).is_err(), "no series");
    assert!(check(|b| b.time = Arc::new(Int64Array::from(vec![1, 2]))).is_err(), "no timestamp");
    assert!(check(|b| b.time = b.time.slice(0, 1)).is_err(), "too few times");
}

#[test]
fn rows_with_equal_keys_keep_the_order_in_which_they_came() {
    let rows = [new_row(1, 5, 1), new_row(0, 9, 5), new_row(1, 5, 6), new_row(0, 2, 0)];
    let sorted = batch(&rows, 1, Nulls::Absent).sorted().unwrap();
    assert!(sorted.is_sorted());
    assert_eq!(sorted.times(), [2, 9, 5, 5]);
    let floats = sorted.fields[0].1.as_primitive::<Float64Type>();
    assert_eq!(floats.value(2).to_bits(), 0x8000_0000_0000_0000, "seed 1 came first");
    assert_eq!(floats.value(3).to_bits(), 1, "seed 6 came last");
}

#[test]
fn a_series_that_a_batch_names_twice_becomes_one() {
    let mut rows = batch(&[new_row(0, 5, 1), new_row(1, 6, 2)], ALL, Nulls::Absent);
    rows.series[1] = rows.series[0].clone();
    let sorted = rows.sorted().unwrap();
    assert_eq!(sorted.series.len(), 1);
    assert_eq!(sorted.series_of_row, UInt32Array::from(vec![0, 0]));
}

#[test]
fn a_batch_for_one_shard_is_not_copied() {
    let rows = batch(&[new_row(0, 5, 1), new_row(1, 6, 2)], ALL, Nulls::Absent).sorted().unwrap();
    let before = rows.times().as_ptr();
    let parts = rows.split(&TimeSlices::uniform(10), |_, _| 3).unwrap();
    assert_eq!(parts.len(), 1);
    assert_eq!((parts[0].0, parts[0].1.times().as_ptr()), (3, before));
}

#[test]
fn explicit_nulls_are_joined_only_for_the_same_columns() {
    let of = |columns, nulls| batch(&[new_row(0, 5, 1)], columns, nulls);
    assert!(of(1, Nulls::Absent).can_concat(&of(2, Nulls::Absent)));
    assert!(!of(1, Nulls::Explicit).can_concat(&of(2, Nulls::Explicit)));
    assert!(!of(1, Nulls::Absent).can_concat(&of(1, Nulls::Explicit)));
    assert!(RowBatch::concat(&[of(1, Nulls::Explicit), of(3, Nulls::Explicit)]).is_err());
}

#[test]
fn damaged_bytes_are_an_error() {
    let bytes = batch(&[new_row(0, 5, 1), new_row(1, 6, 2)], ALL, Nulls::Absent).encode().unwrap();
    assert!(RowBatch::decode(&bytes).is_ok());
    for len in [0, 1, 2, 10, bytes.len() / 2] {
        assert!(RowBatch::decode(&bytes[..len]).is_err(), "{len} bytes");
    }
    for (at, value) in [(0, 2), (1, 7)] {
        let mut other = bytes.clone();
        other[at] = value;
        assert!(RowBatch::decode(&other).is_err(), "byte {at}");
    }
}

#[test]
fn slices_follow_each_other_without_gaps_up_to_both_ends_of_time() {
    let spans = [
        SliceSpan { from: i64::MIN, width: 10 },
        SliceSpan { from: 25, width: 100 },
        SliceSpan { from: 1_000, width: 7 },
    ];
    let slices = TimeSlices::new(spans.to_vec()).unwrap();
    let of = |time| (slices.of(time).start, slices.of(time).end);
    assert_eq!(of(-1), (-10, -1));
    assert_eq!(of(24), (20, 24), "cut short by the next width");
    assert_eq!(of(25), (25, 99), "begins where its width does");
    assert_eq!(of(999), (900, 999));
    assert_eq!(of(1_000), (1_000, 1_000), "994 to 1,000 began under the old width");
    assert_eq!(of(i64::MIN).0, i64::MIN);
    assert_eq!(of(i64::MAX).1, i64::MAX);
    assert!(TimeSlices::new(vec![]).is_err());
    assert!(TimeSlices::new(spans[1..].to_vec()).is_err());
    assert!(TimeSlices::new(vec![SliceSpan { from: i64::MIN, width: 0 }]).is_err());
}

/// Rows as text, in order: comparable, and exact for floats.
fn listed(batch: &RowBatch) -> Vec<String> {
    let cell = |(id, array): &(ColumnId, ArrayRef), row: usize| {
        let floats = array.as_primitive_opt::<Float64Type>();
        match floats.filter(|array| array.is_valid(row)) {
            Some(floats) => format!("{}={:x}", id.0, floats.value(row).to_bits()),
            None => format!("{}={:?}", id.0, array.slice(row, 1)),
        }
    };
    let row = |row: usize| {
        let key = &batch.series[batch.series_of_row.value(row) as usize];
        let cells: Vec<_> = batch.fields.iter().map(|field| cell(field, row)).collect();
        format!("{key:?} {} {}", batch.times()[row], cells.join(" "))
    };
    (0..batch.rows()).map(row).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases * 25 / 64))]

    #[test]
    fn bytes_give_back_the_batch(
        rows in rows_strategy(), columns in any::<u8>(), explicit in any::<bool>()
    ) {
        let nulls = if explicit { Nulls::Explicit } else { Nulls::Absent };
        let sorted = batch(&rows, columns, nulls).sorted().unwrap();
        let back = RowBatch::decode(&sorted.encode().unwrap()).unwrap();
        prop_assert!(back.is_sorted());
        prop_assert_eq!(back.nulls, nulls);
        prop_assert_eq!(listed(&back), listed(&sorted));
    }

    #[test]
    fn every_row_goes_to_the_shard_of_its_series_and_slice(rows in rows_strategy()) {
        let slices = TimeSlices::uniform(10);
        let shard_of = |hash: u64, slice: i64| ((hash % 2).cast_signed() + slice / 10).rem_euclid(3);
        let sorted = batch(&rows, ALL, Nulls::Absent).sorted().unwrap();
        let number = |hash, slice| u32::try_from(shard_of(hash, slice)).unwrap();
        let parts = sorted.clone().split(&slices, number).unwrap();
        prop_assert!(parts.is_sorted_by(|(a, _), (b, _)| a < b));
        let mut want: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        for (row, text) in listed(&sorted).into_iter().enumerate() {
            let key = &sorted.series[sorted.series_of_row.value(row) as usize];
            let shard = number(key.hash64(), slices.of(sorted.times()[row]).start);
            want.entry(shard).or_default().push(text);
        }
        for (shard, part) in &parts {
            prop_assert!(part.is_sorted());
            prop_assert_eq!(Some(listed(part)), want.remove(shard));
        }
        prop_assert!(want.is_empty());
    }

    #[test]
    fn joined_batches_are_the_rows_of_all_with_later_ones_last(
        parts in prop::collection::vec(rows_strategy(), 1..4)
    ) {
        let batches: Vec<_> = parts.iter().map(|rows| batch(rows, ALL, Nulls::Absent)).collect();
        let joined = RowBatch::concat(&batches).unwrap();
        let whole = batch(&parts.concat(), ALL, Nulls::Absent).sorted().unwrap();
        prop_assert_eq!(listed(&joined), listed(&whole));
    }
}

#[test]
fn a_column_that_one_batch_lacks_is_absent_in_its_rows() {
    let batches = [
        batch(&[new_row(0, 5, 1)], 0b01, Nulls::Absent),
        batch(&[new_row(0, 6, 2)], 0b10, Nulls::Absent),
    ];
    let joined = RowBatch::concat(&batches).unwrap();
    assert_eq!(joined.series, [series_key(0)]);
    let nulls: Vec<_> = joined.fields.iter().map(|(_, array)| array.is_null(0)).collect();
    assert_eq!(nulls, [false, true]);
}
