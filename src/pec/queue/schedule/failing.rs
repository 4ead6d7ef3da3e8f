//! Destinations that do not answer.
//!
//! While one is left alone its lane has no window: that there is something for it is all that is
//! known, and it is looked for in the catalog when the destination is tried again.

use trust::clock::UnixMillis;

use super::Schedule;
use crate::pec::records::{DestinationRecord, LaneId};

/// A destination that does not answer.
#[derive(Debug)]
pub(super) struct Failing {
    pub(super) record: DestinationRecord,
    /// Its instant has come.
    pub(super) open: bool,
    /// The catalog may have messages for it, which no window tells of.
    pub(super) more: bool,
}

impl Schedule {
    /// Destinations that are left alone at present.
    pub(in crate::pec::queue) fn failing(&self) -> usize {
        self.failing.len()
    }

    /// What is known of the lane while its destination is left alone.
    pub(super) fn closed_lane(&mut self, lane: LaneId) -> Option<&mut Failing> {
        self.failing.get_mut(&lane).filter(|failing| !failing.open)
    }

    /// The destination has answered. Returns whether it was failing before.
    pub(in crate::pec::queue) fn succeeded(&mut self, lane: LaneId) -> bool {
        let destination_max = self.bounds.per_destination;
        if let Some(here) = self.lanes.get_mut(&lane) {
            here.allowed = (here.allowed + 1).min(destination_max);
        }
        let failing = self.failing.remove(&lane);
        if let Some(failing) = &failing {
            self.closed.remove(&(UnixMillis(failing.record.next_attempt_millis), lane));
            if failing.more {
                self.want_look(lane, None);
            }
        }
        self.place(lane);
        failing.is_some()
    }

    /// How often the destination failed, and since when; what a further failure builds on.
    pub(in crate::pec::queue) fn failures(&self, lane: LaneId) -> Option<&DestinationRecord> {
        self.failing.get(&lane).map(|failing| &failing.record)
    }

    /// Whether another connection of `lane` is busy: then a failure says that there are too many.
    pub(in crate::pec::queue) fn has_others(&mut self, lane: LaneId) -> bool {
        let Some(here) = self.lanes.get_mut(&lane).filter(|here| here.connections > 1) else {
            return false;
        };
        here.allowed = (here.connections - 1).max(1);
        self.place(lane);
        true
    }

    /// Whether there is room to remember that a destination fails.
    pub(in crate::pec::queue) fn may_fail(&self, lane: LaneId) -> bool {
        self.failing.contains_key(&lane) || self.failing.len() < self.bounds.entries
    }

    /// The destination does not answer, and is left alone until the instant of `record`.
    pub(in crate::pec::queue) fn failed(&mut self, lane: LaneId, record: DestinationRecord) {
        if let Some(old) = self.failing.get(&lane) {
            self.closed.remove(&(UnixMillis(old.record.next_attempt_millis), lane));
        }
        self.closed.insert((UnixMillis(record.next_attempt_millis), lane));
        self.failing.insert(lane, Failing { record, open: false, more: true });
        if let Some(here) = self.lanes.get_mut(&lane) {
            here.allowed = 1;
            here.ring.clear();
            here.look.forget();
            if let Some(at) = here.wake.take() {
                self.wakes.remove(&(at, lane));
            }
            let classes: Vec<u64> = here.windows.keys().copied().collect();
            for class in classes {
                self.forget_window(lane, class);
            }
        }
        self.place(lane);
        self.forget_idle(lane);
    }

    /// Tries a failing destination at once.
    pub(in crate::pec::queue) fn hurry(&mut self, lane: LaneId) {
        if let Some(failing) = self.closed_lane(lane) {
            let at = UnixMillis(failing.record.next_attempt_millis);
            self.closed.remove(&(at, lane));
            self.open(lane);
        }
    }

    /// Lets what was put off together be tried.
    pub(super) fn open_due(&mut self, now: UnixMillis) {
        while let Some(&(at, lane)) = self.closed.first() {
            if at > now {
                break;
            }
            self.closed.pop_first();
            self.open(lane);
        }
    }

    fn open(&mut self, lane: LaneId) {
        let Some(failing) = self.failing.get_mut(&lane) else { return };
        failing.open = true;
        // Without room the catalog is looked through later, and tells of it then.
        if std::mem::take(&mut failing.more) {
            self.want_look(lane, None);
        }
    }

    /// Takes out the failing destinations for which nothing waits and whose instant is before
    /// `before`: their rows may go.
    pub(in crate::pec::queue) fn forgotten(&mut self, before: UnixMillis) -> Vec<LaneId> {
        let old = |lane: &LaneId, failing: &Failing| {
            let waits = failing.more || !failing.open || self.lanes.contains_key(lane);
            failing.record.next_attempt_millis < before.0 && !waits
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
}
