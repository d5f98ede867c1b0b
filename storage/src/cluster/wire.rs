//! What nodes ask each other beside Raft's messages.
//!
//! ```text
//! version u8 │ postcard(head) │ payload, raw: a command, a reply, a piece of a file
//! ```

use bytes::Bytes;
use quorate_consensus::{Error as GroupError, ErrorKind, GroupId, LogPosition, ReplicaId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::place::Place;

/// First byte of every request and answer.
const VERSION: u8 = 1;

/// What a node asks of another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PeerRequest {
    /// Who are you? Tells who asks.
    Hello(Hello),
    /// Propose the command that is the payload.
    Propose {
        /// Its group.
        group: u64,
        /// How long it may take, ms.
        deadline: u64,
    },
    /// Take a linearizable read index.
    ReadIndex {
        /// The group.
        group: u64,
        /// How long it may take, ms.
        deadline: u64,
    },
    /// Wait until every voter has an entry.
    WaitForAll {
        /// The group.
        group: u64,
        /// The entry.
        index: u64,
        /// How long it may take, ms.
        deadline: u64,
    },
    /// Did this job make the same at your replica?
    Made {
        /// The shard.
        shard: u32,
        /// Log index of the job.
        job: u64,
        /// Hash over the content hashes of what it made here.
        content: [u8; 32],
    },
    /// A piece of a segment's file.
    Piece {
        /// The shard.
        shard: u32,
        /// BLAKE3 of the file.
        hash: [u8; 32],
        /// Where it begins.
        offset: u64,
        /// Its length at most.
        len: u64,
    },
    /// Where do you stand?
    Report,
    /// Are you there?
    Ping,
    /// The bytes of an entry of a group's log.
    Entry {
        /// The group.
        group: u64,
        /// Which one.
        position: LogPosition,
    },
    /// The newest manifest of a group.
    Manifest {
        /// The group.
        group: u64,
    },
}

/// A node's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum PeerReply {
    /// Who it is, whom it knows, and the place of the one who asked, if it has one in the cluster.
    Hello {
        /// Itself.
        own: Hello,
        /// Nodes that it has heard of and that belong to no cluster yet.
        known: Vec<Hello>,
        /// The asking node's place.
        place: Option<(u128, Place)>,
    },
    /// A place in the log; the payload is the reply to a command.
    At(LogPosition),
    /// Done.
    Done,
    /// Whether the job made the same; `None` if it is not done.
    Made(Option<bool>),
    /// The payload is the piece; the file is so long.
    Piece {
        /// Length of the whole file.
        file_len: u64,
    },
    /// How the node stands.
    Report(super::report::NodeReport),
    /// No.
    Refused(Refusal),
    /// Yes.
    Pong {
        /// How long syncs of its log take now, µs.
        sync_micros: u64,
    },
    /// The payload is the entry's.
    Entry,
    /// The log holds no such entry: it was purged, or (`false`) never came or was cut off.
    NoEntry {
        /// Whether a manifest covers it.
        purged: bool,
    },
    /// The payload is the manifest's body.
    Manifest {
        /// Last position that it covers.
        position: LogPosition,
        /// The group's membership as of that position.
        membership: Vec<u8>,
    },
}

/// How a node introduces itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// Its name.
    pub(crate) name: String,
    /// Its disk's identity.
    pub(crate) disk: u128,
    /// Where peers reach it.
    pub(crate) addr: String,
    /// The cluster that it belongs to.
    pub(crate) cluster: Option<u128>,
    /// Nodes that it waits for before it forms a cluster.
    pub(crate) expect: u32,
}

/// Why a request was not carried out, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    kind: RefusalKind,
    leader: Option<u64>,
    what: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum RefusalKind {
    NotLeader,
    Unavailable,
    Unknown,
}

impl Refusal {
    /// Nothing was done.
    pub(crate) fn unavailable(what: impl Into<String>) -> Self {
        Self { kind: RefusalKind::Unavailable, leader: None, what: what.into() }
    }

    /// As the one who asked sees it.
    pub(crate) fn into_error(self, group: GroupId) -> GroupError {
        match self.kind {
            RefusalKind::NotLeader => {
                GroupError::NotLeader { group, leader: self.leader.map(ReplicaId) }
            }
            RefusalKind::Unavailable => GroupError::Unavailable { group, what: self.what },
            RefusalKind::Unknown => GroupError::Unknown { group, what: self.what },
        }
    }
}

impl From<&GroupError> for Refusal {
    fn from(error: &GroupError) -> Self {
        let what = crate::with_causes(error);
        let (kind, leader) = match error.kind() {
            ErrorKind::NotLeader { leader } => (RefusalKind::NotLeader, leader),
            ErrorKind::Unavailable | ErrorKind::Exhausted => (RefusalKind::Unavailable, None),
            // A replica that stops may have handed the command in before.
            ErrorKind::Unknown | ErrorKind::Fatal => (RefusalKind::Unknown, None),
        };
        Self { kind, leader: leader.map(|l| l.0), what }
    }
}

/// A request or an answer as it travels.
pub(crate) fn encode<T: Serialize>(head: &T, payload: &[u8]) -> Result<Bytes, postcard::Error> {
    let mut bytes = postcard::to_extend(head, vec![VERSION])?;
    bytes.extend_from_slice(payload);
    Ok(bytes.into())
}

/// What [`encode`] made.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &Bytes) -> Result<(T, Bytes), String> {
    match bytes.split_first() {
        Some((&VERSION, _)) => {
            let body = bytes.slice(1..);
            let (head, rest) = postcard::take_from_bytes::<T>(&body).map_err(|e| e.to_string())?;
            let payload = body.slice_ref(rest);
            Ok((head, payload))
        }
        Some((version, _)) => {
            Err(format!("the peer speaks version {version}, this node speaks {VERSION}"))
        }
        None => Err("the peer sent nothing".to_owned()),
    }
}
