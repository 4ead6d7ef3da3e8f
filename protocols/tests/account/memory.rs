//! One account in memory, behind the same traits as the real store.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use protocols::{
    access::{
        AccountUse, AppendAttributes, AppendSink, Authenticator, Identity, LoginError, MailAccess,
        MailAccount, MailboxEntry, Protocol, ResourceUse, ScramKeys, SpecialUse,
    },
    sasl::scram::ScramVerifier,
};
use storage::{
    error::StoreError,
    ids::{AccountId, EmailNumber, MailboxId, ModSeq, Uid, UidValidity},
    mailbox::{
        append::Replaced,
        flags::Flags,
        view::{Access, MailboxState, MailboxView, MessageRow},
    },
    summary::{Envelope, Summary},
};
use tokio::sync::watch;
use trust::{clock::UnixMillis, digest::Sha256Digest};

use super::{message::summarize, view::MemoryView};

pub(crate) const ADDRESS: &str = "anna.rossi@pec.example";
pub(crate) const PASSWORD: &str = "ceralacca \"1\"";

/// The time of every test: 17 July 1996, 09:44:25 UTC.
pub(crate) const NOW: UnixMillis = UnixMillis(837_596_665_000);

pub(super) const ACCOUNT: AccountId = AccountId(1);

#[derive(Debug)]
pub(super) struct Mailbox {
    pub(super) id: MailboxId,
    pub(super) uid_validity: UidValidity,
    pub(super) uid_next: u32,
    pub(super) recent_from: u32,
    pub(super) rows: Vec<MessageRow>,
    pub(super) expunged: Vec<(ModSeq, Uid)>,
    /// What was expunged up to here is forgotten.
    pub(super) expunge_floor: ModSeq,
    /// Whether it keeps modification sequences.
    pub(super) keeps_mod_seq: bool,
    read_only: bool,
}

#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) mailboxes: BTreeMap<String, Mailbox>,
    subscribed: BTreeSet<String>,
    pub(super) messages: HashMap<EmailNumber, (Bytes, Arc<Summary>)>,
    pub(super) mod_seq: u64,
    counter: u32,
    limit: Option<u64>,
    /// Messages from this octet on cannot be read.
    pub(super) damaged_from: Option<u64>,
    pub(super) erased: BTreeSet<EmailNumber>,
}

/// An account and everything that may be done to it from outside a session.
#[derive(Debug)]
pub(crate) struct MemoryAccount {
    tree: Mutex<Tree>,
    changes: watch::Sender<u64>,
    pub(crate) reads: AtomicU64,
    pub(crate) summaries: AtomicU64,
    pub(crate) appended_octets: AtomicU64,
}

impl MemoryAccount {
    /// An account with an empty INBOX.
    pub(crate) fn new() -> Arc<Self> {
        let account = Self {
            tree: Mutex::default(),
            changes: watch::channel(0).0,
            reads: AtomicU64::new(0),
            summaries: AtomicU64::new(0),
            appended_octets: AtomicU64::new(0),
        };
        account.make("INBOX");
        Arc::new(account)
    }

