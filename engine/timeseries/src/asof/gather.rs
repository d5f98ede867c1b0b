//! [`Gather`]: makes batches of left rows and their partners.
//!
//! Partners of the rows of one left batch may lie in many right batches. Only [`HELD_MAX`] of those are held; when there
//! are more, the rows that are wanted of them are copied out.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, UInt32Array, new_null_array};
use datafusion::arrow::compute::{concat, interleave, take};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::error::Result;

use super::comparison::Kind;
use super::cursor::Partner;
use super::sorted::Sorted;

/// Right batches held for one batch of the answer.
const HELD_MAX: usize = 8;

/// The answer for one left batch in the making.
pub(super) struct Gather {
    kind: Kind,
    schema: SchemaRef,
    /// One null of the type of each right column.
    nulls: Vec<ArrayRef>,
    held: Vec<Arc<Sorted>>,
    /// Of each row: 0 for none, or 1 + the batch that is held; and the row there.
    pairs: Vec<(usize, usize)>,
    /// Right columns that were copied out.
    chunks: Vec<Vec<ArrayRef>>,
    /// Left rows that have partners; only for [`Kind::Inner`].
    rows: Vec<u32>,
}

impl Gather {
    /// For joins with this schema, whose right side has columns of these types.
    pub(super) fn new<'a>(
        kind: Kind,
        schema: SchemaRef,
        right: impl Iterator<Item = &'a DataType>,
    ) -> Self {
        let nulls = right.map(|kind| new_null_array(kind, 1)).collect();
        let (held, pairs, chunks, rows) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { kind, schema, nulls, held, pairs, chunks, rows }
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
        let known = self.held.iter().rposition(|held| held.id == partner.batch.id);
        let slot = if let Some(slot) = known {
            slot
        } else {
            if self.held.len() == HELD_MAX {
                self.copy_out()?;
            }
            self.held.push(Arc::clone(&partner.batch));
            self.held.len() - 1
        };
        self.pairs.push((slot + 1, partner.row));
        match self.kind {
            Kind::Left => {}
            // Batches have fewer rows than 2³².
            Kind::Inner => self.rows.push(u32::try_from(row).unwrap_or(u32::MAX)),
        }
        Ok(())
    }

    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        let held: usize = self.held.iter().map(|held| held.bytes()).sum();
        let chunks = self.chunks.iter().flatten();
        let chunks: usize = chunks.map(Array::get_array_memory_size).sum();
        held + chunks + self.pairs.capacity() * size_of::<(usize, usize)>()
    }

    /// The answer for the left batch; none if it has no rows.
    pub(super) fn finish(&mut self, left: &RecordBatch) -> Result<Option<RecordBatch>> {
        if !self.pairs.is_empty() {
            self.copy_out()?;
        }
        let rows = std::mem::take(&mut self.rows);
        let mut columns = match self.kind {
            Kind::Left => left.columns().to_vec(),
            Kind::Inner if rows.is_empty() => return Ok(None),
            Kind::Inner if rows.len() == left.num_rows() => left.columns().to_vec(),
            Kind::Inner => {
                let rows = UInt32Array::from(rows.clone());
                let taken = left.columns().iter().map(|column| take(column, &rows, None));
                taken.collect::<Result<Vec<_>, _>>()?
            }
        };
        let count = match self.kind {
            Kind::Left => left.num_rows(),
            Kind::Inner => rows.len(),
        };
        let chunks = std::mem::take(&mut self.chunks);
        for column in 0..self.nulls.len() {
            let parts: Vec<&dyn Array> =
                chunks.iter().map(|chunk| chunk[column].as_ref()).collect();
            columns.push(match parts.as_slice() {
                [_] => Arc::clone(&chunks[0][column]),
                _ => concat(&parts)?,
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let schema = Arc::clone(&self.schema);
        Ok(Some(RecordBatch::try_new_with_options(schema, columns, &options)?))
    }

    fn copy_out(&mut self) -> Result<()> {
        let mut chunk = Vec::with_capacity(self.nulls.len());
        for (index, null) in self.nulls.iter().enumerate() {
            let held = self.held.iter().map(|held| held.batch.column(index).as_ref());
            let arrays: Vec<&dyn Array> = std::iter::once(null.as_ref()).chain(held).collect();
            chunk.push(interleave(&arrays, &self.pairs)?);
        }
        self.chunks.push(chunk);
        self.pairs.clear();
        self.held.clear();
        Ok(())
    }
}
