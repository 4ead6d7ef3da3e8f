//! The outgoing queue: when which message goes to which destination.
//!
//! The queue itself is the catalog's family `outgoing_queue`; here is the schedule in memory.
//! Invariants:
//!
//! * Losing the schedule loses nothing: it is read from the catalog at the start, and again after
//!   it was too full to take an entry.
//! * One queue record is attempted by at most one connection at a time.
//! * At most `destination_connections_max` connections go to one domain and `connections_max` to
//!   all: a slow or dead destination holds nobody else up.
//!
//! Not here: the attempt itself and what follows from its outcome (`relay`).

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use storage::{catalog::pages::Pages, error::StoreError};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use trust::clock::UnixMillis;

use super::{
    engine::PecEngine,
    records::{OUTGOING_QUEUE, QueueId, QueueRecord, decode},
    relay::{self, Relay},
};

/// A queue record that is due at some instant.
#[derive(Clone, Debug)]
pub struct Due {
    /// The record.
    pub id: QueueId,
    /// Its destination.
    pub domain: String,
    /// When to attempt it.
    pub at: UnixMillis,
}

/// The sending half: tells the schedule of new records.
#[derive(Clone, Debug)]
pub struct QueueHandle {
    sender: mpsc::Sender<Due>,
    overflowed: Arc<AtomicBool>,
}

/// The receiving half.
#[derive(Debug)]
pub struct QueueReceiver {
    receiver: mpsc::Receiver<Due>,
    overflowed: Arc<AtomicBool>,
}

impl QueueHandle {
    /// Makes the channel; `entries_max` records may wait in it.
    pub fn new(entries_max: usize) -> (Self, QueueReceiver) {
        let (sender, receiver) = mpsc::channel(entries_max);
        let overflowed = Arc::new(AtomicBool::new(false));
        (
            Self { sender, overflowed: Arc::clone(&overflowed) },
            QueueReceiver { receiver, overflowed },
        )
    }

    /// Tells the schedule of a committed record. A full channel is no error: the record is found
    /// in the catalog later.
    pub fn announce(&self, due: Due) {
        if self.sender.try_send(due).is_err() {
            self.overflowed.store(true, Ordering::SeqCst);
        }
    }
}

/// What waits, by instant, and which destinations are busy.
#[derive(Debug, Default)]
struct Schedule {
    due: BTreeMap<(UnixMillis, QueueId), String>,
    /// Everything in `due`, in a lane, or being attempted.
    known: HashSet<QueueId>,
    lanes: HashMap<String, Lane>,
    connections: usize,
}

/// The messages of one destination that are due now.
#[derive(Debug, Default)]
struct Lane {
    ready: VecDeque<QueueId>,
    connections: usize,
}

/// Messages that one connection sends before it makes room for another destination.
const MESSAGES_PER_CONNECTION: usize = 100;

impl Schedule {
    fn insert(&mut self, due: Due) {
        if self.known.insert(due.id) {
            self.due.insert((due.at, due.id), due.domain);
        }
    }

    /// Moves what is due at `now` to the lanes.
    fn ripen(&mut self, now: UnixMillis) {
        while let Some(entry) = self.due.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let ((_, id), domain) = entry.remove_entry();
            self.lanes.entry(domain).or_default().ready.push_back(id);
        }
    }

    /// Takes the next group for a connection, if the bounds allow one.
    fn take(&mut self, destination_max: usize, all_max: usize) -> Option<(String, Vec<QueueId>)> {
        if self.connections >= all_max {
            return None;
        }
        // The destination with the fewest connections first, so that none starves.
        let (domain, lane) = self
            .lanes
            .iter_mut()
            .filter(|(_, lane)| !lane.ready.is_empty() && lane.connections < destination_max)
            .min_by_key(|(_, lane)| lane.connections)?;
        // What waits is shared among the connections that this destination may have.
        let share = lane.ready.len().div_ceil(destination_max).min(MESSAGES_PER_CONNECTION);
        let group = lane.ready.drain(..share).collect();
        lane.connections += 1;
        self.connections += 1;
        Some((domain.clone(), group))
    }

    /// A connection has ended: `again` is what stays in the queue.
    fn finish(&mut self, domain: &str, group: &[QueueId], again: Vec<Due>) {
        self.connections = self.connections.saturating_sub(1);
        if let Some(lane) = self.lanes.get_mut(domain) {
            lane.connections = lane.connections.saturating_sub(1);
            if lane.connections == 0 && lane.ready.is_empty() {
                self.lanes.remove(domain);
            }
        }
        for id in group {
            self.known.remove(id);
        }
        for due in again {
            self.insert(due);
        }
    }
}

