//! Retention, coalescing, memory, failure: what keeps a store within its bounds.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use quorate_storage::catalog::TableOptions;
use quorate_storage::{SegmentStatus, Store, WriteOptions};
use quorate_wal::{Clock, DiskFault, ManualClock, SimDisk};
use tokio::time::Instant;

use crate::cluster::PATIENCE;
use crate::support::{DAY, create_cpu, expect, options, read, valid, write};

#[tokio::test(flavor = "multi_thread")]
async fn rows_older_than_the_retention_are_hidden_rejected_and_removed() {
    let disk = SimDisk::new(1);
    let clock = Arc::new(ManualClock::new(100 * DAY));
    let mut with_clock = options("/data");
    with_clock.clock = Arc::<ManualClock>::clone(&clock);
    let store = Store::open(disk.process(), with_clock).await.unwrap();
    let table = TableOptions { retention_ns: Some(10 * DAY), ..TableOptions::default() };
    create_cpu(&store, table).await;
    let rows = [("a", 95 * DAY, 1.0), ("a", 99 * DAY, 2.0)];
    write(&store, &rows).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(read(&store).await, expect(&rows));
    clock.advance(Duration::from_hours(7 * 24));
    while read(&store).await.len() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(read(&store).await, expect(&rows[1..]));
    assert_eq!(store.segments().len(), 1, "the wholly older segment is gone");
    let receipt = write(&store, &[("a", 90 * DAY, 5.0), ("a", 100 * DAY, 6.0)]).await.unwrap();
    assert_eq!(receipt.shards.iter().map(|s| s.rejected).sum::<u64>(), 1);
    let reasons: Vec<_> = receipt.shards.iter().filter_map(|s| s.reason.clone()).collect();
    assert_eq!(reasons, ["older than the table's retention"]);
    store.close().await.unwrap();
}

