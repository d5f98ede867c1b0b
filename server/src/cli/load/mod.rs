//! `quorate load`: files into a running node.
//!
//! *What it is*: a client. CSV, Parquet and Arrow go to a table by Flight SQL bulk ingest, line protocol goes over HTTP.
//! *How it works*: `args` says what is wanted, `source` which files are meant. Each is looked at first (`csv_rows`, `batches`,
//! `lines`), so that `plan` knows what all their columns become, and `table` makes what is missing. Then the same modules
//! cut the files into chunks, one ahead of the one that is sent (`send`, `http`). `progress`, `rejected` and `report` tell what
//! becomes of it.
//!
//! Invariants:
//! - Nothing is sent before every file was looked at and the plan is right.
//! - A chunk is sent under a key that follows from its table, file, place and rows (`chunk`): a load that was interrupted is
//!   run again, and nothing is stored twice. Where a key is no longer known, the rows are written again, and are one with
//!   those that are there by their tags and time.
//! - Chunks are sent one after the other: where a point is there twice, the later one wins.
//!
//! Limits: one file at a time; a CSV record, a Parquet page and an Arrow batch are held in memory whole.

mod args;
mod batches;
mod cells;
mod chunk;
mod columns;
mod csv_rows;
mod http;
mod lines;
mod plan;
mod progress;
mod rejected;
mod report;
mod send;
mod source;
mod table;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use quorate_flight::{Client, ClientError, ClientOptions};
use quorate_wal::{Clock, SystemClock};
use tokio::sync::mpsc;

pub(crate) use self::args::LoadArgs;
use self::batches::FileRows;
use self::chunk::{Keys, RowChunk};
use self::csv_rows::CsvRows;
use self::http::LineWriter;
use self::lines::Lines;
use self::plan::{FileColumns, Plan};
use self::progress::Progress;
use self::rejected::RejectedRows;
use self::report::Outcome;
use self::send::{Sent, Target, in_file, send_lines, send_rows};
use self::source::{FileFormat, Source, sources};
use super::output::fail_with;
use super::{USAGE, fail};

/// Chunks that are read ahead of the one that is sent.
const CHUNKS_AHEAD: usize = 1;

/// Rows of a file that are looked at, however many files there are.
const SAMPLE_MIN: usize = 100;

/// Why a load ends early.
#[derive(Debug)]
enum Failure {
    /// The command line makes no sense.
    Usage(String),
    /// Anything else.
    Failed(String),
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Failed(message)
    }
}

/// Writes a line to standard error. A closed pipe is not our failure.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Runs the command.
pub(crate) fn run(arguments: LoadArgs) -> ExitCode {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = match runtime.worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(format_args!("cannot start: {error}")),
    };
    let code = match runtime.block_on(load(arguments)) {
        Ok(code) => code,
        Err(Failure::Usage(message)) => fail_with(message, USAGE),
        Err(Failure::Failed(message)) => fail(message),
    };
    // Who reads standard input may wait for it for ever.
    runtime.shutdown_background();
    code
}

async fn load(arguments: LoadArgs) -> Result<ExitCode, Failure> {
    let sources = sources(&arguments.files, arguments.format)?;
    let lines = sources.iter().filter(|source| source.format == FileFormat::Lp).count();
    match (&arguments.table, lines) {
        (Some(table), 0) => {
            let table = table.clone();
            load_tables(&arguments, sources, &table).await
        }
        (None, 0) => Err(Failure::Usage("into which table? Say it with --table".to_owned())),
        (None, lines) if lines == sources.len() => load_lines(&arguments, sources).await,
        (Some(_), lines) if lines == sources.len() => Err(Failure::Usage(
            "line protocol names its tables itself: leave --table out".to_owned(),
        )),
        _ => Err(Failure::Usage(
            "line protocol, which names its tables itself, is loaded by a command of its own"
                .to_owned(),
        )),
    }
}

