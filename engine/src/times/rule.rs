//! [`TimeRule`]: makes instants of what is put beside times by a node, before DataFusion settles types: in the rows that
//! `UNION`, `INTERSECT` and `EXCEPT` put together, and in the columns of `USING`.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, ExprSchemable, Join, JoinConstraint, LogicalPlan, Union};
use datafusion::optimizer::AnalyzerRule;

use super::rewrite::{as_time, becomes_time, is_zoned, with_times};

/// The rule, for before types are settled.
#[derive(Debug)]
pub(super) struct TimeRule;

impl AnalyzerRule for TimeRule {
    fn name(&self) -> &'static str {
        "times"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let rewritten = plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Union(union) => together(union),
            LogicalPlan::Join(join) => on(join),
            other => Ok(Transformed::no(other)),
        });
        Ok(rewritten?.data)
    }
}

fn together(mut union: Union) -> Result<Transformed<LogicalPlan>> {
    let columns = union.schema.fields().len();
    let zoned = |column: usize| {
        let kinds = union.inputs.iter().map(|input| input.schema().field(column).data_type());
        kinds.clone().find(|kind| is_zoned(kind)).cloned()
    };
    if union.inputs.iter().any(|input| input.schema().fields().len() != columns) {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let kinds: Vec<Option<DataType>> = (0..columns).map(zoned).collect();
    let mut changed = false;
    for input in &mut union.inputs {
        let mut pairs = input.schema().fields().iter().zip(&kinds);
        // Texts stay what they are: they may be no times.
        if pairs.any(|(field, kind)| kind.is_some() && becomes_time(field.data_type(), false)) {
            *input = Arc::new(with_times(Arc::clone(input), &kinds, false)?);
            changed = true;
        }
    }
    if !changed {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let inputs = union.inputs;
    Ok(Transformed::yes(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?)))
}

fn on(mut join: Join) -> Result<Transformed<LogicalPlan>> {
    let mut changed = false;
    for (left, right) in &mut join.on {
        let kinds = (left.get_type(join.left.schema()), right.get_type(join.right.schema()));
        let (Ok(left_kind), Ok(right_kind)) = kinds else { continue };
        let (side, kind): (&mut Expr, _) =
            if is_zoned(&left_kind) && becomes_time(&right_kind, false) {
                (right, left_kind)
            } else if is_zoned(&right_kind) && becomes_time(&left_kind, false) {
                (left, right_kind)
            } else {
                continue;
            };
        *side = as_time(std::mem::take(side), &kind)?;
        changed = true;
    }
    if changed {
        // It is no column of both sides any more.
        join.join_constraint = JoinConstraint::On;
        return Ok(Transformed::yes(LogicalPlan::Join(join)));
    }
    Ok(Transformed::no(LogicalPlan::Join(join)))
}
