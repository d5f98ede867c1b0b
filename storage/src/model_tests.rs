//! The data plane against a naive model: any writes, deletes and expiries, frozen, flushed and compacted at any moment,
//! give what a sorted map of (series, time) gives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringArray,
    TimestampNanosecondArray, UInt32Array, UInt64Array,
};
use arrow::datatypes::{Float64Type, Int64Type, TimestampNanosecondType, UInt64Type};
use arrow::record_batch::RecordBatch;
use proptest::prelude::*;
use quorate_segment::{SegmentCaches, SegmentMeta, SegmentReader, SegmentWriter};
use quorate_wal::RealDisk;
use tempfile::TempDir;

use crate::batch::{Nulls, RowBatch, TimeSlices, ValidBatch};
use crate::catalog::{Column, DatabaseId, Table, TableOptions};
use crate::compaction::{CompactionInputs, Output, Written, compact, flush};
use crate::memtable::{FrozenMemtable, Memtable, SlicePart};
use crate::rows::utc;
use crate::scan::{
    LastRows, OpenSegment, ScanRequest, ScanStatistics, SeriesFilter, ShardRows, TableView, Tails,
    TimeRange,
};
use crate::version::{Edit, LiveSegment, SegmentPins, SegmentRef, Tombstone, Version};
use crate::{ColumnId, ColumnKind, Error, FieldType, LogPosition, SeriesKey, TableId};

pub(crate) const TABLE: TableId = TableId(7);
pub(crate) const SLICE: i64 = 10;
const TIME: ColumnId = ColumnId(0);
const TAGS: [ColumnId; 2] = [ColumnId(1), ColumnId(5)];
/// Ids of the fields, with their types.
const FIELDS: [(ColumnId, FieldType); 6] = [
    (ColumnId(2), FieldType::Float64),
    (ColumnId(3), FieldType::Int64),
    (ColumnId(4), FieldType::UInt64),
    (ColumnId(6), FieldType::Boolean),
    (ColumnId(7), FieldType::Utf8),
    (ColumnId(8), FieldType::Timestamp),
];

/// A value as bits, or as text: NaN payloads and signed zeros are told apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    Bits(u64),
    Text(String),
}

pub(crate) type Row = BTreeMap<ColumnId, Value>;
pub(crate) type Rows = BTreeMap<(SeriesKey, i64), Row>;

/// One row to write: number of its series, its time, and a seed of a value per field, if it has one.
#[derive(Clone, Debug)]
pub(crate) struct NewRow {
    series: usize,
    time: i64,
    values: [Option<u8>; 6],
}

/// A row whose fields all have values of this seed.
pub(crate) fn new_row(series: usize, time: i64, seed: u8) -> NewRow {
    NewRow { series, time, values: [Some(seed); 6] }
}

/// The second tag comes later in life: keys without it are those of older rows.
pub(crate) fn series_key(number: usize) -> SeriesKey {
    const HOSTS: [Option<&str>; 3] = [None, Some("a"), Some("b\0")];
    const REGIONS: [Option<&str>; 2] = [None, Some("eu")];
    SeriesKey::encode([HOSTS[number % 3], REGIONS[number / 3 % 2]])
}

fn value(kind: FieldType, seed: u8) -> Value {
    const FLOATS: [u64; 8] = [
        0,
        0x8000_0000_0000_0000,
        0x7FF8_0000_0000_0001,
        0xFFF0_0000_0000_0007,
        0x7FF0_0000_0000_0000,
        0x3FF0_0000_0000_0000,
        1,
        0xFFF0_0000_0000_0000,
    ];
    match kind {
        FieldType::Float64 => Value::Bits(FLOATS[seed as usize % 8]),
        FieldType::Boolean => Value::Bits(u64::from(seed % 2)),
        FieldType::Utf8 => Value::Text("x".repeat(seed as usize % 20)),
        FieldType::Int64 | FieldType::Timestamp | FieldType::UInt64 => match seed % 4 {
            0 => Value::Bits(u64::MAX),
            1 => Value::Bits(1 << 63),
            _ => Value::Bits(u64::from(seed)),
        },
    }
}

