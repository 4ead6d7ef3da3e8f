//! Slows down those who guess passwords, without locking the holder out.
//!
//! Failures are counted three ways, each over a window from the first of them; who fills a measure
//! waits a whole window.
//!
//! | counted | who waits |
//! |---|---|
//! | account and source | that source, for that account |
//! | source | that source, for every account |
//! | account | sources that never got into it ([`Verdict::KnownSourcesOnly`]); those that did go on |
//!
//! So nobody can keep a holder out by failing in his name from elsewhere, and nobody can guess at one
//! account from a thousand places. A source is an IPv4 address or an IPv6 /64, the part that a
//! network hands to one customer (RFC 4291 §2.5.4). Logins count whether they exist or not: an answer
//! tells nothing about that.
//!
//! Memory: three tables of `failures_remembered_max` entries, some 100 octets each; the oldest entry
//! goes first. Not here: which sources got in (`login_source`).

use std::{
    fmt,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use trust::digest::Sha256Digest;

use super::recent::Recent;
use crate::config::LoginSettings;

/// Where a login comes from.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Source(IpAddr);

impl Source {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) & !u128::from(u64::MAX);
                Self(IpAddr::V6(Ipv6Addr::from(network)))
            }
            address @ IpAddr::V4(_) => Self(address),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Whether a login may be tried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// By anybody.
    Allowed,
    /// By a source that has got into the account before.
    KnownSourcesOnly,
    /// Not from this source, not now.
    Refused,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    since: Instant,
}

/// Failures of one kind. Logins are kept as digests: of one size, whatever is sent.
#[derive(Debug)]
struct Measure<K> {
    failures: Recent<K, Failures>,
    max: u32,
}

impl<K: Clone + Eq + Hash> Measure<K> {
    fn new(max: u32, remembered_max: usize) -> Self {
        Self { failures: Recent::new(remembered_max), max }
    }

    fn is_full(&self, key: &K, window: Duration, now: Instant) -> bool {
        let full = |seen: &Failures| seen.count >= self.max && now - seen.since <= window;
        self.failures.get(key).is_some_and(full)
    }

    fn count(&mut self, key: K, window: Duration, now: Instant) {
        let fresh = Failures { count: 0, since: now };
        let mut seen = self.failures.get(&key).copied().unwrap_or(fresh);
        if now - seen.since > window {
            seen = fresh;
        }
        seen.count = seen.count.saturating_add(1);
        if seen.count == self.max {
            // The wait is a whole window from the failure that filled the measure.
            seen.since = now;
        }
        self.failures.put(key, seen);
    }
}

#[derive(Debug)]
struct Measures {
    pairs: Measure<(Sha256Digest, Source)>,
    sources: Measure<Source>,
    accounts: Measure<Sha256Digest>,
}

/// The failures remembered.
#[derive(Debug)]
pub(super) struct Throttle {
    measures: Mutex<Measures>,
    window: Duration,
}

impl Throttle {
    pub(super) fn new(settings: &LoginSettings) -> Self {
        let remembered_max = settings.failures_remembered_max;
        Self {
            measures: Mutex::new(Measures {
                pairs: Measure::new(settings.failures_per_account_and_address_max, remembered_max),
                sources: Measure::new(settings.failures_per_address_max, remembered_max),
                accounts: Measure::new(settings.failures_per_account_max, remembered_max),
            }),
            window: settings.failure_window.duration(),
        }
    }

    /// Whether `source` may try `login` at `now`.
    pub(super) fn verdict(&self, login: Sha256Digest, source: Source, now: Instant) -> Verdict {
        let measures = self.measures.lock().unwrap_or_else(PoisonError::into_inner);
        let window = self.window;
        if measures.pairs.is_full(&(login, source), window, now)
            || measures.sources.is_full(&source, window, now)
        {
            return Verdict::Refused;
        }
        if measures.accounts.is_full(&login, window, now) {
            return Verdict::KnownSourcesOnly;
        }
        Verdict::Allowed
    }

