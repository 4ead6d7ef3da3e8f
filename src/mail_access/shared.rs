//! Mailboxes that another account shares: read, and never changed.
//!
//! An operator lets an account read a service account (`ceralacca account share`). It then stands
//! below `Altri utenti/ADDRESS/` in the tree of who reads. Invariants:
//!
//! * Every read asks whether the grant still stands; once it is taken away the mailbox is gone.
//! * Nothing changes: no flag, not even `\Seen` or `\Recent`, and no message goes from one account
//!   to the other by a number of the wrong one.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

use bytes::Bytes;
use protocols::access::{MailboxEntry, OTHER_USERS, is_of_others};
use storage::{
    account::{
        Account,
        headers::page::{HeaderFields, MessageHeaders},
    },
    error::StoreError,
    ids::{AccountId, EmailNumber, MailboxId, ModSeq, Uid},
    mailbox::{
        live::LiveMailbox,
        view::{Access, Changes, Copied, ListedMessage, MailboxState, MailboxView, MessageRow},
    },
    store::Store,
    summary::Summary,
};
use tokio::sync::watch;

/// Where a name stands.
#[derive(Debug)]
pub(super) enum Place<'n> {
    /// In the account itself.
    Own,
    /// In an account that may be read, under the name there.
    Shared(SharedAccount, &'n str),
}

/// An account that another may read.
#[derive(Debug)]
pub(super) struct SharedAccount {
    address: String,
    account: Account,
}

/// The accounts that `reader` may read.
pub(super) async fn of(store: &Store, reader: &Account) -> Result<Vec<SharedAccount>, StoreError> {
    let mut shared = Vec::new();
    for id in reader.granted().await? {
        let account = match store.account(id).await {
            Err(StoreError::NoSuchAccount(_)) => continue,
            found => found?,
        };
        shared.push(SharedAccount { address: account.settings().await?.address, account });
    }
    Ok(shared)
}

/// Finds where `name` stands in the tree of `reader`.
pub(super) async fn place<'n>(
    store: &Store,
    reader: &Account,
    name: &'n str,
) -> Result<Place<'n>, StoreError> {
    if !is_of_others(name) {
        return Ok(Place::Own);
    }
    let below = name.strip_prefix(OTHER_USERS).and_then(|rest| rest.strip_prefix('/'));
    if let Some((address, inside)) = below.and_then(|rest| rest.split_once('/')) {
        let mut shared = of(store, reader).await?.into_iter();
        if let Some(found) = shared.find(|shared| shared.address.eq_ignore_ascii_case(address)) {
            return Ok(Place::Shared(found, inside));
        }
    }
    // A mailbox of the account's own may be called so since before there was anything to share.
    Ok(Place::Own)
}

/// Changes of `reader` and of the accounts `shared` with it, as one.
pub(super) fn changes(reader: &Account, shared: &[SharedAccount]) -> watch::Receiver<u64> {
    if shared.is_empty() {
        return reader.changes();
    }
    let (told, changes) = watch::channel(0);
    let told = Arc::new(told);
    for account in shared.iter().map(|shared| &shared.account).chain([reader]) {
        let (mut source, told) = (account.changes(), Arc::clone(&told));
        // With the last handle on an account its changes end: one stays with whoever listens.
        let open = account.clone();
        tokio::spawn(async move {
            let _open = open;
            loop {
                tokio::select! {
                    change = source.changed() => match change {
                        Ok(()) => told.send_modify(|count| *count += 1),
                        Err(_) => return,
                    },
                    () = told.closed() => return,
                }
            }
        });
    }
    changes
}

