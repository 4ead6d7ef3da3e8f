//! Draws by seed: one seed gives one run.

use trust::random::{RandomSource as _, SeededRandom};

#[derive(Debug)]
pub(crate) struct Draw(SeededRandom);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SeededRandom::new(seed))
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.0.next_u64() % end as u64).unwrap()
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn pick<'i, T>(&mut self, items: &'i [T]) -> &'i T {
        &items[self.below(items.len())]
    }

    /// Some of `items`, one at least, in their order.
    pub(crate) fn some<T: Clone>(&mut self, items: &[T]) -> Vec<T> {
        let sure = self.below(items.len());
        let drawn = items.iter().enumerate().filter(|(index, _)| *index == sure || self.once_in(3));
        drawn.map(|(_, item)| item.clone()).collect()
    }
}
