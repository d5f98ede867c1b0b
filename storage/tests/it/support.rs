//! A store in a temporary directory, tables, rows, and what a scan of them gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, TimestampNanosecondArray, UInt32Array};
use arrow::datatypes::{Float64Type, TimestampNanosecondType};
use quorate_storage::batch::{Nulls, RowBatch, ValidBatch};
use quorate_storage::catalog::{
    CatalogCommand, CatalogReply, ColumnDefinition, Table, TableOptions,
};
use quorate_storage::scan::{ScanRequest, TableView, TimeRange};
use quorate_storage::{
    ColumnId, ColumnKind, Error, FieldType, ReadLevel, SeriesKey, Store, StoreOptions,
    WriteOptions, WriteReceipt,
};

/// (host, time) → usage.
pub(crate) type Rows = BTreeMap<(String, i64), f64>;

pub(crate) const DAY: i64 = 86_400_000_000_000;
pub(crate) const USAGE: ColumnId = ColumnId(3);

/// Options that keep background work out of a test's way.
pub(crate) fn options(dir: impl Into<std::path::PathBuf>) -> StoreOptions {
    StoreOptions { shards: 2, wal_segment_bytes: 1 << 20, ..StoreOptions::new(dir) }
}

/// `cpu (time, host, usage)`.
pub(crate) async fn create_cpu(store: &Store, table: TableOptions) -> Arc<Table> {
    let column = |name: &str, kind| ColumnDefinition { name: name.to_owned(), kind };
    let reply = store
        .change_catalog(CatalogCommand::CreateTable {
            database: "main".to_owned(),
            name: "cpu".to_owned(),
            columns: vec![
                column("time", ColumnKind::Time),
                column("host", ColumnKind::Tag),
                column("usage", ColumnKind::Field(FieldType::Float64)),
            ],
            options: table,
            if_not_exists: true,
            extend: false,
        })
        .await
        .unwrap();
    assert!(!matches!(reply, CatalogReply::Rejected(_)));
    cpu(store)
}

pub(crate) fn cpu(store: &Store) -> Arc<Table> {
    Arc::clone(store.catalog().table("main", "cpu").unwrap())
}

pub(crate) fn batch(rows: &[(&str, i64, f64)]) -> RowBatch {
    let mut series: Vec<SeriesKey> = Vec::new();
    let mut series_of_row = Vec::new();
    for (host, _, _) in rows {
        let key = SeriesKey::encode([Some(*host)]);
        let place = series.iter().position(|k| *k == key).unwrap_or_else(|| {
            series.push(key);
            series.len() - 1
        });
        series_of_row.push(u32::try_from(place).unwrap());
    }
    let times: Vec<i64> = rows.iter().map(|r| r.1).collect();
    let values: ArrayRef = Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.2)));
    RowBatch {
        series,
        series_of_row: UInt32Array::from(series_of_row),
        time: Arc::new(TimestampNanosecondArray::from(times).with_timezone("UTC")),
        fields: vec![(USAGE, values)],
        nulls: Nulls::Absent,
    }
}

pub(crate) fn valid(store: &Store, rows: &[(&str, i64, f64)]) -> ValidBatch {
    let catalog = store.catalog();
    let table = catalog.table("main", "cpu").unwrap();
    ValidBatch::check(table, catalog.index, batch(rows)).unwrap()
}

pub(crate) async fn write(store: &Store, rows: &[(&str, i64, f64)]) -> Result<WriteReceipt, Error> {
    store.write(valid(store, rows), &WriteOptions::default()).await
}

/// With an idempotency key.
pub(crate) fn keyed(key: &str, digest: u8) -> WriteOptions {
    WriteOptions {
        idempotency_key: Some((key.to_owned(), 0)),
        digest: Some([digest; 32]),
        ..WriteOptions::default()
    }
}

pub(crate) async fn read(store: &Store) -> Rows {
    let table = cpu(store);
    let view = store.view(table.id, TimeRange::ALL, &ReadLevel::Linearizable).await.unwrap();
    rows(&view).unwrap()
}

/// All rows of a view; a row that comes twice is a failure.
pub(crate) fn rows(view: &TableView) -> Result<Rows, Error> {
    let table = view.table();
    let scan = view.scan(ScanRequest {
        columns: table.columns.iter().map(|c| c.id).collect(),
        time: TimeRange::ALL,
        values: Vec::new(),
        series: None,
        partitions: 2,
        limit: None,
        last: None,
    })?;
    let mut found = Rows::new();
    for partition in &scan.partitions {
        for batch in partition.open()? {
            let batch = batch?;
            let time = batch.column(0).as_primitive::<TimestampNanosecondType>();
            let host = batch.column(1).as_string_view();
            let usage = batch.column(2).as_primitive::<Float64Type>();
            for row in 0..batch.num_rows() {
                let host = if host.is_null(row) { "" } else { host.value(row) };
                let before = found.insert((host.to_owned(), time.value(row)), usage.value(row));
                assert_eq!(before, None, "row ({host}, {}) came twice", time.value(row));
            }
        }
    }
    Ok(found)
}

pub(crate) fn expect(rows: &[(&str, i64, f64)]) -> Rows {
    rows.iter().map(|(host, time, usage)| (((*host).to_owned(), *time), *usage)).collect()
}

/// `SplitMix64`.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}
