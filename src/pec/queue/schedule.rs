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
//! * Memory is bounded by [`Bounds::entries`] messages, as many windows and as many failing
//!   destinations. What does not fit is found in the catalog when its turn comes: a window says that
//!   there is more.
//!
//! Files: `places` says which lane gets a connection.
//!
//! Not here: reading the catalog (`order`), connections (`relay`).
//!
//! [`QueueRecord::sender_class`]: crate::pec::records::QueueRecord::sender_class

mod places;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque, hash_map::Entry};

use bytes::Bytes;
use trust::clock::UnixMillis;

use self::places::Places;
use crate::pec::records::{DestinationRecord, Due, LaneId, QueueId};

/// Messages that a window holds at most.
pub(super) const WINDOW_ENTRIES: usize = 100;

/// What bounds the schedule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Messages known at most, and windows, and failing destinations.
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

#[derive(Debug, Default)]
struct Window {
    ready: VecDeque<QueueId>,
    /// The catalog has more that is due.
    more: bool,
    reading: bool,
    /// Since it is being read something has come that the reading may not see.
    stale: bool,
    /// Behind which key to read on.
    after: Option<Bytes>,
    /// When to look into the catalog again.
    wake: Option<UnixMillis>,
    in_ring: bool,
}

impl Window {
    fn has_work(&self) -> bool {
        !self.ready.is_empty() || self.more
    }

    /// Whether a connection would find something to do here.
    fn wants_connection(&self) -> bool {
        !self.ready.is_empty() || !self.reading
    }
}

#[derive(Debug)]
struct Lane {
    windows: HashMap<u64, Window>,
    /// Senders with work, the next one first.
    ring: VecDeque<u64>,
    connections: usize,
    /// Connections that it may have, by how it answers.
    allowed: usize,
    /// When it last got a connection; a new one comes behind those that have waited.
    turn: u64,
}

impl Lane {
    fn new(turn: u64) -> Self {
        Self { windows: HashMap::new(), ring: VecDeque::new(), connections: 0, allowed: 1, turn }
    }
}

/// A message that somebody is at.
#[derive(Debug, Default)]
struct Claimed {
    /// The sender for whom it takes a connection; nobody's when an operator is at it.
    class: Option<u64>,
    /// What was announced of it meanwhile, and when.
    moved: Option<(Due, UnixMillis)>,
}

#[derive(Debug)]
struct Failing {
    record: DestinationRecord,
    /// Its instant has come.
    open: bool,
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
    /// When windows are looked at again.
    wakes: BTreeSet<(UnixMillis, LaneId, u64)>,
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

    /// Destinations that are left alone at present.
    pub(super) fn failing(&self) -> usize {
        self.failing.len()
    }

