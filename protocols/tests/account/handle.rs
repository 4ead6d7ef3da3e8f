//! The account in memory as sessions see it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
};

use protocols::access::{
    AccountUse, Annotation, AppendAttributes, AppendSink, Identity, MailAccess, MailAccount,
    MailboxEntry, ResourceUse, SNAPSHOTS, SetQuotaError, SpecialUse, is_of_others,
};
use storage::{
    account::tier::Tier,
    error::StoreError,
    ids::{MailboxId, Uid, UidValidity},
    mailbox::{
        append::Replaced,
        view::{Access, MailboxState, MailboxView},
    },
};
use tokio::sync::watch;

use super::{
    memory::{ACCOUNT, ADDRESS, Mailbox, MemoryAccount, NOW, Tree, missing},
    view::{MemoryView, state_of},
};

/// Gives everybody the one account.
#[derive(Debug)]
pub(crate) struct OneAccount(pub(crate) Arc<MemoryAccount>);

#[derive(Debug)]
struct Handle(Arc<MemoryAccount>);

#[async_trait::async_trait]
impl MailAccess for OneAccount {
    async fn open(&self, _identity: &Identity) -> Result<Arc<dyn MailAccount>, StoreError> {
        Ok(Arc::new(Handle(Arc::clone(&self.0))))
    }
}

#[async_trait::async_trait]
impl MailAccount for Handle {
    async fn list(&self) -> Result<Vec<MailboxEntry>, StoreError> {
        self.0.lists.fetch_add(1, Ordering::SeqCst);
        let tree = self.0.tree();
        let mut names: BTreeSet<String> = BTreeSet::new();
        let live = tree.mailboxes.iter().filter(|(_, mailbox)| mailbox.snapshot.is_none());
        let live: BTreeMap<&String, &Mailbox> = live.collect();
        for name in live.keys().copied().chain(&tree.subscribed) {
            names.insert(name.clone());
            names.extend(name.match_indices('/').map(|(end, _)| name[..end].to_owned()));
        }
        Ok(names
            .into_iter()
            .map(|name| MailboxEntry {
                mailbox_id: live.get(&name).map(|mailbox| mailbox.id),
                subscribed: tree.subscribed.contains(&name),
                special_use: live
                    .get(&name)
                    .and_then(|mailbox| tree.special_uses.get(&mailbox.id).copied()),
                read_only: live.get(&name).is_some_and(|mailbox| mailbox.read_only),
                state: live.get(&name).map(|mailbox| state_of(mailbox)),
                name,
            })
            .collect())
    }

