//! Which nodes hold replicas, and who leads: what the leader of a group does about it on its own, and what an operator
//! asks for.
//!
//! | what is seen | what the leader does |
//! |---|---|
//! | a node without a replica of the group | adds it as a learner |
//! | a learner that has caught up | gives it a vote; who was removed loses his in the same step |
//! | a removed node, and everybody else has a vote | takes its vote |
//! | another voter is to lead, answers, and has caught up | hands leadership over |
//!
//! The wish is the metadata group's list of nodes. Every step is taken by the group's own leader, from what it sees, so
//! that a step that was cut off is taken again by whoever leads then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use quorate_consensus::{Group, GroupStatus, Node, ReplicaId};
use tokio::time::{Instant, sleep, timeout};

use super::core::{Inner, Store};
use super::{ClusterStatus, NodeStatus};
use crate::Error;
use crate::cluster::{
    ClusterOptions, Hello, Member, MetaCommand, MetaReply, NodeRecord, NodeReport, PeerReply,
    PeerRequest, Peers, ReplicaReport,
};

/// How often a leader looks.
const EVERY: Duration = Duration::from_millis(500);
/// Entries that a learner or the next leader may lack.
const LAG_MAX: u64 = 256;
/// Between two attempts to hand the same group over.
const HAND_OVER_EVERY: Duration = Duration::from_secs(10);
/// How long a group may take to show that it has a majority.
const COMMIT_DEADLINE: Duration = Duration::from_secs(3);
/// How long a node may take to say how it stands.
const REPORT_DEADLINE: Duration = Duration::from_secs(1);

/// Starts the task; it ends when the store closes.
pub(super) fn start(store: &Store) {
    let inner = Arc::downgrade(&store.inner);
    let cancel = store.inner.cancel.clone();
    store.inner.tasks.spawn(async move {
        let mut handed: BTreeMap<u64, Instant> = BTreeMap::new();
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = sleep(EVERY) => {}
            }
            let Some(inner) = inner.upgrade() else { return };
            let looking = look(&inner, &mut handed);
            tokio::select! {
                () = inner.cancel.cancelled() => return,
                () = looking => {}
            }
        }
    });
}

async fn look(inner: &Inner, handed: &mut BTreeMap<u64, Instant>) {
    let Some(cluster) = &inner.options.cluster else { return };
    let nodes = inner.meta.state().nodes;
    for group in inner.led() {
        let status = group.status();
        let changed = match step(&nodes, &status) {
            Step::None => Ok(()),
            Step::Learners(learners) => group.add_learners(learners).await,
            Step::Voters(voters) => group.set_voters(voters).await,
        };
        if let Err(e) = changed {
            tracing::info!("the members of group {} are changed later: {e}", status.group.0);
            continue;
        }
        let again = handed.get(&status.group.0).is_none_or(|at| at.elapsed() > HAND_OVER_EVERY);
        if again && let Some((to, node)) = to_lead(&status) {
            handed.insert(status.group.0, Instant::now());
            hand_over(cluster, group, to, &node, LAG_MAX).await;
        }
    }
}

/// What to do next about a group's members.
#[derive(Debug, PartialEq)]
enum Step {
    None,
    Learners(BTreeMap<ReplicaId, Node>),
    Voters(BTreeSet<ReplicaId>),
}

/// Decides; pure.
fn step(nodes: &BTreeMap<u64, NodeRecord>, status: &GroupStatus) -> Step {
    let wanted: BTreeMap<ReplicaId, &Member> = nodes
        .values()
        .filter(|node| !node.removed)
        .map(|node| (node.member.replica(), &node.member))
        .collect();
    if wanted.is_empty() {
        return Step::None;
    }
    let known = |id: &ReplicaId| status.voters.contains_key(id) || status.learners.contains_key(id);
    let missing: BTreeMap<_, _> = wanted
        .iter()
        .filter(|(id, _)| !known(id))
        .map(|(id, member)| (*id, member.node()))
        .collect();
    if !missing.is_empty() {
        return Step::Learners(missing);
    }
    let last = status.last.map_or(0, |at| at.index);
    let caught_up = |id: &ReplicaId| {
        status.matched.get(id).is_some_and(|at| at.index.saturating_add(LAG_MAX) >= last)
    };
    let all_there = wanted.keys().all(|id| status.voters.contains_key(id) || caught_up(id));
    // Who goes keeps his vote until those who come can take his place.
    let voters: BTreeSet<ReplicaId> = if all_there {
        wanted.keys().copied().collect()
    } else {
        let ready = wanted.keys().filter(|id| caught_up(id) && status.learners.contains_key(id));
        let leaving = status.voters.keys().filter(|id| !wanted.contains_key(id)).count();
        if leaving > 0 {
            return Step::None;
        }
        status.voters.keys().chain(ready).copied().collect()
    };
    if voters.iter().eq(status.voters.keys()) { Step::None } else { Step::Voters(voters) }
}

