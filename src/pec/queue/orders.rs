//! What operators see of the queue, and what they may do about it.
//!
//! Everything works on the catalog, so that it can be asked of a running server and of a stopped
//! one. Invariants:
//!
//! * An order changes a row as it stands at that moment. Beside a running queue it claims the row
//!   first ([`obey_beside`]): of a message that is being sent nothing is ordered.
//! * A message that is given up is not forgotten: the queue settles it like a refusal for good, with
//!   the notice that its sender gets for one.
//! * Holding, releasing and giving up are in the journal, in the same batch.
//!
//! Not here: how commands ask ([`crate::control::operations::queue`]).

use std::collections::HashMap;

use storage::{
    catalog::{
        engine::{Batch, Engine, Scan},
        keys::HELD_MESSAGES,
    },
    error::StoreError,
    held::HeldId,
};
use trust::clock::UnixMillis;

use super::QueueHandle;
use crate::pec::{
    journal::{self, JournalEvent},
    records::{
        DestinationRecord, Due, JournalRecord, LaneId, OUTGOING_DESTINATIONS, OUTGOING_QUEUE,
        QueueId, QueueRecord, TRANSMISSIONS, TransmissionRecord, decode, encode, held_id,
        write_queued,
    },
};

/// Rows read at a time.
const PAGE: usize = 500;

/// How often an order is given again when the row changes meanwhile.
const CONFLICTS_MAX: usize = 16;

/// Where a row of the queue stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum QueueState {
    /// A connection is at it.
    Sending,
    /// It is due and waits for its turn.
    Ready,
    /// Its own next attempt is later.
    Waiting,
    /// Its destination does not answer, and is left alone for a while.
    Unreachable,
    /// An operator holds it.
    Held,
    /// An operator has given it up; the notice is on its way.
    Dropped,
}

impl QueueState {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Sending, Self::Ready, Self::Waiting, Self::Unreachable, Self::Held, Self::Dropped];

    /// The word for programs and for filters.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Sending => "sending",
            Self::Ready => "ready",
            Self::Waiting => "waiting",
            Self::Unreachable => "unreachable",
            Self::Held => "held",
            Self::Dropped => "dropped",
        }
    }
}

/// Which rows are meant. What is `None` leaves nothing out.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// These.
    pub ids: Option<Vec<QueueId>>,
    /// To this domain, in lower case.
    pub domain: Option<String>,
    /// From this sender, whatever the case.
    pub sender: Option<String>,
    /// In this state.
    pub state: Option<QueueState>,
    /// Queued so many milliseconds ago, or longer.
    pub age_millis: Option<i64>,
}

/// A row of the queue.
#[derive(Clone, Debug)]
pub struct Queued {
    /// The row.
    pub id: QueueId,
    /// What stands in it.
    pub record: QueueRecord,
    /// Where it stands.
    pub state: QueueState,
    /// What is known of its destination, when that does not answer.
    pub destination: Option<DestinationRecord>,
}

impl Queued {
    /// When it is tried next; `None` while it is held.
    #[must_use]
    pub fn next_attempt(&self) -> Option<UnixMillis> {
        let own = self.record.next_attempt_millis;
        let destinations =
            self.destination.as_ref().map_or(own, |failing| failing.next_attempt_millis);
        (!self.record.is_held()).then_some(UnixMillis(own.max(destinations)))
    }

    /// What was heard last of it or of its destination.
    #[must_use]
    pub fn last_answer(&self) -> &str {
        match &self.destination {
            Some(failing) if self.state == QueueState::Unreachable => &failing.last_error,
            _ => &self.record.last_error,
        }
    }
}

/// The queue of a catalog, read at `now`. `is_claimed` says whom a connection is at.
pub struct Queue<'a> {
    engine: &'a dyn Engine,
    now: UnixMillis,
    is_claimed: Box<dyn Fn(QueueId) -> bool + Send + Sync + 'a>,
    failing: HashMap<LaneId, DestinationRecord>,
}

impl std::fmt::Debug for Queue<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Queue").field("now", &self.now).finish_non_exhaustive()
    }
}

