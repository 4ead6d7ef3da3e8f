//! The space of accounts, as operators set it by IMAP (RFC 9208 §4.1.3).
//!
//! What is set is increments of 1 GB beside the plan's own space: a change of the registry, which
//! the store takes over through the outbox as it does those of commands.

use std::{collections::BTreeSet, sync::Arc};

use protocols::access::{AccountUse, SetQuotaError};
use storage::{account::tier::Tier, store::Store};

use super::usage;
use crate::registry::{ErrorKind, Registry, RegistryError, address::AccountAddress, outbox};

/// Octets of an increment.
const INCREMENT: u64 = 1 << 30;

/// Who may set space, and where.
#[derive(Debug)]
pub(super) struct Operators {
    registry: Arc<Registry>,
    addresses: BTreeSet<String>,
}

impl Operators {
    pub(super) fn new(registry: Arc<Registry>, addresses: &[AccountAddress]) -> Self {
        let addresses = addresses.iter().map(ToString::to_string).collect();
        Self { registry, addresses }
    }

    /// Whether the account with `address` is an operator's.
    pub(super) fn has(&self, address: &str) -> bool {
        self.addresses.contains(&address.to_lowercase())
    }

    /// Usage and limits of the account with `address`.
    pub(super) async fn quota_of(
        &self,
        store: &Store,
        address: &str,
    ) -> Result<AccountUse, SetQuotaError> {
        match store.account_by_address(address).await? {
            Some((id, _)) => Ok(usage(&store.account(id).await?.quota().await?)),
            None => Err(SetQuotaError::NoSuchAccount(address.to_owned())),
        }
    }

    /// Gives the account with `address` space for `octets` of `tier` at least.
    pub(super) async fn set_space(
        &self,
        store: &Store,
        address: &str,
        tier: Tier,
        octets: u64,
    ) -> Result<AccountUse, SetQuotaError> {
        let missing = || SetQuotaError::NoSuchAccount(address.to_owned());
        let forbidden = || SetQuotaError::PlanForbids(address.to_owned());
        let parsed: AccountAddress = address.parse().map_err(|_| missing())?;
        let refused = |error: RegistryError| match error.kind() {
            ErrorKind::NotFound => missing(),
            ErrorKind::Invalid | ErrorKind::Conflict => forbidden(),
            ErrorKind::Temporary => SetQuotaError::Unavailable(Box::new(error)),
        };
        let account = self.registry.account(&parsed).await.map_err(refused)?;
        let limits = self.registry.plans().limits(account.plan);
        let space = match tier {
            Tier::Live => limits.space,
            Tier::Archive => limits.archive_space,
        };
        let space = space.ok_or_else(forbidden)?;
        let more = octets.checked_sub(space.0).ok_or_else(forbidden)?.div_ceil(INCREMENT);
        let increments = u32::try_from(more).map_err(|_| forbidden())?;
        let set = match tier {
            Tier::Live => self.registry.set_increments(&parsed, increments).await,
            Tier::Archive => self.registry.set_archive_increments(&parsed, increments).await,
        };
        set.map_err(refused)?;
        // The store is given it here too, so that the answer tells it; it takes each version once.
        if let Err(error) = outbox::apply_pending(&self.registry, store).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "changes of accounts wait: they are tried again");
        }
        self.quota_of(store, address).await
    }
}
