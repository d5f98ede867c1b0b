//! Tests of recovery: each kind of damage, and each single damaged byte.

use std::sync::mpsc;

use super::*;
use crate::entry::{Entry, EntryKind};
use crate::log_segment::{MARK_OFFSET, encode_mark};
use crate::{ErrorKind, GroupLog, SimDisk, Wal, WalOptions};

const DIR: &str = "/wal";
const IDENTITY: Identity = Identity { cluster: 7, node: 1 };

fn options() -> WalOptions {
    let Identity { cluster, node } = IDENTITY;
    WalOptions {
        segment_bytes: 64 << 10,
        reserve_bytes: 0,
        cache_bytes: 0,
        ..WalOptions::new(DIR, cluster, node)
    }
}

fn open(disk: &SimDisk) -> (Wal, Recovery) {
    Wal::open(disk.process(), options()).unwrap()
}

fn at(index: u64) -> LogPosition {
    LogPosition { term: 1, leader: 1, index }
}

/// Bytes of which no sector is near zero.
fn payload(len: usize, salt: u64) -> Arc<[u8]> {
    (salt..).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8 | 1).take(len).collect()
}

fn entry(index: u64, len: usize) -> Entry {
    Entry { position: at(index), kind: EntryKind::Normal, payload: payload(len, index) }
}

fn wait(call: impl FnOnce(crate::SyncCallback) -> Result<(), Error>) -> Result<(), Error> {
    let (sender, receiver) = mpsc::channel();
    call(Box::new(move |result| sender.send(result).unwrap()))?;
    receiver.recv().unwrap()
}

/// One entry in a frame of its own.
fn append(log: &GroupLog, index: u64) {
    wait(|done| log.append(vec![entry(index, 700)], done)).unwrap();
}

fn vote(log: &GroupLog, vote: &[u8]) {
    wait(|done| log.save_vote(Arc::from(vote), done)).unwrap();
}

fn segment(number: u64) -> PathBuf {
    segment_path(Path::new(DIR), number)
}

fn frames(disk: &SimDisk, number: u64) -> Vec<Found> {
    let image = Image { bytes: disk.content(&segment(number)).unwrap(), unreadable: Vec::new() };
    scan::scan(&image, number).unwrap().frames
}

/// Numbers of the segments.
fn segments(disk: &SimDisk) -> Vec<u64> {
    let names = disk.process().list(Path::new(DIR)).unwrap();
    names.iter().filter_map(|name| segment_of_name(name)).collect()
}

/// The frame that holds an entry.
fn frame_of(disk: &SimDisk, group: u64, index: u64) -> Found {
    let holds = |found: &Found| {
        found.frame.records.iter().any(|tagged| {
            let is_entry = matches!(&tagged.record, crate::record::Record::Entry { position, .. }
                if position.index == index);
            tagged.group == GroupId(group) && is_entry
        })
    };
    let mut all = segments(disk).into_iter().flat_map(|number| frames(disk, number));
    all.find(holds).expect("it was appended")
}

/// Damages both copies of a frame's directory.
fn destroy(disk: &SimDisk, found: &Found) {
    let header = found.frame.header;
    for offset in [header.offset, header.footer_offset()] {
        disk.flip_bit(&segment(header.segment), offset * 8 + 77).unwrap();
    }
}

fn read(wal: &Wal, group: u64) -> Vec<u64> {
    let entries = wal.group(GroupId(group)).read(0..u64::MAX, u64::MAX).unwrap();
    for entry in &entries {
        assert_eq!(entry.payload, payload(entry.payload.len(), entry.position.index));
    }
    entries.iter().map(|entry| entry.position.index).collect()
}

fn quarantined(found: &Recovery) -> Vec<u64> {
    found.quarantined.iter().map(|group| group.0).collect()
}

/// What must not change, whatever single byte is damaged.
#[derive(Debug, PartialEq)]
struct Content {
    state: GroupState,
    entries: Vec<(LogPosition, EntryKind, u32)>,
}

