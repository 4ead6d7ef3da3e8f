//! The one way in which protocols read a mailbox.
//!
//! Live mailboxes, archive mailboxes and snapshots implement [`MailboxView`] alike; IMAP and POP3
//! know nothing else. A view names one mailbox under one UIDVALIDITY. What it returns is the
//! committed state at the moment of the call; a session that needs a stable list keeps the rows
//! it was given and asks for [`MailboxView::changes_since`].
//!
//! Not here: the tree of mailboxes and who may open it (`protocols::access`).

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use bytes::Bytes;
use trust::{clock::UnixMillis, digest::Sha256Digest};

use super::flags::{FlagChange, Flags};
use crate::{
    account::headers::page::{HeaderFields, MessageHeaders},
    error::StoreError,
    ids::{AccountId, EmailNumber, MailboxId, ModSeq, Uid, UidValidity},
    summary::Summary,
};

/// A message's place in a mailbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MessageRow {
    /// Its number in the mailbox.
    pub uid: Uid,
    /// Its number in the account.
    pub email_number: EmailNumber,
    /// Its flags.
    pub flags: Flags,
    /// The account's MODSEQ when the row was last changed.
    pub mod_seq: ModSeq,
    /// INTERNALDATE: when the message was received (or what APPEND said).
    pub internal_date: UnixMillis,
    /// SAVEDATE: when it came into this mailbox (RFC 8514).
    pub save_date: UnixMillis,
    /// Octets of the message (RFC822.SIZE).
    pub size: u64,
    /// Octets charged to the quota, fixed when the message was appended.
    pub charged_octets: u64,
    /// SHA-256 of the message's octets.
    pub digest: Sha256Digest,
    /// Where it was before it was moved into the archive.
    pub origin: Option<Arc<Origin>>,
}

/// The place from which a row was moved into the archive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
    /// The mailbox.
    pub mailbox: MailboxId,
    /// What it was called then.
    pub name: String,
    /// The row's UID there.
    pub uid: Uid,
}

/// What a list of a mailbox says of a message: a [`MessageRow`] without what no session asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListedMessage {
    /// Its number in the mailbox.
    pub uid: Uid,
    /// Its number in the account.
    pub email_number: EmailNumber,
    /// Its flags.
    pub flags: Flags,
    /// The account's MODSEQ when the row was last changed.
    pub mod_seq: ModSeq,
    /// INTERNALDATE.
    pub internal_date: UnixMillis,
    /// SAVEDATE (RFC 8514).
    pub save_date: UnixMillis,
    /// Octets of the message (RFC822.SIZE).
    pub size: u64,
}

impl From<MessageRow> for ListedMessage {
    fn from(row: MessageRow) -> Self {
        let MessageRow {
            uid, email_number, flags, mod_seq, internal_date, save_date, size, ..
        } = row;
        Self { uid, email_number, flags, mod_seq, internal_date, save_date, size }
    }
}

/// The counters of a mailbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MailboxState {
    /// The mailbox.
    pub mailbox_id: MailboxId,
    /// UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// UIDNEXT; `None` when UID 2³² − 1 is taken.
    pub uid_next: Option<Uid>,
    /// The first UID that no session has been told of as `\Recent` (RFC 3501 §2.3.2).
    pub recent_from: Option<Uid>,
    /// HIGHESTMODSEQ.
    pub highest_mod_seq: ModSeq,
    /// Messages in the mailbox.
    pub exists: u64,
    /// Messages without `\Seen`.
    pub unseen: u64,
    /// Messages with `\Deleted`.
    pub deleted: u64,
    /// Sum of RFC822.SIZE.
    pub octets: u64,
}

/// What has changed in a mailbox after some MODSEQ.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Changes {
    /// The mailbox's HIGHESTMODSEQ that these changes lead to.
    pub up_to: ModSeq,
    /// Rows that are new or have other flags, ascending by UID.
    pub changed: Vec<MessageRow>,
    /// UIDs that are gone, ascending.
    pub expunged: Vec<Uid>,
    /// The expunge log does not reach back that far: compare with a full list instead.
    pub incomplete: bool,
}

/// What COPY and MOVE did (RFC 4315 §3, RFC 6851).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Copied {
    /// UIDVALIDITY of the destination.
    pub uid_validity: UidValidity,
    /// Old and new UID, in the order of the source.
    pub uids: Vec<(Uid, Uid)>,
}

/// Whether a view can change its mailbox.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// Everything is allowed.
    ReadWrite,
    /// Every change fails with [`StoreError::ReadOnly`].
    ReadOnly,
}

