//! Evidence that a message stood, or did not stand, in a mailbox of a snapshot.
//!
//! A [`Proof`] leads from what was asked to the record of a run, which is signed and time-stamped
//! and trusted for that reason alone. Checking it takes the proof and that record; no store and no
//! secret. Four steps:
//!
//! 1. *presence*: a path of pages from the message's leaf to the root of the mailbox's content tree;
//!    *absence*: the UIDs and digests of all its messages, page by page, from which the same root
//!    follows; or the names of all mailboxes, none of which is the one that was asked for;
//! 2. the state outline, in which that root stands, and attributes with their salt, which say the
//!    mailbox's name; for absence those of every mailbox: no other one has the name;
//! 3. the snapshot's record, which has the StateRoot, and the records that follow it up to the
//!    account's latest in the run;
//! 4. a path of pages from the account's leaf to the root in the run's record.
//!
//! The provider that made the pages may be the liar. So every key stands once in its page, every
//! page says how many rows are below it, and the sums are those of state and run; a name is one that the
//! store would write.
//!
//! Its octets stand in `docs/formats.md`. A proof of presence discloses the UIDs of the messages in the
//! same leaf page and the counts of the mailboxes; one of absence the digests of all messages of
//! the mailbox, if there is one, and the attributes of all mailboxes. Nothing else.
//!
//! Not here: signature and time stamp, the file that carries all (the program's).

mod layout;
mod listing;
mod path;

#[cfg(test)]
pub(crate) mod tests;

use storage::{
    account::name::MailboxName,
    ids::{AccountId, MailboxId, Uid},
};
use trust::{clock::UnixMillis, digest::Sha256Digest};

use crate::{
    error::SnapshotError,
    hash::{SaltKind, Salts, SnapshotSecret, Tag, hash},
    octets::Cursor,
    record::SnapshotRecord,
    run::record::RunRecord,
    state::{MailboxEntry, OutlineEntry, State, StateOutline},
    tree::{
        PageStore, TreeRoot,
        row::{AccountRow, ContentRow},
    },
};
use listing::Listing;
use path::Path;

/// What is asked about a mailbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Asked {
    /// The message with this UID.
    Uid(Uid),
    /// A message with this SHA-256.
    Digest(Sha256Digest),
}

/// Evidence of one fact.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proof {
    /// The mailbox's name that was asked for, as the store writes it.
    name: String,
    asked: Asked,
    evidence: Evidence,
    /// The state outline.
    state: Vec<u8>,
    /// The mailbox, with [`Evidence::Present`]; else all of them.
    mailboxes: Vec<Disclosed>,
    attested: Attested,
}

/// What leads from a snapshot's record to a run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attested {
    /// The snapshot's record, then each one that follows, up to the one in the run's tree.
    records: Vec<SnapshotRecord>,
    /// The account's address in the run's tree.
    address: String,
    path: Path,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Evidence {
    Present { uid: u32, digest: Sha256Digest, rest: Sha256Digest, path: Path },
    Absent(Listing),
    NoMailbox,
}

/// A mailbox's attributes with the salt that their hash needs.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Disclosed {
    mailbox: MailboxId,
    salt: Sha256Digest,
    attributes: Vec<u8>,
}

/// What a good proof shows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proven {
    /// The account.
    pub account: AccountId,
    /// Its address when the run looked at it.
    pub address: String,
    /// When the state was like that.
    pub instant: UnixMillis,
    /// The mailbox's name.
    pub name: String,
    /// The fact.
    pub fact: Fact,
}

/// A fact about a mailbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fact {
    /// The message was in the mailbox.
    Present {
        /// The mailbox.
        mailbox: FactMailbox,
        /// The message's UID.
        uid: u32,
        /// The message's SHA-256.
        digest: Sha256Digest,
    },
    /// No such message was in the mailbox.
    Absent {
        /// The mailbox.
        mailbox: FactMailbox,
        /// Which.
        asked: Asked,
    },
    /// There was no mailbox of that name.
    NoMailbox {
        /// Which message was asked for.
        asked: Asked,
        /// How many mailboxes there were.
        mailboxes: u64,
    },
}

/// The mailbox of a fact.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FactMailbox {
    /// Its number.
    pub id: MailboxId,
    /// Its UIDVALIDITY.
    pub uid_validity: u32,
    /// Messages in it.
    pub messages: u64,
}

/// Why a proof shows nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// Octets follow no known layout.
    #[error("the proof does not hold: its octets follow no known layout")]
    Layout,
    /// A page is not the one that is named above it.
    #[error("the proof does not hold: its pages do not lead from one to the next")]
    Pages,
    /// The pages lead elsewhere than to the mailbox.
    #[error("the proof does not hold: its pages do not lead to the mailbox of the state")]
    Mailbox,
    /// The attributes are not those of the state's mailboxes, or name another one.
    #[error("the proof does not hold: the name is not that of the mailbox in the state")]
    Name,
    /// No mailbox can have the name, or the store writes it in another way.
    #[error(
        "the proof does not hold: the name is none that a mailbox can have, or is written otherwise"
    )]
    InvalidName,
    /// The state is not the record's.
    #[error("the proof does not hold: the state is another than that of the snapshot's record")]
    State,
    /// The records do not follow each other.
    #[error("the proof does not hold: the records of the account do not follow each other")]
    Records,
    /// The record does not stand in the run's tree.
    #[error("the proof does not hold: the account's record does not stand in the tree of the run")]
    Account,
    /// Absence that discloses one of several mailboxes, as before decision 0075.
    #[error(
        "the proof shows nothing: it is of an older form, in which an absence does not disclose every mailbox; have it made anew"
    )]
    OlderForm,
    /// The message is there.
    #[error("the proof does not hold: what it calls absent stands in its list")]
    NotAbsent,
}