    async fn snapshots(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.0.tree().instants().into_iter().collect())
    }

    async fn list_snapshot(&self, instant: &str) -> Result<Vec<MailboxEntry>, StoreError> {
        self.0.opened.fetch_add(1, Ordering::SeqCst);
        let tree = self.0.tree();
        let below = format!("{SNAPSHOTS}/{instant}/");
        let mut entries = BTreeMap::new();
        for (name, mailbox) in tree.mailboxes.iter().filter(|(name, _)| name.starts_with(&below)) {
            for (end, _) in name.match_indices('/') {
                entries.entry(name[..end].to_owned()).or_insert(None);
            }
            entries.insert(name.clone(), Some(mailbox));
        }
        if entries.is_empty() {
            return Err(missing(&format!("{SNAPSHOTS}/{instant}")));
        }
        let entry = |(name, mailbox): (String, Option<&Mailbox>)| MailboxEntry {
            name,
            mailbox_id: mailbox.map(|mailbox| mailbox.id),
            subscribed: false,
            special_use: None,
            read_only: true,
            state: mailbox.map(state_of),
        };
        Ok(entries.into_iter().map(entry).collect())
    }

    async fn open(&self, name: &str) -> Result<Arc<dyn MailboxView>, StoreError> {
        self.0.opened.fetch_add(1, Ordering::SeqCst);
        let tree = self.0.tree();
        let mailbox = tree.mailboxes.get(name).ok_or_else(|| missing(name))?;
        let access = if mailbox.read_only { Access::ReadOnly } else { Access::ReadWrite };
        Ok(Arc::new(MemoryView { account: Arc::clone(&self.0), key: mailbox.key, access }))
    }

    async fn status(&self, name: &str) -> Result<MailboxState, StoreError> {
        self.open(name).await?.state().await
    }

    async fn create(
        &self,
        name: &str,
        special_use: Option<SpecialUse>,
    ) -> Result<MailboxId, StoreError> {
        if self.0.tree().mailboxes.contains_key(name) {
            return Err(StoreError::MailboxExists(name.to_owned()));
        }
        let taken = |other: &SpecialUse| Some(*other) == special_use;
        if self.0.tree().special_uses.values().any(taken) {
            return Err(StoreError::SpecialUseTaken(name.to_owned()));
        }
        self.0.make(name);
        let id = self.0.tree().mailboxes[name].id;
        if let Some(special_use) = special_use {
            self.0.tree().special_uses.insert(id, special_use);
        }
        self.0.announce();
        Ok(id)
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        if name == "INBOX" {
            return Err(StoreError::ProtectedMailbox(name.to_owned()));
        }
        self.0.tree().mailboxes.remove(name).ok_or_else(|| missing(name))?;
        self.0.announce();
        Ok(())
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), StoreError> {
        let mut tree = self.0.tree();
        if tree.mailboxes.contains_key(to) {
            return Err(StoreError::MailboxExists(to.to_owned()));
        }
        if from == "INBOX" {
            drop(tree);
            self.0.make(to);
            self.0.empty_inbox(to);
            self.0.announce();
            return Ok(());
        }
        let below = format!("{from}/");
        let moved = tree.mailboxes.keys().filter(|name| *name == from || name.starts_with(&below));
        let moved: Vec<String> = moved.cloned().collect();
        if moved.is_empty() {
            return Err(missing(from));
        }
        for name in moved {
            let mailbox = tree.mailboxes.remove(&name).unwrap();
            tree.mailboxes.insert(format!("{to}{}", &name[from.len()..]), mailbox);
        }
        self.0.announce();
        Ok(())
    }

    async fn subscribe(&self, name: &str, subscribed: bool) -> Result<(), StoreError> {
        let mut tree = self.0.tree();
        if subscribed {
            tree.subscribed.insert(name.to_owned());
        } else {
            tree.subscribed.remove(name);
        }
        self.0.announce();
        Ok(())
    }

    async fn append(&self, name: &str) -> Result<Box<dyn AppendSink>, StoreError> {
        let tree = self.0.tree();
        let mailbox = tree.mailboxes.get(name).ok_or_else(|| missing(name))?;
        if mailbox.read_only {
            return Err(StoreError::ReadOnly);
        }
        let (account, name) = (Arc::clone(&self.0), name.to_owned());
        Ok(Box::new(Sink { account, name, messages: Vec::new() }))
    }

    async fn quota(&self) -> Result<AccountUse, StoreError> {
        let tree = self.0.tree();
        let own = || tree.mailboxes.iter().filter(|(_, mailbox)| mailbox.snapshot.is_none());
        let rows = |tier| {
            let of_tier = own().filter(move |(name, _)| Tier::of_name(name) == tier);
            of_tier.flat_map(|(_, mailbox)| &mailbox.rows)
        };
        let octets = |tier| rows(tier).map(|row| row.charged_octets).sum();
        let of = |used, limit| ResourceUse { used, limit };
        Ok(AccountUse {
            octets: of(octets(Tier::Live), tree.limit),
            messages: of(rows(Tier::Live).count() as u64, None),
            mailboxes: of(own().count() as u64, Some(10)),
            archive_octets: of(octets(Tier::Archive), tree.limit.map(|limit| 3 * limit)),
            archive_messages: of(rows(Tier::Archive).count() as u64, None),
        })
    }

    async fn annotations(&self, mailbox: Option<&str>) -> Result<Vec<Annotation>, StoreError> {
        self.0.opened.fetch_add(1, Ordering::SeqCst);
        let tree = self.0.tree();
        let id = place(&tree, mailbox)?;
        let shared_only = mailbox.is_some_and(is_of_others);
        let of_mailbox = tree.annotations.iter().filter(|((place, _), _)| *place == id);
        Ok(of_mailbox
            .filter(|((_, entry), _)| !shared_only || entry.starts_with("/shared/"))
            .map(|((_, entry), value)| Annotation { entry: entry.clone(), value: value.clone() })
            .collect())
    }

    async fn annotate(
        &self,
        mailbox: Option<&str>,
        changes: Vec<(String, Option<Vec<u8>>)>,
    ) -> Result<(), StoreError> {
        let mut tree = self.0.tree();
        let id = place(&tree, mailbox)?;
        let too_large = |(_, value): &(String, Option<Vec<u8>>)| {
            value.as_ref().is_some_and(|value| value.len() > 1_024)
        };
        if changes.iter().any(too_large) {
            return Err(StoreError::AnnotationTooLarge(1_024));
        }
        let mut annotations = tree.annotations.clone();
        for (entry, value) in changes {
            match value {
                Some(value) => annotations.insert((id, entry), value),
                None => annotations.remove(&(id, entry)),
            };
        }
        if annotations.len() > 10 {
            return Err(StoreError::TooManyAnnotations(10));
        }
        tree.annotations = annotations;
        self.0.announce();
        Ok(())
    }

    fn is_operator(&self) -> bool {
        self.0.tree().spaces.is_some()
    }

    async fn quota_of(&self, address: &str) -> Result<AccountUse, SetQuotaError> {
        let tree = self.0.tree();
        let space = tree.spaces.as_ref().and_then(|spaces| spaces.get(address)).copied();
        let limit = space.ok_or_else(|| SetQuotaError::NoSuchAccount(address.to_owned()))?;
        // The archive of each has as much as live mail has.
        let space = ResourceUse { used: 0, limit: Some(limit) };
        Ok(AccountUse { octets: space, archive_octets: space, ..AccountUse::default() })
    }

    async fn set_space(
        &self,
        address: Option<&str>,
        _tier: Tier,
        octets: u64,
    ) -> Result<AccountUse, SetQuotaError> {
        // In steps of 1 GB, as space is bought, and 5 at most.
        let address = address.unwrap_or(ADDRESS);
        if octets > 5 << 30 {
            return Err(SetQuotaError::PlanForbids(address.to_owned()));
        }
        let octets = octets.next_multiple_of(1 << 30);
        self.quota_of(address).await?;
        if let Some(spaces) = &mut self.0.tree().spaces {
            spaces.insert(address.to_owned(), octets);
        }
        self.quota_of(address).await
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }
}

