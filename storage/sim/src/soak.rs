//! Many seeds: each in a process of its own, some at once.

use std::collections::VecDeque;
use std::process::{Child, Command, ExitCode, Stdio};

use crate::say;

/// Seeds to run, unless `QUORATE_SIM_SEEDS` says otherwise.
const SEEDS: u64 = 1_000;

/// Runs the seeds that the environment asks for; fails if one does.
pub(crate) fn run() -> ExitCode {
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (first, count) = (number("QUORATE_SIM_FIRST", 1), number("QUORATE_SIM_SEEDS", SEEDS));
    let at_once = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let mut running: VecDeque<(u64, Child)> = VecDeque::new();
    let mut failed: Vec<u64> = Vec::new();
    for seed in first..first.saturating_add(count) {
        if running.len() >= at_once {
            failed.extend(running.pop_front().and_then(ended));
        }
        match start(seed) {
            Ok(child) => running.push_back((seed, child)),
            Err(error) => {
                say(&format!("seed {seed} cannot be started: {error}"));
                failed.push(seed);
            }
        }
    }
    failed.extend(running.into_iter().filter_map(ended));
    say(&format!("{count} seeds from {first} on, {} failed: {failed:?}", failed.len()));
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn start(seed: u64) -> std::io::Result<Child> {
    let program = std::env::current_exe()?;
    Command::new(program).args(["seed", &seed.to_string()]).stdout(Stdio::piped()).spawn()
}

/// Waits for a seed; the seed, if it failed.
fn ended((seed, child): (u64, Child)) -> Option<u64> {
    let output = child.wait_with_output();
    let good = output.as_ref().is_ok_and(|output| output.status.success());
    if let Ok(output) = &output {
        say(String::from_utf8_lossy(&output.stdout).trim_end());
    }
    if good {
        return None;
    }
    say(&format!("seed {seed} failed; again, with its trace: quorate-sim trace {seed}"));
    Some(seed)
}
