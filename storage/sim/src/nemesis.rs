//! Faults: which ones a run has, when they come, and what ends them.
//!
//! A run draws which kinds it has at all (a run with few kinds gets deeper into them), and how often they come. Damage is
//! done to one node only, so that a majority of every entry and every file stays sound.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quorate_storage::{Error, with_causes};
use quorate_wal::{Disk, DiskFault, SimDisk};

use crate::cluster::Cluster;
use crate::log_driver::SimLog;
use crate::network::Link;
use crate::node::{DIR, Death};
use crate::random::Random;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A node's process is killed, or its power is cut.
    Crash,
    /// All nodes lose power at once.
    CrashAll,
    /// A node loses power in the middle of a sync.
    CutInSync,
    /// The leader of a group is cut off, or any node, or the nodes fall into two halves.
    Partition,
    /// A node can send and not receive, or the other way round.
    OneWay,
    /// Two nodes do not hear each other, and everybody else hears both.
    Bridge,
    /// Packets are lost, doubled, late and out of order.
    BadLinks,
    /// Syncs of a node take long.
    SlowSync,
    /// A node's log does not write at all.
    Stall,
    /// A node's disk is full up to its reserve: what Raft writes for itself still fits.
    DiskFull,
    /// A sync of a node fails: its process ends, and starts anew.
    SyncError,
    /// Bits of a segment file of the victim flip.
    SegmentDamage,
    /// A bit of an entry in the victim's log flips while it is down.
    LogDamage,
    /// The wall clock of a node jumps.
    ClockJump,
    /// The victim's disk is lost: the node comes back with an empty one, and is taken in as a replacement.
    DiskLost,
}

const KINDS: [Kind; 15] = [
    Kind::Crash,
    Kind::CrashAll,
    Kind::CutInSync,
    Kind::Partition,
    Kind::OneWay,
    Kind::Bridge,
    Kind::BadLinks,
    Kind::SlowSync,
    Kind::Stall,
    Kind::DiskFull,
    Kind::SyncError,
    Kind::SegmentDamage,
    Kind::LogDamage,
    Kind::ClockJump,
    Kind::DiskLost,
];

/// How often it is tried to take a node in that has lost its disk.
const REPLACE_EVERY: Duration = Duration::from_secs(1);
/// How far wall clocks jump: less than what idempotency keys are kept for.
const JUMP_HOURS_MAX: u64 = 11;
const HOUR_NS: i64 = 3_600_000_000_000;

/// What a fault leaves to be undone.
#[derive(Clone, Copy, Debug)]
enum Undo {
    Links,
    Sync(usize),
    Space(usize),
}

/// Brings faults, and ends them.
#[derive(Debug)]
pub(crate) struct Nemesis {
    random: Random,
    kinds: Vec<Kind>,
    /// Longest pause between two faults.
    gap: Duration,
    next_at: Duration,
    undo: Vec<(Duration, Undo)>,
    restarts: BTreeMap<usize, Duration>,
    /// The node whose disk may be damaged.
    victim: usize,
    /// The victim, once it is damaged: what nobody can mend any more (a log's entry, or a file that the others have merged
    /// away) makes it refuse service, loudly.
    pub(crate) may_refuse: Option<usize>,
    /// Its log is damaged once only.
    log_damaged: bool,
    /// The victim has a new disk, and whether it was taken in with it.
    replaced: Option<Arc<AtomicBool>>,
    replace_at: Duration,
    /// How often each kind came.
    pub(crate) counts: BTreeMap<Kind, u64>,
}

impl Nemesis {
    /// A random choice of kinds.
    pub(crate) fn swarm(random: &mut Random, nodes: usize) -> Self {
        let mut random = random.fork();
        let mut kinds: Vec<Kind> = KINDS.into_iter().filter(|_| random.permille(400)).collect();
        if kinds.is_empty() {
            kinds.push(Kind::Crash);
        }
        Self {
            kinds,
            gap: Duration::from_millis(random.pick(&[700, 1_500, 3_000])),
            next_at: Duration::ZERO,
            undo: Vec::new(),
            restarts: BTreeMap::new(),
            victim: random.index(nodes),
            may_refuse: None,
            log_damaged: false,
            replaced: None,
            replace_at: Duration::ZERO,
            counts: BTreeMap::new(),
            random,
        }
    }