impl<'a> Queue<'a> {
    /// Reads which destinations fail.
    ///
    /// # Errors
    ///
    /// When the catalog fails.
    pub async fn read(
        engine: &'a dyn Engine,
        now: UnixMillis,
        is_claimed: impl Fn(QueueId) -> bool + Send + Sync + 'a,
    ) -> Result<Self, StoreError> {
        let mut failing = HashMap::new();
        let mut scan = Scan::prefix(OUTGOING_DESTINATIONS, b"", PAGE);
        loop {
            let page = engine.scan(&scan).await?;
            let full = page.len() == PAGE;
            for (key, value) in page {
                let record: DestinationRecord = decode(OUTGOING_DESTINATIONS, &key, &value)?;
                failing.insert(LaneId::of(&record.domain), record);
                scan.start = [key.as_ref(), &[0]].concat().into();
            }
            if !full {
                return Ok(Self { engine, now, is_claimed: Box::new(is_claimed), failing });
            }
        }
    }

    /// Lists what `selection` means, the oldest first; at most `rows_max`, and how many more there
    /// are.
    ///
    /// # Errors
    ///
    /// When the catalog fails or a record is damaged.
    pub async fn list(
        &self,
        selection: &Selection,
        rows_max: usize,
    ) -> Result<(Vec<Queued>, u64), StoreError> {
        let (mut rows, mut more) = (Vec::new(), 0);
        if let Some(ids) = &selection.ids {
            for id in ids {
                let Some(row) = self.find(*id).await? else { continue };
                if self.is_meant(&row, selection) {
                    rows.push(row);
                }
            }
            return Ok((rows, more));
        }
        let mut scan = Scan::prefix(OUTGOING_QUEUE, b"", PAGE);
        loop {
            let page = self.engine.scan(&scan).await?;
            let full = page.len() == PAGE;
            for (key, value) in page {
                let record: QueueRecord = decode(OUTGOING_QUEUE, &key, &value)?;
                let row = self.look(QueueId::from_octets(OUTGOING_QUEUE, &key)?, record);
                if self.is_meant(&row, selection) {
                    if rows.len() < rows_max {
                        rows.push(row);
                    } else {
                        more += 1;
                    }
                }
                scan.start = [key.as_ref(), &[0]].concat().into();
            }
            if !full {
                return Ok((rows, more));
            }
        }
    }

    /// Finds one row.
    ///
    /// # Errors
    ///
    /// As [`Queue::list`].
    pub async fn find(&self, id: QueueId) -> Result<Option<Queued>, StoreError> {
        let Some(value) = self.engine.get(OUTGOING_QUEUE, &id.0).await? else { return Ok(None) };
        let record: QueueRecord = decode(OUTGOING_QUEUE, &id.0, &value)?;
        Ok(Some(self.look(id, record)))
    }

    fn look(&self, id: QueueId, record: QueueRecord) -> Queued {
        let destination = self.failing.get(&LaneId::of(&record.domain)).cloned();
        let due = record.next_attempt_millis <= self.now.0;
        let state = if (self.is_claimed)(id) {
            QueueState::Sending
        } else if record.is_held() {
            QueueState::Held
        } else if record.is_dropped() {
            QueueState::Dropped
        } else if destination.as_ref().is_some_and(|one| one.next_attempt_millis > self.now.0) {
            QueueState::Unreachable
        } else if due {
            QueueState::Ready
        } else {
            QueueState::Waiting
        };
        Queued { id, record, state, destination }
    }

    fn is_meant(&self, row: &Queued, selection: &Selection) -> bool {
        let Selection { ids: _, domain, sender, state, age_millis } = selection;
        let age = self.now.0.saturating_sub(row.record.queued_millis);
        domain.as_ref().is_none_or(|domain| row.record.domain.eq_ignore_ascii_case(domain))
            && sender
                .as_ref()
                .is_none_or(|sender| row.record.reverse_path.eq_ignore_ascii_case(sender))
            && state.is_none_or(|state| row.state == state)
            && age_millis.is_none_or(|least| age >= least)
    }

