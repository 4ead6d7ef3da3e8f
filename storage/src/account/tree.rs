//! The tree of an account's mailboxes: create, delete, rename, subscribe, special use.
//!
//! * INBOX always exists. Renaming it gives its messages away and leaves it empty
//!   (RFC 9051 §6.3.6); it cannot be deleted.
//! * A name has at most one mailbox, a mailbox exactly one name; MailboxIds and UIDVALIDITY values
//!   are never reused, so a mailbox deleted and created again is another one.
//! * A mailbox is deleted in steps when it is large: first its name goes, then its rows, a bounded
//!   number in each batch. Usage falls with the rows. A crash between leaves a mailbox without a
//!   name, which [`DeleteMailbox`] finishes when it is run again.
//! * A mailbox belongs to the tier that its name says (`tier`): a rename across the border moves its
//!   usage in the same batch, and is refused when there is no room. Out of the archive, the record notes
//!   when, for those who ask how long its rows have been live.
//! * Subscriptions are names, not mailboxes (RFC 9051 §6.3.7), and outlive them.

use super::{
    annotations,
    draft::Draft,
    name::{INBOX, MailboxName},
    queue::Change,
    quota,
    tier::{ARCHIVE, Tier},
};
use crate::{
    catalog::{
        keys,
        records::{IndexRecord, MailboxRecord, SubscriptionsRecord},
    },
    error::StoreError,
    ids::MailboxId,
    mailbox::{
        copy::too_many_rows,
        rows::{self, OpenMailbox},
    },
};

/// What a mailbox is for (RFC 6154 §2).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SpecialUse {
    /// `\Archive`
    Archive,
    /// `\Drafts`
    Drafts,
    /// `\Junk`
    Junk,
    /// `\Sent`
    Sent,
    /// `\Trash`
    Trash,
}

impl SpecialUse {
    /// The attribute of RFC 6154 §2: `\Sent`.
    #[must_use]
    pub fn attribute(self) -> &'static str {
        match self {
            Self::Archive => "\\Archive",
            Self::Drafts => "\\Drafts",
            Self::Junk => "\\Junk",
            Self::Sent => "\\Sent",
            Self::Trash => "\\Trash",
        }
    }

    pub(crate) fn number(this: Option<Self>) -> u32 {
        match this {
            None => 0,
            Some(Self::Archive) => 1,
            Some(Self::Drafts) => 2,
            Some(Self::Junk) => 3,
            Some(Self::Sent) => 4,
            Some(Self::Trash) => 5,
        }
    }

    /// The use with that number; unknown ones, written by a newer program, count as none.
    pub(crate) fn of_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Archive),
            2 => Some(Self::Drafts),
            3 => Some(Self::Junk),
            4 => Some(Self::Sent),
            5 => Some(Self::Trash),
            _ => None,
        }
    }
}

/// What every account is created with, subscribed to all of it.
const DEFAULT_MAILBOXES: [(&str, Option<SpecialUse>); 6] = [
    (INBOX, None),
    ("Bozze", Some(SpecialUse::Drafts)),
    ("Inviati", Some(SpecialUse::Sent)),
    (ARCHIVE, Some(SpecialUse::Archive)),
    ("Posta indesiderata", Some(SpecialUse::Junk)),
    ("Cestino", Some(SpecialUse::Trash)),
];

/// Blocks that one step of deleting a mailbox removes.
const BLOCKS_PER_STEP: usize = 64;

/// Creates what every account has from its first day.
pub(crate) fn create_default_mailboxes(draft: &mut Draft<'_>) -> Result<(), StoreError> {
    let mut names = Vec::new();
    for (name, special_use) in DEFAULT_MAILBOXES {
        put_mailbox(draft, &MailboxName::new(name)?, special_use)?;
        names.push(name.to_owned());
    }
    names.sort_unstable();
    let record = SubscriptionsRecord { names };
    draft.put_record(keys::SUBSCRIPTIONS, keys::account(draft.account), &record);
    Ok(())
}

/// The mailbox called `name`.
pub(crate) async fn find(
    draft: &Draft<'_>,
    name: &MailboxName,
) -> Result<Option<MailboxId>, StoreError> {
    let key = keys::mailbox_name(draft.account, name.as_str());
    let index: Option<IndexRecord> = draft.record(keys::MAILBOX_NAMES, &key).await?;
    Ok(index.map(|index| MailboxId(index.id)))
}

async fn find_existing(draft: &Draft<'_>, name: &MailboxName) -> Result<MailboxId, StoreError> {
    match find(draft, name).await? {
        Some(id) => Ok(id),
        None if !draft.exists() => Err(StoreError::NoSuchAccount(draft.account)),
        None => Err(StoreError::NoSuchMailboxName(name.to_string())),
    }
}

