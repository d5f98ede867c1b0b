//! One sorted stream of many sorted sources.
//!
//! Series by series, in key order. While the next piece of one source lies before all others in time, it passes through
//! untouched; only where sources really overlap are rows merged, in windows that every source can answer for: up to the
//! earliest last time among the pieces at hand.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::{Block, Cut, Head, Layout, Picks, Piece, gather_block};
use crate::{Error, SeriesKey};

/// Rows that may pass before a window is merged although they are followed by overlapping ones; shorter stretches
/// would cost more as pieces than as merged rows.
const STRETCH_ROWS_MIN: usize = 64;

/// How to merge.
#[derive(Clone, Debug)]
pub(crate) struct MergeOptions {
    /// Fields of all sources and of the result.
    pub(crate) layout: Layout,
    /// Whether marks of cleared fields are needed: older sources, which are not here, may hold values.
    pub(crate) keep_cleared: bool,
}

/// What became of the rows of a merge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergeCounts {
    /// Rows read from the sources.
    pub rows_in: u64,
    /// Rows of the result.
    pub rows_out: u64,
    /// Rows that another one with the same key took in.
    pub rows_merged: u64,
    /// Rows that a tombstone hid.
    pub rows_deleted: u64,
    /// Rows below the watermark.
    pub rows_expired: u64,
    /// Rows that went through a row-by-row merge, because sources overlap.
    pub rows_overlapping: u64,
}

#[derive(Debug)]
struct Cursor {
    input: Cut,
    head: Option<Piece>,
}

impl Cursor {
    fn advance(&mut self) -> Result<(), Error> {
        self.head = self.input.next().transpose()?;
        Ok(())
    }
    fn first(&self) -> i64 {
        self.head.as_ref().expect("an active cursor has a piece").first()
    }
}

/// A merge, as an iterator of pieces. After an error it ends.
#[derive(Debug)]
pub(crate) struct Merge {
    options: MergeOptions,
    /// Old to new.
    cursors: Vec<Cursor>,
    /// Cursors that wait for their series.
    waiting: BinaryHeap<Reverse<(SeriesKey, usize)>>,
    /// Cursors that are at the current series, ascending.
    active: Vec<usize>,
    started: bool,
    rows_out: u64,
    rows_merged: u64,
    rows_overlapping: u64,
}

impl Merge {
    /// Merges sources, which stand old to new.
    pub(crate) fn new(sources: Vec<Cut>, options: MergeOptions) -> Self {
        let cursors: Vec<_> =
            sources.into_iter().map(|input| Cursor { input, head: None }).collect();
        Self {
            options,
            waiting: BinaryHeap::with_capacity(cursors.len()),
            active: Vec::with_capacity(cursors.len()),
            cursors,
            started: false,
            rows_out: 0,
            rows_merged: 0,
            rows_overlapping: 0,
        }
    }

    /// What became of the rows so far.
    pub(crate) fn counts(&self) -> MergeCounts {
        let sum = |of: fn(&Cut) -> u64| self.cursors.iter().map(|c| of(&c.input)).sum();
        MergeCounts {
            rows_in: sum(|cut| cut.rows_in),
            rows_out: self.rows_out,
            rows_merged: self.rows_merged,
            rows_deleted: sum(|cut| cut.rows_deleted),
            rows_expired: sum(|cut| cut.rows_expired),
            rows_overlapping: self.rows_overlapping,
        }
    }

    fn step(&mut self) -> Result<Option<Piece>, Error> {
        if !self.started {
            self.started = true;
            for cursor in 0..self.cursors.len() {
                self.advance(cursor)?;
            }
        }
        if self.active.is_empty() && !self.next_series() {
            return Ok(None);
        }
        if let [only] = self.active[..] {
            return self.pass(only, usize::MAX).map(Some);
        }
        let key = |i: usize| (self.cursors[i].first(), i);
        let first = self.active.iter().copied().min_by_key(|i| key(*i));
        let first = first.expect("there are active cursors");
        let others = self.active.iter().filter(|i| **i != first).map(|i| self.cursors[*i].first());
        let bound = others.min().expect("there are at least two");
        let piece = self.cursors[first].head.as_ref().expect("an active cursor has a piece");
        let len = piece.times().partition_point(|time| *time < bound);
        if len == piece.len() || len >= STRETCH_ROWS_MIN {
            self.pass(first, len).map(Some)
        } else {
            self.merge_window().map(Some)
        }
    }

