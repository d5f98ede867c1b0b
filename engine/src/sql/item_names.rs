//! Names for casts that would have the name of another column.
//!
//! DataFusion 55 leaves casts out of names, and takes what has one name for one thing: it refuses `SELECT v, v::BIGINT`, and
//! sorts `SELECT max(v)::TEXT … ORDER BY max(v)` by the text. So casts get names of their own: that of a column is named as
//! the column, unless something else that is selected or sorted by is; all others are named as they are written.

use std::convert::Infallible;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, OrderBy, OrderByKind, Query, Select, SelectItem, SetExpr, Statement, Value,
    VisitMut, VisitorMut, visit_expressions,
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
        let Query { body, order_by, .. } = query;
        let mut selects = Vec::new();
        selects_of(body, &mut selects);
        let mut sorted = Vec::new();
        // What set operations are sorted by is what they give.
        if let (1, Some(OrderBy { kind: OrderByKind::Expressions(keys), .. })) =
            (selects.len(), &order_by)
        {
            for key in keys {
                columns_in(&key.expr, &mut sorted);
            }
        }
        let mut named = Vec::new();
        for select in selects {
            let mut others = sorted.clone();
            for condition in [&select.having, &select.qualify].into_iter().flatten() {
                columns_in(condition, &mut others);
            }
            named.push(name(select, &others));
        }
        // What is sorted by and selected is one thing, by its name: DISTINCT wants it so.
        if let ([named], Some(OrderBy { kind: OrderByKind::Expressions(keys), .. })) =
            (named.as_slice(), order_by)
        {
            for key in keys {
                if let Some((_, alias)) = named.iter().find(|(expr, _)| *expr == key.expr) {
                    key.expr = Expr::Identifier(alias.clone());
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// The SELECTs that set operations put together.
fn selects_of<'a>(body: &'a mut SetExpr, selects: &mut Vec<&'a mut Select>) {
    match body {
        SetExpr::Select(select) => selects.push(select),
        SetExpr::SetOperation { left, right, .. } => {
            selects_of(left, selects);
            selects_of(right, selects);
        }
        _ => {}
    }
}

/// The columns that an expression names.
fn columns_in(expr: &Expr, columns: &mut Vec<String>) {
    let ControlFlow::Continue(()) = visit_expressions(expr, |part| {
        columns.extend(column(part).map(name_of));
        ControlFlow::<Infallible>::Continue(())
    });
}

/// Names the casts among what is selected; which, and how.
fn name(select: &mut Select, others: &[String]) -> Vec<(Expr, Ident)> {
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
    let mut named: Vec<(Expr, Ident)> = Vec::new();
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        let inner = without_casts(expr);
        if inner == without_parentheses(expr.clone()) {
            continue;
        }
        let name = name_of_plain(&inner);
        let is_free = !all
            && !others.contains(&name)
            && names.iter().filter(|other| **other == name).count() == 1;
        let mut alias = Ident::with_quote('"', expr.to_string());
        if let (Some(column), true) = (column(&inner), is_free) {
            alias = Ident::with_quote('"', name_of(column));
        }
        let plain = alias.value.clone();
        for number in 1.. {
            if named.iter().all(|(_, other)| other.value != alias.value) {
                break;
            }
            alias.value = format!("{plain}_{number}");
        }
        named.push((expr.clone(), alias.clone()));
        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
    }
    named
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
