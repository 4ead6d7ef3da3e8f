//! A live mailbox, as protocols see it.
//!
//! Reads of more than one entry come from one snapshot of the catalog, so that a list and the
//! MODSEQ it stands for agree. Long lists of UIDs are changed in steps, each of which is one batch;
//! only COPY and MOVE are one batch as a whole, as their standards ask.

use std::{
    collections::BTreeSet,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use super::{
    blocks::{
        read::{self, Listing},
        touched,
    },
    copy::CopyRows,
    expunge::Expunge,
    flags::{FlagChange, Flags},
    rows,
    store_flags::StoreFlags,
    view::{Access, Changes, Copied, ListedMessage, MailboxState, MailboxView, MessageRow},
};
use crate::{
    account::{
        Account,
        draft::Draft,
        headers::page::{HeaderFields, MessageHeaders},
        message_name,
        queue::Change,
        read as read_record, scan_all,
    },
    catalog::{
        engine::{Reader, Scan},
        keys,
        pages::Pages,
        records::{self, MailboxRecord},
    },
    error::StoreError,
    ids::{AccountId, EmailNumber, MailboxId, ModSeq, Uid},
    octets::StoredMessage,
    summary::Summary,
};

/// Entries read at once.
const PAGE: usize = 1_000;

/// A mailbox of an account.
#[derive(Debug)]
pub struct LiveMailbox {
    account: Account,
    id: MailboxId,
    /// The message that was read last, a message being read in many small pieces, and the
    /// queue's number of erasures before it was read.
    last_read: Mutex<Option<LastRead>>,
}

type LastRead = (EmailNumber, u64, Arc<StoredMessage>);

impl LiveMailbox {
    pub(crate) fn new(account: Account, id: MailboxId) -> Self {
        Self { account, id, last_read: Mutex::default() }
    }

    /// The mailbox's identifier.
    pub fn id(&self) -> MailboxId {
        self.id
    }

    /// The account it belongs to.
    pub fn account(&self) -> &Account {
        &self.account
    }

    fn no_such_mailbox(&self) -> StoreError {
        StoreError::NoSuchMailbox { account: self.account.id(), mailbox: self.id }
    }

    pub(crate) async fn record(
        &self,
        reader: &(impl Reader + ?Sized),
    ) -> Result<MailboxRecord, StoreError> {
        let key = keys::mailbox(self.account.id(), self.id);
        let record = read_record::<MailboxRecord>(reader, keys::MAILBOXES, &key).await?;
        record.filter(|record| !record.deleting).ok_or_else(|| self.no_such_mailbox())
    }

    async fn submit<C: Change>(&self, change: C) -> Result<C::Outcome, StoreError> {
        self.account.queue.submit(&self.account.core, change).await
    }

    /// Steps in which a long list of UIDs is changed.
    fn step(&self) -> usize {
        self.account.core.limits.rows_per_step_max.max(1)
    }

    /// Returns one row, `None` when there is no such UID.
    pub async fn row(&self, uid: Uid) -> Result<Option<MessageRow>, StoreError> {
        let key = keys::row(self.account.id(), self.id, uid);
        let value = self.account.core.engine.get(keys::MAILBOX_ROWS, &key).await?;
        value.map(|value| rows::row_at(&key, &value)).transpose()
    }

    /// Returns what [`MailboxView::list`] does, and where it was read.
    pub async fn listing(&self) -> Result<Listing, StoreError> {
        let snapshot = self.account.core.engine.snapshot().await?;
        let record = self.record(&*snapshot).await?;
        let account = self.account.id();
        let listing = read::listing(&*snapshot, account, self.id, &record).await?;
        if listing.unusable {
            self.account.core.note_unusable(account, Some(self.id));
        }
        Ok(listing)
    }

    /// Returns what a message is rebuilt from. [`StoreError::NoSuchMessage`] when it is gone,
    /// [`StoreError::Erased`].
    pub async fn stored(
        &self,
        email_number: EmailNumber,
    ) -> Result<Arc<StoredMessage>, StoreError> {
        let erasures = self.account.queue.erasures();
        let last = self.last_read.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((number, before, stored)) = last
            && (number, before) == (email_number, erasures)
        {
            return Ok(stored);
        }
        let stored = Arc::new(self.account.stored(email_number).await?);
        let mut last = self.last_read.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((email_number, erasures, Arc::clone(&stored)));
        Ok(stored)
    }

    async fn changed_rows(
        &self,
        snapshot: &dyn Reader,
        since: ModSeq,
    ) -> Result<Vec<MessageRow>, StoreError> {
        let account = self.account.id();
        let scan = touched::entries_after(keys::MAILBOX_CHANGES, account, self.id, since);
        let (mut pages, mut changed) = (Pages::new(scan), Vec::new());
        while let Some(page) = pages.next(snapshot).await? {
            let mut asked = Vec::with_capacity(page.len());
            let mut uids = Vec::with_capacity(page.len());
            for (key, _) in &page {
                let uid = touched::uid_of_change(key)?;
                uids.push(uid);
                asked.push((keys::MAILBOX_ROWS, keys::row(account, self.id, uid)));
            }
            let values = snapshot.multi_get(&asked).await?;
            for ((uid, (family, key)), value) in uids.into_iter().zip(asked).zip(values) {
                let value = value.ok_or_else(|| {
                    records::damaged(family, &key, "MODSEQ index names a missing row".to_owned())
                })?;
                changed.push(records::decode_row(&key, uid, &value)?);
            }
        }
        changed.sort_unstable_by_key(|row| row.uid);
        Ok(changed)
    }
}

/// The counters in `record`.
pub(crate) fn state_of(
    account: AccountId,
    id: MailboxId,
    record: &MailboxRecord,
) -> Result<MailboxState, StoreError> {
    let uid = |number: u64| u32::try_from(number).ok().and_then(Uid::new);
    Ok(MailboxState {
        mailbox_id: id,
        uid_validity: rows::uid_validity(record, &keys::mailbox(account, id))?,
        uid_next: uid(record.uid_next),
        recent_from: uid(record.recent_from),
        highest_mod_seq: ModSeq(record.highest_mod_seq),
        exists: record.exists,
        unseen: record.unseen,
        deleted: record.deleted,
        octets: record.octets,
    })
}

#[async_trait::async_trait]
impl MailboxView for LiveMailbox {
    fn access(&self) -> Access {
        Access::ReadWrite
    }

    async fn state(&self) -> Result<MailboxState, StoreError> {
        let record = self.record(&*self.account.core.engine).await?;
        state_of(self.account.id(), self.id, &record)
    }

    async fn rows(&self) -> Result<(ModSeq, Vec<MessageRow>), StoreError> {
        let snapshot = self.account.core.engine.snapshot().await?;
        let record = self.record(&*snapshot).await?;
        let prefix = keys::mailbox(self.account.id(), self.id);
        let scan = Scan::prefix(keys::MAILBOX_ROWS, &prefix, PAGE);
        let entries = scan_all(&*snapshot, scan).await?;
        let rows: Result<Vec<_>, StoreError> =
            entries.iter().map(|(key, value)| rows::row_at(key, value)).collect();
        Ok((ModSeq(record.highest_mod_seq), rows?))
    }

    async fn list(&self) -> Result<(ModSeq, Vec<ListedMessage>), StoreError> {
        let listing = self.listing().await?;
        Ok((listing.mod_seq, listing.messages))
    }

    async fn changes_since(&self, since: ModSeq) -> Result<Changes, StoreError> {
        let engine = &self.account.core.engine;
        let present = self.record(&**engine).await?;
        let up_to = ModSeq(present.highest_mod_seq);
        if since >= up_to {
            return Ok(Changes { up_to, ..Changes::default() });
        }
        let snapshot = engine.snapshot().await?;
        let record = self.record(&*snapshot).await?;
        Ok(Changes {
            up_to: ModSeq(record.highest_mod_seq),
            changed: self.changed_rows(&*snapshot, since).await?,
            expunged: touched::expunged(&*snapshot, self.account.id(), self.id, since).await?,
            incomplete: since.0 < record.expunge_floor,
        })
    }

    async fn claim_recent(&self) -> Result<Option<Uid>, StoreError> {
        let recent_from = self.submit(ClaimRecent(self.id)).await?;
        Ok(u32::try_from(recent_from).ok().and_then(Uid::new))
    }

    async fn summary(&self, email_number: EmailNumber) -> Result<Arc<Summary>, StoreError> {
        self.account.summary(email_number).await
    }

    async fn erased(&self) -> Result<BTreeSet<EmailNumber>, StoreError> {
        self.account.erased().await
    }

    async fn headers(
        &self,
        email_numbers: &[EmailNumber],
        fields: HeaderFields,
    ) -> Result<Vec<Option<MessageHeaders>>, StoreError> {
        self.account.headers(email_numbers, fields).await
    }

    async fn read(
        &self,
        email_number: EmailNumber,
        range: Range<u64>,
    ) -> Result<Bytes, StoreError> {
        let stored = self.stored(email_number).await?;
        let read = self.account.core.octets.read(&stored, range).await;
        read.map_err(|error| error.of(|| message_name(self.account.id(), email_number)))
    }

    async fn store_flags(
        &self,
        uids: &[Uid],
        change: FlagChange,
        flags: &Flags,
        unchanged_since: Option<ModSeq>,
    ) -> Result<(Vec<MessageRow>, Vec<Uid>), StoreError> {
        let uids = sorted(uids);
        let (mut rows, mut refused) = (Vec::new(), Vec::new());
        for uids in uids.chunks(self.step()) {
            let (uids, flags) = (uids.to_vec(), flags.clone());
            let change = StoreFlags { mailbox: self.id, uids, change, flags, unchanged_since };
            let (stored, left) = self.submit(change).await?;
            rows.extend(stored);
            refused.extend(left);
        }
        Ok((rows, refused))
    }

    async fn expunge(&self, uids: &[Uid]) -> Result<Vec<Uid>, StoreError> {
        let uids = sorted(uids);
        let mut expunged = Vec::new();
        for uids in uids.chunks(self.step()) {
            expunged.extend(self.submit(Expunge { mailbox: self.id, uids: uids.to_vec() }).await?);
        }
        Ok(expunged)
    }

    async fn copy(&self, uids: &[Uid], destination: MailboxId) -> Result<Copied, StoreError> {
        let (source, uids) = (self.id, sorted(uids));
        self.submit(CopyRows { source, uids, destination, remove_source: false }).await
    }

    async fn move_to(&self, uids: &[Uid], destination: MailboxId) -> Result<Copied, StoreError> {
        let (source, uids) = (self.id, sorted(uids));
        self.submit(CopyRows { source, uids, destination, remove_source: true }).await
    }
}

fn sorted(uids: &[Uid]) -> Vec<Uid> {
    let mut uids = uids.to_vec();
    uids.sort_unstable();
    uids.dedup();
    uids
}

/// Moves `recent_from` to UIDNEXT and returns the old one. Losing it in a crash shows messages as
/// recent twice, so it asks for no sync of its own.
struct ClaimRecent(MailboxId);

#[async_trait::async_trait]
impl Change for ClaimRecent {
    type Outcome = u64;

    async fn apply(&self, draft: &mut Draft<'_>) -> Result<u64, StoreError> {
        let mut record = draft.mailbox(self.0).await?;
        let recent_from = record.recent_from;
        if recent_from != record.uid_next {
            record.recent_from = record.uid_next;
            let key = keys::mailbox(draft.account, self.0);
            draft.put_record_lazily(keys::MAILBOXES, key, &record);
        }
        Ok(recent_from)
    }
}
