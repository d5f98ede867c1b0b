//! Compares what is there with what was sent. The checker in Python does it again, and shares no code with this one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use quorate_sql_tests::{Cluster, eventually};
use serde_json::{Value, json};

use crate::history::{Batch, Fate, History, Point};
use crate::say;

/// Contradictions of which the text is kept.
const EXAMPLES: usize = 10;

/// What contradicts the promises, in points.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) changed: u64,
    pub(crate) phantom: u64,
    /// Batches of unknown outcome that are there in part.
    pub(crate) partial: u64,
    /// Some of them in words.
    pub(crate) examples: Vec<String>,
}

impl Findings {
    pub(crate) fn count(&self) -> u64 {
        self.lost + self.doubled + self.changed + self.phantom + self.partial
    }

    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(text());
        }
    }
}

/// All points of a history's table.
pub(crate) fn table_query(history: &History) -> String {
    format!("SELECT writer, CAST(time AS BIGINT) AS t, v FROM {}", history.table())
}

fn count_query(history: &History) -> String {
    format!("SELECT count(*) AS points FROM {}", history.table())
}

/// The points of a table as CSV.
pub(crate) fn parse(table: &str) -> Vec<Point> {
    let point = |line: &str| {
        let (writer, rest) = line.strip_prefix('w')?.split_once(',')?;
        let (time, value) = rest.split_once(',')?;
        Some(Point {
            writer: writer.parse().ok()?,
            time: time.parse().ok()?,
            value: value.parse().ok()?,
        })
    };
    let lines = table.lines().skip(1);
    lines.map(|line| point(line).unwrap_or_else(|| panic!("{line:?} is no point"))).collect()
}

/// What contradicts the promises.
pub(crate) fn contradictions(sent: &[(Batch, Fate)], points: &[Point]) -> Findings {
    let mut found: BTreeMap<(u32, i64), (u64, f64)> = BTreeMap::new();
    for point in points {
        found.entry((point.writer, point.time)).or_insert((0, point.value)).0 += 1;
    }
    let mut wrong = Findings::default();
    for (batch, fate) in sent {
        let mut missing = 0;
        for point in batch.points() {
            let Some((times, value)) = found.remove(&(point.writer, point.time)) else {
                missing += 1;
                continue;
            };
            if times > 1 {
                wrong.doubled += 1;
                wrong.example(|| format!("{point:?} of {batch:?} is there {times} times"));
            }
            if value.to_bits() != point.value.to_bits() {
                wrong.changed += 1;
                wrong.example(|| format!("{point:?} of {batch:?} has the value {value}"));
            }
        }
        if missing > 0 && *fate == Fate::Acknowledged {
            wrong.lost += missing;
            wrong.example(|| format!("{batch:?} was acknowledged; {missing} points are lost"));
        } else if missing > 0 && missing < u64::try_from(batch.size).expect("positive") {
            wrong.partial += 1;
            wrong.example(|| format!("{batch:?} is there in part, without {missing} points"));
        }
    }
    wrong.phantom = found.len() as u64;
    for (writer, time) in found.keys().take(EXAMPLES) {
        wrong.example(|| format!("w{writer} at {time} was never sent"));
    }
    wrong
}

