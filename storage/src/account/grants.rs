//! Which accounts an account may read, besides itself.
//!
//! * A grant is a row under the account that reads. It lets it read everything of the other and
//!   change nothing; that is the floor above's to obey.
//! * Granting twice, or taking away what was not granted, changes nothing.

use bytes::Bytes;

use super::{draft::Draft, queue::Change, scan_all};
use crate::{
    catalog::{
        engine::{Batch, Reader, Scan},
        keys::{self, KeyReader},
        records::GrantRecord,
    },
    error::StoreError,
    ids::AccountId,
};

/// Entries read at once.
const PAGE: usize = 1_000;

/// Accounts that one account may read besides itself.
pub const GRANTS_MAX: u64 = 100;

/// Lets the account read another, or ends that. Says whether anything changed; if so, `also` was
/// applied with it.
pub(crate) struct ChangeGrant {
    pub(crate) read: AccountId,
    pub(crate) granted: bool,
    pub(crate) also: Batch,
}

#[async_trait::async_trait]
impl Change for ChangeGrant {
    type Outcome = bool;

    async fn apply(&self, draft: &mut Draft<'_>) -> Result<bool, StoreError> {
        draft.head()?;
        let key = keys::grant(draft.account, self.read);
        if draft.get(keys::ACCOUNT_GRANTS, &key).await?.is_some() == self.granted {
            return Ok(false);
        }
        if self.granted {
            let prefix = keys::account(draft.account);
            let used = draft.scan_prefix(keys::ACCOUNT_GRANTS, &prefix, usize::MAX).await?.len();
            if used as u64 >= GRANTS_MAX {
                return Err(StoreError::LimitExceeded {
                    what: "the number of accounts that one account may read",
                    limit: GRANTS_MAX,
                    remedy: "take some of them away first",
                });
            }
            let record = GrantRecord { at: draft.now.0 };
            draft.put_record(keys::ACCOUNT_GRANTS, key, &record);
        } else {
            draft.delete(keys::ACCOUNT_GRANTS, key);
        }
        draft.add(self.also.clone());
        Ok(true)
    }
}

/// Reads a key of `account_grants`: who is read.
pub(crate) fn read_in(key: &[u8]) -> Result<AccountId, StoreError> {
    let mut reader = KeyReader::new(keys::ACCOUNT_GRANTS, key);
    reader.take_u64()?;
    let read = AccountId(reader.take_u64()?);
    reader.finish()?;
    Ok(read)
}

/// The accounts that `account` may read, ascending.
pub(crate) async fn read(
    reader: &(impl Reader + ?Sized),
    account: AccountId,
) -> Result<Vec<AccountId>, StoreError> {
    let prefix = keys::account(account);
    let entries = scan_all(reader, Scan::prefix(keys::ACCOUNT_GRANTS, &prefix, PAGE)).await?;
    entries.iter().map(|(key, _): &(Bytes, Bytes)| read_in(key)).collect()
}
