//! [`Measure`]: what is asked of points.

use datafusion::arrow::datatypes::DataType;

/// What is asked of points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Measure {
    /// Increase per second.
    Rate,
    /// Sum of the steps up, a fall being a new beginning at zero.
    Increase,
    /// Last value less the first.
    Delta,
    /// Increase per second between the last two points.
    Irate,
    /// Last value less the one before.
    Idelta,
    /// Slope of the line of least squares, per second.
    Deriv,
    /// How often the value fell.
    Resets,
    /// How often the value changed.
    Changes,
    /// Average over time, straight from point to point.
    AverageLinear,
    /// Average over time, each value kept until the next.
    AverageLocf,
}

impl Measure {
    /// The name of its function in SQL.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Increase => "increase",
            Self::Delta => "delta",
            Self::Irate => "irate",
            Self::Idelta => "idelta",
            Self::Deriv => "deriv",
            Self::Resets => "resets",
            Self::Changes => "changes",
            Self::AverageLinear | Self::AverageLocf => "time_weighted_avg",
        }
    }

    /// Its type: counts are integers, all else are doubles.
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Self::Resets | Self::Changes => DataType::Int64,
            Self::Rate
            | Self::Increase
            | Self::Delta
            | Self::Irate
            | Self::Idelta
            | Self::Deriv
            | Self::AverageLinear
            | Self::AverageLocf => DataType::Float64,
        }
    }
}
