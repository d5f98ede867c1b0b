//! Faults: what befalls some nodes, at most a minority, while writers write and somebody counts.
//!
//! Each node has a writer, which stays with its node until that fails; one in ten batches is sent once only. A fault
//! comes in rounds: it strikes, writes to every shard go on, it is healed, writes go on. Afterwards each replica is read
//! by itself, and both checkers compare what they hold with what was sent. Faults of a group share a cluster, and each
//! has a table of its own.
//!
//! What is measured is the longest time in a round for which no write of some slice was acknowledged; slices take
//! turns, so a few hundredths of a second belong to the writers. With `QUORATE_FAULT_ROUNDS` each fault has as many
//! rounds (times its weight) and a new cluster; with `QUORATE_FAULT_REPORT` a line of JSON is added to the file of that
//! name for each fault; `QUORATE_FAULT` leaves out the faults whose names do not begin so.

mod processes;

mod links;

mod files;

mod disks;

mod record;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use quorate_sql_tests::{Cluster, ClusterOptions, Disk};
use rand::RngExt;
use rand::rngs::StdRng;

use self::record::Record;
use crate::history::History;
use crate::load::{Load, Style, under_load, write};
use crate::oracle::{check_replicas, repeats_are_known};
use crate::{leader_of_most, options, say, seeded, turn};

/// Points of a batch: few, as what counts is when they are acknowledged.
const BATCH_POINTS: i64 = 10;
const PACE: Duration = Duration::from_millis(5);
/// Longer than a node takes to say that it cannot; shorter than anybody's patience.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// Room on a disk that is to be full: a node refuses writes when less than half of it is free.
const DISK_BYTES: u64 = 512 << 20;

/// What befalls a cluster.
#[derive(Clone, Copy, Debug)]
struct Fault {
    name: &'static str,
    /// Rounds in a test.
    rounds: u64,
    /// Rounds in a soak, for each that is asked for.
    weight: u64,
    act: fn(&mut Round<'_>),
    /// Whether a shortcoming is a failure; else it is only reported.
    borne: bool,
    /// Writers of each node.
    writers: u32,
}

/// One round of a fault.
#[derive(Debug)]
struct Round<'a> {
    cluster: &'a Cluster,
    load: &'a Load<'a>,
    rng: &'a mut StdRng,
    /// Counted from 0.
    number: u64,
    /// What is not as it should be, and is no contradiction.
    shortcoming: Option<String>,
    /// The pause that counts, if it is not that of the whole round.
    pause: Option<Duration>,
}

impl Round<'_> {
    /// As many nodes as can be lost: who leads most, and any others.
    fn victims(&mut self) -> Vec<usize> {
        let mut victims = vec![leader_of_most(self.cluster)];
        while victims.len() < (self.cluster.all().len() - 1) / 2 {
            let other = self.rng.random_range(0..self.cluster.all().len());
            if !victims.contains(&other) {
                victims.push(other);
            }
        }
        victims
    }

    fn others(&self, nodes: &[usize]) -> Vec<usize> {
        self.cluster.all().into_iter().filter(|node| !nodes.contains(node)).collect()
    }
}