/// Who leads by turns: group after group, voter after voter.
fn to_lead(status: &GroupStatus) -> Option<(ReplicaId, Node)> {
    let count = status.voters.len() as u64;
    let turn = usize::try_from(status.group.0.checked_rem(count)?).ok()?;
    let (id, node) = status.voters.iter().nth(turn)?;
    let last = status.last.map_or(0, |at| at.index);
    let caught_up =
        status.matched.get(id).is_some_and(|at| at.index.saturating_add(LAG_MAX) >= last);
    (*id != status.replica && caught_up).then(|| (*id, node.clone()))
}

/// Whether a node whose disk keeps up has a replica that follows and has applied the group's entries, but for `lag`. A
/// leader answers nobody before it has applied what was committed before it led: a node that has just restarted may
/// hold the whole log and still have seconds of it to apply.
fn may_lead(report: &NodeReport, status: &GroupStatus, lag: u64) -> bool {
    let applied = status.applied.map_or(0, |at| at.index);
    let follows = |replica: &ReplicaReport| {
        replica.group == status.group.0
            && replica.role == "follower"
            && replica.problem.is_none()
            && replica.applied_index.saturating_add(lag) >= applied
    };
    !report.disk_stalls && report.replicas.iter().any(follows)
}

/// Only to a node that answers and may lead: a log that is complete may lie on a dead node. Returns whether leadership
/// went there.
async fn hand_over(
    cluster: &ClusterOptions,
    group: &Group,
    to: ReplicaId,
    node: &Node,
    lag: u64,
) -> bool {
    let peers = Peers::new(Arc::clone(&cluster.transport));
    let asked = peers.ask(node, &PeerRequest::Report, &[], REPORT_DEADLINE).await;
    let Ok((PeerReply::Report(report), _)) = asked else { return false };
    if !may_lead(&report, &group.status(), lag) {
        return false;
    }
    match group.transfer_leader(to).await {
        Ok(()) => {
            tracing::debug!("group {} is led by {} from here on", group.id().0, node.name);
            true
        }
        Err(e) => {
            tracing::info!("group {} is not handed to {}: {e}", group.id().0, node.name);
            false
        }
    }
}

/// Hands leadership to the voter with the most complete log that answers, so that nobody has to notice that the leader is
/// gone. One that has much to apply is better than none.
pub(super) async fn hand_over_to_any(cluster: &ClusterOptions, group: &Group) {
    let status = group.status();
    let mut others: Vec<_> = status
        .voters
        .iter()
        .filter(|(id, _)| **id != status.replica)
        .map(|(id, node)| (status.matched.get(id).map(|at| at.index), *id, node))
        .collect();
    others.sort_unstable_by(|a, b| b.cmp(a));
    for lag in [LAG_MAX, u64::MAX] {
        for (_, id, node) in &others {
            if hand_over(cluster, group, *id, node, lag).await {
                return;
            }
        }
    }
}

/// The latest time that more than half of `nodes` have reached, from the clocks of those that answered.
fn reached_by_majority(mut clocks: Vec<i64>, nodes: usize) -> Option<i64> {
    clocks.sort_unstable_by(|a, b| b.cmp(a));
    clocks.get(nodes / 2).copied()
}

