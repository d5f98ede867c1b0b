//! What a restart makes of damaged, missing and superfluous files, and of a disk that is full.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quorate_storage::catalog::TableOptions;
use quorate_storage::scan::{ScanRequest, TimeRange};
use quorate_storage::{ColumnId, ErrorKind, ReadLevel, Store};
use quorate_wal::{Disk, DiskFile, DiskLock, DiskSpace, OpenMode, SimDisk};

use crate::support::{DAY, cpu, create_cpu, expect, options, read, write};

const DIR: &str = "/data";

async fn open(disk: &SimDisk) -> Store {
    Store::open(disk.process(), options(DIR)).await.unwrap()
}

/// Whether the groups of a store that was just opened elect their leaders.
async fn is_ready(store: &Store) -> bool {
    let elected = async {
        while !store.ready().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), elected).await.is_ok()
}

async fn stop(store: Store) {
    store.close().await.unwrap();
}

/// Files of one kind, of all shards, sorted.
fn files(disk: &SimDisk, folder: &str) -> Vec<PathBuf> {
    let process = disk.process();
    let mut found = Vec::new();
    for shard in ["0", "1"] {
        let dir = Path::new(DIR).join("shards").join(shard).join(folder);
        found.extend(process.list(&dir).unwrap().into_iter().map(|name| dir.join(name)));
    }
    found
}

