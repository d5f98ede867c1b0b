//! [`Step`]: cells of one width on a line of nanoseconds without time zones.

/// Nanoseconds of a day.
pub(super) const DAY: i128 = 86_400_000_000_000;

/// Nanoseconds of an hour.
pub(super) const HOUR: i128 = 3_600_000_000_000;

/// How wide cells are, and where one of them begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nanoseconds: a width above 0, and the start of some cell since 1970-01-01.
    Fixed {
        /// How long each cell is.
        width: i128,
        /// Where a cell begins.
        origin: i128,
    },
    /// Whole months: a number above 0, the month of some cell counted from year 0, its day from 1 on (or the last day
    /// of a month that does not have it), and nanoseconds that come on top.
    Months {
        /// How many months each cell has.
        months: i128,
        /// A month in which a cell begins.
        origin: i128,
        /// The day of the month on which cells begin.
        day: i128,
        /// What is added to the start of that day.
        shift: i128,
    },
}

impl Step {
    /// Start and end of the cell that holds an instant.
    pub(super) fn cell(&self, at: i128) -> (i128, i128) {
        match *self {
            Self::Fixed { width, origin } => {
                let start = at - (at - origin).rem_euclid(width);
                (start, start + width)
            }
            Self::Months { .. } => {
                let index = self.index_of(at);
                (self.start_of(index), self.start_of(index + 1))
            }
        }
    }

    /// The number of the cell that holds an instant; the one at the origin is 0.
    pub(super) fn index_of(&self, at: i128) -> i128 {
        match *self {
            Self::Fixed { width, origin } => (at - origin).div_euclid(width),
            Self::Months { months, origin, shift, .. } => {
                let (month, _) = month_of_days((at - shift).div_euclid(DAY));
                let index = (month - origin).div_euclid(months);
                // The day of the month on which cells begin may still be to come.
                if self.start_of(index) > at { index - 1 } else { index }
            }
        }
    }

    /// Start of the cell of a number.
    pub(super) fn start_of(&self, index: i128) -> i128 {
        match *self {
            Self::Fixed { width, origin } => origin + index * width,
            Self::Months { months, origin, day, shift } => {
                days_of_month(origin + index * months, day) * DAY + shift
            }
        }
    }
}

/// Month since year 0 and day of the month from 1 on, of a day since 1970-01-01 in the proleptic Gregorian calendar.
///
/// The algorithm is `civil_from_days` of Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
pub(super) fn month_of_days(days: i128) -> (i128, i128) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let of_era = z.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    // Years begin in March here; month 2 of such a year is May, and so on.
    ((era * 400 + year) * 12 + from_march + 2, day)
}

/// Days from 1970-01-01 to a day of a month since year 0, or to the last of that month if it is shorter.
fn days_of_month(month: i128, day: i128) -> i128 {
    let first = |month: i128| {
        let from_march = month - 2;
        let (year, of_year) = (from_march.div_euclid(12), from_march.rem_euclid(12));
        let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let days = 365 * of_era + of_era / 4 - of_era / 100 + (153 * of_year + 2) / 5;
        era * 146_097 + days - 719_468
    };
    (first(month) + day - 1).min(first(month + 1) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{Datelike, NaiveDate};

    #[test]
    fn months_and_days_are_those_of_the_calendar() {
        let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
        for days in (-200_000..200_000_i64).step_by(11) {
            let date = epoch + chrono::Duration::days(days);
            let month = i128::from(date.year()) * 12 + i128::from(date.month0());
            let day = i128::from(date.day());
            assert_eq!(month_of_days(days.into()), (month, day), "{date}");
            assert_eq!(days_of_month(month, day), days.into(), "{date}");
        }
    }

    #[test]
    fn days_that_a_month_lacks_are_its_last() {
        let march = 2024 * 12 + 2;
        assert_eq!(days_of_month(march - 1, 31), days_of_month(march, 1) - 1);
    }
}
