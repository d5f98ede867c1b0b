//! Tests of the simulated disk.

use super::*;

const DIR: &str = "d";

fn disk(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.process().create_dir_all(Path::new(DIR)).unwrap();
    disk
}

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

#[test]
fn a_power_cut_keeps_what_was_synced_and_any_subset_of_the_rest() {
    let mut kept_counts = BTreeSet::new();
    for seed in 0..64 {
        let disk = disk(seed);
        let file = disk.process().open(&path("a"), OpenMode::CreateNew).unwrap();
        file.write_all_at(&[1; 4096], 0).unwrap();
        file.sync_data().unwrap();
        disk.process().sync_dir(Path::new(DIR)).unwrap();
        file.write_all_at(&[2; 4096], 0).unwrap();
        disk.cut_power();
        assert_eq!(file.len().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        let content = disk.content(&path("a")).unwrap();
        assert_eq!(content.len(), 4096);
        for sector in content.chunks(SECTOR) {
            assert!(sector == [1; SECTOR] || sector == [2; SECTOR], "seed {seed}");
        }
        kept_counts.insert(content.chunks(SECTOR).filter(|sector| sector[0] == 2).count());
    }
    assert!(kept_counts.contains(&0) && kept_counts.contains(&8), "{kept_counts:?}");
    assert!(kept_counts.len() > 4, "{kept_counts:?}");
}

#[test]
fn directory_operations_that_were_not_synced_are_kept_in_order_or_lost() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..64 {
        let disk = disk(seed);
        let file = disk.process().open(&path("a"), OpenMode::CreateNew).unwrap();
        file.sync_data().unwrap();
        disk.process().sync_dir(Path::new(DIR)).unwrap();
        disk.process().rename(&path("a"), &path("b")).unwrap();
        disk.process().open(&path("c"), OpenMode::CreateNew).unwrap();
        disk.process().remove(&path("b")).unwrap();
        assert_eq!(disk.process().list(Path::new(DIR)).unwrap(), ["c"]);
        disk.cut_power();
        outcomes.insert(disk.process().list(Path::new(DIR)).unwrap());
    }
    let want: BTreeSet<Vec<String>> = [&["a"][..], &["b"], &["b", "c"], &["c"]]
        .iter()
        .map(|names| names.iter().map(|name| (*name).to_owned()).collect())
        .collect();
    assert_eq!(outcomes, want);
}

#[test]
fn a_failed_sync_takes_pages_for_clean_that_were_not_written() {
    let mut lost = false;
    for seed in 0..32 {
        let disk = disk(seed);
        let file = disk.process().open(&path("a"), OpenMode::CreateNew).unwrap();
        file.write_all_at(&[1; 4096], 0).unwrap();
        file.sync_data().unwrap();
        disk.process().sync_dir(Path::new(DIR)).unwrap();
        file.write_all_at(&[2; 4096], 0).unwrap();
        disk.inject(DiskFault::Sync, "a", 0);
        file.sync_data().unwrap_err();
        file.sync_data().unwrap();
        assert_eq!(disk.content(&path("a")).unwrap(), [2; 4096]);
        file.forget_cached().unwrap();
        lost |= disk.content(&path("a")).unwrap() != [2; 4096];
    }
    assert!(lost);
}

#[test]
fn a_full_disk_takes_no_more_and_recovers_when_a_file_goes() {
    let disk = disk(1);
    disk.set_capacity(10_000);
    let first = disk.process().open(&path("a"), OpenMode::CreateNew).unwrap();
    first.allocate(8_000).unwrap();
    let second = disk.process().open(&path("b"), OpenMode::CreateNew).unwrap();
    let error = second.write_all_at(&[0; 3_000], 0).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.process().space(Path::new(DIR)).unwrap().bytes_free, 2_000);
    first.write_all_at(&[1; 8_000], 0).unwrap();
    disk.process().remove(&path("a")).unwrap();
    second.write_all_at(&[0; 3_000], 0).unwrap();
}

#[test]
fn a_short_write_leaves_a_part_and_says_so() {
    let disk = disk(3);
    let file = disk.process().open(&path("a"), OpenMode::CreateNew).unwrap();
    disk.inject(DiskFault::ShortWrite, "a", 1);
    file.write_all_at(&[1; 100], 0).unwrap();
    file.write_all_at(&[2; 100], 100).unwrap_err();
    assert!(disk.content(&path("a")).unwrap().len() < 200);
    file.write_all_at(&[3; 100], 100).unwrap();
}

#[test]
fn a_fork_shares_nothing() {
    let disk = disk(1);
    let file = disk.process().open(&path("a"), OpenMode::CreateNew).unwrap();
    file.write_all_at(&[1; 100], 0).unwrap();
    let fork = disk.fork(2);
    fork.overwrite(&path("a"), 0, &[9]).unwrap_err();
    file.sync_data().unwrap();
    let fork = disk.fork(2);
    fork.overwrite(&path("a"), 0, &[9]).unwrap();
    assert_eq!(
        (fork.content(&path("a")).unwrap()[0], disk.content(&path("a")).unwrap()[0]),
        (9, 1)
    );
}

#[test]
fn a_lock_ends_with_its_process() {
    let disk = disk(1);
    let lock = disk.process().lock(&path("LOCK")).unwrap();
    assert_eq!(disk.process().lock(&path("LOCK")).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    disk.kill();
    let next = disk.process().lock(&path("LOCK")).unwrap();
    drop(lock);
    assert_eq!(disk.process().lock(&path("LOCK")).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(next);
    disk.process().lock(&path("LOCK")).unwrap();
}
