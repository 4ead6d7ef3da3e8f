//! Whose turn it is: the schedule in memory.
//!
//! A *lane* is a destination; in it every *sender* (a class of [`QueueRecord::sender_class`]) has a
//! window on its messages that are due, in the order of time. Invariants:
//!
//! * Senders of a lane take turns, message by message: whoever comes to a lane of *n* senders waits
//!   for *n* messages at most before his first goes, however many the others have.
//! * Lanes take turns too: the one with the fewest connections first, then the one that had its
//!   turn the longest ago. A lane has more than one connection only while a quarter of all places
//!   is free, and gets each further one by a message that was answered: a destination that does
//!   not answer has one.
//! * One sender's messages, to however many lanes, are on a quarter of all connections at most while
//!   another's wait, and never on the last quarter (`places`).
//! * A destination that fails is left alone until its instant, whatever waits for it; then one
//!   connection tries for all.
//! * A message is claimed by at most one connection or operator at a time.
//! * Memory is bounded by [`Bounds::entries`] messages, as many lanes, as many windows beyond the
//!   first of each lane, and as many failing destinations. What does not fit is found in the catalog
//!   when its turn comes: a window says that it has more messages, a lane that it has more senders.
//! * No lane keeps another from having windows: it has at most an eighth as many as are free, and
//!   none while its destination is left alone.
//! * A lane that has more senders than windows shows them one after the other: whoever has had his
//!   turn gives his window to the next.
//!
//! Files: `lane` is one lane, `places` says which gets a connection, `looks` where the catalog has
//! more senders, `failing` which destinations are left alone.
//!
//! Not here: reading the catalog (`order`), connections (`relay`).
//!
//! [`QueueRecord::sender_class`]: crate::pec::records::QueueRecord::sender_class

mod failing;
mod lane;
mod looks;
mod places;

use std::collections::{BTreeSet, HashMap, HashSet, hash_map::Entry};

use bytes::Bytes;
use trust::clock::UnixMillis;

pub(super) use self::looks::{LOOK_SENDERS, Looked};
use self::{
    failing::Failing,
    lane::{Lane, Window},
    places::Places,
};
use crate::pec::records::{Due, LaneId, QueueId};

/// Messages that a window holds at most.
pub(super) const WINDOW_ENTRIES: usize = 100;

/// What bounds the schedule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Messages known at most, and lanes, windows beyond their first ones, and failing destinations.
    pub(super) entries: usize,
    /// Connections to one destination at most.
    pub(super) per_destination: usize,
    /// Connections to all of them at most.
    pub(super) connections: usize,
}

/// What a connection does next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Next {
    /// It sends this message, which it has claimed.
    Message(QueueId, u64),
    /// It reads the window of this sender from the catalog: behind this key, so many messages.
    Read(u64, Option<Bytes>, usize),
    /// It looks for senders in the catalog: from this key on, for so many whose messages are due.
    Look(Option<Bytes>, usize),
    /// Nothing waits here.
    Nothing,
}

/// What a window was read as.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) ids: Vec<QueueId>,
    /// The last key, when there may be more that is due.
    pub(super) after: Option<Bytes>,
    /// When the first that is not due will be.
    pub(super) later: Option<UnixMillis>,
}

