//! Reading and writing little-endian fields.

use crate::LogPosition;

/// All structures on disk begin and end on a multiple of this, so that no sector holds parts of two frames.
pub(crate) const BLOCK: usize = 4096;

/// The next multiple of [`BLOCK`].
pub(crate) const fn blocks(len: usize) -> usize {
    len.next_multiple_of(BLOCK)
}

pub(crate) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u128(out: &mut Vec<u8>, value: u128) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_position(out: &mut Vec<u8>, position: Option<LogPosition>) {
    let LogPosition { term, leader, index } =
        position.unwrap_or(LogPosition { term: 0, leader: 0, index: 0 });
    put_u64(out, term);
    put_u64(out, leader);
    put_u64(out, index);
}

/// Length-prefixed bytes; an absent value is the length `u32::MAX`.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_u32(out, u32::MAX),
        Some(bytes) => {
            put_u32(out, u32::try_from(bytes.len()).expect("state of a group is small"));
            out.extend_from_slice(bytes);
        }
    }
}

/// Takes fields off the front of a slice; `None` where it is too short.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        Some(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    pub(crate) fn position(&mut self) -> Option<LogPosition> {
        Some(LogPosition { term: self.u64()?, leader: self.u64()?, index: self.u64()? })
    }

    /// What [`put_bytes`] wrote. The outer `None` is a short slice.
    #[expect(clippy::option_option, reason = "a short slice is not an absent value")]
    pub(crate) fn optional_bytes(&mut self) -> Option<Option<&'a [u8]>> {
        match self.u32()? {
            u32::MAX => Some(None),
            len => Some(Some(self.bytes(len as usize)?)),
        }
    }
}
