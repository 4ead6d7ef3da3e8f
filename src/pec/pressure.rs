//! What makes the points say "later" before a message is on its way: a disk that fills up, a store
//! that does not take or takes its time, a crowd that waits for memory.
//!
//! * Asked at MAIL, RCPT and DATA, so that no peer sends octets that cannot be kept. A message that
//!   is on its way already is brought to its end: it is kept whole, or refused as a whole.
//! * From DATA on a message has a promise of room for itself and for what is made of it. What is
//!   owed for messages that were taken counts as long as their duties stand in the catalog. So the
//!   free space that was measured is given to nobody twice. One source has an eighth of it, or
//!   room for one message.
//! * Whatever is not known counts as good: a message is not refused for want of a measure.
//!
//! Not here: who measures (`serve::pressure`), who counts the duties (`work`), and the room in a
//! holder's mailbox (`quota`).

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
};

use protocols::smtp::transport::Refusal;

use super::{engine::PecEngine, refusals};
use crate::{metrics_names::PRESSURE_REFUSALS, sources::Source};

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

/// What was measured last, and what was promised since.
#[derive(Debug, Default)]
pub struct Pressure {
    room: Mutex<Room>,
    store: AtomicU8,
}

/// Octets on disk.
#[derive(Debug)]
struct Room {
    /// Free in the fullest folder that messages go to.
    free: u64,
    /// For messages on their way.
    promised: u64,
    /// The same by who sends them.
    promised_to: HashMap<Source, u64>,
    /// Written since the last measure began, or while it was made.
    written: u64,
    /// For duties that the last count found.
    owed: u64,
    /// For duties that came since that count began.
    owed_since: u64,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            free: u64::MAX,
            promised: 0,
            promised_to: HashMap::new(),
            written: 0,
            owed: 0,
            owed_since: 0,
        }
    }
}

impl Room {
    /// Whether `octets` more leave `least` free.
    fn has(&self, octets: u64, least: u64) -> bool {
        let taken = [self.promised, self.written, self.owed, self.owed_since, least];
        self.free >= taken.into_iter().fold(octets, u64::saturating_add)
    }

    /// Whether `source` may have `octets` more.
    fn has_for(&self, source: Source, octets: u64) -> bool {
        let has = self.promised_to.get(&source).copied().unwrap_or_default();
        has == 0 || has.saturating_add(octets) <= self.free / SOURCES
    }

    fn promise(&mut self, source: Source, octets: u64) {
        self.promised = self.promised.saturating_add(octets);
        let has = self.promised_to.entry(source).or_default();
        *has = has.saturating_add(octets);
    }

    fn take_back(&mut self, source: Source, octets: u64) {
        self.promised = self.promised.saturating_sub(octets);
        if let Some(has) = self.promised_to.get_mut(&source) {
            *has = has.saturating_sub(octets);
            if *has == 0 {
                self.promised_to.remove(&source);
            }
        }
    }
}

impl Pressure {
    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the free octets of the fullest folder that messages go to, as `measure` finds them.
    pub fn note_free(&self, measure: impl FnOnce() -> Option<u64>) {
        let written = self.room().written;
        if let Some(free) = measure() {
            let mut room = self.room();
            room.free = free;
            room.written = room.written.saturating_sub(written);
        }
    }

    /// Notes that a message of `octets` was taken and its duty is in the catalog.
    pub(super) fn owe(&self, octets: u64) {
        let mut room = self.room();
        room.owed_since = room.owed_since.saturating_add(octets.saturating_mul(OWED_COPIES));
    }

    /// What came since the last count of duties; asked before a new one begins.
    pub(super) fn owed_since(&self) -> u64 {
        self.room().owed_since
    }