    pub(super) fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap()
    }

    pub(super) fn announce(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    pub(crate) fn make(&self, name: &str) {
        let mut tree = self.tree();
        tree.counter += 1;
        tree.mod_seq += 1;
        let expunge_floor = ModSeq(tree.mod_seq);
        let number = tree.counter;
        tree.mailboxes.insert(
            name.to_owned(),
            Mailbox {
                id: MailboxId(number.into()),
                uid_validity: UidValidity(number.try_into().unwrap()),
                uid_next: 1,
                recent_from: 1,
                rows: Vec::new(),
                expunged: Vec::new(),
                expunge_floor,
                keeps_mod_seq: true,
                read_only: false,
            },
        );
    }

    /// Makes a mailbox that only a snapshot would have.
    pub(crate) fn make_read_only(&self, name: &str) {
        self.tree().mailboxes.get_mut(name).unwrap().read_only = true;
    }

    /// Makes a mailbox that keeps no modification sequences.
    pub(crate) fn make_without_mod_seq(&self, name: &str) {
        self.make(name);
        self.tree().mailboxes.get_mut(name).unwrap().keeps_mod_seq = false;
    }

    /// Forgets which messages were expunged so far.
    pub(crate) fn forget_expunged(&self, name: &str) {
        let mut tree = self.tree();
        let floor = ModSeq(tree.mod_seq);
        let mailbox = tree.mailboxes.get_mut(name).unwrap();
        mailbox.expunged.clear();
        mailbox.expunge_floor = floor;
    }

    /// HIGHESTMODSEQ.
    pub(crate) fn mod_seq(&self) -> u64 {
        self.tree().mod_seq
    }

    pub(crate) fn set_limit(&self, octets: u64) {
        self.tree().limit = Some(octets);
    }

    /// Erases a message, as the store does: its row stays.
    pub(crate) fn erase(&self, number: u64) {
        let mut tree = self.tree();
        let number = EmailNumber(number);
        let (octets, summary) = tree.messages.get_mut(&number).unwrap();
        *octets = Bytes::new();
        let subject = Some(b"[Messaggio cancellato / Message erased]".to_vec());
        let envelope = Envelope { subject, ..Envelope::default() };
        *summary = Arc::new(Summary::of_erased(summary.size, envelope));
        tree.erased.insert(number);
    }

    pub(crate) fn damage_from(&self, octet: u64) {
        self.tree().damaged_from = Some(octet);
    }

    /// Adds a message as a delivery would.
    pub(crate) fn deliver(&self, name: &str, octets: &[u8]) -> Uid {
        self.add(name, octets, Flags::default(), NOW).1
    }

    fn add(&self, name: &str, octets: &[u8], flags: Flags, date: UnixMillis) -> (UidValidity, Uid) {
        let mut tree = self.tree();
        tree.mod_seq += 1;
        let mod_seq = ModSeq(tree.mod_seq);
        let last = tree.messages.keys().map(|number| number.0).max();
        let email_number = EmailNumber(last.unwrap_or(0) + 1);
        let summary = Arc::new(summarize(octets));
        tree.messages.insert(email_number, (Bytes::copy_from_slice(octets), summary));
        let mailbox = tree.mailboxes.get_mut(name).unwrap();
        let uid = Uid::new(mailbox.uid_next).unwrap();
        mailbox.uid_next += 1;
        mailbox.rows.push(MessageRow {
            uid,
            email_number,
            flags,
            mod_seq,
            internal_date: date,
            save_date: NOW,
            size: octets.len() as u64,
            charged_octets: octets.len() as u64,
            digest: Sha256Digest::of(octets),
        });
        let added = (mailbox.uid_validity, uid);
        drop(tree);
        self.announce();
        added
    }

    /// Changes flags as another session would.
    pub(crate) fn flag(&self, name: &str, uid: u32, flags: Flags) {
        let mut tree = self.tree();
        tree.mod_seq += 1;
        let mod_seq = ModSeq(tree.mod_seq);
        let mailbox = tree.mailboxes.get_mut(name).unwrap();
        let row = mailbox.rows.iter_mut().find(|row| row.uid.get() == uid).unwrap();
        row.flags = flags;
        row.mod_seq = mod_seq;
        drop(tree);
        self.announce();
    }

    /// Expunges as another session would.
    pub(crate) fn expunge(&self, name: &str, uid: u32) {
        let mut tree = self.tree();
        tree.mod_seq += 1;
        let mod_seq = ModSeq(tree.mod_seq);
        let mailbox = tree.mailboxes.get_mut(name).unwrap();
        let index = mailbox.rows.iter().position(|row| row.uid.get() == uid).unwrap();
        let row = mailbox.rows.remove(index);
        mailbox.expunged.push((mod_seq, row.uid));
        tree.messages.remove(&row.email_number);
        drop(tree);
        self.announce();
    }

    /// The messages of a mailbox: UID, flags, octets.
    pub(crate) fn messages(&self, name: &str) -> Vec<(u32, Flags, Bytes)> {
        let tree = self.tree();
        tree.mailboxes[name]
            .rows
            .iter()
            .map(|row| {
                let octets = tree.messages[&row.email_number].0.clone();
                (row.uid.get(), row.flags.clone(), octets)
            })
            .collect()
    }

    pub(crate) fn internal_dates(&self, name: &str) -> Vec<UnixMillis> {
        self.tree().mailboxes[name].rows.iter().map(|row| row.internal_date).collect()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.tree().mailboxes.keys().cloned().collect()
    }
}

fn missing(name: &str) -> StoreError {
    StoreError::NoSuchMailboxName(name.to_owned())
}

/// Knows one login.
#[derive(Debug)]
pub(crate) struct OneLogin;

