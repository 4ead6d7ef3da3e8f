//! What a restored catalog is changed by before it serves again.
//!
//! Between the checkpoint and the loss the store gave out identifiers that clients and other
//! providers have seen. None of them may ever mean something else:
//!
//! | what | is raised, for each epoch that the restore is above the checkpoint's, by |
//! |---|---|
//! | UIDNEXT of each mailbox | 2²⁰, at most to 2³² |
//! | next MODSEQ of each account, HIGHESTMODSEQ of each mailbox | 2³² |
//! | next EmailNumber, next MailboxId, next UIDVALIDITY of each account | 2²⁰ |
//! | the next number of each numbered sequence (the journal's) | 2³² |
//!
//! Each restore claims an epoch of its own (`claim`), so two restores of one checkpoint raise by
//! different amounts: what one of them gives out is never given out by the other.
//!
//! `expunge_floor` becomes the new HIGHESTMODSEQ: a client that was last here in the lost time
//! is told everything anew instead of a difference that cannot be known. The checkpoint's own pins
//! are replaced by those of all checkpoints that the back-up has, where packs lie in the back-up's
//! own object store: what only another checkpoint names must not go before the first increment.
//!
//! The rules are applied once to a freshly fetched catalog that nobody else uses. They are not
//! idempotent: an interrupted restore fetches the catalog again.
//!
//! Not here: duties of the engine, which are held for an operator by the floor above.

use bytes::Bytes;

use super::{
    BACKUP_CHECKPOINTS,
    epoch::{self, EPOCH_KEY, STORE_IDENTITY},
    manifest::CheckpointName,
    run::{pin_key, pin_value},
};
use crate::{
    account::after,
    catalog::{
        commit::NUMBERED_SEQUENCES,
        engine::{Batch, Engine, Family, Scan},
        keys,
        records::{self, HeadRecord, MailboxRecord},
    },
    claim::{CLAIM_KEY, ClaimToken, Standing},
    error::StoreError,
};

/// What identifiers counted one by one are raised by.
pub const NUMBERS_RAISED_BY: u64 = 1 << 20;
/// What MODSEQs and numbered sequences are raised by.
pub const SEQUENCES_RAISED_BY: u64 = 1 << 32;
/// One above the last UID.
const UID_END: u64 = 1 << 32;
const PAGE: usize = 1_000;

/// What the restored store will be.
#[derive(Clone, Debug)]
pub enum Succession {
    /// The node of a new epoch.
    Node {
        /// The epoch that was claimed, above the checkpoint's.
        epoch: u32,
        /// The token that it was claimed with.
        token: ClaimToken,
        /// The checkpoints whose packs lie in the node's own object store.
        pinned: Vec<CheckpointName>,
    },
    /// Nothing but a copy to look at.
    Rehearsal,
}

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
pub async fn apply(
    engine: &dyn Engine,
    succession: &Succession,
) -> Result<RulesApplied, StoreError> {
    let before = epoch::read(engine).await?;
    let epoch = match succession {
        Succession::Node { epoch, .. } => *epoch,
        // Whoever looks at it sees what a restore would have made.
        Succession::Rehearsal => before.checked_add(1).ok_or(StoreError::Exhausted("epochs"))?,
    };
    let raise = match epoch.checked_sub(before) {
        Some(epochs @ 1..) => Raise(u64::from(epochs)),
        _ => {
            return Err(StoreError::Damaged {
                object: "store_identity row `epoch`".to_owned(),
                detail: format!("the catalog is of epoch {before}, the restore of {epoch}"),
            });
        }
    };
    let mut applied = RulesApplied { epoch, ..RulesApplied::default() };
    each(engine, keys::ACCOUNT_HEADS, |key, value, batch| {
        let mut head: HeadRecord = records::decode(keys::ACCOUNT_HEADS, &key, &value)?;
        raise.head(&mut head)?;
        batch.put(keys::ACCOUNT_HEADS, key, records::encode(&head));
        applied.accounts += 1;
        Ok(())
    })
    .await?;
    each(engine, keys::MAILBOXES, |key, value, batch| {
        let mut mailbox: MailboxRecord = records::decode(keys::MAILBOXES, &key, &value)?;
        raise.mailbox(&mut mailbox)?;
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
        let next = raise.sequence(u64::from_be_bytes(next))?;
        batch.put(NUMBERED_SEQUENCES, key, next.to_be_bytes().to_vec());
        Ok(())
    })
    .await?;
    each(engine, BACKUP_CHECKPOINTS, |key, _, batch| {
        batch.delete(BACKUP_CHECKPOINTS, key);
        Ok(())
    })
    .await?;
    engine.commit(identity(epoch, succession)).await?;
    Ok(applied)
}

/// Who the store is from now on, and the packs that it must keep.
fn identity(epoch: u32, succession: &Succession) -> Batch {
    let mut batch = Batch::default();
    batch.put(STORE_IDENTITY, EPOCH_KEY, epoch::encode(epoch));
    let standing = match succession {
        Succession::Node { token, pinned, .. } => {
            for name in pinned {
                batch.put(BACKUP_CHECKPOINTS, pin_key(*name), pin_value(*name));
            }
            Standing::Node(*token)
        }
        Succession::Rehearsal => Standing::Rehearsal,
    };
    batch.put(STORE_IDENTITY, CLAIM_KEY, standing.encode());
    batch
}

/// How many epochs lie between the checkpoint and the restore.
#[derive(Clone, Copy)]
struct Raise(u64);

impl Raise {
    fn by(self, number: u64, by: u64) -> Result<u64, StoreError> {
        let raised = by.checked_mul(self.0).and_then(|by| number.checked_add(by));
        raised.ok_or(StoreError::Exhausted("numbers of a sequence"))
    }

    fn number(self, number: u64) -> Result<u64, StoreError> {
        self.by(number, NUMBERS_RAISED_BY)
    }

    fn sequence(self, number: u64) -> Result<u64, StoreError> {
        self.by(number, SEQUENCES_RAISED_BY)
    }

    fn head(self, head: &mut HeadRecord) -> Result<(), StoreError> {
        head.version = self.number(head.version)?;
        head.next_mod_seq = self.sequence(head.next_mod_seq)?;
        head.next_email_number = self.number(head.next_email_number)?;
        head.next_mailbox_id = self.number(head.next_mailbox_id)?;
        head.next_uid_validity = self.number(head.next_uid_validity)?;
        Ok(())
    }

    fn mailbox(self, mailbox: &mut MailboxRecord) -> Result<(), StoreError> {
        mailbox.uid_next = self.number(mailbox.uid_next)?.min(UID_END);
        mailbox.highest_mod_seq = self.sequence(mailbox.highest_mod_seq)?;
        mailbox.expunge_floor = mailbox.highest_mod_seq;
        Ok(())
    }
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
