//! Time zones in `AT TIME ZONE`, whose names DataFusion takes letter by letter.

use std::convert::Infallible;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Statement, Value, VisitMut, VisitorMut};

use super::settings::known_zone;

/// Spells the zones as Arrow knows them. What is no zone stays, and is refused with the plan.
pub(super) fn name_zones(statement: &mut Statement) {
    let ControlFlow::Continue(()) = VisitMut::visit(statement, &mut NameZones);
}

struct NameZones;

impl VisitorMut for NameZones {
    type Break = Infallible;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Infallible> {
        if let Expr::AtTimeZone { time_zone, .. } = expr
            && let Expr::Value(value) = &mut **time_zone
            && let Value::SingleQuotedString(name) = &mut value.value
            && let Some(known) = known_zone(name)
            && known != name
        {
            *name = known.to_owned();
        }
        ControlFlow::Continue(())
    }
}
