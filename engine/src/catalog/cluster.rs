//! `system.nodes`, `system.shards` and `system.replicas`: what the nodes of the cluster say of themselves.

use std::collections::BTreeMap;

use datafusion::arrow::datatypes::DataType;
use quorate_storage::cluster::ReplicaReport;
use quorate_storage::{ClusterStatus, NodeStatus};

use super::system::Column;

/// The shard of a group; none for the metadata group.
fn shard(group: u64) -> Option<u64> {
    group.checked_sub(1)
}

fn names(status: &ClusterStatus) -> BTreeMap<u64, &str> {
    status.nodes.iter().map(|node| (node.member.id, node.member.name.as_str())).collect()
}

fn replicas(status: &ClusterStatus) -> impl Iterator<Item = (&NodeStatus, &ReplicaReport)> {
    let all = status.nodes.iter().filter_map(|node| Some((node, node.report.as_ref().ok()?)));
    all.flat_map(|(node, report)| report.replicas.iter().map(move |replica| (node, replica)))
}

const TEXT: DataType = DataType::Utf8View;
const COUNT: DataType = DataType::UInt64;

/// Columns of `system.nodes`.
pub(super) fn node_columns() -> Vec<(&'static str, DataType)> {
    vec![
        ("node", TEXT),
        ("id", COUNT),
        ("address", TEXT),
        ("status", TEXT),
        ("leads", COUNT),
        ("segment_bytes", COUNT),
        ("heartbeat_ms", COUNT),
        ("sync_us", COUNT),
        ("problem", TEXT),
    ]
}

/// Columns of `system.shards`.
pub(super) fn shard_columns() -> Vec<(&'static str, DataType)> {
    vec![
        ("shard", COUNT),
        ("leader", TEXT),
        ("term", COUNT),
        ("committed_index", COUNT),
        ("replicas", COUNT),
        ("serving", COUNT),
    ]
}

/// Columns of `system.replicas`.
pub(super) fn replica_columns() -> Vec<(&'static str, DataType)> {
    vec![
        ("shard", COUNT),
        ("node", TEXT),
        ("role", TEXT),
        ("term", COUNT),
        ("applied_index", COUNT),
        ("committed_index", COUNT),
        ("last_index", COUNT),
        ("snapshot_index", COUNT),
        ("problem", TEXT),
    ]
}

/// One row per node.
pub(super) fn nodes(status: &ClusterStatus) -> Vec<Column> {
    let nodes = &status.nodes;
    let leads = |node: &NodeStatus| {
        let leader = |r: &&ReplicaReport| r.role == "leader";
        node.report.as_ref().map_or(0, |r| r.replicas.iter().filter(leader).count() as u64)
    };
    let bytes = |node: &NodeStatus| node.report.as_ref().map_or(0, |r| r.segment_bytes);
    let heartbeat = |node: &NodeStatus| node.report.as_ref().map_or(0, |r| r.heartbeat_ms);
    let sync = |node: &NodeStatus| node.report.as_ref().map_or(0, |r| r.sync_us);
    let problem = |node: &NodeStatus| match &node.report {
        Ok(report) if report.disk_stalls => {
            Some("its disk is full or stalls: it leads nothing".to_owned())
        }
        Ok(_) => None,
        Err(why) => Some(why.clone()),
    };
    let up = |node: &NodeStatus| if node.report.is_ok() { "up" } else { "down" };
    vec![
        Column::text(nodes.iter().map(|node| node.member.name.clone())),
        Column::Count(nodes.iter().map(|node| node.member.id).collect()),
        Column::text(nodes.iter().map(|node| node.member.addr.clone())),
        Column::text(nodes.iter().map(|node| up(node).to_owned())),
        Column::Count(nodes.iter().map(leads).collect()),
        Column::Count(nodes.iter().map(bytes).collect()),
        Column::Count(nodes.iter().map(heartbeat).collect()),
        Column::Count(nodes.iter().map(sync).collect()),
        Column::Text(nodes.iter().map(problem).collect()),
    ]
}

/// One row per group, the metadata group included: its shard is NULL.
pub(super) fn shards(status: &ClusterStatus) -> Vec<Column> {
    /// What is known of a group, from those of its replicas that answered.
    #[derive(Default)]
    struct Group {
        leader: Option<u64>,
        term: u64,
        committed: u64,
        replicas: u64,
        serving: u64,
    }
    let mut groups: BTreeMap<u64, Group> = BTreeMap::new();
    for (node, replica) in replicas(status) {
        let group = groups.entry(replica.group).or_default();
        group.replicas += 1;
        group.serving += u64::from(matches!(replica.role.as_str(), "leader" | "follower"));
        group.committed = group.committed.max(replica.committed_index);
        // Who led an earlier term may not have heard of the new one.
        if replica.role == "leader" && (group.leader.is_none() || replica.term > group.term) {
            group.leader = Some(node.member.id);
        }
        group.term = group.term.max(replica.term);
    }
    let names = names(status);
    let name = |id: u64| names.get(&id).map(|name| (*name).to_owned());
    let all = || groups.values();
    vec![
        Column::Maybe(groups.keys().map(|group| shard(*group)).collect()),
        Column::Text(all().map(|g| g.leader.and_then(name)).collect()),
        Column::Count(all().map(|g| g.term).collect()),
        Column::Count(all().map(|g| g.committed).collect()),
        Column::Count(all().map(|g| g.replicas).collect()),
        Column::Count(all().map(|g| g.serving).collect()),
    ]
}

/// One row per replica that its node told of.
pub(super) fn replica_rows(status: &ClusterStatus) -> Vec<Column> {
    let all = || replicas(status);
    vec![
        Column::Maybe(all().map(|(_, r)| shard(r.group)).collect()),
        Column::text(all().map(|(node, _)| node.member.name.clone())),
        Column::text(all().map(|(_, r)| r.role.clone())),
        Column::Count(all().map(|(_, r)| r.term).collect()),
        Column::Count(all().map(|(_, r)| r.applied_index).collect()),
        Column::Count(all().map(|(_, r)| r.committed_index).collect()),
        Column::Count(all().map(|(_, r)| r.last_index).collect()),
        Column::Count(all().map(|(_, r)| r.snapshot_index).collect()),
        Column::Text(all().map(|(_, r)| r.problem.clone()).collect()),
    ]
}
