//! Floats with few decimals, stored as whole numbers.
//!
//! Most measurements are decimal numbers that were read into a `f64`: 17, 21.5, 0.003. Their bits look random, the whole
//! number of thousandths behind them does not: it is small, near its neighbour, and packs into a few bits. A value v has k
//! decimals here if the whole number m nearest to v · 10^k has at most 15 digits and m / 10^k, rounded once, is v bit for
//! bit. Scaling like this is what ALP does per vector (Afroozeh, Kuffo, Boncz: "ALP: Adaptive Lossless floating-Point
//! Compression", SIGMOD 2024); a Parquet column has one scale for all of its rows, so a single value without it (NaN, −0,
//! 1/3, 1e300) leaves the column as it is.
//!
//! A value that has k decimals has k + 1, too, while m stays in range: scaling by 10^(k+1) errs by less than 0.3, so it
//! rounds to 10 m, and 10 m / 10^(k+1) is the same quotient. So the scale of a column is the largest of its values.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::datatypes::{DataType, Decimal64Type, Int64Type};

/// Digits after the point at most.
const DECIMALS_MAX: u8 = 9;
/// Digits of the whole numbers at most: every one of them is a `f64`.
const DIGITS_MAX: u8 = 15;
/// The precision that files state: what 64 bits hold.
const PRECISION: u8 = 18;
/// Powers of ten that a `f64` holds exactly.
const POWERS: [f64; DIGITS_MAX as usize + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
/// Adding and taking away 1.5 · 2^52 rounds what is below 2^51 to a whole number, without a call or a branch.
const ROUNDER: f64 = 6_755_399_441_055_744.0;
const ROUNDER_BITS: i64 = ROUNDER.to_bits().cast_signed();
/// Values that are looked at together.
const CHUNK: usize = 128;

/// How a float column is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// As whole numbers.
    Decimal {
        /// Digits after the point.
        decimals: u8,
        /// Digits before the point that the values have at most.
        whole: u8,
    },
    /// As it is.
    Double,
}

impl Scale {
    /// What no value needs more than.
    pub(crate) const NARROWEST: Self = Self::Decimal { decimals: 0, whole: 0 };

    /// The scale that all values of both have.
    pub(crate) fn or(self, other: Self) -> Self {
        match (self, other) {
            (
                Self::Decimal { decimals: a, whole: whole_a },
                Self::Decimal { decimals: b, whole: whole_b },
            ) if a.max(b) + whole_a.max(whole_b) <= DIGITS_MAX => {
                Self::Decimal { decimals: a.max(b), whole: whole_a.max(whole_b) }
            }
            _ => Self::Double,
        }
    }

    /// The scale that these values have, too.
    pub(crate) fn or_of(self, values: &Float64Array) -> Self {
        let Self::Decimal { decimals, .. } = self else { return self };
        let found = if values.null_count() == 0 {
            Self::of(values.values(), decimals)
        } else {
            Self::of(&values.iter().flatten().collect::<Vec<_>>(), decimals)
        };
        found.map_or(Self::Double, |found| found.or(self))
    }

    /// The scale of these values, of at least so many decimals.
    fn of(values: &[f64], mut decimals: u8) -> Option<Self> {
        let mut largest = 0.0_f64;
        for chunk in values.chunks(CHUNK) {
            if !chunk.iter().fold(true, |all, value| all & fits(*value, decimals)) {
                for value in chunk {
                    decimals = (decimals..=DECIMALS_MAX).find(|k| fits(*value, *k))?;
                }
            }
            largest = chunk.iter().fold(largest, |largest, value| largest.max(value.abs()));
        }
        let whole = (0..=DIGITS_MAX).find(|digits| largest < POWERS[usize::from(*digits)])?;
        Some(Self::Decimal { decimals, whole })
    }

    /// Digits after the point; none if the column is stored as it is.
    pub(crate) fn decimals(self) -> Option<u8> {
        match self {
            Self::Decimal { decimals, .. } => Some(decimals),
            Self::Double => None,
        }
    }
}

/// The type of a column that is stored as whole numbers.
pub(crate) fn stored_type(decimals: u8) -> DataType {
    match decimals {
        0 => DataType::Int64,
        _ => DataType::Decimal64(PRECISION, decimals.cast_signed()),
    }
}

/// Digits after the point of a column that is stored like this; `None` if those are not whole numbers of ours.
pub(crate) fn decimals_of(stored: &DataType) -> Option<u8> {
    match stored {
        DataType::Int64 => Some(0),
        DataType::Decimal64(_, scale) => {
            u8::try_from(*scale).ok().filter(|decimals| (1..=DECIMALS_MAX).contains(decimals))
        }
        _ => None,
    }
}

