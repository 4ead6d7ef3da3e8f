//! How long octets of a message may be on their way: by SMTP, and by APPEND.
//!
//! Invariant: whoever sends one octet now and then has an end in time; whoever keeps the pace has
//! until [`Pace::time_max`].

use std::time::Duration;

use tokio::time::Instant;

/// A while, and then as long as octets keep the pace on average.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Pace {
    /// After how long the octets must have come at the pace.
    pub(crate) grace: Duration,
    /// How long they may take in all.
    pub(crate) time_max: Duration,
    /// Octets per second, on average since the beginning; 0 counts as 1.
    pub(crate) octets_per_second_min: u64,
}

impl Pace {
    /// When more must have come than `octets` of what has `begun` then.
    pub(crate) fn deadline(self, begun: Instant, octets: u64) -> Instant {
        let earned = Duration::from_secs(octets / self.octets_per_second_min.max(1));
        begun + self.grace.max(earned).min(self.time_max)
    }
}