/// Waits until the segments of a store are so, in a quarter of a second of its clock at a time.
async fn wait_for_segments(
    store: &Store,
    clock: &ManualClock,
    what: &str,
    wanted: impl Fn(&[SegmentStatus]) -> bool,
) {
    let deadline = Instant::now() + PATIENCE;
    while !wanted(&store.segments()) {
        assert!(
            Instant::now() < deadline,
            "{what}: {:?} {:?}",
            store.segments(),
            store.status().shards
        );
        clock.advance(Duration::from_millis(250));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_merged_when_nothing_more_comes() {
    let disk = SimDisk::new(4);
    let clock = Arc::new(ManualClock::new(100 * DAY));
    let mut with_clock = options("/data");
    with_clock.clock = Arc::<ManualClock>::clone(&clock);
    with_clock.flush_bytes = 64 << 10;
    let flush_age = with_clock.flush_age;
    let store = Store::open(disk.process(), with_clock).await.unwrap();
    create_cpu(&store, TableOptions::default()).await;
    let begun = clock.monotonic();
    // More than may stay in memory, and less than leads to a flush.
    let mut all: Vec<_> = (0..3_000).map(|time| ("a", time, 1.0)).collect();
    write(&store, &all).await.unwrap();
    assert_eq!(store.segments().len(), 0);
    wait_for_segments(&store, &clock, "a flush", |segments| segments.len() == 1).await;
    for time in [3_000, 3_001] {
        write(&store, &[("a", time, 2.0)]).await.unwrap();
        all.push(("a", time, 2.0));
        store.flush().await.unwrap();
    }
    wait_for_segments(&store, &clock, "a merge", |segments| {
        segments.len() == 1 && segments[0].meta.rows == 3_002
    })
    .await;
    assert!(clock.monotonic() < begun + flush_age, "it is not for its age");
    assert_eq!(read(&store).await, expect(&all));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_arrive_during_a_sync_share_the_next_entry() {
    let disk = SimDisk::new(2);
    let store = Store::open(disk.process(), options("/data")).await.unwrap();
    create_cpu(&store, TableOptions::default()).await;
    let entries =
        |store: &Store| -> u64 { store.status().shards.iter().map(|s| s.entries_applied).sum() };
    let before = entries(&store);
    let all: Vec<_> = (0..200).map(|i| ("a", i, 1.0)).collect();
    let writes = all.iter().map(|row| {
        let batch = valid(&store, &[*row]);
        let store = store.clone();
        async move { store.write(batch, &WriteOptions::default()).await.unwrap() }
    });
    let receipts = join_all(writes).await;
    assert!(receipts.iter().all(|r| r.shards.len() == 1 && r.shards[0].accepted == 1));
    let made = entries(&store) - before;
    assert!(made < 150, "200 writes made {made} entries");
    assert_eq!(read(&store).await, expect(&all));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_memtable_is_flushed_and_memory_stays_within_its_bound() {
    let disk = SimDisk::new(3);
    let mut small = options("/data");
    small.flush_bytes = 64 << 10;
    small.memory_bytes = 512 << 10;
    let store = Store::open(disk.process(), small).await.unwrap();
    create_cpu(&store, TableOptions::default()).await;
    let hosts: Vec<String> = (0..10).map(|i| format!("host{i}")).collect();
    let mut most = 0;
    for round in 0..60_i64 {
        let rows: Vec<_> = (0..1_000_i64)
            .map(|i| (hosts[usize::try_from(i % 10).unwrap()].as_str(), round * 1_000 + i, 1.0))
            .collect();
        write(&store, &rows).await.unwrap();
        most = most.max(store.status().shards.iter().map(|s| s.memtable_bytes).sum::<u64>());
    }
    assert!(most < 700 << 10, "memtables held {most} bytes");
    assert!(!store.segments().is_empty());
    assert_eq!(read(&store).await.len(), 60_000);
    store.close().await.unwrap();
}

/// A memtable of many small parts is full although none of them deserves a file.
#[tokio::test(flavor = "multi_thread")]
async fn small_parts_that_fill_a_memtable_are_not_flushed_over_and_over() {
    let disk = SimDisk::new(6);
    let mut small = options("/data");
    small.flush_bytes = 64 << 10;
    let store = Store::open(disk.process(), small).await.unwrap();
    create_cpu(&store, TableOptions::default()).await;
    let days: Vec<_> = (0..40_i64).collect();
    let hosts: Vec<String> = (0..100).map(|i| format!("host{i}")).collect();
    for day in &days {
        let rows: Vec<_> = hosts.iter().map(|host| (host.as_str(), day * DAY, 1.0)).collect();
        write(&store, &rows).await.unwrap();
    }
    let entries =
        |store: &Store| -> u64 { store.status().shards.iter().map(|s| s.entries_applied).sum() };
    let before = entries(&store);
    for i in 1..=200 {
        write(&store, &[("host1", 40 * DAY + i, 1.0)]).await.unwrap();
    }
    let made = entries(&store) - before;
    assert!(made < 250, "200 writes of a row made {made} entries");
    assert_eq!(read(&store).await.len(), 4_200);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_of_the_log_is_told_to_whoever_ends_the_process() {
    let disk = SimDisk::new(4);
    let store = Store::open(disk.process(), options("/data")).await.unwrap();
    create_cpu(&store, TableOptions::default()).await;
    disk.inject(DiskFault::Sync, ".seg", 0);
    let batch = valid(&store, &[("a", 1, 1.0)]);
    let deadline = Some(Duration::from_secs(5));
    let options = WriteOptions { deadline, ..WriteOptions::default() };
    assert!(store.write(batch, &options).await.is_err(), "nothing is acknowledged");
    assert!(store.failed().await.contains("write-ahead log"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_of_a_segment_is_told_as_well() {
    let disk = SimDisk::new(5);
    let store = Store::open(disk.process(), options("/data")).await.unwrap();
    create_cpu(&store, TableOptions::default()).await;
    write(&store, &[("a", 1, 1.0)]).await.unwrap();
    disk.inject(DiskFault::Sync, "/segments/", 0);
    let flushing = store.clone();
    let flush = tokio::spawn(async move { flushing.flush().await });
    assert!(store.failed().await.contains("flush"));
    flush.abort();
}

/// The log of a load goes when the load is over, though no memtable is full or old, and though the other shard and the
/// catalog have written nothing since.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_goes_when_nothing_is_written() {
    let disk = SimDisk::new(1);
    let clock = Arc::new(ManualClock::new(100 * DAY));
    let mut with_clock = options("/data");
    with_clock.clock = Arc::<ManualClock>::clone(&clock);
    let file_bytes = with_clock.wal_segment_bytes;
    let store = Store::open(disk.process(), with_clock).await.unwrap();
    create_cpu(&store, TableOptions::default()).await;
    let mut all = Vec::new();
    while store.status().wal.bytes_live < 3 * file_bytes {
        let from = i64::try_from(all.len()).unwrap();
        // LZ4 finds nothing in these values.
        let mantissa = |i: i64| i.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 12;
        let value = |i| f64::from_bits(1.0_f64.to_bits() | mantissa(i));
        let rows: Vec<_> = (from..from + 20_000).map(|i| ("a", i * 1_000_003, value(i))).collect();
        write(&store, &rows).await.unwrap();
        all.extend(rows);
    }
    let deadline = Instant::now() + PATIENCE;
    while store.status().wal.bytes_live > file_bytes {
        assert!(Instant::now() < deadline, "{:?}", store.status());
        clock.advance(Duration::from_millis(250));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(read(&store).await, expect(&all));
    store.close().await.unwrap();
    let store = Store::open(disk.process(), options("/data")).await.unwrap();
    assert_eq!(read(&store).await, expect(&all));
    store.close().await.unwrap();
}
