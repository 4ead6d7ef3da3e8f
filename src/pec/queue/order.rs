//! Reads the queue from the catalog in its order, and keeps the order in agreement with it.
//!
//! Not here: the rows and their keys (`records`), whose turn it is (`schedule`).

use bytes::Bytes;
use storage::{
    catalog::engine::{Batch, Durability, Entries, Expected, Family, Scan},
    error::StoreError,
};
use trust::clock::UnixMillis;

use super::{
    QueueHandle,
    schedule::{LOOK_SENDERS, Looked, Read},
};
use crate::pec::{
    engine::PecEngine,
    records::{
        DestinationRecord, Due, LaneId, OUTGOING_DESTINATIONS, OUTGOING_ORDER, OUTGOING_QUEUE,
        QueueId, QueueRecord, decode,
    },
};

/// Rows read at a time.
const PAGE: usize = 1_000;

/// Reads the window of a sender in a lane: at most `entries` rows that are due, behind the key
/// `after`.
pub(super) async fn window(
    engine: &PecEngine,
    lane: LaneId,
    class: u64,
    after: Option<Bytes>,
    entries: usize,
) -> Result<Read, StoreError> {
    let now = engine.now();
    // One more than wanted says whether there is more, and when.
    let mut scan = Scan::prefix(OUTGOING_ORDER, &Due::prefix(lane, class), entries + 1);
    if let Some(after) = after {
        scan.start = next(&after);
    }
    let mut read = Read { ids: Vec::new(), after: None, later: None };
    let mut last = None;
    for (key, _) in engine.store().engine().scan(&scan).await? {
        let order = Due::read(&key)?;
        if order.at > now {
            read.later = Some(order.at);
            break;
        }
        if read.ids.len() == entries {
            read.after = last.map(|last| cursor(last, now));
            break;
        }
        read.ids.push(order.id);
        last = Some(order);
    }
    Ok(read)
}

/// Behind which key to read on. A row that is queued in this very instant may still come to stand
/// before the last one read: then from the beginning of the instant.
fn cursor(last: Due, now: UnixMillis) -> Bytes {
    if last.at >= now { Due { id: QueueId([0; 16]), ..last }.octets() } else { last.octets() }
}

fn next(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}

/// Looks for the senders in a lane from the key `from` on: until so many have rows that are due, or
/// enough were found.
pub(super) async fn look(
    engine: &PecEngine,
    lane: LaneId,
    from: Option<Bytes>,
    due_max: usize,
) -> Result<Looked, StoreError> {
    let now = engine.now();
    let mut scan = Scan::prefix(OUTGOING_ORDER, &lane.0, 1);
    if let Some(from) = from {
        scan.start = from;
    }
    let mut looked = Looked { senders: Vec::new(), on: None };
    let mut due = 0;
    while due < due_max.max(1) && looked.senders.len() < LOOK_SENDERS {
        let page = engine.store().engine().scan(&scan).await?;
        let Some((key, _)) = page.into_iter().next() else { return Ok(looked) };
        let Ok(first) = Due::read(&key) else {
            scan.start = next(&key);
            continue;
        };
        looked.senders.push((first.class, first.at));
        due += usize::from(first.at <= now);
        match Scan::prefix(OUTGOING_ORDER, &Due::prefix(lane, first.class), 1).end {
            Some(behind) => scan.start = behind,
            None => return Ok(looked),
        }
    }
    looked.on = Some(scan.start);
    Ok(looked)
}

/// Looks at which lanes have rows, from the key `from` on, and tells the schedule of them. Returns
/// where to go on: where there was no room, or at the front.
pub(super) async fn survey(engine: &PecEngine, queue: &QueueHandle, from: Bytes) -> Bytes {
    let next = look_through(engine, queue, &from).await.unwrap_or_else(|error| {
        queue.schedule().set_incomplete();
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "cannot look through the outgoing queue"
        );
        from
    });
    queue.shared.changed.notify_one();
    next
}

async fn look_through(
    engine: &PecEngine,
    queue: &QueueHandle,
    from: &Bytes,
) -> Result<Bytes, StoreError> {
    let mut scan = Scan { start: from.clone(), ..Scan::prefix(OUTGOING_ORDER, b"", 1) };
    loop {
        let page = engine.store().engine().scan(&scan).await?;
        let Some((key, _)) = page.into_iter().next() else { break };
        let Ok(first) = Due::read(&key) else {
            scan.start = next(&key);
            continue;
        };
        if !queue.schedule().note(first.lane) {
            return Ok(key);
        }
        match Scan::prefix(OUTGOING_ORDER, &first.lane.0, 1).end {
            Some(behind) => scan.start = behind,
            None => break,
        }
    }
    // What stands before was looked at some time ago.
    if !from.is_empty() {
        queue.schedule().set_incomplete();
    }
    Ok(Bytes::new())
}

/// Brings the order into agreement with the queue, and remembers which destinations fail.
///
/// A failure is logged: what is missing is found at the next start.
pub(super) async fn begin(engine: &PecEngine, queue: &QueueHandle) {
    let begun = async {
        mend(engine).await?;
        remember_failures(engine, queue).await
    };
    if let Err(error) = begun.await {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "cannot put the outgoing queue in order"
        );
    }
}

