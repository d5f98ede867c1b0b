//! One stream of a scan.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use quorate_segment::SeriesEntry;

use super::ScanCounters;
use super::assemble::Assembler;
use super::series::{KeyRange, Wanted};
use super::source::{Origin, Source, WantedValues};
use super::{CellRequest, SplitPartition, TimeRange, ValueRange, cells};
use crate::rows::{Layout, Merge, MergeOptions, each_tag};
use crate::{Error, FieldType, SeriesKey};

/// What a column of the result is made of.
#[derive(Clone, Copy, Debug)]
pub(super) enum OutputColumn {
    Time,
    /// The tag at this position of the series key.
    Tag(usize),
    /// The field at this position of the layout.
    Field(usize, FieldType),
}

/// What the partitions of a scan share.
#[derive(Debug)]
pub(super) struct PartitionPlan {
    /// By shard, then old to new.
    pub(super) sources: Vec<Source>,
    pub(super) layout: Layout,
    /// Whether some source has marks of cleared fields, which hide older values.
    pub(super) with_cleared: bool,
    pub(super) columns: Vec<OutputColumn>,
    pub(super) schema: SchemaRef,
    /// Rows without these values may be left out.
    pub(super) values: Arc<[ValueRange]>,
    pub(super) limit: Option<usize>,
    /// Places in the layout of fields whose last values are needed, if the last rows are enough.
    pub(super) last: Option<Vec<usize>>,
    pub(super) counters: Arc<ScanCounters>,
}

impl PartitionPlan {
    /// What may be left out of a segment for its values.
    fn values_of(&self, source: &Source, wanted: &Wanted) -> Option<WantedValues> {
        let is_asked = !self.values.is_empty()
            && matches!(source.origin, Origin::Segment(_))
            && wanted.overlaps(source.key_min(), source.key_max());
        if !is_asked {
            return None;
        }
        let rivals = self.sources.iter().filter(|other| source.rivals(other));
        let mut rivals: Vec<TimeRange> = rivals.map(Source::time).collect();
        rivals.sort_unstable_by_key(|time| time.start);
        rivals.dedup_by(|next, last| {
            let joins = next.start <= last.end;
            last.end = if joins { last.end.max(next.end) } else { last.end };
            joins
        });
        Some(WantedValues { values: Arc::clone(&self.values), rivals })
    }
}

/// One stream of a scan; may be opened more than once.
#[derive(Clone, Debug)]
pub struct ScanPartition {
    plan: Arc<PartitionPlan>,
    wanted: Wanted,
    rows_max: u64,
    /// By source, the rows that are left of it, where cells stand for others.
    rest: Arc<[Option<Arc<[SeriesEntry]>>]>,
}

impl ScanPartition {
    pub(super) fn new(plan: Arc<PartitionPlan>, wanted: Wanted, rows_max: u64) -> Self {
        Self { plan, wanted, rows_max, rest: Arc::default() }
    }

    pub(super) fn plan(&self) -> &PartitionPlan {
        &self.plan
    }

    pub(super) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Without the rows that cells stand for; so many were answered.
    pub(super) fn with_rest(&self, rest: Arc<[Option<Arc<[SeriesEntry]>>]>, answered: u64) -> Self {
        let (plan, wanted) = (Arc::clone(&self.plan), self.wanted.clone());
        Self { plan, wanted, rows_max: self.rows_max.saturating_sub(answered), rest }
    }

    /// Splits it into cells and the rows that they do not stand for; `None` if there are no such cells. Blocks on disk
    /// reads.
    pub fn split(&self, request: &CellRequest) -> Result<Option<SplitPartition>, Error> {
        cells::split(self, request)
    }

