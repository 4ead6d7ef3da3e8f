//! Answers that are remembered: bounded in number and in time.
//!
//! * An answer lives as long as its records say, within the least and longest lifetimes of the
//!   configuration; that there is none, as long as the zone says (RFC 2308 §5), with a longest of
//!   its own; that nobody answered, or that there is none in the word of no zone, for a second
//!   (RFC 9520 §3.2), so that a dead server is not asked by every session at once.
//! * When there are too many, the one that was put in longest ago goes.

use std::time::{Duration, Instant};

use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::error::Failure;
use crate::{config::DnsSettings, registry::recent::Recent};

/// How long it is remembered that nobody answered, or without a zone's word.
const SILENCE: Duration = Duration::from_secs(1);

/// What a question came to.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// The records, all of the kind that was asked for, and whether they are secure.
    Found { records: Vec<RData>, secure: bool },
    /// No records.
    Failed(Failure),
}

/// An outcome, and how long the zone says that it holds.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    pub(super) outcome: Outcome,
    /// `None`: the zone says nothing.
    pub(super) lifetime: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Memory {
    entries: Recent<(Name, RecordType), (Outcome, Instant)>,
    lifetime_min: Duration,
    lifetime_max: Duration,
    negative_lifetime_max: Duration,
}

impl Memory {
    pub(super) fn new(settings: &DnsSettings) -> Self {
        Self {
            entries: Recent::new(settings.cache_entries_max),
            lifetime_min: settings.lifetime_min.duration(),
            lifetime_max: settings.lifetime_max.duration(),
            negative_lifetime_max: settings.negative_lifetime_max.duration(),
        }
    }

    pub(super) fn recall(&self, key: &(Name, RecordType), now: Instant) -> Option<Outcome> {
        let (outcome, until) = self.entries.get(key)?;
        (now < *until).then(|| outcome.clone())
    }

    pub(super) fn keep(&mut self, key: (Name, RecordType), answered: &Answered, now: Instant) {
        let lifetime = self.lifetime(answered);
        self.entries.put(key, (answered.outcome.clone(), now + lifetime));
    }

    fn lifetime(&self, answered: &Answered) -> Duration {
        match (&answered.outcome, answered.lifetime) {
            (Outcome::Failed(Failure::Unreachable(_)), _) | (Outcome::Failed(_), None) => SILENCE,
            // A longest below the least wins: it is the promise to follow changes.
            (Outcome::Failed(_), Some(said)) => {
                said.max(self.lifetime_min).min(self.negative_lifetime_max)
            }
            (Outcome::Found { .. }, said) => {
                said.unwrap_or_default().max(self.lifetime_min).min(self.lifetime_max)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, units::Millis};

    fn memory() -> Memory {
        let mut settings = Config::default().dns;
        settings.cache_entries_max = 2;
        settings.lifetime_min = Millis::seconds(10);
        settings.lifetime_max = Millis::seconds(100);
        settings.negative_lifetime_max = Millis::seconds(50);
        Memory::new(&settings)
    }

    fn key(name: &str) -> (Name, RecordType) {
        (Name::from_ascii(name).expect("a name"), RecordType::MX)
    }

    fn answered(outcome: Outcome, seconds: Option<u64>) -> Answered {
        Answered { outcome, lifetime: seconds.map(Duration::from_secs) }
    }

    #[test]
    fn an_answer_lives_within_the_least_and_the_longest_lifetime() {
        let found = || Outcome::Found { records: Vec::new(), secure: false };
        let nothing = || Outcome::Failed(Failure::NoRecords);
        let nobody = || Outcome::Failed(Failure::silence("dead"));
        for (answered, seconds) in [
            (answered(found(), Some(0)), 10),
            (answered(found(), Some(60)), 60),
            (answered(found(), Some(1_000_000)), 100),
            (answered(nothing(), None), 1),
            (answered(nothing(), Some(0)), 10),
            (answered(nothing(), Some(30)), 30),
            (answered(nothing(), Some(99)), 50),
            (answered(nobody(), None), 1),
            (answered(nobody(), Some(60)), 1),
        ] {
            let mut memory = memory();
            let begin = Instant::now();
            memory.keep(key("a.test."), &answered, begin);
            let at = |millis| begin + Duration::from_millis(millis);
            let within = memory.recall(&key("A.test."), at(seconds * 1000 - 1));
            assert!(within.is_some(), "{answered:?}");
            assert!(memory.recall(&key("a.test."), at(seconds * 1000)).is_none(), "{answered:?}");
        }
    }

    #[test]
    fn the_oldest_answer_goes_when_there_are_too_many() {
        let mut memory = memory();
        let now = Instant::now();
        for name in ["a.test.", "b.test.", "c.test."] {
            let found = Outcome::Found { records: Vec::new(), secure: true };
            memory.keep(key(name), &answered(found, Some(60)), now);
        }
        let known = |name| memory.recall(&key(name), now).is_some();
        assert_eq!([known("a.test."), known("b.test."), known("c.test.")], [false, true, true]);
    }
}
