//! [`TimeRewrite`]: makes instants of what is compared with times, before DataFusion settles types.
//!
//! DataFusion 55 compares a date with a time by taking the zone from both, so that the date begins at midnight in UTC
//! whatever the zone is.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::{
    Between, Case, InList, InSubquery, ScalarFunction, SetComparison,
};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{
    BinaryExpr, Cast, Expr, ExprSchemable, LogicalPlan, Operator, Projection, Subquery, TryCast,
};

use super::function::{local_time, local_value};
use super::instants;
use crate::engine::UTC;

/// Functions whose arguments are one type.
const OF_ONE_TYPE: [&str; 5] = ["coalesce", "greatest", "least", "nullif", "nvl"];

/// The rewrite, for before types are settled.
#[derive(Debug)]
pub(crate) struct TimeRewrite;

impl FunctionRewrite for TimeRewrite {
    fn name(&self) -> &'static str {
        "times"
    }

    fn rewrite(
        &self,
        mut expr: Expr,
        schema: &DFSchema,
        _config: &ConfigOptions,
    ) -> Result<Transformed<Expr>> {
        let changed = match &mut expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right })
                if *op == Operator::Minus || compares(*op) =>
            {
                together(vec![left, right], *op != Operator::Minus, schema)?
            }
            Expr::Between(Between { expr, low, high, .. }) => {
                together(vec![expr, low, high], true, schema)?
            }
            Expr::InList(InList { expr, list, .. }) => {
                together(std::iter::once(&mut **expr).chain(list).collect(), true, schema)?
            }
            Expr::Case(Case { expr, when_then_expr, else_expr }) => {
                let (whens, mut thens): (Vec<_>, Vec<_>) = when_then_expr
                    .iter_mut()
                    .map(|(when, then)| (when.as_mut(), then.as_mut()))
                    .unzip();
                thens.extend(else_expr.as_deref_mut());
                let answers = together(thens, true, schema)?;
                let compared = match expr {
                    Some(expr) => {
                        let all = std::iter::once(expr.as_mut()).chain(whens);
                        together(all.collect(), true, schema)?
                    }
                    None => false,
                };
                answers || compared
            }
            Expr::ScalarFunction(ScalarFunction { func, args })
                if OF_ONE_TYPE.contains(&func.name()) =>
            {
                together(args.iter_mut().collect(), true, schema)?
            }
            Expr::ScalarFunction(ScalarFunction { func, args }) if func.name() == "nvl2" => {
                together(args.iter_mut().skip(1).collect(), true, schema)?
            }
            Expr::InSubquery(InSubquery { expr, subquery, .. })
            | Expr::SetComparison(SetComparison { expr, subquery, .. }) => {
                with_subquery(expr, subquery, schema)?
            }
            Expr::Cast(Cast { expr: inner, field }) => {
                if let Some(time) = cast_time(inner, field.data_type(), schema)? {
                    return Ok(Transformed::yes(time));
                }
                false
            }
            Expr::TryCast(TryCast { expr: inner, field }) => {
                // What is no time is NULL, which DataFusion's cast makes of it.
                if let Ok(Some(time @ Expr::Literal(..))) =
                    cast_time(inner, field.data_type(), schema)
                {
                    return Ok(Transformed::yes(time));
                }
                false
            }
            _ => false,
        };
        Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
    }
}

fn compares(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
    )
}

/// Makes those of some expressions that are no instants instants, if others are.
fn together(exprs: Vec<&mut Expr>, with_text: bool, schema: &DFSchema) -> Result<bool> {
    // Types that are not to be told yet are not ours to settle.
    let types = exprs.iter().map(|expr| expr.get_type(schema).ok());
    let types: Vec<Option<DataType>> = types.collect();
    let Some(target) = types.iter().flatten().find(|kind| is_zoned(kind)).cloned() else {
        return Ok(false);
    };
    let mut changed = false;
    for (expr, kind) in exprs.into_iter().zip(types) {
        if kind.is_some_and(|kind| becomes_time(&kind, with_text)) {
            *expr = as_time(std::mem::take(expr), &target)?;
            changed = true;
        }
    }
    Ok(changed)
}

