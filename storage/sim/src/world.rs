//! A simulation under way: the cluster, its clients, its faults, and how it is brought to an end.
//!
//! ```text
//! form ─▶ safety (faults) ─▶ heal ─▶ liveness (writes everywhere, replicas alike) ─▶ checks
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use quorate_consensus::{GroupStatus, LogPosition, Role};
use quorate_storage::scan::TimeRange;
use quorate_storage::{
    KeyedReceipt, ReadLevel, RowPlace, ScrubStatus, SegmentStatus, SeriesKey, Store, WriteOptions,
    with_causes,
};

use crate::checker::{Final, check};
use crate::cluster::Cluster;
use crate::history::{Key, OpId, Outcome, Rows, Work, parts};
use crate::nemesis::Nemesis;
use crate::node::Settings;
use crate::random::Random;
use crate::table::{self, DAY, DAYS};
use crate::trace::Trace;
use crate::workload::{Mix, Shared, Workload};

/// How long an empty cluster may take to form.
const FORM_MAX: Duration = Duration::from_mins(1);
/// How long a healed cluster may take until it takes writes on every node, in simulated time.
const LIVE_MAX: Duration = Duration::from_secs(30);
/// How long until all replicas are alike.
const ALIKE_MAX: Duration = Duration::from_mins(2);
/// How often it is looked whether they are.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Packets may be under way for so long.
const STRAY_MAX: Duration = Duration::from_secs(11);

/// A simulation under way.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) workload: Workload,
    pub(crate) nemesis: Nemesis,
    pub(crate) findings: Vec<String>,
    ending: bool,
    /// The victim has a damaged file that nobody else has any more: what needs it fails.
    is_beyond_repair: bool,
}

impl World {
    /// A cluster that is yet to form.
    pub(crate) fn new(settings: Settings, mix: Mix, random: &mut Random, trace: &Trace) -> Self {
        let drift: Vec<i64> =
            (0..settings.nodes).map(|_| random.pick(&[0, 0, 300, -300, 20_000, -20_000])).collect();
        let nodes = settings.nodes;
        let cluster = Cluster::new(settings, random, &drift, trace.clone());
        let shared = Shared { trace: trace.clone(), ..Shared::default() };
        let workload = Workload::new(mix, shared, random);
        let nemesis = Nemesis::swarm(random, nodes);
        Self {
            cluster,
            workload,
            nemesis,
            findings: Vec::new(),
            ending: false,
            is_beyond_repair: false,
        }
    }

    fn found(&mut self, what: String) {
        self.cluster.trace.note(format_args!("found {what}"));
        self.findings.push(what);
    }

    /// Whether something was found already: the rest would only follow from it.
    pub(crate) fn is_broken(&self) -> bool {
        !self.findings.is_empty()
            || !self.cluster.observer.violations.is_empty()
            || !self.workload.shared.findings.lock().is_empty()
    }

    /// Starts all nodes and makes the table. False if that fails.
    pub(crate) fn form(&mut self) -> bool {
        let nodes = self.cluster.nodes.len();
        for node in 0..nodes {
            self.cluster.start(node);
        }
        let formed = self.cluster.run_until(FORM_MAX, |cluster| cluster.open().len() == nodes);
        let made =
            formed && self.cluster.ask(0, FORM_MAX, table::create).is_some_and(|r| r.is_ok());
        let known = |cluster: &Cluster| {
            let stores = cluster.nodes.iter().filter_map(crate::node::Node::store);
            stores.filter(|store| table::find(store).is_some()).count() == nodes
        };
        let ready = made && self.cluster.run_until(FORM_MAX, known);
        if !ready {
            let refused: Vec<_> =
                self.cluster.nodes.iter().map(crate::node::Node::refused).collect();
            self.found(format!("L1 the cluster does not form: {refused:?}"));
        }
        ready
    }

    /// One tick of everything.
    pub(crate) fn tick(&mut self) {
        self.nemesis.step(&mut self.cluster);
        if let Some(why) = self.nemesis.tend(&mut self.cluster) {
            self.found(format!("L2 {why}"));
        }
        self.workload.step(&self.cluster, self.ending);
        self.cluster.tick();
    }

