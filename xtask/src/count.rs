//! Counts the instructions of hot kernels, which tells a regression without a clock: the count of the same work on the same
//! kind of processor is the same on a machine that is idle and on one that is not.
//!
//! Valgrind counts. Each kernel runs once and then several times; the difference is theirs without the preparation.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use crate::run;

/// The kernels of `storage/segment/examples/kernels.rs`, and how often each runs: short ones more often, for a steady number.
const KERNELS: [(&str, u64); 5] =
    [("write", 2), ("scan", 10), ("find", 10), ("narrow", 50), ("cells", 50)];
/// A count may be so much above what is written down: allocators and hash maps differ a little from run to run.
const PERCENT_MAX: u64 = 5;

fn known() -> PathBuf {
    run::root().join("benches/instructions.txt")
}

/// Compares with what is written down, or writes it down.
pub(crate) fn count(update: bool) -> Result<(), String> {
    if !run::answers("valgrind", "--version") {
        return Err("valgrind is missing: install it to count instructions".to_owned());
    }
    let build =
        ["build", "--release", "--locked", "--package", "quorate-segment", "--example", "kernels"];
    run::cargo("build", &build, &[])?;
    let mut counts = BTreeMap::new();
    for (kernel, times) in KERNELS {
        let (once, more) = (instructions(kernel, 1)?, instructions(kernel, 1 + times)?);
        counts.insert(kernel.to_owned(), more.saturating_sub(once) / times);
    }
    if update {
        let lines = counts.iter().map(|(kernel, count)| format!("{kernel} {count}\n"));
        let text = lines.collect::<String>();
        return std::fs::write(known(), text).map_err(|e| format!("{}: {e}", known().display()));
    }
    compare(&counts, &read(&known())?)
}

fn read(path: &std::path::Path) -> Result<BTreeMap<String, u64>, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let line = |line: &str| {
        let (kernel, count) = line.split_once(' ')?;
        Some((kernel.to_owned(), count.parse().ok()?))
    };
    let lines = text.lines().map(|l| line(l).ok_or(format!("{}: {l:?}", path.display())));
    lines.collect()
}

fn compare(counts: &BTreeMap<String, u64>, known: &BTreeMap<String, u64>) -> Result<(), String> {
    let mut worse = Vec::new();
    for (kernel, count) in counts {
        let before = known.get(kernel).ok_or(format!("nothing is known of {kernel:?}"))?;
        let ratio = *count as f64 / *before as f64;
        run::say(&format!("{kernel}: {count} instructions, {ratio:.3} of those written down"));
        if count * 100 > before * (100 + PERCENT_MAX) {
            worse.push(kernel.as_str());
        }
    }
    if worse.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{} take more than {PERCENT_MAX} % more instructions; `cargo xtask count --update` writes down what is meant",
        worse.join(", ")
    ))
}

/// Instructions of a run.
fn instructions(kernel: &str, times: u64) -> Result<u64, String> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.arg(run::built("examples/kernels")).args([kernel, &times.to_string()]);
    let run = command.output().map_err(|e| format!("valgrind cannot be run: {e}"))?;
    let said = String::from_utf8_lossy(&run.stderr);
    if !run.status.success() {
        return Err(format!("{kernel}: {}", said.trim()));
    }
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    let collected = collected.and_then(|(_, count)| count.trim().parse().ok());
    collected.ok_or_else(|| format!("{kernel}: valgrind has not counted: {}", said.trim()))
}
