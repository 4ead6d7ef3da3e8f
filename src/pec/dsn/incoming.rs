//! Reports to senders outside: of ordinary mail that came into a mailbox here, when they asked for
//! it, or that could not, unless they do not want to hear of it (RFC 3461 §5.2).
//!
//! A sender outside ASCII gets his report with SMTPUTF8 (RFC 6531 §3.2, RFC 6533 §4); where his server
//! does not offer it the report cannot be delivered, which the journal says (`relay-failed`).
//!
//! Certified mail is answered by receipts and notices instead (RFC 6109 §3.3.2, §3.3.3).

use std::sync::Arc;

use protocols::smtp::grammar::Notify;
use storage::{catalog::engine::Batch, summary::Summary};
use trust::clock::UnixMillis;

use super::{Action, RecipientReport, Report};
use crate::pec::{
    address::ReportAddress,
    encoded_word,
    engine::{PecEngine, PecError},
    journal::JournalEvent,
    receipt::DeliveryFault,
    records::{
        DeliveryRecord, Due, INCOMING_MESSAGES, IncomingKind, IncomingRecord, JournalRecord,
        QueueKind, QueueRecipient, QueueRecord, RecipientAsked, sender_class,
    },
    work::Source,
};

/// Whether who sent ordinary mail from `reverse_path` is told what became of it. The null reverse path is never
/// answered (RFC 3461 §6), and our own holders submit elsewhere.
pub fn is_told(engine: &PecEngine, reverse_path: &str) -> bool {
    let sender = ReportAddress::parse(reverse_path);
    !reverse_path.is_empty() && sender.is_none_or(|sender| !engine.serves(sender.domain()))
}

/// Adds to `batch`, which ends the delivery under `key`, the report that is due to the sender:
/// that it succeeded, or failed by `fault`. Returns what to announce once the batch is committed.
///
/// # Errors
///
/// Whatever the store or the signer says.
pub async fn report_incoming(
    engine: &Arc<PecEngine>,
    key: &[u8],
    delivery: &DeliveryRecord,
    fault: Option<&DeliveryFault>,
    batch: &mut Batch,
) -> Result<Option<Due>, PecError> {
    if delivery.kind() != IncomingKind::Anomaly {
        return Ok(None);
    }
    let Source::Incoming(id) = Source::from_key(key)? else { return Ok(None) };
    let Some((record, _)) = engine.record::<IncomingRecord>(INCOMING_MESSAGES, &id.0).await? else {
        return Ok(None);
    };
    let asked = asked(key, &record);
    let notify = Notify::from_number(asked.notify);
    let wanted = if fault.is_some() { notify.wants_failure() } else { notify.wants_success() };
    if !wanted || !is_told(engine, &record.reverse_path) {
        return Ok(None);
    }
    let Some(sender) = ReportAddress::parse(&record.reverse_path) else {
        // The incoming point takes no such message any more; a version before this one did.
        tracing::warn!(message = %id, "no report is made to a sender who cannot be reached");
        return Ok(None);
    };
    let held = engine.held(&record.message, &format!("incoming message {id}")).await?;
    let action = if fault.is_some() { Action::Failed } else { Action::Delivered };
    let returned = super::returned(engine, &held, record.returned(), action).await?;
    let recipient = RecipientReport {
        address: delivery.recipient.clone(),
        original: asked.original_recipient,
        status: fault.map_or_else(|| "2.0.0".to_owned(), |fault| fault.code.clone()),
        answer: None,
        last_attempt: None,
        reason: fault.map(|fault| (fault.italian.clone(), fault.english.clone())),
    };
    let report = report(&record, &sender, action, recipient, held.summary());
    let instant = engine.certified_now();
    let issued = super::report(engine, &instant, report, returned).await?;
    let journal = JournalRecord {
        message_id: String::from_utf8_lossy(&record.message_id).into_owned(),
        sender: record.reverse_path.clone(),
        recipients: vec![delivery.recipient.clone()],
        related: vec![issued.message_id.clone()],
        provider: engine.issuer().name.clone(),
        detail: action.word().to_owned(),
        ..JournalRecord::default()
    };
    engine.journal(batch, instant.unix(), JournalEvent::StatusNotification, journal);
    let (message, _) = engine.hold(&issued.octets, batch).await?;
    Ok(Some(engine.enqueue(batch, &queued(engine, &sender, message.0.to_vec()))))
}

/// What the sender asked about the recipient of the delivery under `key`.
fn asked(key: &[u8], record: &IncomingRecord) -> RecipientAsked {
    let index = key.last_chunk::<4>().map(|index| u32::from_be_bytes(*index));
    let index = index.and_then(|index| usize::try_from(index).ok());
    index.and_then(|index| record.asked.get(index)).cloned().unwrap_or_default()
}

fn report(
    record: &IncomingRecord,
    sender: &ReportAddress,
    action: Action,
    recipient: RecipientReport,
    summary: &Summary,
) -> Report {
    let text = |value: &Option<Vec<u8>>| value.as_deref().map(encoded_word::decode);
    Report {
        to: sender.as_str().to_owned(),
        arrived: UnixMillis(record.instant_millis),
        envelope_id: record.envelope_id.clone(),
        subject: text(&summary.envelope.subject),
        message_id: text(&summary.envelope.message_id),
        action,
        recipients: vec![recipient],
        retried_until: None,
    }
}

/// A report to another server, from the null reverse path.
fn queued(engine: &PecEngine, sender: &ReportAddress, message: Vec<u8>) -> QueueRecord {
    let now = engine.now().0;
    let recipient =
        QueueRecipient { address: sender.as_str().to_owned(), ..QueueRecipient::default() };
    QueueRecord {
        kind: QueueKind::StatusNotification.into(),
        domain: sender.domain().as_str().to_owned(),
        recipients: vec![recipient],
        message,
        queued_millis: now,
        next_attempt_millis: now,
        sender_class: sender_class(sender.as_str()),
        ordinary: true,
        ..QueueRecord::default()
    }
}
