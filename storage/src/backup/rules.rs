//! What a restored catalog is changed by before it serves again.
//!
//! Between the checkpoint and the loss the store gave out identifiers that clients and other
//! providers have seen. None of them may ever mean something else:
//!
//! | what | is raised, for each epoch that the restore is above the checkpoint's, by |
//! |---|---|
//! | UIDNEXT of each mailbox | 2²⁰, at most to 2³² |
//! | next MODSEQ of each account, HIGHESTMODSEQ of each mailbox | 2³² |
//! | next EmailNumber, next MailboxId, next UIDVALIDITY, next snapshot of each account | 2²⁰ |
//! | the next number of each numbered sequence (the journal's) | 2³² |
//!
//! Each restore claims an epoch of its own (`claim`), so two restores of one checkpoint raise by
//! different amounts: what one of them gives out is never given out by the other.
//!
//! What a head notes of its latest snapshot stays: the checkpoint has that snapshot, every message that
//! it holds has a number below `snapshot_below`, and every one that comes a number above it. The
//! head's version is raised, too, so that the account is looked at by the next run of snapshots.
//!
//! `expunge_floor` becomes the new HIGHESTMODSEQ: a client that was last here in the lost time
//! is told everything anew instead of a difference that cannot be known. The checkpoint's own pins
//! are replaced by those of all checkpoints that the back-up has, where packs lie in the back-up's
//! own object store: what only another checkpoint names must not go before the first increment.
//! Doomed packs lose their instants: they get new ones, later than all of those pins.
//!
//! The catalog is nobody else's meanwhile. How far the raising is stands in `store_identity/raising`,
//! changed with every page: cut short, it is gone on with, and never done twice. (A restore fetches the
//! catalog again instead.)
//!
//! No number comes twice as long as less than the amounts above are given out between two epochs.
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
        format, keys,
        pages::Pages,
        records::{self, HeadRecord, MailboxRecord},
    },
    claim::{CLAIM_KEY, ClaimToken, Standing},
    collector::UNDATED,
    error::StoreError,
    pack::index::DOOMED_PACKS,
};

/// What identifiers counted one by one are raised by.
pub const NUMBERS_RAISED_BY: u64 = 1 << 20;
/// What MODSEQs and numbered sequences are raised by.
pub const SEQUENCES_RAISED_BY: u64 = 1 << 32;
/// One above the last UID.
const UID_END: u64 = 1 << 32;
const PAGE: usize = 1_000;

/// Where it stands how far the raising is.
const RAISING_KEY: &[u8] = b"raising";
const RAISING_VERSION: u8 = 1;

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

/// Applies the rules to the catalog of `engine`, which nobody else uses. [`StoreError::TooNew`] when a
/// newer program wrote it: nothing is changed then.
pub async fn apply(
    engine: &dyn Engine,
    succession: &Succession,
) -> Result<RulesApplied, StoreError> {
    format::pass_gate(engine).await?;
    let mut applied = RulesApplied::default();
    if let Some(begun) = Raising::read(engine).await? {
        // Another epoch was claimed since: what this one began is brought to its end first.
        begun.finish(engine, &mut applied).await?;
        let mut batch = Batch::default();
        batch.put(STORE_IDENTITY, EPOCH_KEY, epoch::encode(begun.epoch));
        batch.delete(STORE_IDENTITY, RAISING_KEY);
        engine.commit(batch).await?;
    }
    let before = epoch::read(engine).await?;
    let epoch = match succession {
        Succession::Node { epoch, .. } => *epoch,
        // Whoever looks at it sees what a restore would have made.
        Succession::Rehearsal => before.checked_add(1).ok_or(StoreError::Exhausted("epochs"))?,
    };
    if epoch < before {
        return Err(StoreError::Damaged {
            object: "store_identity row `epoch`".to_owned(),
            detail: format!("the catalog is of epoch {before}, the claim of {epoch}"),
        });
    }
    if epoch > before {
        Raising::new(before, epoch).finish(engine, &mut applied).await?;
    }
    forget_pins_and_instants(engine).await?;
    engine.commit(identity(epoch, succession)).await?;
    applied.epoch = epoch;
    Ok(applied)
}

/// Takes the pins of the checkpoint's time out, and the instants of doomed packs.
async fn forget_pins_and_instants(engine: &dyn Engine) -> Result<(), StoreError> {
    each(engine, BACKUP_CHECKPOINTS, Bytes::new(), |key, _, batch| {
        batch.delete(BACKUP_CHECKPOINTS, key);
        Ok(())
    })
    .await?;
    each(engine, DOOMED_PACKS, Bytes::new(), |key, value, batch| {
        if let Some((instant, pack)) = key.split_first_chunk::<8>()
            && u64::from_be_bytes(*instant) != UNDATED
        {
            let undated = [UNDATED.to_be_bytes().as_slice(), pack].concat();
            batch.put(DOOMED_PACKS, undated, value);
            batch.delete(DOOMED_PACKS, key);
        }
        Ok(())
    })
    .await
}

/// Who the store is from now on, and the packs that it must keep.
fn identity(epoch: u32, succession: &Succession) -> Batch {
    let mut batch = Batch::default();
    batch.put(STORE_IDENTITY, EPOCH_KEY, epoch::encode(epoch));
    batch.delete(STORE_IDENTITY, RAISING_KEY);
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

/// The families whose numbers are raised, in this order.
const RAISED: [Family; 3] = [keys::ACCOUNT_HEADS, keys::MAILBOXES, NUMBERED_SEQUENCES];

/// The raising of numbers from one epoch to another, and how far it is.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Raising {
    before: u32,
    epoch: u32,
    /// The family that it is at; those before are done.
    family: usize,
    /// The next key in that family.
    start: Bytes,
}

