//! Frames: the unit of group commit.
//!
//! A frame holds everything that one sync makes durable. It begins and ends on a 4 KiB block, so that no
//! acknowledged sector is ever written again, and says everything but payloads twice, in sectors that lie
//! apart: damage of a payload then leaves known *which* entries are damaged (Protocol-Aware Recovery,
//! FAST '18, §3.3).
//!
//! ```text
//! ┌────────┬───────────┬─────┬─────────────┬─────┬────────┬───────────┬─────┐
//! │ header │ directory │ pad │ payloads …  │ pad │ footer │ directory │ pad │
//! └────────┴───────────┴─────┴─────────────┴─────┴────────┴───────────┴─────┘
//! 4 KiB boundary             512 B boundary      4 KiB boundary
//! ```
//!
//! The footer is the header again under another magic number. Votes, commit positions, truncations, purges
//! and group states stand *in* the directory, and so twice; payloads of entries follow in directory order.
//! At its end the directory has a checksum of each sector of payload: a power cut leaves sectors that were
//! never written, and so are zero; anything else that is wrong with a sector is damage.
//!
//! Invariants: `crc` covers header and directory, the directory holds each payload's CRC32C; a header names
//! its own segment and offset, so that a frame in the wrong place is no frame.

use std::sync::Arc;

use crate::bytes::{BLOCK, Fields, blocks, put_position, put_u16, put_u32, put_u64};
use crate::record::{GroupImage, Record, Tagged};
use crate::{EntryKind, GroupId, LogPosition};

/// Version of the frame format.
pub(crate) const FRAME_VERSION: u16 = 1;

const MAGIC_HEADER: [u8; 4] = *b"QWLF";
const MAGIC_FOOTER: [u8; 4] = *b"QWLE";
const HEADER_LEN: usize = 80;
const RECORD_LEN: usize = 56;
/// What a disk writes as a whole or not at all.
pub(crate) const SECTOR: usize = 512;
const SECTOR_CRC_LEN: usize = 4;

/// Which of its two copies a frame's directory was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copy {
    Header,
    Footer,
}

impl Copy {
    const fn magic(self) -> [u8; 4] {
        match self {
            Self::Header => MAGIC_HEADER,
            Self::Footer => MAGIC_FOOTER,
        }
    }
}

/// A frame without its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) segment: u64,
    /// Counts all frames of the log without gaps.
    pub(crate) frame: u64,
    /// Where the frame begins in its segment.
    pub(crate) offset: u64,
    /// Its length, padding and footer included.
    pub(crate) len: u64,
    pub(crate) directory_len: u32,
    pub(crate) payload_len: u64,
    /// All frames up to this one were synced before this one was written.
    pub(crate) durable_frame: u64,
    /// Segments below this one are not needed any more.
    pub(crate) oldest_segment: u64,
    /// [`Frame::crc`] of the frame before.
    pub(crate) previous_crc: u32,
}

impl FrameHeader {
    /// Where the payloads begin in the segment.
    pub(crate) fn payload_offset(&self) -> u64 {
        self.offset + payload_start(self.directory_len as usize) as u64
    }

    /// Where the footer begins in the segment.
    pub(crate) fn footer_offset(&self) -> u64 {
        self.offset + self.len - blocks(HEADER_LEN + self.directory_len as usize) as u64
    }

    pub(crate) fn end(&self) -> u64 {
        self.offset + self.len
    }
}

/// A frame's header and directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) header: FrameHeader,
    pub(crate) records: Vec<Tagged>,
    /// Checksum of each sector of payload.
    pub(crate) sectors: Vec<u32>,
    /// Checksum of the header copy: the link that the next frame holds.
    pub(crate) crc: u32,
}

impl Frame {
    /// Offsets (in the segment) and records of the entries, in order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (u64, &Tagged, u32, u32)> {
        let mut offset = self.header.payload_offset();
        self.records.iter().filter_map(move |tagged| match tagged.record {
            Record::Entry { len, crc, .. } => {
                let at = offset;
                offset += u64::from(len);
                Some((at, tagged, len, crc))
            }
            Record::Vote(_)
            | Record::Committed(_)
            | Record::TruncateAfter(_)
            | Record::Purge(_)
            | Record::State(_)
            | Record::LossAccepted(_) => None,
        })
    }
}

