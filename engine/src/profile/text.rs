//! What operators counted, in words: rows out, their own time, memory, spills, and what scans read.

use std::fmt::{Display, Formatter, Write as _};
use std::time::Duration;

use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::metrics::{MetricValue, MetricsSet};
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan};

use crate::scan::SeriesScanExec;
use crate::summaries::SummaryScanExec;

/// How long the steps before a query runs took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Phases {
    /// Until the catalog was known.
    pub(crate) catalog: Duration,
    /// From the statement to a logical plan.
    pub(crate) logical: Duration,
    /// Rules over the logical plan.
    pub(crate) rules: Duration,
    /// From the logical to the physical plan; takes the read views, prunes segments and series.
    pub(crate) physical: Duration,
}

/// One line about the whole: rows, and where the time went.
pub(super) fn summary(rows: usize, phases: Phases, execution: Duration) -> String {
    let Phases { catalog, logical, rules, physical } = phases;
    let planning = catalog + logical + rules + physical;
    format!(
        "{} in {:.1?}: planning {planning:.1?} (catalog {catalog:.1?}, logical plan {logical:.1?}, rules {rules:.1?}, \
         physical plan and pruning {physical:.1?}), execution {execution:.1?}",
        Rows(rows),
        planning + execution,
    )
}

/// The operators, each above its inputs.
pub(super) fn tree(plan: &dyn ExecutionPlan) -> String {
    let mut text = String::new();
    write_operator(&mut text, plan, "", "").expect("a String takes every write");
    text.truncate(text.trim_end().len());
    text
}

/// Writes an operator and what is below it. `first` stands before its first line, `rest` before all others.
fn write_operator(
    text: &mut String,
    plan: &dyn ExecutionPlan,
    first: &str,
    rest: &str,
) -> std::fmt::Result {
    let inputs = plan.children();
    // It only makes its input yield.
    if plan.downcast_ref::<CooperativeExec>().is_some()
        && let [input] = inputs.as_slice()
    {
        return write_operator(text, input.as_ref(), first, rest);
    }
    writeln!(text, "{first}{}", Operator(plan))?;
    let lead = if inputs.is_empty() { "    " } else { "│   " };
    for line in facts(plan) {
        writeln!(text, "{rest}{lead}{line}")?;
    }
    for (at, input) in inputs.iter().enumerate() {
        let (branch, below) =
            if at + 1 == inputs.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let (first, rest) = (format!("{rest}{branch}"), format!("{rest}{below}"));
        write_operator(text, input.as_ref(), &first, &rest)?;
    }
    Ok(())
}

struct Operator<'a>(&'a dyn ExecutionPlan);

impl Display for Operator<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        self.0.fmt_as(DisplayFormatType::Default, f)
    }
}

/// Lines below an operator.
fn facts(plan: &dyn ExecutionPlan) -> Vec<String> {
    let Some(metrics) = plan.metrics() else { return Vec::new() };
    let mut line = Vec::new();
    if let Some(rows) = metrics.output_rows() {
        line.push(Rows(rows).to_string());
    }
    if let Some(time) = own_time(&metrics) {
        line.push(format!("{time:.1?}"));
    }
    let memory = memory_peak(&metrics);
    if memory > 0 {
        line.push(format!("memory {}", Bytes(memory)));
    }
    if let Some(spills) = metrics.spill_count().filter(|count| *count > 0) {
        let bytes = metrics.spilled_bytes().unwrap_or(0);
        let rows = metrics.spilled_rows().unwrap_or(0);
        line.push(format!("spilled {} times, {}, {}", Count(spills), Rows(rows), Bytes(bytes)));
    }
    let mut lines = Vec::new();
    if !line.is_empty() {
        lines.push(line.join(" · "));
    }
    if plan.downcast_ref::<SeriesScanExec>().is_some() {
        lines.extend(scan_facts(&metrics));
    }
    if plan.downcast_ref::<SummaryScanExec>().is_some() {
        let of = |name: &str| metrics.sum_by_name(name).map_or(0, |value| value.as_usize());
        let (cells, rows) = (Count(of("cells")), Rows(of("rows_summarised")));
        lines.push(format!("cells: {cells} in place of {rows}"));
    }
    lines
}

/// What a scan looked at, and what it could leave out.
fn scan_facts(metrics: &MetricsSet) -> [String; 2] {
    let of = |name: &str| metrics.sum_by_name(name).map_or(0, |value| value.as_usize());
    let pruned = |name: &str, all: usize, pruned: usize| {
        format!("{name}: {} read, {} left out", Count(all.saturating_sub(pruned)), Count(pruned))
    };
    let mut chosen = vec![pruned("segments", of("segments"), of("segments_pruned"))];
    // Without a condition on tags, nobody counts series.
    if of("series") > 0 {
        chosen.push(pruned("series", of("series"), of("series_pruned")));
    }
    let (pages, pages_pruned) = (of("pages"), of("pages_pruned"));
    chosen.push(pruned("pages", pages + pages_pruned, pages_pruned));
    let read = format!(
        "rows: {} decoded, {} merged · bytes: {} from disk, {} from the cache",
        Count(of("rows_decoded")),
        Count(of("rows_merged")),
        Bytes(of("bytes_read")),
        Bytes(of("bytes_cached")),
    );
    [chosen.join(" · "), read]
}

/// Time of an operator without its inputs, summed over its streams.
fn own_time(metrics: &MetricsSet) -> Option<Duration> {
    let nanos = metrics.elapsed_compute().or_else(|| {
        // What sends rows from stream to stream has a name of its own for it.
        metrics.sum_by_name("repartition_time").map(|value| value.as_usize())
    })?;
    Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
}

/// Memory at its peak, summed over streams.
fn memory_peak(metrics: &MetricsSet) -> usize {
    let peak = |value: &MetricValue| match value {
        MetricValue::PeakMemoryUsage { gauge, .. } => gauge.value(),
        MetricValue::Gauge { name, gauge } if name == "build_mem_used" => gauge.value(),
        _ => 0,
    };
    metrics.iter().map(|metric| peak(metric.value())).sum()
}

/// A number with commas.
struct Count(usize);

impl Display for Count {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let digits = self.0.to_string();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                f.write_char(',')?;
            }
            f.write_char(digit)?;
        }
        Ok(())
    }
}

struct Rows(usize);

impl Display for Rows {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", Count(self.0), if self.0 == 1 { "row" } else { "rows" })
    }
}

/// Bytes in the largest unit of which there is one.
struct Bytes(usize);

impl Display for Bytes {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let mut size = self.0 as f64;
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut unit = "B";
        for larger in ["KiB", "MiB", "GiB", "TiB"] {
            if size < 1024.0 {
                break;
            }
            size /= 1024.0;
            unit = larger;
        }
        write!(f, "{size:.1} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        for (number, want) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")]
        {
            assert_eq!(Count(number).to_string(), want);
        }
        for (bytes, want) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 20, "3.0 MiB")]
        {
            assert_eq!(Bytes(bytes).to_string(), want);
        }
        assert_eq!((Rows(1).to_string(), Rows(0).to_string()), ("1 row".into(), "0 rows".into()));
    }
}
