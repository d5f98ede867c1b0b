//! Scans: limits, statistics, partitions, and what a filter is asked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{AsArray, BooleanArray};
use arrow::datatypes::{DataType, TimestampNanosecondType, UInt64Type};
use arrow::record_batch::RecordBatch;

use super::*;
use crate::batch::{Nulls, TimeSlices};
use crate::memtable::Memtable;
use crate::model_tests::{SLICE, TABLE, batch, new_row, table};
use crate::{ColumnId, Error};

const TIME: ColumnId = ColumnId(0);

/// What the values of a row are made of.
fn seed_of(time: i64) -> u8 {
    u8::try_from(time.rem_euclid(251)).unwrap()
}

/// A view of these (series, time), inserted one batch after another.
fn view(batches: &[&[(usize, i64)]]) -> TableView {
    view_of(batches, SLICE)
}

fn view_of(batches: &[&[(usize, i64)]], slice: i64) -> TableView {
    let mut memtable = Memtable::new(0);
    for (log_index, rows) in (0u64..).zip(batches) {
        let rows = rows.iter().map(|(series, time)| new_row(*series, *time, seed_of(*time)));
        let rows: Vec<_> = rows.collect();
        let rows = batch(&rows, u8::MAX, Nulls::Absent);
        memtable.insert(TABLE, rows, &TimeSlices::uniform(slice), log_index).unwrap();
    }
    let rows =
        ShardRows { memtables: vec![memtable.view(TABLE, TimeRange::ALL)], ..ShardRows::default() };
    TableView::new(table(), vec![rows])
}

fn request(columns: &[ColumnId]) -> ScanRequest {
    ScanRequest {
        columns: columns.to_vec(),
        time: TimeRange::ALL,
        values: Vec::new(),
        series: None,
        partitions: 1,
        limit: None,
        last: None,
    }
}

fn rows(scan: &TableScan) -> Vec<usize> {
    let count = |partition: &ScanPartition| {
        partition.open().unwrap().map(|batch| batch.unwrap().num_rows()).sum()
    };
    scan.partitions.iter().map(count).collect()
}

#[test]
fn without_columns_batches_still_count_rows() {
    let scan = view(&[&[(0, 1), (1, 2), (0, 15)]]).scan(request(&[])).unwrap();
    assert_eq!(rows(&scan), [3]);
    assert_eq!(scan.schema.fields().len(), 0);
}

#[test]
fn a_partition_stops_at_the_limit() {
    let limited = ScanRequest { limit: Some(2), ..request(&[TIME]) };
    assert_eq!(rows(&view(&[&[(0, 1), (1, 2), (0, 15)]]).scan(limited).unwrap()), [2]);
    let none = ScanRequest { limit: Some(0), ..request(&[TIME]) };
    assert_eq!(rows(&view(&[&[(0, 1)]]).scan(none).unwrap()), [0]);
}

#[test]
fn an_unknown_column_is_refused() {
    assert!(matches!(view(&[]).scan(request(&[ColumnId(99)])), Err(Error::Invalid(_))));
}

#[test]
fn an_empty_table_has_no_partitions_and_exactly_no_rows() {
    let scan = view(&[]).scan(request(&[TIME])).unwrap();
    assert!(scan.partitions.is_empty());
    let statistics = ScanStatistics {
        rows: 0,
        rows_exact: true,
        rows_expected: 0,
        time: None,
        time_exact: true,
    };
    assert_eq!(scan.statistics, statistics);
}

#[test]
fn a_count_is_exact_only_if_no_source_may_repeat_a_key_of_another() {
    let exact = |batches: &[&[(usize, i64)]], time: TimeRange| {
        let request = ScanRequest { time, ..request(&[TIME]) };
        let statistics = view(batches).scan(request).unwrap().statistics;
        (statistics.rows, statistics.rows_exact)
    };
    assert_eq!(exact(&[&[(0, 1)], &[(0, 15)]], TimeRange::ALL), (2, true), "other slices");
    assert_eq!(exact(&[&[(0, 1)], &[(0, 2)]], TimeRange::ALL), (2, true), "later times");
    assert_eq!(exact(&[&[(0, 1)], &[(1, 1)]], TimeRange::ALL), (2, true), "other series");
    assert_eq!(exact(&[&[(0, 1)], &[(0, 1)]], TimeRange::ALL), (2, false), "the same key");
    let cut = TimeRange { start: 2, end: 20 };
    assert_eq!(exact(&[&[(0, 1), (0, 3)]], cut), (2, false), "a time bound cuts the run");
}

#[test]
fn partitions_share_the_rows_about_evenly_and_repeat_none() {
    let all: Vec<(usize, i64)> = (0..6).flat_map(|s| (0..1_000).map(move |t| (s, t))).collect();
    let view = view(&[&all]);
    for partitions in [1, 2, 3, 6, 50] {
        let scan = view.scan(ScanRequest { partitions, ..request(&[TIME]) }).unwrap();
        let rows = rows(&scan);
        assert_eq!(rows.iter().sum::<usize>(), 6_000);
        assert_eq!(rows.len(), partitions.min(6), "six series");
        assert!(rows.iter().max() <= rows.iter().min().map(|min| min * 2).as_ref(), "{rows:?}");
    }
}