/// Why bytes are not a frame's copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoFrame {
    /// Damaged, or something else.
    Invalid,
    /// Intact, and written by a later version of the format.
    Newer(u16),
}

/// Where a frame goes; what a caller must know before it can be encoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FramePlace {
    pub(crate) segment: u64,
    pub(crate) frame: u64,
    pub(crate) offset: u64,
    pub(crate) durable_frame: u64,
    pub(crate) oldest_segment: u64,
    pub(crate) previous_crc: u32,
}

const fn payload_start(directory_len: usize) -> usize {
    (HEADER_LEN + directory_len).next_multiple_of(SECTOR)
}

/// Length of a frame with this many records, bytes in the directory beside them, and bytes of payload.
pub(crate) fn frame_len(records: usize, inline_len: usize, payload_len: usize) -> usize {
    let sectors_len = payload_len.div_ceil(SECTOR) * SECTOR_CRC_LEN;
    let directory_len = records * RECORD_LEN + inline_len + sectors_len;
    blocks(payload_start(directory_len) + payload_len) + blocks(HEADER_LEN + directory_len)
}

/// Bytes that a record adds to the directory beside its fixed part.
pub(crate) fn inline_len(record: &Record) -> usize {
    match record {
        Record::Vote(bytes) | Record::Committed(bytes) => bytes.len(),
        Record::State(image) => {
            let mut bytes = Vec::new();
            image.encode(&mut bytes);
            bytes.len()
        }
        Record::Entry { .. }
        | Record::TruncateAfter(_)
        | Record::Purge(_)
        | Record::LossAccepted(_) => 0,
    }
}

/// Replaces `out` by a frame. `payloads` are those of the entries among `records`, in order.
pub(crate) fn encode<'a>(
    out: &mut Vec<u8>,
    place: FramePlace,
    records: Vec<Tagged>,
    payloads: impl Iterator<Item = &'a [u8]>,
) -> Frame {
    let mut directory = encode_records(&records);
    let payload_len = payload_len(&records);
    let payload_bytes = usize::try_from(payload_len).expect("payloads are in memory");
    let directory_len = directory.len() + payload_bytes.div_ceil(SECTOR) * SECTOR_CRC_LEN;
    let body = HEADER_LEN + directory_len;
    let len = blocks(payload_start(directory_len) + payload_bytes) + blocks(body);
    let header = FrameHeader {
        segment: place.segment,
        frame: place.frame,
        offset: place.offset,
        len: len as u64,
        directory_len: u32::try_from(directory_len).expect("a frame is bounded"),
        payload_len,
        durable_frame: place.durable_frame,
        oldest_segment: place.oldest_segment,
        previous_crc: place.previous_crc,
    };
    let records_len = u32::try_from(records.len()).expect("a frame is bounded");

    // The payloads come first, since the directory has their checksums.
    out.clear();
    out.reserve(len);
    out.resize(payload_start(directory_len), 0);
    for payload in payloads {
        out.extend_from_slice(payload);
    }
    let payload = &out[payload_start(directory_len)..];
    debug_assert_eq!(payload.len(), payload_bytes, "payloads match the directory");
    let sectors: Vec<u32> = payload.chunks(SECTOR).map(crc32c::crc32c).collect();
    encode_sectors(&sectors, &mut directory);
    out.resize(len - blocks(body), 0);
    encode_copy(out, Copy::Footer, &header, records_len, &directory);
    out.resize(len, 0);
    let mut head = Vec::with_capacity(body);
    let crc = encode_copy(&mut head, Copy::Header, &header, records_len, &directory);
    out[..body].copy_from_slice(&head);
    Frame { header, records, sectors, crc }
}

/// The bytes of one copy of an intact frame's header and directory, to mend the other one with.
pub(crate) fn copy_bytes(frame: &Frame, copy: Copy) -> Vec<u8> {
    let mut directory = encode_records(&frame.records);
    encode_sectors(&frame.sectors, &mut directory);
    let mut out = Vec::new();
    let records_len = u32::try_from(frame.records.len()).expect("it was encoded before");
    encode_copy(&mut out, copy, &frame.header, records_len, &directory);
    out
}

fn encode_records(records: &[Tagged]) -> Vec<u8> {
    let mut directory = Vec::with_capacity(records.len() * RECORD_LEN);
    let mut inline = Vec::new();
    for tagged in records {
        encode_record(tagged, &mut directory, &mut inline);
    }
    directory.extend_from_slice(&inline);
    directory
}

