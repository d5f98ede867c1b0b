//! Crashes of the real binary: after every restart each acknowledged row is there exactly once, and nothing else is.
//!
//! Writers send batches of line protocol and note what was acknowledged; the process is killed at a random moment,
//! flushes and compactions included (thresholds are small). The oracle's promises:
//!
//! - every row of an acknowledged batch is there, once, with its value;
//! - every row that is there was sent;
//! - a batch of unknown outcome (one table, one time slice, so one shard) is there whole or not at all.
//!
//! `QUORATE_CRASH_ROUNDS` sets the rounds (10 unless set), `QUORATE_CRASH_SEED` repeats a run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type};
use futures::TryStreamExt;
use quorate_flight::ClientOutcome;
use quorate_sql_tests::{Disk, Server, ServerOptions};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const WRITERS: u32 = 4;
const SECOND_NS: i64 = 1_000_000_000;
/// 2024-01-01T00:00:00Z.
const BASE_NS: i64 = 1_704_067_200 * SECOND_NS;

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Acknowledged,
    Unknown,
}

/// One batch: rows `first..first + rows` of its writer.
#[derive(Clone, Copy, Debug)]
struct Batch {
    writer: u32,
    first: i64,
    rows: i64,
    fate: Fate,
}

/// All that was sent so far; each writer's row numbers never repeat.
#[derive(Debug, Default)]
struct History {
    batches: Mutex<Vec<Batch>>,
    next: [AtomicU64; 4],
    acknowledged: AtomicU64,
}

/// A row's value follows from its identity, so that a wrong one is seen.
fn value(writer: u32, n: i64) -> f64 {
    (n * 31 + i64::from(writer)) as f64 / 8.0
}

/// Rows of one batch stay in one day, so that one shard takes them whole. The row's number is its second; every 1,000
/// batches or so go to a new day.
fn lines(batch: &Batch) -> String {
    let mut text = String::new();
    for n in batch.first..batch.first + batch.rows {
        let time = BASE_NS + n * SECOND_NS;
        let v = value(batch.writer, n);
        writeln!(text, "crash,writer=w{} n={n}i,v={v} {time}", batch.writer)
            .expect("a String takes text");
    }
    text
}

fn write_until_stopped(
    server: &Server,
    history: &History,
    writer: u32,
    seed: u64,
    stop: &AtomicBool,
) {
    let mut rng = StdRng::seed_from_u64(seed ^ (u64::from(writer) << 32));
    while !stop.load(Ordering::Relaxed) {
        let mut rows: i64 = rng.random_range(1..=200);
        let next = &history.next[usize::try_from(writer).expect("few writers")];
        let first = i64::try_from(next.load(Ordering::Relaxed)).expect("few rows");
        // Cut at the end of the day: a batch over two slices would be atomic per shard only.
        rows = rows.min(86_400 - first % 86_400);
        next.fetch_add(u64::try_from(rows).expect("positive"), Ordering::Relaxed);
        let mut batch = Batch { writer, first, rows, fate: Fate::Unknown };
        let answer = server.write("main", &lines(&batch));
        match answer {
            Ok((204, _)) => {
                batch.fate = Fate::Acknowledged;
                history.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Ok((503, _)) | Err(_) => {}
            Ok((status, body)) => panic!("a write was answered with {status}: {body}"),
        }
        history.batches.lock().expect("no writer panics while it holds the lock").push(batch);
    }
}

/// Writes for a random while, killing the process in the midst of it.
fn load_and_kill(server: &Server, history: &History, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let goal = history.acknowledged.load(Ordering::Relaxed) + rng.random_range(5..400);
    let extra = Duration::from_micros(rng.random_range(0..20_000));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let stop = &stop;
            scope.spawn(move || write_until_stopped(server, history, writer, seed, stop));
        }
        // The moment is bound to progress, not to the clock; the last bit of time makes it random.
        while history.acknowledged.load(Ordering::Relaxed) < goal {
            wait(Duration::from_micros(200));
        }
        wait(extra);
        server.kill_now();
        stop.store(true, Ordering::Relaxed);
    });
}

#[expect(clippy::disallowed_methods, reason = "kills a real process at a random moment")]
fn wait(time: Duration) {
    std::thread::sleep(time);
}

