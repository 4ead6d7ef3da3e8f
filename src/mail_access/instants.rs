//! Mailboxes as snapshots of the account show them: read, copied out of, and never changed.
//!
//! They stand below `Snapshot/INSTANT/` in the tree of the holder alone; who reads the account because
//! it is shared with him sees none. Invariants:
//!
//! * Nothing of a snapshot is read before somebody asks for its instant. Whether it still stands is asked
//!   each time one is opened, and each time a session looks for changes.
//! * Snapshots that are open are bounded, all accounts together; the one that nobody asked for longest
//!   is closed first. A session keeps what it has selected.
//! * Copies out of a snapshot are rows in one batch (`storage::mailbox::restore`).
//!
//! Not here: which names clients are shown (`protocols`), what a snapshot consists of (`snapshots`).

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ::snapshots::{
    error::SnapshotError,
    keep::{
        Snapshots,
        open::{OpenSnapshot, SnapshotMailbox},
        snapshot::parse_name,
    },
};
use bytes::Bytes;
use protocols::access::{MailboxEntry, SNAPSHOTS, snapshot_of};
use storage::{
    account::{
        Account,
        headers::page::{HeaderFields, MessageHeaders},
        name::normalised,
        quota::QuotaRule,
    },
    catalog::engine::Batch,
    error::StoreError,
    ids::{AccountId, EmailNumber, MailboxId, ModSeq, Uid},
    mailbox::{
        restore::{ErasedRows, RestoreRows, RestoredRow},
        view::{Access, Changes, Copied, ListedMessage, MailboxState, MailboxView, MessageRow},
    },
    summary::Summary,
};

/// Rows that are read together when some are copied.
const ROWS: usize = 1_024;

/// The snapshots of a store, of which some are open.
#[derive(Debug)]
pub(super) struct Instants {
    snapshots: Arc<Snapshots>,
    open: Mutex<Opened>,
    open_max: usize,
}

#[derive(Debug, Default)]
struct Opened {
    /// With the moment at which each was last asked for.
    held: BTreeMap<(AccountId, u64), (u64, Arc<Shown>)>,
    moment: u64,
}

/// A snapshot that is open, and what was counted in it.
#[derive(Debug)]
struct Shown {
    snapshot: Arc<OpenSnapshot>,
    counters: Mutex<BTreeMap<MailboxId, MailboxState>>,
}

