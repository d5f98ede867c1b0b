//! `min` and `max` of floating point in groups, in the order that comparisons and sorts have.
//!
//! `DataFusion` 55 keeps the extreme of each group with `partial_cmp`, beginning at the largest finite number: a NaN takes
//! any value's place and is replaced by the next, so that the answer depends on the order of rows, and the maximum of
//! infinities below zero is a finite number. Without groups, its accumulators use the total order of IEEE 754-2019
//! (section 5.10): NaN with a sign, −∞ … −0, 0 … ∞, NaN. These functions are DataFusion's in all but that one accumulator,
//! which has the total order, too.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature, StatisticsArgs,
};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::prim_op::PrimitiveGroupsAccumulator;

/// Puts them in the place of `DataFusion`'s.
pub(crate) fn install(state: &mut SessionState) -> Result<()> {
    for (function, wanted) in [(min_udaf(), Ordering::Less), (max_udaf(), Ordering::Greater)] {
        state.register_udaf(Arc::new(AggregateUDF::from(Extreme { function, wanted })))?;
    }
    Ok(())
}

/// `min` or `max`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Extreme {
    /// What answers everything else.
    function: Arc<AggregateUDF>,
    /// How a value compares with the one whose place it takes.
    wanted: Ordering,
}

/// The accumulator of a type of floating point: it begins at the value that every other one replaces.
macro_rules! total_order {
    ($wanted:expr, $data_type:expr, $float:ty, $arrow:ty, $bits:ty) => {{
        let wanted = $wanted;
        let last = match wanted {
            Ordering::Less => <$float>::from_bits(<$bits>::MAX >> 1),
            Ordering::Equal | Ordering::Greater => <$float>::from_bits(<$bits>::MAX),
        };
        let accumulator =
            PrimitiveGroupsAccumulator::<$arrow, _>::new($data_type, move |current, new| {
                if new.total_cmp(current) == wanted {
                    *current = new;
                }
            });
        Ok(Box::new(accumulator.with_starting_value(last)))
    }};
}

impl AggregateUDFImpl for Extreme {
    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let data_type = args.return_field.data_type();
        match data_type {
            DataType::Float64 => total_order!(self.wanted, data_type, f64, Float64Type, u64),
            DataType::Float32 => total_order!(self.wanted, data_type, f32, Float32Type, u32),
            _ => self.function.create_groups_accumulator(args),
        }
    }

    fn name(&self) -> &str {
        self.function.name()
    }

    fn signature(&self) -> &Signature {
        self.function.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.function.return_type(types)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.function.coerce_types(types)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.function.accumulator(args)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<arrow::datatypes::FieldRef>> {
        self.function.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.function.groups_accumulator_supported(args)
    }

    fn create_sliding_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        self.function.create_sliding_accumulator(args)
    }

    fn is_descending(&self) -> Option<bool> {
        self.function.is_descending()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.function.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn value_from_stats(&self, args: &StatisticsArgs<'_>) -> Option<ScalarValue> {
        self.function.value_from_stats(args)
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.function.inner().set_monotonicity(data_type)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.function.documentation()
    }
}