    /// Takes note of a row that was committed. While somebody has claimed it, it is kept for the end of
    /// the claim; an entry elsewhere that has been overtaken is found out when its turn comes.
    pub(super) fn announce(&mut self, due: Due, now: UnixMillis) {
        if let Some(claimed) = self.claimed.get_mut(&due.id) {
            claimed.moved = Some((due, now));
            return;
        }
        let full = self.known.len() >= self.bounds.entries;
        let Some(window) = self.window(due.lane, due.class) else { return };
        if due.at > now {
            self.wake_at(due.lane, due.class, due.at);
            return;
        }
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

    /// Takes note that rows of a sender in a lane stand in the catalog, and when the first is due.
    pub(super) fn note(&mut self, lane: LaneId, class: u64, at: UnixMillis, now: UnixMillis) {
        let Some(window) = self.window(lane, class) else { return };
        if at > now {
            self.wake_at(lane, class, at);
            return;
        }
        window.more = true;
        window.stale |= window.reading;
        window.after = None;
        self.enter(lane, class);
    }

    /// Lets what has become due have its turn.
    pub(super) fn ripen(&mut self, now: UnixMillis) {
        while let Some(&(at, lane, class)) = self.wakes.first() {
            if at > now {
                break;
            }
            self.wakes.pop_first();
            if let Some(window) = self.window(lane, class) {
                window.wake = None;
                window.more = true;
                window.stale |= window.reading;
                window.after = None;
            }
            self.enter(lane, class);
        }
        while let Some(&(at, lane)) = self.closed.first() {
            if at > now {
                break;
            }
            self.closed.pop_first();
            if let Some(failing) = self.failing.get_mut(&lane) {
                failing.open = true;
            }
            self.place(lane);
        }
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
        let full = self.known.len() >= self.bounds.entries;
        let Some(here) = self.lanes.get_mut(&lane) else { return Next::Nothing };
        for _ in 0..here.ring.len() {
            let Some(class) = here.ring.pop_front() else { break };
            let Some(window) = here.windows.get_mut(&class) else { continue };
            if self.places.busy(class) >= busy_max {
                here.ring.push_back(class);
                continue;
            }
            let mut taken = None;
            while let Some(id) = window.ready.pop_front() {
                // An operator may be at it: whoever releases it announces it.
                if let Entry::Vacant(free) = self.claimed.entry(id) {
                    free.insert(Claimed { class: Some(class), ..Claimed::default() });
                    self.places.came(class);
                    taken = Some(id);
                    break;
                }
            }
            let read = taken.is_none() && window.more && !window.reading;
            if read {
                window.reading = true;
            }
            window.in_ring = window.has_work();
            if window.in_ring {
                here.ring.push_back(class);
            }
            match taken {
                Some(id) => return Next::Message(id, class),
                None if read => {
                    let entries = if full { 1 } else { WINDOW_ENTRIES };
                    return Next::Read(class, window.after.clone(), entries);
                }
                None => {}
            }
        }
        Next::Nothing
    }

    /// A window was read; `None` when it could not be, and is found again when the catalog is looked
    /// through.
    pub(super) fn filled(&mut self, lane: LaneId, class: u64, read: Option<Read>) {
        let Some(window) = self.window(lane, class) else { return };
        window.reading = false;
        let Some(Read { ids, after, later }) = read else {
            window.more = false;
            window.stale = false;
            self.incomplete = true;
            return;
        };
        // What came meanwhile may stand before the last that was read.
        let stale = std::mem::take(&mut window.stale);
        window.more = stale || after.is_some();
        window.after = after.filter(|_| !stale);
        let fresh: Vec<QueueId> = ids.into_iter().filter(|id| self.known.insert(*id)).collect();
        if let Some(window) = self.window(lane, class) {
            window.ready.extend(fresh);
        }
        if let Some(at) = later {
            self.wake_at(lane, class, at);
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
    /// elsewhere meanwhile.
    pub(super) fn give_back(&mut self, id: QueueId, lane: LaneId, class: u64) {
        if let Some((due, now)) = self.unclaim(id) {
            self.known.remove(&id);
            self.announce(due, now);
            return;
        }
        match self.window(lane, class) {
            Some(window) => window.ready.push_front(id),
            None => drop(self.known.remove(&id)),
        }
        self.enter(lane, class);
    }

    /// The destination has answered. Returns whether it was failing before.
    pub(super) fn succeeded(&mut self, lane: LaneId) -> bool {
        let destination_max = self.bounds.per_destination;
        if let Some(here) = self.lanes.get_mut(&lane) {
            here.allowed = (here.allowed + 1).min(destination_max);
        }
        let failing = self.failing.remove(&lane);
        if let Some(failing) = &failing {
            self.closed.remove(&(UnixMillis(failing.record.next_attempt_millis), lane));
        }
        self.place(lane);
        failing.is_some()
    }

    /// How often the destination failed, and since when; what a further failure builds on.
    pub(super) fn failures(&self, lane: LaneId) -> Option<&DestinationRecord> {
        self.failing.get(&lane).map(|failing| &failing.record)
    }

    /// Whether another connection of `lane` is busy: then a failure says that there are too many.
    pub(super) fn has_others(&mut self, lane: LaneId) -> bool {
        let Some(here) = self.lanes.get_mut(&lane).filter(|here| here.connections > 1) else {
            return false;
        };
        here.allowed = (here.connections - 1).max(1);
        self.place(lane);
        true
    }

    /// Whether there is room to remember that a destination fails.
    pub(super) fn may_fail(&self, lane: LaneId) -> bool {
        self.failing.contains_key(&lane) || self.failing.len() < self.bounds.entries
    }

    /// The destination does not answer, and is left alone until the instant of `record`.
    pub(super) fn failed(&mut self, lane: LaneId, record: DestinationRecord) {
        if let Some(old) = self.failing.get(&lane) {
            self.closed.remove(&(UnixMillis(old.record.next_attempt_millis), lane));
        }
        if let Some(here) = self.lanes.get_mut(&lane) {
            here.allowed = 1;
        }
        self.closed.insert((UnixMillis(record.next_attempt_millis), lane));
        self.failing.insert(lane, Failing { record, open: false });
        self.place(lane);
    }

    /// Tries a failing destination at once.
    pub(super) fn hurry(&mut self, lane: LaneId) {
        if let Some(failing) = self.failing.get_mut(&lane) {
            failing.open = true;
            self.closed.remove(&(UnixMillis(failing.record.next_attempt_millis), lane));
        }
        self.place(lane);
    }

    /// Takes out the failing destinations for which nothing waits here and whose instant is before
    /// `before`: their rows may go.
    pub(super) fn forgotten(&mut self, before: UnixMillis) -> Vec<LaneId> {
        let old = |lane: &LaneId, failing: &Failing| {
            failing.record.next_attempt_millis < before.0 && !self.lanes.contains_key(lane)
        };
        let lanes: Vec<LaneId> = self
            .failing
            .iter()
            .filter(|(lane, failing)| old(lane, failing))
            .map(|(lane, _)| *lane)
            .collect();
        for lane in &lanes {
            self.failing.remove(lane);
        }
        lanes
    }

    /// The window of a sender in a lane, made when there is room; without room the catalog is
    /// looked through later.
    fn window(&mut self, lane: LaneId, class: u64) -> Option<&mut Window> {
        let exists = self.lanes.get(&lane).is_some_and(|lane| lane.windows.contains_key(&class));
        if !exists {
            if self.windows >= self.bounds.entries {
                self.incomplete = true;
                return None;
            }
            self.windows += 1;
        }
        let turn = self.places.turn();
        let here = self.lanes.entry(lane).or_insert_with(|| Lane::new(turn));
        Some(here.windows.entry(class).or_default())
    }

    fn wake_at(&mut self, lane: LaneId, class: u64, at: UnixMillis) {
        let Some(window) = self.window(lane, class) else { return };
        let before = window.wake;
        if before.is_some_and(|before| before <= at) {
            return;
        }
        window.wake = Some(at);
        if let Some(before) = before {
            self.wakes.remove(&(before, lane, class));
        }
        self.wakes.insert((at, lane, class));
    }

    /// Puts a sender with work into the ring of its lane.
    fn enter(&mut self, lane: LaneId, class: u64) {
        let Some(here) = self.lanes.get_mut(&lane) else { return };
        if let Some(window) = here.windows.get_mut(&class)
            && window.has_work()
            && !window.in_ring
        {
            window.in_ring = true;
            here.ring.push_back(class);
        }
        self.place(lane);
    }

    /// Lets go of windows, and of the lane, where nothing waits.
    fn forget_idle(&mut self, lane: LaneId) {
        let Some(here) = self.lanes.get_mut(&lane) else { return };
        let before = here.windows.len();
        here.windows
            .retain(|_, window| window.has_work() || window.wake.is_some() || window.reading);
        self.windows -= before - here.windows.len();
        if here.windows.is_empty() && here.connections == 0 && !self.places.contains(lane) {
            self.lanes.remove(&lane);
        }
    }
}

#[cfg(test)]
mod tests;