fn encode_sectors(sectors: &[u32], directory: &mut Vec<u8>) {
    for crc in sectors {
        put_u32(directory, *crc);
    }
}

fn payload_len(records: &[Tagged]) -> u64 {
    let len = |tagged: &Tagged| match tagged.record {
        Record::Entry { len, .. } => u64::from(len),
        Record::Vote(_)
        | Record::Committed(_)
        | Record::TruncateAfter(_)
        | Record::Purge(_)
        | Record::State(_)
        | Record::LossAccepted(_) => 0,
    };
    records.iter().map(len).sum()
}

fn encode_copy(
    out: &mut Vec<u8>,
    copy: Copy,
    header: &FrameHeader,
    records_len: u32,
    directory: &[u8],
) -> u32 {
    let start = out.len();
    out.extend_from_slice(&copy.magic());
    put_u16(out, FRAME_VERSION);
    put_u16(out, 0);
    put_u64(out, header.segment);
    put_u64(out, header.frame);
    put_u64(out, header.offset);
    put_u64(out, header.len);
    put_u32(out, records_len);
    put_u32(out, header.directory_len);
    put_u64(out, header.payload_len);
    put_u64(out, header.durable_frame);
    put_u64(out, header.oldest_segment);
    put_u32(out, header.previous_crc);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&out[start..]), directory);
    put_u32(out, crc);
    debug_assert_eq!(out.len() - start, HEADER_LEN);
    out.extend_from_slice(directory);
    crc
}

/// Whether a block begins like the given copy of a frame.
pub(crate) fn has_magic(block: &[u8], copy: Copy) -> bool {
    block.starts_with(&copy.magic())
}

/// Reads one copy of a frame's header and directory from the front of `bytes`. Where a header copy must
/// stand is checked by the caller.
pub(crate) fn decode(bytes: &[u8], copy: Copy) -> Result<Frame, NoFrame> {
    if !has_magic(bytes, copy) {
        return Err(NoFrame::Invalid);
    }
    let (header, records_len, version, crc) = decode_header(bytes).ok_or(NoFrame::Invalid)?;
    let directory_len = header.directory_len as usize;
    let directory = bytes.get(HEADER_LEN..HEADER_LEN + directory_len).ok_or(NoFrame::Invalid)?;
    if crc32c::crc32c_append(crc32c::crc32c(&bytes[..HEADER_LEN - 4]), directory) != crc {
        return Err(NoFrame::Invalid);
    }
    if version > FRAME_VERSION {
        return Err(NoFrame::Newer(version));
    }
    let (records, sectors) = decode_directory(directory, &header, records_len as usize)
        .filter(|(records, _)| is_consistent(&header, records))
        .ok_or(NoFrame::Invalid)?;
    let crc = match copy {
        Copy::Header => crc,
        Copy::Footer => {
            let rest = &bytes[MAGIC_HEADER.len()..HEADER_LEN - 4];
            let crc = crc32c::crc32c_append(crc32c::crc32c(&MAGIC_HEADER), rest);
            crc32c::crc32c_append(crc, directory)
        }
    };
    Ok(Frame { header, records, sectors, crc })
}

/// Lengths that contradict each other are a bug of the writer, or bytes that passed the checksum by chance.
fn is_consistent(header: &FrameHeader, records: &[Tagged]) -> bool {
    let block = BLOCK as u64;
    let body = HEADER_LEN as u64 + u64::from(header.directory_len);
    let payload_end = header.payload_offset().wrapping_add(header.payload_len);
    let len = payload_end.wrapping_sub(header.offset).checked_next_multiple_of(block);
    payload_len(records) == header.payload_len
        && header.offset.is_multiple_of(block)
        && len.is_some_and(|len| len.wrapping_add(body.next_multiple_of(block)) == header.len)
}

fn decode_header(bytes: &[u8]) -> Option<(FrameHeader, u32, u16, u32)> {
    let mut fields = Fields::new(bytes.get(4..HEADER_LEN)?);
    let version = fields.u16()?;
    let _flags = fields.u16()?;
    let segment = fields.u64()?;
    let frame = fields.u64()?;
    let offset = fields.u64()?;
    let len = fields.u64()?;
    let records_len = fields.u32()?;
    let directory_len = fields.u32()?;
    let payload_len = fields.u64()?;
    let durable_frame = fields.u64()?;
    let oldest_segment = fields.u64()?;
    let previous_crc = fields.u32()?;
    let crc = fields.u32()?;
    let header = FrameHeader {
        segment,
        frame,
        offset,
        len,
        directory_len,
        payload_len,
        durable_frame,
        oldest_segment,
        previous_crc,
    };
    Some((header, records_len, version, crc))
}

