//! Versions: edits, tombstones, watermarks.

use quorate_segment::{
    ColumnId, ColumnKind, ColumnSpec, Compression, RowSchema, SegmentMeta, WriterSpec,
};

use super::*;
use crate::{LogPosition, SeriesKey};

/// What a manifest would keep of a segment with the keys `key` to `key` and the times 0 to 99.
pub(crate) fn meta(key: u8, log_index_min: u64, log_index_max: u64) -> SegmentMeta {
    let mut file_hash = [key; 32];
    file_hash[0] = u8::try_from(log_index_min).unwrap();
    SegmentMeta {
        table: TableId(7),
        file_hash,
        content_hash: [0; 32],
        bytes: 1000,
        block_table_offset: 900,
        block_table_hash: [0; 32],
        rows: 10,
        series: 1,
        key_min: SeriesKey::encode([Some(format!("{key}").as_str())]).as_bytes().to_vec(),
        key_max: SeriesKey::encode([Some(format!("{key}").as_str())]).as_bytes().to_vec(),
        time_min: 0,
        time_max: 99,
        has_cleared: false,
        schema: RowSchema {
            table: TableId(7),
            time: ColumnSpec { id: ColumnId(0), name: "time".into(), kind: ColumnKind::Time },
            tags: vec![ColumnSpec { id: ColumnId(1), name: "host".into(), kind: ColumnKind::Tag }],
            fields: vec![],
        },
        fields: vec![],
        spec: WriterSpec { writer: 1, compression: Compression::Lz4, log_index_min, log_index_max },
    }
}

/// A live segment of [`meta`], made by a job right after its log range.
pub(crate) fn live(key: u8, log_index_min: u64, log_index_max: u64) -> LiveSegment {
    LiveSegment {
        meta: Arc::new(meta(key, log_index_min, log_index_max)),
        job: LogPosition { term: 1, leader: 1, index: log_index_max + 1 },
        part: 0,
        slice_start: 0,
        level: 0,
    }
}

fn add(version: &Version, segment: LiveSegment) -> Result<Version, Error> {
    version.apply(&Edit { removed: vec![], added: vec![segment] })
}

fn tombstone(log_index: u64) -> Arc<Tombstone> {
    Arc::new(Tombstone { table: TableId(7), series: None, time: TimeRange::ALL, log_index })
}

#[test]
fn segments_stand_in_log_order_whatever_the_order_of_arrival() {
    let version = add(&Version::default(), live(1, 10, 19)).unwrap();
    let version = add(&version, live(1, 0, 9)).unwrap();
    let ranges: Vec<_> = version.iter().map(LiveSegment::log_index_min).collect();
    assert_eq!(ranges, [0, 10]);
}

#[test]
fn an_edit_that_is_in_force_changes_nothing() {
    let version = add(&Version::default(), live(1, 0, 9)).unwrap();
    assert_eq!(add(&version, live(1, 0, 9)).unwrap(), version);
}

#[test]
fn an_edit_that_removes_a_missing_segment_is_refused() {
    let edit = Edit { removed: vec![live(1, 0, 9).name()], added: vec![live(1, 0, 19)] };
    assert!(Version::default().apply(&edit).is_err());
}

#[test]
fn a_segment_inside_the_log_range_of_another_job_is_refused() {
    let version = add(&Version::default(), live(1, 0, 9)).unwrap();
    assert!(add(&version, live(2, 5, 12)).is_err());
}

#[test]
fn a_compaction_replaces_its_inputs_in_one_step() {
    let version = add(&Version::default(), live(1, 0, 9)).unwrap();
    let version = add(&version, live(1, 10, 19)).unwrap();
    let mut merged = live(1, 0, 19);
    merged.job.index = 30;
    let removed = version.iter().map(LiveSegment::name).collect();
    let next = version.apply(&Edit { removed, added: vec![merged.clone()] }).unwrap();
    assert_eq!(next.iter().cloned().collect::<Vec<_>>(), [merged]);
}

#[test]
fn an_edit_that_leaves_nothing_can_be_repeated() {
    let version = add(&Version::default(), live(1, 0, 9)).unwrap();
    let edit = Edit { removed: vec![live(1, 0, 9).name()], added: vec![] };
    let empty = version.apply(&edit).unwrap();
    assert!(empty.segments.is_empty());
    assert_eq!(empty.apply(&edit).unwrap(), empty);
}

#[test]
fn a_tombstone_stays_until_no_segment_predates_it() {
    let mut version = add(&Version::default(), live(1, 0, 9)).unwrap();
    version.add_tombstone(tombstone(15));
    version.forget_tombstones(None);
    assert_eq!(version.tombstones.len(), 1, "the segment was made at 10");

    let mut merged = live(1, 0, 9);
    merged.job.index = 16;
    let removed = version.iter().map(LiveSegment::name).collect();
    let mut next = version.apply(&Edit { removed, added: vec![merged] }).unwrap();
    let mut pending = next.clone();
    pending.forget_tombstones(Some(12));
    assert_eq!(pending.tombstones.len(), 1, "the flush at 12 has not seen it");
    next.forget_tombstones(None);
    assert!(next.tombstones.is_empty(), "the compaction at 16 applied it");
}

#[test]
fn the_same_tombstone_twice_is_one() {
    let mut version = Version::default();
    version.add_tombstone(tombstone(15));
    version.add_tombstone(tombstone(15));
    version.add_tombstone(tombstone(11));
    let indexes: Vec<_> = version.tombstones.iter().map(|t| t.log_index).collect();
    assert_eq!(indexes, [11, 15]);
}

#[test]
fn a_watermark_never_falls_and_names_wholly_older_segments() {
    let mut version = add(&Version::default(), live(1, 0, 9)).unwrap();
    version.expire(TableId(7), 99);
    version.expire(TableId(7), 50);
    assert_eq!(version.expired_before(TableId(7)), Some(99));
    assert!(version.expired_segments().is_empty(), "a row at 99 is not before 99");
    version.expire(TableId(7), 100);
    assert_eq!(version.expired_segments(), [live(1, 0, 9).name()]);
}

#[test]
fn a_dropped_table_leaves_only_its_mark() {
    let mut version = add(&Version::default(), live(1, 0, 9)).unwrap();
    version.add_tombstone(tombstone(15));
    assert_eq!(version.drop_table(TableId(7)).len(), 1);
    assert!(version.segments.is_empty() && version.tombstones.is_empty());
    assert!(version.dropped.contains(&TableId(7)));
}

#[test]
fn a_version_survives_postcard() {
    let mut version = add(&Version::default(), live(1, 0, 9)).unwrap();
    version.add_tombstone(Arc::new(Tombstone {
        series: Some(BTreeSet::from([SeriesKey::encode([Some("a")])])),
        ..(*tombstone(15)).clone()
    }));
    version.expire(TableId(7), 5);
    let bytes = postcard::to_stdvec(&version).unwrap();
    assert_eq!(postcard::from_bytes::<Version>(&bytes).unwrap(), version);
}
