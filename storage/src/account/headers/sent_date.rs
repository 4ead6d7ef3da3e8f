//! When a message was sent.

use trust::clock::UnixMillis;

/// When a message was sent, as its `Date` says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SentDate {
    /// The instant, to the second.
    pub instant: UnixMillis,
    /// Seconds that the sender's clock was ahead of UTC.
    pub offset_seconds: i32,
}

impl SentDate {
    /// Reads the value of a `Date` field (RFC 5322 §3.3); a wrong day of the week does not matter. A
    /// time that cannot be read is midnight, a zone that cannot be read is UTC (RFC 5256 §2.2).
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(value);
        let parser = jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true);
        let Ok(sent) = parser.parse_zoned(text.trim()) else { return Self::parse_day(&text) };
        let instant = UnixMillis(sent.timestamp().as_second().checked_mul(1_000)?);
        Some(Self { instant, offset_seconds: sent.offset().seconds() })
    }

    /// Reads a date of which the day alone is right.
    fn parse_day(text: &str) -> Option<Self> {
        let words: Vec<&str> =
            text.split([' ', '\t', '\r', '\n', ',']).filter(|word| !word.is_empty()).collect();
        let day = |words: &[&str]| jiff::civil::Date::strptime("%d %b %Y", words.join(" ")).ok();
        let at = words.windows(3).position(|words| day(words).is_some())?;
        let date = day(&words[at..at + 3])?;
        let mut rest = words[at + 3..].iter();
        let read = |text: &&str| {
            let time = |form| jiff::civil::Time::strptime(form, text).ok();
            time("%H:%M:%S").or_else(|| time("%H:%M"))
        };
        let time = rest.next().and_then(read).unwrap_or_default();
        let zone = |text: &&str| {
            let (sign, digits) = text.split_at_checked(1)?;
            let number: i32 = digits.parse().ok().filter(|_| digits.len() == 4)?;
            let seconds = (number / 100 * 60 + number % 100) * 60;
            let signed = if sign == "-" { -seconds } else { seconds };
            jiff::tz::Offset::from_seconds(signed).ok().filter(|_| "+-".contains(sign))
        };
        let offset = rest.next().and_then(zone).unwrap_or(jiff::tz::Offset::UTC);
        let sent = offset.to_timestamp(date.to_datetime(time)).ok()?;
        let instant = UnixMillis(sent.as_second().checked_mul(1_000)?);
        Some(Self { instant, offset_seconds: offset.seconds() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_whose_day_alone_is_right_has_midnight_and_utc_for_the_rest() {
        let read = |text: &str| {
            SentDate::parse(text.as_bytes())
                .map(|sent| (sent.instant.seconds(), sent.offset_seconds))
        };
        let midnight = 837_561_600;
        assert_eq!(read("Wed, 17 Jul 1996"), Some((midnight, 0)));
        assert_eq!(read("17 Jul 1996 25:00:00 +0200"), Some((midnight - 7_200, 7_200)));
        assert_eq!(read("Wed, 17 Jul 1996 01:02:03 Rome"), Some((midnight + 3_723, 0)));
        assert_eq!(read("Wed, 17 Jul 1996 01:02 -0130"), Some((midnight + 9_120, -5_400)));
        assert_eq!(read("17 Jul 1996 01:02:03 +è123"), Some((midnight + 3_723, 0)));
        assert_eq!(read("31 Jun 1996 01:02:03"), None);
        assert_eq!(read("Jul 1996"), None);
    }
}