const KILLED: Fault = Fault {
    name: "killed (kill -9)",
    rounds: 2,
    weight: 4,
    act: processes::killed,
    borne: true,
    writers: 1,
};
const PAUSED: Fault = Fault {
    name: "paused for 3 s (SIGSTOP)",
    rounds: 1,
    weight: 1,
    act: processes::paused,
    borne: true,
    writers: 1,
};
const RESTARTED: Fault = Fault {
    name: "rolling restart (SIGTERM)",
    rounds: 3,
    weight: 4,
    act: processes::restarted_in_order,
    borne: true,
    writers: 1,
};
const STOPPED: Fault = Fault {
    name: "orderly stop (SIGTERM)",
    rounds: 1,
    weight: 4,
    act: processes::stopped_in_order,
    borne: true,
    writers: 1,
};
const CUT_OFF: Fault = Fault {
    name: "cut off: connections reset and refused",
    rounds: 1,
    weight: 1,
    act: links::cut_off,
    borne: true,
    writers: 1,
};
const STALLED: Fault = Fault {
    name: "cut off: nothing passes, nobody is told",
    rounds: 1,
    weight: 1,
    act: links::stalled,
    borne: true,
    writers: 1,
};
const DEAF: Fault = Fault {
    name: "can send, not receive",
    rounds: 1,
    weight: 1,
    act: links::deaf,
    borne: true,
    writers: 1,
};
const MUTE: Fault = Fault {
    name: "can receive, not send",
    rounds: 1,
    weight: 1,
    act: links::mute,
    borne: true,
    writers: 1,
};
const SLOW: Fault = Fault {
    name: "500 ms more in each direction of every link",
    rounds: 1,
    weight: 1,
    act: links::slow,
    borne: true,
    // A write takes seconds: one of them waits in every slice.
    writers: 8,
};
const FLIPPED_STOPPED: Fault = Fault {
    name: "bits flipped in segments at rest, while stopped",
    rounds: 1,
    weight: 1,
    act: files::flipped_while_stopped,
    borne: true,
    writers: 1,
};
const FLIPPED_RUNNING: Fault = Fault {
    name: "bits flipped in segments at rest, while running",
    rounds: 1,
    weight: 1,
    act: files::flipped_while_running,
    borne: true,
    writers: 1,
};
const FLIPPED_MERGING: Fault = Fault {
    name: "bits flipped in all segments, while they are merged",
    rounds: 1,
    weight: 1,
    act: files::flipped_while_merging,
    borne: true,
    writers: 1,
};
const POWER_OF_SOME: Fault = Fault {
    name: "power cut, unsynced bytes lost",
    rounds: 1,
    weight: 1,
    act: disks::some_lose_power,
    borne: true,
    writers: 1,
};
const POWER_OF_ALL: Fault = Fault {
    name: "power cut of all nodes at once",
    rounds: 1,
    weight: 1,
    act: disks::all_lose_power,
    borne: true,
    writers: 1,
};
const DISK_FULL: Fault =
    Fault { name: "disk full", rounds: 1, weight: 1, act: disks::full, borne: true, writers: 1 };
const DISK_LOST: Fault = Fault {
    name: "disk lost, node replaced, old disk refused",
    rounds: 1,
    weight: 1,
    act: disks::lost,
    borne: true,
    writers: 1,
};

/// Faults that befall clusters of so many nodes, on disks of a kind.
type Trial<'a> = (usize, Disk, &'a [Fault]);

