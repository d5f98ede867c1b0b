//! `quorate demo`: a node on a temporary directory, with sample data, and lines to copy.

use std::fmt::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use quorate_storage::with_causes;
use quorate_wal::{Clock, SystemClock};

use super::output::fail;
use super::{DemoArgs, Format, SqlArgs, USAGE, say, sql};
use crate::node::{self, Node};
use crate::settings::{Layer, LogFormat, Settings};
use crate::{limits, logging};

/// Machines of the sample data.
const HOSTS: [(&str, &str); 4] =
    [("alpha", "eu"), ("bravo", "eu"), ("charlie", "us"), ("delta", "us")];
/// One point per machine every ten seconds for the last hour.
const STEPS: u32 = 360;
const STEP_SECONDS: i64 = 10;

/// What the demo asks of its own data.
const QUERY: &str = "SELECT host, region, count(*) AS points, round(avg(usage), 2) AS usage, \
                     max(time) AS latest FROM cpu GROUP BY host, region ORDER BY host";

/// What a demo of several nodes shows of them.
const NODES: &str = "SELECT node, status, leads FROM system.nodes ORDER BY node";

/// Runs the command.
pub(crate) fn run(arguments: &DemoArgs) -> ExitCode {
    if ![1, 3, 5].contains(&arguments.nodes) {
        return super::output::fail_with("a demo has 1, 3 or 5 nodes", USAGE);
    }
    match demo(arguments.nodes, arguments.exit) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error),
    }
}

fn demo(count: u32, exit: bool) -> Result<(), String> {
    logging::start(LogFormat::Text, "warn").map_err(|e| e.to_string())?;
    limits::raise_open_files();
    let dir = tempfile::Builder::new().prefix("quorate-demo-").tempdir();
    let dir = dir.map_err(|e| format!("cannot make a temporary directory: {e}"))?;
    let runtime = node::runtime().map_err(|e| format!("cannot start the threads: {e}"))?;
    let starting: Vec<_> =
        settings(count, dir.path())?.into_iter().map(|s| runtime.spawn(Node::start(s))).collect();
    let mut nodes = Vec::new();
    for node in starting {
        let node = runtime.block_on(node).map_err(|e| format!("cannot start a node: {e}"))?;
        nodes.push(node.map_err(|e| with_causes(&e))?);
    }
    let shown = show(&nodes, exit);
    let mut stopped = Ok(());
    for node in nodes {
        stopped = stopped.and(runtime.block_on(node.stop()).map_err(|e| with_causes(&e)));
    }
    runtime.shutdown_timeout(Duration::from_secs(1));
    // The data goes with the directory.
    dir.close().map_err(|e| format!("cannot remove the sample data: {e}"))?;
    shown.and(stopped)
}

/// Settings of each node, on free ports.
fn settings(count: u32, dir: &Path) -> Result<Vec<Settings>, String> {
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let one = Layer { flight_addr: Some(free), http_addr: Some(free), ..Layer::default() };
    let resolve = |layer| Settings::resolve(layer, None, None).map_err(|e| e.to_string());
    if count == 1 {
        return Ok(vec![resolve(Layer { data_dir: Some(dir.to_owned()), ..one })?]);
    }
    // The nodes have to know of each other before they listen: free ports are looked for first.
    let held: Vec<_> = (0..count)
        .map(|_| TcpListener::bind(free))
        .collect::<Result<_, _>>()
        .map_err(|e| e.to_string())?;
    let addrs: Vec<_> = held
        .iter()
        .map(TcpListener::local_addr)
        .collect::<Result<_, _>>()
        .map_err(|e| e.to_string())?;
    drop(held);
    let seeds: Vec<String> = addrs.iter().map(SocketAddr::to_string).collect();
    let node = |(n, addr): (usize, &SocketAddr)| {
        let name = format!("n{}", n + 1);
        resolve(Layer {
            data_dir: Some(dir.join(&name)),
            node_name: Some(name),
            cluster_addr: Some(*addr),
            seeds: Some(seeds.clone()),
            bootstrap_expect: Some(count),
            ..one.clone()
        })
    };
    addrs.iter().enumerate().map(node).collect()
}

