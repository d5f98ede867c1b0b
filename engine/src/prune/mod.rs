//! What filters leave of a table before a row is read: a range of time, and a set of series.
//!
//! | filter | becomes | DataFusion filters again |
//! |---|---|---|
//! | comparisons of the time with constants | a range of time | no, unless the range is wider than the filter |
//! | deterministic, over tags alone | a [`TagFilter`], evaluated once per series | no |
//! | comparisons of numeric fields with constants | values without which rows may be left out | yes |
//! | anything else | nothing | yes |

mod last_rows;
mod tags;
mod time;
mod values;
mod widened;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use quorate_storage::catalog::Table;
use quorate_storage::scan::{TimeRange, ValueRange};

pub(crate) use last_rows::LastRowsRule;
pub(crate) use tags::TagFilter;
pub(crate) use time::{Bounds, TimeColumn};
pub(crate) use widened::WidenedFilter;

/// What one filter is to a scan.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Pushdown {
    /// Bounds of time.
    Time(Bounds),
    /// A predicate over tags alone.
    Tags,
    /// Values of a field, without which a row may be left out.
    Values(ValueRange),
    /// Nothing: it is for the operators above.
    Above,
}

/// Finds out what a filter is to a scan of `table`, whose times SQL sees in `column`.
pub(crate) fn classify(filter: &Expr, table: &Table, column: &TimeColumn<'_>) -> Pushdown {
    // A filter that was pushed may be found out to be a constant afterwards, when nobody filters above any more.
    if let Expr::Literal(value @ (ScalarValue::Boolean(_) | ScalarValue::Null), _) = filter {
        let keeps = *value == ScalarValue::Boolean(Some(true));
        let range = if keeps { TimeRange::ALL } else { time::EMPTY };
        return Pushdown::Time(Bounds { range, exact: true });
    }
    if let Some(bounds) = column.bounds(filter) {
        return Pushdown::Time(bounds);
    }
    if tags::is_tag_predicate(filter, table) {
        return Pushdown::Tags;
    }
    values::range(filter, table).map_or(Pushdown::Above, Pushdown::Values)
}

impl Pushdown {
    /// The same in DataFusion's words.
    pub(crate) fn support(&self) -> TableProviderFilterPushDown {
        match self {
            Self::Time(Bounds { exact: true, .. }) | Self::Tags => {
                TableProviderFilterPushDown::Exact
            }
            Self::Time(_) | Self::Values(_) => TableProviderFilterPushDown::Inexact,
            Self::Above => TableProviderFilterPushDown::Unsupported,
        }
    }
}

/// What all filters of a scan leave.
#[derive(Clone, Debug)]
pub(crate) struct Pruning {
    /// Rows in this range of time.
    pub(crate) time: TimeRange,
    /// Rows of series for which all these hold.
    pub(crate) tags: Vec<Expr>,
    /// Tags that have one value in all rows that are left.
    pub(crate) constants: Vec<(String, ScalarValue)>,
    /// Values without which rows may be left out.
    pub(crate) values: Vec<ValueRange>,
    /// The filters behind them.
    pub(crate) value_filters: Vec<Expr>,
}

impl Pruning {
    /// Adds up filters that [`classify`] has found fit to be pushed.
    pub(crate) fn of(filters: &[Expr], table: &Table, time: &TimeColumn<'_>) -> Self {
        let mut pruning = Self::none();
        for filter in filters {
            match classify(filter, table, time) {
                Pushdown::Time(bounds) => {
                    pruning.time = time::intersect(pruning.time, bounds.range);
                }
                Pushdown::Tags => {
                    pruning.constants.extend(tags::constant(filter));
                    pruning.tags.push(filter.clone());
                }
                Pushdown::Values(range) => {
                    pruning.values.push(range);
                    pruning.value_filters.push(filter.clone());
                }
                Pushdown::Above => {}
            }
        }
        pruning
    }

    /// Leaves everything.
    pub(crate) fn none() -> Self {
        Self {
            time: TimeRange::ALL,
            tags: Vec::new(),
            constants: Vec::new(),
            values: Vec::new(),
            value_filters: Vec::new(),
        }
    }

    /// Whether no row can be left.
    pub(crate) fn is_empty(&self) -> bool {
        self.time.start > self.time.end
    }
}