#[async_trait::async_trait]
impl Authenticator for OneLogin {
    async fn verify_password(
        &self,
        _protocol: Protocol,
        _peer: IpAddr,
        login: &str,
        password: &str,
    ) -> Result<Identity, LoginError> {
        if login == "bloccata@pec.example" {
            return Err(LoginError::Blocked);
        }
        if login != ADDRESS || password != PASSWORD {
            return Err(LoginError::BadCredentials);
        }
        Ok(Identity { account_id: ACCOUNT, address: ADDRESS.to_owned() })
    }

    async fn scram_keys(
        &self,
        _protocol: Protocol,
        _peer: IpAddr,
        login: &str,
    ) -> Result<ScramKeys, LoginError> {
        let password = PASSWORD.as_bytes();
        let mut verifier = ScramVerifier::derive(password, b"salt of a test", 4_096).unwrap();
        if login != ADDRESS {
            verifier.stored_key = [0; 32];
        }
        Ok(ScramKeys { verifier, nonce: "3rfcNHYJY1ZVvWVs7j".to_owned() })
    }

    async fn scram_settled(
        &self,
        _protocol: Protocol,
        _peer: IpAddr,
        login: &str,
        _verifier: &ScramVerifier,
        proven: bool,
    ) -> Result<Identity, LoginError> {
        let identity = Identity { account_id: ACCOUNT, address: login.to_owned() };
        if proven { Ok(identity) } else { Err(LoginError::BadCredentials) }
    }
}

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
        let tree = self.0.tree();
        let mut names: BTreeSet<String> = tree.subscribed.clone();
        for name in tree.mailboxes.keys() {
            names.insert(name.clone());
            names.extend(name.match_indices('/').map(|(end, _)| name[..end].to_owned()));
        }
        Ok(names
            .into_iter()
            .map(|name| MailboxEntry {
                mailbox_id: tree.mailboxes.get(&name).map(|mailbox| mailbox.id),
                subscribed: tree.subscribed.contains(&name),
                special_use: (name == "Inviata").then_some(SpecialUse::Sent),
                read_only: tree.mailboxes.get(&name).is_some_and(|mailbox| mailbox.read_only),
                name,
            })
            .collect())
    }

    async fn open(&self, name: &str) -> Result<Arc<dyn MailboxView>, StoreError> {
        let tree = self.0.tree();
        let mailbox = tree.mailboxes.get(name).ok_or_else(|| missing(name))?;
        let access = if mailbox.read_only { Access::ReadOnly } else { Access::ReadWrite };
        Ok(Arc::new(MemoryView { account: Arc::clone(&self.0), id: mailbox.id, access }))
    }

    async fn status(&self, name: &str) -> Result<MailboxState, StoreError> {
        self.open(name).await?.state().await
    }

    async fn create(&self, name: &str) -> Result<MailboxId, StoreError> {
        if self.0.tree().mailboxes.contains_key(name) {
            return Err(StoreError::MailboxExists(name.to_owned()));
        }
        self.0.make(name);
        Ok(self.0.tree().mailboxes[name].id)
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
        let mailbox = tree.mailboxes.remove(from).ok_or_else(|| missing(from))?;
        tree.mailboxes.insert(to.to_owned(), mailbox);
        Ok(())
    }

    async fn subscribe(&self, name: &str, subscribed: bool) -> Result<(), StoreError> {
        let mut tree = self.0.tree();
        if subscribed {
            tree.subscribed.insert(name.to_owned());
        } else {
            tree.subscribed.remove(name);
        }
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
        let rows = || tree.mailboxes.values().flat_map(|mailbox| &mailbox.rows);
        let of = |used, limit| ResourceUse { used, limit };
        Ok(AccountUse {
            octets: of(rows().map(|row| row.charged_octets).sum(), tree.limit),
            messages: of(rows().count() as u64, None),
            mailboxes: of(tree.mailboxes.len() as u64, Some(10)),
        })
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
        let limit = self.account.tree().limit;
        if let Some(limit) = limit.filter(|limit| size.is_some_and(|size| size > *limit)) {
            return Err(StoreError::OverQuota { resource: "octets", used: 0, limit });
        }
        self.messages.push((attributes, Vec::new()));
        Ok(())
    }

    async fn write(&mut self, octets: &[u8]) -> Result<(), StoreError> {
        self.account.appended_octets.fetch_add(octets.len() as u64, Ordering::SeqCst);
        self.messages.last_mut().unwrap().1.extend_from_slice(octets);
        Ok(())
    }

    async fn finish(
        self: Box<Self>,
        replaced: Option<Replaced>,
    ) -> Result<(UidValidity, Vec<Uid>), StoreError> {
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
