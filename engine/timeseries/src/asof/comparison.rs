//! [`Comparison`]: which way a row looks for its partner.

use std::fmt;

use datafusion::logical_expr::Operator;

/// What the time of a left row is to that of its partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Comparison {
    /// At or after: the last partner up to the row.
    AtOrAfter,
    /// After: the last partner before the row.
    After,
    /// At or before: the first partner from the row on.
    AtOrBefore,
    /// Before: the first partner after the row.
    Before,
}

impl Comparison {
    /// The comparison that an operator says, if it is one.
    pub(super) fn of(operator: Operator) -> Option<Self> {
        match operator {
            Operator::GtEq => Some(Self::AtOrAfter),
            Operator::Gt => Some(Self::After),
            Operator::LtEq => Some(Self::AtOrBefore),
            Operator::Lt => Some(Self::Before),
            _ => None,
        }
    }

    /// Whether partners are earlier than the row, or as late.
    pub(super) fn looks_back(self) -> bool {
        match self {
            Self::AtOrAfter | Self::After => true,
            Self::AtOrBefore | Self::Before => false,
        }
    }

    /// Whether it holds between the times of a left and a right row.
    pub(super) fn holds(self, left: i64, right: i64) -> bool {
        match self {
            Self::AtOrAfter => left >= right,
            Self::After => left > right,
            Self::AtOrBefore => left <= right,
            Self::Before => left < right,
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtOrAfter => ">=",
            Self::After => ">",
            Self::AtOrBefore => "<=",
            Self::Before => "<",
        })
    }
}

/// Whether left rows without a partner are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// They are, with nulls.
    Left,
    /// They are not.
    Inner,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Left => "Left",
            Self::Inner => "Inner",
        })
    }
}
