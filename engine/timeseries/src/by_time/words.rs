//! [`Words`]: keys of two columns whose values fit 64 bits, in the order of integers.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use datafusion::arrow::buffer::{NullBuffer, ScalarBuffer};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int64Type, TimeUnit, UInt64Type,
};
use datafusion::error::Result;

use super::accumulators::Codec;
use super::ranking::Ranking;

/// Keys made of two words: that of the lead, and that of the other column unless it is NULL.
#[derive(Clone, Debug)]
pub(super) struct Words {
    ranking: Ranking,
    /// Types of the first two arguments.
    types: [DataType; 2],
}

/// Columns of a batch as words.
pub(super) struct WordBatch {
    lead: ScalarBuffer<i64>,
    follow: ScalarBuffer<i64>,
    counted: Option<NullBuffer>,
    follow_nulls: Option<NullBuffer>,
    /// All ones where smaller values win.
    lead_flip: i64,
    follow_flip: i64,
}

impl Words {
    /// None if the columns do not fit.
    pub(super) fn new(ranking: Ranking, types: &[DataType]) -> Option<Self> {
        match types {
            [a, b] if is_word(a) && is_word(b) => {
                Some(Self { ranking, types: [a.clone(), b.clone()] })
            }
            _ => None,
        }
    }

    fn flips(&self) -> (i64, i64) {
        let flip = |larger: bool| if larger { 0 } else { -1 };
        (flip(self.ranking.lead_larger), flip(self.ranking.follow_larger))
    }
}

impl Codec for Words {
    type Batch = WordBatch;
    type Key = (i64, Option<i64>);

    fn ranking(&self) -> Ranking {
        self.ranking
    }

    fn read(&self, args: &[ArrayRef]) -> Result<WordBatch> {
        let Ranking { lead, .. } = self.ranking;
        let follow = self.ranking.follow();
        let (lead_flip, follow_flip) = self.flips();
        Ok(WordBatch {
            lead: to_words(&self.ranking.settle_nan(&args[lead]))?,
            follow: to_words(&args[follow])?,
            counted: self.ranking.counted(args).filter(|c| c.null_count() > 0),
            follow_nulls: args[follow].logical_nulls().filter(|n| n.null_count() > 0),
            lead_flip,
            follow_flip,
        })
    }

    fn counts(batch: &WordBatch, row: usize) -> bool {
        batch.counted.as_ref().is_none_or(|c| c.is_valid(row))
    }

    fn beats(batch: &WordBatch, row: usize, best: &Self::Key) -> bool {
        let lead = batch.lead[row] ^ batch.lead_flip;
        lead > best.0 || (lead == best.0 && Self::key(batch, row).1 > best.1)
    }

    fn key(batch: &WordBatch, row: usize) -> Self::Key {
        let follow = batch.follow[row] ^ batch.follow_flip;
        let is_null = batch.follow_nulls.as_ref().is_some_and(|n| n.is_null(row));
        (batch.lead[row] ^ batch.lead_flip, if is_null { None } else { Some(follow) })
    }

    fn write(&self, keys: &[Option<Self::Key>]) -> Result<Vec<ArrayRef>> {
        let (lead_flip, follow_flip) = self.flips();
        let lead: Int64Array = keys.iter().map(|k| k.map(|k| k.0 ^ lead_flip)).collect();
        let follow: Int64Array =
            keys.iter().map(|k| k.and_then(|k| k.1).map(|f| f ^ follow_flip)).collect();
        let words = if self.ranking.lead == 0 { [lead, follow] } else { [follow, lead] };
        words.into_iter().zip(&self.types).map(|(w, t)| from_words(w, t)).collect()
    }

    fn heap_size(_key: &Self::Key) -> usize {
        0
    }
}

fn is_word(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean | DataType::Float32 | DataType::Float64 | DataType::UInt64
    ) || through(data_type).is_some()
}

/// The integer that a type is cast to and from on its way to a word, if casts alone make one.
fn through(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::Timestamp(_, _)
        | DataType::Date64
        | DataType::Time64(_)
        | DataType::Duration(_) => Some(DataType::Int64),
        DataType::Date32 | DataType::Time32(TimeUnit::Second | TimeUnit::Millisecond) => {
            Some(DataType::Int32)
        }
        _ => None,
    }
}

/// The bits of a float as an integer that is ordered as Arrow orders floats, and back.
fn order64(bits: i64) -> i64 {
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

fn order32(bits: i32) -> i32 {
    bits ^ ((bits >> 31).cast_unsigned() >> 1).cast_signed()
}

fn to_words(array: &ArrayRef) -> Result<ScalarBuffer<i64>> {
    let words: Int64Array = match array.data_type() {
        DataType::Float64 => array
            .as_primitive::<Float64Type>()
            .unary::<_, Int64Type>(|v| order64(v.to_bits().cast_signed())),
        DataType::Float32 => array
            .as_primitive::<Float32Type>()
            .unary::<_, Int64Type>(|v| i64::from(order32(v.to_bits().cast_signed()))),
        DataType::UInt64 => {
            array.as_primitive::<UInt64Type>().unary::<_, Int64Type>(|v| v.cast_signed() ^ i64::MIN)
        }
        DataType::Boolean => {
            let bits = array.as_boolean().values().iter().map(i64::from);
            return Ok(bits.collect());
        }
        other => {
            let integer = through(other).expect("words were checked");
            let array = cast(&cast(array, &integer)?, &DataType::Int64)?;
            array.as_primitive::<Int64Type>().clone()
        }
    };
    Ok(words.values().clone())
}

fn from_words(words: Int64Array, data_type: &DataType) -> Result<ArrayRef> {
    Ok(match data_type {
        DataType::Float64 => {
            Arc::new(words.unary::<_, Float64Type>(|w| f64::from_bits(order64(w).cast_unsigned())))
        }
        DataType::Float32 => Arc::new(words.unary::<_, Float32Type>(|w| {
            let bits = i32::try_from(w).unwrap_or_default();
            f32::from_bits(order32(bits).cast_unsigned())
        })),
        DataType::UInt64 => {
            Arc::new(words.unary::<_, UInt64Type>(|w| (w ^ i64::MIN).cast_unsigned()))
        }
        DataType::Boolean => {
            let bits = words.iter().map(|w| w.map(|w| w != 0));
            Arc::new(bits.collect::<BooleanArray>())
        }
        other => {
            let integer = through(other).expect("words were checked");
            let words: ArrayRef = Arc::new(words);
            cast(&cast(&words, &integer)?, other)?
        }
    })
}
