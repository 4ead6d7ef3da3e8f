//! What the incoming point owes for a message it has taken: take-charge receipt, anomaly
//! envelope, and the duty of the delivery point for every recipient.
//!
//! Invariant: the receipt or envelope, the deliveries and the end of the duty are one batch, so
//! that an interruption before it leaves the whole duty and one after it leaves none.
//!
//! Not here: taking the message (`incoming_point`), delivering it (`delivery_point`).

use std::sync::Arc;

use bytes::Bytes;
use storage::{
    catalog::engine::{Batch, Expected},
    error::StoreError,
    held::HeldMessage,
};
use trust::{clock::UnixMillis, smime::structure::find_signed};

use super::{
    address::Address,
    artefacts::{self, ArtefactKind},
    classify::{self, PecMessage},
    daticert::{CertificationData, Event},
    engine::{PecEngine, PecError},
    header::Header,
    instant::CertifiedInstant,
    issue,
    journal::JournalEvent,
    records::{
        DELIVERY_WORK, DeliveryRecord, DeliveryStage, INCOMING_MESSAGES, INCOMING_WORK, IncomingId,
        IncomingKind, IncomingRecord, JournalRecord, QueueKind, RecipientRecord, RecipientState,
        Seen, TRANSMISSION_IDENTIFIERS, TRANSMISSION_RECIPIENTS, TRANSMISSIONS, TransmissionId,
        TransmissionRecord, decode, encode, indexed_key, recognised_by, seen_key,
    },
    work::Source,
};

/// Distributes one incoming message.
///
/// # Errors
///
/// Whatever the store or the signer says; the duty then stands as before.
pub async fn distribute(engine: &Arc<PecEngine>, id: IncomingId) -> Result<(), PecError> {
    if engine.store().engine().get(INCOMING_WORK, &id.0).await?.is_none() {
        return Ok(());
    }
    let (record, _) =
        engine.record::<IncomingRecord>(INCOMING_MESSAGES, &id.0).await?.ok_or_else(|| {
            PecError::Inconsistent {
                object: format!("incoming message {id}"),
                detail: "the record is gone".to_owned(),
            }
        })?;
    finish_duty(engine, id, &record).await?;
    // Outside of the reservation for the distribution: the answers reserve memory for themselves,
    // and who holds some while waiting for more waits for ever.
    super::delivery_point::deliver_all(engine, Source::Incoming(id)).await
}

/// Brings the duty of the incoming point to its end, whoever else is at it.
async fn finish_duty(
    engine: &Arc<PecEngine>,
    id: IncomingId,
    record: &IncomingRecord,
) -> Result<(), PecError> {
    let held = engine.held(&record.message, &format!("incoming message {id}")).await?;
    let _memory = engine.reserve(held.size()).await?;
    let octets = engine.read_held(&held).await?;
    for _ in 0..CONFLICTS_MAX {
        let octets = octets.clone();
        let done = match record.kind() {
            IncomingKind::TransportEnvelope => take_charge(engine, id, record, octets).await,
            IncomingKind::Notification => pass_on(engine, id, record, octets, &held).await,
            IncomingKind::Anomaly => wrap(engine, id, record, octets).await,
        };
        match done {
            // Another worker was quicker, or a recipient's state moved on meanwhile: a receipt
            // read again sees the newer state, and states only move forward.
            Err(PecError::Store(StoreError::Conflict)) => {
                if engine.store().engine().get(INCOMING_WORK, &id.0).await?.is_none() {
                    return Ok(());
                }
            }
            done => return done,
        }
    }
    Err(StoreError::Conflict.into())
}

/// Conflicts after which a step is left for the next scan.
pub(super) const CONFLICTS_MAX: usize = 16;

