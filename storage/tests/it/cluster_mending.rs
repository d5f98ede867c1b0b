//! What nodes of a cluster mend from each other, how they follow the network, and what becomes of a node that is removed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate_storage::catalog::TableOptions;
use quorate_storage::scan::TimeRange;
use quorate_storage::{ErrorKind, ReadLevel, Store};
use tokio::time::Instant;

use crate::cluster::{Cluster, PATIENCE, id, segment_files};
use crate::support::{DAY, cpu, create_cpu, expect, write};

/// Segments of a node's log, oldest first.
fn log_segments(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(dir.join("wal"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "seg"))
        .collect();
    files.sort();
    files
}

/// Flips a bit of a tag's value wherever a node's log holds it. Returns how often.
fn damage(dir: &Path, value: &str) -> usize {
    let mut hits = 0;
    for path in log_segments(dir) {
        let mut bytes = std::fs::read(&path).unwrap();
        let found: Vec<_> = bytes
            .windows(value.len())
            .enumerate()
            .filter(|(_, window)| *window == value.as_bytes())
            .map(|(at, _)| at)
            .collect();
        for at in &found {
            bytes[*at] ^= 1;
        }
        if !found.is_empty() {
            std::fs::write(&path, bytes).unwrap();
        }
        hits += found.len();
    }
    hits
}

/// Tag values that no compression makes unrecognisable.
const NEEDLES: [&str; 3] = ["q7Zw0Rk3Vx9-first", "m4Jt8Ls1Yb6-second", "h2Dc5Gf0Np3-third"];

