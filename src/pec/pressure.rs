//! What makes the points say "later" before a message is on its way: a disk that fills up, a store
//! that does not take or takes its time, memory that is used up.
//!
//! * Asked at MAIL, RCPT and DATA, so that no peer sends octets that cannot be kept. A message that
//!   is on its way already is brought to its end: it is kept whole, or refused as a whole.
//! * Whatever is not known counts as good: a message is not refused for want of a measure.
//!
//! Not here: who measures (`serve::pressure`), and the room in a holder's mailbox (`quota`).

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use protocols::smtp::transport::Refusal;

use super::{engine::PecEngine, refusals};
use crate::metrics_names::PRESSURE_REFUSALS;

/// How the store takes what is given to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StoreHealth {
    /// In good time.
    Well,
    /// Later than the bound, or not yet.
    Slow,
    /// Not at all.
    Refuses,
}

/// What was measured last.
#[derive(Debug)]
pub struct Pressure {
    free_octets: AtomicU64,
    store: AtomicU8,
}

impl Default for Pressure {
    fn default() -> Self {
        Self { free_octets: AtomicU64::new(u64::MAX), store: AtomicU8::new(0) }
    }
}

impl Pressure {
    /// Notes the free octets of the fullest folder that messages go to.
    pub fn note_free(&self, octets: u64) {
        self.free_octets.store(octets, Ordering::Relaxed);
    }

    /// Notes how the store took a record. Returns what was noted before.
    pub fn note_store(&self, health: StoreHealth) -> StoreHealth {
        let number = match health {
            StoreHealth::Well => 0,
            StoreHealth::Slow => 1,
            StoreHealth::Refuses => 2,
        };
        read(self.store.swap(number, Ordering::Relaxed))
    }

    fn store(&self) -> StoreHealth {
        read(self.store.load(Ordering::Relaxed))
    }
}

fn read(number: u8) -> StoreHealth {
    match number {
        0 => StoreHealth::Well,
        1 => StoreHealth::Slow,
        _ => StoreHealth::Refuses,
    }
}

/// Octets on disk that a message takes at most: the original, its envelope, a receipt.
const COPIES: u64 = 3;

impl PecEngine {
    /// Whether a message of `octets` can be taken now; 0 when its size is not known.
    ///
    /// # Errors
    ///
    /// 452 4.3.1 or 451 4.3.0: the peer comes again.
    pub fn admit(&self, octets: u64) -> Result<(), Refusal> {
        let refused = |cause: &'static str, refusal: Refusal| {
            metrics::counter!(PRESSURE_REFUSALS, "cause" => cause).increment(1);
            Err(refusal)
        };
        let needed = self.settings().free_octets_min.saturating_add(octets.saturating_mul(COPIES));
        if self.pressure().free_octets.load(Ordering::Relaxed) < needed {
            return refused("disk", refusals::disk_full());
        }
        match self.pressure().store() {
            StoreHealth::Well => {}
            StoreHealth::Slow => return refused("slow_store", refusals::store_slow()),
            StoreHealth::Refuses => return refused("store", refusals::store_refuses()),
        }
        if !self.has_memory(octets) {
            return refused("memory", refusals::busy());
        }
        Ok(())
    }
}
