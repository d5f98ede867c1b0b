//! Routing that changes under rows, writers, deletes and repeats.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, TimestampNanosecondArray, UInt32Array};
use arrow::datatypes::{Float64Type, TimestampNanosecondType};
use quorate_segment::{ColumnKind, FieldType, SeriesKey};
use quorate_wal::RealDisk;
use tempfile::TempDir;

use super::*;
use crate::batch::{Nulls, ValidBatch};
use crate::catalog::{ColumnDefinition, TableOptions};
use crate::scan::{ScanRequest, TimeRange};
use crate::store::write::route_once;
use crate::store::{
    Delete, ReadLevel, RoutingStatus, SeriesSelection, StoreOptions, WriteOptions, WriteReceipt,
};

const DAY: i64 = 86_400_000_000_000;

type Rows = BTreeMap<(String, i64), f64>;

/// A store with the table `cpu (time, host, usage)`.
struct Fixture {
    store: Store,
    table: TableId,
    dir: TempDir,
}

impl Fixture {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir).await;
        let column = |name: &str, kind| ColumnDefinition { name: name.to_owned(), kind };
        let command = CatalogCommand::CreateTable {
            database: "main".to_owned(),
            name: "cpu".to_owned(),
            columns: vec![
                column("time", ColumnKind::Time),
                column("host", ColumnKind::Tag),
                column("usage", ColumnKind::Field(FieldType::Float64)),
            ],
            options: TableOptions::default(),
            if_not_exists: false,
            extend: false,
        };
        store.change_catalog(command).await.unwrap();
        let table = store.catalog().table("main", "cpu").unwrap().id;
        Self { store, table, dir }
    }

    async fn restart(self) -> Self {
        let Self { store, table, dir } = self;
        store.close().await.unwrap();
        drop(store);
        Self { store: open(&dir).await, table, dir }
    }

    async fn write(&self, rows: &Rows, key: Option<&str>) -> Result<WriteReceipt, Error> {
        let options = keyed(key);
        self.store.write(batch(&self.store, rows), &options).await
    }

    async fn read(&self) -> Rows {
        let view = self.store.view(self.table, TimeRange::ALL, &ReadLevel::Linearizable);
        rows_of(&view.await.unwrap())
    }

    async fn set(&self, width: Option<i64>, spread: Option<u32>) -> Result<(), Error> {
        self.store.change_options(self.table, &to(width, spread)).await
    }

    async fn delete(&self, start: i64, end: i64) {
        let delete = Delete {
            table: self.table,
            time: TimeRange { start, end },
            series: SeriesSelection::All,
        };
        self.store.delete(delete, &WriteOptions::default()).await.unwrap();
    }

    fn shard(&self, host: &str, time: i64) -> ShardId {
        let series = SeriesKey::encode([Some(host)]);
        self.store.place_of(self.table, &series, time).unwrap().shard
    }

    /// Where the newest routing is in force from.
    fn first_slice(&self) -> Option<i64> {
        let routing = self.store.routing(self.table);
        routing.iter().rfind(|record| record.in_force).unwrap().first_slice
    }

    /// Begins a change as a coordinator that dies then.
    async fn begin(&self, first_slice: i64, change: OptionsChange) {
        let command = MetaCommand::BeginRouting { table: self.table, first_slice, change };
        let reply = self.store.inner.propose_meta(&command).await.unwrap();
        assert_eq!(reply, MetaReply::Done);
    }

    /// One attempt by metadata that may be old; how many parts were refused.
    async fn attempt(&self, meta: &MetaState, rows: &Rows, key: Option<&str>) -> usize {
        let batch = batch(&self.store, rows);
        route_once(&self.store, meta, batch, &keyed(key)).await
    }

    fn pending(&self) -> bool {
        self.store.routing(self.table).iter().any(|record| !record.in_force)
    }
}

async fn open(dir: &TempDir) -> Store {
    let options = StoreOptions { wal_segment_bytes: 1 << 20, ..StoreOptions::new(dir.path()) };
    Store::open(RealDisk::shared(), options).await.unwrap()
}

