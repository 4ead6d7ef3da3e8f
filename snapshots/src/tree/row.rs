//! The rows of the three kinds of tree, and their layouts.
//!
//! A row has a key (u64; a UID or an AccountId). What its leaf hash covers besides, octet by octet:
//!
//! | kind | layout |
//! |---|---|
//! | content | SHA-256 of the message 32 ‖ *rest*: EmailNumber u64 ‖ INTERNALDATE i64 (ms) ‖ SAVEDATE i64 (ms) ‖ size u64 ‖ charged octets u64 |
//! | flags | *rest*: bits u8 ‖ count u16 ‖ count × (length u16 ‖ keyword) |
//! | account | hash of the latest record 32 ‖ address, UTF-8, without a length |
//!
//! Bits of flags: 1 `\Seen`, 2 `\Answered`, 4 `\Flagged`, 8 `\Deleted`, 16 `\Draft`. Keywords stand
//! in the order of their lower-case forms. MODSEQ is not part of a state: flags that were changed
//! and changed back are equal flags.
//!
//! In a stored leaf page the rows stand as columns, each with as many entries as the page has rows
//! ([`Row::put_columns`]). *varint* and *signed* are numbers of variable length (`octets`):
//!
//! | kind | columns, in this order |
//! |---|---|
//! | content | EmailNumber, signed, less that of the row before ‖ INTERNALDATE, signed, less that of the row before ‖ SAVEDATE, signed, less the row's INTERNALDATE ‖ size varint ‖ charged octets, signed, less the size ‖ SHA-256 32 |
//! | flags | bits u8, 32 added when there are keywords ‖ of those rows alone: count varint ‖ count × (length varint ‖ keyword) |
//! | account | hash 32 ‖ address: length varint ‖ UTF-8 |
//!
//! Before the first row stands 0. Differences are modulo 2⁶⁴.

use std::fmt::Debug;

use storage::{
    ids::{EmailNumber, MailboxId, Uid},
    mailbox::flags::{Flags, Keyword},
    mailbox::view::MessageRow,
};
use trust::{clock::UnixMillis, digest::Sha256Digest};

use crate::{
    error::SnapshotError,
    hash::{SaltKind, Salts, SnapshotSecret, Tag, hash},
    octets::{Cursor, put_counted, put_signed, put_varint},
    tree::page::PageSize,
};

/// What a tree can hold.
pub trait Row: Clone + Debug + Eq + Send + Sync + Sized {
    /// How many rows a leaf page has.
    const LEAF_PAGE: PageSize;

    /// Its place in the order; unique in a tree.
    fn key(&self) -> u64;

    /// Writes what `rows` have besides their keys, column by column.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::LimitExceeded`] when a part is longer than its count can say.
    fn put_columns(rows: &[Self], out: &mut Vec<u8>) -> Result<(), SnapshotError>;

    /// Reads what [`Row::put_columns`] wrote for rows with `keys` from the front of `octets` and moves
    /// `octets` behind it; `None` when it is not that.
    fn read_columns(keys: &[u64], octets: &mut &[u8]) -> Option<Vec<Self>>;

    /// Returns the leaf hash.
    fn leaf(&self, salts: &Salts) -> Result<Sha256Digest, SnapshotError>;
}

/// A message's unchangeable place in a mailbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ContentRow {
    /// Its UID.
    pub uid: Uid,
    /// SHA-256 of its octets.
    pub digest: Sha256Digest,
    /// Its number in the account.
    pub email_number: EmailNumber,
    /// INTERNALDATE.
    pub internal_date: UnixMillis,
    /// SAVEDATE.
    pub save_date: UnixMillis,
    /// Octets of the message.
    pub size: u64,
    /// Octets charged to the quota.
    pub charged_octets: u64,
}

impl From<&MessageRow> for ContentRow {
    fn from(row: &MessageRow) -> Self {
        Self {
            uid: row.uid,
            digest: row.digest,
            email_number: row.email_number,
            internal_date: row.internal_date,
            save_date: row.save_date,
            size: row.size,
            charged_octets: row.charged_octets,
        }
    }
}

impl ContentRow {
    fn rest(&self) -> Vec<u8> {
        let mut rest = Vec::with_capacity(40);
        rest.extend_from_slice(&self.email_number.0.to_be_bytes());
        rest.extend_from_slice(&self.internal_date.0.to_be_bytes());
        rest.extend_from_slice(&self.save_date.0.to_be_bytes());
        rest.extend_from_slice(&self.size.to_be_bytes());
        rest.extend_from_slice(&self.charged_octets.to_be_bytes());
        rest
    }