    /// The same, of the rows in this range of time alone.
    #[must_use]
    pub fn within(&self, time: TimeRange) -> Self {
        let plan = &self.plan;
        let mut sources = plan.sources.clone();
        sources.retain(|source| source.time().overlaps(time));
        for source in &mut sources {
            let wanted = source.hiding.time;
            source.hiding.time =
                TimeRange { start: wanted.start.max(time.start), end: wanted.end.min(time.end) };
        }
        let plan = PartitionPlan {
            sources,
            layout: Arc::clone(&plan.layout),
            with_cleared: plan.with_cleared,
            columns: plan.columns.clone(),
            schema: Arc::clone(&plan.schema),
            values: Arc::clone(&plan.values),
            limit: plan.limit,
            last: plan.last.clone(),
            counters: Arc::clone(&plan.counters),
        };
        Self::new(Arc::new(plan), self.wanted.clone(), self.rows_max)
    }

    /// First tag of the first series that it may hold, if it begins with one.
    pub fn first_tag(&self) -> Option<String> {
        let first = match &self.wanted {
            Wanted::Range(range) => range.from.as_ref(),
            Wanted::Keys(keys) => keys.first(),
        };
        let mut tag = None;
        each_tag(first?, |position, text| {
            if position == 0 {
                tag = Some(text.to_owned());
            }
        });
        tag
    }

    /// The partitions of a scan, cut anew at these values of the first tag, which ascend: each has the series from one
    /// value on to below the next one, and the first one those before.
    pub fn cut_at(partitions: &[Self], values: &[String]) -> Vec<Self> {
        let Some(whole) = partitions.first() else { return Vec::new() };
        let rows_max: u64 = partitions.iter().map(|one| one.rows_max).sum();
        let bound = |value: &String| Some(SeriesKey::encode([Some(value.as_str())]));
        let froms = std::iter::once(None).chain(values.iter().map(bound));
        let tos = values.iter().map(bound).chain(std::iter::once(None));
        let ranges = froms.zip(tos).map(|(from, to)| KeyRange { from, to });
        let partition = |range| {
            let wanted = match &whole.wanted {
                Wanted::Range(_) => Wanted::Range(range),
                Wanted::Keys(keys) => Wanted::Keys(keys.all_within(&range)),
            };
            Self::new(Arc::clone(&whole.plan), wanted, rows_max)
        };
        ranges.map(partition).collect()
    }

    /// Width of the cells of its largest segment in ns; `None` if that has none, or the partition cannot be split.
    pub fn cell_width(&self) -> Result<Option<i64>, Error> {
        if self.plan.limit.is_some() || self.plan.last.is_some() {
            return Ok(None);
        }
        let segments = self.plan.sources.iter().filter_map(|source| match &source.origin {
            Origin::Segment(segment) => Some(segment),
            Origin::Run(_) => None,
        });
        let largest = segments.max_by_key(|segment| segment.live.meta.rows);
        Ok(largest.map(|segment| segment.reader.cell_width()).transpose()?.flatten())
    }

    /// Rows known beforehand to be in it at most.
    pub fn rows_max(&self) -> u64 {
        self.rows_max
    }

    /// Opens the stream: batches of up to 8,192 rows; 2,048 rows of one series that lie together may be one. Each call of
    /// `next` blocks on disk reads and decoding.
    pub fn open(
        &self,
    ) -> Result<Box<dyn Iterator<Item = Result<RecordBatch, Error>> + Send>, Error> {
        let plan = &self.plan;
        let mut sources = Vec::with_capacity(plan.sources.len());
        for (at, source) in plan.sources.iter().enumerate() {
            let reads = &plan.counters.reads;
            let what = (&plan.layout, plan.with_cleared);
            if let (Some(Some(rest)), Origin::Segment(segment)) =
                (self.rest.get(at), &source.origin)
            {
                sources.push(source.open_rest(segment, rest, what, reads));
                continue;
            }
            match &plan.last {
                None => {
                    let values = plan.values_of(source, &self.wanted);
                    sources.extend(source.open(&self.wanted, what, values, reads)?);
                }
                Some(carrying) => {
                    source.open_last(&self.wanted, what, (carrying, reads), &mut sources)?;
                }
            }
        }
        let options = MergeOptions { layout: Arc::clone(&plan.layout), keep_cleared: false };
        Ok(Box::new(Assembler::new(Arc::clone(plan), Merge::new(sources, options))))
    }
}