fn recover_content(disk: &SimDisk) -> (BTreeMap<GroupId, Content>, Recovery) {
    let recovered = recover(&*disk.process(), Path::new(DIR), IDENTITY).unwrap();
    let entries = |outcome: &GroupOutcome| {
        outcome.entries.iter().map(|entry| (entry.position, entry.kind, entry.crc)).collect()
    };
    let states = recovered.report.groups.clone();
    let content = states
        .into_iter()
        .map(|(id, state)| (id, Content { entries: entries(&recovered.groups[&id]), state }));
    (content.collect(), recovered.report)
}

/// A log with everything in it, over two segments.
fn history(close: bool) -> SimDisk {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    let logs = [0, 1, 2].map(|group| wal.group(GroupId(group)));
    for (log, name) in logs.iter().zip([b"a", b"b", b"c"]) {
        vote(log, name);
    }
    for index in 0..8 {
        for (log, len) in logs.iter().zip([300, 5_000, 0]) {
            log.append(vec![entry(index, len)], Box::new(|_| {})).unwrap();
        }
        logs[1].save_committed(Arc::from(index.to_le_bytes())).unwrap();
    }
    wait(|done| logs[0].append(Vec::new(), done)).unwrap();
    logs[0].truncate_after(Some(at(5))).unwrap();
    logs[2].purge(at(6)).unwrap();
    for index in 8..11 {
        append(&logs[1], index);
    }
    vote(&logs[1], b"later");
    append(&logs[0], 6);
    wait(|done| logs[1].append(vec![entry(11, 1_500), entry(12, 40)], done)).unwrap();
    if close {
        wal.close().unwrap();
    } else {
        disk.cut_power();
    }
    disk
}

/// Damages one bit of each byte with an even or odd offset.
fn check_each_byte(close: bool) {
    let disk = history(close);
    let (want, found) = recover_content(&disk);
    assert_eq!((found.lost, found.faulty.len()), (None, 0));
    let recovered = recover(&*disk.process(), Path::new(DIR), IDENTITY).unwrap();
    let entries: Vec<_> =
        recovered.groups.values().flat_map(|outcome| outcome.entries.clone()).collect();
    let mut faulty_count = 0;
    for number in segments(&disk) {
        let path = segment(number);
        let content = disk.content(&path).unwrap();
        let used = frames(&disk, number).last().unwrap().frame.header.end() + 5_000;
        for at in (u64::from(close)..used.min(content.len() as u64)).step_by(2) {
            disk.flip_bit(&path, at * 8 + (at * 5 + 3) % 8).unwrap();
            let (got, found) = recover_content(&disk);
            assert_eq!(found.lost, None, "byte {at} of segment {number}");
            assert_eq!(got, want, "byte {at} of segment {number}");
            let hit = entries.iter().filter(|entry| {
                let bytes = entry.offset..entry.offset + u64::from(entry.len);
                entry.segment == number && bytes.contains(&at)
            });
            let hit: Vec<_> = hit.map(|entry| entry.position).collect();
            let faulty: Vec<_> = found.faulty.into_values().flatten().collect();
            assert_eq!(faulty, hit, "byte {at} of segment {number}");
            faulty_count += faulty.len();
            let original = content[usize::try_from(at).unwrap()];
            disk.overwrite(&path, at, &[original]).unwrap();
        }
    }
    assert!(faulty_count > 20_000, "{faulty_count}");
}

#[test]
fn each_damaged_byte_of_a_closed_log_is_reported_or_mended() {
    check_each_byte(true);
}

#[test]
fn each_damaged_byte_of_a_log_without_power_is_reported_or_mended() {
    check_each_byte(false);
}