fn to(time_slice_ns: Option<i64>, spread: Option<u32>) -> OptionsChange {
    OptionsChange { time_slice_ns, spread, retention_ns: None }
}

fn keyed(key: Option<&str>) -> WriteOptions {
    WriteOptions {
        idempotency_key: key.map(|key| (key.to_owned(), 0)),
        digest: key.map(|_| [7; 32]),
        ..WriteOptions::default()
    }
}

/// A row of each of some hosts.
fn rows(hosts: u32, time: i64, value: f64) -> Rows {
    (0..hosts).map(|host| ((format!("h{host}"), time), value)).collect()
}

fn join(parts: &[Rows]) -> Rows {
    parts.iter().flatten().map(|(key, value)| (key.clone(), *value)).collect()
}

fn batch(store: &Store, rows: &Rows) -> ValidBatch {
    let hosts: BTreeSet<&String> = rows.keys().map(|(host, _)| host).collect();
    let hosts: Vec<&String> = hosts.into_iter().collect();
    let number = |host: &String| u32::try_from(hosts.binary_search(&host).unwrap()).unwrap();
    let times: Vec<i64> = rows.keys().map(|(_, time)| *time).collect();
    let values: ArrayRef = Arc::new(Float64Array::from_iter_values(rows.values().copied()));
    let catalog = store.catalog();
    let table = catalog.table("main", "cpu").unwrap();
    let rows = RowBatch {
        series: hosts.iter().map(|host| SeriesKey::encode([Some(host.as_str())])).collect(),
        series_of_row: UInt32Array::from_iter_values(rows.keys().map(|(host, _)| number(host))),
        time: Arc::new(TimestampNanosecondArray::from(times).with_timezone("UTC")),
        fields: vec![(table.column("usage").unwrap().id, values)],
        nulls: Nulls::Absent,
    };
    ValidBatch::check(table, catalog.index, rows).unwrap()
}

