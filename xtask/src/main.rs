//! Project commands, in plain Rust so that a machine with cargo needs nothing else.
//!
//! - `cargo xtask check`: formatting, clippy, documentation, tidy.
//! - `cargo xtask test`: the above, then every test, real clients included.
//! - `cargo xtask conformance`: the sqllogictest files that DataFusion ships, over Flight SQL; a part of `test`.
//! - `cargo xtask bench`: the workload benches; prints ratios from one run.
//! - `cargo xtask count`: instructions of hot kernels, against those written down.
//! - `cargo xtask soak`: many cases of the property tests, many seeds of the simulation, long runs of the crash tests, of
//!   one node and of clusters, and all faults, with a report.

mod clients;
mod conformance;
mod count;
mod faults;
mod run;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Where proptest takes its seed from.
const PROPERTY_SEED: &str = "PROPTEST_RNG_SEED";

#[derive(Debug, Parser)]
#[command(about = "Project commands")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Formatting, clippy, documentation, tidy.
    Check,
    /// All checks and all tests.
    Test {
        /// Leaves the checks out.
        #[arg(long)]
        no_check: bool,
    },
    /// Only the rules that no other tool checks: file lengths, documents, links, words.
    Tidy,
    /// The sqllogictest files that DataFusion ships, over Flight SQL.
    Conformance {
        /// Only files whose names hold this.
        filter: Option<String>,
        /// Writes down how many records pass.
        #[arg(long)]
        update: bool,
    },
    /// The workload benches.
    Bench {
        /// Arguments of the bench runner; `-- --help` lists them.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Instructions of hot kernels, against those written down; needs valgrind.
    Count {
        /// Writes them down.
        #[arg(long)]
        update: bool,
    },
    /// Many cases of the property tests, many seeds of the simulation, crashes of one node and of clusters, and every fault;
    /// writes docs/benchmarks/faults.md.
    Soak {
        /// Rounds of each crash test, and for each ten seeds and twenty property cases; 0 leaves all of them out.
        #[arg(long, default_value_t = 200)]
        rounds: u32,
        /// Rounds of each fault, times its weight: four for kills and restarts; 0 leaves the faults out.
        #[arg(long, default_value_t = 13)]
        fault_rounds: u32,
        /// Writes the report on the faults again, from what the last soak has measured.
        #[arg(long)]
        only_report: bool,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Check => check(),
        Command::Test { no_check } => test(no_check),
        Command::Tidy => tidy::check(&run::root()),
        Command::Conformance { filter, update } => conformance(filter.as_deref(), update),
        Command::Bench { arguments } => bench(&arguments),
        Command::Count { update } => count::count(update),
        Command::Soak { fault_rounds, only_report: true, .. } => report(fault_rounds),
        Command::Soak { rounds, fault_rounds, only_report: false } => soak(rounds, fault_rounds),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            run::say(&format!("xtask: {message}"));
            ExitCode::FAILURE
        }
    }
}

