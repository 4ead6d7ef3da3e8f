//! Where each account was logged in from: the sources that stay open when others guess at it.
//!
//! Kept in the registry, so that a restart in the middle of an attack locks no holder out. At most
//! [`SOURCES_MAX`] an account, the latest. A source is written when it gets in for the first time
//! since the start of the process, beside the login, which does not wait for it.
//!
//! Not here: what they are good for (`throttle`, `authenticator`).

use storage::ids::AccountId;

use super::{Registry, RegistryError, throttle::Source};

/// Sources remembered of one account: home, office, and the networks of a telephone.
const SOURCES_MAX: i64 = 16;

impl Registry {
    /// Remembers that `account` was logged in from `source`.
    pub(super) async fn remember_source(
        &self,
        account: AccountId,
        source: Source,
    ) -> Result<(), RegistryError> {
        let failed = RegistryError::database("remember a source");
        let mut transaction = self.begin().await?;
        sqlx::query(
            "INSERT INTO login_sources (account_id, source, seen_at) VALUES (?, ?, ?) \
             ON CONFLICT (account_id, source) DO UPDATE SET seen_at = excluded.seen_at",
        )
        .bind(account.0.cast_signed())
        .bind(source.to_string())
        .bind(self.now().0)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        sqlx::query(
            "DELETE FROM login_sources WHERE account_id = ?1 AND source NOT IN \
             (SELECT source FROM login_sources WHERE account_id = ?1 \
              ORDER BY seen_at DESC LIMIT ?2)",
        )
        .bind(account.0.cast_signed())
        .bind(SOURCES_MAX)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    /// Whether `account` was logged in from `source`.
    pub(super) async fn knows_source(
        &self,
        account: AccountId,
        source: Source,
    ) -> Result<bool, RegistryError> {
        sqlx::query_scalar::<_, i64>(
            "SELECT COUNT(*) FROM login_sources WHERE account_id = ? AND source = ?",
        )
        .bind(account.0.cast_signed())
        .bind(source.to_string())
        .fetch_one(&self.pool)
        .await
        .map(|found| found > 0)
        .map_err(RegistryError::database("look for a source"))
    }
}
