//! Write, read, flush, compact, restart.

use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use quorate_storage::catalog::{CatalogCommand, TableOptions};
use quorate_storage::scan::{SeriesFilter, TimeRange};
use quorate_storage::{
    Delete, Error, ErrorKind, SeriesSelection, Store, WriteOptions, WriteReceipt,
};
use quorate_wal::RealDisk;

use crate::support::{DAY, cpu, create_cpu, expect, keyed, options, read, valid, write};

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_there_after_flush_compaction_and_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(RealDisk::shared(), options(dir.path())).await.unwrap();
    create_cpu(&store, TableOptions::default()).await;
    let mut all = Vec::new();
    for day in 0..4 {
        let rows = [("a", day * DAY, 1.0), ("b", day * DAY + 5, 2.0)];
        let receipt = write(&store, &rows).await.unwrap();
        assert_eq!(receipt.shards.iter().map(|s| s.accepted).sum::<u64>(), 2);
        all.extend(rows);
        assert_eq!(read(&store).await, expect(&all));
        store.flush().await.unwrap();
        assert_eq!(read(&store).await, expect(&all));
    }
    assert!(store.segments().len() >= 4);
    store.compact().await.unwrap();
    assert_eq!(read(&store).await, expect(&all));
    store.close().await.unwrap();
    drop(store);
    let store = Store::open(RealDisk::shared(), options(dir.path())).await.unwrap();
    assert_eq!(read(&store).await, expect(&all));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_row_stays_away_from_memtable_and_segment() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(RealDisk::shared(), options(dir.path())).await.unwrap();
    let table = create_cpu(&store, TableOptions::default()).await;
    write(&store, &[("a", 1, 1.0), ("a", 2, 2.0), ("b", 1, 3.0)]).await.unwrap();
    store.flush().await.unwrap();
    write(&store, &[("a", 3, 1.0)]).await.unwrap();
    let delete = Delete {
        table: table.id,
        time: TimeRange { start: 2, end: 3 },
        series: SeriesSelection::All,
    };
    store.delete(delete, &WriteOptions::default()).await.unwrap();
    let want = expect(&[("a", 1, 1.0), ("b", 1, 3.0)]);
    assert_eq!(read(&store).await, want);
    store.flush().await.unwrap();
    store.compact().await.unwrap();
    assert_eq!(read(&store).await, want);
    store.close().await.unwrap();
}

/// Keeps one host.
#[derive(Debug)]
struct Host(&'static str);

impl SeriesFilter for Host {
    fn keep(&self, tags: &RecordBatch) -> Result<BooleanArray, Error> {
        let hosts = tags.column(0).as_string_view();
        Ok(hosts.iter().map(|host| host.map(|host| host == self.0)).collect())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_by_series_finds_them_in_memory_and_in_files() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(RealDisk::shared(), options(dir.path())).await.unwrap();
    let table = create_cpu(&store, TableOptions::default()).await;
    write(&store, &[("a", 1, 1.0), ("b", 1, 1.0)]).await.unwrap();
    store.flush().await.unwrap();
    write(&store, &[("a", 2, 1.0), ("b", 2, 1.0)]).await.unwrap();
    let delete = |host| Delete {
        table: table.id,
        time: TimeRange::ALL,
        series: SeriesSelection::Matching(Arc::new(Host(host))),
    };
    let receipt = store.delete(delete("nobody"), &WriteOptions::default()).await.unwrap();
    assert!(receipt.shards.is_empty(), "nothing is logged where nothing matches");
    store.delete(delete("a"), &WriteOptions::default()).await.unwrap();
    let want = expect(&[("b", 1, 1.0), ("b", 2, 1.0)]);
    assert_eq!(read(&store).await, want);
    write(&store, &[("a", 1, 5.0)]).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let store = Store::open(RealDisk::shared(), options(dir.path())).await.unwrap();
    assert_eq!(read(&store).await.len(), 3, "a row that is written later stays");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_key_answers_the_first_receipt_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(RealDisk::shared(), options(dir.path())).await.unwrap();
    create_cpu(&store, TableOptions::default()).await;
    let rows = [("a", 1, 1.0)];
    let first = store.write(valid(&store, &rows), &keyed("k", 1)).await.unwrap();
    write(&store, &[("a", 1, 9.0)]).await.unwrap();
    let again = store.write(valid(&store, &rows), &keyed("k", 1)).await.unwrap();
    assert!(again.shards.iter().all(|s| s.duplicate));
    assert_eq!(again.shards[0].index, first.shards[0].index);
    assert_eq!(read(&store).await, expect(&[("a", 1, 9.0)]), "the newer value stays");
    let error = store.write(valid(&store, &rows), &keyed("k", 2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    store.flush().await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let store = Store::open(RealDisk::shared(), options(dir.path())).await.unwrap();
    let again = store.write(valid(&store, &rows), &keyed("k", 1)).await.unwrap();
    assert!(again.shards.iter().all(|s| s.duplicate), "the window is in the manifest");
    assert_eq!(read(&store).await, expect(&[("a", 1, 9.0)]));
    let time = store.time_of_key("t", 5).await.unwrap();
    assert_eq!((time, store.time_of_key("t", 6).await.unwrap()), (5, 5));
    store.close().await.unwrap();
}

/// Shards own keys by hash: over a dozen keys and slices, rows meet shards that have not seen the key.
#[tokio::test(flavor = "multi_thread")]
async fn another_body_under_a_used_key_stores_nothing_in_any_shard() {
    const DAY: i64 = 86_400_000_000_000;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(RealDisk::shared(), options(dir.path())).await.unwrap();
    create_cpu(&store, TableOptions::default()).await;
    let mut expected = Vec::new();
    for n in 0..12 {
        let key = format!("key {n}");
        let first = [("a", n * DAY, 1.0), ("a", (n + 100) * DAY, 1.0)];
        let receipt = store.write(valid(&store, &first), &keyed(&key, 1)).await.unwrap();
        assert_eq!(receipt.shards.iter().map(|s| s.accepted).sum::<u64>(), 2);
        let again = store.write(valid(&store, &first), &keyed(&key, 1)).await.unwrap();
        let where_stored = |receipt: &WriteReceipt| {
            receipt.shards.iter().map(|s| (s.shard, s.index)).collect::<Vec<_>>()
        };
        assert_eq!(where_stored(&again), where_stored(&receipt));
        assert!(again.shards.iter().all(|s| s.duplicate));
        expected.extend(first);
        let other: Vec<_> = (0..20).map(|day| ("b", (n * 20 + day) * DAY, 2.0)).collect();
        let error = store.write(valid(&store, &other), &keyed(&key, 2)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        let delete =
            Delete { table: cpu(&store).id, time: TimeRange::ALL, series: SeriesSelection::All };
        let error = store.delete(delete, &keyed(&key, 3)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    assert_eq!(read(&store).await, expect(&expected));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_table_takes_no_rows_and_its_name_starts_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(RealDisk::shared(), options(dir.path())).await.unwrap();
    create_cpu(&store, TableOptions::default()).await;
    write(&store, &[("a", 1, 1.0)]).await.unwrap();
    store.flush().await.unwrap();
    let late = valid(&store, &[("a", 2, 2.0)]);
    store
        .change_catalog(CatalogCommand::DropTable {
            database: "main".to_owned(),
            name: "cpu".to_owned(),
            if_exists: false,
        })
        .await
        .unwrap();
    let error = store.write(late, &WriteOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(store.segments().is_empty());
    create_cpu(&store, TableOptions::default()).await;
    assert!(read(&store).await.is_empty());
    store.close().await.unwrap();
}
