//! Leaves out the rows of one source that a time range, a watermark or a tombstone hides.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::{Piece, PieceStream};
use crate::scan::TimeRange;
use crate::version::Tombstone;
use crate::{Error, SeriesKey};

/// What hides rows of a source.
#[derive(Clone, Debug)]
pub(crate) struct Hiding {
    /// Only these times are wanted.
    pub(crate) time: TimeRange,
    /// Rows with a time below are expired.
    pub(crate) expired_before: Option<i64>,
    /// Deletes that are newer than the source.
    pub(crate) tombstones: Vec<Arc<Tombstone>>,
}

impl Hiding {
    /// Whether every row of a source with these times is visible.
    pub(crate) fn spares(&self, time: TimeRange) -> bool {
        self.time.covers(time)
            && self.expired_before.is_none_or(|before| before <= time.start)
            && !self.tombstones.iter().any(|t| t.time.overlaps(time))
    }
}

/// A source without its hidden rows. Works by binary search within pieces, never row by row.
pub(crate) struct Cut {
    input: PieceStream,
    hiding: Hiding,
    /// Tombstones of the series at hand.
    series: Option<(SeriesKey, Vec<TimeRange>)>,
    ready: VecDeque<Piece>,
    /// Rows that came in.
    pub(crate) rows_in: u64,
    /// Rows that a tombstone hid.
    pub(crate) rows_deleted: u64,
    /// Rows below the watermark.
    pub(crate) rows_expired: u64,
}

impl std::fmt::Debug for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cut").field("hiding", &self.hiding).finish_non_exhaustive()
    }
}

impl Cut {
    /// Cuts `input`.
    pub(crate) fn new(input: PieceStream, hiding: Hiding) -> Self {
        let ready = VecDeque::new();
        Self { input, hiding, series: None, ready, rows_in: 0, rows_deleted: 0, rows_expired: 0 }
    }

    fn cut(&mut self, piece: &Piece) {
        self.rows_in += piece.len() as u64;
        let times = piece.times();
        let mut start = times.partition_point(|time| *time < self.hiding.time.start);
        let end = times.partition_point(|time| *time <= self.hiding.time.end);
        if let Some(before) = self.hiding.expired_before {
            let alive = times.partition_point(|time| *time < before);
            self.rows_expired += alive.min(end).saturating_sub(start) as u64;
            start = start.max(alive);
        }
        if start >= end {
            return;
        }
        if self.hiding.tombstones.is_empty() {
            self.keep(piece, start..end);
            return;
        }
        self.cut_tombstones(piece, start, end);
    }

    fn cut_tombstones(&mut self, piece: &Piece, mut start: usize, end: usize) {
        if self.series.as_ref().is_none_or(|(key, _)| *key != piece.key) {
            let mut hidden: Vec<_> = self.hiding.tombstones.iter().collect();
            hidden.retain(|t| t.has_series(&piece.key));
            let mut hidden: Vec<_> = hidden.iter().map(|t| t.time).collect();
            hidden.sort_unstable_by_key(|time| (time.start, time.end));
            self.series = Some((piece.key.clone(), hidden));
        }
        let (_, hidden) = self.series.take().expect("set just now");
        let times = piece.times();
        for range in &hidden {
            let from = times.partition_point(|time| *time < range.start).clamp(start, end);
            let to = times.partition_point(|time| *time <= range.end).clamp(from, end);
            self.keep(piece, start..from);
            self.rows_deleted += (to - from) as u64;
            start = to.max(start);
        }
        self.keep(piece, start..end);
        self.series = Some((piece.key.clone(), hidden));
    }

    fn keep(&mut self, piece: &Piece, rows: Range<usize>) {
        if !rows.is_empty() {
            let rows = piece.rows.start + rows.start..piece.rows.start + rows.end;
            self.ready.push_back(Piece { rows, ..piece.clone() });
        }
    }
}

impl Iterator for Cut {
    type Item = Result<Piece, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Some(Ok(piece));
            }
            match self.input.next()? {
                Ok(piece) => self.cut(&piece),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
