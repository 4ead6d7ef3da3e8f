//! Quantities with their units, as people write them in the configuration.
//!
//! 1 KB = 2^10 octets, 1 MB = 2^20, 1 GB = 2^30. What [`std::fmt::Display`] prints parses back to
//! the same quantity.

use std::{fmt, str::FromStr, time::Duration};

use crate::texts::Text;

/// A number of octets.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Octets(pub u64);

const OCTET_UNITS: [(&str, u64); 4] =
    [("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10), ("octets", 1)];

/// The smallest unit in Italian, which is understood as well.
const ITALIAN: &str = "ottetti";

impl Octets {
    /// `count` times 2^10 octets.
    #[must_use]
    pub const fn kilobytes(count: u64) -> Self {
        Self(count << 10)
    }

    /// `count` times 2^20 octets.
    #[must_use]
    pub const fn megabytes(count: u64) -> Self {
        Self(count << 20)
    }

    /// `count` times 2^30 octets.
    #[must_use]
    pub const fn gigabytes(count: u64) -> Self {
        Self(count << 30)
    }
}

impl Octets {
    /// What people read: the word of the configuration is English, in Italian they are "ottetti".
    #[must_use]
    pub fn text(self) -> Text {
        let english = self.to_string();
        Text::filled(english.replace("octets", ITALIAN), english)
    }
}

impl fmt::Display for Octets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, size) = OCTET_UNITS
            .into_iter()
            .find(|(_, size)| self.0 >= *size && self.0.is_multiple_of(*size))
            .unwrap_or(("octets", 1));
        write!(formatter, "{} {unit}", self.0 / size)
    }
}

/// The text is not a quantity with a known unit, or the quantity is too large.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NotAQuantity;

impl FromStr for Octets {
    type Err = NotAQuantity;

    fn from_str(text: &str) -> Result<Self, NotAQuantity> {
        let (number, unit) = split_unit(text)?;
        let size = OCTET_UNITS
            .into_iter()
            .chain([(ITALIAN, 1)])
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
            .map(|(_, size)| size)
            .ok_or(NotAQuantity)?;
        number.checked_mul(size).map(Self).ok_or(NotAQuantity)
    }
}

/// A length of time in whole milliseconds.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Millis(pub u64);

const TIME_UNITS: [(&str, u64); 5] =
    [("days", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1)];

impl Millis {
    /// `count` seconds.
    #[must_use]
    pub const fn seconds(count: u64) -> Self {
        Self(count * 1_000)
    }

    /// `count` minutes.
    #[must_use]
    pub const fn minutes(count: u64) -> Self {
        Self(count * 60_000)
    }

    /// `count` hours.
    #[must_use]
    pub const fn hours(count: u64) -> Self {
        Self(count * 3_600_000)
    }

    /// The same as a [`Duration`].
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, size) = TIME_UNITS
            .into_iter()
            .find(|(_, size)| self.0 >= *size && self.0.is_multiple_of(*size))
            .unwrap_or(("ms", 1));
        write!(formatter, "{} {unit}", self.0 / size)
    }
}

impl FromStr for Millis {
    type Err = NotAQuantity;

    fn from_str(text: &str) -> Result<Self, NotAQuantity> {
        let (number, unit) = split_unit(text)?;
        let size = TIME_UNITS
            .into_iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
            .map(|(_, size)| size)
            .ok_or(NotAQuantity)?;
        number.checked_mul(size).map(Self).ok_or(NotAQuantity)
    }
}

fn split_unit(text: &str) -> Result<(u64, &str), NotAQuantity> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Ok((number.parse().map_err(|_| NotAQuantity)?, unit.trim()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::texts::Language;

    #[test]
    fn quantities_are_read_with_their_units() {
        assert_eq!("50 MB".parse(), Ok(Octets(52_428_800)));
        assert_eq!("64kb".parse(), Ok(Octets(65_536)));
        assert_eq!("7 octets".parse(), Ok(Octets(7)));
        assert_eq!("5 min".parse(), Ok(Millis(300_000)));
        assert_eq!("2 days".parse(), Ok(Millis(172_800_000)));
        for wrong in ["", "50", "MB", "-1 MB", "1.5 GB", "20000000000 GB", "1 MiBs"] {
            assert_eq!(wrong.parse::<Octets>(), Err(NotAQuantity), "{wrong}");
        }
        for wrong in ["5", "5 m", "99999999999999999999 s", "300000000000 days"] {
            assert_eq!(wrong.parse::<Millis>(), Err(NotAQuantity), "{wrong}");
        }
    }

    #[test]
    fn octets_are_said_in_italian_and_what_is_said_is_understood() {
        for (octets, italian, english) in [
            (0, "0 ottetti", "0 octets"),
            (1_500, "1500 ottetti", "1500 octets"),
            (1 << 20, "1 MB", "1 MB"),
        ] {
            let text = Octets(octets).text();
            assert_eq!(text.get(Language::Italian), italian);
            assert_eq!(text.get(Language::English), english);
            assert_eq!(italian.parse(), Ok(Octets(octets)));
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_back(octets: u64, millis: u64) {
            prop_assert_eq!(Octets(octets).to_string().parse(), Ok(Octets(octets)));
            prop_assert_eq!(Millis(millis).to_string().parse(), Ok(Millis(millis)));
        }
    }
}
