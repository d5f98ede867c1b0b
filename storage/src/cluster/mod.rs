//! What a node knows of the cluster: its own identity and directory, and where rows live.
//!
//! [`DataDir`] is the layout on disk and the identity in `node.json`; [`token`] and [`Routing`] decide which shard
//! holds a row; [`MetaMachine`] is the state machine of the metadata group that keeps catalog, routing and cluster key.

mod data_dir;
mod meta;
mod routing;
pub(crate) mod token;

pub(crate) use data_dir::{DataDir, read_file, write_file};
pub(crate) use meta::{
    KnownIds, MetaCommand, MetaMachine, MetaReply, MetaState, decode_reply, encode as encode_meta,
};
pub(crate) use routing::Routing;
