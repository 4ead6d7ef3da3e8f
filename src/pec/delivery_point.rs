//! The delivery point: messages into mailboxes, and the receipts that say so.
//!
//! Each recipient of each message is one row of `delivery_work` that goes through two steps, each
//! one batch:
//!
//! 1. The message is appended to the recipient's INBOX (a receipt where he files them), or found undeliverable. The same batch
//!    takes the delivery's key in `incoming_seen`, so that a repeat is recognised.
//! 2. The delivery receipt, or the non-delivery notice, is made and handed over: into the
//!    sender's mailbox when he is ours, into the outgoing queue otherwise. Only valid transport
//!    envelopes have this step (RFC 6109 §3.3.2).
//!
//! A message with a virus has neither: each of its rows owes a notice to the sender's provider
//! ([`infected::tell_provider`]).
//!
//! Invariants: a delivery receipt is made only after the message is durably in the mailbox
//! (RFC 6109 §2.2.3); whatever is interrupted goes on from the row's stage; no step happens twice.
//!
//! Not here: what receipts look like (`receipt`), who may have a mailbox (`storage::account`).

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use storage::{
    account::{quota::QuotaRule, settings::AccountState},
    catalog::{
        engine::{Batch, Expected},
        pages::Pages,
    },
    error::StoreError,
    held::HeldMessage,
    ids::AccountId,
    mailbox::{append::AppendRequest, flags::Flags},
};
use trust::clock::UnixMillis;

use super::{
    dsn,
    engine::{PecEngine, PecError},
    filing, infected, issue,
    journal::JournalEvent,
    notices,
    records::{
        DELIVERY_WORK, DeliveryFaultKind, DeliveryRecord, DeliveryStage, INCOMING_SEEN,
        IncomingKind, JournalRecord, decode, encode,
    },
    shared_message::SharedMessage,
    work::Source,
};

/// Delivery rows read at a time.
const SCAN_ENTRIES: usize = 250;

/// Brings every delivery of `source` to its end.
///
/// # Errors
///
/// The first error met; the other deliveries are tried all the same, and what failed stays in
/// `delivery_work`.
pub async fn deliver_all(engine: &Arc<PecEngine>, source: Source) -> Result<(), PecError> {
    let mut pages = Pages::prefix(DELIVERY_WORK, &source.key(), SCAN_ENTRIES);
    let shared = SharedMessage::default();
    let mut first_error = None;
    while let Some(entries) = pages.next(&**engine.store().engine()).await? {
        let results: Vec<Result<(), PecError>> = match (source, entries.first()) {
            (Source::Incoming(id), Some((key, value))) if infected::owes_notice(key, value)? => {
                vec![infected::tell_provider(engine, id, entries).await]
            }
            _ => {
                stream::iter(entries)
                    .map(|(key, value)| deliver(engine, &shared, key, value))
                    .buffer_unordered(engine.settings().deliveries_max.max(1))
                    .collect()
                    .await
            }
        };
        first_error = first_error.or_else(|| results.into_iter().find_map(Result::err));
    }
    first_error.map_or(Ok(()), Err)
}