mod kind {
    pub(super) const NORMAL: u8 = 1;
    pub(super) const MEMBERSHIP: u8 = 2;
    pub(super) const BLANK: u8 = 3;
    pub(super) const VOTE: u8 = 4;
    pub(super) const COMMITTED: u8 = 5;
    pub(super) const TRUNCATE_AFTER: u8 = 6;
    pub(super) const PURGE: u8 = 7;
    pub(super) const STATE: u8 = 8;
    pub(super) const LOSS_ACCEPTED: u8 = 9;
}

fn encode_record(tagged: &Tagged, directory: &mut Vec<u8>, inline: &mut Vec<u8>) {
    let inline_before = inline.len();
    let (kind, position, entry) = match &tagged.record {
        Record::Entry { position, kind, len, crc } => {
            let kind = match kind {
                EntryKind::Normal => kind::NORMAL,
                EntryKind::Membership => kind::MEMBERSHIP,
                EntryKind::Blank => kind::BLANK,
            };
            (kind, Some(*position), Some((*len, *crc)))
        }
        Record::Vote(vote) => {
            inline.extend_from_slice(vote);
            (kind::VOTE, None, None)
        }
        Record::Committed(committed) => {
            inline.extend_from_slice(committed);
            (kind::COMMITTED, None, None)
        }
        Record::TruncateAfter(last) => (kind::TRUNCATE_AFTER, *last, None),
        Record::Purge(upto) => (kind::PURGE, Some(*upto), None),
        Record::State(image) => {
            image.encode(inline);
            (kind::STATE, None, None)
        }
        Record::LossAccepted(last) => (kind::LOSS_ACCEPTED, *last, None),
    };
    let (len, crc) = entry.unwrap_or_else(|| {
        (u32::try_from(inline.len() - inline_before).expect("state of a group is small"), 0)
    });
    put_u64(directory, tagged.group.0);
    directory.extend_from_slice(&[kind, u8::from(position.is_some()), 0, 0]);
    put_u32(directory, 0);
    put_u64(directory, tagged.seq);
    put_position(directory, position);
    put_u32(directory, len);
    put_u32(directory, crc);
}

fn decode_directory(
    directory: &[u8],
    header: &FrameHeader,
    records_len: usize,
) -> Option<(Vec<Tagged>, Vec<u32>)> {
    let sectors_len = usize::try_from(header.payload_len).ok()?.div_ceil(SECTOR);
    let sectors_at = directory.len().checked_sub(sectors_len.checked_mul(SECTOR_CRC_LEN)?)?;
    let (records, sectors) = directory.split_at(sectors_at);
    let (fixed, inline) = records.split_at_checked(records_len.checked_mul(RECORD_LEN)?)?;
    let (mut fixed, mut inline) = (Fields::new(fixed), Fields::new(inline));
    let records =
        (0..records_len).map(|_| decode_record(&mut fixed, &mut inline)).collect::<Option<_>>()?;
    let mut sectors = Fields::new(sectors);
    Some((records, (0..sectors_len).map(|_| sectors.u32()).collect::<Option<_>>()?))
}

