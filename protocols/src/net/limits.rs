//! How many connections are open, and how many came lately: in all, by door, by source, by network.
//!
//! One source cannot hold every connection, a network of sources cannot either, and one door
//! (a listening port) leaves room for the others, whoever comes through it.
//!
//! Invariants:
//!
//! * Memory is bounded: the tables of open connections never have more entries than connections,
//!   those of arrivals never more than [`ConnectionLimitsSettings::sources_max`] each.
//! * A source is an IPv4 address or an IPv6 network of 64 bits: whoever has one IPv6 address has
//!   2^64 of them (RFC 4291 §2.5.1).
//! * A network is an IPv4 network of 24 bits or an IPv6 network of 48 bits, which is what one site is
//!   given (RFC 6177 §2: a /48 or less).
//! * Who is refused holds no place, and a source that its network's rate keeps out takes no entry of
//!   the sources.
//!
//! Not here: failed logins, which need the registry, and limits inside one session.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
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

/// The network that a source is part of.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Network(IpAddr);

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & !0xff)),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 80 << 80)),
        })
    }
}

/// Bounds on connections. Open ones count from TCP accept to close, TLS handshake included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ConnectionLimitsSettings {
    /// Connections in all.
    pub connections_max: usize,
    /// Connections of one [`Door`].
    pub connections_per_door_max: usize,
    /// Connections of one [`Source`].
    pub connections_per_source_max: usize,
    /// Connections of one [`Network`].
    pub connections_per_network_max: usize,
    /// Connections that one source may begin within a minute, counted from the first of them.
    pub arrivals_per_source_max: u32,
    /// The same of one network.
    pub arrivals_per_network_max: u32,
    /// Sources, and networks, whose arrivals are remembered. When full, the one that is counted
    /// longest is forgotten.
    pub sources_max: usize,
}

impl Default for ConnectionLimitsSettings {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            connections_per_door_max: 5_000,
            connections_per_source_max: 100,
            connections_per_network_max: 1_000,
            arrivals_per_source_max: 3_000,
            arrivals_per_network_max: 12_000,
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
    /// [`ConnectionLimitsSettings::connections_per_door_max`].
    #[error("this port holds all the connections that one port may have")]
    Door,
    /// [`ConnectionLimitsSettings::connections_per_source_max`].
    #[error("this source holds all the connections that one source may have")]
    Source,
    /// [`ConnectionLimitsSettings::connections_per_network_max`].
    #[error("the network of this source holds all the connections that one network may have")]
    Network,
    /// [`ConnectionLimitsSettings::arrivals_per_source_max`].
    #[error("this source has begun as many connections in a minute as one source may")]
    Rate,
    /// [`ConnectionLimitsSettings::arrivals_per_network_max`].
    #[error("the network of this source has begun as many connections in a minute as it may")]
    NetworkRate,
}

impl ConnectionRefused {
    /// The name used in logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Door => "door",
            Self::Source => "source",
            Self::Network => "network",
            Self::Rate => "rate",
            Self::NetworkRate => "network_rate",
        }
    }
}

/// How many connections of each kind are open.
#[derive(Debug)]
pub(crate) struct Counts<K>(HashMap<K, usize>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Counts<K> {
    pub(crate) fn of(&self, key: &K) -> usize {
        self.0.get(key).copied().unwrap_or(0)
    }

    pub(crate) fn add(&mut self, key: K) {
        *self.0.entry(key).or_default() += 1;
    }

    pub(crate) fn take(&mut self, key: &K) {
        match self.0.get_mut(key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                self.0.remove(key);
            }
        }
    }
}

#[derive(Debug, Default)]
struct OpenConnections {
    total: usize,
    by_door: Counts<usize>,
    by_source: Counts<Source>,
    by_network: Counts<Network>,
    arrivals: Arrivals<Source>,
    network_arrivals: Arrivals<Network>,
    doors: usize,
}