    /// The PEC identifier and the subject of a row's message, as far as they are known.
    ///
    /// # Errors
    ///
    /// When the catalog fails or a record is damaged.
    pub async fn transmission(
        &self,
        record: &QueueRecord,
    ) -> Result<Option<TransmissionRecord>, StoreError> {
        if record.transmission.is_empty() {
            return Ok(None);
        }
        let id = record.transmission.as_slice();
        let Some(value) = self.engine.get(TRANSMISSIONS, id).await? else { return Ok(None) };
        decode(TRANSMISSIONS, id, &value).map(Some)
    }

    /// The message that a row names, when it is there.
    ///
    /// # Errors
    ///
    /// When the catalog fails.
    pub async fn message(&self, record: &QueueRecord) -> Result<Option<HeldId>, StoreError> {
        let Some(id) = held_id(&record.message) else { return Ok(None) };
        Ok(self.engine.get(HELD_MESSAGES, &id.0).await?.map(|_| id))
    }
}

/// What an operator orders.
#[derive(Clone, Debug)]
pub enum Order {
    /// Try it now.
    Retry,
    /// Do not send it until it is released.
    Hold {
        /// For the journal, and for who asks later.
        why: String,
    },
    /// Send a held one again, now.
    Release,
    /// Give it up.
    Drop {
        /// For the journal.
        why: String,
    },
}

/// What became of an order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Obeyed {
    /// The row was changed; when it is due now.
    Yes(Option<Due>),
    /// It is so already, or its state does not allow it; when the row is due.
    Already(Option<Due>),
    /// A connection is at the row: the order has to be repeated.
    Sending,
    /// The row is not in the queue any more.
    Gone,
}

/// As [`obey`], beside a running `queue`: claims the row, so that nothing is ordered of a message
/// whose answer is awaited, and lets the schedule know.
///
/// # Errors
///
/// As [`obey`].
pub async fn obey_beside(
    queue: &QueueHandle,
    engine: &dyn Engine,
    id: QueueId,
    order: &Order,
    node: u64,
    now: UnixMillis,
) -> Result<Obeyed, StoreError> {
    let Some(claim) = queue.claim(id) else {
        // What has just left is let go of a moment later.
        let left = engine.get(OUTGOING_QUEUE, &id.0).await?.is_none();
        return Ok(if left { Obeyed::Gone } else { Obeyed::Sending });
    };
    let obeyed = obey(engine, id, order, node, now).await?;
    let again = match obeyed {
        Obeyed::Yes(due) | Obeyed::Already(due) => due,
        Obeyed::Sending | Obeyed::Gone => None,
    };
    claim.release(again, now);
    Ok(obeyed)
}