type Finished = (String, Vec<QueueId>, Vec<Due>);

/// What the connections that are open carry, by their task.
type Carried = HashMap<tokio::task::Id, (String, Vec<QueueId>)>;

/// Runs the queue until `shutdown` turns true; connections then finish the message they are at.
pub async fn run(
    engine: Arc<PecEngine>,
    relay: Arc<Relay>,
    mut receiver: QueueReceiver,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut schedule = Schedule::default();
    let mut connections: JoinSet<Finished> = JoinSet::new();
    receiver.overflowed.store(true, Ordering::SeqCst);
    let mut carried = Carried::new();
    let mut last_load: Option<UnixMillis> = None;
    while !*shutdown.borrow() {
        let entries_max = engine.settings().work_entries_max;
        let room = schedule.known.len() < entries_max;
        // Reading begins again when half of the places are free, not after each message.
        if schedule.known.len() <= entries_max / 2
            && last_load.is_none_or(|at| engine.now() >= at.plus_millis(RELOAD_MILLIS))
            && receiver.overflowed.swap(false, Ordering::SeqCst)
            && let Err(error) = {
                last_load = Some(engine.now());
                load(&engine, &mut schedule, &receiver.overflowed).await
            }
        {
            receiver.overflowed.store(true, Ordering::SeqCst);
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot read the outgoing queue"
            );
        }
        schedule.ripen(engine.now());
        while let Some((domain, group)) = schedule
            .take(engine.settings().destination_connections_max, engine.settings().connections_max)
        {
            let (engine, relay, shutdown) =
                (Arc::clone(&engine), Arc::clone(&relay), shutdown.clone());
            let entries = (domain.clone(), group.clone());
            let task = connections.spawn(async move {
                let again = relay::send_group(&engine, &relay, &domain, &group, &shutdown).await;
                (domain, group, again)
            });
            carried.insert(task.id(), entries);
        }
        tokio::select! {
            Some(due) = receiver.receiver.recv() => if room {
                schedule.insert(due);
            } else {
                // It stands in the catalog and is read from there when there is room.
                receiver.overflowed.store(true, Ordering::SeqCst);
            },
            Some(finished) = connections.join_next_with_id() => {
                settle(&mut schedule, &mut carried, finished, engine.now());
            }
            // The clock is handed in, so that the next instant cannot be slept for.
            () = tokio::time::sleep(Duration::from_millis(250)) => {}
            changed = shutdown.changed() => if changed.is_err() { break },
        }
    }
    while connections.join_next().await.is_some() {}
}

fn settle(
    schedule: &mut Schedule,
    carried: &mut Carried,
    finished: Result<(tokio::task::Id, Finished), tokio::task::JoinError>,
    now: UnixMillis,
) {
    match finished {
        Ok((task, (domain, group, again))) => {
            carried.remove(&task);
            schedule.finish(&domain, &group, again);
        }
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a connection of the queue failed"
            );
            let Some((domain, group)) = carried.remove(&error.id()) else { return };
            let at = now.plus_millis(RELOAD_MILLIS);
            let again =
                group.iter().map(|id| Due { id: *id, domain: domain.clone(), at }).collect();
            schedule.finish(&domain, &group, again);
        }
    }
}

/// Entries read at a time.
const SCAN_ENTRIES: usize = 1_000;

