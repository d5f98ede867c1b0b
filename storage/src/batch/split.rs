//! Cuts a batch by shard, or by time slice.

use std::collections::BTreeMap;

use arrow::array::UInt32Array;

use super::{RowBatch, TimeSlices};
use crate::Error;
use crate::scan::TimeRange;

impl RowBatch {
    /// Cuts a sorted batch by shard, which follows from the series' [`crate::SeriesKey::hash64`] and the start of the time slice. Parts
    /// ascend by shard and stay sorted. Without a copy when all rows go to one shard.
    pub fn split<P: Ord + Copy>(
        self,
        slices: &TimeSlices,
        shard_of: impl Fn(u64, i64) -> P,
    ) -> Result<Vec<(P, Self)>, Error> {
        let Some(range) = self.time_range() else { return Ok(vec![]) };
        let hashes: Vec<u64> = self.series.iter().map(crate::SeriesKey::hash64).collect();
        let slice = slices.of(range.start);
        if slice.contains(range.end) {
            let shards: Vec<P> = hashes.iter().map(|hash| shard_of(*hash, slice.start)).collect();
            if shards.iter().all(|shard| *shard == shards[0]) {
                return Ok(vec![(shards[0], self)]);
            }
            return self.cut(|series, _| shards[series as usize]);
        }
        let mut current: Option<(u32, TimeRange, P)> = None;
        self.cut(|series, time| match current {
            Some((of, slice, shard)) if of == series && slice.contains(time) => shard,
            Some(_) | None => {
                let slice = slices.of(time);
                let shard = shard_of(hashes[series as usize], slice.start);
                current = Some((series, slice, shard));
                shard
            }
        })
    }

    /// Cuts a sorted batch by time slice. Without a copy when all rows are in one.
    pub(crate) fn split_slices(self, slices: &TimeSlices) -> Result<Vec<(i64, Self)>, Error> {
        let Some(TimeRange { start, end }) = self.time_range() else { return Ok(vec![]) };
        let mut slice = slices.of(start);
        if slice.contains(end) {
            return Ok(vec![(slice.start, self)]);
        }
        self.cut(|_, time| {
            if !slice.contains(time) {
                slice = slices.of(time);
            }
            slice.start
        })
    }

    /// The rows of a sorted batch with a time not below `start`. Without a copy when that is all of them.
    pub(crate) fn since(self, start: i64) -> Result<Option<Self>, Error> {
        let Some(range) = self.time_range() else { return Ok(None) };
        if range.start >= start {
            return Ok(Some(self));
        }
        let parts = self.cut(|_, time| time >= start)?;
        Ok(parts.into_iter().find_map(|(kept, rows)| kept.then_some(rows)))
    }

    /// Cuts by a function of series number and time.
    fn cut<P: Ord + Copy>(
        self,
        mut part_of: impl FnMut(u32, i64) -> P,
    ) -> Result<Vec<(P, Self)>, Error> {
        let mut parts: BTreeMap<P, Vec<u32>> = BTreeMap::new();
        let mut run: Option<(P, Vec<u32>)> = None;
        for (row, (series, time)) in
            (0u32..).zip(self.series_of_row.values().iter().zip(self.times()))
        {
            let part = part_of(*series, *time);
            match &mut run {
                Some((current, rows)) if *current == part => rows.push(row),
                _ => {
                    if let Some((old, rows)) = run.take() {
                        parts.insert(old, rows);
                    }
                    let mut rows = parts.remove(&part).unwrap_or_default();
                    rows.push(row);
                    run = Some((part, rows));
                }
            }
        }
        parts.extend(run);
        if parts.len() == 1 {
            return Ok(parts.into_keys().map(|part| (part, self.clone())).collect());
        }
        let cut = |(part, rows)| Ok((part, self.take_rows(&UInt32Array::from(rows))?.compact()));
        parts.into_iter().map(cut).collect()
    }

    /// Drops the series without rows; the batch is sorted.
    fn compact(mut self) -> Self {
        let mut series = Vec::new();
        let mut numbers = Vec::with_capacity(self.rows());
        let mut last = None;
        for number in self.series_of_row.values() {
            if last != Some(*number) {
                series.push(self.series[*number as usize].clone());
                last = Some(*number);
            }
            numbers.push(u32::try_from(series.len() - 1).expect("fewer series than before"));
        }
        self.series = series;
        self.series_of_row = numbers.into();
        self
    }
}
