//! What scans have read, as metrics of their operator.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use datafusion::physical_plan::metrics::{Count, Metric, MetricValue, MetricsSet};
use quorate_storage::scan::ScanCounters;

/// One of the counts of a scan.
type Counted = fn(&ScanCounters) -> u64;

/// Adds the sums of what scans have counted.
pub(super) fn push_counters(set: &mut MetricsSet, counters: &[&ScanCounters]) {
    let names: [(&str, Counted); 10] = [
        ("segments", |c| c.segments.load(Relaxed)),
        ("segments_pruned", |c| c.segments_pruned.load(Relaxed)),
        ("series", |c| c.series.load(Relaxed)),
        ("series_pruned", |c| c.series_pruned.load(Relaxed)),
        ("rows_decoded", |c| c.rows_decoded.load(Relaxed)),
        ("rows_merged", |c| c.rows_merged.load(Relaxed)),
        ("pages", |c| c.reads.pages.load(Relaxed)),
        ("pages_pruned", |c| c.reads.pages_skipped.load(Relaxed)),
        ("bytes_read", |c| c.reads.bytes_read.load(Relaxed)),
        ("bytes_cached", |c| c.reads.bytes_cached.load(Relaxed)),
    ];
    for (name, value) in names {
        push_count(set, name, counters.iter().map(|counters| value(counters)).sum());
    }
}

/// Adds a count.
pub(super) fn push_count(set: &mut MetricsSet, name: &'static str, value: u64) {
    let count = Count::new();
    count.add(usize::try_from(value).unwrap_or(usize::MAX));
    set.push(Arc::new(Metric::new(MetricValue::Count { name: name.into(), count }, None)));
}