/// Gives `order` for the row `id`, journalled for `node` at `now`.
///
/// # Errors
///
/// When the catalog fails or the record is damaged.
pub async fn obey(
    engine: &dyn Engine,
    id: QueueId,
    order: &Order,
    node: u64,
    now: UnixMillis,
) -> Result<Obeyed, StoreError> {
    for _ in 0..CONFLICTS_MAX {
        let Some(value) = engine.get(OUTGOING_QUEUE, &id.0).await? else {
            return Ok(Obeyed::Gone);
        };
        let before: QueueRecord = decode(OUTGOING_QUEUE, &id.0, &value)?;
        let Some((after, entry)) = changed(&before, order, now) else {
            return Ok(Obeyed::Already(before.due(id)));
        };
        let mut batch = Batch::default();
        write_queued(&mut batch, id, Some((&before, value)), Some(&after));
        if let Some((event, why)) = entry {
            let transmission = match before.transmission.as_slice() {
                [] => None,
                octets => engine.get(TRANSMISSIONS, octets).await?,
            };
            let record = journal_record(id, &after, transmission.as_deref(), why);
            journal::write(&mut batch, node, now, event, record);
        }
        if matches!(order, Order::Retry) {
            let lane = LaneId::of(&after.domain);
            hurry(engine, &mut batch, lane, now).await?;
        }
        match engine.commit(batch).await {
            Ok(_) => return Ok(Obeyed::Yes(after.due(id))),
            Err(StoreError::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
    Err(StoreError::Conflict)
}

/// What a row becomes by an order, and what the journal says of it; `None` when nothing changes.
fn changed<'o>(
    before: &QueueRecord,
    order: &'o Order,
    now: UnixMillis,
) -> Option<(QueueRecord, Option<(JournalEvent, &'o str)>)> {
    let mut after = before.clone();
    let entry = match order {
        _ if before.is_dropped() => return None,
        Order::Retry => {
            (!before.is_held()).then_some(())?;
            None
        }
        Order::Hold { why } => {
            (!before.is_held()).then_some(())?;
            after.held_millis = now.0.max(1);
            why.clone_into(&mut after.held_why);
            return Some((after, Some((JournalEvent::QueueHeld, why))));
        }
        Order::Release => {
            before.is_held().then_some(())?;
            Some((JournalEvent::QueueReleased, ""))
        }
        Order::Drop { why } => {
            after.dropped_millis = now.0.max(1);
            Some((JournalEvent::QueueDropped, why.as_str()))
        }
    };
    after.held_millis = 0;
    after.held_why.clear();
    after.next_attempt_millis = now.0;
    Some((after, entry))
}

fn journal_record(
    id: QueueId,
    row: &QueueRecord,
    transmission: Option<&[u8]>,
    why: &str,
) -> JournalRecord {
    let transmission = transmission.and_then(|octets| {
        decode::<TransmissionRecord>(TRANSMISSIONS, &row.transmission, octets).ok()
    });
    let TransmissionRecord { identifier, client_message_id, subject, .. } =
        transmission.unwrap_or_default();
    JournalRecord {
        identifier,
        message_id: client_message_id.unwrap_or_default(),
        subject,
        sender: row.reverse_path.clone(),
        recipients: row.recipients.iter().map(|one| one.address.clone()).collect(),
        detail: format!("queue row {id}: {why}"),
        ..JournalRecord::default()
    }
}

/// A destination that fails is due at once; how often it has failed stays.
async fn hurry(
    engine: &dyn Engine,
    batch: &mut Batch,
    lane: LaneId,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let Some(value) = engine.get(OUTGOING_DESTINATIONS, &lane.0).await? else { return Ok(()) };
    let mut record: DestinationRecord = decode(OUTGOING_DESTINATIONS, &lane.0, &value)?;
    record.next_attempt_millis = now.0;
    batch.put(OUTGOING_DESTINATIONS, lane.key(), encode(&record));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(9_000);

    fn after(before: &QueueRecord, order: &Order) -> Option<QueueRecord> {
        changed(before, order, NOW).map(|(after, _)| after)
    }

    #[test]
    fn an_order_changes_a_row_or_finds_it_so_already() {
        let keep = Order::Hold { why: "prova".to_owned() };
        let give_up = Order::Drop { why: "prova".to_owned() };
        let waiting = QueueRecord { next_attempt_millis: 20_000, ..QueueRecord::default() };
        assert_eq!(after(&waiting, &Order::Retry).expect("changed").next_attempt_millis, NOW.0);
        assert_eq!(after(&waiting, &Order::Release), None);
        let held = after(&waiting, &keep).expect("held");
        assert!(held.is_held() && held.held_why == "prova" && held.next_attempt_millis == 20_000);
        assert_eq!(after(&held, &Order::Retry), None, "it must be released");
        assert_eq!(after(&held, &keep), None);
        let released = after(&held, &Order::Release).expect("released");
        assert!(!released.is_held() && released.held_why.is_empty());
        assert_eq!(released.next_attempt_millis, NOW.0);
        for before in [&waiting, &held] {
            let dropped = after(before, &give_up).expect("given up");
            assert!(dropped.is_dropped() && !dropped.is_held());
            assert_eq!(dropped.due(QueueId([1; 16])).expect("a turn").lane, LaneId::NOWHERE);
            for order in [&Order::Retry, &keep, &Order::Release, &give_up] {
                assert_eq!(after(&dropped, order), None);
            }
        }
    }
}
