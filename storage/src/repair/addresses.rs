//! The index of addresses: one entry for each account's address, and no other.

use super::{PAGE, Repairer, readable};
use crate::{
    account::read,
    catalog::{
        keys::{self, KeyReader},
        pages::Pages,
        records::{self, AccountRecord, IndexRecord},
    },
    error::StoreError,
    ids::AccountId,
};

pub(super) async fn repair(repairer: &mut Repairer<'_>) -> Result<(), StoreError> {
    leading_nowhere(repairer).await?;
    repairer.flush().await?;
    missing(repairer).await
}

/// Takes out entries that lead to an account with another address.
async fn leading_nowhere(repairer: &mut Repairer<'_>) -> Result<(), StoreError> {
    let engine = &*repairer.core.engine;
    let mut pages = Pages::prefix(keys::ACCOUNT_ADDRESSES, &[], PAGE);
    while let Some(page) = pages.next(engine).await? {
        for (key, value) in &page {
            let index = records::decode::<IndexRecord>(keys::ACCOUNT_ADDRESSES, key, value);
            let owner = match readable(index)? {
                None => None,
                Some(index) => address_of(repairer, AccountId(index.id)).await?,
            };
            if owner.is_none_or(|address| keys::address(&address) != *key) {
                let why = "the address leads to no account that has it";
                repairer.remove(keys::ACCOUNT_ADDRESSES, key.clone(), why).await?;
            }
        }
    }
    Ok(())
}

/// Adds entries for addresses that lead nowhere.
async fn missing(repairer: &mut Repairer<'_>) -> Result<(), StoreError> {
    let engine = &*repairer.core.engine;
    let mut pages = Pages::prefix(keys::ACCOUNTS, &[], PAGE);
    while let Some(page) = pages.next(engine).await? {
        for (key, value) in &page {
            let id = account_in(key);
            let record = records::decode::<AccountRecord>(keys::ACCOUNTS, key, value);
            let (Some(id), Some(record)) = (readable(id)?, readable(record)?) else { continue };
            let address = keys::address(&record.address);
            let index = read::<IndexRecord>(engine, keys::ACCOUNT_ADDRESSES, &address).await;
            match readable(index)?.flatten() {
                Some(index) if index.id == id => {}
                Some(index) if holds(repairer, AccountId(index.id), &record.address).await? => {
                    let other = index.id;
                    let detail = format!("account {other} has its address {} too", record.address);
                    repairer.left(format!("account {id}"), detail);
                }
                _ => {
                    let detail = format!("its address {} leads to it again", record.address);
                    repairer.changed(format!("account {id}"), detail);
                    let index = records::encode(&IndexRecord { id });
                    repairer.put(keys::ACCOUNT_ADDRESSES, address, index).await?;
                }
            }
        }
    }
    Ok(())
}

fn account_in(key: &[u8]) -> Result<u64, StoreError> {
    let mut reader = KeyReader::new(keys::ACCOUNTS, key);
    let id = reader.take_u64()?;
    reader.finish()?;
    Ok(id)
}

async fn holds(repairer: &Repairer<'_>, id: AccountId, address: &str) -> Result<bool, StoreError> {
    let found = address_of(repairer, id).await?;
    Ok(found.is_some_and(|found| keys::address(&found) == keys::address(address)))
}

/// The address of an account, as it will be.
async fn address_of(repairer: &Repairer<'_>, id: AccountId) -> Result<Option<String>, StoreError> {
    if let Some(address) = repairer.restored.get(&id) {
        return Ok(Some(address.clone()));
    }
    let record =
        read::<AccountRecord>(&*repairer.core.engine, keys::ACCOUNTS, &keys::account(id)).await;
    Ok(readable(record)?.flatten().map(|record| record.address))
}
