//! The oracle: given what clients were told and what the replicas hold in the end, finds what cannot be.
//!
//! | rule | what it says |
//! |---|---|
//! | C1 | every acknowledged write is on every replica: its own points with its value, all its rows accepted |
//! | C2 | every stored value is that of an operation that was begun, was about that point, and was not refused |
//! | C3 | of one write, what one routing record brought to one shard is there as a whole or not at all |
//! | C4 | a point has the value of the write with the greatest log index; what was overwritten never comes back |
//! | C5 | all answers to one idempotency key are equal, and at most one of them is no duplicate |
//! | C6 | all replicas hold the same rows and the same segments |
//! | C8 | a linearizable read sees what was acknowledged before it began, a session's read its own write, and neither sees what is older |
//!
//! C7 and Raft's invariants are the [observer](crate::observer)'s. A write of unknown outcome is never taken as absent: it
//! may have been done at any time, and where its key tells what became of it, that counts.

use std::collections::{BTreeMap, BTreeSet};

use quorate_storage::RowPlace;

use crate::history::{History, Key, Op, OpId, Outcome, Part, Read, Rows, Seq, Work};

/// What the replicas hold in the end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Final {
    /// By node: the rows it holds itself.
    pub(crate) replicas: BTreeMap<usize, Rows>,
    /// By node: its segments, as text.
    pub(crate) segments: BTreeMap<usize, BTreeSet<String>>,
    /// What is known of keyed operations of unknown outcome: by place, the index.
    pub(crate) keyed: BTreeMap<OpId, BTreeMap<RowPlace, u64>>,
}

/// What an operation did to a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Nothing,
    /// At this index of the point's shard, known to the client from then on.
    At(u64, Option<Seq>),
    /// Perhaps something, at some time.
    Unknown,
}

/// Findings of a kind above which the rest is not told.
const FINDINGS_MAX: usize = 8;

/// Looks for what cannot be.
struct Checker<'a> {
    history: &'a History,
    end: &'a Final,
    /// Where a point is.
    place_of: &'a dyn Fn(&Key) -> RowPlace,
    /// By point: the operations that are about it.
    about: BTreeMap<Key, Vec<OpId>>,
    findings: Vec<String>,
}

/// Everything that is wrong; nothing, if all is well.
pub(crate) fn check(
    history: &History,
    end: &Final,
    place_of: &dyn Fn(&Key) -> RowPlace,
) -> Vec<String> {
    let mut checker =
        Checker { history, end, place_of, about: about(history), findings: Vec::new() };
    checker.check_acked();
    checker.check_answers();
    checker.check_replicas();
    if let Some(rows) = end.replicas.values().next() {
        checker.check_rows("in the end", rows);
        checker.check_final(rows);
    }
    for read in &history.reads {
        checker.check_read(read);
    }
    checker.check_read_order();
    checker.findings
}

fn about(history: &History) -> BTreeMap<Key, Vec<OpId>> {
    let mut about: BTreeMap<Key, Vec<OpId>> = BTreeMap::new();
    for (id, op) in &history.ops {
        if let Work::Write(keys) = &op.work {
            for key in keys {
                about.entry(key.clone()).or_default().push(*id);
            }
        }
    }
    for (id, op) in &history.ops {
        if let Work::Delete { host, from, to } = &op.work {
            let range = (host.clone(), *from)..=(host.clone(), *to);
            for (_, ids) in about.range_mut(range) {
                ids.push(*id);
            }
        }
    }
    about
}