/// How long the arrivals of a source are counted, from the first.
const ARRIVALS_WINDOW: Duration = Duration::from_mins(1);

#[derive(Debug)]
struct Counted {
    first: Instant,
    count: u32,
}

#[derive(Debug)]
struct Arrivals<K> {
    counted: HashMap<K, Counted>,
    /// The keys of `counted`, by their first arrival: windows are equally long, so the front
    /// always ends first.
    by_age: VecDeque<K>,
}

impl<K> Default for Arrivals<K> {
    fn default() -> Self {
        Self { counted: HashMap::new(), by_age: VecDeque::new() }
    }
}

impl<K: Copy + Eq + Hash> Arrivals<K> {
    /// Counts one more of `key`; false when there were more than `max`. At most `keys_max` are
    /// remembered.
    fn count(&mut self, key: K, now: Instant, max: u32, keys_max: usize) -> bool {
        self.forget_ended(now);
        if let Some(counted) = self.counted.get_mut(&key) {
            counted.count = counted.count.saturating_add(1);
            return counted.count <= max;
        }
        while self.by_age.len() >= keys_max.max(1) {
            if let Some(oldest) = self.by_age.pop_front() {
                self.counted.remove(&oldest);
            }
        }
        self.by_age.push_back(key);
        self.counted.insert(key, Counted { first: now, count: 1 });
        max > 0
    }

    /// Whether one more of `key` would be more than `max`.
    fn is_full(&mut self, key: K, now: Instant, max: u32) -> bool {
        self.forget_ended(now);
        self.counted.get(&key).is_some_and(|counted| counted.count >= max)
    }

    fn forget_ended(&mut self, now: Instant) {
        while let Some(oldest) = self.by_age.front() {
            let lives = self
                .counted
                .get(oldest)
                .is_some_and(|counted| now.duration_since(counted.first) < ARRIVALS_WINDOW);
            if lives {
                return;
            }
            if let Some(ended) = self.by_age.pop_front() {
                self.counted.remove(&ended);
            }
        }
    }
}

