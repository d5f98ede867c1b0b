//! Builds the files of a job from the state as of the job's own log index. Blocks; changes no state.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::machine::ShardMachine;
use crate::compaction::{CompactionInputs, Output, compact, flush};
use crate::scan::OpenSegment;
use crate::version::{LiveSegment, SegmentPin};
use crate::{Error, LogPosition};

/// What a job made. The files are durable, and pinned as long as this lives.
#[derive(Debug)]
pub(crate) struct Built {
    /// By table, slice and key.
    pub(crate) segments: Vec<LiveSegment>,
    /// Rows merged by primary key.
    pub(crate) deduplicated: u64,
    pins: Vec<Arc<SegmentPin>>,
}

impl Built {
    fn new() -> Self {
        Self { segments: Vec::new(), deduplicated: 0, pins: Vec::new() }
    }

    fn add(&mut self, job: LogPosition, slice_start: i64, level: u32, pins: Vec<Arc<SegmentPin>>) {
        for (part, pin) in (0..).zip(&pins) {
            let meta = Arc::clone(pin.meta());
            self.segments.push(LiveSegment { meta, job, part, slice_start, level });
        }
        self.pins.extend(pins);
    }
}

fn output(machine: &ShardMachine, writer: u32, segment_bytes_max: u64) -> Output {
    Output {
        disk: Arc::clone(&machine.files.disk),
        dir: machine.files.segments.clone(),
        pins: Arc::clone(&machine.files.pins),
        writer,
        segment_bytes_max,
        cancelled: Arc::clone(&machine.cancelled),
    }
}

fn cancelled(job: u64) -> Error {
    Error::Exhausted(format!("job {job} was cancelled"))
}

/// Builds the files of a pending flush: one segment per table and slice. Tables that were dropped since are built all
/// the same, so that what a flush makes depends on its own log index alone.
pub(crate) fn build_flush(machine: &ShardMachine, job: u64) -> Result<Built, Error> {
    let (position, frozen, writer, schemas) = {
        let live = machine.live();
        let Some(flush) = live.state.flushes.get(&job) else {
            return Err(Error::Internal(format!("flush {job} is not pending")));
        };
        let tables = &flush.captured.record.tables;
        let schemas: BTreeMap<_, _> =
            tables.iter().map(|t| (t.record.schema.table, t.record.schema.clone())).collect();
        (flush.position, Arc::clone(&flush.frozen), flush.writer, schemas)
    };
    let output = output(machine, writer, u64::MAX);
    let mut built = Built::new();
    for part in frozen.parts() {
        let schema = schemas.get(&part.table).ok_or_else(|| {
            Error::Internal(format!("table {} of flush {job} has no schema", part.table.0))
        })?;
        let written = flush(part, schema, &output)?.ok_or_else(|| cancelled(job))?;
        built.deduplicated += written.counts.rows_merged;
        built.add(position, part.slice_start, 0, written.segments);
    }
    Ok(built)
}

/// Builds the files of a pending compaction; `None` if it is void by now.
pub(crate) fn build_compaction(machine: &ShardMachine, job: u64) -> Result<Option<Built>, Error> {
    let (compaction, inputs) = {
        let live = machine.live();
        let Some(compaction) = live.state.compactions.get(&job).cloned() else { return Ok(None) };
        let choice = &compaction.command.choice;
        let version = &live.state.version;
        let open = |segment: &LiveSegment| live.files.get(&segment.meta.file_hash).map(Arc::clone);
        let segments: Option<Vec<Arc<OpenSegment>>> =
            choice.inputs.iter().map(|name| version.find(name).and_then(open)).collect();
        let segments = segments
            .ok_or_else(|| Error::Internal(format!("an input of compaction {job} is not open")))?;
        let tombstones = version
            .tombstones_of(choice.table)
            .filter(|t| t.log_index < job)
            .map(Arc::clone)
            .collect();
        let inputs = CompactionInputs {
            segments,
            tombstones,
            expired_before: compaction.expired_before,
            is_bottom: choice.is_bottom,
        };
        (compaction, inputs)
    };
    let command = &compaction.command;
    let output = output(machine, command.writer, command.segment_bytes_max);
    let written = compact(&inputs, &output)?.ok_or_else(|| cancelled(job))?;
    let mut built = Built::new();
    built.deduplicated = written.counts.rows_merged;
    let choice = &command.choice;
    built.add(compaction.position, choice.slice_start, choice.level, written.segments);
    Ok(Some(built))
}
