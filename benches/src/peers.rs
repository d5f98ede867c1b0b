//! Other databases that are asked the same: `peers.py` runs each in a process of its own; `QuestDB` is a server that runs.
//! And ways to ask Quorate: [`Asker`].

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use clap::ValueEnum;
use quorate_flight::Client;
use serde_json::Value;

use crate::questdb::QuestDb;

type Failed = Box<dyn std::error::Error>;

/// A database that can be asked beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum System {
    /// `DuckDB` in a Python process (package `duckdb`).
    Duckdb,
    /// `ClickHouse` in a Python process (package `chdb`).
    Chdb,
    /// `QuestDB`, a server at `--questdb-url`.
    Questdb,
}

/// What statements are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Quorate,
    Duckdb,
    Clickhouse,
    Questdb,
}

/// A result, as far as it is compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// Until all of it was there.
    pub(crate) time: Duration,
    /// Its rows.
    pub(crate) rows: u64,
    /// A sum of the floats in it that tells columns apart, and rows where they have an order.
    pub(crate) sum: f64,
}

impl Answer {
    /// Whether another system may have answered the same: averages differ in their last digits.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let scale = self.sum.abs().max(other.sum.abs()).max(1.0);
        self.rows == other.rows && (self.sum - other.sum).abs() <= scale * 1e-9
    }
}

/// How Quorate is asked.
#[derive(Debug)]
pub(crate) enum Asker {
    /// By our own client.
    Flight(Box<Client>),
    /// Through ADBC from Python.
    Adbc(AdbcProcess),
}

/// A process of `peers.py` that asks Quorate.
#[derive(Debug)]
pub(crate) struct AdbcProcess(PythonProcess);

impl AdbcProcess {
    /// Connects to a server.
    pub(crate) fn start(python: &Path, uri: &str) -> Result<Self, Failed> {
        let places = ["-", uri].map(OsStr::new);
        Ok(Self(PythonProcess::start("adbc", python, places)?.0))
    }

    /// Asks one statement.
    pub(crate) fn ask(&mut self, sql: &str) -> Result<Answer, Failed> {
        self.0.ask(sql)
    }
}

/// A running peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) system: System,
    means: Means,
}

/// How a peer is asked.
#[derive(Debug)]
enum Means {
    Process(PythonProcess),
    Http(QuestDb),
}

/// A process of `peers.py`.
#[derive(Debug)]
struct PythonProcess {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl System {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Duckdb => "duckdb",
            Self::Chdb => "chdb",
            Self::Questdb => "questdb",
        }
    }

    /// Its SQL.
    pub(crate) fn dialect(self) -> Dialect {
        match self {
            Self::Duckdb => Dialect::Duckdb,
            Self::Chdb => Dialect::Clickhouse,
            Self::Questdb => Dialect::Questdb,
        }
    }
}

/// Where the rows are that a peer loads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    /// As comma-separated values.
    pub(crate) csv: &'a Path,
    /// As line protocol.
    pub(crate) lines: &'a Path,
    /// A folder of the peer's own.
    pub(crate) folder: &'a Path,
}

impl Peer {
    /// Starts it and loads the rows; gives the seconds that it took.
    pub(crate) fn start(
        system: System,
        python: &Path,
        questdb_url: &str,
        rows: Rows<'_>,
    ) -> Result<(Self, f64), Failed> {
        if system == System::Questdb {
            let started = crate::now();
            let questdb = QuestDb::load(questdb_url, rows.lines)?;
            let seconds = started.elapsed().as_secs_f64();
            return Ok((Self { system, means: Means::Http(questdb) }, seconds));
        }
        let places = [rows.csv.as_os_str(), rows.folder.as_os_str()];
        let (process, seconds) = PythonProcess::start(system.name(), python, places)?;
        Ok((Self { system, means: Means::Process(process) }, seconds))
    }

    /// Asks one statement.
    pub(crate) fn ask(&mut self, sql: &str) -> Result<Answer, Failed> {
        match &mut self.means {
            Means::Process(process) => process.ask(sql),
            Means::Http(questdb) => questdb.ask(sql),
        }
    }
}

impl PythonProcess {
    fn start(name: &str, python: &Path, places: [&OsStr; 2]) -> Result<(Self, f64), Failed> {
        // Read when it runs: another checkout may share the build directory.
        let package = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let mut command = Command::new(python);
        command.arg(package.join("peers.py")).arg(name).args(places);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process =
            command.spawn().map_err(|e| format!("{} cannot be started: {e}", python.display()))?;
        let (Some(to), Some(from)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("a peer has no pipes".into());
        };
        let mut peer = Self { process, to, from: BufReader::new(from) };
        let loaded = peer.read(name)?;
        let seconds = loaded["load_seconds"].as_f64().ok_or("a peer does not say what it took")?;
        Ok((peer, seconds))
    }

    fn ask(&mut self, sql: &str) -> Result<Answer, Failed> {
        writeln!(self.to, "{}", Value::from(sql))?;
        self.to.flush()?;
        let answer = self.read("a peer")?;
        let number = |name: &str| answer[name].as_f64().ok_or("a peer's answer is not whole");
        Ok(Answer {
            time: Duration::from_secs_f64(number("ms")? / 1e3),
            rows: answer["rows"].as_u64().ok_or("a peer's answer is not whole")?,
            sum: number("sum")?,
        })
    }

    fn read(&mut self, name: &str) -> Result<Value, Failed> {
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        if line.is_empty() {
            let ended = self.process.wait()?;
            return Err(
                format!("{name} has ended ({ended}): is its Python package installed?").into()
            );
        }
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for PythonProcess {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