/// The pause between two readings of the queue, and how far ahead of its time a record is read:
/// what is due later must not take the places of what is due now.
const RELOAD_MILLIS: i64 = 10_000;

/// Reads the queue from the catalog into the schedule, as far as there is room.
async fn load(
    engine: &PecEngine,
    schedule: &mut Schedule,
    overflowed: &AtomicBool,
) -> Result<(), StoreError> {
    let mut pages = Pages::prefix(OUTGOING_QUEUE, b"", SCAN_ENTRIES);
    let soon = engine.now().plus_millis(2 * RELOAD_MILLIS);
    while let Some(entries) = pages.next(&**engine.store().engine()).await? {
        for (key, value) in &entries {
            if schedule.known.len() >= engine.settings().work_entries_max {
                overflowed.store(true, Ordering::SeqCst);
                return Ok(());
            }
            match read_due(key, value) {
                Ok(due) if due.at > soon => overflowed.store(true, Ordering::SeqCst),
                Ok(due) => schedule.insert(due),
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "queue record passed over"
                ),
            }
        }
    }
    Ok(())
}

fn read_due(key: &[u8], value: &[u8]) -> Result<Due, StoreError> {
    let record: QueueRecord = decode(OUTGOING_QUEUE, key, value)?;
    let id = QueueId::from_octets(OUTGOING_QUEUE, key)?;
    Ok(Due { id, domain: record.domain, at: UnixMillis(record.next_attempt_millis) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(number: u8, domain: &str, at: i64) -> Due {
        Due { id: QueueId([number; 16]), domain: domain.to_owned(), at: UnixMillis(at) }
    }

    #[test]
    fn nothing_is_sent_before_it_is_due_and_nothing_twice() {
        let mut schedule = Schedule::default();
        schedule.insert(due(1, "b.example", 100));
        schedule.insert(due(1, "b.example", 100));
        schedule.ripen(UnixMillis(99));
        assert_eq!(schedule.take(4, 64), None);
        schedule.ripen(UnixMillis(100));
        assert_eq!(schedule.take(4, 64), Some(("b.example".to_owned(), vec![QueueId([1; 16])])));
        schedule.insert(due(1, "b.example", 100));
        schedule.ripen(UnixMillis(100));
        assert_eq!(schedule.take(4, 64), None, "it is being attempted");
    }

    #[test]
    fn one_destination_cannot_take_every_connection() {
        let mut schedule = Schedule::default();
        for number in 0..10 {
            schedule.insert(due(number, "slow.example", 0));
        }
        schedule.insert(due(200, "quick.example", 0));
        schedule.ripen(UnixMillis(0));
        let mut domains = Vec::new();
        while let Some((domain, _)) = schedule.take(2, 64) {
            domains.push(domain);
        }
        assert_eq!(domains.iter().filter(|domain| *domain == "slow.example").count(), 2);
        assert!(domains.contains(&"quick.example".to_owned()));
    }

    #[test]
    fn the_connections_in_all_are_bounded() {
        let mut schedule = Schedule::default();
        for number in 0..10 {
            schedule.insert(due(number, &format!("d{number}.example"), 0));
        }
        schedule.ripen(UnixMillis(0));
        let groups = std::iter::from_fn(|| schedule.take(4, 3)).count();
        assert_eq!(groups, 3);
        assert_eq!(schedule.connections, 3);
    }

    #[test]
    fn what_failed_for_now_comes_back_later() {
        let mut schedule = Schedule::default();
        schedule.insert(due(1, "b.example", 0));
        schedule.ripen(UnixMillis(0));
        let (domain, group) = schedule.take(4, 64).expect("one is due");
        schedule.finish(&domain, &group, vec![due(1, "b.example", 500)]);
        assert!(schedule.lanes.is_empty());
        schedule.ripen(UnixMillis(499));
        assert_eq!(schedule.take(4, 64), None);
        schedule.ripen(UnixMillis(500));
        assert!(schedule.take(4, 64).is_some());
    }
}
