//! Plain chunks kept in memory, least recently used out first.
//!
//! * The sum of the cached octets never exceeds the bound given; a chunk larger than the bound is
//!   not kept. Only verified octets are put here. One lock, held for a few map operations.
//! * Chunks stand under their StoredIds: the collector, which has to have them forgotten, knows no
//!   other name. The ChunkId beside must be the reader's: a recipe whose names do not belong together
//!   is answered with nothing, never with the octets of another chunk.
//!
//! Not here: when a chunk must be forgotten (`octets::fetch`).

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use crate::ids::{ChunkId, StoredId};

/// A bounded cache of verified plain chunks.
#[derive(Debug)]
pub struct ChunkCache {
    octets_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    octets: usize,
    uses: u64,
    chunks: BTreeMap<StoredId, Cached>,
    by_use: BTreeMap<u64, StoredId>,
}

#[derive(Debug)]
struct Cached {
    used: u64,
    chunk: ChunkId,
    octets: Bytes,
}

impl ChunkCache {
    /// Makes a cache of at most `octets_max` octets; 0 keeps nothing.
    #[must_use]
    pub fn new(octets_max: usize) -> Self {
        Self { octets_max, state: Mutex::default() }
    }

    /// The plain octets of a chunk, when they are here.
    pub fn get(&self, stored: StoredId, chunk: ChunkId) -> Option<Bytes> {
        let mut state = self.lock();
        state.uses += 1;
        let now = state.uses;
        let cached = state.chunks.get_mut(&stored).filter(|cached| cached.chunk == chunk)?;
        let before = std::mem::replace(&mut cached.used, now);
        let octets = cached.octets.clone();
        state.by_use.remove(&before);
        state.by_use.insert(now, stored);
        Some(octets)
    }

    /// Keeps verified octets.
    pub fn put(&self, stored: StoredId, chunk: ChunkId, octets: Bytes) {
        if octets.len() > self.octets_max {
            return;
        }
        let mut state = self.lock();
        if state.chunks.contains_key(&stored) {
            return;
        }
        state.uses += 1;
        let used = state.uses;
        state.octets += octets.len();
        state.chunks.insert(stored, Cached { used, chunk, octets });
        state.by_use.insert(used, stored);
        while state.octets > self.octets_max {
            let Some((_, oldest)) = state.by_use.pop_first() else { break };
            if let Some(cached) = state.chunks.remove(&oldest) {
                state.octets -= cached.octets.len();
            }
        }
    }

    /// Forgets a chunk.
    pub fn remove(&self, stored: StoredId) {
        let mut state = self.lock();
        if let Some(cached) = state.chunks.remove(&stored) {
            state.octets -= cached.octets.len();
            state.by_use.remove(&cached.used);
        }
    }

    /// At most `limit` of the chunks that are here, ascending, from the first after `after`.
    pub fn page(&self, after: Option<StoredId>, limit: usize) -> Vec<StoredId> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let chunks = &self.lock().chunks;
        chunks.range((start, Bound::Unbounded)).map(|(stored, _)| *stored).take(limit).collect()
    }

    /// Octets in the cache now.
    pub fn octets(&self) -> usize {
        self.lock().octets
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_keeps_the_recently_used_and_never_exceeds_its_bound() {
        let cache = ChunkCache::new(30);
        let names = |number| (StoredId([number; 32]), ChunkId([!number; 32]));
        let put = |number, octets| {
            let (stored, chunk) = names(number);
            cache.put(stored, chunk, Bytes::from(vec![number; octets]));
        };
        let get = |number| {
            let (stored, chunk) = names(number);
            cache.get(stored, chunk)
        };
        for number in 1..=3 {
            put(number, 10);
        }
        assert!(get(1).is_some());
        put(4, 10);
        assert!(get(2).is_none(), "the least recently used goes");
        assert_eq!(get(1).unwrap(), vec![1; 10]);
        put(5, 31);
        assert!(get(5).is_none());
        assert_eq!(cache.octets(), 30);
        assert_eq!(cache.page(None, 2), [names(1).0, names(3).0]);
        assert_eq!(cache.page(Some(names(3).0), 2), [names(4).0]);
        cache.remove(names(1).0);
        assert_eq!(cache.octets(), 20);
    }

    #[test]
    fn names_that_do_not_belong_together_get_nothing() {
        let cache = ChunkCache::new(30);
        cache.put(StoredId([1; 32]), ChunkId([1; 32]), Bytes::from_static(b"octets"));
        assert!(cache.get(StoredId([1; 32]), ChunkId([2; 32])).is_none());
        assert!(cache.get(StoredId([1; 32]), ChunkId([1; 32])).is_some());
    }
}