/// The batch that ends the duty of `id` and begins those of the delivery point.
fn hand_to_delivery_point(
    id: IncomingId,
    record: &IncomingRecord,
    message: &[u8],
    transmission: &[u8],
) -> Batch {
    let mut batch = Batch::default();
    batch.expect(INCOMING_WORK, id.key(), Expected::Present);
    batch.delete(INCOMING_WORK, id.key());
    for (index, recipient) in (0_u32..).zip(&record.recipients) {
        let delivery = DeliveryRecord {
            kind: record.kind,
            stage: DeliveryStage::Pending.into(),
            message: message.to_vec(),
            recipient: recipient.clone(),
            seen_key: seen_key(
                &record.signer,
                recognised_by(&record.signer, &record.message_id, &id),
                &record.entity_digest,
                Seen::Delivered(recipient),
            )
            .to_vec(),
            transmission: transmission.to_vec(),
            ..DeliveryRecord::default()
        };
        batch.put(
            DELIVERY_WORK,
            indexed_key(&Source::Incoming(id).key(), index),
            encode(&delivery),
        );
    }
    batch
}

fn journal_record(record: &IncomingRecord, data: Option<&CertificationData>) -> JournalRecord {
    let facts = data.map(|data| &data.facts);
    JournalRecord {
        identifier: facts.map(|facts| facts.identifier.as_str().to_owned()).unwrap_or_default(),
        message_id: String::from_utf8_lossy(&record.message_id).into_owned(),
        sender: facts.map_or_else(|| record.reverse_path.clone(), |facts| facts.sender.clone()),
        recipients: record.recipients.clone(),
        subject: facts.and_then(|facts| facts.subject.clone()).unwrap_or_default(),
        provider: record.provider.clone(),
        ..JournalRecord::default()
    }
}

/// A transport envelope: one take-charge receipt covers all recipients of the transaction
/// (RFC 6109 §3.2.1).
async fn take_charge(
    engine: &Arc<PecEngine>,
    id: IncomingId,
    record: &IncomingRecord,
    octets: Bytes,
) -> Result<(), PecError> {
    let PecMessage::TransportEnvelope(envelope) = classify_again(engine, octets).await?.0 else {
        return Err(changed(id));
    };
    let instant = CertifiedInstant::new(UnixMillis(record.instant_millis));
    let mut batch = hand_to_delivery_point(id, record, &record.message, &[]);
    let journal = journal_record(record, Some(&envelope.data));
    let mail_receipt =
        Address::parse(&record.mail_receipt).map_err(|_| PecError::Inconsistent {
            object: format!("incoming message {id}"),
            detail: "the service mailbox of its provider is no address".to_owned(),
        })?;
    let facts = &envelope.data.facts;
    let receipt =
        issue::take_charge(engine, &instant, &mail_receipt, facts, &record.recipients).await?;
    let (held, _) = engine.hold(&receipt.octets, &mut batch).await?;
    let due = issue::enqueue_notification(engine, &mut batch, held, &mail_receipt);
    let related = vec![receipt.message_id];
    engine.journal(
        &mut batch,
        instant.unix(),
        JournalEvent::TakeCharge,
        JournalRecord { related, ..journal },
    );
    engine.store().commit(batch).await?;
    engine.queue().announce(due, engine.now());
    Ok(())
}

/// A receipt or notice: what it says is noted with the transmission, then it goes to the mailbox.
async fn pass_on(
    engine: &Arc<PecEngine>,
    id: IncomingId,
    record: &IncomingRecord,
    octets: Bytes,
    held: &HeldMessage,
) -> Result<(), PecError> {
    let PecMessage::Receipt(notice) = classify_again(engine, octets).await?.0 else {
        return Err(changed(id));
    };
    let data = &notice.data;
    let transmission = find_transmission(engine, data).await?;
    let owner = transmission.as_ref().map(|(id, _)| id.0.to_vec()).unwrap_or_default();
    let mut batch = hand_to_delivery_point(id, record, &record.message, &owner);
    if let Some((transmission_id, transmission)) = &transmission
        && may_note(engine, &mut batch, record, *transmission_id, transmission, data).await?
    {
        let instant = UnixMillis(record.instant_millis);
        let (of, mailboxes) = ((*transmission_id, transmission), &record.recipients);
        let artefact = artefacts::received(of, data, instant, &record.provider, mailboxes);
        let message_id = String::from_utf8_lossy(&record.message_id).trim().to_owned();
        // The incoming message is named once more: it stays as long as the transmission's own.
        artefact.note(&mut batch, &message_id, artefacts::of_held(held), &record.message);
    }
    engine.store().commit(batch).await?;
    Ok(())
}

