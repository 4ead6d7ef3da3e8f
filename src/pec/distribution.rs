//! What the incoming point owes for a message it has taken: take-charge receipt, anomaly
//! envelope, and the duty of the delivery point for every recipient, or of a virus.
//!
//! Invariant: the receipt or envelope, the deliveries (or the notices of a virus that are owed) and the end
//! of the duty are one batch, so that an interruption before it leaves the whole duty and one after it
//! leaves none.
//!
//! Not here: taking the message (`incoming_point`), delivering it (`delivery_point`), telling of a virus
//! (`infected`).

use std::sync::Arc;

use bytes::Bytes;
use storage::{
    catalog::engine::{Batch, Expected},
    error::StoreError,
    held::HeldMessage,
    ids::AccountId,
};
use trust::{clock::UnixMillis, smime::structure::find_signed};

use super::{
    address::Address,
    artefacts::{self, ArtefactKind},
    classify::{self, PecMessage, ReceivedNotice},
    daticert::{CertificationData, Event},
    engine::{PecEngine, PecError},
    facts::{TransmissionFacts, quotable},
    header::Header,
    infected::tell_sender,
    instant::CertifiedInstant,
    issue,
    journal::JournalEvent,
    quarantine::{self, QuarantineId},
    records::{
        DELIVERY_WORK, DeliveryFaultKind, DeliveryRecord, DeliveryStage, INCOMING_MESSAGES,
        INCOMING_WORK, IncomingId, IncomingKind, IncomingRecord, JournalRecord, QueueKind,
        RecipientRecord, RecipientState, Seen, TRANSMISSION_IDENTIFIERS, TRANSMISSION_RECIPIENTS,
        TRANSMISSIONS, TransmissionId, TransmissionRecord, decode, encode, indexed_key,
        recognised_by, seen_key,
    },
    work::Source,
};
use crate::service_levels::delays::DelayKind;

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

/// What a duty is fulfilled from.
enum Material {
    /// A transport envelope.
    Envelope(Bytes),
    /// A receipt or notice.
    Notice(Box<ReceivedNotice>),
    /// Anything not certified.
    Anomaly(Bytes),
}