/// A message that somebody is at.
#[derive(Debug, Default)]
struct Claimed {
    /// The sender for whom it takes a connection; nobody's when an operator is at it.
    class: Option<u64>,
    /// What was announced of it meanwhile, and when.
    moved: Option<(Due, UnixMillis)>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Schedule {
    bounds: Bounds,
    lanes: HashMap<LaneId, Lane>,
    windows: usize,
    places: Places,
    failing: HashMap<LaneId, Failing>,
    /// When failing lanes are tried again.
    closed: BTreeSet<(UnixMillis, LaneId)>,
    /// When lanes are looked at again.
    wakes: BTreeSet<(UnixMillis, LaneId)>,
    /// When a lane is that was forgotten for others.
    later: Option<UnixMillis>,
    /// In a window or claimed.
    known: HashSet<QueueId>,
    claimed: HashMap<QueueId, Claimed>,
    connections: usize,
    incomplete: bool,
}

impl Schedule {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            lanes: HashMap::new(),
            windows: 0,
            places: Places::new(bounds.connections),
            failing: HashMap::new(),
            closed: BTreeSet::new(),
            wakes: BTreeSet::new(),
            later: None,
            known: HashSet::new(),
            claimed: HashMap::new(),
            connections: 0,
            incomplete: true,
        }
    }

    /// Whether the catalog may hold what no window tells of; asking makes it no.
    pub(super) fn take_incomplete(&mut self) -> bool {
        std::mem::take(&mut self.incomplete)
    }

    /// The catalog may hold what no window tells of.
    pub(super) fn set_incomplete(&mut self) {
        self.incomplete = true;
    }

    /// Connections that are busy.
    pub(super) fn connections(&self) -> usize {
        self.connections
    }

    /// Takes note of a row that was committed. While somebody has claimed it, it is kept for the end of
    /// the claim; an entry elsewhere that has been overtaken is found out when its turn comes.
    pub(super) fn announce(&mut self, due: Due, now: UnixMillis) {
        if let Some(claimed) = self.claimed.get_mut(&due.id) {
            claimed.moved = Some((due, now));
            return;
        }
        if let Some(failing) = self.closed_lane(due.lane) {
            failing.more = true;
            return;
        }
        let full = self.known.len() >= self.bounds.entries;
        let Some(here) = self.lane(due.lane) else { return };
        if due.at > now {
            self.wake_at(due.lane, due.at);
            return;
        }
        let is_known = here.windows.contains_key(&due.class);
        // Of a sender without a window the catalog may have what is older.
        if !is_known && (here.look.wanted || self.room(due.lane) == 0) {
            self.want_look(due.lane, Some(&due.octets()));
            return;
        }
        let Some(window) = self.window(due.lane, due.class) else { return };
        window.stale |= window.reading;
        // What the catalog has is older: this one comes behind it.
        if full || window.more || window.ready.len() >= WINDOW_ENTRIES {
            window.more = true;
            // But whoever drew his instant first may have committed last.
            if window.after.as_ref().is_some_and(|after| due.octets() <= *after) {
                window.after = None;
            }
        } else {
            window.ready.push_back(due.id);
            self.known.insert(due.id);
        }
        self.enter(due.lane, due.class);
    }

    /// What the next message of `lane` is.
    pub(super) fn next(&mut self, lane: LaneId) -> Next {
        let mut next = self.next_within(lane, self.places.share());
        self.place(lane);
        // Senders who have connections enough come last, and not at all while others wait.
        if next == Next::Nothing && self.first_ready().is_none() {
            next = self.next_within(lane, self.places.most());
            self.place(lane);
        }
        if next == Next::Nothing {
            self.forget_idle(lane);
        }
        next
    }

    /// The next message of the senders in `lane` that have fewer connections than `busy_max`.
    fn next_within(&mut self, lane: LaneId, busy_max: usize) -> Next {
        if let Some(look) = self.begin_look(lane) {
            return look;
        }
        let Some(here) = self.lanes.get_mut(&lane) else { return Next::Nothing };
        for _ in 0..here.ring.len() {
            let Some(class) = here.ring.pop_front() else { break };
            let Some(window) = here.windows.get_mut(&class) else { continue };
            if self.places.busy(class) >= busy_max {
                here.ring.push_back(class);
                continue;
            }
            window.in_ring = false;
            while let Some(id) = window.ready.pop_front() {
                // An operator may be at it: whoever releases it announces it.
                if let Entry::Vacant(free) = self.claimed.entry(id) {
                    free.insert(Claimed { class: Some(class), ..Claimed::default() });
                    self.places.came(class);
                    self.had_turn(lane, class);
                    return Next::Message(id, class);
                }
            }
            if window.more && !window.reading {
                window.reading = true;
                let after = window.after.clone();
                here.enter(class);
                let few = here.look.wanted || self.known.len() >= self.bounds.entries;
                return Next::Read(class, after, if few { 1 } else { WINDOW_ENTRIES });
            }
            if window.has_work() {
                here.enter(class);
            } else if !window.reading {
                here.windows.remove(&class);
                self.windows -= 1;
            }
        }
        Next::Nothing
    }

    /// A sender has had his turn: he is the last in the ring, or makes room for one without a window.
    fn had_turn(&mut self, lane: LaneId, class: u64) {
        let crowded = self.is_crowded(lane);
        let Some(here) = self.lanes.get_mut(&lane) else { return };
        let Some(window) = here.windows.get_mut(&class) else { return };
        if window.reading || (window.has_work() && !crowded) {
            here.enter(class);
            return;
        }
        let has_more = window.has_work();
        self.forget_window(lane, class);
        if has_more {
            self.want_look(lane, Some(&Due::prefix(lane, class)));
        }
    }

    fn forget_window(&mut self, lane: LaneId, class: u64) {
        let Some(here) = self.lanes.get_mut(&lane) else { return };
        let Some(window) = here.windows.remove(&class) else { return };
        self.windows -= 1;
        if window.in_ring {
            here.ring.retain(|other| *other != class);
        }
        for id in window.ready {
            if !self.claimed.contains_key(&id) {
                self.known.remove(&id);
            }
        }
    }

    /// A window was read; `None` when it could not be, and is found again when the catalog is looked
    /// through.
    pub(super) fn filled(&mut self, lane: LaneId, class: u64, read: Option<Read>) {
        if let Some(failing) = self.closed_lane(lane) {
            failing.more = true;
            return;
        }
        let here = self.lanes.get_mut(&lane);
        let Some(window) = here.and_then(|here| here.windows.get_mut(&class)) else {
            self.want_look(lane, None);
            return;
        };
        window.reading = false;
        // What came meanwhile may stand before the last that was read.
        let stale = std::mem::take(&mut window.stale);
        let Some(Read { ids, after, later }) = read else {
            window.more = false;
            self.incomplete = true;
            if window.ready.is_empty() {
                self.forget_window(lane, class);
            }
            self.place(lane);
            return;
        };
        window.more = stale || after.is_some();
        window.after = after.filter(|_| !stale);
        window.ready.extend(ids.into_iter().filter(|id| self.known.insert(*id)));
        if !window.has_work() {
            self.forget_window(lane, class);
        }
        if let Some(at) = later {
            self.wake_at(lane, at);
        }
        self.enter(lane, class);
    }

    /// Claims a row for an operator; false when a connection, or another operator, is at it.
    pub(super) fn claim(&mut self, id: QueueId) -> bool {
        let Entry::Vacant(free) = self.claimed.entry(id) else { return false };
        free.insert(Claimed::default());
        self.known.insert(id);
        true
    }

    /// Whether somebody is at the row.
    pub(super) fn is_claimed(&self, id: QueueId) -> bool {
        self.claimed.contains_key(&id)
    }

    /// The claim on a row ends; `again` when the row stays in the queue.
    pub(super) fn release(&mut self, id: QueueId, again: Option<Due>, now: UnixMillis) {
        let moved = self.unclaim(id);
        self.known.remove(&id);
        if let Some((due, now)) = again.map(|due| (due, now)).or(moved) {
            self.announce(due, now);
        }
    }

    /// Ends the claim on a row; what was announced of it meanwhile.
    fn unclaim(&mut self, id: QueueId) -> Option<(Due, UnixMillis)> {
        let claimed = self.claimed.remove(&id)?;
        if let Some(class) = claimed.class {
            self.places.left(class);
        }
        claimed.moved
    }

    /// The claimed message could not be tried: it is the next of its sender, unless its row has gone
    /// elsewhere meanwhile, or the lane is left alone.
    pub(super) fn give_back(&mut self, id: QueueId, lane: LaneId, class: u64) {
        if let Some((due, now)) = self.unclaim(id) {
            self.known.remove(&id);
            self.announce(due, now);
            return;
        }
        if let Some(failing) = self.closed_lane(lane) {
            failing.more = true;
            self.known.remove(&id);
            return;
        }
        match self.window(lane, class) {
            Some(window) => window.ready.push_front(id),
            None => drop(self.known.remove(&id)),
        }
        self.enter(lane, class);
    }

    /// The lane, made when there is room; without room the catalog is looked through later.
    fn lane(&mut self, lane: LaneId) -> Option<&mut Lane> {
        if !self.lanes.contains_key(&lane) {
            if self.lanes.len() >= self.bounds.entries && !self.forget_waiting() {
                self.incomplete = true;
                return None;
            }
            self.lanes.insert(lane, Lane::new(self.places.turn()));
        }
        self.lanes.get_mut(&lane)
    }

    /// The window of a sender in a lane, made when it is not there.
    fn window(&mut self, lane: LaneId, class: u64) -> Option<&mut Window> {
        self.lane(lane)?;
        let window = self.lanes.get_mut(&lane)?.windows.entry(class);
        if matches!(window, Entry::Vacant(_)) {
            self.windows += 1;
        }
        Some(window.or_default())
    }

    /// Puts a sender with work into the ring of its lane.
    fn enter(&mut self, lane: LaneId, class: u64) {
        if let Some(here) = self.lanes.get_mut(&lane) {
            here.enter(class);
        }
        self.place(lane);
    }

    /// Lets go of the lane when nothing waits there.
    fn forget_idle(&mut self, lane: LaneId) {
        let idle = |here: &Lane| here.is_idle() && here.wake.is_none();
        if self.lanes.get(&lane).is_some_and(idle) && !self.places.contains(lane) {
            self.lanes.remove(&lane);
        }
    }
}

#[cfg(test)]
mod tests;
