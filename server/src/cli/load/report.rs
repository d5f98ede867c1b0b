//! What is told on standard output: the plan of a dry run, and the outcome of a load.

use std::time::Duration;

use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::super::say;
use super::plan::Plan;
use super::progress::per_second;
use super::tell;

/// What a load did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) files: usize,
    /// Rows stored now.
    pub(super) stored: u64,
    /// Rows that an earlier load stored.
    pub(super) known: u64,
    pub(super) rejected: u64,
    pub(super) elapsed: Duration,
}

impl Outcome {
    /// Tells it.
    pub(super) fn tell(&self, table: Option<&str>, json: bool) {
        if self.known > 0 {
            tell(&format!(
                "{} rows were stored by an earlier load of the same file; --again writes them once more, \
                 which brings deleted ones back",
                self.known
            ));
        }
        if json {
            say(format_args!("{}", self.as_json(table)));
        } else {
            say(format_args!("{}", self.as_text(table)));
        }
    }

    fn as_text(&self, table: Option<&str>) -> String {
        let files = count(self.files, "file");
        let into = table.map(|table| format!(" into {table:?}")).unwrap_or_default();
        let known = match self.known {
            0 => String::new(),
            n => format!(", {n} known already"),
        };
        format!(
            "{files}{into}: {} rows stored{known}, {} rejected, {:.3} s, {} rows/s",
            self.stored,
            self.rejected,
            self.elapsed.as_secs_f64(),
            self.rate()
        )
    }

    fn as_json(&self, table: Option<&str>) -> Value {
        json!({
            "table": table,
            "files": self.files,
            "rows_stored": self.stored,
            "rows_known": self.known,
            "rows_rejected": self.rejected,
            "seconds": self.elapsed.as_secs_f64(),
            "rows_per_second": self.rate(),
        })
    }

    fn rate(&self) -> u64 {
        per_second(self.stored + self.known, self.elapsed)
    }
}

/// Tells what the columns become.
pub(super) fn plans(plans: &[Plan], rows: usize, files: usize, json: bool) {
    if json {
        let tables: Vec<Value> = plans.iter().map(plan_json).collect();
        say(format_args!(
            "{}",
            json!({ "tables": tables, "rows_looked_at": rows, "files": files })
        ));
        return;
    }
    for plan in plans {
        say(format_args!("{}", plan_text(plan)));
    }
    let looked = match rows {
        0 => String::new(),
        rows => format!("{} looked at in ", count(rows, "row")),
    };
    say(format_args!("{looked}{}; nothing was sent", count(files, "file")));
}

fn plan_text(plan: &Plan) -> String {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header(["column", "type", "role"]);
    for column in &plan.columns {
        table.add_row([column.name.as_str(), column.data_type.sql(), column.role.name()]);
    }
    let state = match (plan.exists, plan.new.len()) {
        (false, _) => "is new",
        (true, 0) => "is there",
        (true, _) => "is there, and is given columns",
    };
    let mut text = format!("table {:?} {state}\n{table}", plan.table);
    for statement in plan.statements() {
        text.push('\n');
        text.push_str(&statement);
        text.push(';');
    }
    text
}

fn plan_json(plan: &Plan) -> Value {
    let columns = plan.columns.iter().map(|column| {
        json!({
            "name": column.name,
            "type": column.data_type.sql(),
            "role": column.role.name(),
            "new": plan.new.contains(column),
        })
    });
    json!({
        "table": plan.table,
        "exists": plan.exists,
        "columns": columns.collect::<Vec<_>>(),
        "statements": plan.statements(),
    })
}

fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_told_with_its_rate() {
        let outcome = Outcome {
            files: 2,
            stored: 1_500,
            known: 500,
            rejected: 3,
            elapsed: Duration::from_millis(500),
        };
        let text = outcome.as_text(Some("cpu"));
        let want = "2 files into \"cpu\": 1500 rows stored, 500 known already, 3 rejected, 0.500 s, 4000 rows/s";
        assert_eq!(text, want);
        assert_eq!(outcome.as_json(None)["rows_per_second"], 4_000);
    }
}
