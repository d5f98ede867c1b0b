//! What was sent to a cluster, what became of it, and how long each place had to wait for it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::now;

/// Batches go to one time slice after the other, so that all shards are written to.
pub(crate) const SLICES: usize = 8;

const MILLI_NS: i64 = 1_000_000;
const DAY_NS: i64 = 86_400_000 * MILLI_NS;
/// 2024-01-01T00:00:00Z.
pub(crate) const BASE_NS: i64 = 1_704_067_200_000 * MILLI_NS;

/// A point: (series, time) and its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) writer: u32,
    pub(crate) time: i64,
    pub(crate) value: f64,
}

/// A writer's batches are numbered one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) writer: u32,
    pub(crate) number: i64,
    /// How many points it has; all batches of a history have as many.
    pub(crate) size: i64,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Acknowledged,
    Unknown,
}

impl Batch {
    /// Its points; all are in one time slice. A value follows from its writer and place, so that a wrong one is seen;
    /// and it looks random, so that files are as long as what is in them.
    pub(crate) fn points(self) -> impl Iterator<Item = Point> {
        let slice = i64::try_from(self.slice()).expect("few slices");
        let first = self.number / i64::try_from(SLICES).expect("few slices") * self.size;
        (0..self.size).map(move |point| {
            let n = self.number * self.size + point;
            let value = scattered(n * 64 + i64::from(self.writer)) as f64 / 8.0;
            let time = BASE_NS + slice * DAY_NS + (first + point) * MILLI_NS;
            Point { writer: self.writer, time, value }
        })
    }

    pub(crate) fn key(self, table: &str) -> String {
        format!("{table}-{}-{}", self.writer, self.number)
    }

    pub(crate) fn lines(self, table: &str) -> String {
        let mut text = String::new();
        for Point { writer, time, value } in self.points() {
            writeln!(text, "{table},writer=w{writer} v={value} {time}")
                .expect("a String takes text");
        }
        text
    }

    fn slice(self) -> usize {
        usize::try_from(self.number).expect("not negative") % SLICES
    }
}

/// A whole number below 2^50 for each other one, never the same twice below 2^50.
fn scattered(n: i64) -> i64 {
    const BITS: i64 = (1 << 50) - 1;
    // An odd factor keeps numbers apart; so does adding the upper half to the lower.
    let n = n.wrapping_mul(0x5_5d2c_93a5_b6d7) & BITS;
    n ^ (n >> 25)
}

/// All that was sent to one table.
#[derive(Debug)]
pub(crate) struct History {
    table: String,
    batch_points: i64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    sent: Vec<(Batch, Fate)>,
    next: BTreeMap<u32, i64>,
    acknowledged: u64,
    /// Attempts after which nobody knew whether the batch is stored.
    unanswered: u64,
    slices: [Slice; SLICES],
    /// Batches that began before do not count as [recent](Slice::recent).
    mark: Instant,
}

/// How a time slice was served.
#[derive(Clone, Copy, Debug)]
struct Slice {
    /// The last acknowledgement.
    last: Instant,
    /// The longest time between two.
    longest: Duration,
    /// Acknowledged batches that began after the mark.
    recent: u64,
}

impl History {
    pub(crate) fn new(table: &str, batch_points: i64) -> Self {
        let mark = now();
        let slice = Slice { last: mark, longest: Duration::ZERO, recent: 0 };
        let state = State {
            sent: Vec::new(),
            next: BTreeMap::new(),
            acknowledged: 0,
            unanswered: 0,
            slices: [slice; SLICES],
            mark,
        };
        Self { table: table.to_owned(), batch_points, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding it")
    }

    pub(crate) fn table(&self) -> &str {
        &self.table
    }

    pub(crate) fn begin(&self, writer: u32) -> Batch {
        let mut state = self.state();
        // Writers begin with a slice of their own.
        let first = i64::from(writer) % i64::try_from(SLICES).expect("few slices");
        let next = state.next.entry(writer).or_insert(first);
        let number = *next;
        *next += 1;
        Batch { writer, number, size: self.batch_points }
    }

    /// An attempt was not answered, or not with yes or no.
    pub(crate) fn unanswered(&self) {
        self.state().unanswered += 1;
    }

    /// A batch that began then needs no further attempts.
    pub(crate) fn end(&self, batch: Batch, began: Instant, fate: Fate) {
        let mut state = self.state();
        state.sent.push((batch, fate));
        if fate == Fate::Acknowledged {
            let (now, mark) = (now(), state.mark);
            state.acknowledged += 1;
            let slice = &mut state.slices[batch.slice()];
            slice.longest = slice.longest.max(now.duration_since(slice.last));
            slice.last = now;
            slice.recent += u64::from(began > mark);
        }
    }

    pub(crate) fn sent(&self) -> Vec<(Batch, Fate)> {
        self.state().sent.clone()
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.state().acknowledged
    }

    pub(crate) fn acknowledged_points(&self) -> u64 {
        self.acknowledged() * u64::try_from(self.batch_points).expect("positive")
    }

    /// Points of all batches that have begun.
    pub(crate) fn begun_points(&self) -> u64 {
        let batches: i64 = self.state().next.values().sum();
        u64::try_from(batches * self.batch_points).expect("positive")
    }

    /// Attempts after which nobody knew, and batches that were given up as such.
    pub(crate) fn unknown(&self) -> (u64, u64) {
        let state = self.state();
        let given_up = state.sent.iter().filter(|(_, fate)| *fate == Fate::Unknown).count();
        (state.unanswered, given_up as u64)
    }

    /// Forgets how long slices waited so far.
    pub(crate) fn begin_round(&self) {
        for slice in &mut self.state().slices {
            slice.longest = Duration::ZERO;
        }
        self.mark();
    }

    /// From now on, only batches that begin from now on are recent.
    pub(crate) fn mark(&self) {
        let mut state = self.state();
        state.mark = now();
        for slice in &mut state.slices {
            slice.recent = 0;
        }
    }

    /// How many recent batches each slice has acknowledged, at least.
    pub(crate) fn recent(&self) -> u64 {
        self.state().slices.iter().map(|slice| slice.recent).min().unwrap_or_default()
    }

    /// Some slice waited as long as this in this round.
    pub(crate) fn waited(&self, pause: Duration) {
        let longest = &mut self.state().slices[0].longest;
        *longest = pause.max(*longest);
    }

    /// The longest time in this round between two acknowledgements for the same slice.
    pub(crate) fn pause(&self) -> Duration {
        let (state, now) = (self.state(), now());
        let pauses = state.slices.iter().map(|s| s.longest.max(now.duration_since(s.last)));
        pauses.max().unwrap_or_default()
    }
}
