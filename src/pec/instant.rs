//! The one instant that every artefact of a transaction carries (DM 2 November 2005 art. 9).
//!
//! Header, text, XML and journal of one step show the same value, in the legal time of Italy
//! (RFC 6109 §4.1, §4.2). It is therefore taken once, as a [`CertifiedInstant`], and handed on.
//!
//! Not here: reading the clock (`trust::clock`).

use jiff::{Timestamp, Zoned, tz::TimeZone};
use trust::clock::UnixMillis;

/// The legal time of Italy, with its rules compiled in: it needs no file of the host.
pub static ROME: TimeZone = jiff::tz::get!("Europe/Rome");

/// An instant with its representations in Italian legal time. All of them show whole seconds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertifiedInstant {
    at: UnixMillis,
    local: Zoned,
}

impl CertifiedInstant {
    /// Fixes the representations of `at`. Instants outside the years −9999 to 9999 become the
    /// nearest instant inside.
    pub fn new(at: UnixMillis) -> Self {
        let end = if at.0 < 0 { Timestamp::MIN } else { Timestamp::MAX };
        let timestamp = Timestamp::from_second(at.seconds()).unwrap_or(end);
        Self { at, local: timestamp.to_zoned(ROME.clone()) }
    }

    /// The instant itself.
    pub fn unix(&self) -> UnixMillis {
        self.at
    }

    /// The day as `dd/mm/yyyy` (RFC 6109 §4.4, element `giorno`).
    pub fn day(&self) -> String {
        self.local.strftime("%d/%m/%Y").to_string()
    }

    /// The time of day as `hh:mm:ss` (RFC 6109 §4.4, element `ora`).
    pub fn time(&self) -> String {
        self.local.strftime("%H:%M:%S").to_string()
    }

    /// The zone as `+0100` or `+0200` (RFC 6109 §4.4, attribute `zona`).
    pub fn zone(&self) -> String {
        self.local.strftime("%z").to_string()
    }

    /// The value of a Date field (RFC 5322 §3.3).
    pub fn header_date(&self) -> String {
        self.local.strftime("%a, %d %b %Y %H:%M:%S %z").to_string()
    }

    /// The year.
    pub fn year(&self) -> i16 {
        self.local.year()
    }

    /// The instant as `yyyymmddhhmmss`, for identifiers.
    pub fn compact(&self) -> String {
        self.local.strftime("%Y%m%d%H%M%S").to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds since the epoch, with the legal time that was shown then.
    #[test]
    fn legal_time_follows_summer_and_winter() {
        for (seconds, day, time, zone, header_date) in [
            (1_542_122_966, "13/11/2018", "16:29:26", "+0100", "Tue, 13 Nov 2018 16:29:26 +0100"),
            (1_792_889_999, "25/10/2026", "02:59:59", "+0200", "Sun, 25 Oct 2026 02:59:59 +0200"),
            (1_792_890_000, "25/10/2026", "02:00:00", "+0100", "Sun, 25 Oct 2026 02:00:00 +0100"),
        ] {
            let instant = CertifiedInstant::new(UnixMillis(seconds * 1_000 + 999));
            assert_eq!(instant.day(), day);
            assert_eq!(instant.time(), time);
            assert_eq!(instant.zone(), zone);
            assert_eq!(instant.header_date(), header_date);
        }
    }

    #[test]
    fn no_instant_is_out_of_reach() {
        for at in [i64::MIN, i64::MAX] {
            assert!(!CertifiedInstant::new(UnixMillis(at)).header_date().is_empty());
        }
    }
}
