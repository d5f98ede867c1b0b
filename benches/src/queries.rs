//! The query types of TSBS's cpu-only workload, with parameters from a seed, through Flight SQL with results fetched whole.
//!
//! Types and their windows are those of the Time Series Benchmark Suite (<https://github.com/timescale/tsbs>), written in
//! SQL here. Rounds take the types in turn, and each statement goes to all systems one after the other, so that what else the
//! machine does falls on all of them; no execution repeats the parameters of another.

use std::fmt::Write as _;
use std::time::Duration;

use arrow::array::{AsArray, Float64Array, RecordBatch};
use arrow::datatypes::Float64Type;
use futures::TryStreamExt;
use quorate_flight::{Client, ClientOutcome};
use quorate_sql_tests::Server;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::peers::{Answer, Asker, Dialect, Peer};
use crate::workload::{BASE_NS, FIELDS, Workload};

/// A statement in each dialect.
pub(crate) type Statement = Box<dyn Fn(Dialect) -> String + Send + Sync>;

type Failed = Box<dyn std::error::Error>;

/// A type: its name, and how its statements are made.
struct Kind {
    name: &'static str,
    /// Statements in each dialect, with the same parameters.
    make: fn(&mut Parameters) -> Statement,
}

const KINDS: [Kind; 16] = [
    // The floor of the wire.
    Kind { name: "select-1", make: |_| Box::new(|_| "SELECT 1".to_owned()) },
    Kind { name: "single-groupby-1-1-1", make: |p| p.single_groupby(1, 1, 1) },
    Kind { name: "single-groupby-1-1-12", make: |p| p.single_groupby(1, 1, 12) },
    Kind { name: "single-groupby-1-8-1", make: |p| p.single_groupby(1, 8, 1) },
    Kind { name: "single-groupby-5-1-1", make: |p| p.single_groupby(5, 1, 1) },
    Kind { name: "single-groupby-5-1-12", make: |p| p.single_groupby(5, 1, 12) },
    Kind { name: "single-groupby-5-8-1", make: |p| p.single_groupby(5, 8, 1) },
    Kind { name: "cpu-max-all-1", make: |p| p.cpu_max_all(1) },
    Kind { name: "cpu-max-all-8", make: |p| p.cpu_max_all(8) },
    Kind { name: "double-groupby-1", make: |p| p.double_groupby(1) },
    Kind { name: "double-groupby-5", make: |p| p.double_groupby(5) },
    Kind { name: "double-groupby-all", make: |p| p.double_groupby(10) },
    Kind { name: "high-cpu-1", make: |p| p.high_cpu(Some(1)) },
    Kind { name: "high-cpu-all", make: |p| p.high_cpu(None) },
    Kind { name: "lastpoint", make: |_| Box::new(last_point) },
    Kind { name: "groupby-orderby-limit", make: Parameters::group_order_limit },
];

/// Draws hosts and windows.
pub(crate) struct Parameters {
    random: StdRng,
    workload: Workload,
}

impl Parameters {
    pub(crate) fn new(seed: u64, workload: Workload) -> Self {
        Self { random: StdRng::seed_from_u64(seed), workload }
    }

    /// This many hours within the data: its first second and the first one behind it.
    fn window(&mut self, hours: i64) -> (i64, i64) {
        let data = self.workload.seconds();
        let length = (hours * 3600).min(data);
        let start = self.random.random_range(0..=data - length);
        (start, start + length)
    }

