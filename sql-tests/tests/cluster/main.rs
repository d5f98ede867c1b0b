//! Clusters of real processes, whose nodes are killed, stopped, paused, cut off, lose power and damage files under load.
//!
//! Writers send batches of line protocol, each under a key of its own, and repeat a batch under its key until a node has
//! acknowledged it. The oracle's promises:
//!
//! - every point of an acknowledged batch is there, once, with its value, whichever node is asked;
//! - every point that is there was sent;
//! - a batch of unknown outcome (one table, one time slice, so one shard) is there whole or not at all;
//! - a repeat of an acknowledged batch is known as one by every node.
//!
//! `QUORATE_SOAK_ROUNDS` sets the rounds of the tests that have rounds, `QUORATE_FAULT_ROUNDS` those of each of the
//! [faults], `QUORATE_CLUSTER_SEED` repeats a choice of moments and places. How long writes had to wait for another
//! leader is printed, and asserted nowhere.

mod history;
mod load;
mod oracle;

mod every_node;
mod three_nodes;

mod faults;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use quorate_sql_tests::{Cluster, Disk, ServerOptions, eventually};
use rand::SeedableRng;
use rand::rngs::StdRng;

const SHARDS: u64 = 8;

/// The node that leads most groups.
pub(crate) fn leader_of_most(cluster: &Cluster) -> usize {
    let sql = "SELECT node, count(*) AS led FROM system.replicas WHERE role = 'leader' \
               GROUP BY node ORDER BY led DESC, node LIMIT 1";
    eventually("some node leads a group", || {
        let rows = cluster.query(0, sql);
        let name = rows.first().and_then(|row| row["node"].as_str());
        name.and_then(|name| cluster.node_named(name)).ok_or_else(|| format!("{rows:?}"))
    })
}

/// Small thresholds, so that flushes, compactions and purges happen all the time; and a short deadline, so that what
/// was handed to a node that does not answer is tried elsewhere soon.
pub(crate) fn options(disk: Disk) -> ServerOptions {
    let shards = SHARDS.to_string();
    let sizes = ["--flush-size", "256KiB", "--wal-segment-size", "1MiB"];
    let others = ["--write-deadline", "5s", "--shards", shards.as_str()];
    let arguments = sizes.into_iter().chain(others).map(str::to_owned).collect();
    ServerOptions { disk, arguments }
}

/// One cluster at a time: three processes keep a machine busy, and the ports of one must not become those of another.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn seeded() -> StdRng {
    let seed = std::env::var("QUORATE_CLUSTER_SEED").ok().map(|s| s.parse().expect("a number"));
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    say(&format!("QUORATE_CLUSTER_SEED={seed}"));
    StdRng::seed_from_u64(seed)
}

#[expect(clippy::print_stdout, reason = "seeds and times are read by who runs the tests")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}

#[expect(clippy::disallowed_methods, reason = "times real processes")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "writers pace themselves, faults last, the power goes at a random moment"
)]
pub(crate) fn wait(time: Duration) {
    thread::sleep(time);
}