fn show(nodes: &[Node], exit: bool) -> Result<(), String> {
    let [node, others @ ..] = nodes else { return Err("there is no node".to_owned()) };
    let (http, flight) = (node.http(), node.flight());
    if others.is_empty() {
        say(format_args!("A node runs on free ports and a temporary directory."));
    } else {
        say(format_args!(
            "{} nodes run on free ports and a temporary directory: what one acknowledges is on the disks of a majority.",
            nodes.len()
        ));
    }
    let lines = sample(SystemClock::new().now_nanos() / 1_000_000_000);
    let points = lines.lines().count();
    let url = format!("http://{http}/write?db=main&precision=s");
    let answer = ureq::post(&url).send(lines.as_str()).map_err(|e| format!("cannot write: {e}"))?;
    let receipt = answer.headers().get("quorate-receipt").and_then(|v| v.to_str().ok());
    let shards = receipt.and_then(|r| serde_json::from_str::<serde_json::Value>(r).ok());
    let shards = shards.as_ref().and_then(|r| r.as_array()).map_or(0, Vec::len);
    say(format_args!(
        "Wrote {points} points as line protocol over HTTP: synced and applied on {shards} shards.\n\n> {QUERY};"
    ));
    // Any node answers.
    let asked = others.last().map_or(flight, Node::flight);
    let arguments = |command: Option<&str>| SqlArgs {
        addr: format!("grpc://{asked}"),
        database: "main".to_owned(),
        token: None,
        command: command.map(str::to_owned),
        file: None,
        format: command.map(|_| Format::Table),
        headers: Vec::new(),
    };
    if sql::run(arguments(Some(QUERY))) != ExitCode::SUCCESS {
        return Err("the sample data cannot be queried".to_owned());
    }
    if !others.is_empty() {
        say(format_args!("\n> {NODES};"));
        if sql::run(arguments(Some(NODES))) != ExitCode::SUCCESS {
            return Err("the nodes cannot be shown".to_owned());
        }
    }
    say(format_args!("{}", to_copy(http, flight)));
    if exit {
        return Ok(());
    }
    say(format_args!("\nA prompt follows; end it with Ctrl-D, and the data goes with it.\n"));
    if sql::run(arguments(None)) == ExitCode::SUCCESS {
        Ok(())
    } else {
        Err("the prompt failed".to_owned())
    }
}

/// Points up to `now`, in seconds.
fn sample(now: i64) -> String {
    let mut lines = String::new();
    for step in 0..STEPS {
        let time = now - i64::from(STEPS - 1 - step) * STEP_SECONDS;
        for ((host, region), phase) in HOSTS.into_iter().zip(0_i32..) {
            let wave = (f64::from(step) / 40.0 + f64::from(phase)).sin();
            let usage = 50.0 + 35.0 * wave;
            let requests = 1_000 + 250 * phase + i32::try_from(step).unwrap_or(0);
            let _ = writeln!(
                lines,
                "cpu,host={host},region={region} usage={usage:.3},requests={requests}i {time}"
            );
        }
    }
    lines
}

/// What a user tries next.
fn to_copy(http: SocketAddr, flight: SocketAddr) -> String {
    format!(
        r#"
Try from another terminal, while this one is open:

# curl: write a point, read it back
curl -i 'http://{http}/write?db=main' --data-binary 'cpu,host=echo,region=ap usage=12.5'
curl 'http://{http}/api/v1/sql' -H 'Accept: text/csv' -d 'SELECT * FROM cpu ORDER BY time DESC LIMIT 5'

# Python: pip install adbc-driver-flightsql pyarrow
python3 -c '
import adbc_driver_flightsql.dbapi as flightsql
with flightsql.connect("grpc://{flight}", autocommit=True) as connection, connection.cursor() as cursor:
    cursor.execute("SELECT host, avg(usage) FROM cpu GROUP BY host")
    print(cursor.fetch_arrow_table())'

# JDBC: org.apache.arrow:flight-sql-jdbc-driver
jdbc:arrow-flight-sql://{flight}/?useEncryption=false&database=main

# The prompt
quorate sql --addr grpc://{flight}"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_ends_now_and_has_every_machine() {
        let lines = sample(1_700_000_000);
        assert_eq!(lines.lines().count(), HOSTS.len() * STEPS as usize);
        assert!(lines.ends_with(" 1700000000\n"));
        assert!(HOSTS.iter().all(|(host, _)| lines.contains(&format!("host={host},"))));
    }
}