/// Keeps all, and remembers what it was asked.
#[derive(Debug, Default)]
struct Asked {
    series: AtomicU64,
    columns: Mutex<Vec<String>>,
}

impl SeriesFilter for Asked {
    fn keep(&self, tags: &RecordBatch) -> Result<BooleanArray, Error> {
        self.series.fetch_add(tags.num_rows() as u64, Ordering::Relaxed);
        let names = tags.schema().fields().iter().map(|f| f.name().clone()).collect();
        *self.columns.lock().unwrap() = names;
        Ok(BooleanArray::from(vec![true; tags.num_rows()]))
    }
}

#[test]
fn a_filter_is_asked_once_per_distinct_series() {
    let asked = Arc::new(Asked::default());
    let filter = Arc::clone(&asked) as Arc<dyn SeriesFilter>;
    let request = ScanRequest { series: Some(filter), partitions: 4, ..request(&[TIME]) };
    let scan = view(&[&[(0, 1), (1, 2)], &[(0, 12), (2, 13)], &[(0, 1)]]).scan(request).unwrap();
    assert_eq!(asked.series.load(Ordering::Relaxed), 3);
    assert_eq!(*asked.columns.lock().unwrap(), ["host", "region"]);
    assert_eq!(scan.counters.series.load(Ordering::Relaxed), 3);
    assert_eq!(rows(&scan).iter().sum::<usize>(), 4);
}

#[test]
fn only_overlapping_rows_are_merged_one_by_one() {
    let merged = |batches: &[&[(usize, i64)]]| {
        let scan = view(batches).scan(request(&[TIME])).unwrap();
        rows(&scan);
        scan.counters.rows_merged.load(Ordering::Relaxed)
    };
    assert_eq!(merged(&[&[(0, 1), (0, 2)], &[(0, 3), (0, 4)], &[(1, 1)]]), 0);
    assert_eq!(merged(&[&[(0, 1), (0, 3)], &[(0, 2), (0, 3)]]), 4, "rows of runs that overlap");
}

#[test]
fn columns_come_in_the_order_of_the_request_and_tags_as_views() {
    let table = table();
    let columns = [ColumnId(5), ColumnId(7), TIME, ColumnId(1), ColumnId(5)];
    let scan = view(&[&[(4, 1)]]).scan(request(&columns)).unwrap();
    let names: Vec<_> = scan.schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names, ["region", "s", "time", "host", "region"]);
    let batch = scan.partitions[0].open().unwrap().next().unwrap().unwrap();
    assert_eq!(batch.column(0).as_string_view().value(0), "eu");
    assert_eq!(batch.column(3).as_string_view().value(0), "a");
    let schema = table_schema(&table);
    assert_eq!(schema.field(0).data_type(), &DataType::Utf8View);
    assert!(!schema.field_with_name("time").unwrap().is_nullable());
    assert_eq!(schema.fields().len(), table.columns.len());
}

#[test]
fn long_slices_are_batches_of_their_own_and_short_ones_are_put_together() {
    // In the order of their keys, with rows from time 0 on; the scan leaves out the first 50 of each.
    let series = [
        ((None, None), 0, 5_000),
        ((None, Some("eu")), 3, 100),
        ((Some("a"), None), 1, 3_000),
        ((Some("a"), Some("eu")), 4, 200),
        ((Some("b\0"), None), 2, 9_000),
        ((Some("b\0"), Some("eu")), 5, 2_500),
    ];
    let all: Vec<(usize, i64)> =
        series.iter().flat_map(|(_, number, rows)| (0..*rows).map(|t| (*number, t))).collect();
    let time = TimeRange { start: 50, end: 20_000 };
    let columns = [ColumnId(1), ColumnId(5), TIME, ColumnId(4)];
    let scan = view_of(&[&all], 1 << 40).scan(ScanRequest { time, ..request(&columns) }).unwrap();
    let batches: Vec<RecordBatch> =
        scan.partitions[0].open().unwrap().map(|batch| batch.unwrap()).collect();
    let rows: Vec<usize> = batches.iter().map(RecordBatch::num_rows).collect();
    assert_eq!(rows, [4_950, 8_192, 3_908, 2_450]);
    let mut want = series
        .iter()
        .flat_map(|(tags, _, rows)| (50..*rows).map(move |time| (tags.0, tags.1, time)));
    for batch in &batches {
        let hosts = batch.column(0).as_string_view();
        let regions = batch.column(1).as_string_view();
        let times = batch.column(2).as_primitive::<TimestampNanosecondType>();
        let values = batch.column(3).as_primitive::<UInt64Type>();
        for (row, (host, region)) in hosts.iter().zip(regions).enumerate() {
            assert_eq!(Some((host, region, times.value(row))), want.next());
            let value = match seed_of(times.value(row)) {
                seed if seed % 4 == 0 => u64::MAX,
                seed if seed % 4 == 1 => 1 << 63,
                seed => u64::from(seed),
            };
            assert_eq!(values.value(row), value);
        }
    }
    assert_eq!(want.next(), None);
}