impl SharedAccount {
    /// Adds the account's mailboxes to `entries`, and the names above them.
    pub(super) async fn list(
        &self,
        entries: &mut BTreeMap<String, MailboxEntry>,
    ) -> Result<(), StoreError> {
        let base = format!("{OTHER_USERS}/{}", self.address);
        let mut names = BTreeMap::from([(OTHER_USERS.to_owned(), None), (base.clone(), None)]);
        for listed in self.account.mailboxes().await? {
            // What the other account only subscribes to is its own affair.
            let Some(state) = listed.state else { continue };
            let name = format!("{base}/{}", listed.name);
            for (end, _) in name.match_indices('/') {
                names.entry(name[..end].to_owned()).or_insert(None);
            }
            names.insert(name, Some(state));
        }
        for (name, state) in names {
            let subscribed = entries.get(&name).is_some_and(|own| own.subscribed);
            let found = entries.entry(name.clone()).or_insert(MailboxEntry {
                name,
                mailbox_id: None,
                subscribed,
                special_use: None,
                read_only: true,
                state: None,
            });
            if state.is_some() {
                found.mailbox_id = state.as_ref().map(|state| state.mailbox_id);
                found.state = state;
                found.read_only = true;
            }
        }
        Ok(())
    }

    /// Opens the mailbox that is called `name` there, for `reader`.
    pub(super) async fn open(
        &self,
        reader: &Account,
        name: &str,
    ) -> Result<Arc<dyn MailboxView>, StoreError> {
        let mailbox = self.account.mailbox_by_name(name).await?;
        Ok(Arc::new(SharedMailbox { reader: reader.clone(), mailbox }))
    }

    /// What is noted about the mailbox that is called `name` there.
    pub(super) async fn annotations(&self, name: &str) -> Result<Vec<(String, Bytes)>, StoreError> {
        let id = self.account.mailbox_by_name(name).await?.id();
        self.account.annotations(Some(id)).await
    }
}

/// A mailbox of another account.
#[derive(Debug)]
struct SharedMailbox {
    reader: Account,
    mailbox: Arc<LiveMailbox>,
}

impl SharedMailbox {
    fn account(&self) -> AccountId {
        self.mailbox.account().id()
    }

    /// The mailbox, as long as it may be read.
    async fn granted(&self) -> Result<&LiveMailbox, StoreError> {
        if self.reader.granted().await?.contains(&self.account()) {
            return Ok(&self.mailbox);
        }
        Err(StoreError::NoSuchMailbox { account: self.account(), mailbox: self.mailbox.id() })
    }
}

#[async_trait::async_trait]
impl MailboxView for SharedMailbox {
    fn access(&self) -> Access {
        Access::ReadOnly
    }

    fn other_account(&self) -> Option<AccountId> {
        Some(self.account())
    }

    async fn state(&self) -> Result<MailboxState, StoreError> {
        self.granted().await?.state().await
    }

    async fn rows(&self) -> Result<(ModSeq, Vec<MessageRow>), StoreError> {
        self.granted().await?.rows().await
    }

    async fn list(&self) -> Result<(ModSeq, Vec<ListedMessage>), StoreError> {
        self.granted().await?.list().await
    }

    async fn changes_since(&self, since: ModSeq) -> Result<Changes, StoreError> {
        self.granted().await?.changes_since(since).await
    }

    async fn claim_recent(&self) -> Result<Option<Uid>, StoreError> {
        Ok(self.state().await?.recent_from)
    }

    async fn summary(&self, email_number: EmailNumber) -> Result<Arc<Summary>, StoreError> {
        self.granted().await?.summary(email_number).await
    }

    async fn erased(&self) -> Result<BTreeSet<EmailNumber>, StoreError> {
        MailboxView::erased(self.granted().await?).await
    }

    async fn headers(
        &self,
        email_numbers: &[EmailNumber],
        fields: HeaderFields,
    ) -> Result<Vec<Option<MessageHeaders>>, StoreError> {
        MailboxView::headers(self.granted().await?, email_numbers, fields).await
    }

    async fn read(
        &self,
        email_number: EmailNumber,
        range: Range<u64>,
    ) -> Result<Bytes, StoreError> {
        self.granted().await?.read(email_number, range).await
    }

    async fn copy(&self, _: &[Uid], _: MailboxId) -> Result<Copied, StoreError> {
        Err(StoreError::OtherAccount)
    }
}
