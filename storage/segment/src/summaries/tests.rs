//! Tests of summaries: cells against the rows that they are of.

use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{Float64Type, Int64Type, TimestampNanosecondType, UInt32Type, UInt64Type};
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

use super::{CellStatistic, Cells, MINUTE, ValueBounds, ValueRange, WIDTHS};
use crate::cache::ScanReads;
use crate::rows::{Batch, Run};
use crate::test_support::{
    MemDisk, Model, Random, Row, entries, open, path_of, piece, projection, schema, write_model,
};
use crate::{ColumnId, Compression, FieldType, SegmentReader, SeriesKey};

const TYPES: [FieldType; 4] =
    [FieldType::Float64, FieldType::Int64, FieldType::UInt64, FieldType::Utf8];
const STATISTICS: [CellStatistic; 7] = [
    CellStatistic::Count,
    CellStatistic::NanCount,
    CellStatistic::Min,
    CellStatistic::Max,
    CellStatistic::Sum,
    CellStatistic::First,
    CellStatistic::Last,
];

fn model(random: &mut Random, series: u64, rows: u64, step: i64) -> Model {
    let odd = [f64::NAN, -0.0, 0.0, f64::INFINITY, 1e300, -1e300, 0.1];
    let strange = random.below(2) == 0;
    (0..series)
        .map(|number| {
            let mut time = -7 * MINUTE - random.below(1_000).cast_signed();
            let row = |_| {
                time += 1 + random.below(2 * step.cast_unsigned()).cast_signed();
                let float = match random.below(30) {
                    0 if strange => odd[usize::try_from(random.below(7)).unwrap()],
                    _ => f64::from(u32::try_from(random.below(1_000)).unwrap()) / 10.0,
                };
                let int = match random.below(50) {
                    0 if strange => i64::MAX - 3,
                    1 if strange => i64::MIN,
                    _ => random.below(500).cast_signed() - 250,
                };
                let words = [float.to_bits(), int.cast_unsigned(), int.unsigned_abs()];
                let words = words.map(|word| word.to_le_bytes().to_vec());
                let text = format!("a text that takes bytes, {}", random.next()).into_bytes();
                let values = words.into_iter().chain([text]);
                let values = values.map(|value| (random.below(8) > 0).then_some(value));
                Row { time, values: values.collect(), cleared: Vec::new() }
            };
            let key = SeriesKey::encode([Some(format!("s{number:04}").as_str())]);
            (key, (0..rows).map(row).collect())
        })
        .collect()
}

fn written(model: &Model) -> Arc<SegmentReader> {
    let disk = MemDisk::new();
    let schema = schema(1, &TYPES);
    let meta = write_model(&disk, &schema, model, Compression::Zstd, || 333).unwrap().unwrap();
    open(&disk, &meta, 1 << 20).unwrap()
}

fn wanted(reader: &SegmentReader) -> Vec<(ColumnId, FieldType, CellStatistic)> {
    let fields = projection(&reader.meta().schema).into_iter().take(3);
    fields.flat_map(|(id, kind)| STATISTICS.map(|statistic| (id, kind, statistic))).collect()
}

fn cells(reader: &SegmentReader, ranges: &[Range<u64>]) -> Cells {
    reader.cells(ranges, &wanted(reader), &ScanReads::default()).unwrap()
}

/// A value of a column, as bits.
fn bits(column: &ArrayRef, at: usize) -> Option<u64> {
    if column.is_null(at) {
        return None;
    }
    if let Some(column) = column.as_primitive_opt::<Float64Type>() {
        Some(column.value(at).to_bits())
    } else if let Some(column) = column.as_primitive_opt::<Int64Type>() {
        Some(column.value(at).cast_unsigned())
    } else if let Some(column) = column.as_primitive_opt::<UInt32Type>() {
        Some(u64::from(column.value(at)))
    } else {
        Some(column.as_primitive::<UInt64Type>().value(at))
    }
}