/// Brings the duty of the incoming point to its end, whoever else is at it.
async fn finish_duty(
    engine: &Arc<PecEngine>,
    id: IncomingId,
    record: &IncomingRecord,
) -> Result<(), PecError> {
    let held = engine.held(&record.message, &format!("incoming message {id}")).await?;
    let mut memory = Some(engine.reserve(held.size()).await?);
    let material = if record.quarantine.is_empty() {
        let octets = engine.read_held(&held).await?;
        match record.kind() {
            IncomingKind::TransportEnvelope => Material::Envelope(octets),
            IncomingKind::Anomaly => Material::Anomaly(octets),
            IncomingKind::Notification => {
                let PecMessage::Receipt(notice) = classify_again(engine, octets).await?.0 else {
                    return Err(changed(id));
                };
                // What the sender is told then reserves memory for itself.
                memory = None;
                Material::Notice(notice)
            }
        }
    } else {
        let id = QuarantineId::from_octets(INCOMING_MESSAGES, &record.quarantine)?;
        Material::Envelope(quarantine::open(engine, id).await?.1)
    };
    for _ in 0..CONFLICTS_MAX {
        let done = match &material {
            Material::Envelope(octets) => take_charge(engine, id, record, octets.clone()).await,
            Material::Notice(notice) => pass_on(engine, id, record, &notice.data, &held).await,
            Material::Anomaly(octets) => wrap(engine, id, record, octets.clone()).await,
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
    drop(memory);
    Err(StoreError::Conflict.into())
}

/// Conflicts after which a step is left for the next scan.
pub(super) const CONFLICTS_MAX: usize = 16;

/// The batch that ends the duty of `id`.
fn end_duty(id: IncomingId) -> Batch {
    let mut batch = Batch::default();
    batch.expect(INCOMING_WORK, id.key(), Expected::Present);
    batch.delete(INCOMING_WORK, id.key());
    batch
}

/// The batch that ends the duty of `id` and begins those of the delivery point. A message in quarantine goes
/// to no mailbox (RFC 6109 §3.2.3): what is owed then is a notice for each recipient.
fn hand_to_delivery_point(
    id: IncomingId,
    record: &IncomingRecord,
    message: &[u8],
    transmission: &[u8],
) -> Batch {
    let mut batch = end_duty(id);
    for (index, recipient) in (0_u32..).zip(&record.recipients) {
        let fault = if record.refusing.contains(recipient) {
            DeliveryFaultKind::CertifiedMailOnly
        } else {
            DeliveryFaultKind::default()
        };
        let stage = if record.quarantine.is_empty() {
            DeliveryStage::Pending
        } else {
            DeliveryStage::VirusNoticeOwed
        };
        let delivery = DeliveryRecord {
            fault: fault.into(),
            kind: record.kind,
            stage: stage.into(),
            instant_millis: record.instant_millis,
            quarantine: record.quarantine.clone(),
            message: message.to_vec(),
            recipient: recipient.clone(),
            seen_key: seen_key(
                &record.signer,
                recognised_by(record.kind(), &record.signer, &record.message_id, &id),
                &record.entity_digest,
                Seen::Delivered(recipient),
            )
            .to_vec(),
            transmission: transmission.to_vec(),
            not_owed: record.not_owed.contains(recipient),
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

/// What the journal says of `record`, with the facts of the message where it has some.
pub(super) fn journal_record(
    record: &IncomingRecord,
    facts: Option<&TransmissionFacts>,
) -> JournalRecord {
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
/// (RFC 6109 §3.2.1), whether it goes on to them or is told of for its virus.
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
    let facts = &envelope.data.facts;
    let journal = journal_record(record, Some(facts));
    let mail_receipt = mail_receipt(id, record)?;
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

/// The service mailbox of the provider that sent the message of `record`.
pub(super) fn mail_receipt(id: IncomingId, record: &IncomingRecord) -> Result<Address, PecError> {
    Address::parse(&record.mail_receipt).map_err(|_| PecError::Inconsistent {
        object: format!("incoming message {id}"),
        detail: "the service mailbox of its provider is no address".to_owned(),
    })
}

/// A receipt or notice: what it says is noted with the transmission, then it goes to the mailbox.
async fn pass_on(
    engine: &Arc<PecEngine>,
    id: IncomingId,
    record: &IncomingRecord,
    data: &CertificationData,
    held: &HeldMessage,
) -> Result<(), PecError> {
    let transmission = find_transmission(engine, data.facts.identifier.as_str()).await?;
    let owner = transmission.as_ref().map(|(id, _)| id.0.to_vec()).unwrap_or_default();
    let mut batch = hand_to_delivery_point(id, record, &record.message, &owner);
    let mut delivered = None;
    if let Some((id, transmission)) = &transmission
        && is_heard(engine, record, data, (*id, transmission)).await?
    {
        let moved = note(engine, &mut batch, (*id, transmission), record, data, held).await?;
        match (&data.event, moved) {
            (Event::VirusDetection { detail, .. }, Some(recipient)) => {
                let said = (record.provider.as_str(), detail.as_deref());
                return tell_sender(engine, batch, (*id, transmission), &recipient, said).await;
            }
            (Event::Delivery { .. }, Some(recipient)) => {
                delivered = Some((recipient.domain().clone(), transmission.instant_millis));
            }
            _ => {}
        }
    }
    engine.store().commit(batch).await?;
    if let Some((domain, began)) = delivered {
        engine.count_delay(DelayKind::Delivery, &domain, UnixMillis(began));
    }
    Ok(())
}

/// Whether the message goes to somebody for whom what it says is meant: what nobody gets who should changes
/// nothing, so that time limits run on and he hears of his message all the same.
async fn is_heard(
    engine: &PecEngine,
    record: &IncomingRecord,
    data: &CertificationData,
    (id, transmission): (TransmissionId, &TransmissionRecord),
) -> Result<bool, PecError> {
    let sender = Some(AccountId(transmission.account_id));
    for recipient in &record.recipients {
        if is_meant_for(engine, &data.event, sender, recipient).await? {
            return Ok(true);
        }
    }
    tracing::warn!(
        transmission = %id, provider = record.provider, event = data.event.kind(),
        "a receipt that does not come for the sender of its transmission goes to its mailbox, and changes nothing"
    );
    Ok(false)
}

/// The transmission of a PEC msgid, when it is one of ours.
pub(super) async fn find_transmission(
    engine: &PecEngine,
    identifier: &str,
) -> Result<Option<(TransmissionId, TransmissionRecord)>, PecError> {
    let key = identifier.as_bytes();
    let Some(id) = engine.store().engine().get(TRANSMISSION_IDENTIFIERS, key).await? else {
        return Ok(None);
    };
    let id = TransmissionId::from_octets(TRANSMISSION_IDENTIFIERS, &id)?;
    let record = engine.record::<TransmissionRecord>(TRANSMISSIONS, &id.0).await?;
    Ok(record.map(|(record, _)| (id, record)))
}

/// Whether `recipient` is somebody for whom `event` about a transmission of the account `sender` is meant: that
/// account, or the service mailbox for what goes there (RFC 6109 §3.2.1, §3.2.3).
pub(super) async fn is_meant_for(
    engine: &PecEngine,
    event: &Event,
    sender: Option<AccountId>,
    recipient: &str,
) -> Result<bool, PecError> {
    let between_providers =
        matches!(event, Event::TakeCharge { .. } | Event::VirusDetection { .. });
    let service_mailbox = engine.issuer().service_address.as_str();
    if between_providers && recipient.eq_ignore_ascii_case(service_mailbox) {
        return Ok(true);
    }
    let Some(sender) = sender else { return Ok(false) };
    let found = engine.store().account_by_address(recipient).await?;
    Ok(found.is_some_and(|(account_id, _)| account_id == sender))
}

/// The recipients that `data` speaks of and what it says of them; `None` when it says nothing that their state
/// depends on. Nobody is spoken of by what only the sender's own provider issues.
fn spoken_of(
    data: &CertificationData,
    signer_manages: &dyn Fn(&Address) -> bool,
) -> (Option<RecipientState>, Vec<Address>) {
    let read = |text: &String| Address::parse(text).ok();
    let one = |recipient| Vec::from_iter(read(recipient));
    match &data.event {
        Event::TakeCharge { recipients } => {
            (Some(RecipientState::TakenInCharge), recipients.iter().filter_map(read).collect())
        }
        Event::Delivery { recipient, .. } => (Some(RecipientState::Delivered), one(recipient)),
        Event::DeliveryError { recipient, .. } => (Some(RecipientState::Failed), one(recipient)),
        Event::VirusDetection { recipient: Some(recipient), .. } => {
            (Some(RecipientState::Infected), one(recipient))
        }
        // Some providers do not say whom they mean. Where it can be one alone, it is he.
        Event::VirusDetection { recipient: None, .. } => {
            let of_data = data.facts.recipients.iter().filter_map(|one| read(&one.address));
            let theirs: Vec<Address> = of_data.filter(|address| signer_manages(address)).collect();
            let state = (theirs.len() == 1).then_some(RecipientState::Infected);
            (state, theirs)
        }
        Event::TransportEnvelope { .. }
        | Event::Acceptance
        | Event::NonAcceptance { .. }
        | Event::TimeLimit { .. } => (None, Vec::new()),
    }
}

/// Notes what `data` says of recipients, and the message itself with the transmission; returns the last
/// recipient that moved on.
///
/// The message is noted when its signer speaks for one of his own recipients, with its octets unless it is much
/// larger than the message it speaks of. What moves no recipient on is noted as long as there are not too many of
/// its kind, nor too many octets: no provider fills our store.
async fn note(
    engine: &PecEngine,
    batch: &mut Batch,
    (id, transmission): (TransmissionId, &TransmissionRecord),
    record: &IncomingRecord,
    data: &CertificationData,
    held: &HeldMessage,
) -> Result<Option<Address>, PecError> {
    let (own, moved) = note_states(engine, batch, record, id, transmission, data).await?;
    if !own {
        tracing::warn!(
            transmission = %id, provider = record.provider, event = data.event.kind(),
            "a receipt whose signer has no say about a recipient in it goes to its mailbox, and is not noted \
             with the transmission"
        );
        return Ok(None);
    }
    let kind = ArtefactKind::of_event(&data.event);
    let most = artefacts::RECEIVED_MAX.saturating_mul(transmission.recipients as usize);
    let reader = &**engine.store().engine();
    let one = artefacts::received_octets_max(reader, id).await?;
    let mut room = one;
    if moved.is_none() {
        let noted = artefacts::noted(reader, id, kind, most).await?;
        if noted.count >= most {
            return Ok(moved);
        }
        let all = one.saturating_mul(transmission.recipients.into());
        room = one.min(all.saturating_sub(noted.held_octets));
    }
    let instant = UnixMillis(record.instant_millis);
    let (of, mailboxes) = ((id, transmission), &record.recipients);
    let mut artefact = artefacts::received(of, data, instant, &record.provider, mailboxes);
    artefact.keeps &= held.size() <= room;
    artefact.while_held(reader, batch).await?;
    let message_id = quotable(String::from_utf8_lossy(&record.message_id).trim().to_owned());
    // The incoming message is named once more: it stays as long as the transmission's own.
    artefact.note(batch, &message_id, artefacts::of_held(held), &record.message);
    Ok(moved)
}

/// Moves the recipients that `data` speaks of on, as far as their provider may say so. Returns whether the
/// signer manages one of them, and the last one that moved.
async fn note_states(
    engine: &PecEngine,
    batch: &mut Batch,
    record: &IncomingRecord,
    id: TransmissionId,
    transmission: &TransmissionRecord,
    data: &CertificationData,
) -> Result<(bool, Option<Address>), PecError> {
    let directory = engine.directory();
    let signer_manages = |address: &Address| {
        directory
            .provider_of_domain(address.domain())
            .is_some_and(|provider| provider.is_of(&record.provider))
    };
    let (state, speaks_of) = spoken_of(data, &signer_manages);
    let (mut own, mut moved) = (false, None);
    for index in 0..transmission.recipients {
        let key = indexed_key(&id.0, index);
        let Some((row, value)) =
            engine.record::<RecipientRecord>(TRANSMISSION_RECIPIENTS, &key).await?
        else {
            continue;
        };
        let Ok(address) = Address::parse(&row.address) else { continue };
        // Somebody else's provider cannot speak for this recipient; states only move forward.
        if !speaks_of.contains(&address) || !signer_manages(&address) {
            continue;
        }
        own = true;
        let Some(state) = state.filter(|state| row.may_become(*state)) else { continue };
        let next =
            RecipientRecord { state: state.into(), changed_millis: record.instant_millis, ..row };
        batch.expect(TRANSMISSION_RECIPIENTS, key.clone(), Expected::Value(value));
        batch.put(TRANSMISSION_RECIPIENTS, key, encode(&next));
        moved = Some(address);
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

#[cfg(test)]
mod tests;
