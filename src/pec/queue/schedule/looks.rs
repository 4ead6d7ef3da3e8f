//! Where the catalog has more senders than memory tells of.
//!
//! A lane is looked through by a connection of its own, sender by sender, as far as there is room
//! for windows, and from there on when room comes. What is due later is not remembered one by one:
//! the lane is looked through again when the first of it is.

use bytes::Bytes;
use trust::clock::UnixMillis;

use super::{Next, Schedule, lane::Lane};
use crate::pec::records::{Due, LaneId};

/// Senders that one look finds at most.
pub(in crate::pec::queue) const LOOK_SENDERS: usize = 100;

/// Lanes that are looked at for one that may be forgotten.
const WAITING_TRIED: usize = 64;

/// What a look has found.
#[derive(Debug)]
pub(in crate::pec::queue) struct Looked {
    /// Senders and when the first message of each is due.
    pub(in crate::pec::queue) senders: Vec<(u64, UnixMillis)>,
    /// Where to look on, when the end was not reached.
    pub(in crate::pec::queue) on: Option<Bytes>,
}

impl Schedule {
    /// Takes note that rows stand in the catalog for a lane. False when there is no room to remember
    /// it: then the catalog is looked through again, from this lane on.
    pub(in crate::pec::queue) fn note(&mut self, lane: LaneId) -> bool {
        if let Some(failing) = self.closed_lane(lane) {
            failing.more = true;
            return true;
        }
        self.want_look(lane, None);
        self.lanes.contains_key(&lane)
    }

    /// The catalog may have a sender in the lane who has no window; his rows stand at `key`.
    pub(super) fn want_look(&mut self, lane: LaneId, key: Option<&[u8]>) {
        if let Some(here) = self.lane(lane) {
            here.look.want(key);
            self.place(lane);
        }
    }

    /// Lets what has become due have its turn.
    pub(in crate::pec::queue) fn ripen(&mut self, now: UnixMillis) {
        while let Some(&(at, lane)) = self.wakes.first() {
            if at > now {
                break;
            }
            self.wakes.pop_first();
            let Some(here) = self.lanes.get_mut(&lane) else { continue };
            here.wake = None;
            let soonest = here.look.not_before(at);
            if soonest > now {
                self.wake_at(lane, soonest);
            } else {
                self.want_look(lane, None);
            }
        }
        if self.later.is_some_and(|at| at <= now) {
            self.later = None;
            self.incomplete = true;
        }
        self.open_due(now);
    }

    /// Lets the lane be looked at again when something there is due.
    pub(super) fn wake_at(&mut self, lane: LaneId, at: UnixMillis) {
        let Some(here) = self.lanes.get_mut(&lane) else { return };
        if here.wake.is_some_and(|before| before <= at) {
            return;
        }
        if let Some(before) = here.wake.replace(at) {
            self.wakes.remove(&(before, lane));
        }
        self.wakes.insert((at, lane));
    }

    /// Forgets a lane where all that is known is due later, the latest first; false when there is none.
    pub(super) fn forget_waiting(&mut self) -> bool {
        let idle = |lane: &LaneId| self.lanes.get(lane).is_some_and(Lane::is_idle);
        let mut last = self.wakes.iter().rev().take(WAITING_TRIED);
        let Some(&(at, lane)) = last.find(|(_, lane)| idle(lane)) else { return false };
        self.wakes.remove(&(at, lane));
        self.lanes.remove(&lane);
        self.later = Some(self.later.map_or(at, |later| later.min(at)));
        true
    }

    /// Windows that a lane may have.
    fn windows_max(&self) -> usize {
        (self.bounds.entries.saturating_sub(self.windows) / 8).max(1)
    }

    /// Windows that the lane may have besides those it has.
    pub(super) fn room(&self, lane: LaneId) -> usize {
        let windows = self.lanes.get(&lane).map_or(0, |here| here.windows.len());
        self.windows_max().saturating_sub(windows)
    }

    /// Whether the lane has senders without a window, and no room for one.
    pub(super) fn is_crowded(&self, lane: LaneId) -> bool {
        self.lanes.get(&lane).is_some_and(|here| {
            let look = here.look.wanted && !here.look.running;
            look && here.windows.len() >= self.windows_max()
        })
    }

    /// Whether a connection of the lane should look for senders.
    pub(super) fn wants_look(&self, here: &Lane) -> bool {
        let look = here.look.wanted && !here.look.running;
        look && here.windows.len() < self.windows_max()
    }

    /// Lets a connection of the lane look for senders, when that is wanted.
    pub(super) fn begin_look(&mut self, lane: LaneId) -> Option<Next> {
        let here = self.lanes.get(&lane)?;
        if !self.wants_look(here) {
            return None;
        }
        let room = self.room(lane);
        let here = self.lanes.get_mut(&lane)?;
        here.look.running = true;
        Some(Next::Look(here.look.from.clone(), room))
    }

    /// A lane was looked through; `None` when it could not be, and is found again when the catalog is.
    pub(in crate::pec::queue) fn looked(
        &mut self,
        lane: LaneId,
        looked: Option<Looked>,
        now: UnixMillis,
    ) {
        if let Some(here) = self.lanes.get_mut(&lane) {
            here.look.running = false;
        }
        if let Some(failing) = self.closed_lane(lane) {
            failing.more = true;
            return;
        }
        let Some(Looked { senders, mut on }) = looked else {
            self.incomplete = true;
            if let Some(here) = self.lanes.get_mut(&lane) {
                here.look.forget();
            }
            self.place(lane);
            return;
        };
        let mut found = 0;
        for (class, at) in senders {
            if at > now {
                self.wake_at(lane, at);
            } else if self.may_have_window(lane, class) {
                if let Some(window) = self.window(lane, class) {
                    window.read_anew();
                }
                self.enter(lane, class);
            } else {
                on = Some(Due::prefix(lane, class).into());
                break;
            }
            found += 1;
        }
        if let Some(here) = self.lanes.get_mut(&lane) {
            here.look.came(found, on, now);
        }
        self.place(lane);
    }

    fn may_have_window(&self, lane: LaneId, class: u64) -> bool {
        let is_known = |here: &Lane| here.windows.contains_key(&class);
        self.lanes.get(&lane).is_some_and(is_known) || self.room(lane) > 0
    }
}
