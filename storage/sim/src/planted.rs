//! Stories that lead to where each planted bug shows, with little left to chance: told with the bug the checks must fail, and
//! told without it they must pass.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quorate_storage::{Store, WriteOptions};
use quorate_wal::PlantedBug;

use crate::history::{Key, OpId, Outcome, Work, parts};
use crate::nemesis::{files_in, is_log};
use crate::node::{DIR, Death, Settings};
use crate::random::Random;
use crate::table;
use crate::trace::Trace;
use crate::workload::Mix;
use crate::world::World;

/// Longer than any call.
const PATIENCE: Duration = Duration::from_secs(20);
/// Enough for another leader to be elected, and for the old one to know.
const ELECTION: Duration = Duration::from_secs(4);
/// The metadata group is 0; the story's rows are of one day, and so of one shard.
const DAY: i64 = 0;

/// Tells the story of a bug.
pub(crate) fn tell(about: PlantedBug, planted: bool, random: &mut Random, trace: &Trace) -> World {
    let settings = Settings { bug: planted.then_some(about), ..Settings::default() };
    let mix = Mix { clients: 0, ..Mix::swarm(random) };
    let mut world = World::new(settings, mix, random, trace);
    world.nemesis.calm();
    if !world.form() {
        return world;
    }
    let mut story = Story { world, random: random.fork(), written: 0 };
    story.warm_up();
    match about {
        PlantedBug::SkippedSync => story.all_lose_power(),
        PlantedBug::EarlyAcknowledgement => story.leader_alone(),
        PlantedBug::TruncatedDamage => story.damaged_entry(),
        PlantedBug::DroppedDedup => story.repeat_after_restart(),
        PlantedBug::RestoredLeader => story.leader_forgets(),
        PlantedBug::DistantMerge => story.three_flushes(),
    }
    story.world.finish();
    story.world
}

struct Story {
    world: World,
    random: Random,
    written: i64,
}

impl Story {
    fn nodes(&self) -> usize {
        self.world.cluster.nodes.len()
    }

    /// The group that the rows go to, and who leads it.
    fn leader(&self) -> usize {
        let cluster = &self.world.cluster;
        let table = cluster.nodes.iter().find_map(|n| table::find(&n.store()?));
        let shard = table.map_or(0, |t| table::shard_of(&t, cluster.settings.shards, DAY));
        cluster.leader(u64::from(shard) + 1).unwrap_or(0)
    }

    fn others(&self, node: usize) -> Vec<usize> {
        (0..self.nodes()).filter(|other| *other != node).collect()
    }

    /// Some rows, and some time for leaders to find their places.
    fn warm_up(&mut self) {
        let rounds = self.random.between(1, 12);
        for _ in 0..rounds {
            let node = self.random.index(self.nodes());
            self.write(node, 3);
        }
        let time = Duration::from_millis(self.random.between(100, 2_000));
        self.world.cluster.run_for(time);
    }

    fn write(&mut self, node: usize, rows: i64) -> Option<OpId> {
        let first = self.written;
        self.written += rows;
        let keys = (first..self.written).map(|n| ("story".to_owned(), DAY + n)).collect();
        self.put(node, keys, None)
    }

    fn put(&mut self, node: usize, keys: Vec<Key>, key: Option<&str>) -> Option<OpId> {
        let history = Arc::clone(&self.world.workload.shared.history);
        let id = history.lock().begin(Work::Write(keys), key.map(str::to_owned));
        self.attempt(node, id)
    }

    /// Writes, again perhaps; the operation if it was acknowledged.
    fn attempt(&mut self, node: usize, id: OpId) -> Option<OpId> {
        let history = Arc::clone(&self.world.workload.shared.history);
        let attempt = history.lock().attempt(id);
        let op = history.lock().ops[&id].clone();
        let Work::Write(keys) = op.work else { return None };
        let options = WriteOptions {
            idempotency_key: op.key.map(|key| (key, 0)),
            deadline: Some(ELECTION),
            ..WriteOptions::default()
        };
        let ask = move |store: Store| async move {
            let batch = table::batch(&store, &keys, id)?;
            store.write(batch, &options).await.ok()
        };
        let receipt = self.world.cluster.ask(node, PATIENCE, ask).flatten();
        let outcome = receipt.as_ref().map_or(Outcome::Unknown, |r| Outcome::Acked(parts(r)));
        self.world.cluster.trace.note(format_args!("story op {id} at {node}: {outcome:?}"));
        history.lock().end(id, attempt, outcome);
        receipt.map(|_| id)
    }

    fn flush(&mut self) {
        for node in 0..self.nodes() {
            self.world.cluster.ask(node, PATIENCE, |store| async move { store.flush().await.ok() });
        }
    }

    fn cut(&mut self, node: usize) {
        for other in self.others(node) {
            self.world.cluster.network.change(node, other, |link| link.cut = true);
            self.world.cluster.network.change(other, node, |link| link.cut = true);
        }
    }

