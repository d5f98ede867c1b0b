//! Names for casts that would have the name of another column.
//!
//! DataFusion 55 leaves casts out of names: it names `v::BIGINT` and `time AT TIME ZONE '…'` as the columns that they are of, and refuses two
//! columns of one name: `SELECT v, v::BIGINT`, `SELECT time AT TIME ZONE '…' … ORDER BY time`. Where that would be, a cast is named as it is
//! written.

use std::convert::Infallible;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, OrderByKind, Query, Select, SelectItem, SetExpr, Statement, Value, VisitMut,
    VisitorMut,
};

use super::names::name_of;

/// Names the casts of a statement where they must be.
pub(super) fn name_casts(statement: &mut Statement) {
    let ControlFlow::Continue(()) = VisitMut::visit(statement, &mut NameCasts);
}

struct NameCasts;

impl VisitorMut for NameCasts {
    type Break = Infallible;

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Infallible> {
        let SetExpr::Select(select) = query.body.as_mut() else { return ControlFlow::Continue(()) };
        let sorted: Vec<String> = match query.order_by.as_ref().map(|order| &order.kind) {
            // What DISTINCT is sorted by must be selected, under the name that it has.
            Some(OrderByKind::Expressions(keys)) if select.distinct.is_none() => {
                keys.iter().filter_map(|key| column(&key.expr)).map(name_of).collect()
            }
            _ => Vec::new(),
        };
        name(select, &sorted);
        ControlFlow::Continue(())
    }
}

fn name(select: &mut Select, sorted: &[String]) {
    let mut all = false;
    let mut names: Vec<String> = Vec::new();
    for item in &select.projection {
        match item {
            SelectItem::UnnamedExpr(expr) => names.push(name_of_cast(expr)),
            SelectItem::ExprWithAlias { alias, .. } => names.push(name_of(alias)),
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => all = true,
            SelectItem::ExprWithAliases { aliases, .. } => {
                names.extend(aliases.iter().map(name_of));
            }
        }
    }
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        let inner = without_casts(expr);
        if inner == without_parentheses(expr.clone()) {
            continue;
        }
        let name = name_of_plain(&inner);
        let is_twice = names.iter().filter(|other| **other == name).count() > 1;
        let is_column = column(&inner).is_some();
        if is_twice || is_column && (all || sorted.contains(&name)) {
            let alias = Ident::with_quote('"', expr.to_string());
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}

/// The name that a column of the answer has, about.
fn name_of_cast(expr: &Expr) -> String {
    name_of_plain(&without_casts(expr))
}

/// The name of a column; of what is none, something that is the same only for the same.
fn name_of_plain(expr: &Expr) -> String {
    column(expr).map_or_else(|| expr.to_string(), name_of)
}

/// The column that an expression is.
fn column(expr: &Expr) -> Option<&Ident> {
    match expr {
        Expr::Identifier(name) => Some(name),
        Expr::CompoundIdentifier(names) => names.last(),
        Expr::Nested(inner) => column(inner),
        _ => None,
    }
}

/// An expression as DataFusion names it: no casts, and no parentheses, which are operands' nodes to it.
fn without_casts(expr: &Expr) -> Expr {
    let mut expr = expr.clone();
    let ControlFlow::Continue(()) = VisitMut::visit(&mut expr, &mut Plain { casts: true });
    expr
}

fn without_parentheses(mut expr: Expr) -> Expr {
    let ControlFlow::Continue(()) = VisitMut::visit(&mut expr, &mut Plain { casts: false });
    expr
}

struct Plain {
    casts: bool,
}

impl VisitorMut for Plain {
    type Break = Infallible;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Infallible> {
        let plain = match expr {
            Expr::Nested(inner) => Some(&mut **inner),
            Expr::Cast { expr, .. } | Expr::AtTimeZone { timestamp: expr, .. } if self.casts => {
                Some(&mut **expr)
            }
            Expr::TypedString(typed) if self.casts => {
                *expr = Expr::Value(typed.value.clone());
                None
            }
            _ => None,
        };
        if let Some(plain) = plain {
            let plain = std::mem::replace(plain, Expr::value(Value::Null));
            *expr = plain;
        }
        ControlFlow::Continue(())
    }
}
