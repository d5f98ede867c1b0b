//! The layout of a segment file around its Parquet data; `docs/format.md` has it in full.
//!
//! ```text
//! "PAR1"
//! row groups                 ┐
//! series directory           │
//! directory index            ├ front: [0, T), hashed in blocks of 64 KiB (the last one ends at T)
//! summaries                  │
//! description                ┘
//! block table at T             hashes of the front's blocks and of the tail, then its own hash
//! page indexes               ┐
//! Parquet footer, "PAR1"     ┴ tail: [T + length of the table, end), hashed as one
//! ```
//!
//! The table stands before the tail because Parquet wants its footer last. Its length follows from T alone, so that the
//! footer, which points over it, is written once. Every byte is covered: front and tail by the table, the table by its
//! own hash, which the manifest repeats.

use postcard::{from_bytes, to_stdvec};
use serde::{Deserialize, Serialize};

use crate::{FieldStatistics, RowSchema, SegmentMeta, WriterSpec};

/// Format of the files that this version writes, and the newest that it reads. 2 may store floats as whole numbers, 1 did
/// not.
pub(crate) const FORMAT: u32 = 2;
/// Format of the block table.
pub(crate) const TABLE_FORMAT: u32 = 1;
/// Size of the blocks that are hashed.
pub(crate) const BLOCK_BYTES: usize = 64 << 10;
/// Key of the Parquet footer: the format.
pub(crate) const KEY_FORMAT: &str = "quorate.format";
/// Key of the Parquet footer: the sections.
pub(crate) const KEY_SECTIONS: &str = "quorate.sections";

const BLOCK_BYTES_U32: u32 = 64 << 10;
const _: () = assert!(BLOCK_BYTES_U32 as usize == BLOCK_BYTES);
const TABLE_MAGIC: [u8; 8] = *b"QRBLOCKS";
const TABLE_HEAD_BYTES: usize = 24;
const HASH_BYTES: usize = 32;

/// Hashes of the file's blocks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BlockTable {
    /// T: where the front ends and the table begins.
    pub(crate) offset: u64,
    /// Hashes of the front's blocks.
    pub(crate) blocks: Vec<[u8; HASH_BYTES]>,
    /// Hash of the tail.
    pub(crate) tail: [u8; HASH_BYTES],
}

/// Why bytes are no block table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TableError {
    /// They are damaged.
    Damaged,
    /// They are intact, and of this newer format.
    Newer(u32),
}

impl BlockTable {
    /// Length of the table that stands at `offset`.
    pub(crate) fn encoded_len(offset: u64) -> usize {
        let blocks = offset.div_ceil(BLOCK_BYTES as u64);
        let blocks = usize::try_from(blocks).expect("a file's blocks fit in memory");
        TABLE_HEAD_BYTES + (blocks + 2) * HASH_BYTES
    }

    /// The bytes, and the hash that ends them.
    pub(crate) fn encode(&self) -> (Vec<u8>, [u8; HASH_BYTES]) {
        let mut out = Vec::with_capacity(Self::encoded_len(self.offset));
        out.extend_from_slice(&TABLE_MAGIC);
        out.extend_from_slice(&TABLE_FORMAT.to_le_bytes());
        out.extend_from_slice(&BLOCK_BYTES_U32.to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(self.blocks.as_flattened());
        out.extend_from_slice(&self.tail);
        let hash = *blake3::hash(&out).as_bytes();
        out.extend_from_slice(&hash);
        assert_eq!(out.len(), Self::encoded_len(self.offset), "length of the block table");
        (out, hash)
    }

    /// Reads a table that stands at `offset`; `want` is the hash that the manifest has.
    pub(crate) fn decode(
        bytes: &[u8],
        offset: u64,
        want: Option<&[u8; HASH_BYTES]>,
    ) -> Result<Self, TableError> {
        if bytes.len() != Self::encoded_len(offset) {
            return Err(TableError::Damaged);
        }
        let (body, hash) = bytes.split_at(bytes.len() - HASH_BYTES);
        if blake3::hash(body).as_bytes() != hash || want.is_some_and(|want| want != hash) {
            return Err(TableError::Damaged);
        }
        let word =
            |at: usize| u32::from_le_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]);
        if body[..8] != TABLE_MAGIC {
            return Err(TableError::Damaged);
        }
        if word(8) > TABLE_FORMAT {
            return Err(TableError::Newer(word(8)));
        }
        if word(12) != BLOCK_BYTES_U32 || body[16..24] != offset.to_le_bytes() {
            return Err(TableError::Damaged);
        }
        let (hashes, rest) = body[TABLE_HEAD_BYTES..].as_chunks::<HASH_BYTES>();
        let (tail, blocks) = hashes.split_last().ok_or(TableError::Damaged)?;
        assert!(rest.is_empty(), "the length was checked");
        Ok(Self { offset, blocks: blocks.to_vec(), tail: *tail })
    }
}

