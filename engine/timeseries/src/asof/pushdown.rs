//! [`PushFilterIntoAsOf`]: filters above an as-of join go to the inputs that they are about.
//!
//! A condition on columns of the left side leaves out left rows, and with them exactly their rows of the join. What it
//! says of the keys and of the time, it says of their partners too:
//!
//! | above the join | left input | right input |
//! |---|---|---|
//! | `l.k = x` | `l.k = x` | `r.k = x` |
//! | `l.time < x`, matched by `>=` or `>` | `l.time < x` | `r.time < x` |
//! | `l.time >= x`, matched by `>=`, `TOLERANCE d` | `l.time >= x` | `r.time >= x - d` |
//! | `r.k = x`, inner join | `l.k = x` | `r.k = x` |
//!
//! and the other way about for `<=` and `<`. A condition on other columns of the right side stays above: below it would
//! let an earlier row be the partner.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, ExprSchema};
use datafusion::error::Result;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, Extension, Filter, LogicalPlan, Operator,
};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::comparison::Kind;
use super::node::AsOfJoin;
use super::tolerance::interval_of;

/// Moves filters below as-of joins.
#[derive(Debug)]
pub(super) struct PushFilterIntoAsOf;

impl OptimizerRule for PushFilterIntoAsOf {
    fn name(&self) -> &'static str {
        "push_filter_into_as_of_join"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Filter(filter) = plan else { return Ok(Transformed::no(plan)) };
        let pushed = match filter.input.as_ref() {
            LogicalPlan::Extension(Extension { node }) => {
                node.as_any().downcast_ref::<AsOfJoin>().map(|join| push(join, &filter.predicate))
            }
            _ => None,
        };
        match pushed.transpose()?.flatten() {
            Some(plan) => Ok(Transformed::yes(plan)),
            None => Ok(Transformed::no(LogicalPlan::Filter(filter))),
        }
    }
}

fn push(join: &AsOfJoin, predicate: &Expr) -> Result<Option<LogicalPlan>> {
    let keys = Keys::of(join)?;
    let (mut left, mut right, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    for condition in split_conjunction_owned(predicate.clone()) {
        let on_left = match join.kind {
            Kind::Inner => {
                replaced(&condition, &keys.to_left)?.unwrap_or_else(|| condition.clone())
            }
            Kind::Left => condition.clone(),
        };
        let columns = on_left.column_refs();
        let pushable = !columns.is_empty()
            && !on_left.is_volatile()
            && columns.iter().all(|c| join.left.schema().field_from_column(c).is_ok());
        if !pushable {
            kept.push(condition);
            continue;
        }
        right.extend(replaced(&on_left, &keys.to_right)?);
        right.extend(time_bound(join, &on_left)?);
        left.push(on_left);
    }
    if left.is_empty() {
        return Ok(None);
    }
    let node = join.with_inputs(filtered(&join.left, left)?, filtered(&join.right, right)?)?;
    let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
    match conjunction(kept) {
        Some(kept) => Ok(Some(LogicalPlan::Filter(Filter::try_new(kept, Arc::new(plan))?))),
        None => Ok(Some(plan)),
    }
}

fn filtered(input: &LogicalPlan, conditions: Vec<Expr>) -> Result<LogicalPlan> {
    match conjunction(conditions) {
        Some(all) => Ok(LogicalPlan::Filter(Filter::try_new(all, Arc::new(input.clone()))?)),
        None => Ok(input.clone()),
    }
}

/// Which key columns stand for which on the other side.
struct Keys {
    to_right: HashMap<Column, Column>,
    to_left: HashMap<Column, Column>,
}

impl Keys {
    fn of(join: &AsOfJoin) -> Result<Self> {
        let (mut to_right, mut to_left) = (HashMap::new(), HashMap::new());
        for (l, r) in &join.on {
            if let (Expr::Column(left), Expr::Column(right)) = (l, r)
                && l.get_type(join.left.schema())? == r.get_type(join.right.schema())?
            {
                to_right.insert(left.clone(), right.clone());
                to_left.insert(right.clone(), left.clone());
            }
        }
        Ok(Self { to_right, to_left })
    }
}

/// The condition in other columns, if it has only such as are named.
fn replaced(condition: &Expr, by: &HashMap<Column, Column>) -> Result<Option<Expr>> {
    let columns = condition.column_refs();
    if columns.is_empty() || !columns.iter().all(|column| by.contains_key(*column)) {
        return Ok(None);
    }
    let condition = condition.clone().transform(|expr| {
        Ok(match expr {
            Expr::Column(column) => match by.get(&column) {
                Some(other) => Transformed::yes(Expr::Column(other.clone())),
                None => Transformed::no(Expr::Column(column)),
            },
            other => Transformed::no(other),
        })
    })?;
    Ok(Some(condition.data))
}

/// What a bound of the left time is for the partner's.
fn time_bound(join: &AsOfJoin, condition: &Expr) -> Result<Option<Expr>> {
    let matching = &join.matching;
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else { return Ok(None) };
    let (op, bound) = if **left == matching.left && matches!(**right, Expr::Literal(..)) {
        (Some(*op), right)
    } else if **right == matching.left && matches!(**left, Expr::Literal(..)) {
        (op.swap(), left)
    } else {
        return Ok(None);
    };
    let towards = match op {
        Some(Operator::Lt | Operator::LtEq) => matching.comparison.looks_back(),
        Some(Operator::Gt | Operator::GtEq) => !matching.comparison.looks_back(),
        _ => return Ok(None),
    };
    let Some(op) = op else { return Ok(None) };
    let bound = if towards {
        (**bound).clone()
    } else {
        let Some(tolerance) = &matching.tolerance else { return Ok(None) };
        let times = matching.right.get_type(join.right.schema())?;
        let Some(distance) = interval_of(&times, tolerance.distance) else { return Ok(None) };
        let Expr::Literal(bound, _) = bound.as_ref() else { return Ok(None) };
        let back = matching.comparison.looks_back();
        // A bound at the end of the range of times leaves nothing to be said.
        let moved = if back { bound.sub_checked(&distance) } else { bound.add_checked(&distance) };
        match moved {
            Ok(moved) => Expr::Literal(moved, None),
            Err(_) => return Ok(None),
        }
    };
    let right = Box::new(bound);
    Ok(Some(Expr::BinaryExpr(BinaryExpr { left: Box::new(matching.right.clone()), op, right })))
}