/// CSV, Parquet, Arrow.
async fn load_tables(
    arguments: &LoadArgs,
    sources: Vec<Source>,
    table: &str,
) -> Result<ExitCode, Failure> {
    let wishes = arguments.wishes(table).map_err(Failure::Usage)?;
    let dialect = arguments.dialect().map_err(Failure::Usage)?;
    let sample = usize::try_from(arguments.columns.sample).unwrap_or(usize::MAX);
    let sample = (sample / sources.len().max(1)).max(SAMPLE_MIN.min(sample));
    let mut files: Vec<FileColumns> = Vec::new();
    let mut looked = 0;
    for source in &sources {
        if source.format == FileFormat::Csv {
            let (columns, rows) = csv_rows::look(source, &dialect, sample)?;
            files.push(columns);
            looked += rows;
        } else {
            files.push(batches::look(source)?);
        }
    }
    let mut client = match connect(arguments).await {
        Ok(client) => Some(client),
        Err(error @ ClientError::Connect { .. }) if arguments.dry_run => {
            tell(&format!("{error}: the columns are shown as a new table has them"));
            None
        }
        Err(error) => return Err(error.to_string().into()),
    };
    let columns = match &mut client {
        Some(client) => table::columns(client, table).await?,
        None => None,
    };
    let plan = Plan::new(&files, columns.as_deref(), &wishes)?;
    for notice in &plan.notices {
        tell(notice);
    }
    let Some(client) = client.as_mut().filter(|_| !arguments.dry_run) else {
        report::plans(&[plan], looked, sources.len(), arguments.outcome.json);
        return Ok(ExitCode::SUCCESS);
    };
    let mut run = Run::begin(arguments, &sources)?;
    let database = &arguments.node.database;
    let id = table::prepare(client, &plan, database).await?.to_string();
    let plan = Arc::new(plan);
    for source in &sources {
        let place = ["rows", database, &id];
        let keys = Keys::new(&place, &source.identity, run.again);
        let target = Target { table: table.to_owned(), keys };
        let (opened, plan, dialect) = (source.clone(), Arc::clone(&plan), dialect.clone());
        let mut chunks = in_background(&run.progress.read, move |read| {
            rows(&opened, &dialect, &plan, wishes.time_unit, read)
        });
        let mut number = 0;
        while let Some(chunk) = chunks.recv().await {
            let sent = match chunk {
                Ok(chunk) => send_rows(client, &target, number, chunk).await,
                Err(message) => return Err(run.broken(&message)),
            };
            let sent = sent.map_err(|message| run.broken(&in_file(source, number, &message)))?;
            run.add(source, &sent)?;
            number += 1;
        }
    }
    run.finish(Some(table))
}

/// Line protocol.
async fn load_lines(arguments: &LoadArgs, sources: Vec<Source>) -> Result<ExitCode, Failure> {
    if arguments.dry_run {
        let sample = usize::try_from(arguments.columns.sample).unwrap_or(usize::MAX);
        let mut plans = Vec::new();
        let mut looked = 0;
        for source in &sources {
            let (found, points) = lines::look(source, sample)?;
            plans.extend(found);
            looked += points;
        }
        report::plans(&plans, looked, sources.len(), arguments.outcome.json);
        return Ok(ExitCode::SUCCESS);
    }
    let node = &arguments.node;
    let precision = arguments.dialect.precision;
    let writer = LineWriter::new(&node.http_addr, &node.database, precision, node.token.clone())
        .map_err(Failure::Usage)?;
    let probe = writer.clone();
    let reached = tokio::task::spawn_blocking(move || probe.reach()).await;
    reached.map_err(|e| format!("a request ended without an answer: {e}"))??;
    let mut run = Run::begin(arguments, &sources)?;
    for source in &sources {
        let place = ["lines", &node.database, precision.name()];
        let keys = Keys::new(&place, &source.identity, run.again);
        let opened = source.clone();
        let mut chunks = in_background(&run.progress.read, move |read| Lines::open(&opened, read));
        let mut number = 0;
        while let Some(chunk) = chunks.recv().await {
            let sent = match chunk {
                Ok(chunk) => send_lines(&writer, &keys, number, chunk).await,
                Err(message) => return Err(run.broken(&message)),
            };
            let sent = sent.map_err(|message| run.broken(&in_file(source, number, &message)))?;
            run.add(source, &sent)?;
            number += 1;
        }
    }
    run.finish(None)
}