    /// Hash of everything but UID and digest: what a proof shows instead of it.
    pub(crate) fn rest_hash(&self, salts: &Salts) -> Sha256Digest {
        salts.rest_hash(SaltKind::Content, self.key(), &self.rest())
    }

    /// The leaf hash from what a proof discloses.
    pub(crate) fn leaf_of(key: u64, digest: Sha256Digest, rest_hash: Sha256Digest) -> Sha256Digest {
        hash(Tag::ContentLeaf, &[&key.to_be_bytes(), &digest.0, &rest_hash.0])
    }
}

impl Row for ContentRow {
    const LEAF_PAGE: PageSize = PageSize { least: 12, one_in: 6, most: 32 };

    fn key(&self) -> u64 {
        u64::from(self.uid.get())
    }

    fn put_columns(rows: &[Self], out: &mut Vec<u8>) -> Result<(), SnapshotError> {
        let mut before = 0;
        for row in rows {
            put_signed(row.email_number.0.wrapping_sub(before).cast_signed(), out);
            before = row.email_number.0;
        }
        let mut before = 0;
        for row in rows {
            put_signed(row.internal_date.0.wrapping_sub(before), out);
            before = row.internal_date.0;
        }
        for row in rows {
            put_signed(row.save_date.0.wrapping_sub(row.internal_date.0), out);
        }
        for row in rows {
            put_varint(row.size, out);
        }
        for row in rows {
            put_signed(row.charged_octets.wrapping_sub(row.size).cast_signed(), out);
        }
        for row in rows {
            out.extend_from_slice(&row.digest.0);
        }
        Ok(())
    }

    fn read_columns(keys: &[u64], octets: &mut &[u8]) -> Option<Vec<Self>> {
        let mut cursor = Cursor(octets);
        let mut rows = Vec::with_capacity(keys.len());
        let mut number = 0_u64;
        for key in keys {
            number = number.wrapping_add(cursor.signed()?.cast_unsigned());
            rows.push(Self {
                uid: Uid::new(u32::try_from(*key).ok()?)?,
                digest: Sha256Digest([0; 32]),
                email_number: EmailNumber(number),
                internal_date: UnixMillis(0),
                save_date: UnixMillis(0),
                size: 0,
                charged_octets: 0,
            });
        }
        let mut date = 0_i64;
        for row in &mut rows {
            date = date.wrapping_add(cursor.signed()?);
            row.internal_date = UnixMillis(date);
        }
        for row in &mut rows {
            row.save_date = UnixMillis(row.internal_date.0.wrapping_add(cursor.signed()?));
        }
        for row in &mut rows {
            row.size = cursor.varint()?;
        }
        for row in &mut rows {
            row.charged_octets = row.size.wrapping_add(cursor.signed()?.cast_unsigned());
        }
        for row in &mut rows {
            row.digest = cursor.digest()?;
        }
        *octets = cursor.0;
        Some(rows)
    }

    fn leaf(&self, salts: &Salts) -> Result<Sha256Digest, SnapshotError> {
        Ok(Self::leaf_of(self.key(), self.digest, self.rest_hash(salts)))
    }
}

/// A message's flags in a mailbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FlagsRow {
    /// Its UID.
    pub uid: Uid,
    /// Its flags.
    pub flags: Flags,
}

impl From<&MessageRow> for FlagsRow {
    fn from(row: &MessageRow) -> Self {
        Self { uid: row.uid, flags: row.flags.clone() }
    }
}

/// In the stored bits of flags: the row has keywords.
const HAS_KEYWORDS: u8 = 32;

fn too_many_keywords() -> SnapshotError {
    SnapshotError::LimitExceeded {
        what: "the number of keywords of a message",
        limit: u64::from(u16::MAX),
        remedy: "take some of them away first",
    }
}

impl FlagsRow {
    fn bits(&self) -> u8 {
        let Flags { seen, answered, flagged, deleted, draft, .. } = &self.flags;
        let bits = [seen, answered, flagged, deleted, draft];
        bits.iter().enumerate().map(|(at, set)| u8::from(**set) << at).sum()
    }

    fn of_bits(key: u64, bits: u8) -> Option<Self> {
        let bit = |at: u8| bits & (1 << at) != 0;
        let flags = Flags {
            seen: bit(0),
            answered: bit(1),
            flagged: bit(2),
            deleted: bit(3),
            draft: bit(4),
            ..Flags::default()
        };
        Some(Self { uid: Uid::new(u32::try_from(key).ok()?)?, flags })
    }

