//! `QuestDB` over HTTP: line protocol to `/write`, SQL to `/exec`.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::load::post_lines;
use crate::peers::Answer;
use crate::workload::{FIELDS, TAGS};

type Failed = Box<dyn std::error::Error>;

/// How long rows may take to be seen after the last of them was taken.
const PATIENCE: Duration = Duration::from_mins(10);

/// A server that runs.
#[derive(Debug)]
pub(crate) struct QuestDb {
    url: String,
    agent: ureq::Agent,
}

impl QuestDb {
    /// A server as it is.
    pub(crate) fn at(url: &str) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        Self { url: url.trim_end_matches('/').to_owned(), agent: config.build().into() }
    }

    /// A server with a table of its own making, and these lines in it.
    pub(crate) fn load(url: &str, lines: &Path) -> Result<Self, Failed> {
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let questdb =
            Self { url: url.trim_end_matches('/').to_owned(), agent: config.build().into() };
        questdb.text("DROP TABLE IF EXISTS cpu")?;
        let tags: Vec<String> = TAGS.iter().map(|tag| format!("{tag} SYMBOL")).collect();
        let fields: Vec<String> = FIELDS.iter().map(|field| format!("{field} DOUBLE")).collect();
        questdb.text(&format!(
            "CREATE TABLE cpu (time TIMESTAMP, {}, {}) TIMESTAMP(time) PARTITION BY DAY WAL",
            tags.join(", "),
            fields.join(", ")
        ))?;
        let rows = post_lines(&[format!("{}/write", questdb.url)], lines, 10_000, 4)?;
        // Rows that are taken lie in its log for a while.
        let started = crate::now();
        while questdb.count()? < rows {
            if started.elapsed() > PATIENCE {
                return Err(format!("QuestDB shows fewer than the {rows} rows that it took").into());
            }
            crate::wait(Duration::from_millis(100));
        }
        Ok(questdb)
    }

    /// Asks one statement; the time is until all bytes of the answer are there, which is read only then.
    pub(crate) fn ask(&self, sql: &str) -> Result<Answer, Failed> {
        let started = crate::now();
        let text = self.text(sql)?;
        let time = started.elapsed();
        let answer: Value = serde_json::from_str(&text)?;
        let (Some(columns), Some(rows)) =
            (answer["columns"].as_array(), answer["dataset"].as_array())
        else {
            return Err(format!("QuestDB has no answer to {sql}: {text}").into());
        };
        let floats = columns.iter().enumerate().filter(|(_, column)| column["type"] == "DOUBLE");
        let is_ordered = sql.contains("ORDER BY");
        let of_column = |(place, (at, _)): (usize, (usize, &Value))| {
            let values = rows.iter().enumerate().filter_map(|(row, values)| {
                let weight = if is_ordered { 1 + row % 97 } else { 1 };
                Some(values[at].as_f64()? * weight as f64)
            });
            values.sum::<f64>() * (place + 1) as f64
        };
        let sum = floats.enumerate().map(of_column).sum();
        Ok(Answer { time, rows: rows.len() as u64, sum })
    }

    fn count(&self) -> Result<u64, Failed> {
        let answer: Value = serde_json::from_str(&self.text("SELECT count(*) FROM cpu")?)?;
        answer["dataset"][0][0].as_u64().ok_or_else(|| "QuestDB counts no rows".into())
    }

    /// What it answers, all of it.
    pub(crate) fn text(&self, sql: &str) -> Result<String, Failed> {
        let answer = self.agent.get(format!("{}/exec", self.url)).query("query", sql).call();
        let mut answer =
            answer.map_err(|e| format!("QuestDB at {} cannot be asked: {e}", self.url))?;
        let status = answer.status();
        let text = answer.body_mut().with_config().limit(1 << 30).read_to_string()?;
        if status != 200 {
            return Err(format!("QuestDB answers {status} to {sql}: {text}").into());
        }
        Ok(text)
    }
}
