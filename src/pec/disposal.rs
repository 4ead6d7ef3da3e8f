//! Disposal: what the engine holds and needs no more.
//!
//! * A transmission is *finished* when its acceptance owes nothing, every recipient has come to
//!   the end ([`RecipientState`]: delivered, failed, rejected, infected; relayed for one outside certified
//!   mail), and the last change is older than the retention. Then its record lets go of original and
//!   envelope, and its artefacts of theirs. The record stays until the journal's time is over: later
//!   receipts and the operator find it.
//! * An incoming message is finished when it is distributed and older than the retention. Its
//!   record goes: nothing reads it any more.
//! * A held message older than the retention that no record names is released. Whoever holds a
//!   message names it in the same batch, and names are only copied from record to record while a
//!   duty lasts: so what is not named in one state of the catalog never will be.
//! * What `incoming_seen` remembers goes after the retention, at least 30 days.
//! * The expunge log of every mailbox keeps the same time (for clients that come back).
//!
//! Nothing here is urgent: a round that fails is tried again, and each step is one batch.
//!
//! Not here: the octets themselves, which the collector takes (`storage::collector`), the journal (`journal::disposal`),
//! records of transmissions after their time (`transmissions`).

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use storage::{
    catalog::{
        engine::{Batch, Expected, Reader, Scan},
        keys::HELD_MESSAGES,
        pages::Pages,
    },
    error::StoreError,
    held::HeldId,
    ids::AccountId,
    store::Store,
};
use trust::clock::UnixMillis;

use super::{
    artefacts,
    needs::{named_by, naming},
    records::{
        DELIVERY_WORK, HELD_FOR_OPERATOR, INCOMING_MESSAGES, INCOMING_SEEN, INCOMING_WORK,
        IncomingId, RecipientRecord, RecipientState, TRANSMISSION_RECIPIENTS, TRANSMISSION_WORK,
        TRANSMISSIONS, TransmissionId, TransmissionRecord, decode, encode, held_id,
    },
    work::Source,
};

/// Entries read at a time.
const PAGE: usize = 500;
/// Held messages looked at in one pass over the records that name them: bounds the memory.
const CANDIDATES_MAX: usize = 200_000;
/// Receipts may come, and messages come again, for this long at least: 30 days.
const SEEN_MILLIS: i64 = 30 * 86_400_000;

/// What one round did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct DisposalReport {
    /// Transmissions that let go of their messages.
    pub transmissions: u64,
    /// Records of incoming messages that went.
    pub incoming: u64,
    /// Held messages released.
    pub released: u64,
    /// Deliveries that are remembered no more.
    pub forgotten: u64,
}

/// Does one round, with everything that is older than `retention_millis`.
///
/// # Errors
///
/// When the catalog cannot be read or written, or a record cannot be read: what it names is not
/// known then, and nothing is released.
pub async fn dispose(
    store: &Arc<Store>,
    now: UnixMillis,
    retention_millis: i64,
) -> Result<DisposalReport, StoreError> {
    let mut report = DisposalReport::default();
    if waits_for_an_operator(store).await? {
        return Ok(report);
    }
    let before = now.plus_millis(retention_millis.saturating_neg());
    finish_transmissions(store, before, &mut report).await?;
    finish_incoming(store, before, &mut report).await?;
    release_unnamed(store, before, &mut report).await?;
    let seen_before = now.plus_millis(-retention_millis.max(SEEN_MILLIS));
    forget_seen(store, seen_before, &mut report).await?;
    Ok(report)
}

/// Says whether duties wait for an operator since a restore. What they need is named by rows that
/// stand elsewhere then, so nothing is finished until the last of them was released. Only a
/// restore, which has the store for itself, makes such rows.
async fn waits_for_an_operator(store: &Store) -> Result<bool, StoreError> {
    Ok(!store.engine().scan(&Scan::prefix(HELD_FOR_OPERATOR, b"", 1)).await?.is_empty())
}