    /// No faults but those that a story brings.
    pub(crate) fn calm(&mut self) {
        self.kinds.clear();
    }

    /// The kinds of this run.
    pub(crate) fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// A tick.
    pub(crate) fn step(&mut self, cluster: &mut Cluster) {
        self.undo_due(cluster);
        self.restart_due(cluster);
        self.take_in(cluster);
        if cluster.now < self.next_at || self.kinds.is_empty() {
            return;
        }
        let gap = u64::try_from(self.gap.as_millis()).unwrap_or(u64::MAX);
        self.next_at = cluster.now + Duration::from_millis(self.random.between(50, gap));
        let kind = self.random.pick(&self.kinds);
        if self.inflict(cluster, kind) {
            cluster.trace.note(format_args!("fault {kind:?}"));
            *self.counts.entry(kind).or_default() += 1;
        }
    }

    /// Ends all faults; nodes that are down start.
    pub(crate) fn heal(&mut self, cluster: &mut Cluster) {
        self.kinds.clear();
        for (at, _) in &mut self.undo {
            *at = Duration::ZERO;
        }
        for at in self.restarts.values_mut() {
            *at = Duration::ZERO;
        }
        for node in &cluster.nodes {
            node.disk.clear_faults();
        }
        cluster.network.mend();
        self.undo_due(cluster);
        self.restart_due(cluster);
    }

    /// Ends processes that have failed, and has them started again. Returns why a node that nothing was done to cannot
    /// start.
    pub(crate) fn tend(&mut self, cluster: &mut Cluster) -> Option<String> {
        for node in 0..cluster.nodes.len() {
            let refused = cluster.nodes[node].refused();
            let died = refused.as_ref().is_some_and(|why| is_planned(why));
            let failed = cluster.nodes[node].failed().is_some();
            if cluster.nodes[node].lost_power() {
                self.crash(cluster, node, Death::PowerCut);
            } else if died || failed {
                self.crash(cluster, node, Death::Kill);
            } else if let Some(why) = refused
                && self.may_refuse != Some(node)
            {
                return Some(format!("node {node} does not start: {why}"));
            }
        }
        None
    }

    fn undo_due(&mut self, cluster: &mut Cluster) {
        let now = cluster.now;
        let (due, left) = self.undo.drain(..).partition(|(at, _)| *at <= now);
        self.undo = left;
        let due: Vec<(Duration, Undo)> = due;
        for (_, undo) in due {
            match undo {
                Undo::Links => cluster.network.mend(),
                Undo::Sync(node) => {
                    if let Some(log) = cluster.nodes[node].log() {
                        log.set_sync(SimLog::SYNC_US);
                        log.hold(false);
                    }
                }
                Undo::Space(node) => cluster.nodes[node].disk.set_capacity(u64::MAX),
            }
        }
    }

    fn restart_due(&mut self, cluster: &mut Cluster) {
        let now = cluster.now;
        let due: Vec<usize> =
            self.restarts.iter().filter(|(_, at)| **at <= now).map(|(n, _)| *n).collect();
        for node in due {
            self.restarts.remove(&node);
            cluster.start(node);
        }
    }

    /// Has another node take the victim in, until that is done.
    fn take_in(&mut self, cluster: &Cluster) {
        let Some(done) = &self.replaced else { return };
        if done.load(Ordering::Relaxed) || cluster.now < self.replace_at {
            return;
        }
        self.replace_at = cluster.now + REPLACE_EVERY;
        let name = format!("n{}", self.victim);
        let other = cluster.open().into_iter().find(|node| *node != self.victim);
        let Some(node) = other.map(|node| &cluster.nodes[node]) else { return };
        let (Some(store), Some(runtime)) = (node.store(), node.runtime()) else { return };
        let (done, trace) = (Arc::clone(done), cluster.trace.clone());
        runtime.spawn(async move {
            let taken = store.add_node(&name, Some(&name)).await;
            trace
                .note(format_args!("replace {name}: {:?}", taken.as_ref().map_err(with_causes_of)));
            if taken.is_ok() {
                done.store(true, Ordering::Relaxed);
            }
        });
    }

