//! Plain chunks kept in memory, least recently used out first.
//!
//! * The sum of the cached octets never exceeds the bound given; a chunk larger than the bound is
//!   not kept. Only verified octets are put here. One lock, held for a few map operations.
//! * Chunks stand under their StoredIds: the collector, which has to have them forgotten, knows no
//!   other name. The ChunkId beside must be the reader's: a recipe whose names do not belong together
//!   is answered with nothing, never with the octets of another chunk.
//! * Hits and misses are counted since the cache was made. Whoever fetches a chunk looks once more
//!   before it does, so looks for one chunk that miss one after the other count as one miss. A chunk
//!   that was fetched ahead of the look for it is a miss too, and that look then is no hit.
//!
//! Not here: when a chunk must be forgotten (`octets::fetch`).

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;

use crate::ids::{ChunkId, StoredId};

/// What a cache of chunks has done since it was opened, and what it holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CacheFigures {
    /// Chunks that were asked for and were there.
    pub hits: u64,
    /// Chunks that were asked for and had to come from further away.
    pub misses: u64,
    /// Chunks that are there now.
    pub entries: u64,
    /// Their octets.
    pub octets: u64,
    /// Octets that there may be.
    pub octets_max: u64,
}

/// Counts the answers of a cache.
#[derive(Debug, Default)]
pub(super) struct Answers {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Answers {
    pub(super) fn count(&self, hit: bool) {
        let counter = if hit { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The figures of a cache that holds `entries` chunks of `octets` octets.
    pub(super) fn figures(&self, entries: usize, octets: u64, octets_max: u64) -> CacheFigures {
        let (hits, misses) = (&self.hits, &self.misses);
        let [hits, misses] = [hits, misses].map(|counter| counter.load(Ordering::Relaxed));
        CacheFigures { hits, misses, entries: entries as u64, octets, octets_max }
    }
}

/// A bounded cache of verified plain chunks.
#[derive(Debug)]
pub struct ChunkCache {
    octets_max: usize,
    answers: Answers,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    octets: usize,
    uses: u64,
    chunks: BTreeMap<StoredId, Cached>,
    by_use: BTreeMap<u64, StoredId>,
    /// What the last look asked for in vain.
    missed: Option<ChunkId>,
}

#[derive(Debug)]
struct Cached {
    used: u64,
    chunk: ChunkId,
    octets: Bytes,
    /// It was fetched for a reader who has not looked for it yet.
    ahead: bool,
}

impl ChunkCache {
    /// Makes a cache of at most `octets_max` octets; 0 keeps nothing.
    #[must_use]
    pub fn new(octets_max: usize) -> Self {
        Self { octets_max, answers: Answers::default(), state: Mutex::default() }
    }

    /// The plain octets of a chunk, when they are here.
    pub fn get(&self, stored: StoredId, chunk: ChunkId) -> Option<Bytes> {
        let mut state = self.lock();
        state.uses += 1;
        let now = state.uses;
        let cached = state.chunks.get_mut(&stored).filter(|cached| cached.chunk == chunk);
        let Some(cached) = cached else {
            if state.missed.replace(chunk) != Some(chunk) {
                self.answers.count(false);
            }
            return None;
        };
        if !std::mem::take(&mut cached.ahead) {
            self.answers.count(true);
        }
        let before = std::mem::replace(&mut cached.used, now);
        let octets = cached.octets.clone();
        state.by_use.remove(&before);
        state.by_use.insert(now, stored);
        Some(octets)
    }

    /// As [`ChunkCache::get`], but neither a hit nor a miss, and no use of the chunk.
    pub fn peek(&self, stored: StoredId, chunk: ChunkId) -> Option<Bytes> {
        let state = self.lock();
        let cached = state.chunks.get(&stored).filter(|cached| cached.chunk == chunk);
        cached.map(|cached| cached.octets.clone())
    }

    /// Keeps verified octets.
    pub fn put(&self, stored: StoredId, chunk: ChunkId, octets: Bytes) {
        self.insert(stored, chunk, octets, false);
    }

    /// Keeps verified octets for a reader who has not looked for them yet: a miss, unless they were here.
    pub fn put_ahead(&self, stored: StoredId, chunk: ChunkId, octets: Bytes) {
        if self.insert(stored, chunk, octets, true) {
            self.answers.count(false);
        }
    }

    /// Returns whether it is kept and was not before.
    fn insert(&self, stored: StoredId, chunk: ChunkId, octets: Bytes, ahead: bool) -> bool {
        let mut state = self.lock();
        // The look that missed was answered: the next one that misses is another.
        state.missed = state.missed.filter(|missed| *missed != chunk);
        if octets.len() > self.octets_max || state.chunks.contains_key(&stored) {
            return false;
        }
        state.uses += 1;
        let used = state.uses;
        state.octets += octets.len();
        state.chunks.insert(stored, Cached { used, chunk, octets, ahead });
        state.by_use.insert(used, stored);
        while state.octets > self.octets_max {
            let Some((_, oldest)) = state.by_use.pop_first() else { break };
            if let Some(cached) = state.chunks.remove(&oldest) {
                state.octets -= cached.octets.len();
            }
        }
        true
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

    /// What it has done, and what it holds.
    pub fn figures(&self) -> CacheFigures {
        let state = self.lock();
        self.answers.figures(state.chunks.len(), state.octets as u64, self.octets_max as u64)
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
    fn a_chunk_that_is_fetched_is_one_miss_however_often_it_was_looked_for_meanwhile() {
        let cache = ChunkCache::new(30);
        let names = |number| (StoredId([number; 32]), ChunkId([number; 32]));
        let get = |number| {
            let (stored, chunk) = names(number);
            cache.get(stored, chunk)
        };
        for size in [10, 31, 31] {
            for _ in 0..3 {
                assert!(get(size).is_none());
            }
            let (stored, chunk) = names(size);
            cache.put(stored, chunk, Bytes::from(vec![0; size.into()]));
        }
        assert!(get(10).is_some() && get(10).is_some());
        let figures = cache.figures();
        let expected = CacheFigures { hits: 2, misses: 3, entries: 1, octets: 10, octets_max: 30 };
        assert_eq!(figures, expected, "what is too large to be kept is fetched each time");
    }

    #[test]
    fn a_chunk_that_was_fetched_ahead_is_one_miss_and_no_hit_until_it_is_looked_for_again() {
        let cache = ChunkCache::new(30);
        let (stored, chunk) = (StoredId([1; 32]), ChunkId([1; 32]));
        assert!(cache.peek(stored, chunk).is_none());
        cache.put_ahead(stored, chunk, Bytes::from_static(b"octets"));
        cache.put_ahead(stored, chunk, Bytes::from_static(b"octets"));
        assert!(cache.peek(stored, chunk).is_some());
        let looks = |figures: CacheFigures| (figures.hits, figures.misses);
        assert_eq!(looks(cache.figures()), (0, 1));
        assert!(cache.get(stored, chunk).is_some());
        assert_eq!(looks(cache.figures()), (0, 1));
        assert!(cache.get(stored, chunk).is_some());
        assert_eq!(looks(cache.figures()), (1, 1));
    }

    #[test]
    fn names_that_do_not_belong_together_get_nothing() {
        let cache = ChunkCache::new(30);
        cache.put(StoredId([1; 32]), ChunkId([1; 32]), Bytes::from_static(b"octets"));
        assert!(cache.get(StoredId([1; 32]), ChunkId([2; 32])).is_none());
        assert!(cache.get(StoredId([1; 32]), ChunkId([1; 32])).is_some());
    }
}
