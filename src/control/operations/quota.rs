//! `account/quota`: usage and limits of an account, and more space for it.

use serde::{Deserialize, Serialize};

use crate::{
    control::{Kind, Operation, OperationError, Run, Site},
    registry::{ErrorKind, RegistryError, address::AccountAddress, outbox},
    texts::Text,
};

/// Asks for usage and limits, after adding space when it says so.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct AccountQuota {
    /// The account's address.
    pub account: String,
    /// Increments of 1 GB to add.
    #[serde(default)]
    pub add_gb: u32,
    /// Increments of 1 GB to add to the archive.
    #[serde(default)]
    pub add_archive_gb: u32,
}

/// Usage and limits, of one instant.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct QuotaOutcome {
    /// The account's address.
    pub account: String,
    /// Its plan.
    pub plan: String,
    /// Increments of 1 GB bought.
    pub increments_gb: u32,
    /// Octets charged.
    pub used_octets: u64,
    /// Octets allowed; `None` = unlimited.
    pub limit_octets: Option<u64>,
    /// Messages, copies counted each.
    pub used_messages: u64,
    /// Messages allowed; `None` = unlimited.
    pub limit_messages: Option<u64>,
    /// Mailboxes.
    pub used_mailboxes: u64,
    /// Mailboxes allowed.
    pub limit_mailboxes: u64,
    /// Increments of 1 GB of the archive bought.
    #[serde(default)]
    pub archive_increments_gb: u32,
    /// Octets charged in the archive.
    #[serde(default)]
    pub archive_used_octets: u64,
    /// Octets allowed there; `None` = unlimited.
    #[serde(default)]
    pub archive_limit_octets: Option<u64>,
    /// Messages there, copies counted each.
    #[serde(default)]
    pub archive_used_messages: u64,
}

#[async_trait::async_trait]
impl Operation for AccountQuota {
    const NAME: &'static str = "account/quota";

    type Outcome = QuotaOutcome;

    async fn run(&self, site: &Site, _: &Run) -> Result<QuotaOutcome, OperationError> {
        let registry = &site.registry;
        let address: AccountAddress =
            self.account.parse().map_err(|error| refusal(&RegistryError::Address(error)))?;
        let account = match (self.add_gb, self.add_archive_gb) {
            (0, 0) => registry.account(&address).await,
            (live, archive) => registry.add_space(&address, live, archive).await,
        };
        let account = account.map_err(|error| refusal(&error))?;
        // The store may not have the change yet; it is given it here, and takes each version once.
        outbox::apply_pending(registry, &*site.store)
            .await
            .map_err(|error| OperationError::of_machine(&error))?;
        let quota = site.store.account(account.id).await?.quota().await?;
        Ok(QuotaOutcome {
            account: account.address.to_string(),
            plan: account.plan.name().to_owned(),
            increments_gb: account.increments,
            used_octets: quota.used_octets,
            limit_octets: quota.limit_octets,
            used_messages: quota.used_messages,
            limit_messages: quota.limit_messages,
            used_mailboxes: quota.used_mailboxes,
            limit_mailboxes: quota.limit_mailboxes,
            archive_increments_gb: account.archive_increments,
            archive_used_octets: quota.archive.used_octets,
            archive_limit_octets: quota.archive.limit_octets,
            archive_used_messages: quota.archive.used_messages,
        })
    }
}

fn refusal(error: &RegistryError) -> OperationError {
    let kind = match error.kind() {
        ErrorKind::Invalid => Kind::Invalid,
        ErrorKind::NotFound => Kind::NotFound,
        ErrorKind::Conflict => Kind::Conflict,
        ErrorKind::Temporary => Kind::Temporary,
    };
    let text: Text = error.text();
    OperationError::new(kind, text)
}
