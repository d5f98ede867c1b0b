//! Raft's timers follow what this node measures: how long messages to the other nodes and back take, and syncs there.
//!
//! A leader needs answers of a majority, so the slowest peers that it can do without do not count. The heartbeat is at
//! least 1.5 times what an answer takes, which leaves an answer time to come before the next message is due, and the
//! lease (the longest election timeout) is longer than heartbeat and answer together: a leader whose lease runs out
//! before its messages are answered takes no commands, although nobody else stands.
//!
//! | heartbeat | election timeout | an answer may take |
//! |---|---|---|
//! | 100 ms | 250 to 400 ms | 67 ms |
//! | 200 ms | 600 to 1,000 ms | 133 ms |
//! | 400 ms | 900 to 1,400 ms | 267 ms |
//! | 800 ms | 1,400 to 2,200 ms | 533 ms |
//! | 2,000 ms | 3,000 to 4,500 ms | 1,333 ms |
//! | 5,000 ms | 7,500 to 11,000 ms | 3,333 ms |
//!
//! Slower timers are taken after three slow answers in a row, faster ones after ten seconds of fast answers. Every node
//! decides for itself; no read relies on a lease, so that nodes may differ.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use quorate_consensus::Timers;
use tokio::time::Instant;

/// Heartbeat, least and most time before an election, in milliseconds.
const RUNGS: [(u64, u64, u64); 6] = [
    (100, 250, 400),
    (200, 600, 1000),
    (400, 900, 1400),
    (800, 1400, 2200),
    (2000, 3000, 4500),
    (5000, 7500, 11_000),
];
/// Slow answers of a peer in a row before it counts as slow.
const SLOW_ANSWERS: usize = 3;
/// How long answers must have been fast before the timers are.
const FAST_FOR: Duration = Duration::from_secs(10);
/// A peer that was silent for so long says nothing about the network.
const FRESH: Duration = Duration::from_secs(15);

fn timers(rung: usize) -> Timers {
    let (heartbeat, election_min, election_max) = RUNGS[rung];
    Timers {
        heartbeat: Duration::from_millis(heartbeat),
        election_min: Duration::from_millis(election_min),
        election_max: Duration::from_millis(election_max),
    }
}

/// How long an answer may take on a rung.
fn capacity(rung: usize) -> Duration {
    Duration::from_millis(RUNGS[rung].0) * 2 / 3
}

/// The fastest rung on which an answer may take so long; the slowest, if none is slow enough.
fn rung_for(answer: Duration) -> usize {
    (0..RUNGS.len()).find(|rung| capacity(*rung) >= answer).unwrap_or(RUNGS.len() - 1)
}

/// What is known of the way to one peer.
#[derive(Debug, Default)]
struct Link {
    /// When each answer came, and how long it took, the peer's sync included; oldest first.
    answers: VecDeque<(Instant, Duration)>,
}

impl Link {
    fn is_fresh(&self, now: Instant) -> bool {
        self.answers.back().is_some_and(|(at, _)| now.duration_since(*at) <= FRESH)
    }

    fn last(&self) -> impl Iterator<Item = Duration> {
        self.answers.iter().rev().take(SLOW_ANSWERS).map(|(_, took)| *took)
    }
}

/// Decides on the timers of one node.
#[derive(Debug, Default)]
pub(crate) struct Pacer {
    links: BTreeMap<u64, Link>,
    rung: usize,
    /// When the rung was taken.
    since: Option<Instant>,
}

impl Pacer {
    /// The timers that the node should have.
    pub(crate) fn timers(&self) -> Timers {
        timers(self.rung)
    }

    /// A peer has answered.
    pub(crate) fn note(&mut self, peer: u64, now: Instant, took: Duration) {
        let answers = &mut self.links.entry(peer).or_default().answers;
        answers.push_back((now, took));
        while answers.len() > SLOW_ANSWERS
            && answers.front().is_some_and(|(at, _)| now.duration_since(*at) > FAST_FOR)
        {
            answers.pop_front();
        }
    }

    /// Who belongs to the cluster beside this node.
    pub(crate) fn keep(&mut self, peers: &[u64]) {
        self.links.retain(|peer, _| peers.contains(peer));
    }

