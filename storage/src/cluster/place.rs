//! A node's place in its cluster, and the settings with which it finds it.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_consensus::{Node, ReplicaId, Transport};
use serde::{Deserialize, Serialize};

/// How a node takes part in a cluster.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Its name, unique in the cluster.
    pub name: String,
    /// Where peers reach it, host and port.
    pub addr: String,
    /// Addresses of nodes to ask first.
    pub seeds: Vec<String>,
    /// How many nodes with empty disks form a new cluster; all of them name the same number.
    pub expect: u32,
    /// How it reaches them.
    pub transport: Arc<dyn Transport>,
    /// What answers them; given to whatever serves the transport, and to one store.
    pub service: Arc<super::NodeService>,
}

/// A node that the cluster began with, or took in later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its id, which is that of its replicas too; never given again.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Where peers reach it.
    pub addr: String,
    /// The identity of its disk.
    #[serde(with = "hex")]
    pub disk: u128,
}

impl Member {
    /// As Raft's memberships name it.
    pub(crate) fn node(&self) -> Node {
        Node { node: self.id, name: self.name.clone(), addr: self.addr.clone() }
    }

    /// Its replica of every group.
    pub(crate) fn replica(&self) -> ReplicaId {
        ReplicaId(self.id)
    }
}

/// What a node keeps of the cluster in `node.json`: enough to start before it has heard of anybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Its own id.
    pub(crate) id: u64,
    /// The voters that the cluster began with; empty for a node that was taken in later, which waits for its leaders.
    pub(crate) founders: Vec<Member>,
    /// Nodes to reach first.
    pub(crate) members: Vec<Member>,
    /// Number of shards.
    pub(crate) shards: u32,
}

impl Place {
    /// The voters of each group of a new cluster.
    pub(crate) fn voters(&self) -> BTreeMap<ReplicaId, Node> {
        self.founders.iter().map(|m| (m.replica(), m.node())).collect()
    }
}

/// 128 bits as 32 hexadecimal digits: JSON has no numbers of that size.
pub(crate) mod hex {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(id: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{id:032x}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        let text = String::deserialize(from)?;
        u128::from_str_radix(&text, 16).map_err(serde::de::Error::custom)
    }
}
