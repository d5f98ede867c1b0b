//! The state machine of a shard: each rule of jobs, tombstones, watermarks and keys, without a log or a disk.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, TimestampNanosecondArray, UInt32Array};
use quorate_segment::{ColumnId, ColumnKind, ColumnSpec, FieldType, RowSchema, SeriesKey};

use super::*;
use crate::batch::{Nulls, TimeSlices};
use crate::compaction::Choice;
use crate::scan::TimeRange;
use crate::shard::command::WritePart;
use crate::version::tests::live;

/// The table of [`crate::version::tests::live`].
const TABLE: TableId = TableId(7);

fn at(index: u64) -> LogPosition {
    LogPosition { term: 1, leader: 1, index }
}

fn empty() -> ShardState {
    ShardState::from_record(None, Bytes::new(), ShardRecord::default()).unwrap()
}

fn table() -> TableRecord {
    let column = |id, name: &str, kind| ColumnSpec { id: ColumnId(id), name: name.into(), kind };
    TableRecord {
        schema: RowSchema {
            table: TABLE,
            time: column(1, "time", ColumnKind::Time),
            tags: vec![column(2, "host", ColumnKind::Tag)],
            fields: vec![column(3, "usage", ColumnKind::Field(FieldType::Float64))],
        },
        changed_at: 1,
        slices: TimeSlices::uniform(1_000),
    }
}

fn rows(times: &[i64]) -> RowBatch {
    let values: ArrayRef = Arc::new(Float64Array::from(vec![1.0; times.len()]));
    RowBatch {
        series: vec![SeriesKey::encode([Some("1")])],
        series_of_row: UInt32Array::from(vec![0; times.len()]),
        time: Arc::new(TimestampNanosecondArray::from(times.to_vec()).with_timezone("UTC")),
        fields: vec![(ColumnId(3), values)],
        nulls: Nulls::Absent,
    }
}

fn write(state: &mut ShardState, index: u64, times: &[i64], key: Option<WriteKey>) -> WriteOutcome {
    let part = WritePart { table: TABLE, routing_epoch: 5, rows: times.len() as u64, bytes: 0 };
    let item = WriteItem { catalog_index: 1, key, rejections: vec![], parts: vec![part] };
    let command =
        Command::Write(WriteCommand { time: 0, tables: vec![table()], writes: vec![item] });
    match apply(state, index, command, vec![rows(times)]) {
        Reply::Written(mut outcomes) => outcomes.remove(0),
        other => panic!("{other:?}"),
    }
}

fn apply(state: &mut ShardState, index: u64, command: Command, rows: Vec<RowBatch>) -> Reply {
    let (reply, _) = state.apply(at(index), command, rows).unwrap();
    state.advance(at(index));
    reply
}

fn flush(state: &mut ShardState, index: u64) {
    let flush = FlushCommand { time: 0, writer: 1, keep: vec![] };
    apply(state, index, Command::Flush(flush), vec![]);
}

fn delete(state: &mut ShardState, index: u64, range: TimeRange) {
    let delete = DeleteCommand { time: 0, table: TABLE, series: None, range, key: None };
    apply(state, index, Command::Delete(delete), vec![]);
}

fn compact(state: &mut ShardState, index: u64, inputs: Vec<SegmentRef>) {
    let choice = Choice { table: TABLE, slice_start: 0, inputs, is_bottom: true, level: 1 };
    let command = CompactCommand { choice, writer: 1, segment_bytes_max: 1 };
    apply(state, index, Command::Compact(command), vec![]);
}

/// A segment as the flush at `index` would make it, of the log range from `from` on.
fn made_by(from: u64, index: u64) -> LiveSegment {
    LiveSegment { job: at(index), ..live(1, from, index) }
}

