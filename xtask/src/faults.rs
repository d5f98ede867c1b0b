//! Turns what the fault tests measured into `docs/benchmarks/faults.md`.
//!
//! The tests add a line of JSON for each fault to a file; the report has a table of them, and says which of the limits
//! that the project has set itself were kept. A limit that was missed is reported, not hidden and not an error: the
//! tests themselves fail on what is wrong.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Where the tests put their lines, in the build directory.
pub(crate) const MEASURED: &str = "faults.jsonl";

/// A limit to the pauses of a fault: the words by which its name begins, the percentile, and milliseconds.
const LIMITS: &[(&str, u32, u64)] = &[
    ("killed", 50, 1_000),
    ("killed", 100, 2_000),
    ("500 ms more", 100, 15_000),
    ("orderly stop", 99, 200),
];

const HEAD: &str = "\
# Faults

Built processes on one machine, each node's links to the others behind proxies of their own, one writer for each node, and somebody who
counts through all nodes in turn. A fault befalls the largest minority: of three nodes the one that leads most groups, of five that one and
another. Each round: writes go on, the fault strikes, writes to every shard go on, it is healed, writes go on.

The pause is the longest time in a round for which no write to some time slice was acknowledged. Writers take turns over eight slices, so
it has a floor of a few hundredths of a second. Nodes give up a write after 5 s: that long one waits that was handed to a node which then
fell silent. *Failed attempts* are requests that a writer repeated, or gave up; one batch in ten is sent once only, and *unknown batches*
are those of them that were not acknowledged. Lost, doubled and changed are acknowledged rows, never sent are all others that are there:
in any replica, each read by itself, and by two checkers that share no code.
";

/// Writes the report from the lines of a file.
pub(crate) fn report(root: &Path, lines: &Path, command: &str) -> Result<(), String> {
    let text =
        fs::read_to_string(lines).map_err(|error| format!("{}: {error}", lines.display()))?;
    let parse = |line: &str| serde_json::from_str(line).map_err(|error| format!("{line}: {error}"));
    let records = text.lines().map(parse).collect::<Result<Vec<Value>, String>>()?;
    if records.is_empty() {
        return Err("no fault was measured".to_owned());
    }
    let path = root.join("docs/benchmarks/faults.md");
    let report = render(&records, &machine(root), command);
    fs::write(&path, report).map_err(|error| format!("{}: {error}", path.display()))?;
    crate::run::say(&format!("== report: {}", path.display()));
    Ok(())
}

fn render(records: &[Value], machine: &str, command: &str) -> String {
    let mut text = format!("{HEAD}\n`{command}`\n\n{machine}\n\n## Pauses and rows\n\n");
    text.push_str(
        "| fault | nodes | rounds | p50, s | p90, s | p99, s | max, s | rows acknowledged | failed attempts \
         | unknown batches | lost | doubled | changed | never sent |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for record in records {
        row(&mut text, record);
    }
    text.push_str("\n## Limits\n\n| fault | nodes | pause | wanted, s | measured, s | |\n");
    text.push_str("|---|---:|---|---:|---:|---|\n");
    for record in records {
        limits(&mut text, record);
    }
    list(&mut text, "Failures", "failure", records);
    list(&mut text, "Shortcomings", "shortcoming", records);
    text
}

/// The first line of what the records say under a name.
fn list(text: &mut String, title: &str, name: &str, records: &[Value]) {
    let _ = write!(text, "\n## {title}\n\n");
    let mut none = true;
    for record in records {
        let Some(what) = record[name].as_str() else { continue };
        let (fault, nodes) = (record["fault"].as_str().unwrap_or_default(), &record["nodes"]);
        let first = what.lines().next().unwrap_or_default();
        let _ = writeln!(text, "- {fault}, {nodes} nodes: {first}");
        none = false;
    }
    if none {
        text.push_str("None.\n");
    }
}

