//! `quorate-sim`: runs seeds of the simulation, one in a process of its own each.
//!
//! ```text
//! quorate-sim seed 17              one seed, in this process
//! quorate-sim trace 17             the same, with every event and what the store logs
//! quorate-sim story truncated-damage 3 [planted]
//! quorate-sim seeds                QUORATE_SIM_SEEDS seeds (1000) from QUORATE_SIM_FIRST (1) on, as many at once as there are
//!                                  processors
//! ```

mod os;
mod soak;

use std::process::ExitCode;

use quorate_sim::{PlantedBug, Scenario, run};

const USAGE: &str = "usage: quorate-sim seed <n> | trace <n> | story <bug> <n> [planted] | seeds";

/// The bugs by name.
const BUGS: [(&str, PlantedBug); 6] = [
    ("skipped-sync", PlantedBug::SkippedSync),
    ("early-acknowledgement", PlantedBug::EarlyAcknowledgement),
    ("truncated-damage", PlantedBug::TruncatedDamage),
    ("dropped-dedup", PlantedBug::DroppedDedup),
    ("restored-leader", PlantedBug::RestoredLeader),
    ("distant-merge", PlantedBug::DistantMerge),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let told = match arguments.as_slice() {
        ["seed", seed] => one(seed, Some(Scenario::Swarm), false),
        ["trace", seed] => one(seed, Some(Scenario::Swarm), true),
        ["story", bug, seed] => one(seed, story(bug, false), false),
        ["story", bug, seed, "planted"] => one(seed, story(bug, true), false),
        ["trace-story", bug, seed, rest @ ..] => one(seed, story(bug, !rest.is_empty()), true),
        ["seeds"] => return soak::run(),
        _ => None,
    };
    told.unwrap_or_else(|| {
        say(USAGE);
        ExitCode::from(2)
    })
}

fn story(bug: &str, planted: bool) -> Option<Scenario> {
    let (_, about) = BUGS.into_iter().find(|(name, _)| *name == bug)?;
    Some(Scenario::Story { about, planted })
}

/// Runs one seed and tells what came of it.
fn one(seed: &str, scenario: Option<Scenario>, verbose: bool) -> Option<ExitCode> {
    let (seed, scenario) = (seed.parse().ok()?, scenario?);
    if verbose {
        let level = tracing::Level::INFO;
        tracing_subscriber::fmt().without_time().with_ansi(false).with_max_level(level).init();
    }
    let report = run(seed, scenario, verbose);
    say(&report.to_string());
    Some(if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[expect(clippy::print_stdout, reason = "a command line tool talks to its user")]
fn say(line: &str) {
    println!("{line}");
}
