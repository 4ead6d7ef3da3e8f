//! The periods by which availability is judged: four months each (DM 2 November 2005 art. 12), in the
//! legal time of Italy.

use std::{fmt, str::FromStr};

use jiff::{Timestamp, civil::Date};
use trust::clock::UnixMillis;

use super::MINUTE_MILLIS;
use crate::pec::instant::ROME;

/// Months of a period.
const MONTHS: i8 = 4;

/// A period: January to April, May to August or September to December of a year.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Period {
    year: i16,
    /// 1 to 3.
    third: i8,
}

/// A text names no period.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a period is written as a year and the number of its third, such as 2026-3")]
pub struct NoPeriod;

impl Period {
    /// The period in which `at` is.
    #[must_use]
    pub fn of(at: UnixMillis) -> Self {
        let at = Timestamp::from_millisecond(at.0).unwrap_or(Timestamp::UNIX_EPOCH);
        let day = at.to_zoned(ROME.clone());
        Self { year: day.year(), third: (day.month() - 1) / MONTHS + 1 }
    }

    /// The day of legal time in which `at` is, since 1 January 1970.
    #[must_use]
    pub fn day(at: UnixMillis) -> u32 {
        let at = Timestamp::from_millisecond(at.0).unwrap_or(Timestamp::UNIX_EPOCH);
        let day = at.to_zoned(ROME.clone()).date();
        let since = day.duration_since(jiff::civil::date(1970, 1, 1));
        u32::try_from(since.as_hours() / 24).unwrap_or_default()
    }

    /// Its first day, as [`Period::day`] counts, and the last.
    #[must_use]
    pub fn days(self) -> (u32, u32) {
        let day = |minute: i64| Self::day(UnixMillis(minute.saturating_mul(MINUTE_MILLIS)));
        (day(self.from_minute()), day(self.until_minute().saturating_sub(1)))
    }

    /// Its first minute, since 1970.
    #[must_use]
    pub fn from_minute(self) -> i64 {
        minute_of(self.year, (self.third - 1) * MONTHS + 1)
    }

    /// The first minute after it.
    #[must_use]
    pub fn until_minute(self) -> i64 {
        match self.third {
            3 => minute_of(self.year.saturating_add(1), 1),
            third => minute_of(self.year, third * MONTHS + 1),
        }
    }
}

/// The minute at which a month begins in Italy; years that the calendar does not have begin never.
fn minute_of(year: i16, month: i8) -> i64 {
    Date::new(year, month, 1)
        .and_then(|day| day.to_zoned(ROME.clone()))
        .map_or(i64::MAX, |day| day.timestamp().as_millisecond().div_euclid(MINUTE_MILLIS))
}

impl FromStr for Period {
    type Err = NoPeriod;

    fn from_str(text: &str) -> Result<Self, NoPeriod> {
        let (year, third) = text.split_once('-').ok_or(NoPeriod)?;
        let period = Self {
            year: year.parse().map_err(|_| NoPeriod)?,
            third: third.parse().map_err(|_| NoPeriod)?,
        };
        let valid = (1970..=9998).contains(&period.year) && (1..=3).contains(&period.third);
        if valid { Ok(period) } else { Err(NoPeriod) }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.year, self.third)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_has_four_months_of_legal_time() {
        // 1 September 2026, 00:00 in Rome is 31 August, 22:00 UTC.
        let september = UnixMillis(1_788_213_600_000);
        let (second, third) = (Period { year: 2026, third: 2 }, Period { year: 2026, third: 3 });
        assert_eq!(Period::of(september), third);
        assert_eq!(Period::of(UnixMillis(september.0 - 1)), second);
        assert_eq!(third.from_minute() * MINUTE_MILLIS, september.0);
        assert_eq!(second.until_minute(), third.from_minute());
        let (from, until) = third.days();
        assert_eq!((from, until - from), (20_697, 121));
        assert_eq!(second.days().1 + 1, from);
        // September to December have 122 days, and the hour that winter time gives back.
        assert_eq!(third.until_minute() - third.from_minute(), 122 * 1_440 + 60);
    }

    #[test]
    fn a_period_reads_as_it_is_written() {
        for text in ["2026-1", "2026-3", "1970-2"] {
            assert_eq!(
                text.parse::<Period>().map(|period| period.to_string()),
                Ok(text.to_owned())
            );
        }
        for text in ["", "2026", "2026-0", "2026-4", "26-1", "2026-3-1", "x-1"] {
            assert_eq!(text.parse::<Period>(), Err(NoPeriod), "{text}");
        }
    }
}
