//! A snapshot read as mailboxes.
//!
//! Rows come from the snapshot's trees; what is in the messages comes through the account, so that a
//! message that was erased since answers here as it does live. A snapshot may go while it is open:
//! what is read then answers [`SnapshotError::NoSuchSnapshot`], to protocols
//! [`StoreError::SnapshotExpired`].

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use bytes::Bytes;
use storage::{
    account::{
        Account,
        headers::page::{HeaderFields, MessageHeaders},
    },
    catalog::engine::Reader,
    error::StoreError,
    ids::{AccountId, EmailNumber, MailboxId, ModSeq, Uid},
    mailbox::view::{Access, Changes, MailboxState, MailboxView, MessageRow},
    store::Store,
    summary::Summary,
};
use tokio::sync::OnceCell;

use super::{
    SnapshotLimits, Snapshots, account_entry,
    keys::{self, SNAPSHOT_PAGES, SNAPSHOTS},
    pages::{CatalogPages, unpack},
    records,
    snapshot::Snapshot,
};
use crate::{
    error::SnapshotError,
    hash::{Salts, SnapshotSecret},
    state::{MailboxEntry, State},
    tree::{
        PageStore,
        read::rows,
        row::{ContentRow, FlagsRow},
    },
};

/// Rows read at once.
const ROWS: usize = 8_192;

/// Reads the state of a snapshot and checks it.
pub(crate) async fn state_at(
    reader: &(impl Reader + ?Sized),
    snapshot: &Snapshot,
    secret: &SnapshotSecret,
) -> Result<State, SnapshotError> {
    let root = snapshot.record.state_root;
    let damaged = |detail| SnapshotError::Damaged {
        object: format!(
            "the state of snapshot {} of account {}",
            snapshot.number, snapshot.record.account
        ),
        detail,
    };
    let key = keys::state(snapshot.record.account, snapshot.number, root.0);
    let value = reader.get(SNAPSHOT_PAGES, &key).await?;
    let value = value.ok_or_else(|| damaged("it is missing"))?;
    let octets = unpack(&value).ok_or_else(|| damaged("its value follows no known layout"))?;
    State::decode(root, &octets, secret)
}

/// A snapshot that can be read.
pub struct OpenSnapshot {
    store: Arc<Store>,
    account: Account,
    snapshot: Snapshot,
    state: State,
    secret: SnapshotSecret,
    pages: CatalogPages,
    limits: SnapshotLimits,
}

impl std::fmt::Debug for OpenSnapshot {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("OpenSnapshot")
            .field("snapshot", &self.snapshot)
            .finish_non_exhaustive()
    }
}

impl Snapshots {
    /// Opens snapshot `number`. [`SnapshotError::NoSuchSnapshot`].
    pub async fn open(
        &self,
        account: AccountId,
        number: u64,
    ) -> Result<Arc<OpenSnapshot>, SnapshotError> {
        let handle = self.store.account(account).await?;
        let (snapshot, _) = self.kept(account, number).await?;
        let reader: Arc<dyn Reader> = self.store.engine().clone();
        let (entry, _) = account_entry(&*reader, account).await?;
        let secret = entry.secret.ok_or_else(|| SnapshotError::Damaged {
            object: format!("the secret of the snapshots of account {account}"),
            detail: "it is missing",
        })?;
        let state = match state_at(&*reader, &snapshot, &secret).await {
            Ok(state) => state,
            // It may have gone in between.
            Err(error) => return Err(self.kept(account, number).await.err().unwrap_or(error)),
        };
        Ok(Arc::new(OpenSnapshot {
            store: Arc::clone(&self.store),
            account: handle,
            snapshot,
            state,
            secret,
            pages: CatalogPages::new(reader, account),
            limits: self.limits,
        }))
    }
}

impl OpenSnapshot {
    /// What it is.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Its mailboxes.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The account it is of, as it now is: what is in the messages is read through it.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The bounds of whoever opened it.
    pub(crate) fn limits(&self) -> &SnapshotLimits {
        &self.limits
    }

    /// Where the pages of its trees are read from.
    pub fn pages(&self) -> &dyn PageStore {
        &self.pages
    }

    /// The account's secret.
    pub fn secret(&self) -> &SnapshotSecret {
        &self.secret
    }

