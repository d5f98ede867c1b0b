//! Rows of a table folded into one row per series: its name, number of rows, first and last time.
//!
//! The rows come sorted by series, so one series is open at a time; nothing is kept of those that are done but their row.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, StringViewArray, StringViewBuilder, TimestampNanosecondArray,
    UInt64Array,
};
use datafusion::arrow::compute::partition;
use datafusion::arrow::datatypes::TimestampNanosecondType;
use datafusion::arrow::record_batch::RecordBatch;
use quorate_storage::catalog::{Table, TableNotes};
use quorate_storage::{ColumnId, Error as StoreError, SeriesKey};

use super::tables_stream::Batches;

/// Series after which a batch is given.
const SERIES_PER_BATCH: usize = 4_096;
/// Batches of rows after which one is given, be it empty, so that a long series holds nothing up.
const BATCHES_AT_ONCE: usize = 16;

/// How the rows of one table are folded.
#[derive(Debug)]
pub(crate) struct SeriesFold {
    table: String,
    tags: Vec<String>,
    labels: BTreeMap<SeriesKey, String>,
}

/// Places of the columns that a folded batch has.
pub(crate) mod folded {
    /// `table,tag=value,…`
    pub(crate) const SERIES: usize = 0;
    /// `tag=value,…`
    pub(crate) const TAGS: usize = 1;
    /// `label=value,…`
    pub(crate) const LABELS: usize = 2;
    /// Number of rows.
    pub(crate) const ROWS: usize = 3;
    /// First time.
    pub(crate) const TIME_MIN: usize = 4;
    /// Last time.
    pub(crate) const TIME_MAX: usize = 5;
}

impl SeriesFold {
    /// Of a table, with the labels of its series.
    pub(crate) fn new(table: &Table, notes: Option<&TableNotes>) -> Self {
        let labels = notes.map(|notes| &notes.labels).into_iter().flatten();
        let text = |labels: &BTreeMap<String, String>| {
            let pairs = labels.iter().map(|(name, value)| pair(name, value));
            pairs.collect::<Vec<_>>().join(",")
        };
        Self {
            table: escaped(&table.name, &[',', ' ']),
            tags: table.tags().map(|tag| tag.name.clone()).collect(),
            labels: labels.map(|(key, labels)| (key.clone(), text(labels))).collect(),
        }
    }

    /// The columns that are folded: the time, then the tags.
    pub(crate) fn columns(table: &Table) -> Vec<ColumnId> {
        std::iter::once(table.time()).chain(table.tags()).map(|column| column.id).collect()
    }

    /// The folded rows of batches that have these columns, sorted by the tags.
    pub(super) fn fold(self: Arc<Self>, batches: Batches) -> Batches {
        Box::new(Folding { fold: self, batches: Some(batches), open: None, done: Done::default() })
    }
}

/// A text with a backslash before some characters, as in line protocol.
fn escaped(text: &str, characters: &[char]) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if characters.contains(&c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn pair(name: &str, value: &str) -> String {
    let special = [',', '=', ' '];
    format!("{}={}", escaped(name, &special), escaped(value, &special))
}

/// The series whose rows come now.
struct Open {
    tags: Vec<Option<String>>,
    rows: u64,
    first: i64,
    last: i64,
}

#[derive(Default)]
struct Done {
    series: StringViewBuilder,
    tags: StringViewBuilder,
    labels: StringViewBuilder,
    rows: Vec<u64>,
    first: Vec<i64>,
    last: Vec<i64>,
}

struct Folding {
    fold: Arc<SeriesFold>,
    batches: Option<Batches>,
    open: Option<Open>,
    done: Done,
}

impl Folding {
    fn add(&mut self, batch: &RecordBatch) -> Result<(), StoreError> {
        let times = batch.column(0).as_primitive::<TimestampNanosecondType>().values();
        let tags = &batch.columns()[1..];
        let ranges = if tags.is_empty() {
            std::iter::once(0..batch.num_rows()).collect()
        } else {
            partition(tags)?.ranges()
        };
        let tags: Vec<&StringViewArray> = tags.iter().map(AsArray::as_string_view).collect();
        for range in ranges.into_iter().filter(|range| !range.is_empty()) {
            let (first, last) = (times[range.start], times[range.end - 1]);
            let value = |tag: &&StringViewArray| {
                tag.is_valid(range.start).then(|| tag.value(range.start).to_owned())
            };
            let tags: Vec<Option<String>> = tags.iter().map(value).collect();
            match &mut self.open {
                Some(open) if open.tags == tags => {
                    open.rows += range.len() as u64;
                    open.last = last;
                }
                Some(_) | None => {
                    self.close();
                    self.open = Some(Open { tags, rows: range.len() as u64, first, last });
                }
            }
        }
        Ok(())
    }

    /// Closes the series whose rows have come.
    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        let pairs = self.fold.tags.iter().zip(&open.tags);
        let pairs = pairs.filter_map(|(name, value)| Some(pair(name, value.as_deref()?)));
        let tags = pairs.collect::<Vec<_>>().join(",");
        let comma = if tags.is_empty() { "" } else { "," };
        let done = &mut self.done;
        done.series.append_value(format!("{}{comma}{tags}", self.fold.table));
        done.tags.append_value(&tags);
        let key = SeriesKey::encode(open.tags.iter().map(Option::as_deref));
        done.labels.append_option(self.fold.labels.get(&key));
        done.rows.push(open.rows);
        done.first.push(open.first);
        done.last.push(open.last);
    }

    fn give(&mut self) -> Result<RecordBatch, StoreError> {
        let Done { mut series, mut tags, mut labels, rows, first, last } =
            std::mem::take(&mut self.done);
        let time = |times: Vec<i64>| {
            Arc::new(TimestampNanosecondArray::from(times).with_timezone("UTC")) as ArrayRef
        };
        let columns: [(&str, ArrayRef); 6] = [
            ("series", Arc::new(series.finish())),
            ("tags", Arc::new(tags.finish())),
            ("labels", Arc::new(labels.finish())),
            ("rows", Arc::new(UInt64Array::from(rows))),
            ("time_min", time(first)),
            ("time_max", time(last)),
        ];
        Ok(RecordBatch::try_from_iter(columns)?)
    }
}

impl Iterator for Folding {
    type Item = Result<RecordBatch, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        for _ in 0..BATCHES_AT_ONCE {
            match self.batches.as_mut()?.next() {
                Some(Ok(batch)) => {
                    if let Err(e) = self.add(&batch) {
                        self.batches = None;
                        return Some(Err(e));
                    }
                }
                Some(Err(e)) => {
                    self.batches = None;
                    return Some(Err(e));
                }
                None => {
                    self.batches = None;
                    self.close();
                    return Some(self.give());
                }
            }
            if self.done.rows.len() >= SERIES_PER_BATCH {
                break;
            }
        }
        Some(self.give())
    }
}
