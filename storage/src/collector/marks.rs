//! The chunks of one partition that something refers to.
//!
//! A partition is a range of the first eight octets of StoredIds, which are as good as random.
//! Only 63 bits of these octets are kept: two chunks that share them keep each other, which one pair
//! among 2⁶³ does, and nothing is ever lost by it. The last bit says that something warm refers to
//! the chunk: what only cold messages refer to may lie under the colder prefix. The range shrinks while it is filled, so that the marks
//! never take more memory than they may; what was cut off is a later partition.

use crate::ids::StoredId;

/// The first eight octets of a StoredId.
pub(crate) fn prefix(stored: StoredId) -> u64 {
    let (octets, _) = stored.0.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    u64::from_be_bytes(*octets)
}

/// Marks of the chunks from `first` to `last`.
#[derive(Debug)]
pub(crate) struct Marks {
    first: u64,
    last: u64,
    /// Prefixes of which the last bit is [`WARM`] or not.
    prefixes: Vec<u64>,
    prefixes_max: usize,
}

const WARM: u64 = 1;

impl Marks {
    /// An empty set that begins at `first` and takes at most `octets_max` octets.
    pub(crate) fn new(first: u64, octets_max: usize) -> Self {
        // A power of two, because a growing vector doubles.
        let prefixes_max = 1 << (octets_max / size_of::<u64>()).max(16).ilog2();
        Self { first, last: u64::MAX, prefixes: Vec::new(), prefixes_max }
    }

    /// Marks a chunk, when it belongs to the partition; `cold`: what refers to it is a cold message.
    pub(crate) fn mark(&mut self, stored: StoredId, cold: bool) {
        let prefix = prefix(stored);
        if (self.first..=self.last).contains(&prefix) {
            self.prefixes.push(if cold { prefix & !WARM } else { prefix | WARM });
            if self.prefixes.len() >= self.prefixes_max {
                self.shrink();
            }
        }
    }

    /// Drops repeats and, when that does not give half of the room back, the upper half.
    fn shrink(&mut self) {
        self.order();
        if self.prefixes.len() > self.prefixes_max / 2 {
            let half = self.prefixes.len() / 2;
            if let Some(&cut) = self.prefixes.get(half) {
                // Both of a pair that differs in the last bit alone are on one side.
                self.last = (cut & !WARM) - 1;
                self.prefixes.truncate(half);
            }
        }
    }

    /// Ascending, each once: warm when one of its marks is.
    fn order(&mut self) {
        self.prefixes.sort_unstable();
        self.prefixes.dedup_by(|later, kept| {
            let same = *later | WARM == *kept | WARM;
            if same {
                *kept |= *later;
            }
            same
        });
    }

    /// Ends the marking.
    pub(crate) fn finish(mut self) -> Marked {
        self.order();
        Marked { first: self.first, last: self.last, prefixes: self.prefixes }
    }
}

/// What refers to a chunk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mark {
    /// Something that is in use.
    Warm,
    /// Messages without a row in a live mailbox, and nothing else.
    Cold,
}

/// All marks of a partition.
#[derive(Debug)]
pub(crate) struct Marked {
    pub(crate) first: u64,
    pub(crate) last: u64,
    prefixes: Vec<u64>,
}

impl Marked {
    /// What refers to a chunk of the partition; `None` when nothing does.
    pub(crate) fn find(&self, stored: StoredId) -> Option<Mark> {
        let wanted = prefix(stored) | WARM;
        let at = self.prefixes.binary_search_by_key(&wanted, |prefix| prefix | WARM).ok()?;
        let warm = self.prefixes.get(at)? & WARM == WARM;
        Some(if warm { Mark::Warm } else { Mark::Cold })
    }
}

#[cfg(test)]
mod tests {
    use trust::random::{RandomSource as _, SeededRandom};

    use super::*;

    #[test]
    fn partitions_cover_every_mark_once_within_their_memory() {
        let random = SeededRandom::new(1);
        let ids: Vec<StoredId> = std::iter::repeat_with(|| {
            let mut octets = [0; 32];
            random.fill(&mut octets);
            StoredId(octets)
        })
        .take(5_000)
        .collect();
        let is_cold = |turn: bool, id: &StoredId| match id.0[31] % 3 {
            0 => true,
            1 => turn,
            _ => false,
        };
        let mut first = 0;
        let (mut seen, mut partitions) = (0, 0);
        loop {
            let mut marks = Marks::new(first, 8 * 512);
            // Each twice: once, always or never from a cold message.
            let twice = ids.iter().map(|id| (true, id)).chain(ids.iter().map(|id| (false, id)));
            for (turn, id) in twice {
                marks.mark(*id, is_cold(turn, id));
                assert!(marks.prefixes.capacity() <= 512);
            }
            let marked = marks.finish();
            let inside = |id: &&StoredId| (marked.first..=marked.last).contains(&prefix(**id));
            let here: Vec<&StoredId> = ids.iter().filter(inside).collect();
            for id in &here {
                let cold = id.0[31] % 3 == 0;
                let expected = if cold { Mark::Cold } else { Mark::Warm };
                assert_eq!(marked.find(**id), Some(expected));
            }
            assert_eq!(here.len(), marked.prefixes.len());
            seen += here.len();
            partitions += 1;
            let Some(next) = marked.last.checked_add(1) else { break };
            first = next;
        }
        assert_eq!(seen, ids.len());
        assert!((10..=40).contains(&partitions), "{partitions}");
    }
}
