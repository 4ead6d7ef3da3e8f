//! Octets of messages in memory: shares of one budget.
//!
//! * Half is for work: receipts, envelopes, reports. No peer can take it.
//! * Half is for what has come in and is being judged and stored, in three pools that do not wait for
//!   each other ([`Pool`]): small messages, large ones of holders, large ones of other servers. One
//!   source may have an eighth of a pool, or one message of any size.
//! * Whoever holds some never waits for more, so that nobody waits for ever. A message larger than
//!   its pool gets the whole pool: it must pass, alone.
//! * A message that is still on its way holds none of this, however slowly it comes ([`arriving`]):
//!   small ones have a quarter of a half beside it.
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

/// The share of a pool that one source may have: one in so many.
const SOURCES: u32 = 8;

/// Octets of a small message.
pub(super) const SMALL_OCTETS_MAX: u64 = 128 * 1024;

/// Sources remembered before those that hold nothing are looked for.
const SOURCES_KEPT: usize = 1024;

/// Which messages wait for each other.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Pool {
    /// Up to [`SMALL_OCTETS_MAX`], from anybody: a quarter.
    Small,
    /// From holders: a quarter.
    OfHolders,
    /// From other servers, whose DNS is waited for: half.
    OfServers,
}

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
    small: Shared,
    of_holders: Shared,
    of_servers: Shared,
    /// Small messages that are still on their way; what finds no room there waits in a file.
    arriving: Arc<Semaphore>,
    share: u32,
    sources: Mutex<HashMap<(MemorySource, Pool), Weak<Semaphore>>>,
}

/// What a pool has, and how much of it is waited for.
#[derive(Debug)]
struct Shared {
    memory: Arc<Semaphore>,
    permits: u32,
    waiting: AtomicU64,
}

impl Shared {
    fn new(permits: u32) -> Self {
        let memory = Arc::new(Semaphore::new(permits as usize));
        Self { memory, permits, waiting: AtomicU64::new(0) }
    }
}

/// Memory for a message that has come in; dropping it gives it back.
#[derive(Debug)]
pub struct Incoming {
    all: OwnedSemaphorePermit,
    _of_source: OwnedSemaphorePermit,
    octets: u64,
}

impl Incoming {
    /// Gives back what is beyond the octets themselves: no copy is made of them any more.
    pub fn keep_one_copy(&mut self) {
        let one = usize::try_from(self.octets.div_ceil(PERMIT_OCTETS)).unwrap_or(usize::MAX);
        drop(self.all.split(self.all.num_permits().saturating_sub(one)));
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
        let quarter = (share / 4).max(1);
        Self {
            work: semaphore(share),
            small: Shared::new(quarter),
            of_holders: Shared::new(quarter),
            of_servers: Shared::new(quarter * 2),
            arriving: semaphore(quarter),
            share,
            sources: Mutex::default(),
        }
    }

    /// Permits for `octets` and its copies, `most` at most.
    fn permits(octets: u64, most: u32) -> u32 {
        let wanted = octets.saturating_mul(COPIES).div_ceil(PERMIT_OCTETS);
        u32::try_from(wanted).unwrap_or(u32::MAX).min(most)
    }