/// All rows of a writer: number → (times seen, value).
async fn stored(server: &Server, writer: u32) -> BTreeMap<i64, (u64, f64, i64)> {
    let mut client = server.client("main").await.expect("the server is ready");
    let sql = format!(
        "SELECT n, v, CAST(time AS BIGINT) AS t FROM crash WHERE writer = 'w{writer}' ORDER BY time"
    );
    let mut rows = BTreeMap::new();
    let batches = match client.execute(&sql).await {
        Ok(ClientOutcome::Rows { batches, .. }) => batches,
        Ok(ClientOutcome::Updated(_)) => panic!("a SELECT returns rows"),
        // Killed before the first write was committed.
        Err(error) if error.to_string().contains("crash") => return rows,
        Err(error) => panic!("{error}"),
    };
    let batches: Vec<_> = batches.try_collect().await.expect("the rows can be read");
    for batch in batches {
        let n = batch.column(0).as_primitive::<Int64Type>();
        let v = batch.column(1).as_primitive::<Float64Type>();
        let t = batch.column(2).as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let entry = rows.entry(n.value(row)).or_insert((0, v.value(row), t.value(row)));
            entry.0 += 1;
        }
    }
    rows
}

async fn check(server: &Server, history: &History) {
    let batches = history.batches.lock().expect("the writers have ended").clone();
    for writer in 0..WRITERS {
        let mut rows = stored(server, writer).await;
        for batch in batches.iter().filter(|b| b.writer == writer) {
            let found: Vec<i64> =
                (batch.first..batch.first + batch.rows).filter(|n| rows.contains_key(n)).collect();
            let whole = found.len() == usize::try_from(batch.rows).expect("positive");
            match batch.fate {
                Fate::Acknowledged => {
                    assert!(whole, "{batch:?} was acknowledged; found only {}", found.len());
                }
                Fate::Unknown => {
                    assert!(
                        whole || found.is_empty(),
                        "{batch:?} is there in part: {}",
                        found.len()
                    );
                }
            }
            for n in found {
                let (times, v, t) = rows.remove(&n).expect("was found");
                assert_eq!(times, 1, "row {n} of writer {writer} is there {times} times");
                assert_eq!(
                    v.to_bits(),
                    value(writer, n).to_bits(),
                    "row {n} of writer {writer} has another value"
                );
                assert_eq!(
                    t,
                    BASE_NS + n * SECOND_NS,
                    "row {n} of writer {writer} has another time"
                );
            }
        }
        assert!(
            rows.is_empty(),
            "writer {writer} never sent {:?}",
            rows.keys().take(5).collect::<Vec<_>>()
        );
    }
}

fn rounds() -> u64 {
    let text = std::env::var("QUORATE_CRASH_ROUNDS").unwrap_or_else(|_| "10".to_owned());
    text.parse().expect("QUORATE_CRASH_ROUNDS is a number")
}

#[expect(clippy::print_stdout, reason = "prints the seed")]
fn seed() -> u64 {
    let seed = std::env::var("QUORATE_CRASH_SEED").ok().map(|s| s.parse().expect("a number"));
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    println!("QUORATE_CRASH_SEED={seed}");
    seed
}

fn crash_rounds(disk: Disk) {
    let seed = seed();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let data = tempfile::tempdir().expect("a temporary directory can be made");
    // Small thresholds: flushes and compactions happen all the time.
    let arguments = ["--flush-size", "256KiB", "--wal-segment-size", "1MiB"];
    let options = ServerOptions { disk, arguments: arguments.map(str::to_owned).to_vec() };
    let history = History::default();
    for round in 0..rounds() {
        let server = Server::start(data.path(), &options);
        runtime.block_on(check(&server, &history));
        load_and_kill(&server, &history, seed.wrapping_add(round));
    }
    let server = Server::start(data.path(), &options);
    runtime.block_on(check(&server, &history));
    server.stop();
    let server = Server::start(data.path(), &options);
    runtime.block_on(check(&server, &history));
}

#[test]
fn acknowledged_rows_survive_kill_nine() {
    crash_rounds(Disk::Kept);
}

#[test]
fn acknowledged_rows_survive_a_power_cut() {
    crash_rounds(Disk::UnsyncedLost);
}
