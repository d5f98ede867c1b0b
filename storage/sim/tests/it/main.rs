//! Seeds, stories, and the same seed twice: each in a process of its own, since the simulation replaces its clock.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Seeds of the general mix.
const SEEDS: u64 = 80;
/// Others that have found something.
const FOUND: [u64; 2] = [94, 292];
/// Seeds of each story.
const STORY_SEEDS: u64 = 3;

const BUGS: [&str; 6] = [
    "skipped-sync",
    "early-acknowledgement",
    "truncated-damage",
    "dropped-dedup",
    "restored-leader",
    "distant-merge",
];

fn sim(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_quorate-sim");
    Command::new(program).args(arguments).output().expect("the simulator starts")
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

/// Runs seeds two at a time; the failed ones, with what they say.
fn run(seeds: &[u64]) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut failed = Vec::new();
        loop {
            let Some(seed) = seeds.get(next.fetch_add(1, Ordering::SeqCst)) else {
                return failed;
            };
            let output = sim(&["seed", &seed.to_string()]);
            if !output.status.success() {
                failed.push(format!("again with: quorate-sim trace {seed}\n{}", text(&output)));
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("a worker does not panic"))
            .collect()
    })
}

#[test]
fn every_seed_keeps_every_promise() {
    let seeds: Vec<u64> = (1..=SEEDS).chain(FOUND).collect();
    let failed = run(&seeds);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in ["2", "3", "16", "21"] {
        let (first, second) = (text(&sim(&["seed", seed])), text(&sim(&["seed", seed])));
        assert!(first.contains("trace "), "{first}");
        assert_eq!(first, second);
    }
    let different = (text(&sim(&["seed", "2"])), text(&sim(&["seed", "3"])));
    assert_ne!(different.0, different.1);
}

#[test]
fn every_planted_bug_is_caught_and_the_same_story_without_it_is_not() {
    for bug in BUGS {
        let mut caught = 0;
        for seed in 1..=STORY_SEEDS {
            let seed = seed.to_string();
            let sound = sim(&["story", bug, &seed]);
            assert!(sound.status.success(), "{bug}, not planted: {}", text(&sound));
            let planted = sim(&["story", bug, &seed, "planted"]);
            assert_ne!(planted.status.code(), Some(2), "{}", text(&planted));
            caught += u64::from(!planted.status.success());
        }
        assert_eq!(caught, STORY_SEEDS, "{bug} is caught at {caught} of {STORY_SEEDS} seeds");
    }
}