/// Gives `name`, which is free, to a new mailbox, within the account's limit of mailboxes.
async fn add_mailbox(
    draft: &mut Draft<'_>,
    name: &MailboxName,
    special_use: Option<SpecialUse>,
) -> Result<MailboxId, StoreError> {
    quota::check_mailbox(draft).await?;
    put_mailbox(draft, name, special_use)
}

/// As [`add_mailbox`], whatever the limit: what an account is created with.
fn put_mailbox(
    draft: &mut Draft<'_>,
    name: &MailboxName,
    special_use: Option<SpecialUse>,
) -> Result<MailboxId, StoreError> {
    draft.head()?.mailboxes += 1;
    let id = draft.take_mailbox_id()?;
    let mod_seq = draft.take_mod_seq()?;
    let record = MailboxRecord {
        name: name.to_string(),
        uid_validity: draft.take_uid_validity()?.0.get(),
        uid_next: 1,
        recent_from: 1,
        highest_mod_seq: mod_seq.0,
        expunge_floor: mod_seq.0,
        special_use: SpecialUse::number(special_use),
        tier: Tier::of_name(name.as_str()).number(),
        ..MailboxRecord::default()
    };
    draft.put_mailbox(id, &record);
    put_name(draft, name, id);
    Ok(id)
}

fn put_name(draft: &mut Draft<'_>, name: &MailboxName, id: MailboxId) {
    let key = keys::mailbox_name(draft.account, name.as_str());
    draft.put_record(keys::MAILBOX_NAMES, key, &IndexRecord { id: id.0 });
}

fn delete_name(draft: &mut Draft<'_>, name: &str) {
    draft.delete(keys::MAILBOX_NAMES, keys::mailbox_name(draft.account, name));
}

/// Creates what is missing above `name` (RFC 9051 §6.3.4), and may subscribe to it.
async fn add_above(
    draft: &mut Draft<'_>,
    name: &MailboxName,
    subscribed: bool,
) -> Result<(), StoreError> {
    for above in name.above() {
        if find(draft, &above).await?.is_none() {
            add_mailbox(draft, &above, None).await?;
            if subscribed {
                subscribe_if_room(draft, &above).await?;
            }
        }
    }
    Ok(())
}

/// The mailbox called `name`; one that is missing is made, with what is missing above it, and
/// subscribed to, so that clients which show only that show it.
pub(crate) async fn find_or_add(
    draft: &mut Draft<'_>,
    name: &MailboxName,
) -> Result<MailboxId, StoreError> {
    if let Some(id) = find(draft, name).await? {
        return Ok(id);
    }
    add_above(draft, name, true).await?;
    let id = add_mailbox(draft, name, None).await?;
    subscribe_if_room(draft, name).await?;
    Ok(id)
}

async fn subscribe_if_room(draft: &mut Draft<'_>, name: &MailboxName) -> Result<(), StoreError> {
    match (Subscribe { name: name.clone(), subscribed: true }).apply(draft).await {
        Err(StoreError::OverQuota { .. }) => Ok(()),
        outcome => outcome,
    }
}

/// CREATE.
pub(crate) struct CreateMailbox {
    pub(crate) name: MailboxName,
    pub(crate) special_use: Option<SpecialUse>,
    /// With a subscription to all that is made, as far as there is room for it.
    pub(crate) subscribed: bool,
}

#[async_trait::async_trait]
impl Change for CreateMailbox {
    type Outcome = MailboxId;

    async fn apply(&self, draft: &mut Draft<'_>) -> Result<MailboxId, StoreError> {
        if find(draft, &self.name).await?.is_some() {
            return Err(StoreError::MailboxExists(self.name.to_string()));
        }
        if let Some(special_use) = self.special_use
            && let Some(other) = with_special_use(draft, special_use).await?
        {
            return Err(StoreError::SpecialUseTaken(other));
        }
        add_above(draft, &self.name, self.subscribed).await?;
        let id = add_mailbox(draft, &self.name, self.special_use).await?;
        if self.subscribed {
            subscribe_if_room(draft, &self.name).await?;
        }
        Ok(id)
    }
}

