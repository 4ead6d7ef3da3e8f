//! The mail of a holder as IMAP and POP3 see it: the store behind [`MailAccess`].
//!
//! Invariants: a message is appended whole or not at all; octets on their way in are bounded by
//! the limit, and the store spools them (`storage::octets`).
//!
//! * [`shared`]: mailboxes of other accounts, read-only. * [`instants`]: those that snapshots show, too.
//! * [`requests`]: snapshots that holders ask for. * [`space`]: what operators set.
//!
//! Not here: sessions (`protocols`), mailboxes themselves (`storage::account`).

mod instants;
mod requests;
mod shared;
mod space;

use std::{collections::BTreeMap, fmt, sync::Arc};

use ::snapshots::{keep::Snapshots, run::Runs};
use protocols::access::{
    AccountUse, Annotation, AppendAttributes, AppendSink, Identity, MailAccess, MailAccount,
    MailboxEntry, ResourceUse, SNAPSHOTS, SetQuotaError, SnapshotAsked, SpecialUse, is_of_others,
    is_of_snapshots,
};
use storage::{
    account::{
        Account, MailboxListing,
        name::normalised,
        quota::{Quota, QuotaRule},
        tier::Tier,
        tree,
    },
    catalog::engine::Batch,
    error::StoreError,
    ids::{MailboxId, Uid, UidValidity},
    mailbox::{
        append::{AppendRequest, Replaced},
        view::{MailboxState, MailboxView},
    },
    octets::{MessageWriter, StagedMessage},
    store::Store,
};
use trust::clock::Clock;

use self::{instants::Instants, requests::Requests, shared::Place, space::Operators};
use crate::{
    config::SnapshotSettings,
    registry::{Registry, address::AccountAddress},
};

/// Opens accounts of one store.
#[derive(Debug)]
pub struct StoreMailAccess {
    store: Arc<Store>,
    append_octets_max: u64,
    operators: Option<Arc<Operators>>,
    instants: Option<Arc<Instants>>,
    requests: Option<Arc<Requests>>,
}

impl StoreMailAccess {
    /// Accounts of `store`, into which messages of at most `append_octets_max` are appended.
    pub fn new(store: Arc<Store>, append_octets_max: u64) -> Self {
        Self { store, append_octets_max, operators: None, instants: None, requests: None }
    }

    /// Shows every holder his `snapshots`, of which at most `open_max` are kept open.
    #[must_use]
    pub fn with_snapshots(self, snapshots: Arc<Snapshots>, open_max: usize) -> Self {
        Self { instants: Some(Arc::new(Instants::new(snapshots, open_max))), ..self }
    }

    /// Lets every holder ask for snapshots, as many in a day as his plan allows by `settings`.
    #[must_use]
    pub fn with_requests(
        self,
        runs: Arc<Runs>,
        settings: SnapshotSettings,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { requests: Some(Arc::new(Requests::new(runs, settings, clock))), ..self }
    }

    /// Lets the accounts `operators` set the space of accounts of `registry`.
    #[must_use]
    pub fn with_operators(self, registry: Arc<Registry>, operators: &[AccountAddress]) -> Self {
        let operators = Some(Arc::new(Operators::new(registry, operators)));
        Self { operators, ..self }
    }
}

#[async_trait::async_trait]
impl MailAccess for StoreMailAccess {
    async fn open(&self, identity: &Identity) -> Result<Arc<dyn MailAccount>, StoreError> {
        let account = self.store.account(identity.account_id).await?;
        let shared = shared::of(&self.store, &account).await?;
        let operators =
            self.operators.as_ref().filter(|operators| operators.has(&identity.address));
        Ok(Arc::new(LiveMailAccount {
            store: Arc::clone(&self.store),
            changes: shared::changes(&account, &shared),
            account,
            append_octets_max: self.append_octets_max,
            operators: operators.cloned(),
            instants: self.instants.clone(),
            requests: self.requests.clone(),
            address: identity.address.clone(),
        }))
    }
}

