//! The log on a real disk.

use std::sync::Arc;

use quorate_wal::{ErrorKind, GroupId, RealDisk, Wal, WalOptions};

use crate::support::{append, at, entry, open, options, read_all, synced};

#[test]
fn what_was_synced_is_there_after_closing_and_opening() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::shared();
    let entries: Vec<_> =
        (0..200_u8).map(|i| entry(u64::from(i), &vec![i; 100 * usize::from(i)])).collect();
    {
        let (wal, found) = open(&disk, dir.path());
        assert!(found.groups.is_empty());
        let log = wal.group(GroupId(3));
        for chunk in entries.chunks(7) {
            append(&log, chunk.to_vec()).unwrap();
        }
        synced(|done| log.save_vote(Arc::from(*b"vote"), done)).unwrap();
        log.save_committed(Arc::from(*b"committed")).unwrap();
        assert_eq!(read_all(&log), entries);
        wal.close().unwrap();
        assert_eq!(append(&log, vec![entry(200, b"")]).unwrap_err().kind(), ErrorKind::Exhausted);
    }
    let (wal, found) = open(&disk, dir.path());
    assert_eq!((found.bytes_torn, found.copies_mended, found.lost), (0, 0, None));
    let log = wal.group(GroupId(3));
    let state = log.state();
    assert_eq!(found.groups[&GroupId(3)], state);
    assert_eq!(state.vote.as_deref(), Some(b"vote".as_slice()));
    assert_eq!(state.committed.as_deref(), Some(b"committed".as_slice()));
    assert_eq!((state.purged, state.last), (None, Some(at(199))));
    assert_eq!(read_all(&log), entries);
    assert_eq!(log.bytes_above(198), 19_900);
}

#[test]
fn purged_segments_are_removed_and_an_idle_group_holds_them() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::shared();
    let (wal, _) = open(&disk, dir.path());
    let (idle, busy) = (wal.group(GroupId(0)), wal.group(GroupId(1)));
    append(&idle, vec![entry(0, b"idle")]).unwrap();
    for i in 0..100 {
        append(&busy, vec![entry(i, &[7; 10_000])]).unwrap();
    }
    busy.purge(at(98)).unwrap();
    assert!(wal.bytes_held_by(GroupId(0)) > 1_000_000);
    assert_eq!(wal.bytes_held_by(GroupId(0)), wal.status().bytes_live);
    idle.purge(at(0)).unwrap();
    append(&idle, vec![entry(1, b"idle")]).unwrap();
    assert!(wal.status().bytes_live < 128 << 10);
    wal.close().unwrap();
    let segments = disk.list(dir.path()).unwrap();
    let segments: Vec<_> = segments.iter().filter(|name| name.starts_with('0')).collect();
    assert!(segments.len() <= 3, "{segments:?}");

    drop((wal, idle, busy));
    let (wal, found) = open(&disk, dir.path());
    assert_eq!(found.lost, None);
    assert_eq!(read_all(&wal.group(GroupId(1))), vec![entry(99, &[7; 10_000])]);
    assert_eq!(read_all(&wal.group(GroupId(0))), vec![entry(1, b"idle")]);
}

#[test]
fn a_log_goes_on_behind_a_purge_that_lies_above_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::shared();
    let (wal, _) = open(&disk, dir.path());
    let log = wal.group(GroupId(0));
    append(&log, vec![entry(0, b"a"), entry(1, b"b")]).unwrap();
    log.purge(at(9)).unwrap();
    assert_eq!((log.state().purged, log.state().last), (Some(at(9)), None));
    append(&log, vec![entry(10, b"c")]).unwrap();
    drop((log, wal));
    let (wal, _) = open(&disk, dir.path());
    assert_eq!(read_all(&wal.group(GroupId(0))), vec![entry(10, b"c")]);
    assert_eq!(wal.group(GroupId(0)).state().purged, Some(at(9)));
}

#[test]
fn a_locked_directory_is_a_conflict() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::shared();
    let (wal, _) = open(&disk, dir.path());
    let error = Wal::open(Arc::clone(&disk), options(dir.path())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("locked by another process"), "{error}");
    wal.close().unwrap();
    open(&disk, dir.path());
}

#[test]
fn the_log_of_another_node_or_cluster_is_a_conflict() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::shared();
    let (wal, _) = open(&disk, dir.path());
    append(&wal.group(GroupId(0)), vec![entry(0, b"a")]).unwrap();
    wal.close().unwrap();
    for other in [
        WalOptions { node: 2, ..options(dir.path()) },
        WalOptions { cluster: 2, ..options(dir.path()) },
    ] {
        let error = Wal::open(Arc::clone(&disk), other).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    }
}

#[test]
fn an_entry_larger_than_a_segment_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::shared();
    let (wal, _) = open(&disk, dir.path());
    let large = entry(1, &vec![5; 300_000]);
    append(&wal.group(GroupId(0)), vec![entry(0, b"a"), large.clone(), entry(2, b"c")]).unwrap();
    append(&wal.group(GroupId(0)), vec![entry(3, b"d")]).unwrap();
    drop(wal);
    let (wal, _) = open(&disk, dir.path());
    let entries = read_all(&wal.group(GroupId(0)));
    assert_eq!(entries, vec![entry(0, b"a"), large, entry(2, b"c"), entry(3, b"d")]);
}
