//! [`InListRule`]: `IN` lists, put such that they mean what SQL means after DataFusion has merged them.
//!
//! DataFusion 55 merges two lists that one expression is compared with, and looks neither at what NULL does to them nor at
//! whether their items are constants: `x IN (1, 2) AND x NOT IN (1, NULL)` keeps 2, `x NOT IN (1) OR x NOT IN (2)` is true
//! where `x` is NULL, and `x IN (y, 1) AND x IN (z, 2)` is false. So, where a statement has more than one list:
//!
//! - items that are NULL or no constants leave their list, as comparisons of their own;
//! - NOT goes inward to the lists, by De Morgan's rules;
//! - of lists that exclude, those that have nothing in common with another become comparisons, as DataFusion merges such
//!   to `true`;
//! - lists that leave nothing together become what they are: false, or NULL where the expression is.

use std::collections::HashSet;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, LogicalPlan, Operator};
use datafusion::optimizer::AnalyzerRule;
use datafusion::scalar::ScalarValue;

/// The rule, for after types are settled.
#[derive(Debug)]
pub(crate) struct InListRule;

impl AnalyzerRule for InListRule {
    fn name(&self) -> &'static str {
        "in_lists"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let mut lists = 0;
        plan.apply_with_subqueries(|node| {
            node.apply_expressions(|expr| {
                lists += count(expr)?;
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        // Filters of several places can come to stand side by side later: one list anywhere else is enough.
        if lists < 2 {
            return Ok(plan);
        }
        let rewritten = plan.transform_up_with_subqueries(|node| {
            // Other nodes know the columns by the names that they have now.
            let names = NamePreserver::new(&node);
            let node = node.map_expressions(|expr| {
                if count(&expr)? == 0 {
                    return Ok(Transformed::no(expr));
                }
                let name = names.save(&expr);
                Ok(exact(expr)?.update_data(|expr| name.restore(expr)))
            })?;
            node.map_data(LogicalPlan::recompute_schema)
        });
        Ok(rewritten?.data)
    }
}

/// A predicate of its own, its types settled, with its lists put such that DataFusion's simplifier keeps their meaning.
pub(crate) fn with_exact_lists(expr: Expr) -> Result<Expr> {
    if count(&expr)? < 2 { Ok(expr) } else { Ok(exact(expr)?.data) }
}

/// How many lists an expression has, or will have: DataFusion makes one of `x = 1 OR x = 2`.
fn count(expr: &Expr) -> Result<usize> {
    let is_equality = |expr: &Expr| {
        matches!(expr, Expr::BinaryExpr(BinaryExpr { op: Operator::Eq, .. }) | Expr::InList(_))
    };
    let mut lists = 0;
    expr.apply(|part| {
        match part {
            Expr::InList(_) => lists += 1,
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right })
                if is_equality(left) && is_equality(right) =>
            {
                lists += 1;
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(lists)
}

fn exact(expr: Expr) -> Result<Transformed<Expr>> {
    let inward = expr.transform_down(not_inward)?;
    let split = inward.transform_data(|expr| expr.transform_up(|expr| Ok(split(expr))))?;
    let apart = split.transform_data(exclusions_apart)?;
    let merged = apart.transform_data(|expr| expr.transform_up(|expr| Ok(merged(expr))))?;
    merged.transform_data(|expr| expr.transform_up(|expr| Ok(nothing_left(expr))))
}

/// `NOT` of what lists may stand in, on its way to them.
fn not_inward(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::Not(inner) = expr else { return Ok(Transformed::no(expr)) };
    let not = |expr: Box<Expr>| Box::new(Expr::Not(expr));
    Ok(match *inner {
        Expr::InList(mut list) => {
            list.negated = !list.negated;
            Transformed::yes(Expr::InList(list))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(not(left), Operator::Or, not(right))))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => Transformed::yes(
            Expr::BinaryExpr(BinaryExpr::new(not(left), Operator::And, not(right))),
        ),
        // What stands here now is visited no more by itself: it may be a NOT again.
        Expr::Not(inner) => {
            let inner = not_inward(*inner)?;
            Transformed::new(inner.data, true, inner.tnr)
        }
        other => Transformed::no(Expr::Not(Box::new(other))),
    })
}

/// A list without its items that are NULL or no constants, which become comparisons beside it.
fn split(expr: Expr) -> Transformed<Expr> {
    let Expr::InList(InList { expr: of, list, negated }) = expr else {
        return Transformed::no(expr);
    };
    let list = list.into_iter().map(folded).collect::<Vec<_>>();
    if list.iter().all(is_plain) || of.is_volatile() {
        return Transformed::no(Expr::InList(InList { expr: of, list, negated }));
    }
    let (plain, other): (Vec<_>, Vec<_>) = list.into_iter().partition(is_plain);
    let mut parts = Vec::with_capacity(other.len() + 1);
    if !plain.is_empty() {
        parts.push(Expr::InList(InList { expr: of.clone(), list: plain, negated }));
    }
    let (nulls, other): (Vec<_>, Vec<_>) = other.into_iter().partition(is_null);
    parts.extend(other.into_iter().map(|item| compared(&of, item, negated)));
    if !nulls.is_empty() {
        parts.push(truth(None));
    }
    Transformed::yes(joined(parts, negated))
}

/// `NOT IN` lists as comparisons, where two of them over one expression have nothing in common.
fn exclusions_apart(expr: Expr) -> Result<Transformed<Expr>> {
    let mut lists: Vec<InList> = Vec::new();
    expr.apply(|part| {
        if let Expr::InList(list) = part
            && list.negated
        {
            lists.push(list.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let is_apart = |list: &InList| {
        lists.iter().any(|other| other.expr == list.expr && disjoint(&other.list, &list.list))
    };
    expr.transform_up(|part| match part {
        Expr::InList(list) if list.negated && is_apart(&list) => {
            let InList { expr: of, list, negated } = list;
            let parts = list.into_iter().map(|item| compared(&of, item, negated)).collect();
            Ok(Transformed::yes(joined(parts, negated)))
        }
        other => Ok(Transformed::no(other)),
    })
}

/// `x = 1 OR x = 2` as a list, as DataFusion would put it only after it has looked at what stands beside it.
fn merged(expr: Expr) -> Transformed<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) = &expr else {
        return Transformed::no(expr);
    };
    let (Some((of, mut list)), Some((of_right, more))) = (allowed(left), allowed(right)) else {
        return Transformed::no(expr);
    };
    if of != of_right {
        return Transformed::no(expr);
    }
    list.extend(more);
    let list = list.into_iter().cloned().collect();
    Transformed::yes(Expr::InList(InList::new(Box::new(of.clone()), list, false)))
}

/// The column that an expression compares with constants, and those that it may be.
fn allowed(expr: &Expr) -> Option<(&Expr, Vec<&Expr>)> {
    match expr {
        Expr::InList(list) if !list.negated && list.list.iter().all(is_plain) => {
            Some((&list.expr, list.list.iter().collect()))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            match (left.as_ref(), right.as_ref()) {
                (Expr::Column(_), item) if is_plain(item) => Some((left, vec![item])),
                (item, Expr::Column(_)) if is_plain(item) => Some((right, vec![item])),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Two lists of which nothing is left together: false, and NULL where the expression is NULL.
fn nothing_left(expr: Expr) -> Transformed<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) = &expr else {
        return Transformed::no(expr);
    };
    let (Expr::InList(left), Expr::InList(right)) = (left.as_ref(), right.as_ref()) else {
        return Transformed::no(expr);
    };
    let nothing = left.expr == right.expr
        && match (left.negated, right.negated) {
            (false, false) => disjoint(&left.list, &right.list),
            (false, true) => within(&left.list, &right.list),
            (true, false) => within(&right.list, &left.list),
            (true, true) => false,
        };
    if !nothing {
        return Transformed::no(expr);
    }
    let is_null = Expr::IsNull(left.expr.clone());
    Transformed::yes(is_null.and(truth(None)))
}

/// A cast of a constant as the constant that it is.
fn folded(item: Expr) -> Expr {
    if let Expr::Cast(Cast { expr, field }) = &item
        && let Expr::Literal(value, _) = expr.as_ref()
        && let Ok(value) = value.cast_to(field.data_type())
    {
        return Expr::Literal(value, None);
    }
    item
}

fn is_plain(item: &Expr) -> bool {
    matches!(item, Expr::Literal(value, _) if !value.is_null())
}

fn is_null(item: &Expr) -> bool {
    matches!(item, Expr::Literal(value, _) if value.is_null())
}

fn compared(expr: &Expr, item: Expr, negated: bool) -> Expr {
    if negated { expr.clone().not_eq(item) } else { expr.clone().eq(item) }
}

fn truth(value: Option<bool>) -> Expr {
    Expr::Literal(ScalarValue::Boolean(value), None)
}

/// All of the parts, or any of them, as a balanced tree: a list may be long.
fn joined(mut parts: Vec<Expr>, all: bool) -> Expr {
    while parts.len() > 1 {
        let mut pairs = Vec::with_capacity(parts.len().div_ceil(2));
        let mut rest = parts.into_iter();
        while let Some(left) = rest.next() {
            pairs.push(match rest.next() {
                Some(right) if all => left.and(right),
                Some(right) => left.or(right),
                None => left,
            });
        }
        parts = pairs;
    }
    parts.pop().unwrap_or_else(|| truth(Some(all)))
}

fn disjoint(left: &[Expr], right: &[Expr]) -> bool {
    let left = set(left);
    !right.iter().any(|item| left.contains(item))
}

fn within(inner: &[Expr], outer: &[Expr]) -> bool {
    let outer = set(outer);
    inner.iter().all(|item| outer.contains(item))
}

fn set(items: &[Expr]) -> HashSet<&Expr> {
    items.iter().collect()
}