    /// The salts of one of its mailboxes.
    pub fn salts(&self, id: MailboxId) -> Salts {
        Salts::new(self.secret.clone(), id)
    }

    /// Opens a mailbox. [`StoreError::NoSuchMailbox`].
    pub fn mailbox(self: &Arc<Self>, id: MailboxId) -> Result<Arc<SnapshotMailbox>, SnapshotError> {
        let account = self.account.id();
        let entry = self.state.mailboxes.get(&id);
        let entry = entry.ok_or(StoreError::NoSuchMailbox { account, mailbox: id })?;
        let salts = self.salts(id);
        let (of, entry, counts) = (Arc::clone(self), entry.clone(), OnceCell::new());
        Ok(Arc::new(SnapshotMailbox { of, id, entry, salts, counts }))
    }

    /// Opens the mailbox that was called `name` then. [`StoreError::NoSuchMailboxName`].
    pub fn mailbox_by_name(
        self: &Arc<Self>,
        name: &str,
    ) -> Result<Arc<SnapshotMailbox>, SnapshotError> {
        let found = self.state.mailboxes.iter().find(|(_, entry)| entry.name == name);
        let (id, _) = found.ok_or_else(|| StoreError::NoSuchMailboxName(name.to_owned()))?;
        self.mailbox(*id)
    }

    /// What `error` says, unless the snapshot has gone.
    pub async fn or_expired(&self, error: SnapshotError) -> SnapshotError {
        let may_be_gone = matches!(
            error,
            SnapshotError::PageMissing(_)
                | SnapshotError::Store(
                    StoreError::NoSuchMessage { .. }
                        | StoreError::Damaged { .. }
                        | StoreError::TooNew { .. }
                )
        );
        if may_be_gone && matches!(self.is_kept().await, Ok(false)) {
            let (account, number) = (self.account.id(), self.snapshot.number);
            return SnapshotError::NoSuchSnapshot { account, number };
        }
        error
    }

    async fn is_kept(&self) -> Result<bool, StoreError> {
        let key = keys::snapshot(self.account.id(), self.snapshot.number);
        let Some(octets) = self.store.engine().get(SNAPSHOTS, &key).await? else {
            return Ok(false);
        };
        Ok(!records::decode_snapshot(&key, &octets)?.1)
    }
}

/// A mailbox as it was.
#[derive(Debug)]
pub struct SnapshotMailbox {
    of: Arc<OpenSnapshot>,
    id: MailboxId,
    entry: MailboxEntry,
    salts: Salts,
    /// Messages that are not seen, and that are marked as deleted; counted when first asked for.
    counts: OnceCell<(u64, u64)>,
}

impl SnapshotMailbox {
    /// The mailbox's identifier.
    pub fn id(&self) -> MailboxId {
        self.id
    }

    /// The snapshot it is of.
    pub fn snapshot(&self) -> &Arc<OpenSnapshot> {
        &self.of
    }

    /// Its entry in the state.
    pub fn entry(&self) -> &MailboxEntry {
        &self.entry
    }

    /// Returns at most `limit` rows above `after`, ascending by UID.
    pub async fn rows_after(
        &self,
        after: Option<Uid>,
        limit: usize,
    ) -> Result<Vec<MessageRow>, SnapshotError> {
        let from = after.map_or(0, |uid| u64::from(uid.get()) + 1);
        match self.read_rows(from, limit).await {
            Ok(rows) => Ok(rows),
            Err(error) => Err(self.of.or_expired(error).await),
        }
    }

    async fn read_rows(&self, from: u64, limit: usize) -> Result<Vec<MessageRow>, SnapshotError> {
        let (pages, salts) = (&self.of.pages, &self.salts);
        let content = rows::<ContentRow>(pages, self.entry.content, salts, from, limit).await?;
        let flags = rows::<FlagsRow>(pages, self.entry.flags, salts, from, limit).await?;
        let mod_seq = self.of.snapshot.mod_seq;
        let damaged = || SnapshotError::Damaged {
            object: format!(
                "mailbox {} of snapshot {} of account {}",
                self.id,
                self.of.snapshot.number,
                self.of.account.id()
            ),
            detail: "its two trees do not have the same rows",
        };
        if content.len() != flags.len() {
            return Err(damaged());
        }
        let mut joined = Vec::with_capacity(content.len());
        for (content, flags) in content.into_iter().zip(flags) {
            if content.uid != flags.uid {
                return Err(damaged());
            }
            joined.push(MessageRow {
                uid: content.uid,
                email_number: content.email_number,
                flags: flags.flags,
                mod_seq,
                internal_date: content.internal_date,
                save_date: content.save_date,
                size: content.size,
                charged_octets: content.charged_octets,
                digest: content.digest,
                origin: None,
            });
        }
        Ok(joined)
    }