/// One mailbox, as a protocol sees it.
#[async_trait::async_trait]
pub trait MailboxView: Send + Sync + 'static {
    /// Says whether changes are possible at all.
    fn access(&self) -> Access;

    /// The account whose mailbox it is, where that is not the one that reads it: numbers of two
    /// accounts say nothing about each other.
    fn other_account(&self) -> Option<AccountId> {
        None
    }

    /// The number of the snapshot that shows it: the same mailbox stands in many snapshots beside the
    /// live one.
    fn snapshot(&self) -> Option<u64> {
        None
    }

    /// Returns the counters. [`StoreError::NoSuchMailbox`] when it was deleted meanwhile.
    async fn state(&self) -> Result<MailboxState, StoreError>;

    /// Returns every row, ascending by UID, with the MODSEQ that the list stands for.
    async fn rows(&self) -> Result<(ModSeq, Vec<MessageRow>), StoreError>;

    /// Returns what [`MailboxView::rows`] does, of each message only what a session needs. This is
    /// how a large mailbox is opened.
    async fn list(&self) -> Result<(ModSeq, Vec<ListedMessage>), StoreError> {
        let (mod_seq, rows) = self.rows().await?;
        Ok((mod_seq, rows.into_iter().map(ListedMessage::from).collect()))
    }

    /// Returns what changed after `since`.
    async fn changes_since(&self, since: ModSeq) -> Result<Changes, StoreError>;

    /// Takes the present `recent_from` to UIDNEXT and returns the old one: the messages from
    /// there on are `\Recent` in the calling session and in no other. Read-only views return the
    /// value without moving it.
    async fn claim_recent(&self) -> Result<Option<Uid>, StoreError>;

    /// Returns the summary of a message. [`StoreError::NoSuchMessage`] when it is gone.
    async fn summary(&self, email_number: EmailNumber) -> Result<Arc<Summary>, StoreError>;

    /// Returns the messages of the account whose octets were erased: their rows stand, and reading
    /// them answers [`StoreError::Erased`].
    async fn erased(&self) -> Result<BTreeSet<EmailNumber>, StoreError> {
        Ok(BTreeSet::new())
    }

    /// Returns what is searched for in the headers of messages, with the texts of `fields` alone,
    /// in the order asked; `None` for one that is gone. One that went lately may still be answered. It takes memory for the headers of
    /// all: ask for some thousand at a time.
    async fn headers(
        &self,
        email_numbers: &[EmailNumber],
        fields: HeaderFields,
    ) -> Result<Vec<Option<MessageHeaders>>, StoreError> {
        let mut headers = Vec::with_capacity(email_numbers.len());
        for number in email_numbers {
            headers.push(match self.summary(*number).await {
                Ok(summary) => Some(MessageHeaders::of_fields(*number, &summary, fields)),
                Err(StoreError::NoSuchMessage { .. }) => None,
                Err(error) => return Err(error),
            });
        }
        Ok(headers)
    }

    /// Reads octets of a message, at most 64 KiB at a time: a shorter answer than asked for is
    /// normal, an empty one means that `range` begins at or after the end. Touches only the
    /// chunks that `range` needs. [`StoreError::Erased`]; [`StoreError::Damaged`] names what cannot be read; wrong octets
    /// are never returned.
    async fn read(&self, email_number: EmailNumber, range: Range<u64>)
    -> Result<Bytes, StoreError>;

    /// Changes the flags of `uids`; unknown UIDs are passed over. Rows whose MODSEQ is above
    /// `unchanged_since` are left alone and returned in the second list (RFC 7162 §3.1.3). The
    /// first list holds every other named row as it now is, ascending by UID.
    ///
    /// This and the changes below are refused ([`StoreError::ReadOnly`]) by a view that does not say how
    /// they are done.
    async fn store_flags(
        &self,
        _uids: &[Uid],
        _change: FlagChange,
        _flags: &Flags,
        _unchanged_since: Option<ModSeq>,
    ) -> Result<(Vec<MessageRow>, Vec<Uid>), StoreError> {
        Err(StoreError::ReadOnly)
    }

    /// Removes those of `uids` that carry `\Deleted`, durably, and returns them ascending.
    async fn expunge(&self, _uids: &[Uid]) -> Result<Vec<Uid>, StoreError> {
        Err(StoreError::ReadOnly)
    }

    /// Copies `uids` to another mailbox of the same account in one batch, flags and
    /// INTERNALDATE kept; nothing is copied on error ([`StoreError::OverQuota`],
    /// [`StoreError::NoSuchMailbox`]). Unknown UIDs are passed over.
    async fn copy(&self, _uids: &[Uid], _destination: MailboxId) -> Result<Copied, StoreError> {
        Err(StoreError::ReadOnly)
    }

    /// As [`MailboxView::copy`], and the source rows go in the same batch. Never refused for
    /// quota.
    async fn move_to(&self, _uids: &[Uid], _destination: MailboxId) -> Result<Copied, StoreError> {
        Err(StoreError::ReadOnly)
    }
}
