//! DataFusion's own sqllogictest files, over Flight SQL, in memory databases.
//!
//! `cargo xtask conformance` finds the files (they ship in the crate `datafusion-sqllogictest`) and names their folder in
//! `QUORATE_CONFORMANCE_FILES`. `conformance/rules.txt` says which files and records are not portable, each with its
//! reason; `conformance/passed.txt` says how many records of each file pass, which may only become more. With
//! `QUORATE_CONFORMANCE_UPDATE=1` that file is written anew.

mod portable;
mod values;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use quorate_flight::{Client, ClientOutcome};
use quorate_sql_tests::{Server, ServerOptions};
use sqllogictest::{Record, Runner, strict_column_validator};

use crate::portable::Rules;
use crate::values::{Connection, Kind};

/// What became of the records of one file.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    passed: u32,
    portable: u32,
}

#[expect(clippy::print_stderr, reason = "a test runner talks to its user")]
fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let Some(files) = std::env::var_os("QUORATE_CONFORMANCE_FILES").map(PathBuf::from) else {
        eprintln!(
            "conformance: run it as `cargo xtask conformance`, which knows where the files are"
        );
        return ExitCode::FAILURE;
    };
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the package is");
    let folder = Path::new(&package).join("conformance");
    let mut rules = Rules::read(&folder.join("rules.txt"));
    let data = tempfile::tempdir().expect("a temporary directory can be made");
    let server = Server::start(data.path(), &ServerOptions::default());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let mut tallies = BTreeMap::new();
    for (number, file) in portable::files(&files).into_iter().enumerate() {
        let name = file.strip_prefix(&files).unwrap_or(&file).display().to_string();
        if !wanted.is_empty() && !wanted.iter().any(|w| name.contains(w)) {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{name}: {e}"));
        if rules.skips_file(&name, &text) {
            continue;
        }
        let database = format!("conformance_{number}");
        let (tally, failures) = runtime.block_on(run(&server, &database, &name, &file, &mut rules));
        for failure in failures {
            eprintln!("FAILED  {failure}\n");
        }
        tallies.insert(name, tally);
    }
    server.stop();
    eprintln!("{}", rules.report());
    conclude(&folder.join("passed.txt"), &tallies, wanted.is_empty())
}

/// Runs the portable records of a file, each whatever became of those before it.
async fn run(
    server: &Server,
    database: &str,
    name: &str,
    file: &Path,
    rules: &mut Rules,
) -> (Tally, Vec<String>) {
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    let mut admin = server.client("main").await.expect("the server answers");
    let create = format!("CREATE DATABASE {database} WITH (kind = 'memory')");
    ignore_rows(&mut admin, &create).await;
    let mut runner = Runner::new(|| async {
        let client = server.client(database).await?;
        Ok(Connection::new(client))
    });
    runner.add_label("Datafusion");
    runner.with_column_validator(strict_column_validator);
    runner.with_normalizer(values::normalize);
    runner.with_validator(values::are_equal);
    let records = match sqllogictest::parse_file::<Kind>(file) {
        Ok(records) => records,
        Err(e) => panic!("{name} cannot be parsed: {e}"),
    };
    for mut record in records {
        portable::translate(&mut record);
        let sql = match &record {
            Record::Statement { sql, .. } | Record::Query { sql, .. } => sql.clone(),
            Record::Halt { .. } => break,
            Record::System { .. } | Record::Sleep { .. } => continue,
            _ => {
                drop(runner.run_async(record).await);
                continue;
            }
        };
        if rules.skips_record(&sql) {
            continue;
        }
        tally.portable += 1;
        match runner.run_async(record).await {
            Ok(_) => tally.passed += 1,
            Err(e) => failures.push(format!("{name}: {}", e.display(false))),
        }
    }
    ignore_rows(&mut admin, &format!("DROP DATABASE {database}")).await;
    (tally, failures)
}

async fn ignore_rows(client: &mut Client, sql: &str) {
    let outcome = client.execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    assert!(matches!(outcome, ClientOutcome::Updated(_)), "{sql} returns no rows");
}

/// Compares with what passed before, or writes it down.
#[expect(clippy::print_stderr, reason = "a test runner talks to its user")]
fn conclude(path: &Path, tallies: &BTreeMap<String, Tally>, all: bool) -> ExitCode {
    let (mut passed, mut portable) = (0, 0);
    let mut lines = String::new();
    for (name, tally) in tallies {
        passed += tally.passed;
        portable += tally.portable;
        writeln!(lines, "{} of {} {name}", tally.passed, tally.portable).expect("a String grows");
    }
    let share = f64::from(passed) * 100.0 / f64::from(portable.max(1));
    let total = format!("{passed} of {portable} portable records pass: {share:.2} %");
    eprintln!("conformance: {total}, in {} files", tallies.len());
    if all && std::env::var("QUORATE_CONFORMANCE_UPDATE").is_ok_and(|value| value == "1") {
        let text = format!("# {total}. Written by `cargo xtask conformance --update`.\n{lines}");
        std::fs::write(path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        return ExitCode::SUCCESS;
    }
    let known = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut worse = 0;
    for line in known.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let (before, name) = (words.next(), words.nth(2));
        let before: u32 = before.and_then(|n| n.parse().ok()).expect("lines begin with a number");
        let name = name.expect("lines end with a file");
        let now = tallies.get(name).map(|tally| tally.passed);
        if now.is_some_and(|now| now < before) || (all && now.is_none()) {
            worse += 1;
            eprintln!("WORSE   {name}: {before} records passed, now {}", now.unwrap_or_default());
        }
    }
    if worse == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