    async fn all_rows(&self) -> Result<Vec<MessageRow>, SnapshotError> {
        let mut all: Vec<MessageRow> = Vec::new();
        loop {
            let rows = self.rows_after(all.last().map(|row| row.uid), ROWS).await?;
            let is_last = rows.len() < ROWS;
            all.extend(rows);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// The answer of the account, or that the snapshot has gone.
    async fn of_account<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        match answer {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.of.or_expired(error.into()).await.into()),
        }
    }
}

#[async_trait::async_trait]
impl MailboxView for SnapshotMailbox {
    fn access(&self) -> Access {
        Access::ReadOnly
    }

    async fn state(&self) -> Result<MailboxState, StoreError> {
        let (unseen, deleted) = *self.counts.get_or_try_init(|| self.count()).await?;
        Ok(MailboxState {
            mailbox_id: self.id,
            uid_validity: self.entry.uid_validity,
            uid_next: self.entry.uid_next,
            recent_from: self.entry.uid_next,
            highest_mod_seq: self.of.snapshot.mod_seq,
            exists: self.entry.content.rows,
            unseen,
            deleted,
            octets: self.entry.octets,
        })
    }

    async fn rows(&self) -> Result<(ModSeq, Vec<MessageRow>), StoreError> {
        Ok((self.of.snapshot.mod_seq, self.all_rows().await?))
    }

    async fn changes_since(&self, since: ModSeq) -> Result<Changes, StoreError> {
        let up_to = self.of.snapshot.mod_seq;
        if since >= up_to {
            return Ok(Changes { up_to, ..Changes::default() });
        }
        // Which rows changed when is no part of a snapshot: to someone who knows less, all did.
        let changed = self.all_rows().await?;
        Ok(Changes { up_to, changed, expunged: Vec::new(), incomplete: true })
    }

    async fn claim_recent(&self) -> Result<Option<Uid>, StoreError> {
        Ok(self.entry.uid_next)
    }

    async fn summary(&self, email_number: EmailNumber) -> Result<Arc<Summary>, StoreError> {
        self.of_account(self.of.account.summary(email_number).await).await
    }

    async fn erased(&self) -> Result<BTreeSet<EmailNumber>, StoreError> {
        self.of.account.erased().await
    }

    async fn headers(
        &self,
        email_numbers: &[EmailNumber],
        fields: HeaderFields,
    ) -> Result<Vec<Option<MessageHeaders>>, StoreError> {
        self.of_account(self.of.account.headers(email_numbers, fields).await).await
    }

    async fn read(
        &self,
        email_number: EmailNumber,
        range: Range<u64>,
    ) -> Result<Bytes, StoreError> {
        let account = &self.of.account;
        let read = async {
            let stored = account.stored(email_number).await?;
            self.of.store.octets().read(&stored, range).await
        };
        self.of_account(read.await).await
    }
}

impl SnapshotMailbox {
    /// Counts messages that are not seen, and that are marked as deleted.
    async fn count(&self) -> Result<(u64, u64), StoreError> {
        let (mut unseen, mut deleted, mut next) = (0, 0, Some(0));
        while let Some(from) = next {
            let (pages, root) = (&self.of.pages, self.entry.flags);
            let rows = match rows::<FlagsRow>(pages, root, &self.salts, from, ROWS).await {
                Ok(rows) => rows,
                Err(error) => return Err(self.of.or_expired(error).await.into()),
            };
            for row in &rows {
                unseen += u64::from(!row.flags.seen);
                deleted += u64::from(row.flags.deleted);
            }
            let last = rows.last().filter(|_| rows.len() == ROWS);
            next = last.map(|row| u64::from(row.uid.get()) + 1);
        }
        Ok((unseen, deleted))
    }
}
