//! What can go wrong in the store, grouped by what the caller must do.

use trust::clock::UnixMillis;

use crate::ids::{AccountId, EmailNumber, MailboxId, Uid};

/// An error of the store. Unless a variant says otherwise, nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The account does not exist (any more).
    #[error("account {0} does not exist: check the address, or create the account first")]
    NoSuchAccount(AccountId),
    /// The mailbox does not exist (any more).
    #[error("mailbox {mailbox} of account {account} does not exist: list the mailboxes again")]
    NoSuchMailbox {
        /// The account.
        account: AccountId,
        /// The mailbox.
        mailbox: MailboxId,
    },
    /// No mailbox has that name.
    #[error("no mailbox is called {0:?}: create it first")]
    NoSuchMailboxName(String),
    /// The name is taken.
    #[error("a mailbox called {0:?} exists already: choose another name")]
    MailboxExists(String),
    /// The name cannot be given to a mailbox.
    #[error("{name:?} cannot name a mailbox: {reason}")]
    InvalidMailboxName {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// INBOX and system mailboxes stay (RFC 9051 §6.3.5).
    #[error("{0:?} cannot be deleted or renamed this way")]
    ProtectedMailbox(String),
    /// Another mailbox of the account has that special use (RFC 6154 §3).
    #[error("mailbox {0:?} has that special use already: take it from there first")]
    SpecialUseTaken(String),
    /// The account has as many annotations as it may have.
    #[error("an account keeps {0} annotations at most: remove some first")]
    TooManyAnnotations(u64),
    /// The value of an annotation is too long.
    #[error("the value of an annotation has {0} octets at most: shorten it")]
    AnnotationTooLarge(u64),
    /// Messages of another account cannot be copied by the server.
    #[error("the mailbox belongs to another account: read the message and append it instead")]
    OtherAccount,
    /// The address belongs to another account.
    #[error("{address} belongs to account {account} already: give that one another address first")]
    AddressTaken {
        /// The address.
        address: String,
        /// Who has it.
        account: AccountId,
    },
    /// The message does not exist (any more).
    #[error("message {email_number} of account {account} does not exist")]
    NoSuchMessage {
        /// The account.
        account: AccountId,
        /// The message.
        email_number: EmailNumber,
    },
    /// No row has this UID any more.
    #[error(
        "message {uid} of mailbox {mailbox} of account {account} is gone: list the mailbox again"
    )]
    NoSuchUid {
        /// The account.
        account: AccountId,
        /// The mailbox.
        mailbox: MailboxId,
        /// The UID.
        uid: Uid,
    },
    /// The change would exceed the quota.
    #[error("over quota: {used} of {limit} {resource} are used; delete messages or buy more space")]
    OverQuota {
        /// `octets`, `messages` or `mailboxes`.
        resource: &'static str,
        /// Used before the change.
        used: u64,
        /// The limit.
        limit: u64,
    },
    /// The message was erased: its octets are gone for good, its place is kept.
    #[error("{object} was erased for a reason that the journal names: it cannot be read any more")]
    Erased {
        /// Which message.
        object: String,
        /// When it was erased.
        at: UnixMillis,
    },
    /// The mailbox is read-only (a snapshot, or EXAMINE).
    #[error("the mailbox is read-only: copy the messages to another mailbox instead")]
    ReadOnly,
    /// The snapshot being read was removed meanwhile: its time was over.
    #[error("snapshot {number} of account {account} has expired: list the snapshots again")]
    SnapshotExpired {
        /// The account.
        account: AccountId,
        /// The snapshot.
        number: u64,
    },
    /// UIDs or another counter are used up.
    #[error("{0} are used up: copy the messages to a new mailbox")]
    Exhausted(&'static str),
    /// A value expected in the catalog has changed meanwhile. Retry with fresh values.
    #[error("the catalog changed meanwhile: read again and retry")]
    Conflict,
    /// A limit of the store was exceeded.
    #[error("{what} exceeds the limit of {limit}: {remedy}")]
    LimitExceeded {
        /// What is too large.
        what: &'static str,
        /// The limit.
        limit: u64,
        /// What to do.
        remedy: &'static str,
    },
    /// Octets on disk or in the object store are not what was written. Never transient.
    #[error(
        "{object} is damaged ({detail}): run `ceralacca store check`, restore the object from a back-up"
    )]
    Damaged {
        /// What is damaged: family and key, pack and offset, message and account.
        object: String,
        /// What was seen.
        detail: String,
    },
    /// A record was written by a newer version of the program.
    #[error("{object} has format {found}, this program reads up to {known}: upgrade this node")]
    TooNew {
        /// Family and key.
        object: String,
        /// The version found.
        found: u32,
        /// The newest version known.
        known: u32,
    },
    /// The catalog's engine failed. Temporary unless the disk is lost: retry later.
    #[error(
        "the catalog cannot {operation}: check disk space and the log of the engine, then retry"
    )]
    Engine {
        /// `read`, `scan`, `commit`, `open`.
        operation: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The object store failed. Temporary: retry later.
    #[error("the object store cannot {operation} {object}: check that it is reachable, then retry")]
    Objects {
        /// `put`, `get`, `list`, `delete`.
        operation: &'static str,
        /// The object's path.
        object: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another node has taken this one's place: this one must change nothing any more.
    #[error(
        "this store is of epoch {ours}, and epoch {found} was claimed by another node that was restored from its \
         back-up: turn this node off for good, or take the store back with `ceralacca store take-over`"
    )]
    Superseded {
        /// The epoch of this store.
        ours: u32,
        /// The highest epoch claimed; the same one when two restores were made apart from each other.
        found: u32,
    },
    /// The object store belongs to another store, not to another node of this one.
    #[error(
        "this object store belongs to another installation: check folder, bucket and prefix of [objects] and [backup]; \
         a new store wants an empty one"
    )]
    ForeignObjects,
    /// A take-over was cut short: the epoch is claimed, and not all numbers are raised yet.
    #[error(
        "epoch {0} is claimed and not all numbers are raised: repeat `ceralacca store take-over --yes`"
    )]
    TakeOverUnfinished(u32),
    /// The store was restored to be looked at, and is no node.
    #[error(
        "this store was restored for a rehearsal: it can be read and checked, but it serves, ships and collects nothing"
    )]
    Rehearsal,
    /// The store is shutting down. Retry on another node or later.
    #[error("the store is shutting down: retry later")]
    Closed,
}

impl StoreError {
    /// The error of a message whose chunk is damaged names the message, too.
    pub(crate) fn of(self, message: impl FnOnce() -> String) -> Self {
        match self {
            Self::Damaged { object, detail } => {
                Self::Damaged { object: message(), detail: format!("{object}: {detail}") }
            }
            other => other,
        }
    }

    /// Says whether the same call can succeed later without anybody repairing anything.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Conflict | Self::Engine { .. } | Self::Objects { .. } | Self::Closed)
    }
}