/// What proofs of one snapshot are made from.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The pages of the account.
    pub pages: &'a dyn PageStore,
    /// The snapshot's state.
    pub state: &'a State,
    /// The account's secret.
    pub secret: &'a SnapshotSecret,
}

impl std::fmt::Debug for Source<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Source").finish_non_exhaustive()
    }
}

impl Attested {
    /// Leads from `records`, that of the snapshot first, to the account's leaf in the tree of `run`.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::NotPresent`] when the tree has another record of the account.
    pub async fn make(
        pages: &dyn PageStore,
        root: TreeRoot,
        records: Vec<SnapshotRecord>,
    ) -> Result<Self, SnapshotError> {
        let last = records.last().ok_or(SnapshotError::NotPresent)?;
        let salts = AccountRow::salts();
        let (row, path) = Path::make::<AccountRow>(pages, root, &salts, last.account.0)
            .await?
            .filter(|(row, _)| row.record == last.hash())
            .ok_or(SnapshotError::NotPresent)?;
        Ok(Self { records, address: row.address, path })
    }

    /// Checks the records, and that the last one stands in the tree of `run`.
    fn verify(&self, run: &RunRecord) -> Result<&SnapshotRecord, ProofError> {
        let follow = self.records.windows(2).all(|pair| match pair {
            [one, next] => {
                next.previous == Some(one.hash())
                    && next.account == one.account
                    && next.instant >= one.instant
            }
            _ => false,
        });
        let (Some(first), Some(last), true) = (self.records.first(), self.records.last(), follow)
        else {
            return Err(ProofError::Records);
        };
        let row = AccountRow {
            account: last.account,
            record: last.hash(),
            address: self.address.clone(),
        };
        let root = self.path.climb(last.account.0, row.leaf_hash())?;
        let is_of_run = (root.page.id, root.rows) == (run.root, run.accounts);
        if !is_of_run || last.instant > run.closed {
            return Err(ProofError::Account);
        }
        Ok(first)
    }
}

impl Proof {
    /// Proves whether the message that is `asked` for stood in the mailbox called `name`, which is
    /// taken as the store takes names: `inbox` is INBOX.
    ///
    /// # Errors
    ///
    /// `StoreError::InvalidMailboxName` when no mailbox can be called so; what reading the trees brings.
    pub async fn make(
        source: Source<'_>,
        name: &str,
        asked: Asked,
        attested: Attested,
    ) -> Result<Self, SnapshotError> {
        let Source { pages, state, secret } = source;
        let name = MailboxName::new(name)?;
        let name = name.as_str();
        let outline = state.outline(secret)?.0;
        let disclose = |id: &MailboxId, entry: &MailboxEntry| {
            let salt = Salts::new(secret.clone(), *id).salt(SaltKind::Mailbox, id.0);
            Ok(Disclosed { mailbox: *id, salt, attributes: entry.attributes()? })
        };
        let found = state.mailboxes.iter().find(|(_, entry)| entry.name == name);
        let evidence = match found {
            None => Evidence::NoMailbox,
            Some((id, entry)) => {
                let salts = Salts::new(secret.clone(), *id);
                Evidence::make(pages, entry.content, &salts, &asked).await?
            }
        };
        let disclosed = match (&evidence, found) {
            (Evidence::Present { .. }, Some((id, entry))) => vec![disclose(id, entry)],
            _ => state.mailboxes.iter().map(|(id, entry)| disclose(id, entry)).collect(),
        };
        let mailboxes = disclosed.into_iter().collect::<Result<Vec<_>, SnapshotError>>()?;
        Ok(Self { name: name.to_owned(), asked, evidence, state: outline, mailboxes, attested })
    }

