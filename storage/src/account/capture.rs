//! The state of an account at one instant, for a floor above that keeps snapshots of it, and what
//! the store does so that a kept state stays readable.
//!
//! * [`AccountState`] reads one instant: counters, mailboxes, rows, and what changed after a MODSEQ.
//! * A [`Capture`] works out what is kept of a state and becomes durable together with the note, in
//!   the account's head, that this snapshot is the latest one. Nothing of the account changes
//!   between the state and the note.
//! * A message that the latest snapshot holds is not removed with its last row: it *departs*.
//!   Its records stay, and `departed_messages` lists it under the last snapshot that holds it, so
//!   that its chunks are kept, too. A message is in the latest snapshot exactly when it still has a
//!   row and its EmailNumber is below the counter of that instant; that is all the head has to note.
//! * When a snapshot goes ([`ForgetSnapshot`]), the messages listed under it pass to the snapshot
//!   before it, or, where that one never held them, are removed for good.
//!
//! Of an account without changes since the latest snapshot the head says so, too, so that a run over
//! all accounts passes over it (`to_capture`).
//!
//! Departed messages are charged to nobody, and never come back under their number: what restores
//! one appends it again, sharing its chunks.
//!
//! Not here: what a snapshot consists of, and which ones are kept how long (the floor above).

use std::sync::Arc;

use bytes::Bytes;
use trust::clock::UnixMillis;

use super::{Account, draft::Draft, queue::Change, read, scan_all, tree::SpecialUse};
use crate::{
    catalog::{
        engine::{Batch, Reader, Scan},
        keys::{self, KeyReader},
        pages::Pages,
        records::{self, HeadRecord, MailboxRecord, SubscriptionsRecord},
    },
    error::StoreError,
    ids::{AccountId, EmailNumber, MailboxId, ModSeq, Uid},
    mailbox::{
        blocks::touched,
        live::state_of,
        rows::row_at,
        view::{MailboxState, MessageRow},
    },
    sabotage::{PlantedBug, planted},
};

/// Entries read at once.
const PAGE: usize = 1_000;

/// Messages that one batch of [`ForgetSnapshot`] passes on or removes.
const FORGOTTEN_PER_BATCH: usize = 500;

/// One account as it was at one instant. It holds resources of the engine: drop it within minutes.
pub struct AccountState {
    reader: Arc<dyn Reader>,
    account: AccountId,
    head: HeadRecord,
    now: UnixMillis,
}

/// A mailbox of an [`AccountState`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StateMailbox {
    /// The full name.
    pub name: String,
    /// What it is for.
    pub special_use: Option<SpecialUse>,
    /// Whether the account subscribes to the name.
    pub subscribed: bool,
    /// Its counters.
    pub state: MailboxState,
    /// The list of expunged UIDs is complete for changes after this MODSEQ.
    pub expunge_floor: ModSeq,
}

impl std::fmt::Debug for AccountState {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("AccountState")
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

impl AccountState {
    async fn read(
        reader: Arc<dyn Reader>,
        account: AccountId,
        now: UnixMillis,
    ) -> Result<Self, StoreError> {
        let head =
            read::<HeadRecord>(&*reader, keys::ACCOUNT_HEADS, &keys::account(account)).await?;
        let head = head.ok_or(StoreError::NoSuchAccount(account))?;
        Ok(Self { reader, account, head, now })
    }

    /// What the families of the floor above hold at this instant is read here.
    pub fn reader(&self) -> &Arc<dyn Reader> {
        &self.reader
    }

    /// The account.
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// When it was read, by the store's clock. In a [`Capture`]: behind what changed before, and before
    /// what changes next.
    pub fn now(&self) -> UnixMillis {
        self.now
    }

    /// The number of the next snapshot: 1 or more, ascending, never given twice.
    pub fn next_snapshot(&self) -> u64 {
        self.head.next_snapshot.max(1)
    }

    /// The number of the latest snapshot, `None` when there is none.
    pub fn latest_snapshot(&self) -> Option<u64> {
        Some(self.head.snapshot).filter(|number| *number > 0)
    }

