//! Space that is bought beside a plan's own: increments of 1 GB, of live mail and of the archive.
//!
//! Invariant: live mail has no more increments than its plan allows. The archive may have any number.
//!
//! Not here: what a plan grants ([`super::plan`]), how the store learns of it ([`super::outbox`]).

use super::{
    account::RegisteredAccount, address::AccountAddress, database::Registry, error::RegistryError,
};

impl Registry {
    /// Sets how many increments of 1 GB an account has.
    pub async fn set_increments(
        &self,
        address: &AccountAddress,
        increments: u32,
    ) -> Result<RegisteredAccount, RegistryError> {
        self.change_account(address, |account| {
            account.increments = increments;
            Ok(())
        })
        .await
    }

    /// Sets how many increments of 1 GB the archive of an account has.
    pub async fn set_archive_increments(
        &self,
        address: &AccountAddress,
        increments: u32,
    ) -> Result<RegisteredAccount, RegistryError> {
        self.change_account(address, |account| {
            account.archive_increments = increments;
            Ok(())
        })
        .await
    }

    /// Adds space to what an account has: increments of 1 GB of live mail, and of the archive.
    pub async fn add_space(
        &self,
        address: &AccountAddress,
        live: u32,
        archive: u32,
    ) -> Result<RegisteredAccount, RegistryError> {
        self.change_account(address, |account| {
            account.increments = account.increments.saturating_add(live);
            account.archive_increments = account.archive_increments.saturating_add(archive);
            Ok(())
        })
        .await
    }

    /// Adds `increments` of 1 GB to what an account has.
    pub async fn add_increments(
        &self,
        address: &AccountAddress,
        increments: u32,
    ) -> Result<RegisteredAccount, RegistryError> {
        self.change_account(address, |account| {
            account.increments = account.increments.saturating_add(increments);
            Ok(())
        })
        .await
    }

    pub(super) fn check_increments(
        &self,
        account: &RegisteredAccount,
    ) -> Result<(), RegistryError> {
        match self.plans.limits(account.plan).increments_max {
            Some(most) if account.increments > most => {
                Err(RegistryError::TooManyIncrements { plan: account.plan, most })
            }
            _ => Ok(()),
        }
    }
}
