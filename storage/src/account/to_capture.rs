//! Which accounts a run that takes snapshots has to look at.
//!
//! The head of an account counts its batches, and notes at which count a snapshot had its state. So
//! a run reads nothing but the heads, in the order of keys: two numbers of each account. That may name
//! an account too many (what changed and changed back, what no snapshot shows), never one too few;
//! what such an account's [`Capture`](super::capture::Capture) then says is noted, without a sync.
//!
//! Not here: when runs take place (the floor above).

use crate::{
    catalog::{
        engine::Scan,
        keys::{self, KeyReader},
        records::{self, HeadRecord},
    },
    error::StoreError,
    ids::AccountId,
    store::Store,
};

/// Accounts looked at by one call.
const LOOKED_AT_MAX: usize = 4_096;

/// A part of the accounts that may have changed since their latest snapshot.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ToCapture {
    /// Those that may have changed, ascending.
    pub accounts: Vec<AccountId>,
    /// How many were looked at.
    pub looked_at: usize,
    /// After which account to go on; `None` = all were looked at.
    pub next: Option<AccountId>,
}

impl Store {
    /// Looks at some accounts above `after`, ascending, and returns those that may have changed since
    /// their latest snapshot or have none, at most `limit`; also those whose head cannot be read. One call reads a bounded number of heads,
    /// so it may well name no account and yet say where to go on.
    pub async fn accounts_to_capture(
        &self,
        after: Option<AccountId>,
        limit: usize,
    ) -> Result<ToCapture, StoreError> {
        let mut found = ToCapture::default();
        let mut scan = Scan::prefix(keys::ACCOUNT_HEADS, &[], LOOKED_AT_MAX);
        match after.map(|after| after.0.checked_add(1)) {
            None => {}
            Some(Some(start)) => scan.start = keys::account(AccountId(start)),
            Some(None) => return Ok(found),
        }
        let limit = limit.max(1);
        let heads = self.core.engine.scan(&scan).await?;
        for (key, value) in &heads {
            found.looked_at += 1;
            // Of a head that is no account's the check of the store tells.
            let Ok(account) = account_of(key) else { continue };
            // What is wrong with one head stops one account, and there says so.
            let head = records::decode::<HeadRecord>(keys::ACCOUNT_HEADS, key, value);
            found.next = Some(account);
            if head.is_ok_and(|head| head.captured_version == head.version) {
                continue;
            }
            found.accounts.push(account);
            if found.accounts.len() == limit {
                return Ok(found);
            }
        }
        if heads.len() < LOOKED_AT_MAX {
            found.next = None;
        }
        Ok(found)
    }
}

/// Whose head stands under a key.
fn account_of(key: &[u8]) -> Result<AccountId, StoreError> {
    let mut fields = KeyReader::new(keys::ACCOUNT_HEADS, key);
    let account = AccountId(fields.take_u64()?);
    fields.finish()?;
    Ok(account)
}