/// The name of the mailbox that is for `special_use`.
async fn with_special_use(
    draft: &Draft<'_>,
    special_use: SpecialUse,
) -> Result<Option<String>, StoreError> {
    let prefix = keys::account(draft.account);
    let names = draft.scan_prefix(keys::MAILBOX_NAMES, &prefix, usize::MAX).await?;
    for (key, value) in &names {
        let (name, id) = name_at(key, value)?;
        if draft.mailbox(id).await?.special_use == SpecialUse::number(Some(special_use)) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Which mailbox [`DeleteMailbox`] deletes.
#[derive(Clone, Debug)]
pub(crate) enum Doomed {
    /// The one of that name.
    Named(MailboxName),
    /// The one whose name is gone already.
    Unnamed(MailboxId),
}

/// DELETE, one step of it. Returns the mailbox when rows are left: run it again with that.
pub(crate) struct DeleteMailbox(pub(crate) Doomed);

#[async_trait::async_trait]
impl Change for DeleteMailbox {
    type Outcome = Option<MailboxId>;

    async fn apply(&self, draft: &mut Draft<'_>) -> Result<Option<MailboxId>, StoreError> {
        let id = match &self.0 {
            Doomed::Named(name) if name.is_inbox() => {
                return Err(StoreError::ProtectedMailbox(name.to_string()));
            }
            Doomed::Named(name) => find_existing(draft, name).await?,
            Doomed::Unnamed(id) => *id,
        };
        let key = keys::mailbox(draft.account, id);
        let Some(record) = draft.record::<MailboxRecord>(keys::MAILBOXES, &key).await? else {
            return Ok(None);
        };
        let mut mailbox = OpenMailbox { id, record };
        if !mailbox.record.deleting {
            delete_name(draft, &mailbox.record.name);
            annotations::forget(draft, id).await?;
            mailbox.record.deleting = true;
            draft.head()?.mailboxes = draft.head()?.mailboxes.saturating_sub(1);
            let pending = IndexRecord { id: id.0 };
            draft.put_record(keys::MAILBOX_DELETIONS, key.clone(), &pending);
        }
        let step = draft.limits.rows_per_step_max;
        let rows = mailbox.first(draft, step).await?;
        mailbox.expunge(draft, &rows).await?;
        let log = draft.scan_prefix(keys::EXPUNGE_LOG, &key, step).await?;
        // Blocks are long values: fewer at a time.
        let blocks_max = step.min(BLOCKS_PER_STEP);
        let blocks = draft.scan_prefix(keys::MAILBOX_BLOCKS, &key, blocks_max).await?;
        let finished = rows.len() < step && log.len() < step && blocks.len() < blocks_max;
        for (entry, _) in log {
            draft.delete(keys::EXPUNGE_LOG, entry);
        }
        for (block, _) in blocks {
            draft.delete(keys::MAILBOX_BLOCKS, block);
        }
        if !finished {
            mailbox.close(draft);
            return Ok(Some(id));
        }
        draft.delete(keys::MAILBOX_DELETIONS, key.clone());
        draft.delete(keys::MAILBOXES, key);
        Ok(None)
    }
}

/// RENAME.
pub(crate) struct RenameMailbox {
    pub(crate) from: MailboxName,
    pub(crate) to: MailboxName,
}

#[async_trait::async_trait]
impl Change for RenameMailbox {
    type Outcome = ();

    async fn apply(&self, draft: &mut Draft<'_>) -> Result<(), StoreError> {
        if find(draft, &self.to).await?.is_some() {
            return Err(StoreError::MailboxExists(self.to.to_string()));
        }
        if self.from.is_inbox() {
            return self.empty_inbox(draft).await;
        }
        if self.to.as_str().starts_with(&self.from.below_prefix()) {
            return Err(StoreError::InvalidMailboxName {
                name: self.to.to_string(),
                reason: "a mailbox cannot be moved below itself",
            });
        }
        // The mailbox itself may be missing when it only stands above others.
        let mut moved = Vec::new();
        if let Some(id) = find(draft, &self.from).await? {
            moved.push((self.from.to_string(), id));
        }
        moved.extend(self.below(draft).await?);
        if moved.is_empty() {
            find_existing(draft, &self.from).await?;
        }
        add_above(draft, &self.to, false).await?;
        for (name, id) in moved {
            let Some(renamed) = self.from.renamed(&name, &self.to).transpose()? else { continue };
            if find(draft, &renamed).await?.is_some() {
                return Err(StoreError::MailboxExists(renamed.to_string()));
            }
            let mut record = draft.mailbox(id).await?;
            let (left, entered) = (Tier::of(&record), Tier::of_name(renamed.as_str()));
            quota::transfer(draft, (left, entered), record.charged_octets, record.exists).await?;
            record.name = renamed.to_string();
            record.tier = entered.number();
            if (left, entered) == (Tier::Archive, Tier::Live) {
                // Its rows keep their SAVEDATE.
                record.live_since = draft.now.0;
            }
            draft.put_mailbox(id, &record);
            delete_name(draft, &name);
            put_name(draft, &renamed, id);
        }
        // Clients that follow MODSEQs of the account see that something happened.
        draft.take_mod_seq()?;
        Ok(())
    }
}

impl RenameMailbox {
    async fn below(&self, draft: &Draft<'_>) -> Result<Vec<(String, MailboxId)>, StoreError> {
        let prefix = keys::mailbox_name(draft.account, &self.from.below_prefix());
        let entries = draft.scan_prefix(keys::MAILBOX_NAMES, &prefix, usize::MAX).await?;
        entries.iter().map(|(key, value)| name_at(key, value)).collect()
    }

    /// INBOX keeps its identity and its children; its messages go to the new mailbox.
    async fn empty_inbox(&self, draft: &mut Draft<'_>) -> Result<(), StoreError> {
        let id = find_existing(draft, &self.from).await?;
        let mut inbox = OpenMailbox::open(draft, id).await?;
        let limit = draft.limits.rows_per_batch_max;
        if inbox.record.exists > limit as u64 {
            return Err(too_many_rows(limit));
        }
        add_above(draft, &self.to, false).await?;
        let to = add_mailbox(draft, &self.to, None).await?;
        let mut to = OpenMailbox::open(draft, to).await?;
        let rows = inbox.first(draft, usize::MAX).await?;
        let tiers = (inbox.tier(), to.tier());
        quota::transfer(draft, tiers, inbox.record.charged_octets, inbox.record.exists).await?;
        let mod_seq = draft.take_mod_seq()?;
        for row in &rows {
            let origin = inbox.origin_of_moved(row, to.tier());
            rows::copy_row(draft, &mut to, row, mod_seq, origin)?;
            inbox.remove(draft, row)?;
        }
        inbox.log_expunged(draft, &rows)?;
        inbox.close(draft);
        to.close(draft);
        Ok(())
    }
}

/// Reads an entry of `mailbox_names`.
pub(crate) fn name_at(key: &[u8], value: &[u8]) -> Result<(String, MailboxId), StoreError> {
    let mut reader = keys::KeyReader::new(keys::MAILBOX_NAMES, key);
    reader.take_u64()?;
    let name = reader.take_text()?.to_owned();
    let index: IndexRecord = crate::catalog::records::decode(keys::MAILBOX_NAMES, key, value)?;
    Ok((name, MailboxId(index.id)))
}

/// SUBSCRIBE and UNSUBSCRIBE.
pub(crate) struct Subscribe {
    pub(crate) name: MailboxName,
    pub(crate) subscribed: bool,
}

#[async_trait::async_trait]
impl Change for Subscribe {
    type Outcome = ();

    async fn apply(&self, draft: &mut Draft<'_>) -> Result<(), StoreError> {
        draft.head()?;
        let key = keys::account(draft.account);
        let record = draft.record::<SubscriptionsRecord>(keys::SUBSCRIPTIONS, &key).await?;
        let mut names = record.unwrap_or_default().names;
        match (
            names.binary_search_by(|name| name.as_str().cmp(self.name.as_str())),
            self.subscribed,
        ) {
            (Ok(_), true) | (Err(_), false) => return Ok(()),
            (Ok(place), false) => drop(names.remove(place)),
            (Err(place), true) => {
                let limit = draft.limits.mailboxes_per_account_max;
                if names.len() as u64 >= limit {
                    let used = names.len() as u64;
                    return Err(StoreError::OverQuota { resource: "subscriptions", used, limit });
                }
                names.insert(place, self.name.to_string());
            }
        }
        draft.put_record(keys::SUBSCRIPTIONS, key, &SubscriptionsRecord { names });
        Ok(())
    }
}

/// Says what a mailbox is for; at most one mailbox of the account has each use.
pub(crate) struct SetSpecialUse {
    pub(crate) mailbox: MailboxId,
    pub(crate) special_use: Option<SpecialUse>,
}

#[async_trait::async_trait]
impl Change for SetSpecialUse {
    type Outcome = ();

    async fn apply(&self, draft: &mut Draft<'_>) -> Result<(), StoreError> {
        let mut record = draft.mailbox(self.mailbox).await?;
        if let Some(special_use) = self.special_use {
            let prefix = keys::account(draft.account);
            let names = draft.scan_prefix(keys::MAILBOX_NAMES, &prefix, usize::MAX).await?;
            for (key, value) in &names {
                let (_, id) = name_at(key, value)?;
                let mut other = draft.mailbox(id).await?;
                if id != self.mailbox && other.special_use == SpecialUse::number(Some(special_use))
                {
                    other.special_use = 0;
                    draft.put_mailbox(id, &other);
                }
            }
        }
        record.special_use = SpecialUse::number(self.special_use);
        draft.put_mailbox(self.mailbox, &record);
        Ok(())
    }
}