/// What a cell must know of a field but its sum.
fn statistics(rows: &[&Row], field: usize) -> [Option<u64>; 6] {
    let word = |row: &&Row| {
        let bytes = row.values[field].as_ref()?;
        Some(u64::from_le_bytes(bytes.as_slice().try_into().unwrap()))
    };
    let values: Vec<u64> = rows.iter().filter_map(word).collect();
    let nan = |bits: &u64| field == 0 && f64::from_bits(*bits).is_nan();
    let mut sound: Vec<u64> = values.iter().copied().filter(|bits| !nan(bits)).collect();
    sound.sort_by(|a, b| match field {
        0 => f64::from_bits(*a).total_cmp(&f64::from_bits(*b)),
        1 => a.cast_signed().cmp(&b.cast_signed()),
        _ => a.cmp(b),
    });
    [
        Some(values.len() as u64),
        Some((values.len() - sound.len()) as u64),
        sound.first().copied(),
        sound.last().copied(),
        word(&rows[0]),
        word(&rows[rows.len() - 1]),
    ]
}

/// Whether a sum is right.
fn is_sum(rows: &[&Row], field: usize, sum: Option<u64>) -> bool {
    let values = rows.iter().filter_map(|row| row.values[field].as_ref());
    let words = values.map(|bytes| u64::from_le_bytes(bytes.as_slice().try_into().unwrap()));
    match field {
        0 => {
            let floats = words.map(f64::from_bits).filter(|value| !value.is_nan());
            let floats: Vec<f64> = floats.collect();
            if floats.is_empty() {
                return sum.is_none();
            }
            let (plain, size) = (floats.iter().sum::<f64>(), floats.iter().map(|x| x.abs()));
            let size: f64 = size.sum();
            match sum.map(f64::from_bits) {
                Some(sum) => sum.is_finite() && (sum - plain).abs() <= 1e-12 * size,
                None => floats.iter().any(|x| x.is_infinite() || x.abs() > 1e290),
            }
        }
        1 => {
            let words: Vec<i128> = words.map(|word| i128::from(word.cast_signed())).collect();
            let total =
                i64::try_from(words.iter().sum::<i128>()).ok().filter(|_| !words.is_empty());
            sum.map(u64::cast_signed) == total
        }
        _ => {
            let words: Vec<u128> = words.map(u128::from).collect();
            let total = u64::try_from(words.iter().sum::<u128>()).ok();
            sum == total.filter(|_| !words.is_empty())
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 16))]

    #[test]
    fn cells_know_what_their_rows_say(seed in any::<u64>(), step in 100i64..60_000) {
        let mut random = Random(seed);
        let model = model(&mut random, 6, 2_500, step * 1_000_000);
        let reader = written(&model);
        let width = reader.cell_width().unwrap().expect("rows of text outweigh their cells");
        prop_assert!(WIDTHS.contains(&width), "{width}");
        let all: Vec<&Row> = model.iter().flat_map(|(_, rows)| rows).collect();
        let ends = model.iter().scan(0, |end, (_, rows)| { *end += rows.len() as u64; Some(*end) });
        let ends: Vec<u64> = ends.collect();
        let everything = 0..reader.meta().rows;
        let cells = cells(&reader, std::slice::from_ref(&everything));
        let mut next = 0;
        for (at, (range, start)) in cells.rows.iter().zip(&cells.starts).enumerate() {
            prop_assert_eq!(range.start, next, "cells tile the rows");
            prop_assert!(!ends.iter().any(|end| range.start < *end && *end < range.end), "one series");
            next = range.end;
            let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            let rows = &all[range];
            prop_assert!(rows.iter().all(|row| row.time.div_euclid(width) * width == *start));
            prop_assert_eq!(cells.first_times[at], rows[0].time);
            prop_assert_eq!(cells.last_times[at], rows[rows.len() - 1].time);
            for field in 0..3 {
                let columns = &cells.columns[field * 7..][..7];
                let [count, nans, min, max, first, last] = statistics(rows, field);
                let got: Vec<_> = columns.iter().map(|column| bits(column, at)).collect();
                let (sum, others) = (got[4], [got[0], got[1], got[2], got[3], got[5], got[6]]);
                prop_assert_eq!(others, [count, nans, min, max, first, last], "field {}", field);
                prop_assert!(is_sum(rows, field, sum), "sum {:?} of field {}", sum, field);
            }
        }
        prop_assert_eq!(next, everything.end);
        prop_assert!(everything.end >= cells.rows.len() as u64 * super::CELL_ROWS_MIN);
    }
}

