//! Types and roles of columns, and what a sample of values tells of a type.

use std::fmt::Display;

use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::string_to_datetime;
use arrow::datatypes::DataType;

/// What a column can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Boolean,
    Integer,
    Unsigned,
    Double,
    Text,
    Time,
}

impl Type {
    const ALL: [Self; 6] =
        [Self::Boolean, Self::Integer, Self::Unsigned, Self::Double, Self::Text, Self::Time];

    /// Its name in `CREATE TABLE`.
    pub(super) fn sql(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::Integer => "BIGINT",
            Self::Unsigned => "BIGINT UNSIGNED",
            Self::Double => "DOUBLE",
            Self::Text => "STRING",
            Self::Time => "TIMESTAMP",
        }
    }

    /// The type of a name, as [`Type::sql`] and `DESCRIBE` give it.
    pub(super) fn of_sql(name: &str) -> Option<Self> {
        let name = name.trim().to_uppercase();
        if name.starts_with("TIMESTAMP") {
            return Some(Self::Time);
        }
        Self::ALL.into_iter().find(|t| t.sql() == name)
    }

    /// The type that holds all values of an Arrow type.
    pub(super) fn of_arrow(arrow: &DataType) -> Option<Self> {
        match arrow {
            DataType::Boolean => Some(Self::Boolean),
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
                Some(Self::Integer)
            }
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
                Some(Self::Unsigned)
            }
            DataType::Float16 | DataType::Float32 | DataType::Float64 => Some(Self::Double),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(Self::Text),
            DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64 => Some(Self::Time),
            DataType::Dictionary(_, values) => Self::of_arrow(values),
            _ => None,
        }
    }

    /// Whether values of this type may be stored as another, row by row where they fit exactly.
    pub(super) fn widens_to(self, want: Self) -> bool {
        let integer = |t| matches!(t, Self::Integer | Self::Unsigned);
        self == want || integer(self) && (integer(want) || want == Self::Double)
    }
}

impl Display for Type {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.sql())
    }
}

/// What a column is in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Time,
    Tag,
    Field,
}

impl Role {
    /// Its name, as `DESCRIBE` gives it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Tag => "tag",
            Self::Field => "field",
        }
    }

    /// The role of a name.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        [Self::Time, Self::Tag, Self::Field].into_iter().find(|role| role.name() == name)
    }
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) data_type: Type,
    pub(super) role: Role,
}

/// What was seen of a column: a set of kinds of values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample(u8);

impl Sample {
    const BOOLEAN: u8 = 1;
    const NEGATIVE: u8 = 2;
    const INTEGER: u8 = 4;
    /// An integer above those of `BIGINT`.
    const HUGE: u8 = 8;
    const DOUBLE: u8 = 16;
    const TIME: u8 = 32;
    const TEXT: u8 = 64;

    /// All that a column of a type may hold.
    pub(super) fn of_type(data_type: Option<Type>) -> Self {
        Self(match data_type {
            None => 0,
            Some(Type::Boolean) => Self::BOOLEAN,
            Some(Type::Integer) => Self::INTEGER | Self::NEGATIVE,
            Some(Type::Unsigned) => Self::INTEGER | Self::HUGE,
            Some(Type::Double) => Self::DOUBLE,
            Some(Type::Text) => Self::TEXT,
            Some(Type::Time) => Self::TIME,
        })
    }