fn bits(value: &Value) -> u64 {
    match value {
        Value::Bits(bits) => *bits,
        Value::Text(_) => unreachable!("text has no bits"),
    }
}

pub(crate) fn table() -> Arc<Table> {
    let field = |at: usize, name: &str| Column {
        id: FIELDS[at].0,
        name: name.into(),
        kind: ColumnKind::Field(FIELDS[at].1),
    };
    let tag =
        |at: usize, name: &str| Column { id: TAGS[at], name: name.into(), kind: ColumnKind::Tag };
    Arc::new(Table {
        id: TABLE,
        database: DatabaseId(1),
        name: "t".into(),
        columns: vec![
            tag(0, "host"),
            Column { id: TIME, name: "time".into(), kind: ColumnKind::Time },
            field(0, "f"),
            field(1, "i"),
            tag(1, "region"),
            field(2, "u"),
            field(3, "b"),
            field(4, "s"),
            field(5, "t"),
        ],
        options: TableOptions { time_slice_ns: SLICE, ..TableOptions::default() },
        column_id_next: 9,
        changed_at: 3,
    })
}

fn array(kind: FieldType, values: Vec<Option<Value>>) -> ArrayRef {
    let words = values.iter().map(|v| v.as_ref().filter(|v| matches!(v, Value::Bits(_))).map(bits));
    match kind {
        FieldType::Float64 => {
            Arc::new(words.map(|w| w.map(f64::from_bits)).collect::<Float64Array>())
        }
        FieldType::Int64 => {
            Arc::new(words.map(|w| w.map(u64::cast_signed)).collect::<Int64Array>())
        }
        FieldType::UInt64 => Arc::new(words.collect::<UInt64Array>()),
        FieldType::Boolean => Arc::new(words.map(|w| w.map(|w| w == 1)).collect::<BooleanArray>()),
        FieldType::Timestamp => Arc::new(utc(words
            .map(|w| w.map(u64::cast_signed))
            .collect::<TimestampNanosecondArray>())),
        FieldType::Utf8 => Arc::new(
            values
                .into_iter()
                .map(|v| match v {
                    Some(Value::Text(text)) => Some(text),
                    _ => None,
                })
                .collect::<StringArray>(),
        ),
    }
}

/// As a client would hand it in: series by first appearance, rows as they came. `columns` says which fields the batch
/// names.
pub(crate) fn batch(rows: &[NewRow], columns: u8, nulls: Nulls) -> RowBatch {
    let mut numbers: Vec<usize> = Vec::new();
    let series_of_row = rows.iter().map(|row| {
        let known = numbers.iter().position(|n| *n == row.series);
        let at = known.unwrap_or_else(|| {
            numbers.push(row.series);
            numbers.len() - 1
        });
        u32::try_from(at).unwrap()
    });
    let series_of_row: UInt32Array = series_of_row.collect::<Vec<_>>().into();
    let named = FIELDS.iter().enumerate().filter(|(at, _)| columns & (1 << at) != 0);
    let fields = named.map(|(at, (id, kind))| {
        let values = rows.iter().map(|row| row.values[at].map(|seed| value(*kind, seed)));
        (*id, array(*kind, values.collect()))
    });
    RowBatch {
        fields: fields.collect(),
        series: numbers.iter().map(|n| series_key(*n)).collect(),
        series_of_row,
        time: Arc::new(utc(rows.iter().map(|row| Some(row.time)).collect())),
        nulls,
    }
}