#[test]
fn cells_are_read_for_some_rows() {
    let model = model(&mut Random(3), 300, 2_000, 700_000_000);
    let reader = written(&model);
    let everything = 0..reader.meta().rows;
    let all = cells(&reader, std::slice::from_ref(&everything));
    assert!(all.rows.len() > 4_096, "{} cells are one row group", all.rows.len());
    for ranges in [[0..1, 2..3], [599_990..599_991, 599_999..600_000], [5..9, 100_000..100_001]] {
        let some = cells(&reader, &ranges);
        assert!(some.rows.len() < all.rows.len(), "{ranges:?} read all");
        for range in &ranges {
            let at = some.rows.iter().position(|rows| rows.contains(&range.start)).unwrap();
            let same = all.rows.iter().position(|rows| *rows == some.rows[at]).unwrap();
            assert_eq!(some.starts[at], all.starts[same], "{range:?}");
            for (some, all) in some.columns.iter().zip(&all.columns) {
                assert_eq!(bits(some, at), bits(all, same), "{range:?}");
            }
        }
    }
}

#[test]
fn summaries_that_are_not_worth_their_bytes_are_left_out() {
    let mut random = Random(5);
    let sparse = model(&mut random, 40, 30, MINUTE);
    assert_eq!(written(&sparse).cell_width().unwrap(), None, "30 rows are less than a cell has");
    let few = model(&mut random, 1, 100, MINUTE / 60);
    assert_eq!(written(&few).cell_width().unwrap(), None, "100 rows are shorter than a footer");
    let day = model(&mut random, 3, 3_000, 5 * MINUTE);
    let reader = written(&day);
    assert_eq!(reader.cell_width().unwrap(), Some(360 * MINUTE), "64 rows take hours");
    let text = projection(&reader.meta().schema)[3].0;
    assert!(!reader.has_cells_of(text).unwrap(), "texts have no sum");
    assert!(reader.has_cells_of(ColumnId(100)).unwrap());
}

#[test]
fn fields_that_a_segment_lacks_have_no_values() {
    let reader = written(&model(&mut Random(7), 2, 3_000, 1_000_000_000));
    let later = ColumnId(900);
    let wanted = [CellStatistic::Count, CellStatistic::Sum];
    let wanted = wanted.map(|statistic| (later, FieldType::Float64, statistic));
    let cells = reader.cells(&[0..1, 2..3], &wanted, &ScanReads::default()).unwrap();
    assert!(!cells.rows.is_empty());
    assert_eq!(bits(&cells.columns[0], 0), Some(0));
    assert_eq!(bits(&cells.columns[1], 0), None);
}

#[test]
fn rows_are_narrowed_to_cells() {
    let mut random = Random(11);
    let model = model(&mut random, 20, 2_000, 700_000_000);
    let reader = written(&model);
    let width = reader.cell_width().unwrap().unwrap();
    let all = entries(&reader).unwrap();
    for _ in 0..50 {
        let start = -10 * MINUTE + random.below(40 * MINUTE.cast_unsigned()).cast_signed();
        let end = start + random.below(10 * MINUTE.cast_unsigned()).cast_signed();
        let reads = ScanReads::default();
        let narrowed = reader.narrow_by_cells(all.clone(), (start, end), &[], &|_, _| true, &reads);
        let narrowed = narrowed.unwrap();
        for (entry, (key, rows)) in all.iter().zip(&model) {
            let wanted = |row: &&Row| (start..=end).contains(&row.time);
            let near = |row: &&Row| (start - width..=end + width).contains(&row.time);
            let kept = narrowed.iter().find(|narrowed| narrowed.key == *key);
            let Some(kept) = kept else {
                assert_eq!(rows.iter().filter(wanted).count(), 0, "{start}..={end}");
                continue;
            };
            assert!(entry.rows.start <= kept.rows.start && kept.rows.end <= entry.rows.end);
            let place = |row: u64| usize::try_from(row - entry.rows.start).unwrap();
            let kept = &rows[place(kept.rows.start)..place(kept.rows.end)];
            assert_eq!(kept.iter().filter(wanted).count(), rows.iter().filter(wanted).count());
            assert!(kept.iter().all(|row| near(&row)), "{start}..={end}");
        }
    }
}