/// Counts connections. One value serves several doors, which then share its bounds.
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

    /// Opens one more door, with a share of its own.
    #[must_use]
    pub fn door(self: &Arc<Self>) -> Door {
        let mut open = self.lock();
        open.doors += 1;
        Door { limits: Arc::clone(self), number: open.doors }
    }

    /// Returns how many connections are open.
    pub fn open(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, OpenConnections> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A port through which connections come.
#[derive(Debug)]
pub struct Door {
    limits: Arc<ConnectionLimits>,
    number: usize,
}

impl Door {
    /// Counts one more connection until the returned value is dropped.
    pub fn admit(&self, address: IpAddr) -> Result<Admission, ConnectionRefused> {
        let mut admission = self.admit_unnamed()?;
        admission.name(address)?;
        Ok(admission)
    }

    /// Counts a connection of which it is not known yet who makes it.
    pub fn admit_unnamed(&self) -> Result<Admission, ConnectionRefused> {
        let settings = self.limits.settings;
        let mut open = self.limits.lock();
        if open.total >= settings.connections_max {
            return Err(ConnectionRefused::Total);
        }
        if open.by_door.of(&self.number) >= settings.connections_per_door_max {
            return Err(ConnectionRefused::Door);
        }
        open.total += 1;
        open.by_door.add(self.number);
        Ok(Admission { limits: Arc::clone(&self.limits), door: self.number, named: None })
    }
}

/// One counted connection.
#[derive(Debug)]
pub struct Admission {
    limits: Arc<ConnectionLimits>,
    door: usize,
    named: Option<(Source, Network)>,
}

impl Admission {
    /// Says who makes the connection, once.
    pub fn name(&mut self, address: IpAddr) -> Result<(), ConnectionRefused> {
        self.name_at(Instant::now(), address)
    }

    fn name_at(&mut self, now: Instant, address: IpAddr) -> Result<(), ConnectionRefused> {
        let (source, network) = (Source::from(address), Network::from(address));
        let settings = self.limits.settings;
        let mut guard = self.limits.lock();
        let open = &mut *guard;
        let (of_network, of_source) =
            (settings.arrivals_per_network_max, settings.arrivals_per_source_max);
        if open.network_arrivals.is_full(network, now, of_network) {
            return Err(ConnectionRefused::NetworkRate);
        }
        if !open.arrivals.count(source, now, of_source, settings.sources_max) {
            return Err(ConnectionRefused::Rate);
        }
        // What its own limit refuses is not the network's: one source cannot close it.
        open.network_arrivals.count(network, now, of_network, settings.sources_max);
        if open.by_source.of(&source) >= settings.connections_per_source_max {
            return Err(ConnectionRefused::Source);
        }
        if open.by_network.of(&network) >= settings.connections_per_network_max {
            return Err(ConnectionRefused::Network);
        }
        open.by_source.add(source);
        open.by_network.add(network);
        drop(guard);
        self.named = Some((source, network));
        Ok(())
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut open = self.limits.lock();
        open.total = open.total.saturating_sub(1);
        open.by_door.take(&self.door);
        if let Some((source, network)) = self.named {
            open.by_source.take(&source);
            open.by_network.take(&network);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn address_of(number: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, number])
    }

    #[test]
    fn a_source_gets_no_more_than_its_share_and_gets_it_back() {
        let limits = ConnectionLimits::new(ConnectionLimitsSettings {
            connections_max: 3,
            connections_per_source_max: 2,
            ..Default::default()
        });
        let door = limits.door();
        let first = door.admit(address("192.0.2.1")).unwrap();
        let _second = door.admit(address("::ffff:192.0.2.1")).unwrap();
        assert_eq!(door.admit(address("192.0.2.1")).unwrap_err(), ConnectionRefused::Source);
        let _third = door.admit(address("192.0.2.2")).unwrap();
        assert_eq!(door.admit(address("192.0.2.3")).unwrap_err(), ConnectionRefused::Total);
        drop(first);
        assert_eq!(limits.open(), 2);
        let _again = door.admit(address("192.0.2.1")).unwrap();
    }

    #[test]
    fn closed_connections_leave_nothing_in_the_table() {
        let limits = ConnectionLimits::new(ConnectionLimitsSettings::default());
        let door = limits.door();
        for host in 0..=255 {
            drop(door.admit(address_of(host)).unwrap());
        }
        let open = limits.lock();
        assert!(open.by_source.0.is_empty() && open.by_network.0.is_empty());
        assert!(open.by_door.0.is_empty());
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
        let (door, start) = (limits.door(), Instant::now());
        let comes = |seconds, host| {
            let at = start + Duration::from_secs(seconds);
            door.admit_unnamed().unwrap().name_at(at, address(host))
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
        let door = limits.door();
        for host in 0..=255 {
            drop(door.admit(address_of(host)).unwrap());
            drop(door.admit(IpAddr::from([192, 0, host, 1])).unwrap());
        }
        let open = limits.lock();
        assert_eq!((open.arrivals.counted.len(), open.arrivals.by_age.len()), (10, 10));
        let networks = &open.network_arrivals;
        assert_eq!((networks.counted.len(), networks.by_age.len()), (10, 10));
    }

    #[test]
    fn a_connection_counts_in_all_before_it_is_known_whose_it_is() {
        let settings = ConnectionLimitsSettings { connections_max: 1, ..Default::default() };
        let door = ConnectionLimits::new(settings).door();
        let unnamed = door.admit_unnamed().unwrap();
        assert_eq!(door.admit(address("192.0.2.1")).unwrap_err(), ConnectionRefused::Total);
        drop(unnamed);
        assert!(door.admit(address("192.0.2.1")).is_ok());
    }

    #[test]
    fn a_network_of_many_sources_does_not_get_every_connection() {
        let limits = ConnectionLimits::new(ConnectionLimitsSettings {
            connections_per_source_max: 4,
            connections_per_network_max: 10,
            ..Default::default()
        });
        let door = limits.door();
        let crowd = |of: &dyn Fn(u8) -> IpAddr| -> Vec<Admission> {
            (0..=255).filter_map(|host| door.admit(of(host)).ok()).collect()
        };
        let mut held = crowd(&address_of);
        assert_eq!(held.len(), 10);
        assert_eq!(door.admit(address_of(9)).unwrap_err(), ConnectionRefused::Network);
        assert!(door.admit(address("192.0.3.1")).is_ok(), "another network");
        held.pop();
        assert!(door.admit(address_of(9)).is_ok());

        let site = crowd(&|host| IpAddr::from([0x2001, 0xdb8, 7, u16::from(host), 0, 0, 0, 1]));
        assert_eq!(site.len(), 10, "the networks of one /48");
        let refused = door.admit(address("2001:db8:7:ffff::1")).unwrap_err();
        assert_eq!(refused, ConnectionRefused::Network);
        assert!(door.admit(address("2001:db8:8::1")).is_ok());
    }

    #[test]
    fn one_door_leaves_room_for_the_others() {
        let limits = ConnectionLimits::new(ConnectionLimitsSettings {
            connections_max: 6,
            connections_per_door_max: 3,
            ..Default::default()
        });
        let (relay, imap) = (limits.door(), limits.door());
        let crowd: Vec<_> =
            (0..3).map(|host| relay.admit(IpAddr::from([192, 0, host, 1])).unwrap()).collect();
        assert_eq!(relay.admit(address("198.51.100.1")).unwrap_err(), ConnectionRefused::Door);
        assert_eq!(relay.admit_unnamed().unwrap_err(), ConnectionRefused::Door);
        let _holders: Vec<_> = (0..3).map(|_| imap.admit(address_of(1)).unwrap()).collect();
        assert_eq!(imap.admit(address_of(1)).unwrap_err(), ConnectionRefused::Total);
        drop(crowd);
        assert!(relay.admit(address("198.51.100.1")).is_ok());
    }

    #[test]
    fn one_source_that_comes_too_often_closes_its_network_for_nobody() {
        let limits = ConnectionLimits::new(ConnectionLimitsSettings {
            arrivals_per_source_max: 2,
            arrivals_per_network_max: 4,
            ..Default::default()
        });
        let (door, now) = (limits.door(), Instant::now());
        let comes = |host| door.admit_unnamed().unwrap().name_at(now, address(host));
        for _ in 0..2 {
            assert_eq!(comes("192.0.2.1"), Ok(()));
        }
        for _ in 0..20 {
            assert_eq!(comes("192.0.2.1"), Err(ConnectionRefused::Rate));
        }
        assert_eq!(comes("192.0.2.2"), Ok(()), "its neighbour");
    }

    #[test]
    fn a_network_that_comes_too_often_waits_whichever_of_its_sources_comes() {
        let limits = ConnectionLimits::new(ConnectionLimitsSettings {
            arrivals_per_network_max: 3,
            ..Default::default()
        });
        let (door, start) = (limits.door(), Instant::now());
        let comes = |seconds, host| {
            let at = start + Duration::from_secs(seconds);
            door.admit_unnamed().unwrap().name_at(at, address(host))
        };
        for host in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
            assert_eq!(comes(0, host), Ok(()));
        }
        assert_eq!(comes(59, "192.0.2.4"), Err(ConnectionRefused::NetworkRate));
        assert_eq!(limits.lock().arrivals.counted.len(), 3, "a table that it cannot flush");
        assert_eq!(comes(59, "192.0.3.4"), Ok(()));
        assert_eq!(comes(60, "192.0.2.4"), Ok(()));
    }
}
