//! The series directory: which rows of a segment belong to which series.
//!
//! Entries in key order, in blocks of about 4 KiB; a sparse index, kept in memory, has the first key of each block.
//!
//! ```text
//! block   per series: shared, length, bytes of the key's rest; rows; time; span
//!         shared  bytes that the key has in common with the key before it (0 for the first)
//!         rows    number of rows; the first row follows from the series before it
//!         time    time of the first row, as zigzag difference to that of the series before it (to 0 for the first)
//!         span    time of the last row minus time of the first row
//! index   number of blocks, then per block: shared, length, bytes of its first key's rest; bytes; series; rows
//! ```
//!
//! All numbers are LEB128 varints; differences wrap around, so that any two times have one.

use std::ops::Range;

use crate::SeriesKey;

/// Bytes at which a block ends.
const DIRECTORY_BLOCK_BYTES: usize = 4 << 10;

/// One series of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesEntry {
    /// Its key.
    pub key: SeriesKey,
    /// Its rows' numbers in the file.
    pub rows: Range<u64>,
    /// Time of its first row.
    pub time_min: i64,
    /// Time of its last row.
    pub time_max: i64,
}

/// Collects the directory while rows are written.
#[derive(Debug, Default)]
pub(crate) struct DirectoryBuilder {
    open: Option<SeriesEntry>,
    /// The block that is being filled.
    block: Vec<u8>,
    block_first: Option<SeriesEntry>,
    block_last: Option<SeriesEntry>,
    block_series: u64,
    /// First key of the block before it.
    index_last: Vec<u8>,
    index: Vec<u8>,
    blocks: Vec<u8>,
    block_count: u64,
    totals: Totals,
}

/// What the directory says of all series together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) rows: u64,
    pub(crate) series: u64,
    pub(crate) key_min: Vec<u8>,
    pub(crate) key_max: Vec<u8>,
    pub(crate) time_min: i64,
    pub(crate) time_max: i64,
}

/// The encoded directory.
#[derive(Debug)]
pub(crate) struct EncodedDirectory {
    pub(crate) blocks: Vec<u8>,
    pub(crate) index: Vec<u8>,
    pub(crate) totals: Totals,
}

impl DirectoryBuilder {
    /// Adds the next rows of a series, or the first ones of the next.
    pub(crate) fn add(&mut self, key: &SeriesKey, rows: u64, time_min: i64, time_max: i64) {
        let first = self.totals.rows;
        self.totals.rows += rows;
        match &mut self.open {
            Some(open) if open.key == *key => {
                open.rows.end = self.totals.rows;
                open.time_max = time_max;
            }
            _ => {
                self.end_series();
                let rows = first..self.totals.rows;
                self.open = Some(SeriesEntry { key: key.clone(), rows, time_min, time_max });
            }
        }
    }

    pub(crate) fn finish(mut self) -> EncodedDirectory {
        self.end_series();
        self.end_block();
        let mut index = Vec::with_capacity(self.index.len() + 10);
        put_varint(&mut index, self.block_count);
        index.extend_from_slice(&self.index);
        EncodedDirectory { blocks: self.blocks, index, totals: self.totals }
    }

    fn end_series(&mut self) {
        let Some(entry) = self.open.take() else { return };
        if self.block.len() >= DIRECTORY_BLOCK_BYTES {
            self.end_block();
        }
        let (last_key, last_time) = match &self.block_last {
            Some(last) => (last.key.as_bytes(), last.time_min),
            None => (&[][..], 0),
        };
        put_key(&mut self.block, last_key, entry.key.as_bytes());
        put_varint(&mut self.block, entry.rows.end - entry.rows.start);
        put_varint(&mut self.block, zigzag(entry.time_min.wrapping_sub(last_time)));
        put_varint(&mut self.block, entry.time_max.wrapping_sub(entry.time_min).cast_unsigned());
        self.block_series += 1;
        let totals = &mut self.totals;
        if totals.series == 0 {
            totals.key_min = entry.key.as_bytes().to_vec();
            totals.time_min = entry.time_min;
            totals.time_max = entry.time_max;
        }
        totals.series += 1;
        totals.time_min = totals.time_min.min(entry.time_min);
        totals.time_max = totals.time_max.max(entry.time_max);
        totals.key_max.clear();
        totals.key_max.extend_from_slice(entry.key.as_bytes());
        if self.block_first.is_none() {
            self.block_first = Some(entry.clone());
        }
        self.block_last = Some(entry);
    }