fn bound<T>(value: Option<T>, exclusive: bool) -> Bound<T> {
    match value {
        None => Bound::Unbounded,
        Some(value) if exclusive => Bound::Excluded(value),
        Some(value) => Bound::Included(value),
    }
}

/// Whether a filter keeps a row.
type Keeps = Box<dyn Fn(&Row) -> bool>;

/// A range of values of one of the first three fields, and whether it keeps a row as filters do.
fn random_values(random: &mut Random) -> (ValueRange, Keeps) {
    let (low, high) = match random.below(4) {
        0 => (None, Some(random.below(4))),
        1 => (Some(0), Some(0)),
        2 => (Some(random.below(4)), Some(4)),
        _ => (Some(994 + random.below(8)), None),
    };
    let exclusive = random.below(2) == 0;
    let word = |row: &Row, field: usize| -> Option<u64> {
        Some(u64::from_le_bytes(row.values[field].as_ref()?.as_slice().try_into().unwrap()))
    };
    let field = random.below(3);
    let id = ColumnId(100 + 3 * u32::try_from(field).unwrap());
    let bounds = |scale: fn(u64) -> f64| {
        (bound(low.map(scale), exclusive), bound(high.map(scale), exclusive))
    };
    match field {
        0 => {
            let bounds = bounds(|tenths| tenths as f64 / 10.0);
            let keeps = move |row: &Row| {
                word(row, 0).is_some_and(|bits| {
                    let value = f64::from_bits(bits);
                    // Whether NaN, or one zero beside the other, is kept is the filter's to say.
                    value.is_nan() || value == 0.0 && low == Some(0) || bounds.contains(&value)
                })
            };
            (ValueRange { field: id, values: ValueBounds::Float64(bounds) }, Box::new(keeps))
        }
        1 => {
            let number = |value: u64| value.cast_signed() / 4 - 1;
            let bounds = (bound(low.map(number), exclusive), bound(high.map(number), exclusive));
            let keeps = move |row: &Row| {
                word(row, 1).is_some_and(|bits| bounds.contains(&bits.cast_signed()))
            };
            (ValueRange { field: id, values: ValueBounds::Int64(bounds) }, Box::new(keeps))
        }
        _ => {
            let bounds =
                (bound(low.map(|v| v / 4), exclusive), bound(high.map(|v| v / 4), exclusive));
            let keeps = move |row: &Row| word(row, 2).is_some_and(|bits| bounds.contains(&bits));
            (ValueRange { field: id, values: ValueBounds::UInt64(bounds) }, Box::new(keeps))
        }
    }
}

