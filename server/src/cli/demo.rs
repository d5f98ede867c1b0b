//! `quorate demo`: a node on a temporary directory, with sample data, and lines to copy.

use std::fmt::Write;
use std::net::SocketAddr;
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

/// Runs the command.
pub(crate) fn run(arguments: &DemoArgs) -> ExitCode {
    if arguments.nodes != 1 {
        return super::output::fail_with("a demo of several nodes is not supported yet", USAGE);
    }
    match demo(arguments.exit) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error),
    }
}

fn demo(exit: bool) -> Result<(), String> {
    logging::start(LogFormat::Text, "warn").map_err(|e| e.to_string())?;
    limits::raise_open_files();
    let dir = tempfile::Builder::new().prefix("quorate-demo-").tempdir();
    let dir = dir.map_err(|e| format!("cannot make a temporary directory: {e}"))?;
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let layer = Layer {
        data_dir: Some(dir.path().to_owned()),
        flight_addr: Some(free),
        http_addr: Some(free),
        ..Layer::default()
    };
    let settings = Settings::resolve(layer, None, None).map_err(|e| e.to_string())?;
    let runtime = node::runtime().map_err(|e| format!("cannot start the threads: {e}"))?;
    let node = runtime.block_on(Node::start(settings)).map_err(|e| with_causes(&e))?;
    let shown = show(&node, exit);
    let stopped = runtime.block_on(node.stop()).map_err(|e| with_causes(&e));
    runtime.shutdown_timeout(Duration::from_secs(1));
    // The data goes with the directory.
    dir.close().map_err(|e| format!("cannot remove the sample data: {e}"))?;
    shown.and(stopped)
}

fn show(node: &Node, exit: bool) -> Result<(), String> {
    let (http, flight) = (node.http(), node.flight());
    say(format_args!("A node runs on free ports and a temporary directory."));
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
    let arguments = |command: Option<&str>| SqlArgs {
        addr: format!("grpc://{flight}"),
        database: "main".to_owned(),
        token: None,
        command: command.map(str::to_owned),
        file: None,
        format: command.map(|_| Format::Table),
    };
    if sql::run(arguments(Some(QUERY))) != ExitCode::SUCCESS {
        return Err("the sample data cannot be queried".to_owned());
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
