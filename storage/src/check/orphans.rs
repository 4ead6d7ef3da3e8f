//! Keys that belong to nobody: entries of accounts without a head, addresses that lead nowhere.
//!
//! Families are walked from account to account, one seek each, not from entry to entry.

use std::sync::Arc;

use bytes::Bytes;

use super::{Fault, Invariant, PAGE, Reporter};
use crate::{
    account::{after, read},
    catalog::{
        engine::{Family, Scan},
        keys::{self, KeyReader},
        pages::Pages,
        records::{self, AccountRecord, IndexRecord},
    },
    error::StoreError,
    ids::AccountId,
    store::StoreCore,
};

/// Checks every family that is keyed by account, then the addresses.
pub(super) async fn check(
    core: &Arc<StoreCore>,
    reporter: &mut Reporter<'_>,
) -> Result<(), StoreError> {
    for family in keys::OF_ACCOUNTS {
        if family != keys::ACCOUNT_HEADS {
            check_family(core, family, reporter).await?;
        }
    }
    check_addresses(core, reporter).await
}

async fn check_family(
    core: &Arc<StoreCore>,
    family: Family,
    reporter: &mut Reporter<'_>,
) -> Result<(), StoreError> {
    let mut start = Bytes::new();
    loop {
        let scan = Scan { family, start, end: None, reverse: false, limit: 1 };
        let found = core.engine.scan(&scan).await?;
        let Some((key, _)) = found.first() else { return Ok(()) };
        let Some(id) = reporter.take(Invariant::Durable, account_of(family, key))? else {
            start = after(key);
            continue;
        };
        if core.engine.get(keys::ACCOUNT_HEADS, &keys::account(id)).await?.is_none() {
            let object = keys::object(family, key);
            reporter.violation(Invariant::Durable, object, Fault::NoAccount { account: id });
        }
        match id.0.checked_add(1) {
            Some(next) => start = keys::account(AccountId(next)),
            None => return Ok(()),
        }
    }
}

fn account_of(family: Family, key: &[u8]) -> Result<AccountId, StoreError> {
    KeyReader::new(family, key).take_u64().map(AccountId)
}

async fn check_addresses(
    core: &Arc<StoreCore>,
    reporter: &mut Reporter<'_>,
) -> Result<(), StoreError> {
    let mut pages = Pages::prefix(keys::ACCOUNT_ADDRESSES, &[], PAGE);
    while let Some(page) = pages.next(&*core.engine).await? {
        for (key, value) in &page {
            let index = records::decode::<IndexRecord>(keys::ACCOUNT_ADDRESSES, key, value);
            let Some(index) = reporter.take(Invariant::Ascending, index)? else { continue };
            let account = keys::account(AccountId(index.id));
            // Damaged settings were reported with their account.
            let settings = read::<AccountRecord>(&*core.engine, keys::ACCOUNTS, &account).await;
            let settings = match settings {
                Err(StoreError::Damaged { .. } | StoreError::TooNew { .. }) => continue,
                settings => settings?,
            };
            if settings.is_none_or(|settings| keys::address(&settings.address) != *key) {
                let object = format!("the address {}", String::from_utf8_lossy(key));
                let fault = Fault::AddressLeadsElsewhere { account: AccountId(index.id) };
                reporter.violation(Invariant::Ascending, object, fault);
            }
        }
    }
    Ok(())
}
