//! What a fault did, for a report.

use std::any::Any;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Duration;

use serde_json::json;

use crate::history::History;
use crate::oracle::Findings;
use crate::say;

/// The measurements of one fault.
#[derive(Debug)]
pub(super) struct Record {
    fault: &'static str,
    nodes: usize,
    rounds: u64,
    pauses: Vec<Duration>,
    /// Acknowledged points, attempts that failed, batches that were given up.
    acknowledged: u64,
    unanswered: u64,
    given_up: u64,
    findings: Option<Findings>,
    /// The first of them.
    shortcoming: Option<String>,
    failure: Option<String>,
}

impl Record {
    pub(super) fn new(fault: &'static str, nodes: usize, rounds: u64) -> Self {
        let (acknowledged, unanswered, given_up) = (0, 0, 0);
        let (pauses, findings, shortcoming, failure) = (Vec::new(), None, None, None);
        Self {
            fault,
            nodes,
            rounds,
            pauses,
            acknowledged,
            unanswered,
            given_up,
            findings,
            shortcoming,
            failure,
        }
    }

    pub(super) fn rounds(&self) -> u64 {
        self.rounds
    }

    /// A round is over.
    pub(super) fn pause(&mut self, pause: Duration) {
        self.pauses.push(pause);
    }

    pub(super) fn shortcoming(&mut self, what: Option<String>) {
        self.shortcoming = self.shortcoming.take().or(what);
    }

    pub(super) fn has_no_shortcoming(&self) -> bool {
        self.shortcoming.is_none()
    }

    pub(super) fn history(&mut self, history: &History) {
        self.acknowledged = history.acknowledged_points();
        (self.unanswered, self.given_up) = history.unknown();
    }

    pub(super) fn findings(&mut self, findings: &Findings) {
        self.findings = Some(findings.clone());
    }

    /// The fault was not borne. Returns which, and why.
    pub(super) fn failed(&mut self, panic: &(dyn Any + Send)) -> String {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let why = text.or_else(|| panic.downcast_ref::<&str>().copied());
        let why = why.unwrap_or("a thread failed");
        self.failure = Some(why.to_owned());
        format!("{}, {} nodes: {why}", self.fault, self.nodes)
    }

    /// Adds a line to the file that was asked for, if one was.
    pub(super) fn write(&self) {
        let wrong = self.findings.as_ref();
        let line = json!({
            "fault": self.fault,
            "nodes": self.nodes,
            "rounds_wanted": self.rounds,
            "pauses_ms": self.pauses.iter().map(Duration::as_millis).collect::<Vec<_>>(),
            "rows_acknowledged": self.acknowledged,
            "answers_missing": self.unanswered,
            "batches_unknown": self.given_up,
            "lost": wrong.map(|wrong| wrong.lost),
            "doubled": wrong.map(|wrong| wrong.doubled),
            "changed": wrong.map(|wrong| wrong.changed),
            "phantom": wrong.map(|wrong| wrong.phantom + wrong.partial),
            "shortcoming": self.shortcoming,
            "failure": self.failure,
        });
        say(&line.to_string());
        let Some(path) = std::env::var_os("QUORATE_FAULT_REPORT") else { return };
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let written = file.and_then(|mut file| writeln!(file, "{line}"));
        written.unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
    }
}