#[test]
fn rows_that_may_have_wanted_values_are_kept() {
    let mut fewer = 0;
    for seed in 0..8 {
        let mut random = Random(seed);
        let model = model(&mut random, 5, 3_000, 700_000_000);
        let reader = written(&model);
        let all = entries(&reader).unwrap();
        let width = reader.cell_width().unwrap().unwrap();
        for _ in 0..20 {
            let ranges: Vec<_> =
                (0..=random.below(2)).map(|_| random_values(&mut random)).collect();
            let values: Vec<ValueRange> = ranges.iter().map(|(range, _)| range.clone()).collect();
            let shared = random.below(40 * MINUTE.cast_unsigned()).cast_signed();
            let apart = |first: i64, last: i64| last < shared || shared + width < first;
            let time = (shared - 20 * MINUTE, shared + 20 * MINUTE);
            let reads = ScanReads::default();
            let narrowed = reader.narrow_by_cells(all.clone(), time, &values, &apart, &reads);
            let narrowed = narrowed.unwrap();
            assert!(narrowed.is_sorted_by(|a, b| a.rows.end <= b.rows.start), "{narrowed:?}");
            for (entry, (key, rows)) in all.iter().zip(&model) {
                for (number, row) in entry.rows.clone().zip(rows) {
                    let mut found = narrowed.iter().filter(|narrowed| narrowed.key == *key);
                    let found = found.find(|narrowed| narrowed.rows.contains(&number));
                    let in_time = time.0 <= row.time && row.time <= time.1;
                    let is_shared = shared <= row.time && row.time <= shared + width;
                    let is_wanted = ranges.iter().all(|(_, keeps)| keeps(row));
                    assert!(
                        found.is_some() || !in_time || !(is_shared || is_wanted),
                        "{row:?} {values:?}"
                    );
                    let times = found.map(|found| found.time_min..=found.time_max);
                    assert!(times.is_none_or(|times| times.contains(&row.time)));
                    fewer += usize::from(found.is_none() && in_time);
                }
            }
        }
    }
    assert!(fewer > 1_000, "{fewer} rows were left out");
}

#[test]
fn more_sparse_series_than_are_worth_holding_have_no_cells() {
    let disk = MemDisk::new();
    let schema = schema(1, &[FieldType::Int64; 64]);
    let model: Model = (0..40_000u64)
        .map(|number| {
            let values = vec![Some(number.to_le_bytes().to_vec()); 64];
            let row = Row { time: 5, values, cleared: Vec::new() };
            (SeriesKey::encode([Some(format!("s{number:06}").as_str())]), vec![row])
        })
        .collect();
    let mut builder = super::SummaryBuilder::new(&schema);
    assert_eq!(builder.held(), 0);
    let meta = write_model(&disk, &schema, &model, Compression::Lz4, || 1).unwrap().unwrap();
    assert_eq!(open(&disk, &meta, 0).unwrap().cell_width().unwrap(), None);
    let mut most = 0;
    for (number, (key, rows)) in model.iter().enumerate() {
        let piece = piece(&schema, key, rows);
        builder.add(&Batch {
            runs: vec![Run { key: key.clone(), rows: 1 }],
            time: piece.time.as_primitive::<TimestampNanosecondType>().clone(),
            fields: piece.fields,
            cleared: None,
        });
        most = most.max(builder.held());
        let given_up = number >= 2 * 1024 * 1024 / 65;
        assert_eq!(builder.held() == 0, given_up, "after {number} series");
    }
    assert!(most <= 2 << 20, "{most}");
}

#[test]
fn damaged_summaries_are_reported() {
    let disk = MemDisk::new();
    let schema = schema(1, &TYPES);
    let model = model(&mut Random(13), 4, 2_000, 700_000_000);
    let meta = write_model(&disk, &schema, &model, Compression::Zstd, || 333).unwrap().unwrap();
    let section = open(&disk, &meta, 0).unwrap().summaries();
    let whole = disk.bytes(&path_of(&meta));
    for place in
        [section.offset, section.offset + section.bytes / 2, section.offset + section.bytes - 1]
    {
        let mut bytes = whole.clone();
        bytes[usize::try_from(place).unwrap()] ^= 4;
        disk.put(&path_of(&meta), bytes);
        let damaged = || {
            let reader = open(&disk, &meta, 0)?;
            reader.cells(&[0..1, 2..reader.meta().rows], &wanted(&reader), &ScanReads::default())
        };
        let error = damaged().unwrap_err();
        assert!(matches!(error, crate::Error::Corrupt { .. }), "byte {place}: {error}");
    }
}