/// Keeps series by the length of their tags' texts, so that nulls matter.
#[derive(Debug)]
struct HostIs(Option<&'static str>, Vec<Vec<String>>);

impl HostIs {
    /// `known`: also says so beforehand, where it can, among hosts that it does not keep.
    fn new(host: Option<&'static str>, known: bool) -> Self {
        let beginnings =
            |host: &str| ["z", host, "a", host, "h1"].map(|host| vec![host.to_owned()]);
        Self(host, host.filter(|_| known).map(beginnings).into_iter().flatten().collect())
    }
    fn keeps(&self, key: &SeriesKey) -> bool {
        key.decode().first().cloned().flatten().as_deref() == self.0
    }
}

impl SeriesFilter for HostIs {
    fn first_tags(&self) -> &[Vec<String>] {
        &self.1
    }
    fn keep(&self, tags: &RecordBatch) -> Result<BooleanArray, Error> {
        let host = tags.column_by_name("host").unwrap().as_string_view();
        Ok((0..host.len())
            .map(|row| Some(host.is_valid(row).then(|| host.value(row)) == self.0))
            .collect())
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Write {
        rows: Vec<NewRow>,
        columns: u8,
        explicit: bool,
    },
    Delete {
        series: Option<BTreeSet<usize>>,
        start: i64,
        len: i64,
    },
    Expire {
        before: i64,
    },
    Freeze,
    Checkpoint,
    /// Builds and installs what was frozen first.
    Flush,
    /// Takes the inputs of a compaction as of now: which slice, the first run, the number of runs.
    BeginCompaction {
        slice: usize,
        first: usize,
        count: usize,
    },
    /// Builds and installs the compaction that was begun.
    EndCompaction,
    Scan {
        columns: u16,
        start: i64,
        len: i64,
        filter: u8,
        partitions: usize,
    },
}

pub(crate) fn rows_strategy() -> impl Strategy<Value = Vec<NewRow>> {
    let row = (0usize..6, -15i64..25, prop::array::uniform6(prop::option::weighted(0.6, 0u8..40)))
        .prop_map(|(series, time, values)| NewRow { series, time, values });
    prop::collection::vec(row, 1..25)
}

pub(crate) fn op_strategy() -> impl Strategy<Value = Op> {
    let series = prop::option::of(prop::collection::btree_set(0usize..6, 0..4));
    prop_oneof![
        8 => (rows_strategy(), any::<u8>(), prop::bool::weighted(0.3)).prop_map(
            |(rows, columns, explicit)| Op::Write { rows, columns, explicit }
        ),
        2 => (series, -15i64..25, 0i64..20)
            .prop_map(|(series, start, len)| Op::Delete { series, start, len }),
        1 => (-20i64..0).prop_map(|before| Op::Expire { before }),
        3 => Just(Op::Freeze),
        1 => Just(Op::Checkpoint),
        3 => Just(Op::Flush),
        2 => (0usize..4, 0usize..4, 1usize..5).prop_map(
            |(slice, first, count)| Op::BeginCompaction { slice, first, count }
        ),
        2 => Just(Op::EndCompaction),
        3 => (any::<u16>(), -20i64..25, 0i64..50, 0u8..8, 1usize..5).prop_map(
            |(columns, start, len, filter, partitions)| Op::Scan {
                columns, start, len, filter, partitions
            }
        ),
    ]
}

/// A shard's data plane, driven as apply would drive it, beside the model.
struct Shard {
    model: Rows,
    expired: Option<i64>,
    memtable: Memtable,
    frozen: Vec<Arc<FrozenMemtable>>,
    version: Version,
    open: BTreeMap<SegmentRef, Arc<OpenSegment>>,
    compaction: Option<(CompactionInputs, u64)>,
    files: Files,
    log_index: u64,
}

/// Where a shard's segments are.
struct Files {
    output: Output,
    caches: Arc<SegmentCaches>,
    tails: Arc<Tails>,
    _dir: TempDir,
}

impl Files {
    fn new() -> Self {
        // Where there is a file system in memory, syncs cost nothing.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let output = Output {
            disk: RealDisk::shared(),
            dir: dir.path().to_owned(),
            pins: SegmentPins::new(),
            writer: SegmentWriter::WRITER_ID,
            segment_bytes_max: 1,
            cancelled: Arc::default(),
        };
        Self { output, caches: SegmentCaches::new(1 << 20), tails: Tails::new(1 << 20), _dir: dir }
    }

    fn names(&self) -> BTreeSet<String> {
        self.output.disk.list(&self.output.dir).unwrap().into_iter().collect()
    }

    /// Live segments of what a job wrote.
    fn open(&self, written: Written, slice_start: i64, job: u64, level: u32) -> Vec<OpenSegment> {
        let segments = (0u32..).zip(written.segments);
        let segments = segments.map(|(part, pin)| {
            let meta = Arc::clone(pin.meta());
            let path = self.output.dir.join(meta.file_name());
            let (disk, caches) = (Arc::clone(&self.output.disk), Arc::clone(&self.caches));
            let reader = SegmentReader::open(disk, &path, Arc::clone(&meta), caches).unwrap();
            let job = LogPosition { term: 1, leader: 1, index: job };
            let live = LiveSegment { meta, job, part, slice_start, level };
            OpenSegment { live, reader, pin, tails: Arc::clone(&self.tails) }
        });
        segments.collect()
    }
}

impl Shard {
    fn new() -> Self {
        Self {
            model: Rows::new(),
            expired: None,
            memtable: Memtable::new(0),
            frozen: vec![],
            version: Version::default(),
            open: BTreeMap::new(),
            compaction: None,
            files: Files::new(),
            log_index: 0,
        }
    }

    fn run(&mut self, op: &Op) {
        let log_index = self.log_index;
        self.log_index += 1;
        match op {
            Op::Write { rows, columns, explicit } => self.write(rows, *columns, *explicit),
            Op::Delete { series, start, len } => {
                let time = TimeRange { start: *start, end: start + len };
                let keys: Option<BTreeSet<SeriesKey>> =
                    series.as_ref().map(|set| set.iter().map(|n| series_key(*n)).collect());
                self.model.retain(|(key, at), _| {
                    !(time.contains(*at) && keys.as_ref().is_none_or(|keys| keys.contains(key)))
                });
                self.memtable.delete(TABLE, keys.as_ref(), time);
                let tombstone = Tombstone { table: TABLE, series: keys, time, log_index };
                self.version.add_tombstone(Arc::new(tombstone));
            }
            Op::Expire { before } => {
                let before = self.expired.map_or(*before, |old| old.max(*before));
                self.expired = Some(before);
                self.version.expire(TABLE, before);
                self.model.retain(|(_, at), _| *at >= before);
                self.memtable.expire(TABLE, before);
            }
            Op::Freeze => self.frozen.push(self.memtable.freeze(log_index)),
            Op::Flush => self.flush(),
            Op::BeginCompaction { slice, first, count } => {
                self.begin_compaction(*slice, *first, *count, log_index);
            }
            Op::EndCompaction => self.end_compaction(),
            Op::Checkpoint => {
                // What is frozen last goes to bytes and back into the active memtable.
                let frozen = self.memtable.freeze(log_index);
                for part in frozen.parts() {
                    let bytes = part.encode().unwrap();
                    let part = SlicePart::decode(&bytes).unwrap();
                    assert_eq!(part.encode().unwrap(), bytes);
                    self.memtable.restore(part);
                }
            }
            Op::Scan { columns, start, len, filter, partitions } => {
                let time = TimeRange { start: *start, end: start + len };
                self.check(*columns, time, *filter, *partitions);
            }
        }
    }

    fn write(&mut self, rows: &[NewRow], columns: u8, explicit: bool) {
        let alive = |row: &&NewRow| self.expired.is_none_or(|before| row.time >= before);
        let rows: Vec<NewRow> = rows.iter().filter(alive).cloned().collect();
        for row in &rows {
            let stored = self.model.entry((series_key(row.series), row.time)).or_default();
            for (at, (id, kind)) in FIELDS.iter().enumerate() {
                match row.values[at] {
                    _ if columns & (1 << at) == 0 => {}
                    Some(seed) => {
                        stored.insert(*id, value(*kind, seed));
                    }
                    None if explicit => {
                        stored.remove(id);
                    }
                    None => {}
                }
            }
        }
        let nulls = if explicit { Nulls::Explicit } else { Nulls::Absent };
        let valid = ValidBatch::check(&table(), 3, batch(&rows, columns, nulls)).unwrap();
        let logged = RowBatch::decode(&valid.rows().encode().unwrap()).unwrap();
        let slices = TimeSlices::uniform(SLICE);
        let counts = self.memtable.insert(TABLE, logged, &slices, self.log_index).unwrap();
        assert_eq!(counts.rows, rows.len() as u64);
    }

    fn flush(&mut self) {
        if self.frozen.is_empty() {
            return;
        }
        let frozen = self.frozen.remove(0);
        let job = frozen.log_index_max();
        for part in frozen.parts() {
            let written = flush(part, &table().row_schema(), &self.files.output).unwrap().unwrap();
            let counts = written.counts;
            assert_eq!(counts.rows_in, part.rows());
            assert_eq!(counts.rows_in, counts.rows_out + counts.rows_merged);
            self.install(vec![], written, part.slice_start, job, 0);
        }
        self.version.forget_tombstones(self.flush_pending());
    }

    /// Log index of the oldest flush that is not installed.
    fn flush_pending(&self) -> Option<u64> {
        self.frozen.first().map(|frozen| frozen.log_index_max())
    }

    fn begin_compaction(&mut self, slice: usize, first: usize, count: usize, log_index: u64) {
        if self.compaction.is_some() || self.version.segments.is_empty() {
            return;
        }
        let at = slice % self.version.segments.len();
        let segments = self.version.segments.values().nth(at).unwrap();
        let runs: Vec<&[LiveSegment]> = segments.chunk_by(|a, b| a.job == b.job).collect();
        let first = first % runs.len();
        let chosen = runs.iter().skip(first).take(count).copied().flatten();
        let inputs = CompactionInputs {
            segments: chosen.map(|s| Arc::clone(&self.open[&s.name()])).collect(),
            tombstones: self.version.tombstones.clone(),
            expired_before: self.expired,
            is_bottom: first == 0,
        };
        self.compaction = Some((inputs, log_index));
    }

    fn end_compaction(&mut self) {
        let Some((inputs, job)) = self.compaction.take() else { return };
        let written = compact(&inputs, &self.files.output).unwrap().unwrap();
        let again = compact(&inputs, &self.files.output).unwrap().unwrap();
        let metas = |written: &Written| -> Vec<SegmentMeta> {
            written.segments.iter().map(|pin| (**pin.meta()).clone()).collect()
        };
        assert_eq!(metas(&written), metas(&again), "the same inputs give the same files");
        let counts = written.counts;
        let rows: u64 = inputs.segments.iter().map(|s| s.live.meta.rows).sum();
        assert_eq!(counts.rows_in, rows);
        let gone = counts.rows_merged + counts.rows_deleted + counts.rows_expired;
        assert_eq!(counts.rows_in, counts.rows_out + gone);
        assert_eq!(counts.rows_out, metas(&written).iter().map(|meta| meta.rows).sum::<u64>());
        if inputs.is_bottom {
            assert!(metas(&written).iter().all(|meta| !meta.has_cleared));
        }
        let removed = inputs.segments.iter().map(|s| s.live.name()).collect();
        let slice_start = inputs.segments[0].live.slice_start;
        drop(inputs);
        self.install(removed, written, slice_start, job, 1);
        self.version.forget_tombstones(self.flush_pending());
    }

    fn install(
        &mut self,
        removed: Vec<SegmentRef>,
        written: Written,
        slice_start: i64,
        job: u64,
        level: u32,
    ) {
        let added = self.files.open(written, slice_start, job, level);
        for name in &removed {
            self.open.remove(name);
        }
        let live = added.iter().map(|segment| segment.live.clone()).collect();
        self.open.extend(added.into_iter().map(|segment| (segment.live.name(), Arc::new(segment))));
        let edit = Edit { removed, added: live };
        self.version = self.version.apply(&edit).unwrap();
        assert_eq!(self.version.apply(&edit).unwrap(), self.version);
    }

    /// Only the files of live segments are left, once the others are removed.
    fn check_files(&self) {
        let output = &self.files.output;
        let name =
            |hash: &[u8; 32]| format!("{}.parquet", blake3::Hash::from_bytes(*hash).to_hex());
        output
            .pins
            .remove_released(|hash| output.disk.remove(&output.dir.join(name(hash))))
            .unwrap();
        let inputs = self.compaction.iter().flat_map(|(inputs, _)| &inputs.segments);
        let pinned = inputs.chain(self.open.values()).map(|s| s.live.file_name());
        assert_eq!(self.files.names(), pinned.collect());
    }

    fn view(&self) -> TableView {
        let mut memtables: Vec<_> =
            self.frozen.iter().map(|frozen| frozen.view(TABLE, TimeRange::ALL)).collect();
        memtables.push(self.memtable.view(TABLE, TimeRange::ALL));
        let rows = ShardRows {
            memtables,
            segments: self.open.values().map(Arc::clone).collect(),
            tombstones: self.version.tombstones.clone(),
            expired_before: self.expired,
        };
        TableView::new(table(), vec![rows])
    }

    fn check(&self, columns: u16, time: TimeRange, filter: u8, partitions: usize) {
        let table = table();
        let ids: Vec<ColumnId> = table.columns.iter().map(|column| column.id).collect();
        let ids: Vec<ColumnId> = ids
            .into_iter()
            .enumerate()
            .filter(|(at, _)| columns & (1 << at) != 0)
            .map(|(_, id)| id)
            .collect();
        let hosts = [None, Some(None), Some(Some("a")), Some(Some("b\0"))];
        let host = hosts[filter as usize % 4];
        let filter = host.map(|host| HostIs::new(host, filter < 4));
        let keeps = |key: &SeriesKey| filter.as_ref().is_none_or(|filter| filter.keeps(key));
        let rows = self.model.iter().filter(|((key, at), _)| time.contains(*at) && keeps(key));
        let times: Vec<i64> = rows.clone().map(|((_, at), _)| *at).collect();
        let want: Vec<_> = rows.map(|((key, at), row)| expected(&ids, key, *at, row)).collect();
        let limit = None;
        let series = filter.map(|filter| Arc::new(filter) as Arc<dyn SeriesFilter>);
        let last = None;
        let values = Vec::new();
        let request = ScanRequest { columns: ids, time, values, series, partitions, limit, last };
        let view = self.view();
        check_last(&view, &request, &want);
        let scan = view.scan(request).unwrap();
        assert!(scan.partitions.len() <= partitions);
        let mut have = Vec::new();
        for partition in &scan.partitions {
            let before = have.len();
            for batch in partition.open().unwrap() {
                let batch = batch.unwrap();
                assert_eq!(batch.schema(), scan.schema);
                have.extend((0..batch.num_rows()).map(|row| found(&batch, row)));
            }
            assert!((have.len() - before) as u64 <= partition.rows_max());
        }
        assert_eq!(have, want);
        let rows = have.len() as u64;
        assert!(rows <= scan.statistics.rows);
        assert!(!scan.statistics.rows_exact || rows == scan.statistics.rows);
        check_time_statistics(&scan.statistics, &times);
    }
}

/// Where the last rows are enough, those come, with what else is among `all` rows of the request.
fn check_last(view: &TableView, request: &ScanRequest, all: &[Vec<Option<Value>>]) {
    // Rows are told apart by all tags and the time, whose last row and last values are then looked for.
    let columns: Vec<ColumnId> = table().columns.iter().map(|column| column.id).collect();
    let whole = ScanRequest { columns: columns.clone(), ..request.clone() };
    let rows = |request: ScanRequest| {
        let scan = view.scan(request).unwrap();
        let batches = scan.partitions.into_iter().flat_map(|p| p.open().unwrap());
        let batches = batches.map(Result::unwrap);
        batches.flat_map(|b| (0..b.num_rows()).map(move |r| found(&b, r)).collect::<Vec<_>>())
    };
    let every: Vec<_> = rows(whole.clone()).collect();
    assert_eq!(every.len(), all.len());
    let tags: Vec<usize> = (0..columns.len()).filter(|at| TAGS.contains(&columns[*at])).collect();
    let time = columns.iter().position(|id| *id == TIME).unwrap();
    let series = |row: &Vec<Option<Value>>| tags.iter().map(|at| row[*at].clone()).collect();
    let fields = (0..columns.len()).filter(|at| columns[*at] != TIME && !tags.contains(at));
    let wishes = std::iter::once(None).chain(fields.map(Some));
    for wish in wishes {
        let carrying = wish.map(|at| columns[at]).into_iter().collect();
        let last = Some(LastRows { carrying });
        let have: Vec<_> = rows(ScanRequest { last, ..whole.clone() }).collect();
        let mut want: BTreeMap<Vec<Option<Value>>, &Vec<Option<Value>>> = BTreeMap::new();
        for row in every.iter().filter(|row| wish.is_none_or(|at| row[at].is_some())) {
            want.insert(series(row), row);
        }
        for row in want.values() {
            assert!(have.contains(row), "{wish:?}: {row:?} is missing");
        }
        // What else comes is earlier.
        let instant = |row: &Vec<Option<Value>>| match &row[time] {
            Some(Value::Bits(bits)) => bits.cast_signed(),
            other => panic!("{other:?} is no time"),
        };
        for row in have.iter().filter(|row| wish.is_none_or(|at| row[at].is_some())) {
            let last = want[&series(row)];
            assert!(row == last || instant(row) < instant(last), "{wish:?}: {row:?} is no row");
        }
    }
}

fn check_time_statistics(statistics: &ScanStatistics, times: &[i64]) {
    let (min, max) = (times.iter().min(), times.iter().max());
    if statistics.time_exact && !times.is_empty() {
        let have = statistics.time.map(|time| (time.start, time.end));
        assert_eq!(have, min.copied().zip(max.copied()));
    }
}

/// A row of the result, as the model has it: one cell per column.
fn expected(ids: &[ColumnId], key: &SeriesKey, time: i64, row: &Row) -> Vec<Option<Value>> {
    let tags = key.decode();
    ids.iter()
        .map(|id| {
            if *id == TIME {
                return Some(Value::Bits(time.cast_unsigned()));
            }
            match TAGS.iter().position(|tag| tag == id) {
                Some(at) => tags.get(at).cloned().flatten().map(Value::Text),
                None => row.get(id).cloned(),
            }
        })
        .collect()
}

fn found(batch: &RecordBatch, row: usize) -> Vec<Option<Value>> {
    let cell = |array: &ArrayRef| {
        if array.is_null(row) {
            return None;
        }
        Some(if let Some(a) = array.as_primitive_opt::<Float64Type>() {
            Value::Bits(a.value(row).to_bits())
        } else if let Some(a) = array.as_primitive_opt::<Int64Type>() {
            Value::Bits(a.value(row).cast_unsigned())
        } else if let Some(a) = array.as_primitive_opt::<UInt64Type>() {
            Value::Bits(a.value(row))
        } else if let Some(a) = array.as_primitive_opt::<TimestampNanosecondType>() {
            Value::Bits(a.value(row).cast_unsigned())
        } else if let Some(a) = array.as_boolean_opt() {
            Value::Bits(u64::from(a.value(row)))
        } else {
            Value::Text(array.as_string_view().value(row).to_owned())
        })
    };
    batch.columns().iter().map(cell).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases * 25 / 16))]

    #[test]
    fn a_scan_gives_what_the_model_holds(ops in prop::collection::vec(op_strategy(), 1..30)) {
        let mut shard = Shard::new();
        for op in &ops {
            shard.run(op);
        }
        shard.check(u16::MAX, TimeRange::ALL, 0, 3);
        shard.check_files();
    }
}