    fn end_block(&mut self) {
        let (Some(first), Some(last)) = (self.block_first.take(), self.block_last.take()) else {
            return;
        };
        put_key(&mut self.index, &self.index_last, first.key.as_bytes());
        put_varint(&mut self.index, self.block.len() as u64);
        put_varint(&mut self.index, self.block_series);
        put_varint(&mut self.index, last.rows.end - first.rows.start);
        self.index_last = first.key.as_bytes().to_vec();
        self.blocks.append(&mut self.block);
        self.block_series = 0;
        self.block_count += 1;
    }
}

/// One block as the index describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DirectoryBlock {
    /// Its first key.
    pub(crate) first: Box<[u8]>,
    /// Its bytes within the section of blocks.
    pub(crate) bytes: Range<u64>,
    /// Number of series in it.
    pub(crate) series: u64,
    /// Rows of its series.
    pub(crate) rows: Range<u64>,
}

/// The sparse index in memory.
#[derive(Debug, Default)]
pub(crate) struct DirectoryIndex {
    pub(crate) blocks: Vec<DirectoryBlock>,
}

impl DirectoryIndex {
    /// Reads the index; `None` if the bytes are not one.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let count = get_varint(&mut bytes)?;
        let mut blocks: Vec<DirectoryBlock> = Vec::new();
        let mut key = Vec::new();
        let (mut offset, mut row) = (0u64, 0u64);
        for _ in 0..count {
            get_key(&mut bytes, &mut key)?;
            let len = get_varint(&mut bytes)?;
            let series = get_varint(&mut bytes)?;
            let rows = get_varint(&mut bytes)?;
            let (end, row_end) = (offset.checked_add(len)?, row.checked_add(rows)?);
            let first = key.clone().into_boxed_slice();
            blocks.push(DirectoryBlock { first, bytes: offset..end, series, rows: row..row_end });
            (offset, row) = (end, row_end);
        }
        bytes.is_empty().then_some(Self { blocks })
    }

    /// Number of series.
    pub(crate) fn series(&self) -> u64 {
        self.blocks.iter().map(|block| block.series).sum()
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> u64 {
        self.blocks.last().map_or(0, |block| block.rows.end)
    }

    /// Length of all blocks.
    pub(crate) fn bytes(&self) -> u64 {
        self.blocks.last().map_or(0, |block| block.bytes.end)
    }

    /// The block that holds `key` if any does; the first one for keys below all.
    pub(crate) fn position(&self, key: &[u8]) -> usize {
        self.blocks.partition_point(|block| *block.first <= *key).saturating_sub(1)
    }
}

impl DirectoryBlock {
    /// Reads the block's entries; `None` if the bytes are not what the index says.
    pub(crate) fn decode(&self, bytes: &[u8]) -> Option<Vec<SeriesEntry>> {
        let mut entries = Vec::with_capacity(usize::try_from(self.series).ok()?.min(bytes.len()));
        let mut cursor = Cursor::new(self, bytes);
        while let Some(place) = cursor.next()? {
            entries.push(place.entry(SeriesKey::from_verified(&cursor.key)));
        }
        (entries.len() as u64 == self.series).then_some(entries)
    }

    /// Looks one key up without keeping the others.
    #[expect(clippy::option_option, reason = "not readable, not there, or there")]
    pub(crate) fn find(&self, bytes: &[u8], key: &SeriesKey) -> Option<Option<SeriesEntry>> {
        let mut cursor = Cursor::new(self, bytes);
        while let Some(place) = cursor.next()? {
            match cursor.key.as_slice().cmp(key.as_bytes()) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return Some(Some(place.entry(key.clone()))),
                std::cmp::Ordering::Greater => break,
            }
        }
        Some(None)
    }
}

/// Reads a block entry by entry.
struct Cursor<'a> {
    rest: &'a [u8],
    key: Vec<u8>,
    row: u64,
    row_end: u64,
    time: i64,
}

/// An entry without its key, which the cursor has.
struct Place {
    rows: Range<u64>,
    time_min: i64,
    time_max: i64,
}

impl Place {
    fn entry(self, key: SeriesKey) -> SeriesEntry {
        SeriesEntry { key, rows: self.rows, time_min: self.time_min, time_max: self.time_max }
    }
}

impl<'a> Cursor<'a> {
    fn new(block: &DirectoryBlock, bytes: &'a [u8]) -> Self {
        let (row, row_end) = (block.rows.start, block.rows.end);
        Self { rest: bytes, key: Vec::new(), row, row_end, time: 0 }
    }

