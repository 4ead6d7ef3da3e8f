//! A lane and its windows, by themselves.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use trust::clock::UnixMillis;

use crate::pec::records::QueueId;

/// What is known of a sender's messages in a lane; it stands in the ring, or is being read.
#[derive(Debug, Default)]
pub(super) struct Window {
    pub(super) ready: VecDeque<QueueId>,
    /// The catalog has more that is due.
    pub(super) more: bool,
    pub(super) reading: bool,
    /// Since it is being read something has come that the reading may not see.
    pub(super) stale: bool,
    /// Behind which key to read on.
    pub(super) after: Option<Bytes>,
    pub(super) in_ring: bool,
}

impl Window {
    pub(super) fn has_work(&self) -> bool {
        !self.ready.is_empty() || self.more
    }

    /// Whether a connection would find something to do here.
    pub(super) fn wants_connection(&self) -> bool {
        !self.ready.is_empty() || (self.more && !self.reading)
    }

    /// The catalog has something that is due, and nobody knows where.
    pub(super) fn read_anew(&mut self) {
        self.more = true;
        self.stale |= self.reading;
        self.after = None;
    }
}

/// How far the catalog was looked through for senders that have no window.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// There may be some.
    pub(super) wanted: bool,
    /// A connection is at it.
    pub(super) running: bool,
    /// From which key on to look.
    pub(super) from: Option<Bytes>,
    /// Something came where the look has been: once more from the front afterwards.
    again: bool,
    /// Senders that this look has found so far.
    seen: u32,
    /// The next one should not begin before.
    rested: UnixMillis,
}

impl Look {
    /// There may be a sender without a window, whose rows stand at `key`.
    pub(super) fn want(&mut self, key: Option<&[u8]>) {
        if !self.wanted {
            self.forget();
            self.wanted = true;
            self.again = self.running;
        } else if self.running
            || self.from.as_deref().is_some_and(|from| key.is_none_or(|key| key < from))
        {
            self.again = true;
        }
    }

    /// Nothing is looked for any more.
    pub(super) fn forget(&mut self) {
        *self = Self { running: self.running, rested: self.rested, ..Self::default() };
    }

    /// When the next look may begin that was to begin at `at`: a look through *n* senders is not
    /// repeated within *n* milliseconds.
    pub(super) fn not_before(&self, at: UnixMillis) -> UnixMillis {
        at.max(self.rested)
    }

    /// So many senders were found, and it goes on from `on`, or the end was reached.
    pub(super) fn came(&mut self, found: usize, on: Option<Bytes>, now: UnixMillis) {
        self.seen = self.seen.saturating_add(u32::try_from(found).unwrap_or(u32::MAX));
        if on.is_none() {
            self.rested = now.plus_millis(i64::from(self.seen));
            self.seen = 0;
            self.wanted = std::mem::take(&mut self.again);
        }
        self.from = on;
    }
}

/// See `schedule`.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) windows: HashMap<u64, Window>,
    /// Senders with work, the next one first.
    pub(super) ring: VecDeque<u64>,
    pub(super) look: Look,
    /// When to look again.
    pub(super) wake: Option<UnixMillis>,
    pub(super) connections: usize,
    /// Connections that it may have, by how it answers.
    pub(super) allowed: usize,
    /// When it last got a connection; a new one comes behind those that have waited.
    pub(super) turn: u64,
}

impl Lane {
    pub(super) fn new(turn: u64) -> Self {
        Self {
            windows: HashMap::new(),
            ring: VecDeque::new(),
            look: Look::default(),
            wake: None,
            connections: 0,
            allowed: 1,
            turn,
        }
    }

    /// Whether nothing is known to be here now.
    pub(super) fn is_idle(&self) -> bool {
        let looks = self.look.wanted || self.look.running;
        self.windows.is_empty() && self.connections == 0 && !looks
    }

    /// Puts a sender with work into the ring.
    pub(super) fn enter(&mut self, class: u64) {
        if let Some(window) = self.windows.get_mut(&class)
            && window.has_work()
            && !window.in_ring
        {
            window.in_ring = true;
            self.ring.push_back(class);
        }
    }
}