    /// Checks the proof against the record of a run that is trusted.
    ///
    /// # Errors
    ///
    /// [`ProofError`].
    pub fn verify(&self, run: &RunRecord) -> Result<Proven, ProofError> {
        let record = self.attested.verify(run)?;
        if !names(&self.name, &self.name) {
            return Err(ProofError::InvalidName);
        }
        let outline = StateOutline(self.state.clone());
        if outline.root() != record.state_root {
            return Err(ProofError::State);
        }
        let entries = outline.entries().ok_or(ProofError::Layout)?;
        if !entries.is_sorted_by(|one, next| one.mailbox < next.mailbox) {
            return Err(ProofError::Layout);
        }
        let fact = match &self.evidence {
            Evidence::NoMailbox => {
                let none = self.only_mailbox(&entries)?.is_none();
                let mailboxes = entries.len() as u64;
                let fact = Fact::NoMailbox { asked: self.asked.clone(), mailboxes };
                none.then_some(fact).ok_or(ProofError::NotAbsent)?
            }
            Evidence::Present { uid, digest, rest, path } => {
                let mailbox = self.mailbox(&entries)?;
                let (key, asked) = (u64::from(*uid), &self.asked);
                let fits = match asked {
                    Asked::Uid(asked) => asked.get() == *uid,
                    Asked::Digest(asked) => asked == digest,
                };
                let root = path.climb(key, ContentRow::leaf_of(key, *digest, *rest))?;
                if !fits || (root.page.id, root.rows) != (mailbox.content, mailbox.messages) {
                    return Err(ProofError::Mailbox);
                }
                Fact::Present { mailbox: mailbox.fact(), uid: *uid, digest: *digest }
            }
            Evidence::Absent(listing) => {
                let mailbox = self.only_mailbox(&entries)?.ok_or(ProofError::Name)?;
                if listing.root()? != (mailbox.content, mailbox.messages) {
                    return Err(ProofError::Mailbox);
                }
                if listing.has(&self.asked) {
                    return Err(ProofError::NotAbsent);
                }
                Fact::Absent { mailbox: mailbox.fact(), asked: self.asked.clone() }
            }
        };
        Ok(Proven {
            account: record.account,
            address: self.attested.address.clone(),
            instant: record.instant,
            name: self.name.clone(),
            fact,
        })
    }

    /// The state's mailbox that is disclosed under the name that was asked for.
    fn mailbox<'a>(&self, entries: &'a [OutlineEntry]) -> Result<&'a OutlineEntry, ProofError> {
        let [disclosed] = self.mailboxes.as_slice() else { return Err(ProofError::Name) };
        let entry = entries.iter().find(|entry| entry.mailbox == disclosed.mailbox);
        let entry = entry.ok_or(ProofError::Name)?;
        if disclosed.name_in(entry).ok_or(ProofError::Name)? != self.name {
            return Err(ProofError::Name);
        }
        Ok(entry)
    }

    /// The state's mailbox with the name that was asked for, of all of them, each disclosed; `None` when
    /// there is none. Two with the name are refused: one root could show a message and its absence.
    fn only_mailbox<'a>(
        &self,
        entries: &'a [OutlineEntry],
    ) -> Result<Option<&'a OutlineEntry>, ProofError> {
        if entries.len() != self.mailboxes.len() {
            let is_older =
                matches!(self.evidence, Evidence::Absent(_)) && self.mailboxes.len() == 1;
            return Err(if is_older { ProofError::OlderForm } else { ProofError::Name });
        }
        let mut found = None;
        for (entry, disclosed) in entries.iter().zip(&self.mailboxes) {
            let name = disclosed.name_in(entry).ok_or(ProofError::Name)?;
            if name == self.name {
                if found.replace(entry).is_some() {
                    return Err(ProofError::Name);
                }
            } else if names(name, &self.name) {
                // The store never writes it so.
                return Err(ProofError::Name);
            }
        }
        Ok(found)
    }
}

impl Evidence {
    async fn make(
        pages: &dyn PageStore,
        root: TreeRoot,
        salts: &Salts,
        asked: &Asked,
    ) -> Result<Self, SnapshotError> {
        let uid = match asked {
            Asked::Uid(uid) => Some(u64::from(uid.get())),
            Asked::Digest(digest) => {
                let listing = Listing::make(pages, root, salts).await?;
                match listing.find(*digest) {
                    None => return Ok(Self::Absent(listing)),
                    found => found,
                }
            }
        };
        let found = match uid {
            Some(key) => Path::make::<ContentRow>(pages, root, salts, key).await?,
            None => None,
        };
        Ok(match found {
            None => Self::Absent(Listing::make(pages, root, salts).await?),
            Some((row, path)) => Self::Present {
                uid: row.uid.get(),
                digest: row.digest,
                rest: row.rest_hash(salts),
                path,
            },
        })
    }
}

/// Says whether the store takes `written` for the name `kept`.
fn names(written: &str, kept: &str) -> bool {
    MailboxName::new(written).is_ok_and(|name| name.as_str() == kept)
}

impl OutlineEntry {
    fn fact(&self) -> FactMailbox {
        FactMailbox { id: self.mailbox, uid_validity: self.uid_validity, messages: self.messages }
    }
}

impl Disclosed {
    /// The name, when the attributes are those of `entry`.
    fn name_in(&self, entry: &OutlineEntry) -> Option<&str> {
        let rest = hash(Tag::Rest, &[&self.salt.0, &self.attributes]);
        if entry.mailbox != self.mailbox || entry.rest != rest {
            return None;
        }
        let mut cursor = Cursor(&self.attributes);
        let (_octets, _subscribed) = (cursor.u64()?, cursor.u8()?);
        std::str::from_utf8(cursor.counted()?).ok()
    }
}