fn decode_record(fixed: &mut Fields<'_>, inline: &mut Fields<'_>) -> Option<Tagged> {
    let group = GroupId(fixed.u64()?);
    let kind = fixed.u8()?;
    let has_position = fixed.u8()? != 0;
    let _reserved = (fixed.u16()?, fixed.u32()?);
    let seq = fixed.u64()?;
    let position = fixed.position()?;
    let position: Option<LogPosition> = has_position.then_some(position);
    let len = fixed.u32()?;
    let crc = fixed.u32()?;
    let entry = |kind| Some(Record::Entry { position: position?, kind, len, crc });
    let record = match kind {
        kind::NORMAL => entry(EntryKind::Normal)?,
        kind::MEMBERSHIP => entry(EntryKind::Membership)?,
        kind::BLANK => entry(EntryKind::Blank)?,
        kind::VOTE => Record::Vote(Arc::from(inline.bytes(len as usize)?)),
        kind::COMMITTED => Record::Committed(Arc::from(inline.bytes(len as usize)?)),
        kind::TRUNCATE_AFTER => Record::TruncateAfter(position),
        kind::PURGE => Record::Purge(position?),
        kind::STATE => Record::State(GroupImage::decode(inline.bytes(len as usize)?)?),
        kind::LOSS_ACCEPTED => Record::LossAccepted(position),
        _ => return None,
    };
    Some(Tagged { group, seq, record })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> FramePlace {
        FramePlace {
            segment: 3,
            frame: 9,
            offset: 8192,
            durable_frame: 8,
            oldest_segment: 2,
            previous_crc: 77,
        }
    }

    fn records() -> (Vec<Tagged>, Vec<Vec<u8>>) {
        let payloads = vec![b"first".to_vec(), Vec::new(), vec![7; 5000]];
        let at = |index| LogPosition { term: 2, leader: 5, index };
        let mut records: Vec<Record> = payloads
            .iter()
            .zip([EntryKind::Normal, EntryKind::Blank, EntryKind::Membership])
            .zip(4..)
            .map(|((payload, kind), index)| Record::Entry {
                position: at(index),
                kind,
                len: u32::try_from(payload.len()).unwrap(),
                crc: crc32c::crc32c(payload),
            })
            .collect();
        records.insert(1, Record::Vote(Arc::from(*b"a vote")));
        records.push(Record::Committed(Arc::from(*b"")));
        records.push(Record::TruncateAfter(None));
        records.push(Record::TruncateAfter(Some(at(1))));
        records.push(Record::Purge(at(2)));
        records.push(Record::State(GroupImage { last: Some(at(6)), ..GroupImage::default() }));
        records.push(Record::LossAccepted(Some(at(0))));
        let records = records
            .into_iter()
            .zip(11..)
            .map(|(record, seq)| Tagged { group: GroupId(seq % 3), seq, record })
            .collect();
        (records, payloads)
    }

    #[test]
    fn both_copies_of_a_frame_tell_the_same() {
        let (records, payloads) = records();
        let mut bytes = Vec::new();
        let frame =
            encode(&mut bytes, place(), records.clone(), payloads.iter().map(Vec::as_slice));
        assert_eq!(bytes.len() as u64, frame.header.len);
        let inline = records.iter().map(|tagged| inline_len(&tagged.record)).sum();
        assert_eq!(bytes.len(), frame_len(records.len(), inline, 5005));
        assert_eq!(frame.records, records);
        assert_eq!(decode(&bytes, Copy::Header).as_ref(), Ok(&frame));
        let footer = usize::try_from(frame.header.footer_offset() - 8192).unwrap();
        assert_eq!(decode(&bytes[footer..], Copy::Footer).as_ref(), Ok(&frame));
        assert!(bytes[footer..].starts_with(&copy_bytes(&frame, Copy::Footer)));
        assert!(bytes.starts_with(&copy_bytes(&frame, Copy::Header)));
        for ((offset, _, len, crc), payload) in frame.entries().zip(&payloads) {
            let from = usize::try_from(offset - 8192).unwrap();
            assert_eq!(&bytes[from..from + len as usize], payload.as_slice());
            assert_eq!(crc, crc32c::crc32c(payload));
        }
    }

    #[test]
    fn a_flipped_bit_in_header_or_directory_is_no_frame() {
        let (records, payloads) = records();
        let mut bytes = Vec::new();
        let frame = encode(&mut bytes, place(), records, payloads.iter().map(Vec::as_slice));
        for bit in 0..(HEADER_LEN + frame.header.directory_len as usize) * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bytes, Copy::Header), Err(NoFrame::Invalid), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_frame_of_a_later_version_is_told_apart_from_damage() {
        let mut bytes = Vec::new();
        encode(&mut bytes, place(), Vec::new(), std::iter::empty());
        bytes[4] = 9;
        let crc = crc32c::crc32c(&bytes[..HEADER_LEN - 4]).to_le_bytes();
        bytes[HEADER_LEN - 4..HEADER_LEN].copy_from_slice(&crc);
        assert_eq!(decode(&bytes, Copy::Header), Err(NoFrame::Newer(9)));
    }
}
