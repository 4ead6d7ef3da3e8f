//! One account in memory, behind the same traits as the real store.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use protocols::{
    access::{Authenticator, Identity, LoginError, Protocol, ScramKeys, SpecialUse, is_of_others},
    sasl::scram::ScramVerifier,
};
use storage::{
    error::StoreError,
    ids::{AccountId, EmailNumber, MailboxId, ModSeq, Uid, UidValidity},
    mailbox::{
        flags::{FlagChange, Flags},
        view::{Access, Changes, Copied, MailboxState, MailboxView, MessageRow},
    },
    summary::{Envelope, Summary},
};
use tokio::sync::watch;
use trust::{clock::UnixMillis, digest::Sha256Digest};

pub(crate) use super::handle::OneAccount;
use super::message::summarize;

pub(crate) const ADDRESS: &str = "anna.rossi@pec.example";
pub(crate) const PASSWORD: &str = "ceralacca \"1\"";

/// The time of every test: 17 July 1996, 09:44:25 UTC.
pub(crate) const NOW: UnixMillis = UnixMillis(837_596_665_000);

pub(super) const ACCOUNT: AccountId = AccountId(1);

#[derive(Debug)]
pub(super) struct Mailbox {
    pub(super) id: MailboxId,
    uid_validity: UidValidity,
    uid_next: u32,
    recent_from: u32,
    pub(super) rows: Vec<MessageRow>,
    expunged: Vec<(ModSeq, Uid)>,
    pub(super) read_only: bool,
}

#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) mailboxes: BTreeMap<String, Mailbox>,
    pub(super) subscribed: BTreeSet<String>,
    pub(super) special_uses: BTreeMap<MailboxId, SpecialUse>,
    /// By mailbox, 0 for the server, and entry.
    pub(super) annotations: BTreeMap<(MailboxId, String), Vec<u8>>,
    /// The space of other accounts, when an operator is logged in.
    pub(super) spaces: Option<BTreeMap<String, u64>>,
    messages: HashMap<EmailNumber, (Bytes, Arc<Summary>)>,
    mod_seq: u64,
    counter: u32,
    pub(super) limit: Option<u64>,
    /// Messages from this octet on cannot be read.
    damaged_from: Option<u64>,
    erased: BTreeSet<EmailNumber>,
}

