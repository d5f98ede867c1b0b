//! Rows that were not stored: counted, the first ones told, all written to a file if one is given.
//!
//! The file is CSV: the file, the line (of Parquet and Arrow: the row), why, and the text as it stands there. It is begun with
//! its head when the load begins, so that an empty one means that nothing was rejected.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::chunk::Rejection;

/// Rejections that are told on standard error.
const TOLD: u64 = 10;

/// Where rejections go.
pub(super) struct RejectedRows {
    file: Option<(PathBuf, csv::Writer<File>)>,
    told: u64,
    /// Rows that were rejected.
    pub(super) total: u64,
    /// Those of them that are in the file.
    listed: u64,
}

impl RejectedRows {
    /// Begins the file.
    pub(super) fn begin(path: Option<&Path>) -> Result<Self, String> {
        let file = match path {
            None => None,
            Some(path) => {
                let cannot = |e: &dyn std::fmt::Display| cannot_write(path, e);
                let file = File::create(path).map_err(|e| cannot(&e))?;
                let mut writer = csv::Writer::from_writer(file);
                let head = ["file", "line", "reason", "text"];
                writer.write_record(head).map_err(|e| cannot(&e))?;
                writer.flush().map_err(|e| cannot(&e))?;
                Some((path.to_owned(), writer))
            }
        };
        Ok(Self { file, told: 0, total: 0, listed: 0 })
    }

    /// Takes the rejections of a chunk; lines for the user, if any.
    pub(super) fn add(
        &mut self,
        source: &str,
        rejected: &[Rejection],
        total: u64,
    ) -> Result<Vec<String>, String> {
        self.total += total;
        self.listed += rejected.len() as u64;
        let mut lines = Vec::new();
        for rejection in rejected {
            let Rejection { line, reason, text } = rejection;
            if self.told < TOLD {
                lines.push(match line {
                    0 => format!("{source}: {reason}"),
                    line => format!("{source}:{line}: {reason}"),
                });
                self.told += 1;
                if self.told == TOLD && self.file.is_none() {
                    lines.push(
                        "further rejected rows are counted; --rejected FILE lists all".to_owned(),
                    );
                }
            }
            if let Some((path, writer)) = &mut self.file {
                let record = [source, &line.to_string(), reason, text];
                writer.write_record(record).map_err(|e| cannot_write(path, &e))?;
            }
        }
        if let Some((path, writer)) = &mut self.file
            && !rejected.is_empty()
        {
            writer.flush().map_err(|e| cannot_write(path, &e))?;
        }
        Ok(lines)
    }

    /// Ends the file; what is to be told of it.
    pub(super) fn finish(mut self) -> Result<Option<String>, String> {
        let Some((path, writer)) = &mut self.file else { return Ok(None) };
        let ended: io::Result<()> = writer.flush();
        ended.map_err(|e| cannot_write(path, &e))?;
        if self.total == 0 {
            return Ok(None);
        }
        let shown = path.display();
        Ok(Some(match self.total - self.total.min(self.listed) {
            0 => format!("the rejected rows are in {shown}"),
            more => format!(
                "the rejected rows are in {shown}, but for {more} that the node did not list"
            ),
        }))
    }
}

fn cannot_write(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("cannot write {}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_written_and_the_first_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rejected.csv");
        let mut rows = RejectedRows::begin(Some(&path)).unwrap();
        let rejection =
            |line| Rejection { line, reason: "no, \"never\"".to_owned(), text: "a\nb".to_owned() };
        let many: Vec<Rejection> = (1..=12).map(rejection).collect();
        let told = rows.add("f.csv", &many, 15).unwrap();
        assert_eq!(told.len(), 10);
        assert_eq!(told[1], "f.csv:2: no, \"never\"");
        assert_eq!(rows.total, 15);
        let note = rows.finish().unwrap().unwrap();
        assert!(note.contains("but for 3 that"), "{note}");
        let mut read = csv::Reader::from_path(&path).unwrap();
        let records: Vec<csv::StringRecord> = read.records().map(Result::unwrap).collect();
        assert_eq!(records.len(), 12);
        assert_eq!(records[11], ["f.csv", "12", "no, \"never\"", "a\nb"][..]);
    }
}
