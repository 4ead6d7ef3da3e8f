//! Which lane gets a connection.
//!
//! Lanes that want one stand in order, by their connections and then by their turn. Invariants:
//!
//! * A *share* is a quarter of all connections, one at least. A lane in which only senders wait that
//!   have their share steps aside while another lane has somebody else's message.
//! * Whom nobody waits beside may have more, but not the last share: whoever comes then finds it.
//!
//! A lane that has stepped aside costs nothing until one of its sender's messages is done.

use std::collections::{BTreeSet, HashMap};

use super::{
    Schedule,
    lane::{Lane, Window},
};
use crate::pec::records::LaneId;

/// By connections, then by turn.
pub(super) type Order = (usize, u64, LaneId);

/// The lanes that want a connection, and how many every sender has.
#[derive(Debug)]
pub(super) struct Places {
    connections_max: usize,
    ready: BTreeSet<Order>,
    /// Lanes that have stepped aside, by a sender who has his share.
    aside: HashMap<u64, BTreeSet<Order>>,
    /// Where a lane stands: in `ready`, or aside for a sender.
    stands: HashMap<LaneId, (Order, Option<u64>)>,
    busy: HashMap<u64, usize>,
    turn: u64,
}

impl Places {
    pub(super) fn new(connections_max: usize) -> Self {
        Self {
            connections_max,
            ready: BTreeSet::new(),
            aside: HashMap::new(),
            stands: HashMap::new(),
            busy: HashMap::new(),
            turn: 0,
        }
    }

    /// The present turn.
    pub(super) fn turn(&self) -> u64 {
        self.turn
    }

    /// What a sender may have at most while somebody else waits.
    pub(super) fn share(&self) -> usize {
        (self.connections_max / 4).max(1)
    }

    /// What a sender may have at most while nobody else waits.
    pub(super) fn most(&self) -> usize {
        (self.connections_max - self.connections_max / 4).max(1)
    }

    /// Connections that are at a sender's messages.
    pub(super) fn busy(&self, class: u64) -> usize {
        self.busy.get(&class).copied().unwrap_or(0)
    }

    /// A connection has begun with a message of a sender.
    pub(super) fn came(&mut self, class: u64) {
        *self.busy.entry(class).or_default() += 1;
    }

    /// A connection has ended a message of a sender.
    pub(super) fn left(&mut self, class: u64) {
        if let Some(busy) = self.busy.get_mut(&class) {
            *busy = busy.saturating_sub(1);
            if *busy == 0 {
                self.busy.remove(&class);
            }
        }
    }

    /// Whether the lane wants a connection.
    pub(super) fn contains(&self, lane: LaneId) -> bool {
        self.stands.contains_key(&lane)
    }

    fn remove(&mut self, lane: LaneId) {
        let Some((order, aside)) = self.stands.remove(&lane) else { return };
        let Some(class) = aside else {
            self.ready.remove(&order);
            return;
        };
        if let Some(lanes) = self.aside.get_mut(&class) {
            lanes.remove(&order);
            if lanes.is_empty() {
                self.aside.remove(&class);
            }
        }
    }

    fn insert(&mut self, order: Order, aside: Option<u64>) {
        self.remove(order.2);
        self.stands.insert(order.2, (order, aside));
        match aside {
            None => self.ready.insert(order),
            Some(class) => self.aside.entry(class).or_default().insert(order),
        };
    }

    /// The sender of whom there is too much, when all that waits in the lane is of such.
    fn crowded(&self, here: &Lane) -> Option<u64> {
        let share = self.share();
        let wants = |class: &&u64| here.windows.get(*class).is_some_and(Window::wants_connection);
        let mut classes = here.ring.iter().filter(wants);
        let first = *classes.next()?;
        // Only a few senders can have their share: this ends soon.
        let all = self.busy(first) >= share && classes.all(|class| self.busy(*class) >= share);
        all.then_some(first)
    }

    /// Lets one lane come back for each sender who has less than his share again.
    fn call_back(&mut self) {
        let back: Vec<Order> = self
            .aside
            .iter()
            .filter(|(class, _)| self.busy(**class) < self.share())
            .filter_map(|(_, lanes)| lanes.first().copied())
            .collect();
        for order in back {
            self.insert(order, None);
        }
    }

    /// The first of those that have stepped aside, when nobody else waits.
    fn first_aside(&self) -> Option<Order> {
        let lanes = self.aside.iter().filter(|(class, _)| self.busy(**class) < self.most());
        lanes.filter_map(|(_, lanes)| lanes.first().copied()).min()
    }
}

impl Schedule {
    /// Gives a connection to the lane whose turn it is, if the bounds allow one.
    pub(in crate::pec::queue) fn take(&mut self) -> Option<LaneId> {
        self.places.call_back();
        let first = self.first_ready();
        let (open, _, lane) = first.or_else(|| self.places.first_aside())?;
        if !self.allows(open) {
            return None;
        }
        self.connections += 1;
        self.places.turn += 1;
        if let Some(taken) = self.lanes.get_mut(&lane) {
            taken.connections += 1;
            taken.turn = self.places.turn;
        }
        self.place(lane);
        Some(lane)
    }

    /// The first lane with a message of somebody who has not his share; those before it step aside.
    pub(super) fn first_ready(&mut self) -> Option<Order> {
        loop {
            let first = *self.places.ready.first()?;
            let here = self.lanes.get(&first.2).filter(|here| !self.wants_look(here));
            match here.and_then(|here| self.places.crowded(here)) {
                Some(class) => self.places.insert(first, Some(class)),
                None => return Some(first),
            }
        }
    }

    /// Whether a lane with so many connections may have another.
    fn allows(&self, open: usize) -> bool {
        let all_max = self.bounds.connections;
        let further_max = all_max - all_max / 4;
        self.connections < if open == 0 { all_max } else { further_max }
    }

    /// A connection of `lane` has ended.
    pub(in crate::pec::queue) fn ended(&mut self, lane: LaneId) {
        self.connections = self.connections.saturating_sub(1);
        if let Some(ended) = self.lanes.get_mut(&lane) {
            ended.connections = ended.connections.saturating_sub(1);
        }
        self.place(lane);
        self.forget_idle(lane);
    }

    /// Lets the lane stand among those that want a connection, or not.
    pub(super) fn place(&mut self, lane: LaneId) {
        let Some(here) = self.lanes.get(&lane) else { return };
        let allowed = match self.failing.get(&lane) {
            None => here.allowed.min(self.bounds.per_destination),
            Some(failing) => usize::from(failing.open),
        };
        let wants = |class: &u64| here.windows.get(class).is_some_and(Window::wants_connection);
        if here.connections < allowed && (self.wants_look(here) || here.ring.iter().any(wants)) {
            self.places.insert((here.connections, here.turn, lane), None);
        } else {
            self.places.remove(lane);
        }
    }
}
