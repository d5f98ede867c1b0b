//! How votes, memberships and messages are encoded: in the log, in Raft snapshots, and between replicas.
//!
//! Every record is one version byte and a [postcard] body. The records are this crate's own, not openraft's, so that an
//! upgrade of openraft changes no byte on disk or on the wire.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use quorate_wal::{EntryKind, LogPosition};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Node;
use crate::raft::{
    Command, Entry, LeaderId, Membership, Payload, StoredMembership, TypeConfig, Vote, log_id,
    position,
};

/// First byte of every record.
const VERSION: u8 = 1;

/// Encodes a record.
pub(crate) fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    postcard::to_extend(record, vec![VERSION]).expect("records hold only types that postcard knows")
}

/// Decodes a record; bytes that are left over are an error.
pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, postcard::Error> {
    match bytes.split_first() {
        None => Err(postcard::Error::DeserializeUnexpectedEnd),
        Some((&VERSION, body)) => match postcard::take_from_bytes(body)? {
            (record, []) => Ok(record),
            (_, [_, ..]) => Err(postcard::Error::DeserializeBadEncoding),
        },
        Some(_) => Err(postcard::Error::WontImplement),
    }
}

/// A vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VoteRecord {
    term: u64,
    replica: u64,
    /// Whether a quorum gave it: the replica leads.
    committed: bool,
}

impl From<&Vote> for VoteRecord {
    fn from(vote: &Vote) -> Self {
        let LeaderId { term, node_id } = vote.leader_id;
        Self { term, replica: node_id, committed: vote.committed }
    }
}

impl From<VoteRecord> for Vote {
    fn from(record: VoteRecord) -> Self {
        let leader_id = LeaderId { term: record.term, node_id: record.replica };
        Self { leader_id, committed: record.committed }
    }
}

/// The payload of a membership entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MembershipRecord {
    /// One set of voters; two while the membership changes.
    configs: Vec<BTreeSet<u64>>,
    /// All replicas, learners included.
    nodes: BTreeMap<u64, Node>,
}

impl From<&Membership> for MembershipRecord {
    fn from(membership: &Membership) -> Self {
        let nodes = membership.nodes().map(|(id, node)| (*id, node.clone())).collect();
        Self { configs: membership.get_joint_config().clone(), nodes }
    }
}

impl TryFrom<MembershipRecord> for Membership {
    type Error = postcard::Error;

    fn try_from(record: MembershipRecord) -> Result<Self, postcard::Error> {
        if record.configs.is_empty() && record.nodes.is_empty() {
            return Ok(Self::default());
        }
        Self::new(record.configs, record.nodes).map_err(|_| postcard::Error::DeserializeBadEncoding)
    }
}

/// A membership and the entry that brought it, as Raft snapshots hold it.
#[derive(Debug, Serialize, Deserialize)]
struct StoredMembershipRecord {
    position: Option<LogPosition>,
    membership: MembershipRecord,
}

/// Encodes a membership for a Raft snapshot.
pub(crate) fn encode_membership(membership: &StoredMembership) -> Bytes {
    let record = StoredMembershipRecord {
        position: membership.log_id().as_ref().map(position),
        membership: membership.membership().into(),
    };
    encode(&record).into()
}

/// Decodes the membership of a Raft snapshot; no bytes are the membership before the first one.
pub(crate) fn decode_membership(bytes: &[u8]) -> Result<StoredMembership, postcard::Error> {
    if bytes.is_empty() {
        return Ok(StoredMembership::default());
    }
    let record: StoredMembershipRecord = decode(bytes)?;
    let membership = record.membership.try_into()?;
    Ok(StoredMembership::new(record.position.map(log_id), membership))
}

/// An entry's payload, as the log holds it.
pub(crate) fn encode_payload(payload: &Payload) -> (EntryKind, Arc<[u8]>) {
    match payload {
        Payload::Blank => (EntryKind::Blank, Arc::from([])),
        Payload::Normal(command) => (EntryKind::Normal, Arc::clone(&command.0)),
        Payload::Membership(membership) => {
            (EntryKind::Membership, encode(&MembershipRecord::from(membership)).into())
        }
    }
}

/// The entry of a payload that the log or a message held.
pub(crate) fn decode_entry(
    at: LogPosition,
    kind: EntryKind,
    payload: Arc<[u8]>,
) -> Result<Entry, postcard::Error> {
    let payload = match kind {
        EntryKind::Blank => Payload::Blank,
        EntryKind::Normal => Payload::Normal(Command(payload)),
        EntryKind::Membership => {
            Payload::Membership(decode::<MembershipRecord>(&payload)?.try_into()?)
        }
    };
    Ok(Entry { log_id: log_id(at), payload })
}