/// Nothing is left half done by a thread that panics here.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Instants {
    pub(super) fn new(snapshots: Arc<Snapshots>, open_max: usize) -> Self {
        Self { snapshots, open: Mutex::default(), open_max }
    }

    /// The names of the instants of an account, ascending.
    pub(super) async fn names(&self, account: &Account) -> Result<Vec<String>, StoreError> {
        let snapshots = self.snapshots.list(account.id()).await?;
        Ok(snapshots.iter().map(::snapshots::keep::snapshot::Snapshot::name).collect())
    }

    /// What the snapshot of `instant` shows, and the names above it; `None` when there is none.
    pub(super) async fn list(
        &self,
        account: &Account,
        instant: &str,
    ) -> Result<Option<Vec<MailboxEntry>>, StoreError> {
        let Some(shown) = self.find(account.id(), instant).await? else { return Ok(None) };
        let base = format!("{SNAPSHOTS}/{instant}");
        let mut names = BTreeMap::from([(SNAPSHOTS.to_owned(), None), (base.clone(), None)]);
        for (id, mailbox) in &shown.snapshot.state().mailboxes {
            let name = format!("{base}/{}", mailbox.name);
            for (end, _) in name.match_indices('/') {
                names.entry(name[..end].to_owned()).or_insert(None);
            }
            names.insert(name, Some(*id));
        }
        let entry = |(name, mailbox_id)| MailboxEntry {
            name,
            mailbox_id,
            subscribed: false,
            special_use: None,
            read_only: true,
            // To count what is unseen takes reading all of it.
            state: None,
        };
        Ok(Some(names.into_iter().map(entry).collect()))
    }

    /// Opens the mailbox that clients call `name`; `None` when no snapshot shows it.
    pub(super) async fn open(
        self: &Arc<Self>,
        account: &Account,
        name: &str,
    ) -> Result<Option<Arc<dyn MailboxView>>, StoreError> {
        let Some((instant, below)) = snapshot_of(name) else { return Ok(None) };
        let Some(shown) = self.find(account.id(), instant).await? else { return Ok(None) };
        let mailbox = match shown.snapshot.mailbox_by_name(&normalised(below)) {
            Err(SnapshotError::Store(StoreError::NoSuchMailboxName(_))) => return Ok(None),
            found => found?,
        };
        Ok(Some(Arc::new(InstantMailbox { instants: Arc::clone(self), shown, mailbox })))
    }

    async fn find(
        &self,
        account: AccountId,
        instant: &str,
    ) -> Result<Option<Arc<Shown>>, StoreError> {
        // Most names that are no instant are known without reading.
        if parse_name(instant).is_none() {
            return Ok(None);
        }
        let snapshots = self.snapshots.list(account).await?;
        let Some(found) = snapshots.iter().find(|snapshot| snapshot.name() == instant) else {
            return Ok(None);
        };
        let key = (account, found.number);
        if let Some(shown) = self.held(key) {
            return Ok(Some(shown));
        }
        match self.snapshots.open(account, found.number).await {
            Ok(snapshot) => Ok(Some(self.hold(key, snapshot))),
            Err(SnapshotError::NoSuchSnapshot { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn held(&self, key: (AccountId, u64)) -> Option<Arc<Shown>> {
        let mut open = locked(&self.open);
        open.moment += 1;
        let moment = open.moment;
        let (used, shown) = open.held.get_mut(&key)?;
        *used = moment;
        Some(Arc::clone(shown))
    }

    fn hold(&self, key: (AccountId, u64), snapshot: Arc<OpenSnapshot>) -> Arc<Shown> {
        let shown = Arc::new(Shown { snapshot, counters: Mutex::default() });
        let mut open = locked(&self.open);
        open.moment += 1;
        let moment = open.moment;
        open.held.insert(key, (moment, Arc::clone(&shown)));
        while open.held.len() > self.open_max {
            let oldest = open.held.iter().min_by_key(|(_, (used, _))| *used);
            let Some(oldest) = oldest.map(|(key, _)| *key) else { break };
            open.held.remove(&oldest);
        }
        shown
    }

    /// [`StoreError::SnapshotExpired`] unless the snapshot still stands.
    async fn stands(&self, account: AccountId, number: u64) -> Result<(), StoreError> {
        let snapshots = self.snapshots.list(account).await?;
        if snapshots.iter().any(|snapshot| snapshot.number == number) {
            return Ok(());
        }
        locked(&self.open).held.remove(&(account, number));
        Err(StoreError::SnapshotExpired { account, number })
    }
}

/// A mailbox as it was.
#[derive(Debug)]
struct InstantMailbox {
    instants: Arc<Instants>,
    shown: Arc<Shown>,
    mailbox: Arc<SnapshotMailbox>,
}

impl InstantMailbox {
    fn account(&self) -> &Account {
        self.shown.snapshot.account()
    }

    fn number(&self) -> u64 {
        self.shown.snapshot.snapshot().number
    }

    /// The rows of `uids` that there are, ascending.
    async fn find(&self, uids: &[Uid]) -> Result<Vec<MessageRow>, StoreError> {
        let wanted: BTreeSet<Uid> = uids.iter().copied().collect();
        let mut found = Vec::with_capacity(wanted.len());
        let mut next = wanted.first().copied();
        while let Some(first) = next {
            let limit = if wanted.range(first..).nth(1).is_some() { ROWS } else { 1 };
            let before = first.get().checked_sub(1).and_then(Uid::new);
            let rows = self.mailbox.rows_after(before, limit).await?;
            let Some(last) = rows.last().map(|row| row.uid) else { break };
            found.extend(rows.into_iter().filter(|row| wanted.contains(&row.uid)));
            next = wanted.range(first..).find(|uid| **uid > last).copied();
        }
        Ok(found)
    }
}

#[async_trait::async_trait]
impl MailboxView for InstantMailbox {
    fn access(&self) -> Access {
        Access::ReadOnly
    }

    fn snapshot(&self) -> Option<u64> {
        Some(self.number())
    }

    async fn state(&self) -> Result<MailboxState, StoreError> {
        let id = self.mailbox.id();
        if let Some(counted) = locked(&self.shown.counters).get(&id) {
            return Ok(counted.clone());
        }
        let counted = self.mailbox.state().await?;
        locked(&self.shown.counters).insert(id, counted.clone());
        Ok(counted)
    }

    async fn rows(&self) -> Result<(ModSeq, Vec<MessageRow>), StoreError> {
        self.mailbox.rows().await
    }

    async fn list(&self) -> Result<(ModSeq, Vec<ListedMessage>), StoreError> {
        self.mailbox.list().await
    }

    async fn changes_since(&self, since: ModSeq) -> Result<Changes, StoreError> {
        self.instants.stands(self.account().id(), self.number()).await?;
        self.mailbox.changes_since(since).await
    }

    async fn claim_recent(&self) -> Result<Option<Uid>, StoreError> {
        self.mailbox.claim_recent().await
    }

    async fn summary(&self, email_number: EmailNumber) -> Result<Arc<Summary>, StoreError> {
        self.mailbox.summary(email_number).await
    }

    async fn erased(&self) -> Result<BTreeSet<EmailNumber>, StoreError> {
        self.mailbox.erased().await
    }

    async fn headers(
        &self,
        email_numbers: &[EmailNumber],
        fields: HeaderFields,
    ) -> Result<Vec<Option<MessageHeaders>>, StoreError> {
        self.mailbox.headers(email_numbers, fields).await
    }

    async fn read(
        &self,
        email_number: EmailNumber,
        range: Range<u64>,
    ) -> Result<Bytes, StoreError> {
        self.mailbox.read(email_number, range).await
    }

    /// Restores: as a copy between live mailboxes, and what departed comes back under a new number. One
    /// message whose octets were erased meanwhile refuses the whole.
    async fn copy(&self, uids: &[Uid], destination: MailboxId) -> Result<Copied, StoreError> {
        let rows = self.find(uids).await?;
        let request = RestoreRows {
            destination,
            rows: rows.iter().map(RestoredRow::from).collect(),
            quota: QuotaRule::Enforce,
            erased: ErasedRows::Refuse,
            also: Batch::default(),
        };
        let restored = match self.account().restore_rows(request).await {
            Ok(restored) => restored,
            Err(error) => return Err(self.shown.snapshot.or_expired(error.into()).await.into()),
        };
        let uids = rows.iter().map(|row| row.uid).zip(restored.uids);
        let uids = uids.filter_map(|(from, to)| Some((from, to?))).collect();
        Ok(Copied { uid_validity: restored.uid_validity, uids })
    }
}
