//! Clusters of three real processes, whose nodes are killed, stopped, paused, lose power and damage files under load.
//!
//! Writers send batches of line protocol to one node after the other, each under a key of its own, and repeat a batch
//! under its key until a node has acknowledged it. The oracle's promises:
//!
//! - every point of an acknowledged batch is there, once, with its value, whichever node is asked;
//! - every point that is there was sent;
//! - a batch of unknown outcome (one table, one time slice, so one shard) is there whole or not at all;
//! - a repeat of an acknowledged batch is known as one by every node.
//!
//! `QUORATE_SOAK_ROUNDS` sets the rounds of the tests that have rounds, `QUORATE_CLUSTER_SEED` repeats a choice of
//! moments and places. How long writes had to wait for another leader is printed, and asserted nowhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use quorate_sql_tests::{Cluster, Disk, NODES, ServerOptions, eventually};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

const ALL: [usize; NODES] = [0, 1, 2];
const SHARDS: u64 = 8;
const WRITERS: u32 = 2;
const BATCH_POINTS: i64 = 50;
/// Batches go to one time slice after the other, so that all shards are written to.
const SLICES: i64 = 8;
/// Rounds after which the test goes on with a new cluster: each check reads all that was written.
const CLUSTER_ROUNDS: u64 = 10;

const MILLI_NS: i64 = 1_000_000;
const DAY_NS: i64 = 86_400_000 * MILLI_NS;
/// 2024-01-01T00:00:00Z.
const BASE_NS: i64 = 1_704_067_200_000 * MILLI_NS;

const COUNT: &str = "SELECT count(*) AS points FROM points";
const TABLE: &str = "SELECT writer, CAST(time AS BIGINT) AS t, v FROM points";

/// A point: (series, time) and its value.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    writer: u32,
    time: i64,
    value: f64,
}

/// A writer's batches are numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Batch {
    writer: u32,
    number: i64,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Acknowledged,
    Unknown,
}

impl Batch {
    /// Its points; all are in one time slice. A value follows from its writer and place, so that a wrong one is seen.
    fn points(self) -> impl Iterator<Item = Point> {
        let slice = BASE_NS + self.number % SLICES * DAY_NS;
        let first = self.number / SLICES * BATCH_POINTS;
        (0..BATCH_POINTS).map(move |point| {
            let n = self.number * BATCH_POINTS + point;
            let value = (n * 4 + i64::from(self.writer)) as f64 / 8.0;
            Point { writer: self.writer, time: slice + (first + point) * MILLI_NS, value }
        })
    }

    fn key(self) -> String {
        format!("batch-{}-{}", self.writer, self.number)
    }

    fn lines(self) -> String {
        let mut text = String::new();
        for Point { writer, time, value } in self.points() {
            writeln!(text, "points,writer=w{writer} v={value} {time}")
                .expect("a String takes text");
        }
        text
    }
}

/// All that was sent to one cluster, and when it was acknowledged.
#[derive(Debug)]
struct History {
    state: Mutex<HistoryState>,
}

#[derive(Debug)]
struct HistoryState {
    sent: Vec<(Batch, Fate)>,
    next: BTreeMap<u32, i64>,
    acknowledged: u64,
    /// When the last acknowledgement came, and the longest time between two of them.
    last: Instant,
    longest: Duration,
}

