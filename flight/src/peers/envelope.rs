//! The messages of `quorate.Peers`, and their codec.
//!
//! Fields may be added, numbers never used again. A change that an older node would misread needs another [`VERSION`]:
//! nodes of different versions refuse each other.

use std::io;
use std::marker::PhantomData;

use bytes::Bytes;
use quorate_storage::GroupId;
use quorate_storage::cluster::{Message, MessageKind, PeerIdentity, ReplicaId};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::PAYLOAD_BYTES_MAX;

/// The version of this format.
pub(super) const VERSION: u32 = 1;

/// Kinds of errors that a peer tells, by their numbers; 0 is no error. Others become [`OTHER`]: what the peer says of
/// *its* connections would be read as news of ours.
const ERRORS: &[(u32, io::ErrorKind)] = &[
    (OTHER, io::ErrorKind::Other),
    (2, io::ErrorKind::PermissionDenied),
    (3, io::ErrorKind::TimedOut),
    (4, io::ErrorKind::StorageFull),
    (5, io::ErrorKind::NotFound),
    (6, io::ErrorKind::InvalidData),
    (7, io::ErrorKind::InvalidInput),
    (8, io::ErrorKind::Unsupported),
    (9, io::ErrorKind::OutOfMemory),
    (10, io::ErrorKind::UnexpectedEof),
    (11, io::ErrorKind::Interrupted),
];
const OTHER: u32 = 1;

/// Who sends, and who is meant.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Header {
    #[prost(uint32, tag = "1")]
    pub(super) version: u32,
    /// 16 bytes, big-endian.
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) cluster: Bytes,
    #[prost(uint64, tag = "3")]
    pub(super) from_node: u64,
    /// 0 for whoever is there.
    #[prost(uint64, tag = "4")]
    pub(super) to_node: u64,
}

/// What goes over the stream of `Raft`, either way.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Envelope {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<Header>,
    #[prost(message, repeated, tag = "2")]
    pub(super) requests: Vec<RequestItem>,
    #[prost(message, repeated, tag = "3")]
    pub(super) answers: Vec<AnswerItem>,
}

/// A message of Raft's.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct RequestItem {
    /// Names the answer.
    #[prost(uint64, tag = "1")]
    pub(super) corr: u64,
    #[prost(uint64, tag = "2")]
    pub(super) group: u64,
    #[prost(uint64, tag = "3")]
    pub(super) from_replica: u64,
    #[prost(uint64, tag = "4")]
    pub(super) to_replica: u64,
    #[prost(uint32, tag = "5")]
    pub(super) kind: u32,
    #[prost(bytes = "bytes", tag = "6")]
    pub(super) payload: Bytes,
}

/// The answer to a message, or to a request.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct AnswerItem {
    /// That of the message; 0 for a request.
    #[prost(uint64, tag = "1")]
    pub(super) corr: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) payload: Bytes,
    /// One of [`ERRORS`], or 0.
    #[prost(uint32, tag = "3")]
    pub(super) error: u32,
    #[prost(string, tag = "4")]
    pub(super) error_text: String,
}

/// A request: of `Call` or `Bulk`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct CallRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<Header>,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) payload: Bytes,
}

impl Header {
    /// From this node to another.
    pub(super) fn new(from: PeerIdentity, to_node: u64) -> Self {
        Self {
            version: VERSION,
            cluster: Bytes::copy_from_slice(&from.cluster.to_be_bytes()),
            from_node: from.node,
            to_node,
        }
    }

    /// Who sends and who is meant, if this node understands the sender at all.
    pub(super) fn read(header: Option<&Self>) -> Result<(PeerIdentity, u64), Status> {
        let version = header.map_or(0, |header| header.version);
        let Some(header) = header.filter(|header| header.version == VERSION) else {
            return Err(Status::failed_precondition(format!(
                "version {version} of the protocol between nodes; this node has version {VERSION}"
            )));
        };
        let cluster = <[u8; 16]>::try_from(&header.cluster[..])
            .map_err(|_| Status::invalid_argument("the cluster's id must have 16 bytes"))?;
        let from = PeerIdentity { cluster: u128::from_be_bytes(cluster), node: header.from_node };
        Ok((from, header.to_node))
    }
}

impl RequestItem {
    /// A message under a number.
    pub(super) fn new(corr: u64, message: Message) -> Self {
        Self {
            corr,
            group: message.group.0,
            from_replica: message.from.0,
            to_replica: message.to.0,
            kind: kind_number(message.kind),
            payload: message.payload,
        }
    }

