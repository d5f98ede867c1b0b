//! A chunk: as many rows as one write takes, where they stand in their file, and the key under which they are sent.
//!
//! The key follows from what is sent and where it stands, so that the same chunk has the same key when the load is run
//! again, and another chunk never has it: table (by its id: one that is made anew takes the rows again), file, place in
//! the file, and the rows themselves. Chunks are cut by what is in the file alone.

use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use csv::ByteRecord;

/// Rows of a chunk at most: the node lists so many rejected rows of one write.
pub(super) const CHUNK_ROWS: usize = 10_000;
/// Bytes of values after which a chunk ends.
pub(super) const CHUNK_BYTES: usize = 4 << 20;

/// Part of each key: chunks that are cut or written otherwise by a later version are other chunks.
const VERSION: &[u8] = b"quorate load 1";

/// A row or line that is not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rejection {
    /// Line of a text, row of another file, from 1; 0 where the node does not tell.
    pub(super) line: u64,
    /// Why.
    pub(super) reason: String,
    /// What stands there, of a text.
    pub(super) text: String,
}

/// Rows to be sent, and those that cannot be.
#[derive(Debug)]
pub(super) struct RowChunk {
    pub(super) batch: RecordBatch,
    pub(super) places: Places,
    pub(super) rejected: Vec<Rejection>,
}

/// Where the rows of a batch stand in their file.
#[derive(Debug)]
pub(super) enum Places {
    /// Record by record.
    Records { records: Vec<ByteRecord>, delimiter: u8 },
    /// One after the other, from the first of so many rows, counted from 1.
    Rows { first: u64, count: usize },
}

impl Places {
    /// What becomes of a row that is rejected. Beyond the last one it is what a shard says of several.
    pub(super) fn rejection(&self, row: usize, reason: String) -> Rejection {
        let line = match self {
            Self::Records { records, delimiter } => match records.get(row) {
                Some(record) => return rejected_record(record, *delimiter, reason),
                None => 0,
            },
            Self::Rows { first, count } if row < *count => first + row as u64,
            Self::Rows { .. } => 0,
        };
        Rejection { line, reason, text: String::new() }
    }
}

/// A record that is rejected.
pub(super) fn rejected_record(record: &ByteRecord, delimiter: u8, reason: String) -> Rejection {
    let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
    let text = match writer.write_byte_record(record) {
        Ok(()) => writer.into_inner().unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    let text = String::from_utf8_lossy(&text).trim_end_matches(['\r', '\n']).to_owned();
    Rejection { line: record.position().map_or(0, csv::Position::line), reason, text }
}

/// What the keys of a file's chunks have in common.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    hasher: blake3::Hasher,
}

impl Keys {
    /// Keys of a file that goes to a place: a database, and whatever else decides what its bytes mean. Other `again`,
    /// other keys.
    pub(super) fn new(place: &[&str], identity: &str, again: Option<u64>) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(VERSION);
        for part in place.iter().chain([&identity]) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.update(&again.unwrap_or_default().to_le_bytes());
        Self { hasher }
    }

    /// The key of rows.
    pub(super) fn of_rows(&self, chunk: u64, batch: &RecordBatch) -> Result<String, ArrowError> {
        let mut hasher = self.of_chunk(chunk);
        let mut writer = StreamWriter::try_new(&mut hasher, &batch.schema())?;
        writer.write(batch)?;
        writer.finish()?;
        drop(writer);
        Ok(key(&hasher))
    }

    /// The key of lines.
    pub(super) fn of_lines(&self, chunk: u64, lines: &[u8]) -> String {
        let mut hasher = self.of_chunk(chunk);
        hasher.update(lines);
        key(&hasher)
    }

    fn of_chunk(&self, chunk: u64) -> blake3::Hasher {
        let mut hasher = self.hasher.clone();
        hasher.update(&chunk.to_le_bytes());
        hasher
    }
}

fn key(hasher: &blake3::Hasher) -> String {
    format!("load-{}", hasher.finalize().to_hex())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    fn batch(values: &[i64]) -> RecordBatch {
        let array: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
        RecordBatch::try_from_iter([("n", array)]).unwrap()
    }

    #[test]
    fn a_key_is_that_of_its_table_file_place_and_rows_alone() {
        let keys = |table, file, again| Keys::new(&["main", table], file, again);
        let key = |keys: &Keys, chunk, values: &[i64]| keys.of_rows(chunk, &batch(values)).unwrap();
        let base = keys("1", "/a", None);
        let first = key(&base, 0, &[1, 2]);
        assert_eq!(first, key(&keys("1", "/a", None), 0, &[1, 2]));
        let others = [
            key(&base, 1, &[1, 2]),
            key(&base, 0, &[1, 3]),
            key(&keys("2", "/a", None), 0, &[1, 2]),
            key(&keys("1", "/b", None), 0, &[1, 2]),
            key(&keys("1", "/a", Some(1)), 0, &[1, 2]),
            base.of_lines(0, b"m n=1"),
        ];
        assert!(others.iter().all(|other| *other != first), "{others:?}");
        // A slice is known by its rows, not by the batch that it was cut from.
        assert_eq!(base.of_rows(0, &batch(&[0, 1, 2]).slice(1, 2)).unwrap(), first);
    }
}
