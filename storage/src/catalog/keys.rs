//! Families and keys of the catalog: every layout stands here, once, and in `docs/formats.md`.
//!
//! * Numbers are big-endian and of fixed width, so that key order is number order.
//! * Identifiers are never reused, so a key never means two things over time.
//! * Names never stand in keys, except in the two indexes that exist to find something by name:
//!   [`ACCOUNT_ADDRESSES`] and [`MAILBOX_NAMES`].
//!
//! Not here: values (`records`), the octet store's families (`octets`), those of floors above.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use super::engine::Family;
use crate::{
    account::tier::Tier,
    error::StoreError,
    ids::{AccountId, EmailNumber, MailboxId, ModSeq, Uid},
};

/// The one record that says which format the catalog has. Key: `format`.
pub const CATALOG_FORMAT: Family = Family("catalog_format");
/// Settings of accounts. Key: AccountId (8).
pub const ACCOUNTS: Family = Family("accounts");
/// Counters and usage of accounts, rewritten by every change. Key: AccountId (8).
pub const ACCOUNT_HEADS: Family = Family("account_heads");
/// AccountId by address. Key: the address in lower case, UTF-8.
pub const ACCOUNT_ADDRESSES: Family = Family("account_addresses");
/// Names an account subscribes to. Key: AccountId (8).
pub const SUBSCRIPTIONS: Family = Family("subscriptions");
/// Names and counters of mailboxes. Key: AccountId (8), MailboxId (8).
pub const MAILBOXES: Family = Family("mailboxes");
/// MailboxId by name. Key: AccountId (8), the name, UTF-8.
pub const MAILBOX_NAMES: Family = Family("mailbox_names");
/// Rows. Key: AccountId (8), MailboxId (8), UID (4).
pub const MAILBOX_ROWS: Family = Family("mailbox_rows");
/// Rows by their present MODSEQ. Key: AccountId (8), MailboxId (8), MODSEQ (8), UID (4); the value
/// is empty.
pub const MAILBOX_CHANGES: Family = Family("mailbox_changes");
/// Expunged UIDs by MODSEQ. Key: AccountId (8), MailboxId (8), MODSEQ (8).
pub const EXPUNGE_LOG: Family = Family("expunge_log");
/// Mailboxes whose name is gone and whose rows are still being removed. Key as in [`MAILBOXES`].
pub const MAILBOX_DELETIONS: Family = Family("mailbox_deletions");
/// Size, digest and recipe of messages. Key: AccountId (8), EmailNumber (8).
pub const MESSAGES: Family = Family("messages");
/// Summaries of messages. Key: AccountId (8), EmailNumber (8).
pub const SUMMARIES: Family = Family("summaries");
/// Numbers of rows of messages that have more than one. Key: AccountId (8), EmailNumber (8).
pub const MESSAGE_REFERENCES: Family = Family("message_references");
/// Messages whose octets were erased. Key: AccountId (8), EmailNumber (8).
pub const ERASURES: Family = Family("erasures");
/// Messages without rows that a snapshot still holds. Key: AccountId (8), number of the last
/// snapshot that holds it (8), EmailNumber (8); the value is empty.
pub const DEPARTED_MESSAGES: Family = Family("departed_messages");
/// Warnings that an account nears its quota, until the floor above has passed them on. Key:
/// AccountId (8), number of the batch that crossed the level (8), 2⁶³ more for the archive's.
pub const QUOTA_WARNINGS: Family = Family("quota_warnings");
/// Blocks of rows, and under UID 0 the list of them. Key: AccountId (8), MailboxId (8), first
/// UID (4). Nobody needs them: see `mailbox::blocks`.
pub const MAILBOX_BLOCKS: Family = Family("mailbox_blocks");
/// Blocks of headers, and under EmailNumber 0 the list of them. Key: AccountId (8), first
/// EmailNumber (8). Nobody needs them: see `account::headers`.
pub const HEADER_BLOCKS: Family = Family("header_blocks");
/// What is noted about mailboxes, and under MailboxId 0 about the account itself (RFC 5464). Key:
/// AccountId (8), MailboxId (8), the entry's name, ASCII.
pub const ANNOTATIONS: Family = Family("annotations");
/// Accounts whose mailboxes an account may read. Key: AccountId of who reads (8), AccountId of who
/// is read (8).
pub const ACCOUNT_GRANTS: Family = Family("account_grants");
/// Messages owned by a record of a floor above. Key: HeldId (16).
pub const HELD_MESSAGES: Family = Family("held_messages");
/// What a repair replaced or took out. Key: number (8), ascending.
pub const REPAIR_LOG: Family = Family("repair_log");

/// The first number of an archive's warnings; no account sees as many batches.
const ARCHIVE_WARNINGS: u64 = 1 << 63;

/// Key of the record in [`CATALOG_FORMAT`].
pub const FORMAT_KEY: &[u8] = b"format";

