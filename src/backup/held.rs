//! Duties that a restore found unfinished, until an operator releases them.
//!
//! What a restored catalog still owes may have been fulfilled in the lost time: an envelope sent,
//! a receipt delivered. Nobody but a person can know. So a restore takes every row out of the work
//! families and the outgoing queue and keeps it in [`HELD_FOR_OPERATOR`]; the engine, which works
//! from these families alone, does not see it.
//!
//! * A row is in its own family or held, never both, never neither: it moves in one batch.
//! * Held messages that a held row names stay: only the batch that fulfils a duty releases them.
//! * Holding and releasing are in the journal.
//!
//! Not here: what the duties are (`pec::work`, `pec::queue`).

use bytes::Bytes;
use prost::Message;
use storage::{
    backup::manifest::CheckpointName,
    catalog::{
        engine::{Batch, Engine, Expected, Family, Scan},
        pages::{PAGE_OCTETS_MAX, Pages},
    },
    error::StoreError,
};
use trust::clock::UnixMillis;

use crate::pec::{
    journal::{self, JournalEvent},
    records::{
        DELIVERY_WORK, DeliveryRecord, Due, HELD_FOR_OPERATOR, INCOMING_MESSAGES, INCOMING_WORK,
        IncomingRecord, JournalRecord, OUTGOING_ORDER, OUTGOING_QUEUE, QueueId, QueueKind,
        QueueRecord, RecipientRecord, RecipientState, TIME_LIMITS, TRANSMISSION_RECIPIENTS,
        TRANSMISSION_WORK, TRANSMISSIONS, TransmissionRecord, decode, encode, indexed_key,
        write_queued,
    },
    time_limits::Deadline,
};

/// Rows moved in one batch.
const PAGE: usize = 500;

/// A duty that waits for an operator.
#[derive(Clone, Eq, PartialEq, Message)]
pub struct HeldRecord {
    /// The row's value in its own family.
    #[prost(bytes = "bytes", tag = "1")]
    pub value: Bytes,
    /// When it was held, in milliseconds since the epoch.
    #[prost(int64, tag = "2")]
    pub held_millis: i64,
    /// The checkpoint that it comes from.
    #[prost(string, tag = "3")]
    pub checkpoint: String,
}

/// Which duty it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Duty {
    /// A submitted message: acceptance receipt and envelope are owed.
    Acceptance,
    /// A message from another server: it is to be taken in charge and passed on.
    Distribution,
    /// A delivery to a mailbox here, or the receipt for it.
    Delivery,
    /// A message to another server.
    Sending,
    /// A recipient of whom the sender is told when nothing is heard in time.
    TimeLimit,
}

impl Duty {
    const ALL: [Self; 5] =
        [Self::Acceptance, Self::Distribution, Self::Delivery, Self::Sending, Self::TimeLimit];

    /// The word for programs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Acceptance => "acceptance",
            Self::Distribution => "distribution",
            Self::Delivery => "delivery",
            Self::Sending => "sending",
            Self::TimeLimit => "time-limit",
        }
    }

    fn family(self) -> Family {
        match self {
            Self::Acceptance => TRANSMISSION_WORK,
            Self::Distribution => INCOMING_WORK,
            Self::Delivery => DELIVERY_WORK,
            Self::Sending => OUTGOING_QUEUE,
            Self::TimeLimit => TIME_LIMITS,
        }
    }

    fn tag(self) -> u8 {
        match self {
            Self::Acceptance => 0,
            Self::Distribution => 1,
            Self::Delivery => 2,
            Self::Sending => 3,
            Self::TimeLimit => 4,
        }
    }

    /// Takes a key of [`HELD_FOR_OPERATOR`] apart.
    fn of_key(key: &[u8]) -> Result<(Self, &[u8]), StoreError> {
        let parts = key.split_first().and_then(|(tag, rest)| {
            Some((Self::ALL.into_iter().find(|duty| duty.tag() == *tag)?, rest))
        });
        parts.ok_or_else(|| StoreError::Damaged {
            object: format!("{}/{}", HELD_FOR_OPERATOR.0, hex::encode(key)),
            detail: "the key names no duty".to_owned(),
        })
    }
}

/// A held duty, for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HeldDuty {
    /// Names it in a release.
    pub id: String,
    /// What it is.
    pub duty: Duty,
    /// The PEC identifier, or the Message-ID of a message from outside; empty when not known.
    pub identifier: String,
    /// Whose message it is.
    pub sender: String,
    /// To whom something is owed.
    pub recipients: Vec<String>,
    /// When the duty, or its message, began.
    pub since: UnixMillis,
}