/// What the checker in Python finds; `None` without Python.
pub(crate) fn second_opinion(sent: &[(Batch, Fate)], table: &str) -> Option<Vec<String>> {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let (points, rows) = (folder.path().join("points.jsonl"), folder.path().join("table.csv"));
    let mut lines = String::new();
    for (batch, fate) in sent {
        let acknowledged = *fate == Fate::Acknowledged;
        for Point { writer, time, value } in batch.points() {
            let series = format!("w{writer}");
            let point = json!({
                "series": series, "time": time, "value": value, "acknowledged": acknowledged,
            });
            writeln!(lines, "{point}").expect("a String takes text");
        }
    }
    fs::write(&points, lines).expect("a temporary file can be written");
    fs::write(&rows, table).expect("a temporary file can be written");
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the package is");
    let script = Path::new(&package).join("python/check_set.py");
    let out = match Command::new("python3").arg(script).arg(points).arg(rows).output() {
        Ok(out) => out,
        Err(error) => {
            let required = std::env::var("QUORATE_REQUIRE_CLIENTS").is_ok_and(|v| v == "1");
            assert!(!required, "python3 cannot be started: {error}");
            say("SKIPPED: python3 is missing: there is no second opinion");
            return None;
        }
    };
    let findings = String::from_utf8_lossy(&out.stdout);
    let known = matches!(out.status.code(), Some(0 | 1));
    assert!(known, "check_set.py failed: {}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(out.status.success(), findings.is_empty(), "{findings}");
    Some(findings.lines().map(str::to_owned).collect())
}

/// Reads all points through a node and compares them with what was sent. Returns the table.
pub(crate) fn check_through(cluster: &Cluster, history: &History, node: usize) -> String {
    let name = cluster.name(node);
    let table = cluster.csv(node, &table_query(history));
    let points = parse(&table);
    let wrong = contradictions(&history.sent(), &points);
    assert_eq!(wrong, Findings::default(), "through {name}");
    assert_eq!(count(cluster, history, node), points.len() as u64, "count(*) through {name}");
    table
}

/// The whole oracle, through every node.
pub(crate) fn check(cluster: &Cluster, history: &History) {
    repeats_are_known(cluster, history);
    for node in cluster.all() {
        let table = check_through(cluster, history, node);
        if node == 0
            && let Some(findings) = second_opinion(&history.sent(), &table)
        {
            assert!(findings.is_empty(), "{} findings, first {}", findings.len(), findings[0]);
        }
    }
}

/// Each writer's last acknowledged batch, sent again through every node, is a repeat in every shard.
pub(crate) fn repeats_are_known(cluster: &Cluster, history: &History) {
    let sent = history.sent();
    let acknowledged = sent.iter().filter(|(_, fate)| *fate == Fate::Acknowledged);
    let last: BTreeMap<u32, Batch> =
        acknowledged.map(|(batch, _)| (batch.writer, *batch)).collect();
    for batch in last.into_values() {
        let (key, lines) = (batch.key(history.table()), batch.lines(history.table()));
        for node in cluster.all() {
            let receipt = eventually("a repeat is acknowledged", || {
                match cluster.write(node, &key, &lines) {
                    Ok(answer) if answer.status == 204 => Ok(answer.receipt.unwrap_or_default()),
                    Ok(answer) => Err(format!("{answer:?}")),
                    Err(error) => Err(error.to_string()),
                }
            });
            let shards: Vec<Value> = serde_json::from_str(&receipt).expect("a receipt is a list");
            let repeated = |shard: &Value| shard["duplicate"].as_bool() == Some(true);
            let known = !shards.is_empty() && shards.iter().all(repeated);
            assert!(known, "{batch:?} repeated through {}: {receipt}", cluster.name(node));
        }
    }
}

fn points_in(rows: &[Value]) -> Option<u64> {
    rows.first()?["points"].as_u64()
}

pub(crate) fn count(cluster: &Cluster, history: &History, node: usize) -> u64 {
    let rows = cluster.query(node, &count_query(history));
    points_in(&rows).expect("count(*) is one number")
}

/// Waits until each of the nodes holds so many points itself.
pub(crate) fn all_hold(cluster: &Cluster, history: &History, nodes: &[usize], points: u64) {
    for node in nodes {
        eventually(&format!("{} holds {points} points", cluster.name(*node)), || {
            let rows = cluster.local(*node, &count_query(history))?;
            if points_in(&rows) == Some(points) { Ok(()) } else { Err(format!("{rows:?}")) }
        });
    }
}

/// What each replica holds itself, once all hold the same, and what is wrong with it.
///
/// Whatever is still on its way may arrive while the replicas are read; they agree some time after the last write.
pub(crate) fn check_replicas(cluster: &Cluster, history: &History) -> Findings {
    let sql = table_query(history);
    let table = eventually("all replicas hold the same", || {
        let mut seen: Option<Vec<String>> = None;
        for node in cluster.all() {
            let table = cluster.try_csv(node, &sql, "local")?;
            let mut lines: Vec<String> = table.lines().map(str::to_owned).collect();
            // The header stays in front.
            lines[1..].sort_unstable();
            let same = seen.as_ref().is_none_or(|seen| *seen == lines);
            let (name, rows) = (cluster.name(node), lines.len());
            let before = seen.replace(lines).map_or(0, |before| before.len());
            if !same {
                return Err(format!("{name} has {rows} rows, the node before it {before}"));
            }
        }
        let linearizable = count(cluster, history, 0);
        let table = seen.unwrap_or_default();
        let rows = (table.len() - 1) as u64;
        if rows == linearizable { Ok(table.join("\n")) } else { Err(format!("{rows} rows")) }
    });
    let mut wrong = contradictions(&history.sent(), &parse(&table));
    let second = second_opinion(&history.sent(), &table).unwrap_or_default();
    let agree = second.is_empty() == (wrong.count() == wrong.partial);
    if !agree {
        wrong.examples.push(format!("the two checkers do not agree: {second:?}"));
    }
    wrong
}