    /// The message.
    pub(super) fn into_message(self) -> io::Result<Message> {
        let kind = kind_of(self.kind).ok_or_else(|| {
            let text = format!("unknown kind of message {}", self.kind);
            io::Error::new(io::ErrorKind::Unsupported, text)
        })?;
        Ok(Message {
            group: GroupId(self.group),
            from: ReplicaId(self.from_replica),
            to: ReplicaId(self.to_replica),
            kind,
            payload: self.payload,
        })
    }
}

impl AnswerItem {
    /// What became of a message or request.
    pub(super) fn new(corr: u64, outcome: io::Result<Bytes>) -> Self {
        match outcome.and_then(fitting) {
            Ok(payload) => Self { corr, payload, error: 0, error_text: String::new() },
            Err(error) => Self {
                corr,
                payload: Bytes::new(),
                error: error_number(error.kind()),
                error_text: error.to_string(),
            },
        }
    }

    /// The same, for who asked.
    pub(super) fn into_outcome(self) -> io::Result<Bytes> {
        if self.error == 0 {
            return Ok(self.payload);
        }
        let known = ERRORS.iter().find(|(number, _)| *number == self.error);
        let kind = known.map_or(io::ErrorKind::Other, |(_, kind)| *kind);
        Err(io::Error::new(kind, self.error_text))
    }
}

/// The payload, unless no message could hold it.
pub(super) fn fitting(payload: Bytes) -> io::Result<Bytes> {
    if payload.len() <= PAYLOAD_BYTES_MAX {
        return Ok(payload);
    }
    let text = format!("{} bytes, at most {PAYLOAD_BYTES_MAX} can be sent", payload.len());
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

fn kind_number(kind: MessageKind) -> u32 {
    match kind {
        MessageKind::Append => 1,
        MessageKind::Heartbeat => 2,
        MessageKind::Vote => 3,
        MessageKind::Snapshot => 4,
        MessageKind::Transfer => 5,
    }
}

fn kind_of(number: u32) -> Option<MessageKind> {
    match number {
        1 => Some(MessageKind::Append),
        2 => Some(MessageKind::Heartbeat),
        3 => Some(MessageKind::Vote),
        4 => Some(MessageKind::Snapshot),
        5 => Some(MessageKind::Transfer),
        _ => None,
    }
}

fn error_number(kind: io::ErrorKind) -> u32 {
    ERRORS.iter().find(|(_, known)| *known == kind).map_or(OTHER, |(number, _)| *number)
}

/// gRPC's messages as prost encodes them: `E` goes out, `D` comes in.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProstCodec<E, D> {
    messages: PhantomData<fn(E) -> D>,
}

impl<E, D> Default for ProstCodec<E, D> {
    fn default() -> Self {
        Self { messages: PhantomData }
    }
}

impl<E, D> Codec for ProstCodec<E, D>
where
    E: prost::Message + 'static,
    D: prost::Message + Default + 'static,
{
    type Encode = E;
    type Decode = D;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self::default()
    }

    fn decoder(&mut self) -> Self {
        Self::default()
    }
}

impl<E: prost::Message, D> Encoder for ProstCodec<E, D> {
    type Item = E;
    type Error = Status;

    fn encode(&mut self, message: E, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        // Growing by doubling would copy a large entry several times.
        to.reserve(message.encoded_len());
        message.encode(to).map_err(|error| Status::internal(error.to_string()))
    }
}

impl<E, D: prost::Message + Default> Decoder for ProstCodec<E, D> {
    type Item = D;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<D>, Status> {
        D::decode(from).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_keep_their_kind_but_those_of_connections() {
        for (kind, want) in [
            (io::ErrorKind::PermissionDenied, io::ErrorKind::PermissionDenied),
            (io::ErrorKind::StorageFull, io::ErrorKind::StorageFull),
            (io::ErrorKind::NotConnected, io::ErrorKind::Other),
            (io::ErrorKind::ConnectionReset, io::ErrorKind::Other),
        ] {
            let told = AnswerItem::new(1, Err(io::Error::new(kind, "why"))).into_outcome();
            let error = told.unwrap_err();
            assert_eq!((error.kind(), error.to_string()), (want, "why".to_owned()));
        }
        let unknown = AnswerItem { error: 99, ..AnswerItem::default() };
        assert_eq!(unknown.into_outcome().unwrap_err().kind(), io::ErrorKind::Other);
    }

    #[test]
    fn every_kind_of_message_has_a_number() {
        for number in 1..=5 {
            assert_eq!(kind_of(number).map(kind_number), Some(number));
        }
        assert_eq!(kind_of(0), None);
        assert_eq!(kind_of(6), None);
    }

    #[test]
    fn a_header_says_who_sends_it() {
        let from = PeerIdentity { cluster: 3 << 100, node: 4 };
        assert_eq!(Header::read(Some(&Header::new(from, 5))).unwrap(), (from, 5));
        assert!(Header::read(None).is_err());
    }
}
