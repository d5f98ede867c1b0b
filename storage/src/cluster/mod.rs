//! What a node knows of the cluster: its own identity and directory, who else belongs to it, and where rows live.
//!
//! [`DataDir`] is the layout on disk and the identity in `node.json`; `forming` finds the node's [`Place`] in a cluster.
//! [`Replica`] is the way to a group's leader, [`NodeService`] what peers are answered. [`token`] and [`Routing`] decide
//! which shard holds a row; [`MetaMachine`] is the state machine of the metadata group that keeps catalog, routing, nodes
//! and cluster key.

mod data_dir;
mod forming;
mod meta;
mod meta_versions;
mod pace;
mod place;
mod replica;
mod report;
mod routing;
mod service;
pub(crate) mod token;
mod wire;

pub use place::{ClusterOptions, Member};
pub use quorate_consensus::{
    Lane, MemoryTransport, Message, MessageKind, Node, PeerIdentity, Receiver, ReplicaId, Role,
    Transport,
};
pub use report::{NodeReport, ReplicaReport};
pub use service::NodeService;

pub(crate) use data_dir::{DataDir, Use, read_file, write_file};
pub(crate) use forming::join;
pub(crate) use meta::{
    KnownIds, MetaCommand, MetaMachine, MetaReply, MetaState, NodeRecord, decode_reply,
    encode as encode_meta,
};
pub(crate) use pace::Pacer;
pub(crate) use place::Place;
pub(crate) use replica::{Peers, Replica};
pub(crate) use routing::Routing;
pub(crate) use service::Pace;
pub(crate) use wire::{Hello, PeerReply, PeerRequest};
