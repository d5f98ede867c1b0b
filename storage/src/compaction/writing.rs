//! Writes segments: of a frozen part of a memtable, or of older segments.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quorate_segment::{
    ColumnId, ColumnKind, ColumnSpec, Compression, RowSchema, SegmentMeta, SegmentWriter,
    WriterSpec,
};
use quorate_wal::Disk;

use crate::memtable::{SlicePart, union_layout};
use crate::rows::{Cut, Hiding, Layout, Merge, MergeCounts, MergeOptions};
use crate::scan::{OpenSegment, SegmentStream, TimeRange};
use crate::version::{SegmentPin, SegmentPins, Tombstone};
use crate::{Error, FieldType};

/// Where and how segments are written.
#[derive(Clone, Debug)]
pub struct Output {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// Directory of the shard's segments.
    pub dir: PathBuf,
    /// Keeps what is written.
    pub pins: Arc<SegmentPins>,
    /// Writer id of the job's command: [`SegmentWriter::WRITER_ID`] of the leader.
    pub writer: u32,
    /// Bytes after which a compaction goes on in another file, between two series.
    pub segment_bytes_max: u64,
    /// Set from outside, it stops the job.
    pub cancelled: Arc<AtomicBool>,
}

/// What a job wrote.
#[derive(Debug)]
pub struct Written {
    /// Ascending by key: the parts of the job. None if every row was hidden.
    pub segments: Vec<Arc<SegmentPin>>,
    /// What became of the rows.
    pub counts: MergeCounts,
}

/// What a compaction merges.
#[derive(Clone, Debug)]
pub struct CompactionInputs {
    /// Old to new: all segments of neighbouring runs of one table and slice.
    pub segments: Vec<Arc<OpenSegment>>,
    /// The tombstones of the table below the job's log index.
    pub tombstones: Vec<Arc<Tombstone>>,
    /// The watermark as of the job's log index.
    pub expired_before: Option<i64>,
    /// Whether no older run of the slice is left.
    pub is_bottom: bool,
}

/// Writes one segment of the rows of one table and slice. `schema` names the columns; those that no row has are left out.
/// `None` if it was cancelled.
pub fn flush(
    part: &SlicePart,
    schema: &RowSchema,
    output: &Output,
) -> Result<Option<Written>, Error> {
    let layout = union_layout(part.runs.iter().map(|run| run.layout()));
    let hiding = Hiding { time: TimeRange::ALL, expired_before: None, tombstones: vec![] };
    let sources = part.runs.iter().map(|run| Cut::new(run.stream(&layout), hiding.clone()));
    let options = MergeOptions { layout: Arc::clone(&layout), keep_cleared: true };
    let merge = Merge::new(sources.collect(), options);
    let schema = RowSchema { fields: named_fields(&layout, &schema.fields), ..schema.clone() };
    let spec = WriterSpec {
        writer: output.writer,
        compression: Compression::Lz4,
        log_index_min: part.log_index_min,
        log_index_max: part.log_index_max,
    };
    Job { output, schema, spec, layout, keep_cleared: true, bytes_max: u64::MAX }.run(merge)
}

/// Merges segments into new ones. `None` if it was cancelled.
pub fn compact(inputs: &CompactionInputs, output: &Output) -> Result<Option<Written>, Error> {
    let Some(last) = inputs.segments.last() else {
        return Err(Error::Internal("a compaction has no inputs".into()));
    };
    let schema = union_schema(&inputs.segments);
    let layout: Layout =
        schema.fields.iter().filter_map(|f| Some((f.id, field_kind(f)?))).collect();
    let keep_cleared = !inputs.is_bottom;
    let mut sources = Vec::with_capacity(inputs.segments.len());
    for segment in &inputs.segments {
        let stream = SegmentStream::all(&segment.reader, &layout, true)?;
        let (live, meta) = (&segment.live, &segment.live.meta);
        let hides = |t: &&Arc<Tombstone>| {
            t.table == live.table()
                && t.is_above(live.log_index_max())
                && t.time.overlaps(live.time())
                && t.overlaps_keys(&meta.key_min, &meta.key_max)
        };
        let hiding = Hiding {
            time: TimeRange::ALL,
            expired_before: inputs.expired_before,
            tombstones: inputs.tombstones.iter().filter(hides).map(Arc::clone).collect(),
        };
        sources.push(Cut::new(Box::new(stream), hiding));
    }
    let log_indexes = |of: fn(&OpenSegment) -> u64| inputs.segments.iter().map(move |s| of(s));
    let spec = WriterSpec {
        writer: output.writer,
        compression: Compression::Zstd,
        log_index_min: log_indexes(|s| s.live.log_index_min())
            .min()
            .unwrap_or_else(|| last.live.log_index_min()),
        log_index_max: log_indexes(|s| s.live.log_index_max())
            .max()
            .unwrap_or_else(|| last.live.log_index_max()),
    };
    let options = MergeOptions { layout: Arc::clone(&layout), keep_cleared };
    let merge = Merge::new(sources, options);
    Job { output, schema, spec, layout, keep_cleared, bytes_max: output.segment_bytes_max }
        .run(merge)
}