impl History {
    fn new() -> Self {
        Self {
            state: Mutex::new(HistoryState {
                sent: Vec::new(),
                next: BTreeMap::new(),
                acknowledged: 0,
                last: now(),
                longest: Duration::ZERO,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, HistoryState> {
        self.state.lock().expect("nobody panics while holding it")
    }

    fn begin(&self, writer: u32) -> Batch {
        let mut state = self.state();
        let next = state.next.entry(writer).or_default();
        let number = *next;
        *next += 1;
        Batch { writer, number }
    }

    fn end(&self, batch: Batch, fate: Fate) {
        let mut state = self.state();
        state.sent.push((batch, fate));
        if fate == Fate::Acknowledged {
            let now = now();
            state.acknowledged += 1;
            state.longest = state.longest.max(now.duration_since(state.last));
            state.last = now;
        }
    }

    fn sent(&self) -> Vec<(Batch, Fate)> {
        self.state().sent.clone()
    }

    fn acknowledged(&self) -> u64 {
        self.state().acknowledged
    }

    fn acknowledged_points(&self) -> u64 {
        self.acknowledged() * u64::try_from(BATCH_POINTS).expect("positive")
    }

    /// The longest time between two acknowledgements since this was last asked.
    fn longest_gap(&self) -> Duration {
        std::mem::take(&mut self.state().longest)
    }
}

/// Sends a batch to one of the nodes after the other until one acknowledges it, or it is to be abandoned.
fn deliver(cluster: &Cluster, nodes: &[usize], batch: Batch, abandon: &AtomicBool) -> Fate {
    let (key, lines) = (batch.key(), batch.lines());
    let mut turn = usize::try_from(batch.number).expect("not negative");
    eventually(&format!("{batch:?} is acknowledged"), || {
        turn += 1;
        match cluster.write(nodes[turn % nodes.len()], &key, &lines) {
            Ok(answer) if answer.status == 204 => Ok(Fate::Acknowledged),
            Ok(answer) if answer.status != 503 => panic!("{batch:?} was answered with {answer:?}"),
            Ok(_) | Err(_) if abandon.load(Ordering::Relaxed) => Ok(Fate::Unknown),
            Ok(answer) => Err(answer.body),
            Err(error) => Err(error.to_string()),
        }
    })
}

/// Writes a number of batches through some of the nodes.
fn write(cluster: &Cluster, history: &History, nodes: &[usize], writer: u32, batches: usize) {
    let abandon = AtomicBool::new(false);
    for _ in 0..batches {
        let batch = history.begin(writer);
        let fate = deliver(cluster, nodes, batch, &abandon);
        history.end(batch, fate);
    }
}

/// Writers at work.
#[derive(Debug)]
struct Load<'a> {
    history: &'a History,
    stop: AtomicBool,
    abandon: AtomicBool,
}

impl Load<'_> {
    /// Waits until this many more batches have been acknowledged.
    fn wait_for(&self, batches: u64) {
        let goal = self.history.acknowledged() + batches;
        eventually(&format!("{batches} more batches are acknowledged"), || {
            assert!(!self.stop.load(Ordering::Relaxed), "a writer has failed");
            let done = self.history.acknowledged();
            if done >= goal { Ok(()) } else { Err(format!("{} to go", goal - done)) }
        });
    }

    /// What is being written now is not repeated: there is nobody to send it to.
    fn abandon(&self) {
        self.abandon.store(true, Ordering::Relaxed);
    }

    fn write(&self, cluster: &Cluster, writer: u32) {
        while !self.stop.load(Ordering::Relaxed) && !self.abandon.load(Ordering::Relaxed) {
            let batch = self.history.begin(writer);
            let fate = deliver(cluster, &ALL, batch, &self.abandon);
            self.history.end(batch, fate);
        }
    }
}

/// Stops the load when dropped, and in a hurry if that is because of a failure.
struct StopOnDrop<'a>(&'a Load<'a>);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
        if thread::panicking() {
            self.0.abandon();
        }
    }
}

/// Does some work while writers write. All writers have ended on return.
fn under_load<T>(cluster: &Cluster, history: &History, work: impl FnOnce(&Load<'_>) -> T) -> T {
    let load = Load { history, stop: AtomicBool::new(false), abandon: AtomicBool::new(false) };
    let load = &load;
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                let _ended = StopOnDrop(load);
                load.write(cluster, writer);
            });
        }
        let _ended = StopOnDrop(load);
        work(load)
    })
}

/// The points of a table as CSV.
fn parse(table: &str) -> Vec<Point> {
    let point = |line: &str| {
        let (writer, rest) = line.strip_prefix('w')?.split_once(',')?;
        let (time, value) = rest.split_once(',')?;
        Some(Point {
            writer: writer.parse().ok()?,
            time: time.parse().ok()?,
            value: value.parse().ok()?,
        })
    };
    let lines = table.lines().skip(1);
    lines.map(|line| point(line).unwrap_or_else(|| panic!("{line:?} is no point"))).collect()
}

