//! The next state of an account while its changes are worked out.
//!
//! A [`Draft`] reads the catalog through what it has already changed, and becomes one batch that
//! expects the head record it began with. Invariants:
//!
//! * The head is read before anything else, and every change of the account rewrites it. So if the
//!   batch is applied, everything that was read was still true.
//! * A change that fails is rolled back alone; those before it in the draft stay.
//! * Counters only ascend: MODSEQ, EmailNumber, MailboxId, UIDVALIDITY.
//!
//! Not here: which changes go together (`queue`), what a change does (`mailbox`, `tree`).

use std::{
    collections::{BTreeMap, HashSet},
    ops::Bound,
    sync::Arc,
};

use bytes::Bytes;
use prost::Message;
use trust::clock::UnixMillis;

use crate::{
    catalog::{
        engine::{Batch, Durability, Engine, Entries, Expected, Family, Reader, Scan},
        keys,
        pages::Pages,
        records::{self, AccountRecord, HeadRecord, MailboxRecord},
    },
    error::StoreError,
    ids::{AccountId, EmailNumber, MailboxId, ModSeq, UidValidity},
    sabotage::{PlantedBug, planted},
    store::StoreLimits,
};

/// Entries read from the engine at once by a scan through the draft.
const SCAN_ENTRIES: usize = 1_000;

type Key = (Family, Bytes);

/// What a key is changed to; `None` = deleted.
type Write = Option<Bytes>;

/// Changes to one account that are not committed yet.
pub(crate) struct Draft<'e> {
    engine: &'e Arc<dyn Engine>,
    /// The account.
    pub(crate) account: AccountId,
    /// The instant of the batch.
    pub(crate) now: UnixMillis,
    /// The store's bounds.
    pub(crate) limits: &'e StoreLimits,
    found_head: Option<Bytes>,
    head: Option<HeadRecord>,
    /// `head` as it was found.
    began_with: Option<HeadRecord>,
    /// What the draft changes.
    writes: BTreeMap<Key, Write>,
    /// What stood in `writes` before each change, to take it back.
    undo: Vec<(Key, Option<Write>)>,
    /// Conditions and changes of floors above and of the octet store.
    extra: Vec<Batch>,
    /// Keys that `extra` of settled changes writes.
    extra_written: HashSet<Key>,
    durable: bool,
    /// Whether the head says with which version it is captured.
    captured: bool,
    /// Whether an older program would harm what it writes.
    raises_format: bool,
    /// Rows changed, by mailbox; `None` = messages.
    touched: BTreeMap<Option<MailboxId>, u64>,
}

/// A point to which a draft can be rolled back.
pub(crate) struct Checkpoint {
    head: Option<HeadRecord>,
    undo: usize,
    extra: usize,
    durable: bool,
    captured: bool,
}

impl<'e> Draft<'e> {
    /// Begins with the account's present head.
    pub(crate) async fn begin(
        engine: &'e Arc<dyn Engine>,
        account: AccountId,
        now: UnixMillis,
        limits: &'e StoreLimits,
    ) -> Result<Self, StoreError> {
        let key = keys::account(account);
        let found_head = engine.get(keys::ACCOUNT_HEADS, &key).await?;
        let head: Option<HeadRecord> = found_head
            .as_ref()
            .map(|octets| records::decode(keys::ACCOUNT_HEADS, &key, octets))
            .transpose()?;
        Ok(Self {
            engine,
            account,
            now,
            limits,
            found_head,
            head,
            began_with: head,
            writes: BTreeMap::new(),
            undo: Vec::new(),
            extra: Vec::new(),
            extra_written: HashSet::new(),
            durable: false,
            captured: false,
            raises_format: false,
            touched: BTreeMap::new(),
        })
    }

    /// The head this draft began with, as it stands in the catalog.
    pub(crate) fn found_head(&self) -> Option<&Bytes> {
        self.found_head.as_ref()
    }

    /// The catalog as it is now, without what this draft changes.
    pub(crate) async fn engine_snapshot(&self) -> Result<Arc<dyn Reader>, StoreError> {
        self.engine.snapshot().await
    }

    /// The head, [`StoreError::NoSuchAccount`] when the account was never created.
    pub(crate) fn head(&mut self) -> Result<&mut HeadRecord, StoreError> {
        self.head.as_mut().ok_or(StoreError::NoSuchAccount(self.account))
    }

