//! From a request to partitions: prunes sources by time, selects series, cuts.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use arrow::datatypes::{Schema, SchemaRef};

use super::partition::{OutputColumn, PartitionPlan};
use super::schema::column_field;
use super::series::{Selection, Wanted, cut_ranges, first_keys};
use super::source::{Origin, Source};
use super::{
    ScanCounters, ScanPartition, ScanRequest, ScanStatistics, SeriesFilter, ShardRows, TableView,
    TimeRange,
};
use crate::catalog::Table;
use crate::rows::{Hiding, Layout};
use crate::version::Tombstone;
use crate::{ColumnId, ColumnKind, Error, FieldType, SeriesKey};

/// A planned scan.
#[derive(Debug)]
pub struct TableScan {
    /// Schema of the batches.
    pub schema: SchemaRef,
    /// Independent streams.
    pub partitions: Vec<ScanPartition>,
    /// What is known beforehand.
    pub statistics: ScanStatistics,
    /// What it does.
    pub counters: Arc<ScanCounters>,
}

pub(super) fn plan(view: &TableView, request: &ScanRequest) -> Result<TableScan, Error> {
    let (columns, layout, schema) = output(view.table(), &request.columns)?;
    let counters = Arc::new(ScanCounters::default());
    let mut sources = Vec::new();
    for (number, shard) in view.shards().iter().enumerate() {
        prune(shard, number, request.time, &counters, &mut sources);
    }
    if let Some(filter) = &request.series {
        let firsts = first_keys(&**filter);
        sources.retain(|source| {
            let kept = firsts.iter().any(|first| source.may_begin(first));
            if !kept && matches!(source.origin, Origin::Segment(_)) {
                counters.segments_pruned.fetch_add(1, Relaxed);
            }
            kept
        });
    }
    let (wanted, filtered) = match &request.series {
        None => {
            let ranges = cut_ranges(&sources, request.partitions)?;
            let wanted = ranges.into_iter().map(|range| {
                let rows: u64 = sources.iter().map(|s| s.rows_in(&range)).sum();
                (Wanted::Range(range), rows)
            });
            (wanted.collect::<Vec<_>>(), false)
        }
        Some(filter) => {
            let selection = Selection::select(&sources, view.table(), &**filter)?;
            counters.series.store(selection.seen, Relaxed);
            counters.series_pruned.store(selection.seen - selection.kept(), Relaxed);
            // The walk passes over what does not begin with the first tags without counting it.
            let firsts = first_keys(&**filter);
            let begins = |source: &Source| firsts.iter().any(|first| source.begins(first));
            let filtered = selection.seen > selection.kept() || !sources.iter().all(begins);
            (selection.cut(request.partitions), filtered)
        }
    };
    let rows = match &request.series {
        None => sources.iter().map(Source::rows).sum(),
        Some(_) => wanted.iter().map(|(_, rows)| rows).sum(),
    };
    let mut statistics = ScanStatistics::new(&sources, rows, request.time, filtered);
    let with_cleared = sources.iter().any(Source::has_cleared);
    let last = last_rows(request, &layout, with_cleared);
    statistics.rows_exact &= last.is_none() && request.values.is_empty();
    statistics.time_exact &= request.values.is_empty();
    let plan = Arc::new(PartitionPlan {
        with_cleared,
        last,
        sources,
        layout,
        columns,
        schema: Arc::clone(&schema),
        values: request.values.as_slice().into(),
        limit: request.limit,
        counters: Arc::clone(&counters),
    });
    let partitions = wanted.into_iter().filter(|(_, rows)| *rows > 0);
    let partitions =
        partitions.map(|(wanted, rows)| ScanPartition::new(Arc::clone(&plan), wanted, rows));
    Ok(TableScan { schema, partitions: partitions.collect(), statistics, counters })
}