    /// Makes the next series current; whether there is one.
    fn next_series(&mut self) -> bool {
        let Some(Reverse((key, cursor))) = self.waiting.pop() else { return false };
        self.active.push(cursor);
        while self.waiting.peek().is_some_and(|Reverse((other, _))| *other == key) {
            let Some(Reverse((_, cursor))) = self.waiting.pop() else { break };
            self.active.push(cursor);
        }
        true
    }

    /// Fetches the next piece of a cursor that is not active, or of one that ran out of rows.
    fn advance(&mut self, cursor: usize) -> Result<(), Error> {
        self.cursors[cursor].advance()?;
        if let Some(piece) = &self.cursors[cursor].head {
            self.waiting.push(Reverse((piece.key.clone(), cursor)));
        }
        Ok(())
    }

    /// As [`Self::advance`] for an active cursor, which stays active while its series goes on.
    fn advance_active(&mut self, cursor: usize, key: &SeriesKey) -> Result<(), Error> {
        self.cursors[cursor].advance()?;
        let head = &self.cursors[cursor].head;
        if head.as_ref().is_some_and(|piece| piece.key == *key) {
            return Ok(());
        }
        self.active.retain(|active| *active != cursor);
        if let Some(piece) = head {
            self.waiting.push(Reverse((piece.key.clone(), cursor)));
        }
        Ok(())
    }

    /// Gives away the first rows of a cursor as they are.
    fn pass(&mut self, cursor: usize, len: usize) -> Result<Piece, Error> {
        let head = self.cursors[cursor].head.take().expect("an active cursor has a piece");
        let (piece, rest) = head.split_off_front(len);
        self.cursors[cursor].head = rest;
        if self.cursors[cursor].head.is_none() {
            self.advance_active(cursor, &piece.key)?;
        }
        self.rows_out += piece.len() as u64;
        Ok(piece)
    }

    /// Merges row by row as far as every piece at hand reaches.
    fn merge_window(&mut self) -> Result<Piece, Error> {
        let taking = std::mem::take(&mut self.active);
        let pieces: Vec<Piece> = taking
            .iter()
            .map(|i| self.cursors[*i].head.take().expect("an active cursor has a piece"))
            .collect();
        let last = pieces.iter().map(Piece::last).min().expect("there are at least two");
        let key = pieces[0].key.clone();
        let mut heads = Vec::with_capacity(pieces.len());
        let mut rests = Vec::with_capacity(pieces.len());
        for (source, piece) in (0u32..).zip(&pieces) {
            let len = piece.times().partition_point(|time| *time <= last);
            let (next, end) = (piece.rows.start, piece.rows.start + len);
            self.rows_overlapping += len as u64;
            heads.push(Head { source, times: &piece.block.time, next, end });
            rests.push(
                (len < piece.len()).then(|| Piece { rows: end..piece.rows.end, ..piece.clone() }),
            );
        }
        let mut picks = Picks::default();
        picks.merge(&mut heads);
        let blocks: Vec<&Block> = pieces.iter().map(|piece| &*piece.block).collect();
        let block = gather_block(&blocks, &self.options.layout, &picks, self.options.keep_cleared);
        self.active.clone_from(&taking);
        for (cursor, rest) in taking.into_iter().zip(rests) {
            let done = rest.is_none();
            self.cursors[cursor].head = rest;
            if done {
                self.advance_active(cursor, &key)?;
            }
        }
        self.rows_merged += picks.rows_folded() as u64;
        self.rows_out += picks.rows() as u64;
        Ok(Piece { key, rows: 0..block.rows(), block: Arc::new(block) })
    }
}

impl Iterator for Merge {
    type Item = Result<Piece, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step().transpose();
        if matches!(step, Some(Err(_))) {
            self.active.clear();
            self.waiting.clear();
        }
        step
    }
}
