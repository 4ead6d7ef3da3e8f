//! The domains that accounts may be in.

use sqlx::{Row as _, Sqlite, Transaction, sqlite::SqliteRow};
use trust::clock::UnixMillis;

use super::{
    database::Registry,
    error::{Entity, RegistryError},
};
use crate::config::DomainName;

/// What a domain is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DomainKind {
    /// Holders' accounts.
    Pec,
    /// The provider's service account only.
    Service,
}

impl DomainKind {
    /// The name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pec => "pec",
            Self::Service => "service",
        }
    }
}

/// A domain of this provider.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RegisteredDomain {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: DomainKind,
    /// Since when.
    pub created_at: UnixMillis,
    /// Accounts that are not closed.
    pub open_accounts: u64,
}

const SELECT: &str = "SELECT name, kind, created_at, \
    (SELECT COUNT(*) FROM accounts WHERE accounts.domain_id = domains.domain_id \
     AND state <> 'closed') AS open_accounts FROM domains";

impl Registry {
    /// Adds a PEC domain. A service domain of that name becomes a PEC domain.
    pub async fn add_domain(&self, name: &DomainName) -> Result<RegisteredDomain, RegistryError> {
        let done = sqlx::query(
            "INSERT INTO domains (name, kind, created_at) VALUES (?, 'pec', ?) \
             ON CONFLICT (name) DO UPDATE SET kind = 'pec' WHERE kind = 'service'",
        )
        .bind(name.as_str())
        .bind(self.now().0)
        .execute(&self.pool)
        .await
        .map_err(RegistryError::database("add a domain"))?;
        if done.rows_affected() == 0 {
            return Err(RegistryError::Exists(Entity::Domain, name.to_string()));
        }
        self.domain(name).await
    }

    /// Adds the PEC domains that are not there yet: those of the configuration.
    pub async fn ensure_domains(&self, names: &[DomainName]) -> Result<(), RegistryError> {
        for name in names {
            match self.add_domain(name).await {
                Ok(_) | Err(RegistryError::Exists(..)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Returns one domain.
    pub async fn domain(&self, name: &DomainName) -> Result<RegisteredDomain, RegistryError> {
        let sql = sqlx::AssertSqlSafe(format!("{SELECT} WHERE name = ?"));
        let row = sqlx::query(sql)
            .bind(name.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(RegistryError::database("read a domain"))?;
        row.ok_or_else(|| RegistryError::NotFound(Entity::Domain, name.to_string()))
            .and_then(|row| domain_of(&row).map_err(RegistryError::database("read a domain")))
    }

    /// Returns every domain, by name.
    pub async fn domains(&self) -> Result<Vec<RegisteredDomain>, RegistryError> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!("{SELECT} ORDER BY name")))
            .fetch_all(&self.pool)
            .await
            .map_err(RegistryError::database("list domains"))?;
        rows.iter()
            .map(domain_of)
            .collect::<Result<_, _>>()
            .map_err(RegistryError::database("list domains"))
    }

    /// Removes a domain that never had an account.
    pub async fn remove_domain(
        &self,
        name: &DomainName,
    ) -> Result<RegisteredDomain, RegistryError> {
        let domain = self.domain(name).await?;
        sqlx::query("DELETE FROM domains WHERE name = ?")
            .bind(name.as_str())
            .execute(&self.pool)
            .await
            .map_err(|error| {
                let in_use = error
                    .as_database_error()
                    .is_some_and(sqlx::error::DatabaseError::is_foreign_key_violation);
                if in_use {
                    RegistryError::InUse(Entity::Domain, name.to_string())
                } else {
                    RegistryError::database("remove a domain")(error)
                }
            })?;
        Ok(domain)
    }
}

/// The number of the domain that an account may be in; the service account's domain is made when
/// absent.
pub(super) async fn domain_id(
    transaction: &mut Transaction<'static, Sqlite>,
    name: &DomainName,
    of_service: bool,
    now: UnixMillis,
) -> Result<i64, RegistryError> {
    let failed = RegistryError::database("read a domain");
    if of_service {
        sqlx::query(
            "INSERT INTO domains (name, kind, created_at) VALUES (?, 'service', ?) \
             ON CONFLICT (name) DO NOTHING",
        )
        .bind(name.as_str())
        .bind(now.0)
        .execute(&mut **transaction)
        .await
        .map_err(failed)?;
    }
    let kinds = if of_service { "('pec', 'service')" } else { "('pec')" };
    let sql = format!("SELECT domain_id FROM domains WHERE name = ? AND kind IN {kinds}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .bind(name.as_str())
        .fetch_optional(&mut **transaction)
        .await
        .map_err(failed)?
        .ok_or_else(|| RegistryError::DomainNotRegistered(name.to_string()))
}

fn domain_of(row: &SqliteRow) -> Result<RegisteredDomain, sqlx::Error> {
    let kind: String = row.try_get("kind")?;
    Ok(RegisteredDomain {
        name: row.try_get("name")?,
        kind: if kind == "pec" { DomainKind::Pec } else { DomainKind::Service },
        created_at: UnixMillis(row.try_get("created_at")?),
        open_accounts: row.try_get::<i64, _>("open_accounts")?.unsigned_abs(),
    })
}