#[test]
fn each_damaged_byte_of_the_hard_state_is_mended_from_the_log() {
    let disk = history(true);
    let (want, _) = recover_content(&disk);
    let path = Path::new(DIR).join(HARDSTATE);
    for at in (0..10 * BLOCK as u64).step_by(3) {
        let damaged = disk.fork(at);
        damaged.flip_bit(&path, at * 8 + at % 8).unwrap();
        let (got, found) = recover_content(&damaged);
        assert_eq!((found.lost, found.faulty.len()), (None, 0), "byte {at}");
        assert_eq!(got, want, "byte {at}");
    }
    let without = disk.fork(1);
    without.process().remove(&path).unwrap();
    let (got, found) = recover_content(&without);
    assert_eq!((got, found.lost), (want, None));
}

/// Entries are those that were written, and if some are missing, that is known. Those of [`history`] that were purged
/// may come back where the frame that says so is gone, which is known as well: they are true.
fn check_spliced(want: &BTreeMap<GroupId, Content>, disk: &SimDisk, what: &str) -> bool {
    let (got, found) = recover_content(disk);
    for (group, content) in &got {
        for entry in &content.entries {
            let purged = *group == GroupId(2)
                && (0..=6).any(|index| *entry == (at(index), EntryKind::Normal, 0));
            let known = purged || want[group].entries.contains(entry);
            assert!(known, "{what}: {entry:?} of {group:?}");
        }
    }
    let told = found.lost.is_some() || !found.faulty.is_empty() || !found.quarantined.is_empty();
    assert!(told || got == *want, "{what}: a loss that nobody is told of");
    told
}

#[test]
fn a_whole_frame_in_the_place_of_another_is_damage() {
    let disk = history(true);
    let (want, _) = recover_content(&disk);
    let mut told = 0;
    for number in segments(&disk) {
        let path = segment(number);
        let content = disk.content(&path).unwrap();
        let places = frames(&disk, number);
        let range = |found: &Found| {
            let header = found.frame.header;
            usize::try_from(header.offset).unwrap()..usize::try_from(header.end()).unwrap()
        };
        for (from, to) in places.iter().flat_map(|from| places.iter().map(move |to| (from, to))) {
            let (from, to) = (range(from), range(to));
            let end = content.len().min(to.start + from.len());
            if from == to {
                continue;
            }
            disk.overwrite(&path, to.start as u64, &content[from.start..][..end - to.start])
                .unwrap();
            let what = format!("segment {number}: the frame at {} over {}", from.start, to.start);
            told += usize::from(check_spliced(&want, &disk, &what));
            disk.overwrite(&path, to.start as u64, &content[to.start..end]).unwrap();
        }
    }
    assert!(told > 10, "{told}");
}

#[test]
fn a_faulty_entry_is_kept_until_its_loss_is_accepted() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    for index in 0..4 {
        append(&wal.group(GroupId(0)), index);
        append(&wal.group(GroupId(1)), index);
    }
    wal.group(GroupId(1)).save_committed(Arc::from(*b"3")).unwrap();
    wal.close().unwrap();
    let offset = frame_of(&disk, 1, 2).frame.header.payload_offset();
    disk.flip_bit(&segment(1), offset * 8).unwrap();

    for _ in 0..2 {
        let (wal, found) = open(&disk);
        assert_eq!((found.faulty, found.lost), ([(GroupId(1), vec![at(2)])].into(), None));
        let log = wal.group(GroupId(1));
        assert_eq!(read(&wal, 0), [0, 1, 2, 3]);
        assert_eq!(read(&wal, 1), [0, 1]);
        assert_eq!(log.read(2..4, 1).unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(log.read(3..4, 1).unwrap(), [entry(3, 700)]);
        assert_eq!(log.state().last, Some(at(3)));
        wal.close().unwrap();
    }
    let (wal, _) = open(&disk);
    assert_eq!(wal.accept_loss(GroupId(1)).unwrap(), [at(2), at(3)]);
    assert_eq!(wal.accept_loss(GroupId(1)).unwrap(), []);
    let state = wal.group(GroupId(1)).state();
    assert_eq!((state.last, state.committed), (Some(at(1)), None));
    disk.cut_power();
    let (wal, found) = open(&disk);
    assert_eq!((found.faulty.len(), found.lost), (0, None));
    assert_eq!((read(&wal, 0), read(&wal, 1)), (vec![0, 1, 2, 3], vec![0, 1]));
    append(&wal.group(GroupId(1)), 2);
}