/// A part of the file beside the Parquet data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    /// Version of its encoding.
    pub(crate) version: u32,
    /// Where it begins.
    pub(crate) offset: u64,
    /// How long it is.
    pub(crate) bytes: u64,
}

/// Where the sections are: a value of the Parquet footer, readable by eye.
///
/// `directory/1@4096+120 index/1@4216+30 …`: name, version, offset, length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sections {
    /// Blocks of the series directory.
    pub(crate) directory: Section,
    /// Its sparse index.
    pub(crate) index: Section,
    /// Summaries of series over time cells; may be empty.
    pub(crate) summaries: Section,
    /// [`Description`].
    pub(crate) description: Section,
    /// The block table.
    pub(crate) blocks: Section,
}

impl Sections {
    pub(crate) fn to_text(self) -> String {
        let Self { directory, index, summaries, description, blocks } = self;
        let named = [
            ("directory", directory),
            ("index", index),
            ("summaries", summaries),
            ("description", description),
            ("blocks", blocks),
        ];
        named.map(|(name, s)| format!("{name}/{}@{}+{}", s.version, s.offset, s.bytes)).join(" ")
    }

    /// Reads the text; sections of other names are left alone, those known must be there.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let find = |name: &str| {
            text.split(' ').find_map(|word| {
                let (version, place) =
                    word.strip_prefix(name)?.strip_prefix('/')?.split_once('@')?;
                let (offset, bytes) = place.split_once('+')?;
                Some(Section {
                    version: version.parse().ok()?,
                    offset: offset.parse().ok()?,
                    bytes: bytes.parse().ok()?,
                })
            })
        };
        Some(Self {
            directory: find("directory")?,
            index: find("index")?,
            summaries: find("summaries")?,
            description: find("description")?,
            blocks: find("blocks")?,
        })
    }
}

/// What the file says of itself, so that a lost manifest entry can be made anew: [`SegmentMeta`] without what depends
/// on the file's own bytes. Encoded with postcard.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) content_hash: [u8; 32],
    pub(crate) rows: u64,
    pub(crate) series: u64,
    pub(crate) key_min: Vec<u8>,
    pub(crate) key_max: Vec<u8>,
    pub(crate) time_min: i64,
    pub(crate) time_max: i64,
    pub(crate) has_cleared: bool,
    pub(crate) schema: RowSchema,
    pub(crate) fields: Vec<FieldStatistics>,
    pub(crate) spec: WriterSpec,
}

/// What is known of a file's bytes once it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileFacts {
    pub(crate) file_hash: [u8; 32],
    pub(crate) bytes: u64,
    pub(crate) block_table_offset: u64,
    pub(crate) block_table_hash: [u8; 32],
}

impl Description {
    pub(crate) fn encode(&self) -> Vec<u8> {
        to_stdvec(self).expect("plain values encode into memory")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        from_bytes(bytes).ok()
    }

    pub(crate) fn into_meta(self, file: FileFacts) -> SegmentMeta {
        SegmentMeta {
            table: self.schema.table,
            file_hash: file.file_hash,
            content_hash: self.content_hash,
            bytes: file.bytes,
            block_table_offset: file.block_table_offset,
            block_table_hash: file.block_table_hash,
            rows: self.rows,
            series: self.series,
            key_min: self.key_min,
            key_max: self.key_max,
            time_min: self.time_min,
            time_max: self.time_max,
            has_cleared: self.has_cleared,
            schema: self.schema,
            fields: self.fields,
            spec: self.spec,
        }
    }
}
