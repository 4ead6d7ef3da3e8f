//! A map of bounded size that forgets what was put in longest ago.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

/// At most `max` entries. Putting an entry in again makes it the newest.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    entries: HashMap<K, (u64, V)>,
    /// Puts in order; those that were put again or removed since are stale.
    order: VecDeque<(u64, K)>,
    sequence: u64,
    max: usize,
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    pub(crate) fn new(max: usize) -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), sequence: 0, max: max.max(1) }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    pub(crate) fn put(&mut self, key: K, value: V) {
        self.sequence += 1;
        self.order.push_back((self.sequence, key.clone()));
        self.entries.insert(key, (self.sequence, value));
        while self.entries.len() > self.max {
            let Some((sequence, key)) = self.order.pop_front() else { return };
            if self.entries.get(&key).is_some_and(|(newest, _)| *newest == sequence) {
                self.entries.remove(&key);
            }
        }
        if self.order.len() > 2 * self.max {
            let entries = &self.entries;
            self.order.retain(|(sequence, key)| {
                entries.get(key).is_some_and(|(newest, _)| newest == sequence)
            });
        }
    }

    pub(crate) fn remove(&mut self, key: &K) {
        self.entries.remove(key);
    }

    #[cfg(test)]
    fn len_with_stale(&self) -> usize {
        self.order.len().max(self.entries.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_and_a_put_makes_new() {
        let mut recent = Recent::new(2);
        recent.put('a', 1);
        recent.put('b', 2);
        recent.put('a', 3);
        recent.put('c', 4);
        assert_eq!(
            (recent.get(&'a'), recent.get(&'b'), recent.get(&'c')),
            (Some(&3), None, Some(&4))
        );
        recent.remove(&'a');
        assert_eq!(recent.get(&'a'), None);
    }

    #[test]
    fn memory_stays_bounded_whatever_is_put() {
        let mut recent = Recent::new(10);
        for number in 0..10_000_u32 {
            recent.put(number % 7, number);
            recent.put(number, number);
            assert!(recent.len_with_stale() <= 21);
        }
    }
}