/// What contradicts the promises.
fn contradictions(sent: &[(Batch, Fate)], points: &[Point]) -> Vec<String> {
    let mut found: BTreeMap<(u32, i64), (u64, f64)> = BTreeMap::new();
    for point in points {
        found.entry((point.writer, point.time)).or_insert((0, point.value)).0 += 1;
    }
    let mut wrong = Vec::new();
    for (batch, fate) in sent {
        let mut there = 0;
        for point in batch.points() {
            let Some((times, value)) = found.remove(&(point.writer, point.time)) else { continue };
            there += 1;
            if times > 1 {
                wrong.push(format!("{point:?} of {batch:?} is there {times} times"));
            }
            if value.to_bits() != point.value.to_bits() {
                wrong.push(format!("{point:?} of {batch:?} has the value {value}"));
            }
        }
        if there < BATCH_POINTS && *fate == Fate::Acknowledged {
            wrong.push(format!("{batch:?} was acknowledged; {there} of its points are there"));
        } else if there < BATCH_POINTS && there > 0 {
            wrong.push(format!("{batch:?} is there in part: {there} points"));
        }
    }
    wrong.extend(found.keys().map(|(writer, time)| format!("w{writer} at {time} was never sent")));
    wrong
}

/// What the checker in Python finds, which shares no code with this one; `None` without Python.
fn second_opinion(sent: &[(Batch, Fate)], table: &str) -> Option<Vec<String>> {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let (points, rows) = (folder.path().join("points.jsonl"), folder.path().join("table.csv"));
    let mut lines = String::new();
    for (batch, fate) in sent {
        let acknowledged = *fate == Fate::Acknowledged;
        for Point { writer, time, value } in batch.points() {
            let series = format!("w{writer}");
            let point = json!({
                "series": series, "time": time, "value": value, "acknowledged": acknowledged,
            });
            writeln!(lines, "{point}").expect("a String takes text");
        }
    }
    fs::write(&points, lines).expect("a temporary file can be written");
    fs::write(&rows, table).expect("a temporary file can be written");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/check_set.py");
    let out = match Command::new("python3").arg(script).arg(points).arg(rows).output() {
        Ok(out) => out,
        Err(error) => {
            let required = std::env::var("QUORATE_REQUIRE_CLIENTS").is_ok_and(|v| v == "1");
            assert!(!required, "python3 cannot be started: {error}");
            say("SKIPPED: python3 is missing: there is no second opinion");
            return None;
        }
    };
    let findings = String::from_utf8_lossy(&out.stdout);
    let known = matches!(out.status.code(), Some(0 | 1));
    assert!(known, "check_set.py failed: {}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(out.status.success(), findings.is_empty(), "{findings}");
    Some(findings.lines().map(str::to_owned).collect())
}

/// Reads all points through a node and compares them with what was sent. Returns the table.
fn check_through(cluster: &Cluster, history: &History, node: usize) -> String {
    let name = cluster.name(node);
    let table = cluster.csv(node, TABLE);
    let points = parse(&table);
    let wrong = contradictions(&history.sent(), &points);
    let some = &wrong[..wrong.len().min(10)];
    assert!(wrong.is_empty(), "through {name}: {} contradictions, such as {some:#?}", wrong.len());
    assert_eq!(count(cluster, node), points.len() as u64, "count(*) through {name}");
    table
}

/// The whole oracle, through every node.
fn check(cluster: &Cluster, history: &History) {
    repeats_are_known(cluster, history);
    for node in ALL {
        let table = check_through(cluster, history, node);
        if node == 0
            && let Some(findings) = second_opinion(&history.sent(), &table)
        {
            assert!(findings.is_empty(), "{} findings, first {}", findings.len(), findings[0]);
        }
    }
}

/// Each writer's last acknowledged batch, sent again through every node, is a repeat in every shard.
fn repeats_are_known(cluster: &Cluster, history: &History) {
    let sent = history.sent();
    let acknowledged = sent.iter().filter(|(_, fate)| *fate == Fate::Acknowledged);
    let last: BTreeMap<u32, Batch> =
        acknowledged.map(|(batch, _)| (batch.writer, *batch)).collect();
    for batch in last.into_values() {
        for node in ALL {
            let receipt = eventually("a repeat is acknowledged", || {
                match cluster.write(node, &batch.key(), &batch.lines()) {
                    Ok(answer) if answer.status == 204 => Ok(answer.receipt.unwrap_or_default()),
                    Ok(answer) => Err(format!("{answer:?}")),
                    Err(error) => Err(error.to_string()),
                }
            });
            let shards: Vec<Value> = serde_json::from_str(&receipt).expect("a receipt is a list");
            let repeated = |shard: &Value| shard["duplicate"].as_bool() == Some(true);
            let known = !shards.is_empty() && shards.iter().all(repeated);
            assert!(known, "{batch:?} repeated through {}: {receipt}", cluster.name(node));
        }
    }
}

fn points_in(rows: &[Value]) -> Option<u64> {
    rows.first()?["points"].as_u64()
}

fn count(cluster: &Cluster, node: usize) -> u64 {
    points_in(&cluster.query(node, COUNT)).expect("count(*) is one number")
}

/// Waits until each of the nodes holds all points itself.
fn all_hold(cluster: &Cluster, nodes: &[usize], points: u64) {
    for node in nodes {
        eventually(&format!("{} holds {points} points", cluster.name(*node)), || {
            let rows = cluster.local(*node, COUNT)?;
            if points_in(&rows) == Some(points) { Ok(()) } else { Err(format!("{rows:?}")) }
        });
    }
}

/// The node that leads most groups.
fn leader_of_most(cluster: &Cluster) -> usize {
    let sql = "SELECT node, count(*) AS led FROM system.replicas WHERE role = 'leader' \
               GROUP BY node ORDER BY led DESC, node LIMIT 1";
    eventually("some node leads a group", || {
        let rows = cluster.query(0, sql);
        let name = rows.first().and_then(|row| row["node"].as_str());
        name.and_then(|name| cluster.node_named(name)).ok_or_else(|| format!("{rows:?}"))
    })
}

fn all_are_up(cluster: &Cluster, asked: usize) {
    let up: Vec<Value> =
        ALL.map(|node| json!({ "node": cluster.name(node), "status": "up" })).to_vec();
    eventually(&format!("all nodes are up, says {}", cluster.name(asked)), || {
        let rows = cluster.query(asked, "SELECT node, status FROM system.nodes ORDER BY node");
        if rows == up { Ok(()) } else { Err(format!("{rows:?}")) }
    });
}

/// Every group, the metadata group included, has a replica on every node, and one of them leads. While a group changes
/// hands there may be no leader for a moment, or two: the old one has not heard of the new one.
fn every_group_has_one_leader(cluster: &Cluster, asked: usize) {
    let groups = std::iter::once(None).chain((0..SHARDS).map(Some));
    let wanted: BTreeMap<Option<u64>, (usize, usize)> =
        groups.map(|group| (group, (NODES, 1))).collect();
    eventually(&format!("every group has one leader, says {}", cluster.name(asked)), || {
        let mut found: BTreeMap<Option<u64>, (usize, usize)> = BTreeMap::new();
        for row in cluster.query(asked, "SELECT shard, role FROM system.replicas") {
            let group = found.entry(row["shard"].as_u64()).or_default();
            group.0 += 1;
            group.1 += usize::from(row["role"].as_str() == Some("leader"));
        }
        if found == wanted { Ok(()) } else { Err(format!("(replicas, leaders): {found:?}")) }
    });
}

/// Small thresholds, so that flushes, compactions and purges happen all the time; and a short deadline, so that what
/// was handed to a node that does not answer is tried elsewhere soon.
fn options(disk: Disk) -> ServerOptions {
    let shards = SHARDS.to_string();
    let sizes = ["--flush-size", "256KiB", "--wal-segment-size", "1MiB"];
    let others = ["--write-deadline", "5s", "--shards", shards.as_str()];
    let arguments = sizes.into_iter().chain(others).map(str::to_owned).collect();
    ServerOptions { disk, arguments }
}

/// One cluster at a time: three processes keep a machine busy, and the ports of one must not become those of another.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The rounds of a test, cut into those that one cluster goes through.
fn rounds(unless_set: u64) -> Vec<u64> {
    let rounds = std::env::var("QUORATE_SOAK_ROUNDS").ok();
    let rounds =
        rounds.map_or(unless_set, |text| text.parse().expect("QUORATE_SOAK_ROUNDS is a number"));
    let whole = usize::try_from(rounds / CLUSTER_ROUNDS).expect("that many rounds never end");
    let mut parts = vec![CLUSTER_ROUNDS; whole];
    parts.extend(Some(rounds % CLUSTER_ROUNDS).filter(|rest| *rest > 0));
    parts
}

fn seeded() -> StdRng {
    let seed = std::env::var("QUORATE_CLUSTER_SEED").ok().map(|s| s.parse().expect("a number"));
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    say(&format!("QUORATE_CLUSTER_SEED={seed}"));
    StdRng::seed_from_u64(seed)
}

#[expect(clippy::print_stdout, reason = "seeds and times are read by who runs the tests")]
fn say(text: &str) {
    println!("{text}");
}

#[expect(clippy::disallowed_methods, reason = "times real processes")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "cuts the power at a random moment")]
fn wait(time: Duration) {
    thread::sleep(time);
}

#[test]
fn any_node_answers() {
    let _turn = turn();
    let cluster = Cluster::start(&options(Disk::Kept));
    let history = History::new();
    for (writer, node) in (0..).zip(ALL) {
        write(&cluster, &history, &[node], writer, 20);
        for asked in ALL {
            let (written, read) = (cluster.name(node), cluster.name(asked));
            let points = history.acknowledged_points();
            assert_eq!(count(&cluster, asked), points, "through {written}, then {read}");
        }
    }
    check(&cluster, &history);
    for asked in ALL {
        all_are_up(&cluster, asked);
        every_group_has_one_leader(&cluster, asked);
    }
}

#[test]
fn a_killed_leader_loses_nothing() {
    let _turn = turn();
    let mut rng = seeded();
    let mut gaps = Vec::new();
    for rounds in rounds(4) {
        let cluster = Cluster::start(&options(Disk::Kept));
        let history = History::new();
        under_load(&cluster, &history, |load| {
            for _ in 0..rounds {
                load.wait_for(rng.random_range(5..50));
                gaps.push(kill_a_leader(&cluster, load));
            }
        });
        check(&cluster, &history);
    }
    report(gaps);
}

/// Kills the leader of most groups and starts it again once the others have gone on. Returns the longest time between
/// two acknowledgements meanwhile.
fn kill_a_leader(cluster: &Cluster, load: &Load<'_>) -> Duration {
    let leader = leader_of_most(cluster);
    load.history.longest_gap();
    cluster.kill(&[leader]);
    load.wait_for(20);
    let gap = load.history.longest_gap();
    say(&format!("{} killed: at most {gap:?} between two acknowledgements", cluster.name(leader)));
    cluster.restart(&[leader]);
    gap
}

/// Prints how long writes had to wait.
fn report(mut gaps: Vec<Duration>) {
    gaps.sort_unstable();
    let Some(last) = gaps.len().checked_sub(1) else { return };
    let at = |percent: usize| gaps[last * percent / 100];
    say(&format!(
        "between two acknowledgements after {} kills, at most: median {:?}, 90 % {:?}, all {:?}",
        gaps.len(),
        at(50),
        at(90),
        at(100)
    ));
}

#[test]
fn all_nodes_lose_power_at_once() {
    let _turn = turn();
    let mut rng = seeded();
    for rounds in rounds(2) {
        let cluster = Cluster::start(&options(Disk::UnsyncedLost));
        let history = History::new();
        for _ in 0..rounds {
            under_load(&cluster, &history, |load| {
                // The moment is bound to progress, not to the clock; the last bit of time makes it random.
                load.wait_for(rng.random_range(5..300));
                wait(Duration::from_micros(rng.random_range(0..20_000)));
                cluster.kill(&ALL);
                load.abandon();
            });
            cluster.restart(&ALL);
            check(&cluster, &history);
        }
    }
}

#[test]
fn a_stopped_minority_does_not_stop_writes() {
    let _turn = turn();
    let cluster = Cluster::start(&options(Disk::Kept));
    let history = History::new();
    write(&cluster, &history, &ALL, 0, 20);
    let stopped = leader_of_most(&cluster);
    let others: Vec<usize> = ALL.into_iter().filter(|node| *node != stopped).collect();
    cluster.pause(stopped);
    write(&cluster, &history, &others, 0, 60);
    cluster.resume(stopped);
    // It still takes itself for a leader, and must not answer as one.
    check_through(&cluster, &history, stopped);
    check(&cluster, &history);
    all_hold(&cluster, &ALL, history.acknowledged_points());
}

#[test]
fn a_flipped_bit_in_a_segment_is_repaired() {
    const DAMAGED: usize = 1;
    let _turn = turn();
    let mut rng = seeded();
    let cluster = Cluster::start(&options(Disk::Kept));
    let history = History::new();
    write(&cluster, &history, &ALL, 0, 40);
    for node in ALL {
        cluster.execute(node, "CHECKPOINT");
    }
    cluster.stop(DAMAGED);
    let segments = segments(cluster.dir(DAMAGED));
    assert!(!segments.is_empty(), "a checkpoint writes segments");
    for (path, bytes) in &segments {
        let mut bytes = bytes.clone();
        let at = bytes.len() - rng.random_range(1..=20);
        bytes[at] ^= 1_u8 << rng.random_range(0..8_u32);
        fs::write(path, bytes).expect("a stopped node's file can be written");
    }
    cluster.restart(&[DAMAGED]);
    all_hold(&cluster, &[DAMAGED], history.acknowledged_points());
    check(&cluster, &history);
    let live = cluster.query(DAMAGED, "SELECT file_name FROM system.segments");
    for (path, bytes) in &segments {
        let name = path.file_name().and_then(|name| name.to_str());
        if live.iter().any(|row| row["file_name"].as_str() == name) {
            let mended = fs::read(path).expect("a live segment can be read");
            assert!(mended == *bytes, "{} is still damaged", path.display());
        }
    }
}

/// The segments of a node, with their bytes.
fn segments(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let list = |dir: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(dir).expect("the data directory can be read");
        entries.map(|entry| entry.expect("the data directory can be read").path()).collect()
    };
    let shards = list(&dir.join("shards")).into_iter();
    let files = shards.flat_map(|shard| list(&shard.join("segments")));
    let segments = files.filter(|file| file.extension().is_some_and(|e| e == "parquet"));
    segments.map(|file| (file.clone(), fs::read(file).expect("a file can be read"))).collect()
}

