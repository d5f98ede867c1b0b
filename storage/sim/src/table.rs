//! The table that clients write to, and how its rows are made and read.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, TimestampNanosecondArray, UInt32Array};
use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::{Float64Type, TimestampNanosecondType};
use quorate_storage::batch::{Nulls, RowBatch, ValidBatch};
use quorate_storage::catalog::{CatalogCommand, ColumnDefinition, Table, TableOptions};
use quorate_storage::scan::{ScanRequest, SeriesFilter, TableView, TimeRange};
use quorate_storage::{ColumnId, ColumnKind, Error, FieldType, SeriesKey, Store};
use xxhash_rust::xxh3::xxh3_64;

use crate::history::{Key, OpId, Rows};

const DATABASE: &str = "main";
const TABLE: &str = "points";
const VALUE: ColumnId = ColumnId(3);
/// Width of a time slice.
pub(crate) const DAY: i64 = 86_400_000_000_000;
/// Days that rows are in: enough for every shard to have some.
pub(crate) const DAYS: i64 = 4;

/// Makes the table, unless it is there.
pub(crate) async fn create(store: Store) -> Result<(), Error> {
    let column = |name: &str, kind| ColumnDefinition { name: name.to_owned(), kind };
    let command = CatalogCommand::CreateTable {
        database: DATABASE.to_owned(),
        name: TABLE.to_owned(),
        columns: vec![
            column("time", ColumnKind::Time),
            column("host", ColumnKind::Tag),
            column("value", ColumnKind::Field(FieldType::Float64)),
        ],
        options: TableOptions::default(),
        if_not_exists: true,
        extend: false,
    };
    store.change_catalog(command).await.map(|_| ())
}

/// The table, where this node knows it.
pub(crate) fn find(store: &Store) -> Option<Arc<Table>> {
    store.catalog().table(DATABASE, TABLE).cloned()
}

/// The shard of a row: the documented token of the table's slice, modulo the number of shards.
pub(crate) fn shard_of(table: &Table, shards: u32, time: i64) -> u32 {
    let mut bytes = [0_u8; 20];
    bytes[..8].copy_from_slice(&table.id.0.to_be_bytes());
    bytes[8..16].copy_from_slice(&(time.div_euclid(DAY) * DAY).to_be_bytes());
    u32::try_from(xxh3_64(&bytes) % u64::from(shards)).expect("less than the number of shards")
}

/// A batch that gives these points this value.
#[expect(clippy::cast_precision_loss, reason = "a simulation has fewer than 2^53 operations")]
pub(crate) fn batch(store: &Store, keys: &[Key], value: OpId) -> Option<ValidBatch> {
    let table = find(store)?;
    let mut series: Vec<SeriesKey> = Vec::new();
    let mut series_of_row: Vec<u32> = Vec::new();
    for (host, _) in keys {
        let key = SeriesKey::encode([Some(host.as_str())]);
        let place = series.iter().position(|k| *k == key).unwrap_or_else(|| {
            series.push(key);
            series.len() - 1
        });
        series_of_row.push(u32::try_from(place).ok()?);
    }
    let times: Vec<i64> = keys.iter().map(|(_, time)| *time).collect();
    let values: ArrayRef =
        Arc::new(Float64Array::from_iter_values(keys.iter().map(|_| value as f64)));
    let rows = RowBatch {
        series,
        series_of_row: UInt32Array::from(series_of_row),
        time: Arc::new(TimestampNanosecondArray::from(times).with_timezone("UTC")),
        fields: vec![(VALUE, values)],
        nulls: Nulls::Absent,
    };
    ValidBatch::check(&table, store.catalog().index, rows).ok()
}

/// Keeps one series.
#[derive(Debug)]
pub(crate) struct OnlyHost(pub(crate) String);

impl SeriesFilter for OnlyHost {
    fn keep(&self, tags: &RecordBatch) -> Result<BooleanArray, Error> {
        let hosts = tags.column(0).as_string_view();
        Ok(hosts.iter().map(|host| Some(host == Some(self.0.as_str()))).collect())
    }
}

/// All rows of a view. A row that comes twice, or whose value no operation can have written, is told as text.
#[expect(clippy::cast_possible_truncation, reason = "what does not fit is compared with the value")]
#[expect(clippy::cast_sign_loss, reason = "what does not fit is compared with the value")]
#[expect(clippy::cast_precision_loss, reason = "a simulation has fewer than 2^53 operations")]
pub(crate) fn rows(view: &TableView) -> Result<Result<Rows, String>, Error> {
    let table = view.table();
    let scan = view.scan(ScanRequest {
        columns: table.columns.iter().map(|c| c.id).collect(),
        time: TimeRange::ALL,
        values: Vec::new(),
        series: None,
        partitions: 1,
        limit: None,
        last: None,
    })?;
    let mut found = Rows::new();
    for partition in &scan.partitions {
        for batch in partition.open()? {
            let batch = batch?;
            let time = batch.column(0).as_primitive::<TimestampNanosecondType>();
            let host = batch.column(1).as_string_view();
            let value = batch.column(2).as_primitive::<Float64Type>();
            for row in 0..batch.num_rows() {
                let key = (host.value(row).to_owned(), time.value(row));
                let id = value.value(row) as OpId;
                if value.is_null(row) || (id as f64).to_bits() != value.value(row).to_bits() {
                    return Ok(Err(format!("{key:?} has the value {:?}", value.value(row))));
                }
                if let Some(before) = found.insert(key.clone(), id) {
                    return Ok(Err(format!("{key:?} comes twice: {before} and {id}")));
                }
            }
        }
    }
    Ok(Ok(found))
}
