//! The time zone of `time_bucket_gapfill`, which is told from `start` by what it says, or by its name.

use std::collections::HashMap;

use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Value,
};

use super::functions::Marker;
use crate::zone_named;

/// Puts the arguments of a call with a time zone, and those with names, into their places: the time zone is the last.
pub(crate) fn take_zone(call: &mut Function) {
    if !call.name.to_string().eq_ignore_ascii_case(Marker::TimeBucket.name()) {
        return;
    }
    let FunctionArguments::List(list) = &mut call.args else { return };
    if let Some(placed) = placed(&list.args) {
        list.args = placed.into_iter().map(FunctionArg::Unnamed).collect();
    }
}

/// All arguments in their places; `None` if there is no time zone, or an argument that has no place.
fn placed(arguments: &[FunctionArg]) -> Option<Vec<FunctionArgExpr>> {
    let (mut in_order, mut named) = (Vec::new(), HashMap::new());
    for argument in arguments {
        let before = match argument {
            FunctionArg::Unnamed(value) if named.is_empty() => {
                in_order.push(value.clone());
                None
            }
            FunctionArg::Named { name, arg, .. }
            | FunctionArg::ExprNamed { name: Expr::Identifier(name), arg, .. } => {
                named.insert(name.value.to_lowercase(), arg.clone())
            }
            FunctionArg::Unnamed(_) | FunctionArg::ExprNamed { .. } => return None,
        };
        if before.is_some() {
            return None;
        }
    }
    let zone = if in_order.get(2).is_some_and(is_zone) {
        Some(in_order.remove(2))
    } else {
        named.remove("timezone")
    }?;
    let (names, mut in_order) = (Marker::TimeBucket.parameters(), in_order.into_iter());
    let mut placed = Vec::with_capacity(names.len());
    for name in &names[..names.len() - 1] {
        let null = || FunctionArgExpr::Expr(Expr::value(Value::Null));
        placed.push(in_order.next().or_else(|| named.remove(*name)).unwrap_or_else(null));
    }
    placed.push(zone);
    (in_order.next().is_none() && named.is_empty()).then_some(placed)
}

fn is_zone(argument: &FunctionArgExpr) -> bool {
    let FunctionArgExpr::Expr(Expr::Value(value)) = argument else { return false };
    matches!(&value.value, Value::SingleQuotedString(text) if zone_named(text).is_some())
}

/// The name of a time zone that there is; `None` for NULL.
pub(super) fn zone_of(value: &ScalarValue) -> Result<Option<String>> {
    let Some(name) = value.try_as_str().flatten() else { return Ok(None) };
    if let Some(name) = zone_named(name) {
        return Ok(Some(name.to_owned()));
    }
    plan_err!("{name:?} is not a time zone; write for example 'Europe/Berlin', '+02:00', 'UTC'")
}
