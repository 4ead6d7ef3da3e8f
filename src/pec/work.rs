//! The workers that bring transmissions, incoming messages and deliveries to their end.
//!
//! What is to be done stands in the catalog's work families; the channel here only says what to
//! look at now. Invariants:
//!
//! * Losing a channel entry loses nothing: a scan of the work families finds it again.
//! * One item is worked on by at most one worker of this process at a time; the deliveries of a
//!   source may be looked at by two. That does no harm, since every step expects the record it
//!   read: it only signs twice.
//! * A step that fails for a temporary reason is left for the next scan.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use storage::{
    catalog::{engine::Family, pages::Pages},
    error::StoreError,
};
use tokio::sync::{mpsc, watch};

use super::{
    engine::PecEngine,
    records::{DELIVERY_WORK, INCOMING_WORK, IncomingId, TRANSMISSION_WORK, TransmissionId},
};

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
    /// Tell holders that their mailboxes fill.
    WarnHolders,
}

/// The sending half of the channel to the workers.
#[derive(Clone, Debug)]
pub struct WorkQueue {
    sender: mpsc::Sender<Work>,
    waiting: Arc<Mutex<HashSet<Work>>>,
}

/// The receiving half.
#[derive(Debug)]
pub struct WorkReceiver {
    receiver: mpsc::Receiver<Work>,
}

impl WorkQueue {
    /// Makes a channel for at most `entries_max` items.
    pub fn new(entries_max: usize) -> (Self, WorkReceiver) {
        let (sender, receiver) = mpsc::channel(entries_max);
        (Self { sender, waiting: Arc::default() }, WorkReceiver { receiver })
    }

    /// Asks the workers to look at `work`. A full channel is no error: the next scan finds it.
    pub fn announce(&self, work: Work) {
        if !self.waiting().insert(work) {
            return;
        }
        if self.sender.try_send(work).is_err() {
            self.waiting().remove(&work);
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashSet<Work>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Items announced or being worked on.
    pub fn len(&self) -> usize {
        self.waiting().len()
    }

    /// Whether nothing is announced or being worked on.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Runs the workers until `shutdown` turns true, then lets them finish what they hold.
pub async fn run(
    engine: Arc<PecEngine>,
    receiver: WorkReceiver,
    mut shutdown: watch::Receiver<bool>,
) {
    let receiver = Arc::new(tokio::sync::Mutex::new(receiver.receiver));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..engine.settings().workers_max {
        workers.spawn(work_loop(Arc::clone(&engine), Arc::clone(&receiver), shutdown.clone()));
    }
    while !*shutdown.borrow() {
        if let Err(error) = announce_all(&engine).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot look for unfinished work"
            );
        }
        let pause = Duration::from_millis(engine.settings().rescan_millis);
        // Either way the loop's condition decides; a closed channel means that serve is gone.
        let stopped = tokio::time::timeout(pause, shutdown.changed()).await;
        if matches!(stopped, Ok(Err(_))) {
            break;
        }
    }
    while workers.join_next().await.is_some() {}
}

async fn work_loop(
    engine: Arc<PecEngine>,
    receiver: Arc<tokio::sync::Mutex<mpsc::Receiver<Work>>>,
    mut shutdown: watch::Receiver<bool>,
) {
    loop {
        let next = async { receiver.lock().await.recv().await };
        let work = tokio::select! {
            biased;
            _ = shutdown.wait_for(|stop| *stop) => return,
            work = next => work,
        };
        let Some(work) = work else { return };
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
        engine.work().waiting().remove(&work);
    }
}

async fn perform(engine: &Arc<PecEngine>, work: Work) -> Result<(), super::engine::PecError> {
    match work {
        Work::Accept(id) => super::acceptance::accept(engine, id).await,
        Work::Distribute(id) => super::distribution::distribute(engine, id).await,
        Work::Deliver(source) => super::delivery_point::deliver_all(engine, source).await,
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

/// Entries read at a time from a work family.
const SCAN_ENTRIES: usize = 1_000;

/// Announces what stands in the work families.
async fn announce_all(engine: &PecEngine) -> Result<(), StoreError> {
    if !engine.store().quota_warnings(None, 1).await?.is_empty() {
        engine.work().announce(Work::WarnHolders);
    }
    scan_work(engine, TRANSMISSION_WORK, |key| {
        TransmissionId::from_octets(TRANSMISSION_WORK, key).map(Work::Accept)
    })
    .await?;
    scan_work(engine, INCOMING_WORK, |key| {
        IncomingId::from_octets(INCOMING_WORK, key).map(Work::Distribute)
    })
    .await?;
    scan_work(engine, DELIVERY_WORK, |key| Source::from_key(key).map(Work::Deliver)).await
}

async fn scan_work(
    engine: &PecEngine,
    family: Family,
    read: impl Fn(&[u8]) -> Result<Work, StoreError>,
) -> Result<(), StoreError> {
    let mut pages = Pages::prefix(family, b"", SCAN_ENTRIES);
    while let Some(entries) = pages.next(&**engine.store().engine()).await? {
        for (key, _) in &entries {
            match read(key) {
                Ok(work) => engine.work().announce(work),
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "work row passed over"
                ),
            }
        }
        if engine.work().len() >= engine.settings().work_entries_max {
            break;
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
    fn an_item_waits_once_and_a_full_channel_forgets_it_again() {
        let (queue, _receiver) = WorkQueue::new(1);
        let first = Work::Accept(TransmissionId([1; 16]));
        queue.announce(first);
        queue.announce(first);
        assert_eq!(queue.len(), 1);
        queue.announce(Work::Accept(TransmissionId([2; 16])));
        assert_eq!(queue.len(), 1, "what the channel cannot hold must not count as waiting");
    }
}