/// Gives every row of the queue its row in the order, and takes away those of no row.
pub(super) async fn mend(engine: &PecEngine) -> Result<(), StoreError> {
    let mut pages = Pages::new(OUTGOING_QUEUE);
    while let Some(page) = pages.next(engine).await? {
        let mut wanted = Vec::new();
        for (key, value) in page {
            let Ok(record) = decode::<QueueRecord>(OUTGOING_QUEUE, &key, &value) else { continue };
            let id = QueueId::from_octets(OUTGOING_QUEUE, &key)?;
            if let Some(order) = record.due(id) {
                wanted.push((key, value, order.octets()));
            }
        }
        let keys: Vec<(Family, Bytes)> =
            wanted.iter().map(|(_, _, order)| (OUTGOING_ORDER, order.clone())).collect();
        let found = engine.store().engine().multi_get(&keys).await?;
        for ((key, value, order), found) in wanted.into_iter().zip(found) {
            if found.is_none() {
                let mut batch = Batch::default();
                batch.expect(OUTGOING_QUEUE, key, Expected::Value(value));
                batch.put(OUTGOING_ORDER, order, Bytes::new());
                settle(engine, batch).await?;
            }
        }
    }
    let mut pages = Pages::new(OUTGOING_ORDER);
    while let Some(page) = pages.next(engine).await? {
        let rows: Vec<(Family, Bytes)> = page
            .iter()
            .map(|(key, _)| (OUTGOING_QUEUE, key.slice(key.len().saturating_sub(16)..)))
            .collect();
        let found = engine.store().engine().multi_get(&rows).await?;
        for (((key, _), (_, row)), value) in page.into_iter().zip(rows).zip(found) {
            if !belongs(&key, &row, value.as_ref()) {
                let mut batch = Batch::default();
                let expected = value.map_or(Expected::Absent, Expected::Value);
                batch.expect(OUTGOING_QUEUE, row, expected);
                batch.delete(OUTGOING_ORDER, key);
                settle(engine, batch).await?;
            }
        }
    }
    Ok(())
}

/// Whether the row of the order is that of the row of the queue. One that cannot be read keeps its
/// turn: `store check` names it.
fn belongs(order: &Bytes, key: &[u8], value: Option<&Bytes>) -> bool {
    let Some(value) = value else { return false };
    match (QueueId::from_octets(OUTGOING_QUEUE, key), decode(OUTGOING_QUEUE, key, value)) {
        (Ok(id), Ok(record)) => {
            let record: QueueRecord = record;
            record.due(id).is_some_and(|wanted| wanted.octets() == *order)
        }
        _ => true,
    }
}

/// Commits what something else may have overtaken; then nothing is to be mended.
async fn settle(engine: &PecEngine, batch: Batch) -> Result<(), StoreError> {
    match engine.store().commit(batch).await {
        Ok(_) | Err(StoreError::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn remember_failures(engine: &PecEngine, queue: &QueueHandle) -> Result<(), StoreError> {
    let mut pages = Pages::new(OUTGOING_DESTINATIONS);
    while let Some(page) = pages.next(engine).await? {
        for (key, value) in page {
            let Ok(record) = decode::<DestinationRecord>(OUTGOING_DESTINATIONS, &key, &value)
            else {
                continue;
            };
            let lane = LaneId::of(&record.domain);
            let mut schedule = queue.schedule();
            if schedule.may_fail(lane) {
                schedule.failed(lane, record);
            }
        }
    }
    Ok(())
}

/// Writes down that a destination fails. It is only good for the next start, and for people who
/// ask: a failure is logged.
pub(super) async fn note_failure(engine: &PecEngine, lane: LaneId, record: &DestinationRecord) {
    let mut batch = Batch { durability: Durability::Buffered, ..Batch::default() };
    batch.put(OUTGOING_DESTINATIONS, lane.key(), crate::pec::records::encode(record));
    logged(engine, batch).await;
}

/// Writes down that a destination does not fail any more.
pub(super) async fn forget_failure(engine: &PecEngine, lane: LaneId) {
    let mut batch = Batch { durability: Durability::Buffered, ..Batch::default() };
    batch.delete(OUTGOING_DESTINATIONS, lane.key());
    logged(engine, batch).await;
}

async fn logged(engine: &PecEngine, batch: Batch) {
    if let Err(error) = engine.store().commit(batch).await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the state of a destination was not written"
        );
    }
}

/// Pages of a family, one after the other.
struct Pages(Option<Scan>);

impl Pages {
    fn new(family: Family) -> Self {
        Self(Some(Scan::prefix(family, b"", PAGE)))
    }

    async fn next(&mut self, engine: &PecEngine) -> Result<Option<Entries>, StoreError> {
        let Some(scan) = &mut self.0 else { return Ok(None) };
        let page = engine.store().engine().scan(scan).await?;
        match page.last() {
            Some((last, _)) if page.len() == PAGE => scan.start = next(last),
            _ => self.0 = None,
        }
        Ok((!page.is_empty()).then_some(page))
    }
}
