//! Units of timestamps in line protocol.

/// Unit of the timestamps of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Nanoseconds.
    Nanosecond,
    /// Microseconds.
    Microsecond,
    /// Milliseconds.
    Millisecond,
    /// Seconds.
    Second,
    /// Minutes (InfluxDB 1).
    Minute,
    /// Hours (InfluxDB 1).
    Hour,
    /// Guessed per timestamp from its magnitude, as InfluxDB 3 does (`precision=auto`).
    Auto,
}

impl Precision {
    /// A timestamp in this unit as nanoseconds; `None` if it is out of range.
    #[inline]
    pub(crate) fn to_nanos(self, time: i64) -> Option<i64> {
        time.checked_mul(self.of(time).nanos())
    }

    /// How the unit is written behind a number, for messages.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Nanosecond => " ns",
            Self::Microsecond => " µs",
            Self::Millisecond => " ms",
            Self::Second => " s",
            Self::Minute => " min",
            Self::Hour => " h",
            Self::Auto => "",
        }
    }

    fn nanos(self) -> i64 {
        match self {
            Self::Nanosecond | Self::Auto => 1,
            Self::Microsecond => 1_000,
            Self::Millisecond => 1_000_000,
            Self::Second => 1_000_000_000,
            Self::Minute => 60_000_000_000,
            Self::Hour => 3_600_000_000_000,
        }
    }

    /// The unit of one timestamp. `Auto` takes what lies within 158 years of 1970 in the coarsest unit.
    fn of(self, time: i64) -> Self {
        if self != Self::Auto {
            return self;
        }
        match time.unsigned_abs() {
            0..5_000_000_000 => Self::Second,
            5_000_000_000..5_000_000_000_000 => Self::Millisecond,
            5_000_000_000_000..5_000_000_000_000_000 => Self::Microsecond,
            5_000_000_000_000_000.. => Self::Nanosecond,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_takes_the_unit_from_the_magnitude() {
        let check = |time, want| assert_eq!(Precision::Auto.to_nanos(time), Some(want), "{time}");
        check(1_700_000_000, 1_700_000_000_000_000_000);
        check(1_700_000_000_123, 1_700_000_000_123_000_000);
        check(1_700_000_000_123_456, 1_700_000_000_123_456_000);
        check(1_700_000_000_123_456_789, 1_700_000_000_123_456_789);
        check(-4_999_999_999, -4_999_999_999_000_000_000);
        check(i64::MIN, i64::MIN);
    }

    #[test]
    fn a_time_beyond_the_range_is_none() {
        assert_eq!(Precision::Second.to_nanos(9_223_372_036), Some(9_223_372_036_000_000_000));
        assert_eq!(Precision::Second.to_nanos(9_223_372_037), None);
        assert_eq!(Precision::Hour.to_nanos(i64::MIN), None);
    }
}
