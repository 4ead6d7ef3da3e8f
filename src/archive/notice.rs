//! Who is still to be told that his archive is full.
//!
//! The batch in which a run meets a full archive writes the row; the batch that puts the notice into
//! the holder's INBOX removes it (`pec::space_notice`). So he reads it once, whatever is interrupted.

use bytes::Bytes;
use prost::Message;
use storage::{
    catalog::{
        engine::{Batch, Expected, Scan},
        keys::{self, KeyReader},
    },
    error::StoreError,
    ids::AccountId,
    mailbox::archive::Full,
    store::Store,
};
use trust::clock::UnixMillis;

use super::ARCHIVE_NOTICES;
use crate::pec::records::{decode, encode};

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

/// At most `limit` notices that are owed to accounts above `after`, ascending.
///
/// # Errors
///
/// When the store fails or a row is damaged.
pub async fn owed(
    store: &Store,
    after: Option<AccountId>,
    limit: usize,
) -> Result<Vec<Owed>, StoreError> {
    let mut scan = Scan::prefix(ARCHIVE_NOTICES, &[], limit);
    if let Some(after) = after {
        scan.start = keys::account(AccountId(after.0.saturating_add(1)));
    }
    let mut owed = Vec::new();
    for (key, value) in store.engine().scan(&scan).await? {
        let mut reader = KeyReader::new(ARCHIVE_NOTICES, &key);
        let account = AccountId(reader.take_u64()?);
        reader.finish()?;
        let full = decode(ARCHIVE_NOTICES, &key, &value)?;
        owed.push(Owed { account, full, key, value });
    }
    Ok(owed)
}