/// One account's live mailboxes.
#[derive(Debug)]
struct LiveMailAccount {
    store: Arc<Store>,
    account: Account,
    append_octets_max: u64,
    /// Changes of the account, and of those that it could read when it was opened.
    changes: tokio::sync::watch::Receiver<u64>,
    /// Set when an operator is logged in.
    operators: Option<Arc<Operators>>,
    /// Set where snapshots are kept.
    instants: Option<Arc<Instants>>,
    /// Set where holders may ask for snapshots.
    requests: Option<Arc<Requests>>,
    address: String,
}

impl LiveMailAccount {
    async fn place<'n>(&self, name: &'n str) -> Result<Place<'n>, StoreError> {
        shared::place(&self.store, &self.account, name).await
    }

    /// The mailbox `name` as a snapshot shows it.
    async fn past(&self, name: &str) -> Result<Option<Arc<dyn MailboxView>>, StoreError> {
        match &self.instants {
            Some(instants) if is_of_snapshots(name) => instants.open(&self.account, name).await,
            _ => Ok(None),
        }
    }
}

#[async_trait::async_trait]
impl MailAccount for LiveMailAccount {
    async fn list(&self) -> Result<Vec<MailboxEntry>, StoreError> {
        let own = self.account.mailboxes().await?.into_iter().map(own_entry);
        let mut entries: BTreeMap<String, MailboxEntry> =
            own.map(|entry| (entry.name.clone(), entry)).collect();
        for shared in shared::of(&self.store, &self.account).await? {
            shared.list(&mut entries).await?;
        }
        let mut entries: Vec<MailboxEntry> = entries.into_values().collect();
        entries.sort_by_key(|entry| entry.name != "INBOX");
        Ok(entries)
    }

    async fn snapshots(&self) -> Result<Vec<String>, StoreError> {
        match &self.instants {
            Some(instants) => instants.names(&self.account).await,
            None => Ok(Vec::new()),
        }
    }

    async fn list_snapshot(&self, instant: &str) -> Result<Vec<MailboxEntry>, StoreError> {
        let listed = match &self.instants {
            Some(instants) => instants.list(&self.account, instant).await?,
            None => None,
        };
        listed.ok_or_else(|| StoreError::NoSuchMailboxName(format!("{SNAPSHOTS}/{instant}")))
    }

    async fn take_snapshot(&self) -> Result<SnapshotAsked, StoreError> {
        match &self.requests {
            Some(requests) => requests.take(&self.account).await,
            None => Err(StoreError::ReadOnly),
        }
    }

    async fn open(&self, name: &str) -> Result<Arc<dyn MailboxView>, StoreError> {
        if let Some(view) = self.past(name).await? {
            return Ok(view);
        }
        let view: Arc<dyn MailboxView> = match self.place(name).await? {
            Place::Own => self.account.mailbox_by_name(name).await?,
            Place::Shared(shared, name) => shared.open(&self.account, name).await?,
        };
        Ok(view)
    }

    async fn status(&self, name: &str) -> Result<MailboxState, StoreError> {
        self.open(name).await?.state().await
    }

    async fn create(
        &self,
        name: &str,
        special_use: Option<SpecialUse>,
    ) -> Result<MailboxId, StoreError> {
        own(name)?;
        self.account.create_mailbox(name, special_use.map(kept_use)).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        own(name)?;
        self.account.delete_mailbox(name).await
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), StoreError> {
        own(from)?;
        own(to)?;
        self.account.rename_mailbox(from, to).await
    }

    async fn subscribe(&self, name: &str, subscribed: bool) -> Result<(), StoreError> {
        self.account.subscribe(name, subscribed).await
    }

