//! Disks that fail, and disks that are full.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use quorate_wal::{DiskFault, ErrorKind, GroupId, SimDisk, Wal, WalOptions};

use crate::support::{append, at, entry, open, open_whole, options, read_all, vote};

const DIR: &str = "/wal";

fn dir() -> &'static Path {
    Path::new(DIR)
}

/// After one failure nothing is acknowledged, the hook runs, and a new process finds what was acknowledged.
fn check_poison(fault: DiskFault, file: &str, seed: u64) {
    let disk = SimDisk::new(seed);
    let wal = open_whole(&disk.process(), dir());
    let log = wal.group(GroupId(1));
    append(&log, vec![entry(0, &[1; 5_000])]).unwrap();
    vote(&log, b"before").unwrap();
    let (sender, hooked) = mpsc::channel();
    let early = sender.clone();
    wal.on_poison(Box::new(move || early.send("early").unwrap()));

    disk.inject(fault, file, 0);
    let failed = if file == "hardstate" {
        vote(&log, b"failed")
    } else {
        append(&log, vec![entry(1, &[2; 20_000])])
    };
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Poisoned, "{fault:?}");
    for _ in 0..2 {
        // Not even a sync that would succeed now is believed.
        let index = log.state().last.unwrap().index + 1;
        assert_eq!(append(&log, vec![entry(index, b"")]).unwrap_err().kind(), ErrorKind::Poisoned);
        assert_eq!(vote(&log, b"after").unwrap_err().kind(), ErrorKind::Poisoned);
        assert_eq!(log.purge(at(0)).unwrap_err().kind(), ErrorKind::Poisoned);
    }
    assert_eq!(hooked.recv_timeout(Duration::from_secs(30)), Ok("early"));
    wal.on_poison(Box::new(move || sender.send("late").unwrap()));
    assert_eq!(hooked.recv_timeout(Duration::from_secs(30)), Ok("late"));
    assert!(wal.status().poisoned);
    assert_eq!(wal.close().unwrap_err().kind(), ErrorKind::Poisoned);

    disk.kill();
    let wal = open_whole(&disk.process(), dir());
    let log = wal.group(GroupId(1));
    let found = read_all(&log);
    assert_eq!(found[0], entry(0, &[1; 5_000]));
    assert!(found.len() == 1 || (found.len() == 2 && found[1] == entry(1, &vec![2; 20_000])));
    assert!(log.state().vote.is_some());
    append(&log, vec![entry(found.len() as u64, b"next")]).unwrap();
    disk.cut_power();
    let wal = open_whole(&disk.process(), dir());
    assert_eq!(read_all(&wal.group(GroupId(1))).len(), found.len() + 1);
}

#[test]
fn a_failed_sync_poisons_the_log() {
    for seed in 0..16 {
        check_poison(DiskFault::Sync, "1.seg", seed);
        check_poison(DiskFault::Sync, "hardstate", seed);
    }
}

#[test]
fn a_failed_or_short_write_poisons_the_log() {
    for seed in 0..16 {
        check_poison(DiskFault::Write, "1.seg", seed);
        check_poison(DiskFault::ShortWrite, "1.seg", seed);
        check_poison(DiskFault::Write, "hardstate", seed);
    }
}

#[test]
fn all_that_waits_fails_in_order_when_the_log_is_poisoned() {
    let disk = SimDisk::new(1);
    let wal = open_whole(&disk.process(), dir());
    let log = wal.group(GroupId(0));
    append(&log, vec![entry(0, b"")]).unwrap();
    disk.inject(DiskFault::Sync, "1.seg", 3);
    let (sender, results) = mpsc::channel();
    for index in 1..1_000_000 {
        let sender = sender.clone();
        let done = Box::new(move |result: Result<(), _>| {
            sender.send((index, result.is_ok())).unwrap();
        });
        if log.append(vec![entry(index, &[0; 100])], done).is_err() {
            break;
        }
    }
    drop(sender);
    let results: Vec<_> = results.iter().collect();
    let failed = results.iter().position(|(_, ok)| !ok);
    let wanted = (1..).take(results.len());
    assert!(results.iter().map(|(index, _)| *index).eq(wanted), "{results:?}");
    let failed = failed.expect("the fault shows");
    assert!(results[failed..].iter().all(|(_, ok)| !ok), "{results:?}");
}