fn check() -> Result<(), String> {
    tidy::check(&run::root())?;
    run::cargo("fmt", &["fmt", "--all", "--check"], &[])?;
    let clippy =
        ["clippy", "--release", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    run::cargo("clippy", &clippy, &[])?;
    let doc =
        ["doc", "--release", "--workspace", "--no-deps", "--document-private-items", "--locked"];
    run::cargo("doc", &doc, &[("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links")])
}

fn test(no_check: bool) -> Result<(), String> {
    if !no_check {
        check()?;
    }
    // The binary first: the tests of real processes start it.
    run::cargo("build", &["build", "--release", "--workspace", "--locked"], &[])?;
    let binary = run::binary().display().to_string();
    // The same cases every time; another seed looks elsewhere.
    let seed = std::env::var(PROPERTY_SEED).unwrap_or_else(|_| "1".to_owned());
    run::say(&format!("xtask: property tests begin from {PROPERTY_SEED}={seed}"));
    let environment = [("QUORATE_BINARY", binary.as_str()), (PROPERTY_SEED, &seed)];
    run::cargo("test", &["test", "--release", "--workspace", "--locked"], &environment)?;
    conformance::conformance(None, false)?;
    clients::python(&run::root())?;
    clients::java(&run::root())?;
    clients::go(&run::root())
}

fn conformance(filter: Option<&str>, update: bool) -> Result<(), String> {
    run::cargo("build", &["build", "--release", "--workspace", "--locked"], &[])?;
    conformance::conformance(filter, update)
}

fn bench(arguments: &[String]) -> Result<(), String> {
    run::cargo("build", &["build", "--release", "--workspace", "--locked"], &[])?;
    let mut all =
        vec!["run", "--release", "--package", "quorate-benches", "--bin", "quorate-bench", "--"];
    all.extend(arguments.iter().map(String::as_str));
    let binary = run::binary().display().to_string();
    run::cargo("bench", &all, &[("QUORATE_BINARY", &binary)])
}

fn soak(rounds: u32, fault_rounds: u32) -> Result<(), String> {
    run::cargo("build", &["build", "--release", "--workspace", "--locked"], &[])?;
    let binary = run::binary().display().to_string();
    let package = ["test", "--release", "--package", "quorate-sql-tests", "--locked"];
    // What they print of a good run counts, too: how long writes waited for another leader.
    let shown = ["--", "--show-output"];
    if rounds > 0 {
        properties(rounds * 20)?;
        let seeds = (rounds * 10).to_string();
        let mut simulation = std::process::Command::new(run::built("quorate-sim"));
        run::run("simulation", simulation.arg("seeds").env("QUORATE_SIM_SEEDS", &seeds))?;
        let rounds = rounds.to_string();
        let environment = [
            ("QUORATE_CRASH_ROUNDS", rounds.as_str()),
            ("QUORATE_SOAK_ROUNDS", &rounds),
            ("QUORATE_BINARY", &binary),
        ];
        let mut tests = package.to_vec();
        tests.extend(["--test", "crash", "--test", "cluster"]);
        tests.extend(shown);
        tests.extend(["--skip", "faults::"]);
        run::cargo("soak", &tests, &environment)?;
    }
    if fault_rounds == 0 {
        return Ok(());
    }
    let rounds = fault_rounds.to_string();
    let measured = run::built(faults::MEASURED);
    let _ = std::fs::remove_file(&measured);
    let path = measured.display().to_string();
    let environment = [
        ("QUORATE_FAULT_ROUNDS", rounds.as_str()),
        ("QUORATE_FAULT_REPORT", &path),
        ("QUORATE_BINARY", &binary),
    ];
    let mut tests = package.to_vec();
    tests.extend(["--test", "cluster"]);
    tests.extend(shown);
    tests.push("faults::");
    let outcome = run::cargo("faults", &tests, &environment);
    // A fault that was not borne is in the report, too.
    report(fault_rounds)?;
    outcome
}

/// The property tests and those of damaged input. The usual 256 cases are in proportion to each test's own number; the
/// seeds are new ones, and printed by what fails.
fn properties(cases: u32) -> Result<(), String> {
    let mut tests = vec!["test", "--release", "--locked", "--lib", "--test", "it"];
    for package in [
        "quorate-wal",
        "quorate-segment",
        "quorate-storage",
        "quorate-timeseries",
        "quorate-engine",
        "quorate-flight",
    ] {
        tests.extend(["--package", package]);
    }
    run::cargo("properties", &tests, &[("PROPTEST_CASES", &cases.to_string())])
}

fn report(fault_rounds: u32) -> Result<(), String> {
    let command = format!("cargo xtask soak --rounds 0 --fault-rounds {fault_rounds}");
    faults::report(&run::root(), &run::built(faults::MEASURED), &command)
}
