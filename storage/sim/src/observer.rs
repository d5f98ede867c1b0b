//! What must hold of Raft at every moment, looked at while the simulation runs.
//!
//! - Whoever leads in the newest term has everything that was ever seen as committed (leader completeness). A term has one
//!   leader for each replica that it may belong to: openraft orders leaders by term and replica, as log positions are.
//! - Positions in a log ascend: what is committed was made by leaders in that order.
//! - `purged ≤ Raft snapshot ≤ applied ≤ committed ≤ last` at every replica; term, committed and applied never fall while
//!   it runs.
//! - What one replica has seen as committed at an index is what every replica has there, then and ever after: term, leader
//!   and payload (C7).

use std::collections::BTreeMap;

use quorate_consensus::{GroupStatus, LogPosition, Role};
use quorate_wal::{Entry, GroupId, GroupLog};
use xxhash_rust::xxh3::xxh3_64;

use crate::log_driver::SimLog;
use crate::node::Node;

/// Findings above this are not kept: one is enough.
const VIOLATIONS_MAX: usize = 20;

/// How a replica stood when it was last looked at.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    term: u64,
    committed: Option<LogPosition>,
    applied: Option<LogPosition>,
    /// First index that was not compared yet.
    next: u64,
}

/// Watches all replicas.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    /// By group, the newest leader: term and replica.
    leaders: BTreeMap<u64, (u64, u64)>,
    committed: BTreeMap<(u64, u64), (LogPosition, u64)>,
    seen: BTreeMap<(usize, u64), Seen>,
    pub(crate) violations: Vec<String>,
}

impl Observer {
    /// A node has started anew: it looks at its log from the first entry on.
    pub(crate) fn restarted(&mut self, node: usize) {
        self.seen.retain(|(of, _), _| *of != node);
    }

    /// Looks at all replicas.
    pub(crate) fn observe(&mut self, nodes: &[Node]) {
        for node in nodes {
            let (Some(service), Some(log)) = (node.service(), node.log().and_then(SimLog::log))
            else {
                continue;
            };
            for status in service.statuses() {
                self.check_status(node.index, &status);
                let group = log.group(status.group);
                self.check_log(node.index, &status, &group);
            }
        }
    }

    /// Compares whole logs again, from their first entries on.
    pub(crate) fn observe_all(&mut self, nodes: &[Node]) {
        self.seen.clear();
        self.observe(nodes);
    }

    fn violated(&mut self, what: String) {
        if self.violations.len() < VIOLATIONS_MAX && !self.violations.contains(&what) {
            self.violations.push(what);
        }
    }

    fn check_status(&mut self, node: usize, status: &GroupStatus) {
        let group = status.group.0;
        if status.role == Role::Stopped {
            return;
        }
        if status.role == Role::Leader {
            self.leads(node, status);
        }
        let index = |at: Option<LogPosition>| at.map_or(0, |at| at.index + 1);
        let chain = [status.purged, status.snapshot, status.applied, status.committed, status.last];
        if !chain.map(index).is_sorted() {
            self.violated(format!(
                "node {node} group {group}: purged ≤ snapshot ≤ applied ≤ committed ≤ last does not \
                 hold: {chain:?}"
            ));
        }
        let seen = self.seen.entry((node, group)).or_default();
        let fell = status.term < seen.term
            || index(status.committed) < index(seen.committed)
            || index(status.applied) < index(seen.applied);
        let before = *seen;
        seen.term = status.term;
        (seen.committed, seen.applied) = (status.committed, status.applied);
        if fell {
            self.violated(format!(
                "node {node} group {group}: term, committed or applied fell from {before:?} to \
                 {status:?}"
            ));
        }
    }

    /// Leader completeness, when a leader is seen for the first time.
    fn leads(&mut self, node: usize, status: &GroupStatus) {
        let group = status.group.0;
        let (own, newest) = ((status.term, status.replica.0), self.leaders.get(&group).copied());
        if Some(own) <= newest {
            return;
        }
        self.leaders.insert(group, own);
        let known = self.committed.range((group, 0)..=(group, u64::MAX)).next_back();
        let committed = known.map(|((_, index), _)| *index);
        if committed > status.last.map(|at| at.index) {
            self.violated(format!(
                "node {node} leads group {group} in term {} up to {:?}, and {committed:?} was \
                 committed",
                status.term, status.last
            ));
        }
    }

    fn check_log(&mut self, node: usize, status: &GroupStatus, log: &GroupLog) {
        let GroupId(group) = status.group;
        let Some(committed) = status.committed else { return };
        let next = self.seen.entry((node, group)).or_default().next;
        let purged = log.state().purged.map_or(0, |at| at.index + 1);
        let next = next.max(purged);
        if next > committed.index {
            return;
        }
        // A damaged entry cannot be compared; recovery and scrub tell of it.
        let Ok(entries) = log.read(next..committed.index + 1, u64::MAX) else { return };
        let mut end = next;
        for entry in &entries {
            end = entry.position.index + 1;
            self.check_entry(node, group, entry);
        }
        self.seen.entry((node, group)).or_default().next = end;
    }

    fn check_entry(&mut self, node: usize, group: u64, entry: &Entry) {
        let position = entry.position;
        let before = position.index.checked_sub(1).and_then(|i| self.committed.get(&(group, i)));
        if let Some((before, _)) = before
            && (before.term, before.leader) > (position.term, position.leader)
        {
            let what = format!("group {group}: {position:?} stands behind {before:?}");
            self.violated(what);
        }
        let found = (position, xxh3_64(&entry.payload));
        let known = *self.committed.entry((group, position.index)).or_insert(found);
        if known != found {
            self.violated(format!(
                "C7 group {group}: node {node} has {found:x?} where {known:x?} was committed"
            ));
        }
    }
}