    /// Memory for work on `octets`, waiting until there is some; `None` when the engine stops.
    pub async fn work(&self, octets: u64) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.work).acquire_many_owned(Self::permits(octets, self.share)).await.ok()
    }

    /// Memory for a message of `octets` that has come from `source`, waiting for `time_max` at most.
    pub async fn incoming(
        &self,
        source: MemorySource,
        octets: u64,
        time_max: Duration,
    ) -> Option<Incoming> {
        let (pool, shared) = self.pool(source, octets);
        let permits = Self::permits(octets, shared.permits);
        let of_source = (shared.permits / SOURCES).max(1);
        let known = self.source(source, pool, of_source);
        let acquired = tokio::time::timeout(time_max, async {
            // The source's own first: who waits for that holds up nobody else, and is no crowd.
            let of_source = known.acquire_many_owned(permits.min(of_source)).await.ok()?;
            let _waiting = Waiting::new(&shared.waiting, permits);
            let all = Arc::clone(&shared.memory).acquire_many_owned(permits).await.ok()?;
            Some(Incoming { all, _of_source: of_source, octets })
        });
        acquired.await.ok().flatten()
    }

    fn pool(&self, source: MemorySource, octets: u64) -> (Pool, &Shared) {
        match source {
            _ if octets <= SMALL_OCTETS_MAX => (Pool::Small, &self.small),
            MemorySource::Account(_) => (Pool::OfHolders, &self.of_holders),
            MemorySource::Network(_) => (Pool::OfServers, &self.of_servers),
        }
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

    /// Whether messages like one of `octets` from `source` wait for more memory than there is for
    /// them in all: a further one had better come later.
    #[must_use]
    pub fn is_crowded(&self, source: MemorySource, octets: u64) -> bool {
        let (_, shared) = self.pool(source, octets);
        shared.waiting.load(Ordering::Relaxed) > shared.permits.into()
    }

    fn source(&self, source: MemorySource, pool: Pool, permits: u32) -> Arc<Semaphore> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = sources.get(&(source, pool)).and_then(Weak::upgrade) {
            return known;
        }
        if sources.len() >= SOURCES_KEPT {
            sources.retain(|_, known| known.strong_count() > 0);
        }
        let new = Arc::new(Semaphore::new(permits as usize));
        sources.insert((source, pool), Arc::downgrade(&new));
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
        let memory = MessageMemory::new(64 << 20);
        let first = memory.incoming(network(1), 600_000, SOON).await.expect("room");
        assert!(memory.incoming(network(1), 600_000, SOON).await.is_none(), "his share is used up");
        let other = memory.incoming(network(2), 600_000, SOON).await.expect("another's is not");
        let work =
            tokio::time::timeout(SOON, memory.work(4 << 20)).await.expect("nor that of work");
        drop((first, other, work));
        memory.incoming(network(1), 600_000, SOON).await.expect("given back");
    }

    #[tokio::test]
    async fn a_message_larger_than_its_pool_passes_alone() {
        let memory = MessageMemory::new(1 << 20);
        let large = memory.incoming(network(1), 1 << 30, SOON).await.expect("alone");
        assert!(memory.incoming(network(2), 1 << 20, SOON).await.is_none());
        drop(large);
        memory.incoming(network(2), 1 << 20, SOON).await.expect("room again");
    }

    /// A semaphore gives to the first who waits: who waits for much would keep all others waiting.
    #[tokio::test]
    async fn neither_small_messages_nor_those_of_holders_wait_for_large_ones_of_other_servers() {
        let memory = MessageMemory::new(64 << 20);
        let held = memory.incoming(network(1), 1 << 30, SOON).await.expect("room");
        let wait = memory.incoming(network(2), 1 << 30, SOON * 4);
        let others = async {
            tokio::task::yield_now().await;
            let holder = MemorySource::Account(AccountId(1));
            memory.incoming(network(3), 2_000, SOON).await.expect("a small one");
            memory.incoming(holder, 1 << 20, SOON).await.expect("one of a holder");
        };
        let (waited, ()) = tokio::join!(wait, others);
        assert!(waited.is_none());
        drop(held);
    }

    #[tokio::test]
    async fn what_only_waits_to_be_stored_holds_one_copy() {
        let memory = MessageMemory::new(12 << 20);
        let mut judged = memory.incoming(network(1), 1 << 20, SOON).await.expect("room");
        assert!(memory.incoming(network(2), 1 << 19, SOON).await.is_none());
        judged.keep_one_copy();
        memory.incoming(network(2), 1 << 19, SOON).await.expect("room for another");
    }

    #[tokio::test]
    async fn a_message_that_did_not_find_room_for_its_copies_keeps_all_of_itself() {
        let memory = MessageMemory::new(12 << 20);
        let mut large = memory.incoming(network(1), 3 << 20, SOON).await.expect("alone");
        large.keep_one_copy();
        assert!(memory.incoming(network(2), 1 << 20, SOON).await.is_none(), "it fills its pool");
    }

    #[tokio::test]
    async fn a_crowd_is_one_while_it_waits_and_never_of_one_source() {
        let memory = MessageMemory::new(1 << 20);
        let held = memory.incoming(network(1), 1 << 20, SOON).await.expect("room");
        let wait = async |third| memory.incoming(network(third), 1 << 19, SOON).await.is_none();
        let crowded = async || {
            tokio::task::yield_now().await;
            memory.is_crowded(network(9), 1 << 20)
        };
        let (.., of_one) = tokio::join!(wait(1), wait(1), wait(1), wait(1), crowded());
        assert!(!of_one, "they wait for their own");
        let (.., crowded) = tokio::join!(wait(2), wait(3), wait(4), crowded());
        assert!(crowded);
        assert!(!memory.is_crowded(network(9), 1 << 20), "nobody waits any more");
        drop(held);
    }

    #[test]
    fn sources_that_hold_nothing_are_forgotten() {
        let memory = MessageMemory::new(1 << 20);
        for number in 0..5_000_u64 {
            let _ = memory.source(MemorySource::Account(AccountId(number)), Pool::Small, 1);
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