/// A table of these points as CSV.
fn table_of(points: &[Point]) -> String {
    let mut table = "writer,t,v\n".to_owned();
    for Point { writer, time, value } in points {
        writeln!(table, "w{writer},{time},{value:?}").expect("a String takes text");
    }
    table
}

#[test]
fn both_checkers_name_what_is_lost_doubled_changed_or_never_sent() {
    let (first, second) = (Batch { writer: 0, number: 0 }, Batch { writer: 1, number: 9 });
    let sent = [(first, Fate::Acknowledged), (second, Fate::Unknown)];
    let whole: Vec<Point> = first.points().chain(second.points()).collect();
    let check = |points: &[Point], word: Option<&str>| {
        let table = table_of(points);
        assert_eq!(parse(&table), points);
        let wrong = contradictions(&sent, points);
        assert_eq!(wrong.len(), usize::from(word.is_some()), "{word:?}: {wrong:?}");
        if let Some(findings) = second_opinion(&sent, &table) {
            assert_eq!(findings.len(), usize::from(word.is_some()), "{word:?}: {findings:?}");
            let named = findings.iter().all(|finding| word.is_some_and(|w| finding.contains(w)));
            assert!(named, "{word:?}: {findings:?}");
        }
    };
    check(&whole, None);
    let acknowledged: Vec<Point> = first.points().collect();
    check(&acknowledged, None);
    check(&whole[1..], Some("lost"));
    let mut doubled = whole.clone();
    doubled.push(whole[7]);
    check(&doubled, Some("doubled"));
    let mut changed = whole.clone();
    changed[60].value += 1.0;
    check(&changed, Some("changed"));
    let mut phantom = whole.clone();
    phantom.push(Point { time: BASE_NS - 1, ..whole[0] });
    check(&phantom, Some("phantom"));
}