#[test]
fn a_lost_frame_quarantines_whom_it_may_have_touched() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    let logs = [0, 1, 2].map(|group| wal.group(GroupId(group)));
    for index in 0..2 {
        for log in &logs {
            append(log, index);
        }
    }
    append(&logs[1], 2);
    append(&logs[0], 2);
    append(&logs[1], 3);
    wal.close().unwrap();
    destroy(&disk, &frame_of(&disk, 1, 2));

    // Group 0 has a record since and the number before it; group 1 has a jump; group 2 cannot tell.
    let (wal, found) = open(&disk);
    assert_eq!(quarantined(&found), [1, 2]);
    assert!(found.lost.unwrap().contains("are missing"));
    assert_eq!(
        (read(&wal, 0), read(&wal, 1), read(&wal, 2)),
        (vec![0, 1, 2], vec![0, 1], vec![0, 1])
    );
    append(&wal.group(GroupId(0)), 3);
    let log = wal.group(GroupId(1));
    for refused in [
        log.append(vec![entry(2, 1)], Box::new(|_| {})),
        log.save_vote(Arc::from(*b"v"), Box::new(|_| {})),
        log.save_committed(Arc::from(*b"c")),
        log.truncate_after(None),
        log.purge(at(0)),
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Corrupt);
    }
    assert_eq!(wal.accept_loss(GroupId(1)).unwrap(), [at(3)]);
    append(&log, 2);
    disk.cut_power();

    let (wal, found) = open(&disk);
    assert_eq!(quarantined(&found), [2]);
    assert_eq!(wal.accept_loss(GroupId(2)).unwrap(), []);
    // Over many segments the verdicts stay, and so does the log.
    for index in 3..120 {
        wait(|done| wal.group(GroupId(1)).append(vec![entry(index, 3_000)], done)).unwrap();
    }
    disk.cut_power();
    let (wal, found) = open(&disk);
    assert_eq!((quarantined(&found).len(), found.lost), (0, None));
    assert_eq!(read(&wal, 0), [0, 1, 2, 3]);
    assert_eq!(read(&wal, 1).len(), 120);
}

#[test]
fn a_quarantine_outlives_the_segment_of_the_damage() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    let logs = [0, 1].map(|group| wal.group(GroupId(group)));
    for index in 0..3 {
        for log in &logs {
            append(log, index);
        }
    }
    wal.close().unwrap();
    destroy(&disk, &frame_of(&disk, 0, 1));
    let (wal, found) = open(&disk);
    assert_eq!(quarantined(&found), [0]);
    for index in 3..100 {
        wait(|done| wal.group(GroupId(1)).append(vec![entry(index, 3_000)], done)).unwrap();
    }
    wal.group(GroupId(1)).purge(at(98)).unwrap();
    wal.close().unwrap();
    let (_, found) = open(&disk);
    assert_eq!(quarantined(&found), [0]);
}

#[test]
fn a_lost_vote_comes_from_its_second_copy_and_touches_no_entry() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    let log = wal.group(GroupId(0));
    append(&log, 0);
    vote(&log, b"lost");
    append(&log, 1);
    wal.close().unwrap();
    let lost = frame_of(&disk, 0, 1).frame.header.frame - 1;
    let frames = frames(&disk, 1);
    destroy(&disk, frames.iter().find(|found| found.frame.header.frame == lost).unwrap());
    let (wal, found) = open(&disk);
    assert_eq!((quarantined(&found).len(), found.lost), (0, None));
    assert_eq!(wal.group(GroupId(0)).state().vote.as_deref(), Some(b"lost".as_slice()));
    assert_eq!(read(&wal, 0), [0, 1]);
}