/// Runs a story and compares what a scan gives with the model at its end.
fn story(ops: &[Op]) {
    let mut shard = Shard::new();
    for op in ops {
        shard.run(op);
        shard.check(u16::MAX, TimeRange::ALL, 0, 2);
    }
    shard.check_files();
}

/// A write of one row of series 1, with a seed for the fields `f` and `i` where they have a value.
fn write(time: i64, f: Option<u8>, i: Option<u8>, explicit: bool) -> Op {
    let values = [f, i, None, None, None, None];
    Op::Write { rows: vec![NewRow { series: 1, time, values }], columns: 0b11, explicit }
}

const DELETE_ALL: Op = Op::Delete { series: None, start: -100, len: 200 };
const MERGE_ALL: Op = Op::BeginCompaction { slice: 0, first: 0, count: 9 };

#[test]
fn a_compaction_applies_a_delete_before_it_folds_fields() {
    story(&[
        write(1, Some(1), Some(1), false),
        Op::Freeze,
        Op::Flush,
        DELETE_ALL,
        write(1, None, Some(2), false),
        Op::Freeze,
        Op::Flush,
        MERGE_ALL,
        Op::EndCompaction,
    ]);
}

#[test]
fn a_delete_after_a_compaction_was_proposed_still_hides_what_it_makes() {
    story(&[
        write(1, Some(1), Some(1), false),
        Op::Freeze,
        Op::Flush,
        write(2, Some(1), Some(1), false),
        Op::Freeze,
        Op::Flush,
        MERGE_ALL,
        DELETE_ALL,
        Op::EndCompaction,
        MERGE_ALL,
        Op::EndCompaction,
    ]);
}