    /// Says whether the account exists in this draft.
    pub(crate) fn exists(&self) -> bool {
        self.head.is_some()
    }

    /// The head this draft began with, `None` for an account that it creates.
    pub(crate) fn began_with(&self) -> Option<&HeadRecord> {
        self.began_with.as_ref()
    }

    /// Says whether this draft changes what stands under `key`.
    pub(crate) fn changes(&self, family: Family, key: &Bytes) -> bool {
        self.writes.contains_key(&(family, key.clone()))
    }

    /// Creates the account's head.
    pub(crate) fn create_head(&mut self, head: HeadRecord) {
        self.head = Some(head);
    }

    /// Takes the account's next MODSEQ.
    pub(crate) fn take_mod_seq(&mut self) -> Result<ModSeq, StoreError> {
        let next = &mut self.head()?.next_mod_seq;
        take(next, "modification sequences").map(ModSeq)
    }

    /// Takes the account's next EmailNumber.
    pub(crate) fn take_email_number(&mut self) -> Result<EmailNumber, StoreError> {
        self.touch(None);
        let next = &mut self.head()?.next_email_number;
        take(next, "email numbers").map(EmailNumber)
    }

    /// Takes the account's next MailboxId.
    pub(crate) fn take_mailbox_id(&mut self) -> Result<MailboxId, StoreError> {
        let next = &mut self.head()?.next_mailbox_id;
        take(next, "mailbox identifiers").map(MailboxId)
    }

    /// Takes the account's next UIDVALIDITY.
    pub(crate) fn take_uid_validity(&mut self) -> Result<UidValidity, StoreError> {
        let next = &mut self.head()?.next_uid_validity;
        let number = u32::try_from(*next).ok().and_then(std::num::NonZeroU32::new);
        let number = number.ok_or(StoreError::Exhausted("UIDVALIDITY values"))?;
        *next += 1;
        Ok(UidValidity(number))
    }

    /// The value under `key`, as this draft leaves it.
    pub(crate) async fn get(
        &self,
        family: Family,
        key: &Bytes,
    ) -> Result<Option<Bytes>, StoreError> {
        match self.writes.get(&(family, key.clone())) {
            Some(value) => Ok(value.clone()),
            None => self.engine.get(family, key).await,
        }
    }

    /// The record under `key`, as this draft leaves it.
    pub(crate) async fn record<M: Message + Default>(
        &self,
        family: Family,
        key: &Bytes,
    ) -> Result<Option<M>, StoreError> {
        let octets = self.get(family, key).await?;
        octets.map(|octets| records::decode(family, key, &octets)).transpose()
    }

    /// As many [`Draft::get`]s, in the order asked.
    pub(crate) async fn multi_get(
        &self,
        family: Family,
        asked: Vec<Bytes>,
    ) -> Result<Vec<Option<Bytes>>, StoreError> {
        let asked: Vec<Key> = asked.into_iter().map(|key| (family, key)).collect();
        let mut values = self.engine.multi_get(&asked).await?;
        for (key, value) in asked.iter().zip(&mut values) {
            if let Some(changed) = self.writes.get(key) {
                value.clone_from(changed);
            }
        }
        Ok(values)
    }

    /// At most `limit` entries whose keys begin with `prefix`, in key order, as this draft leaves
    /// them.
    pub(crate) async fn scan_prefix(
        &self,
        family: Family,
        prefix: &[u8],
        limit: usize,
    ) -> Result<Entries, StoreError> {
        let mut found = Entries::new();
        let scan = Scan::prefix(family, prefix, SCAN_ENTRIES);
        let (mut after, end) = (Bound::Included(scan.start.clone()), scan.end.clone());
        let mut pages = Pages::new(scan);
        loop {
            let page = pages.next(&**self.engine).await?.unwrap_or_default();
            let last = page.last().filter(|_| !pages.is_at_end()).map(|(key, _)| key.clone());
            // The overlay is merged up to where this page reaches.
            let upto = match (&last, &end) {
                (Some(last), _) => Bound::Included(last.clone()),
                (None, Some(end)) => Bound::Excluded(end.clone()),
                (None, None) => Bound::Unbounded,
            };
            let mut merged: BTreeMap<Bytes, Option<Bytes>> =
                page.into_iter().map(|(key, value)| (key, Some(value))).collect();
            for ((_, key), value) in self.changed(family, &after, &upto) {
                merged.insert(key.clone(), value.clone());
            }
            for (key, value) in merged {
                let Some(value) = value else { continue };
                found.push((key, value));
                if found.len() == limit {
                    return Ok(found);
                }
            }
            let Some(last) = last else { return Ok(found) };
            after = Bound::Excluded(last);
        }
    }

