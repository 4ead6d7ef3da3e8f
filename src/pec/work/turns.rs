//! Whose work is next: senders take turns.
//!
//! Work waits by *class*, the [`sender_class`] of whoever caused it. Invariants:
//!
//! * Classes take turns, item by item: whoever comes where *n* classes wait is begun after *n* items
//!   at most, however many the others have.
//! * One class has at most half of the workers while another waits.
//! * An item waits once, and not while it is worked on.
//! * Memory is bounded. When it is full an item of the class that has the most makes room for one of
//!   a class that has fewer; what is not remembered is found in the catalog by the next look.
//!
//! [`sender_class`]: crate::pec::records::sender_class

use std::collections::{HashMap, HashSet, VecDeque};

use super::Work;

/// An item that a worker has taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Taken {
    pub(super) work: Work,
    pub(super) class: u64,
}

#[derive(Debug, Default)]
struct Class {
    waiting: VecDeque<Work>,
    active: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Turns {
    classes: HashMap<u64, Class>,
    /// Classes with something waiting, the next one first.
    ring: VecDeque<u64>,
    /// Waiting or being worked on.
    known: HashSet<Work>,
    entries_max: usize,
    class_active_max: usize,
}

impl Turns {
    pub(super) fn new(entries_max: usize, workers_max: usize) -> Self {
        Self {
            classes: HashMap::new(),
            ring: VecDeque::new(),
            known: HashSet::new(),
            entries_max: entries_max.max(1),
            class_active_max: (workers_max / 2).max(1),
        }
    }

    /// Adds an item of `class`; nothing when it waits already, or when there is no room.
    pub(super) fn add(&mut self, work: Work, class: u64) {
        if self.known.contains(&work) || !self.make_room(class) {
            return;
        }
        self.known.insert(work);
        let waiting = &mut self.classes.entry(class).or_default().waiting;
        if waiting.is_empty() {
            self.ring.push_back(class);
        }
        waiting.push_back(work);
    }

    /// Takes the next item, if there is one.
    pub(super) fn take(&mut self) -> Option<Taken> {
        let others_wait = self.ring.len() > 1;
        for _ in 0..self.ring.len() {
            let class = self.ring.pop_front()?;
            let Some(here) = self.classes.get_mut(&class) else { continue };
            if others_wait && here.active >= self.class_active_max {
                self.ring.push_back(class);
                continue;
            }
            let Some(work) = here.waiting.pop_front() else { continue };
            here.active += 1;
            if !here.waiting.is_empty() {
                self.ring.push_back(class);
            }
            return Some(Taken { work, class });
        }
        // Every class that waits has its share of the workers already: none stands idle for that.
        let class = self.ring.pop_front()?;
        let here = self.classes.get_mut(&class)?;
        let work = here.waiting.pop_front()?;
        here.active += 1;
        if !here.waiting.is_empty() {
            self.ring.push_back(class);
        }
        Some(Taken { work, class })
    }

    /// An item is done, or given up for the next look.
    pub(super) fn done(&mut self, taken: Taken) {
        self.known.remove(&taken.work);
        if let Some(class) = self.classes.get_mut(&taken.class) {
            class.active = class.active.saturating_sub(1);
            if class.active == 0 && class.waiting.is_empty() {
                self.classes.remove(&taken.class);
            }
        }
    }

    /// Items that wait or are worked on.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether `class` may have one more item.
    fn make_room(&mut self, class: u64) -> bool {
        if self.known.len() < self.entries_max {
            return true;
        }
        let own = self.classes.get(&class).map_or(0, |class| class.waiting.len());
        let longest = self.classes.iter().max_by_key(|(_, class)| class.waiting.len());
        let Some(longest) = longest.filter(|(_, longest)| longest.waiting.len() > own + 1) else {
            return false;
        };
        let longest = *longest.0;
        let last = self.classes.get_mut(&longest).and_then(|class| class.waiting.pop_back());
        last.is_some_and(|last| self.known.remove(&last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pec::records::TransmissionId;

    fn work(number: u64) -> Work {
        let mut octets = [0; 16];
        octets[8..].copy_from_slice(&number.to_be_bytes());
        Work::Accept(TransmissionId(octets))
    }

    /// The numbers in the order in which one worker does them.
    fn order(turns: &mut Turns) -> Vec<Work> {
        std::iter::from_fn(|| {
            let taken = turns.take()?;
            turns.done(taken);
            Some(taken.work)
        })
        .collect()
    }

    #[test]
    fn a_single_message_does_not_wait_behind_a_thousand_of_another_sender() {
        let mut turns = Turns::new(10_000, 4);
        for number in 0..1_000 {
            turns.add(work(number), 1);
        }
        turns.add(work(5_000), 2);
        turns.add(work(6_000), 3);
        turns.add(work(5_001), 2);
        let order = order(&mut turns);
        let position =
            |number| order.iter().position(|done| *done == work(number)).expect("it is done");
        assert_eq!((position(5_000), position(6_000), position(5_001)), (1, 2, 4));
        assert_eq!((order.len(), turns.len()), (1_003, 0));
        assert!(turns.classes.is_empty() && turns.ring.is_empty());
    }

    #[test]
    fn one_sender_has_half_of_the_workers_while_another_waits_and_all_of_them_alone() {
        let mut turns = Turns::new(100, 4);
        for number in 0..10 {
            turns.add(work(number), 1);
        }
        let alone: Vec<Taken> = (0..3).filter_map(|_| turns.take()).collect();
        assert_eq!(alone.len(), 3);
        for number in 20..22 {
            turns.add(work(number), 2);
        }
        assert_eq!(turns.take().map(|taken| taken.class), Some(2));
        assert_eq!(turns.take().map(|taken| taken.class), Some(2), "the first has its share");
        assert_eq!(turns.take().map(|taken| taken.class), Some(1), "nobody else waits");
        for taken in alone {
            turns.done(taken);
        }
        assert_eq!(order(&mut turns).len(), 6);
    }

    #[test]
    fn an_item_waits_once_and_not_while_it_is_worked_on() {
        let mut turns = Turns::new(100, 4);
        turns.add(work(1), 1);
        turns.add(work(1), 1);
        turns.add(work(1), 2);
        let taken = turns.take().expect("one");
        turns.add(work(1), 1);
        assert_eq!((turns.take(), turns.len()), (None, 1));
        turns.done(taken);
        turns.add(work(1), 1);
        assert!(turns.take().is_some());
    }

    #[test]
    fn who_has_much_makes_room_for_who_has_little() {
        let mut turns = Turns::new(10, 4);
        for number in 0..50 {
            turns.add(work(number), 1);
        }
        assert_eq!(turns.len(), 10, "what is not remembered is found again");
        turns.add(work(100), 2);
        turns.add(work(200), 3);
        assert_eq!(turns.len(), 10);
        let order = order(&mut turns);
        let (first, second) = (work(100), work(200));
        assert_eq!(order[..4], [work(0), first, second, work(1)]);
        assert_eq!(order.last(), Some(&work(7)), "the latest made room");
    }
}
