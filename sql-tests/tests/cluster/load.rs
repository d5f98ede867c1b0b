//! Writers that send one batch after the other, each under a key of its own, and repeat it until a node acknowledges it;
//! and a reader that counts what is there meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use quorate_sql_tests::{Cluster, eventually};

use crate::history::{Batch, Fate, History};
use crate::{now, wait};

/// Time between two counts.
const COUNT_EVERY: Duration = Duration::from_millis(100);

/// Batches of each slice after which writes have gone on.
const ENOUGH: u64 = 2;
const POLL: Duration = Duration::from_millis(5);

/// How writers write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    pub(crate) writers: u32,
    /// Each writer begins with a node of its own, and stays with a node until that fails; else each batch goes to the
    /// next node.
    pub(crate) loyal: bool,
    /// One in so many batches is sent once only, whatever becomes of it; 0 is none.
    pub(crate) once_in: i64,
    /// Time between two batches of a writer.
    pub(crate) pace: Duration,
    /// Whether somebody counts.
    pub(crate) counted: bool,
}

/// Two writers in a hurry.
pub(crate) const HURRIED: Style =
    Style { writers: 2, loyal: false, once_in: 0, pace: Duration::ZERO, counted: false };

/// Writers at work.
#[derive(Debug)]
pub(crate) struct Load<'a> {
    pub(crate) history: &'a History,
    cluster: &'a Cluster,
    style: Style,
    stop: AtomicBool,
    abandon: AtomicBool,
}

impl Load<'_> {
    /// Waits until this many more batches have been acknowledged.
    pub(crate) fn wait_for(&self, batches: u64) {
        let goal = self.history.acknowledged() + batches;
        eventually(&format!("{batches} more batches are acknowledged"), || {
            assert!(!self.stop.load(Ordering::Relaxed), "a writer has failed");
            let done = self.history.acknowledged();
            if done >= goal { Ok(()) } else { Err(format!("{} to go", goal - done)) }
        });
    }

    /// Waits until every slice has acknowledged batches that began after now.
    pub(crate) fn goes_on(&self) {
        self.history.mark();
        eventually("writes go on everywhere", || {
            if self.has_gone_on() { Ok(()) } else { Err("not every slice has".to_owned()) }
        });
    }

    /// As [`Self::goes_on`], if it does not take longer. Returns whether they do.
    pub(crate) fn goes_on_within(&self, limit: Duration) -> bool {
        self.history.mark();
        let until = now() + limit;
        while !self.has_gone_on() {
            if now() > until {
                return false;
            }
            wait(POLL);
        }
        true
    }

    fn has_gone_on(&self) -> bool {
        assert!(!self.stop.load(Ordering::Relaxed), "a writer or the reader has failed");
        self.history.recent() >= ENOUGH
    }

    /// What is being written now is not repeated: there is nobody to send it to.
    pub(crate) fn abandon(&self) {
        self.abandon.store(true, Ordering::Relaxed);
    }

    fn write(&self, writer: u32) {
        let all = self.cluster.all();
        let mut home = usize::try_from(writer).expect("few writers");
        while !self.stop.load(Ordering::Relaxed) && !self.abandon.load(Ordering::Relaxed) {
            let batch = self.history.begin(writer);
            let first = if self.style.loyal { home } else { turn(batch) };
            let once = self.style.once_in > 0 && batch.number % self.style.once_in == 0;
            let began = now();
            let give_up = || once || self.abandon.load(Ordering::Relaxed);
            let (fate, answered) = deliver(self, &all, batch, first, &give_up);
            self.history.end(batch, began, fate);
            home = answered;
            if !self.style.pace.is_zero() {
                wait(self.style.pace);
            }
        }
    }

    /// Counts the points through one node after the other: what was acknowledged before is there, what was not sent
    /// until after is not.
    fn count(&self) {
        let sql = format!("SELECT count(*) AS points FROM {}", self.history.table());
        let all = self.cluster.all();
        for node in all.iter().cycle() {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let least = self.history.acknowledged_points();
            // The table comes with its first row.
            if least > 0
                && let Ok(table) = self.cluster.try_csv(*node, &sql, "linearizable")
            {
                let most = self.history.begun_points();
                let count = table.lines().nth(1).and_then(|count| count.parse::<u64>().ok());
                let count = count.unwrap_or_else(|| panic!("a count is a number: {table}"));
                let name = self.cluster.name(*node);
                assert!((least..=most).contains(&count), "{name}: {least} ≤ {count} ≤ {most}");
            }
            wait(COUNT_EVERY);
        }
    }
}

fn turn(batch: Batch) -> usize {
    usize::try_from(batch.number).expect("not negative")
}

/// Sends a batch to one of the nodes after the other until one acknowledges it, or it is given up. Returns the node
/// that had it last.
fn deliver(
    load: &Load<'_>,
    nodes: &[usize],
    batch: Batch,
    first: usize,
    give_up: &dyn Fn() -> bool,
) -> (Fate, usize) {
    let Load { history, cluster, .. } = load;
    let (key, lines) = (batch.key(history.table()), batch.lines(history.table()));
    let mut turn = first;
    eventually(&format!("{batch:?} is acknowledged"), || {
        let node = nodes[turn % nodes.len()];
        let answer = cluster.write(node, &key, &lines);
        let why = match answer {
            Ok(answer) if answer.status == 204 => return Ok((Fate::Acknowledged, node)),
            Ok(answer) if answer.status != 503 => panic!("{batch:?} was answered with {answer:?}"),
            Ok(answer) => answer.body,
            Err(error) => error.to_string(),
        };
        history.unanswered();
        turn += 1;
        if give_up() { Ok((Fate::Unknown, turn)) } else { Err(why) }
    })
}

/// Writes a number of batches through some of the nodes.
pub(crate) fn write(
    cluster: &Cluster,
    history: &History,
    nodes: &[usize],
    writer: u32,
    batches: usize,
) {
    let load = Load {
        history,
        cluster,
        style: HURRIED,
        stop: AtomicBool::new(false),
        abandon: AtomicBool::new(false),
    };
    for _ in 0..batches {
        let (batch, began) = (history.begin(writer), now());
        let (fate, _) = deliver(&load, nodes, batch, turn(batch), &|| false);
        history.end(batch, began, fate);
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
pub(crate) fn under_load<T>(
    cluster: &Cluster,
    history: &History,
    style: Style,
    work: impl FnOnce(&Load<'_>) -> T,
) -> T {
    let (stop, abandon) = (AtomicBool::new(false), AtomicBool::new(false));
    let load = &Load { history, cluster, style, stop, abandon };
    thread::scope(|scope| {
        for writer in 0..style.writers {
            scope.spawn(move || {
                let _ended = StopOnDrop(load);
                load.write(writer);
            });
        }
        if style.counted {
            scope.spawn(move || {
                let _ended = StopOnDrop(load);
                load.count();
            });
        }
        let _ended = StopOnDrop(load);
        work(load)
    })
}
