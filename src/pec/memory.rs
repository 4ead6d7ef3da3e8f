//! Octets of messages in memory: two shares of one budget.
//!
//! * Half is for work: receipts, envelopes, reports. No peer can take it.
//! * Half is for what has come in and is being judged and stored. One source may have an eighth of
//!   that, or one message of any size: the rest of the world gets past it.
//! * Whoever holds some never waits for more, so that nobody waits for ever. A message larger than
//!   its share gets the whole share: it must pass, alone.
//! * A message that is still on its way holds none of this, however slowly it comes ([`arriving`]).
//!
//! [`arriving`]: super::arriving

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use protocols::smtp::transport::Peer;
use storage::ids::AccountId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Octets that one permit stands for.
const PERMIT_OCTETS: u64 = 4096;

/// Copies of a message that exist at the same time while it is taken, wrapped and signed.
const COPIES: u64 = 3;

/// The share of what has come in that one source may have: one in so many.
const SOURCES: u32 = 8;

/// Sources remembered before those that hold nothing are looked for.
const SOURCES_KEPT: usize = 1024;

/// Who a message comes from, as far as memory is concerned.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum MemorySource {
    /// A holder.
    Account(AccountId),
    /// The network of a server: the first 24 bits of an IPv4 address, the first 48 of another.
    Network([u8; 6]),
}

impl MemorySource {
    /// Who is behind `peer`.
    #[must_use]
    pub fn of(peer: &Peer) -> Self {
        if let Some(identity) = &peer.identity {
            return Self::Account(identity.account_id);
        }
        match peer.address.to_canonical() {
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

/// The budget. See the module's documentation.
#[derive(Debug)]
pub struct MessageMemory {
    work: Arc<Semaphore>,
    incoming: Arc<Semaphore>,
    /// Small messages that are still on their way; what finds no room there waits in a file.
    arriving: Arc<Semaphore>,
    share: u32,
    sources: Mutex<HashMap<MemorySource, Weak<Semaphore>>>,
    waiting: AtomicU64,
}

/// Memory for a message that has come in; dropping it gives it back.
#[derive(Debug)]
pub struct Incoming {
    all: OwnedSemaphorePermit,
    _of_source: OwnedSemaphorePermit,
}

impl Incoming {
    /// Gives back what is beyond the octets themselves: no copy is made of them any more.
    pub fn keep_one_copy(&mut self) {
        let all = self.all.num_permits();
        let beyond = all - all.div_ceil(usize::try_from(COPIES).unwrap_or(1));
        drop(self.all.split(beyond));
    }
}

/// Counts permits that are waited for, for as long as they are.
struct Waiting<'a>(&'a AtomicU64, u64);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicU64, permits: u32) -> Self {
        count.fetch_add(permits.into(), Ordering::Relaxed);
        Self(count, permits.into())
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

impl MessageMemory {
    /// A budget of `octets`.
    #[must_use]
    pub fn new(octets: usize) -> Self {
        let half = (octets as u64 / 2 / PERMIT_OCTETS).clamp(1, Semaphore::MAX_PERMITS as u64 / 2);
        let share = u32::try_from(half).unwrap_or(u32::MAX);
        let semaphore = |permits: u32| Arc::new(Semaphore::new(permits as usize));
        Self {
            work: semaphore(share),
            incoming: semaphore(share),
            arriving: semaphore(share / 4),
            share,
            sources: Mutex::default(),
            waiting: AtomicU64::new(0),
        }
    }

    fn permits(&self, octets: u64) -> u32 {
        let wanted = octets.saturating_mul(COPIES).div_ceil(PERMIT_OCTETS);
        u32::try_from(wanted).unwrap_or(u32::MAX).min(self.share)
    }

    /// Memory for work on `octets`, waiting until there is some; `None` when the engine stops.
    pub async fn work(&self, octets: u64) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.work).acquire_many_owned(self.permits(octets)).await.ok()
    }

    /// Memory for a message of `octets` that has come from `source`, waiting for `time_max` at most.
    pub async fn incoming(
        &self,
        source: MemorySource,
        octets: u64,
        time_max: Duration,
    ) -> Option<Incoming> {
        let permits = self.permits(octets);
        let _waiting = Waiting::new(&self.waiting, permits);
        let of_source = self.source(source);
        let acquired = tokio::time::timeout(time_max, async {
            // The source's own first: who waits for that holds up nobody else.
            let of_source =
                of_source.acquire_many_owned(permits.min(self.of_source())).await.ok()?;
            let all = Arc::clone(&self.incoming).acquire_many_owned(permits).await.ok()?;
            Some(Incoming { all, _of_source: of_source })
        });
        acquired.await.ok().flatten()
    }