/// Forgets old entries of the expunge log of every mailbox. An account that cannot be read is passed over:
/// the others do not wait for it.
///
/// # Errors
///
/// When the catalog cannot be read or written.
pub async fn trim_expunge_logs(store: &Store, before: UnixMillis) -> Result<(), StoreError> {
    let mut after: Option<AccountId> = None;
    loop {
        let accounts = store.account_ids(after, PAGE).await?;
        let Some(last) = accounts.last() else { return Ok(()) };
        after = Some(*last);
        for id in accounts {
            match trim_expunge_logs_of(store, id, before).await {
                // It is gone.
                Ok(()) | Err(StoreError::NoSuchAccount(_)) => {}
                Err(error @ (StoreError::Damaged { .. } | StoreError::TooNew { .. })) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(account = id.0, error, "its expunge logs stay as they are");
                }
                Err(error) => return Err(error),
            }
        }
    }
}

async fn trim_expunge_logs_of(
    store: &Store,
    id: AccountId,
    before: UnixMillis,
) -> Result<(), StoreError> {
    let account = store.account(id).await?;
    for listing in account.mailboxes().await? {
        let Some(mailbox) = listing.mailbox_id else { continue };
        match account.trim_expunge_log(mailbox, before).await {
            // It was deleted meanwhile.
            Ok(()) | Err(StoreError::NoSuchMailbox { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// When a time-ordered id was drawn.
pub(super) fn drawn(id: &[u8]) -> UnixMillis {
    let millis = id.iter().take(6).fold(0, |millis, &octet| millis << 8 | i64::from(octet));
    UnixMillis(millis)
}

async fn finish_transmissions(
    store: &Store,
    before: UnixMillis,
    report: &mut DisposalReport,
) -> Result<(), StoreError> {
    let mut pages = Pages::prefix(TRANSMISSIONS, b"", PAGE);
    while let Some(page) = pages.next(&**store.engine()).await? {
        for (key, value) in page {
            if drawn(&key) >= before {
                return Ok(());
            }
            let mut record: TransmissionRecord = decode(TRANSMISSIONS, &key, &value)?;
            let holds = !record.original.is_empty()
                || !record.envelope.is_empty()
                || (record.threat.is_some()
                    && artefacts::holds_any(&**store.engine(), &key).await?);
            if !holds || !is_finished(store, &key, before).await? {
                continue;
            }
            // What they held is released with everything that no record names.
            record.original.clear();
            record.envelope.clear();
            let mut batch = Batch::default();
            batch.expect(TRANSMISSIONS, key.clone(), Expected::Value(value));
            batch.expect(TRANSMISSION_WORK, key.clone(), Expected::Absent);
            artefacts::let_go(&**store.engine(), &key, &mut batch).await?;
            batch.put(TRANSMISSIONS, key, encode(&record));
            report.transmissions += u64::from(applied(store, batch).await?);
        }
    }
    Ok(())
}

async fn is_finished(store: &Store, key: &Bytes, before: UnixMillis) -> Result<bool, StoreError> {
    let engine = &**store.engine();
    if engine.get(TRANSMISSION_WORK, key).await?.is_some() {
        return Ok(false);
    }
    let source = Source::Transmission(TransmissionId::from_octets(TRANSMISSIONS, key)?);
    if !engine.scan(&Scan::prefix(DELIVERY_WORK, &source.key(), 1)).await?.is_empty() {
        return Ok(false);
    }
    let mut pages = Pages::prefix(TRANSMISSION_RECIPIENTS, key, PAGE);
    while let Some(page) = pages.next(engine).await? {
        for (key, value) in page {
            let record: RecipientRecord = decode(TRANSMISSION_RECIPIENTS, &key, &value)?;
            let at_the_end = match record.state() {
                RecipientState::Delivered
                | RecipientState::Failed
                | RecipientState::Rejected
                | RecipientState::Expired
                | RecipientState::Infected => true,
                // Nobody outside certified mail will send a receipt.
                RecipientState::Relayed => !record.certified,
                RecipientState::Submitted
                | RecipientState::Accepted
                | RecipientState::TakenInCharge => false,
            };
            if !at_the_end || record.changed_millis >= before.0 {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

async fn finish_incoming(
    store: &Store,
    before: UnixMillis,
    report: &mut DisposalReport,
) -> Result<(), StoreError> {
    let mut pages = Pages::prefix(INCOMING_MESSAGES, b"", PAGE);
    while let Some(page) = pages.next(&**store.engine()).await? {
        for (key, value) in page {
            if drawn(&key) >= before {
                return Ok(());
            }
            // Before the deliveries: the batch that makes them ends this duty.
            if store.engine().get(INCOMING_WORK, &key).await?.is_some() {
                continue;
            }
            let source = Source::Incoming(IncomingId::from_octets(INCOMING_MESSAGES, &key)?);
            let deliveries = Scan::prefix(DELIVERY_WORK, &source.key(), 1);
            if !store.engine().scan(&deliveries).await?.is_empty() {
                continue;
            }
            let mut batch = Batch::default();
            batch.expect(INCOMING_MESSAGES, key.clone(), Expected::Value(value));
            batch.expect(INCOMING_WORK, key.clone(), Expected::Absent);
            batch.delete(INCOMING_MESSAGES, key);
            report.incoming += u64::from(applied(store, batch).await?);
        }
    }
    Ok(())
}

/// Releases held messages that no record names.
async fn release_unnamed(
    store: &Store,
    before: UnixMillis,
    report: &mut DisposalReport,
) -> Result<(), StoreError> {
    let mut pages = Pages::prefix(HELD_MESSAGES, b"", PAGE);
    let mut complete = false;
    while !complete {
        // One state for the candidates and for everything that may name them.
        let snapshot = store.engine().snapshot().await?;
        let mut candidates = BTreeSet::new();
        while candidates.len() < CANDIDATES_MAX && !complete {
            let page = pages.next(&*snapshot).await?.unwrap_or_default();
            let old = page.iter().take_while(|(key, _)| drawn(key) < before).count();
            complete = old < page.len() || pages.is_at_end();
            candidates.extend(page.iter().take(old).filter_map(|(key, _)| held_id(key)));
        }
        if !candidates.is_empty() {
            leave_out_named(&*snapshot, &mut candidates).await?;
            drop(snapshot);
            report.released += candidates.len() as u64;
            release(store, candidates).await?;
        }
    }
    Ok(())
}

async fn release(store: &Store, unnamed: BTreeSet<HeldId>) -> Result<(), StoreError> {
    let unnamed: Vec<HeldId> = unnamed.into_iter().collect();
    for ids in unnamed.chunks(PAGE) {
        let mut batch = Batch::default();
        for id in ids {
            store.release(*id, &mut batch);
        }
        store.commit(batch).await?;
    }
    Ok(())
}

/// Takes out of `candidates` what a record of the engine names.
async fn leave_out_named(
    snapshot: &dyn Reader,
    candidates: &mut BTreeSet<HeldId>,
) -> Result<(), StoreError> {
    for family in naming() {
        let mut pages = Pages::prefix(family, b"", PAGE);
        while let Some(page) = pages.next(snapshot).await? {
            for (key, value) in page {
                for name in named_by(family, &key, &value)? {
                    if let Some(id) = held_id(&name) {
                        candidates.remove(&id);
                    }
                }
            }
        }
    }
    Ok(())
}

async fn forget_seen(
    store: &Store,
    before: UnixMillis,
    report: &mut DisposalReport,
) -> Result<(), StoreError> {
    let mut pages = Pages::prefix(INCOMING_SEEN, b"", PAGE);
    while let Some(page) = pages.next(&**store.engine()).await? {
        let mut batch = Batch::default();
        for (key, value) in page {
            let instant = value.as_ref().try_into().map(i64::from_be_bytes);
            if instant.is_ok_and(|instant| instant < before.0) {
                batch.delete(INCOMING_SEEN, key);
            }
        }
        if !batch.delete.is_empty() {
            report.forgotten += batch.delete.len() as u64;
            store.commit(batch).await?;
        }
    }
    Ok(())
}

/// Commits what something else may have overtaken; says whether it was applied.
async fn applied(store: &Store, batch: Batch) -> Result<bool, StoreError> {
    match store.commit(batch).await {
        Ok(_) => Ok(true),
        Err(StoreError::Conflict) => Ok(false),
        Err(error) => Err(error),
    }
}
