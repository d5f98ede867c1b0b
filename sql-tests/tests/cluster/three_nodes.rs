//! Three nodes, directly connected.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate_sql_tests::{Cluster, Disk, NODES, eventually};
use rand::RngExt;
use serde_json::{Value, json};

use crate::history::{BASE_NS, Batch, Fate, History, Point};
use crate::load::{HURRIED, Load, under_load, write};
use crate::oracle::{all_hold, check, check_through, contradictions, count, parse, second_opinion};
use crate::{SHARDS, leader_of_most, options, say, seeded, turn, wait};

const ALL: [usize; NODES] = [0, 1, 2];
const BATCH_POINTS: i64 = 50;
/// Rounds after which the test goes on with a new cluster: each check reads all that was written.
const CLUSTER_ROUNDS: u64 = 10;

fn history() -> History {
    History::new("points", BATCH_POINTS)
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

#[test]
fn any_node_answers() {
    let _turn = turn();
    let cluster = Cluster::start(&options(Disk::Kept));
    let history = history();
    for (writer, node) in (0..).zip(ALL) {
        write(&cluster, &history, &[node], writer, 20);
        for asked in ALL {
            let (written, read) = (cluster.name(node), cluster.name(asked));
            let points = history.acknowledged_points();
            assert_eq!(count(&cluster, &history, asked), points, "through {written}, then {read}");
        }
    }
    check(&cluster, &history);
    for asked in ALL {
        all_are_up(&cluster, asked);
        every_group_has_one_leader(&cluster, asked);
    }
}

#[test]
fn a_table_is_placed_anew_by_any_node_and_without_one_of_them() {
    let _turn = turn();
    let cluster = Cluster::start(&options(Disk::Kept));
    let table =
        "CREATE TABLE placed (time TIMESTAMP, host STRING, x DOUBLE, PRIMARY KEY (host, time))";
    cluster.execute(0, table);
    let mut points = 0;
    for day in 1..=9_usize {
        let (writer, alters) = (day % 2, (day + 1) % 2);
        if day == 7 {
            cluster.kill(&[2]);
        }
        let hosts: Vec<String> =
            (0..20).map(|host| format!("('2024-01-0{day}T10:00:00Z', 'h{host}', {day})")).collect();
        cluster.execute(writer, &format!("INSERT INTO placed VALUES {}", hosts.join(", ")));
        points += hosts.len();
        let change = format!("SET (spread = {day}, time_slice = '{day}h')");
        cluster.execute(alters, &format!("ALTER TABLE placed {change}"));
        for asked in if day < 7 { &ALL[..] } else { &ALL[..2] } {
            let read = cluster.csv(*asked, "SELECT count(*) AS points FROM placed");
            assert_eq!(read.trim(), format!("points\n{points}"), "day {day}, read at {asked}");
        }
    }
    cluster.restart(&[2]);
    cluster.wait_ready(&ALL);
    let days = "SELECT count(*) AS hosts, sum(x) AS x FROM placed GROUP BY time ORDER BY time";
    let want: Vec<String> = (1..=9).map(|day| format!("20,{}.0", day * 20)).collect();
    let routed =
        "SELECT count(*) AS n FROM system.routing WHERE table_name = 'placed' AND in_force";
    for asked in ALL {
        assert_eq!(cluster.csv(asked, days).trim(), format!("hosts,x\n{}", want.join("\n")));
        assert_eq!(cluster.csv(asked, routed).trim(), "n\n10");
    }
}

#[test]
fn a_killed_leader_loses_nothing() {
    let _turn = turn();
    let mut rng = seeded();
    let mut gaps = Vec::new();
    for rounds in rounds(4) {
        let cluster = Cluster::start(&options(Disk::Kept));
        let history = history();
        under_load(&cluster, &history, HURRIED, |load| {
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
/// two acknowledgements for one slice meanwhile.
fn kill_a_leader(cluster: &Cluster, load: &Load<'_>) -> Duration {
    let leader = leader_of_most(cluster);
    load.history.begin_round();
    cluster.kill(&[leader]);
    load.goes_on();
    let gap = load.history.pause();
    say(&format!("{} killed: writes waited for {gap:?}", cluster.name(leader)));
    cluster.restart(&[leader]);
    gap
}

/// Prints how long writes had to wait.
fn report(mut gaps: Vec<Duration>) {
    gaps.sort_unstable();
    let Some(last) = gaps.len().checked_sub(1) else { return };
    let at = |percent: usize| gaps[last * percent / 100];
    say(&format!(
        "writes waited after {} kills: median {:?}, 90 % {:?}, all at most {:?}",
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
        let history = history();
        for _ in 0..rounds {
            under_load(&cluster, &history, HURRIED, |load| {
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
    let history = history();
    write(&cluster, &history, &ALL, 0, 20);
    let stopped = leader_of_most(&cluster);
    let others: Vec<usize> = ALL.into_iter().filter(|node| *node != stopped).collect();
    cluster.pause(stopped);
    write(&cluster, &history, &others, 0, 60);
    cluster.resume(stopped);
    // It still takes itself for a leader, and must not answer as one.
    check_through(&cluster, &history, stopped);
    check(&cluster, &history);
    all_hold(&cluster, &history, &ALL, history.acknowledged_points());
}

#[test]
fn a_flipped_bit_in_a_segment_is_repaired() {
    const DAMAGED: usize = 1;
    let _turn = turn();
    let mut rng = seeded();
    let cluster = Cluster::start(&options(Disk::Kept));
    let history = history();
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
    all_hold(&cluster, &history, &[DAMAGED], history.acknowledged_points());
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
    let (first, second) = (
        Batch { writer: 0, number: 0, size: BATCH_POINTS },
        Batch { writer: 1, number: 9, size: BATCH_POINTS },
    );
    let sent = [(first, Fate::Acknowledged), (second, Fate::Unknown)];
    let whole: Vec<Point> = first.points().chain(second.points()).collect();
    let check = |points: &[Point], word: Option<&str>| {
        let table = table_of(points);
        assert_eq!(parse(&table), points);
        let wrong = contradictions(&sent, points);
        assert_eq!(wrong.count(), u64::from(word.is_some()), "{word:?}: {wrong:?}");
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