#[test]
fn entries_that_were_lost_and_then_purged_are_not_missed() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    let log = wal.group(GroupId(0));
    for index in 0..6 {
        append(&log, index);
    }
    log.purge(at(4)).unwrap();
    append(&log, 6);
    wal.close().unwrap();
    destroy(&disk, &frame_of(&disk, 0, 3));
    let (wal, found) = open(&disk);
    assert_eq!((quarantined(&found).len(), found.lost), (0, None));
    let entries = wal.group(GroupId(0)).read(0..9, u64::MAX).unwrap();
    assert_eq!(entries, [entry(5, 700), entry(6, 700)]);
}

#[test]
fn a_last_frame_without_directory_is_torn_unless_the_mark_says_otherwise() {
    for closed in [false, true] {
        let disk = SimDisk::new(1);
        let (wal, _) = open(&disk);
        for index in 0..3 {
            append(&wal.group(GroupId(0)), index);
        }
        wal.close().unwrap();
        let last = frame_of(&disk, 0, 2);
        if !closed {
            let mark = encode_mark(1, last.frame.header.frame - 1);
            disk.overwrite(&segment(1), MARK_OFFSET, &mark).unwrap();
        }
        destroy(&disk, &last);
        let (wal, found) = open(&disk);
        assert_eq!(found.lost.is_some(), closed, "{:?}", found.lost);
        assert_eq!(found.bytes_torn > 0, !closed);
        assert_eq!(read(&wal, 0), [0, 1]);
        if closed {
            assert_eq!(wal.accept_loss(GroupId(0)).unwrap(), []);
        }
        append(&wal.group(GroupId(0)), 2);
        disk.cut_power();
        let (wal, found) = open(&disk);
        assert_eq!((found.lost, found.bytes_torn), (None, 0));
        assert_eq!(read(&wal, 0), [0, 1, 2]);
    }
}

#[test]
fn more_than_one_damaged_frame_at_the_end_is_loss() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    for index in 0..4 {
        append(&wal.group(GroupId(0)), index);
    }
    wal.close().unwrap();
    disk.overwrite(&segment(1), MARK_OFFSET, &[0; 32]).unwrap();
    let torn = frame_of(&disk, 0, 2).frame.header;
    disk.overwrite(&segment(1), torn.payload_offset(), &[9; 512]).unwrap();
    disk.overwrite(&segment(1), torn.footer_offset(), &[0; 512]).unwrap();
    destroy(&disk, &frame_of(&disk, 0, 3));
    let (wal, found) = open(&disk);
    assert!(found.lost.unwrap().contains("more than one damaged frame"));
    assert_eq!(found.faulty[&GroupId(0)], [at(2)]);
    assert_eq!(wal.accept_loss(GroupId(0)).unwrap(), [at(2)]);
    wal.close().unwrap();
    let (wal, found) = open(&disk);
    assert_eq!((quarantined(&found).len(), found.lost), (0, None));
    assert_eq!(read(&wal, 0), [0, 1]);
}

#[test]
fn sectors_that_were_never_written_are_no_damage() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    append(&wal.group(GroupId(0)), 0);
    wait(|done| wal.group(GroupId(0)).append(vec![entry(1, 3_000)], done)).unwrap();
    wal.close().unwrap();
    disk.overwrite(&segment(1), MARK_OFFSET, &[0; 32]).unwrap();
    let last = frame_of(&disk, 0, 1).frame.header;
    disk.overwrite(&segment(1), last.payload_offset() + 1024, &[0; 512]).unwrap();
    let (wal, found) = open(&disk);
    assert_eq!((found.lost, found.faulty.len()), (None, 0));
    assert_eq!(found.bytes_torn, last.len);
    assert_eq!(read(&wal, 0), [0]);
}

