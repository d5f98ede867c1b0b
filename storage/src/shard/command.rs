//! Commands of a shard's log: what an entry asks of the state machine.
//!
//! ```text
//! version u8 │ postcard(Command) │ payload: Arrow IPC streams, back to back
//! ```
//!
//! An entry describes itself: a write brings the tables' columns and slice widths along, so that apply never looks into
//! today's catalog. Time comes from the leader that proposed it. `docs/format.md` has the layout.
//!
//! Limits: one entry holds at most [`ENTRY_BYTES_MAX`] of payload.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use quorate_segment::{RowSchema, SeriesKey, TableId};
use serde::{Deserialize, Serialize};

use crate::LogPosition;
use crate::batch::TimeSlices;
use crate::compaction::Choice;
use crate::scan::TimeRange;

/// Version of the encoding; the first byte of every command.
pub(crate) const COMMAND_VERSION: u8 = 1;

/// Most payload bytes of one entry; a larger write is refused.
pub(crate) const ENTRY_BYTES_MAX: usize = 256 << 20;

/// What an entry asks of a shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Rows of one or more clients; the payload holds their batches.
    Write(WriteCommand),
    /// Deletes by series and time.
    Delete(DeleteCommand),
    /// Rows of the table before this time are expired.
    Expire { table: TableId, before: i64 },
    /// The tables are gone; later entries for them are rejected.
    DropTables { tables: Vec<TableId> },
    /// Freezes the memtable; a job builds its files.
    Flush(FlushCommand),
    /// Merges segments; a job builds the files.
    Compact(CompactCommand),
    /// A majority agrees on what a job made.
    Verify(VerifyCommand),
    /// Fixes the time of a keyed batch that has none.
    KeyTime { key: Arc<str>, proposed: i64, time: i64 },
    /// Entries routed at an older epoch are refused from here on.
    Fence { table: TableId, epoch: u64 },
}

/// Rows of one or more clients, coalesced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct WriteCommand {
    /// The leader's time when it proposed the entry, ns.
    pub(crate) time: i64,
    /// The tables that the writes are about, ascending by id.
    pub(crate) tables: Vec<TableRecord>,
    /// The clients' writes, in the order of arrival.
    pub(crate) writes: Vec<WriteItem>,
}

/// A table as the writers knew it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TableRecord {
    /// Its columns.
    pub(crate) schema: RowSchema,
    /// Catalog index of these columns.
    pub(crate) changed_at: u64,
    /// Its time slices.
    pub(crate) slices: TimeSlices,
}

/// One client's write, as far as it goes to this shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct WriteItem {
    /// Highest catalog index that its batches were validated at.
    pub(crate) catalog_index: u64,
    /// How a repeat is known.
    pub(crate) key: Option<WriteKey>,
    /// What the request rejected before it came here; part of the key's stored result.
    pub(crate) rejections: Vec<String>,
    /// Its batches.
    pub(crate) parts: Vec<WritePart>,
}

/// A client's key for one chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WriteKey {
    /// The key.
    pub(crate) key: Arc<str>,
    /// The chunk under it.
    pub(crate) chunk: u32,
    /// Digest of the client's bytes.
    pub(crate) digest: Option<[u8; 32]>,
}

/// Stands between a client's key and the epoch of a routing record; no client's key has it.
pub(crate) const EPOCH_SEPARATOR: char = '\0';

impl WriteKey {
    /// The key under which rows are known that a later routing record of their table placed; `key` itself for epoch 0, the
    /// first record. A repeat that is routed anew must not take what one record brought to a shard for all that another
    /// one brings there.
    pub(crate) fn placed_by(key: &str, epoch: u64) -> Arc<str> {
        if epoch == 0 { key.into() } else { format!("{key}{EPOCH_SEPARATOR}{epoch}").into() }
    }

    /// The epoch of what [`WriteKey::placed_by`] made of a client's key; `None` if it was another key.
    pub(crate) fn epoch_of(placed: &str, key: &str) -> Option<u64> {
        match placed.strip_prefix(key)? {
            "" => Some(0),
            rest => rest.strip_prefix(EPOCH_SEPARATOR)?.parse().ok(),
        }
    }
}

/// One batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct WritePart {
    /// Its table.
    pub(crate) table: TableId,
    /// Epoch of the table's routing that it was sent here by.
    pub(crate) routing_epoch: u64,
    /// Rows.
    pub(crate) rows: u64,
    /// Bytes of the payload that are its batch.
    pub(crate) bytes: u64,
}