    /// The last MODSEQ that was given out.
    pub fn mod_seq(&self) -> ModSeq {
        ModSeq(self.head.next_mod_seq.saturating_sub(1))
    }

    /// Every message has a number below this one.
    pub fn next_email_number(&self) -> EmailNumber {
        EmailNumber(self.head.next_email_number)
    }

    /// Every mailbox, ascending by MailboxId; those being deleted are gone.
    pub async fn mailboxes(&self) -> Result<Vec<StateMailbox>, StoreError> {
        let key = keys::account(self.account);
        let subscriptions: Option<SubscriptionsRecord> =
            read(&*self.reader, keys::SUBSCRIPTIONS, &key).await?;
        let subscribed = subscriptions.unwrap_or_default().names;
        let scan = Scan::prefix(keys::MAILBOXES, &key, PAGE);
        let mut mailboxes = Vec::new();
        for (key, value) in scan_all(&*self.reader, scan).await? {
            let mut fields = KeyReader::new(keys::MAILBOXES, &key);
            fields.take_u64()?;
            let id = MailboxId(fields.take_u64()?);
            fields.finish()?;
            let record: MailboxRecord = records::decode(keys::MAILBOXES, &key, &value)?;
            if record.deleting {
                continue;
            }
            mailboxes.push(StateMailbox {
                special_use: SpecialUse::of_number(record.special_use),
                subscribed: subscribed.binary_search(&record.name).is_ok(),
                state: state_of(self.account, id, &record)?,
                expunge_floor: ModSeq(record.expunge_floor),
                name: record.name,
            });
        }
        Ok(mailboxes)
    }

    /// At most `limit` rows of a mailbox above `after`, ascending by UID.
    pub async fn rows(
        &self,
        mailbox: MailboxId,
        after: Option<Uid>,
        limit: usize,
    ) -> Result<Vec<MessageRow>, StoreError> {
        let prefix = keys::mailbox(self.account, mailbox);
        let mut scan = Scan::prefix(keys::MAILBOX_ROWS, &prefix, limit);
        if let Some(uid) = after {
            scan.start = super::after(&keys::row(self.account, mailbox, uid));
        }
        let entries = self.reader.scan(&scan).await?;
        entries.iter().map(|(key, value)| row_at(key, value)).collect()
    }

    /// The rows of a mailbox that are new or changed after `since`, as many as there are, in no
    /// order. Says how many there are at least before it reads them: more than `limit` = `None`.
    pub async fn changed(
        &self,
        mailbox: MailboxId,
        since: ModSeq,
        limit: usize,
    ) -> Result<Option<Vec<MessageRow>>, StoreError> {
        let scan = touched::entries_after(keys::MAILBOX_CHANGES, self.account, mailbox, since);
        let (mut pages, mut asked) = (Pages::new(scan), Vec::new());
        while let Some(page) = pages.next(&*self.reader).await? {
            for (key, _) in &page {
                let uid = touched::uid_of_change(key)?;
                asked.push((keys::MAILBOX_ROWS, keys::row(self.account, mailbox, uid)));
            }
            if asked.len() > limit {
                return Ok(None);
            }
        }
        let mut rows = Vec::with_capacity(asked.len());
        for asked in asked.chunks(PAGE) {
            let values = self.reader.multi_get(asked).await?;
            for ((family, key), value) in asked.iter().zip(values) {
                let value = value.ok_or_else(|| {
                    records::damaged(*family, key, "MODSEQ index names a missing row".to_owned())
                })?;
                rows.push(row_at(key, &value)?);
            }
        }
        Ok(Some(rows))
    }

    /// The UIDs that were expunged from a mailbox after `since`, ascending; `None` when they are more
    /// than `limit`. Complete only when `since` is not below [`StateMailbox::expunge_floor`].
    pub async fn expunged(
        &self,
        mailbox: MailboxId,
        since: ModSeq,
        limit: usize,
    ) -> Result<Option<Vec<Uid>>, StoreError> {
        touched::few_expunged(&*self.reader, self.account, mailbox, since, limit).await
    }
}

/// Works out what is kept of a state.
#[async_trait::async_trait]
pub trait Capture: Send + Sync + 'static {
    /// What the caller gets when the snapshot is durable.
    type Outcome: Send + 'static;