fn row(text: &mut String, record: &Value) {
    let pauses = pauses(record);
    let at = |percent| percentile(&pauses, percent).map_or_else(|| "-".to_owned(), seconds);
    let number = |name: &str| match record[name].as_u64() {
        Some(number) => grouped(number),
        None => "not checked".to_owned(),
    };
    let wanted = record["rounds_wanted"].as_u64().unwrap_or_default();
    let rounds = match pauses.len() as u64 {
        all if all == wanted => wanted.to_string(),
        some => format!("{some} of {wanted}"),
    };
    let (fault, nodes) = (record["fault"].as_str().unwrap_or_default(), &record["nodes"]);
    let _ = write!(text, "| {fault} | {nodes} | {rounds} |");
    for percent in [50, 90, 99, 100] {
        let _ = write!(text, " {} |", at(percent));
    }
    let columns = ["rows_acknowledged", "answers_missing", "batches_unknown"];
    for name in columns.into_iter().chain(["lost", "doubled", "changed", "phantom"]) {
        let _ = write!(text, " {} |", number(name));
    }
    text.push('\n');
}

fn limits(text: &mut String, record: &Value) {
    let (fault, nodes) = (record["fault"].as_str().unwrap_or_default(), &record["nodes"]);
    for (_, percent, most) in LIMITS.iter().filter(|(name, ..)| fault.starts_with(name)) {
        let measured = percentile(&pauses(record), *percent);
        let what = if *percent == 100 { "max".to_owned() } else { format!("p{percent}") };
        let (measured, verdict) = match measured {
            Some(measured) if measured <= *most && record["failure"].is_null() => {
                (seconds(measured), "kept")
            }
            Some(measured) => (seconds(measured), "**missed**"),
            None => ("-".to_owned(), "**missed**"),
        };
        let most = seconds(*most);
        let _ = writeln!(text, "| {fault} | {nodes} | {what} | {most} | {measured} | {verdict} |");
    }
}

/// Sorted.
fn pauses(record: &Value) -> Vec<u64> {
    let list = record["pauses_ms"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut pauses: Vec<u64> = list.iter().filter_map(Value::as_u64).collect();
    pauses.sort_unstable();
    pauses
}

/// The smallest that so many percent do not exceed.
fn percentile(sorted: &[u64], percent: u32) -> Option<u64> {
    let rank = (sorted.len() * percent as usize).div_ceil(100);
    sorted.get(rank.max(1) - 1).copied()
}

fn seconds(millis: u64) -> String {
    format!("{}.{:02}", millis / 1_000, millis % 1_000 / 10)
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What the figures depend on.
fn machine(root: &Path) -> String {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).map(str::to_owned);
        line.and_then(|line| line.split_once(':').map(|(_, value)| value.trim().to_owned()))
            .unwrap_or_else(|| "unknown".to_owned())
    };
    let said = |program: &str, arguments: &[&str]| {
        let out = Command::new(program).current_dir(root).args(arguments).output();
        out.map_or_else(
            |_| "unknown".to_owned(),
            |out| String::from_utf8_lossy(&out.stdout).trim().to_owned(),
        )
    };
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!(
        "{cores} cores ({}), {} of memory, Linux {}; commit {}, {}; the release profile. All nodes, proxies, writers \
         and checkers share the cores and the disk.",
        field("/proc/cpuinfo", "model name"),
        field("/proc/meminfo", "MemTotal"),
        said("uname", &["-r"]),
        said("git", &["rev-parse", "--short", "HEAD"]),
        said("date", &["-u", "+%Y-%m-%d"]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_measured_value() {
        let sorted: Vec<u64> = (1..=10).collect();
        for (percent, want) in [(50, 5), (90, 9), (99, 10), (100, 10), (1, 1)] {
            assert_eq!(percentile(&sorted, percent), Some(want), "p{percent}");
        }
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn a_missed_limit_and_a_failure_are_named() {
        let record = serde_json::json!({
            "fault": "killed (kill -9)", "nodes": 3, "rounds_wanted": 3, "pauses_ms": [700, 2500],
            "rows_acknowledged": 1_234_567, "answers_missing": 3, "batches_unknown": 1,
            "lost": null, "doubled": null, "changed": null, "phantom": null,
            "failure": "it did not come back\nand more",
        });
        let text = render(&[record], "a machine", "a command");
        let row = "| killed (kill -9) | 3 | 2 of 3 | 0.70 | 2.50 | 2.50 | 2.50 | 1,234,567 | 3 | 1 \
                   | not checked | not checked | not checked | not checked |";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("| max | 2.00 | 2.50 | **missed** |"), "{text}");
        assert!(text.contains("- killed (kill -9), 3 nodes: it did not come back\n"), "{text}");
    }
}
