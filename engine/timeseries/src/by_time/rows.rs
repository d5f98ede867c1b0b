//! [`Rows`]: keys of any columns, as bytes in the order of Arrow's row format.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, new_null_array};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::row::{self, RowConverter, SortField};
use datafusion::error::Result;

use super::accumulators::Codec;
use super::ranking::Ranking;

/// Keys that are all arguments of a row, encoded so that bytes compare as the ranking wants.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    ranking: Ranking,
    converter: Arc<RowConverter>,
    types: Vec<DataType>,
}

/// Rows of a batch as bytes.
pub(super) struct RowBatch {
    rows: row::Rows,
    counted: Option<NullBuffer>,
}

/// How the arguments are sorted: the lead, the other of the first two, the rest.
fn fields(ranking: Ranking, types: &[DataType]) -> Vec<SortField> {
    let larger = |column: usize| match column {
        lead if lead == ranking.lead => ranking.lead_larger,
        follow if follow == ranking.follow() => ranking.follow_larger,
        _ => true,
    };
    order(ranking, types.len())
        .map(|column| {
            // The greatest bytes win, and NULL has the least.
            let options = SortOptions { descending: !larger(column), nulls_first: true };
            SortField::new_with_options(types[column].clone(), options)
        })
        .collect()
}

fn order(ranking: Ranking, columns: usize) -> impl Iterator<Item = usize> {
    [ranking.lead, ranking.follow()].into_iter().chain(2..columns)
}

impl Rows {
    /// Whether columns can be compared at all.
    pub(super) fn supports(types: &[DataType]) -> bool {
        let fields: Vec<_> = types.iter().map(|t| SortField::new(t.clone())).collect();
        RowConverter::supports_fields(&fields)
    }

    pub(super) fn new(ranking: Ranking, types: &[DataType]) -> Result<Self> {
        let converter = Arc::new(RowConverter::new(fields(ranking, types))?);
        Ok(Self { ranking, converter, types: types.to_vec() })
    }
}

impl Codec for Rows {
    type Batch = RowBatch;
    type Key = Box<[u8]>;

    fn ranking(&self) -> Ranking {
        self.ranking
    }

    fn read(&self, args: &[ArrayRef]) -> Result<RowBatch> {
        let mut sorted: Vec<ArrayRef> =
            order(self.ranking, args.len()).map(|column| Arc::clone(&args[column])).collect();
        sorted[0] = self.ranking.settle_nan(&sorted[0]);
        Ok(RowBatch {
            rows: self.converter.convert_columns(&sorted)?,
            counted: self.ranking.counted(args).filter(|c| c.null_count() > 0),
        })
    }

    fn counts(batch: &RowBatch, row: usize) -> bool {
        batch.counted.as_ref().is_none_or(|c| c.is_valid(row))
    }

    fn beats(batch: &RowBatch, row: usize, best: &Self::Key) -> bool {
        batch.rows.row(row).data() > best.as_ref()
    }

    fn key(batch: &RowBatch, row: usize) -> Self::Key {
        batch.rows.row(row).data().into()
    }

    fn write(&self, keys: &[Option<Self::Key>]) -> Result<Vec<ArrayRef>> {
        let nulls = self.types.iter().map(|t| new_null_array(t, 1));
        let nulls: Vec<_> = nulls.collect();
        let nulls: Vec<_> =
            order(self.ranking, nulls.len()).map(|column| Arc::clone(&nulls[column])).collect();
        let none = self.converter.convert_columns(&nulls)?;
        let parser = self.converter.parser();
        let rows = keys.iter().map(|key| match key {
            Some(key) => parser.parse(key),
            None => parser.parse(none.row(0).data()),
        });
        let sorted = self.converter.convert_rows(rows)?;
        let mut columns = sorted.clone();
        for (position, column) in order(self.ranking, sorted.len()).enumerate() {
            columns[column] = Arc::clone(&sorted[position]);
        }
        Ok(columns)
    }

    fn heap_size(key: &Self::Key) -> usize {
        key.len()
    }
}