    fn changed(
        &self,
        family: Family,
        after: &Bound<Bytes>,
        upto: &Bound<Bytes>,
    ) -> impl Iterator<Item = (&Key, &Write)> {
        let in_family = |key: Bytes| (family, key);
        let start = after.clone().map(in_family);
        let end = upto.clone().map(in_family);
        self.writes.range((start, end)).take_while(move |((found, _), _)| *found == family)
    }

    /// Writes `value` under `key`.
    pub(crate) fn put(&mut self, family: Family, key: Bytes, value: Bytes) {
        self.write((family, key), Some(value));
    }

    /// Writes `record` under `key`.
    pub(crate) fn put_record(&mut self, family: Family, key: Bytes, record: &impl Message) {
        self.put(family, key, records::encode(record));
    }

    /// Removes what stands under `key`.
    pub(crate) fn delete(&mut self, family: Family, key: Bytes) {
        self.write((family, key), None);
    }

    fn write(&mut self, key: Key, value: Write) {
        let before = self.writes.insert(key.clone(), value);
        self.undo.push((key, before));
        self.durable = true;
    }

    /// Writes `value` without asking for a sync: losing it in a crash does no harm.
    pub(crate) fn put_record_lazily(&mut self, family: Family, key: Bytes, record: &impl Message) {
        let durable = self.durable;
        self.put_record(family, key, record);
        self.durable = durable;
    }

    /// Writes or removes `key` without asking for a sync.
    pub(crate) fn change_lazily(&mut self, family: Family, key: Bytes, value: Option<Bytes>) {
        let durable = self.durable;
        self.write((family, key), value);
        self.durable = durable;
    }

    /// Notes that a row of `mailbox` changes, or with `None` that a message comes or goes. Changes
    /// that are rolled back count too: this only tells the builder of blocks where to look.
    pub(crate) fn touch(&mut self, mailbox: Option<MailboxId>) {
        *self.touched.entry(mailbox).or_default() += 1;
    }

    /// Notes that a snapshot has the state that this draft leaves. When nothing else changes, only
    /// the head is written, without a sync, and nobody who follows the account is woken.
    pub(crate) fn note_captured(&mut self) {
        self.captured = true;
    }

    /// Notes that the draft has something that an older program would harm
    /// ([`crate::catalog::format`]). A change that is rolled back counts too.
    pub(crate) fn raise_format(&mut self) {
        self.raises_format = true;
    }

    /// Whether the catalog's format is to be raised before the batch.
    pub(crate) fn raises_format(&self) -> bool {
        self.raises_format
    }

    /// Whether the draft says anything to those who follow the account.
    pub(crate) fn has_news(&self) -> bool {
        !(self.writes.is_empty() && self.extra.is_empty())
    }

    /// Whether a snapshot has the state that this draft began with.
    pub(crate) fn began_captured(&self) -> bool {
        self.began_with.as_ref().is_some_and(|head| head.captured_version == head.version)
    }

    /// How many rows changed in which mailbox, and how many messages.
    pub(crate) fn take_touched(&mut self) -> BTreeMap<Option<MailboxId>, u64> {
        std::mem::take(&mut self.touched)
    }

    /// Adds conditions and changes of another owner to the batch.
    pub(crate) fn add(&mut self, batch: Batch) {
        self.durable |= batch.durability == Durability::Synced;
        self.extra.push(batch);
    }

