//! Comparisons of fields with constants, as values that a scan may restrict itself to.

use std::ops::Bound;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use quorate_storage::catalog::Table;
use quorate_storage::scan::{Bounds, ValueBounds, ValueRange};
use quorate_storage::{ColumnKind, FieldType};

/// The values of a numeric field that a comparison with a constant keeps; `None` for other filters.
pub(super) fn range(filter: &Expr, table: &Table) -> Option<ValueRange> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else { return None };
    let (column, op, value) = match (left.as_ref(), right.as_ref()) {
        (Expr::Column(column), Expr::Literal(value, _)) => (column, *op, value),
        (Expr::Literal(value, _), Expr::Column(column)) => (column, op.swap()?, value),
        _ => return None,
    };
    let field = table.columns.iter().find(|field| field.name == column.name)?;
    let values = match (field.kind, value) {
        // NaN stands above all numbers in comparisons, and is not told in numbers.
        (ColumnKind::Field(FieldType::Float64), ScalarValue::Float64(Some(value)))
            if !value.is_nan() =>
        {
            ValueBounds::Float64(bounds(op, *value)?)
        }
        (ColumnKind::Field(FieldType::Int64), ScalarValue::Int64(Some(value))) => {
            ValueBounds::Int64(bounds(op, *value)?)
        }
        (ColumnKind::Field(FieldType::UInt64), ScalarValue::UInt64(Some(value))) => {
            ValueBounds::UInt64(bounds(op, *value)?)
        }
        _ => return None,
    };
    Some(ValueRange { field: field.id, values })
}

fn bounds<T: Copy>(op: Operator, value: T) -> Option<Bounds<T>> {
    match op {
        Operator::Eq => Some((Bound::Included(value), Bound::Included(value))),
        Operator::Gt => Some((Bound::Excluded(value), Bound::Unbounded)),
        Operator::GtEq => Some((Bound::Included(value), Bound::Unbounded)),
        Operator::Lt => Some((Bound::Unbounded, Bound::Excluded(value))),
        Operator::LtEq => Some((Bound::Unbounded, Bound::Included(value))),
        _ => None,
    }
}
