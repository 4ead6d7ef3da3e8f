//! The workers that bring transmissions, incoming messages and deliveries to their end.
//!
//! What is to be done stands in the catalog's work families; what is in memory only says what to
//! look at now, and whose turn it is ([`turns`]). Invariants:
//!
//! * Losing an entry in memory loses nothing: a scan of the work families finds it again.
//! * One item is worked on by at most one worker of this process at a time; the deliveries of a
//!   source may be looked at by two. That does no harm, since every step expects the record it
//!   read: it only signs twice.
//! * A step that fails for a temporary reason is left for the next scan.

mod turns;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use storage::{
    catalog::{engine::Family, pages::Pages},
    error::StoreError,
};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use self::turns::{Taken, Turns};
use super::{
    engine::{EngineSettings, PecEngine},
    records::{DELIVERY_WORK, INCOMING_WORK, IncomingId, TRANSMISSION_WORK, TransmissionId},
    time_limits::Deadline,
};
use crate::archive::notice;

/// Where the message of a delivery comes from.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Source {
    /// A transmission of this provider with recipients of this provider.
    Transmission(TransmissionId),
    /// A message from another server.
    Incoming(IncomingId),
}

impl Source {
    /// The source as the beginning of a key in `delivery_work`: a tag octet and the id.
    pub fn key(self) -> Vec<u8> {
        let (tag, id) = match self {
            Self::Transmission(id) => (0, id.0),
            Self::Incoming(id) => (1, id.0),
        };
        let mut key = vec![tag];
        key.extend_from_slice(&id);
        key
    }

    /// Reads the source from a key in `delivery_work`.
    pub fn from_key(key: &[u8]) -> Result<Self, StoreError> {
        match (key.first(), key.get(1..17)) {
            (Some(0), Some(id)) => {
                TransmissionId::from_octets(DELIVERY_WORK, id).map(Self::Transmission)
            }
            (Some(1), Some(id)) => IncomingId::from_octets(DELIVERY_WORK, id).map(Self::Incoming),
            _ => Err(StoreError::Damaged {
                object: format!("{}/{}", DELIVERY_WORK.0, hex::encode(key)),
                detail: "the key names no source".to_owned(),
            }),
        }
    }
}

/// Something to look at.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Work {
    /// Issue the receipt or notice of a submitted message and send its envelope on.
    Accept(TransmissionId),
    /// Take charge of an incoming message and hand it to the delivery point.
    Distribute(IncomingId),
    /// Deliver to the mailboxes of this provider, and answer.
    Deliver(Source),
    /// Tell a sender, if need be, that nothing is heard of a recipient.
    TimeLimit(Deadline),
    /// Tell holders that their mailboxes fill.
    WarnHolders,
}

/// The class of deliveries that were interrupted: they wait for nobody's turn but their own.
const DELIVERIES: u64 = 1;

/// The class of notices to holders.
const NOTICES: u64 = 2;

/// The class of times that have passed.
const DEADLINES: u64 = 3;

/// What the workers look at next, by turns.
#[derive(Clone, Debug)]
pub struct WorkQueue {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    turns: Mutex<Turns>,
    bell: Notify,
}

impl WorkQueue {
    /// An empty one with the bounds of `settings`.
    #[must_use]
    pub fn new(settings: &EngineSettings) -> Self {
        let turns = Turns::new(settings.work_entries_max, settings.workers_max);
        Self { shared: Arc::new(Shared { turns: Mutex::new(turns), bell: Notify::new() }) }
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.shared.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the workers to look at `work`, caused by `class` (see
    /// [`sender_class`](super::records::sender_class)). Without room the next look finds it.
    pub fn announce(&self, work: Work, class: u64) {
        self.turns().add(work, class);
        self.shared.bell.notify_one();
    }

    /// Items announced or being worked on.
    pub fn len(&self) -> usize {
        self.turns().len()
    }

    /// Whether nothing is announced or being worked on.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits for the next item.
    async fn take(&self) -> Taken {
        loop {
            if let Some(taken) = self.turns().take() {
                // Another worker may find one too.
                self.shared.bell.notify_one();
                return taken;
            }
            self.shared.bell.notified().await;
        }
    }

    fn done(&self, taken: Taken) {
        self.turns().done(taken);
        self.shared.bell.notify_one();
    }
}

/// Runs the workers until `shutdown` turns true, then lets them finish what they hold.
pub async fn run(engine: Arc<PecEngine>, mut shutdown: watch::Receiver<bool>) {
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..engine.settings().workers_max {
        workers.spawn(work_loop(Arc::clone(&engine), shutdown.clone()));
    }
    let started = Instant::now();
    let mut deadlines = Bytes::new();
    while !*shutdown.borrow() {
        let begun = Instant::now();
        if let Err(error) = announce_all(&engine, started, &mut deadlines).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot look for unfinished work"
            );
        }
        let pause = Duration::from_millis(engine.settings().rescan_millis);
        // Where very much is unfinished, looking takes a tenth of the time at most.
        let pause = pause.max(begun.elapsed() * 10);
        // Either way the loop's condition decides; a closed channel means that serve is gone.
        let stopped = tokio::time::timeout(pause, shutdown.changed()).await;
        if matches!(stopped, Ok(Err(_))) {
            break;
        }
    }
    while workers.join_next().await.is_some() {}
}