    async fn append(&self, name: &str) -> Result<Box<dyn AppendSink>, StoreError> {
        if is_of_snapshots(name) || matches!(self.place(name).await?, Place::Shared(..)) {
            return Err(StoreError::ReadOnly);
        }
        let mailbox = self.account.mailbox_by_name(name).await?.id();
        Ok(Box::new(StoreAppend {
            store: Arc::clone(&self.store),
            account: self.account.clone(),
            mailbox,
            tier: Tier::of_name(&normalised(name)),
            octets_max: self.append_octets_max,
            announced: 0,
            current: None,
            messages: Vec::new(),
        }))
    }

    async fn quota(&self) -> Result<AccountUse, StoreError> {
        Ok(usage(&self.account.quota().await?))
    }

    async fn annotations(&self, mailbox: Option<&str>) -> Result<Vec<Annotation>, StoreError> {
        let Some(name) = mailbox else {
            return Ok(annotations(self.account.annotations(None).await?));
        };
        // What is noted about a mailbox is no part of a snapshot.
        if self.past(name).await?.is_some() {
            return Ok(Vec::new());
        }
        match self.place(name).await? {
            Place::Own => {
                let id = self.account.mailbox_by_name(name).await?.id();
                Ok(annotations(self.account.annotations(Some(id)).await?))
            }
            Place::Shared(shared, name) => {
                let mut found = annotations(shared.annotations(name).await?);
                found.retain(|annotation| annotation.entry.starts_with("/shared/"));
                Ok(found)
            }
        }
    }

    async fn annotate(
        &self,
        mailbox: Option<&str>,
        changes: Vec<(String, Option<Vec<u8>>)>,
    ) -> Result<(), StoreError> {
        let mailbox = match mailbox {
            None => None,
            Some(name) if is_of_snapshots(name) => return Err(StoreError::ReadOnly),
            Some(name) => match self.place(name).await? {
                Place::Own => Some(self.account.mailbox_by_name(name).await?.id()),
                Place::Shared(..) => return Err(StoreError::ReadOnly),
            },
        };
        let changes = changes.into_iter().map(|(entry, value)| (entry, value.map(Into::into)));
        self.account.annotate(mailbox, changes.collect()).await
    }

    fn is_operator(&self) -> bool {
        self.operators.is_some()
    }

    async fn quota_of(&self, address: &str) -> Result<AccountUse, SetQuotaError> {
        let operators = self.operators.as_ref().ok_or(SetQuotaError::NotOperator)?;
        operators.quota_of(&self.store, address).await
    }

    async fn set_space(
        &self,
        address: Option<&str>,
        tier: Tier,
        octets: u64,
    ) -> Result<AccountUse, SetQuotaError> {
        let operators = self.operators.as_ref().ok_or(SetQuotaError::NotOperator)?;
        operators.set_space(&self.store, address.unwrap_or(&self.address), tier, octets).await
    }

    fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.changes.clone()
    }
}

/// Refuses to change what others share or snapshots show, or to put anything in its place.
fn own(name: &str) -> Result<(), StoreError> {
    if is_of_others(name) || is_of_snapshots(name) { Err(StoreError::ReadOnly) } else { Ok(()) }
}

fn own_entry(listed: MailboxListing) -> MailboxEntry {
    MailboxEntry {
        name: listed.name,
        mailbox_id: listed.mailbox_id,
        subscribed: listed.subscribed,
        special_use: listed.special_use.map(special_use),
        read_only: false,
        state: listed.state,
    }
}

fn annotations(found: Vec<(String, bytes::Bytes)>) -> Vec<Annotation> {
    let annotation =
        |(entry, value): (String, bytes::Bytes)| Annotation { entry, value: value.to_vec() };
    found.into_iter().map(annotation).collect()
}

/// Usage and limits as sessions tell them.
fn usage(quota: &Quota) -> AccountUse {
    let of = |used, limit| ResourceUse { used, limit };
    AccountUse {
        octets: of(quota.used_octets, quota.limit_octets),
        messages: of(quota.used_messages, quota.limit_messages),
        mailboxes: of(quota.used_mailboxes, Some(quota.limit_mailboxes)),
        archive_octets: of(quota.archive.used_octets, quota.archive.limit_octets),
        archive_messages: of(quota.archive.used_messages, quota.archive.limit_messages),
    }
}