/// Entries, or none: a heartbeat.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AppendRecord<'a> {
    vote: VoteRecord,
    prev: Option<LogPosition>,
    committed: Option<LogPosition>,
    #[serde(borrow)]
    entries: Vec<EntryRecord<'a>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct EntryRecord<'a> {
    position: LogPosition,
    kind: KindRecord,
    #[serde(borrow)]
    payload: Raw<'a>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum KindRecord {
    Normal,
    Membership,
    Blank,
}

/// Bytes, written and read as one piece.
#[derive(Debug)]
struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RawVisitor;
        impl<'de> Visitor<'de> for RawVisitor {
            type Value = Raw<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<Raw<'de>, E> {
                Ok(Raw(bytes))
            }
        }
        deserializer.deserialize_bytes(RawVisitor)
    }
}

/// Encodes an append request.
pub(crate) fn encode_append(request: &AppendEntriesRequest<TypeConfig>) -> Vec<u8> {
    let payloads: Vec<_> =
        request.entries.iter().map(|entry| encode_payload(&entry.payload)).collect();
    let entries = request.entries.iter().zip(&payloads).map(|(entry, (kind, payload))| {
        let kind = match kind {
            EntryKind::Normal => KindRecord::Normal,
            EntryKind::Membership => KindRecord::Membership,
            EntryKind::Blank => KindRecord::Blank,
        };
        EntryRecord { position: position(&entry.log_id), kind, payload: Raw(payload) }
    });
    encode(&AppendRecord {
        vote: (&request.vote).into(),
        prev: request.prev_log_id.as_ref().map(position),
        committed: request.leader_commit.as_ref().map(position),
        entries: entries.collect(),
    })
}

impl AppendRecord<'_> {
    /// The request, with entries of its own.
    pub(crate) fn into_request(self) -> Result<AppendEntriesRequest<TypeConfig>, postcard::Error> {
        let entries = self.entries.into_iter().map(|entry| {
            let kind = match entry.kind {
                KindRecord::Normal => EntryKind::Normal,
                KindRecord::Membership => EntryKind::Membership,
                KindRecord::Blank => EntryKind::Blank,
            };
            decode_entry(entry.position, kind, Arc::from(entry.payload.0))
        });
        Ok(AppendEntriesRequest {
            vote: self.vote.into(),
            prev_log_id: self.prev.map(log_id),
            entries: entries.collect::<Result<_, _>>()?,
            leader_commit: self.committed.map(log_id),
        })
    }
}

/// The answer to entries.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum AppendReply {
    /// All are held, synced.
    Success,
    /// Those up to here are.
    Partial(Option<LogPosition>),
    /// The entry before them is not the leader's.
    Conflict,
    /// Another leader was voted for.
    HigherVote(VoteRecord),
}

impl From<AppendEntriesResponse<TypeConfig>> for AppendReply {
    fn from(response: AppendEntriesResponse<TypeConfig>) -> Self {
        match response {
            AppendEntriesResponse::Success => Self::Success,
            AppendEntriesResponse::PartialSuccess(last) => {
                Self::Partial(last.as_ref().map(position))
            }
            AppendEntriesResponse::Conflict => Self::Conflict,
            AppendEntriesResponse::HigherVote(vote) => Self::HigherVote((&vote).into()),
        }
    }
}

impl From<AppendReply> for AppendEntriesResponse<TypeConfig> {
    fn from(reply: AppendReply) -> Self {
        match reply {
            AppendReply::Success => Self::Success,
            AppendReply::Partial(last) => Self::PartialSuccess(last.map(log_id)),
            AppendReply::Conflict => Self::Conflict,
            AppendReply::HigherVote(vote) => Self::HigherVote(vote.into()),
        }
    }
}

/// A vote or pre-vote is asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct VoteAskRecord {
    vote: VoteRecord,
    last: Option<LogPosition>,
    transfer: bool,
    /// Whether only the answer is wanted, not the promise.
    pub(crate) pre_vote: bool,
}

impl VoteAskRecord {
    pub(crate) fn new(request: &VoteRequest<TypeConfig>, pre_vote: bool) -> Self {
        Self {
            vote: (&request.vote).into(),
            last: request.last_log_id.as_ref().map(position),
            transfer: request.leadership_transfer,
            pre_vote,
        }
    }
}

