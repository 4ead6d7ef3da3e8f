//! How many connections are open, and how many logins failed, by source.
//!
//! Invariants:
//!
//! * Memory is bounded: the connection table never has more entries than open connections, the
//!   table of failures never more than [`LoginThrottleSettings::sources_max`].
//! * A source is an IPv4 address or an IPv6 network of 64 bits: whoever has one IPv6 address has
//!   2^64 of them (RFC 4291 §2.5.1).
//!
//! Not here: limits by account, which need the registry, and limits inside one session.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Where connections come from, as limits count it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// Bounds on open connections. Both count from TCP accept to close, TLS handshake included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ConnectionLimitsSettings {
    /// Connections in all.
    pub connections_max: usize,
    /// Connections of one [`Source`].
    pub connections_per_source_max: usize,
}

impl Default for ConnectionLimitsSettings {
    fn default() -> Self {
        Self { connections_max: 10_000, connections_per_source_max: 100 }
    }
}

/// Which bound a connection would exceed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConnectionRefused {
    /// [`ConnectionLimitsSettings::connections_max`].
    #[error("all connections are taken: raise connections_max or add a node")]
    Total,
    /// [`ConnectionLimitsSettings::connections_per_source_max`].
    #[error("this source holds all the connections that one source may have")]
    Source,
}

impl ConnectionRefused {
    /// The name used in logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Source => "source",
        }
    }
}

#[derive(Debug, Default)]
struct OpenConnections {
    total: usize,
    by_source: HashMap<Source, usize>,
}

/// Counts open connections. One value may serve several listeners, which then share its bounds.
#[derive(Debug)]
pub struct ConnectionLimits {
    settings: ConnectionLimitsSettings,
    open: Mutex<OpenConnections>,
}

impl ConnectionLimits {
    /// Starts at zero connections.
    #[must_use]
    pub fn new(settings: ConnectionLimitsSettings) -> Arc<Self> {
        Arc::new(Self { settings, open: Mutex::default() })
    }

    /// Counts one more connection until the returned value is dropped.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Admission, ConnectionRefused> {
        let source = Source::from(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.total >= self.settings.connections_max {
            return Err(ConnectionRefused::Total);
        }
        let of_source = open.by_source.get(&source).copied().unwrap_or(0);
        if of_source >= self.settings.connections_per_source_max {
            return Err(ConnectionRefused::Source);
        }
        open.total += 1;
        open.by_source.insert(source, of_source + 1);
        Ok(Admission { limits: Arc::clone(self), source })
    }

    /// Returns how many connections are open.
    pub fn open(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).total
    }
}

/// One counted connection.
#[derive(Debug)]
pub struct Admission {
    limits: Arc<ConnectionLimits>,
    source: Source,
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut open = self.limits.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total = open.total.saturating_sub(1);
        match open.by_source.get_mut(&self.source) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                open.by_source.remove(&self.source);
            }
        }
    }
}

/// Bounds on failed logins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LoginThrottleSettings {
    /// Failures that one [`Source`] may have within [`Self::window`].
    pub failures_max: u32,
    /// How long a source is counted, from its first failure.
    pub window: Duration,
    /// Sources remembered at once. When full, the source that failed first is forgotten.
    pub sources_max: usize,
}

impl Default for LoginThrottleSettings {
    fn default() -> Self {
        Self { failures_max: 20, window: Duration::from_mins(10), sources_max: 100_000 }
    }
}

#[derive(Debug)]
struct Failures {
    first: Instant,
    count: u32,
}

#[derive(Debug, Default)]
struct FailureTable {
    by_source: HashMap<Source, Failures>,
    /// The keys of `by_source`, by their first failure: windows are equally long, so the front
    /// always ends first.
    by_age: VecDeque<Source>,
}

/// Stops password guessing by source.
///
/// A success does not clear failures: otherwise one known password would buy unlimited guesses
/// at others.
#[derive(Debug)]
pub struct LoginThrottle {
    settings: LoginThrottleSettings,
    table: Mutex<FailureTable>,
}

impl LoginThrottle {
    /// Starts without any failure.
    #[must_use]
    pub fn new(settings: LoginThrottleSettings) -> Arc<Self> {
        Arc::new(Self { settings, table: Mutex::default() })
    }