async fn find_transmission(
    engine: &PecEngine,
    data: &CertificationData,
) -> Result<Option<(TransmissionId, TransmissionRecord)>, PecError> {
    let key = data.facts.identifier.as_str().as_bytes();
    let Some(id) = engine.store().engine().get(TRANSMISSION_IDENTIFIERS, key).await? else {
        return Ok(None);
    };
    let id = TransmissionId::from_octets(TRANSMISSION_IDENTIFIERS, &id)?;
    let record = engine.record::<TransmissionRecord>(TRANSMISSIONS, &id.0).await?;
    Ok(record.map(|(record, _)| (id, record)))
}

/// Notes what `data` says of recipients; whether the message itself is noted, too.
///
/// It is when its signer speaks for one of his own recipients. What moves no recipient on is noted as long
/// as there are not too many of its kind: no provider fills our store with repetitions.
async fn may_note(
    engine: &PecEngine,
    batch: &mut Batch,
    record: &IncomingRecord,
    id: TransmissionId,
    transmission: &TransmissionRecord,
    data: &CertificationData,
) -> Result<bool, PecError> {
    let (own, moved) = note_states(engine, batch, record, id, transmission, data).await?;
    if !own {
        tracing::warn!(
            transmission = %id, provider = record.provider, event = data.event.kind(),
            "a receipt of a provider that manages none of the recipients it speaks of goes to its mailbox, \
             and is not noted with the transmission"
        );
        return Ok(false);
    }
    let kind = ArtefactKind::of_event(&data.event);
    let most = artefacts::RECEIVED_MAX.saturating_mul(transmission.recipients as usize);
    let engine = &**engine.store().engine();
    Ok(moved || artefacts::are_fewer(engine, id, kind, most).await?)
}

/// Moves the recipients that `data` speaks of on, as far as their provider may say so. Returns whether the
/// signer manages one of them, and whether one moved.
async fn note_states(
    engine: &PecEngine,
    batch: &mut Batch,
    record: &IncomingRecord,
    id: TransmissionId,
    transmission: &TransmissionRecord,
    data: &CertificationData,
) -> Result<(bool, bool), PecError> {
    let (state, speaks_of): (Option<RecipientState>, Vec<&str>) = match &data.event {
        Event::TakeCharge { recipients } => {
            (Some(RecipientState::TakenInCharge), recipients.iter().map(String::as_str).collect())
        }
        Event::Delivery { recipient, .. } => (Some(RecipientState::Delivered), vec![recipient]),
        Event::DeliveryError { recipient, .. } => (Some(RecipientState::Failed), vec![recipient]),
        event => (None, event.recipient().into_iter().collect()),
    };
    // What names nobody is about all of the signer's recipients.
    let all = speaks_of.is_empty();
    let (mut own, mut moved) = (false, false);
    let speaks_of: Vec<Address> =
        speaks_of.into_iter().filter_map(|text| Address::parse(text).ok()).collect();
    let directory = engine.directory();
    let signer_manages = |address: &Address| {
        directory
            .provider_of_domain(address.domain())
            .is_some_and(|provider| provider.name == record.provider)
    };
    for index in 0..transmission.recipients {
        let key = indexed_key(&id.0, index);
        let Some((row, value)) =
            engine.record::<RecipientRecord>(TRANSMISSION_RECIPIENTS, &key).await?
        else {
            continue;
        };
        let Ok(address) = Address::parse(&row.address) else { continue };
        // Somebody else's provider cannot speak for this recipient; states only move forward.
        if !(all || speaks_of.contains(&address)) || !signer_manages(&address) {
            continue;
        }
        own = true;
        let Some(state) = state.filter(|state| row.may_become(*state)) else { continue };
        moved = true;
        let next =
            RecipientRecord { state: state.into(), changed_millis: record.instant_millis, ..row };
        batch.expect(TRANSMISSION_RECIPIENTS, key.clone(), Expected::Value(value));
        batch.put(TRANSMISSION_RECIPIENTS, key, encode(&next));
    }
    Ok((own, moved))
}

