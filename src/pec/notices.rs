//! Answers to the sender: delivery receipts and non-delivery notices.
//!
//! Two places owe them: the delivery point, for its own recipients, and the relay, for recipients
//! whose server refuses for good. Invariants:
//!
//! * The answer, the recipient's new state and the end of the duty are one batch.
//! * An answer goes to the reverse path of the original (RFC 6109 §2.1), and nothing is ever
//!   answered to a receipt or notice.
//! * Answers are stored whatever space the holder has left, and what they embed of his own message
//!   is not charged to him.
//!
//! Not here: what answers look like (`receipt`), how they are signed and stored (`issue`).

use std::sync::Arc;

use bytes::Bytes;
use storage::{
    catalog::engine::{Batch, Expected},
    held::HeldMessage,
    ids::AccountId,
    summary::BodyPart,
};
use tokio::sync::OwnedSemaphorePermit;
use trust::clock::UnixMillis;

use super::{
    address::Address,
    artefacts::{Artefact, ArtefactKind},
    engine::{PecEngine, PecError},
    instant::CertifiedInstant,
    issue::{self, Issued},
    journal::JournalEvent,
    receipt::DeliveryFault,
    records::{
        DELIVERY_WORK, DeliveryFaultKind, DeliveryRecord, DeliveryStage, IncomingKind,
        JournalRecord, RecipientRecord, RecipientState, TRANSMISSION_RECIPIENTS, TRANSMISSIONS,
        TransmissionId, TransmissionRecord, encode, indexed_key,
    },
    shared_message::{ParsedEnvelope, SharedMessage},
};
use crate::service_levels::delays::DelayKind;

/// Octets to charge to the recipient of a delivery: `None` = the whole message.
///
/// A receipt of the own transmission of the holder, `account_id`, is charged without the message that it embeds.
pub async fn charged_octets(
    engine: &PecEngine,
    record: &DeliveryRecord,
    account_id: AccountId,
    held: &HeldMessage,
) -> Result<Option<u64>, PecError> {
    let Some(transmission) = own_transmission(engine, record).await? else { return Ok(None) };
    let own = transmission.account_id == account_id.0;
    Ok(own.then(|| held.size().saturating_sub(embedded_octets(&held.summary().body))))
}

/// The transmission of ours that a receipt or notice is about, when it is known and the receipt is owed.
pub async fn own_transmission(
    engine: &PecEngine,
    record: &DeliveryRecord,
) -> Result<Option<TransmissionRecord>, PecError> {
    let is_owed = record.kind() == IncomingKind::Notification && !record.not_owed;
    if !is_owed || record.transmission.is_empty() {
        return Ok(None);
    }
    let found = engine.record(TRANSMISSIONS, &record.transmission).await?;
    Ok(found.map(|(transmission, _)| transmission))
}

/// Octets of the messages embedded in `part`, whatever the depth.
fn embedded_octets(part: &BodyPart) -> u64 {
    if part.media_type.eq_ignore_ascii_case(b"message")
        && part.media_subtype.eq_ignore_ascii_case(b"rfc822")
    {
        return part.body_octets;
    }
    part.parts.iter().map(embedded_octets).sum()
}

/// Makes and hands over the receipt or notice that a delivery row owes.
pub(super) async fn answer_delivery(
    engine: &Arc<PecEngine>,
    shared: &SharedMessage,
    key: &Bytes,
    value: &Bytes,
    record: &DeliveryRecord,
) -> Result<(), PecError> {
    let held = shared.held(engine, record).await?;
    let (_memory, parsed) = reserved(engine, shared, record, &held).await?;
    let instant = CertifiedInstant::new(UnixMillis(record.instant_millis));
    let facts = &parsed.envelope.data.facts;
    let recipient = Address::parse(&record.recipient).map_err(|_| PecError::Inconsistent {
        object: format!("the delivery to {}", record.recipient),
        detail: "the recipient is no address".to_owned(),
    })?;
    let (answer, event, state) = if record.stage() == DeliveryStage::NoticeOwed {
        let notice =
            issue::non_delivery(engine, &instant, facts, &recipient, fault_of(record.fault()))
                .await?;
        (notice, JournalEvent::NonDelivery, RecipientState::Failed)
    } else {
        let receipt = issue::delivery(engine, &instant, &parsed, &recipient).await?;
        (receipt, JournalEvent::DeliveryReceipt, RecipientState::Delivered)
    };
    let mut batch = Batch::default();
    batch.expect(DELIVERY_WORK, key.clone(), Expected::Value(value.clone()));
    batch.delete(DELIVERY_WORK, key.clone());
    let journal = JournalRecord {
        identifier: facts.identifier.as_str().to_owned(),
        message_id: facts.message_id.clone().unwrap_or_default(),
        sender: facts.sender.clone(),
        recipients: vec![record.recipient.clone()],
        subject: facts.subject.clone().unwrap_or_default(),
        related: vec![answer.message_id.clone()],
        provider: engine.issuer().name.clone(),
        ..JournalRecord::default()
    };
    engine.journal(&mut batch, instant.unix(), event, journal);
    if record.transmission.is_empty() {
        send_answer(engine, batch, &answer, &facts.sender).await
    } else {
        answer_own_sender(engine, batch, record, &answer, state).await
    }
}

