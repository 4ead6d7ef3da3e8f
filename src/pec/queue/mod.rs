//! The outgoing queue: when which message goes to which destination.
//!
//! The queue itself is the catalog's family `outgoing_queue`, in the order of `outgoing_order`; here
//! is what sets it in motion. Invariants:
//!
//! * Losing what is in memory loses nothing: the catalog is looked through at the start, and again
//!   after there was no room for a row.
//! * One row is attempted by at most one connection at a time, and no operator changes its fate
//!   meanwhile: both hold a [`Claim`].
//! * A destination that does not answer is tried once for all that waits for it, and holds nobody
//!   else up ([`schedule`]).
//! * A row that is older than the queue's lifetime leaves it, whatever its destination does
//!   ([`sweep`]).
//!
//! Files: `orders` does what operators ask, `schedule` has the turns, `order` reads the catalog, `sweep` ends what is too old, `idle`
//! keeps connections for a moment, `backoff` counts pauses.
//!
//! Not here: the attempt itself and what follows from its outcome (`relay`).

mod backoff;
mod idle;
mod order;
pub mod orders;
mod schedule;
mod sweep;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use storage::error::StoreError;
use tokio::{
    sync::{Notify, watch},
    task::{JoinError, JoinSet},
};
use trust::clock::UnixMillis;

pub(super) use self::backoff::pause_millis;
pub use self::idle::IdleConnections;
use self::schedule::{Bounds, Next, Schedule};
use super::{
    engine::{EngineSettings, PecEngine},
    records::{DestinationRecord, Due, LaneId, QueueId},
    relay::{self, Relay},
};

/// What everybody who has to do with the queue shares: the schedule, and a bell.
#[derive(Clone, Debug)]
pub struct QueueHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    schedule: Mutex<Schedule>,
    changed: Notify,
    /// When messages began to be sent, in milliseconds since the epoch; 0 = not yet.
    began_millis: AtomicI64,
}

impl QueueHandle {
    /// An empty schedule with the bounds of `settings`.
    #[must_use]
    pub fn new(settings: &EngineSettings) -> Self {
        let bounds = Bounds {
            entries: settings.work_entries_max.max(1),
            per_destination: settings.destination_connections_max.max(1),
            connections: settings.connections_max.max(1),
        };
        let schedule = Mutex::new(Schedule::new(bounds));
        let began_millis = AtomicI64::new(0);
        Self { shared: Arc::new(Shared { schedule, changed: Notify::new(), began_millis }) }
    }

    /// Since when messages are sent.
    pub(in crate::pec) fn began(&self) -> UnixMillis {
        UnixMillis(self.shared.began_millis.load(Ordering::Relaxed))
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.shared.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the schedule of a committed row. Without room it is found in the catalog later.
    pub fn announce(&self, due: Due, now: UnixMillis) {
        self.schedule().announce(due, now);
        self.shared.changed.notify_one();
    }

    /// Claims a row, so that nobody else changes its fate; `None` while somebody does.
    pub fn claim(&self, id: QueueId) -> Option<Claim> {
        let claimed = self.schedule().claim(id);
        claimed.then(|| Claim { queue: self.clone(), id: Some(id) })
    }

    /// Lets a destination that fails be tried at once.
    pub fn hurry(&self, lane: LaneId) {
        self.schedule().hurry(lane);
        self.shared.changed.notify_one();
    }

    /// Whether somebody is at the row now.
    #[must_use]
    pub fn is_claimed(&self, id: QueueId) -> bool {
        self.schedule().is_claimed(id)
    }

    /// Connections that are busy, and destinations that are left alone at present.
    #[must_use]
    pub fn busy_and_failing(&self) -> (usize, usize) {
        let schedule = self.schedule();
        (schedule.connections(), schedule.failing())
    }
}

/// A claim on a row: while it lasts nobody else decides what becomes of it. Dropped, the row is
/// found in the catalog again.
#[derive(Debug)]
pub struct Claim {
    queue: QueueHandle,
    id: Option<QueueId>,
}

impl Claim {
    /// Ends the claim; `again` when the row stays in the queue.
    pub fn release(mut self, again: Option<Due>, now: UnixMillis) {
        if let Some(id) = self.id.take() {
            self.queue.schedule().release(id, again, now);
            self.queue.shared.changed.notify_one();
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            let mut schedule = self.queue.schedule();
            schedule.release(id, None, UnixMillis(0));
            schedule.set_incomplete();
        }
    }
}

/// A connection's place in a lane; dropped, the place is free.
#[derive(Debug)]
pub(super) struct Place {
    queue: QueueHandle,
    lane: LaneId,
}

impl Place {
    /// The lane.
    pub(super) fn lane(&self) -> LaneId {
        self.lane
    }

    /// Claims the next message of the lane and says whose it is. Reads the catalog where the
    /// schedule has not looked so far.
    pub(super) async fn next(&self, engine: &PecEngine) -> Option<(QueueId, u64, Claim)> {
        loop {
            let next = self.queue.schedule().next(self.lane);
            match next {
                Next::Nothing => return None,
                Next::Message(id, class) => {
                    let claim = Claim { queue: self.queue.clone(), id: Some(id) };
                    return Some((id, class, claim));
                }
                Next::Read(class, after, entries) => {
                    let read = order::window(engine, self.lane, class, after, entries).await;
                    let read = read.inspect_err(log_unread).ok();
                    self.queue.schedule().filled(self.lane, class, read);
                }
                Next::Look(from, room) => {
                    let looked = order::look(engine, self.lane, from, room).await;
                    let looked = looked.inspect_err(log_unread).ok();
                    self.queue.schedule().looked(self.lane, looked, engine.now());
                }
            }
        }
    }

