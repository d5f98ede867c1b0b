//! Memtables: what they count, and that views and frozen parts stand still.

use std::collections::BTreeSet;

use super::*;
use crate::batch::{Nulls, TimeSlices};
use crate::model_tests::{SLICE, TABLE, batch, new_row, series_key};
use crate::scan::TimeRange;
use crate::{Error, TableId};

fn insert(memtable: &mut Memtable, rows: &[(usize, i64)], log_index: u64) -> InsertCounts {
    let rows: Vec<_> = rows.iter().map(|(series, time)| new_row(*series, *time, 7)).collect();
    let rows = batch(&rows, u8::MAX, Nulls::Absent);
    memtable.insert(TABLE, rows, &TimeSlices::uniform(SLICE), log_index).unwrap()
}

#[test]
fn many_small_inserts_leave_few_runs() {
    let mut memtable = Memtable::new(0);
    for at in 0..2_000 {
        insert(&mut memtable, &[(0, at % SLICE), (1, at % SLICE)], at.cast_unsigned());
    }
    let view = memtable.view(TABLE, TimeRange::ALL);
    assert!(view.runs.len() < 24, "{} runs", view.runs.len());
    assert!(view.rows() < 200, "doubles are folded as runs merge: {}", view.rows());
}

#[test]
fn rows_with_equal_keys_in_one_batch_are_counted() {
    let mut memtable = Memtable::new(0);
    let counts = insert(&mut memtable, &[(0, 1), (0, 1), (1, 1), (0, 1)], 0);
    assert_eq!(counts, InsertCounts { rows: 4, rows_merged: 2 });
    assert_eq!(memtable.rows(), 2);
}

#[test]
fn a_view_sees_neither_later_rows_nor_later_deletes() {
    let mut memtable = Memtable::new(0);
    insert(&mut memtable, &[(0, 1), (1, 2)], 0);
    let view = memtable.view(TABLE, TimeRange::ALL);
    insert(&mut memtable, &[(0, 3)], 1);
    assert_eq!(memtable.delete(TABLE, None, TimeRange { start: 1, end: 1 }), 1);
    assert_eq!(view.rows(), 2);
    assert_eq!(view.time(), Some(TimeRange { start: 1, end: 2 }));
    assert_eq!(memtable.view(TABLE, TimeRange::ALL).rows(), 2);
}

#[test]
fn a_delete_takes_only_its_series_and_times() {
    let mut memtable = Memtable::new(0);
    insert(&mut memtable, &[(0, 1), (0, 2), (1, 1), (1, 25)], 0);
    let series = BTreeSet::from([series_key(0)]);
    assert_eq!(memtable.delete(TABLE, Some(&series), TimeRange { start: 2, end: 30 }), 1);
    assert_eq!(memtable.delete(TableId(99), None, TimeRange::ALL), 0);
    assert_eq!(memtable.rows(), 3);
}

#[test]
fn rows_and_bytes_are_zero_again_when_all_rows_are_gone() {
    let mut memtable = Memtable::new(0);
    insert(&mut memtable, &[(0, 1), (1, 2), (2, 35)], 0);
    assert!(memtable.bytes() > 0);
    assert_eq!(memtable.expire(TABLE, 2), 1);
    assert_eq!(memtable.expire(TABLE, i64::MIN), 0);
    assert_eq!(memtable.drop_table(TABLE), 2);
    assert_eq!((memtable.rows(), memtable.bytes(), memtable.is_empty()), (0, 0, true));
    assert!(memtable.view(TABLE, TimeRange::ALL).is_empty());
}

#[test]
fn frozen_memtables_cover_neighbouring_log_ranges() {
    let mut memtable = Memtable::new(5);
    insert(&mut memtable, &[(0, 1), (0, 11)], 6);
    assert_eq!(memtable.log_index_first(), Some(6));
    let first = memtable.freeze(9);
    assert!(memtable.is_empty() && memtable.log_index_first().is_none());
    insert(&mut memtable, &[(0, 1)], 12);
    let second = memtable.freeze(12);
    assert_eq!((first.log_index_min(), first.log_index_max()), (5, 9));
    assert_eq!((second.log_index_min(), second.log_index_max()), (10, 12));
    let slices: Vec<_> = first.parts().iter().map(|part| part.slice_start).collect();
    assert_eq!(slices, [0, 10]);
    assert_eq!(first.rows(), 2);
    assert_eq!(first.view(TABLE, TimeRange { start: 5, end: 15 }).rows(), 1);
    assert_eq!(first.view(TableId(8), TimeRange::ALL).rows(), 0);
}

#[test]
#[should_panic(expected = "a memtable from 5 on is frozen at 4")]
fn a_memtable_is_not_frozen_before_its_own_range() {
    Memtable::new(5).freeze(4);
}

#[test]
fn a_part_that_was_put_back_is_older_than_what_is_there() {
    let mut memtable = Memtable::new(0);
    insert(&mut memtable, &[(0, 1)], 2);
    let frozen = memtable.freeze(3);
    insert(&mut memtable, &[(0, 1), (0, 2)], 5);
    memtable.restore(frozen.parts()[0].clone());
    let again = memtable.freeze(7);
    let part = &again.parts()[0];
    assert_eq!((part.log_index_min, part.log_index_max), (0, 7));
    assert_eq!(part.runs[0].rows(), 1, "the old run stands first");
}

#[test]
fn a_damaged_checkpoint_is_an_error() {
    let mut memtable = Memtable::new(0);
    insert(&mut memtable, &[(0, 1), (1, 2)], 2);
    let bytes = memtable.freeze(3).parts()[0].encode().unwrap();
    assert!(SlicePart::decode(&bytes).is_ok());
    for len in [0, 1, 20, 33, bytes.len() / 2] {
        assert!(SlicePart::decode(&bytes[..len]).is_err(), "{len} bytes");
    }
    let mut newer = bytes;
    newer[0] = 2;
    assert!(matches!(SlicePart::decode(&newer), Err(Error::Corrupt(_))));
}