    /// Takes another rung, if it is time to. `peers`: how many other nodes there are.
    pub(crate) fn decide(&mut self, now: Instant, peers: usize) -> bool {
        // So many answers make a majority, together with this node.
        let Some(needed) = peers.div_ceil(2).checked_sub(1) else { return false };
        let links: Vec<_> = self.links.values().filter(|link| link.is_fresh(now)).collect();
        let of_majority = |of: &dyn Fn(&Link) -> Option<Duration>| {
            let mut all: Vec<_> = links.iter().filter_map(|link| of(link)).collect();
            all.sort_unstable();
            all.get(needed).copied()
        };
        let slow = of_majority(&|link| {
            (link.answers.len() >= SLOW_ANSWERS).then(|| link.last().min()).flatten()
        });
        let since = *self.since.get_or_insert(now);
        let rung = if slow.is_some_and(|least| least > capacity(self.rung)) {
            of_majority(&|link| link.last().max()).map_or(self.rung, rung_for).max(self.rung)
        } else if now.duration_since(since) >= FAST_FOR {
            let most = of_majority(&|link| link.answers.iter().map(|(_, took)| *took).max());
            // Some room, lest it go to and fro.
            most.map_or(self.rung, |most| rung_for(most * 5 / 4)).min(self.rung)
        } else {
            self.rung
        };
        if rung == self.rung {
            return false;
        }
        self.rung = rung;
        self.since = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLIS: fn(u64) -> Duration = Duration::from_millis;

    struct Measured {
        pacer: Pacer,
        now: Instant,
    }

    impl Measured {
        fn new() -> Self {
            Self { pacer: Pacer::default(), now: Instant::now() }
        }

        /// Answers of the peers, in milliseconds, twice a second, so many times. Returns how often the timers changed.
        fn answers(&mut self, took: &[u64], times: u32) -> usize {
            let mut changes = 0;
            for _ in 0..times {
                self.now += MILLIS(500);
                for (peer, took) in (1..).zip(took) {
                    self.pacer.note(peer, self.now, MILLIS(*took));
                }
                changes += usize::from(self.pacer.decide(self.now, took.len()));
            }
            changes
        }

        fn heartbeat(&self) -> u64 {
            u64::try_from(self.pacer.timers().heartbeat.as_millis()).unwrap()
        }
    }

    #[test]
    fn every_rung_leaves_an_answer_its_time() {
        for rung in 0..RUNGS.len() {
            let timers = timers(rung);
            assert!(timers.heartbeat * 2 >= capacity(rung) * 3);
            assert!(timers.election_max > timers.heartbeat + capacity(rung));
        }
        assert_eq!(rung_for(MILLIS(1010)), 4, "500 ms in each direction");
        assert_eq!(rung_for(Duration::from_hours(1)), 5);
    }

    #[test]
    fn timers_slow_down_after_three_slow_answers_and_come_back_after_ten_seconds() {
        let mut measured = Measured::new();
        assert_eq!(measured.answers(&[2, 3], 40), 0);
        assert_eq!(measured.heartbeat(), 100);
        assert_eq!(measured.answers(&[1004, 1002], 2), 0);
        assert_eq!(measured.answers(&[1004, 1002], 1), 1);
        assert_eq!(measured.heartbeat(), 2000);
        assert_eq!(measured.answers(&[1004, 1002], 60), 0);
        assert_eq!(measured.answers(&[2, 3], 19), 0);
        assert_eq!(measured.answers(&[2, 3], 4), 1);
        assert_eq!(measured.heartbeat(), 100);
    }

    #[test]
    fn one_slow_peer_of_two_does_not_count_and_two_of_four_do_not() {
        let mut measured = Measured::new();
        assert_eq!(measured.answers(&[1004, 2], 40), 0);
        let mut measured = Measured::new();
        assert_eq!(measured.answers(&[1004, 2, 1004, 2], 40), 0);
        assert_eq!(measured.answers(&[1004, 1004, 1004, 2], 40), 1);
    }

    #[test]
    fn single_slow_answers_change_nothing() {
        let mut measured = Measured::new();
        for _ in 0..20 {
            assert_eq!(measured.answers(&[2, 2], 3), 0);
            assert_eq!(measured.answers(&[900, 900], 2), 0);
        }
    }

    #[test]
    fn without_answers_of_a_majority_nothing_is_known() {
        let mut measured = Measured::new();
        assert_eq!(measured.answers(&[1004], 40), 1);
        let mut alone = Pacer::default();
        assert!(!alone.decide(Instant::now(), 0));
        let mut two_of_four = Pacer::default();
        let now = Instant::now();
        for _ in 0..SLOW_ANSWERS {
            two_of_four.note(1, now, MILLIS(900));
        }
        assert!(!two_of_four.decide(now, 4), "one of four others has answered");
    }
}