/// What operators ask of a cluster.
impl Store {
    /// How all nodes stand, as they say themselves. On a node of its own there is one node without a name.
    pub async fn cluster_status(&self) -> ClusterStatus {
        let inner = &self.inner;
        let Some(cluster) = &inner.options.cluster else {
            return ClusterStatus { nodes: vec![self.own_status()] };
        };
        let peers = Peers::new(Arc::clone(&cluster.transport));
        let own = inner.own;
        let members = inner.meta.state().nodes;
        let asked = members.values().filter(|n| !n.removed).map(|record| {
            let (peers, service) = (peers.clone(), Arc::clone(&cluster.service));
            async move {
                let member = record.member.clone();
                if member.id == own.0 {
                    return NodeStatus { member, report: Ok(service.report()) };
                }
                let node = member.node();
                let asking = peers.ask(&node, &PeerRequest::Report, &[], REPORT_DEADLINE);
                let report = match timeout(REPORT_DEADLINE, asking).await {
                    Ok(Ok((PeerReply::Report(report), _))) => Ok(report),
                    Ok(Ok((reply, _))) => Err(format!("answered {reply:?}")),
                    Ok(Err(e)) => Err(e.to_string()),
                    Err(_) => Err(format!("no answer within {REPORT_DEADLINE:?}")),
                };
                NodeStatus { member, report }
            }
        });
        ClusterStatus { nodes: futures::future::join_all(asked).await }
    }

    /// The time that a majority of the nodes' clocks has reached; none if no majority answers. A single clock that runs
    /// ahead decides nothing that cannot be taken back.
    pub(super) async fn majority_time(&self) -> Option<i64> {
        if self.inner.options.cluster.is_none() {
            return Some(self.inner.options.clock.now_nanos());
        }
        let nodes = self.cluster_status().await.nodes;
        let clocks = nodes.iter().filter_map(|node| Some(node.report.as_ref().ok()?.clock_ns));
        reached_by_majority(clocks.collect(), nodes.len())
    }

    fn own_status(&self) -> NodeStatus {
        use crate::cluster::{NodeReport, ReplicaReport};
        let inner = &self.inner;
        let mut report = NodeReport::default();
        report.replicas.push(ReplicaReport::of(&inner.meta_group.group().status(), None));
        for (id, slot) in &inner.shards {
            report.replicas.push(match slot {
                super::core::Slot::Running(shard) => {
                    ReplicaReport::of(&shard.group().status(), shard.stopped())
                }
                super::core::Slot::Refused(why) => {
                    ReplicaReport::stopped(u64::from(id.0) + 1, why.clone())
                }
            });
        }
        let heartbeat = inner.meta_group.group().timers().heartbeat;
        report.heartbeat_ms = u64::try_from(heartbeat.as_millis()).unwrap_or(u64::MAX);
        report.sync_us = inner.wal.status().sync_micros_recent_p99;
        report.segment_bytes = self.segments().iter().map(|s| s.meta.bytes).sum();
        let member = Member {
            id: inner.own.0,
            name: String::new(),
            addr: String::new(),
            disk: inner.dir.identity().node,
        };
        NodeStatus { member, report: Ok(report) }
    }

    /// Takes a node in that waits for a place, by name; in the place of another one, if named, which is removed. Returns
    /// its id. Its replicas are filled in the background.
    pub async fn add_node(&self, name: &str, replaces: Option<&str>) -> Result<u64, Error> {
        let cluster = self.clustered()?;
        self.every_group_commits().await?;
        let replaces = replaces.map(|old| self.member(old)).transpose()?;
        let waiting = self.find_waiting(cluster, name).await?;
        let member = Member { id: 0, name: waiting.name, addr: waiting.addr, disk: waiting.disk };
        let replaces = replaces.map(|member| member.id);
        let command = MetaCommand::AddNode { member, replaces };
        match self.inner.propose_meta(&command).await? {
            MetaReply::Node(id) => Ok(id),
            MetaReply::Refused(why) => Err(Error::Invalid(why)),
            reply => Err(Error::Internal(format!("a node was added by {reply:?}"))),
        }
    }

    /// Removes a node. Without `force`, only if a majority of those that are left answers.
    pub async fn remove_node(&self, name: &str, force: bool) -> Result<(), Error> {
        self.clustered()?;
        self.every_group_commits().await?;
        let member = self.member(name)?;
        let status = self.cluster_status().await;
        let left = status.nodes.iter().filter(|node| node.member.id != member.id);
        let (up, count) = left
            .fold((0, 0), |(up, count), node| (up + usize::from(node.report.is_ok()), count + 1));
        if !force && up * 2 <= count {
            return Err(Error::Invalid(format!(
                "without {name}, {up} of {count} nodes answer, which is no majority: writes would \
                 stop; start the others first, or add FORCE"
            )));
        }
        match self.inner.propose_meta(&MetaCommand::RemoveNode(member.id)).await? {
            MetaReply::Done => Ok(()),
            MetaReply::Refused(why) => Err(Error::Invalid(why)),
            reply => Err(Error::Internal(format!("a node was removed by {reply:?}"))),
        }
    }