/// Makes a value or the rows of a subquery that it is compared with instants, if the other side is.
fn with_subquery(expr: &mut Expr, subquery: &mut Subquery, schema: &DFSchema) -> Result<bool> {
    let (Ok(kind), [field]) = (expr.get_type(schema), subquery.subquery.schema().fields().as_ref())
    else {
        return Ok(false);
    };
    if is_zoned(&kind) && becomes_time(field.data_type(), true) {
        let plan = with_times(Arc::clone(&subquery.subquery), &[Some(kind)], true)?;
        subquery.subquery = Arc::new(plan);
        return Ok(true);
    }
    if is_zoned(field.data_type()) && becomes_time(&kind, true) {
        *expr = as_time(std::mem::take(expr), field.data_type())?;
        return Ok(true);
    }
    Ok(false)
}

/// A plan whose columns are instants where a type is given; texts only if wanted.
pub(super) fn with_times(
    plan: Arc<LogicalPlan>,
    kinds: &[Option<DataType>],
    with_text: bool,
) -> Result<LogicalPlan> {
    let columns = plan.schema().iter().zip(kinds).map(|((relation, field), kind)| {
        let column = Expr::from((relation, field));
        match kind {
            Some(kind) if becomes_time(field.data_type(), with_text) => {
                Ok(as_time(column, kind)?.alias_qualified(relation.cloned(), field.name()))
            }
            _ => Ok(column),
        }
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Ok(LogicalPlan::Projection(Projection::try_new(columns, plan)?))
}

/// Whether it is a time with a zone.
pub(super) fn is_zoned(kind: &DataType) -> bool {
    matches!(kind, DataType::Timestamp(_, Some(_)))
}

/// Whether it is made a time with a zone beside one.
pub(super) fn becomes_time(kind: &DataType, with_text: bool) -> bool {
    match kind {
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(_, None) => true,
        kind => with_text && kind.is_string(),
    }
}

/// The instant that an expression is; of a constant, at once.
pub(super) fn as_time(expr: Expr, target: &DataType) -> Result<Expr> {
    // Finer than the other side need not be, but a text may well be.
    let target = match target {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Nanosecond, zone.clone()),
        other => other.clone(),
    };
    Ok(match expr {
        Expr::Literal(value, metadata) => Expr::Literal(local_value(&value, &target)?, metadata),
        other => local_time(other, target),
    })
}

/// Whether it is a time whose zone does not show what UTC does.
fn has_own_zone(kind: &DataType) -> bool {
    matches!(kind, DataType::Timestamp(_, Some(zone)) if zone.as_ref() != UTC)
}

/// What a cast to a time is, if DataFusion's is not to be had.
fn cast_time(inner: &Expr, target: &DataType, schema: &DFSchema) -> Result<Option<Expr>> {
    let DataType::Timestamp(_, zone) = target else { return Ok(None) };
    let Ok(kind) = inner.get_type(schema) else { return Ok(None) };
    let is_ours = match zone {
        Some(_) => becomes_time(&kind, true),
        None => has_own_zone(&kind),
    };
    if is_ours {
        return Ok(Some(match inner {
            Expr::Literal(value, _) => Expr::Literal(local_value(value, target)?, None),
            other => local_time(other.clone(), target.clone()),
        }));
    }
    // A text that DataFusion reads is left to it, and so are texts that come with the rows.
    let Expr::Literal(value, _) = inner else { return Ok(None) };
    if zone.is_some() || !kind.is_string() || value.cast_to(target).is_ok() {
        return Ok(None);
    }
    let wall = instants(&value.to_array()?, None).map_err(|e| DataFusionError::Plan(e.message))?;
    let wall = ScalarValue::try_from_array(&wall, 0)?.cast_to(target)?;
    Ok(Some(Expr::Literal(wall, None)))
}