fn rows_of(view: &crate::scan::TableView) -> Rows {
    let scan = view
        .scan(ScanRequest {
            columns: view.table().columns.iter().map(|c| c.id).collect(),
            time: TimeRange::ALL,
            values: Vec::new(),
            series: None,
            partitions: 2,
            limit: None,
            last: None,
        })
        .unwrap();
    let mut found = Rows::new();
    for partition in &scan.partitions {
        for batch in partition.open().unwrap() {
            let batch = batch.unwrap();
            let time = batch.column(0).as_primitive::<TimestampNanosecondType>();
            let host = batch.column(1).as_string_view();
            let usage = batch.column(2).as_primitive::<Float64Type>();
            for row in 0..batch.num_rows() {
                let key = (host.value(row).to_owned(), time.value(row));
                let before = found.insert(key.clone(), usage.value(row));
                assert_eq!(before, None, "{key:?} comes twice");
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_stay_where_they_are_and_later_ones_are_placed_anew() {
    let mut fixture = Fixture::open().await;
    let old = rows(40, 3 * DAY + 5, 1.0);
    fixture.write(&old, None).await.unwrap();
    let shards: BTreeSet<_> = (0..40).map(|h| fixture.shard(&format!("h{h}"), 3 * DAY)).collect();
    assert_eq!(shards.len(), 1);

    fixture.set(Some(DAY / 4), Some(16)).await.unwrap();
    let options = fixture.store.catalog().tables[&fixture.table].options.clone();
    assert_eq!((options.time_slice_ns, options.spread), (DAY / 4, 16));
    let want = RoutingStatus {
        first_slice: Some(4 * DAY),
        time_slice_ns: DAY / 4,
        spread: 16,
        in_force: true,
    };
    assert_eq!(fixture.store.routing(fixture.table)[1..], [want]);
    // The slice that has rows takes more where it is; the next one is spread.
    let (same, new) = (rows(40, 4 * DAY - 1, 2.0), rows(40, 4 * DAY, 3.0));
    assert_eq!(fixture.write(&same, None).await.unwrap().shards.len(), 1);
    assert!(fixture.write(&new, None).await.unwrap().shards.len() > 4);
    let again = rows(20, 3 * DAY + 5, 4.0);
    fixture.write(&again, None).await.unwrap();
    let all = join(&[old, same, new, again]);
    assert_eq!(fixture.read().await, all);
    fixture.store.flush().await.unwrap();
    fixture.store.compact().await.unwrap();
    assert_eq!(fixture.read().await, all);
    fixture = fixture.restart().await;
    assert_eq!((fixture.read().await, fixture.first_slice()), (all.clone(), Some(4 * DAY)));

    // Back to one shard, in wider slices; deletes cross the changes.
    fixture.set(Some(2 * DAY), Some(1)).await.unwrap();
    assert_eq!(fixture.first_slice(), Some(4 * DAY + DAY / 4));
    let last = rows(40, 5 * DAY, 5.0);
    assert_eq!(fixture.write(&last, None).await.unwrap().shards.len(), 1);
    fixture.delete(4 * DAY - 1, 4 * DAY).await;
    let kept = |key: &(String, i64)| key.1 != 4 * DAY && key.1 != 4 * DAY - 1;
    let mut left = join(&[all, last]);
    left.retain(|key, _| kept(key));
    assert_eq!(fixture.read().await, left);
    fixture = fixture.restart().await;
    assert_eq!(fixture.read().await, left);
    fixture.store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_table_is_routed_anew_from_the_beginning_and_the_same_values_change_nothing() {
    let fixture = Fixture::open().await;
    fixture.set(Some(DAY), Some(1)).await.unwrap();
    assert_eq!(fixture.store.routing(fixture.table).len(), 1, "it is so already");
    fixture.set(None, Some(8)).await.unwrap();
    fixture.set(Some(DAY / 2), None).await.unwrap();
    let routing = fixture.store.routing(fixture.table);
    assert_eq!(routing.len(), 2, "what holds no rows is replaced: {routing:?}");
    assert_eq!((routing[1].time_slice_ns, routing[1].spread), (DAY / 2, 8));
    assert!(routing[1].first_slice < Some(-200 * 365 * DAY));
    let all = join(&[rows(40, 0, 1.0), rows(40, i64::MIN, 2.0), rows(40, i64::MAX, 3.0)]);
    fixture.write(&all, None).await.unwrap();
    assert_eq!(fixture.read().await, all);

    let refused = fixture.set(None, Some(2)).await.unwrap_err();
    assert!(refused.to_string().contains("delete the rows that are that far"), "{refused}");
    assert!(fixture.set(None, Some(2_000)).await.unwrap_err().to_string().contains("spread is"));
    assert!(!fixture.pending());
    fixture.store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_in_the_future_keep_the_old_routing_up_to_them_until_they_are_deleted() {
    let mut fixture = Fixture::open().await;
    let (now, later) = (rows(4, DAY, 1.0), rows(4, 9_000 * DAY, 2.0));
    fixture.write(&join(&[now.clone(), later.clone()]), None).await.unwrap();
    fixture.store.flush().await.unwrap();
    fixture.set(None, Some(4)).await.unwrap();
    assert_eq!(fixture.first_slice(), Some(9_001 * DAY));
    fixture.delete(9_000 * DAY, i64::MAX).await;
    fixture.set(None, Some(16)).await.unwrap();
    assert_eq!(fixture.first_slice(), Some(2 * DAY));
    // The deleted rows are still in a file of the slice's old shard; those of the new one are other rows.
    assert_eq!(fixture.read().await, now);
    let again = rows(40, 9_000 * DAY, 3.0);
    fixture.write(&again, None).await.unwrap();
    let all = join(&[now, again]);
    assert_eq!(fixture.read().await, all);
    fixture.store.flush().await.unwrap();
    fixture.store.compact().await.unwrap();
    assert_eq!(fixture.read().await, all);
    fixture = fixture.restart().await;
    assert_eq!(fixture.read().await, all);
    fixture.store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_was_left_half_done_is_finished_by_whom_it_concerns() {
    let fixture = Fixture::open().await;
    let old = rows(8, 0, 1.0);
    fixture.write(&old, None).await.unwrap();
    fixture.begin(DAY, to(None, Some(8))).await;
    let before = rows(8, DAY - 1, 2.0);
    fixture.write(&before, None).await.unwrap();
    assert!(fixture.pending(), "rows that both routings place alike need not wait");
    let behind = rows(8, DAY, 3.0);
    fixture.write(&behind, None).await.unwrap();
    assert!(!fixture.pending());
    assert_eq!(fixture.first_slice(), Some(DAY), "it was ended before these rows were written");

    // Another statement ends what the one before began; so does maintenance.
    fixture.begin(2 * DAY, to(None, Some(4))).await;
    fixture.set(None, Some(3)).await.unwrap();
    let spreads: Vec<u32> = fixture.store.routing(fixture.table).iter().map(|r| r.spread).collect();
    assert_eq!(spreads, [1, 8, 3], "the change to 4 was ended, and holds no rows");
    fixture.begin(2 * DAY, to(None, Some(5))).await;
    finish_all(&fixture.store, Duration::from_secs(30)).await;
    assert!(!fixture.pending());
    assert_eq!(fixture.store.catalog().tables[&fixture.table].options.spread, 5);
    assert_eq!(fixture.read().await, join(&[old, before, behind]));
    fixture.store.close().await.unwrap();
}

/// The rows of an attempt by the old routing: shards that were not fenced yet took theirs.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_came_before_the_fence_pushes_the_new_routing_behind_it() {
    let fixture = Fixture::open().await;
    fixture.write(&rows(8, 0, 1.0), None).await.unwrap();
    let old = fixture.store.meta_state();
    fixture.begin(DAY, to(None, Some(8))).await;
    let late = rows(8, 5 * DAY, 2.0);
    let stale = fixture.attempt(&old, &late, None).await;
    assert_eq!(stale, 0, "no shard is fenced yet");
    let first = rows(8, DAY, 3.0);
    fixture.write(&first, None).await.unwrap();
    assert_eq!(fixture.first_slice(), Some(6 * DAY));
    let stale = fixture.attempt(&old, &late, None).await;
    assert_eq!(stale, 1, "all shards are");
    assert_eq!(fixture.read().await, join(&[rows(8, 0, 1.0), late, first]));
    fixture.store.close().await.unwrap();
}

/// The owner of a key knows it by the new routing, be it only by name: that is no answer to rows that the old one brings.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_by_the_old_routing_is_not_taken_for_what_the_owner_of_its_key_was_told() {
    let fixture = Fixture::open().await;
    fixture.write(&rows(2, 0, 1.0), None).await.unwrap();
    let old = fixture.store.meta_state();
    fixture.set(None, Some(8)).await.unwrap();
    // As many keys as it takes for one to be owned by the shard that the old routing has in mind.
    let mut all = rows(2, 0, 1.0);
    for n in 0..64 {
        let (key, new) = (format!("k{n}"), rows(2, 3 * DAY + n, 2.0));
        let written = fixture.write(&new, Some(&key)).await.unwrap();
        let stale = fixture.attempt(&old, &new, Some(&key)).await;
        assert_eq!(stale, 1, "key {key} was answered by what its owner was told");
        let again = fixture.write(&new, Some(&key)).await.unwrap();
        let places = |receipt: &WriteReceipt| -> Vec<_> {
            receipt.shards.iter().map(|part| (part.shard, part.index, part.accepted)).collect()
        };
        assert_eq!(places(&again), places(&written));
        assert!(again.shards.iter().all(|part| part.duplicate));
        all.extend(new);
    }
    assert_eq!(fixture.read().await, all);
    fixture.store.close().await.unwrap();
}

/// A shard that holds a part of the write by the old routing must not take it for the part that the new one brings.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_that_is_routed_anew_loses_nothing_and_doubles_nothing() {
    let fixture = Fixture::open().await;
    let first = 3 * DAY;
    fixture.write(&rows(1, first - DAY, 0.0), None).await.unwrap();
    let (kept, fenced) = (fixture.shard("h0", first - DAY), fixture.shard("h0", first));
    assert_ne!(kept, fenced);
    // A key whose owner is not the shard that refuses: nothing would be done at all.
    let owner = |key: &str| xxhash_rust::xxh3::xxh3_64(key.as_bytes()) % 8;
    let key = ["key", "k", "again"].into_iter().find(|key| owner(key) != u64::from(fenced.0));
    let key = key.unwrap();
    let old = fixture.store.meta_state();
    fixture.begin(first, to(None, Some(64))).await;
    let epoch = fixture.store.meta_state().routing.epoch(fixture.table).unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    fence(&fixture.store, fenced, fixture.table, epoch, until).await.unwrap();
    let done = rows(40, first - DAY, 1.0);
    let all = join(&[done.clone(), rows(40, first, 2.0)]);
    assert_eq!(fixture.attempt(&old, &all, Some(key)).await, 1, "the fenced shard refused");
    assert_eq!(fixture.read().await, done, "the other one did not");

    // What somebody wrote over the part that was done stays: the repeat does not do it again.
    let other = rows(20, first - DAY, 9.0);
    fixture.write(&other, None).await.unwrap();
    let want = join(&[all.clone(), other]);
    let receipt = fixture.write(&all, Some(key)).await.unwrap();
    assert_eq!(receipt.shards.iter().map(|part| part.accepted).sum::<u64>(), 80);
    let shards: BTreeSet<_> = (0..40).map(|h| fixture.shard(&format!("h{h}"), first)).collect();
    assert!(shards.contains(&kept) && shards.len() > 4, "{kept:?} not in {shards:?}");
    assert_eq!(fixture.read().await, want);
    let again = fixture.write(&all, Some(key)).await.unwrap();
    assert!(again.shards.iter().all(|part| part.duplicate), "{again:?}");
    assert_eq!(fixture.read().await, want);
    let status = fixture.store.key_status(key).await.unwrap();
    let epochs: BTreeSet<u64> = status.iter().map(|status| status.epoch).collect();
    assert_eq!(epochs, BTreeSet::from([0, epoch]));
    let options = WriteOptions { digest: Some([8; 32]), ..keyed(Some(key)) };
    let other = fixture.store.write(batch(&fixture.store, &want), &options).await;
    assert!(matches!(other, Err(Error::KeyReused { key: told }) if told == key));
    fixture.store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_beside_changes_lose_nothing() {
    let fixture = Fixture::open().await;
    let writers = (0..4_u32).map(|writer| {
        let (store, table) = (fixture.store.clone(), fixture.table);
        tokio::spawn(async move {
            let mut written = Rows::new();
            for n in 0..60_i64 {
                let time = n * DAY / 5;
                let name = |host: &u32| format!("w{writer}-{host}");
                let rows: Rows = (0..5).map(|h| ((name(&h), time), f64::from(writer))).collect();
                let key = format!("{writer}-{n}");
                let options = keyed((n % 2 == 0).then_some(key.as_str()));
                store.write(batch(&store, &rows), &options).await.unwrap();
                written.extend(rows);
                if n % 10 == 3 {
                    let change = to(Some(DAY / i64::from(1 + writer)), Some(1 + writer * 3));
                    store.change_options(table, &change).await.unwrap();
                }
            }
            written
        })
    });
    let mut all = Rows::new();
    for writer in futures::future::join_all(writers).await {
        all.extend(writer.unwrap());
    }
    let differ = |rows: &Rows| {
        let lost = all.iter().filter(|(key, value)| rows.get(*key) != Some(*value));
        (lost.take(3).map(|(key, _)| key.clone()).collect::<Vec<_>>(), rows.len())
    };
    assert_eq!(differ(&fixture.read().await), (vec![], all.len()));
    assert!(fixture.store.routing(fixture.table).len() > 4);
    let fixture = fixture.restart().await;
    assert_eq!(differ(&fixture.read().await), (vec![], all.len()));
    fixture.store.close().await.unwrap();
}
