//! The INBOX of one account, locked for one session (RFC 1939 §4).
//!
//! Invariants: the list of messages is the one of the login until QUIT; a lock is given back
//! whatever ends the session. Messages that were erased are not listed.

use std::{
    collections::BTreeSet,
    fmt,
    net::IpAddr,
    sync::{Arc, PoisonError},
};

use storage::{
    error::StoreError,
    ids::{AccountId, Uid, UidValidity},
    mailbox::{
        flags::{FlagChange, Flags},
        view::{ListedMessage, MailboxView},
    },
};

use super::Shared;
use crate::{
    access::Identity,
    sessions::{OpenSession, TooManySessions},
};

/// The right to be an account's only session.
struct Lock {
    shared: Arc<Shared>,
    account: AccountId,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut locked = self.shared.locked.lock().unwrap_or_else(PoisonError::into_inner);
        locked.remove(&self.account);
    }
}

/// Why a maildrop cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// Another session has it (RFC 2449 §8.1.1).
    #[error("another POP3 session holds the account")]
    InUse,
    /// Too many sessions, of whatever protocol, are open.
    #[error(transparent)]
    TooMany(#[from] TooManySessions),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A locked INBOX.
pub(super) struct Maildrop {
    pub(super) view: Arc<dyn MailboxView>,
    uid_validity: UidValidity,
    rows: Vec<ListedMessage>,
    /// Indexes of the messages that QUIT will delete.
    deleted: BTreeSet<usize>,
    _lock: Lock,
    _counted: OpenSession,
}

impl fmt::Debug for Maildrop {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Maildrop")
            .field("messages", &self.rows.len())
            .finish_non_exhaustive()
    }
}

impl Maildrop {
    /// Locks and lists the INBOX of somebody who is logged in.
    pub(super) async fn open(
        shared: &Arc<Shared>,
        identity: &Identity,
        peer: IpAddr,
    ) -> Result<Self, OpenError> {
        let account = identity.account_id;
        let free = {
            let mut locked = shared.locked.lock().unwrap_or_else(PoisonError::into_inner);
            locked.insert(account)
        };
        if !free {
            return Err(OpenError::InUse);
        }
        let lock = Lock { shared: Arc::clone(shared), account };
        let counted = shared.sessions.admit(account, peer)?;
        let view = shared.mail.open(identity).await?.open("INBOX").await?;
        let uid_validity = view.state().await?.uid_validity;
        let (_, mut rows) = view.list().await?;
        // An erased message cannot be retrieved. Clients that take all messages would stop at it,
        // at every visit, so that it is not in the maildrop.
        let erased = view.erased().await?;
        rows.retain(|row| !erased.contains(&row.email_number));
        let deleted = BTreeSet::new();
        Ok(Self { view, uid_validity, rows, deleted, _lock: lock, _counted: counted })
    }

    /// The message with `number`, unless there is none or it is marked as deleted.
    pub(super) fn message(&self, number: usize) -> Option<&ListedMessage> {
        let index = number.checked_sub(1)?;
        self.rows.get(index).filter(|_| !self.deleted.contains(&index))
    }

    /// Numbers and messages that are not marked as deleted.
    pub(super) fn messages(&self) -> impl Iterator<Item = (usize, &ListedMessage)> {
        let numbered = self.rows.iter().enumerate();
        numbered
            .filter(|(index, _)| !self.deleted.contains(index))
            .map(|(index, row)| (index + 1, row))
    }

    /// How many messages are not marked as deleted, and how many octets they have.
    pub(super) fn totals(&self) -> (usize, u64) {
        self.messages().fold((0, 0), |(count, octets), (_, row)| (count + 1, octets + row.size))
    }

    /// A name that the message keeps over sessions and no other message of the account's INBOX ever
    /// gets: UIDs count up, and a mailbox made again has another UIDVALIDITY. At most 21 octets,
    /// digits and a point (RFC 1939 §7: 1 to 70 from 0x21 to 0x7E).
    pub(super) fn unique_id(&self, row: &ListedMessage) -> String {
        format!("{}.{}", self.uid_validity, row.uid)
    }

    /// Marks a message as deleted; false when there is none.
    pub(super) fn delete(&mut self, number: usize) -> bool {
        self.message(number).is_some() && self.deleted.insert(number - 1)
    }

    /// Takes all marks back.
    pub(super) fn reset(&mut self) {
        self.deleted.clear();
    }

    /// The update state: removes the marked messages, durably; says whether all of them are gone
    /// (RFC 1939 §6).
    pub(super) async fn update(self) -> Result<bool, StoreError> {
        let uids: Vec<Uid> =
            self.deleted.iter().filter_map(|&i| self.rows.get(i)).map(|row| row.uid).collect();
        if uids.is_empty() {
            return Ok(true);
        }
        let deleted = Flags { deleted: true, ..Flags::default() };
        let (present, _) = self.view.store_flags(&uids, FlagChange::Add, &deleted, None).await?;
        let gone = self.view.expunge(&uids).await?;
        // Messages that another session removed meanwhile are gone as well.
        Ok(gone.len() >= present.len())
    }
}
