//! Slows down those who guess passwords, without locking the holder out.
//!
//! Failures are counted three ways, each over a window from the first of them; who fills a measure
//! waits a whole window.
//!
//! | counted | who waits |
//! |---|---|
//! | account and source | that source, for that account |
//! | source | that source, for every account |
//! | account | sources that never got into it: one try now and then for each network |
//!
//! So nobody can keep a holder out by failing in his name from elsewhere, and nobody can guess at one
//! account without end from a thousand places. Where a whole account is slowed down
//! ([`Verdict::Slow`]), sources that got into it go on, and each network of the others has a *turn*
//! every [`LoginSettings::unknown_network_interval`]: a holder far from home gets in with his first
//! try, and those who guess elsewhere cannot take it from him.
//!
//! A wrong password that comes again from the same source, for the same account, is no guess: a
//! device that was not told the new password repeats the old one for days. It is counted once
//! ([`Throttle::mistaken`]), as long as no pause is longer than the window. Only what SCRAM proves
//! wrong counts each time, because nobody can tell there which password it was.
//!
//! A source is an IPv4 address or an IPv6 /64, the part that a network hands to one customer
//! (RFC 4291 §2.5.4); a network is an IPv4 /24 or an IPv6 /48. Logins count whether they exist or
//! not: an answer tells nothing about that.
//!
//! Memory: five tables of `failures_remembered_max` entries, some 100 octets each; the oldest entry
//! goes first. Of passwords there are only digests under a key of this process. Not here: which
//! sources got in (`login_source`).