    /// Ends a node's process; it comes back after a while.
    pub(crate) fn crash(&mut self, cluster: &mut Cluster, node: usize, death: Death) {
        if !cluster.nodes[node].is_up() {
            return;
        }
        let refuses = death == Death::Kill && self.random.permille(700);
        cluster.stop(node, death, refuses);
        let away = self.random.pick(&[20, 200, 1_000, 4_000]);
        self.restarts
            .insert(node, cluster.now + Duration::from_millis(self.random.between(10, away)));
    }

    fn until(&mut self, cluster: &Cluster) -> Duration {
        let longest = self.random.pick(&[300, 1_500, 5_000]);
        cluster.now + Duration::from_millis(self.random.between(100, longest))
    }

    /// Brings a fault about. False if it does not fit now.
    fn inflict(&mut self, cluster: &mut Cluster, kind: Kind) -> bool {
        let nodes = cluster.nodes.len();
        let node = self.random.index(nodes);
        let death = if self.random.permille(600) { Death::PowerCut } else { Death::Kill };
        match kind {
            Kind::Crash => self.crash(cluster, node, death),
            Kind::CrashAll => {
                for node in 0..nodes {
                    self.crash(cluster, node, Death::PowerCut);
                }
            }
            Kind::CutInSync => self.fail_sync(cluster, node, DiskFault::PowerCut),
            Kind::SyncError => self.fail_sync(cluster, node, DiskFault::Sync),
            Kind::Partition => self.partition(cluster, node),
            Kind::OneWay => self.one_way(cluster, node),
            Kind::Bridge => {
                let other = (node + 1 + self.random.index(nodes - 1)) % nodes;
                cluster.network.change(node, other, |link| link.cut = true);
                cluster.network.change(other, node, |link| link.cut = true);
                self.mend_later(cluster);
            }
            Kind::BadLinks => self.bad_links(cluster),
            Kind::SlowSync | Kind::Stall => return self.slow(cluster, node, kind),
            Kind::DiskFull => {
                let used = cluster.nodes[node].disk.bytes_used();
                let room = self.random.pick(&[64 << 20, 200 << 20]);
                cluster.nodes[node].disk.set_capacity(used + room);
                let until = self.until(cluster);
                self.undo.push((until, Undo::Space(node)));
            }
            Kind::DiskLost => return self.lose_disk(cluster),
            Kind::SegmentDamage => return self.damage_segment(cluster),
            Kind::LogDamage => return self.damage_log(cluster),
            Kind::ClockJump => {
                let hours = i64::try_from(self.random.below(2 * JUMP_HOURS_MAX)).unwrap_or(0);
                let offset = (hours - JUMP_HOURS_MAX.cast_signed()) * HOUR_NS;
                cluster.nodes[node].clock.jump(offset);
            }
        }
        true
    }

    fn fail_sync(&mut self, cluster: &Cluster, node: usize, fault: DiskFault) {
        let name = self.random.pick(&["/wal/", "/segments", "/manifest", "/data"]);
        cluster.nodes[node].disk.inject(fault, name, self.random.below(6));
    }

    fn mend_later(&mut self, cluster: &Cluster) {
        let until = self.until(cluster);
        self.undo.push((until, Undo::Links));
    }

    /// Cuts all links between two groups of nodes.
    fn partition(&mut self, cluster: &Cluster, node: usize) {
        let nodes = cluster.nodes.len();
        let group = self.random.below(1 + u64::from(cluster.settings.shards));
        let mut side = vec![match cluster.leader(group) {
            Some(leader) if self.random.permille(600) => leader,
            Some(_) | None => node,
        }];
        if nodes > 3 && self.random.permille(500) {
            side.push((side[0] + 1) % nodes);
        }
        for a in 0..nodes {
            for b in 0..nodes {
                if side.contains(&a) != side.contains(&b) {
                    cluster.network.change(a, b, |link| link.cut = true);
                }
            }
        }
        self.mend_later(cluster);
    }

    fn one_way(&mut self, cluster: &Cluster, node: usize) {
        let receives = self.random.permille(500);
        for other in (0..cluster.nodes.len()).filter(|other| *other != node) {
            let (from, to) = if receives { (node, other) } else { (other, node) };
            cluster.network.change(from, to, |link| link.cut = true);
        }
        self.mend_later(cluster);
    }

