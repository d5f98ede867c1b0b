//! The workload benches: what `cargo xtask bench` runs.
//!
//! Data: TSBS-like cpu rows (10 tags, 10 whole-number fields in a random walk, one row per host every 10 s), made by
//! [`workload`] from a seed. Figures are printed as JSON, one object a line; the machine's noise is the reader's to
//! judge, so quote ratios from one run.

mod crowd;
mod load;
mod peers;
mod queries;
mod questdb;
mod upload;
mod workload;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use clap::Parser;
use crowd::Crowd;
use futures::TryStreamExt;
use peers::{AdbcProcess, Asker};
use quorate_flight::ClientOutcome;
use quorate_sql_tests::{Server, ServerOptions};
use serde_json::json;
use workload::Workload;

/// How long many clients ask at a stretch,
const CROWD_TIME: Duration = Duration::from_secs(8);
/// and how many stretches there are.
const CROWD_TURNS: usize = 3;

/// Measures ingest over HTTP line protocol, memory, start-up after a crash, bytes per row, and TSBS's query types.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// Hosts.
    #[arg(long, default_value_t = 1000)]
    hosts: u32,
    /// Hours of data, a row per host every 10 s.
    #[arg(long, default_value_t = 24.0)]
    hours: f64,
    /// Digits after the point that the values have.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i32).range(0..=6))]
    decimals: i32,
    /// Connections that write at a time.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// The door that the rows come through.
    #[arg(long, value_enum, default_value_t = Door::Http)]
    door: Door,
    /// Lines per request, or rows per batch.
    #[arg(long, default_value_t = 10_000)]
    lines: usize,
    /// Times each query type is asked, after one that is not counted.
    #[arg(long, default_value_t = 12)]
    rounds: usize,
    /// Clients that ask the narrowest query type at a time, once the others are done; none unless given.
    #[arg(long, default_value_t = 0)]
    clients: usize,
    /// Asks only, of the data that an earlier run left in `--work`.
    #[arg(long, requires = "work")]
    queries_only: bool,
    /// As --queries-only, of a server that is started anew for each query and is asked nothing before it.
    #[arg(long, requires = "work")]
    cold: bool,
    /// What asks.
    #[arg(long, value_enum, default_value_t = AskedBy::Flight)]
    client: AskedBy,
    /// Other databases that are asked the same queries of the same rows.
    #[arg(long, value_delimiter = ',')]
    against: Vec<peers::System>,
    /// Where `QuestDB` answers over HTTP: `--against questdb` makes a table `cpu` there.
    #[arg(long, default_value = "http://127.0.0.1:9000")]
    questdb_url: String,
    /// Posts the lines to these addresses in turn, whoever listens, says how many rows a second were taken, and does no
    /// more.
    #[arg(long, value_delimiter = ',')]
    post_to: Vec<String>,
    /// The Python that has their packages (duckdb, chdb, adbc-driver-flightsql; pyarrow).
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// Where the data directory and the generated lines go; a temporary directory unless given.
    #[arg(long)]
    work: Option<PathBuf>,
}

/// What asks the queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum AskedBy {
    /// Our own client.
    Flight,
    /// ADBC in a Python process (package `adbc-driver-flightsql`).
    Adbc,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Door {
    /// Line protocol over HTTP.
    Http,
    /// Bulk ingest over Flight SQL: an upload per connection.
    Flight,
}

