//! Decides which rows of several sorted sources make the result, and how rows with equal times fold into one.

use arrow::array::Array;

use super::{Block, Layout, Slice};
use crate::ColumnId;

/// Rows of one series in one source that take part in a merge.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    /// Which source; a higher number is newer.
    pub(crate) source: u32,
    /// All times of the source's block.
    pub(crate) times: &'a [i64],
    /// The next row.
    pub(crate) next: usize,
    /// After the last row.
    pub(crate) end: usize,
}

impl Head<'_> {
    fn time(&self) -> i64 {
        self.times[self.next]
    }

    /// Number of rows from the next one on whose time is below `bound`, found by doubling steps: it is mostly small.
    fn below(&self, bound: i64) -> usize {
        let rest = &self.times[self.next..self.end];
        let mut step = 1;
        while step < rest.len() && rest[step] < bound {
            step *= 2;
        }
        let low = step / 2;
        low + rest[low..rest.len().min(step)].partition_point(|time| *time < bound)
    }
}

/// Rows of the result in order. A folded row is a slice of one row, of the newest candidate, and a group of all
/// candidates.
#[derive(Debug, Default)]
pub(crate) struct Picks {
    slices: Vec<Slice>,
    rows: usize,
    candidates: Vec<(u32, u32)>,
    /// Row of the result, and where its candidates end.
    groups: Vec<(usize, usize)>,
}

impl Picks {
    /// The slices, in order.
    pub(crate) fn slices(&self) -> &[Slice] {
        &self.slices
    }
    /// Rows of the result.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }
    /// Rows that another one took in.
    pub(crate) fn rows_folded(&self) -> usize {
        self.candidates.len() - self.groups.len()
    }
    /// Per folded row of the result, its candidates as (source, row), newest first.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (usize, &[(u32, u32)])> {
        let starts = std::iter::once(0).chain(self.groups.iter().map(|(_, end)| *end));
        starts.zip(&self.groups).map(|(start, (row, end))| (*row, &self.candidates[start..*end]))
    }

    /// Appends rows of one source.
    pub(crate) fn push(&mut self, source: u32, start: usize, len: usize) {
        let (start, len) = (index(start), index(len));
        self.rows += len as usize;
        match self.slices.last_mut() {
            Some(last) if last.source == source && last.start + last.len == start => {
                last.len += len;
            }
            _ => self.slices.push(Slice { source, start, len }),
        }
    }

    /// Appends one row that folds these (source, row), newest first.
    pub(crate) fn push_group(&mut self, newest_first: impl IntoIterator<Item = (u32, usize)>) {
        let start = self.candidates.len();
        self.candidates.extend(newest_first.into_iter().map(|(s, row)| (s, index(row))));
        let (source, row) = self.candidates[start];
        self.groups.push((self.rows, self.candidates.len()));
        self.push(source, row as usize, 1);
    }

    /// Appends all rows of one series from its sources, which stand old to new.
    pub(crate) fn merge(&mut self, heads: &mut Vec<Head<'_>>) {
        loop {
            heads.retain(|head| head.next < head.end);
            let Some(min) = heads.iter().map(Head::time).min() else { return };
            let ties = heads.iter().filter(|head| head.time() == min).count();
            if ties > 1 {
                let tied = heads.iter().rev().filter(|head| head.time() == min);
                self.push_group(tied.map(|head| (head.source, head.next)));
                for head in heads.iter_mut().filter(|head| head.time() == min) {
                    head.next += 1;
                }
                continue;
            }
            let others = heads.iter().map(Head::time).filter(|time| *time != min).min();
            let first = heads.iter_mut().find(|head| head.time() == min);
            let first = first.expect("the minimum is the time of one of them");
            let len = others.map_or(first.end - first.next, |bound| first.below(bound));
            self.push(first.source, first.next, len);
            first.next += len;
        }
    }

    /// The slices of one field: where the newest row of a group does not carry it, those of an older one. `None` if
    /// that is nowhere so.
    pub(crate) fn patched(
        &self,
        sources: &[&Block],
        position: usize,
        id: ColumnId,
    ) -> Option<Vec<Slice>> {
        let complete =
            |b: &&Block| b.fields[position].as_ref().is_some_and(|array| array.null_count() == 0);
        if self.groups.is_empty() || sources.iter().all(complete) {
            return None;
        }
        let carrier = |candidates: &[(u32, u32)]| {
            candidates
                .iter()
                .position(|(source, row)| {
                    carries(sources[*source as usize], *row as usize, position, id)
                })
                .filter(|at| *at > 0)
                .map(|at| candidates[at])
        };
        let mut patches = self.groups().filter_map(|(row, c)| Some((row, carrier(c)?))).peekable();
        patches.peek()?;
        let mut patched = Self::default();
        for slice in &self.slices {
            let mut start = slice.start as usize;
            let end = start + slice.len as usize;
            while start < end {
                let stop = patches.peek().map_or(usize::MAX, |(row, _)| row - patched.rows);
                if stop > 0 {
                    let len = stop.min(end - start);
                    patched.push(slice.source, start, len);
                    start += len;
                } else if let Some((_, (source, row))) = patches.next() {
                    patched.push(source, row as usize, 1);
                    start += 1;
                }
            }
        }
        Some(patched.slices)
    }

    /// Ids of the fields that are cleared in the fold of these rows, newest first, as the column of marks holds them.
    pub(crate) fn cleared_by(
        sources: &[&Block],
        layout: &Layout,
        candidates: &[(u32, u32)],
    ) -> Vec<u8> {
        let mut marked: Vec<ColumnId> = Vec::new();
        for (source, row) in candidates {
            marked.extend(cleared_ids(sources[*source as usize], *row as usize));
        }
        marked.sort_unstable();
        marked.dedup();
        let is_cleared = |id: &ColumnId| {
            let position = layout.binary_search_by_key(id, |(id, _)| *id).ok();
            for (source, row) in candidates {
                let (block, row) = (sources[*source as usize], *row as usize);
                if cleared_ids(block, row).any(|cleared| cleared == *id) {
                    return true;
                }
                if position.is_some_and(|position| has_value(block, row, position)) {
                    return false;
                }
            }
            false
        };
        marked.iter().filter(|id| is_cleared(id)).flat_map(|id| id.0.to_be_bytes()).collect()
    }
}

fn index(row: usize) -> u32 {
    u32::try_from(row).expect("a block has fewer than 2^32 rows")
}

fn has_value(block: &Block, row: usize, position: usize) -> bool {
    block.fields[position].as_ref().is_some_and(|array| array.is_valid(row))
}

fn carries(block: &Block, row: usize, position: usize, id: ColumnId) -> bool {
    has_value(block, row, position) || cleared_ids(block, row).any(|cleared| cleared == id)
}

fn cleared_ids(block: &Block, row: usize) -> impl Iterator<Item = ColumnId> {
    let marks = block.cleared.as_ref().filter(|marks| marks.is_valid(row));
    let bytes = marks.map_or(&[][..], |marks| marks.value(row));
    bytes.as_chunks::<4>().0.iter().map(|id| ColumnId(u32::from_be_bytes(*id)))
}
