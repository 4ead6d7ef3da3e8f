//! How many connections are open, and how many came lately, by source.
//!
//! Invariants:
//!
//! * Memory is bounded: the table of open connections never has more entries than connections, that
//!   of arrivals never more than [`ConnectionLimitsSettings::sources_max`].
//! * A source is an IPv4 address or an IPv6 network of 64 bits: whoever has one IPv6 address has
//!   2^64 of them (RFC 4291 §2.5.1).
//!
//! Not here: failed logins, which need the registry, and limits inside one session.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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

/// Bounds on connections. Open ones count from TCP accept to close, TLS handshake included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ConnectionLimitsSettings {
    /// Connections in all.
    pub connections_max: usize,
    /// Connections of one [`Source`].
    pub connections_per_source_max: usize,
    /// Connections that one source may begin within a minute, counted from the first of them.
    pub arrivals_per_source_max: u32,
    /// Sources whose arrivals are remembered. When full, the one that is counted longest is
    /// forgotten.
    pub sources_max: usize,
}

impl Default for ConnectionLimitsSettings {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            connections_per_source_max: 100,
            arrivals_per_source_max: 3_000,
            sources_max: 65_536,
        }
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
    /// [`ConnectionLimitsSettings::arrivals_per_source_max`].
    #[error("this source has begun as many connections in a minute as one source may")]
    Rate,
}

impl ConnectionRefused {
    /// The name used in logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Source => "source",
            Self::Rate => "rate",
        }
    }
}

#[derive(Debug, Default)]
struct OpenConnections {
    total: usize,
    by_source: HashMap<Source, usize>,
    arrivals: Arrivals,
}

/// How long the arrivals of a source are counted, from the first.
const ARRIVALS_WINDOW: Duration = Duration::from_mins(1);

#[derive(Debug)]
struct Counted {
    first: Instant,
    count: u32,
}

#[derive(Debug, Default)]
struct Arrivals {
    by_source: HashMap<Source, Counted>,
    /// The keys of `by_source`, by their first arrival: windows are equally long, so the front
    /// always ends first.
    by_age: VecDeque<Source>,
}

impl Arrivals {
    /// Counts one more of `source`; false when it has come too often.
    fn count(&mut self, source: Source, now: Instant, settings: &ConnectionLimitsSettings) -> bool {
        self.forget_ended(now);
        if let Some(counted) = self.by_source.get_mut(&source) {
            counted.count = counted.count.saturating_add(1);
            return counted.count <= settings.arrivals_per_source_max;
        }
        while self.by_age.len() >= settings.sources_max.max(1) {
            if let Some(oldest) = self.by_age.pop_front() {
                self.by_source.remove(&oldest);
            }
        }
        self.by_age.push_back(source);
        self.by_source.insert(source, Counted { first: now, count: 1 });
        settings.arrivals_per_source_max > 0
    }

    fn forget_ended(&mut self, now: Instant) {
        while let Some(oldest) = self.by_age.front() {
            let lives = self
                .by_source
                .get(oldest)
                .is_some_and(|counted| now.duration_since(counted.first) < ARRIVALS_WINDOW);
            if lives {
                return;
            }
            if let Some(ended) = self.by_age.pop_front() {
                self.by_source.remove(&ended);
            }
        }
    }
}

/// Counts connections. One value may serve several listeners, which then share its bounds.
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
        let mut admission = self.admit_unnamed()?;
        admission.name(address)?;
        Ok(admission)
    }

    /// Counts a connection of which it is not known yet who makes it.
    pub fn admit_unnamed(self: &Arc<Self>) -> Result<Admission, ConnectionRefused> {
        let mut open = self.lock();
        if open.total >= self.settings.connections_max {
            return Err(ConnectionRefused::Total);
        }
        open.total += 1;
        Ok(Admission { limits: Arc::clone(self), source: None })
    }

    /// Returns how many connections are open.
    pub fn open(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, OpenConnections> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One counted connection.
#[derive(Debug)]
pub struct Admission {
    limits: Arc<ConnectionLimits>,
    source: Option<Source>,
}

impl Admission {
    /// Says who makes the connection, once.
    pub fn name(&mut self, address: IpAddr) -> Result<(), ConnectionRefused> {
        self.name_at(Instant::now(), address)
    }

    fn name_at(&mut self, now: Instant, address: IpAddr) -> Result<(), ConnectionRefused> {
        let (source, settings) = (Source::from(address), self.limits.settings);
        let mut open = self.limits.lock();
        if !open.arrivals.count(source, now, &settings) {
            return Err(ConnectionRefused::Rate);
        }
        let of_source = open.by_source.get(&source).copied().unwrap_or(0);
        if of_source >= settings.connections_per_source_max {
            return Err(ConnectionRefused::Source);
        }
        open.by_source.insert(source, of_source + 1);
        drop(open);
        self.source = Some(source);
        Ok(())
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut open = self.limits.lock();
        open.total = open.total.saturating_sub(1);
        let Some(source) = self.source else { return };
        match open.by_source.get_mut(&source) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                open.by_source.remove(&source);
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
            ..Default::default()
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
    fn a_source_that_comes_too_often_waits_for_the_end_of_its_minute() {
        let limits = ConnectionLimits::new(ConnectionLimitsSettings {
            arrivals_per_source_max: 2,
            ..Default::default()
        });
        let start = Instant::now();
        let comes = |seconds, host| {
            let at = start + Duration::from_secs(seconds);
            limits.admit_unnamed().unwrap().name_at(at, address(host))
        };
        assert_eq!(comes(0, "192.0.2.1"), Ok(()));
        assert_eq!(comes(30, "192.0.2.1"), Ok(()));
        assert_eq!(comes(59, "192.0.2.1"), Err(ConnectionRefused::Rate));
        assert_eq!(comes(59, "192.0.2.2"), Ok(()));
        assert_eq!(comes(60, "192.0.2.1"), Ok(()));
        assert_eq!(limits.open(), 0, "who was refused holds no place");
    }

    #[test]
    fn the_table_of_arrivals_never_grows_beyond_its_bound() {
        let settings = ConnectionLimitsSettings { sources_max: 10, ..Default::default() };
        let limits = ConnectionLimits::new(settings);
        for host in 0..=255_u8 {
            drop(limits.admit(IpAddr::from([192, 0, 2, host])).unwrap());
        }
        let open = limits.lock();
        assert_eq!((open.arrivals.by_source.len(), open.arrivals.by_age.len()), (10, 10));
    }

    #[test]
    fn a_connection_counts_in_all_before_it_is_known_whose_it_is() {
        let settings = ConnectionLimitsSettings { connections_max: 1, ..Default::default() };
        let limits = ConnectionLimits::new(settings);
        let unnamed = limits.admit_unnamed().unwrap();
        assert_eq!(limits.admit(address("192.0.2.1")).unwrap_err(), ConnectionRefused::Total);
        drop(unnamed);
        assert!(limits.admit(address("192.0.2.1")).is_ok());
    }
}
