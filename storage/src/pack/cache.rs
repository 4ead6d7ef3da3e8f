//! Plain chunks kept in memory, least recently used out first.
//!
//! The sum of the cached octets never exceeds the bound given; a chunk larger than the bound is
//! not kept. Only verified octets are put here. One lock, held for a few map operations.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use crate::ids::ChunkId;

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
    chunks: HashMap<ChunkId, (u64, Bytes)>,
    by_use: BTreeMap<u64, ChunkId>,
}

impl ChunkCache {
    /// Makes a cache of at most `octets_max` octets; 0 keeps nothing.
    #[must_use]
    pub fn new(octets_max: usize) -> Self {
        Self { octets_max, state: Mutex::default() }
    }

    /// The plain octets of a chunk, when they are here.
    pub fn get(&self, chunk: ChunkId) -> Option<Bytes> {
        let mut state = self.lock();
        state.uses += 1;
        let now = state.uses;
        let (used, octets) = state.chunks.get_mut(&chunk)?;
        let before = std::mem::replace(used, now);
        let octets = octets.clone();
        state.by_use.remove(&before);
        state.by_use.insert(now, chunk);
        Some(octets)
    }

    /// Keeps verified octets.
    pub fn put(&self, chunk: ChunkId, octets: Bytes) {
        if octets.len() > self.octets_max {
            return;
        }
        let mut state = self.lock();
        if state.chunks.contains_key(&chunk) {
            return;
        }
        state.uses += 1;
        let now = state.uses;
        state.octets += octets.len();
        state.chunks.insert(chunk, (now, octets));
        state.by_use.insert(now, chunk);
        while state.octets > self.octets_max {
            let Some((_, oldest)) = state.by_use.pop_first() else { break };
            if let Some((_, octets)) = state.chunks.remove(&oldest) {
                state.octets -= octets.len();
            }
        }
    }

    /// Forgets a chunk, so that the next read looks at what is stored.
    pub fn remove(&self, chunk: ChunkId) {
        let mut state = self.lock();
        if let Some((used, octets)) = state.chunks.remove(&chunk) {
            state.octets -= octets.len();
            state.by_use.remove(&used);
        }
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
        let chunk = |number| ChunkId([number; 32]);
        for number in 1..=3 {
            cache.put(chunk(number), Bytes::from(vec![number; 10]));
        }
        assert!(cache.get(chunk(1)).is_some());
        cache.put(chunk(4), Bytes::from(vec![4; 10]));
        assert!(cache.get(chunk(2)).is_none(), "the least recently used goes");
        assert_eq!(cache.get(chunk(1)).unwrap(), vec![1; 10]);
        cache.put(chunk(5), Bytes::from(vec![5; 31]));
        assert!(cache.get(chunk(5)).is_none());
        assert_eq!(cache.octets(), 30);
        cache.remove(chunk(1));
        assert_eq!(cache.octets(), 20);
    }
}
