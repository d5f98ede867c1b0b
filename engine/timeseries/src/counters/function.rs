//! [`OverTime`]: the aggregate functions over `(value, time)`.

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility,
};

use super::accumulate::{FrameMeasure, GroupedMeasure};
use super::arguments;
use super::measure::Measure;
use super::number::Number;
use super::points;
use super::summary::{Area, Slope, Steps};

/// An aggregate function over `(value, time)`, in whatever order the rows come.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct OverTime {
    measure: Measure,
    signature: Signature,
}

impl OverTime {
    /// The function of a measure.
    pub(crate) fn new(measure: Measure) -> Self {
        Self { measure, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn has_method(&self) -> bool {
        matches!(self.measure, Measure::AverageLinear | Measure::AverageLocf)
    }

    fn usage(&self) -> String {
        let method = if self.has_method() { "[, 'linear' | 'locf']" } else { "" };
        format!("{}(value, time{method})", self.measure.name())
    }

    /// What is asked, the method of an average included.
    fn asked(&self, args: &AccumulatorArgs<'_>) -> Result<Measure> {
        let name = self.measure.name();
        if args.is_distinct {
            return plan_err!(
                "{name}: DISTINCT is not supported: equal values at different times are different points"
            );
        }
        let Some(method) = args.exprs.get(2) else { return Ok(self.measure) };
        let method = arguments::constant(name, "the method", method)?;
        match method.try_as_str().flatten() {
            Some(word) if word.eq_ignore_ascii_case("linear") => Ok(Measure::AverageLinear),
            Some(word) if word.eq_ignore_ascii_case("locf") => Ok(Measure::AverageLocf),
            _ => plan_err!("{name}: the method is 'linear' or 'locf', not {method}"),
        }
    }
}

impl AggregateUDFImpl for OverTime {
    fn name(&self) -> &'static str {
        self.measure.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let name = self.name();
        arguments::counted(&self.usage(), given.len(), 2, if self.has_method() { 3 } else { 2 })?;
        let mut types = vec![
            arguments::number(name, "value", &given[0])?,
            arguments::time(name, "time", &given[1])?,
        ];
        if let Some(method) = given.get(2) {
            if !method.is_string() {
                return plan_err!("{name}: the method is 'linear' or 'locf', not a {method}");
            }
            types.push(DataType::Utf8);
        }
        Ok(types)
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(self.measure.data_type())
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let measure = self.asked(&args)?;
        match args.expr_fields[0].data_type() {
            DataType::Int64 => Ok(frame::<i64>(measure)),
            DataType::UInt64 => Ok(frame::<u64>(measure)),
            _ => Ok(frame::<f64>(measure)),
        }
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let measure = self.asked(&args)?;
        match args.expr_fields[0].data_type() {
            DataType::Int64 => Ok(grouped::<i64>(measure)),
            DataType::UInt64 => Ok(grouped::<u64>(measure)),
            _ => Ok(grouped::<f64>(measure)),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(match args.input_fields[0].data_type() {
            DataType::Int64 => points::state_fields::<i64>(args.name),
            DataType::UInt64 => points::state_fields::<u64>(args.name),
            _ => points::state_fields::<f64>(args.name),
        })
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

fn frame<N: Number>(measure: Measure) -> Box<dyn Accumulator> {
    match measure {
        Measure::Rate
        | Measure::Increase
        | Measure::Delta
        | Measure::Irate
        | Measure::Idelta
        | Measure::Resets
        | Measure::Changes => Box::new(FrameMeasure::<N, Steps<N>>::new(measure)),
        Measure::Deriv => Box::new(FrameMeasure::<N, Slope<N>>::new(measure)),
        Measure::AverageLinear | Measure::AverageLocf => {
            Box::new(FrameMeasure::<N, Area<N>>::new(measure))
        }
    }
}

fn grouped<N: Number>(measure: Measure) -> Box<dyn GroupsAccumulator> {
    match measure {
        Measure::Rate
        | Measure::Increase
        | Measure::Delta
        | Measure::Irate
        | Measure::Idelta
        | Measure::Resets
        | Measure::Changes => Box::new(GroupedMeasure::<N, Steps<N>>::new(measure)),
        Measure::Deriv => Box::new(GroupedMeasure::<N, Slope<N>>::new(measure)),
        Measure::AverageLinear | Measure::AverageLocf => {
            Box::new(GroupedMeasure::<N, Area<N>>::new(measure))
        }
    }
}