    /// Returns whether a login from `address` may be tried now. Ask before checking a password.
    pub fn allows(&self, address: IpAddr) -> bool {
        self.allows_at(Instant::now(), address)
    }

    /// Counts one failed login from `address`.
    pub fn failed(&self, address: IpAddr) {
        self.failed_at(Instant::now(), address);
    }

    fn allows_at(&self, now: Instant, address: IpAddr) -> bool {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        self.forget_ended(&mut table, now);
        table
            .by_source
            .get(&Source::from(address))
            .is_none_or(|failures| failures.count < self.settings.failures_max)
    }

    fn failed_at(&self, now: Instant, address: IpAddr) {
        let source = Source::from(address);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        self.forget_ended(&mut table, now);
        if let Some(failures) = table.by_source.get_mut(&source) {
            failures.count = failures.count.saturating_add(1);
            return;
        }
        while table.by_age.len() >= self.settings.sources_max.max(1) {
            if let Some(oldest) = table.by_age.pop_front() {
                table.by_source.remove(&oldest);
            }
        }
        table.by_age.push_back(source);
        table.by_source.insert(source, Failures { first: now, count: 1 });
    }

    fn forget_ended(&self, table: &mut FailureTable, now: Instant) {
        while let Some(oldest) = table.by_age.front() {
            let lives = table
                .by_source
                .get(oldest)
                .is_some_and(|failures| now.duration_since(failures.first) < self.settings.window);
            if lives {
                return;
            }
            if let Some(ended) = table.by_age.pop_front() {
                table.by_source.remove(&ended);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_gets_no_more_than_its_share_and_gets_it_back() {
        let limits = ConnectionLimits::new(ConnectionLimitsSettings {
            connections_max: 3,
            connections_per_source_max: 2,
        });
        let first = limits.admit(address("192.0.2.1")).unwrap();
        let _second = limits.admit(address("::ffff:192.0.2.1")).unwrap();
        assert_eq!(limits.admit(address("192.0.2.1")).unwrap_err(), ConnectionRefused::Source);
        let _third = limits.admit(address("192.0.2.2")).unwrap();
        assert_eq!(limits.admit(address("192.0.2.3")).unwrap_err(), ConnectionRefused::Total);
        drop(first);
        assert_eq!(limits.open(), 2);
        let _again = limits.admit(address("192.0.2.1")).unwrap();
    }

    #[test]
    fn closed_connections_leave_nothing_in_the_table() {
        let limits = ConnectionLimits::new(ConnectionLimitsSettings::default());
        for host in 0..=255_u8 {
            drop(limits.admit(IpAddr::from([192, 0, 2, host])).unwrap());
        }
        assert!(limits.open.lock().unwrap().by_source.is_empty());
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one_source() {
        assert_eq!(Source::from(address("2001:db8::1")), Source::from(address("2001:db8::ffff:2")));
        assert_ne!(Source::from(address("2001:db8::1")), Source::from(address("2001:db8:0:1::1")));
    }

    #[test]
    fn failures_close_the_door_until_the_window_ends() {
        let settings = LoginThrottleSettings {
            failures_max: 2,
            window: Duration::from_mins(1),
            sources_max: 10,
        };
        let throttle = LoginThrottle::new(settings);
        let start = Instant::now();
        let guesser = address("192.0.2.1");
        throttle.failed_at(start, guesser);
        assert!(throttle.allows_at(start, guesser));
        throttle.failed_at(start + Duration::from_secs(59), guesser);
        assert!(!throttle.allows_at(start + Duration::from_secs(59), guesser));
        assert!(throttle.allows_at(start, address("192.0.2.2")));
        assert!(throttle.allows_at(start + Duration::from_mins(1), guesser));
    }

    #[test]
    fn the_table_of_failures_never_grows_beyond_its_bound() {
        let settings = LoginThrottleSettings { sources_max: 10, ..Default::default() };
        let throttle = LoginThrottle::new(settings);
        for host in 0..=255_u8 {
            throttle.failed(IpAddr::from([192, 0, 2, host]));
        }
        let table = throttle.table.lock().unwrap();
        assert_eq!((table.by_source.len(), table.by_age.len()), (10, 10));
    }
}
