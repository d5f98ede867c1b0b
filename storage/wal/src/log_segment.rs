//! Log segments: files of a fixed size, written in advance with zeros, filled with frames.
//!
//! ```text
//! 0        4096     8192   12288
//! │ header │ header │ mark │ frame │ frame │ … │ zeros
//! ```
//!
//! The mark names a frame that was acknowledged. It is written after each sync that no other frame waits for, and
//! not synced itself: a hint, that the last frame is not merely what a crash has left.
//!
//! A segment gets its name only after its header and first frame were synced; before, it is the spare. So a
//! named segment without a readable header is damage, never a crash.

use std::io;
use std::path::{Path, PathBuf};

use crate::bytes::{BLOCK, Fields, put_u32, put_u64, put_u128};
use crate::disk::DiskFile;

/// Version of the segment format. A later one is refused.
pub(crate) const SEGMENT_VERSION: u32 = 1;
/// Where the first frame stands.
pub(crate) const FRAMES_OFFSET: u64 = 3 * BLOCK as u64;
/// Where the mark stands.
pub(crate) const MARK_OFFSET: u64 = 2 * BLOCK as u64;
/// The prepared segment that has no number yet.
pub(crate) const SPARE: &str = "spare.seg";

const MAGIC: [u8; 8] = *b"QWLSEG\r\n";
const HEADER_LEN: usize = 76;
const MARK_MAGIC: [u8; 4] = *b"QWLA";
const MARK_LEN: usize = 24;

/// Whose log this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) cluster: u128,
    pub(crate) node: u128,
}

/// The head of a segment, written twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) identity: Identity,
    pub(crate) segment: u64,
    /// Number of the first frame in the segment.
    pub(crate) first_frame: u64,
    /// Link to the last frame of the segment before.
    pub(crate) previous_crc: u32,
}

/// Why bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoHeader {
    Invalid,
    Newer(u32),
}

impl SegmentHeader {
    /// One copy, a block long.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BLOCK);
        out.extend_from_slice(&MAGIC);
        put_u32(&mut out, SEGMENT_VERSION);
        put_u32(&mut out, 0);
        put_u128(&mut out, self.identity.cluster);
        put_u128(&mut out, self.identity.node);
        put_u64(&mut out, self.segment);
        put_u64(&mut out, self.first_frame);
        put_u32(&mut out, self.previous_crc);
        put_u32(&mut out, 0);
        let crc = crc32c::crc32c(&out);
        put_u32(&mut out, crc);
        debug_assert_eq!(out.len(), HEADER_LEN);
        out.resize(BLOCK, 0);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, NoHeader> {
        let (header, version) = Self::decode_fields(bytes).ok_or(NoHeader::Invalid)?;
        if version > SEGMENT_VERSION {
            return Err(NoHeader::Newer(version));
        }
        Ok(header)
    }

    fn decode_fields(bytes: &[u8]) -> Option<(Self, u32)> {
        let bytes = bytes.get(..HEADER_LEN)?;
        let mut fields = Fields::new(bytes);
        if fields.bytes(8)? != MAGIC {
            return None;
        }
        let version = fields.u32()?;
        fields.u32()?;
        let identity = Identity { cluster: fields.u128()?, node: fields.u128()? };
        let segment = fields.u64()?;
        let first_frame = fields.u64()?;
        let previous_crc = fields.u32()?;
        fields.u32()?;
        let crc = fields.u32()?;
        if crc32c::crc32c(&bytes[..HEADER_LEN - 4]) != crc {
            return None;
        }
        Some((Self { identity, segment, first_frame, previous_crc }, version))
    }
}

/// The mark: frames up to `frame` were acknowledged.
pub(crate) fn encode_mark(segment: u64, frame: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(MARK_LEN);
    out.extend_from_slice(&MARK_MAGIC);
    put_u64(&mut out, segment);
    put_u64(&mut out, frame);
    let crc = crc32c::crc32c(&out);
    put_u32(&mut out, crc);
    out
}

/// The frame that a segment's mark names; 0 where there is no mark.
pub(crate) fn marked_frame(image: &[u8], segment: u64) -> u64 {
    let mark = usize::try_from(MARK_OFFSET).ok().and_then(|at| image.get(at..at + MARK_LEN));
    let read = |mark: &[u8]| {
        let mut fields = Fields::new(mark);
        fields.bytes(MARK_MAGIC.len())?;
        fields.u64()?;
        fields.u64()
    };
    let frame = mark.and_then(read).unwrap_or(0);
    if mark.is_some_and(|mark| mark == encode_mark(segment, frame)) { frame } else { 0 }
}

/// The file of a segment.
pub(crate) fn segment_path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{segment:016x}.seg"))
}

/// The number in the name of a segment's file.
pub(crate) fn segment_of_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

/// All bytes of a segment, with what the disk would not give.
#[derive(Debug, Default)]
pub(crate) struct Image {
    pub(crate) bytes: Vec<u8>,
    /// Start of each block that could not be read. Its bytes are set to a value that is no frame and not zero.
    pub(crate) unreadable: Vec<u64>,
}

const UNREADABLE: u8 = 0xa5;
const READ_LEN: usize = 1 << 20;

impl Image {
    /// Reads a file, replacing what was in the image.
    pub(crate) fn load(&mut self, file: &dyn DiskFile) -> io::Result<()> {
        let len = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.unreadable.clear();
        self.bytes.clear();
        self.bytes.resize(len, 0);
        for (chunk, offset) in self.bytes.chunks_mut(READ_LEN).zip((0..).step_by(READ_LEN)) {
            if file.read_exact_at(chunk, offset).is_ok() {
                continue;
            }
            for (block, offset) in chunk.chunks_mut(BLOCK).zip((offset..).step_by(BLOCK)) {
                if file.read_exact_at(block, offset).is_err() {
                    block.fill(UNREADABLE);
                    self.unreadable.push(offset);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader = SegmentHeader {
        identity: Identity { cluster: 1, node: 2 },
        segment: 3,
        first_frame: 4,
        previous_crc: 5,
    };

    #[test]
    fn a_header_survives_encoding_and_no_flipped_bit_does() {
        let mut bytes = HEADER.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(HEADER));
        for bit in 0..HEADER_LEN * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&bytes), Err(NoHeader::Invalid), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_header_of_a_later_version_is_told_apart_from_damage() {
        let mut bytes = HEADER.encode();
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..HEADER_LEN - 4]).to_le_bytes();
        bytes[HEADER_LEN - 4..HEADER_LEN].copy_from_slice(&crc);
        assert_eq!(SegmentHeader::decode(&bytes), Err(NoHeader::Newer(2)));
    }

    #[test]
    fn a_mark_counts_only_in_its_segment_and_intact() {
        let mut image = vec![0; 3 * BLOCK];
        assert_eq!(marked_frame(&image, 7), 0);
        image[2 * BLOCK..2 * BLOCK + MARK_LEN].copy_from_slice(&encode_mark(7, 99));
        assert_eq!((marked_frame(&image, 7), marked_frame(&image, 8)), (99, 0));
        image[2 * BLOCK + 9] ^= 1;
        assert_eq!((marked_frame(&image, 7), marked_frame(&image[..10], 7)), (0, 0));
    }

    #[test]
    fn names_of_segments_sort_by_number() {
        let path = segment_path(Path::new("wal"), 0x1f);
        assert_eq!(path, Path::new("wal/000000000000001f.seg"));
        assert_eq!(segment_of_name("000000000000001f.seg"), Some(0x1f));
        assert_eq!(segment_of_name(SPARE), None);
        assert_eq!(segment_of_name("1f.seg"), None);
    }
}
