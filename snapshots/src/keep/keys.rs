//! Families and keys of this floor: every layout stands here, once, and in `docs/formats.md`.
//!
//! Numbers are big-endian and of fixed width. The name of a page stands in keys by its first 16
//! octets; whoever reads the page checks all 32.

use std::collections::BTreeSet;

use bytes::{BufMut, Bytes, BytesMut};
use storage::{
    catalog::{engine::Family, keys::object},
    error::StoreError,
    ids::AccountId,
};
use trust::digest::Sha256Digest;

use crate::{
    octets::{Cursor, put_varint},
    tree::page::PageRef,
};

/// Snapshots. Key: AccountId (8), number (8).
pub const SNAPSHOTS: Family = Family("snapshots");
/// What is kept of an account besides its snapshots: secret, overrides, hold. Key: AccountId (8).
pub const SNAPSHOT_ACCOUNTS: Family = Family("snapshot_accounts");
/// Pages of trees, and states. Key: AccountId (8), birth (8), first octets of the name (16).
pub const SNAPSHOT_PAGES: Family = Family("snapshot_pages");
/// Pages that the latest snapshot has not, by the last one that has them. Key: AccountId (8), number
/// of that snapshot (8), number of the snapshot under which they were listed first (8), part (4). Value:
/// see [`departed_value`].
pub const DEPARTED_PAGES: Family = Family("departed_pages");

/// Every family declared here.
pub const FAMILIES: [Family; 4] = [SNAPSHOTS, SNAPSHOT_ACCOUNTS, SNAPSHOT_PAGES, DEPARTED_PAGES];

const NAME_OCTETS: usize = 16;

/// The key in [`SNAPSHOT_ACCOUNTS`], and the prefix of all keys of an account.
#[must_use]
pub fn account(account: AccountId) -> Bytes {
    Bytes::copy_from_slice(&account.0.to_be_bytes())
}

/// The key in [`SNAPSHOTS`], and the prefix in [`SNAPSHOT_PAGES`] of the pages with that birth and in
/// [`DEPARTED_PAGES`] of what departed after that snapshot.
#[must_use]
pub fn snapshot(account: AccountId, number: u64) -> Bytes {
    let mut key = BytesMut::with_capacity(16);
    key.put_u64(account.0);
    key.put_u64(number);
    key.freeze()
}

/// The key in [`SNAPSHOT_PAGES`].
#[must_use]
pub fn page(account: AccountId, page: PageRef) -> Bytes {
    named(account, page.birth, page.id.0)
}

/// The key in [`SNAPSHOT_PAGES`] of the state of snapshot `number`, whose root is `root`.
#[must_use]
pub fn state(account: AccountId, number: u64, root: Sha256Digest) -> Bytes {
    named(account, number, root)
}

fn named(account: AccountId, birth: u64, name: Sha256Digest) -> Bytes {
    let mut key = BytesMut::with_capacity(32);
    key.put_u64(account.0);
    key.put_u64(birth);
    key.put_slice(&name.0[..NAME_OCTETS]);
    key.freeze()
}

/// A page as keys name it: birth and the first octets of its name.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PageKey {
    /// The number of the snapshot that wrote it.
    pub birth: u64,
    /// The first octets of its name.
    pub name: [u8; NAME_OCTETS],
}

impl From<PageRef> for PageKey {
    fn from(page: PageRef) -> Self {
        let mut name = [0; NAME_OCTETS];
        name.copy_from_slice(&page.id.0.0[..NAME_OCTETS]);
        Self { birth: page.birth, name }
    }
}

impl PageKey {
    /// The key in [`SNAPSHOT_PAGES`].
    #[must_use]
    pub fn stored(self, account: AccountId) -> Bytes {
        [&account.0.to_be_bytes()[..], &self.birth.to_be_bytes(), &self.name].concat().into()
    }

    /// The page in a key of [`SNAPSHOT_PAGES`].
    pub fn of_stored(key: &[u8]) -> Result<(AccountId, Self), StoreError> {
        let damaged = || damaged(SNAPSHOT_PAGES, key);
        let (account, rest) = number(key).ok_or_else(damaged)?;
        Ok((AccountId(account), Self::parse(rest).ok_or_else(damaged)?))
    }

