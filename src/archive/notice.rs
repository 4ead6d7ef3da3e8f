//! Who is still to be told that his archive is full.
//!
//! The batch in which a run meets a full archive writes the row; the batch that puts the notice into
//! the holder's INBOX removes it (`pec::space_notice`). So he reads it once, whatever is interrupted.

use bytes::Bytes;
use prost::Message;
use storage::{
    catalog::{
        engine::{Batch, Expected},
        keys::{self, KeyReader},
        pages::Pages,
    },
    error::StoreError,
    ids::AccountId,
    mailbox::archive::Full,
    store::Store,
};
use trust::clock::UnixMillis;

use super::ARCHIVE_NOTICES;
use crate::pec::records::{decode, encode};

/// Rows looked at at once for one that reads.
const PAGE: usize = 10;

/// Value in [`ARCHIVE_NOTICES`].
#[derive(Clone, PartialEq, Message)]
pub struct FullRecord {
    /// `archive octets`, `archive messages` or `mailboxes`.
    #[prost(string, tag = "1")]
    pub resource: String,
    /// Used then.
    #[prost(uint64, tag = "2")]
    pub used: u64,
    /// The limit then.
    #[prost(uint64, tag = "3")]
    pub limit: u64,
    /// When, in milliseconds since 1970.
    #[prost(sint64, tag = "4")]
    pub at: i64,
}

impl FullRecord {
    /// `full`, met at the instant `at`.
    #[must_use]
    pub fn new(full: Full, at: UnixMillis) -> Self {
        let Full { resource, used, limit } = full;
        Self { resource: resource.to_owned(), used, limit, at: at.0 }
    }
}

/// A notice that is owed.
#[derive(Clone, Debug)]
pub struct Owed {
    /// To the holder of this account.
    pub account: AccountId,
    /// What is full.
    pub full: FullRecord,
    key: Bytes,
    value: Bytes,
}

impl Owed {
    /// Adds to `batch` that the holder was told, or needs not to be: it happens once.
    pub fn settle(&self, batch: &mut Batch) {
        batch.expect(ARCHIVE_NOTICES, self.key.clone(), Expected::Value(self.value.clone()));
        batch.delete(ARCHIVE_NOTICES, self.key.clone());
    }
}

/// Adds to `batch` that the holder of `account` is to be told.
pub(super) fn owe(batch: &mut Batch, account: AccountId, full: &FullRecord) {
    batch.put(ARCHIVE_NOTICES, keys::account(account), encode(full));
}

/// One row, when it reads.
fn read(key: Bytes, value: Bytes) -> Result<Owed, StoreError> {
    let mut reader = KeyReader::new(ARCHIVE_NOTICES, &key);
    let account = AccountId(reader.take_u64()?);
    reader.finish()?;
    let full = decode(ARCHIVE_NOTICES, &key, &value)?;
    Ok(Owed { account, full, key, value })
}

/// The next notices that are owed, at most `limit`, of the accounts whose rows `pages` has left;
/// `None` at the end. A row that cannot be read is told of and passed over: the others' notices do not
/// wait for it.
///
/// # Errors
///
/// When the store fails.
pub async fn owed(store: &Store, pages: &mut Pages) -> Result<Option<Vec<Owed>>, StoreError> {
    let Some(rows) = pages.next(&**store.engine()).await? else { return Ok(None) };
    let mut owed = Vec::new();
    for (key, value) in rows {
        match read(key, value) {
            Ok(one) => owed.push(one),
            Err(error @ (StoreError::Damaged { .. } | StoreError::TooNew { .. })) => {
                tracing::error!(%error, "a holder cannot be told that his archive is full");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Some(owed))
}

/// Whether a notice is owed that can be read.
///
/// # Errors
///
/// When the store fails.
pub async fn is_any_owed(store: &Store) -> Result<bool, StoreError> {
    let mut pages = all(PAGE);
    while let Some(rows) = pages.next(&**store.engine()).await? {
        if rows.into_iter().any(|(key, value)| read(key, value).is_ok()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Every notice that is owed, `limit` at a time, for [`owed`].
#[must_use]
pub fn all(limit: usize) -> Pages {
    Pages::prefix(ARCHIVE_NOTICES, &[], limit)
}