    /// The message of `claim` could not be tried: it is its sender's next.
    pub(super) fn give_back(&self, mut claim: Claim, class: u64) {
        if let Some(id) = claim.id.take() {
            self.queue.schedule().give_back(id, self.lane, class);
        }
    }

    /// The destination has answered a message.
    pub(super) async fn succeeded(&self, engine: &PecEngine) {
        let was_failing = self.queue.schedule().succeeded(self.lane);
        self.queue.shared.changed.notify_one();
        if was_failing {
            order::forget_failure(engine, self.lane).await;
        }
    }

    /// The destination does not answer. Says whether it is left alone for a while now; it is not
    /// while other connections to it are busy, and when there is no room to remember it.
    pub(super) async fn failed(&self, engine: &PecEngine, domain: &str, failure: &Failure) -> bool {
        let record = {
            let mut schedule = self.queue.schedule();
            if schedule.has_others(self.lane) {
                return true;
            }
            if !schedule.may_fail(self.lane) {
                return false;
            }
            let record = failure.record(engine, domain, schedule.failures(self.lane));
            schedule.failed(self.lane, record.clone());
            record
        };
        tracing::info!(
            domain,
            failures = record.failures,
            reason = record.last_error,
            "destination put off"
        );
        order::note_failure(engine, self.lane, &record).await;
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queue.schedule().ended(self.lane);
        self.queue.shared.changed.notify_one();
    }
}

/// Why a destination does not answer.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// For people.
    pub(super) reason: String,
    /// It answered, and the policy on TLS was not satisfied.
    pub(super) policy: bool,
}

impl Failure {
    fn record(
        &self,
        engine: &PecEngine,
        domain: &str,
        before: Option<&DestinationRecord>,
    ) -> DestinationRecord {
        let now = engine.now();
        let failures = before.map_or(0, |before| before.failures).saturating_add(1);
        let pause = pause_millis(engine.settings(), engine.random(), failures);
        DestinationRecord {
            domain: domain.to_owned(),
            failures,
            since_millis: before.map_or(now.0, |before| before.since_millis),
            next_attempt_millis: now.plus_millis(pause).0,
            last_error: self.reason.clone(),
            policy: self.policy,
        }
    }
}

/// How long the queue sleeps at most: the clock is handed in, so that an instant cannot be slept for.
const TICK: Duration = Duration::from_millis(250);

/// The pause between two looks through the catalog for what no window tells of.
const SURVEY_MILLIS: i64 = 5_000;

/// How often the catalog is looked through although every row should be known.
const SURVEY_ANYWAY_MILLIS: i64 = 60_000;

/// Runs the queue until `shutdown` turns true; connections then finish the message they are at.
pub async fn run(engine: Arc<PecEngine>, relay: Arc<Relay>, mut shutdown: watch::Receiver<bool>) {
    let queue = engine.queue().clone();
    queue.shared.began_millis.store(engine.now().0, Ordering::Relaxed);
    let mut tasks = JoinSet::new();
    order::begin(&engine, &queue).await;
    tasks.spawn(sweep::run(Arc::clone(&engine), shutdown.clone()));
    let mut surveyed: Option<UnixMillis> = None;
    // A look through a long queue takes its time: connections are given out meanwhile.
    let mut survey = JoinSet::new();
    let mut survey_from = Bytes::new();
    while !*shutdown.borrow() {
        let now = engine.now();
        queue.schedule().ripen(now);
        let waited = surveyed.map_or(i64::MAX, |at| now.0.saturating_sub(at.0));
        match survey.try_join_next() {
            Some(Ok(next)) => survey_from = next,
            Some(Err(error)) => log_panic(&error),
            None => {}
        }
        if survey.is_empty()
            && ((waited >= SURVEY_MILLIS && queue.schedule().take_incomplete())
                || waited >= SURVEY_ANYWAY_MILLIS)
        {
            surveyed = Some(now);
            let (engine, queue, from) = (Arc::clone(&engine), queue.clone(), survey_from.clone());
            survey.spawn(async move { order::survey(&engine, &queue, from).await });
        }
        while let Some(lane) = queue.take() {
            let (engine, relay, shutdown) =
                (Arc::clone(&engine), Arc::clone(&relay), shutdown.clone());
            tasks.spawn(async move { relay::serve_lane(&engine, &relay, lane, &shutdown).await });
        }
        for connection in relay.idle.expired() {
            tasks.spawn(connection.quit());
        }
        tokio::select! {
            () = queue.shared.changed.notified() => {}
            Some(ended) = tasks.join_next() => if let Err(error) = ended {
                log_panic(&error);
            },
            () = tokio::time::sleep(TICK) => {}
            changed = shutdown.changed() => if changed.is_err() { break },
        }
    }
    survey.shutdown().await;
    for connection in relay.idle.all() {
        tasks.spawn(connection.quit());
    }
    while tasks.join_next().await.is_some() {}
}

fn log_unread(error: &StoreError) {
    tracing::error!(error = error as &dyn std::error::Error, "cannot read the outgoing queue");
}

fn log_panic(error: &JoinError) {
    tracing::error!(error = error as &dyn std::error::Error, "a task of the queue failed");
}

impl QueueHandle {
    fn take(&self) -> Option<Place> {
        let lane = self.schedule().take()?;
        Some(Place { queue: self.clone(), lane })
    }
}
