//! The functions of gap filling as SQL names them.
//!
//! They mark places in a plan that [`super::rule`] puts an operator into; none is ever evaluated.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{plan_datafusion_err, plan_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// What a function of gap filling does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd)]
pub(super) enum Marker {
    /// `date_bin_gapfill(width, time [, origin])`
    DateBin,
    /// `time_bucket_gapfill(width, time [, start, finish, timezone])`
    TimeBucket,
    /// `locf(value [, treat_null_as_missing])`
    Locf,
    /// `interpolate(value)`
    Interpolate,
    /// `gap_filled()`
    Filled,
}

impl Marker {
    const ALL: [Self; 5] =
        [Self::DateBin, Self::TimeBucket, Self::Locf, Self::Interpolate, Self::Filled];

    /// Its name in SQL.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::DateBin => "date_bin_gapfill",
            Self::TimeBucket => "time_bucket_gapfill",
            Self::Locf => "locf",
            Self::Interpolate => "interpolate",
            Self::Filled => "gap_filled",
        }
    }

    pub(super) fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::DateBin => &["width", "time", "origin"],
            Self::TimeBucket => &["width", "time", "start", "finish", "timezone"],
            Self::Locf => &["value", "treat_null_as_missing"],
            Self::Interpolate => &["value"],
            Self::Filled => &[],
        }
    }

    /// Fewest and most arguments.
    fn arity(self) -> (usize, usize) {
        match self {
            Self::DateBin => (2, 3),
            Self::TimeBucket => (2, 5),
            Self::Locf => (1, 2),
            Self::Interpolate => (1, 1),
            Self::Filled => (0, 0),
        }
    }

    /// Whether it is a key that fills gaps.
    pub(super) fn is_key(self) -> bool {
        matches!(self, Self::DateBin | Self::TimeBucket)
    }

    /// The error where it stands in a wrong place.
    pub(super) fn misplaced(self) -> DataFusionError {
        let name = self.name();
        match self {
            Self::DateBin => plan_datafusion_err!(
                "{name} must be a key of GROUP BY by itself; elsewhere use date_bin"
            ),
            Self::TimeBucket => plan_datafusion_err!(
                "{name} must be a key of GROUP BY by itself; elsewhere use time_bucket"
            ),
            Self::Locf | Self::Interpolate => plan_datafusion_err!(
                "{name} must stand in the SELECT list, HAVING or ORDER BY of a query that groups by date_bin_gapfill or \
                 time_bucket_gapfill, around an aggregate, as in {name}(avg(x))"
            ),
            Self::Filled => plan_datafusion_err!(
                "{name} must stand in the SELECT list, HAVING or ORDER BY of a query that groups by date_bin_gapfill or \
                 time_bucket_gapfill"
            ),
        }
    }
}

/// A function that only marks its place.
#[derive(Debug, PartialEq, Eq, Hash)]
struct MarkerFunction {
    marker: Marker,
    signature: Signature,
}

/// Adds the functions to a state.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    for marker in Marker::ALL {
        let signature = if marker == Marker::Filled {
            Signature::nullary(Volatility::Stable)
        } else {
            Signature::user_defined(Volatility::Stable)
                .with_parameter_names(marker.parameters().to_vec())?
        };
        let function = ScalarUDF::new_from_impl(MarkerFunction { marker, signature });
        state.register_udf(Arc::new(function))?;
    }
    Ok(())
}

/// What function an expression calls, and with which arguments.
pub(super) fn marker_of(expr: &Expr) -> Option<(Marker, &[Expr])> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let function = call.func.inner().downcast_ref::<MarkerFunction>()?;
    Some((function.marker, &call.args))
}

fn time_type(name: &str, given: &DataType) -> Result<DataType> {
    match given {
        DataType::Timestamp(_, _) => Ok(given.clone()),
        DataType::Date32 | DataType::Date64 | DataType::Null => {
            Ok(DataType::Timestamp(TimeUnit::Nanosecond, None))
        }
        other => plan_err!("{name}: the time is {other}, not a timestamp"),
    }
}

impl ScalarUDFImpl for MarkerFunction {
    fn name(&self) -> &'static str {
        self.marker.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let name = self.marker.name();
        let (least, most) = self.marker.arity();
        if given.len() < least || given.len() > most {
            let parameters = self.marker.parameters().join(", ");
            return plan_err!(
                "{name}({parameters}) takes {least} to {most} arguments, not {}",
                given.len()
            );
        }
        let mut types = given.to_vec();
        match self.marker {
            Marker::DateBin | Marker::TimeBucket => {
                let time = time_type(name, &given[1])?;
                let times = types.len().min(4);
                types[1..times].fill(time);
                if let Some(zone) = types.get_mut(4) {
                    if !(zone.is_string() || zone.is_null()) {
                        return plan_err!("{name}: the time zone is a text, not {zone}");
                    }
                    *zone = DataType::Utf8;
                }
            }
            Marker::Locf => types[1..].fill(DataType::Boolean),
            Marker::Interpolate | Marker::Filled => {}
        }
        Ok(types)
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        match self.marker {
            Marker::DateBin | Marker::TimeBucket => time_type(self.marker.name(), &given[1]),
            Marker::Locf | Marker::Interpolate => Ok(given[0].clone()),
            Marker::Filled => Ok(DataType::Boolean),
        }
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(self.marker.misplaced())
    }
}