/// The whole numbers behind values that have so many decimals.
///
/// # Panics
///
/// If a value has not, which is a bug.
pub(crate) fn encode(values: &Float64Array, decimals: u8) -> ArrayRef {
    let power = POWERS[usize::from(decimals)];
    // What stands under a null may be any value.
    let number =
        |value: f64| (value * power + ROUNDER).to_bits().cast_signed().wrapping_sub(ROUNDER_BITS);
    let numbers: Int64Array = values.unary(number);
    let back = decode(&numbers, decimals);
    let same = |row: usize| {
        values.is_null(row) || back.value(row).to_bits() == values.value(row).to_bits()
    };
    assert!((0..values.len()).all(same), "a value has more than {decimals} decimals");
    if decimals == 0 {
        return Arc::new(numbers);
    }
    let numbers = numbers.reinterpret_cast::<Decimal64Type>();
    Arc::new(numbers.with_data_type(stored_type(decimals)))
}

/// The values behind whole numbers.
pub(crate) fn decode(numbers: &Int64Array, decimals: u8) -> Float64Array {
    let float =
        |number: i64| f64::from_bits(number.wrapping_add(ROUNDER_BITS).cast_unsigned()) - ROUNDER;
    if decimals == 0 {
        return numbers.unary(float);
    }
    let power = POWERS[usize::from(decimals)];
    numbers.unary(|number| float(number) / power)
}

/// The values of a column of a file.
pub(crate) fn decode_stored(stored: &ArrayRef) -> ArrayRef {
    match (stored.data_type(), decimals_of(stored.data_type())) {
        (DataType::Int64, _) => Arc::new(decode(stored.as_primitive(), 0)),
        (_, Some(decimals)) => {
            let numbers = stored.as_primitive::<Decimal64Type>();
            Arc::new(decode(&numbers.reinterpret_cast::<Int64Type>(), decimals))
        }
        _ => ArrayRef::clone(stored),
    }
}

/// Whether a value has so many decimals.
fn fits(value: f64, decimals: u8) -> bool {
    let power = POWERS[usize::from(decimals)];
    let scaled = value * power;
    let number = scaled + ROUNDER - ROUNDER;
    (scaled.abs() < POWERS[usize::from(DIGITS_MAX)])
        & ((number / power).to_bits() == value.to_bits())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use arrow::datatypes::Float64Type;

    use super::*;

    fn scale(values: &[f64]) -> Scale {
        Scale::NARROWEST.or_of(&Float64Array::from(values.to_vec()))
    }

    fn decimal(decimals: u8, whole: u8) -> Scale {
        Scale::Decimal { decimals, whole }
    }

    #[test]
    fn the_scale_is_that_of_the_largest_need() {
        assert_eq!(scale(&[]), decimal(0, 0));
        assert_eq!(scale(&[0.0, 17.0, -3.0]), decimal(0, 2));
        assert_eq!(scale(&[0.0, 21.5, -3.0]), decimal(1, 2));
        assert_eq!(scale(&[0.003, 1e9]), decimal(3, 10));
        assert_eq!(scale(&[0.000_000_001]), decimal(9, 0));
        assert_eq!(scale(&[0.000_000_000_1]), Scale::Double);
        assert_eq!(scale(&[1e14]), decimal(0, 15));
        assert_eq!(scale(&[1e15]), Scale::Double);
        // Each fits alone, together they would need 16 digits.
        assert_eq!(scale(&[1e12, 0.0001]), Scale::Double);
        assert_eq!(scale(&[0.0001]).or(scale(&[1e12])), Scale::Double);
        for odd in [-0.0, f64::NAN, f64::INFINITY, 1.0 / 3.0, 0.1 + 0.2, f64::MIN_POSITIVE] {
            assert_eq!(scale(&[1.0, odd]), Scale::Double, "{odd}");
        }
    }

    #[test]
    fn what_stands_under_a_null_does_not_matter() {
        let nulls = Some(vec![true, false, true, false].into());
        let values = Float64Array::new(vec![1.5, f64::NAN, -2.25, 1e300].into(), nulls);
        assert_eq!(Scale::NARROWEST.or_of(&values), decimal(2, 1));
        let back = decode_stored(&encode(&values, 2));
        assert_eq!(back.as_primitive::<Float64Type>(), &values);
    }

    proptest! {
        #[test]
        fn decimals_come_back(numbers in proptest::collection::vec((any::<i64>(), 0u8..16), 1..300), decimals in 0u8..10) {
            // Numbers of all magnitudes, as text has them.
            let values: Vec<f64> = numbers
                .iter()
                .map(|(number, digits)| {
                    let number = number % 10_i64.pow(u32::from(*digits));
                    format!("{number}e-{decimals}").parse().unwrap()
                })
                .collect();
            let Some(found) = scale(&values).decimals() else { panic!("{values:?}") };
            prop_assert!(found <= decimals);
            let array = Float64Array::from_iter_values(values.iter().copied());
            let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            for more in found..=decimals {
                let back = decode_stored(&encode(&array, more));
                prop_assert_eq!(bits(back.as_primitive::<Float64Type>().values()), bits(&values));
            }
        }

        #[test]
        fn any_bits_come_back(bits in proptest::collection::vec(any::<u64>(), 1..20)) {
            let values = Float64Array::from_iter_values(bits.iter().map(|bits| f64::from_bits(*bits)));
            if let Some(decimals) = Scale::NARROWEST.or_of(&values).decimals() {
                encode(&values, decimals);
            }
        }
    }
}
