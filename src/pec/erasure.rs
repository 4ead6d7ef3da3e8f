//! Erasure of a message at the word of somebody who has the right to it, with its trace in the
//! journal.
//!
//! Invariants:
//!
//! * What is erased and the journal record that says so are one batch, for each message. The
//!   record names account, number, digest, reason and who gave the word; nothing of the content.
//! * A held message is erased only when no duty of the engine needs its octets any more.
//! * A message under a legal hold, of its account or of a snapshot that may hold it, is not erased: its
//!   octets stay until the hold ends. Each batch expects that no such hold came meanwhile.
//! * The message that was named goes last: an erasure that was interrupted is found and finished by
//!   asking again.
//!
//! The journal's own records of the transmission stay: the law wants them for 30 months
//! (RFC 6109 §2.3).
//!
//! Not here: what becomes of the octets (`storage::account::erase`, the collector), who asks
//! (`control::operations::erase`).

use std::collections::HashSet;

use ::snapshots::{
    error::SnapshotError,
    keep::holds::{HoldOf, hold_of},
};
use storage::{
    account::erase::EraseRequest,
    catalog::{engine::Batch, pages::Pages},
    error::StoreError,
    find::{Found, Holder},
    held::HeldId,
    ids::{AccountId, EmailNumber},
    octets::ErasureReason,
    store::Store,
    summary::Envelope,
};
use trust::{clock::UnixMillis, digest::Sha256Digest};

use super::{
    journal::{self, JournalEvent},
    needs,
    records::{JournalRecord, held_id},
};

/// What lists of messages show in place of an erased one's subject.
const SUBJECT: &str = "[Messaggio cancellato / Message erased]";

/// How often an erasure is tried when snapshots are taken or thinned out meanwhile.
const TRIES: usize = 5;

/// Entries read at once.
const PAGE: usize = 1_000;

/// Why a message is erased.
#[derive(Clone, Debug)]
pub struct ErasureOrder {
    /// In one word, which the message's place keeps.
    pub category: ErasureReason,
    /// In a sentence, for the journal.
    pub reason: String,
    /// Who gave the word.
    pub actor: String,
    /// The instant of the journal records.
    pub instant: UnixMillis,
    /// The node whose journal it is.
    pub node: u64,
}

/// What an erasure does with one place where the octets are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// The message that was named, or the same one elsewhere when all were asked for.
    Erase,
    /// The same message, which stays because only one was asked for.
    Same,
    /// Another message that shares octets with it: it stays.
    Related,
    /// The same message, held, and still needed by a duty of the engine: it stays.
    Busy,
    /// It was to be erased and is under a legal hold: it stays.
    UnderHold,
}

/// Why an erasure was not done, or not everywhere.
#[derive(Debug, thiserror::Error)]
pub enum ErasureError {
    /// The message that was named is under a legal hold. Nothing of it was changed.
    #[error("message {number} of account {account} is under a legal hold ({}): end the hold first", hold.reason())]
    UnderHold {
        /// The account.
        account: AccountId,
        /// The message.
        number: EmailNumber,
        /// The hold.
        hold: HoldOf,
    },
    /// Snapshots or their holds could not be read.
    #[error(transparent)]
    Snapshot(SnapshotError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<SnapshotError> for ErasureError {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Store(error) => Self::Store(error),
            other => Self::Snapshot(other),
        }
    }
}

/// The places of a message's octets, with what becomes of each; the message itself last.
#[derive(Clone, Debug)]
pub struct ErasurePlan {
    /// SHA-256 of the message.
    pub digest: Sha256Digest,
    /// Octets of the message.
    pub size: u64,
    /// Every place.
    pub places: Vec<(Holder, Fate)>,
    /// Whose holds keep a message where it is.
    pub holds: Vec<(AccountId, HoldOf)>,
}

/// Lists where the octets of a message are, and what an erasure, `everywhere` or of this message
/// alone, would do. Changes nothing.
///
/// # Errors
///
/// [`ErasureError::UnderHold`] when the message that was named is under a hold;
/// [`StoreError::NoSuchMessage`], [`StoreError::Erased`].
pub async fn plan(
    store: &Store,
    account: AccountId,
    number: EmailNumber,
    everywhere: bool,
) -> Result<ErasurePlan, ErasureError> {
    let named = store.account(account).await?;
    let message = named.stored(number).await?;
    if let Some(hold) = hold_of(&named, number, &mut Batch::default()).await? {
        return Err(ErasureError::UnderHold { account, number, hold });
    }
    let target = Holder::Account(account, number);
    let found = store.find_octets(&message).await?;
    // Read after them: a message that is held at that time has its duty by then.
    let busy = if everywhere { held_in_use(store).await? } else { HashSet::new() };
    let fate = |found: &Found| match (found.same, found.holder) {
        (false, _) => Fate::Related,
        (true, Holder::Held(id)) if busy.contains(&id) => Fate::Busy,
        (true, _) if everywhere => Fate::Erase,
        (true, _) => Fate::Same,
    };
    let others = found.iter().filter(|found| found.holder != target);
    let mut places: Vec<_> = others.map(|found| (found.holder, fate(found))).collect();
    places.push((target, Fate::Erase));
    let mut holds = Vec::new();
    for (holder, fate) in places.iter_mut().filter(|(_, fate)| *fate == Fate::Erase) {
        let Holder::Account(account, number) = *holder else { continue };
        let opened = store.account(account).await?;
        if let Some(hold) = hold_of(&opened, number, &mut Batch::default()).await? {
            *fate = Fate::UnderHold;
            holds.push((account, hold));
        }
    }
    Ok(ErasurePlan { digest: message.digest(), size: message.size(), places, holds })
}