/// A delete by series and time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DeleteCommand {
    /// The leader's time when it proposed the entry, ns.
    pub(crate) time: i64,
    /// The table.
    pub(crate) table: TableId,
    /// The series; `None` means all.
    pub(crate) series: Option<Vec<SeriesKey>>,
    /// Times, both included.
    pub(crate) range: TimeRange,
    /// How a repeat is known.
    pub(crate) key: Option<WriteKey>,
}

/// Freezes the memtable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FlushCommand {
    /// The leader's time when it proposed the entry, ns.
    pub(crate) time: i64,
    /// Encoder settings ([`quorate_segment::SegmentWriter::WRITER_ID`]).
    pub(crate) writer: u32,
    /// Parts (table, start of the slice) that are too small for a file: they stay in memory and go into the manifest.
    /// The leader names them, so that all replicas keep the same ones.
    pub(crate) keep: Vec<(TableId, i64)>,
}

/// A merge of segments that are neighbours in log order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CompactCommand {
    /// What goes in, and what the result depends on.
    pub(crate) choice: Choice,
    /// Encoder settings.
    pub(crate) writer: u32,
    /// Bytes after which the result goes on in another file.
    pub(crate) segment_bytes_max: u64,
}

/// Agreement on what a job made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct VerifyCommand {
    /// Log index of the flush or compaction.
    pub(crate) job: u64,
    /// Hash over the logical rows of all that it made.
    pub(crate) content_hash: [u8; 32],
    /// Hash over the files of the leader.
    pub(crate) file_hash: [u8; 32],
}

/// A command with its payload, as it goes into the log.
pub(crate) fn encode(command: &Command, payload: &[Bytes]) -> Result<Bytes, postcard::Error> {
    let len: usize = payload.iter().map(Bytes::len).sum();
    let mut out = vec![COMMAND_VERSION];
    out = postcard::to_extend(command, out)?;
    let mut out = BytesMut::from(Bytes::from(out));
    out.reserve(len);
    for part in payload {
        out.extend_from_slice(part);
    }
    Ok(out.freeze())
}

/// Why an entry cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// Written by a newer version.
    #[error("the command has version {found}, this version reads {COMMAND_VERSION}")]
    Version {
        /// Its version.
        found: u8,
    },
    /// Not a command.
    #[error("the bytes are no command")]
    Malformed(#[from] postcard::Error),
    /// The payload is shorter or longer than the parts say.
    #[error("the payload has {have} bytes, the parts name {want}")]
    Payload {
        /// What is there.
        have: u64,
        /// What the parts need.
        want: u64,
    },
}

/// Reads a command and cuts its payload into the parts of a write, in order.
pub(crate) fn decode(bytes: &Bytes) -> Result<(Command, Vec<Bytes>), CommandError> {
    let Some((&version, _)) = bytes.split_first() else {
        return Err(postcard::Error::DeserializeUnexpectedEnd.into());
    };
    if version != COMMAND_VERSION {
        return Err(CommandError::Version { found: version });
    }
    let body = bytes.slice(1..);
    let (command, rest): (Command, &[u8]) = postcard::take_from_bytes(&body)?;
    let mut payload = body.slice_ref(rest);
    let mut parts = Vec::new();
    if let Command::Write(write) = &command {
        let sizes = || write.writes.iter().flat_map(|w| &w.parts).map(|p| p.bytes);
        let (have, want) = (payload.len() as u64, sizes().fold(0, u64::saturating_add));
        if have != want {
            return Err(CommandError::Payload { have, want });
        }
        for size in sizes() {
            let size = usize::try_from(size).expect("the sum is the length of a buffer");
            parts.push(payload.split_to(size));
        }
    } else if !payload.is_empty() {
        return Err(CommandError::Payload { have: payload.len() as u64, want: 0 });
    }
    Ok((command, parts))
}

/// The command with another leader time: it was encoded at a node whose clock does not count.
pub(crate) fn restamp(bytes: &Bytes, now: i64) -> Result<Bytes, CommandError> {
    let (mut command, payload) = decode(bytes)?;
    match &mut command {
        Command::Write(WriteCommand { time, .. })
        | Command::Delete(DeleteCommand { time, .. })
        | Command::Flush(FlushCommand { time, .. })
        | Command::KeyTime { time, .. } => *time = now,
        Command::Expire { .. }
        | Command::DropTables { .. }
        | Command::Compact(_)
        | Command::Verify(_)
        | Command::Fence { .. } => return Ok(bytes.clone()),
    }
    Ok(encode(&command, &payload)?)
}

/// What apply answers; one per entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// Applied; nothing to say.
    Done,
    /// One outcome per write of the entry.
    Written(Vec<WriteOutcome>),
    /// The time that the key has.
    KeyTime(i64),
}

