//! The mail of a holder as IMAP and POP3 see it: the store behind [`MailAccess`].
//!
//! Invariants: a message is appended whole or not at all; octets on their way in are bounded by
//! the limit, and the store spools them (`storage::octets`).
//!
//! Not here: sessions (`protocols`), mailboxes themselves (`storage::account`).

use std::{fmt, sync::Arc};

use protocols::access::{
    AccountUse, AppendAttributes, AppendSink, Identity, MailAccess, MailAccount, MailboxEntry,
    ResourceUse, SpecialUse,
};
use storage::{
    account::{Account, quota::QuotaRule, tree},
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

/// Opens accounts of one store.
#[derive(Debug)]
pub struct StoreMailAccess {
    store: Arc<Store>,
    append_octets_max: u64,
}

impl StoreMailAccess {
    /// Accounts of `store`, into which messages of at most `append_octets_max` are appended.
    pub fn new(store: Arc<Store>, append_octets_max: u64) -> Self {
        Self { store, append_octets_max }
    }
}

#[async_trait::async_trait]
impl MailAccess for StoreMailAccess {
    async fn open(&self, identity: &Identity) -> Result<Arc<dyn MailAccount>, StoreError> {
        let account = self.store.account(identity.account_id).await?;
        let store = Arc::clone(&self.store);
        Ok(Arc::new(LiveMailAccount { store, account, append_octets_max: self.append_octets_max }))
    }
}

/// One account's live mailboxes.
#[derive(Debug)]
struct LiveMailAccount {
    store: Arc<Store>,
    account: Account,
    append_octets_max: u64,
}

#[async_trait::async_trait]
impl MailAccount for LiveMailAccount {
    async fn list(&self) -> Result<Vec<MailboxEntry>, StoreError> {
        let listing = self.account.mailboxes().await?;
        let entry = |listed: storage::account::MailboxListing| MailboxEntry {
            name: listed.name,
            mailbox_id: listed.mailbox_id,
            subscribed: listed.subscribed,
            special_use: listed.special_use.map(special_use),
            read_only: false,
        };
        Ok(listing.into_iter().map(entry).collect())
    }

    async fn open(&self, name: &str) -> Result<Arc<dyn MailboxView>, StoreError> {
        let mailbox = self.account.mailbox_by_name(name).await?;
        Ok(mailbox)
    }

    async fn status(&self, name: &str) -> Result<MailboxState, StoreError> {
        self.account.mailbox_by_name(name).await?.state().await
    }

    async fn create(&self, name: &str) -> Result<MailboxId, StoreError> {
        self.account.create_mailbox(name, None).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.account.delete_mailbox(name).await
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), StoreError> {
        self.account.rename_mailbox(from, to).await
    }

    async fn subscribe(&self, name: &str, subscribed: bool) -> Result<(), StoreError> {
        self.account.subscribe(name, subscribed).await
    }

    async fn append(&self, name: &str) -> Result<Box<dyn AppendSink>, StoreError> {
        let mailbox = self.account.mailbox_by_name(name).await?.id();
        Ok(Box::new(StoreAppend {
            store: Arc::clone(&self.store),
            account: self.account.clone(),
            mailbox,
            octets_max: self.append_octets_max,
            announced: 0,
            current: None,
            messages: Vec::new(),
        }))
    }

    async fn quota(&self) -> Result<AccountUse, StoreError> {
        let quota = self.account.quota().await?;
        let of = |used, limit| ResourceUse { used, limit };
        Ok(AccountUse {
            octets: of(quota.used_octets, quota.limit_octets),
            messages: of(quota.used_messages, quota.limit_messages),
            mailboxes: of(quota.used_mailboxes, Some(quota.limit_mailboxes)),
        })
    }

    fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.account.changes()
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
        let size = size.unwrap_or(0);
        if size > self.octets_max {
            return Err(StoreError::LimitExceeded {
                what: "the message",
                limit: self.octets_max,
                remedy: "reduce its attachments",
            });
        }
        self.announced = self.announced.saturating_add(size);
        let quota = self.account.quota().await?;
        if let Some(limit) = quota.limit_octets
            && quota.used_octets.saturating_add(self.announced) > limit
        {
            let used = quota.used_octets;
            return Err(StoreError::OverQuota { resource: "octets", used, limit });
        }
        self.current = Some((self.store.message_writer(), attributes));
        Ok(())
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
