//! The query types of TSBS's cpu-only workload, with parameters from a seed, through Flight SQL with results fetched whole.
//!
//! Types and their windows are those of the Time Series Benchmark Suite (<https://github.com/timescale/tsbs>), written in
//! SQL here. Rounds take the types in turn, so that what else the machine does falls on all of them; no execution repeats
//! the parameters of another.

use std::fmt::Write as _;
use std::time::Duration;

use futures::TryStreamExt;
use quorate_flight::{Client, ClientOutcome};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::workload::{BASE_NS, FIELDS, Workload};

type Failed = Box<dyn std::error::Error>;

/// A type: its name, and how its statements are made.
struct Kind {
    name: &'static str,
    make: fn(&mut Parameters) -> String,
}

const KINDS: [Kind; 16] = [
    // The floor of the wire.
    Kind { name: "select-1", make: |_| "SELECT 1".to_owned() },
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
    Kind { name: "lastpoint", make: |_| Parameters::last_point() },
    Kind { name: "groupby-orderby-limit", make: Parameters::group_order_limit },
];

/// Draws hosts and windows.
struct Parameters {
    random: StdRng,
    workload: Workload,
}

impl Parameters {
    /// A condition on the time: this many hours within the data.
    fn window(&mut self, hours: i64) -> String {
        let data = self.workload.seconds();
        let length = (hours * 3600).min(data);
        let start = self.random.random_range(0..=data - length);
        format!("time >= {} AND time < {}", at(start), at(start + length))
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

    fn single_groupby(&mut self, fields: usize, hosts: usize, hours: i64) -> String {
        let (hosts, window) = (self.hosts(hosts), self.window(hours));
        format!(
            "SELECT date_bin(INTERVAL '60 seconds', time) AS minute{} FROM cpu WHERE {hosts} AND {window} \
             GROUP BY minute ORDER BY minute",
            each("max", fields)
        )
    }

    fn cpu_max_all(&mut self, hosts: usize) -> String {
        let (hosts, window) = (self.hosts(hosts), self.window(8));
        format!(
            "SELECT date_bin(INTERVAL '3600 seconds', time) AS hour{} FROM cpu WHERE {hosts} AND {window} \
             GROUP BY hour ORDER BY hour",
            each("max", FIELDS.len())
        )
    }

    fn double_groupby(&mut self, fields: usize) -> String {
        format!(
            "SELECT hostname, date_bin(INTERVAL '3600 seconds', time) AS hour{} FROM cpu WHERE {} \
             GROUP BY hostname, hour ORDER BY hostname, hour",
            each("avg", fields),
            self.window(12)
        )
    }

    fn high_cpu(&mut self, hosts: Option<usize>) -> String {
        let hosts = hosts.map(|hosts| format!("{} AND ", self.hosts(hosts))).unwrap_or_default();
        format!("SELECT * FROM cpu WHERE {hosts}usage_user > 90.0 AND {}", self.window(12))
    }

    fn last_point() -> String {
        let fields = FIELDS.join(", ");
        format!(
            "SELECT DISTINCT ON (hostname) time, hostname, {fields} FROM cpu ORDER BY hostname, time DESC"
        )
    }

    fn group_order_limit(&mut self) -> String {
        let data = self.workload.seconds();
        let end = self.random.random_range(data / 2..=data);
        format!(
            "SELECT date_bin(INTERVAL '60 seconds', time) AS minute, max(usage_user) FROM cpu WHERE time < {} \
             GROUP BY minute ORDER BY minute DESC LIMIT 5",
            at(end)
        )
    }
}

/// `, max(usage_user) AS usage_user, …`
fn each(function: &str, fields: usize) -> String {
    FIELDS[..fields].iter().fold(String::new(), |mut text, field| {
        let _ = write!(text, ", {function}({field}) AS {field}");
        text
    })
}

/// The instant this many seconds into the data.
fn at(second: i64) -> String {
    format!("to_timestamp({})", BASE_NS / 1_000_000_000 + second)
}

/// Runs all types `rounds` times in turn, after one round that is not counted, and prints the median of each.
pub(crate) async fn run(
    client: &mut Client,
    workload: Workload,
    rounds: usize,
) -> Result<(), Failed> {
    let mut parameters = Parameters { random: StdRng::seed_from_u64(15), workload };
    let mut times: Vec<Vec<Duration>> = vec![Vec::with_capacity(rounds); KINDS.len()];
    let mut rows = vec![0; KINDS.len()];
    for round in 0..=rounds {
        for place in 0..KINDS.len() {
            let place = (place + round) % KINDS.len();
            let statement = (KINDS[place].make)(&mut parameters);
            let started = crate::now();
            let ClientOutcome::Rows { batches, .. } = client.execute(&statement).await? else {
                return Err(format!("{statement} gave no rows").into());
            };
            let batches: Vec<_> = batches.try_collect().await?;
            if round > 0 {
                times[place].push(started.elapsed());
            }
            rows[place] = batches.iter().map(arrow::array::RecordBatch::num_rows).sum();
        }
    }
    for ((kind, times), rows) in KINDS.iter().zip(&mut times).zip(rows) {
        times.sort_unstable();
        let ms = |at: usize| times.get(at).map(|time| time.as_secs_f64() * 1e3);
        crate::print(&json!({
            "query": kind.name,
            "rows": rows,
            "median_ms": ms(times.len() / 2),
            "least_ms": ms(0),
            "most_ms": ms(times.len().saturating_sub(1)),
        }));
    }
    Ok(())
}