fn kept_use(special_use: SpecialUse) -> tree::SpecialUse {
    match special_use {
        SpecialUse::Archive => tree::SpecialUse::Archive,
        SpecialUse::Drafts => tree::SpecialUse::Drafts,
        SpecialUse::Junk => tree::SpecialUse::Junk,
        SpecialUse::Sent => tree::SpecialUse::Sent,
        SpecialUse::Trash => tree::SpecialUse::Trash,
    }
}

fn special_use(special_use: tree::SpecialUse) -> SpecialUse {
    match special_use {
        tree::SpecialUse::Archive => SpecialUse::Archive,
        tree::SpecialUse::Drafts => SpecialUse::Drafts,
        tree::SpecialUse::Junk => SpecialUse::Junk,
        tree::SpecialUse::Sent => SpecialUse::Sent,
        tree::SpecialUse::Trash => SpecialUse::Trash,
    }
}

/// Messages being appended.
struct StoreAppend {
    store: Arc<Store>,
    account: Account,
    mailbox: MailboxId,
    tier: Tier,
    octets_max: u64,
    /// Octets of all messages, as announced.
    announced: u64,
    /// The message that is coming.
    current: Option<(MessageWriter, AppendAttributes)>,
    /// Those that are complete.
    messages: Vec<(StagedMessage, AppendAttributes)>,
}

impl fmt::Debug for StoreAppend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("StoreAppend")
            .field("mailbox", &self.mailbox)
            .finish_non_exhaustive()
    }
}

impl StoreAppend {
    async fn end_message(&mut self) -> Result<(), StoreError> {
        if let Some((writer, attributes)) = self.current.take() {
            self.messages.push((writer.finish().await?, attributes));
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl AppendSink for StoreAppend {
    async fn begin(
        &mut self,
        size: Option<u64>,
        attributes: AppendAttributes,
    ) -> Result<(), StoreError> {
        self.end_message().await?;
        if let Some(size) = size {
            self.expect(size).await?;
        }
        self.current = Some((self.store.message_writer(), attributes));
        Ok(())
    }

    async fn expect(&mut self, octets: u64) -> Result<(), StoreError> {
        if octets > self.octets_max {
            return Err(StoreError::LimitExceeded {
                what: "the message",
                limit: self.octets_max,
                remedy: "reduce its attachments",
            });
        }
        self.announced = self.announced.saturating_add(octets);
        let quota = self.account.quota().await?;
        let (resource, used, limit) = match self.tier {
            Tier::Live => ("octets", quota.used_octets, quota.limit_octets),
            Tier::Archive => {
                ("archive octets", quota.archive.used_octets, quota.archive.limit_octets)
            }
        };
        match limit {
            Some(limit) if used.saturating_add(self.announced) > limit => {
                Err(StoreError::OverQuota { resource, used, limit })
            }
            _ => Ok(()),
        }
    }

    async fn write(&mut self, octets: &[u8]) -> Result<(), StoreError> {
        match &mut self.current {
            Some((writer, _)) => writer.write(octets).await,
            None => Ok(()),
        }
    }

    async fn finish(
        mut self: Box<Self>,
        replaced: Option<Replaced>,
    ) -> Result<(UidValidity, Vec<Uid>), StoreError> {
        self.end_message().await?;
        let requests = self.messages.iter().map(|(message, attributes)| AppendRequest {
            mailbox: self.mailbox,
            message,
            flags: attributes.flags.clone(),
            internal_date: attributes.internal_date,
            charged_octets: None,
            quota: QuotaRule::Enforce,
            also: Batch::default(),
        });
        let appended = self.account.append_all(requests.collect(), replaced).await?;
        let uid_validity = match appended.first() {
            Some(first) => first.uid_validity,
            None => self.account.mailbox(self.mailbox).await?.state().await?.uid_validity,
        };
        Ok((uid_validity, appended.into_iter().map(|one| one.uid).collect()))
    }
}