    /// Makes `held` memory for `octets` of a small message on its way, if there is that much now.
    #[must_use]
    pub fn arriving(&self, held: &mut Option<OwnedSemaphorePermit>, octets: u64) -> bool {
        let has = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let wanted = usize::try_from(octets.div_ceil(PERMIT_OCTETS)).unwrap_or(usize::MAX);
        let missing = u32::try_from(wanted.saturating_sub(has)).unwrap_or(u32::MAX);
        if missing == 0 {
            return true;
        }
        let Ok(more) = Arc::clone(&self.arriving).try_acquire_many_owned(missing) else {
            return false;
        };
        match held {
            Some(held) => held.merge(more),
            None => *held = Some(more),
        }
        true
    }

    /// Whether messages that have come wait for more memory than there is for them in all: a
    /// further one had better come later.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > self.share.into()
    }

    fn of_source(&self) -> u32 {
        (self.share / SOURCES).max(1)
    }

    fn source(&self, source: MemorySource) -> Arc<Semaphore> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = sources.get(&source).and_then(Weak::upgrade) {
            return known;
        }
        if sources.len() >= SOURCES_KEPT {
            sources.retain(|_, known| known.strong_count() > 0);
        }
        let new = Arc::new(Semaphore::new(self.of_source() as usize));
        sources.insert(source, Arc::downgrade(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    fn network(third: u8) -> MemorySource {
        MemorySource::Network([0xff, 0xff, 192, 0, third, 0])
    }

    #[tokio::test]
    async fn what_one_source_has_sent_leaves_room_for_the_others_and_for_work() {
        let memory = MessageMemory::new(16 << 20);
        let first = memory.incoming(network(1), 200_000, SOON).await.expect("room");
        assert!(memory.incoming(network(1), 200_000, SOON).await.is_none(), "his share is used up");
        let other = memory.incoming(network(2), 200_000, SOON).await.expect("another's is not");
        let work =
            tokio::time::timeout(SOON, memory.work(4 << 20)).await.expect("nor that of work");
        drop((first, other, work));
        memory.incoming(network(1), 200_000, SOON).await.expect("given back");
    }

    #[tokio::test]
    async fn a_message_larger_than_every_share_passes_alone() {
        let memory = MessageMemory::new(1 << 20);
        let large = memory.incoming(network(1), 1 << 30, SOON).await.expect("alone");
        assert!(memory.incoming(network(2), 1, SOON).await.is_none());
        drop(large);
        memory.incoming(network(2), 1, SOON).await.expect("room again");
    }

    #[tokio::test]
    async fn what_only_waits_to_be_stored_holds_one_copy() {
        let memory = MessageMemory::new(6 << 20);
        let mut judged = memory.incoming(network(1), 1 << 20, SOON).await.expect("room");
        assert!(memory.incoming(network(2), 1 << 19, SOON).await.is_none());
        judged.keep_one_copy();
        memory.incoming(network(2), 1 << 19, SOON).await.expect("room for another");
    }

    #[tokio::test]
    async fn a_crowd_is_one_while_it_waits() {
        let memory = MessageMemory::new(1 << 20);
        let held = memory.incoming(network(1), 1 << 20, SOON).await.expect("room");
        let wait = async |third| memory.incoming(network(third), 1 << 19, SOON).await.is_none();
        let looked = async {
            tokio::task::yield_now().await;
            memory.is_crowded()
        };
        let (_, _, crowded) = tokio::join!(wait(2), wait(3), looked);
        assert!(crowded);
        assert!(!memory.is_crowded(), "nobody waits any more");
        drop(held);
    }

    #[test]
    fn sources_that_hold_nothing_are_forgotten() {
        let memory = MessageMemory::new(1 << 20);
        for number in 0..5_000_u64 {
            let _ = memory.source(MemorySource::Account(AccountId(number)));
        }
        assert!(memory.sources.lock().expect("sources").len() <= SOURCES_KEPT);
    }

    #[test]
    fn addresses_of_one_network_are_one_source() {
        let of = |address: &str| {
            MemorySource::of(&Peer {
                service: protocols::smtp::transport::Service::Relay,
                address: address.parse().expect("an address"),
                helo: String::new(),
                extended: true,
                tls: None,
                identity: None,
            })
        };
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.200"));
        assert_ne!(of("192.0.2.1"), of("192.0.3.1"));
        assert_eq!(of("2001:db8:1:2::3"), of("2001:db8:1:ffff::1"));
        assert_ne!(of("2001:db8:1::"), of("2001:db8:2::"));
    }
}