/// Starts clusters, lets faults befall them, and fails in the end if any was not borne.
fn endure(trials: &[Trial<'_>]) {
    let _turn = turn();
    let mut rng = seeded();
    let mut failures = Vec::new();
    for trial in trials {
        failures.extend(endure_all(*trial, &mut rng));
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

fn endure_all((nodes, disk, faults): Trial<'_>, rng: &mut StdRng) -> Vec<String> {
    let mut cluster: Option<Cluster> = None;
    let mut failures = Vec::new();
    let only = std::env::var("QUORATE_FAULT").unwrap_or_default();
    let chosen = faults.iter().filter(|fault| fault.name.starts_with(&only));
    for (number, fault) in chosen.enumerate() {
        let rounds = rounds(fault);
        let on = cluster.take().unwrap_or_else(|| start(nodes, disk));
        let history = History::new(&format!("fault_{number}"), BATCH_POINTS);
        let mut record = Record::new(fault.name, nodes, rounds);
        let enduring = || endure_one(&on, fault, &history, &mut *rng, &mut record);
        let outcome = catch_unwind(AssertUnwindSafe(enduring));
        let sound = outcome.is_ok();
        record.history(&history);
        if let Err(panic) = outcome {
            failures.push(record.failed(&*panic));
        }
        record.write();
        // A cluster that failed is of no use; a soak measures each fault by itself.
        cluster = Some(on).filter(|_| sound && !soaked());
    }
    failures
}

fn start(nodes: usize, disk: Disk) -> Cluster {
    Cluster::with(ClusterOptions {
        nodes,
        behind_proxies: true,
        answer_deadline: ANSWER_DEADLINE,
        server: options(disk),
    })
}

fn endure_one(
    cluster: &Cluster,
    fault: &Fault,
    history: &History,
    rng: &mut StdRng,
    record: &mut Record,
) {
    let all = cluster.all();
    let writers = u32::try_from(all.len()).expect("few nodes") * fault.writers;
    let style = Style { writers, loyal: true, once_in: 10, pace: PACE, counted: true };
    // The table is there, in every slice, before anybody is in a hurry.
    write(cluster, history, &all, writers, crate::history::SLICES);
    under_load(cluster, history, style, |load| {
        for number in 0..record.rounds() {
            load.goes_on();
            history.begin_round();
            let rng = &mut *rng;
            let mut round = Round { cluster, load, rng, number, shortcoming: None, pause: None };
            (fault.act)(&mut round);
            let pause = round.pause.unwrap_or_else(|| history.pause());
            record.shortcoming(round.shortcoming);
            say(&format!("{}, {} nodes: writes waited for {pause:?}", fault.name, all.len()));
            record.pause(pause);
            cluster.wait_ready(&all);
        }
    });
    repeats_are_known(cluster, history);
    let wrong = check_replicas(cluster, history);
    record.findings(&wrong);
    assert!(wrong.examples.is_empty() && wrong.count() == 0, "{wrong:?}");
    assert!(!fault.borne || record.has_no_shortcoming(), "writes did not go on");
}

fn soaked() -> bool {
    std::env::var_os("QUORATE_FAULT_ROUNDS").is_some()
}

fn rounds(fault: &Fault) -> u64 {
    match std::env::var("QUORATE_FAULT_ROUNDS") {
        Ok(text) => {
            let rounds: u64 = text.parse().expect("QUORATE_FAULT_ROUNDS is a number");
            rounds * fault.weight
        }
        Err(_) => fault.rounds,
    }
}

/// Faults of a test, and those for which only a soak has the time, or which are not borne.
fn with_soaked(tested: &[Fault], soaked_too: &[Fault]) -> Vec<Fault> {
    let more = if soaked() { soaked_too } else { &[] };
    [tested, more].concat()
}

#[test]
fn three_nodes_bear_one_that_dies_or_sleeps() {
    endure(&[(3, Disk::Kept, &[KILLED, PAUSED, STOPPED, RESTARTED])]);
}

#[test]
fn three_nodes_bear_broken_links() {
    endure(&[(3, Disk::Kept, &[CUT_OFF, STALLED, DEAF, MUTE, SLOW])]);
}

#[test]
fn three_nodes_mend_damaged_files() {
    endure(&[(3, Disk::Kept, &[FLIPPED_STOPPED, FLIPPED_RUNNING, FLIPPED_MERGING])]);
}

#[test]
fn three_nodes_bear_disks_that_forget_fill_up_or_are_lost() {
    endure(&[
        (3, Disk::UnsyncedLost, &[POWER_OF_SOME, POWER_OF_ALL]),
        (3, Disk::OfSize(DISK_BYTES), &[DISK_FULL]),
        (3, Disk::Kept, &[DISK_LOST]),
    ]);
}

#[test]
fn five_nodes_bear_two_that_die_or_cannot_be_heard() {
    let more =
        [PAUSED, STOPPED, RESTARTED, CUT_OFF, STALLED, DEAF, SLOW, FLIPPED_RUNNING, DISK_LOST];
    let faults = with_soaked(&[KILLED, MUTE], &more);
    endure(&[
        (5, Disk::Kept, &faults),
        (5, Disk::UnsyncedLost, &with_soaked(&[], &[POWER_OF_SOME, POWER_OF_ALL])),
        (5, Disk::OfSize(DISK_BYTES), &with_soaked(&[], &[DISK_FULL])),
    ]);
}