use std::{
    fmt,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use protocols::net::limits::Network;
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

impl From<Source> for Network {
    fn from(source: Source) -> Self {
        Self::from(source.0)
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
    /// By a source that has got into the account before, and by others in their turn.
    Slow,
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

impl Measures {
    fn count(&mut self, login: Sha256Digest, source: Source, window: Duration, now: Instant) {
        self.pairs.count((login, source), window, now);
        self.sources.count(source, window, now);
        self.accounts.count(login, window, now);
    }
}

/// A login with a password that was wrong, digested under a key.
pub(super) type Mistake = [u8; 32];

/// The failures remembered.
#[derive(Debug)]
pub(super) struct Throttle {
    measures: Mutex<Measures>,
    /// When a source made a mistake last.
    mistakes: Mutex<Recent<(Source, Mistake), Instant>>,
    /// When a network that never got into an account had its turn.
    turns: Mutex<Recent<(Sha256Digest, Network), Instant>>,
    window: Duration,
    turn_interval: Duration,
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
            mistakes: Mutex::new(Recent::new(remembered_max)),
            turns: Mutex::new(Recent::new(remembered_max)),
            window: settings.failure_window.duration(),
            turn_interval: settings.unknown_network_interval.duration(),
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
            return Verdict::Slow;
        }
        Verdict::Allowed
    }

    /// Whether it is the turn of `source`, which never got into `login`.
    pub(super) fn has_turn(&self, login: Sha256Digest, source: Source, now: Instant) -> bool {
        let turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let last = turns.get(&(login, Network::from(source)));
        last.is_none_or(|last| now - *last >= self.turn_interval)
    }

    /// Takes the turn of `source` and of its whole network; false when it is not theirs.
    pub(super) fn take_turn(&self, login: Sha256Digest, source: Source, now: Instant) -> bool {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (login, Network::from(source));
        if turns.get(&key).is_some_and(|last| now - *last < self.turn_interval) {
            return false;
        }
        turns.put(key, now);
        true
    }

    /// Counts a failure.
    pub(super) fn failed(&self, login: Sha256Digest, source: Source, now: Instant) {
        let mut measures = self.measures.lock().unwrap_or_else(PoisonError::into_inner);
        measures.count(login, source, self.window, now);
    }

    /// Whether `source` has made `mistake` before and not stopped since. Its answer is known then.
    pub(super) fn repeats(&self, source: Source, mistake: &Mistake, now: Instant) -> bool {
        let mut mistakes = self.mistakes.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (source, *mistake);
        let again = mistakes.get(&key).is_some_and(|last| now - *last <= self.window);
        if again {
            mistakes.put(key, now);
        }
        again
    }

    /// Counts a wrong password for `login`, unless it was counted meanwhile.
    pub(super) fn mistaken(
        &self,
        login: Sha256Digest,
        source: Source,
        mistake: Mistake,
        now: Instant,
    ) {
        let mut mistakes = self.mistakes.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (source, mistake);
        let again = mistakes.get(&key).is_some_and(|last| now - *last <= self.window);
        mistakes.put(key, now);
        drop(mistakes);
        if again {
            return;
        }
        self.failed(login, source, now);
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
    fn an_account_guessed_at_from_everywhere_is_slow_for_sources_that_are_new() {
        let throttle = throttle();
        let start = Instant::now();
        let anna = Sha256Digest::of(b"anna");
        for host in 1..=7 {
            let guesser = source(&format!("192.0.2.{host}"));
            assert_eq!(throttle.verdict(anna, guesser, start), Verdict::Allowed, "{host}");
            throttle.failed(anna, guesser, start);
        }
        let fresh = source("192.0.2.8");
        assert_eq!(throttle.verdict(anna, fresh, start), Verdict::Slow);
        // The holder's success does not open the account to the others.
        throttle.succeeded(anna, source("192.0.2.9"));
        assert_eq!(throttle.verdict(anna, fresh, start), Verdict::Slow);
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

    #[test]
    fn each_network_has_its_turn_at_an_account_and_no_other_takes_it() {
        let throttle = throttle();
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        let (anna, bruno) = (Sha256Digest::of(b"anna"), Sha256Digest::of(b"bruno"));
        for network in 0..200 {
            let guesser = source(&format!("198.51.{network}.1"));
            assert!(throttle.take_turn(anna, guesser, start), "{network}");
            assert!(!throttle.take_turn(anna, source(&format!("198.51.{network}.2")), start));
        }
        let holder = source("192.0.2.7");
        assert!(throttle.has_turn(anna, holder, start));
        assert!(throttle.take_turn(anna, holder, start));
        assert!(!throttle.has_turn(anna, holder, later(59)));
        assert!(!throttle.take_turn(anna, holder, later(59)));
        assert!(throttle.take_turn(bruno, holder, later(59)), "another account");
        assert!(throttle.take_turn(anna, holder, later(60)), "counted from the turn that it had");
        assert!(throttle.take_turn(anna, source("2001:db8:1:1::1"), start));
        assert!(!throttle.take_turn(anna, source("2001:db8:1:2::1"), start), "one /48");
    }

    #[test]
    fn a_device_with_an_old_password_keeps_nobody_out() {
        let throttle = throttle();
        let start = Instant::now();
        let (anna, bruno) = (Sha256Digest::of(b"anna"), Sha256Digest::of(b"bruno"));
        let home = source("192.0.2.1");
        for minute in 0..60 {
            let now = start + Duration::from_mins(minute);
            throttle.mistaken(anna, home, [1; 32], now);
            assert_eq!(throttle.verdict(anna, home, now), Verdict::Allowed, "{minute}");
        }
        let now = start + Duration::from_hours(1);
        for host in 1..=6 {
            throttle.mistaken(anna, source(&format!("198.51.100.{host}")), [1; 32], now);
        }
        let elsewhere = source("203.0.113.1");
        assert_eq!(throttle.verdict(anna, elsewhere, now), Verdict::Allowed);
        // Each other password is a guess; and so is the same one for another account.
        throttle.mistaken(bruno, home, [2; 32], now);
        throttle.mistaken(anna, home, [3; 32], now);
        throttle.mistaken(anna, home, [4; 32], now);
        throttle.mistaken(anna, home, [5; 32], now);
        assert_eq!(throttle.verdict(anna, home, now), Verdict::Refused);
        assert_eq!(throttle.verdict(bruno, home, now), Verdict::Allowed);
        throttle.mistaken(bruno, home, [6; 32], now);
        assert_eq!(throttle.verdict(bruno, home, now), Verdict::Refused, "the source's fifth");
    }
}
