//! Bounds of time out of filters.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};
use quorate_storage::scan::TimeRange;

/// A day in nanoseconds.
const DAY_NS: i128 = 86_400_000_000_000;

/// A range of time that holds every row which a filter keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The range; empty if its start is after its end.
    pub(crate) range: TimeRange,
    /// Whether the filter keeps *every* row of the range.
    pub(crate) exact: bool,
}

/// The time column of a table as SQL sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeColumn<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Whether its zone is UTC, so that wall time and instant are the same.
    pub(crate) utc: bool,
}

/// No time at all.
pub(super) const EMPTY: TimeRange = TimeRange { start: i64::MAX, end: i64::MIN };

/// Times in both ranges.
pub(crate) fn intersect(a: TimeRange, b: TimeRange) -> TimeRange {
    let both = TimeRange { start: a.start.max(b.start), end: a.end.min(b.end) };
    if both.start > both.end { EMPTY } else { both }
}

/// What a comparison compares with a constant.
enum Side {
    /// The instant.
    Instant,
    /// The day of the instant, in UTC.
    Day,
}

impl TimeColumn<'_> {
    /// Bounds of the rows that a filter keeps; `None` if it says nothing of the time.
    pub(crate) fn bounds(&self, filter: &Expr) -> Option<Bounds> {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                match (self.bounds(left), self.bounds(right)) {
                    (Some(a), Some(b)) => Some(Bounds {
                        range: intersect(a.range, b.range),
                        exact: a.exact && b.exact,
                    }),
                    (Some(one), None) | (None, Some(one)) => Some(Bounds { exact: false, ..one }),
                    (None, None) => None,
                }
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
                Some(union(self.bounds(left)?, self.bounds(right)?))
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                if let Some(side) = self.side(left) {
                    self.comparison(&side, *op, right)
                } else {
                    let side = self.side(right)?;
                    self.comparison(&side, op.swap()?, left)
                }
            }
            Expr::Between(Between { expr, negated: false, low, high }) => {
                let side = self.side(expr)?;
                let low = self.comparison(&side, Operator::GtEq, low)?;
                let high = self.comparison(&side, Operator::LtEq, high)?;
                Some(Bounds { range: intersect(low.range, high.range), exact: true })
            }
            Expr::InList(InList { expr, list, negated: false }) => {
                let side = self.side(expr)?;
                let mut all = Bounds { range: EMPTY, exact: true };
                for item in list {
                    all = union(all, self.comparison(&side, Operator::Eq, item)?);
                }
                Some(all)
            }
            _ => None,
        }
    }

    /// Whether an expression is the time, or its day.
    fn side(&self, expr: &Expr) -> Option<Side> {
        let (inner, to) = match expr {
            Expr::Column(column) => return (column.name == self.name).then_some(Side::Instant),
            Expr::Cast(cast) => (&cast.expr, cast.field.data_type()),
            Expr::TryCast(cast) => (&cast.expr, cast.field.data_type()),
            _ => return None,
        };
        let Side::Instant = self.side(inner)? else { return None };
        match to {
            DataType::Timestamp(TimeUnit::Nanosecond, Some(_)) => Some(Side::Instant),
            // Without a zone it is wall time, which is the instant in UTC only.
            DataType::Timestamp(TimeUnit::Nanosecond, None) if self.utc => Some(Side::Instant),
            DataType::Date32 if self.utc => Some(Side::Day),
            _ => None,
        }
    }

    fn comparison(&self, side: &Side, op: Operator, constant: &Expr) -> Option<Bounds> {
        let Expr::Literal(value, _) = constant else { return None };
        // First and last instant that count as equal to the constant.
        let (first, last) = match (side, value) {
            (Side::Instant, ScalarValue::TimestampNanosecond(Some(ns), zone))
                if zone.is_some() || self.utc =>
            {
                (i128::from(*ns), i128::from(*ns))
            }
            (Side::Day, ScalarValue::Date32(Some(day))) => {
                let start = i128::from(*day) * DAY_NS;
                (start, start + DAY_NS - 1)
            }
            _ => return None,
        };
        let (min, max) = (i128::from(i64::MIN), i128::from(i64::MAX));
        let (start, end) = match op {
            Operator::Eq | Operator::IsNotDistinctFrom => (first, last),
            Operator::Gt => (last + 1, max),
            Operator::GtEq => (first, max),
            Operator::Lt => (min, first - 1),
            Operator::LtEq => (min, last),
            _ => return None,
        };
        let range = match (i64::try_from(start.max(min)), i64::try_from(end.min(max))) {
            (Ok(start), Ok(end)) if start <= end => TimeRange { start, end },
            _ => EMPTY,
        };
        Some(Bounds { range, exact: true })
    }
}

