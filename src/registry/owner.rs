//! Owners ("titolari"): the persons and bodies that accounts belong to.

use std::fmt;

use sqlx::{QueryBuilder, Row as _, Sqlite, Transaction, sqlite::SqliteRow};
use trust::clock::UnixMillis;

use super::{
    codes::{CodiceFiscale, PartitaIva},
    database::Registry,
    error::{Entity, RegistryError},
};

/// An owner's number.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct OwnerId(pub i64);

impl fmt::Display for OwnerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What an owner is called, and what he is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum OwnerName {
    /// "Persona fisica".
    Person {
        /// "Nome".
        given_name: String,
        /// "Cognome".
        family_name: String,
    },
    /// "Persona giuridica".
    Body {
        /// "Denominazione".
        name: String,
    },
}

impl fmt::Display for OwnerName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person { given_name, family_name } => {
                write!(formatter, "{given_name} {family_name}")
            }
            Self::Body { name } => formatter.write_str(name),
        }
    }
}

/// Everything that is known of an owner and may change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OwnerData {
    /// Name and kind.
    pub name: OwnerName,
    /// Codice fiscale; a person must have one.
    pub codice_fiscale: Option<CodiceFiscale>,
    /// Partita IVA.
    pub partita_iva: Option<PartitaIva>,
}

impl OwnerData {
    fn check(&self) -> Result<(), RegistryError> {
        match &self.name {
            OwnerName::Person { given_name, family_name } => {
                check_name("nome", given_name)?;
                check_name("cognome", family_name)?;
            }
            OwnerName::Body { name } => check_name("denominazione", name)?,
        }
        let person = matches!(self.name, OwnerName::Person { .. });
        let enough = self.codice_fiscale.is_some() || (!person && self.partita_iva.is_some());
        if enough { Ok(()) } else { Err(RegistryError::CodeMissing) }
    }

    fn columns(&self) -> (&'static str, Option<&str>, &str) {
        match &self.name {
            OwnerName::Person { given_name, family_name } => {
                ("persona-fisica", Some(given_name), family_name)
            }
            OwnerName::Body { name } => ("persona-giuridica", None, name),
        }
    }
}

/// Refuses what is empty, longer than 200 characters, or has control characters.
pub(super) fn check_name(what: &'static str, name: &str) -> Result<(), RegistryError> {
    let fits = !name.trim().is_empty()
        && name.chars().count() <= 200
        && !name.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(RegistryError::Name(what)) }
}

/// An owner.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RegisteredOwner {
    /// Its number.
    pub id: OwnerId,
    /// What is known.
    pub data: OwnerData,
    /// Since when.
    pub created_at: UnixMillis,
    /// Last change.
    pub changed_at: UnixMillis,
}

/// Which owners are wanted; an empty filter means all.
#[derive(Clone, Debug, Default)]
pub struct OwnerFilter {
    /// Part of a name, any case.
    pub name: Option<String>,
    /// This codice fiscale.
    pub codice_fiscale: Option<CodiceFiscale>,
    /// This partita IVA.
    pub partita_iva: Option<PartitaIva>,
    /// Only numbers above this one: the last of the page before.
    pub after: Option<OwnerId>,
    /// At most so many; `None` = all.
    pub limit: Option<u32>,
}

const COLUMNS: &str = "SELECT owner_id, kind, given_name, name, codice_fiscale, partita_iva, \
    created_at, changed_at FROM owners";

impl Registry {
    /// Adds an owner. A codice fiscale stands for one owner only.
    pub async fn add_owner(&self, data: OwnerData) -> Result<RegisteredOwner, RegistryError> {
        data.check()?;
        let now = self.now();
        let (kind, given_name, name) = data.columns();
        let id = sqlx::query_scalar(
            "INSERT INTO owners (kind, given_name, name, codice_fiscale, partita_iva, created_at, \
             changed_at) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING owner_id",
        )
        .bind(kind)
        .bind(given_name)
        .bind(name)
        .bind(data.codice_fiscale.as_ref().map(CodiceFiscale::as_str))
        .bind(data.partita_iva.as_ref().map(PartitaIva::as_str))
        .bind(now.0)
        .bind(now.0)
        .fetch_one(&self.pool)
        .await
        .map_err(|error| taken(error, &data))?;
        Ok(RegisteredOwner { id: OwnerId(id), data, created_at: now, changed_at: now })
    }

    /// Returns one owner.
    pub async fn owner(&self, id: OwnerId) -> Result<RegisteredOwner, RegistryError> {
        let mut transaction =
            self.pool.begin().await.map_err(RegistryError::database("read an owner"))?;
        owner_in(&mut transaction, id).await
    }

