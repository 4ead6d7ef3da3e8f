//! What the registry has told the store of each account, for `store check` to compare.
//!
//! Not here: the comparison (`control::operations::check`).

use storage::{account::settings::AccountSettings, ids::AccountId};

use super::{
    RegistryError,
    account::{AccountFilter, limits_text},
    database::Registry,
    outbox::AccountChange,
};

/// One account as the store must know it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Told {
    /// The account's number.
    pub id: AccountId,
    /// The version of the settings.
    pub version: u64,
    /// The settings. Their limits are those of the present configuration.
    pub settings: AccountSettings,
    /// A change waits in the outbox: the store does not know this version yet.
    pub waiting: bool,
    /// The plan's limits are those that the store was told: the configuration has not changed
    /// since, or the server has told them anew.
    pub limits_told: bool,
}

impl Registry {
    /// At most `limit` accounts above `after`, ascending.
    pub async fn told(
        &self,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<Told>, RegistryError> {
        let filter = AccountFilter { after, limit: Some(limit), ..AccountFilter::default() };
        let accounts = self.accounts(&filter).await?;
        let mut told = Vec::with_capacity(accounts.len());
        for account in accounts {
            let limits: Option<String> =
                sqlx::query_scalar("SELECT limits FROM accounts WHERE account_id = ?")
                    .bind(account.id.0.cast_signed())
                    .fetch_optional(&self.pool)
                    .await
                    .map_err(RegistryError::database("read an account"))?;
            let change = AccountChange::of(&account, self.plans.limits(account.plan));
            told.push(Told {
                id: account.id,
                version: account.version,
                settings: change.settings(),
                waiting: account.applied_version < account.version,
                limits_told: limits == Some(limits_text(self, account.plan)),
            });
        }
        Ok(told)
    }
}
