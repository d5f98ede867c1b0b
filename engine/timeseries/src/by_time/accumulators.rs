//! Accumulators that keep the greatest key: of each group, of all rows, of the rows in a sliding frame.

use std::collections::VecDeque;
use std::fmt;
use std::mem::size_of;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, StructArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

use super::ranking::Ranking;

/// Rows to keys of which the greatest wins, and back.
pub(super) trait Codec: Clone + fmt::Debug + Send + Sync + 'static {
    /// A batch made ready.
    type Batch;
    /// All arguments of a row.
    type Key: Ord + Clone + fmt::Debug + Send + Sync + 'static;

    /// What wins.
    fn ranking(&self) -> Ranking;
    /// Makes the arguments of a batch ready.
    fn read(&self, args: &[ArrayRef]) -> Result<Self::Batch>;
    /// Whether a row takes part.
    fn counts(batch: &Self::Batch, row: usize) -> bool;
    /// Whether a row is greater than a key.
    fn beats(batch: &Self::Batch, row: usize, best: &Self::Key) -> bool;
    /// The key of a row.
    fn key(batch: &Self::Batch, row: usize) -> Self::Key;
    /// The arguments of rows again, NULL where there is none.
    fn write(&self, keys: &[Option<Self::Key>]) -> Result<Vec<ArrayRef>>;
    /// Bytes that a key has elsewhere.
    fn heap_size(key: &Self::Key) -> usize;
}

/// What is answered from the arguments of the winning row.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// The first of them.
    Value,
    /// All of them, as a struct of this type.
    Struct(DataType),
}

impl Answer {
    fn of(&self, args: Vec<ArrayRef>, won: &[bool]) -> ArrayRef {
        match self {
            Self::Value => Arc::clone(&args[0]),
            Self::Struct(DataType::Struct(fields)) => {
                let nulls = NullBuffer::from(won.to_vec());
                Arc::new(StructArray::new(fields.clone(), args, Some(nulls)))
            }
            Self::Struct(other) => unreachable!("{other} is no struct"),
        }
    }
}

/// Takes a row if it wins; `heap` counts the bytes of keys elsewhere.
fn offer<C: Codec>(batch: &C::Batch, row: usize, best: &mut Option<C::Key>, heap: &mut usize) {
    if let Some(key) = best {
        if !C::beats(batch, row, key) {
            return;
        }
        *heap -= C::heap_size(key);
    }
    let key = C::key(batch, row);
    *heap += C::heap_size(&key);
    *best = Some(key);
}

/// The greatest key of each group.
#[derive(Debug)]
pub(super) struct Groups<C: Codec> {
    codec: C,
    answer: Answer,
    best: Vec<Option<C::Key>>,
    /// Bytes of keys elsewhere.
    heap: usize,
}

impl<C: Codec> Groups<C> {
    pub(super) fn new(codec: C, answer: Answer) -> Self {
        Self { codec, answer, best: Vec::new(), heap: 0 }
    }

    fn take(&mut self, emit_to: EmitTo) -> Result<(Vec<ArrayRef>, Vec<bool>)> {
        let keys = emit_to.take_needed(&mut self.best);
        self.heap = self.best.iter().flatten().map(C::heap_size).sum();
        let won = keys.iter().map(Option::is_some).collect();
        Ok((self.codec.write(&keys)?, won))
    }
}

impl<C: Codec> GroupsAccumulator for Groups<C> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.best.resize(total_num_groups, None);
        let batch = self.codec.read(values)?;
        for (row, &group) in group_indices.iter().enumerate() {
            let passes = opt_filter.is_none_or(|f| f.is_valid(row) && f.value(row));
            if passes && C::counts(&batch, row) {
                offer::<C>(&batch, row, &mut self.best[group], &mut self.heap);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let (args, won) = self.take(emit_to)?;
        Ok(self.answer.of(args, &won))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(self.take(emit_to)?.0)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.update_batch(values, group_indices, None, total_num_groups)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        self.codec.ranking().mark(values, opt_filter)
    }

    fn size(&self) -> usize {
        self.best.capacity() * size_of::<Option<C::Key>>() + self.heap
    }
}

/// The greatest key of all rows.
#[derive(Debug)]
pub(super) struct Single<C: Codec> {
    codec: C,
    answer: Answer,
    best: Option<C::Key>,
}

impl<C: Codec> Single<C> {
    pub(super) fn new(codec: C, answer: Answer) -> Self {
        Self { codec, answer, best: None }
    }
}

fn scalar<C: Codec>(codec: &C, answer: &Answer, best: Option<C::Key>) -> Result<ScalarValue> {
    let won = [best.is_some()];
    let array = answer.of(codec.write(&[best])?, &won);
    ScalarValue::try_from_array(&array, 0)
}

impl<C: Codec> Accumulator for Single<C> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let batch = self.codec.read(values)?;
        let mut heap = self.best.as_ref().map_or(0, C::heap_size);
        for row in 0..values[0].len() {
            if C::counts(&batch, row) {
                offer::<C>(&batch, row, &mut self.best, &mut heap);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        scalar(&self.codec, &self.answer, self.best.clone())
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.best.as_ref().map_or(0, C::heap_size)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let args = self.codec.write(std::slice::from_ref(&self.best))?;
        args.iter().map(|a| ScalarValue::try_from_array(a, 0)).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }
}

/// The greatest key of a frame whose rows leave in the order in which they came.
///
/// Keys that a later and greater one hides can never win; the others fall from the front to the back.
#[derive(Debug)]
pub(super) struct Sliding<C: Codec> {
    codec: C,
    answer: Answer,
    /// Numbers of rows, and their keys.
    kept: VecDeque<(u64, C::Key)>,
    /// Rows that left, and rows that came.
    left: u64,
    came: u64,
}

impl<C: Codec> Sliding<C> {
    pub(super) fn new(codec: C, answer: Answer) -> Self {
        Self { codec, answer, kept: VecDeque::new(), left: 0, came: 0 }
    }
}

impl<C: Codec> Accumulator for Sliding<C> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let batch = self.codec.read(values)?;
        for row in 0..values[0].len() {
            if C::counts(&batch, row) {
                let key = C::key(&batch, row);
                while self.kept.back().is_some_and(|(_, last)| *last <= key) {
                    self.kept.pop_back();
                }
                self.kept.push_back((self.came, key));
            }
            self.came += 1;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.left += values[0].len() as u64;
        while self.kept.front().is_some_and(|(number, _)| *number < self.left) {
            self.kept.pop_front();
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        scalar(&self.codec, &self.answer, self.kept.front().map(|(_, key)| key.clone()))
    }

    fn size(&self) -> usize {
        let heap: usize = self.kept.iter().map(|(_, key)| C::heap_size(key)).sum();
        self.kept.capacity() * size_of::<(u64, C::Key)>() + heap
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let best = self.kept.front().map(|(_, key)| key.clone());
        let args = self.codec.write(&[best])?;
        args.iter().map(|a| ScalarValue::try_from_array(a, 0)).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }
}