/// Times in one of the two; exact only if there is no gap between them.
fn union(a: Bounds, b: Bounds) -> Bounds {
    if a.range == EMPTY || b.range == EMPTY {
        let range = if a.range == EMPTY { b.range } else { a.range };
        return Bounds { range, exact: a.exact && b.exact };
    }
    let (first, second) = if a.range.start <= b.range.start { (a, b) } else { (b, a) };
    let touch = second.range.start <= first.range.end.saturating_add(1);
    Bounds {
        range: TimeRange { start: first.range.start, end: first.range.end.max(second.range.end) },
        exact: first.exact && second.exact && touch,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::datatypes::DataType;
    use datafusion::prelude::{cast, col, in_list, lit};

    use super::*;

    const UTC: TimeColumn<'static> = TimeColumn { name: "time", utc: true };
    const BERLIN: TimeColumn<'static> = TimeColumn { name: "time", utc: false };

    fn ts(ns: i64) -> Expr {
        lit(ScalarValue::TimestampNanosecond(Some(ns), Some(Arc::from("UTC"))))
    }

    fn naive(ns: i64) -> Expr {
        lit(ScalarValue::TimestampNanosecond(Some(ns), None))
    }

    fn time() -> Expr {
        col("cpu.time")
    }

    fn check(filter: &Expr, start: i64, end: i64, exact: bool) {
        let want = Bounds { range: TimeRange { start, end }, exact };
        assert_eq!(UTC.bounds(filter), Some(want), "{filter}");
    }

    #[test]
    fn comparisons_give_closed_bounds() {
        check(&time().gt_eq(ts(5)), 5, i64::MAX, true);
        check(&time().gt(ts(5)), 6, i64::MAX, true);
        check(&time().lt(ts(5)), i64::MIN, 4, true);
        check(&time().lt_eq(ts(5)), i64::MIN, 5, true);
        check(&time().eq(ts(5)), 5, 5, true);
        check(&ts(5).lt(time()), 6, i64::MAX, true);
        check(&time().between(ts(1), ts(9)), 1, 9, true);
        check(&time().gt_eq(ts(1)).and(time().lt(ts(9))), 1, 8, true);
    }

    #[test]
    fn bounds_past_the_end_of_time_are_empty() {
        for filter in [
            time().gt(ts(i64::MAX)),
            time().lt(ts(i64::MIN)),
            time().eq(ts(1)).and(time().eq(ts(2))),
            time().between(ts(9), ts(1)),
        ] {
            let bounds = UTC.bounds(&filter).unwrap();
            assert!(bounds.range.start > bounds.range.end && bounds.exact, "{filter}");
        }
    }

    #[test]
    fn alternatives_give_a_range_around_both() {
        check(&time().eq(ts(1)).or(time().eq(ts(9))), 1, 9, false);
        check(&time().lt(ts(5)).or(time().gt_eq(ts(5))), i64::MIN, i64::MAX, true);
        check(&in_list(time(), vec![ts(3), ts(1), ts(2)], false), 1, 3, false);
        check(&in_list(time(), vec![ts(3)], false), 3, 3, true);
        check(&time().gt(ts(5)).and(col("host").eq(lit("a"))), 6, i64::MAX, false);
        assert_eq!(UTC.bounds(&time().gt(ts(5)).or(col("host").eq(lit("a")))), None);
    }

    #[test]
    fn days_and_wall_time_bound_instants_in_utc_only() {
        let day = cast(time(), DataType::Date32);
        let date = lit(ScalarValue::Date32(Some(1)));
        let ns = 86_400_000_000_000;
        check(&day.clone().eq(date.clone()), ns, 2 * ns - 1, true);
        check(&day.clone().gt(date.clone()), 2 * ns, i64::MAX, true);
        check(&day.clone().lt(date.clone()), i64::MIN, ns - 1, true);
        assert_eq!(BERLIN.bounds(&day.eq(date)), None);

        let wall = cast(time(), DataType::Timestamp(TimeUnit::Nanosecond, None));
        check(&wall.clone().gt_eq(naive(5)), 5, i64::MAX, true);
        assert_eq!(BERLIN.bounds(&wall.gt_eq(naive(5))), None);

        let zone = Some(Arc::from("+02:00"));
        let other = cast(time(), DataType::Timestamp(TimeUnit::Nanosecond, zone.clone()));
        let five = lit(ScalarValue::TimestampNanosecond(Some(5), zone));
        check(&other.clone().gt_eq(five.clone()), 5, i64::MAX, true);
        assert!(BERLIN.bounds(&other.gt_eq(five)).is_some());
    }

    #[test]
    fn other_filters_say_nothing_of_the_time() {
        for filter in [
            col("host").eq(lit("a")),
            time().not_eq(ts(5)),
            time().gt(col("other")),
            col("cpu.times").gt(ts(5)),
            Expr::Between(Between::new(Box::new(time()), true, Box::new(ts(1)), Box::new(ts(2)))),
            cast(time(), DataType::Timestamp(TimeUnit::Millisecond, None)).gt(naive(5)),
        ] {
            assert_eq!(UTC.bounds(&filter), None, "{filter}");
        }
    }
}
