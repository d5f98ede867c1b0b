//! Deletes of single points: what a `DELETE` does whose predicate is more than a range of time and tags.
//!
//! The statement's query finds the points, and each is deleted by its series and time, all points of one time together.
//! What is written meanwhile is not looked at again: a point that is found is deleted even if a write that comes between
//! makes it one that the predicate leaves out, and the points are not deleted all at once.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::error::DataFusionError;
use futures::{StreamExt, TryStreamExt};
use quorate_storage::catalog::Table;
use quorate_storage::scan::TimeRange;
use quorate_storage::{Delete, SeriesKey, SeriesSelection, Store, WriteOptions};

use super::names::quote_always;
use crate::ingest::everywhere;
use crate::{Error, ErrorKind, QueryStream};

/// How many points one statement may delete. They are kept in memory until they are logged, and by the replicas until a
/// compaction has applied them.
const POINTS_MAX: usize = 10_000;

/// Deletes that are logged at the same time.
const AT_ONCE: usize = 64;

/// The columns that tell a point: its time, then its tags in the order of a series key.
pub(super) fn columns(table: &Table) -> String {
    let names = std::iter::once(table.time()).chain(table.tags()).map(|c| quote_always(&c.name));
    names.collect::<Vec<_>>().join(", ")
}

/// The number that a query of one row and one column gives.
pub(super) async fn count(mut rows: QueryStream) -> Result<u64, Error> {
    let mut count = 0;
    while let Some(batch) = rows.batches.try_next().await? {
        let counts = batch.column(0).as_primitive_opt::<Int64Type>();
        count += counts.map_or(0, |counts| counts.values().iter().sum());
    }
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Deletes the points that `rows` has, in the columns of [`columns`]. Returns how many there were.
///
/// A repeat under the same key finds what is left, so the points themselves have no keys.
pub(super) async fn delete(
    store: &Store,
    table: &Table,
    mut rows: QueryStream,
    options: &WriteOptions,
) -> Result<u64, Error> {
    let mut points: BTreeMap<i64, BTreeSet<SeriesKey>> = BTreeMap::new();
    let mut found = 0;
    while let Some(batch) = rows.batches.try_next().await? {
        found += batch.num_rows();
        if found > POINTS_MAX {
            return Err(Error::request(
                ErrorKind::Unsupported,
                format!(
                    "this predicate deletes more than {POINTS_MAX} single points; nothing is deleted. Delete a range \
                     of time, or the rows of some tags, or add a range of time and repeat"
                ),
            ));
        }
        add(&mut points, &batch)?;
    }
    drop(rows);
    let options = WriteOptions { idempotency_key: None, ..options.clone() };
    let deletes = points.into_iter().map(|(time, series)| {
        let delete = Delete {
            table: table.id,
            time: TimeRange { start: time, end: time },
            series: SeriesSelection::These(series),
        };
        let options = &options;
        async move { store.delete(delete, options).await.map_err(Error::from) }
    });
    let receipts: Vec<_> =
        futures::stream::iter(deletes).buffer_unordered(AT_ONCE).try_collect().await?;
    everywhere(&receipts)?;
    Ok(found as u64)
}

fn add(
    points: &mut BTreeMap<i64, BTreeSet<SeriesKey>>,
    batch: &RecordBatch,
) -> Result<(), DataFusionError> {
    let times = cast(batch.column(0), &DataType::Int64)?;
    let times = times.as_primitive::<Int64Type>();
    if batch.num_columns() == 1 {
        let key = SeriesKey::encode([]);
        points.extend(times.values().iter().map(|time| (*time, BTreeSet::from([key.clone()]))));
        return Ok(());
    }
    for (time, key) in times.values().iter().zip(keys(&batch.columns()[1..])?) {
        points.entry(*time).or_default().insert(key);
    }
    Ok(())
}

/// The series of rows whose tags, at least one, are these columns in the order of a series key.
pub(super) fn keys(tags: &[ArrayRef]) -> Result<Vec<SeriesKey>, DataFusionError> {
    let tags = tags.iter().map(|tag| cast(tag, &DataType::Utf8));
    let tags = tags.collect::<Result<Vec<_>, _>>()?;
    let tags: Vec<_> = tags.iter().map(AsArray::as_string::<i32>).collect();
    let rows = tags.first().map_or(0, Array::len);
    let value = |row| tags.iter().map(move |tag| tag.is_valid(row).then(|| tag.value(row)));
    Ok((0..rows).map(|row| SeriesKey::encode(value(row))).collect())
}