impl Arguments {
    fn workload(&self) -> Workload {
        Workload::new(self.hosts, self.hours, self.decimals)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print(&json!({ "error": error.to_string() }));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let temporary = tempfile::tempdir()?;
    let work = arguments.work.clone().unwrap_or_else(|| temporary.path().to_owned());
    let data = work.join("data");
    std::fs::create_dir_all(&data)?;
    let workload = arguments.workload();
    let runtime = tokio::runtime::Runtime::new()?;
    if !arguments.post_to.is_empty() {
        let lines = work.join("cpu.lp");
        if !lines.exists() {
            workload.write_lines(&lines)?;
        }
        let started = now();
        let rows =
            load::post_lines(&arguments.post_to, &lines, arguments.lines, arguments.connections)?;
        let seconds = started.elapsed().as_secs_f64();
        print(&json!({ "posted_rows_per_second": (rows as f64 / seconds).round(), "rows": rows }));
        return Ok(());
    }
    if arguments.cold {
        let start = || Server::start(&data, &ServerOptions::default());
        return runtime.block_on(queries::run_cold(start, workload, arguments.rounds));
    }
    if arguments.queries_only {
        let server = Server::start(&data, &ServerOptions::default());
        ask(&runtime, &server, arguments, &work)?;
        server.stop();
        return Ok(());
    }
    let rows = workload.rows();
    let server = load(&runtime, arguments, &work, &data)?;
    server.kill_now();
    drop(server);

    // The log of the last moments is replayed: what was not flushed when the process died.
    let log_bytes = tree_bytes(&data.join("wal"))?;
    let started = now();
    let server = Server::start(&data, &ServerOptions::default());
    print(
        &json!({ "start_after_crash_seconds": started.elapsed().as_secs_f64(), "log_bytes": log_bytes }),
    );

    runtime.block_on(finish(&server, rows, &data))?;
    ask(&runtime, &server, arguments, &work)?;
    server.stop();
    Ok(())
}

/// Starts a server and writes the rows.
fn load(
    runtime: &tokio::runtime::Runtime,
    arguments: &Arguments,
    work: &Path,
    data: &Path,
) -> Result<Server, Box<dyn std::error::Error>> {
    let workload = arguments.workload();
    let rows = workload.rows();
    let (server, seconds) = match arguments.door {
        Door::Http => {
            let lines = work.join("cpu.lp");
            workload.write_lines(&lines)?;
            let bytes = std::fs::metadata(&lines)?.len();
            print(&json!({ "rows": rows, "line_protocol_bytes": bytes }));
            let server = Server::start(data, &ServerOptions::default());
            let started = now();
            let door = format!("{}/write?db=main", server.http());
            load::post_lines(&[door], &lines, arguments.lines, arguments.connections)?;
            (server, started.elapsed().as_secs_f64())
        }
        Door::Flight => {
            let batches = upload::batches(workload, arguments.lines)?;
            print(&json!({ "rows": rows, "batches": batches.len() }));
            let server = Server::start(data, &ServerOptions::default());
            let started = now();
            let sent = upload::upload(&server, batches, arguments.connections);
            let stored = runtime.block_on(sent)?;
            if stored != rows {
                return Err(format!("{stored} rows are stored of {rows}").into());
            }
            (server, started.elapsed().as_secs_f64())
        }
    };
    print(&json!({
        "ingest_rows_per_second": (rows as f64 / seconds).round(),
        "seconds": seconds,
        "memory_peak_bytes": memory_peak(server.pid())?,
    }));
    Ok(server)
}

/// Asks the query types, and the peers the same.
fn ask(
    runtime: &tokio::runtime::Runtime,
    server: &Server,
    arguments: &Arguments,
    work: &Path,
) -> Result<(), Box<dyn std::error::Error>> {
    let workload = arguments.workload();
    let mut peers = Vec::new();
    if !arguments.against.is_empty() {
        if arguments.hours > 744.0 {
            return Err("--against takes at most a month: --hours 744".into());
        }
        let (csv, lines) = (work.join("cpu.csv"), work.join("cpu.lp"));
        workload.write_csv(&csv)?;
        if arguments.against.contains(&peers::System::Questdb) && !lines.exists() {
            workload.write_lines(&lines)?;
        }
        let rows = peers::Rows { csv: &csv, lines: &lines, folder: work };
        for system in &arguments.against {
            let (python, questdb) = (&arguments.python, &arguments.questdb_url);
            let (peer, seconds) = peers::Peer::start(*system, python, questdb, rows)?;
            print(&json!({ "peer": system.name(), "load_seconds": seconds }));
            peers.push(peer);
        }
    }
    runtime.block_on(async {
        let mut asker = match arguments.client {
            AskedBy::Flight => Asker::Flight(Box::new(server.client("main").await?)),
            AskedBy::Adbc => Asker::Adbc(AdbcProcess::start(&arguments.python, server.flight())?),
        };
        queries::run(&mut asker, &mut peers, workload, arguments.rounds).await
    })?;
    if arguments.clients > 0 {
        let crowd = Crowd { clients: arguments.clients, time: CROWD_TIME };
        // In turns, so that what else the machine does falls on both.
        for _ in 0..CROWD_TURNS {
            runtime.block_on(crowd.ask(server, workload)).map_err(|e| e.to_string())?;
            if arguments.against.contains(&peers::System::Questdb) {
                crowd.ask_questdb(&arguments.questdb_url, workload).map_err(|e| e.to_string())?;
            }
        }
    }
    print(&json!({ "memory_peak_bytes": memory_peak(server.pid())? }));
    Ok(())
}

/// Counts the rows, compacts, and weighs what is on disk.
async fn finish(server: &Server, rows: u64, data: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut client = server.client("main").await?;
    for statement in
        ["SELECT COUNT(*) FROM cpu", "CHECKPOINT", "VACUUM", "SELECT COUNT(*) FROM cpu"]
    {
        let started = now();
        let answer = match client.execute(statement).await? {
            ClientOutcome::Updated(_) => None,
            ClientOutcome::Rows { batches, .. } => {
                let batches: Vec<_> = batches.try_collect().await?;
                batches
                    .first()
                    .map(|b| arrow::util::pretty::pretty_format_batches(std::slice::from_ref(b)))
            }
        };
        let answer = answer.transpose()?.map(|text| text.to_string());
        print(
            &json!({ "statement": statement, "seconds": started.elapsed().as_secs_f64(), "answer": answer }),
        );
    }
    // Replaced files stay until the manifests before and after the merge are both gone.
    let live = client.execute("SELECT SUM(bytes) FROM system.segments").await?;
    let ClientOutcome::Rows { batches, .. } = live else { return Err("no rows".into()) };
    let live: Vec<_> = batches.try_collect().await?;
    let live = arrow::compute::cast(live[0].column(0), &arrow::datatypes::DataType::Float64)?;
    let live = live.as_primitive::<arrow::datatypes::Float64Type>().value(0);
    let all = tree_bytes(&data.join("shards"))?;
    print(
        &json!({ "segment_bytes_per_row": live / rows as f64, "with_replaced_files": all as f64 / rows as f64, "memory_peak_bytes": memory_peak(server.pid())? }),
    );
    Ok(())
}

/// Highest resident memory of a process so far.
fn memory_peak(pid: u32) -> std::io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    let kib: u64 =
        line.trim().trim_end_matches(" kB").trim().parse().map_err(std::io::Error::other)?;
    Ok(kib * 1024)
}

fn tree_bytes(folder: &Path) -> std::io::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.metadata()?;
        sum += if kind.is_dir() { tree_bytes(&entry.path())? } else { kind.len() };
    }
    Ok(sum)
}

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "a client that was told to retry waits")]
fn wait(time: Duration) {
    std::thread::sleep(time);
}

fn print(line: &serde_json::Value) {
    say(&line.to_string());
}

#[expect(clippy::print_stdout, reason = "results go to standard output")]
fn say(text: &str) {
    println!("{text}");
}