/// The series that a filter keeps and that may have rows in `time`, ascending.
pub(super) fn matching_series(
    view: &TableView,
    time: TimeRange,
    filter: &dyn SeriesFilter,
) -> Result<Vec<SeriesKey>, Error> {
    let counters = ScanCounters::default();
    let mut sources = Vec::new();
    for (number, shard) in view.shards().iter().enumerate() {
        prune(shard, number, time, &counters, &mut sources);
    }
    Ok(Selection::select(&sources, view.table(), filter)?.into_keys())
}

/// Places in the layout of the fields that a last row must have, if last rows are enough. A mark of a cleared field may hide
/// the value of another source's last row, and what stands before that is then wanted: with such marks, last *values* take
/// all rows.
fn last_rows(request: &ScanRequest, layout: &Layout, with_cleared: bool) -> Option<Vec<usize>> {
    let last = request.last.as_ref()?;
    if with_cleared && !last.carrying.is_empty() {
        return None;
    }
    let places = last.carrying.iter().map(|id| layout.iter().position(|(field, _)| field == id));
    places.collect()
}

/// What the wanted columns are made of.
fn output(
    table: &Table,
    ids: &[ColumnId],
) -> Result<(Vec<OutputColumn>, Layout, SchemaRef), Error> {
    let mut fields: Vec<(ColumnId, FieldType)> = Vec::new();
    let mut wanted = Vec::with_capacity(ids.len());
    for id in ids {
        let column = table.columns.iter().find(|column| column.id == *id);
        let column = column.ok_or_else(|| {
            Error::Invalid(format!("table {:?} has no column {}", table.name, id.0))
        })?;
        if let ColumnKind::Field(kind) = column.kind {
            fields.push((*id, kind));
        }
        wanted.push(column);
    }
    fields.sort_unstable();
    fields.dedup();
    let place = |id| fields.binary_search_by_key(&id, |(id, _)| *id);
    let tag_place = |id| table.tags().position(|tag| tag.id == id);
    let columns = wanted.iter().map(|column| match column.kind {
        ColumnKind::Time => OutputColumn::Time,
        ColumnKind::Tag => OutputColumn::Tag(tag_place(column.id).expect("it is a tag")),
        ColumnKind::Field(kind) => {
            OutputColumn::Field(place(column.id).expect("it was collected above"), kind)
        }
    });
    let columns = columns.collect();
    let schema = Schema::new(wanted.into_iter().map(column_field).collect::<Vec<_>>());
    Ok((columns, fields.into(), Arc::new(schema)))
}

/// The sources of one shard that may have visible rows in `time`, old to new.
fn prune(
    shard: &ShardRows,
    number: usize,
    time: TimeRange,
    counters: &ScanCounters,
    sources: &mut Vec<Source>,
) {
    let visible = |of: TimeRange| {
        of.overlaps(time) && shard.expired_before.is_none_or(|before| of.end >= before)
    };
    let above = |log_index_max: Option<u64>, of: TimeRange| -> Vec<Arc<Tombstone>> {
        let Some(log_index_max) = log_index_max else { return vec![] };
        let hides = |t: &&Arc<Tombstone>| t.is_above(log_index_max) && t.time.overlaps(of);
        shard.tombstones.iter().filter(hides).map(Arc::clone).collect()
    };
    let hiding = |tombstones| Hiding { time, expired_before: shard.expired_before, tombstones };
    for segment in &shard.segments {
        counters.segments.fetch_add(1, Relaxed);
        let (of, meta) = (segment.live.time(), &segment.live.meta);
        if !visible(of) {
            counters.segments_pruned.fetch_add(1, Relaxed);
            continue;
        }
        let mut tombstones = above(Some(segment.live.log_index_max()), of);
        tombstones.retain(|t| t.overlaps_keys(&meta.key_min, &meta.key_max));
        let origin = Origin::Segment(Arc::clone(segment));
        sources.push(Source { origin, hiding: hiding(tombstones), shard: number });
    }
    for memtable in &shard.memtables {
        for run in memtable.runs.iter().filter(|run| visible(run.time())) {
            let tombstones = above(memtable.log_index_max, run.time());
            let origin = Origin::Run(Arc::clone(run));
            sources.push(Source { origin, hiding: hiding(tombstones), shard: number });
        }
    }
}
