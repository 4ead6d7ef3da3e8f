//! Slows down those who guess passwords, without locking the holder out.
//!
//! Failures are counted per (account, source) and per source; nothing counts per account alone, so
//! that nobody can keep a holder out by failing in his name from elsewhere. A source is an IPv4
//! address or an IPv6 /64, the part that a network hands to one customer (RFC 4291 §2.5.4).

use std::{
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

/// Whose failures are counted together. Logins are kept as digests: of one size, whatever is sent.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Key {
    Pair(Sha256Digest, Source),
    Source(Source),
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    since: Instant,
}

/// The failures remembered.
#[derive(Debug)]
pub(super) struct Throttle {
    failures: Mutex<Recent<Key, Failures>>,
    per_pair_max: u32,
    per_source_max: u32,
    window: Duration,
}

impl Throttle {
    pub(super) fn new(settings: &LoginSettings) -> Self {
        Self {
            failures: Mutex::new(Recent::new(settings.failures_remembered_max)),
            per_pair_max: settings.failures_per_account_and_address_max,
            per_source_max: settings.failures_per_address_max,
            window: settings.failure_window.duration(),
        }
    }

    /// Whether `source` may try `login` at `now`.
    pub(super) fn allows(&self, login: Sha256Digest, source: Source, now: Instant) -> bool {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let below = |key: &Key, max: u32| {
            failures.get(key).is_none_or(|seen| seen.count < max || now - seen.since > self.window)
        };
        below(&Key::Pair(login, source), self.per_pair_max)
            && below(&Key::Source(source), self.per_source_max)
    }

    /// Counts a failure.
    pub(super) fn failed(&self, login: Sha256Digest, source: Source, now: Instant) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, max) in [
            (Key::Pair(login, source), self.per_pair_max),
            (Key::Source(source), self.per_source_max),
        ] {
            let fresh = Failures { count: 0, since: now };
            let mut seen = failures.get(&key).copied().unwrap_or(fresh);
            if now - seen.since > self.window {
                seen = fresh;
            }
            seen.count = seen.count.saturating_add(1);
            if seen.count == max {
                // The wait is a whole window from the failure that filled the measure.
                seen.since = now;
            }
            failures.put(key, seen);
        }
    }

    /// Forgets the failures of a pair that got in. Those of the source stay: it may be an attacker
    /// with one account of his own.
    pub(super) fn succeeded(&self, login: Sha256Digest, source: Source) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(&Key::Pair(login, source));
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
        Throttle::new(&settings)
    }

    #[test]
    fn a_guesser_waits_while_the_holder_elsewhere_does_not() {
        let throttle = throttle();
        let start = Instant::now();
        let (anna, bruno) = (Sha256Digest::of(b"anna"), Sha256Digest::of(b"bruno"));
        let (guesser, home) = (source("192.0.2.1"), source("192.0.2.2"));
        for _ in 0..3 {
            assert!(throttle.allows(anna, guesser, start));
            throttle.failed(anna, guesser, start);
        }
        assert!(!throttle.allows(anna, guesser, start));
        assert!(throttle.allows(bruno, guesser, start));
        assert!(throttle.allows(anna, home, start));
        throttle.failed(bruno, guesser, start);
        throttle.failed(bruno, guesser, start);
        assert!(!throttle.allows(Sha256Digest::of(b"carla"), guesser, start));
        assert!(!throttle.allows(anna, guesser, start + Duration::from_secs(299)));
        assert!(throttle.allows(anna, guesser, start + Duration::from_secs(301)));
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
        assert!(!throttle.allows(anna, home, start), "five failures of one source");
    }

    #[test]
    fn a_network_of_one_customer_is_one_source() {
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff::9"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
    }
}
