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

use crate::batch::{Nulls, RowBatch, TimeSlices, ValidBatch};
use crate::catalog::{Column, DatabaseId, Table, TableOptions};
use crate::memtable::{FrozenMemtable, Memtable, SlicePart};
use crate::rows::utc;
use crate::scan::{ScanRequest, SeriesFilter, ShardRows, TableView, TimeRange};
use crate::version::Tombstone;
use crate::{ColumnId, ColumnKind, Error, FieldType, SeriesKey, TableId};

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
#[derive(Clone, Debug, PartialEq, Eq)]
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
struct HostIs(Option<&'static str>);

impl HostIs {
    fn keeps(&self, key: &SeriesKey) -> bool {
        key.decode().first().cloned().flatten().as_deref() == self.0
    }
}

impl SeriesFilter for HostIs {
    fn keep(&self, tags: &RecordBatch) -> Result<BooleanArray, Error> {
        let host = tags.column_by_name("host").unwrap().as_string_view();
        Ok((0..host.len())
            .map(|row| Some(host.is_valid(row).then(|| host.value(row)) == self.0))
            .collect())
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Write { rows: Vec<NewRow>, columns: u8, explicit: bool },
    Delete { series: Option<BTreeSet<usize>>, start: i64, len: i64 },
    Expire { before: i64 },
    Freeze,
    Checkpoint,
    Scan { columns: u16, start: i64, len: i64, filter: u8, partitions: usize },
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
        2 => Just(Op::Freeze),
        1 => Just(Op::Checkpoint),
        3 => (any::<u16>(), -20i64..25, 0i64..50, 0u8..4, 1usize..5).prop_map(
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
    tombstones: Vec<Arc<Tombstone>>,
    log_index: u64,
}

impl Shard {
    fn new() -> Self {
        Self {
            model: Rows::new(),
            expired: None,
            memtable: Memtable::new(0),
            frozen: vec![],
            tombstones: vec![],
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
                self.tombstones.push(Arc::new(tombstone));
            }
            Op::Expire { before } => {
                let before = self.expired.map_or(*before, |old| old.max(*before));
                self.expired = Some(before);
                self.model.retain(|(_, at), _| *at >= before);
                self.memtable.expire(TABLE, before);
            }
            Op::Freeze => self.frozen.push(self.memtable.freeze(log_index)),
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

    fn view(&self) -> TableView {
        let mut memtables: Vec<_> =
            self.frozen.iter().map(|frozen| frozen.view(TABLE, TimeRange::ALL)).collect();
        memtables.push(self.memtable.view(TABLE, TimeRange::ALL));
        let rows = ShardRows {
            memtables,
            segments: vec![],
            tombstones: self.tombstones.clone(),
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
        let filter = [None, Some(HostIs(None)), Some(HostIs(Some("a"))), Some(HostIs(Some("b\0")))]
            .into_iter()
            .nth(filter as usize)
            .flatten();
        let keeps = |key: &SeriesKey| filter.as_ref().is_none_or(|filter| filter.keeps(key));
        let want: Vec<_> = self
            .model
            .iter()
            .filter(|((key, at), _)| time.contains(*at) && keeps(key))
            .map(|((key, at), row)| expected(&ids, key, *at, row))
            .collect();
        let limit = None;
        let series = filter.map(|filter| Arc::new(filter) as Arc<dyn SeriesFilter>);
        let request = ScanRequest { columns: ids, time, series, partitions, limit };
        let scan = self.view().scan(request).unwrap();
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
        self.check_time_statistics(&scan.statistics, time, &want.len());
    }

    fn check_time_statistics(
        &self,
        statistics: &crate::scan::ScanStatistics,
        time: TimeRange,
        rows: &usize,
    ) {
        let times = self.model.keys().map(|(_, at)| *at).filter(|at| time.contains(*at));
        let (min, max) = (times.clone().min(), times.max());
        if statistics.time_exact && *rows > 0 {
            let have = statistics.time.map(|time| (time.start, time.end));
            assert_eq!(have, min.zip(max));
        }
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
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_scan_gives_what_the_model_holds(ops in prop::collection::vec(op_strategy(), 1..30)) {
        let mut shard = Shard::new();
        for op in &ops {
            shard.run(op);
        }
        shard.check(u16::MAX, TimeRange::ALL, 0, 3);
    }
}