    fn restart(&mut self, node: usize, death: Death) {
        self.world.cluster.stop(node, death, false);
        self.world.cluster.start(node);
    }

    fn wait_open(&mut self, node: usize) {
        let open = |cluster: &crate::cluster::Cluster| cluster.nodes[node].store().is_some();
        self.world.cluster.run_until(PATIENCE, open);
    }

    /// What was acknowledged survives a power cut of all nodes at once.
    fn all_lose_power(&mut self) {
        for _ in 0..10 {
            let node = self.random.index(self.nodes());
            self.write(node, 5);
        }
        for node in 0..self.nodes() {
            self.world.cluster.stop(node, Death::PowerCut, false);
        }
        for node in 0..self.nodes() {
            self.world.cluster.start(node);
        }
    }

    /// A leader that is cut off acknowledges nothing.
    fn leader_alone(&mut self) {
        let leader = self.leader();
        self.cut(leader);
        self.write(leader, 5);
        let other = self.others(leader)[0];
        self.world.cluster.run_for(ELECTION);
        self.write(other, 5);
    }

    /// An entry that two of three nodes have is damaged at one, who then is to decide with the one that never had it.
    fn damaged_entry(&mut self) {
        let leader = self.leader();
        let (damaged, away) = (self.others(leader)[0], self.others(leader)[1]);
        self.cut(away);
        let before = self.log_of(damaged);
        self.write(leader, 400);
        self.world.cluster.run_for(Duration::from_millis(500));
        self.world.cluster.stop(damaged, Death::Kill, false);
        let after = self.log_of(damaged);
        self.damage(damaged, &before, &after);
        self.world.cluster.stop(leader, Death::Kill, false);
        self.world.cluster.network.mend();
        self.world.cluster.start(damaged);
        self.wait_open(damaged);
        self.world.cluster.run_for(ELECTION);
        self.write(away, 5);
        self.world.cluster.start(leader);
        self.wait_open(leader);
    }

    fn log_of(&self, node: usize) -> Vec<(PathBuf, Vec<u8>)> {
        let disk = &self.world.cluster.nodes[node].disk;
        let dir = Path::new(DIR).join("wal");
        let paths = files_in(&*disk.process(), &dir).into_iter().filter(|path| is_log(path));
        paths.filter_map(|path| Some((path.clone(), disk.content(&path).ok()?))).collect()
    }

    /// Flips a bit in the middle of what was written meanwhile.
    fn damage(&mut self, node: usize, before: &[(PathBuf, Vec<u8>)], after: &[(PathBuf, Vec<u8>)]) {
        for (path, bytes) in after {
            let old = before.iter().find(|(p, _)| p == path).map_or(&[][..], |(_, b)| b.as_slice());
            // Behind the head of the file, where other things are noted in place.
            let new: Vec<usize> = (16_384..bytes.len())
                .filter(|at| bytes[*at] != 0 && old.get(*at) != Some(&bytes[*at]))
                .collect();
            if new.len() < 1_000 {
                continue;
            }
            let at = new[new.len() / 2] as u64;
            let flipped = self.world.cluster.nodes[node].disk.flip_bit(path, at * 8 + 3);
            self.world
                .cluster
                .trace
                .note(format_args!("flip {at} of {}: {flipped:?}", path.display()));
            self.world.nemesis.may_refuse = Some(node);
            return;
        }
    }

    /// A key is known after every node has started from a manifest.
    fn repeat_after_restart(&mut self) {
        let keys = vec![("story".to_owned(), DAY + 1_000_000)];
        let Some(id) = self.put(0, keys, Some("once")) else { return };
        self.flush();
        self.world.cluster.run_for(Duration::from_secs(2));
        for node in 0..self.nodes() {
            self.restart(node, Death::PowerCut);
        }
        for node in 0..self.nodes() {
            self.wait_open(node);
        }
        let node = self.random.index(self.nodes());
        self.attempt(node, id);
    }

    /// A leader whose own disk has not synced what the others committed loses power and is back before they miss it.
    fn leader_forgets(&mut self) {
        // Until leaders have found their places.
        self.world.cluster.run_for(ELECTION * 4);
        for _ in 0..4 {
            let leader = self.leader();
            if let Some(log) = self.world.cluster.nodes[leader].log() {
                log.hold(true);
            }
            self.write(leader, 2);
            self.restart(leader, Death::PowerCut);
            self.wait_open(leader);
            for node in 0..self.nodes() {
                self.write(node, 2);
            }
            self.world.cluster.run_for(ELECTION / 4);
        }
    }

    /// A point is written anew in each of three flushes, which are then merged.
    fn three_flushes(&mut self) {
        for _ in 0..3 {
            let node = self.random.index(self.nodes());
            self.put(node, vec![("merged".to_owned(), DAY)], None);
            self.flush();
        }
        let compact = |store: Store| async move { store.compact().await.ok() };
        for node in 0..self.nodes() {
            self.world.cluster.ask(node, PATIENCE, compact);
        }
    }
}