#[test]
fn a_missing_segment_is_noticed_wherever_it_was() {
    for missing in 1..=3 {
        let disk = SimDisk::new(1);
        let (wal, _) = open(&disk);
        for index in 0..12 {
            wait(|done| wal.group(GroupId(0)).append(vec![entry(index, 5_000)], done)).unwrap();
        }
        wal.close().unwrap();
        assert!(disk.content(&segment(3)).is_ok() && disk.content(&segment(4)).is_err());
        disk.process().remove(&segment(missing)).unwrap();
        for _ in 0..2 {
            let (wal, found) = open(&disk);
            assert!(found.lost.as_ref().unwrap().contains("missing"));
            assert_eq!(quarantined(&found), [0], "segment {missing}");
            wal.close().unwrap();
        }
        let (wal, _) = open(&disk);
        wal.accept_loss(GroupId(0)).unwrap();
        let next = read(&wal, 0).len() as u64;
        append(&wal.group(GroupId(0)), next);
        wal.close().unwrap();
        let (wal, found) = open(&disk);
        assert_eq!(found.lost, None, "segment {missing}");
        assert_eq!(read(&wal, 0).len() as u64, next + 1);
    }
}

#[test]
fn a_log_without_any_segment_is_lost_if_it_had_one() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    vote(&wal.group(GroupId(5)), b"v");
    wal.close().unwrap();
    disk.process().remove(&segment(1)).unwrap();
    let (wal, found) = open(&disk);
    assert_eq!(quarantined(&found), [5]);
    assert_eq!(wal.group(GroupId(5)).state().vote.as_deref(), Some(b"v".as_slice()));
}

#[test]
fn a_vote_that_the_log_does_not_know_is_loss() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    append(&wal.group(GroupId(0)), 0);
    append(&wal.group(GroupId(1)), 0);
    vote(&wal.group(GroupId(0)), b"promised");
    wal.close().unwrap();
    disk.overwrite(&segment(1), MARK_OFFSET, &[0; 32]).unwrap();
    let last = frames(&disk, 1).pop().unwrap().frame.header;
    let zeros = vec![0; usize::try_from(last.len).unwrap()];
    disk.overwrite(&segment(1), last.offset, &zeros).unwrap();
    let (wal, found) = open(&disk);
    assert_eq!(quarantined(&found), [0]);
    assert!(found.lost.unwrap().contains("a vote of group 0 is missing"));
    assert_eq!(wal.group(GroupId(0)).state().vote.as_deref(), Some(b"promised".as_slice()));
    append(&wal.group(GroupId(1)), 1);
    wal.accept_loss(GroupId(0)).unwrap();
    wal.close().unwrap();
    let (wal, found) = open(&disk);
    assert_eq!((quarantined(&found).len(), found.lost), (0, None));
    assert_eq!(wal.group(GroupId(0)).state().vote.as_deref(), Some(b"promised".as_slice()));
}

#[test]
fn a_damaged_segment_header_is_mended() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    append(&wal.group(GroupId(0)), 0);
    wal.close().unwrap();
    let before = disk.content(&segment(1)).unwrap();
    for copies in [&[0][..], &[BLOCK as u64], &[0, BLOCK as u64]] {
        for copy in copies {
            disk.flip_bit(&segment(1), copy * 8 + 200).unwrap();
        }
        let (wal, found) = open(&disk);
        assert_eq!((found.lost, found.copies_mended), (None, copies.len() as u64));
        wal.close().unwrap();
        assert!(disk.content(&segment(1)).unwrap() == before, "the header is as it was");
    }
}

#[test]
fn a_newer_format_is_refused() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    append(&wal.group(GroupId(0)), 0);
    wal.close().unwrap();
    for offset in [0, BLOCK] {
        let mut header = disk.content(&segment(1)).unwrap()[offset..offset + 76].to_vec();
        header[8] = 9;
        let crc = crc32c::crc32c(&header[..72]).to_le_bytes();
        header[72..].copy_from_slice(&crc);
        disk.overwrite(&segment(1), offset as u64, &header).unwrap();
    }
    let error = Wal::open(disk.process(), options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("newer format"), "{error}");
}