    fn hosts(&mut self, count: usize) -> String {
        let all = self.workload.hosts();
        let count = count.min(all as usize);
        let mut hosts: Vec<u32> = Vec::with_capacity(count);
        while hosts.len() < count {
            let host = self.random.random_range(0..all);
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        let names: Vec<String> = hosts.iter().map(|host| format!("'host_{host}'")).collect();
        match names.as_slice() {
            [one] => format!("hostname = {one}"),
            names => format!("hostname IN ({})", names.join(", ")),
        }
    }

    pub(crate) fn single_groupby(&mut self, fields: usize, hosts: usize, hours: i64) -> Statement {
        let (hosts, window) = (self.hosts(hosts), self.window(hours));
        Box::new(move |dialect| {
            let (minute, within) = (dialect.bucket(60), dialect.within(window));
            let max = each("max", fields);
            format!(
                "SELECT {minute} AS minute{max} FROM cpu WHERE {hosts} AND {within} \
                 GROUP BY minute ORDER BY minute"
            )
        })
    }

    fn cpu_max_all(&mut self, hosts: usize) -> Statement {
        let (hosts, window) = (self.hosts(hosts), self.window(8));
        Box::new(move |dialect| {
            let (hour, within) = (dialect.bucket(3600), dialect.within(window));
            let max = each("max", FIELDS.len());
            format!(
                "SELECT {hour} AS hour{max} FROM cpu WHERE {hosts} AND {within} \
                 GROUP BY hour ORDER BY hour"
            )
        })
    }

    fn double_groupby(&mut self, fields: usize) -> Statement {
        let window = self.window(12);
        Box::new(move |dialect| {
            let (hour, within) = (dialect.bucket(3600), dialect.within(window));
            let avg = each("avg", fields);
            format!(
                "SELECT hostname, {hour} AS hour{avg} FROM cpu WHERE {within} \
                 GROUP BY hostname, hour ORDER BY hostname, hour"
            )
        })
    }

    fn high_cpu(&mut self, hosts: Option<usize>) -> Statement {
        let hosts = hosts.map(|hosts| format!("{} AND ", self.hosts(hosts))).unwrap_or_default();
        let window = self.window(12);
        Box::new(move |dialect| {
            let within = dialect.within(window);
            format!("SELECT * FROM cpu WHERE {hosts}usage_user > 90.0 AND {within}")
        })
    }

    fn group_order_limit(&mut self) -> Statement {
        let data = self.workload.seconds();
        let end = self.random.random_range(data / 2..=data);
        Box::new(move |dialect| {
            let (minute, end) = (dialect.bucket(60), dialect.at(end));
            format!(
                "SELECT {minute} AS minute, max(usage_user) AS most FROM cpu WHERE time < {end} \
                 GROUP BY minute ORDER BY minute DESC LIMIT 5"
            )
        })
    }
}

/// The newest row of each host, in the form that is the fastest.
fn last_point(dialect: Dialect) -> String {
    match dialect {
        Dialect::Quorate => format!(
            "SELECT DISTINCT ON (hostname) time, hostname, {} FROM cpu ORDER BY hostname, time DESC",
            FIELDS.join(", ")
        ),
        Dialect::Questdb => format!(
            "SELECT time, hostname, {} FROM cpu LATEST ON time PARTITION BY hostname ORDER BY hostname",
            FIELDS.join(", ")
        ),
        Dialect::Duckdb | Dialect::Clickhouse => format!(
            "SELECT a.time, a.hostname, a.{} FROM (SELECT hostname AS h, max(time) AS t FROM cpu GROUP BY hostname) b \
             JOIN cpu a ON a.hostname = b.h AND a.time = b.t ORDER BY a.hostname",
            FIELDS.join(", a.")
        ),
    }
}

impl Dialect {
    /// The start of the bucket of so many seconds that a row is in.
    fn bucket(self, seconds: i64) -> String {
        match self {
            Self::Quorate => format!("date_bin(INTERVAL '{seconds} seconds', time)"),
            Self::Duckdb => format!("time_bucket(INTERVAL '{seconds} seconds', time)"),
            Self::Clickhouse => format!("toStartOfInterval(time, INTERVAL {seconds} SECOND)"),
            Self::Questdb => format!("timestamp_floor('{seconds}s', time)"),
        }
    }

    /// The instant this many seconds into the data.
    fn at(self, second: i64) -> String {
        let second = BASE_NS / 1_000_000_000 + second;
        let micros = second * 1_000_000;
        match self {
            Self::Quorate => format!("to_timestamp({second})"),
            Self::Duckdb => format!("make_timestamp({micros})"),
            Self::Clickhouse => format!("toDateTime({second}, 'UTC')"),
            Self::Questdb => format!("{micros}::timestamp"),
        }
    }