struct Job<'a> {
    output: &'a Output,
    schema: RowSchema,
    spec: WriterSpec,
    layout: Layout,
    keep_cleared: bool,
    bytes_max: u64,
}

impl Job<'_> {
    fn run(&self, mut merge: Merge) -> Result<Option<Written>, Error> {
        let mut segments = Vec::new();
        let mut writer = None;
        match self.write(&mut merge, &mut writer, &mut segments) {
            Ok(true) => {
                segments.extend(self.finish(writer.take())?);
                Ok(Some(Written { segments, counts: merge.counts() }))
            }
            stopped => {
                // The first error says more than one of the clean-up.
                let aborted = writer.take().map_or(Ok(()), SegmentWriter::abort);
                stopped?;
                aborted?;
                Ok(None)
            }
        }
    }

    /// Writes all rows; false if it was cancelled.
    fn write(
        &self,
        merge: &mut Merge,
        writer: &mut Option<SegmentWriter>,
        segments: &mut Vec<Arc<SegmentPin>>,
    ) -> Result<bool, Error> {
        let mut last_key = None;
        for piece in merge {
            if self.output.cancelled.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let piece = piece?;
            let is_new_series = last_key.as_ref() != Some(&piece.key);
            if is_new_series && writer.as_ref().is_some_and(|w| w.bytes() >= self.bytes_max) {
                segments.extend(self.finish(writer.take())?);
            }
            if is_new_series {
                last_key = Some(piece.key.clone());
            }
            let writer = match writer {
                Some(writer) => writer,
                None => writer.insert(self.begin()?),
            };
            writer.push(piece.into_series_rows(&self.layout, self.keep_cleared))?;
        }
        Ok(true)
    }

    fn begin(&self) -> Result<SegmentWriter, Error> {
        let disk = Arc::clone(&self.output.disk);
        let (schema, spec) = (self.schema.clone(), self.spec.clone());
        Ok(SegmentWriter::begin(disk, &self.output.dir, schema, spec)?)
    }

    fn finish(&self, writer: Option<SegmentWriter>) -> Result<Vec<Arc<SegmentPin>>, Error> {
        let Some(writer) = writer else { return Ok(vec![]) };
        self.output.pins.create(|| {
            let meta: Option<SegmentMeta> = writer.finish()?;
            Ok(meta.into_iter().map(Arc::new).collect())
        })
    }
}

/// The columns of the inputs; the newest name wins.
fn union_schema(segments: &[Arc<OpenSegment>]) -> RowSchema {
    let newest_first = || segments.iter().rev().map(|s| &s.live.meta.schema);
    let first = newest_first().next().expect("a compaction has inputs");
    let union = |of: fn(&RowSchema) -> &Vec<ColumnSpec>| {
        let mut all: Vec<ColumnSpec> = Vec::new();
        for column in newest_first().flat_map(of) {
            if all.iter().any(|other| other.id == column.id) {
                continue;
            }
            let mut column = column.clone();
            // A column was dropped, and another one has its name now.
            if all.iter().any(|other| other.name == column.name) {
                column.name = unnamed(column.id);
            }
            all.push(column);
        }
        all.sort_by_key(|column| column.id);
        all
    };
    RowSchema {
        table: first.table,
        time: first.time.clone(),
        tags: union(|schema| &schema.tags),
        fields: union(|schema| &schema.fields),
    }
}

/// The name in files of a column that has none any more.
fn unnamed(id: ColumnId) -> String {
    format!("column_{}", id.0)
}

/// The fields of a layout with the names of a schema. A field that the schema lacks is kept under its id.
fn named_fields(layout: &Layout, names: &[ColumnSpec]) -> Vec<ColumnSpec> {
    let named = layout.iter().map(|(id, kind)| {
        let name = names.iter().find(|column| column.id == *id).map(|column| column.name.clone());
        let name = name.unwrap_or_else(|| unnamed(*id));
        ColumnSpec { id: *id, name, kind: ColumnKind::Field(*kind) }
    });
    named.collect()
}

fn field_kind(column: &ColumnSpec) -> Option<FieldType> {
    match column.kind {
        ColumnKind::Field(kind) => Some(kind),
        ColumnKind::Time | ColumnKind::Tag => None,
    }
}