async fn connect(arguments: &LoadArgs) -> Result<Client, ClientError> {
    let node = arguments.node.clone();
    let options = ClientOptions {
        addr: node.addr,
        database: Some(node.database),
        token: node.token,
        headers: Vec::new(),
    };
    Client::connect(options).await
}

type RowChunks = Box<dyn Iterator<Item = Result<RowChunk, String>>>;

/// The rows of a file.
fn rows(
    source: &Source,
    dialect: &csv_rows::Dialect,
    plan: &Plan,
    time_unit: Option<arrow::datatypes::TimeUnit>,
    read: &Arc<AtomicU64>,
) -> Result<RowChunks, String> {
    if source.format == FileFormat::Csv {
        return Ok(Box::new(CsvRows::open(source, dialect, plan, time_unit, read)?));
    }
    Ok(Box::new(FileRows::open(source, plan, time_unit, read)?))
}

/// What an iterator gives, computed on a thread of its own, a little ahead.
fn in_background<T: Send + 'static, I: Iterator<Item = Result<T, String>>>(
    read: &Arc<AtomicU64>,
    open: impl FnOnce(&Arc<AtomicU64>) -> Result<I, String> + Send + 'static,
) -> mpsc::Receiver<Result<T, String>> {
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    let read = Arc::clone(read);
    tokio::task::spawn_blocking(move || match open(&read) {
        Ok(items) => {
            for item in items {
                if sender.blocking_send(item).is_err() {
                    return;
                }
            }
        }
        Err(message) => {
            let _ = sender.blocking_send(Err(message));
        }
    });
    receiver
}

/// A load under way.
struct Run {
    progress: Progress,
    rejected: RejectedRows,
    clock: SystemClock,
    outcome: Outcome,
    again: Option<u64>,
    arguments: args::OutcomeArgs,
}

impl Run {
    fn begin(arguments: &LoadArgs, sources: &[Source]) -> Result<Self, String> {
        let clock = SystemClock::new();
        let bytes: Option<Vec<u64>> = sources.iter().map(|source| source.bytes).collect();
        Ok(Self {
            rejected: RejectedRows::begin(arguments.outcome.rejected.as_deref())?,
            progress: Progress::begin(bytes.map(|bytes| bytes.iter().sum())),
            outcome: Outcome { files: sources.len(), ..Outcome::default() },
            // Another number each time: no key is one of an earlier load.
            again: arguments.again.then(|| clock.now_nanos().unsigned_abs()),
            clock,
            arguments: arguments.outcome.clone(),
        })
    }

    fn elapsed(&self) -> Duration {
        self.clock.monotonic()
    }

    fn add(&mut self, source: &Source, sent: &Sent) -> Result<(), String> {
        self.outcome.stored += sent.stored;
        self.outcome.known += sent.known;
        let lines = self.rejected.add(&source.name, &sent.rejected, sent.rejected_total)?;
        for line in &lines {
            self.progress.tell(line);
        }
        let rows = self.outcome.stored + self.outcome.known;
        self.progress.show(rows, self.rejected.total, self.elapsed());
        Ok(())
    }

    /// The error of a load that ends in the middle.
    fn broken(&self, message: &str) -> Failure {
        self.progress.end();
        let rows = self.outcome.stored + self.outcome.known;
        Failure::Failed(format!(
            "{message}\n{rows} rows are stored; {} were rejected",
            self.rejected.total
        ))
    }

    fn finish(mut self, table: Option<&str>) -> Result<ExitCode, Failure> {
        self.progress.end();
        self.outcome.elapsed = self.elapsed();
        self.outcome.rejected = self.rejected.total;
        let rejected = self.outcome.rejected > 0;
        if let Some(note) = self.rejected.finish()? {
            tell(&note);
        }
        self.outcome.tell(table, self.arguments.json);
        let failed = rejected && !self.arguments.allow_rejected;
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}