    fn within(self, (start, end): (i64, i64)) -> String {
        format!("time >= {} AND time < {}", self.at(start), self.at(end))
    }
}

/// `, max(usage_user) AS usage_user, …`
fn each(function: &str, fields: usize) -> String {
    FIELDS[..fields].iter().fold(String::new(), |mut text, field| {
        let _ = write!(text, ", {function}({field}) AS {field}");
        text
    })
}

/// Asks all types `rounds` times in turn, after one round that is not counted, of the server and then of each peer, and
/// prints the medians. Answers that differ end it.
pub(crate) async fn run(
    asker: &mut Asker,
    peers: &mut [Peer],
    workload: Workload,
    rounds: usize,
) -> Result<(), Failed> {
    let mut parameters = Parameters::new(15, workload);
    let systems = 1 + peers.len();
    let mut times = vec![vec![Vec::with_capacity(rounds); systems]; KINDS.len()];
    let mut rows = vec![0; KINDS.len()];
    for round in 0..=rounds {
        for place in 0..KINDS.len() {
            let place = (place + round) % KINDS.len();
            let statement = (KINDS[place].make)(&mut parameters);
            let sql = statement(Dialect::Quorate);
            let ours = match asker {
                Asker::Flight(client) => ask(client, &sql).await?,
                Asker::Adbc(process) => process.ask(&sql)?,
            };
            let mut answers = vec![ours];
            for peer in peers.iter_mut() {
                let sql = statement(peer.system.dialect());
                let answer = peer.ask(&sql)?;
                if !answer.is_like(&ours) {
                    let name = peer.system.name();
                    return Err(
                        format!("{name} answers {answer:?} to {sql}, Quorate {ours:?}").into()
                    );
                }
                answers.push(answer);
            }
            if round > 0 {
                for (times, answer) in times[place].iter_mut().zip(&answers) {
                    times.push(answer.time);
                }
            }
            rows[place] = ours.rows;
        }
    }
    let medians: Vec<Vec<f64>> = times
        .iter_mut()
        .map(|systems| systems.iter_mut().map(|times| median_ms(times)).collect())
        .collect();
    print_all(&times, &rows);
    if !peers.is_empty() {
        crate::say(&table(peers, &medians, &rows));
    }
    Ok(())
}

/// Asks all types `rounds` times, each time as the first statement of a server that `start` has just started, and prints the
/// medians.
pub(crate) async fn run_cold(
    start: impl Fn() -> Server,
    workload: Workload,
    rounds: usize,
) -> Result<(), Failed> {
    let mut parameters = Parameters::new(15, workload);
    let mut times = vec![vec![Vec::with_capacity(rounds)]; KINDS.len()];
    let mut rows = vec![0; KINDS.len()];
    for _ in 0..rounds {
        for (place, kind) in KINDS.iter().enumerate() {
            let statement = (kind.make)(&mut parameters)(Dialect::Quorate);
            let server = start();
            let answer = ask(&mut server.client("main").await?, &statement).await?;
            server.stop();
            times[place][0].push(answer.time);
            rows[place] = answer.rows;
        }
    }
    for systems in &mut times {
        for times in systems {
            times.sort_unstable();
        }
    }
    print_all(&times, &rows);
    Ok(())
}

async fn ask(client: &mut Client, statement: &str) -> Result<Answer, Failed> {
    let started = crate::now();
    let ClientOutcome::Rows { batches, .. } = client.execute(statement).await? else {
        return Err(format!("{statement} gave no rows").into());
    };
    let batches: Vec<RecordBatch> = batches.try_collect().await?;
    let time = started.elapsed();
    let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
    let mut sum = 0.0;
    let mut first = 0;
    for batch in &batches {
        sum += weighed(batch, if is_ordered(statement) { Some(first) } else { None });
        first += batch.num_rows();
    }
    Ok(Answer { time, rows, sum })
}

/// Whether the order of the rows is asked for.
fn is_ordered(statement: &str) -> bool {
    statement.contains("ORDER BY")
}

/// The sum of all floats, each times the place of its column among those and, in an order, times something of the place of its
/// row: as `peers.py` adds them up.
fn weighed(batch: &RecordBatch, first_row: Option<usize>) -> f64 {
    let floats =
        batch.columns().iter().filter_map(|column| column.as_primitive_opt::<Float64Type>());
    let of_column = |(place, column): (usize, &Float64Array)| {
        let values = column.iter().enumerate().filter_map(|(row, value)| Some((row, value?)));
        let weight = |row: usize| first_row.map_or(1, |first| 1 + (first + row) % 97);
        let sum: f64 = values.map(|(row, value)| value * weight(row) as f64).sum();
        sum * (place + 1) as f64
    };
    floats.enumerate().map(of_column).sum()
}

fn median_ms(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

/// What the server took, a line for each type.
fn print_all(times: &[Vec<Vec<Duration>>], rows: &[u64]) {
    for ((kind, times), rows) in KINDS.iter().zip(times).zip(rows) {
        let times = &times[0];
        let ms = |at: usize| times.get(at).map(|time| time.as_secs_f64() * 1e3);
        crate::print(&json!({
            "query": kind.name,
            "rows": rows,
            "median_ms": ms(times.len() / 2),
            "least_ms": ms(0),
            "most_ms": ms(times.len().saturating_sub(1)),
        }));
    }
}

/// The medians side by side, and by how much ours is longer than the shortest of the others.
fn table(peers: &[Peer], medians: &[Vec<f64>], rows: &[u64]) -> String {
    let names: Vec<&str> = peers.iter().map(|peer| peer.system.name()).collect();
    let mut text = format!("| query | rows | quorate | {} | ratio |\n", names.join(" | "));
    let _ = writeln!(text, "|---|{}", "---:|".repeat(names.len() + 3));
    let (mut logs, mut lines) = (0.0, 0);
    for ((kind, medians), rows) in KINDS.iter().zip(medians).zip(rows) {
        let best = medians[1..].iter().copied().fold(f64::INFINITY, f64::min);
        let ratio = medians[0] / best;
        if kind.name != "select-1" {
            logs += ratio.ln();
            lines += 1;
        }
        let each: Vec<String> = medians.iter().map(|ms| format!("{ms:.2}")).collect();
        let _ = writeln!(text, "| {} | {rows} | {} | {ratio:.2} |", kind.name, each.join(" | "));
    }
    let mean = (logs / f64::from(lines)).exp();
    let _ = write!(
        text,
        "\nGeometric mean of the ratios, without select-1: {mean:.2}. Milliseconds, medians."
    );
    text
}