    /// A change that a group cannot carry out must not be decided: what was decided before it could then never end.
    async fn every_group_commits(&self) -> Result<(), Error> {
        let inner = &self.inner;
        let meta = inner.meta_group.read_index(COMMIT_DEADLINE).await;
        let mut stuck =
            meta.err().map(|e| ("the metadata group".to_owned(), crate::with_causes(&e)));
        if stuck.is_none() {
            let shards = inner
                .running()
                .map(|shard| async move { (shard.id(), shard.read_index(COMMIT_DEADLINE).await) });
            let read = futures::future::join_all(shards).await;
            stuck = read.into_iter().find_map(|(id, read)| {
                Some((format!("shard {}", id.0), crate::with_causes(&read.err()?)))
            });
        }
        let Some((what, why)) = stuck else { return Ok(()) };
        let down: Vec<_> = self.cluster_status().await.nodes;
        let down = down.iter().filter(|node| node.report.is_err());
        let down: Vec<_> = down.map(|node| node.member.name.as_str()).collect();
        let down = if down.is_empty() {
            "all nodes answer".to_owned()
        } else {
            format!("these nodes do not answer: {}", down.join(", "))
        };
        Err(Error::Invalid(format!(
            "{what} has no majority now ({why}), and nodes change only while every shard has one, FORCE or \
             not; {down}; start those that are down, or wait for a change that is under way, and try again"
        )))
    }

    fn clustered(&self) -> Result<&ClusterOptions, Error> {
        self.inner.options.cluster.as_ref().ok_or_else(|| {
            Error::Invalid(
                "this is a node of its own; a cluster begins with --node-name".to_owned(),
            )
        })
    }

    fn member(&self, name: &str) -> Result<Member, Error> {
        let nodes = self.inner.meta.state().nodes;
        let named = nodes.values().find(|n| !n.removed && n.member.name == name);
        named.map(|n| n.member.clone()).ok_or_else(|| {
            let names: Vec<_> =
                nodes.values().filter(|n| !n.removed).map(|n| n.member.name.as_str()).collect();
            Error::Invalid(format!("there is no node {name}; there are {}", names.join(", ")))
        })
    }

