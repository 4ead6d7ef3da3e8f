//! Hands the registry's changes to the store.
//!
//! A row of the outbox is written in the transaction that changes the account, so that neither can
//! exist without the other. [`apply_pending`] gives it to the store and deletes it afterwards; a
//! crash in between makes it be given again, and the store ignores a version that it has had.
//! A newer version replaces an older one whole, so that order and gaps do not matter.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::{Row as _, Sqlite, Transaction};
use storage::{
    account::settings::{self, AccountSettings},
    error::StoreError,
    ids::AccountId,
    store::Store,
};

use super::{
    account::{AccountState, RegisteredAccount},
    database::Registry,
    error::RegistryError,
    plan::PlanLimits,
    receipts::ReceiptsPlace,
};
use crate::metrics_names;

/// Rows read at a time.
const BATCH: i64 = 256;

/// Everything the store must know of an account, at one version.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AccountChange {
    /// The account's number.
    pub account_id: u64,
    /// The version: ascends with every change.
    pub version: u64,
    /// The address, lower case.
    pub address: String,
    /// Its state.
    pub state: AccountState,
    /// The plan's name.
    pub plan: String,
    /// Space for messages; `None` = unlimited.
    pub quota_octets: Option<u64>,
    /// Octets of a message as submitted.
    pub message_octets_max: u64,
    /// Recipients of one message.
    pub recipients_max: u32,
    /// Messages sent in a minute.
    pub messages_per_minute_max: u32,
    /// Messages sent in a day.
    pub messages_per_day_max: u32,
    /// Whether it is the provider's own service account.
    pub service: bool,
    /// Whether ordinary mail is refused. A change of a version before this one says nothing of it.
    #[serde(default)]
    pub certified_mail_only: bool,
    /// Where receipts are filed. A change of a version before this one says INBOX.
    #[serde(default)]
    pub receipts: ReceiptsPlace,
    /// Space for the archive; `None` = unlimited, and in changes of versions before this one.
    #[serde(default)]
    pub archive_quota_octets: Option<u64>,
}

impl AccountChange {
    pub(super) fn of(account: &RegisteredAccount, limits: PlanLimits) -> Self {
        Self {
            account_id: account.id.0,
            version: account.version,
            address: account.address.to_string(),
            state: account.state,
            plan: account.plan.name().to_owned(),
            quota_octets: limits.quota(account.increments).map(|quota| quota.0),
            message_octets_max: limits.message_octets_max.0,
            recipients_max: limits.recipients_max,
            messages_per_minute_max: limits.messages_per_minute_max,
            messages_per_day_max: limits.messages_per_day_max,
            service: account.owner.is_none(),
            certified_mail_only: account.certified_mail_only,
            receipts: account.receipts,
            archive_quota_octets: limits
                .archive_quota(account.archive_increments)
                .map(|quota| quota.0),
        }
    }

    /// The settings as the store keeps them.
    pub(super) fn settings(&self) -> AccountSettings {
        AccountSettings {
            address: self.address.clone(),
            state: match self.state {
                AccountState::Active => settings::AccountState::Active,
                AccountState::Blocked => settings::AccountState::Blocked,
                AccountState::Closed => settings::AccountState::Closed,
            },
            plan: self.plan.clone(),
            quota_octets: self.quota_octets,
            message_octets_max: self.message_octets_max,
            recipients_max: self.recipients_max,
            messages_per_minute_max: self.messages_per_minute_max,
            messages_per_day_max: self.messages_per_day_max,
            service: self.service,
            // No plan limits how many messages or mailboxes an account has.
            quota_messages: None,
            quota_mailboxes: None,
            certified_mail_only: self.certified_mail_only,
            receipts: self.receipts.kept(),
            archive_quota_octets: self.archive_quota_octets,
            archive_quota_messages: None,
        }
    }
}

/// Takes changes of accounts: the store.
#[async_trait::async_trait]
pub trait AccountSink: Send + Sync {
    /// Makes the account be as `change` says, durably, unless it has had this version or a newer
    /// one. Creates the account, with its INBOX, when there is none.
    async fn apply_account(&self, change: &AccountChange) -> Result<(), StoreError>;
}

/// What one round did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Round {
    /// Changes that the store has now.
    pub applied: u64,
    /// Changes that the store refused for a reason of theirs; they stay in the outbox.
    pub refused: u64,
}