/// Erases what `plan` says, one batch for each place, then makes the old records be gone from the
/// catalog's files. A place that came under a hold since it was planned is passed over and noted in the
/// plan.
///
/// # Errors
///
/// The first error met; what is done by then stays done. [`ErasureError::UnderHold`] when the message
/// that was named came under a hold meanwhile; [`StoreError::Conflict`] when a held message changed.
pub async fn erase(
    store: &Store,
    plan: &mut ErasurePlan,
    order: &ErasureOrder,
) -> Result<(), ErasureError> {
    let mut accounts = Vec::new();
    let mut named = None;
    for at in 0..plan.places.len() {
        let (holder, fate) = plan.places[at];
        if fate != Fate::Erase {
            continue;
        }
        match holder {
            Holder::Account(account, number) => {
                match erase_in_account(store, plan, order, account, number).await? {
                    None => accounts.push(account),
                    // The message itself stands last.
                    Some(hold) if at + 1 == plan.places.len() => {
                        named = Some(ErasureError::UnderHold { account, number, hold });
                    }
                    Some(hold) => {
                        plan.places[at].1 = Fate::UnderHold;
                        plan.holds.push((account, hold));
                    }
                }
            }
            Holder::Held(id) => erase_held(store, plan, order, id).await?,
        }
    }
    store.purge(&accounts).await?;
    named.map_or(Ok(()), Err)
}

/// Erases a message of an account; returns the hold under which it is instead, if there is one.
async fn erase_in_account(
    store: &Store,
    plan: &ErasurePlan,
    order: &ErasureOrder,
    account_id: AccountId,
    email_number: EmailNumber,
) -> Result<Option<HoldOf>, ErasureError> {
    let account = store.account(account_id).await?;
    let address = account.settings().await?.address;
    let place = format!("message {email_number} of account {account_id}");
    for _ in 0..TRIES {
        let mut also = Batch::default();
        if let Some(hold) = hold_of(&account, email_number, &mut also).await? {
            return Ok(Some(hold));
        }
        write_journal(&mut also, plan, order, vec![address.clone()], &place);
        let (reason, envelope) = (order.category, envelope());
        match account.erase(EraseRequest { email_number, reason, envelope, also }).await {
            // Gone or erased meanwhile.
            Err(StoreError::Erased { .. } | StoreError::NoSuchMessage { .. }) => return Ok(None),
            // Held meanwhile, or a snapshot was taken or went.
            Err(StoreError::Conflict) => {}
            other => return Ok(other.map(|_| None)?),
        }
    }
    Err(StoreError::Conflict.into())
}

async fn erase_held(
    store: &Store,
    plan: &ErasurePlan,
    order: &ErasureOrder,
    id: HeldId,
) -> Result<(), StoreError> {
    let mut batch = Batch::default();
    if store.erase_held(id, order.category, &envelope(), &mut batch).await? {
        write_journal(&mut batch, plan, order, Vec::new(), &format!("held message {id}"));
        store.commit(batch).await?;
    }
    Ok(())
}

fn envelope() -> Envelope {
    Envelope { subject: Some(SUBJECT.into()), ..Envelope::default() }
}

fn write_journal(
    batch: &mut Batch,
    plan: &ErasurePlan,
    order: &ErasureOrder,
    recipients: Vec<String>,
    place: &str,
) {
    let ErasureOrder { category, reason, actor, instant, node } = order;
    let detail = format!("{place}, SHA-256 {}, {category:?}: {reason}; by {actor}", plan.digest);
    let record = JournalRecord { recipients, detail, ..JournalRecord::default() };
    journal::write(batch, *node, *instant, JournalEvent::Erasure, record);
}

/// The held messages that a duty of the engine still needs, whether the engine works at it or it
/// waits for an operator. All duties as of one instant: one that moves is in the one place or in the
/// other. As many as there is work, which the engine bounds.
async fn held_in_use(store: &Store) -> Result<HashSet<HeldId>, StoreError> {
    let snapshot = store.engine().snapshot().await?;
    let mut in_use = HashSet::new();
    for family in needs::duties() {
        let mut pages = Pages::prefix(family, b"", PAGE);
        while let Some(page) = pages.next(&*snapshot).await? {
            for (key, value) in &page {
                let needed = needs::needed_by(&*snapshot, family, key, value).await?;
                in_use.extend(needed.iter().filter_map(|name| held_id(name)));
            }
        }
    }
    Ok(in_use)
}