impl Checker<'_> {
    fn found(&mut self, what: String) {
        let rule = what.get(..2).unwrap_or_default().to_owned();
        let same = self.findings.iter().filter(|f| f.starts_with(&rule)).count();
        if same < FINDINGS_MAX {
            self.findings.push(what);
        }
    }

    fn op(&self, id: OpId) -> &Op {
        &self.history.ops[&id]
    }

    fn is_delete(&self, id: OpId) -> bool {
        matches!(self.op(id).work, Work::Delete { .. })
    }

    /// What an operation did to a point.
    fn effect(&self, id: OpId, key: &Key) -> Effect {
        let op = self.op(id);
        let place = (self.place_of)(key);
        if let Some((seq, parts)) = op.acked() {
            let mut parts = parts.iter().filter(|part| part.shard == place.shard.0);
            return match (parts.next(), parts.next()) {
                (None, _) => Effect::Nothing,
                // What was routed anew in the middle has two entries in one shard. Which of them the point is in matters
                // where there is another operation.
                (Some(_), Some(_)) if self.about[key].len() > 1 => Effect::Unknown,
                (Some(part), _) => Effect::At(part.index, Some(seq)),
            };
        }
        if op.failed() {
            return Effect::Nothing;
        }
        match self.end.keyed.get(&id) {
            Some(known) => known.get(&place).map_or(Effect::Nothing, |at| Effect::At(*at, None)),
            None => Effect::Unknown,
        }
    }

    /// C1: what was acknowledged says that all rows were accepted.
    fn check_acked(&mut self) {
        let mut wrong = Vec::new();
        for (id, op) in &self.history.ops {
            let (Some((_, parts)), Work::Write(keys)) = (op.acked(), &op.work) else { continue };
            let mut rows: BTreeMap<u32, u64> = BTreeMap::new();
            for key in keys {
                *rows.entry((self.place_of)(key).shard.0).or_default() += 1;
            }
            let mut accepted: BTreeMap<u32, u64> = BTreeMap::new();
            for part in parts {
                *accepted.entry(part.shard).or_default() += part.accepted;
            }
            if rows != accepted {
                wrong.push(format!(
                    "C1 operation {id} wrote {rows:?} rows, accepted are {accepted:?}"
                ));
            }
        }
        for what in wrong {
            self.found(what);
        }
    }

    /// C5.
    fn check_answers(&mut self) {
        let mut wrong = Vec::new();
        for (id, op) in self.history.ops.iter().filter(|(_, op)| op.key.is_some()) {
            let answers: Vec<&[Part]> = op
                .attempts
                .iter()
                .filter_map(|attempt| match &attempt.outcome {
                    Outcome::Acked(parts) => Some(parts.as_slice()),
                    Outcome::Unknown | Outcome::Failed => None,
                })
                .collect();
            let plain = |parts: &[Part]| -> Vec<(u32, u64, u64, u64)> {
                parts.iter().map(|p| (p.shard, p.term, p.index, p.accepted)).collect()
            };
            if answers.windows(2).any(|pair| plain(pair[0]) != plain(pair[1])) {
                wrong.push(format!("C5 operation {id} was answered differently: {answers:?}"));
            }
            let shards: BTreeSet<u32> =
                answers.iter().flat_map(|a| a.iter()).map(|p| p.shard).collect();
            for shard in shards {
                let first = answers.iter().flat_map(|a| a.iter());
                let done = first.filter(|p| p.shard == shard && !p.duplicate).count();
                if done > self.places_in(op, shard).max(1) {
                    wrong.push(format!("C5 operation {id} was done twice in shard {shard}"));
                }
            }
        }
        for what in wrong {
            self.found(what);
        }
    }

    /// How many routing records bring points of an operation to a shard: each does so once.
    fn places_in(&self, op: &Op, shard: u32) -> usize {
        let Work::Write(keys) = &op.work else { return 1 };
        let places: BTreeSet<RowPlace> = keys.iter().map(|key| (self.place_of)(key)).collect();
        places.iter().filter(|place| place.shard.0 == shard).count()
    }

    /// C6.
    fn check_replicas(&mut self) {
        let end = self.end;
        let mut nodes = end.replicas.iter();
        if let Some((first, rows)) = nodes.next() {
            for (node, others) in nodes {
                if others != rows {
                    let here: Vec<_> =
                        rows.iter().filter(|(k, v)| others.get(*k) != Some(v)).collect();
                    let there: Vec<_> =
                        others.iter().filter(|(k, v)| rows.get(*k) != Some(v)).collect();
                    let (here, there) = (&here[..here.len().min(3)], &there[..there.len().min(3)]);
                    self.found(format!(
                        "C6 nodes {first} and {node} differ: {here:?} … against {there:?} …"
                    ));
                }
            }
        }
        let mut nodes = end.segments.iter();
        if let Some((first, segments)) = nodes.next() {
            for (node, others) in nodes {
                if others != segments {
                    let differ: Vec<_> = segments.symmetric_difference(others).take(4).collect();
                    self.found(format!(
                        "C6 segments of nodes {first} and {node} differ: {differ:?}"
                    ));
                }
            }
        }
    }

    /// C2 and C3: each value is somebody's, and nothing is there in half.
    fn check_rows(&mut self, place: &str, rows: &Rows) {
        let mut written: BTreeSet<OpId> = BTreeSet::new();
        for (key, id) in rows {
            let Some(op) = self.history.ops.get(id) else {
                self.found(format!("C2 {place}: {key:?} has value {id}, which nobody wrote"));
                continue;
            };
            if !matches!(op.work, Work::Write(_)) || !op.work.touches(key) {
                self.found(format!("C2 {place}: {key:?} has value {id}, written elsewhere"));
            } else if op.failed() {
                self.found(format!("C2 {place}: {key:?} has value {id}, which was refused"));
            }
            written.insert(*id);
        }
        for id in written {
            self.check_whole(place, rows, id);
        }
    }

    /// C3: the points that only this write is about, place by place.
    fn check_whole(&mut self, place: &str, rows: &Rows, id: OpId) {
        let Some(Op { work: Work::Write(keys), .. }) = self.history.ops.get(&id) else { return };
        let mut shards: BTreeMap<RowPlace, (usize, usize, bool)> = BTreeMap::new();
        for key in keys {
            let here = rows.get(key) == Some(&id);
            let alone = self.about[key].len() == 1;
            let shard = shards.entry((self.place_of)(key)).or_default();
            shard.0 += usize::from(alone);
            shard.1 += usize::from(alone && here);
            shard.2 |= here;
        }
        for (shard, (all, there, any)) in shards {
            if any && there < all {
                self.found(format!(
                    "C3 {place}: of write {id}, {there} of {all} rows of {shard:?} are there"
                ));
            }
        }
    }

    /// C1 and C4: what each point must hold when all is done.
    fn check_final(&mut self, rows: &Rows) {
        let keys: Vec<Key> = self.about.keys().cloned().collect();
        for key in keys {
            if let Some(what) = self.wrong_value(&key, rows.get(&key).copied(), None) {
                self.found(format!("{what}, in the end"));
            }
        }
    }

    /// C8.
    fn check_read(&mut self, read: &Read) {
        let place =
            format!("a read at node {} (events {} to {})", read.node, read.began, read.ended);
        self.check_rows(&place, &read.rows);
        for (key, id) in &read.rows {
            if self.history.ops.get(id).is_some_and(|op| op.began() > read.ended) {
                self.found(format!("C8 {place} sees {key:?} = {id} before it was written"));
            }
        }
        let keys: Vec<Key> = match read.after {
            None => self.about.keys().cloned().collect(),
            Some(id) => match &self.op(id).work {
                Work::Write(keys) => keys.clone(),
                Work::Delete { .. } => Vec::new(),
            },
        };
        for key in keys {
            let value = read.rows.get(&key).copied();
            if let Some(what) = self.wrong_value(&key, value, Some(read)) {
                self.found(format!("C8 {place}: {what}"));
            }
        }
    }

    /// Why a point cannot have this value (or none) in the end, or in a read.
    fn wrong_value(&self, key: &Key, value: Option<OpId>, read: Option<&Read>) -> Option<String> {
        let ids = &self.about[key];
        let counts = |id: OpId, known: Option<Seq>| match read {
            None => true,
            Some(Read { after: Some(after), .. }) => id == *after,
            Some(read) => known.is_some_and(|seq| seq < read.began),
        };
        // The newest that must be seen: what is older must not.
        let effects: Vec<(OpId, Effect)> =
            ids.iter().map(|id| (*id, self.effect(*id, key))).collect();
        let newest = effects
            .iter()
            .filter_map(|(id, effect)| match effect {
                Effect::At(index, known) if counts(*id, *known) => Some(*index),
                Effect::At(..) | Effect::Nothing | Effect::Unknown => None,
            })
            .max()?;
        let may = |effect: Effect| match effect {
            Effect::Nothing => false,
            Effect::Unknown => true,
            Effect::At(index, _) => index >= newest,
        };
        let fits = effects.iter().any(|(id, effect)| match value {
            Some(value) => *id == value && may(*effect),
            None => self.is_delete(*id) && may(*effect),
        });
        if fits {
            return None;
        }
        let lost = value.is_none();
        let rule = if lost { "C1" } else { "C4" };
        Some(format!("{rule} {key:?} is {value:?}, and the newest is at {newest}: {effects:?}"))
    }

    /// C4: what a read has seen is not undone by a later one.
    fn check_read_order(&mut self) {
        let mut reads: Vec<&Read> =
            self.history.reads.iter().filter(|r| r.after.is_none()).collect();
        reads.sort_unstable_by_key(|read| read.ended);
        let mut ended: BTreeMap<&Key, Vec<(Seq, u64)>> = BTreeMap::new();
        let mut wrong = Vec::new();
        for read in reads {
            for (key, id) in &read.rows {
                // Points that one write alone is about cannot go back.
                if self.about.get(key).is_none_or(|ids| ids.len() == 1) {
                    continue;
                }
                let Effect::At(index, _) = self.effect(*id, key) else { continue };
                let seen = ended.entry(key).or_default();
                let older =
                    seen.iter().filter(|(seq, _)| *seq < read.began).map(|(_, at)| *at).max();
                if older.is_some_and(|older| older > index) {
                    wrong.push(format!(
                        "C4 a read at node {} sees {key:?} as of index {index}, after another saw {older:?}",
                        read.node
                    ));
                }
                if seen.last().is_none_or(|(_, last)| *last < index) {
                    seen.push((read.ended, index));
                }
            }
        }
        for what in wrong {
            self.found(what);
        }
    }
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
