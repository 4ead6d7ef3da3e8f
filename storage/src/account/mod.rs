//! Accounts: one certified mailbox ("casella") each, with its tree of mailboxes, usage and events.
//!
//! [`Account`] is a cheap handle. Every change goes through the account's queue ([`queue`]), which
//! merges what waits into one batch; reads see the committed state.
//!
//! * [`settings`]: state and limits, as the registry gave them.
//! * [`tree`], [`name`]: mailboxes and their names.
//! * [`quota`]: usage, exact at every instant. [`tier`]: live mail and archive, each with its own.
//! * [`annotations`]: what is noted about mailboxes. [`grants`]: whose mailboxes may be read.
//! * [`erase`]: takes the octets of a message away and leaves its place.
//! * [`headers`]: what is searched for in messages, many messages at once.
//! * [`draft`]: the next state of an account while changes are worked out.
//!
//! Not here: rows (`mailbox`), passwords and owners (the registry).

pub(crate) mod annotations;
pub mod capture;
pub(crate) mod draft;
pub mod erase;
pub mod grants;
pub mod headers;
pub mod name;
pub(crate) mod queue;
pub mod quota;
pub mod settings;
pub mod tier;
pub mod to_capture;
pub mod tree;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use tokio::sync::watch;
use trust::clock::UnixMillis;

use self::{
    annotations::Annotate,
    erase::{EraseMessage, EraseRequest},
    grants::ChangeGrant,
    headers::page::{HeaderFields, MessageHeaders},
    name::{INBOX, MailboxName},
    queue::AccountQueue,
    quota::{Quota, QuotaWarning},
    settings::AccountSettings,
    tree::{
        CreateMailbox, DeleteMailbox, Doomed, RenameMailbox, SetSpecialUse, SpecialUse, Subscribe,
    },
};
use crate::{
    catalog::{
        engine::{Batch, Entries, Family, Reader, Scan},
        keys,
        pages::Pages,
        records::{
            self, AccountRecord, HeadRecord, IndexRecord, MailboxRecord, SubscriptionsRecord,
        },
    },
    error::StoreError,
    ids::{AccountId, EmailNumber, MailboxId},
    mailbox::{
        append::{Append, AppendAll, AppendRequest, Appended, Replaced},
        expunge::TrimExpungeLog,
        live::{self, LiveMailbox},
        restore::{self, RestoreRows, Restored},
        view::MailboxState,
    },
    octets::{Erased, StoredMessage},
    store::StoreCore,
    summary::Summary,
};

/// Entries read at once.
const PAGE: usize = 1_000;

/// A handle on one account.
#[derive(Clone, Debug)]
pub struct Account {
    pub(crate) core: Arc<StoreCore>,
    pub(crate) queue: Arc<AccountQueue>,
    id: AccountId,
}

/// One name of an account's tree.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MailboxListing {
    /// The full name.
    pub name: String,
    /// The mailbox; `None` for a name that only stands above others, or that is only subscribed
    /// to.
    pub mailbox_id: Option<MailboxId>,
    /// Whether the account subscribes to the name.
    pub subscribed: bool,
    /// What the mailbox is for.
    pub special_use: Option<SpecialUse>,
    /// The mailbox's counters, of the same instant as all the listing.
    pub state: Option<MailboxState>,
    /// When a rename took the mailbox out of the archive, if one did.
    pub live_since: Option<UnixMillis>,
}

impl Account {
    pub(crate) fn new(core: Arc<StoreCore>, queue: Arc<AccountQueue>, id: AccountId) -> Self {
        Self { core, queue, id }
    }

    /// Its identifier.
    pub fn id(&self) -> AccountId {
        self.id
    }

    /// Returns the present settings. [`StoreError::NoSuchAccount`].
    pub async fn settings(&self) -> Result<AccountSettings, StoreError> {
        let key = keys::account(self.id);
        let record = read::<AccountRecord>(&*self.core.engine, keys::ACCOUNTS, &key).await?;
        let record = record.ok_or(StoreError::NoSuchAccount(self.id))?;
        AccountSettings::of_record(self.id, record)
    }

    /// Returns usage and limit, of one instant.
    pub async fn quota(&self) -> Result<Quota, StoreError> {
        let key = keys::account(self.id);
        let asked = [(keys::ACCOUNT_HEADS, key.clone()), (keys::ACCOUNTS, key.clone())];
        let values = self.core.engine.multi_get(&asked).await?;
        let [Some(head), Some(settings)] = values.as_slice() else {
            return Err(StoreError::NoSuchAccount(self.id));
        };
        let head: HeadRecord = records::decode(keys::ACCOUNT_HEADS, &key, head)?;
        let settings: AccountRecord = records::decode(keys::ACCOUNTS, &key, settings)?;
        let mailboxes_max = self.core.limits.mailboxes_per_account_max;
        Ok(Quota::of(&head, &settings, mailboxes_max))
    }

