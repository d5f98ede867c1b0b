//! [`DecodedBatches`]: batches that this node has encoded, until their entry is applied.
//!
//! Apply decodes what the log holds. Where the bytes are those that this node has just made of a batch, the batch is what
//! decoding would give, and is at hand: a sixth of the work of a write is saved. Bytes are compared whole, so that apply
//! sees what the log says, and nothing else. What is never applied, or applied elsewhere, is forgotten for newer batches.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::RowBatch;

/// Batches kept.
const BATCHES_MAX: usize = 64;
/// Bytes of the rows that are kept.
const BYTES_MAX: u64 = 64 << 20;

/// The batches, oldest first.
#[derive(Debug, Default)]
pub(crate) struct DecodedBatches {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    batches: VecDeque<(Bytes, RowBatch)>,
    bytes: u64,
}

impl DecodedBatches {
    /// None yet.
    pub(crate) fn shared() -> Arc<Self> {
        Arc::default()
    }

    /// Keeps a batch by its bytes.
    pub(crate) fn put(&self, encoded: Bytes, rows: RowBatch) {
        let mut held = self.held.lock();
        held.bytes += rows.bytes();
        held.batches.push_back((encoded, rows));
        let mut forgotten = Vec::new();
        while held.batches.len() > BATCHES_MAX || held.bytes > BYTES_MAX {
            let Some((_, rows)) = held.batches.pop_front() else { break };
            held.bytes -= rows.bytes();
            forgotten.push(rows);
        }
        drop(held);
        // Outside the lock: to free rows takes a while.
        drop(forgotten);
    }

    /// Takes the batch whose bytes these are.
    pub(crate) fn take(&self, encoded: &[u8]) -> Option<RowBatch> {
        let mut held = self.held.lock();
        let at = held.batches.iter().position(|(bytes, _)| *bytes == encoded)?;
        let (_, rows) = held.batches.remove(at)?;
        held.bytes -= rows.bytes();
        Some(rows)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, TimestampNanosecondArray, UInt32Array};
    use quorate_segment::{ColumnId, SeriesKey};

    use super::super::Nulls;
    use super::*;

    fn batch(rows: u32, value: i64) -> RowBatch {
        let times = TimestampNanosecondArray::from_iter_values(0..i64::from(rows));
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values((0..rows).map(|_| value)));
        RowBatch {
            series: vec![SeriesKey::encode([Some("a")])],
            series_of_row: UInt32Array::from_iter_values((0..rows).map(|_| 0)),
            time: Arc::new(times.with_timezone("UTC")),
            fields: vec![(ColumnId(7), values)],
            nulls: Nulls::Absent,
        }
    }

    fn value(batch: &RowBatch) -> ArrayRef {
        Arc::clone(&batch.fields[0].1)
    }

    #[test]
    fn a_batch_is_found_by_its_bytes_once() {
        let decoded = DecodedBatches::default();
        let encoded: Vec<Bytes> =
            (0..3).map(|value| batch(2, value).encode().unwrap().into()).collect();
        for (value, bytes) in (0..).zip(&encoded) {
            decoded.put(bytes.clone(), batch(2, value));
        }
        assert!(decoded.take(b"other bytes").is_none());
        assert!(decoded.take(&encoded[1][..encoded[1].len() - 1]).is_none());
        let found = decoded.take(&encoded[1]).unwrap();
        assert_eq!(&value(&found), &value(&RowBatch::decode(&encoded[1]).unwrap()));
        assert!(decoded.take(&encoded[1]).is_none());
        assert!(decoded.take(&encoded[0]).is_some() && decoded.take(&encoded[2]).is_some());
        assert_eq!(decoded.held.lock().bytes, 0);
    }

    #[test]
    fn what_is_never_applied_goes() {
        let decoded = DecodedBatches::default();
        let rows = 1 << 20;
        for name in 0..=BATCHES_MAX {
            decoded.put(name.to_string().into(), batch(1, 0));
        }
        assert!(decoded.take(b"0").is_none() && decoded.take(b"1").is_some());
        let bytes = batch(rows, 0).bytes();
        let most = BYTES_MAX / bytes;
        for name in 0..=most {
            decoded.put(format!("long {name}").into(), batch(rows, 0));
        }
        assert!(decoded.take(b"long 0").is_none() && decoded.take(b"2").is_none());
        assert!(decoded.take(format!("long {most}").as_bytes()).is_some());
        decoded.put("too long".into(), batch(rows * 4, 0));
        assert!(decoded.held.lock().bytes <= BYTES_MAX);
    }
}