async fn cluster_with_rows() -> (Cluster, Vec<(&'static str, i64, f64)>) {
    let cluster = Cluster::start(3).await;
    create_cpu(cluster.store(0), TableOptions::default()).await;
    let mut all = Vec::new();
    for (n, needle) in NEEDLES.into_iter().enumerate() {
        let row = (needle, i64::try_from(n).unwrap() * DAY, 1.0);
        write(cluster.store(0), &[row]).await.unwrap();
        all.push(row);
    }
    (cluster, all)
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_entries_of_a_log_come_from_another_replica() {
    let (mut cluster, all) = cluster_with_rows().await;
    cluster.converge(&expect(&all)).await;
    cluster.stop(1).await;
    for needle in NEEDLES {
        assert!(damage(cluster.nodes[1].dir.path(), needle) > 0, "{needle} is not in the log");
    }
    cluster.restart(1).await;
    assert_eq!(cluster.store(1).refusals(), Vec::<String>::new());
    cluster.converge(&expect(&all)).await;
    // What was mended stays so: no peer is needed for it again.
    cluster.stop(1).await;
    cluster.stop(0).await;
    cluster.stop(2).await;
    cluster.form().await;
    cluster.converge(&expect(&all)).await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_that_are_damaged_in_different_places_mend_each_other() {
    let (mut cluster, all) = cluster_with_rows().await;
    cluster.converge(&expect(&all)).await;
    for n in 0..3 {
        cluster.stop(n).await;
    }
    for (n, needle) in NEEDLES.into_iter().enumerate() {
        assert!(damage(cluster.nodes[n].dir.path(), needle) > 0, "{needle} is not in the log");
    }
    cluster.form().await;
    cluster.converge(&expect(&all)).await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_is_damaged_everywhere_is_not_given_up_silently() {
    let (mut cluster, all) = cluster_with_rows().await;
    cluster.converge(&expect(&all)).await;
    for n in 0..3 {
        cluster.stop(n).await;
    }
    for n in 0..3 {
        assert!(damage(cluster.nodes[n].dir.path(), NEEDLES[0]) > 0);
    }
    cluster.form().await;
    for n in 0..3 {
        let refusals = cluster.store(n).refusals();
        assert_eq!(refusals.len(), 1, "{refusals:?}");
        assert!(refusals[0].contains("cluster replace"), "{refusals:?}");
        let store = cluster.store(n);
        let view = store.view(cpu(store).id, TimeRange::ALL, &ReadLevel::Local).await;
        assert_eq!(view.unwrap_err().kind(), ErrorKind::Corrupt);
    }
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_without_readable_manifests_takes_one_from_a_peer() {
    let (mut cluster, mut all) = cluster_with_rows().await;
    for round in 1..4 {
        let row = ("more", round, 2.0);
        write(cluster.store(0), &[row]).await.unwrap();
        all.push(row);
        for n in 0..3 {
            cluster.store(n).flush().await.unwrap();
        }
    }
    // The log must not reach back to the beginning.
    let deadline = Instant::now() + PATIENCE;
    while cluster.store(1).status().shards.iter().any(|s| s.group.purged.is_none()) {
        assert!(Instant::now() < deadline, "nothing is purged");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cluster.stop(1).await;
    let shards = cluster.nodes[1].dir.path().join("shards");
    for shard in ["0", "1"] {
        for manifest in std::fs::read_dir(shards.join(shard).join("manifest")).unwrap() {
            let path = manifest.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x20;
            std::fs::write(&path, bytes).unwrap();
        }
    }
    cluster.restart(1).await;
    assert_eq!(cluster.store(1).refusals(), Vec::<String>::new());
    cluster.converge(&expect(&all)).await;
    cluster.close().await;
}

/// Raft's heartbeat of every node, ms.
async fn heartbeats(cluster: &Cluster) -> Vec<u64> {
    let nodes = cluster.store(0).cluster_status().await.nodes;
    nodes.iter().map(|node| node.report.as_ref().map_or(0, |r| r.heartbeat_ms)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn timers_follow_the_network() {
    let (cluster, mut all) = cluster_with_rows().await;
    let deadline = Instant::now() + PATIENCE * 2;
    cluster.transport.set_delay(Duration::from_millis(500));
    let mut written = 0;
    while written < 3 {
        assert!(Instant::now() < deadline, "no writes with a delay of 500 ms");
        let row = ("slow", written, 3.0);
        // The same row again: whether the first was stored or not, it is there once.
        if write(cluster.store(0), &[row]).await.is_ok() {
            all.push(row);
            written += 1;
        }
    }
    // Those that answer within a second.
    assert!(cluster.store(0).cluster_status().await.nodes.len() == 3);
    cluster.transport.set_delay(Duration::ZERO);
    while heartbeats(&cluster).await != [100, 100, 100] {
        assert!(Instant::now() < deadline, "{:?}", heartbeats(&cluster).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    write(cluster.store(1), &[("fast", 9, 3.0)]).await.unwrap();
    all.push(("fast", 9, 3.0));
    cluster.converge(&expect(&all)).await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_node_that_runs_on_serves_nothing_and_says_why() {
    let (cluster, mut all) = cluster_with_rows().await;
    cluster.store(0).remove_node("n3", false).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    let removed = cluster.store(2);
    let table = cpu(removed).id;
    loop {
        match removed.view(table, TimeRange::ALL, &ReadLevel::Local).await {
            Ok(_) => assert!(Instant::now() < deadline, "it goes on serving"),
            Err(e) => {
                assert!(e.to_string().contains("removed"), "{e}");
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!removed.ready().await);
    let refused = write(removed, &[("late", 1, 1.0)]).await.unwrap_err();
    assert!(refused.to_string().contains("removed"), "{refused}");
    write(cluster.store(1), &[("after", 1, 1.0)]).await.unwrap();
    all.push(("after", 1, 1.0));
    assert_eq!(crate::support::read(cluster.store(0)).await, expect(&all));
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_sees_its_own_writes_on_every_node_or_waits() {
    let (cluster, mut all) = cluster_with_rows().await;
    cluster.converge(&expect(&all)).await;
    for round in 0..20 {
        let row = ("session", round, 1.0);
        let receipt = write(cluster.store(0), &[row]).await.unwrap();
        all.push(row);
        let level = ReadLevel::Session(receipt.shards);
        for n in 0..3 {
            let store = cluster.store(n);
            let view = store.view(cpu(store).id, TimeRange::ALL, &level).await.unwrap();
            assert_eq!(crate::support::rows(&view).unwrap(), expect(&all), "round {round}");
        }
    }
    // A follower that cannot have it yet waits, and answers once it can.
    cluster.isolate(2, true);
    let receipt = loop {
        // Leaders may have to be elected first.
        match write(cluster.store(0), &[("unseen", 1, 1.0)]).await {
            Ok(receipt) => break receipt,
            Err(e) => assert_eq!(e.kind(), ErrorKind::Unavailable, "{e}"),
        }
    };
    all.push(("unseen", 1, 1.0));
    let level = ReadLevel::Session(receipt.shards);
    let store = cluster.store(2).clone();
    let table = cpu(&store).id;
    let mut reading = tokio::spawn(async move { store.view(table, TimeRange::ALL, &level).await });
    let early = tokio::time::timeout(Duration::from_millis(500), &mut reading).await;
    assert!(early.is_err(), "it answered without the rows");
    cluster.isolate(2, false);
    let view = reading.await.unwrap().unwrap();
    assert_eq!(crate::support::rows(&view).unwrap(), expect(&all));
    drop(view);
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_that_the_others_have_merged_away_is_not_needed() {
    let (mut cluster, mut all) = cluster_with_rows().await;
    for round in 0..2 {
        let row = ("before", round, 2.0);
        write(cluster.store(0), &[row]).await.unwrap();
        all.push(row);
        for n in 0..3 {
            cluster.store(n).flush().await.unwrap();
        }
    }
    cluster.stop(1).await;
    let damaged = segment_files(cluster.nodes[1].dir.path());
    assert!(!damaged.is_empty());
    for file in &damaged {
        let mut bytes = std::fs::read(file).unwrap();
        let last = bytes.len() - 5;
        bytes[last] ^= 0x10;
        std::fs::write(file, bytes).unwrap();
    }
    let row = ("after", 1, 2.0);
    write(cluster.store(0), &[row]).await.unwrap();
    all.push(row);
    // What the damaged files held is in others now, and two generations of manifests have forgotten them.
    for _ in 0..3 {
        for day in 0..3 {
            let row = ("more", day * DAY + i64::try_from(all.len()).unwrap(), 1.0);
            write(cluster.store(0), &[row]).await.unwrap();
            all.push(row);
        }
        for n in [0, 2] {
            cluster.store(n).flush().await.unwrap();
            cluster.store(n).compact().await.unwrap();
        }
    }
    cluster.restart(1).await;
    assert_eq!(cluster.store(1).refusals(), Vec::<String>::new());
    cluster.converge(&expect(&all)).await;
    cluster.close().await;
}

/// A node that leads no shard, once there are leaders.
async fn who_leads_no_shard(cluster: &Cluster) -> usize {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = cluster.store(0).status();
        let leaders: Vec<_> = status.shards.iter().map(|shard| shard.group.leader).collect();
        let idle = (0..3).find(|n| !leaders.contains(&Some(id(*n))));
        if leaders.iter().all(Option::is_some)
            && let Some(idle) = idle
        {
            return idle;
        }
        assert!(Instant::now() < deadline, "{leaders:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_replica_does_without_damaged_files_that_the_others_have_merged_away() {
    let (cluster, mut all) = cluster_with_rows().await;
    for round in 0..2 {
        // Files of several blocks: what is read to open them is remembered.
        let many = (0..30_000_i64).map(|n| ("before", 2 * n + round, (n * n % 7919) as f64));
        let many: Vec<_> = many.collect();
        write(cluster.store(0), &many).await.unwrap();
        all.extend(many);
        for n in 0..3 {
            cluster.store(n).flush().await.unwrap();
        }
    }
    for n in 0..3 {
        cluster.store(n).compact().await.unwrap();
    }
    let victim = who_leads_no_shard(&cluster).await;
    let pending = |store: &Store| {
        let shards = store.status().shards;
        shards.iter().map(|shard| shard.compactions_pending).sum::<u64>()
    };
    let names = |n: usize| -> BTreeSet<_> {
        let files = segment_files(cluster.nodes[n].dir.path());
        files.iter().filter_map(|file| file.file_name().map(ToOwned::to_owned)).collect()
    };
    let deadline = Instant::now() + PATIENCE;
    // Without reading them: what was read may be remembered.
    while !(0..3).all(|n| names(n) == names(0) && pending(cluster.store(n)) == 0) {
        assert!(Instant::now() < deadline, "{victim} does not catch up");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let others: Vec<usize> = (0..3).filter(|n| *n != victim).collect();
    // What is damaged there cannot be fetched while the others have it.
    cluster.transport.cut_bulk(id(victim).0, true);
    let damaged = segment_files(cluster.nodes[victim].dir.path());
    assert!(!damaged.is_empty());
    for file in &damaged {
        let mut bytes = std::fs::read(file).unwrap();
        bytes.iter_mut().step_by(16).for_each(|byte| *byte ^= 0x10);
        std::fs::write(file, bytes).unwrap();
    }
    for _ in 0..3 {
        for day in 0..3 {
            let row = ("more", day * DAY + i64::try_from(all.len()).unwrap(), 1.0);
            write(cluster.store(others[0]), &[row]).await.unwrap();
            all.push(row);
        }
        for n in &others {
            cluster.store(*n).flush().await.unwrap();
            cluster.store(*n).compact().await.unwrap();
        }
    }
    let held = names(others[0]);
    let is_gone = |file: &PathBuf| file.file_name().is_some_and(|name| !held.contains(name));
    assert!(damaged.iter().any(is_gone), "the others have merged nothing away");
    let store = cluster.store(victim);
    assert!(pending(store) > 0, "it has merged what it cannot read");

    cluster.transport.cut_bulk(id(victim).0, false);
    let deadline = Instant::now() + PATIENCE;
    while pending(store) > 0 {
        assert_eq!(store.refusals(), Vec::<String>::new());
        assert!(Instant::now() < deadline, "it waits for what nobody has");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // What was not merged is found by reading it, and fetched.
    let found = damaged_in_all(store).await;
    write(store, &[("last", 1, 1.0)]).await.unwrap();
    all.push(("last", 1, 1.0));
    cluster.converge(&expect(&all)).await;
    assert_eq!(damaged_in_all(store).await, found, "what it holds now is sound");
    cluster.close().await;
}

/// Reads every file of a node. Returns how many were damaged since it started.
async fn damaged_in_all(store: &Store) -> u64 {
    store.scrub().await.iter().map(|shard| shard.damaged).sum()
}