    /// Returns what is written with the note that snapshot [`AccountState::next_snapshot`] is the
    /// latest; `None` makes no snapshot, because the latest one has this very state. May run several
    /// times, each time on a newer state; only what the last run returns counts. The account's
    /// changes wait meanwhile.
    async fn capture(
        &self,
        state: &AccountState,
    ) -> Result<(Self::Outcome, Option<Batch>), StoreError>;

    /// Whether an outcome without a batch means that the latest snapshot has the state: then the account
    /// counts as unchanged. An outcome that puts the work off, or says why it failed, does not.
    fn is_captured(&self, _outcome: &Self::Outcome) -> bool {
        true
    }
}

struct Captured<C>(C);

#[async_trait::async_trait]
impl<C: Capture> Change for Captured<C> {
    type Outcome = C::Outcome;

    async fn apply(&self, draft: &mut Draft<'_>) -> Result<C::Outcome, StoreError> {
        // If another process changes the account in between, the batch is refused and this runs again.
        let state =
            AccountState::read(draft.engine_snapshot().await?, draft.account, draft.now).await?;
        let (outcome, batch) = self.0.capture(&state).await?;
        let captured = batch.is_some() || self.0.is_captured(&outcome);
        if let Some(batch) = batch {
            draft.raise_format();
            let number = state.next_snapshot();
            let head = draft.head()?;
            head.next_snapshot = number.checked_add(1).ok_or(StoreError::Exhausted("snapshots"))?;
            head.snapshot = number;
            head.snapshot_below = head.next_email_number;
            head.snapshot_mod_seq = head.next_mod_seq.saturating_sub(1);
            draft.add(batch);
        }
        if captured {
            draft.note_captured();
        }
        Ok(outcome)
    }

    fn is_alone(&self) -> bool {
        true
    }
}

/// A snapshot that goes.
#[derive(Clone, Debug)]
pub struct ForgetSnapshot {
    /// Its number.
    pub number: u64,
    /// The snapshot before it that stays, if any.
    pub previous: Option<KeptSnapshot>,
    /// What becomes true with the last step: that the snapshot is no longer known.
    pub also: Batch,
}

/// A snapshot, as far as messages depend on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeptSnapshot {
    /// Its number.
    pub number: u64,
    /// [`AccountState::next_email_number`] of its state.
    pub email_numbers_below: EmailNumber,
    /// [`AccountState::mod_seq`] of its state.
    pub mod_seq: ModSeq,
}

/// What [`Account::forget_snapshot`] did with the messages that had departed after the snapshot.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ForgottenMessages {
    /// Removed for good.
    pub removed: u64,
    /// Passed to the snapshot before.
    pub passed_on: u64,
    /// Whether a step is left.
    more: bool,
}

#[async_trait::async_trait]
impl Change for ForgetSnapshot {
    type Outcome = ForgottenMessages;

    async fn apply(&self, draft: &mut Draft<'_>) -> Result<ForgottenMessages, StoreError> {
        let prefix = keys::departed_messages(draft.account, self.number);
        let listed =
            draft.scan_prefix(keys::DEPARTED_MESSAGES, &prefix, FORGOTTEN_PER_BATCH).await?;
        let mut done =
            ForgottenMessages { more: listed.len() == FORGOTTEN_PER_BATCH, ..Default::default() };
        for (key, _) in listed {
            let (_, number) = departed_at(&key)?;
            draft.delete(keys::DEPARTED_MESSAGES, key);
            match self.previous {
                Some(previous)
                    if number < previous.email_numbers_below
                        && !planted(PlantedBug::ForgetIgnoresPrevious) =>
                {
                    let key = keys::departed_message(draft.account, previous.number, number);
                    draft.put(keys::DEPARTED_MESSAGES, key, Bytes::new());
                    done.passed_on += 1;
                }
                _ => {
                    remove_message(draft, number);
                    done.removed += 1;
                }
            }
        }
        let captured = draft.began_captured();
        let head = draft.head()?;
        if captured && head.snapshot != self.number {
            draft.note_captured();
        }
        if !done.more {
            let head = draft.head()?;
            if head.snapshot == self.number {
                head.snapshot = self.previous.map_or(0, |previous| previous.number);
                head.snapshot_below =
                    self.previous.map_or(0, |previous| previous.email_numbers_below.0);
                head.snapshot_mod_seq = self.previous.map_or(0, |previous| previous.mod_seq.0);
            }
            draft.add(self.also.clone());
        }
        Ok(done)
    }