impl From<VoteAskRecord> for VoteRequest<TypeConfig> {
    fn from(record: VoteAskRecord) -> Self {
        let mut request = Self::new(record.vote.into(), record.last.map(log_id));
        request.leadership_transfer = record.transfer;
        request
    }
}

/// The answer to a vote or pre-vote.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct VoteReply {
    vote: VoteRecord,
    granted: bool,
    last: Option<LogPosition>,
}

impl From<VoteResponse<TypeConfig>> for VoteReply {
    fn from(response: VoteResponse<TypeConfig>) -> Self {
        Self {
            vote: (&response.vote).into(),
            granted: response.vote_granted,
            last: response.last_log_id.as_ref().map(position),
        }
    }
}

impl From<VoteReply> for VoteResponse<TypeConfig> {
    fn from(reply: VoteReply) -> Self {
        Self::new(Vote::from(reply.vote), reply.last.map(log_id), reply.granted)
    }
}

/// A Raft snapshot is offered.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SnapshotRecord<'a> {
    pub(crate) vote: VoteRecord,
    pub(crate) position: Option<LogPosition>,
    #[serde(borrow)]
    membership: Raw<'a>,
    #[serde(borrow)]
    manifest: Raw<'a>,
}

impl<'a> SnapshotRecord<'a> {
    pub(crate) fn new(
        vote: &Vote,
        at: Option<LogPosition>,
        membership: &'a [u8],
        manifest: &'a [u8],
    ) -> Self {
        Self {
            vote: vote.into(),
            position: at,
            membership: Raw(membership),
            manifest: Raw(manifest),
        }
    }

    pub(crate) fn membership(&self) -> &'a [u8] {
        self.membership.0
    }

    pub(crate) fn manifest(&self) -> &'a [u8] {
        self.manifest.0
    }
}

/// The answer to a Raft snapshot: the receiver's vote.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SnapshotReply(VoteRecord);

impl From<SnapshotResponse<TypeConfig>> for SnapshotReply {
    fn from(response: SnapshotResponse<TypeConfig>) -> Self {
        Self((&response.vote).into())
    }
}

impl From<SnapshotReply> for SnapshotResponse<TypeConfig> {
    fn from(reply: SnapshotReply) -> Self {
        Self::new(reply.0.into())
    }
}

/// Leadership is handed over.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TransferRecord {
    from: VoteRecord,
    to: u64,
    last: Option<LogPosition>,
}

impl From<&TransferLeaderRequest<TypeConfig>> for TransferRecord {
    fn from(request: &TransferLeaderRequest<TypeConfig>) -> Self {
        Self {
            from: request.from_leader().into(),
            to: *request.to_node_id(),
            last: request.last_log_id().map(position),
        }
    }
}

impl From<TransferRecord> for TransferLeaderRequest<TypeConfig> {
    fn from(record: TransferRecord) -> Self {
        Self::new(record.from.into(), record.to, record.last.map(log_id))
    }
}

/// The answer to a hand-over.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum TransferReply {
    /// Taken.
    Done,
    /// Another leader was voted for.
    VoteChanged { expected: VoteRecord, actual: VoteRecord },
    /// The log is not synced up to the leader's last entry.
    NotSynced { expected: Option<LogPosition>, actual: Option<LogPosition> },
}

impl From<TransferLeaderResponse<TypeConfig>> for TransferReply {
    fn from(response: TransferLeaderResponse<TypeConfig>) -> Self {
        match response {
            Ok(()) => Self::Done,
            Err(TransferLeaderError::VoteChanged { expected, actual }) => {
                Self::VoteChanged { expected: (&expected).into(), actual: (&actual).into() }
            }
            Err(TransferLeaderError::LogNotFlushed { expected, actual }) => Self::NotSynced {
                expected: expected.as_ref().map(position),
                actual: actual.as_ref().map(position),
            },
        }
    }
}

impl From<TransferReply> for TransferLeaderResponse<TypeConfig> {
    fn from(reply: TransferReply) -> Self {
        match reply {
            TransferReply::Done => Ok(()),
            TransferReply::VoteChanged { expected, actual } => {
                Err(TransferLeaderError::VoteChanged {
                    expected: expected.into(),
                    actual: actual.into(),
                })
            }
            TransferReply::NotSynced { expected, actual } => {
                Err(TransferLeaderError::LogNotFlushed {
                    expected: expected.map(log_id),
                    actual: actual.map(log_id),
                })
            }
        }
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