/// The families whose keys begin with an AccountId.
pub const OF_ACCOUNTS: [Family; 19] = [
    ACCOUNTS,
    ACCOUNT_HEADS,
    SUBSCRIPTIONS,
    MAILBOXES,
    MAILBOX_NAMES,
    MAILBOX_ROWS,
    MAILBOX_CHANGES,
    EXPUNGE_LOG,
    MAILBOX_DELETIONS,
    MESSAGES,
    SUMMARIES,
    MESSAGE_REFERENCES,
    ERASURES,
    DEPARTED_MESSAGES,
    QUOTA_WARNINGS,
    MAILBOX_BLOCKS,
    HEADER_BLOCKS,
    ANNOTATIONS,
    ACCOUNT_GRANTS,
];

/// Every family declared here.
pub fn families() -> impl Iterator<Item = Family> {
    [CATALOG_FORMAT, ACCOUNT_ADDRESSES, HELD_MESSAGES, REPAIR_LOG].into_iter().chain(OF_ACCOUNTS)
}

/// The key, or the prefix of all keys, of an account.
#[must_use]
pub fn account(account: AccountId) -> Bytes {
    Bytes::copy_from_slice(&account.0.to_be_bytes())
}

/// The key in [`ACCOUNT_ADDRESSES`]. Addresses of certified mail are compared without case, as
/// their domains are.
#[must_use]
pub fn address(address: &str) -> Bytes {
    address.to_lowercase().into()
}

/// The key in [`MAILBOXES`], and the prefix of all keys of a mailbox.
#[must_use]
pub fn mailbox(account: AccountId, mailbox: MailboxId) -> Bytes {
    numbers(&[account.0, mailbox.0])
}

/// The key in [`MAILBOX_NAMES`].
#[must_use]
pub fn mailbox_name(account: AccountId, name: &str) -> Bytes {
    let mut key = BytesMut::with_capacity(8 + name.len());
    key.put_u64(account.0);
    key.put_slice(name.as_bytes());
    key.freeze()
}

/// The key in [`MAILBOX_ROWS`].
#[must_use]
pub fn row(account: AccountId, mailbox: MailboxId, uid: Uid) -> Bytes {
    let mut key = BytesMut::with_capacity(20);
    key.put_u64(account.0);
    key.put_u64(mailbox.0);
    key.put_u32(uid.get());
    key.freeze()
}

/// The key in [`MAILBOX_BLOCKS`]; `first_uid` 0 is the list.
#[must_use]
pub fn mailbox_block(account: AccountId, mailbox: MailboxId, first_uid: u32) -> Bytes {
    let mut key = BytesMut::with_capacity(20);
    key.put_u64(account.0);
    key.put_u64(mailbox.0);
    key.put_u32(first_uid);
    key.freeze()
}

/// The key in [`MAILBOX_CHANGES`].
#[must_use]
pub fn change(account: AccountId, mailbox: MailboxId, mod_seq: ModSeq, uid: Uid) -> Bytes {
    let mut key = BytesMut::with_capacity(28);
    key.put_u64(account.0);
    key.put_u64(mailbox.0);
    key.put_u64(mod_seq.0);
    key.put_u32(uid.get());
    key.freeze()
}

/// The key in [`EXPUNGE_LOG`], and the first key in [`MAILBOX_CHANGES`] with `mod_seq`.
#[must_use]
pub fn mod_seq(account: AccountId, mailbox: MailboxId, mod_seq: ModSeq) -> Bytes {
    numbers(&[account.0, mailbox.0, mod_seq.0])
}

/// The key in [`MESSAGES`], [`SUMMARIES`], [`MESSAGE_REFERENCES`], [`ERASURES`] and
/// [`HEADER_BLOCKS`].
#[must_use]
pub fn message(account: AccountId, email_number: EmailNumber) -> Bytes {
    numbers(&[account.0, email_number.0])
}

/// The prefix of the keys in [`DEPARTED_MESSAGES`] of the messages that departed after `snapshot`.
#[must_use]
pub fn departed_messages(account: AccountId, snapshot: u64) -> Bytes {
    numbers(&[account.0, snapshot])
}

/// The key in [`DEPARTED_MESSAGES`].
#[must_use]
pub fn departed_message(account: AccountId, snapshot: u64, email_number: EmailNumber) -> Bytes {
    numbers(&[account.0, snapshot, email_number.0])
}

/// The key in [`ANNOTATIONS`]; `None` is the account itself.
#[must_use]
pub fn annotation(account: AccountId, mailbox: Option<MailboxId>, entry: &str) -> Bytes {
    let mut key = BytesMut::with_capacity(16 + entry.len());
    key.put_u64(account.0);
    key.put_u64(mailbox.map_or(0, |mailbox| mailbox.0));
    key.put_slice(entry.as_bytes());
    key.freeze()
}

/// The key in [`ACCOUNT_GRANTS`].
#[must_use]
pub fn grant(reader: AccountId, read: AccountId) -> Bytes {
    numbers(&[reader.0, read.0])
}