/// A store with three manifests' worth of rows, closed.
async fn three_flushes(disk: &SimDisk) -> Vec<(&'static str, i64, f64)> {
    let store = open(disk).await;
    create_cpu(&store, TableOptions::default()).await;
    let mut all = Vec::new();
    for round in 0..3 {
        for day in 0..4 {
            let row = ("a", day * DAY + round, 1.0);
            write(&store, &[row]).await.unwrap();
            all.push(row);
        }
        store.flush().await.unwrap();
    }
    write(&store, &[("b", 7, 7.0)]).await.unwrap();
    all.push(("b", 7, 7.0));
    // The log behind the manifest before the newest goes once the newest is agreed on.
    while store.status().shards.iter().any(|s| s.group.purged.is_none()) {
        tokio::task::yield_now().await;
    }
    stop(store).await;
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn only_entries_above_the_manifest_are_applied_again() {
    let disk = SimDisk::new(1);
    let all = three_flushes(&disk).await;
    let store = open(&disk).await;
    let applied: u64 = store.status().shards.iter().map(|s| s.entries_applied).sum();
    // Per shard: verification of the last flush, the new leader's first entry, and on one of them the last write.
    assert!(applied <= 8, "{applied} entries were applied, of 12 writes and 6 flushes");
    assert_eq!(read(&store).await, expect(&all));
    stop(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_manifest_falls_back_to_the_one_before_it_and_the_log() {
    for missing in [false, true] {
        let disk = SimDisk::new(2);
        let all = three_flushes(&disk).await;
        let manifests = files(&disk, "manifest");
        assert_eq!(manifests.len(), 4, "two generations per shard: {manifests:?}");
        for newest in [&manifests[1], &manifests[3]] {
            if missing {
                disk.process().remove(newest).unwrap();
            } else {
                disk.flip_bit(newest, 8 * 100).unwrap();
            }
        }
        let store = open(&disk).await;
        assert_eq!(read(&store).await, expect(&all));
        stop(store).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_readable_manifest_only_that_shard_refuses_and_names_the_remedy() {
    let disk = SimDisk::new(3);
    three_flushes(&disk).await;
    for path in &files(&disk, "manifest")[..2] {
        disk.flip_bit(path, 8 * 100).unwrap();
    }
    let store = open(&disk).await;
    assert!(!store.ready().await);
    let table = cpu(&store).id;
    let error = store.view(table, TimeRange::ALL, &ReadLevel::Linearizable).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("quorate repair --accept-loss --data-dir /data"), "{error}");
    // The other shard serves the days that it holds.
    let mut served = 0;
    for day in 0..40 {
        let time = TimeRange { start: day * DAY, end: day * DAY + 9 };
        served += u32::from(store.view(table, time, &ReadLevel::Local).await.is_ok());
    }
    assert!(0 < served && served < 40, "{served} of 40 days are served");
    stop(store).await;

    let mut accepting = options(DIR);
    accepting.accept_loss = true;
    let store = Store::open(disk.process(), accepting).await.unwrap();
    assert!(is_ready(&store).await);
    write(&store, &[("a", 1, 5.0)]).await.unwrap();
    stop(store).await;
    let store = open(&disk).await;
    assert!(is_ready(&store).await, "the loss is accepted for good");
    assert_eq!(read(&store).await.get(&("a".to_owned(), 1)), Some(&5.0));
    stop(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_segment_makes_its_shard_refuse_until_the_loss_is_accepted() {
    let disk = SimDisk::new(4);
    three_flushes(&disk).await;
    let segment = files(&disk, "segments").pop().unwrap();
    let footer = disk.content(&segment).unwrap().len() as u64 - 4;
    disk.flip_bit(&segment, footer * 8).unwrap();
    let store = open(&disk).await;
    assert!(!store.ready().await);
    stop(store).await;
    let mut accepting = options(DIR);
    accepting.accept_loss = true;
    stop(Store::open(disk.process(), accepting).await.unwrap()).await;
    let store = open(&disk).await;
    assert!(is_ready(&store).await);
    assert!(!read(&store).await.is_empty());
    stop(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_without_an_owner_are_collected_at_start() {
    let disk = SimDisk::new(5);
    let all = three_flushes(&disk).await;
    let before = files(&disk, "segments");
    let dir = Path::new(DIR).join("shards/0/segments");
    for name in ["left.tmp", "0000.parquet"] {
        disk.process().open(&dir.join(name), OpenMode::CreateNew).unwrap();
    }
    let store = open(&disk).await;
    assert_eq!(files(&disk, "segments"), before);
    assert_eq!(read(&store).await, expect(&all));
    stop(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_files_go_once_no_manifest_names_them() {
    let disk = SimDisk::new(6);
    let all = three_flushes(&disk).await;
    let store = open(&disk).await;
    store.flush().await.unwrap();
    store.compact().await.unwrap();
    for _ in 0..2 {
        assert!(files(&disk, "segments").len() > store.segments().len(), "manifests name them");
        store.flush().await.unwrap();
    }
    stop(store).await;
    let store = open(&disk).await;
    assert_eq!(files(&disk, "segments").len(), store.segments().len());
    assert_eq!(read(&store).await, expect(&all));
    stop(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_files_go_although_the_others_agreed_before_the_job_was_done_here() {
    let disk = SimDisk::new(9);
    let all = three_flushes(&disk).await;
    let store = open(&disk).await;
    store.compact().await.unwrap();
    let purged = |store: &Store| -> Vec<_> {
        store.status().shards.iter().map(|s| s.group.purged).collect()
    };
    let before = purged(&store);
    store.flush().await.unwrap();
    // That the flush is agreed on, and so the compaction before it, lets some of the log go.
    while purged(&store).iter().zip(&before).any(|(now, before)| now <= before) {
        tokio::task::yield_now().await;
    }
    stop(store).await;
    let manifests = files(&disk, "manifest");
    assert_eq!(manifests.len(), 4, "two generations per shard: {manifests:?}");
    for newest in [&manifests[1], &manifests[3]] {
        disk.flip_bit(newest, 8 * 100).unwrap();
    }
    // The compaction is done once more, behind the entry of the log that says that all agree.
    let store = open(&disk).await;
    let released = async {
        loop {
            store.compact().await.unwrap();
            store.flush().await.unwrap();
            if files(&disk, "segments").len() == store.segments().len() {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), released).await.expect("replaced files go");
    assert_eq!(read(&store).await, expect(&all));
    stop(store).await;
}

/// A disk that has no space for segments while it is told so.
#[derive(Debug)]
struct NoSegments {
    disk: Arc<dyn Disk>,
    full: Arc<AtomicBool>,
}

impl Disk for NoSegments {
    fn create_dir_all(&self, dir: &Path) -> std::io::Result<()> {
        self.disk.create_dir_all(dir)
    }
    fn list(&self, dir: &Path) -> std::io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn open(&self, path: &Path, mode: OpenMode) -> std::io::Result<Arc<dyn DiskFile>> {
        let segment = path.parent().is_some_and(|p| p.ends_with("segments"));
        if segment && mode == OpenMode::CreateNew && self.full.load(Ordering::SeqCst) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.disk.open(path, mode)
    }
    fn exists(&self, path: &Path) -> std::io::Result<bool> {
        self.disk.exists(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> std::io::Result<()> {
        self.disk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> std::io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn lock(&self, path: &Path) -> std::io::Result<Box<dyn DiskLock>> {
        self.disk.lock(path)
    }
    fn space(&self, dir: &Path) -> std::io::Result<DiskSpace> {
        self.disk.space(dir)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_without_space_keeps_its_rows_and_is_done_when_there_is_space() {
    let sim = SimDisk::new(7);
    let full = Arc::new(AtomicBool::new(false));
    let disk = Arc::new(NoSegments { disk: sim.process(), full: Arc::clone(&full) });
    let store = Store::open(disk, options(DIR)).await.unwrap();
    create_cpu(&store, TableOptions::default()).await;
    write(&store, &[("a", 1, 1.0)]).await.unwrap();
    full.store(true, Ordering::SeqCst);
    let error = store.flush().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
    write(&store, &[("a", 2, 2.0)]).await.unwrap();
    let all = expect(&[("a", 1, 1.0), ("a", 2, 2.0)]);
    assert_eq!(read(&store).await, all, "rows of the frozen memtable are still read");
    full.store(false, Ordering::SeqCst);
    while store.status().shards.iter().any(|s| s.flushes_pending > 0) {
        tokio::task::yield_now().await;
    }
    store.flush().await.unwrap();
    assert!(!store.segments().is_empty());
    assert_eq!(read(&store).await, all);
    stop(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_use_or_of_a_newer_format_is_refused() {
    let disk = SimDisk::new(8);
    let store = open(&disk).await;
    let error = Store::open(disk.process(), options(DIR)).await.unwrap_err();
    assert!(error.to_string().contains("in use by another process"), "{error}");
    stop(store).await;
    let node = Path::new(DIR).join("node.json");
    let text = String::from_utf8(disk.content(&node).unwrap()).unwrap();
    let place = text.find(": 1").unwrap() as u64 + 2;
    disk.overwrite(&node, place, b"9").unwrap();
    let error = Store::open(disk.process(), options(DIR)).await.unwrap_err();
    assert!(error.to_string().contains("has format 9"), "{error}");
    disk.overwrite(&node, place, b"1").unwrap();
    stop(open(&disk).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_without_a_log_are_not_taken_for_a_new_node() {
    let disk = SimDisk::new(9);
    three_flushes(&disk).await;
    let process = disk.process();
    let wal = Path::new(DIR).join("wal");
    for name in process.list(&wal).unwrap() {
        process.remove(&wal.join(name)).unwrap();
    }
    let refused = async || Store::open(disk.process(), options(DIR)).await.unwrap_err().to_string();
    let error = refused().await;
    assert!(error.contains("its log (wal) is missing"), "{error}");
    process.remove(&Path::new(DIR).join("node.json")).unwrap();
    let error = refused().await;
    assert!(error.contains("node.json is missing"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_block_within_a_segment_is_given_up_by_repair() {
    let disk = SimDisk::new(10);
    let store = open(&disk).await;
    create_cpu(&store, TableOptions::default()).await;
    let rows: Vec<_> = (0..120_000_i32).map(|i| ("a", i64::from(i), f64::from(i).sqrt())).collect();
    write(&store, &rows).await.unwrap();
    write(&store, &[("a", DAY, 1.0)]).await.unwrap();
    store.flush().await.unwrap();
    stop(store).await;
    let size = |path: &PathBuf| disk.content(path).unwrap().len();
    let segment = files(&disk, "segments").into_iter().max_by_key(size).unwrap();
    assert!(size(&segment) > 4 << 16, "it has several blocks");
    disk.flip_bit(&segment, 8 * (size(&segment) as u64 / 3)).unwrap();
    let store = open(&disk).await;
    assert!(is_ready(&store).await, "only what is read is looked at");
    let view = store.view(cpu(&store).id, TimeRange::ALL, &ReadLevel::Local).await.unwrap();
    let request = ScanRequest {
        columns: vec![ColumnId(3)],
        time: TimeRange::ALL,
        values: Vec::new(),
        series: None,
        partitions: 1,
        limit: None,
        last: None,
    };
    let scan = view.scan(request).unwrap();
    let batches = scan.partitions.iter().flat_map(|p| p.open().unwrap());
    assert!(batches.collect::<Result<Vec<_>, _>>().is_err(), "damage is not served");
    drop(view);
    stop(store).await;
    let mut accepting = options(DIR);
    accepting.accept_loss = true;
    stop(Store::open(disk.process(), accepting).await.unwrap()).await;
    let store = open(&disk).await;
    assert_eq!(read(&store).await, expect(&[("a", DAY, 1.0)]));
    stop(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_tables_that_the_metadata_group_lost_are_not_given_again() {
    let disk = SimDisk::new(11);
    let all = three_flushes(&disk).await;
    let lost = {
        let store = open(&disk).await;
        let id = cpu(&store).id;
        stop(store).await;
        id
    };
    // The entry that made the table: its column's name is in it as text.
    let log = disk.content(&first_log_segment()).unwrap();
    let place = log.windows(5).position(|bytes| bytes == b"usage").unwrap() as u64;
    disk.flip_bit(&first_log_segment(), place * 8).unwrap();
    let error = Store::open(disk.process(), options(DIR)).await.unwrap_err().to_string();
    assert!(error.contains("the metadata group"), "{error}");
    let mut accepting = options(DIR);
    accepting.accept_loss = true;
    stop(Store::open(disk.process(), accepting).await.unwrap()).await;
    let store = open(&disk).await;
    assert!(store.catalog().table("main", "cpu").is_none(), "the entry is gone");
    let anew = create_cpu(&store, TableOptions::default()).await;
    assert!(anew.id > lost, "{:?} after {lost:?}", anew.id);
    assert!(read(&store).await.is_empty(), "none of the {} rows shows up", all.len());
    stop(store).await;
}

fn first_log_segment() -> PathBuf {
    Path::new(DIR).join("wal/0000000000000001.seg")
}