/// What became of one write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum WriteOutcome {
    /// Applied, now or (a repeat of a key) earlier.
    Stored(StoredResult),
    /// The key came with another digest.
    KeyReused,
    /// The shard was fenced to a newer routing; route again.
    StaleRouting,
}

/// What is kept for a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredResult {
    /// The entry that had the effect.
    pub(crate) position: LogPosition,
    /// Rows that went into the memtable.
    pub(crate) accepted: u64,
    /// Rows that did not.
    pub(crate) rejected: u64,
    /// Why.
    pub(crate) reason: Option<RejectReason>,
    /// What the request rejected before it came here.
    pub(crate) rejections: Vec<String>,
    /// Whether the effect was an earlier entry's.
    pub(crate) duplicate: bool,
}

/// Why apply rejects rows; all replicas agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RejectReason {
    /// Older than the table's retention.
    Expired,
    /// The table was dropped.
    TableDropped(TableId),
}

impl std::fmt::Display for RejectReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Expired => write!(f, "older than the table's retention"),
            Self::TableDropped(_) => write!(f, "the table was dropped"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flush() -> Command {
        Command::Flush(FlushCommand { time: 1, writer: 1, keep: vec![(TableId(3), -1)] })
    }

    fn write(bytes: &[u64]) -> Command {
        let part =
            |bytes: &u64| WritePart { table: TableId(1), routing_epoch: 0, rows: 1, bytes: *bytes };
        Command::Write(WriteCommand {
            time: -5,
            tables: Vec::new(),
            writes: vec![WriteItem {
                catalog_index: 7,
                key: Some(WriteKey { key: "k".into(), chunk: 3, digest: Some([9; 32]) }),
                rejections: vec!["line 3".to_owned()],
                parts: bytes.iter().map(part).collect(),
            }],
        })
    }

    #[test]
    fn commands_are_read_as_they_were_written() {
        let command = write(&[3, 0, 2]);
        let payload = [Bytes::from_static(b"abc"), Bytes::new(), Bytes::from_static(b"de")];
        let bytes = encode(&command, &payload).unwrap();
        let (back, parts) = decode(&bytes).unwrap();
        assert_eq!((back, parts), (command, payload.to_vec()));
        for command in [
            Command::Expire { table: TableId(4), before: i64::MIN },
            Command::DropTables { tables: vec![TableId(4)] },
            flush(),
            Command::KeyTime { key: "k".into(), proposed: 1, time: 2 },
            Command::Fence { table: TableId(4), epoch: 9 },
        ] {
            let bytes = encode(&command, &[]).unwrap();
            assert_eq!(decode(&bytes).unwrap(), (command, Vec::new()));
        }
    }

    #[test]
    fn the_leaders_time_takes_the_place_of_the_writers() {
        let payload = [Bytes::from_static(b"abc")];
        let bytes = encode(&write(&[3]), &payload).unwrap();
        let (command, parts) = decode(&restamp(&bytes, 77).unwrap()).unwrap();
        let Command::Write(stamped) = &command else { panic!("{command:?}") };
        assert_eq!((stamped.time, parts), (77, payload.to_vec()));
        let expire = encode(&Command::Expire { table: TableId(4), before: 5 }, &[]).unwrap();
        assert_eq!(restamp(&expire, 77).unwrap(), expire);
    }

    #[test]
    fn a_newer_version_is_refused_by_name() {
        let mut bytes = encode(&write(&[]), &[]).unwrap().to_vec();
        bytes[0] = 2;
        let error = decode(&Bytes::from(bytes)).unwrap_err();
        assert_eq!(error.to_string(), "the command has version 2, this version reads 1");
    }

    #[test]
    fn a_payload_that_does_not_fit_the_parts_is_refused() {
        for (sizes, payload) in [(&[3][..], &b"ab"[..]), (&[1], b"ab"), (&[u64::MAX, 3], b"ab")] {
            let bytes = encode(&write(sizes), &[Bytes::copy_from_slice(payload)]).unwrap();
            assert!(matches!(decode(&bytes), Err(CommandError::Payload { .. })));
        }
        assert!(decode(&Bytes::new()).is_err());
    }

    /// The first bytes of the format, so that a change of the encoding cannot go unseen.
    #[test]
    fn the_encoding_is_that_of_the_fixture() {
        let bytes = encode(&Command::Expire { table: TableId(300), before: -1 }, &[]).unwrap();
        assert_eq!(bytes.as_ref(), [1, 2, 0xAC, 0x02, 1]);
        let bytes = encode(&flush(), &[]).unwrap();
        assert_eq!(bytes.as_ref(), [1, 4, 2, 1, 1, 3, 1]);
    }
}