    /// Faults and work, for some time.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.cluster.now + time;
        while self.cluster.now < end && !self.is_broken() {
            self.tick();
        }
    }

    /// Ticks until it is so. False if it takes too long.
    fn run_until(&mut self, most: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.cluster.now + most;
        while self.cluster.now < end && !self.is_broken() {
            if done(self) {
                return true;
            }
            self.tick();
        }
        false
    }

    /// Heals everything, waits until work goes on and all replicas are alike, and checks what was promised.
    pub(crate) fn finish(&mut self) {
        self.cluster.trace.note(format_args!("heal"));
        self.nemesis.heal(&mut self.cluster);
        self.ending = true;
        if !self.is_broken() && !self.run_until(LIVE_MAX * 4, |world| world.workload.is_idle()) {
            self.found("L3 clients wait for ever after everything was healed".to_owned());
        }
        if !self.is_broken() {
            self.check_live();
        }
        if !self.is_broken() {
            self.run_for(STRAY_MAX);
            self.settle();
        }
        if !self.is_broken() {
            self.check_end();
        }
    }

    /// Nodes that are to be as they should: all but one that was damaged, which may refuse service.
    fn sound(&self) -> Vec<usize> {
        let is_sound = |n: &usize| {
            let node = &self.cluster.nodes[*n];
            let statuses = node.service().map(|service| service.statuses()).unwrap_or_default();
            let serves = node.store().is_some_and(|store| store.refusals().is_empty())
                && statuses.iter().all(|status| status.role != Role::Stopped);
            serves && !self.is_beyond_repair || self.nemesis.may_refuse != Some(*n)
        };
        (0..self.cluster.nodes.len()).filter(is_sound).collect()
    }

    /// C10: every node takes writes to every shard again.
    fn check_live(&mut self) {
        let up = |world: &mut Self| {
            let sound = world.sound();
            sound.iter().all(|n| world.cluster.nodes[*n].store().is_some())
        };
        if !self.run_until(LIVE_MAX * 3, up) {
            self.found(format!("L4 nodes do not come back: open are {:?}", self.cluster.open()));
            return;
        }
        for node in self.sound() {
            for day in (0..DAYS).chain(self.workload.newest_day()) {
                let begun = self.cluster.now;
                while !self.write_once(node, day * DAY) {
                    if self.cluster.now > begun + LIVE_MAX {
                        self.found(format!("L5 node {node} takes no writes for day {day}"));
                        return;
                    }
                }
            }
        }
    }

    fn write_once(&mut self, node: usize, day: i64) -> bool {
        let history = Arc::clone(&self.workload.shared.history);
        let (id, attempt, keys) = {
            let mut history = history.lock();
            let id = history.ops.last_key_value().map_or(1, |(id, _)| id + 1);
            let keys: Vec<Key> =
                vec![("live".to_owned(), day + i64::try_from(id).expect("few operations"))];
            let id = history.begin(Work::Write(keys.clone()), None);
            (id, history.attempt(id), keys)
        };
        let ask = move |store: Store| async move {
            let batch = table::batch(&store, &keys, id)?;
            Some(store.write(batch, &WriteOptions::default()).await.map_err(|e| with_causes(&e)))
        };
        let written = self.cluster.ask(node, LIVE_MAX, ask).flatten();
        if let Some(Err(why)) = &written {
            self.cluster.trace.note(format_args!("error of live op {id} at {node}: {why}"));
        }
        let written = written.and_then(Result::ok);
        let outcome = written.as_ref().map_or(Outcome::Unknown, |r| Outcome::Acked(parts(r)));
        self.cluster.trace.note(format_args!("live op {id} at {node}: {outcome:?}"));
        history.lock().end(id, attempt, outcome);
        written.is_some()
    }

    /// Waits until nothing moves any more and all replicas are alike.
    fn settle(&mut self) {
        // A damaged file is mended before it is compared.
        for node in self.sound() {
            let ask = |store: Store| async move { (store.scrub_status(), store.scrub().await) };
            let left = self.cluster.ask(node, ALIKE_MAX, ask).is_some_and(|(before, after)| {
                let left = |status: &[ScrubStatus]| -> u64 {
                    status.iter().map(|s| s.damaged.saturating_sub(s.repaired)).sum()
                };
                left(&after) > left(&before)
            });
            self.is_beyond_repair |= left && self.nemesis.may_refuse == Some(node);
        }
        let sound = self.sound();
        let end = self.cluster.now + ALIKE_MAX;
        let mut last = String::new();
        while self.cluster.now < end && !self.is_broken() {
            match self.difference(&sound) {
                None => return,
                Some(what) => last = what,
            }
            self.cluster.run_for(LOOK_EVERY);
        }
        if !self.is_broken() {
            self.found(format!("L6 the replicas do not become alike: {last}"));
        }
    }

    /// What is not alike or not at rest.
    fn difference(&self, nodes: &[usize]) -> Option<String> {
        let mut groups: BTreeMap<u64, Vec<GroupStatus>> = BTreeMap::new();
        let mut segments: BTreeSet<Vec<String>> = BTreeSet::new();
        for node in nodes {
            let node = &self.cluster.nodes[*node];
            let (Some(store), Some(service)) = (node.store(), node.service()) else {
                return Some(format!("node {} is down", node.index));
            };
            for status in service.statuses() {
                groups.entry(status.group.0).or_default().push(status);
            }
            let stopped = service.statuses().into_iter().find(|s| s.role == Role::Stopped);
            if let Some(stopped) = stopped {
                return Some(format!("node {}: {}", node.index, describe(&[stopped])));
            }
            for shard in store.status().shards {
                if shard.flushes_pending + shard.compactions_pending > 0 {
                    return Some(format!("node {} has jobs: {shard:?}", node.index));
                }
            }
            segments.insert(store.segments().iter().map(name_of).collect());
        }
        for (group, replicas) in groups {
            let places: BTreeSet<_> =
                replicas.iter().flat_map(|r| [r.applied, r.committed, r.last]).collect();
            if self.cluster.leader(group).is_none()
                || places.len() != 1
                || replicas.len() != nodes.len()
            {
                return Some(format!("group {group}: {}", describe(&replicas)));
            }
        }
        (segments.len() > 1).then(|| format!("segments {segments:?}"))
    }

    /// The checker, over what every replica holds.
    fn check_end(&mut self) {
        self.cluster.observer.observe_all(&self.cluster.nodes);
        let mut end = Final::default();
        for node in self.sound() {
            match self.local_rows(node) {
                Ok(rows) => {
                    end.replicas.insert(node, rows);
                }
                Err(what) => return self.found(format!("C1 node {node} cannot be read: {what}")),
            }
            let store = self.cluster.nodes[node].store();
            let segments = store.map(|store| store.segments()).unwrap_or_default();
            end.segments.insert(node, segments.iter().map(name_of).collect());
        }
        match self.keyed() {
            Ok(keyed) => end.keyed = keyed,
            Err(what) => return self.found(what),
        }
        let Some(table) = self.cluster.nodes.iter().find_map(|n| table::find(&n.store()?)) else {
            return self.found("C1 the table is gone".to_owned());
        };
        let Some(store) = self.cluster.nodes[self.sound()[0]].store() else {
            return self.found("C1 a sound node has no store".to_owned());
        };
        let history = Arc::clone(&self.workload.shared.history);
        let place_of = |key: &Key| {
            let series = SeriesKey::encode([Some(key.0.as_str())]);
            store.place_of(table.id, &series, key.1).expect("the node knows the table")
        };
        for what in check(&history.lock(), &end, &place_of) {
            self.found(what);
        }
    }

    fn local_rows(&mut self, node: usize) -> Result<Rows, String> {
        let ask = |store: Store| async move {
            let table = table::find(&store).ok_or_else(|| "no table".to_owned())?;
            let view = store.view(table.id, TimeRange::ALL, &ReadLevel::Local).await;
            let rows = view.and_then(|view| table::rows(&view));
            rows.map_err(|e| with_causes(&e))?
        };
        let rows = self.cluster.ask(node, LIVE_MAX, ask);
        rows.unwrap_or_else(|| Err("it does not answer".to_owned()))
    }

    /// What became of keyed operations whose outcome no client knows.
    fn keyed(&mut self) -> Result<BTreeMap<OpId, BTreeMap<RowPlace, u64>>, String> {
        let unknown: Vec<(OpId, String)> = {
            let history = self.workload.shared.history.lock();
            let ops = history.ops.iter().filter(|(_, op)| op.acked().is_none() && !op.failed());
            ops.filter_map(|(id, op)| Some((*id, op.key.clone()?))).collect()
        };
        let mut known = BTreeMap::new();
        let node = self.sound()[0];
        for (id, key) in unknown {
            let ask = |store: Store| async move { store.key_status(&key).await };
            let status = self.cluster.ask(node, LIVE_MAX, ask);
            let receipts = match status {
                Some(Ok(receipts)) => receipts,
                Some(Err(e)) => return Err(format!("C5 a key's status: {}", with_causes(&e))),
                None => return Err("C5 a key's status is not told".to_owned()),
            };
            let parts = receipts.iter().filter(|part| part.receipt.accepted > 0);
            let place =
                |part: &KeyedReceipt| RowPlace { shard: part.receipt.shard, epoch: part.epoch };
            known.insert(id, parts.map(|part| (place(part), part.receipt.index)).collect());
        }
        Ok(known)
    }

    /// Everything that was found.
    pub(crate) fn into_findings(self) -> Vec<String> {
        let mut findings = self.cluster.observer.violations;
        findings.extend(self.workload.shared.findings.lock().drain(..));
        findings.extend(self.findings);
        findings
    }
}

/// How replicas stand, in short.
fn describe(replicas: &[GroupStatus]) -> String {
    let index = |at: Option<LogPosition>| at.map_or(0, |at| at.index);
    let one = |r: &GroupStatus| {
        format!(
            "replica {} {:?} term {} purged {} snapshot {} applied {} committed {} last {}",
            r.replica.0,
            r.role,
            r.term,
            index(r.purged),
            index(r.snapshot),
            index(r.applied),
            index(r.committed),
            index(r.last)
        )
    };
    replicas.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// A segment, its content included.
fn name_of(segment: &SegmentStatus) -> String {
    let hex = |hash: &[u8; 32]| {
        let first = hash.first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
        format!("{first:016x}")
    };
    format!(
        "shard {} slice {} job {} level {} rows {} content {} file {}",
        segment.shard.0,
        segment.slice_start,
        segment.job.index,
        segment.level,
        segment.meta.rows,
        hex(&segment.meta.content_hash),
        hex(&segment.meta.file_hash)
    )
}
