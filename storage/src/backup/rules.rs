//! What a restored catalog is changed by before it serves again.
//!
//! Between the checkpoint and the loss the store gave out identifiers that clients and other
//! providers have seen. None of them may ever mean something else:
//!
//! | what | is raised by |
//! |---|---|
//! | the store's epoch | 1 |
//! | UIDNEXT of each mailbox | 2²⁰, at most to 2³² |
//! | next MODSEQ of each account, HIGHESTMODSEQ of each mailbox | 2³² |
//! | next EmailNumber, next MailboxId, next UIDVALIDITY of each account | 2²⁰ |
//! | the next number of each numbered sequence (the journal's) | 2³² |
//!
//! `expunge_floor` becomes the new HIGHESTMODSEQ: a client that was last here in the lost time
//! is told everything anew instead of a difference that cannot be known. Pins of checkpoints go:
//! the first increment sets those that are due.
//!
//! The rules are applied once to a freshly fetched catalog that nobody else uses. They are not
//! idempotent: an interrupted restore fetches the catalog again.
//!
//! Not here: duties of the engine, which are held for an operator by the floor above.

use bytes::Bytes;

use super::{
    BACKUP_CHECKPOINTS,
    epoch::{self, EPOCH_KEY, STORE_IDENTITY},
};
use crate::{
    account::after,
    catalog::{
        commit::NUMBERED_SEQUENCES,
        engine::{Batch, Engine, Family, Scan},
        keys,
        records::{self, HeadRecord, MailboxRecord},
    },
    error::StoreError,
};

/// What identifiers counted one by one are raised by.
pub const NUMBERS_RAISED_BY: u64 = 1 << 20;
/// What MODSEQs and numbered sequences are raised by.
pub const SEQUENCES_RAISED_BY: u64 = 1 << 32;
/// One above the last UID.
const UID_END: u64 = 1 << 32;
const PAGE: usize = 1_000;

/// What the rules did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RulesApplied {
    /// The epoch from now on.
    pub epoch: u32,
    /// Accounts raised.
    pub accounts: u64,
    /// Mailboxes raised.
    pub mailboxes: u64,
}

/// Applies the rules to the catalog of `engine`, which nobody else uses.
pub async fn apply(engine: &dyn Engine) -> Result<RulesApplied, StoreError> {
    let mut applied = RulesApplied::default();
    each(engine, keys::ACCOUNT_HEADS, |key, value, batch| {
        let mut head: HeadRecord = records::decode(keys::ACCOUNT_HEADS, &key, &value)?;
        raise_head(&mut head)?;
        batch.put(keys::ACCOUNT_HEADS, key, records::encode(&head));
        applied.accounts += 1;
        Ok(())
    })
    .await?;
    each(engine, keys::MAILBOXES, |key, value, batch| {
        let mut mailbox: MailboxRecord = records::decode(keys::MAILBOXES, &key, &value)?;
        raise_mailbox(&mut mailbox)?;
        batch.put(keys::MAILBOXES, key, records::encode(&mailbox));
        applied.mailboxes += 1;
        Ok(())
    })
    .await?;
    each(engine, NUMBERED_SEQUENCES, |key, value, batch| {
        let next: [u8; 8] = value.as_ref().try_into().map_err(|_| StoreError::Damaged {
            object: keys::object(NUMBERED_SEQUENCES, &key),
            detail: format!("{} octets instead of 8", value.len()),
        })?;
        let next = raised(u64::from_be_bytes(next), SEQUENCES_RAISED_BY)?;
        batch.put(NUMBERED_SEQUENCES, key, next.to_be_bytes().to_vec());
        Ok(())
    })
    .await?;
    each(engine, BACKUP_CHECKPOINTS, |key, _, batch| {
        batch.delete(BACKUP_CHECKPOINTS, key);
        Ok(())
    })
    .await?;
    let epoch = epoch::read(engine).await?;
    applied.epoch = epoch.checked_add(1).ok_or(StoreError::Exhausted("epochs"))?;
    let mut batch = Batch::default();
    batch.put(STORE_IDENTITY, EPOCH_KEY, epoch::encode(applied.epoch));
    engine.commit(batch).await?;
    Ok(applied)
}

fn raised(number: u64, by: u64) -> Result<u64, StoreError> {
    number.checked_add(by).ok_or(StoreError::Exhausted("numbers of a sequence"))
}

fn raise_head(head: &mut HeadRecord) -> Result<(), StoreError> {
    head.version = raised(head.version, NUMBERS_RAISED_BY)?;
    head.next_mod_seq = raised(head.next_mod_seq, SEQUENCES_RAISED_BY)?;
    head.next_email_number = raised(head.next_email_number, NUMBERS_RAISED_BY)?;
    head.next_mailbox_id = raised(head.next_mailbox_id, NUMBERS_RAISED_BY)?;
    head.next_uid_validity = raised(head.next_uid_validity, NUMBERS_RAISED_BY)?;
    Ok(())
}

fn raise_mailbox(mailbox: &mut MailboxRecord) -> Result<(), StoreError> {
    mailbox.uid_next = raised(mailbox.uid_next, NUMBERS_RAISED_BY)?.min(UID_END);
    mailbox.highest_mod_seq = raised(mailbox.highest_mod_seq, SEQUENCES_RAISED_BY)?;
    mailbox.expunge_floor = mailbox.highest_mod_seq;
    Ok(())
}

/// Calls `change` on every entry of `family`, a page and a batch at a time.
async fn each(
    engine: &dyn Engine,
    family: Family,
    mut change: impl FnMut(Bytes, Bytes, &mut Batch) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut scan = Scan::prefix(family, b"", PAGE);
    loop {
        let page = engine.scan(&scan).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        scan.start = after(last);
        let mut batch = Batch::default();
        for (key, value) in page {
            change(key, value, &mut batch)?;
        }
        engine.commit(batch).await?;
    }
}
