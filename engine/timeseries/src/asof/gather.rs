//! [`Gather`]: makes batches of left rows and their partners.
//!
//! Partners of the rows of one left batch may lie in many right batches. Only [`HELD_MAX`] of those are held; when there
//! are more, the rows that are wanted of them are copied out.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, UInt32Array, new_null_array};
use datafusion::arrow::compute::{concat, interleave, take};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::error::Result;

use super::comparison::Kind;
use super::cursor::Partner;
use super::sorted::Sorted;

/// Right batches held for one batch of the answer.
const HELD_MAX: usize = 8;

/// Where a column of the answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left(usize),
    Right(usize),
}

/// The answer for one left batch in the making.
pub(super) struct Gather {
    kind: Kind,
    schema: SchemaRef,
    columns: Vec<Side>,
    /// Each right column of the answer, and one null of its type.
    right: Vec<(usize, ArrayRef)>,
    held: Vec<Arc<Sorted>>,
    /// Of each row: 0 for none, or 1 + the batch that is held; and the row there.
    pairs: Vec<(usize, usize)>,
    /// Right columns that were copied out.
    chunks: Vec<Vec<ArrayRef>>,
    /// Left rows that have partners; only for [`Kind::Inner`].
    rows: Vec<u32>,
}

impl Gather {
    /// For answers with this schema, whose columns come from these.
    pub(super) fn new(kind: Kind, schema: SchemaRef, columns: Vec<Side>) -> Self {
        let typed = columns.iter().zip(schema.fields());
        let right = typed.filter_map(|(side, field)| match side {
            Side::Left(_) => None,
            Side::Right(column) => Some((*column, new_null_array(field.data_type(), 1))),
        });
        let right = right.collect();
        let (held, pairs, chunks, rows) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { kind, schema, columns, right, held, pairs, chunks, rows }
    }

    /// The next left row, and its partner.
    pub(super) fn push(&mut self, row: usize, partner: Option<&Partner>) -> Result<()> {
        let Some(partner) = partner else {
            match self.kind {
                Kind::Left => self.pairs.push((0, 0)),
                Kind::Inner => {}
            }
            return Ok(());
        };
        let slot = self.slot(&partner.batch)?;
        self.pairs.push((slot + 1, partner.row));
        match self.kind {
            Kind::Left => {}
            Kind::Inner => self.rows.push(number(row)),
        }
        Ok(())
    }

    /// The next left rows, from this one on, whose partners are these rows of one batch.
    pub(super) fn push_all(
        &mut self,
        row: usize,
        batch: &Arc<Sorted>,
        partners: impl ExactSizeIterator<Item = Option<usize>>,
    ) -> Result<()> {
        // A batch without a partner is not held.
        let mut slot = None;
        self.pairs.reserve(partners.len());
        for (row, partner) in (row..).zip(partners) {
            let Some(partner) = partner else {
                match self.kind {
                    Kind::Left => self.pairs.push((0, 0)),
                    Kind::Inner => {}
                }
                continue;
            };
            let slot = match slot {
                Some(slot) => slot,
                None => *slot.insert(self.slot(batch)? + 1),
            };
            self.pairs.push((slot, partner));
            match self.kind {
                Kind::Left => {}
                Kind::Inner => self.rows.push(number(row)),
            }
        }
        Ok(())
    }

    /// Where a right batch is held.
    fn slot(&mut self, batch: &Arc<Sorted>) -> Result<usize> {
        let known = self.held.iter().rposition(|held| held.id == batch.id);
        if let Some(slot) = known {
            return Ok(slot);
        }
        if self.held.len() == HELD_MAX {
            self.copy_out()?;
        }
        self.held.push(Arc::clone(batch));
        Ok(self.held.len() - 1)
    }

    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        let held: usize = self.held.iter().map(|held| held.bytes()).sum();
        let chunks = self.chunks.iter().flatten();
        let chunks: usize = chunks.map(Array::get_array_memory_size).sum();
        let rows = self.rows.capacity() * size_of::<u32>();
        held + chunks + rows + self.pairs.capacity() * size_of::<(usize, usize)>()
    }

    /// The answer for the left batch; none if it has no rows.
    pub(super) fn finish(&mut self, left: &RecordBatch) -> Result<Option<RecordBatch>> {
        if !self.pairs.is_empty() {
            self.copy_out()?;
        }
        let rows = std::mem::take(&mut self.rows);
        let count = match self.kind {
            Kind::Left => left.num_rows(),
            Kind::Inner if rows.is_empty() => return Ok(None),
            Kind::Inner => rows.len(),
        };
        let picked = (count < left.num_rows()).then(|| UInt32Array::from(rows));
        let chunks = std::mem::take(&mut self.chunks);
        let mut right = 0..self.right.len();
        let mut columns = Vec::with_capacity(self.columns.len());
        for side in &self.columns {
            columns.push(match (side, &picked) {
                (Side::Left(column), None) => Arc::clone(left.column(*column)),
                (Side::Left(column), Some(rows)) => take(left.column(*column), rows, None)?,
                (Side::Right(_), _) => {
                    let place = right.next().unwrap_or_default();
                    joined(&chunks, place)?
                }
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let schema = Arc::clone(&self.schema);
        Ok(Some(RecordBatch::try_new_with_options(schema, columns, &options)?))
    }

    fn copy_out(&mut self) -> Result<()> {
        let mut chunk = Vec::with_capacity(self.right.len());
        for (column, null) in &self.right {
            let held = self.held.iter().map(|held| held.batch.column(*column).as_ref());
            let arrays: Vec<&dyn Array> = std::iter::once(null.as_ref()).chain(held).collect();
            chunk.push(interleave(&arrays, &self.pairs)?);
        }
        self.chunks.push(chunk);
        self.pairs.clear();
        self.held.clear();
        Ok(())
    }
}

/// Batches have fewer rows than 2³².
fn number(row: usize) -> u32 {
    u32::try_from(row).unwrap_or(u32::MAX)
}

/// A column that was copied out in parts.
fn joined(chunks: &[Vec<ArrayRef>], column: usize) -> Result<ArrayRef> {
    if let [only] = chunks {
        return Ok(Arc::clone(&only[column]));
    }
    let parts: Vec<&dyn Array> = chunks.iter().map(|chunk| chunk[column].as_ref()).collect();
    Ok(concat(&parts)?)
}
