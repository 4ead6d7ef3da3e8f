//! Who uses something that others wait for, and shares of it.
//!
//! Not here: connections, which are counted before anybody is known (`protocols::net::limits`).

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use protocols::smtp::transport::Peer;
use storage::ids::AccountId;
use tokio::sync::Semaphore;

/// A holder, or the network of a server.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Source {
    /// A holder.
    Account(AccountId),
    /// A network: the first 24 bits of an IPv4 address, the first 48 of another.
    Network([u8; 6]),
}

impl Source {
    /// Who is behind `peer`.
    #[must_use]
    pub fn of(peer: &Peer) -> Self {
        match &peer.identity {
            Some(identity) => Self::Account(identity.account_id),
            None => Self::at(peer.address),
        }
    }

    /// The network of `address`.
    #[must_use]
    pub fn at(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let [first, second, third, _] = address.octets();
                // No IPv6 address that can be reached begins like this.
                Self::Network([0xff, 0xff, first, second, third, 0])
            }
            IpAddr::V6(address) => {
                let [first, second, third, fourth, fifth, sixth, ..] = address.octets();
                Self::Network([first, second, third, fourth, fifth, sixth])
            }
        }
    }
}

/// Names remembered before those that hold nothing are looked for.
const NAMES_KEPT: usize = 1024;

/// A semaphore for each name that holds or waits for something.
#[derive(Debug)]
pub struct Shares<K> {
    known: Mutex<HashMap<K, Weak<Semaphore>>>,
}

impl<K> Default for Shares<K> {
    fn default() -> Self {
        Self { known: Mutex::default() }
    }
}

impl<K: Eq + Hash> Shares<K> {
    /// The share of `name`: `permits` in all.
    pub fn of(&self, name: K, permits: usize) -> Arc<Semaphore> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = known.get(&name).and_then(Weak::upgrade) {
            return share;
        }
        if known.len() >= NAMES_KEPT {
            known.retain(|_, share| share.strong_count() > 0);
        }
        let share = Arc::new(Semaphore::new(permits));
        known.insert(name, Arc::downgrade(&share));
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_hold_nothing_are_forgotten_and_the_others_keep_their_share() {
        let shares = Shares::default();
        let held = Arc::clone(&shares.of(0, 1)).try_acquire_owned().expect("a permit");
        for name in 1..5_000 {
            let _ = shares.of(name, 1);
        }
        assert!(shares.known.lock().expect("names").len() <= NAMES_KEPT);
        assert!(shares.of(0, 1).try_acquire_owned().is_err(), "it is held");
        drop(held);
        drop(shares.of(0, 1).try_acquire_owned().expect("given back"));
    }

    #[test]
    fn addresses_of_one_network_are_one_source() {
        let at = |address: &str| Source::at(address.parse().expect("an address"));
        assert_eq!(at("192.0.2.1"), at("::ffff:192.0.2.200"));
        assert_ne!(at("192.0.2.1"), at("192.0.3.1"));
        assert_eq!(at("2001:db8:1:2::3"), at("2001:db8:1:ffff::1"));
        assert_ne!(at("2001:db8:1::"), at("2001:db8:2::"));
    }
}