    /// A node that looks for a place tells it to whomever it asks; perhaps not to this one.
    async fn find_waiting(&self, cluster: &ClusterOptions, name: &str) -> Result<Hello, Error> {
        let peers = Peers::new(Arc::clone(&cluster.transport));
        let own = cluster.service.own_hello();
        let mut heard = cluster.service.waiting();
        if let Some(own) = own {
            let asked = cluster.service.members().into_iter().filter(|m| m.id != self.inner.own.0);
            let asked = asked.map(|member| {
                let (peers, hello) = (peers.clone(), PeerRequest::Hello(own.clone()));
                async move { peers.ask(&member.node(), &hello, &[], REPORT_DEADLINE).await }
            });
            for answer in futures::future::join_all(asked).await {
                if let Ok((PeerReply::Hello { known, .. }, _)) = answer {
                    heard.extend(known);
                }
            }
        }
        // Who has a place has said hello before.
        let nodes = self.inner.meta.state().nodes;
        heard.retain(|hello| nodes.values().all(|node| node.member.disk != hello.disk));
        heard.into_iter().find(|hello| hello.name == name).ok_or_else(|| {
            Error::Invalid(format!(
                "no node {name} waits for a place; start it with an empty data directory, \
                 --node-name {name}, and --seeds that name a node of this cluster"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use quorate_consensus::{GroupId, LogPosition, Role};

    use super::*;

    fn record(id: u64, removed: bool) -> (u64, NodeRecord) {
        let member =
            Member { id, name: format!("n{id}"), addr: String::new(), disk: u128::from(id) };
        (id, NodeRecord { member, removed })
    }

    fn at(index: u64) -> LogPosition {
        LogPosition { term: 1, leader: 1, index }
    }

    fn status(voters: &[u64], learners: &[u64], matched: &[(u64, u64)]) -> GroupStatus {
        let nodes = |ids: &[u64]| {
            ids.iter().map(|id| (ReplicaId(*id), Node::default())).collect::<BTreeMap<_, _>>()
        };
        GroupStatus {
            group: GroupId(4),
            replica: ReplicaId(1),
            role: Role::Leader,
            term: 1,
            leader: Some(ReplicaId(1)),
            last: Some(at(1000)),
            committed: Some(at(1000)),
            applied: Some(at(1000)),
            snapshot: None,
            purged: None,
            voters: nodes(voters),
            learners: nodes(learners),
            matched: matched.iter().map(|(id, index)| (ReplicaId(*id), at(*index))).collect(),
        }
    }

    fn ids(ids: &[u64]) -> BTreeSet<ReplicaId> {
        ids.iter().copied().map(ReplicaId).collect()
    }

    #[test]
    fn a_replaced_node_keeps_its_vote_until_the_new_one_has_caught_up() {
        let nodes =
            BTreeMap::from([record(1, false), record(2, true), record(3, false), record(9, false)]);
        let Step::Learners(learners) = step(&nodes, &status(&[1, 2, 3], &[], &[])) else {
            panic!("the new node is no learner yet");
        };
        assert_eq!(learners.keys().copied().collect::<BTreeSet<_>>(), ids(&[9]));
        let behind = status(&[1, 2, 3], &[9], &[(1, 1000), (3, 1000), (9, 5)]);
        assert_eq!(step(&nodes, &behind), Step::None);
        let there = status(&[1, 2, 3], &[9], &[(1, 1000), (3, 1000), (9, 990)]);
        assert_eq!(step(&nodes, &there), Step::Voters(ids(&[1, 3, 9])));
        let done = status(&[1, 3, 9], &[], &[(1, 1000), (3, 1000), (9, 1000)]);
        assert_eq!(step(&nodes, &done), Step::None);
    }

    #[test]
    fn who_follows_and_has_applied_the_log_may_lead() {
        let leader = status(&[1, 2], &[], &[]);
        let report = |group, role: &str, applied_index, disk_stalls| NodeReport {
            replicas: vec![ReplicaReport {
                group,
                role: role.to_owned(),
                last_index: 1000,
                committed_index: 1000,
                applied_index,
                ..ReplicaReport::default()
            }],
            disk_stalls,
            ..NodeReport::default()
        };
        assert!(may_lead(&report(4, "follower", 900, false), &leader, LAG_MAX));
        // Its log is whole, and most of it is still to be applied.
        assert!(!may_lead(&report(4, "follower", 300, false), &leader, LAG_MAX));
        assert!(may_lead(&report(4, "follower", 300, false), &leader, u64::MAX));
        assert!(!may_lead(&report(4, "follower", 1000, true), &leader, LAG_MAX));
        assert!(!may_lead(&report(4, "learner", 1000, false), &leader, LAG_MAX));
        assert!(!may_lead(&report(5, "follower", 1000, false), &leader, LAG_MAX));
    }

    #[test]
    fn a_removed_node_loses_its_vote() {
        let nodes = BTreeMap::from([record(1, false), record(2, false), record(3, true)]);
        let now = status(&[1, 2, 3], &[], &[(1, 1000), (2, 1000)]);
        assert_eq!(step(&nodes, &now), Step::Voters(ids(&[1, 2])));
    }

    #[test]
    fn nothing_is_done_before_the_nodes_are_known() {
        assert_eq!(step(&BTreeMap::new(), &status(&[1, 2, 3], &[], &[])), Step::None);
    }

    #[test]
    fn a_minority_of_clocks_decides_nothing() {
        assert_eq!(reached_by_majority(vec![10, 9000, 11], 3), Some(11));
        assert_eq!(reached_by_majority(vec![10, -9000, 11], 3), Some(10));
        assert_eq!(reached_by_majority(vec![9000, 11], 3), Some(11), "one node is down");
        assert_eq!(reached_by_majority(vec![9000], 3), None);
        assert_eq!(reached_by_majority(vec![5, 1, 4, 2, 3], 5), Some(3));
    }

    #[test]
    fn groups_are_led_in_turn_by_those_who_have_caught_up() {
        let all = [(1, 1000), (2, 1000), (3, 1000)];
        let mut status = status(&[1, 2, 3], &[], &all);
        let leads = |status: &GroupStatus| to_lead(status).map(|(id, _)| id.0);
        assert_eq!(leads(&status), Some(2), "group 4 is the second voter's turn");
        status.group = GroupId(3);
        assert_eq!(leads(&status), None, "it leads already");
        status.group = GroupId(5);
        assert_eq!(leads(&status), Some(3));
        status.matched.insert(ReplicaId(3), at(10));
        assert_eq!(leads(&status), None, "it has not caught up");
    }
}
