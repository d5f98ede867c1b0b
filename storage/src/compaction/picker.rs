//! Decides what to compact next.

use std::collections::BTreeSet;

use quorate_segment::Compression;
use serde::{Deserialize, Serialize};

use crate::TableId;
use crate::version::{LiveSegment, SegmentRef, Version};

/// Settings of [`pick`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Runs that a merge takes at least.
    pub runs_min: usize,
    /// Runs of a slice above which the newest are merged whatever their sizes.
    pub runs_max: usize,
    /// Bytes that a merge reads at most, as long as it is not needed for fewer runs.
    pub input_bytes_max: u64,
    /// Tombstones over one run above which it is written anew.
    pub tombstones_max: usize,
    /// Take every slice for settled: nothing is written.
    pub settled: bool,
    /// Merge all that can be merged and apply every tombstone.
    pub full: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            runs_min: 4,
            runs_max: 12,
            input_bytes_max: 4 << 30,
            tombstones_max: 8,
            settled: false,
            full: false,
        }
    }
}

impl Config {
    /// Leaves one run per slice without hidden rows.
    pub fn full() -> Self {
        Self { full: true, ..Self::default() }
    }
}

/// A compaction to propose. It names all that its result depends on besides the tombstones and the watermark as of its
/// own log index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The table.
    pub table: TableId,
    /// Start of the time slice, ns.
    pub slice_start: i64,
    /// What is merged, old to new: all segments of neighbouring runs.
    pub inputs: Vec<SegmentRef>,
    /// Whether no older run of the slice is left: marks of cleared fields can go.
    pub is_bottom: bool,
    /// Level of the result.
    pub level: u32,
}

/// The segments of one job in one slice: disjoint by key.
#[derive(Clone, Copy)]
struct Run<'a> {
    segments: &'a [LiveSegment],
    bytes: u64,
    tombstones: usize,
}

/// The most useful compaction now, if one is worth it. Slices with a segment in `busy` (inputs of jobs that are not
/// installed) are left alone.
pub fn pick(version: &Version, config: &Config, busy: &BTreeSet<SegmentRef>) -> Option<Choice> {
    let newest_flush =
        version.iter().filter(|s| s.level == 0).map(LiveSegment::log_index_min).max();
    let mut best: Option<(usize, &[LiveSegment], bool)> = None;
    for segments in version.segments.values() {
        if segments.iter().any(|s| busy.contains(&s.name())) {
            continue;
        }
        let runs: Vec<Run<'_>> = segments
            .chunk_by(|a, b| a.job == b.job)
            .map(|segments| Run {
                segments,
                bytes: segments.iter().map(|s| s.meta.bytes).sum(),
                tombstones: tombstones(version, segments),
            })
            .collect();
        let newest = segments.last().map(LiveSegment::log_index_max);
        let is_settled = config.settled || newest < newest_flush;
        let Some((start, end)) = window(&runs, config, is_settled) else { continue };
        if best.is_none_or(|(most, ..)| runs.len() > most) {
            let skip: usize = runs[..start].iter().map(|run| run.segments.len()).sum();
            let take: usize = runs[start..end].iter().map(|run| run.segments.len()).sum();
            best = Some((runs.len(), &segments[skip..skip + take], start == 0));
        }
    }
    let (_, inputs, is_bottom) = best?;
    let first = inputs.first()?;
    Some(Choice {
        table: first.table(),
        slice_start: first.slice_start,
        inputs: inputs.iter().map(LiveSegment::name).collect(),
        is_bottom,
        level: inputs.iter().map(|s| s.level).max()? + 1,
    })
}

/// Tombstones that are not applied to these segments yet.
fn tombstones(version: &Version, segments: &[LiveSegment]) -> usize {
    let Some(first) = segments.first() else { return 0 };
    let hides = |t: &LiveSegment, index: u64| t.job.index < index && t.log_index_max() < index;
    version
        .tombstones_of(first.table())
        .filter(|t| {
            segments.iter().any(|s| {
                hides(s, t.log_index)
                    && s.time().overlaps(t.time)
                    && t.overlaps_keys(&s.meta.key_min, &s.meta.key_max)
            })
        })
        .count()
}

/// The runs of a slice to merge, if any: from, to.
fn window(runs: &[Run<'_>], config: &Config, is_settled: bool) -> Option<(usize, usize)> {
    let all = Some((0, runs.len()));
    let is_raw =
        |run: &Run<'_>| run.segments.iter().any(|s| s.meta.spec.compression == Compression::Lz4);
    if config.full {
        let is_done = runs.len() == 1 && !is_raw(&runs[0]) && runs[0].tombstones == 0;
        return all.filter(|_| !is_done);
    }
    if let Some(at) = runs.iter().position(|run| run.tombstones > config.tombstones_max) {
        return Some((at, at + 1));
    }
    if let Some(found) = tiered(runs, config) {
        return Some(found);
    }
    if runs.len() > config.runs_max {
        return Some((runs.len() - config.runs_min.max(2), runs.len()));
    }
    if !is_settled {
        return None;
    }
    match runs {
        [only] => all.filter(|_| is_raw(only)),
        [oldest, newer @ ..] => {
            let bytes: u64 = newer.iter().map(|run| run.bytes).sum();
            let is_cheap = bytes.saturating_mul(4) >= oldest.bytes;
            all.filter(|_| is_cheap && oldest.bytes.saturating_add(bytes) <= config.input_bytes_max)
        }
        [] => None,
    }
}

/// The newest window of enough runs in which each run is not larger than all newer ones together, and none is larger than
/// all others: a large run is not written anew to take in a few small ones.
fn tiered(runs: &[Run<'_>], config: &Config) -> Option<(usize, usize)> {
    for end in (config.runs_min.max(2)..=runs.len()).rev() {
        let mut start = end - 1;
        let mut bytes = runs[start].bytes;
        while start > 0 {
            let next = runs[start - 1].bytes;
            if next > bytes || bytes + next > config.input_bytes_max {
                break;
            }
            bytes += next;
            start -= 1;
        }
        let largest = runs[start..end].iter().map(|run| run.bytes).max().unwrap_or(0);
        if end - start >= config.runs_min.max(2) && largest <= bytes - largest {
            return Some((start, end));
        }
    }
    None
}
