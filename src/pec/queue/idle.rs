//! Connections kept open for a moment after their last message: the next message to the same
//! destination needs no new one.
//!
//! Bounded in number and time. A server may close such a connection at any moment: whoever takes one
//! tries again over a new one when it is gone.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use protocols::smtp::client::SmtpConnection;
use tokio::time::Instant;

use crate::pec::records::LaneId;

/// A connection that waits.
#[derive(Debug)]
struct Waiting {
    lane: LaneId,
    since: Instant,
    connection: SmtpConnection,
    carried: usize,
}

/// The connections that wait, the oldest first.
#[derive(Debug)]
pub struct IdleConnections {
    waiting: Mutex<VecDeque<Waiting>>,
    connections_max: usize,
    time_max: Duration,
}

impl IdleConnections {
    /// Keeps at most `connections_max`, each for `time_max`.
    #[must_use]
    pub fn new(connections_max: usize, time_max: Duration) -> Self {
        Self { waiting: Mutex::default(), connections_max, time_max }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the connection to `lane` that has waited least, with the messages it has carried.
    pub(in crate::pec) fn take(&self, lane: LaneId) -> Option<(SmtpConnection, usize)> {
        let mut waiting = self.waiting();
        let at = waiting.iter().rposition(|one| one.lane == lane)?;
        waiting.remove(at).map(|one| (one.connection, one.carried))
    }

    /// Keeps a connection that has carried so many messages; returns the one that must go for it.
    pub(in crate::pec) fn keep(
        &self,
        lane: LaneId,
        connection: SmtpConnection,
        carried: usize,
    ) -> Option<SmtpConnection> {
        if self.connections_max == 0 || self.time_max.is_zero() {
            return Some(connection);
        }
        let mut waiting = self.waiting();
        let full = waiting.len() >= self.connections_max;
        let oldest = if full { waiting.pop_front() } else { None };
        waiting.push_back(Waiting { lane, since: Instant::now(), connection, carried });
        oldest.map(|one| one.connection)
    }

    /// Takes those that have waited long enough.
    pub(super) fn expired(&self) -> Vec<SmtpConnection> {
        let mut waiting = self.waiting();
        let mut expired = Vec::new();
        while waiting.front().is_some_and(|one| one.since.elapsed() >= self.time_max) {
            expired.extend(waiting.pop_front().map(|one| one.connection));
        }
        expired
    }

    /// Takes all.
    pub(super) fn all(&self) -> Vec<SmtpConnection> {
        self.waiting().drain(..).map(|one| one.connection).collect()
    }
}
