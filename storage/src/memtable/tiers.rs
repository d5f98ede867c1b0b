//! The runs of one time slice, merged by size as they come.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Run;
use crate::SeriesKey;
use crate::scan::TimeRange;

/// Runs of about one size that are merged into one.
const FANOUT: usize = 8;

/// Runs in log order.
#[derive(Clone, Debug, Default)]
pub(super) struct Tiers {
    runs: Vec<Arc<Run>>,
    /// First log index that the rows may come from, where it lies below the memtable's own range.
    pub(super) log_index_min: Option<u64>,
}

impl Tiers {
    /// Appends the newest run. Returns how many rows were folded into others.
    pub(super) fn push(&mut self, run: Run) -> usize {
        self.runs.push(Arc::new(run));
        let mut folded = 0;
        while let Some(last) = self.runs.last() {
            let tier = tier(last);
            let small = self.runs.iter().rev().take_while(|run| self::tier(run) <= tier).count();
            if small < FANOUT {
                break;
            }
            let merged = self.runs.split_off(self.runs.len() - small);
            let (run, rows) = Run::merge(&merged);
            self.runs.push(Arc::new(run));
            folded += rows;
        }
        folded
    }

    /// Puts runs before all others.
    pub(super) fn restore(&mut self, mut older: Vec<Arc<Run>>) {
        older.append(&mut self.runs);
        self.runs = older;
    }

    /// Takes rows out; returns how many.
    pub(super) fn delete(
        &mut self,
        series: Option<&BTreeSet<SeriesKey>>,
        time: TimeRange,
    ) -> usize {
        let before = self.rows();
        for run in &mut self.runs {
            if let Some(rest) = run.without(series, time) {
                *run = Arc::new(rest);
            }
        }
        self.runs.retain(|run| run.rows() > 0);
        before - self.rows()
    }

    pub(super) fn runs(&self) -> &[Arc<Run>] {
        &self.runs
    }
    pub(super) fn into_runs(self) -> Vec<Arc<Run>> {
        self.runs
    }
    pub(super) fn rows(&self) -> usize {
        self.runs.iter().map(|run| run.rows()).sum()
    }
    pub(super) fn bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.bytes()).sum()
    }
}

/// Power of the fan-out.
fn tier(run: &Run) -> u32 {
    run.rows().max(1).ilog2() / FANOUT.ilog2()
}