/// The key in [`QUOTA_WARNINGS`].
#[must_use]
pub fn quota_warning(account: AccountId, tier: Tier, batch: u64) -> Bytes {
    let first = quota_warnings(tier).start;
    numbers(&[account.0, first | batch])
}

/// The second numbers of the keys in [`QUOTA_WARNINGS`] that are about `tier`: one batch may warn
/// of both.
#[must_use]
pub fn quota_warnings(tier: Tier) -> Range<u64> {
    match tier {
        Tier::Live => 0..ARCHIVE_WARNINGS,
        Tier::Archive => ARCHIVE_WARNINGS..u64::MAX,
    }
}

fn numbers(numbers: &[u64]) -> Bytes {
    let mut key = BytesMut::with_capacity(8 * numbers.len());
    for number in numbers {
        key.put_u64(*number);
    }
    key.freeze()
}

/// Reads the fields of a key from its front. Every error is [`StoreError::Damaged`].
#[derive(Debug)]
pub struct KeyReader<'k> {
    family: Family,
    key: &'k [u8],
    rest: &'k [u8],
}

impl<'k> KeyReader<'k> {
    /// Begins at the first octet of `key`.
    #[must_use]
    pub fn new(family: Family, key: &'k [u8]) -> Self {
        Self { family, key, rest: key }
    }

    /// Takes the next eight octets.
    pub fn take_u64(&mut self) -> Result<u64, StoreError> {
        let (octets, rest) = self.rest.split_first_chunk().ok_or_else(|| self.damaged())?;
        self.rest = rest;
        Ok(u64::from_be_bytes(*octets))
    }

    /// Takes the next four octets, a UID.
    pub fn take_uid(&mut self) -> Result<Uid, StoreError> {
        let (octets, rest) = self.rest.split_first_chunk().ok_or_else(|| self.damaged())?;
        self.rest = rest;
        Uid::new(u32::from_be_bytes(*octets)).ok_or_else(|| self.damaged())
    }

    /// Takes what is left, a text.
    pub fn take_text(&mut self) -> Result<&'k str, StoreError> {
        let text = std::str::from_utf8(self.rest).map_err(|_| self.damaged())?;
        self.rest = &[];
        Ok(text)
    }

    /// Fails when something is left.
    pub fn finish(self) -> Result<(), StoreError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.damaged()) }
    }

    fn damaged(&self) -> StoreError {
        StoreError::Damaged {
            object: object(self.family, self.key),
            detail: "the key does not have its family's layout".to_owned(),
        }
    }
}

/// Family and key as errors and reports name them.
#[must_use]
pub fn object(family: Family, key: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = format!("{}/", family.0);
    for octet in key {
        // Writing to a String cannot fail.
        let _ = write!(text, "{octet:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_layouts_that_the_format_document_gives() {
        let (a, m, u) = (AccountId(1), MailboxId(0x0203), Uid::new(4).expect("not zero"));
        assert_eq!(
            row(a, m, u).as_ref(),
            [&[0, 0, 0, 0, 0, 0, 0, 1_u8][..], &[0, 0, 0, 0, 0, 0, 2, 3, 0, 0, 0, 4]].concat()
        );
        assert_eq!(change(a, m, ModSeq(5), u).len(), 28);
        assert_eq!(mailbox_name(a, "è").as_ref(), b"\0\0\0\0\0\0\0\x01\xc3\xa8");
        assert_eq!(address("Mario.Rossi@PEC.example").as_ref(), b"mario.rossi@pec.example");
        assert!(mod_seq(a, m, ModSeq(255)) < mod_seq(a, m, ModSeq(256)), "key order");
    }

    #[test]
    fn a_key_of_another_layout_is_damage_that_names_the_key() {
        let key = row(AccountId(1), MailboxId(2), Uid::new(3).expect("not zero"));
        let mut reader = KeyReader::new(MAILBOX_ROWS, &key);
        assert_eq!(reader.take_u64().ok(), Some(1));
        assert_eq!(reader.take_u64().ok(), Some(2));
        assert_eq!(reader.take_uid().ok(), Uid::new(3));
        reader.finish().expect("nothing left");
        let error = KeyReader::new(MESSAGES, &key[..7]).take_u64().expect_err("too short");
        assert!(error.to_string().starts_with("messages/00000000000000 is damaged"), "{error}");
        let mut reader = KeyReader::new(MESSAGES, &key);
        assert_eq!((reader.take_u64().ok(), reader.take_u64().ok()), (Some(1), Some(2)));
        reader.finish().expect_err("too long");
    }

    #[test]
    fn every_family_stands_in_the_format_document() {
        let document = include_str!("../../../docs/formats.md");
        for family in families().chain([crate::catalog::commit::NUMBERED_SEQUENCES]) {
            assert!(document.contains(&format!("\n| `{}` | ", family.0)), "{}", family.0);
        }
    }
}