    fn rest(&self) -> Result<Vec<u8>, SnapshotError> {
        let keywords = &self.flags.keywords;
        let mut octets = vec![self.bits()];
        let count = u16::try_from(keywords.len()).map_err(|_| too_many_keywords())?;
        octets.extend_from_slice(&count.to_be_bytes());
        for keyword in keywords {
            put_counted(keyword.as_str().as_bytes(), &mut octets).ok_or_else(too_many_keywords)?;
        }
        Ok(octets)
    }
}

impl Row for FlagsRow {
    const LEAF_PAGE: PageSize = PageSize { least: 96, one_in: 32, most: 256 };

    fn key(&self) -> u64 {
        u64::from(self.uid.get())
    }

    fn put_columns(rows: &[Self], out: &mut Vec<u8>) -> Result<(), SnapshotError> {
        for row in rows {
            let has_keywords = !row.flags.keywords.is_empty();
            out.push(row.bits() | if has_keywords { HAS_KEYWORDS } else { 0 });
        }
        for row in rows.iter().filter(|row| !row.flags.keywords.is_empty()) {
            put_varint(row.flags.keywords.len() as u64, out);
            for keyword in &row.flags.keywords {
                put_varint(keyword.as_str().len() as u64, out);
                out.extend_from_slice(keyword.as_str().as_bytes());
            }
        }
        Ok(())
    }

    fn read_columns(keys: &[u64], octets: &mut &[u8]) -> Option<Vec<Self>> {
        let mut cursor = Cursor(octets);
        let bits = cursor.take(keys.len())?;
        let mut rows = Vec::with_capacity(keys.len());
        for (key, bits) in keys.iter().zip(bits) {
            rows.push(Self::of_bits(*key, *bits)?);
        }
        for (row, bits) in rows.iter_mut().zip(bits) {
            if bits & !(HAS_KEYWORDS | 31) != 0 {
                return None;
            }
            let count = if bits & HAS_KEYWORDS == 0 { 0 } else { cursor.varint()? };
            for _ in 0..count {
                let length = usize::try_from(cursor.varint()?).ok()?;
                let keyword = std::str::from_utf8(cursor.take(length)?).ok()?;
                row.flags.keywords.insert(Keyword::new(keyword).ok()?);
            }
        }
        *octets = cursor.0;
        Some(rows)
    }

    fn leaf(&self, salts: &Salts) -> Result<Sha256Digest, SnapshotError> {
        let rest = salts.rest_hash(SaltKind::Flags, self.key(), &self.rest()?);
        Ok(hash(Tag::FlagsLeaf, &[&self.key().to_be_bytes(), &rest.0]))
    }
}

/// An account's latest record, in the map that covers every account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccountRow {
    /// The account.
    pub account: storage::ids::AccountId,
    /// The hash of its latest record.
    pub record: Sha256Digest,
    /// Its address when it was looked at.
    pub address: String,
}

impl AccountRow {
    /// The leaf hash. Accounts are not salted: their records are hashed from what is.
    pub(crate) fn leaf_hash(&self) -> Sha256Digest {
        let key = self.account.0.to_be_bytes();
        hash(Tag::AccountLeaf, &[&key, &self.record.0, self.address.as_bytes()])
    }

    /// What stands for the salts where rows have none.
    pub(crate) fn salts() -> Salts {
        Salts::new(SnapshotSecret([0; 32]), MailboxId(0))
    }
}

impl Row for AccountRow {
    const LEAF_PAGE: PageSize = PageSize { least: 12, one_in: 6, most: 32 };

    fn key(&self) -> u64 {
        self.account.0
    }

    fn put_columns(rows: &[Self], out: &mut Vec<u8>) -> Result<(), SnapshotError> {
        for row in rows {
            out.extend_from_slice(&row.record.0);
        }
        for row in rows {
            put_varint(row.address.len() as u64, out);
            out.extend_from_slice(row.address.as_bytes());
        }
        Ok(())
    }

    fn read_columns(keys: &[u64], octets: &mut &[u8]) -> Option<Vec<Self>> {
        let mut cursor = Cursor(octets);
        let mut rows = Vec::with_capacity(keys.len());
        for key in keys {
            let account = storage::ids::AccountId(*key);
            rows.push(Self { account, record: cursor.digest()?, address: String::new() });
        }
        for row in &mut rows {
            let length = usize::try_from(cursor.varint()?).ok()?;
            std::str::from_utf8(cursor.take(length)?).ok()?.clone_into(&mut row.address);
        }
        *octets = cursor.0;
        Some(rows)
    }

    fn leaf(&self, _salts: &Salts) -> Result<Sha256Digest, SnapshotError> {
        Ok(self.leaf_hash())
    }
}