async fn work_loop(engine: Arc<PecEngine>, mut shutdown: watch::Receiver<bool>) {
    loop {
        let taken = tokio::select! {
            biased;
            _ = shutdown.wait_for(|stop| *stop) => return,
            taken = engine.work().take() => taken,
        };
        let work = taken.work;
        // In a task of its own: a panic is a bug of ours and must not cost a worker.
        let step = tokio::spawn({
            let engine = Arc::clone(&engine);
            async move { perform(&engine, work).await }
        });
        match step.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => report(work, &error),
            Err(error) => tracing::error!(
                ?work,
                error = &error as &dyn std::error::Error,
                "step failed: it is tried again"
            ),
        }
        engine.work().done(taken);
    }
}

async fn perform(engine: &Arc<PecEngine>, work: Work) -> Result<(), super::engine::PecError> {
    match work {
        Work::Accept(id) => super::acceptance::accept(engine, id).await,
        Work::Distribute(id) => super::distribution::distribute(engine, id).await,
        Work::Deliver(source) => super::delivery_point::deliver_all(engine, source).await,
        Work::TimeLimit(deadline) => super::time_limits::pass(engine, deadline).await,
        Work::WarnHolders => super::space_notice::warn_holders(engine).await,
    }
}

fn report(work: Work, error: &super::engine::PecError) {
    if error.is_temporary() {
        tracing::warn!(
            ?work,
            error = error as &dyn std::error::Error,
            "step put off: it is tried again"
        );
    } else {
        tracing::error!(
            ?work,
            error = error as &dyn std::error::Error,
            "step failed: it is tried again"
        );
    }
}

/// How long after the start receipts that came before it are waited for, before anybody is told that
/// nothing was heard.
const OLD_WORK_TIME: Duration = Duration::from_mins(10);

/// Entries read at a time from a work family.
const SCAN_ENTRIES: usize = 1_000;

/// Announces what stands in the work families.
async fn announce_all(
    engine: &PecEngine,
    started: Instant,
    deadlines: &mut Bytes,
) -> Result<(), StoreError> {
    let owed_since = engine.pressure().owed_since();
    let (mut owed, mut incoming) = (0_u64, 0_u64);
    scan_work(engine, TRANSMISSION_WORK, |key, value| {
        let (class, octets) = read_value(value);
        owed = owed.saturating_add(octets);
        TransmissionId::from_octets(TRANSMISSION_WORK, key).map(|id| (Work::Accept(id), class))
    })
    .await?;
    scan_work(engine, INCOMING_WORK, |key, value| {
        let (class, octets) = read_value(value);
        (owed, incoming) = (owed.saturating_add(octets), incoming + 1);
        IncomingId::from_octets(INCOMING_WORK, key).map(|id| (Work::Distribute(id), class))
    })
    .await?;
    let mut deliveries = 0;
    scan_work(engine, DELIVERY_WORK, |key, _| {
        deliveries += 1;
        Source::from_key(key).map(|source| (Work::Deliver(source), DELIVERIES))
    })
    .await?;
    engine.pressure().note_owed(owed, deliveries, owed_since);
    // After the others, so that a fault there stands in the way of none of them.
    if incoming + deliveries == 0 || started.elapsed() > OLD_WORK_TIME {
        super::time_limits::announce_due(engine, DEADLINES, deadlines).await?;
    }
    // Neither waits for the other.
    let warnings = engine.store().quota_warnings(None, 1, &mut drop).await;
    let owed = notice::is_any_owed(engine.store()).await;
    if warnings.as_ref().is_ok_and(|some| !some.is_empty()) || matches!(owed, Ok(true)) {
        engine.work().announce(Work::WarnHolders, NOTICES);
    }
    warnings?;
    owed.map(drop)
}

/// The value of a row of `transmission_work` or `incoming_work`: the class of its sender and the
/// octets of its message. Rows of older versions have less.
#[must_use]
pub fn work_value(class: u64, octets: u64) -> Bytes {
    [class.to_be_bytes(), octets.to_be_bytes()].concat().into()
}

/// Reads the class and the octets of such a row; what it does not have counts as 0.
fn read_value(value: &[u8]) -> (u64, u64) {
    let number = |range| {
        let octets =
            value.get::<std::ops::Range<usize>>(range).and_then(|part| part.try_into().ok());
        octets.map_or(0, u64::from_be_bytes)
    };
    (number(0..8), number(8..16))
}

async fn scan_work(
    engine: &PecEngine,
    family: Family,
    mut read: impl FnMut(&[u8], &[u8]) -> Result<(Work, u64), StoreError>,
) -> Result<(), StoreError> {
    let mut pages = Pages::prefix(family, b"", SCAN_ENTRIES);
    // All of it: the one item of somebody may stand behind the thousands of another.
    while let Some(entries) = pages.next(&**engine.store().engine()).await? {
        for (key, value) in &entries {
            match read(key, value) {
                Ok((work, class)) => engine.work().announce(work, class),
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "work row passed over"
                ),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_comes_back_from_its_key() {
        for source in
            [Source::Transmission(TransmissionId([7; 16])), Source::Incoming(IncomingId([9; 16]))]
        {
            let mut key = source.key();
            key.extend_from_slice(&3_u32.to_be_bytes());
            assert_eq!(Source::from_key(&key).expect("a source"), source);
        }
        assert!(Source::from_key(&[2; 21]).is_err());
        assert!(Source::from_key(&[0; 5]).is_err());
    }

    #[test]
    fn class_and_octets_come_back_from_a_row_and_old_rows_have_less() {
        assert_eq!(read_value(&work_value(7, 9)), (7, 9));
        assert_eq!(read_value(&7_u64.to_be_bytes()), (7, 0));
        assert_eq!(read_value(b""), (0, 0));
    }
}