    /// Counts a failure.
    pub(super) fn failed(&self, login: Sha256Digest, source: Source, now: Instant) {
        let mut measures = self.measures.lock().unwrap_or_else(PoisonError::into_inner);
        measures.pairs.count((login, source), self.window, now);
        measures.sources.count(source, self.window, now);
        measures.accounts.count(login, self.window, now);
    }

    /// Forgets the failures of a pair that got in. Those of the source stay, because it may be an
    /// attacker with one account of his own; those of the account too, because others go on guessing
    /// while the holder reads his mail.
    pub(super) fn succeeded(&self, login: Sha256Digest, source: Source) {
        let mut measures = self.measures.lock().unwrap_or_else(PoisonError::into_inner);
        measures.pairs.failures.remove(&(login, source));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn source(address: &str) -> Source {
        Source::of(address.parse().expect("an address"))
    }

    fn throttle() -> Throttle {
        let mut settings = Config::default().login;
        settings.failures_per_account_and_address_max = 3;
        settings.failures_per_address_max = 5;
        settings.failures_per_account_max = 7;
        Throttle::new(&settings)
    }

    #[test]
    fn a_guesser_waits_while_the_holder_elsewhere_does_not() {
        use Verdict::{Allowed, Refused};
        let throttle = throttle();
        let start = Instant::now();
        let (anna, bruno) = (Sha256Digest::of(b"anna"), Sha256Digest::of(b"bruno"));
        let (guesser, home) = (source("192.0.2.1"), source("192.0.2.2"));
        for _ in 0..3 {
            assert_eq!(throttle.verdict(anna, guesser, start), Allowed);
            throttle.failed(anna, guesser, start);
        }
        assert_eq!(throttle.verdict(anna, guesser, start), Refused);
        assert_eq!(throttle.verdict(bruno, guesser, start), Allowed);
        assert_eq!(throttle.verdict(anna, home, start), Allowed);
        throttle.failed(bruno, guesser, start);
        throttle.failed(bruno, guesser, start);
        assert_eq!(throttle.verdict(Sha256Digest::of(b"carla"), guesser, start), Refused);
        let later = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(throttle.verdict(anna, guesser, later(299)), Refused);
        assert_eq!(throttle.verdict(anna, guesser, later(301)), Allowed);
    }

    #[test]
    fn an_account_guessed_at_from_everywhere_is_left_to_known_sources() {
        let throttle = throttle();
        let start = Instant::now();
        let anna = Sha256Digest::of(b"anna");
        for host in 1..=7 {
            let guesser = source(&format!("192.0.2.{host}"));
            assert_eq!(throttle.verdict(anna, guesser, start), Verdict::Allowed, "{host}");
            throttle.failed(anna, guesser, start);
        }
        let fresh = source("192.0.2.8");
        assert_eq!(throttle.verdict(anna, fresh, start), Verdict::KnownSourcesOnly);
        // The holder's success does not open the account to the others.
        throttle.succeeded(anna, source("192.0.2.9"));
        assert_eq!(throttle.verdict(anna, fresh, start), Verdict::KnownSourcesOnly);
        assert_eq!(throttle.verdict(Sha256Digest::of(b"bruno"), fresh, start), Verdict::Allowed);
        let later = start + Duration::from_secs(301);
        assert_eq!(throttle.verdict(anna, fresh, later), Verdict::Allowed);
    }

    #[test]
    fn a_success_forgets_the_failures_of_the_pair_only() {
        let throttle = throttle();
        let start = Instant::now();
        let anna = Sha256Digest::of(b"anna");
        let home = source("192.0.2.2");
        for _ in 0..5 {
            throttle.failed(anna, home, start);
            throttle.succeeded(anna, home);
        }
        let verdict = throttle.verdict(anna, home, start);
        assert_eq!(verdict, Verdict::Refused, "five failures of one source");
    }

    #[test]
    fn a_network_of_one_customer_is_one_source() {
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff::9"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
    }
}
