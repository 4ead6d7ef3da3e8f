//! One account in memory, behind the same traits as the real store.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use protocols::{
    access::{
        AccountUse, AppendAttributes, AppendSink, Authenticator, Identity, LoginError, MailAccess,
        MailAccount, MailboxEntry, Protocol, ResourceUse, SNAPSHOTS, ScramKeys, SpecialUse,
        is_of_others, snapshot_of,
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

pub(crate) use super::handle::OneAccount;
use super::message::summarize;

pub(crate) const ADDRESS: &str = "anna.rossi@pec.example";
pub(crate) const PASSWORD: &str = "ceralacca \"1\"";

/// The time of every test: 17 July 1996, 09:44:25 UTC.
pub(crate) const NOW: UnixMillis = UnixMillis(837_596_665_000);

pub(super) const ACCOUNT: AccountId = AccountId(1);

#[derive(Clone, Debug)]
pub(super) struct Mailbox {
    /// Unlike the number, its own among mailboxes of all accounts.
    pub(super) key: u32,
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
    pub(super) read_only: bool,
    /// The snapshot that shows it.
    pub(super) snapshot: Option<u64>,
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
    pub(super) messages: HashMap<EmailNumber, (Bytes, Arc<Summary>)>,
    pub(super) mod_seq: u64,
    counter: u32,
    pub(super) limit: Option<u64>,
    /// How long the store takes for octets that are appended.
    pub(super) stall: Duration,
    /// Messages from this octet on cannot be read.
    pub(super) damaged_from: Option<u64>,
    pub(super) erased: BTreeSet<EmailNumber>,
    /// What another session sets right behind the next change of flags: mailbox, UID, flags.
    pub(super) flags_next: Option<(String, u32, Flags)>,
}

impl Tree {
    /// The instants of the snapshots.
    pub(super) fn instants(&self) -> BTreeSet<String> {
        let shown = self.mailboxes.iter().filter(|(_, mailbox)| mailbox.snapshot.is_some());
        let instants = shown.filter_map(|(name, _)| snapshot_of(name));
        instants.map(|(instant, _)| instant.to_owned()).collect()
    }
}

/// An account and everything that may be done to it from outside a session.
#[derive(Debug)]
pub(crate) struct MemoryAccount {
    tree: Mutex<Tree>,
    pub(super) changes: watch::Sender<u64>,
    pub(crate) reads: AtomicU64,
    /// How often the whole tree was listed.
    pub(crate) lists: AtomicU64,
    /// How often a mailbox was opened, or its annotations were read.
    pub(crate) opened: AtomicU64,
    pub(crate) summaries: AtomicU64,
    pub(crate) appended_octets: AtomicU64,
    /// Milliseconds that each message takes.
    pace: AtomicU64,
    /// So many of the next looks for changes fail.
    pub(crate) changes_failing: AtomicU64,
    /// So many of the next summaries cannot be read.
    pub(crate) summaries_failing: AtomicU64,
}

/// Fails once where that is still to happen.
pub(super) fn fail(failing: &AtomicU64) -> Result<(), StoreError> {
    let left = failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    if left.is_ok() { Err(StoreError::Conflict) } else { Ok(()) }
}

impl MemoryAccount {
    /// An account with an empty INBOX.
    pub(crate) fn new() -> Arc<Self> {
        let account = Self {
            tree: Mutex::default(),
            changes: watch::channel(0).0,
            reads: AtomicU64::new(0),
            lists: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            summaries: AtomicU64::new(0),
            appended_octets: AtomicU64::new(0),
            pace: AtomicU64::new(0),
            changes_failing: AtomicU64::new(0),
            summaries_failing: AtomicU64::new(0),
        };
        account.make("INBOX");
        Arc::new(account)
    }

    pub(super) fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap()
    }

    /// Makes reading, copying and appending take so long, each message.
    pub(crate) fn set_pace(&self, pace: Duration) {
        self.pace.store(u64::try_from(pace.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Takes the time for `messages`.
    pub(super) async fn take_time(&self, messages: usize) {
        let pace = Duration::from_millis(self.pace.load(Ordering::SeqCst));
        if !pace.is_zero() {
            tokio::time::sleep(pace * u32::try_from(messages).unwrap()).await;
        }
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
                key: number,
                id: MailboxId(number.into()),
                uid_validity: UidValidity(number.try_into().unwrap()),
                uid_next: 1,
                recent_from: 1,
                rows: Vec::new(),
                expunged: Vec::new(),
                expunge_floor,
                keeps_mod_seq: true,
                read_only: false,
                snapshot: None,
            },
        );
        if name == "Inviati" {
            tree.special_uses.insert(MailboxId(number.into()), SpecialUse::Sent);
        }
    }

    /// Makes a mailbox of another account that has the number and UIDVALIDITY of one of its own.
    pub(crate) fn make_shared(&self, name: &str, as_own: &str) {
        self.make(name);
        let mut tree = self.tree();
        let own = &tree.mailboxes[as_own];
        let (id, uid_validity) = (own.id, own.uid_validity);
        let shared = tree.mailboxes.get_mut(name).unwrap();
        (shared.id, shared.uid_validity) = (id, uid_validity);
    }

    /// Makes a mailbox that only a snapshot would have.
    pub(crate) fn make_read_only(&self, name: &str) {
        self.tree().mailboxes.get_mut(name).unwrap().read_only = true;
    }

    /// Takes a snapshot: the account's own mailboxes as they are, below the name of an instant.
    pub(crate) fn take_snapshot(&self, instant: &str) {
        let mut tree = self.tree();
        let number = tree.instants().len() as u64 + 1;
        let mod_seq = ModSeq(tree.mod_seq);
        let own = tree.mailboxes.iter().filter(|(name, mailbox)| {
            !mailbox.read_only && mailbox.snapshot.is_none() && !is_of_others(name)
        });
        let own: Vec<(String, Mailbox)> =
            own.map(|(name, mailbox)| (name.clone(), mailbox.clone())).collect();
        for (name, mut mailbox) in own {
            tree.counter += 1;
            mailbox.key = tree.counter;
            (mailbox.read_only, mailbox.snapshot) = (true, Some(number));
            (mailbox.expunge_floor, mailbox.expunged) = (mod_seq, Vec::new());
            for row in &mut mailbox.rows {
                row.mod_seq = mod_seq;
            }
            tree.mailboxes.insert(format!("{SNAPSHOTS}/{instant}/{name}"), mailbox);
        }
        drop(tree);
        self.announce();
    }

    /// Lets a snapshot expire.
    pub(crate) fn expire(&self, instant: &str) {
        let gone = format!("{SNAPSHOTS}/{instant}/");
        self.tree().mailboxes.retain(|name, _| !name.starts_with(&gone));
        self.announce();
    }

    /// Puts a mailbox under another name, which its owner may do.
    pub(crate) fn move_away(&self, from: &str, to: &str) {
        let mut tree = self.tree();
        let mailbox = tree.mailboxes.remove(from).unwrap();
        tree.mailboxes.insert(to.to_owned(), mailbox);
        drop(tree);
        self.announce();
    }

    /// Gives all messages of INBOX to another mailbox, which is empty.
    pub(super) fn empty_inbox(&self, to: &str) {
        let mut tree = self.tree();
        tree.mod_seq += 1;
        let mod_seq = ModSeq(tree.mod_seq);
        let inbox = tree.mailboxes.get_mut("INBOX").unwrap();
        let mut rows = std::mem::take(&mut inbox.rows);
        inbox.expunged.extend(rows.iter().map(|row| (mod_seq, row.uid)));
        let to = tree.mailboxes.get_mut(to).unwrap();
        for row in &mut rows {
            (row.uid, row.mod_seq) = (Uid::new(to.uid_next).unwrap(), mod_seq);
            to.uid_next += 1;
        }
        to.rows = rows;
    }

    /// Makes an operator log in, with other accounts and their space.
    pub(crate) fn make_operator(&self, spaces: &[(&str, u64)]) {
        let spaces = spaces.iter().map(|(address, octets)| ((*address).to_owned(), *octets));
        self.tree().spaces = Some(spaces.collect());
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

    pub(crate) fn set_stall(&self, stall: Duration) {
        self.tree().stall = stall;
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
            origin: None,
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

    /// Changes flags as another session would, right behind the next change of flags.
    pub(crate) fn flag_next(&self, name: &str, uid: u32, flags: Flags) {
        self.tree().flags_next = Some((name.to_owned(), uid, flags));
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
        let mut rows = tree.mailboxes.values().flat_map(|mailbox| &mailbox.rows);
        if !rows.any(|other| other.email_number == row.email_number) {
            tree.messages.remove(&row.email_number);
        }
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
