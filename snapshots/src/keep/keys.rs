//! Families and keys of this floor: every layout stands here, once, and in `docs/formats.md`.
//!
//! Numbers are big-endian and of fixed width. The name of a page stands in keys by its first 16
//! octets; whoever reads the page checks all 32.

use bytes::{BufMut, Bytes, BytesMut};
use storage::{
    catalog::{engine::Family, keys::object},
    error::StoreError,
    ids::AccountId,
};
use trust::digest::Sha256Digest;

use crate::tree::page::PageRef;

/// Snapshots. Key: AccountId (8), number (8).
pub const SNAPSHOTS: Family = Family("snapshots");
/// What is kept of an account besides its snapshots: secret, overrides, hold. Key: AccountId (8).
pub const SNAPSHOT_ACCOUNTS: Family = Family("snapshot_accounts");
/// Pages of trees, and states. Key: AccountId (8), birth (8), first octets of the name (16).
pub const SNAPSHOT_PAGES: Family = Family("snapshot_pages");
/// Pages that the latest snapshot has not, by the last one that has them. Key: AccountId (8), number
/// of that snapshot (8), birth (8), first octets of the name (16); the value is empty.
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

    /// The key in [`DEPARTED_PAGES`].
    #[must_use]
    pub fn departed(self, account: AccountId, last: u64) -> Bytes {
        let (last, birth) = (last.to_be_bytes(), self.birth.to_be_bytes());
        [&account.0.to_be_bytes()[..], &last, &birth, &self.name].concat().into()
    }

    /// The page in a key of [`SNAPSHOT_PAGES`].
    pub fn of_stored(key: &[u8]) -> Result<(AccountId, Self), StoreError> {
        let damaged = || damaged(SNAPSHOT_PAGES, key);
        let (account, rest) = number(key).ok_or_else(damaged)?;
        Ok((AccountId(account), Self::parse(rest).ok_or_else(damaged)?))
    }

    /// The last snapshot that has a page, and the page, in a key of [`DEPARTED_PAGES`].
    pub fn of_departed(key: &[u8]) -> Result<(u64, Self), StoreError> {
        let damaged = || damaged(DEPARTED_PAGES, key);
        let (_, rest) = number(key).ok_or_else(damaged)?;
        let (last, rest) = number(rest).ok_or_else(damaged)?;
        Ok((last, Self::parse(rest).ok_or_else(damaged)?))
    }

    fn parse(octets: &[u8]) -> Option<Self> {
        let (birth, name) = number(octets)?;
        Some(Self { birth, name: name.try_into().ok()? })
    }
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