    /// Says whether `warning` is still to be passed on: usage has not fallen again, and no later
    /// warning of this account says more.
    pub async fn warning_stands(&self, warning: &QuotaWarning) -> Result<bool, StoreError> {
        quota::stands(&*self.core.engine, warning).await
    }

    /// Returns a receiver that is marked changed after every committed change of the account. Its
    /// value is the account's last MODSEQ, 0 before the first change that this process sees.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.queue.changes()
    }

    /// Returns every name, INBOX first, then by name: mailboxes, names that only stand above
    /// others, and names that are only subscribed to.
    pub async fn mailboxes(&self) -> Result<Vec<MailboxListing>, StoreError> {
        let snapshot = self.core.engine.snapshot().await?;
        let key = keys::account(self.id);
        if snapshot.get(keys::ACCOUNT_HEADS, &key).await?.is_none() {
            return Err(StoreError::NoSuchAccount(self.id));
        }
        let names = scan_all(&*snapshot, Scan::prefix(keys::MAILBOX_NAMES, &key, PAGE)).await?;
        let mut listing = BTreeMap::new();
        let kept = scan_all(&*snapshot, Scan::prefix(keys::MAILBOXES, &key, PAGE)).await?;
        let kept: BTreeMap<&Bytes, &Bytes> = kept.iter().map(|(key, value)| (key, value)).collect();
        for (key, value) in &names {
            let (name, id) = tree::name_at(key, value)?;
            let key = keys::mailbox(self.id, id);
            let record = kept.get(&key).ok_or_else(|| {
                records::damaged(keys::MAILBOXES, &key, "its name has no mailbox".to_owned())
            })?;
            let record: MailboxRecord = records::decode(keys::MAILBOXES, &key, record)?;
            let state = live::state_of(self.id, id, &record)?;
            let special_use = SpecialUse::of_number(record.special_use);
            let live_since = Some(UnixMillis(record.live_since)).filter(|at| at.0 != 0);
            listing.insert(name, (Some(state), special_use, live_since));
        }
        let key = keys::account(self.id);
        let subscriptions: Option<SubscriptionsRecord> =
            read(&*snapshot, keys::SUBSCRIPTIONS, &key).await?;
        let subscribed: BTreeSet<String> =
            subscriptions.unwrap_or_default().names.into_iter().collect();
        for name in &subscribed {
            listing.entry(name.clone()).or_insert((None, None, None));
        }
        let mailboxes: Vec<String> = listing.keys().cloned().collect();
        for name in mailboxes {
            for above in MailboxName::new(&name)?.above() {
                listing.entry(above.to_string()).or_insert((None, None, None));
            }
        }
        let mut listing: Vec<MailboxListing> = listing
            .into_iter()
            .map(|(name, (state, special_use, live_since))| MailboxListing {
                subscribed: subscribed.contains(&name),
                name,
                mailbox_id: state.as_ref().map(|state| state.mailbox_id),
                special_use,
                state,
                live_since,
            })
            .collect();
        listing.sort_by_key(|entry| entry.name != INBOX);
        Ok(listing)
    }

    /// Opens a mailbox. [`StoreError::NoSuchMailbox`].
    pub async fn mailbox(&self, id: MailboxId) -> Result<Arc<LiveMailbox>, StoreError> {
        let mailbox = Arc::new(LiveMailbox::new(self.clone(), id));
        mailbox.record(&*self.core.engine).await?;
        Ok(mailbox)
    }

    /// Opens the mailbox called `name`. [`StoreError::NoSuchMailboxName`].
    pub async fn mailbox_by_name(&self, name: &str) -> Result<Arc<LiveMailbox>, StoreError> {
        // A text that cannot be a name is one that no mailbox has.
        let no_such = || StoreError::NoSuchMailboxName(name.to_owned());
        let name = MailboxName::new(name).map_err(|_| no_such())?;
        let key = keys::mailbox_name(self.id, name.as_str());
        let index = read::<IndexRecord>(&*self.core.engine, keys::MAILBOX_NAMES, &key).await?;
        self.mailbox(MailboxId(index.ok_or_else(no_such)?.id)).await
    }

    /// Creates a mailbox and what is missing above it. [`StoreError::MailboxExists`],
    /// [`StoreError::InvalidMailboxName`], [`StoreError::OverQuota`] of `mailboxes`.
    pub async fn create_mailbox(
        &self,
        name: &str,
        special_use: Option<SpecialUse>,
    ) -> Result<MailboxId, StoreError> {
        let name = MailboxName::new(name)?;
        let create = CreateMailbox { name, special_use, subscribed: false };
        self.queue.submit(&self.core, create).await
    }

    /// As [`Account::create_mailbox`], and subscribes to all that it makes, in the same batch: clients that
    /// show only what is subscribed to show it. Subscriptions for which there is no room are left out.
    pub async fn create_subscribed(
        &self,
        name: &str,
        special_use: Option<SpecialUse>,
    ) -> Result<MailboxId, StoreError> {
        let name = MailboxName::new(name)?;
        let create = CreateMailbox { name, special_use, subscribed: true };
        self.queue.submit(&self.core, create).await
    }

    /// Deletes a mailbox with its messages; mailboxes below it stay.
    /// [`StoreError::ProtectedMailbox`] for INBOX, [`StoreError::NoSuchMailboxName`].
    pub async fn delete_mailbox(&self, name: &str) -> Result<(), StoreError> {
        let name = MailboxName::new(name)?;
        self.delete(Doomed::Named(name)).await
    }

    pub(crate) async fn delete(&self, doomed: Doomed) -> Result<(), StoreError> {
        let mut doomed = doomed;
        while let Some(rest) = self.queue.submit(&self.core, DeleteMailbox(doomed)).await? {
            doomed = Doomed::Unnamed(rest);
        }
        Ok(())
    }

    /// Renames a mailbox and everything below it; from INBOX only the messages go.
    /// [`StoreError::NoSuchMailboxName`], [`StoreError::MailboxExists`].
    pub async fn rename_mailbox(&self, from: &str, to: &str) -> Result<(), StoreError> {
        let (from, to) = (MailboxName::new(from)?, MailboxName::new(to)?);
        self.queue.submit(&self.core, RenameMailbox { from, to }).await
    }

    /// Subscribes to a name, or ends that. The name need not exist.
    pub async fn subscribe(&self, name: &str, subscribed: bool) -> Result<(), StoreError> {
        let name = MailboxName::new(name)?;
        self.queue.submit(&self.core, Subscribe { name, subscribed }).await
    }

    /// Says what a mailbox is for; the mailbox that had that use before loses it.
    pub async fn set_special_use(
        &self,
        mailbox: MailboxId,
        special_use: Option<SpecialUse>,
    ) -> Result<(), StoreError> {
        self.queue.submit(&self.core, SetSpecialUse { mailbox, special_use }).await
    }

    /// Returns what is noted about a mailbox, or with `None` about the account, by name.
    pub async fn annotations(
        &self,
        mailbox: Option<MailboxId>,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        annotations::read(&*self.core.engine, self.id, mailbox).await
    }

    /// Notes values about a mailbox, or with `None` about the account; forgets entries whose value
    /// is `None`. All or nothing, durably. [`StoreError::NoSuchMailbox`],
    /// [`StoreError::AnnotationTooLarge`], [`StoreError::TooManyAnnotations`],
    /// [`StoreError::OverQuota`] of `annotation octets`.
    pub async fn annotate(
        &self,
        mailbox: Option<MailboxId>,
        changes: Vec<(String, Option<Bytes>)>,
    ) -> Result<(), StoreError> {
        self.queue.submit(&self.core, Annotate { mailbox, changes }).await
    }

    /// Returns the accounts that this one may read besides itself, ascending.
    pub async fn granted(&self) -> Result<Vec<AccountId>, StoreError> {
        grants::read(&*self.core.engine, self.id).await
    }

    /// Lets this account read `read`, or ends that. Says whether anything changed; `also` is
    /// applied in the same batch, and only if so. [`StoreError::LimitExceeded`].
    pub async fn grant(
        &self,
        read: AccountId,
        granted: bool,
        also: Batch,
    ) -> Result<bool, StoreError> {
        self.queue.submit(&self.core, ChangeGrant { read, granted, also }).await
    }

    /// Appends a message durably. [`StoreError::NoSuchMailbox`], [`StoreError::OverQuota`],
    /// [`StoreError::Conflict`] when a condition of `request.also` fails; on every error nothing
    /// is applied.
    pub async fn append(&self, request: AppendRequest<'_>) -> Result<Appended, StoreError> {
        self.queue.submit(&self.core, Append::new(request)).await
    }

    /// Appends messages durably, all of them or none, in the order given, and returns where they stand;
    /// with `replaced`, that message goes in the same batch. [`StoreError::NoSuchUid`] when it is gone
    /// already; otherwise as [`Account::append`].
    pub async fn append_all(
        &self,
        requests: Vec<AppendRequest<'_>>,
        replaced: Option<Replaced>,
    ) -> Result<Vec<Appended>, StoreError> {
        let appends = requests.into_iter().map(Append::new).collect();
        self.queue.submit(&self.core, AppendAll { appends, replaced }).await
    }

    /// Brings rows that a snapshot shows back, all of them or none, under new UIDs; messages that
    /// departed come back under new numbers. [`StoreError::NoSuchMailbox`],
    /// [`StoreError::NoSuchMessage`] when no snapshot holds one any more, [`StoreError::Erased`],
    /// [`StoreError::OverQuota`], [`StoreError::LimitExceeded`], [`StoreError::Conflict`] when a
    /// condition of `request.also` fails.
    pub async fn restore_rows(&self, request: RestoreRows) -> Result<Restored, StoreError> {
        self.queue.submit(&self.core, request).await
    }

    /// Which of `email_numbers` have a row, in any mailbox. As many look-ups as there are snapshots, and
    /// no row is read.
    pub async fn standing(
        &self,
        email_numbers: &BTreeSet<EmailNumber>,
    ) -> Result<BTreeSet<EmailNumber>, StoreError> {
        let reader = self.core.engine.snapshot().await?;
        restore::standing(&*reader, self.id, email_numbers).await
    }

    /// Erases a message durably: its octets can be read no more, its rows stay.
    /// [`StoreError::NoSuchMessage`], [`StoreError::Erased`] when it was erased before,
    /// [`StoreError::Conflict`] when a condition of `request.also` fails; on every error nothing is
    /// changed.
    pub async fn erase(&self, request: EraseRequest) -> Result<Erased, StoreError> {
        let erased = self.queue.submit(&self.core, EraseMessage(request)).await?;
        self.queue.forget_messages();
        Ok(erased)
    }

    /// Returns the messages whose octets were erased.
    pub async fn erased(&self) -> Result<BTreeSet<EmailNumber>, StoreError> {
        erase::erased_messages(&*self.core.engine, self.id).await
    }

    /// Returns what a message is rebuilt from. [`StoreError::NoSuchMessage`],
    /// [`StoreError::Erased`].
    pub async fn stored(&self, email_number: EmailNumber) -> Result<StoredMessage, StoreError> {
        let octets = self.message_value(keys::MESSAGES, email_number).await?;
        StoredMessage::decode(&octets, || message_name(self.id, email_number))
    }

    /// Returns what was parsed once from a message. [`StoreError::NoSuchMessage`].
    pub async fn summary(&self, email_number: EmailNumber) -> Result<Arc<Summary>, StoreError> {
        let octets = self.message_value(keys::SUMMARIES, email_number).await?;
        Summary::decode(&octets, || message_name(self.id, email_number)).map(Arc::new)
    }

    /// Returns what is searched for in the headers of messages, with the texts of `fields` alone,
    /// in the order asked; `None` for one that is gone. A message that went lately may still be answered.
    pub async fn headers(
        &self,
        email_numbers: &[EmailNumber],
        fields: HeaderFields,
    ) -> Result<Vec<Option<MessageHeaders>>, StoreError> {
        Ok(headers::read::headers(self, email_numbers, fields).await?.0)
    }

    async fn message_value(
        &self,
        family: Family,
        email_number: EmailNumber,
    ) -> Result<Bytes, StoreError> {
        let key = keys::message(self.id, email_number);
        let octets = self.core.engine.get(family, &key).await?;
        octets.ok_or(StoreError::NoSuchMessage { account: self.id, email_number })
    }

    /// Forgets what was expunged from a mailbox before `before`. Clients that were last here
    /// earlier get [`Changes::incomplete`](crate::mailbox::view::Changes::incomplete).
    pub async fn trim_expunge_log(
        &self,
        mailbox: MailboxId,
        before: UnixMillis,
    ) -> Result<(), StoreError> {
        while self.queue.submit(&self.core, TrimExpungeLog { mailbox, before }).await? {}
        Ok(())
    }
}

/// A message as errors name it.
pub(crate) fn message_name(account: AccountId, email_number: EmailNumber) -> String {
    format!("message {email_number} of account {account}")
}

/// Reads and decodes one record.
pub(crate) async fn read<M: prost::Message + Default>(
    reader: &(impl Reader + ?Sized),
    family: Family,
    key: &[u8],
) -> Result<Option<M>, StoreError> {
    let octets = reader.get(family, key).await?;
    octets.map(|octets| records::decode(family, key, &octets)).transpose()
}

/// Reads everything from `scan.start` to `scan.end`, `scan.limit` entries at a time. Only for
/// ranges whose number of entries is bounded.
pub(crate) async fn scan_all(
    reader: &(impl Reader + ?Sized),
    scan: Scan,
) -> Result<Entries, StoreError> {
    let (mut pages, mut entries) = (Pages::new(scan), Entries::new());
    while let Some(page) = pages.next(reader).await? {
        entries.extend(page);
    }
    Ok(entries)
}

/// The first key after `key`.
pub(crate) fn after(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}
