//! Instants as people give them: a day of Italian legal time, or a whole instant.

use jiff::{Timestamp, ToSpan as _, civil::Date};

use super::say;
use crate::pec::instant::ROME;

fn expected() -> &'static str {
    say(
        "una data come 2026-11-28 o un istante come 2026-11-28T09:30:00Z",
        "a date such as 2026-11-28 or an instant such as 2026-11-28T09:30:00Z",
    )
}

/// The start of `date` in legal time, in ms since 1970.
fn start(date: Date) -> Result<i64, &'static str> {
    let start = date.to_zoned(ROME.clone()).map_err(|_| expected())?;
    Ok(start.timestamp().as_millisecond())
}

/// The first instant that is meant: a day begins at its legal midnight.
pub(super) fn since(text: &str) -> Result<i64, &'static str> {
    match text.parse::<Date>() {
        Ok(date) if text.len() == 10 => start(date),
        _ => instant(text),
    }
}

/// The last instant that is meant: a day belongs to it to its end.
pub(super) fn until(text: &str) -> Result<i64, &'static str> {
    match text.parse::<Date>() {
        Ok(date) if text.len() == 10 => {
            let next = date.checked_add(1.day()).map_err(|_| expected())?;
            Ok(start(next)? - 1)
        }
        _ => instant(text),
    }
}

fn instant(text: &str) -> Result<i64, &'static str> {
    text.parse::<Timestamp>().map(Timestamp::as_millisecond).map_err(|_| expected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_one_of_legal_time_and_has_its_end_in_it() {
        let noon = instant("2026-11-28T11:00:00Z").expect("an instant");
        assert_eq!(since("2026-11-28"), Ok(noon - 12 * 3_600_000));
        assert_eq!(until("2026-11-28"), Ok(noon + 12 * 3_600_000 - 1));
        assert_eq!(until("2026-11-28T12:00:00+01:00"), Ok(noon));
        assert!(since("ieri").is_err() && until("2026-13-01").is_err());
    }
}