/// Brings one delivery to its end.
async fn deliver(
    engine: &Arc<PecEngine>,
    shared: &SharedMessage,
    key: Bytes,
    mut value: Bytes,
) -> Result<(), PecError> {
    loop {
        let record: DeliveryRecord = decode(DELIVERY_WORK, &key, &value)?;
        let step = match record.stage() {
            DeliveryStage::Pending => put_into_mailbox(engine, shared, &key, &value, &record).await,
            DeliveryStage::ReceiptOwed | DeliveryStage::NoticeOwed => {
                notices::answer_delivery(engine, shared, &key, &value, &record).await.map(|()| None)
            }
            DeliveryStage::VirusNoticeOwed => return Err(of_quarantine(&record)),
        };
        match step {
            Ok(Some(next)) => value = next,
            Ok(None) => return Ok(()),
            Err(PecError::Store(StoreError::Conflict)) => {
                match engine.store().engine().get(DELIVERY_WORK, &key).await? {
                    // Somebody else took the step: go on from what stands there now.
                    Some(now) if now != value => value = now,
                    Some(_) if record.stage() == DeliveryStage::Pending => {
                        return repeat(engine, shared, &key, &value, &record).await;
                    }
                    // The recipient's state moved on meanwhile: answer again from what stands there.
                    Some(_) => {}
                    None => return Ok(()),
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// A row of `delivery_work` as it stands, and the message that it delivers.
#[derive(Clone, Copy)]
struct Row<'a> {
    key: &'a Bytes,
    value: &'a Bytes,
    record: &'a DeliveryRecord,
    held: &'a HeldMessage,
}

/// Rows about a message in quarantine stand under its own source alone, and are told of together.
fn of_quarantine(record: &DeliveryRecord) -> PecError {
    PecError::Inconsistent {
        object: format!("the delivery to {}", record.recipient),
        detail: "its message has a virus, and others of its source have none".to_owned(),
    }
}

/// Step 1. Returns the row as it now is, `None` when nothing more is due.
async fn put_into_mailbox(
    engine: &Arc<PecEngine>,
    shared: &SharedMessage,
    key: &Bytes,
    value: &Bytes,
    record: &DeliveryRecord,
) -> Result<Option<Bytes>, PecError> {
    let instant = engine.now();
    let held = shared.held(engine, record).await?;
    let row = Row { key, value, record, held: &held };
    if record.fault() == DeliveryFaultKind::CertifiedMailOnly {
        return fail(engine, row, instant, record.fault()).await;
    }
    match find_mailbox(engine, &record.recipient, record.kind()).await? {
        Err(fault) => fail(engine, row, instant, fault).await,
        Ok(account_id) => match append(engine, row, instant, account_id).await {
            Err(PecError::Store(StoreError::OverQuota { .. })) => {
                fail(engine, row, instant, DeliveryFaultKind::MailboxFull).await
            }
            Err(PecError::Store(StoreError::NoSuchAccount(_))) => {
                fail(engine, row, instant, DeliveryFaultKind::UnknownMailbox).await
            }
            other => other,
        },
    }
}

/// Looks for the mailbox of `recipient`; the inner error says why it cannot take mail.
async fn find_mailbox(
    engine: &PecEngine,
    recipient: &str,
    kind: IncomingKind,
) -> Result<Result<AccountId, DeliveryFaultKind>, PecError> {
    Ok(match engine.store().account_by_address(recipient).await? {
        None => Err(DeliveryFaultKind::UnknownMailbox),
        Some((account_id, settings)) => match settings.state {
            AccountState::Active => Ok(account_id),
            // Receipts of what he sent before are his evidence.
            AccountState::Blocked if kind == IncomingKind::Notification => Ok(account_id),
            AccountState::Blocked => Err(DeliveryFaultKind::MailboxBlocked),
            AccountState::Closed => Err(DeliveryFaultKind::UnknownMailbox),
        },
    })
}

async fn append(
    engine: &Arc<PecEngine>,
    row: Row<'_>,
    instant: UnixMillis,
    account_id: AccountId,
) -> Result<Option<Bytes>, PecError> {
    let Row { key, value, record, held } = row;
    let account = engine.store().account(account_id).await?;
    let inbox = account.mailbox_by_name(issue::INBOX).await?.id();
    let (mut also, next) = advance(key, value, record, DeliveryStage::ReceiptOwed, instant, None);
    let report = dsn::report_incoming(engine, key, record, None, &mut also).await?;
    also.expect(INCOMING_SEEN, record.seen_key.clone(), Expected::Absent);
    also.put(INCOMING_SEEN, record.seen_key.clone(), instant.0.to_be_bytes().to_vec());
    engine.journal(&mut also, instant, JournalEvent::Delivery, journal_record(held, record, ""));
    let quota = match record.kind() {
        // What comes back because of what he sent must reach the holder whatever space he has left. Other
        // receipts are nothing to him, and came while he had room.
        IncomingKind::Notification if record.not_owed => QuotaRule::Enforce,
        // For ordinary mail room was looked for before it was taken; that its envelope is a little larger
        // must not lose it, since no notice would tell its sender.
        IncomingKind::Notification | IncomingKind::Anomaly => QuotaRule::Exempt,
        IncomingKind::TransportEnvelope => QuotaRule::Enforce,
    };
    let message = held.to_staged();
    let request = AppendRequest {
        mailbox: inbox,
        message: &message,
        flags: Flags::default(),
        internal_date: Some(instant),
        charged_octets: notices::charged_octets(engine, record, account_id, held).await?,
        quota,
        also,
    };
    let transmission = notices::own_transmission(engine, record).await?;
    filing::append(&account, transmission.as_ref(), request).await?;
    if let Some(due) = report {
        engine.queue().announce(due, engine.now());
    }
    Ok(next)
}

/// Records that the message cannot be delivered. Transport envelopes are answered by a notice,
/// ordinary mail by a report.
async fn fail(
    engine: &Arc<PecEngine>,
    row: Row<'_>,
    instant: UnixMillis,
    fault: DeliveryFaultKind,
) -> Result<Option<Bytes>, PecError> {
    let Row { key, value, record, held } = row;
    let (mut batch, next) =
        advance(key, value, record, DeliveryStage::NoticeOwed, instant, Some(fault));
    batch.expect(INCOMING_SEEN, record.seen_key.clone(), Expected::Absent);
    batch.put(INCOMING_SEEN, record.seen_key.clone(), instant.0.to_be_bytes().to_vec());
    engine.journal(
        &mut batch,
        instant,
        JournalEvent::Undeliverable,
        journal_record(held, record, &format!("{fault:?}")),
    );
    let told = notices::fault_of(fault);
    let report = dsn::report_incoming(engine, key, record, Some(&told), &mut batch).await?;
    engine.store().commit(batch).await?;
    if let Some(due) = report {
        engine.queue().announce(due, engine.now());
    }
    Ok(next)
}

/// The batch that takes a row to `stage`, and the row as it is then: gone unless an answer is due.
fn advance(
    key: &Bytes,
    value: &Bytes,
    record: &DeliveryRecord,
    stage: DeliveryStage,
    instant: UnixMillis,
    fault: Option<DeliveryFaultKind>,
) -> (Batch, Option<Bytes>) {
    let mut batch = Batch::default();
    batch.expect(DELIVERY_WORK, key.clone(), Expected::Value(value.clone()));
    if record.kind() != IncomingKind::TransportEnvelope {
        batch.delete(DELIVERY_WORK, key.clone());
        return (batch, None);
    }
    let mut next = record.clone();
    next.set_stage(stage);
    next.instant_millis = instant.0;
    if let Some(fault) = fault {
        next.set_fault(fault);
    }
    let next = encode(&next);
    batch.put(DELIVERY_WORK, key.clone(), next.clone());
    (batch, Some(next))
}

/// Ends a delivery whose key in `incoming_seen` is taken: the message was delivered before.
async fn repeat(
    engine: &Arc<PecEngine>,
    shared: &SharedMessage,
    key: &Bytes,
    value: &Bytes,
    record: &DeliveryRecord,
) -> Result<(), PecError> {
    if engine.store().engine().get(INCOMING_SEEN, &record.seen_key).await?.is_none() {
        // The conflict came from elsewhere (a change of the account): the next scan tries again.
        return Err(StoreError::Conflict.into());
    }
    let mut batch = Batch::default();
    batch.expect(DELIVERY_WORK, key.clone(), Expected::Value(value.clone()));
    batch.delete(DELIVERY_WORK, key.clone());
    let held = shared.held(engine, record).await?;
    engine.journal(
        &mut batch,
        engine.now(),
        JournalEvent::Repeat,
        journal_record(&held, record, ""),
    );
    engine.store().commit(batch).await?;
    Ok(())
}

fn journal_record(held: &HeldMessage, record: &DeliveryRecord, detail: &str) -> JournalRecord {
    let envelope = &held.summary().envelope;
    let text = |value: &Option<Vec<u8>>| {
        value.as_deref().map(super::encoded_word::decode).unwrap_or_default()
    };
    JournalRecord {
        message_id: text(&envelope.message_id),
        subject: text(&envelope.subject),
        recipients: vec![record.recipient.clone()],
        detail: detail.to_owned(),
        ..JournalRecord::default()
    }
}