#[test]
fn a_delete_hides_a_frozen_memtable_and_the_segment_that_it_becomes() {
    story(&[write(1, Some(1), None, false), Op::Freeze, DELETE_ALL, Op::Flush]);
}

#[test]
fn a_row_written_after_a_delete_of_its_key_is_there() {
    story(&[
        write(1, Some(1), Some(1), false),
        Op::Freeze,
        DELETE_ALL,
        write(1, Some(2), None, false),
        Op::Flush,
        Op::Freeze,
        Op::Flush,
    ]);
}

#[test]
fn a_cleared_field_stays_cleared_when_its_run_is_merged_above_an_older_one() {
    story(&[
        write(1, Some(1), Some(1), false),
        Op::Freeze,
        Op::Flush,
        write(1, None, Some(2), true),
        Op::Freeze,
        Op::Flush,
        write(2, Some(3), Some(3), false),
        Op::Freeze,
        Op::Flush,
        Op::BeginCompaction { slice: 0, first: 1, count: 2 },
        Op::EndCompaction,
        MERGE_ALL,
        Op::EndCompaction,
    ]);
}

#[test]
fn an_older_value_stays_where_the_newer_row_does_not_carry_the_field() {
    story(&[
        write(1, Some(1), None, false),
        Op::Freeze,
        write(1, None, Some(2), false),
        Op::Freeze,
        Op::Flush,
        Op::Flush,
        MERGE_ALL,
        Op::EndCompaction,
        write(1, Some(4), None, false),
    ]);
}

#[test]
fn expired_rows_are_hidden_at_once_and_gone_after_a_compaction() {
    story(&[
        write(1, Some(1), None, false),
        write(8, Some(2), None, false),
        Op::Freeze,
        Op::Flush,
        Op::Expire { before: 5 },
        MERGE_ALL,
        Op::EndCompaction,
    ]);
}

#[test]
fn a_checkpointed_part_is_deleted_in_place_and_flushed_later() {
    story(&[
        write(1, Some(1), Some(1), false),
        Op::Checkpoint,
        DELETE_ALL,
        write(1, None, Some(2), false),
        Op::Checkpoint,
        write(1, Some(3), None, false),
        Op::Freeze,
        Op::Flush,
    ]);
}
