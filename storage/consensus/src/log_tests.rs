//! The log storage under openraft's own suite.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use parking_lot::Mutex;
use quorate_wal::{GroupId, RealDisk, Wal, WalOptions};
use tempfile::TempDir;

use super::*;
use crate::applier::Applier;
use crate::raft::{Command, LeaderId, Payload};
use crate::{Applied, Fatal, Snapshot, StateMachine};

/// A state machine whose every step is durable.
#[derive(Debug, Default)]
struct Positions(Mutex<Snapshot>);

#[async_trait::async_trait]
impl StateMachine for Positions {
    async fn durable(&self) -> Result<Snapshot, Fatal> {
        Ok(self.0.lock().clone())
    }

    async fn apply(&self, entries: Vec<Applied>) -> Result<Vec<Bytes>, Fatal> {
        let mut state = self.0.lock();
        for entry in &entries {
            state.position = Some(entry.position);
            if let Some(membership) = &entry.membership {
                state.membership = membership.clone();
            }
        }
        Ok(vec![Bytes::new(); entries.len()])
    }

    async fn install(&self, snapshot: Snapshot) -> Result<(), Fatal> {
        *self.0.lock() = snapshot;
        Ok(())
    }
}

fn open_log(dir: &TempDir) -> (Wal, LogStore) {
    let options = WalOptions { segment_bytes: 256 << 10, ..WalOptions::new(dir.path(), 1, 1) };
    let (wal, _) = Wal::open(Arc::new(RealDisk), options).unwrap();
    let store = LogStore::new(wal.group(GroupId(3)));
    (wal, store)
}

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, Applier, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Applier), StorageError<TypeConfig>> {
        let dir = TempDir::new().unwrap();
        let (_, store) = open_log(&dir);
        let standing = Arc::default();
        let (applier, _) = Applier::new(Arc::new(Positions::default()), standing);
        Ok((dir, store, applier))
    }
}

#[tokio::test]
async fn the_storage_suite_of_openraft_passes() {
    Suite::test_all(Builder).await.unwrap();
}

fn at(index: u64) -> LogId {
    LogId::new(LeaderId { term: 1, node_id: 7 }, index)
}

fn normal(index: u64, bytes: usize) -> Entry {
    Entry { log_id: at(index), payload: Payload::Normal(Command(vec![1; bytes].into())) }
}

async fn append(store: &mut LogStore, entries: Vec<Entry>) {
    let (synced, wait) = TypeConfig::oneshot();
    store.append(entries, IOFlushed::signal(synced)).await.unwrap();
    wait.await.unwrap().unwrap();
}

#[tokio::test]
async fn messages_and_batches_are_cut_by_bytes() {
    let dir = TempDir::new().unwrap();
    let (_wal, mut store) = open_log(&dir);
    append(&mut store, (0..10).map(|index| normal(index, 1 << 20)).collect()).await;
    assert_eq!(store.limited_get_log_entries(3, 10).await.unwrap().len(), 2);
    assert_eq!(store.try_get_log_entries(0..10).await.unwrap().len(), 10);
    append(&mut store, vec![normal(10, 5 << 20)]).await;
    assert_eq!(store.limited_get_log_entries(10, 11).await.unwrap().len(), 1, "one at least");
    let read: Vec<_> = store.entries_stream(1..11).await.collect().await;
    let indexes: Vec<u64> = read.into_iter().map(|entry| entry.unwrap().log_id.index()).collect();
    assert_eq!(indexes, (1..11).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_missing_committed_entry_is_an_error() {
    let dir = TempDir::new().unwrap();
    let (_wal, mut store) = open_log(&dir);
    append(&mut store, (0..5).map(|index| normal(index, 1)).collect()).await;
    store.purge(at(2)).await.unwrap();
    let read: Vec<_> = store.entries_stream(1..5).await.collect().await;
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].as_ref().unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[tokio::test]
async fn what_is_saved_is_there_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let vote = Vote::new_committed(4, 7);
    {
        let (wal, mut store) = open_log(&dir);
        store.save_vote(&vote).await.unwrap();
        append(&mut store, (0..5).map(|index| normal(index, 10)).collect()).await;
        store.save_committed(Some(at(3))).await.unwrap();
        store.purge(at(1)).await.unwrap();
        append(&mut store, vec![normal(5, 10)]).await;
        wal.close().unwrap();
    }
    let (_wal, mut store) = open_log(&dir);
    assert_eq!(store.read_vote().await.unwrap(), Some(vote));
    assert_eq!(store.read_committed().await.unwrap(), Some(at(3)));
    let state = store.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(at(1)), Some(at(5))));
    let entries = store.try_get_log_entries(0..9).await.unwrap();
    assert_eq!(entries, (2..6).map(|index| normal(index, 10)).collect::<Vec<_>>());
}
