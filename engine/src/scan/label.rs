//! What `EXPLAIN` says of a scan.

use std::fmt::{Display, Formatter};

use chrono::{DateTime, SecondsFormat};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr_rewriter::unnormalize_col;
use quorate_storage::catalog::Table;
use quorate_storage::scan::TimeRange;

use crate::prune::Pruning;

/// What `EXPLAIN` says of a scan, besides its columns and order.
#[derive(Clone, Debug)]
pub(crate) struct ScanLabel {
    table: String,
    time: Option<TimeRange>,
    series: Vec<Expr>,
    values: Vec<Expr>,
    limit: Option<usize>,
    last: bool,
}

impl ScanLabel {
    /// The label of a scan of `table`.
    pub(crate) fn new(table: &Table, pruning: &Pruning, limit: Option<usize>, last: bool) -> Self {
        Self {
            table: table.name.clone(),
            time: (pruning.time != TimeRange::ALL).then_some(pruning.time),
            series: pruning.tags.iter().cloned().map(unnormalize_col).collect(),
            values: pruning.value_filters.iter().cloned().map(unnormalize_col).collect(),
            limit,
            last,
        }
    }

    /// The label of a part of it.
    pub(crate) fn within(&self, time: TimeRange) -> Self {
        Self { time: Some(time), ..self.clone() }
    }

    /// Whether the scan gives the last rows of its series alone.
    pub(crate) fn is_last(&self) -> bool {
        self.last
    }

    /// Whether the scan gives all rows of its series and times.
    pub(crate) fn is_whole(&self) -> bool {
        self.limit.is_none() && !self.last
    }

    /// The label of a scan of whole tables.
    pub(crate) fn of_all(name: &str, matching: usize) -> Self {
        let table = format!("{name}, matching={matching}");
        Self { table, time: None, series: Vec::new(), values: Vec::new(), limit: None, last: false }
    }

    /// The label of a scan of the tables that `pattern` found, of which there were so many.
    pub(crate) fn of_several(
        pattern: &str,
        matching: usize,
        pruning: &Pruning,
        limit: Option<usize>,
    ) -> Self {
        Self {
            table: format!("series('{pattern}'), matching={matching}"),
            time: (pruning.time != TimeRange::ALL).then_some(pruning.time),
            series: pruning.tags.iter().cloned().map(unnormalize_col).collect(),
            values: Vec::new(),
            limit,
            last: false,
        }
    }
}

impl Display for ScanLabel {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "table={}", self.table)?;
        if let Some(time) = self.time {
            write!(f, ", time=[{}, {}]", Instant(time.start), Instant(time.end))?;
        }
        for (what, predicates) in [("series", &self.series), ("values", &self.values)] {
            for (i, predicate) in predicates.iter().enumerate() {
                if i == 0 {
                    write!(f, ", {what}={predicate}")?;
                } else {
                    write!(f, " AND {predicate}")?;
                }
            }
        }
        if let Some(limit) = self.limit {
            write!(f, ", limit={limit}")?;
        }
        if self.last {
            f.write_str(", rows=last of each series")?;
        }
        Ok(())
    }
}

/// A time in ns, with the two ends of time by name.
struct Instant(i64);

impl Display for Instant {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            i64::MIN => f.write_str("first"),
            i64::MAX => f.write_str("last"),
            ns => {
                let time = DateTime::from_timestamp_nanos(ns);
                f.write_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
            }
        }
    }
}
