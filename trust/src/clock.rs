//! The wall clock, handed in.
//!
//! Everything that needs the time of day takes a [`Clock`]; reading it any other way is a lint
//! error. [`SystemClock`] is the one place that asks the operating system; [`ManualClock`] moves
//! only when a test moves it, so that days pass in milliseconds.
//!
//! Not here: time zones and calendars (the program's), time-outs (tokio's monotonic timer).

use std::sync::atomic::{AtomicI64, Ordering};

/// An instant: milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// Whole seconds since the epoch, rounded towards the past.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The instant `milliseconds` later; saturates at the ends of the range.
    #[must_use]
    pub fn plus_millis(self, milliseconds: i64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }
}

/// A source of the time of day.
pub trait Clock: Send + Sync + std::fmt::Debug + 'static {
    /// Returns the present instant. Two calls may return the same or, after a correction of the
    /// operating system's clock, an earlier instant.
    fn now(&self) -> UnixMillis;
}

/// The operating system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the seam for the wall clock")]
    fn now(&self) -> UnixMillis {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        // A clock set before 1970 reads as the epoch: certificates are then not yet valid, which
        // is the error that the operator has to see.
        let millis = since_epoch.map_or(0, |elapsed| elapsed.as_millis());
        UnixMillis(i64::try_from(millis).unwrap_or(i64::MAX))
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Starts at `now`.
    #[must_use]
    pub fn new(now: UnixMillis) -> Self {
        Self(AtomicI64::new(now.0))
    }

    /// Moves the clock `milliseconds` forward (or back, when negative).
    pub fn advance(&self, milliseconds: i64) {
        self.0.fetch_add(milliseconds, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_it_is_moved() {
        let clock = ManualClock::new(UnixMillis(1_000));
        assert_eq!(clock.now(), UnixMillis(1_000));
        clock.advance(86_400_000);
        assert_eq!(clock.now(), UnixMillis(86_401_000));
    }

    #[test]
    fn seconds_before_the_epoch_round_towards_the_past() {
        assert_eq!(UnixMillis(-1).seconds(), -1);
        assert_eq!(UnixMillis(1_999).seconds(), 1);
    }
}