/// The row that a held one was: its family, key and value.
///
/// # Errors
///
/// [`StoreError::Damaged`], [`StoreError::TooNew`].
pub fn held_row(key: &[u8], value: &[u8]) -> Result<(Family, Bytes, Bytes), StoreError> {
    let (duty, row) = Duty::of_key(key)?;
    let record: HeldRecord = decode(HELD_FOR_OPERATOR, key, value)?;
    Ok((duty.family(), Bytes::copy_from_slice(row), record.value))
}

/// Moves every duty to [`HELD_FOR_OPERATOR`]. Returns how many.
///
/// # Errors
///
/// When the catalog fails.
pub async fn hold_all(
    engine: &dyn Engine,
    checkpoint: CheckpointName,
    now: UnixMillis,
) -> Result<u64, StoreError> {
    let mut held = 0;
    for duty in Duty::ALL {
        loop {
            let page =
                engine.page(&Scan::prefix(duty.family(), b"", PAGE), PAGE_OCTETS_MAX).await?;
            if page.entries.is_empty() {
                break;
            }
            let mut batch = Batch::default();
            for (key, value) in page.entries {
                if duty == Duty::TimeLimit && !is_waited_for(engine, &key).await? {
                    batch.delete(duty.family(), key);
                    continue;
                }
                let record =
                    HeldRecord { value, held_millis: now.0, checkpoint: checkpoint.to_string() };
                let held_key = [&[duty.tag()], key.as_ref()].concat();
                batch.put(HELD_FOR_OPERATOR, held_key, encode(&record));
                batch.delete(duty.family(), key);
                held += 1;
            }
            engine.commit(batch).await?;
        }
    }
    forget_order(engine).await?;
    Ok(held)
}

/// Whether something is still to be heard of the recipient of a deadline: for the others nobody has
/// to decide anything. What cannot be read is held like everything else.
async fn is_waited_for(engine: &dyn Engine, key: &[u8]) -> Result<bool, StoreError> {
    let Ok(deadline) = Deadline::from_key(key) else { return Ok(true) };
    let key = indexed_key(&deadline.transmission.0, deadline.index);
    let Some(row) = engine.get(TRANSMISSION_RECIPIENTS, &key).await? else { return Ok(false) };
    let recipient = decode::<RecipientRecord>(TRANSMISSION_RECIPIENTS, &key, &row);
    Ok(recipient.map_or(true, |recipient| recipient.state() <= RecipientState::TakenInCharge))
}

/// The order of the outgoing queue goes with its rows, and comes back with them.
async fn forget_order(engine: &dyn Engine) -> Result<(), StoreError> {
    loop {
        let page = engine.scan(&Scan::prefix(OUTGOING_ORDER, b"", PAGE)).await?;
        if page.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::default();
        for (key, _) in page {
            batch.delete(OUTGOING_ORDER, key);
        }
        engine.commit(batch).await?;
    }
}

/// Writes into the journal that the store was restored.
///
/// # Errors
///
/// When the catalog fails.
pub async fn note_restore(
    engine: &dyn Engine,
    node: u64,
    now: UnixMillis,
    detail: String,
) -> Result<(), StoreError> {
    let mut batch = Batch::default();
    let record = JournalRecord { detail, ..JournalRecord::default() };
    journal::write(&mut batch, node, now, JournalEvent::Restored, record);
    engine.commit(batch).await.map(drop)
}

/// Lists the held duties.
///
/// # Errors
///
/// When the catalog fails or a record is damaged.
pub async fn list(engine: &dyn Engine) -> Result<Vec<HeldDuty>, StoreError> {
    let mut duties = Vec::new();
    for (key, value) in entries(engine).await? {
        let record: HeldRecord = decode(HELD_FOR_OPERATOR, &key, &value)?;
        duties.push(describe(engine, &key, &record).await?);
    }
    Ok(duties)
}

async fn entries(engine: &dyn Engine) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
    let mut entries = Vec::new();
    let mut pages = Pages::prefix(HELD_FOR_OPERATOR, b"", PAGE);
    while let Some(page) = pages.next(engine).await? {
        entries.extend(page);
    }
    Ok(entries)
}

