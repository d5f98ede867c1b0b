//! Which files and records can be run against a server at all.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use regex::Regex;
use sqllogictest::{ExpectedError, QueryExpect, Record, StatementExpect};

use crate::values::Kind;

/// What is left out, and why.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
    /// How many records or files each reason left out.
    left_out: BTreeMap<String, u32>,
    /// Settings that records of this file have set, so that what follows depends on them: place of the rule.
    set: Option<(String, usize)>,
}

#[derive(Debug)]
struct Rule {
    about: About,
    /// Lower case.
    text: String,
    reason: String,
}

#[derive(Debug, PartialEq, Eq)]
enum About {
    /// Files whose name begins so.
    File,
    /// Files that hold a line that begins so.
    FileWith,
    /// Statements that begin so.
    Begins,
    /// Statements that hold this.
    Holds,
    /// What follows a `SET` of a setting whose name begins so, until its `RESET` or the end of the file.
    AfterSet,
}

impl Rules {
    /// Reads lines of the form `kind | text | reason`.
    pub(crate) fn read(path: &Path) -> Self {
        let text =
            std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let rule = |line: &str| {
            let parts: Vec<&str> = line.split(" | ").collect();
            let [about, text, reason] = parts.as_slice() else { panic!("not a rule: {line}") };
            let about = match *about {
                "file" => About::File,
                "file with" => About::FileWith,
                "begins" => About::Begins,
                "holds" => About::Holds,
                "after set" => About::AfterSet,
                other => panic!("{other} is no kind of rule"),
            };
            Rule { about, text: text.to_lowercase(), reason: (*reason).to_owned() }
        };
        Self { rules: lines.map(rule).collect(), ..Self::default() }
    }

    /// Whether a file is left out as a whole.
    pub(crate) fn skips_file(&mut self, name: &str, text: &str) -> bool {
        self.set = None;
        let lower = text.to_lowercase();
        let found = self.rules.iter().find(|rule| match rule.about {
            About::File => name.starts_with(&rule.text),
            About::FileWith => lower.lines().any(|line| line.trim_start().starts_with(&rule.text)),
            About::Begins | About::Holds | About::AfterSet => false,
        });
        let Some(rule) = found else { return false };
        *self.left_out.entry(format!("files: {}", rule.reason)).or_default() += 1;
        true
    }

    /// Whether a record is left out.
    pub(crate) fn skips_record(&mut self, sql: &str) -> bool {
        let lower = sql.trim_start().to_lowercase();
        self.follow(&lower);
        let found = self.rules.iter().enumerate().find(|(place, rule)| match rule.about {
            About::Begins => lower.starts_with(&rule.text),
            About::Holds => lower.contains(&rule.text),
            About::AfterSet => self.set.as_ref().is_some_and(|(_, set)| set == place),
            About::File | About::FileWith => false,
        });
        let Some((_, rule)) = found else { return false };
        *self.left_out.entry(format!("records: {}", rule.reason)).or_default() += 1;
        true
    }

    /// Notes which setting the records depend on from here on.
    fn follow(&mut self, lower: &str) {
        let mut words = lower.split([' ', '=']).filter(|word| !word.is_empty());
        let (word, name) = (words.next(), words.next().unwrap_or_default().trim_end_matches(';'));
        if word == Some("reset") && self.set.as_ref().is_some_and(|(set, _)| set == name) {
            self.set = None;
        }
        if word == Some("set") {
            let is_about =
                |rule: &Rule| rule.about == About::AfterSet && name.starts_with(&rule.text);
            if let Some(place) = self.rules.iter().position(is_about) {
                self.set = Some((name.to_owned(), place));
            }
        }
    }

    /// What was left out, by reason.
    pub(crate) fn report(&self) -> String {
        let mut text = String::from("left out\n");
        for (reason, count) in &self.left_out {
            writeln!(text, "  {count:>5} {reason}").expect("a String grows");
        }
        text
    }
}

/// Puts a record into the words of a server.
pub(crate) fn translate(record: &mut Record<Kind>) {
    let error = match record {
        Record::Statement { sql, expected, .. } => {
            name_time_zone(sql);
            match expected {
                StatementExpect::Error(error) => error,
                StatementExpect::Ok | StatementExpect::Count(_) => return,
            }
        }
        Record::Query { expected: QueryExpect::Error(error), .. } => error,
        _ => return,
    };
    if let Some(bare) = without_steps(error) {
        *error = bare;
    }
}

/// Writes statements about the time zone as a session takes them.
fn name_time_zone(sql: &mut String) {
    const ZONE: &str = "datafusion.execution.time_zone";
    let lower = sql.to_lowercase();
    if (lower.starts_with("set ") || lower.starts_with("reset "))
        && let Some(at) = lower.find(ZONE)
    {
        sql.replace_range(at..at + ZONE.len(), "timezone");
    }
}

/// Takes the names of DataFusion's optimizer rules out of an error that is expected: what remains is what is wrong.
fn without_steps(error: &ExpectedError) -> Option<ExpectedError> {
    const STEPS: [&str; 3] = [
        r"Optimizer rule 'simplify_expressions' failed[\s\S]*",
        r"type_coercion\ncaused by\n",
        "type_coercion\ncaused by\n",
    ];
    let bare = |text: &str| STEPS.iter().fold(text.to_owned(), |text, step| text.replace(step, ""));
    match error {
        ExpectedError::Inline(regex) => {
            let regex = Regex::new(&bare(regex.as_str())).expect("a part of a regular expression");
            Some(ExpectedError::Inline(regex))
        }
        ExpectedError::Multiline(text) => Some(ExpectedError::Multiline(bare(text))),
        ExpectedError::Empty | ExpectedError::SqlState(_) => None,
    }
}

/// All `.slt` files under a folder, in order.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder);
        for entry in entries.unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "slt") {
                all.push(path);
            }
        }
    }
    all.sort();
    all
}
