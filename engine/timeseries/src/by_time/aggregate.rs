//! [`ByTime`]: the aggregate functions of SQL.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature, Volatility,
};

use super::accumulators::{Answer, Codec, Groups, Single, Sliding};
use super::ranking::Ranking;
use super::rows::Rows;
use super::words::Words;

/// The functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    First,
    Last,
    MinBy,
    MaxBy,
    SelectorFirst,
    SelectorLast,
    SelectorMin,
    SelectorMax,
}

impl Kind {
    fn ranking(self, ignore_nulls: bool) -> Ranking {
        let of = |lead, lead_larger, follow_larger| Ranking {
            lead,
            lead_larger,
            follow_larger,
            nan_loses: false,
            null_follow: false,
        };
        match self {
            Self::First => Ranking { null_follow: !ignore_nulls, ..of(1, false, true) },
            Self::Last => Ranking { null_follow: !ignore_nulls, ..of(1, true, true) },
            Self::MinBy | Self::SelectorFirst => of(1, false, true),
            Self::MaxBy | Self::SelectorLast => of(1, true, true),
            Self::SelectorMin => Ranking { nan_loses: true, ..of(0, false, false) },
            Self::SelectorMax => Ranking { nan_loses: true, ..of(0, true, false) },
        }
    }

    fn is_selector(self) -> bool {
        match self {
            Self::First | Self::Last | Self::MinBy | Self::MaxBy => false,
            Self::SelectorFirst | Self::SelectorLast | Self::SelectorMin | Self::SelectorMax => {
                true
            }
        }
    }
}

/// One function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ByTime {
    kind: Kind,
    name: &'static str,
    aliases: Vec<String>,
    signature: Signature,
}

/// All of them.
pub(super) fn functions() -> impl Iterator<Item = ByTime> {
    let all: [(Kind, &str, &[&str]); 8] = [
        (Kind::First, "first", &[]),
        (Kind::Last, "last", &[]),
        (Kind::MinBy, "min_by", &["arg_min", "argmin"]),
        (Kind::MaxBy, "max_by", &["arg_max", "argmax"]),
        (Kind::SelectorFirst, "selector_first", &[]),
        (Kind::SelectorLast, "selector_last", &[]),
        (Kind::SelectorMin, "selector_min", &[]),
        (Kind::SelectorMax, "selector_max", &[]),
    ];
    all.into_iter().map(|(kind, name, aliases)| ByTime {
        kind,
        name,
        aliases: aliases.iter().map(|&a| a.to_owned()).collect(),
        signature: Signature::user_defined(Volatility::Immutable),
    })
}

/// What is done with the keys of one form.
trait Build {
    type Built;
    fn build<C: Codec>(codec: C, answer: Answer) -> Self::Built;
}

struct BuildSingle;
struct BuildSliding;
struct BuildGroups;

impl Build for BuildSingle {
    type Built = Box<dyn Accumulator>;
    fn build<C: Codec>(codec: C, answer: Answer) -> Self::Built {
        Box::new(Single::new(codec, answer))
    }
}

impl Build for BuildSliding {
    type Built = Box<dyn Accumulator>;
    fn build<C: Codec>(codec: C, answer: Answer) -> Self::Built {
        Box::new(Sliding::new(codec, answer))
    }
}

impl Build for BuildGroups {
    type Built = Box<dyn GroupsAccumulator>;
    fn build<C: Codec>(codec: C, answer: Answer) -> Self::Built {
        Box::new(Groups::new(codec, answer))
    }
}

impl ByTime {
    fn build<B: Build>(&self, args: &AccumulatorArgs<'_>) -> Result<B::Built> {
        let ranking = self.kind.ranking(args.ignore_nulls);
        let types: Vec<DataType> = args.expr_fields.iter().map(|f| f.data_type().clone()).collect();
        let answer = if self.kind.is_selector() {
            Answer::Struct(args.return_type().clone())
        } else {
            Answer::Value
        };
        Ok(match Words::new(ranking, &types) {
            Some(words) => B::build(words, answer),
            None => B::build(Rows::new(ranking, &types)?, answer),
        })
    }
}

/// The type that values of a type are compared and answered in.
fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, value) => value.as_ref().clone(),
        other => other.clone(),
    }
}

impl AggregateUDFImpl for ByTime {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let name = self.name;
        if self.kind.is_selector() && types.len() < 2 {
            return plan_err!(
                "{name} takes a value and its time, and columns to show with them; it got {} arguments",
                types.len()
            );
        }
        if !self.kind.is_selector() && types.len() != 2 {
            let by_any = matches!(self.kind, Kind::MinBy | Kind::MaxBy);
            let second = if by_any { "the column to compare" } else { "its time" };
            return plan_err!(
                "{name} takes a value and {second}; it got {} arguments",
                types.len()
            );
        }
        let types: Vec<DataType> = types.iter().map(plain).collect();
        if let Some(other) = types.iter().find(|t| !Rows::supports(std::slice::from_ref(t))) {
            return plan_err!("{name} cannot compare values of type {other}");
        }
        Ok(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        if !self.kind.is_selector() {
            return Ok(types[0].clone());
        }
        let names = ["value".to_owned(), "time".to_owned()];
        let others = (1..).map(|i| format!("other_{i}"));
        let fields = names.into_iter().chain(others).zip(types);
        let fields: Fields =
            fields.map(|(name, t)| Arc::new(Field::new(name, t.clone(), true))).collect();
        Ok(DataType::Struct(fields))
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.build::<BuildSingle>(&args)
    }

    fn create_sliding_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        self.build::<BuildSliding>(&args)
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        self.build::<BuildGroups>(&args)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let fields = args.input_fields.iter().enumerate().map(|(i, field)| {
            let name = format_state_name(args.name, &format!("argument_{i}"));
            Arc::new(Field::new(name, field.data_type().clone(), true))
        });
        Ok(fields.collect())
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn supports_null_handling_clause(&self) -> bool {
        matches!(self.kind, Kind::First | Kind::Last)
    }
}