    fn parse(octets: &[u8]) -> Option<Self> {
        let (birth, name) = number(octets)?;
        Some(Self { birth, name: name.try_into().ok()? })
    }
}

/// A row of [`DEPARTED_PAGES`], by its key.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DepartedKey {
    /// The last snapshot that is kept and has the pages.
    pub last: u64,
    /// The last one that had them when they departed. No two rows have it and `part` in common, so that
    /// a row can pass to another snapshot without meeting one of that snapshot's.
    pub first: u64,
    /// Which row of several.
    pub part: u32,
}

impl DepartedKey {
    /// The key.
    #[must_use]
    pub fn key(self, account: AccountId) -> Bytes {
        let mut key = BytesMut::with_capacity(28);
        for number in [account.0, self.last, self.first] {
            key.put_u64(number);
        }
        key.put_u32(self.part);
        key.freeze()
    }

    /// Reads a key.
    pub fn parse(key: &[u8]) -> Result<Self, StoreError> {
        let parse = || {
            let (_, rest) = number(key)?;
            let (last, rest) = number(rest)?;
            let (first, part) = number(rest)?;
            Some(Self { last, first, part: u32::from_be_bytes(part.try_into().ok()?) })
        };
        parse().ok_or_else(|| damaged(DEPARTED_PAGES, key))
    }
}

const DEPARTED_FORM: u8 = 1;

/// A value of [`DEPARTED_PAGES`]: `01 ‖ for each page, ascending: birth, less that of the page before,
/// varint ‖ first octets of the name (16)`.
#[must_use]
pub fn departed_value(pages: &BTreeSet<PageKey>) -> Bytes {
    let mut value = vec![DEPARTED_FORM];
    let mut before = 0;
    for page in pages {
        put_varint(page.birth - before, &mut value);
        value.extend_from_slice(&page.name);
        before = page.birth;
    }
    value.into()
}

/// The pages in a value of [`DEPARTED_PAGES`] that stands under `key`.
pub fn departed_pages(key: &[u8], value: &[u8]) -> Result<BTreeSet<PageKey>, StoreError> {
    let parse = || {
        let mut cursor = Cursor(value);
        cursor.u8().filter(|form| *form == DEPARTED_FORM)?;
        let mut pages = BTreeSet::new();
        let mut birth = 0_u64;
        while !cursor.0.is_empty() {
            birth = birth.checked_add(cursor.varint()?)?;
            let page = PageKey { birth, name: cursor.take(NAME_OCTETS)?.try_into().ok()? };
            if pages.last().is_some_and(|last| *last >= page) {
                return None;
            }
            pages.insert(page);
        }
        (!pages.is_empty()).then_some(pages)
    };
    parse().ok_or_else(|| StoreError::Damaged {
        object: object(DEPARTED_PAGES, key),
        detail: "the list of pages follows no known layout".to_owned(),
    })
}

/// Rows that list `pages` under `number`, the last snapshot that has them; none has more than
/// `pages_max` of them.
pub fn departed_rows(
    account: AccountId,
    number: u64,
    pages: BTreeSet<PageKey>,
    pages_max: usize,
) -> Vec<(Bytes, Bytes)> {
    let (mut rows, mut left) = (Vec::new(), pages);
    for part in 0.. {
        let Some(behind) = left.iter().nth(pages_max.max(1)).copied() else {
            if !left.is_empty() {
                let row = DepartedKey { last: number, first: number, part };
                rows.push((row.key(account), departed_value(&left)));
            }
            break;
        };
        let behind = left.split_off(&behind);
        let row = DepartedKey { last: number, first: number, part };
        rows.push((row.key(account), departed_value(&left)));
        left = behind;
    }
    rows
}

/// Account and number in a key of [`SNAPSHOTS`].
pub fn snapshot_of(key: &[u8]) -> Result<(AccountId, u64), StoreError> {
    let numbers = number(key).and_then(|(account, rest)| Some((account, number(rest)?)));
    match numbers {
        Some((account, (number, []))) => Ok((AccountId(account), number)),
        _ => Err(damaged(SNAPSHOTS, key)),
    }
}

fn number(octets: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = octets.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), rest))
}

fn damaged(family: Family, key: &[u8]) -> StoreError {
    StoreError::Damaged {
        object: object(family, key),
        detail: "the key does not have its family's layout".to_owned(),
    }
}
