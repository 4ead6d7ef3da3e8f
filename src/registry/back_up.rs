//! What back-up and restore ask of the registry.
//!
//! * A copy is one state of the database, taken while others read and write.
//! * After a restore every account is told to the store again, under a new version: the registry's
//!   copy is younger than the catalog's, which may lack what the outbox had already forgotten.
//! * Numbers given in the lost time, or by another node, are never given again: they go on 2²⁰ later for
//!   each epoch in between.
//!
//! Not here: where the copy goes (`crate::backup`).

use std::path::Path;

use super::{
    Registry, RegistryError,
    account::AccountFilter,
    outbox::{self, AccountChange},
};

/// What numbers of a restored registry are raised by.
const NUMBERS_RAISED_BY: i64 = 1 << 20;

/// Accounts told in one transaction.
const PAGE: u32 = 500;

impl Registry {
    /// Writes a copy of the database, one state of it, to the new file `path`.
    pub async fn copy_to(&self, path: &Path) -> Result<(), RegistryError> {
        sqlx::query("VACUUM INTO ?")
            .bind(path.to_string_lossy().into_owned())
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(RegistryError::database("copy the database"))
    }

    /// Raises every number that the registry gives out by `epochs` times 2²⁰. Once, in a restored
    /// registry or at a take-over.
    pub async fn raise_numbers(&self, epochs: u32) -> Result<(), RegistryError> {
        sqlx::query(
            "UPDATE sqlite_sequence SET seq = seq + ? WHERE name IN ('accounts', 'owners', 'domains')",
        )
        .bind(NUMBERS_RAISED_BY.saturating_mul(epochs.into()))
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(RegistryError::database("raise the numbers"))
    }

    /// Tells the store every account as it is, under a new version. Returns how many.
    pub async fn tell_all_accounts(&self) -> Result<u64, RegistryError> {
        let mut filter = AccountFilter { limit: Some(PAGE), ..AccountFilter::default() };
        let mut told = 0;
        loop {
            let page = self.accounts(&filter).await?;
            let Some(last) = page.last() else { return Ok(told) };
            filter.after = Some(last.id);
            let mut transaction = self.begin().await?;
            for mut account in page {
                account.version += 1;
                sqlx::query("UPDATE accounts SET version = ? WHERE account_id = ?")
                    .bind(account.version.cast_signed())
                    .bind(account.id.0.cast_signed())
                    .execute(&mut *transaction)
                    .await
                    .map_err(RegistryError::database("raise a version"))?;
                let limits = self.plans.limits(account.plan);
                outbox::write(&mut transaction, &AccountChange::of(&account, limits)).await?;
                told += 1;
            }
            transaction.commit().await.map_err(RegistryError::database("tell all accounts"))?;
        }
    }
}