#[test]
fn proposals_are_refused_below_the_reserve_and_taken_again_above() {
    let disk = SimDisk::new(1);
    disk.set_capacity(2 << 20);
    let options = WalOptions { reserve_bytes: 1 << 20, ..options(dir()) };
    let (wal, _) = Wal::open(disk.process(), options).unwrap();
    let log = wal.group(GroupId(0));
    append(&log, vec![entry(0, b"a")]).unwrap();
    wal.admit().unwrap();
    disk.set_capacity(disk.bytes_used() + (1 << 20) - 1);
    let error = wal.admit().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert!(wal.status().disk_full && log.admit().is_err());
    // What Raft needs to say still goes through.
    append(&log, vec![entry(1, b"blank")]).unwrap();
    vote(&log, b"vote").unwrap();
    disk.set_capacity(8 << 20);
    log.admit().unwrap();
    assert!(!wal.status().disk_full);
}

#[test]
fn a_full_disk_refuses_entries_without_a_trace_and_recovers_when_space_returns() {
    let disk = SimDisk::new(1);
    let wal = open_whole(&disk.process(), dir());
    let log = wal.group(GroupId(0));
    append(&log, vec![entry(0, b"a")]).unwrap();
    // No further segment can be made: the one in use and the spare are filled, and then it is over.
    disk.set_capacity(disk.bytes_used());
    let mut index = 1;
    let refused = loop {
        match append(&log, vec![entry(index, &[7; 1_000])]) {
            Ok(()) => index += 1,
            Err(error) => break error,
        }
        assert!(index < 1_000, "the disk never was full");
    };
    assert_eq!(refused.kind(), ErrorKind::Exhausted, "{refused}");
    assert!(index > 2, "{index} entries");
    assert_eq!(log.state().last, Some(at(index - 1)));
    assert!(log.read(index..index + 1, 1).unwrap().is_empty());
    vote(&log, b"votes go on").unwrap();
    assert!(!wal.status().poisoned);

    disk.set_capacity(u64::MAX);
    // An append that fails ends the replica: what was found long ago does not count.
    append(&log, vec![entry(index, b"there is space")]).unwrap();
    drop((wal, log));
    disk.cut_power();
    let wal = open_whole(&disk.process(), dir());
    let found = read_all(&wal.group(GroupId(0)));
    assert_eq!(found.len() as u64, index + 1);
    assert_eq!(found.last(), Some(&entry(index, b"there is space")));
}

#[test]
fn a_purge_on_a_full_disk_frees_it() {
    let disk = SimDisk::new(1);
    let wal = open_whole(&disk.process(), dir());
    let log = wal.group(GroupId(0));
    append(&log, vec![entry(0, b"a")]).unwrap();
    disk.set_capacity(disk.bytes_used() + (256 << 10));
    let mut index = 1;
    while append(&log, vec![entry(index, &[7; 1_000])]).is_ok() {
        index += 1;
    }
    log.purge(at(index - 1)).unwrap();
    // The segments are removed in the background; each refusal waits for one look at the disk.
    let mut tries = 0;
    while append(&log, vec![entry(index, &[7; 1_000])]).is_err() {
        tries += 1;
        assert!(tries < 100_000, "never recovers");
    }
}

#[test]
fn an_unreadable_sector_is_damage_and_not_the_end_of_the_log() {
    let disk = SimDisk::new(1);
    let wal = open_whole(&disk.process(), dir());
    let log = wal.group(GroupId(0));
    for index in 0..3 {
        append(&log, vec![entry(index, &[7; 9_000])]).unwrap();
    }
    wal.close().unwrap();
    // The read of the whole file fails, and then, block by block, that of the first block of the second frame.
    disk.inject(DiskFault::Read, "1.seg", 0);
    disk.inject(DiskFault::Read, "1.seg", 7);
    let (wal, found) = open(&disk.process(), dir());
    assert_eq!(found.faulty[&GroupId(0)], [at(1)]);
    let log = wal.group(GroupId(0));
    assert_eq!(log.read(0..9, u64::MAX).unwrap().len(), 1);
    assert_eq!(log.read(1..9, u64::MAX).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(log.read(2..9, u64::MAX).unwrap(), [entry(2, &[7; 9_000])]);
    assert_eq!(log.faulty(), [at(1)]);
}

#[test]
fn an_entry_that_is_damaged_later_is_never_served() {
    let disk = SimDisk::new(1);
    let options = WalOptions { cache_bytes: 0, ..options(dir()) };
    let (wal, _) = Wal::open(disk.process(), options).unwrap();
    let log = wal.group(GroupId(0));
    append(&log, vec![entry(0, &[7; 9_000])]).unwrap();
    assert_eq!(log.read(0..1, 1).unwrap(), [entry(0, &[7; 9_000])]);
    let segment = dir().join("0000000000000001.seg");
    disk.flip_bit(&segment, (12_288 + 5_000) * 8).unwrap();
    let error = log.read(0..1, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("entry 0 (term 1) of group 0 is damaged"), "{error}");
    disk.flip_bit(&segment, (12_288 + 5_000) * 8).unwrap();
    assert_eq!(log.read(0..1, 1).unwrap(), [entry(0, &[7; 9_000])]);
}
