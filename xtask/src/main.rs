//! Project commands, in plain Rust so that a machine with cargo needs nothing else.
//!
//! - `cargo xtask check`: formatting, clippy, documentation, tidy.
//! - `cargo xtask test`: the above, then every test, real clients included.
//! - `cargo xtask bench`: the workload benches; prints ratios from one run.
//! - `cargo xtask soak`: long runs of the crash tests, of one node and of clusters.

mod clients;
mod run;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// The workload benches.
    Bench {
        /// Arguments of the bench runner; `-- --help` lists them.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Long runs of the crash tests, of one node and of clusters.
    Soak {
        /// Rounds of each test.
        #[arg(long, default_value_t = 200)]
        rounds: u32,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Check => check(),
        Command::Test { no_check } => test(no_check),
        Command::Tidy => tidy::check(&run::root()),
        Command::Bench { arguments } => bench(&arguments),
        Command::Soak { rounds } => soak(rounds),
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
    let environment = [("QUORATE_BINARY", run::binary().display().to_string())];
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
    run::cargo("test", &["test", "--release", "--workspace", "--locked"], &environment)?;
    clients::python(&run::root())
}

fn bench(arguments: &[String]) -> Result<(), String> {
    run::cargo("build", &["build", "--release", "--workspace", "--locked"], &[])?;
    let mut all =
        vec!["run", "--release", "--package", "quorate-benches", "--bin", "quorate-bench", "--"];
    all.extend(arguments.iter().map(String::as_str));
    let binary = run::binary().display().to_string();
    run::cargo("bench", &all, &[("QUORATE_BINARY", &binary)])
}

fn soak(rounds: u32) -> Result<(), String> {
    run::cargo("build", &["build", "--release", "--workspace", "--locked"], &[])?;
    let rounds = rounds.to_string();
    let binary = run::binary().display().to_string();
    let environment = [
        ("QUORATE_CRASH_ROUNDS", rounds.as_str()),
        ("QUORATE_SOAK_ROUNDS", &rounds),
        ("QUORATE_BINARY", &binary),
    ];
    let mut tests = vec!["test", "--release", "--package", "quorate-sql-tests"];
    // What they print of a good run counts, too: how long writes waited for another leader.
    tests.extend(["--test", "crash", "--test", "cluster", "--", "--show-output"]);
    run::cargo("soak", &tests, &environment)
}
