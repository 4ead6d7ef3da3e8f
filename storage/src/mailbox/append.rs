//! Appends a message to a mailbox: the one place where a message gets its EmailNumber.
//!
//! * Octets, message record, summary, row, counters, usage and what the floor above wants to be
//!   true with them become durable in one batch. A row never refers to octets that are not durable.
//! * UIDs strictly ascend and are never used twice under one UIDVALIDITY (RFC 9051 §2.3.1.1).
//! * A failed append leaves the account as it was (RFC 9051 §6.3.12); of several messages that are
//!   appended together all come in or none (RFC 3502 §3).
//! * A message that takes the place of another comes when that one goes, in one batch (RFC 8508 §3).
//!
//! Not here: splitting octets into chunks (`octets`), copies (`copy`).

use bytes::Bytes;
use trust::clock::UnixMillis;

use super::{copy::too_many_rows, flags::Flags, rows::OpenMailbox, view::MessageRow};
use crate::{
    account::{
        draft::Draft,
        queue::Change,
        quota::{self, QuotaRule},
    },
    catalog::{engine::Batch, keys},
    error::StoreError,
    ids::{EmailNumber, MailboxId, ModSeq, Uid, UidValidity},
    octets::StagedMessage,
};

/// What is appended where, and under which conditions.
#[derive(Clone, Debug)]
pub struct AppendRequest<'m> {
    /// The mailbox.
    pub mailbox: MailboxId,
    /// The message.
    pub message: &'m StagedMessage,
    /// Its flags.
    pub flags: Flags,
    /// INTERNALDATE; the instant of the append when absent.
    pub internal_date: Option<UnixMillis>,
    /// Octets to charge; the message's size when absent.
    pub charged_octets: Option<u64>,
    /// Whether lack of space refuses it.
    pub quota: QuotaRule,
    /// Conditions and changes of the floor above, applied in the same batch. When a condition
    /// fails the append fails with [`StoreError::Conflict`].
    pub also: Batch,
}

/// Where an appended message stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Appended {
    /// UIDVALIDITY of the mailbox.
    pub uid_validity: UidValidity,
    /// UID of the row.
    pub uid: Uid,
    /// The message's number in the account.
    pub email_number: EmailNumber,
    /// MODSEQ of the row.
    pub mod_seq: ModSeq,
}

/// [`AppendRequest`] as a change of the account.
pub(crate) struct Append {
    mailbox: MailboxId,
    flags: Flags,
    internal_date: Option<UnixMillis>,
    charged_octets: u64,
    size: u64,
    digest: trust::digest::Sha256Digest,
    quota: QuotaRule,
    message: Bytes,
    summary: Bytes,
    also: Batch,
}

impl Append {
    /// Encodes what does not depend on the account.
    pub(crate) fn new(request: AppendRequest<'_>) -> Self {
        let AppendRequest { mailbox, message, flags, internal_date, charged_octets, quota, also } =
            request;
        // One batch, so that a condition of `also` and one of the octet store are the same
        // change's and never compared with each other.
        let mut also = also;
        message.add_to(&mut also);
        let stored = message.stored();
        Self {
            mailbox,
            flags,
            internal_date,
            charged_octets: charged_octets.unwrap_or_else(|| stored.size()),
            size: stored.size(),
            digest: stored.digest(),
            quota,
            message: stored.encode().into(),
            summary: message.summary().encode().into(),
            also,
        }
    }
}

/// A message that goes when others come in its place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Replaced {
    /// Its mailbox.
    pub mailbox: MailboxId,
    /// Its row.
    pub uid: Uid,
}

/// Appends that belong together, and what they replace.
pub(crate) struct AppendAll {
    pub(crate) appends: Vec<Append>,
    pub(crate) replaced: Option<Replaced>,
}

#[async_trait::async_trait]
impl Change for AppendAll {
    type Outcome = Vec<Appended>;

    async fn apply(&self, draft: &mut Draft<'_>) -> Result<Vec<Appended>, StoreError> {
        if self.appends.len() > draft.limits.rows_per_batch_max {
            return Err(too_many_rows(draft.limits.rows_per_batch_max));
        }
        // It goes first: what it was charged is there for what replaces it.
        if let Some(Replaced { mailbox: id, uid }) = self.replaced {
            let account = draft.account;
            let mut mailbox = OpenMailbox::open(draft, id).await?;
            let rows = mailbox.find(draft, &[uid]).await?;
            if rows.is_empty() {
                return Err(StoreError::NoSuchUid { account, mailbox: id, uid });
            }
            mailbox.expunge(draft, &rows).await?;
            mailbox.close(draft);
        }
        let mut appended = Vec::with_capacity(self.appends.len());
        for append in &self.appends {
            appended.push(append.apply(draft).await?);
        }
        Ok(appended)
    }

    fn weight(&self) -> usize {
        self.appends.iter().map(Append::weight).sum()
    }
}

#[async_trait::async_trait]
impl Change for Append {
    type Outcome = Appended;

    async fn apply(&self, draft: &mut Draft<'_>) -> Result<Appended, StoreError> {
        let mut mailbox = OpenMailbox::open(draft, self.mailbox).await?;
        let uid_validity = mailbox.uid_validity(draft)?;
        let uid = mailbox.take_uid()?;
        quota::charge(draft, mailbox.tier(), self.charged_octets, 1, self.quota).await?;
        let email_number = draft.take_email_number()?;
        let mod_seq = draft.take_mod_seq()?;
        let row = MessageRow {
            uid,
            email_number,
            flags: self.flags.clone(),
            mod_seq,
            internal_date: self.internal_date.unwrap_or(draft.now),
            save_date: draft.now,
            size: self.size,
            charged_octets: self.charged_octets,
            digest: self.digest,
            origin: None,
        };
        mailbox.insert(draft, &row);
        mailbox.close(draft);
        let key = keys::message(draft.account, email_number);
        draft.put(keys::MESSAGES, key.clone(), self.message.clone());
        draft.put(keys::SUMMARIES, key, self.summary.clone());
        draft.add(self.also.clone());
        Ok(Appended { uid_validity, uid, email_number, mod_seq })
    }

    fn weight(&self) -> usize {
        let put: usize = self.also.put.iter().map(|(_, _, value)| value.len()).sum();
        self.message.len() + self.summary.len() + put + 1_024
    }
}
