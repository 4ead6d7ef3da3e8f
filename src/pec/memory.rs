//! Octets of messages in memory: shares of one budget.
//!
//! * Half is for work: receipts, envelopes, reports. No peer can take it.
//! * Half is for what has come in and is being judged and stored, in pools that do not wait for each
//!   other ([`Pool`]): small messages, large ones of holders, large ones of other servers. One
//!   source may have an eighth of a pool, or one message of any size.
//! * While other servers are asked about a message it lies in a pool of its own, for which nobody
//!   waits ([`Incoming::set_aside`]): whose DNS is slow takes nothing from certified mail.
//! * Whoever holds some never waits for more, so that nobody waits for ever. A message larger than
//!   its pool gets the whole pool: it must pass, alone.
//! * A message that is still on its way holds none of this, however slowly it comes ([`arriving`]):
//!   small ones have a quarter of a half beside it.
//!
//! [`arriving`]: super::arriving

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::sources::{Shares, Source};

/// Octets that one permit stands for.
const PERMIT_OCTETS: u64 = 4096;

/// Copies of a message that exist at the same time while it is taken, wrapped and signed.
const COPIES: u64 = 3;

/// The share of a pool that one source may have: one in so many.
const SOURCES: u32 = 8;

/// Octets of a small message.
pub(super) const SMALL_OCTETS_MAX: u64 = 128 * 1024;

/// Which messages wait for each other. Each pool has a quarter of what is for incoming messages.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Pool {
    /// Up to [`SMALL_OCTETS_MAX`], from anybody.
    Small,
    /// From holders.
    OfHolders,
    /// From other servers.
    OfServers,
    /// Large ones about which other servers are asked; one of them has half at most.
    Aside,
    /// Small ones about which other servers are asked.
    SmallAside,
}

/// The budget. See the module's documentation.
#[derive(Debug)]
pub struct MessageMemory {
    work: Arc<Semaphore>,
    small: Shared,
    of_holders: Shared,
    of_servers: Shared,
    aside: Shared,
    small_aside: Shared,
    /// Small messages that are still on their way; what finds no room there waits in a file.
    arriving: Arc<Semaphore>,
    share: u32,
    sources: Shares<(Source, Pool)>,
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

    fn of_source(&self) -> u32 {
        (self.permits / SOURCES).max(1)
    }
}

/// Memory for a message that has come in; dropping it gives it back.
#[derive(Debug)]
pub struct Incoming {
    /// Of its source's share, and of the pool.
    _held: [OwnedSemaphorePermit; 2],
    source: Source,
    octets: u64,
}

impl Incoming {
    /// Changes it for memory for the octets alone, of which no copy is made any more; `None` when
    /// there is none now. Nobody waits here, who would keep others waiting meanwhile.
    #[must_use]
    pub fn set_aside(self, memory: &MessageMemory) -> Option<Self> {
        let Self { source, octets, .. } = self;
        let (pool, shared) = if octets <= SMALL_OCTETS_MAX {
            (Pool::SmallAside, &memory.small_aside)
        } else {
            (Pool::Aside, &memory.aside)
        };
        let permits = MessageMemory::permits(octets.div_ceil(COPIES), (shared.permits / 2).max(1));
        let of_source = shared.of_source();
        let share = memory.sources.of((source, pool), of_source as usize);
        let of_its_share = share.try_acquire_many_owned(permits.min(of_source)).ok()?;
        let of_the_pool = Arc::clone(&shared.memory).try_acquire_many_owned(permits).ok()?;
        Some(Self { _held: [of_its_share, of_the_pool], source, octets })
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
            of_servers: Shared::new(quarter),
            aside: Shared::new((quarter / 2).max(1)),
            small_aside: Shared::new((quarter / 2).max(1)),
            arriving: semaphore(quarter),
            share,
            sources: Shares::default(),
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
        source: Source,
        octets: u64,
        time_max: Duration,
    ) -> Option<Incoming> {
        let (pool, shared) = self.pool(source, octets);
        let permits = Self::permits(octets, shared.permits);
        let of_source = shared.of_source();
        let share = self.sources.of((source, pool), of_source as usize);
        let acquired = tokio::time::timeout(time_max, async {
            // The source's own first: who waits for that holds up nobody else, and is no crowd.
            let of_its_share = share.acquire_many_owned(permits.min(of_source)).await.ok()?;
            let _waiting = Waiting::new(&shared.waiting, permits);
            let of_the_pool = Arc::clone(&shared.memory).acquire_many_owned(permits).await.ok()?;
            Some(Incoming { _held: [of_its_share, of_the_pool], source, octets })
        });
        acquired.await.ok().flatten()
    }

    fn pool(&self, source: Source, octets: u64) -> (Pool, &Shared) {
        match source {
            _ if octets <= SMALL_OCTETS_MAX => (Pool::Small, &self.small),
            Source::Account(_) => (Pool::OfHolders, &self.of_holders),
            Source::Network(_) => (Pool::OfServers, &self.of_servers),
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
    pub fn is_crowded(&self, source: Source, octets: u64) -> bool {
        let (_, shared) = self.pool(source, octets);
        shared.waiting.load(Ordering::Relaxed) > shared.permits.into()
    }
}

#[cfg(test)]
mod tests {
    use storage::ids::AccountId;

    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    fn network(third: u8) -> Source {
        Source::Network([0xff, 0xff, 192, 0, third, 0])
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
            let holder = Source::Account(AccountId(1));
            memory.incoming(network(3), 2_000, SOON).await.expect("a small one");
            memory.incoming(holder, 1 << 20, SOON).await.expect("one of a holder");
        };
        let (waited, ()) = tokio::join!(wait, others);
        assert!(waited.is_none());
        drop(held);
    }

    /// Slow name servers are the sender's choice.
    #[tokio::test]
    async fn what_is_set_aside_takes_nothing_from_the_others_and_has_a_bound() {
        let memory = MessageMemory::new(128 << 20);
        let mut aside = Vec::new();
        for number in 1..=4 {
            let judged = memory.incoming(network(number), 2_000_000, SOON).await.expect("room");
            aside.push(judged.set_aside(&memory).expect("room aside"));
        }
        let one_more =
            memory.incoming(network(5), 2_000_000, SOON).await.expect("as much as before");
        assert!(one_more.set_aside(&memory).is_none());
        let small = memory.incoming(network(6), 20_000, SOON).await.expect("room");
        drop(small.set_aside(&memory).expect("small ones have their own"));
        aside.pop();
        let again = memory.incoming(network(5), 2_000_000, SOON).await.expect("room");
        aside.push(again.set_aside(&memory).expect("given back"));
    }

    #[tokio::test]
    async fn one_source_has_a_share_of_what_is_set_aside() {
        let memory = MessageMemory::new(128 << 20);
        let first = memory.incoming(network(1), 2_000_000, SOON).await.expect("room");
        let _first = first.set_aside(&memory).expect("room aside");
        let second = memory.incoming(network(1), 2_000_000, SOON).await.expect("room");
        assert!(second.set_aside(&memory).is_none(), "its share is used up");
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
}
