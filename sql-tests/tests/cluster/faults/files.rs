//! Bits that flip in the files of a node.
//!
//! Beside the rows of the writers, which are flushed and merged all the time, there is a table that rests, with one
//! segment for each slice. Its segments are those that must be mended. Each damaged file has one wrong bit, anywhere.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use quorate_sql_tests::{Cluster, eventually};
use rand::RngExt;
use rand::rngs::StdRng;

use super::Round;
use crate::history::{Fate, History, SLICES};
use crate::load::write;
use crate::oracle::{Findings, contradictions, parse, table_query};

/// Points of a slice of the table that rests: its segment has several blocks.
const RESTING_POINTS: i64 = 20_000;

pub(super) fn flipped_while_stopped(round: &mut Round<'_>) {
    let (victim, resting) = prepare(round, "stopped");
    let files = resting_segments(round.cluster, victim, &resting);
    round.cluster.stop(victim);
    let before = flip(&files, round.rng);
    round.cluster.restart(&[victim]);
    reads_well(round.cluster, victim, &resting);
    mended(round.cluster, victim, &before);
    round.load.goes_on();
}

pub(super) fn flipped_while_running(round: &mut Round<'_>) {
    let (victim, resting) = prepare(round, "running");
    let files = resting_segments(round.cluster, victim, &resting);
    flip_and_mend(round, victim, &resting, &files, || {});
}

/// Nothing rests: every slice has two segments, and the others merge them at once.
pub(super) fn flipped_while_merging(round: &mut Round<'_>) {
    let cluster = round.cluster;
    let victim = round.rng.random_range(0..cluster.all().len());
    let others = round.others(&[victim]);
    let merged = History::new(&format!("merged_{}", round.number), RESTING_POINTS);
    for _ in 0..2 {
        write(cluster, &merged, &others, 0, SLICES);
        hold(cluster, victim, &merged, &["CHECKPOINT"], |files| files >= SLICES as u64);
    }
    let files = segments(cluster.dir(victim));
    flip_and_mend(round, victim, &merged, &files, || {
        for node in &others {
            // How it ends is not its word alone.
            let _ = cluster.try_csv(*node, "VACUUM", "linearizable");
        }
    });
}

/// The resting table was not read on the node, so that only the first block of each segment is in its memory.
fn flip_and_mend(
    round: &mut Round<'_>,
    victim: usize,
    resting: &History,
    files: &[PathBuf],
    then: impl FnOnce(),
) {
    let cluster = round.cluster;
    let repaired = || sum(cluster, victim, "repaired");
    let repaired_before = eventually("repairs are counted", repaired);
    let before = flip(files, round.rng);
    then();
    reads_well(cluster, victim, resting);
    mended(cluster, victim, &before);
    eventually("a repair was counted", || match repaired()? {
        now if now > repaired_before => Ok(()),
        now => Err(format!("{repaired_before} before, {now} now")),
    });
    round.load.goes_on();
}

/// Chooses a node, and writes a table that is in segments on it and not changed afterwards.
fn prepare(round: &mut Round<'_>, name: &str) -> (usize, History) {
    let cluster = round.cluster;
    let victim = round.rng.random_range(0..cluster.all().len());
    let resting = History::new(&format!("resting_{name}_{}", round.number), RESTING_POINTS);
    write(cluster, &resting, &round.others(&[victim]), 0, SLICES);
    hold(cluster, victim, &resting, &["CHECKPOINT", "VACUUM"], |files| files == SLICES as u64);
    (victim, resting)
}

/// Has all nodes execute some statements until all of a table is in segments of a node, in as many as wanted.
fn hold(
    cluster: &Cluster,
    node: usize,
    history: &History,
    statements: &[&str],
    wanted: impl Fn(u64) -> bool,
) {
    let table = history.table();
    let sql = format!(
        "SELECT sum(rows) AS points, count(*) AS files FROM system.segments \
         WHERE table_name = '{table}'"
    );
    eventually(&format!("{} holds {table}", cluster.name(node)), || {
        for asked in cluster.all() {
            for statement in statements {
                cluster.execute(asked, statement);
            }
        }
        let rows = cluster.local(node, &sql)?;
        let of = |name: &str| rows.first().and_then(|row| row[name].as_u64());
        let all = of("points") == Some(history.acknowledged_points());
        if all && of("files").is_some_and(&wanted) { Ok(()) } else { Err(format!("{rows:?}")) }
    });
}

fn resting_segments(cluster: &Cluster, node: usize, resting: &History) -> Vec<PathBuf> {
    let sql =
        format!("SELECT file_name FROM system.segments WHERE table_name = '{}'", resting.table());
    let rows = eventually("segments are listed", || cluster.local(node, &sql));
    let is_one = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        rows.iter().any(|row| row["file_name"].as_str() == name)
    };
    segments(cluster.dir(node)).into_iter().filter(is_one).collect()
}

/// The segments of a node.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let list = |dir: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(dir).expect("the data directory can be read");
        entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
    };
    let shards = list(&dir.join("shards")).into_iter();
    let files = shards.flat_map(|shard| list(&shard.join("segments")));
    files.filter(|file| file.extension().is_some_and(|e| e == "parquet")).collect()
}

/// Flips one bit in each file, where it lies. Returns what was in those that are still there.
fn flip(files: &[PathBuf], rng: &mut StdRng) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut before = BTreeMap::new();
    for path in files {
        // It may be merged away meanwhile.
        let Ok(bytes) = fs::read(path) else { continue };
        let Ok(file) = OpenOptions::new().write(true).open(path) else { continue };
        let at = rng.random_range(0..bytes.len());
        let flipped = bytes[at] ^ (1_u8 << rng.random_range(0..8_u32));
        file.write_all_at(&[flipped], at as u64).expect("a file can be written");
        before.insert(path.clone(), bytes);
    }
    assert!(!before.is_empty(), "a checkpoint writes segments");
    before
}

/// The node gives the resting table as it was, sooner or later; until then it may refuse, and never be wrong.
fn reads_well(cluster: &Cluster, node: usize, resting: &History) {
    let sent: Vec<_> = resting.sent();
    assert!(sent.iter().all(|(_, fate)| *fate == Fate::Acknowledged));
    let table = eventually(&format!("{} gives {}", cluster.name(node), resting.table()), || {
        cluster.try_csv(node, &table_query(resting), "local")
    });
    assert_eq!(contradictions(&sent, &parse(&table)), Findings::default());
}

/// Waits until each of the files is as it was, or no longer needed.
fn mended(cluster: &Cluster, node: usize, before: &BTreeMap<PathBuf, Vec<u8>>) {
    eventually(&format!("the segments of {} are mended", cluster.name(node)), || {
        let live = cluster.local(node, "SELECT file_name FROM system.segments")?;
        for (path, bytes) in before {
            let name = path.file_name().and_then(|name| name.to_str());
            let live = live.iter().any(|row| row["file_name"].as_str() == name);
            if live && fs::read(path).is_ok_and(|now| now != *bytes) {
                return Err(format!("{} is still damaged", path.display()));
            }
        }
        Ok(())
    });
}

/// A column of `system.scrub`, over all shards of a node.
fn sum(cluster: &Cluster, node: usize, column: &str) -> Result<u64, String> {
    let rows = cluster.local(node, &format!("SELECT sum({column}) AS n FROM system.scrub"))?;
    rows.first().and_then(|row| row["n"].as_u64()).ok_or_else(|| format!("{rows:?}"))
}