/// An account and everything that may be done to it from outside a session.
#[derive(Debug)]
pub(crate) struct MemoryAccount {
    tree: Mutex<Tree>,
    pub(super) changes: watch::Sender<u64>,
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
                read_only: false,
            },
        );
        if name == "Inviati" {
            tree.special_uses.insert(MailboxId(number.into()), SpecialUse::Sent);
        }
    }

    /// Makes an operator log in, with other accounts and their space.
    pub(crate) fn make_operator(&self, spaces: &[(&str, u64)]) {
        let spaces = spaces.iter().map(|(address, octets)| ((*address).to_owned(), *octets));
        self.tree().spaces = Some(spaces.collect());
    }

    /// Makes a mailbox that only a snapshot would have.
    pub(crate) fn make_read_only(&self, name: &str) {
        self.tree().mailboxes.get_mut(name).unwrap().read_only = true;
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

    pub(super) fn add(
        &self,
        name: &str,
        octets: &[u8],
        flags: Flags,
        date: UnixMillis,
    ) -> (UidValidity, Uid) {
        let mut tree = self.tree();
        tree.mod_seq += 1;
        let mod_seq = ModSeq(tree.mod_seq);
        let email_number = EmailNumber(tree.messages.len() as u64 + 1);
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

pub(super) fn missing(name: &str) -> StoreError {
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

#[derive(Debug)]
pub(super) struct MemoryView {
    pub(super) account: Arc<MemoryAccount>,
    pub(super) id: MailboxId,
    pub(super) access: Access,
}

impl MemoryView {
    fn with<T>(
        &self,
        act: impl FnOnce(&mut Mailbox, &mut u64) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut tree = self.account.tree();
        let Tree { mailboxes, mod_seq, .. } = &mut *tree;
        let mailbox = mailboxes
            .values_mut()
            .find(|mailbox| mailbox.id == self.id)
            .ok_or(StoreError::NoSuchMailbox { account: ACCOUNT, mailbox: self.id })?;
        act(mailbox, mod_seq)
    }

    fn writable(&self) -> Result<(), StoreError> {
        if self.access == Access::ReadOnly { Err(StoreError::ReadOnly) } else { Ok(()) }
    }

    fn gone(email_number: EmailNumber) -> StoreError {
        StoreError::NoSuchMessage { account: ACCOUNT, email_number }
    }

    fn transfer(&self, uids: &[Uid], to: MailboxId, remove: bool) -> Result<Copied, StoreError> {
        let rows: Vec<MessageRow> = self.with(|mailbox, _| {
            Ok(mailbox.rows.iter().filter(|row| uids.contains(&row.uid)).cloned().collect())
        })?;
        let mut tree = self.account.tree();
        tree.mod_seq += 1;
        let mod_seq = ModSeq(tree.mod_seq);
        let destination = tree
            .mailboxes
            .values_mut()
            .find(|mailbox| mailbox.id == to)
            .ok_or(StoreError::NoSuchMailbox { account: ACCOUNT, mailbox: to })?;
        let mut copied = Vec::new();
        for row in rows {
            let uid = Uid::new(destination.uid_next).unwrap();
            destination.uid_next += 1;
            copied.push((row.uid, uid));
            destination.rows.push(MessageRow { uid, mod_seq, ..row });
        }
        let uid_validity = destination.uid_validity;
        drop(tree);
        if remove {
            self.with(|mailbox, _| {
                mailbox.rows.retain(|row| !uids.contains(&row.uid));
                mailbox.expunged.extend(copied.iter().map(|(from, _)| (mod_seq, *from)));
                Ok(())
            })?;
        }
        self.account.announce();
        Ok(Copied { uid_validity, uids: copied })
    }
}

#[async_trait::async_trait]
impl MailboxView for MemoryView {
    fn access(&self) -> Access {
        self.access
    }

    fn other_account(&self) -> Option<AccountId> {
        let tree = self.account.tree();
        let mut mailboxes = tree.mailboxes.iter();
        let found = mailboxes.find(|(_, mailbox)| mailbox.id == self.id);
        found.filter(|(name, _)| is_of_others(name)).map(|_| AccountId(9))
    }

    async fn state(&self) -> Result<MailboxState, StoreError> {
        self.with(|mailbox, mod_seq| {
            let count = |test: fn(&Flags) -> bool| {
                mailbox.rows.iter().filter(|row| test(&row.flags)).count() as u64
            };
            Ok(MailboxState {
                mailbox_id: mailbox.id,
                uid_validity: mailbox.uid_validity,
                uid_next: Uid::new(mailbox.uid_next),
                recent_from: Uid::new(mailbox.recent_from),
                highest_mod_seq: ModSeq(*mod_seq),
                exists: mailbox.rows.len() as u64,
                unseen: count(|flags| !flags.seen),
                deleted: count(|flags| flags.deleted),
                octets: mailbox.rows.iter().map(|row| row.size).sum(),
            })
        })
    }

    async fn rows(&self) -> Result<(ModSeq, Vec<MessageRow>), StoreError> {
        self.with(|mailbox, mod_seq| Ok((ModSeq(*mod_seq), mailbox.rows.clone())))
    }

    async fn changes_since(&self, since: ModSeq) -> Result<Changes, StoreError> {
        self.with(|mailbox, mod_seq| {
            let rows = mailbox.rows.iter().filter(|row| row.mod_seq > since);
            let mut expunged: Vec<Uid> = mailbox
                .expunged
                .iter()
                .filter(|(mod_seq, _)| *mod_seq > since)
                .map(|(_, uid)| *uid)
                .collect();
            expunged.sort_unstable();
            Ok(Changes {
                up_to: ModSeq(*mod_seq),
                changed: rows.cloned().collect(),
                expunged,
                incomplete: false,
            })
        })
    }

    async fn claim_recent(&self) -> Result<Option<Uid>, StoreError> {
        self.with(|mailbox, _| {
            let from = mailbox.recent_from;
            if self.access == Access::ReadWrite {
                mailbox.recent_from = mailbox.uid_next;
            }
            Ok(Uid::new(from))
        })
    }

    async fn summary(&self, email_number: EmailNumber) -> Result<Arc<Summary>, StoreError> {
        self.account.summaries.fetch_add(1, Ordering::SeqCst);
        let tree = self.account.tree();
        let message = tree.messages.get(&email_number);
        message.map(|message| Arc::clone(&message.1)).ok_or_else(|| Self::gone(email_number))
    }

    async fn erased(&self) -> Result<BTreeSet<EmailNumber>, StoreError> {
        Ok(self.account.tree().erased.clone())
    }

    async fn read(
        &self,
        email_number: EmailNumber,
        range: Range<u64>,
    ) -> Result<Bytes, StoreError> {
        self.account.reads.fetch_add(1, Ordering::SeqCst);
        let tree = self.account.tree();
        if tree.erased.contains(&email_number) {
            return Err(StoreError::Erased { object: "message".to_owned(), at: NOW });
        }
        if tree.damaged_from.is_some_and(|from| range.start >= from) {
            return Err(StoreError::Damaged {
                object: "pack".to_owned(),
                detail: "test".to_owned(),
            });
        }
        let (octets, _) =
            tree.messages.get(&email_number).ok_or_else(|| Self::gone(email_number))?;
        let start = usize::try_from(range.start).unwrap().min(octets.len());
        let end = usize::try_from(range.end).unwrap().min(octets.len()).min(start + 64 * 1024);
        Ok(octets.slice(start..end.max(start)))
    }

    async fn store_flags(
        &self,
        uids: &[Uid],
        change: FlagChange,
        flags: &Flags,
        _unchanged_since: Option<ModSeq>,
    ) -> Result<(Vec<MessageRow>, Vec<Uid>), StoreError> {
        self.writable()?;
        let rows = self.with(|mailbox, mod_seq| {
            *mod_seq += 1;
            let named = mailbox.rows.iter_mut().filter(|row| uids.contains(&row.uid));
            Ok(named
                .map(|row| {
                    row.flags.apply(change, flags);
                    row.mod_seq = ModSeq(*mod_seq);
                    row.clone()
                })
                .collect())
        })?;
        self.account.announce();
        Ok((rows, Vec::new()))
    }

    async fn expunge(&self, uids: &[Uid]) -> Result<Vec<Uid>, StoreError> {
        self.writable()?;
        let gone = self.with(|mailbox, mod_seq| {
            *mod_seq += 1;
            let goes = |row: &MessageRow| uids.contains(&row.uid) && row.flags.deleted;
            let gone: Vec<Uid> =
                mailbox.rows.iter().filter(|row| goes(row)).map(|row| row.uid).collect();
            mailbox.rows.retain(|row| !goes(row));
            mailbox.expunged.extend(gone.iter().map(|uid| (ModSeq(*mod_seq), *uid)));
            Ok(gone)
        })?;
        self.account.announce();
        Ok(gone)
    }

    async fn copy(&self, uids: &[Uid], destination: MailboxId) -> Result<Copied, StoreError> {
        self.transfer(uids, destination, false)
    }

    async fn move_to(&self, uids: &[Uid], destination: MailboxId) -> Result<Copied, StoreError> {
        self.writable()?;
        self.transfer(uids, destination, true)
    }
}
