//! The rows of the three kinds of tree, and their layouts.
//!
//! A row begins with its key (u64; a UID or an AccountId). What follows, octet by octet:
//!
//! | kind | layout after the key |
//! |---|---|
//! | content | SHA-256 of the message 32 ‖ *rest*: EmailNumber u64 ‖ INTERNALDATE i64 (ms) ‖ SAVEDATE i64 (ms) ‖ size u64 ‖ charged octets u64 |
//! | flags | *rest*: bits u8 ‖ count u16 ‖ count × (length u16 ‖ keyword) |
//! | account | hash of the latest record 32 ‖ address (length u16, UTF-8) |
//!
//! Bits of flags: 1 `\Seen`, 2 `\Answered`, 4 `\Flagged`, 8 `\Deleted`, 16 `\Draft`. Keywords stand
//! in the order of their lower-case forms. MODSEQ is not part of a state: flags that were changed
//! and changed back are equal flags.

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
    octets::{Cursor, put_counted},
    tree::page::PageSize,
};

/// What a tree can hold.
pub trait Row: Clone + Debug + Eq + Send + Sync + Sized {
    /// How many rows a leaf page has.
    const LEAF_PAGE: PageSize;

    /// Its place in the order; unique in a tree.
    fn key(&self) -> u64;

    /// Returns the octets after the key.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::LimitExceeded`] when a part is longer than its count can say.
    fn encode(&self) -> Result<Vec<u8>, SnapshotError>;

    /// Reads what [`Row::encode`] wrote from the front of `octets` and moves `octets` behind it;
    /// `None` when it is not such a row.
    fn decode(key: u64, octets: &mut &[u8]) -> Option<Self>;

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
    const LEAF_PAGE: PageSize = PageSize { least: 16, one_in: 8, most: 48 };

    fn key(&self) -> u64 {
        u64::from(self.uid.get())
    }

    fn encode(&self) -> Result<Vec<u8>, SnapshotError> {
        Ok([&self.digest.0[..], &self.rest()].concat())
    }

    fn decode(key: u64, octets: &mut &[u8]) -> Option<Self> {
        let mut cursor = Cursor(octets);
        let row = Self {
            uid: Uid::new(u32::try_from(key).ok()?)?,
            digest: cursor.digest()?,
            email_number: EmailNumber(cursor.u64()?),
            internal_date: UnixMillis(cursor.i64()?),
            save_date: UnixMillis(cursor.i64()?),
            size: cursor.u64()?,
            charged_octets: cursor.u64()?,
        };
        *octets = cursor.0;
        Some(row)
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

impl Row for FlagsRow {
    const LEAF_PAGE: PageSize = PageSize { least: 48, one_in: 16, most: 128 };

    fn key(&self) -> u64 {
        u64::from(self.uid.get())
    }

    fn encode(&self) -> Result<Vec<u8>, SnapshotError> {
        let too_many = || SnapshotError::LimitExceeded {
            what: "the number of keywords of a message",
            limit: u64::from(u16::MAX),
        };
        let Flags { seen, answered, flagged, deleted, draft, keywords } = &self.flags;
        let bits = [seen, answered, flagged, deleted, draft];
        let bits = bits.iter().enumerate().map(|(at, set)| u8::from(**set) << at).sum();
        let mut octets = vec![bits];
        let count = u16::try_from(keywords.len()).map_err(|_| too_many())?;
        octets.extend_from_slice(&count.to_be_bytes());
        for keyword in keywords {
            put_counted(keyword.as_str().as_bytes(), &mut octets).ok_or_else(too_many)?;
        }
        Ok(octets)
    }

    fn decode(key: u64, octets: &mut &[u8]) -> Option<Self> {
        let mut cursor = Cursor(octets);
        let bits = cursor.u8().filter(|bits| *bits < 32)?;
        let bit = |at: u8| bits & (1 << at) != 0;
        let mut flags = Flags {
            seen: bit(0),
            answered: bit(1),
            flagged: bit(2),
            deleted: bit(3),
            draft: bit(4),
            ..Flags::default()
        };
        for _ in 0..cursor.u16()? {
            let keyword = std::str::from_utf8(cursor.counted()?).ok()?;
            flags.keywords.insert(Keyword::new(keyword).ok()?);
        }
        *octets = cursor.0;
        Some(Self { uid: Uid::new(u32::try_from(key).ok()?)?, flags })
    }

    fn leaf(&self, salts: &Salts) -> Result<Sha256Digest, SnapshotError> {
        let rest = salts.rest_hash(SaltKind::Flags, self.key(), &self.encode()?);
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
    const LEAF_PAGE: PageSize = PageSize { least: 16, one_in: 8, most: 48 };

    fn key(&self) -> u64 {
        self.account.0
    }

    fn encode(&self) -> Result<Vec<u8>, SnapshotError> {
        let mut octets = self.record.0.to_vec();
        put_counted(self.address.as_bytes(), &mut octets).ok_or(SnapshotError::LimitExceeded {
            what: "the length of an address",
            limit: u64::from(u16::MAX),
        })?;
        Ok(octets)
    }

    fn decode(key: u64, octets: &mut &[u8]) -> Option<Self> {
        let mut cursor = Cursor(octets);
        let record = cursor.digest()?;
        let address = String::from_utf8(cursor.counted()?.to_vec()).ok()?;
        let row = Self { account: storage::ids::AccountId(key), record, address };
        *octets = cursor.0;
        Some(row)
    }

    fn leaf(&self, _salts: &Salts) -> Result<Sha256Digest, SnapshotError> {
        Ok(self.leaf_hash())
    }
}