async fn describe(
    engine: &dyn Engine,
    key: &[u8],
    record: &HeldRecord,
) -> Result<HeldDuty, StoreError> {
    let (duty, row) = Duty::of_key(key)?;
    let mut held = HeldDuty {
        id: hex::encode(key),
        duty,
        identifier: String::new(),
        sender: String::new(),
        recipients: Vec::new(),
        since: UnixMillis(record.held_millis),
    };
    match duty {
        Duty::Acceptance => note_transmission(engine, row, &mut held).await?,
        Duty::Distribution => note_incoming(engine, row, &mut held).await?,
        Duty::Delivery => {
            let delivery: DeliveryRecord = decode(DELIVERY_WORK, row, &record.value)?;
            let of_transmission = row.first() == Some(&0);
            let id = row.get(1..17).unwrap_or_default();
            if of_transmission {
                note_transmission(engine, id, &mut held).await?;
            } else {
                note_incoming(engine, id, &mut held).await?;
            }
            held.recipients = vec![delivery.recipient];
        }
        Duty::TimeLimit => {
            let deadline = Deadline::from_key(row)?;
            note_transmission(engine, &deadline.transmission.0, &mut held).await?;
            let key = indexed_key(&deadline.transmission.0, deadline.index);
            if let Some(row) = engine.get(TRANSMISSION_RECIPIENTS, &key).await? {
                let recipient: RecipientRecord = decode(TRANSMISSION_RECIPIENTS, &key, &row)?;
                held.recipients = vec![recipient.address];
            }
        }
        Duty::Sending => {
            let queued: QueueRecord = decode(OUTGOING_QUEUE, row, &record.value)?;
            note_transmission(engine, &queued.transmission, &mut held).await?;
            held.recipients = queued.recipients.into_iter().map(|one| one.address).collect();
            held.sender = queued.reverse_path;
            held.since = UnixMillis(queued.queued_millis);
        }
    }
    Ok(held)
}

async fn note_transmission(
    engine: &dyn Engine,
    id: &[u8],
    held: &mut HeldDuty,
) -> Result<(), StoreError> {
    let Some(octets) = engine.get(TRANSMISSIONS, id).await? else { return Ok(()) };
    let record: TransmissionRecord = decode(TRANSMISSIONS, id, &octets)?;
    held.identifier = record.identifier;
    held.sender = record.sender;
    held.since = UnixMillis(record.instant_millis);
    Ok(())
}

async fn note_incoming(
    engine: &dyn Engine,
    id: &[u8],
    held: &mut HeldDuty,
) -> Result<(), StoreError> {
    let Some(octets) = engine.get(INCOMING_MESSAGES, id).await? else { return Ok(()) };
    let record: IncomingRecord = decode(INCOMING_MESSAGES, id, &octets)?;
    String::from_utf8_lossy(&record.message_id).trim().clone_into(&mut held.identifier);
    held.sender = record.reverse_path;
    held.recipients = record.recipients;
    held.since = UnixMillis(record.instant_millis);
    Ok(())
}

/// What a release did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Released {
    /// Duties released.
    pub duties: u64,
    /// Those among them that the outgoing queue must be told of.
    pub requeued: Vec<Due>,
}

/// Gives duties back to the engine: those of `ids`, or all. A duty that was released before is
/// passed over; the number tells.
///
/// # Errors
///
/// When the catalog fails or a record is damaged.
pub async fn release(
    engine: &dyn Engine,
    ids: Option<&[String]>,
    node: u64,
    now: UnixMillis,
) -> Result<Released, StoreError> {
    let mut released = Released::default();
    for (key, value) in entries(engine).await? {
        if ids.is_some_and(|ids| !ids.contains(&hex::encode(&key))) {
            continue;
        }
        let record: HeldRecord = decode(HELD_FOR_OPERATOR, &key, &value)?;
        let held = describe(engine, &key, &record).await?;
        let (duty, row) = Duty::of_key(&key)?;
        let row = Bytes::copy_from_slice(row);
        let mut batch = Batch::default();
        let mut again = None;
        batch.expect(HELD_FOR_OPERATOR, key.clone(), Expected::Value(value));
        batch.delete(HELD_FOR_OPERATOR, key);
        if duty == Duty::Sending {
            let mut queued: QueueRecord = decode(OUTGOING_QUEUE, &row, &record.value)?;
            queued.next_attempt_millis = now.0;
            if queued.kind() != QueueKind::TransportEnvelope {
                // The time in which it waited for the operator is not its own: nothing else answers for it.
                queued.queued_millis = now.0;
            }
            let id = QueueId::from_octets(OUTGOING_QUEUE, &row)?;
            write_queued(&mut batch, id, None, Some(&queued));
            again = queued.due(id);
        } else {
            batch.put(duty.family(), row, record.value);
        }
        let entry = JournalRecord {
            identifier: held.identifier,
            sender: held.sender,
            recipients: held.recipients,
            detail: format!("{}, held by the restore of {}", duty.word(), record.checkpoint),
            ..JournalRecord::default()
        };
        journal::write(&mut batch, node, now, JournalEvent::Released, entry);
        match engine.commit(batch).await {
            Ok(_) => {
                released.duties += 1;
                released.requeued.extend(again);
            }
            // Somebody else has just released it.
            Err(StoreError::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(released)
}