/// The envelope, and memory for an answer that names all recipients of its certification data. How many they are
/// is known once it is read; then what was reserved is given back first, since who holds some while waiting for
/// more waits for ever.
async fn reserved(
    engine: &Arc<PecEngine>,
    shared: &SharedMessage,
    record: &DeliveryRecord,
    held: &HeldMessage,
) -> Result<(OwnedSemaphorePermit, Arc<ParsedEnvelope>), PecError> {
    let octets = |recipients| held.size().saturating_add(issue::notice_octets(recipients));
    let mut recipients = 1;
    loop {
        let memory = engine.reserve(octets(recipients)).await?;
        let parsed = shared.envelope(engine, record, held).await?;
        let named = parsed.envelope.data.facts.recipients.len();
        if named <= recipients {
            return Ok((memory, parsed));
        }
        recipients = named;
    }
}

/// What the sender is told of a mailbox that takes nothing.
pub(super) fn fault_of(kind: DeliveryFaultKind) -> DeliveryFault {
    match kind {
        // RFC 6109 §4.4 knows no word for a blocked mailbox; that it is blocked is nobody else's
        // affair, and providers answer as for one that does not exist.
        DeliveryFaultKind::UnknownMailbox | DeliveryFaultKind::MailboxBlocked => {
            DeliveryFault::unknown_mailbox()
        }
        DeliveryFaultKind::MailboxFull => DeliveryFault::mailbox_full(),
        DeliveryFaultKind::CertifiedMailOnly => DeliveryFault::certified_mail_only(),
    }
}

/// The sender is another provider's: the answer goes into the outgoing queue.
async fn send_answer(
    engine: &Arc<PecEngine>,
    mut batch: Batch,
    answer: &Issued,
    sender: &str,
) -> Result<(), PecError> {
    let due = match Address::parse(sender) {
        Ok(sender) => {
            let (held, _) = engine.hold(&answer.octets, &mut batch).await?;
            Some(issue::enqueue_notification(engine, &mut batch, held, &sender))
        }
        // The journal keeps what was certified; there is nobody to tell.
        Err(_) => None,
    };
    engine.store().commit(batch).await?;
    if let Some(due) = due {
        engine.queue().announce(due, engine.now());
    }
    Ok(())
}

/// The sender is ours: the answer goes into his mailbox, and the transmission learns of it.
async fn answer_own_sender(
    engine: &Arc<PecEngine>,
    mut batch: Batch,
    record: &DeliveryRecord,
    answer: &Issued,
    state: RecipientState,
) -> Result<(), PecError> {
    let id = TransmissionId::from_octets(TRANSMISSIONS, &record.transmission)?;
    let (transmission, _) = engine
        .record::<TransmissionRecord>(TRANSMISSIONS, &id.0)
        .await?
        .ok_or_else(|| PecError::Inconsistent {
            object: format!("transmission {id}"),
            detail: "it is gone".to_owned(),
        })?;
    move_recipient(engine, &mut batch, id, record.transmission_index, state, record.instant_millis)
        .await?;
    let kind = match state {
        RecipientState::Delivered => ArtefactKind::DeliveryReceipt,
        _ => ArtefactKind::NonDeliveryNotice,
    };
    let instant = UnixMillis(record.instant_millis);
    let artefact = Artefact::to_sender(
        (id, &transmission),
        kind,
        instant,
        vec![record.recipient.clone()],
        &engine.issuer().name,
    );
    let account = AccountId(transmission.account_id);
    issue::put_into_senders_mailbox(engine, account, answer, artefact, batch).await?;
    if state == RecipientState::Delivered
        && let Ok(recipient) = Address::parse(&record.recipient)
    {
        let began = UnixMillis(transmission.instant_millis);
        engine.count_delay(DelayKind::Delivery, recipient.domain(), began);
    }
    Ok(())
}

/// Adds to `batch` that recipient `index` is now in `state`, unless it is further already.
pub async fn move_recipient(
    engine: &PecEngine,
    batch: &mut Batch,
    id: TransmissionId,
    index: u32,
    state: RecipientState,
    instant_millis: i64,
) -> Result<(), PecError> {
    let key = indexed_key(&id.0, index);
    let Some((row, value)) =
        engine.record::<RecipientRecord>(TRANSMISSION_RECIPIENTS, &key).await?
    else {
        return Ok(());
    };
    if !row.may_become(state) {
        return Ok(());
    }
    let next = RecipientRecord { state: state.into(), changed_millis: instant_millis, ..row };
    batch.expect(TRANSMISSION_RECIPIENTS, key.clone(), Expected::Value(value));
    batch.put(TRANSMISSION_RECIPIENTS, key, encode(&next));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(
        media_type: &str,
        media_subtype: &str,
        body_octets: u64,
        parts: Vec<BodyPart>,
    ) -> BodyPart {
        BodyPart {
            media_type: media_type.into(),
            media_subtype: media_subtype.into(),
            body_octets,
            parts,
            ..BodyPart::default()
        }
    }

    #[test]
    fn the_embedded_original_is_counted_once_at_any_depth() {
        let inner =
            part("multipart", "mixed", 500, vec![part("message", "RFC822", 100, Vec::new())]);
        let original = part("message", "rfc822", 1_000, vec![inner]);
        let mixed = part(
            "multipart",
            "mixed",
            2_000,
            vec![part("text", "plain", 50, Vec::new()), original],
        );
        assert_eq!(embedded_octets(&part("multipart", "signed", 3_000, vec![mixed])), 1_000);
        assert_eq!(embedded_octets(&part("text", "plain", 10, Vec::new())), 0);
    }
}