    /// Takes in a value of a text file.
    pub(super) fn see(&mut self, text: &str) {
        let text = text.trim();
        self.0 |= if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") {
            Self::BOOLEAN
        } else if is_code(text) {
            Self::TEXT
        } else if let Ok(n) = text.parse::<i64>() {
            if n < 0 { Self::INTEGER | Self::NEGATIVE } else { Self::INTEGER }
        } else if text.parse::<u64>().is_ok() {
            Self::HUGE
        } else if is_integer(text) {
            // No type holds it exactly.
            Self::TEXT
        } else if text.parse::<f64>().is_ok() {
            Self::DOUBLE
        } else if time_of(text).is_some() {
            Self::TIME
        } else {
            Self::TEXT
        };
    }

    /// Takes in what was seen elsewhere.
    pub(super) fn join(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether there were times.
    pub(super) fn has_times(self) -> bool {
        self.0 & Self::TIME != 0
    }

    /// Whether there were integers.
    pub(super) fn has_integers(self) -> bool {
        self.0 & (Self::INTEGER | Self::NEGATIVE | Self::HUGE) != 0
    }

    /// The type that holds all of it; `None` where there were no values.
    pub(super) fn data_type(self) -> Option<Type> {
        let numbers = Self::NEGATIVE | Self::INTEGER | Self::HUGE | Self::DOUBLE;
        let has = |kinds: u8| self.0 & kinds != 0;
        Some(match self.0 {
            0 => return None,
            Self::BOOLEAN => Type::Boolean,
            Self::TIME => Type::Time,
            kinds if kinds & !numbers != 0 => Type::Text,
            _ if has(Self::DOUBLE) || has(Self::NEGATIVE) && has(Self::HUGE) => Type::Double,
            _ if has(Self::HUGE) => Type::Unsigned,
            _ => Type::Integer,
        })
    }
}

/// Digits with a zero before them name something, such as a postcode: as a number they would lose it.
fn is_code(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.len() > 1 && digits.starts_with('0') && is_integer(digits)
}

/// Whether a text is nothing but digits with a sign.
pub(super) fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// A time as RFC 3339 or SQL write it, in nanoseconds since 1970; without a zone it is UTC. `None` if it is no time,
/// or one that cannot be stored.
pub(super) fn time_of(text: &str) -> Option<i64> {
    // A year of four digits: other texts that the parser takes are no times to a reader.
    let bytes = text.as_bytes();
    let year = bytes.get(..4)?;
    if bytes.get(4) != Some(&b'-') || !year.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let utc: Tz = "UTC".parse().ok()?;
    string_to_datetime(&utc, text).ok()?.timestamp_nanos_opt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[&str], want: Option<Type>) {
        let mut sample = Sample::default();
        for value in values {
            sample.see(value);
        }
        assert_eq!(sample.data_type(), want, "{values:?}");
    }

    #[test]
    fn a_column_has_the_narrowest_type_of_its_values() {
        check(&[], None);
        check(&["true", "FALSE"], Some(Type::Boolean));
        check(&["1", "-2", " 3 "], Some(Type::Integer));
        check(&["1", "18446744073709551615"], Some(Type::Unsigned));
        check(&["-1", "18446744073709551615"], Some(Type::Double));
        check(&["1", "2.5", "1e3", "NaN"], Some(Type::Double));
        check(&["a", "b"], Some(Type::Text));
    }

    #[test]
    fn mixed_kinds_are_text() {
        check(&["1", "x"], Some(Type::Text));
        check(&["true", "1"], Some(Type::Text));
        check(&["2024-01-01T00:00:00Z", "5"], Some(Type::Text));
    }

    #[test]
    fn what_would_lose_digits_as_a_number_is_text() {
        check(&["01234"], Some(Type::Text));
        check(&["123456789012345678901234567890"], Some(Type::Text));
        check(&["0", "-0.5", "0.25"], Some(Type::Double));
    }

    #[test]
    fn times_are_read_in_the_forms_of_rfc_3339_and_sql() {
        let second = 1_704_067_201_000_000_000;
        for text in ["2024-01-01T00:00:01Z", "2024-01-01 00:00:01", "2024-01-01T01:00:01+01:00"] {
            assert_eq!(time_of(text), Some(second), "{text}");
        }
        assert_eq!(time_of("2024-01-01 00:00:01.000000005"), Some(second + 5));
        assert_eq!(time_of("2024-01-01"), Some(second - 1_000_000_000));
        for text in ["", "1704067201", "2024-13-01", "9999-01-01T00:00:00Z", "01/02/2024", "é"] {
            assert_eq!(time_of(text), None, "{text}");
        }
    }

    #[test]
    fn names_of_types_are_those_of_describe() {
        assert_eq!(Type::of_sql("TIMESTAMP(9) WITH TIME ZONE"), Some(Type::Time));
        for data_type in Type::ALL {
            assert_eq!(Type::of_sql(&data_type.sql().to_lowercase()), Some(data_type));
        }
        assert_eq!(Type::of_sql("DATE"), None);
    }
}