    /// The mailbox `id`, [`StoreError::NoSuchMailbox`] when there is none.
    pub(crate) async fn mailbox(&self, id: MailboxId) -> Result<MailboxRecord, StoreError> {
        let key = keys::mailbox(self.account, id);
        match self.record::<MailboxRecord>(keys::MAILBOXES, &key).await? {
            Some(record) if !record.deleting => Ok(record),
            _ if !self.exists() => Err(StoreError::NoSuchAccount(self.account)),
            _ => Err(StoreError::NoSuchMailbox { account: self.account, mailbox: id }),
        }
    }

    /// Writes the mailbox `id`.
    pub(crate) fn put_mailbox(&mut self, id: MailboxId, record: &MailboxRecord) {
        self.put_record(keys::MAILBOXES, keys::mailbox(self.account, id), record);
    }

    /// The account's settings, [`StoreError::NoSuchAccount`] when there are none.
    pub(crate) async fn settings(&self) -> Result<AccountRecord, StoreError> {
        let key = keys::account(self.account);
        let record = self.record(keys::ACCOUNTS, &key).await?;
        record.ok_or(StoreError::NoSuchAccount(self.account))
    }

    /// The point to roll back to.
    pub(crate) fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            head: self.head,
            undo: self.undo.len(),
            extra: self.extra.len(),
            durable: self.durable,
            captured: self.captured,
        }
    }

    /// Takes back everything since `checkpoint`.
    pub(crate) fn roll_back(&mut self, checkpoint: &Checkpoint) {
        self.head = checkpoint.head;
        for (key, before) in self.undo.drain(checkpoint.undo..).rev() {
            match before {
                Some(value) => self.writes.insert(key, value),
                None => self.writes.remove(&key),
            };
        }
        self.extra.truncate(checkpoint.extra);
        self.durable = checkpoint.durable;
        self.captured = checkpoint.captured;
    }

    /// Says whether what was added since `checkpoint` names a key that an earlier change's addition
    /// writes. Conditions of one batch are all checked against the state before it, so two such
    /// changes must not share a batch: both would find a key absent that one of them writes.
    pub(crate) fn collides(&self, checkpoint: &Checkpoint) -> bool {
        let written = |family: &Family, key: &Bytes| {
            !self.extra_written.is_empty() && self.extra_written.contains(&(*family, key.clone()))
        };
        self.extra.iter().skip(checkpoint.extra).any(|batch| {
            batch.expect.iter().any(|(family, key, _)| written(family, key))
                || batch.put.iter().any(|(family, key, _)| written(family, key))
                || batch.delete.iter().any(|(family, key)| written(family, key))
        })
    }

    /// Ends a change that worked: what it added is from now on an earlier change's.
    pub(crate) fn settle(&mut self, checkpoint: &Checkpoint) {
        for batch in self.extra.iter().skip(checkpoint.extra) {
            let put = batch.put.iter().map(|(family, key, _)| (*family, key.clone()));
            let delete = batch.delete.iter().map(|(family, key)| (*family, key.clone()));
            self.extra_written.extend(put.chain(delete));
        }
    }

    /// The batch, and the account's last MODSEQ after it; `None` when nothing changes.
    pub(crate) fn into_batch(self) -> Option<(Batch, ModSeq)> {
        let notes = self.captured && self.head.is_some() && !self.began_captured();
        if !self.has_news() && !notes {
            return None;
        }
        let mut batch = Batch::default();
        if !self.durable || planted(PlantedBug::MissingSync) {
            batch.durability = Durability::Buffered;
        }
        let key = keys::account(self.account);
        let expected = self.found_head.map_or(Expected::Absent, Expected::Value);
        batch.expect(keys::ACCOUNT_HEADS, key.clone(), expected);
        let mut last = ModSeq(0);
        if let Some(mut head) = self.head {
            head.version += 1;
            if self.captured {
                head.captured_version = head.version;
            }
            last = ModSeq(head.next_mod_seq.saturating_sub(1));
            batch.put(keys::ACCOUNT_HEADS, key, records::encode(&head));
        }
        for ((family, key), value) in self.writes {
            match value {
                Some(value) => batch.put(family, key, value),
                None => batch.delete(family, key),
            };
        }
        for extra in self.extra {
            batch.merge(extra);
        }
        Some((batch, last))
    }
}

fn take(next: &mut u64, what: &'static str) -> Result<u64, StoreError> {
    let number = *next;
    *next = number.checked_add(1).ok_or(StoreError::Exhausted(what))?;
    Ok(number)
}
