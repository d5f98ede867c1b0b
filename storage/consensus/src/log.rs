//! The group's log: openraft's log storage over the node's shared write-ahead log.
//!
//! [`LogStore`] is written to by the group's core task alone; [`LogReader`]s belong to the tasks that replicate and apply.
//! Entries are readable as soon as `append` returns, and count as written once the sync that covers them has ended: the
//! log's writer thread then runs the callback, in append order, which openraft takes as a watermark.
//!
//! **What a crash leaves behind.** A vote is synced before [`save_vote`](RaftLogStorage::save_vote) returns. Entries whose
//! callback has not run may be there or not. The commit position may be older than it was; it is a lower bound.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};

use futures::Stream;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use quorate_wal::{GroupLog, LogPosition};
use tokio::sync::oneshot;

use crate::codec::{self, VoteRecord};
use crate::raft::{Entry, LogId, TypeConfig, Vote, log_id, position};

/// Bytes of entries in one message to a follower, or in one batch for the state machine: about so many.
const READ_BYTES_MAX: u64 = 2 << 20;

/// openraft's log storage.
#[derive(Clone, Debug)]
pub(crate) struct LogStore {
    log: GroupLog,
}

/// Reads entries for replication and for the state machine.
pub(crate) type LogReader = LogStore;

/// Lets the log go on behind a snapshot that it does not reach. What stands in the snapshot's place under another name
/// was never committed.
pub(crate) fn begin_behind(
    log: &GroupLog,
    snapshot: LogPosition,
) -> Result<(), quorate_wal::Error> {
    match log.position_at(snapshot.index) {
        Some(own) if own == snapshot => return Ok(()),
        Some(_) => log.truncate_after(log.state().purged)?,
        None => {}
    }
    log.purge(snapshot)
}

impl LogStore {
    pub(crate) fn new(log: GroupLog) -> Self {
        Self { log }
    }

    /// Entries from the start of `range`, at least one if there is one, at most about `bytes_max`.
    fn read(&self, range: Range<u64>, bytes_max: u64) -> io::Result<Vec<Entry>> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let entries = self.log.read(range, bytes_max).map_err(io::Error::other)?;
        let entries = entries.into_iter().map(|entry| {
            codec::decode_entry(entry.position, entry.kind, entry.payload).map_err(invalid)
        });
        entries.collect()
    }

    /// All entries of `range`.
    fn read_all(&self, range: Range<u64>) -> io::Result<Vec<Entry>> {
        let mut entries = self.read(range.clone(), u64::MAX)?;
        while let Some(last) = entries.last() {
            let more = self.read(last.log_id.index() + 1..range.end, u64::MAX)?;
            if more.is_empty() {
                break;
            }
            entries.extend(more);
        }
        Ok(entries)
    }

    fn index_end(&self) -> u64 {
        let state = self.log.state();
        state.last.or(state.purged).map_or(0, |last| last.index + 1)
    }

    /// A range of indexes as start and end.
    fn bounds(&self, range: &impl RangeBounds<u64>) -> Range<u64> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => self.index_end(),
        };
        start..end.max(start)
    }
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read_all(self.bounds(&range))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        let Some(bytes) = self.log.state().vote else { return Ok(None) };
        let record: VoteRecord = codec::decode(&bytes).map_err(invalid)?;
        Ok(Some(record.into()))
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(start..end, READ_BYTES_MAX)
    }

    /// Entries to apply, read in pieces of [`READ_BYTES_MAX`]. An entry that is missing before the end of the log is an
    /// error: what is committed must be there.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + Send
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let range = self.bounds(&range);
        let pieces =
            Pieces { log: self.clone(), next: range.start, end: range.end, read: VecDeque::new() };
        futures::stream::try_unfold(pieces, |mut pieces| async move {
            let entry = pieces.next_entry()?;
            Ok(entry.map(|entry| (entry, pieces)))
        })
    }
}

/// A range of entries that is being read.
#[derive(Debug)]
struct Pieces {
    log: LogStore,
    next: u64,
    end: u64,
    read: VecDeque<Entry>,
}

impl Pieces {
    fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        if self.next == self.end {
            return Ok(None);
        }
        if self.read.is_empty() {
            self.read = self.log.read(self.next..self.end, READ_BYTES_MAX)?.into();
        }
        match self.read.pop_front() {
            Some(entry) if entry.log_id.index() == self.next => {
                self.next += 1;
                Ok(Some(entry))
            }
            None if self.next >= self.log.index_end() => Ok(None),
            Some(_) | None => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("entry {} is not in the log", self.next),
            )),
        }
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let state = self.log.state();
        Ok(LogState {
            last_purged_log_id: state.purged.map(log_id),
            last_log_id: state.last.or(state.purged).map(log_id),
        })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (synced, wait) = oneshot::channel();
        let record = codec::encode(&VoteRecord::from(vote));
        let done = Box::new(move |result| {
            // The group may have been stopped while it waited.
            drop(synced.send(result));
        });
        self.log.save_vote(record.into(), done).map_err(io::Error::other)?;
        match wait.await {
            Ok(result) => result.map_err(io::Error::other),
            Err(_) => Err(io::Error::other("the log was closed before the vote was synced")),
        }
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let Some(committed) = committed else { return Ok(()) };
        let record = codec::encode(&position(&committed));
        self.log.save_committed(record.into()).map_err(io::Error::other)
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let state = self.log.state();
        let Some(bytes) = state.committed else { return Ok(None) };
        let committed: LogPosition = codec::decode(&bytes).map_err(invalid)?;
        // The position may have been synced before a later truncation or the entries themselves: never beyond the end.
        let end = state.last.or(state.purged).map_or(0, |last| last.index + 1);
        Ok((committed.index < end).then(|| log_id(committed)))
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let entries = entries.into_iter().map(|entry| {
            let (kind, payload) = codec::encode_payload(&entry.payload);
            quorate_wal::Entry { position: position(&entry.log_id), kind, payload }
        });
        let done = Box::new(move |result: Result<(), quorate_wal::Error>| {
            callback.io_completed(result.map_err(io::Error::other));
        });
        self.log.append(entries.collect(), done).map_err(io::Error::other)
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        self.log.truncate_after(last.as_ref().map(position)).map_err(io::Error::other)
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        self.log.purge(position(&upto)).map_err(io::Error::other)
    }
}

fn invalid(error: postcard::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