    /// The next entry; `Some(None)` at the end, `None` if the bytes cannot be read.
    #[expect(clippy::option_option, reason = "not readable, at the end, or an entry")]
    fn next(&mut self) -> Option<Option<Place>> {
        if self.rest.is_empty() {
            return (self.row == self.row_end).then_some(None);
        }
        get_key(&mut self.rest, &mut self.key)?;
        let rows = get_varint(&mut self.rest)?;
        let time_min = self.time.wrapping_add(unzigzag(get_varint(&mut self.rest)?));
        let time_max = time_min.wrapping_add(get_varint(&mut self.rest)?.cast_signed());
        let end = self.row.checked_add(rows)?;
        let rows = self.row..end;
        (self.row, self.time) = (end, time_min);
        Some(Some(Place { rows, time_min, time_max }))
    }
}

fn put_key(out: &mut Vec<u8>, last: &[u8], key: &[u8]) {
    let shared = last.iter().zip(key).take_while(|(a, b)| a == b).count();
    put_varint(out, shared as u64);
    put_varint(out, (key.len() - shared) as u64);
    out.extend_from_slice(&key[shared..]);
}

fn get_key(bytes: &mut &[u8], key: &mut Vec<u8>) -> Option<()> {
    let shared = usize::try_from(get_varint(bytes)?).ok()?;
    let rest = usize::try_from(get_varint(bytes)?).ok()?;
    if shared > key.len() {
        return None;
    }
    let (head, tail) = bytes.split_at_checked(rest)?;
    key.truncate(shared);
    key.extend_from_slice(head);
    *bytes = tail;
    Some(())
}

/// Appends a LEB128 varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn get_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7F);
        if part << shift >> shift != part {
            return None;
        }
        value |= part << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> SeriesKey {
        SeriesKey::encode([Some(text)])
    }

    #[test]
    fn varints_round_trip_at_the_edges() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            let mut rest = out.as_slice();
            assert_eq!(get_varint(&mut rest), Some(value));
            assert!(rest.is_empty());
        }
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
        assert_eq!(get_varint(&mut &[0x80; 10][..]), None);
        assert_eq!(
            get_varint(&mut &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 2][..]),
            None
        );
    }

    #[test]
    fn every_series_is_found_and_no_other() {
        let mut builder = DirectoryBuilder::default();
        let mut want = Vec::new();
        let mut row = 0;
        for i in 0..5_000i64 {
            let name = format!("host-{:05}", i * 2);
            let rows = (i % 7 + 1).cast_unsigned();
            let (min, max) = match i % 3 {
                0 => (i64::MIN, i64::MAX),
                1 => (-i, i),
                _ => (i, i),
            };
            // A series may come in several parts.
            builder.add(&key(&name), rows, min, if rows > 3 { min } else { max });
            row += rows;
            if rows > 3 {
                builder.add(&key(&name), 1, min, max);
                row += 1;
            }
            let first = want.last().map_or(0, |e: &SeriesEntry| e.rows.end);
            want.push(SeriesEntry {
                key: key(&name),
                rows: first..row,
                time_min: min,
                time_max: max,
            });
        }
        let encoded = builder.finish();
        let index = DirectoryIndex::decode(&encoded.index).unwrap();
        assert!(index.blocks.len() > 10, "{} blocks", index.blocks.len());
        assert_eq!(index.series(), 5_000);
        assert_eq!(index.rows(), row);
        assert_eq!(index.bytes(), encoded.blocks.len() as u64);
        assert_eq!(encoded.totals.rows, row);
        assert_eq!(encoded.totals.key_max, want[4_999].key.as_bytes());
        assert_eq!((encoded.totals.time_min, encoded.totals.time_max), (i64::MIN, i64::MAX));
        let bytes = |block: &DirectoryBlock| {
            let place = |offset| usize::try_from(offset).unwrap();
            &encoded.blocks[place(block.bytes.start)..place(block.bytes.end)]
        };
        let all: Vec<_> =
            index.blocks.iter().flat_map(|block| block.decode(bytes(block)).unwrap()).collect();
        assert_eq!(all, want);
        let find = |name: &str| {
            let block = &index.blocks[index.position(key(name).as_bytes())];
            block.find(bytes(block), &key(name)).unwrap()
        };
        for (i, entry) in want.iter().enumerate() {
            assert_eq!(find(&format!("host-{:05}", i * 2)).as_ref(), Some(entry));
            assert_eq!(find(&format!("host-{:05}", i * 2 + 1)), None);
        }
        assert_eq!(find("a"), None);
        assert_eq!(find("z"), None);
    }
}
