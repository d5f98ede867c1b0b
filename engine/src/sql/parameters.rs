//! Values for the parameters of a statement.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::ParamValues;
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;

use super::cast::cast_exact;
use crate::{Error, ErrorKind};

/// One row of parameters: id (with its `$`) → value.
pub(crate) type ParameterRow = HashMap<String, ScalarValue>;

/// Rows of parameters, each with a value for every id of the statement.
#[derive(Debug)]
pub(crate) struct Parameters {
    ids: Vec<String>,
    columns: Vec<ArrayRef>,
    rows: usize,
}

impl Parameters {
    /// Matches columns to ids: named ones by name (with or without `$`), the others by position.
    pub(crate) fn new(ids: Vec<String>, batch: Option<RecordBatch>) -> Result<Self, Error> {
        let Some(batch) = batch else {
            return if ids.is_empty() {
                Ok(Self { ids, columns: Vec::new(), rows: 1 })
            } else {
                Err(wrong_number(ids.len(), 0))
            };
        };
        let schema = batch.schema();
        let by_name = |id: &String| {
            let name = id.trim_start_matches('$');
            schema.index_of(id).or_else(|_| schema.index_of(name)).ok()
        };
        let named = ids.iter().any(|id| is_name(id));
        let columns = if named {
            let find = |id: &String| match by_name(id) {
                Some(index) => Ok(Arc::clone(batch.column(index))),
                None => {
                    Err(Error::request(ErrorKind::Invalid, format!("parameter {id} has no value")))
                }
            };
            ids.iter().map(find).collect::<Result<Vec<_>, Error>>()?
        } else if batch.num_columns() == ids.len() {
            batch.columns().to_vec()
        } else {
            return Err(wrong_number(ids.len(), batch.num_columns()));
        };
        // Some clients send an empty batch where there is nothing to bind.
        let rows = if ids.is_empty() { batch.num_rows().max(1) } else { batch.num_rows() };
        Ok(Self { ids, columns, rows })
    }

    /// Whether there is nothing to bind.
    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Tells these values from any others.
    pub(crate) fn digest(&self, hasher: &mut blake3::Hasher) -> Result<(), Error> {
        if self.ids.is_empty() {
            hasher.update(&(self.rows as u64).to_be_bytes());
            return Ok(());
        }
        let columns = self.ids.iter().zip(&self.columns).map(|(id, c)| (id, Arc::clone(c)));
        let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(id, c)| (id, c, true)));
        crate::ingest::digest_rows(hasher, &batch.map_err(DataFusionError::from)?)
    }

    /// How often the statement runs.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The values of one parameter over all rows.
    pub(crate) fn column(&self, id: &str) -> Option<&ArrayRef> {
        let index = self.ids.iter().position(|known| known == id)?;
        self.columns.get(index)
    }

    /// One row.
    pub(crate) fn row(&self, row: usize) -> Result<ParameterRow, Error> {
        let value = |(id, column): (&String, &ArrayRef)| {
            Ok((id.clone(), ScalarValue::try_from_array(column, row)?))
        };
        self.ids.iter().zip(&self.columns).map(value).collect()
    }

    /// The only row: this statement takes no more.
    pub(crate) fn single_row(&self) -> Result<ParameterRow, Error> {
        if self.rows == 1 {
            return self.row(0);
        }
        Err(Error::request(
            ErrorKind::Invalid,
            format!("the statement takes one row of parameters, not {}", self.rows),
        ))
    }
}

fn is_name(id: &str) -> bool {
    id.trim_start_matches('$').parse::<usize>().is_err()
}

fn wrong_number(want: usize, have: usize) -> Error {
    Error::request(
        ErrorKind::Invalid,
        format!("the statement has {want} parameters, and {have} values were given"),
    )
}

/// Values as DataFusion binds them, cast to the types that the statement tells of its parameters.
pub(crate) fn bind(
    row: &ParameterRow,
    types: &BTreeMap<String, DataType>,
) -> Result<ParamValues, Error> {
    let mut bound: HashMap<String, ScalarValue> = HashMap::with_capacity(row.len());
    for (id, value) in row {
        let value = match types.get(id) {
            Some(want) if *want != value.data_type() => {
                let array = cast_exact(&value.to_array()?, want)
                    .map_err(|e| e.named(&format!("parameter {id}")))?;
                ScalarValue::try_from_array(&array, 0)?
            }
            _ => value.clone(),
        };
        bound.insert(id.trim_start_matches('$').to_owned(), value);
    }
    Ok(ParamValues::from(bound))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Int64Array, StringArray};

    use super::*;

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    fn batch(names: [&str; 2]) -> RecordBatch {
        let a = Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef;
        let b = Arc::new(StringArray::from(vec!["x", "y"])) as ArrayRef;
        RecordBatch::try_from_iter([(names[0], a), (names[1], b)]).unwrap()
    }

    #[test]
    fn numbered_parameters_go_by_position() {
        let bound = Parameters::new(ids(&["$1", "$2"]), Some(batch(["p", "q"]))).unwrap();
        assert_eq!(bound.rows(), 2);
        assert_eq!(bound.row(1).unwrap()["$2"], ScalarValue::from("y"));
        assert!(bound.single_row().is_err());
    }

    #[test]
    fn named_parameters_go_by_name() {
        let bound = Parameters::new(ids(&["$b", "$a"]), Some(batch(["a", "$b"]))).unwrap();
        assert_eq!(bound.row(0).unwrap()["$a"], ScalarValue::from(1_i64));
        assert_eq!(bound.row(0).unwrap()["$b"], ScalarValue::from("x"));
        assert!(Parameters::new(ids(&["$c"]), Some(batch(["a", "b"]))).is_err());
    }

    #[test]
    fn a_wrong_number_of_values_is_an_error() {
        for (want, given) in [(vec!["$1"], Some(batch(["a", "b"]))), (vec!["$1"], None)] {
            let error = Parameters::new(ids(&want), given).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
        }
        assert_eq!(Parameters::new(Vec::new(), None).unwrap().rows(), 1);
    }
}
