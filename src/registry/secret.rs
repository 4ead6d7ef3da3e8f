//! Keys that all processes of this provider share, drawn once and kept in the registry.

use trust::random::RandomSource;

use super::{Registry, RegistryError};

/// Octets of a key.
const SECRET_OCTETS: usize = 32;

impl Registry {
    /// Returns the key called `name`, drawn from `random` when there is none yet.
    pub(super) async fn secret(
        &self,
        name: &str,
        random: &dyn RandomSource,
    ) -> Result<Vec<u8>, RegistryError> {
        let mut drawn = vec![0; SECRET_OCTETS];
        random.fill(&mut drawn);
        let failed = RegistryError::database("read a key");
        // Of two processes that begin together one draws and both read the same.
        sqlx::query("INSERT OR IGNORE INTO secrets (name, octets) VALUES (?, ?)")
            .bind(name)
            .bind(drawn)
            .execute(&self.pool)
            .await
            .map_err(failed)?;
        sqlx::query_scalar("SELECT octets FROM secrets WHERE name = ?")
            .bind(name)
            .fetch_one(&self.pool)
            .await
            .map_err(failed)
    }
}
