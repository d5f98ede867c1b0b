//! [`AsOfRule`]: joins with a mark become [`AsOfJoin`]s.
//!
//! It runs behind the coercion of types, so that both sides of each comparison have one type, and before the optimizer,
//! which would move the inequality about.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ExprSchema, JoinType, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, Extension, Join, JoinConstraint, LogicalPlan, Operator,
};
use datafusion::optimizer::AnalyzerRule;

use super::comparison::{Comparison, Kind};
use super::mark::{MATCH, ON, Place, TOLERANCE, USING, mark_of};
use super::node::{AsOfJoin, Match};
use super::tolerance::Tolerance;

/// Takes marks out of plans.
#[derive(Debug)]
pub(super) struct AsOfRule;

impl AnalyzerRule for AsOfRule {
    fn name(&self) -> &'static str {
        "as_of_join"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Join(join) => match Marked::of(&join)? {
                Some(marked) => Ok(Transformed::yes(marked.join(join)?)),
                None => Ok(Transformed::no(LogicalPlan::Join(join))),
            },
            other => Ok(Transformed::no(other)),
        })?;
        Ok(plan.data)
    }
}

/// What the `ON` of an as-of join says.
struct Marked {
    place: Place,
    matching: Matching,
    tolerance: Option<Expr>,
    /// The conditions that are no marks.
    conditions: Vec<Expr>,
}

enum Matching {
    /// The inequality is one of the conditions.
    Condition,
    /// `MATCH_CONDITION`.
    Said(Expr),
    /// The last column of the `USING`.
    Using,
}

impl Marked {
    /// None if the join is an ordinary one.
    fn of(join: &Join) -> Result<Option<Self>> {
        let Some(filter) = &join.filter else { return Ok(None) };
        if !filter.exists(|e| Ok(mark_of(e).is_some()))? {
            return Ok(None);
        }
        let mut matching = None;
        let mut tolerance = None;
        let mut conditions = Vec::new();
        for condition in split_conjunction(filter) {
            match mark_of(condition) {
                Some((name, args)) if name == TOLERANCE => tolerance = args.first().cloned(),
                Some((name, args)) => {
                    let said = match args.first() {
                        Some(condition) if name == MATCH => Matching::Said(condition.clone()),
                        _ if name == USING => Matching::Using,
                        _ => Matching::Condition,
                    };
                    matching = Some((said, Place::of(args)));
                }
                None => conditions.push(condition.clone()),
            }
        }
        let (Some((matching, place)), false) = (matching, conditions.iter().any(has_mark)) else {
            return plan_err!(
                "the ON of an ASOF JOIN takes comparisons joined by AND, not {}",
                plain(filter)
            );
        };
        Ok(Some(Self { place, matching, tolerance, conditions }))
    }

    /// The operator in the place of the join.
    fn join(self, join: Join) -> Result<LogicalPlan> {
        let place = self.place;
        let join = self.ordinary(join)?;
        let kind = match join.join_type {
            JoinType::Left => Kind::Left,
            JoinType::Inner => Kind::Inner,
            other => return plan_err!("{place}: {other} is not supported"),
        };
        let sides = Sides { left: join.left.schema(), right: join.right.schema(), place };
        let using_time = matches!(self.matching, Matching::Using);
        let mut on: Vec<_> = join.on.into_iter().map(|pair| sides.turned(pair)).collect();
        for (index, pair) in on.iter().enumerate() {
            let is_time = using_time && index + 1 == on.len();
            if kind == Kind::Left || is_time {
                sides.answers_left(pair)?;
            }
        }
        let (left, comparison, right) = self.matched(&sides, &mut on)?;
        let (left, right) = sides.of_one_type((left, right))?;
        let times = left.get_type(sides.left)?;
        if !is_time(&times) {
            return plan_err!(
                "{place}: {left} {comparison} {right} compares values of type {times}; timestamps, dates and whole \
                 numbers can be matched{}",
                if times.is_floating() { ", floats cannot: their NaN has no place" } else { "" }
            );
        }
        let tolerance = self.tolerance.map(|e| Tolerance::of(&e, &times, place)).transpose()?;
        let on = on.into_iter().map(|pair| sides.key(pair)).collect::<Result<Vec<_>>>()?;
        let matching = Match { left, comparison, right, tolerance };
        let node = AsOfJoin::try_new(join.left, join.right, on, matching, kind)?;
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }

    /// The join that is marked: the one at hand, or that below it if its `USING` left no room.
    fn ordinary(&self, join: Join) -> Result<Join> {
        if join.join_type != JoinType::LeftSemi {
            return Ok(join);
        }
        match Arc::unwrap_or_clone(join.left) {
            LogicalPlan::Join(using) if using.join_constraint == JoinConstraint::Using => Ok(using),
            _ => plan_err!("{}: USING names a column that cannot be compared", self.place),
        }
    }

