//! Brings a batch into its canonical order.

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::{concat, take};

use super::{Nulls, RowBatch};
use crate::{ColumnId, Error, SeriesKey};

impl RowBatch {
    /// Whether series ascend strictly by key, and rows by (series, time).
    pub fn is_sorted(&self) -> bool {
        let series = self.series_of_row.values();
        let times = self.times();
        self.series.is_sorted_by(|a, b| a < b)
            && (1..series.len())
                .all(|row| (series[row - 1], times[row - 1]) <= (series[row], times[row]))
    }

    /// Sorts: series by key, without doubles; rows by (series, time), those with equal keys as they came.
    ///
    /// # Panics
    ///
    /// If the batch has 2^32 rows or more.
    pub fn sorted(self) -> Result<Self, Error> {
        if self.is_sorted() {
            return Ok(self);
        }
        let (series, place) = sorted_series(&self.series);
        let place_of = |row: usize| place[self.series_of_row.value(row) as usize];

        // A counting sort by series keeps the order of arrival, which mostly is the order of time.
        let mut ends = vec![0usize; series.len() + 1];
        for row in 0..self.rows() {
            ends[place_of(row) as usize + 1] += 1;
        }
        for i in 1..ends.len() {
            ends[i] += ends[i - 1];
        }
        let starts = ends.clone();
        let mut order = vec![0u32; self.rows()];
        for row in 0..self.rows() {
            let at = &mut ends[place_of(row) as usize];
            order[*at] = u32::try_from(row).expect("a batch has fewer than 2^32 rows");
            *at += 1;
        }
        let times = self.times();
        let time_of = |row: &u32| times[*row as usize];
        for range in starts.windows(2) {
            let rows = &mut order[range[0]..range[1]];
            if !rows.is_sorted_by_key(time_of) {
                rows.sort_by_key(time_of);
            }
        }
        let mut batch = self.take_rows(&UInt32Array::from(order))?;
        let numbers = batch.series_of_row.values().iter().map(|s| place[*s as usize]);
        batch.series_of_row = numbers.collect::<Vec<_>>().into();
        batch.series = series;
        Ok(batch)
    }

    /// The rows with these numbers; `series` stays as it is.
    pub(super) fn take_rows(&self, rows: &UInt32Array) -> Result<Self, Error> {
        let series_of_row = rows.values().iter().map(|row| self.series_of_row.value(*row as usize));
        let fields = self.fields.iter().map(|(id, array)| Ok((*id, take(array, rows, None)?)));
        Ok(Self {
            series: self.series.clone(),
            series_of_row: series_of_row.collect::<Vec<_>>().into(),
            time: take(&self.time, rows, None)?,
            fields: fields.collect::<Result<_, Error>>()?,
            nulls: self.nulls,
        })
    }

    /// Whether [`RowBatch::concat`] may join the two: explicit nulls speak of the columns that their batch names.
    pub fn can_concat(&self, other: &Self) -> bool {
        let ids = |batch: &Self| batch.fields.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        let types_agree = || {
            self.fields.iter().all(|(id, array)| {
                other.fields.iter().all(|(other_id, other_array)| {
                    id != other_id || array.data_type() == other_array.data_type()
                })
            })
        };
        match (self.nulls, other.nulls) {
            (Nulls::Absent, Nulls::Absent) => types_agree(),
            (Nulls::Explicit, Nulls::Explicit) => ids(self) == ids(other) && types_agree(),
            (Nulls::Absent, Nulls::Explicit) | (Nulls::Explicit, Nulls::Absent) => false,
        }
    }

    /// Joins batches of one table, sorted, where [`RowBatch::can_concat`] holds for all pairs. Among rows with equal keys,
    /// those of later batches count as newer.
    ///
    /// # Panics
    ///
    /// If the batches have 2^32 rows or more.
    pub fn concat(batches: &[Self]) -> Result<Self, Error> {
        let Some(first) = batches.first() else {
            return Err(Error::Internal("no batches to join".into()));
        };
        if batches.len() == 1 {
            return first.clone().sorted();
        }
        if !batches.iter().all(|batch| first.can_concat(batch)) {
            return Err(Error::Internal("batches with different null meanings are joined".into()));
        }
        let mut ids: Vec<_> =
            batches.iter().flat_map(|b| b.fields.iter().map(|(id, _)| *id)).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut series = Vec::new();
        let mut numbers = Vec::new();
        for batch in batches {
            let base = u32::try_from(series.len()).expect("a batch has fewer than 2^32 series");
            series.extend_from_slice(&batch.series);
            numbers.extend(batch.series_of_row.values().iter().map(|number| base + number));
        }
        let times: Vec<_> = batches.iter().map(|batch| batch.time.as_ref()).collect();
        let fields = ids.into_iter().map(|id| Ok((id, concat_field(batches, id)?)));
        Self {
            series,
            series_of_row: numbers.into(),
            time: concat(&times)?,
            fields: fields.collect::<Result<_, Error>>()?,
            nulls: first.nulls,
        }
        .sorted()
    }
}

fn concat_field(batches: &[RowBatch], id: ColumnId) -> Result<ArrayRef, Error> {
    let of = |batch: &RowBatch| {
        batch.fields.iter().find(|(other, _)| *other == id).map(|(_, array)| Arc::clone(array))
    };
    let kind = batches.iter().find_map(of);
    let kind = kind.expect("some batch has the column").data_type().clone();
    let arrays: Vec<_> = batches
        .iter()
        .map(|b| of(b).unwrap_or_else(|| arrow::array::new_null_array(&kind, b.rows())))
        .collect();
    let arrays: Vec<_> = arrays.iter().map(AsRef::as_ref).collect();
    Ok(concat(&arrays)?)
}

/// The keys ascending without doubles, and for each old place its new one.
fn sorted_series(series: &[SeriesKey]) -> (Vec<SeriesKey>, Vec<u32>) {
    let mut order: Vec<usize> = (0..series.len()).collect();
    order.sort_unstable_by_key(|at| &series[*at]);
    let mut sorted: Vec<SeriesKey> = Vec::with_capacity(series.len());
    let mut place = vec![0; series.len()];
    for at in order {
        if sorted.last() != Some(&series[at]) {
            sorted.push(series[at].clone());
        }
        place[at] = u32::try_from(sorted.len() - 1).expect("a batch has fewer than 2^32 series");
    }
    (sorted, place)
}