impl Raising {
    fn new(before: u32, epoch: u32) -> Self {
        Self { before, epoch, family: 0, start: Bytes::new() }
    }

    fn encode(&self) -> Bytes {
        let family = u8::try_from(self.family).unwrap_or(u8::MAX);
        let (before, epoch) = (self.before.to_be_bytes(), self.epoch.to_be_bytes());
        [&[RAISING_VERSION], before.as_slice(), &epoch, &[family], &self.start].concat().into()
    }

    async fn read(engine: &dyn Engine) -> Result<Option<Self>, StoreError> {
        let Some(octets) = engine.get(STORE_IDENTITY, RAISING_KEY).await? else { return Ok(None) };
        let number = |octets: &[u8]| octets.try_into().ok().map(u32::from_be_bytes);
        let parsed = octets
            .strip_prefix(&[RAISING_VERSION])
            .and_then(|rest| rest.split_at_checked(9))
            .and_then(|(fields, start)| {
                let (before, epoch) = (number(fields.get(..4)?)?, number(fields.get(4..8)?)?);
                let start = Bytes::copy_from_slice(start);
                Some(Self { before, epoch, family: usize::from(*fields.get(8)?), start })
            });
        parsed.map(Some).ok_or_else(|| StoreError::Damaged {
            object: "store_identity row `raising`".to_owned(),
            detail: "it does not say how far it is".to_owned(),
        })
    }

    /// Raises what is not raised yet.
    async fn finish(
        &self,
        engine: &dyn Engine,
        applied: &mut RulesApplied,
    ) -> Result<(), StoreError> {
        let raise = Raise(u64::from(self.epoch.saturating_sub(self.before)));
        for (position, family) in RAISED.into_iter().enumerate().skip(self.family) {
            let start = if position == self.family { self.start.clone() } else { Bytes::new() };
            each(engine, family, start, |key, value, batch| {
                let raised = raise.value(family, &key, &value, applied)?;
                let at = Self { family: position, start: after(&key), ..self.clone() };
                batch.put(STORE_IDENTITY, RAISING_KEY, at.encode());
                batch.put(family, key, raised);
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

/// How many epochs numbers are raised by.
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

    fn value(
        self,
        family: Family,
        key: &Bytes,
        value: &Bytes,
        applied: &mut RulesApplied,
    ) -> Result<Bytes, StoreError> {
        if family == keys::ACCOUNT_HEADS {
            applied.accounts += 1;
            let mut head: HeadRecord = records::decode(family, key, value)?;
            self.head(&mut head)?;
            return Ok(records::encode(&head));
        }
        if family == keys::MAILBOXES {
            applied.mailboxes += 1;
            let mut mailbox: MailboxRecord = records::decode(family, key, value)?;
            self.mailbox(&mut mailbox)?;
            return Ok(records::encode(&mailbox));
        }
        let next: [u8; 8] = value.as_ref().try_into().map_err(|_| StoreError::Damaged {
            object: keys::object(family, key),
            detail: format!("{} octets instead of 8", value.len()),
        })?;
        Ok(self.sequence(u64::from_be_bytes(next))?.to_be_bytes().to_vec().into())
    }

    fn head(self, head: &mut HeadRecord) -> Result<(), StoreError> {
        head.version = self.number(head.version)?;
        head.next_mod_seq = self.sequence(head.next_mod_seq)?;
        head.next_email_number = self.number(head.next_email_number)?;
        head.next_mailbox_id = self.number(head.next_mailbox_id)?;
        head.next_uid_validity = self.number(head.next_uid_validity)?;
        head.next_snapshot = self.number(head.next_snapshot.max(1))?;
        Ok(())
    }

    fn mailbox(self, mailbox: &mut MailboxRecord) -> Result<(), StoreError> {
        mailbox.uid_next = self.number(mailbox.uid_next)?.min(UID_END);
        mailbox.highest_mod_seq = self.sequence(mailbox.highest_mod_seq)?;
        mailbox.expunge_floor = mailbox.highest_mod_seq;
        Ok(())
    }
}

/// Calls `change` on every entry of `family` from `start` on, a page and a batch at a time.
async fn each(
    engine: &dyn Engine,
    family: Family,
    start: Bytes,
    mut change: impl FnMut(Bytes, Bytes, &mut Batch) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut pages = Pages::new(Scan { start, ..Scan::prefix(family, b"", PAGE) });
    while let Some(page) = pages.next(engine).await? {
        let mut batch = Batch::default();
        for (key, value) in page {
            change(key, value, &mut batch)?;
        }
        engine.commit(batch).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{catalog::simulated::SimulatedEngine, golden::Golden, store::Store};

    #[tokio::test]
    async fn how_far_the_raising_is_stays_as_it_is() {
        assert_eq!(
            RAISED.map(|family| family.0),
            ["account_heads", "mailboxes", "numbered_sequences"]
        );
        let start = Bytes::from_static(&[9, 8, 7]);
        let raising = Raising { before: 2, epoch: 258, family: 1, start };
        let golden = Golden::of("store_identity").variant("raising").key(RAISING_KEY);
        let then = golden.clone().written(raising.encode());
        golden.is(raising.encode());
        let engine = SimulatedEngine::new(&Store::families(&[]));
        let mut batch = Batch::default();
        batch.put(STORE_IDENTITY, RAISING_KEY, then);
        engine.commit(batch).await.expect("written");
        assert_eq!(Raising::read(&*engine).await.expect("read"), Some(raising));
    }
}