/// Anything not certified: the message as received goes on inside an anomaly envelope
/// (RFC 6109 §3.2.2).
async fn wrap(
    engine: &Arc<PecEngine>,
    id: IncomingId,
    record: &IncomingRecord,
    octets: Bytes,
) -> Result<(), PecError> {
    let instant = CertifiedInstant::new(UnixMillis(record.instant_millis));
    let envelope = issue::anomaly_envelope(engine, &instant, record, octets).await?;
    let mut wrapped = Batch::default();
    let (held, _) = engine.hold(&envelope.octets, &mut wrapped).await?;
    let mut batch = hand_to_delivery_point(id, record, &held.0, &[]);
    batch.merge(wrapped);
    let journal = JournalRecord { detail: record.reason.clone(), ..journal_record(record, None) };
    engine.journal(&mut batch, instant.unix(), JournalEvent::AnomalyEnvelope, journal);
    engine.store().commit(batch).await?;
    Ok(())
}

/// Classifies a message that was judged before; also returns its signed entity.
pub(super) async fn classify_again(
    engine: &PecEngine,
    octets: Bytes,
) -> Result<(PecMessage, Bytes), PecError> {
    engine
        .compute(move || {
            let header = Header::parse(&octets).map(|(header, _)| header).unwrap_or_default();
            let entity =
                find_signed(&octets).map(|signed| octets.slice(signed.entity)).unwrap_or_default();
            (classify::classify(&header, &entity), entity)
        })
        .await
}

fn changed(id: IncomingId) -> PecError {
    PecError::Inconsistent {
        object: format!("incoming message {id}"),
        detail: "it is not of the kind that it was taken as".to_owned(),
    }
}

/// Reads the recipient rows of a transmission, in order.
pub(super) async fn recipient_rows(
    engine: &PecEngine,
    id: TransmissionId,
    count: u32,
) -> Result<Vec<(Bytes, Bytes, RecipientRecord)>, PecError> {
    let keys: Vec<_> =
        (0..count).map(|index| (TRANSMISSION_RECIPIENTS, indexed_key(&id.0, index))).collect();
    let values = engine.store().engine().multi_get(&keys).await?;
    let mut rows = Vec::with_capacity(values.len());
    for ((family, key), value) in keys.into_iter().zip(values) {
        let value = value.ok_or_else(|| PecError::Inconsistent {
            object: format!("transmission {id}"),
            detail: "a recipient's row is gone".to_owned(),
        })?;
        let row = decode(family, &key, &value)?;
        rows.push((key, value, row));
    }
    Ok(rows)
}

/// A queue record that is due at once.
pub(super) fn due_now(
    now: UnixMillis,
    kind: QueueKind,
    to: &Address,
    reverse_path: &str,
) -> super::records::QueueRecord {
    super::records::QueueRecord {
        kind: kind.into(),
        domain: to.domain().as_str().to_owned(),
        reverse_path: reverse_path.to_owned(),
        queued_millis: now.0,
        next_attempt_millis: now.0,
        sender_class: super::records::sender_class(reverse_path),
        ..super::records::QueueRecord::default()
    }
}