    /// Returns the owners that `filter` lets through, by number.
    pub async fn owners(
        &self,
        filter: &OwnerFilter,
    ) -> Result<Vec<RegisteredOwner>, RegistryError> {
        let mut query = QueryBuilder::<Sqlite>::new(COLUMNS);
        query.push(" WHERE owner_id > ").push_bind(filter.after.map_or(0, |id| id.0));
        if let Some(name) = &filter.name {
            query
                .push(" AND instr(lower(coalesce(given_name || ' ', '') || name), ")
                .push_bind(name.to_lowercase())
                .push(") > 0");
        }
        if let Some(code) = &filter.codice_fiscale {
            query.push(" AND codice_fiscale = ").push_bind(code.as_str().to_owned());
        }
        if let Some(code) = &filter.partita_iva {
            query.push(" AND partita_iva = ").push_bind(code.as_str().to_owned());
        }
        query.push(" ORDER BY owner_id LIMIT ").push_bind(filter.limit.map_or(-1, i64::from));
        let failed = RegistryError::database("list owners");
        let rows = query.build().fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(|row| owner_of(row).map_err(failed)).collect()
    }

    /// Replaces what is known of an owner by what `change` makes of it.
    pub async fn change_owner(
        &self,
        id: OwnerId,
        change: impl FnOnce(&mut OwnerData) + Send,
    ) -> Result<RegisteredOwner, RegistryError> {
        let mut transaction = self.begin().await?;
        let mut owner = owner_in(&mut transaction, id).await?;
        change(&mut owner.data);
        owner.data.check()?;
        owner.changed_at = self.now();
        let (kind, given_name, name) = owner.data.columns();
        sqlx::query(
            "UPDATE owners SET kind = ?, given_name = ?, name = ?, codice_fiscale = ?, \
             partita_iva = ?, changed_at = ? WHERE owner_id = ?",
        )
        .bind(kind)
        .bind(given_name)
        .bind(name)
        .bind(owner.data.codice_fiscale.as_ref().map(CodiceFiscale::as_str))
        .bind(owner.data.partita_iva.as_ref().map(PartitaIva::as_str))
        .bind(owner.changed_at.0)
        .bind(id.0)
        .execute(&mut *transaction)
        .await
        .map_err(|error| taken(error, &owner.data))?;
        transaction.commit().await.map_err(RegistryError::database("change an owner"))?;
        Ok(owner)
    }

    /// Removes an owner who never had an account.
    pub async fn remove_owner(&self, id: OwnerId) -> Result<RegisteredOwner, RegistryError> {
        let owner = self.owner(id).await?;
        sqlx::query("DELETE FROM owners WHERE owner_id = ?")
            .bind(id.0)
            .execute(&self.pool)
            .await
            .map_err(|error| {
            let in_use = error
                .as_database_error()
                .is_some_and(sqlx::error::DatabaseError::is_foreign_key_violation);
            if in_use {
                RegistryError::InUse(Entity::Owner, id.to_string())
            } else {
                RegistryError::database("remove an owner")(error)
            }
        })?;
        Ok(owner)
    }
}

async fn owner_in(
    transaction: &mut Transaction<'static, Sqlite>,
    id: OwnerId,
) -> Result<RegisteredOwner, RegistryError> {
    let failed = RegistryError::database("read an owner");
    sqlx::query(sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE owner_id = ?")))
        .bind(id.0)
        .fetch_optional(&mut **transaction)
        .await
        .map_err(failed)?
        .ok_or_else(|| RegistryError::NotFound(Entity::Owner, id.to_string()))
        .and_then(|row| owner_of(&row).map_err(failed))
}

fn taken(error: sqlx::Error, data: &OwnerData) -> RegistryError {
    let unique =
        error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation);
    match (&data.codice_fiscale, unique) {
        (Some(code), true) => RegistryError::Exists(Entity::Owner, code.as_str().to_owned()),
        _ => RegistryError::database("change an owner")(error),
    }
}

fn owner_of(row: &SqliteRow) -> Result<RegisteredOwner, sqlx::Error> {
    let name: String = row.try_get("name")?;
    let given_name: Option<String> = row.try_get("given_name")?;
    let code = |column: &str| row.try_get::<Option<String>, _>(column);
    let decoded = |error| sqlx::Error::Decode(Box::new(error));
    Ok(RegisteredOwner {
        id: OwnerId(row.try_get("owner_id")?),
        data: OwnerData {
            name: match given_name {
                Some(given_name) => OwnerName::Person { given_name, family_name: name },
                None => OwnerName::Body { name },
            },
            codice_fiscale: code("codice_fiscale")?
                .map(|code| code.parse().map_err(decoded))
                .transpose()?,
            partita_iva: code("partita_iva")?
                .map(|code| code.parse().map_err(decoded))
                .transpose()?,
        },
        created_at: UnixMillis(row.try_get("created_at")?),
        changed_at: UnixMillis(row.try_get("changed_at")?),
    })
}