fn stored(outcome: WriteOutcome) -> StoredResult {
    match outcome {
        WriteOutcome::Stored(stored) => stored,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_flush_freezes_the_memtable_at_its_own_index() {
    let mut state = empty();
    write(&mut state, 1, &[10], None);
    flush(&mut state, 2);
    write(&mut state, 3, &[20], None);
    assert_eq!(state.flushes[&2].frozen.rows(), 1);
    assert_eq!((state.flushes[&2].frozen.log_index_max(), state.active.rows()), (2, 1));
}

#[test]
fn flushes_install_in_log_order() {
    let mut state = empty();
    flush(&mut state, 2);
    flush(&mut state, 4);
    assert!(state.install_flush(4, vec![made_by(3, 4)], 0).is_err());
    assert!(state.install_flush(2, vec![made_by(0, 2)], 0).unwrap().is_some());
    assert!(state.install_flush(4, vec![made_by(3, 4)], 0).unwrap().is_some());
}

#[test]
fn installing_a_job_again_changes_nothing() {
    let mut state = empty();
    flush(&mut state, 2);
    state.install_flush(2, vec![made_by(0, 2)], 0).unwrap();
    let name = made_by(0, 2).name();
    compact(&mut state, 3, vec![name]);
    let merged = LiveSegment { level: 1, job: at(3), ..live(1, 0, 2) };
    assert!(state.install_compaction(3, vec![merged.clone()], 0).unwrap());
    let version = Arc::clone(&state.version);
    assert!(state.install_flush(2, vec![made_by(0, 2)], 0).unwrap().is_none());
    assert!(!state.install_compaction(3, vec![merged], 0).unwrap());
    assert_eq!(state.version, version);
}

#[test]
fn a_capture_holds_the_state_of_its_own_index_and_the_files_of_jobs_up_to_it() {
    let mut state = empty();
    flush(&mut state, 2);
    flush(&mut state, 4);
    delete(&mut state, 5, TimeRange::ALL);
    write(&mut state, 6, &[1], Some(WriteKey { key: "k".into(), chunk: 0, digest: None }));
    let first = state.install_flush(2, vec![made_by(0, 2)], 3).unwrap().unwrap();
    compact(&mut state, 7, vec![made_by(0, 2).name()]);
    let merged = LiveSegment { level: 1, job: at(7), ..live(1, 0, 2) };
    state.install_compaction(7, vec![merged], 0).unwrap();
    let second = state.install_flush(4, vec![made_by(3, 4)], 0).unwrap().unwrap();
    let names = |flush: &PendingFlush| -> Vec<u64> {
        flush.captured.record.version.iter().map(|s| s.job.index).collect()
    };
    assert_eq!(names(&first), [2]);
    assert_eq!(names(&second), [2, 4], "the compaction at 7 is later than the manifest of 4");
    assert!(second.captured.record.version.tombstones.is_empty(), "the delete came later");
    assert_eq!(second.captured.record.dedup, DedupWindow::default().record());
    assert_eq!(second.captured.record.counters.rows_deduplicated, 3);
    let live: Vec<u64> = state.version.iter().map(|s| s.job.index).collect();
    assert_eq!(live, [7, 4]);
}

#[test]
fn a_compaction_that_is_logged_and_not_installed_is_listed_in_the_manifest() {
    let mut state = empty();
    flush(&mut state, 2);
    state.install_flush(2, vec![made_by(0, 2)], 0).unwrap();
    compact(&mut state, 3, vec![made_by(0, 2).name()]);
    flush(&mut state, 4);
    flush(&mut state, 5);
    let four = state.install_flush(4, vec![], 0).unwrap().unwrap();
    assert_eq!(four.captured.record.compactions.len(), 1);
    let merged = LiveSegment { level: 1, job: at(3), ..live(1, 0, 2) };
    state.install_compaction(3, vec![merged], 0).unwrap();
    let five = state.install_flush(5, vec![], 0).unwrap().unwrap();
    assert!(five.captured.record.compactions.is_empty());
    assert_eq!(five.captured.record.version.iter().next().unwrap().job.index, 3);
    let again = ShardState::from_record(
        Some(four.position),
        Bytes::new(),
        ShardRecord::decode(&four.captured.record.encode().unwrap()).unwrap(),
    )
    .unwrap();
    assert!(again.runnable(&again.compactions[&3]), "a restart takes the job up again");
}

#[test]
fn a_compaction_waits_for_inputs_that_an_earlier_job_has_yet_to_make() {
    let mut state = empty();
    flush(&mut state, 2);
    compact(&mut state, 3, vec![made_by(0, 2).name()]);
    assert!(!state.runnable(&state.compactions[&3]));
    state.install_flush(2, vec![made_by(0, 2)], 0).unwrap();
    assert!(state.runnable(&state.compactions[&3]));
    compact(&mut state, 4, vec![made_by(0, 2).name()]);
    assert!(!state.compactions.contains_key(&4), "an input of one job is not another's");
    compact(&mut state, 5, vec![made_by(50, 60).name()]);
    assert!(!state.compactions.contains_key(&5), "an input that nothing makes voids the job");
}

#[test]
fn a_replica_whose_content_differs_from_the_majoritys_stops() {
    let verify = |job, byte| {
        Command::Verify(VerifyCommand { job, content_hash: [byte; 32], file_hash: [0; 32] })
    };
    let mut state = empty();
    flush(&mut state, 2);
    flush(&mut state, 3);
    state.note_made(2, [1; 32]).unwrap();
    assert!(state.apply(at(4), verify(2, 1), vec![]).is_ok());
    state.note_made(3, [1; 32]).unwrap();
    assert!(state.apply(at(5), verify(3, 9), vec![]).is_err());

    let mut slower = empty();
    flush(&mut slower, 2);
    apply(&mut slower, 3, verify(2, 9), vec![]);
    assert!(slower.note_made(2, [1; 32]).is_err(), "the majority was faster");
}

#[test]
fn a_delete_edits_the_memtable_and_is_a_tombstone_for_older_files_only() {
    let mut state = empty();
    write(&mut state, 1, &[10, 20], None);
    delete(&mut state, 2, TimeRange { start: 10, end: 10 });
    assert_eq!(state.active.rows(), 1);
    assert!(state.version.tombstones.is_empty(), "no file is older");
    flush(&mut state, 3);
    write(&mut state, 4, &[30], None);
    delete(&mut state, 5, TimeRange { start: 20, end: 30 });
    assert_eq!(state.active.rows(), 0);
    let indexes: Vec<_> = state.version.tombstones.iter().map(|t| t.log_index).collect();
    assert_eq!(indexes, [5], "the frozen memtable is older");
}

#[test]
fn expired_rows_are_rejected_removed_and_their_segments_go() {
    let mut state = empty();
    flush(&mut state, 1);
    state.install_flush(1, vec![made_by(0, 1)], 0).unwrap();
    write(&mut state, 2, &[50, 500], None);
    apply(&mut state, 3, Command::Expire { table: TABLE, before: 100 }, vec![]);
    assert_eq!(state.active.rows(), 1, "rows in memory are taken out");
    assert_eq!(state.version.iter().count(), 0, "times 0 to 99 are all expired");
    let result = stored(write(&mut state, 4, &[99, 100], None));
    assert_eq!((result.accepted, result.rejected), (1, 1));
    assert_eq!(result.reason, Some(RejectReason::Expired));
    apply(&mut state, 5, Command::Expire { table: TABLE, before: 7 }, vec![]);
    assert_eq!(state.version.expired_before(TABLE), Some(100), "a watermark never falls");
}

#[test]
fn an_expired_segment_stays_while_a_pending_compaction_reads_it() {
    let mut state = empty();
    flush(&mut state, 1);
    state.install_flush(1, vec![made_by(0, 1)], 0).unwrap();
    compact(&mut state, 2, vec![made_by(0, 1).name()]);
    apply(&mut state, 3, Command::Expire { table: TABLE, before: 1_000 }, vec![]);
    assert_eq!(state.version.iter().count(), 1);
    let merged = LiveSegment { level: 1, job: at(2), ..live(1, 0, 1) };
    state.install_compaction(2, vec![merged], 0).unwrap();
    assert_eq!(state.version.iter().count(), 0, "what came out is expired as well");
}

#[test]
fn a_dropped_table_rejects_later_entries_and_cancels_its_jobs() {
    let mut state = empty();
    write(&mut state, 1, &[10], None);
    flush(&mut state, 2);
    apply(&mut state, 3, Command::DropTables { tables: vec![TABLE] }, vec![]);
    state.install_flush(2, vec![made_by(0, 2)], 0).unwrap();
    assert_eq!(state.version.iter().count(), 0, "files that come later are nobody's");
    let result = stored(write(&mut state, 4, &[10], None));
    assert_eq!((result.accepted, result.rejected), (0, 1));
    assert_eq!(result.reason, Some(RejectReason::TableDropped(TABLE)));
    assert!(!state.tables.contains_key(&TABLE));
}

#[test]
fn an_entry_of_an_older_routing_epoch_is_refused_retryably() {
    let mut state = empty();
    apply(&mut state, 1, Command::Fence { table: TABLE, epoch: 5 }, vec![]);
    assert!(matches!(write(&mut state, 2, &[1], None), WriteOutcome::Stored(_)));
    apply(&mut state, 3, Command::Fence { table: TABLE, epoch: 6 }, vec![]);
    assert_eq!(write(&mut state, 4, &[1], None), WriteOutcome::StaleRouting);
}

#[test]
fn parts_that_stay_are_in_the_manifest_and_in_memory() {
    let mut state = empty();
    write(&mut state, 1, &[10, 1_010], None);
    let command = FlushCommand { time: 0, writer: 1, keep: vec![(TABLE, 0)] };
    apply(&mut state, 2, Command::Flush(command), vec![]);
    assert_eq!((state.active.rows(), state.flushes[&2].frozen.rows()), (1, 1));
    assert_eq!(state.active.log_index_first(), None, "nothing in it is new");
    delete(&mut state, 3, TimeRange { start: 0, end: 99 });
    assert_eq!(state.active.rows(), 0);
    let mut flush = state.install_flush(2, vec![], 0).unwrap().unwrap();
    let kept = flush.captured.kept.iter().map(|part| part.encode().unwrap()).collect();
    flush.captured.record.checkpoint = kept;
    let bytes = flush.captured.record.encode().unwrap();
    let record = ShardRecord::decode(&bytes).unwrap();
    let mut again = ShardState::from_record(Some(at(2)), Bytes::new(), record).unwrap();
    assert_eq!(again.active.rows(), 1, "as of its own index the row was there");
    delete(&mut again, 3, TimeRange { start: 0, end: 99 });
    assert_eq!(again.active.rows(), 0);
}

#[test]
#[should_panic(expected = "applied index regression")]
fn the_applied_index_never_falls() {
    let mut state = empty();
    state.advance(at(5));
    state.advance(at(5));
}

/// What is left of a job is not what it made: it cannot be compared with all of that.
#[test]
fn a_job_that_was_replaced_in_part_is_not_taken_for_another_one() {
    let of_job =
        |slice_start: i64, key: u8| LiveSegment { job: at(9), slice_start, ..live(key, 0, 8) };
    let (first, second) = (of_job(0, 1), of_job(1_000, 2));
    let made = content_of([&first, &second]);
    let mut state = empty();
    let install = |state: &mut ShardState, removed: Vec<SegmentRef>, added: Vec<LiveSegment>| {
        let next = state.version.apply(&Edit { removed, added }).unwrap();
        state.version = Arc::new(next);
    };
    install(&mut state, vec![], vec![first.clone(), second]);
    assert_eq!(state.made_same(9, &made), None, "it is not applied");
    state.advance(at(20));
    assert_eq!(state.made_same(9, &made), Some(true));
    assert_eq!(state.made_same(9, &[7; 32]), Some(false));
    let merged = LiveSegment { job: at(15), level: 1, ..live(1, 0, 8) };
    install(&mut state, vec![first.name()], vec![merged]);
    assert_eq!(state.made_same(9, &made), None, "the rest says nothing");
}