    /// Notes the octets of all messages that wait for their envelope, the deliveries that wait, and
    /// what `owed_since` said before they were counted.
    pub(super) fn note_owed(&self, octets: u64, deliveries: u64, since: u64) {
        let receipts = deliveries.saturating_mul(RECEIPT_OCTETS);
        let mut room = self.room();
        let before = room.owed.saturating_add(room.owed_since);
        room.owed = octets.saturating_mul(OWED_COPIES).saturating_add(receipts);
        room.owed_since = room.owed_since.saturating_sub(since);
        // What is not owed any more was written, perhaps after the last measure.
        let done = before.saturating_sub(room.owed.saturating_add(room.owed_since));
        room.written = room.written.saturating_add(done);
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

/// Times its size that a message takes on disk: itself, its envelope, a receipt. (The file in which it
/// waits counts beside them when free space is measured: less is promised then than there is.)
const COPIES: u64 = 3;

/// Octets that a receipt takes beside the message that it holds, which is kept once.
const RECEIPT_OCTETS: u64 = 16 * 1024;

/// The share of the free space that is promised to one source: one in so many.
const SOURCES: u64 = 8;

/// Those of them that are still to come when a message has been taken.
const OWED_COPIES: u64 = COPIES - 1;

/// Octets that are promised to a message whose size nobody has declared, and by which a promise
/// grows.
const UNDECLARED_OCTETS: u64 = 256 * 1024;

/// Room on disk for a message on its way. Dropping it gives the room back.
#[derive(Debug)]
pub struct RoomPromise {
    engine: Arc<PecEngine>,
    source: Source,
    octets: u64,
}

impl RoomPromise {
    /// Makes it room for a message of `octets`.
    ///
    /// # Errors
    ///
    /// 452 4.3.1: there is none. What was let in may use half of what stays free otherwise.
    pub(super) fn cover(&mut self, octets: u64) -> Result<(), Refusal> {
        if octets <= self.octets {
            return Ok(());
        }
        let wanted = octets.saturating_add(UNDECLARED_OCTETS);
        let more = (wanted - self.octets).saturating_mul(COPIES);
        let mut room = self.engine.pressure().room();
        let own = self.octets.saturating_mul(COPIES);
        let has_more = room.promised_to.get(&self.source).is_some_and(|all| *all > own);
        if !room.has(more, self.engine.settings().free_octets_min / 2)
            || (has_more && !room.has_for(self.source, more))
        {
            drop(room);
            return refused("disk", refusals::disk_full());
        }
        room.promise(self.source, more);
        self.octets = wanted;
        Ok(())
    }

    /// Notes that a message of `octets` was stored, with its duty.
    pub(super) fn used(self, octets: u64) {
        let mut room = self.engine.pressure().room();
        room.written = room.written.saturating_add(octets);
        drop(room);
        self.engine.pressure().owe(octets);
    }
}

impl Drop for RoomPromise {
    fn drop(&mut self) {
        let mut room = self.engine.pressure().room();
        room.take_back(self.source, self.octets.saturating_mul(COPIES));
    }
}

fn refused<T>(cause: &'static str, refusal: Refusal) -> Result<T, Refusal> {
    metrics::counter!(PRESSURE_REFUSALS, "cause" => cause).increment(1);
    Err(refusal)
}

impl PecEngine {
    /// Whether a message of `octets` from `source` can be taken now; 0 when its size is not known.
    ///
    /// # Errors
    ///
    /// 452 4.3.1 or 451 4.3.0: the peer comes again.
    pub fn admit(&self, source: Source, octets: u64) -> Result<(), Refusal> {
        let needed = octets.saturating_mul(COPIES);
        if !self.pressure().room().has(needed, self.settings().free_octets_min) {
            return refused("disk", refusals::disk_full());
        }
        match self.pressure().store() {
            StoreHealth::Well => {}
            StoreHealth::Slow => return refused("slow_store", refusals::store_slow()),
            StoreHealth::Refuses => return refused("store", refusals::store_refuses()),
        }
        if self.memory().is_crowded(source, octets) {
            return refused("memory", refusals::busy());
        }
        Ok(())
    }

    /// Whether disk and store would take a small message of anybody now.
    pub fn has_room_and_store(&self) -> bool {
        self.pressure().room().has(0, self.settings().free_octets_min)
            && self.pressure().store() == StoreHealth::Well
    }

    /// Promises `source` room for a message of `declared` octets, or for the beginning of one.
    ///
    /// # Errors
    ///
    /// As [`PecEngine::admit`].
    pub(super) fn promise_room(
        self: &Arc<Self>,
        source: Source,
        declared: Option<u64>,
    ) -> Result<RoomPromise, Refusal> {
        let octets = declared.unwrap_or(UNDECLARED_OCTETS);
        self.admit(source, declared.unwrap_or_default())?;
        let mut room = self.pressure().room();
        // Asked again with the lock held: what was free is promised once.
        let needed = octets.saturating_mul(COPIES);
        if !room.has(needed, self.settings().free_octets_min) || !room.has_for(source, needed) {
            drop(room);
            return refused("disk", refusals::disk_full());
        }
        room.promise(source, needed);
        drop(room);
        Ok(RoomPromise { engine: Arc::clone(self), source, octets })
    }
}