    /// The one inequality. Equalities of the `ON` go to the keys.
    fn matched(
        &self,
        sides: &Sides<'_>,
        on: &mut Vec<(Expr, Expr)>,
    ) -> Result<(Expr, Comparison, Expr)> {
        let place = self.place;
        let mut inequality = match &self.matching {
            Matching::Condition => None,
            Matching::Using => on.pop().map(|(l, r)| (l, Comparison::AtOrAfter, r)),
            Matching::Said(condition) => {
                let (left, operator, right) = sides.compared(condition)?;
                let Some(comparison) = Comparison::of(operator) else {
                    return plan_err!(
                        "{place}: MATCH_CONDITION takes one of >=, >, <= and <, not {condition}"
                    );
                };
                Some((left, comparison, right))
            }
        };
        for condition in &self.conditions {
            match sides.compared(condition)? {
                (left, Operator::Eq, right) => on.push((left, right)),
                (left, operator, right) => match Comparison::of(operator) {
                    None => return sides.refused(condition),
                    Some(_) if matches!(self.matching, Matching::Said(_)) => {
                        return plan_err!(
                            "{place}: ON takes equalities beside a MATCH_CONDITION, not {condition}"
                        );
                    }
                    Some(_) if inequality.is_some() => {
                        return plan_err!(
                            "{place}: ON takes one inequality, and {condition} is a second one"
                        );
                    }
                    Some(comparison) => inequality = Some((left, comparison, right)),
                },
            }
        }
        if let Some(inequality) = inequality {
            Ok(inequality)
        } else {
            plan_err!(
                "{place}: no inequality says which row matches: add AND l.time >= r.time, or another of >, <= and <"
            )
        }
    }
}

fn has_mark(expr: &Expr) -> bool {
    expr.exists(|e| Ok(mark_of(e).is_some())).unwrap_or(true)
}

/// A filter as it was written, without the marks at its front.
fn plain(filter: &Expr) -> String {
    let plain = filter.clone().transform_up(|e| {
        Ok(match e {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right })
                if mark_of(&left).is_some_and(|(name, _)| name == ON) =>
            {
                Transformed::yes(*right)
            }
            other => Transformed::no(other),
        })
    });
    plain.map_or_else(|_| filter.to_string(), |t| t.data.to_string())
}

/// The two inputs.
struct Sides<'a> {
    left: &'a DFSchema,
    right: &'a DFSchema,
    place: Place,
}

impl Sides<'_> {
    /// A comparison, its left operand of the left side.
    fn compared(&self, condition: &Expr) -> Result<(Expr, Operator, Expr)> {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else {
            return self.refused(condition);
        };
        if is_of(left, self.left) && is_of(right, self.right) {
            return Ok(((**left).clone(), *op, (**right).clone()));
        }
        match op.swap() {
            Some(op) if is_of(left, self.right) && is_of(right, self.left) => {
                Ok(((**right).clone(), op, (**left).clone()))
            }
            _ => self.refused(condition),
        }
    }

    fn refused<T>(&self, condition: &Expr) -> Result<T> {
        plan_err!(
            "{}: {condition} does not compare a column of the left table with one of the right by =, >=, >, <= or <; \
             put other conditions into WHERE, or into a subquery that is joined",
            self.place
        )
    }

    /// Both operands with the type that they are compared in.
    fn of_one_type(&self, (left, right): (Expr, Expr)) -> Result<(Expr, Expr)> {
        let (of_left, of_right) = (left.get_type(self.left)?, right.get_type(self.right)?);
        if of_left == of_right {
            return Ok((left, right));
        }
        let Some(common) = comparison_coercion(&of_left, &of_right) else {
            return plan_err!(
                "{}: {left} of type {of_left} cannot be compared with {right} of type {of_right}",
                self.place
            );
        };
        Ok((left.cast_to(&common, self.left)?, right.cast_to(&common, self.right)?))
    }

    /// A pair of `USING`, the left side's first.
    fn turned(&self, (one, other): (Expr, Expr)) -> (Expr, Expr) {
        if is_of(&one, self.left) { (one, other) } else { (other, one) }
    }

    /// `SELECT *` answers that column of a `USING` whose table's name sorts first. Where both may differ it has to be the
    /// left one.
    fn answers_left(&self, pair: &(Expr, Expr)) -> Result<()> {
        match pair {
            (Expr::Column(left), Expr::Column(right)) if right < left => plan_err!(
                "{}: USING is not supported where the right table's name sorts before the left one's ({right} before \
                 {left}): name the tables by aliases such as l and r, or write ON",
                self.place
            ),
            _ => Ok(()),
        }
    }

    /// A pair that can be a key.
    fn key(&self, pair: (Expr, Expr)) -> Result<(Expr, Expr)> {
        let (left, right) = self.of_one_type(pair)?;
        let kind = left.get_type(self.left)?;
        if is_key(&kind) {
            return Ok((left, right));
        }
        plan_err!(
            "{}: {left} = {right} compares values of type {kind}, which cannot be a key{}",
            self.place,
            if kind.is_floating() {
                ": floats that look equal need not be; cast them or round them"
            } else {
                ""
            }
        )
    }
}

/// Whether an expression has columns, all of them of a schema.
fn is_of(expr: &Expr, schema: &DFSchema) -> bool {
    let columns = expr.column_refs();
    !columns.is_empty()
        && !expr.is_volatile()
        && columns.iter().all(|column| schema.field_from_column(column).is_ok())
}

fn is_time(kind: &DataType) -> bool {
    kind.is_integer()
        || matches!(
            kind,
            DataType::Timestamp(..)
                | DataType::Date32
                | DataType::Date64
                | DataType::Time32(_)
                | DataType::Time64(_)
                | DataType::Duration(_)
        )
}

fn is_key(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(_, values) => is_key(values),
        DataType::Boolean
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => true,
        other => is_time(other) || other.is_decimal(),
    }
}