    fn weight(&self) -> usize {
        256 * FORGOTTEN_PER_BATCH
    }

    /// Alone, it leaves the account captured, if it was.
    fn is_alone(&self) -> bool {
        true
    }
}

/// Snapshot and EmailNumber in a key of [`keys::DEPARTED_MESSAGES`].
pub(crate) fn departed_at(key: &[u8]) -> Result<(u64, EmailNumber), StoreError> {
    let mut fields = KeyReader::new(keys::DEPARTED_MESSAGES, key);
    fields.take_u64()?;
    let snapshot = fields.take_u64()?;
    let number = EmailNumber(fields.take_u64()?);
    fields.finish()?;
    Ok((snapshot, number))
}

/// Says that the last row of a message is gone: it departs when the latest snapshot holds it, and
/// is removed otherwise.
pub(crate) fn depart_or_remove(
    draft: &mut Draft<'_>,
    email_number: EmailNumber,
) -> Result<(), StoreError> {
    let head = draft.head()?;
    if email_number.0 < head.snapshot_below && !planted(PlantedBug::DepartureForgotten) {
        let snapshot = head.snapshot;
        let key = keys::departed_message(draft.account, snapshot, email_number);
        draft.put(keys::DEPARTED_MESSAGES, key, Bytes::new());
        draft.delete(keys::MESSAGE_REFERENCES, keys::message(draft.account, email_number));
    } else {
        remove_message(draft, email_number);
    }
    Ok(())
}

/// Removes everything that is kept of a message. Its chunks stay until the collector finds that
/// nobody refers to them.
fn remove_message(draft: &mut Draft<'_>, email_number: EmailNumber) {
    let key = keys::message(draft.account, email_number);
    draft.touch(None);
    draft.delete(keys::MESSAGES, key.clone());
    draft.delete(keys::SUMMARIES, key.clone());
    draft.delete(keys::MESSAGE_REFERENCES, key.clone());
    draft.delete(keys::ERASURES, key);
}

impl HeadRecord {
    /// Whether what it notes of the latest snapshot can be.
    pub(crate) fn has_sound_snapshot(&self) -> bool {
        self.snapshot < self.next_snapshot.max(1)
            && self.snapshot_below <= self.next_email_number
            && self.snapshot_mod_seq < self.next_mod_seq.max(1)
            && (self.snapshot > 0 || (self.snapshot_below, self.snapshot_mod_seq) == (0, 0))
    }
}

impl Account {
    /// Returns the account's present state.
    pub async fn state(&self) -> Result<AccountState, StoreError> {
        let reader = self.core.engine.snapshot().await?;
        AccountState::read(reader, self.id(), self.core.clock.now()).await
    }

    /// Takes a snapshot: what `capture` keeps of the state that the account then has. Changes of the
    /// account wait until it is durable.
    pub async fn capture<C: Capture>(&self, capture: C) -> Result<C::Outcome, StoreError> {
        self.queue.submit(&self.core, Captured(capture)).await
    }

    /// Removes what only the snapshot `request.number` kept, in steps. The floor above has made sure
    /// that nobody opens it any more. After a crash it is run again with the same request.
    pub async fn forget_snapshot(
        &self,
        request: ForgetSnapshot,
    ) -> Result<ForgottenMessages, StoreError> {
        let mut all = ForgottenMessages::default();
        loop {
            let step = self.queue.submit(&self.core, request.clone()).await?;
            all.removed += step.removed;
            all.passed_on += step.passed_on;
            if !step.more {
                return Ok(all);
            }
        }
    }
}
