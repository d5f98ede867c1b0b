//! What the tests share.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;

use proptest::test_runner::Config as ProptestConfig;
use quorate_wal::{
    Disk, Entry, EntryKind, Error, GroupLog, LogPosition, Recovery, SyncCallback, Wal, WalOptions,
};

/// This many cases, or as many as `PROPTEST_CASES` says.
pub(crate) fn cases(cases: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig::with_cases(asked.unwrap_or(cases))
}

/// Options with small segments.
pub(crate) fn options(dir: &Path) -> WalOptions {
    WalOptions {
        segment_bytes: 64 << 10,
        queue_bytes_max: 1 << 20,
        reserve_bytes: 0,
        cache_bytes: 16 << 10,
        ..WalOptions::new(dir, 7, 1)
    }
}

pub(crate) fn open(disk: &Arc<dyn Disk>, dir: &Path) -> (Wal, Recovery) {
    Wal::open(Arc::clone(disk), options(dir)).unwrap()
}

/// Opens a log that must be as it was left.
pub(crate) fn open_whole(disk: &Arc<dyn Disk>, dir: &Path) -> Wal {
    let (wal, found) = open(disk, dir);
    assert_eq!((&found.lost, found.faulty.len(), found.quarantined.len()), (&None, 0, 0));
    wal
}

pub(crate) fn at(index: u64) -> LogPosition {
    LogPosition { term: 1, leader: 1, index }
}

pub(crate) fn entry(index: u64, payload: &[u8]) -> Entry {
    Entry { position: at(index), kind: EntryKind::Normal, payload: Arc::from(payload) }
}

/// Runs a call that takes a callback, and waits for the callback.
pub(crate) fn synced(call: impl FnOnce(SyncCallback) -> Result<(), Error>) -> Result<(), Error> {
    let (sender, receiver) = mpsc::channel();
    call(Box::new(move |result| sender.send(result).unwrap()))?;
    receiver.recv().expect("the callback runs")
}

pub(crate) fn append(log: &GroupLog, entries: Vec<Entry>) -> Result<(), Error> {
    synced(|done| log.append(entries, done))
}

pub(crate) fn vote(log: &GroupLog, vote: &[u8]) -> Result<(), Error> {
    synced(|done| log.save_vote(Arc::from(vote), done))
}

pub(crate) fn read_all(log: &GroupLog) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let first = log.state().purged.map_or(0, |purged| purged.index + 1);
    loop {
        let from = entries.last().map_or(first, |entry| entry.position.index + 1);
        let more = log.read(from..u64::MAX, 10_000).unwrap();
        if more.is_empty() {
            return entries;
        }
        entries.extend(more);
    }
}