struct Sink {
    account: Arc<MemoryAccount>,
    name: String,
    messages: Vec<(AppendAttributes, Vec<u8>)>,
}

#[async_trait::async_trait]
impl AppendSink for Sink {
    async fn begin(
        &mut self,
        size: Option<u64>,
        attributes: AppendAttributes,
    ) -> Result<(), StoreError> {
        self.expect(size.unwrap_or(0)).await?;
        self.messages.push((attributes, Vec::new()));
        Ok(())
    }

    async fn expect(&mut self, octets: u64) -> Result<(), StoreError> {
        let limit = self.account.tree().limit;
        match limit.filter(|limit| octets > *limit) {
            Some(limit) => Err(StoreError::OverQuota { resource: "octets", used: 0, limit }),
            None => Ok(()),
        }
    }

    async fn write(&mut self, octets: &[u8]) -> Result<(), StoreError> {
        let stall = self.account.tree().stall;
        if !stall.is_zero() {
            tokio::time::sleep(stall).await;
        }
        self.account.appended_octets.fetch_add(octets.len() as u64, Ordering::SeqCst);
        self.messages.last_mut().unwrap().1.extend_from_slice(octets);
        Ok(())
    }

    async fn finish(
        self: Box<Self>,
        replaced: Option<Replaced>,
    ) -> Result<(UidValidity, Vec<Uid>), StoreError> {
        self.account.take_time(self.messages.len()).await;
        if let Some(Replaced { mailbox, uid }) = replaced {
            let name = {
                let tree = self.account.tree();
                let (name, of) = tree.mailboxes.iter().find(|(_, of)| of.id == mailbox).unwrap();
                let there = of.rows.iter().any(|row| row.uid == uid);
                there.then(|| name.clone()).ok_or(StoreError::NoSuchUid {
                    account: ACCOUNT,
                    mailbox,
                    uid,
                })?
            };
            self.account.expunge(&name, uid.get());
        }
        let mut uids = Vec::new();
        let mut uid_validity = self.account.tree().mailboxes[&self.name].uid_validity;
        for (attributes, octets) in self.messages {
            let date = attributes.internal_date.unwrap_or(NOW);
            let (validity, uid) = self.account.add(&self.name, &octets, attributes.flags, date);
            uid_validity = validity;
            uids.push(uid);
        }
        Ok((uid_validity, uids))
    }
}

fn place(tree: &Tree, mailbox: Option<&str>) -> Result<MailboxId, StoreError> {
    let Some(name) = mailbox else { return Ok(MailboxId(0)) };
    let mailbox = tree.mailboxes.get(name).ok_or_else(|| missing(name))?;
    // Nothing is noted about what a snapshot shows.
    Ok(if mailbox.snapshot.is_some() { MailboxId(u64::MAX) } else { mailbox.id })
}
