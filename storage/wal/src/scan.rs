//! Finding frames in the bytes of one segment.
//!
//! Pure: bytes in, findings out. What the findings mean for the log (torn, faulty, lost) depends on what
//! follows, and is decided by [`crate::recovery`].

use crate::bytes::BLOCK;
use crate::frame::{self, Copy, Frame, NoFrame, SECTOR};
use crate::log_segment::{FRAMES_OFFSET, Image};

/// A frame of which at least one copy of header and directory is intact.
#[derive(Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent findings, not states")]
pub(crate) struct Found {
    pub(crate) frame: Frame,
    pub(crate) header_intact: bool,
    pub(crate) footer_intact: bool,
    /// For each entry of the frame, in order, whether its payload is damaged.
    pub(crate) damaged: Vec<bool>,
    /// Each sector of payload that is damaged is all zero, as if it had never been written.
    pub(crate) unwritten: bool,
}

impl Found {
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.contains(&true)
    }

    /// What a crash in the middle of a write can leave: payload is missing, and either that shows (sectors that
    /// were not written are zero) or the footer is missing too.
    pub(crate) fn may_be_torn(&self) -> bool {
        self.is_damaged() && (!self.footer_intact || self.unwritten)
    }
}

/// What lies behind the last frame that could be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    /// Where it begins.
    pub(crate) offset: u64,
    /// Where its last byte that is not zero ends, rounded up; `offset` if all are zero.
    pub(crate) end: u64,
    /// Whether some of it cannot be read at all, which no crash causes.
    pub(crate) unreadable: bool,
}

impl Tail {
    pub(crate) fn is_clean(&self) -> bool {
        self.offset == self.end
    }
}

/// All that one segment holds.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) frames: Vec<Found>,
    pub(crate) tail: Tail,
}

/// Finds the frames of a segment. Fails with the version of an intact frame of a later format.
pub(crate) fn scan(image: &Image, segment: u64) -> Result<Scan, u16> {
    let bytes = image.bytes.as_slice();
    let mut frames = Vec::new();
    let mut at = FRAMES_OFFSET;
    while let Some(found) = next_frame(bytes, segment, at)? {
        at = found.frame.header.end();
        frames.push(found);
    }
    let rest = &bytes[index(at).min(bytes.len())..];
    let end = last_used(rest).map_or(at, |used| at + used as u64);
    let unreadable = image.unreadable.iter().any(|block| *block >= at);
    Ok(Scan { frames, tail: Tail { offset: at, end, unreadable } })
}

/// The first frame at or after `from`.
fn next_frame(bytes: &[u8], segment: u64, from: u64) -> Result<Option<Found>, u16> {
    let mut at = from;
    while let Some(block) = bytes.get(index(at)..).filter(|rest| !rest.is_empty()) {
        for copy in [Copy::Header, Copy::Footer] {
            let frame = match frame::decode(block, copy) {
                Ok(frame) => frame,
                Err(NoFrame::Invalid) => continue,
                Err(NoFrame::Newer(version)) => return Err(version),
            };
            let header = &frame.header;
            let stands_at = match copy {
                Copy::Header => header.offset,
                Copy::Footer => header.footer_offset(),
            };
            if header.segment == segment && stands_at == at && header.offset >= from {
                return Ok(Some(examine(bytes, frame)));
            }
        }
        at += BLOCK as u64;
    }
    Ok(None)
}

/// Checks the other copy and the payloads of a frame that is known to stand in the segment.
fn examine(bytes: &[u8], frame: Frame) -> Found {
    let intact = |offset: u64, copy| {
        let copy_of = bytes.get(index(offset)..).map(|at| frame::decode(at, copy));
        copy_of.is_some_and(|other| other.as_ref() == Ok(&frame))
    };
    let header_intact = intact(frame.header.offset, Copy::Header);
    let footer_intact = intact(frame.header.footer_offset(), Copy::Footer);
    let damaged: Vec<bool> = frame
        .entries()
        .map(|(offset, _, len, crc)| {
            let payload = bytes.get(index(offset)..index(offset + u64::from(len)));
            payload.is_none_or(|payload| crc32c::crc32c(payload) != crc)
        })
        .collect();
    let unwritten = damaged.contains(&true) && is_unwritten(bytes, &frame);
    Found { frame, header_intact, footer_intact, damaged, unwritten }
}

fn is_unwritten(bytes: &[u8], frame: &Frame) -> bool {
    let from = frame.header.payload_offset();
    let payload = bytes.get(index(from)..index(from + frame.header.payload_len));
    payload.is_some_and(|payload| {
        payload.chunks(SECTOR).zip(&frame.sectors).all(|(sector, crc)| {
            crc32c::crc32c(sector) == *crc || sector.iter().all(|byte| *byte == 0)
        })
    })
}

/// Length of `bytes` up to and with the last block that is not all zero.
fn last_used(bytes: &[u8]) -> Option<usize> {
    const ZEROS: [u8; BLOCK] = [0; BLOCK];
    let used = bytes.chunks(BLOCK).rposition(|block| block != &ZEROS[..block.len()])?;
    Some(((used + 1) * BLOCK).min(bytes.len()))
}

/// Offsets of an image that is in memory.
fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