    fn bad_links(&mut self, cluster: &Cluster) {
        let bad = Link {
            cut: false,
            delay: (200, self.random.pick(&[2_000, 20_000, 120_000])),
            lost: self.random.pick(&[0, 10, 100, 300]),
            doubled: self.random.pick(&[0, 50, 300]),
            stray: self.random.pick(&[0, 0, 20]),
        };
        for a in 0..cluster.nodes.len() {
            for b in (0..cluster.nodes.len()).filter(|b| *b != a) {
                cluster.network.change(a, b, |link| *link = Link { cut: link.cut, ..bad });
            }
        }
        self.mend_later(cluster);
    }

    fn slow(&mut self, cluster: &Cluster, node: usize, kind: Kind) -> bool {
        let Some(log) = cluster.nodes[node].log() else { return false };
        if kind == Kind::Stall {
            log.hold(true);
        } else {
            log.set_sync((20_000, self.random.pick(&[80_000, 500_000])));
        }
        let until = self.until(cluster);
        self.undo.push((until, Undo::Sync(node)));
        true
    }

    fn lose_disk(&mut self, cluster: &mut Cluster) -> bool {
        let victim = self.victim;
        if self.replaced.is_some() || self.may_refuse.is_some() || !cluster.nodes[victim].is_up() {
            return false;
        }
        self.crash(cluster, victim, Death::PowerCut);
        cluster.nodes[victim].disk = SimDisk::new(self.random.next());
        self.replaced = Some(Arc::default());
        true
    }

    fn damage_segment(&mut self, cluster: &Cluster) -> bool {
        let disk = &cluster.nodes[self.victim].disk;
        let mut files = Vec::new();
        for shard in 0..cluster.settings.shards {
            let dir = Path::new(DIR).join("shards").join(shard.to_string()).join("segments");
            files.extend(files_in(&*disk.process(), &dir));
        }
        let Some(path) = self.one_of(&files) else { return false };
        let flipped = self.flip(cluster, &path);
        if flipped {
            self.may_refuse = Some(self.victim);
        }
        flipped
    }

    fn damage_log(&mut self, cluster: &mut Cluster) -> bool {
        let victim = self.victim;
        if self.log_damaged || !cluster.nodes[victim].is_up() {
            return false;
        }
        self.crash(cluster, victim, Death::Kill);
        let disk = cluster.nodes[victim].disk.process();
        let files = files_in(&*disk, &Path::new(DIR).join("wal"));
        let files: Vec<PathBuf> = files.into_iter().filter(|f| is_log(f)).collect();
        let Some(path) = self.one_of(&files) else { return false };
        if self.flip(cluster, &path) {
            self.log_damaged = true;
            self.may_refuse = Some(victim);
        }
        true
    }

    fn one_of(&mut self, files: &[PathBuf]) -> Option<PathBuf> {
        if files.is_empty() { None } else { Some(files[self.random.index(files.len())].clone()) }
    }

    /// Flips a bit of a byte that is not zero, so that it is somewhere in what was written.
    fn flip(&mut self, cluster: &Cluster, path: &Path) -> bool {
        let disk = &cluster.nodes[self.victim].disk;
        let Ok(bytes) = disk.content(path) else { return false };
        let written: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        if written.is_empty() {
            return false;
        }
        let at = written[self.random.index(written.len())] as u64;
        let bit = at * 8 + self.random.below(8);
        cluster.trace.note(format_args!("flip bit {bit} of {} at {}", path.display(), self.victim));
        disk.flip_bit(path, bit).is_ok()
    }
}

fn with_causes_of(error: &Error) -> String {
    with_causes(error)
}

/// Whether a start failed as one does under a failure of the disk that was planned, or without a majority: whoever runs the
/// node starts it again.
fn is_planned(why: &str) -> bool {
    ["broken pipe", "os error 5", "poisoned", "is not available"].iter().any(|s| why.contains(s))
}

/// Whether a file is a segment of the log.
pub(crate) fn is_log(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".seg") && name != "spare.seg"
}

/// The files of a directory; none if there is no such one.
pub(crate) fn files_in(disk: &dyn Disk, dir: &Path) -> Vec<PathBuf> {
    disk.list(dir).unwrap_or_default().into_iter().map(|name| dir.join(name)).collect()
}
