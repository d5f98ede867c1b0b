//! The rows of `INSERT … VALUES`: literals go straight to the column's type, so that no digit is lost on the way;
//! other expressions are folded; parameters come as columns.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::str::FromStr;
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, ExprWithAlias, UnaryOperator, Value, ValueWithSpan, Values, visit_expressions,
};
use quorate_timeseries::type_name;

use super::StatementContext;
use super::cast::cast_exact;
use super::insert::Target;
use super::parameters::{ParameterRow, Parameters};
use crate::{Error, ErrorKind};

/// Rows of one batch.
const BATCH_ROWS: usize = 65_536;

/// Whether a value asks a query, which planning alone can answer.
pub(super) fn asks_queries(values: &Values) -> bool {
    let found = visit_expressions(values, |expr| match expr {
        SqlExpr::Subquery(_) | SqlExpr::Exists { .. } | SqlExpr::InSubquery { .. } => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// Types of the parameters that fill a column.
pub(super) fn parameter_types(target: &Target, values: &Values) -> BTreeMap<String, DataType> {
    let mut types = BTreeMap::new();
    for row in &values.rows {
        for (value, field) in row.content.iter().zip(target.shown.fields()) {
            if let Some(id) = placeholder(value) {
                types.insert(id.to_owned(), field.data_type().clone());
            }
        }
    }
    types
}

/// The rows as batches for the ingest: all of them for each row of parameters.
pub(super) fn batches(
    context: &StatementContext,
    target: &Target,
    values: &Values,
    parameters: &Parameters,
) -> Result<Vec<RecordBatch>, Error> {
    for row in &values.rows {
        target.expect_columns(row.content.len())?;
    }
    if let [row] = values.rows.as_slice()
        && let Some(columns) = whole_columns(context, target, &row.content, parameters)?
    {
        return Ok(vec![target.batch(columns)?]);
    }
    let mut batches = Vec::new();
    let mut columns = vec![Vec::new(); target.columns.len()];
    let mut rows = 0;
    for n in 0..parameters.rows() {
        let bound = parameters.row(n)?;
        for (r, row) in values.rows.iter().enumerate() {
            for ((value, field), column) in
                row.content.iter().zip(target.shown.fields()).zip(&mut columns)
            {
                let cell = Cell { context, field, bound: &bound };
                column.push(cell.value(value).map_err(|e| in_row(e, r))?);
            }
            rows += 1;
            if rows == BATCH_ROWS {
                batches.push(batch(target, &mut columns)?);
                rows = 0;
            }
        }
    }
    if rows > 0 {
        batches.push(batch(target, &mut columns)?);
    }
    Ok(batches)
}

fn in_row(error: Error, row: usize) -> Error {
    match error {
        Error::Request { kind, message } => {
            Error::Request { kind, message: format!("row {}: {message}", row + 1) }
        }
        other => other,
    }
}

fn batch(target: &Target, columns: &mut [Vec<ScalarValue>]) -> Result<RecordBatch, Error> {
    let array = |values: &mut Vec<ScalarValue>| ScalarValue::iter_to_array(values.drain(..));
    let columns = columns.iter_mut().map(array).collect::<Result<Vec<_>, _>>()?;
    target.batch(columns)
}

/// One row of parameters and constants over many rows of parameters: cast column by column.
fn whole_columns(
    context: &StatementContext,
    target: &Target,
    row: &[SqlExpr],
    parameters: &Parameters,
) -> Result<Option<Vec<ArrayRef>>, Error> {
    let nothing = ParameterRow::new();
    let mut columns = Vec::with_capacity(row.len());
    for (value, field) in row.iter().zip(target.shown.fields()) {
        let array = if let Some(id) = placeholder(value) {
            let Some(array) = parameters.column(id) else { return Ok(None) };
            cast_exact(array, field.data_type())
                .map_err(|e| e.named(&format!("column {:?}", field.name())))?
        } else if has_placeholder(value) {
            return Ok(None);
        } else {
            let constant = Cell { context, field, bound: &nothing }.value(value)?;
            constant.to_array_of_size(parameters.rows())?
        };
        columns.push(array);
    }
    Ok(Some(columns))
}

fn placeholder(value: &SqlExpr) -> Option<&str> {
    match value {
        SqlExpr::Value(ValueWithSpan { value: Value::Placeholder(id), .. }) => Some(id),
        _ => None,
    }
}

fn has_placeholder(value: &SqlExpr) -> bool {
    let found = visit_expressions(value, |expr| match placeholder(expr) {
        Some(_) => ControlFlow::Break(()),
        None => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// One value of one row.
struct Cell<'a> {
    context: &'a StatementContext,
    field: &'a Arc<Field>,
    bound: &'a ParameterRow,
}

impl Cell<'_> {
    /// The value with the type of its column.
    fn value(&self, value: &SqlExpr) -> Result<ScalarValue, Error> {
        let want = self.field.data_type();
        match literal(value, want) {
            Literal::Exact(value) => return Ok(value),
            Literal::Wrong => {
                return Err(Error::request(
                    ErrorKind::Invalid,
                    format!("column {:?}: {value} is not a {}", self.field.name(), type_name(want)),
                ));
            }
            Literal::Other => {}
        }
        let folded = self.evaluate(value)?;
        if folded.data_type() == *want {
            return Ok(folded);
        }
        let cast = cast_exact(&folded.to_array()?, want).map_err(|e| {
            Error::request(ErrorKind::Invalid, format!("column {:?}: {e}", self.field.name()))
        })?;
        Ok(ScalarValue::try_from_array(&cast, 0)?)
    }

    fn evaluate(&self, value: &SqlExpr) -> Result<ScalarValue, Error> {
        let state = &self.context.state;
        let empty = Arc::new(DFSchema::empty());
        let sql = ExprWithAlias { expr: value.clone(), alias: None };
        let expr = state.create_logical_expr_from_sql_expr(sql, &empty)?;
        let bound = expr.transform_up(|e| match e {
            Expr::Placeholder(placeholder) => match self.bound.get(&placeholder.id) {
                Some(value) => Ok(Transformed::yes(Expr::Literal(value.clone(), None))),
                None => {
                    Err(DataFusionError::Plan(format!("parameter {} has no value", placeholder.id)))
                }
            },
            other => Ok(Transformed::no(other)),
        })?;
        let folded = self.context.fold(bound.data, &empty)?;
        if let Expr::Literal(value, _) = folded {
            return Ok(value);
        }
        let expr = state.create_physical_expr(folded, &empty)?;
        let options = RecordBatchOptions::new().with_row_count(Some(1));
        let one =
            RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)
                .map_err(DataFusionError::from)?;
        let array = expr.evaluate(&one)?.into_array(1)?;
        Ok(ScalarValue::try_from_array(&array, 0)?)
    }
}

/// What a literal is in a column's type.
enum Literal {
    /// The same value.
    Exact(ScalarValue),
    /// No such value.
    Wrong,
    /// Not a plain literal, or of another type: the general way.
    Other,
}

fn literal(value: &SqlExpr, want: &DataType) -> Literal {
    match value {
        SqlExpr::Value(ValueWithSpan { value, .. }) => match value {
            Value::Null => ScalarValue::try_from(want).map_or(Literal::Other, Literal::Exact),
            Value::Boolean(b) if *want == DataType::Boolean => {
                Literal::Exact(ScalarValue::Boolean(Some(*b)))
            }
            Value::SingleQuotedString(text) if *want == DataType::Utf8View => {
                Literal::Exact(ScalarValue::Utf8View(Some(text.clone())))
            }
            Value::Number(digits, _) => number(digits, want),
            _ => Literal::Other,
        },
        SqlExpr::UnaryOp { op: UnaryOperator::Minus, expr } => match expr.as_ref() {
            SqlExpr::Value(ValueWithSpan { value: Value::Number(digits, _), .. }) => {
                number(&format!("-{digits}"), want)
            }
            _ => Literal::Other,
        },
        _ => Literal::Other,
    }
}

fn number(digits: &str, want: &DataType) -> Literal {
    fn integer<T: FromStr>(digits: &str) -> Option<T> {
        if let Ok(n) = digits.parse() {
            return Some(n);
        }
        // `1e3` and `5.0` are integers, too; what a double cannot hold exactly is not looked for in one.
        let float: f64 = digits.parse().ok()?;
        let small = float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0;
        if small { format!("{float:.0}").parse().ok() } else { None }
    }
    let exact = match want {
        DataType::Float64 => match digits.parse::<f64>() {
            Ok(float) if float.is_finite() => Some(ScalarValue::Float64(Some(float))),
            _ => None,
        },
        DataType::Int64 => integer(digits).map(|n| ScalarValue::Int64(Some(n))),
        DataType::UInt64 => integer(digits).map(|n| ScalarValue::UInt64(Some(n))),
        DataType::Timestamp(_, zone) => {
            integer(digits).map(|n| ScalarValue::TimestampNanosecond(Some(n), zone.clone()))
        }
        _ => return Literal::Other,
    };
    exact.map_or(Literal::Wrong, Literal::Exact)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(digits: &str, want: &DataType, value: impl Into<Option<ScalarValue>>) {
        let have = match number(digits, want) {
            Literal::Exact(value) => Some(value),
            Literal::Wrong => None,
            Literal::Other => panic!("{digits} has no literal of {want}"),
        };
        assert_eq!(have, value.into(), "{digits}");
    }

    #[test]
    fn numbers_keep_every_digit() {
        use DataType::{Float64, Int64, UInt64};
        check("9223372036854775807", &Int64, ScalarValue::from(i64::MAX));
        check("-9223372036854775808", &Int64, ScalarValue::from(i64::MIN));
        check("9223372036854775808", &Int64, None);
        check("18446744073709551615", &UInt64, ScalarValue::from(u64::MAX));
        check("-1", &UInt64, None);
        check("1e3", &Int64, ScalarValue::from(1000_i64));
        check("5.0", &Int64, ScalarValue::from(5_i64));
        check("1.5", &Int64, None);
        check("1e300", &Int64, None);
        check("0.1", &Float64, ScalarValue::from(0.1));
        check("1e999", &Float64, None);
        check("9007199254740993", &Int64, ScalarValue::from(9_007_199_254_740_993_i64));
    }
}