/// Why a round ended early. What was applied before stays applied.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The store cannot take anything now.
    #[error("the store takes no changes of accounts at the moment")]
    Store(#[source] StoreError),
    /// A row is not what this program writes.
    #[error("outbox row {0} is damaged: restore the registry from a back-up")]
    Damaged(i64, #[source] serde_json::Error),
}

pub(super) async fn write(
    transaction: &mut Transaction<'static, Sqlite>,
    change: &AccountChange,
) -> Result<(), RegistryError> {
    let text = serde_json::to_string(change).map_err(|error| RegistryError::Database {
        operation: "write the outbox",
        source: Box::new(error),
    })?;
    sqlx::query("INSERT INTO outbox (account_id, version, change) VALUES (?, ?, ?)")
        .bind(change.account_id.cast_signed())
        .bind(change.version.cast_signed())
        .bind(text)
        .execute(&mut **transaction)
        .await
        .map(drop)
        .map_err(RegistryError::database("write the outbox"))
}

/// Gives the store every change that it does not have, oldest first.
pub async fn apply_pending(
    registry: &Registry,
    sink: &dyn AccountSink,
) -> Result<Round, OutboxError> {
    let mut round = Round::default();
    let mut after = 0;
    loop {
        let rows = pending(registry, after).await?;
        let Some((last, _)) = rows.last() else { return Ok(round) };
        after = *last;
        let mut done = Vec::with_capacity(rows.len());
        let mut stopped = None;
        for (outbox_id, change) in rows {
            match sink.apply_account(&change).await {
                Ok(()) => done.push((outbox_id, change)),
                Err(error) if error.is_temporary() => {
                    stopped = Some(error);
                    break;
                }
                Err(error) => {
                    round.refused += 1;
                    metrics::counter!(metrics_names::ACCOUNT_CHANGES, "outcome" => "refused")
                        .increment(1);
                    tracing::error!(
                        account = change.account_id,
                        version = change.version,
                        error = &error as &dyn std::error::Error,
                        "the store refuses a change of an account",
                    );
                }
            }
        }
        round.applied += u64::try_from(done.len()).unwrap_or(u64::MAX);
        forget(registry, &done).await?;
        metrics::counter!(metrics_names::ACCOUNT_CHANGES, "outcome" => "applied")
            .increment(u64::try_from(done.len()).unwrap_or(u64::MAX));
        if let Some(error) = stopped {
            return Err(OutboxError::Store(error));
        }
    }
}

/// Applies changes as they come until `stop` is cancelled: at once those made in this process,
/// within `interval` those of commands. Errors are logged and tried again.
pub async fn keep_applied(
    registry: &Registry,
    sink: &dyn AccountSink,
    interval: Duration,
    stop: tokio_util::sync::CancellationToken,
) {
    loop {
        if let Err(error) = apply_pending(registry, sink).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "changes of accounts wait: they are tried again",
            );
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = registry.changed.notified() => {}
            () = tokio::time::sleep(interval) => {}
        }
    }
}

impl Registry {
    /// Counts the changes that the store does not have yet.
    pub async fn pending_changes(&self) -> Result<u64, RegistryError> {
        sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM outbox")
            .fetch_one(&self.pool)
            .await
            .map(i64::unsigned_abs)
            .map_err(RegistryError::database("read the outbox"))
    }
}

async fn pending(
    registry: &Registry,
    after: i64,
) -> Result<Vec<(i64, AccountChange)>, OutboxError> {
    let failed = RegistryError::database("read the outbox");
    let rows = sqlx::query(
        "SELECT outbox_id, change FROM outbox WHERE outbox_id > ? ORDER BY outbox_id LIMIT ?",
    )
    .bind(after)
    .bind(BATCH)
    .fetch_all(&registry.pool)
    .await
    .map_err(failed)?;
    rows.iter()
        .map(|row| {
            let outbox_id: i64 = row.try_get("outbox_id").map_err(failed)?;
            let text: String = row.try_get("change").map_err(failed)?;
            let change = serde_json::from_str(&text)
                .map_err(|error| OutboxError::Damaged(outbox_id, error))?;
            Ok((outbox_id, change))
        })
        .collect()
}

async fn forget(registry: &Registry, done: &[(i64, AccountChange)]) -> Result<(), RegistryError> {
    if done.is_empty() {
        return Ok(());
    }
    let failed = RegistryError::database("write the outbox");
    let mut transaction = registry.begin().await?;
    for (outbox_id, change) in done {
        sqlx::query("DELETE FROM outbox WHERE outbox_id = ?")
            .bind(outbox_id)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        sqlx::query(
            "UPDATE accounts SET applied_version = max(applied_version, ?) WHERE account_id = ?",
        )
        .bind(change.version.cast_signed())
        .bind(change.account_id.cast_signed())
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)
}

#[async_trait::async_trait]
impl AccountSink for Store {
    async fn apply_account(&self, change: &AccountChange) -> Result<(), StoreError> {
        let id = AccountId(change.account_id);
        Self::apply_account(self, id, change.version, change.settings()).await.map(drop)
    }
}
