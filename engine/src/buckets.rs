//! Buckets of the time in physical plans.

use std::sync::Arc;

use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use crate::scan::SeriesScanExec;

/// Functions of the time that never go back as it goes on; `gap_bucket` is that of gap filling.
const BUCKETS: [&str; 4] = ["date_bin", "date_trunc", "gap_bucket", "time_bucket"];

/// Whether an expression over a scan is a bucket of its time, with constants for all else.
pub(crate) fn is_bucket(expr: &Arc<dyn PhysicalExpr>, scan: &SeriesScanExec) -> bool {
    let Some(function) = expr.downcast_ref::<ScalarFunctionExpr>() else { return false };
    let is_time = |expr: &Arc<dyn PhysicalExpr>| {
        let column = expr.downcast_ref::<Column>();
        column.is_some_and(|column| scan.time_column() == Some(column.index()))
    };
    let times = function.args().iter().filter(|argument| is_time(argument)).count();
    let fixed = function.args().iter().filter(|a| a.downcast_ref::<Literal>().is_some()).count();
    BUCKETS.contains(&function.fun().name()) && times == 1 && times + fixed == function.args().len()
}
