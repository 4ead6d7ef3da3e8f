//! Accounts ("caselle"): who has which address, on which plan, in which state.
//!
//! Every change raises the account's version and writes the outbox, in one transaction.

use serde::{Deserialize, Serialize};
use sqlx::{QueryBuilder, Row as _, Sqlite, Transaction, sqlite::SqliteRow};
use storage::ids::AccountId;
use trust::clock::UnixMillis;

use super::{
    address::AccountAddress,
    credential::Credential,
    database::Registry,
    domain,
    error::{Entity, RegistryError},
    outbox::{self, AccountChange},
    owner::{OwnerId, check_name},
    plan::Plan,
    receipts::ReceiptsPlace,
};
use crate::config::DomainName;

/// Whether an account works.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountState {
    /// It sends, receives and can be read.
    Active,
    /// Somebody blocked it, for a reason that is kept.
    Blocked,
    /// It ended. For ever.
    Closed,
}

impl AccountState {
    /// The name in tables and commands.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Blocked => "blocked",
            Self::Closed => "closed",
        }
    }

    /// The state that the tables call `name`. What is not known is closed: nobody gets in by a
    /// misreading.
    pub(super) fn of_name(name: &str) -> Self {
        match name {
            "active" => Self::Active,
            "blocked" => Self::Blocked,
            _ => Self::Closed,
        }
    }
}

/// An account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RegisteredAccount {
    /// Its number, also in the store.
    pub id: AccountId,
    /// Its address.
    pub address: AccountAddress,
    /// Whose it is; `None` for the service account.
    pub owner: Option<OwnerId>,
    /// Its plan.
    pub plan: Plan,
    /// Increments of 1 GB bought.
    pub increments: u32,
    /// Its state.
    pub state: AccountState,
    /// Why it is blocked.
    pub block_reason: Option<String>,
    /// Since when.
    pub created_at: UnixMillis,
    /// Last change.
    pub changed_at: UnixMillis,
    /// When it was closed.
    pub closed_at: Option<UnixMillis>,
    /// Counts the changes, from 1.
    pub version: u64,
    /// The last version that the store has; less than `version` while a change waits.
    pub applied_version: u64,
    /// Whether a password is set.
    pub has_password: bool,
    /// Whether mail that is not certified is refused.
    pub certified_mail_only: bool,
    /// Where receipts are filed.
    pub receipts: ReceiptsPlace,
    /// Increments of 1 GB of the archive.
    pub archive_increments: u32,
}

/// What a new account needs.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// The address, in a domain of ours.
    pub address: AccountAddress,
    /// Whose it is; `None` exactly when the plan is [`Plan::Service`].
    pub owner: Option<OwnerId>,
    /// The plan.
    pub plan: Plan,
    /// Increments of 1 GB.
    pub increments: u32,
    /// The first password.
    pub credential: Option<Credential>,
}

/// Which accounts are wanted; an empty filter means all.
#[derive(Clone, Debug, Default)]
pub struct AccountFilter {
    /// In this domain.
    pub domain: Option<DomainName>,
    /// Of this owner.
    pub owner: Option<OwnerId>,
    /// On this plan.
    pub plan: Option<Plan>,
    /// In this state.
    pub state: Option<AccountState>,
    /// With this in the address.
    pub address_part: Option<String>,
    /// Only numbers above this one: the last of the page before.
    pub after: Option<AccountId>,
    /// At most so many; `None` = all.
    pub limit: Option<u32>,
}

const COLUMNS: &str = "SELECT account_id, address, owner_id, plan, increments, state, \
    block_reason, created_at, changed_at, closed_at, version, applied_version, limits, certified_mail_only, receipts, archive_increments, \
    EXISTS (SELECT 1 FROM credentials WHERE credentials.account_id = accounts.account_id) \
    AS has_password FROM accounts";

impl Registry {
    /// Creates an account. It can be used once the store has it, which [`outbox`] sees to.
    pub async fn add_account(&self, new: NewAccount) -> Result<RegisteredAccount, RegistryError> {
        let service = new.plan == Plan::Service;
        if service != new.owner.is_none() {
            return Err(RegistryError::ServicePlan);
        }
        let mut transaction = self.begin().await?;
        let now = self.now();
        if let Some(owner) = new.owner {
            self.check_owner(&mut transaction, owner).await?;
        }
        let domain_id =
            domain::domain_id(&mut transaction, new.address.domain(), service, now).await?;
        let mut account = RegisteredAccount {
            id: AccountId(0),
            address: new.address,
            owner: new.owner,
            plan: new.plan,
            increments: new.increments,
            state: AccountState::Active,
            block_reason: None,
            created_at: now,
            changed_at: now,
            closed_at: None,
            version: 1,
            applied_version: 0,
            has_password: false,
            certified_mail_only: false,
            receipts: ReceiptsPlace::default(),
            archive_increments: 0,
        };
        self.check_increments(&account)?;
        account.id = insert(&mut transaction, &account, domain_id).await?;
        self.tell_store(&mut transaction, &account).await?;
        if let Some(credential) = &new.credential {
            put_credential(&mut transaction, account.id, credential, now).await?;
            account.has_password = true;
        }
        transaction.commit().await.map_err(RegistryError::database("add an account"))?;
        self.changed.notify_one();
        Ok(account)
    }

    /// Creates the provider's service account when it is absent, and returns it.
    pub async fn ensure_service_account(
        &self,
        address: &AccountAddress,
    ) -> Result<RegisteredAccount, RegistryError> {
        match self.account(address).await {
            Err(RegistryError::NotFound(..)) => {}
            Ok(account) if account.plan != Plan::Service => return Err(RegistryError::ServicePlan),
            found => return found,
        }
        let new = NewAccount {
            address: address.clone(),
            owner: None,
            plan: Plan::Service,
            increments: 0,
            credential: None,
        };
        match self.add_account(new).await {
            Err(RegistryError::Exists(..)) => self.account(address).await,
            other => other,
        }
    }

    /// Returns the account that has `address`, open or closed.
    pub async fn account(
        &self,
        address: &AccountAddress,
    ) -> Result<RegisteredAccount, RegistryError> {
        let mut transaction =
            self.pool.begin().await.map_err(RegistryError::database("read an account"))?;
        Ok(account_in(&mut transaction, address).await?.0)
    }

    /// Returns the accounts that `filter` lets through, by number.
    pub async fn accounts(
        &self,
        filter: &AccountFilter,
    ) -> Result<Vec<RegisteredAccount>, RegistryError> {
        let mut query = QueryBuilder::<Sqlite>::new(COLUMNS);
        let after = filter.after.map_or(0, |id| id.0.cast_signed());
        query.push(" WHERE account_id > ").push_bind(after);
        if let Some(domain) = &filter.domain {
            query
                .push(" AND domain_id = (SELECT domain_id FROM domains WHERE name = ")
                .push_bind(domain.as_str().to_owned())
                .push(")");
        }
        if let Some(owner) = filter.owner {
            query.push(" AND owner_id = ").push_bind(owner.0);
        }
        if let Some(plan) = filter.plan {
            query.push(" AND plan = ").push_bind(plan.name());
        }
        if let Some(state) = filter.state {
            query.push(" AND state = ").push_bind(state.name());
        }
        if let Some(part) = &filter.address_part {
            query.push(" AND instr(address, ").push_bind(part.to_ascii_lowercase()).push(") > 0");
        }
        query.push(" ORDER BY account_id LIMIT ").push_bind(filter.limit.map_or(-1, i64::from));
        let failed = RegistryError::database("list accounts");
        let rows = query.build().fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(|row| account_of(row).map_err(failed)).collect()
    }

    /// Puts an account on another plan. Space may then be over quota: nothing is deleted.
    pub async fn set_plan(
        &self,
        address: &AccountAddress,
        plan: Plan,
    ) -> Result<RegisteredAccount, RegistryError> {
        self.change_account(address, |account| {
            if plan == Plan::Service || account.plan == Plan::Service {
                return Err(RegistryError::ServicePlan);
            }
            account.plan = plan;
            Ok(())
        })
        .await
    }

    /// Sets whether an account refuses mail that is not certified. The provider's own takes all.
    pub async fn set_certified_mail_only(
        &self,
        address: &AccountAddress,
        only: bool,
    ) -> Result<RegisteredAccount, RegistryError> {
        self.change_account(address, |account| {
            if account.plan == Plan::Service {
                return Err(RegistryError::ServicePlan);
            }
            account.certified_mail_only = only;
            Ok(())
        })
        .await
    }

    /// Blocks an account: nobody logs in, nothing is sent. Blocking again changes the reason.
    pub async fn block(
        &self,
        address: &AccountAddress,
        reason: &str,
    ) -> Result<RegisteredAccount, RegistryError> {
        check_name("motivo", reason)?;
        self.change_account(address, |account| {
            account.state = AccountState::Blocked;
            account.block_reason = Some(reason.to_owned());
            Ok(())
        })
        .await
    }

    /// Ends the block of an account.
    pub async fn unblock(
        &self,
        address: &AccountAddress,
    ) -> Result<RegisteredAccount, RegistryError> {
        self.change_account(address, |account| {
            account.state = AccountState::Active;
            account.block_reason = None;
            Ok(())
        })
        .await
    }

    /// Closes an account for ever, and forgets its password.
    pub async fn close_account(
        &self,
        address: &AccountAddress,
    ) -> Result<RegisteredAccount, RegistryError> {
        let now = self.now();
        self.change_account(address, |account| {
            account.state = AccountState::Closed;
            account.block_reason = None;
            account.closed_at = Some(now);
            Ok(())
        })
        .await
    }

    /// Sets the password of an account.
    pub async fn set_credential(
        &self,
        address: &AccountAddress,
        credential: &Credential,
    ) -> Result<RegisteredAccount, RegistryError> {
        let mut transaction = self.begin().await?;
        let (mut account, _) = account_in(&mut transaction, address).await?;
        if account.state == AccountState::Closed {
            return Err(RegistryError::State(address.to_string(), account.state));
        }
        put_credential(&mut transaction, account.id, credential, self.now()).await?;
        transaction.commit().await.map_err(RegistryError::database("set a password"))?;
        account.has_password = true;
        Ok(account)
    }

    /// Tells the store again about every open account whose limits the configuration has changed
    /// meanwhile; returns how many. Run at start.
    pub async fn refresh_limits(&self) -> Result<u64, RegistryError> {
        let mut refreshed = 0;
        for plan in Plan::ALL {
            let limits = limits_text(self, plan);
            let failed = RegistryError::database("refresh limits");
            let stale: Vec<String> = sqlx::query_scalar(
                "SELECT address FROM accounts WHERE plan = ? AND limits <> ? AND state <> 'closed'",
            )
            .bind(plan.name())
            .bind(&limits)
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
            for address in stale {
                let address: AccountAddress = address.parse().map_err(RegistryError::Address)?;
                self.change_account(&address, |_| Ok(())).await?;
                refreshed += 1;
            }
        }
        Ok(refreshed)
    }

    pub(super) async fn change_account(
        &self,
        address: &AccountAddress,
        change: impl FnOnce(&mut RegisteredAccount) -> Result<(), RegistryError> + Send,
    ) -> Result<RegisteredAccount, RegistryError> {
        let mut transaction = self.begin().await?;
        let (before, told) = account_in(&mut transaction, address).await?;
        if before.state == AccountState::Closed {
            return Err(RegistryError::State(address.to_string(), before.state));
        }
        let mut account = before.clone();
        change(&mut account)?;
        self.check_increments(&account)?;
        if account == before && told == limits_text(self, account.plan) {
            return Ok(account);
        }
        account.version += 1;
        account.changed_at = self.now();
        update(&mut transaction, &account).await?;
        self.tell_store(&mut transaction, &account).await?;
        if account.state == AccountState::Closed {
            sqlx::query("DELETE FROM credentials WHERE account_id = ?")
                .bind(account.id.0.cast_signed())
                .execute(&mut *transaction)
                .await
                .map_err(RegistryError::database("forget a password"))?;
            account.has_password = false;
        }
        transaction.commit().await.map_err(RegistryError::database("change an account"))?;
        self.changed.notify_one();
        Ok(account)
    }

    async fn check_owner(
        &self,
        transaction: &mut Transaction<'static, Sqlite>,
        owner: OwnerId,
    ) -> Result<(), RegistryError> {
        let open: Option<i64> = sqlx::query_scalar(
            "SELECT (SELECT COUNT(*) FROM accounts WHERE accounts.owner_id = owners.owner_id \
             AND state <> 'closed') FROM owners WHERE owner_id = ?",
        )
        .bind(owner.0)
        .fetch_optional(&mut **transaction)
        .await
        .map_err(RegistryError::database("read an owner"))?;
        match open {
            None => Err(RegistryError::NotFound(Entity::Owner, owner.to_string())),
            Some(1..) if self.one_account_per_codice_fiscale => {
                Err(RegistryError::OwnerHasAccount(owner.to_string()))
            }
            Some(_) => Ok(()),
        }
    }

    async fn tell_store(
        &self,
        transaction: &mut Transaction<'static, Sqlite>,
        account: &RegisteredAccount,
    ) -> Result<(), RegistryError> {
        let limits = self.plans.limits(account.plan);
        sqlx::query("UPDATE accounts SET limits = ? WHERE account_id = ?")
            .bind(limits_text(self, account.plan))
            .bind(account.id.0.cast_signed())
            .execute(&mut **transaction)
            .await
            .map_err(RegistryError::database("change an account"))?;
        outbox::write(transaction, &AccountChange::of(account, limits)).await
    }
}

/// The plan's limits in a form that can be compared.
pub(super) fn limits_text(registry: &Registry, plan: Plan) -> String {
    format!("{:?}", registry.plans.limits(plan))
}

async fn insert(
    transaction: &mut Transaction<'static, Sqlite>,
    account: &RegisteredAccount,
    domain_id: i64,
) -> Result<AccountId, RegistryError> {
    let address = account.address.to_string();
    sqlx::query_scalar::<_, i64>(
        "INSERT INTO accounts (address, domain_id, owner_id, plan, increments, state, created_at, \
         changed_at, version, limits) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, '') RETURNING account_id",
    )
    .bind(&address)
    .bind(domain_id)
    .bind(account.owner.map(|owner| owner.0))
    .bind(account.plan.name())
    .bind(account.increments)
    .bind(account.state.name())
    .bind(account.created_at.0)
    .bind(account.changed_at.0)
    .bind(account.version.cast_signed())
    .fetch_one(&mut **transaction)
    .await
    .map(|id| AccountId(id.unsigned_abs()))
    .map_err(|error| {
        if error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation) {
            RegistryError::Exists(Entity::Account, address)
        } else {
            RegistryError::database("add an account")(error)
        }
    })
}

async fn update(
    transaction: &mut Transaction<'static, Sqlite>,
    account: &RegisteredAccount,
) -> Result<(), RegistryError> {
    sqlx::query(
        "UPDATE accounts SET plan = ?, increments = ?, state = ?, block_reason = ?, \
         changed_at = ?, closed_at = ?, version = ?, certified_mail_only = ?, receipts = ?, \
         archive_increments = ? WHERE account_id = ?",
    )
    .bind(account.plan.name())
    .bind(account.increments)
    .bind(account.state.name())
    .bind(&account.block_reason)
    .bind(account.changed_at.0)
    .bind(account.closed_at.map(|instant| instant.0))
    .bind(account.version.cast_signed())
    .bind(account.certified_mail_only)
    .bind(account.receipts.name())
    .bind(account.archive_increments)
    .bind(account.id.0.cast_signed())
    .execute(&mut **transaction)
    .await
    .map(drop)
    .map_err(RegistryError::database("change an account"))
}

async fn put_credential(
    transaction: &mut Transaction<'static, Sqlite>,
    id: AccountId,
    credential: &Credential,
    now: UnixMillis,
) -> Result<(), RegistryError> {
    sqlx::query(
        "INSERT OR REPLACE INTO credentials (account_id, argon2, scram_salt, scram_iterations, \
         scram_stored_key, scram_server_key, changed_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(id.0.cast_signed())
    .bind(&credential.argon2)
    .bind(&credential.scram.salt)
    .bind(credential.scram.iterations)
    .bind(credential.scram.stored_key.as_slice())
    .bind(credential.scram.server_key.as_slice())
    .bind(now.0)
    .execute(&mut **transaction)
    .await
    .map(drop)
    .map_err(RegistryError::database("set a password"))
}

/// The account, and the limits that the store was last told.
async fn account_in(
    transaction: &mut Transaction<'static, Sqlite>,
    address: &AccountAddress,
) -> Result<(RegisteredAccount, String), RegistryError> {
    let failed = RegistryError::database("read an account");
    let row = sqlx::query(sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE address = ?")))
        .bind(address.to_string())
        .fetch_optional(&mut **transaction)
        .await
        .map_err(failed)?
        .ok_or_else(|| RegistryError::NotFound(Entity::Account, address.to_string()))?;
    Ok((account_of(&row).map_err(failed)?, row.try_get("limits").map_err(failed)?))
}

fn account_of(row: &SqliteRow) -> Result<RegisteredAccount, sqlx::Error> {
    fn decoded(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
        sqlx::Error::Decode(Box::new(error))
    }
    let text = |column: &str| row.try_get::<String, _>(column);
    let number = |column: &str| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
    let owner: Option<i64> = row.try_get("owner_id")?;
    let closed_at: Option<i64> = row.try_get("closed_at")?;
    Ok(RegisteredAccount {
        id: AccountId(number("account_id")?),
        address: text("address")?.parse().map_err(decoded)?,
        owner: owner.map(OwnerId),
        plan: text("plan")?.parse().map_err(decoded)?,
        increments: row.try_get("increments")?,
        state: AccountState::of_name(&text("state")?),
        block_reason: row.try_get("block_reason")?,
        created_at: UnixMillis(row.try_get("created_at")?),
        changed_at: UnixMillis(row.try_get("changed_at")?),
        closed_at: closed_at.map(UnixMillis),
        version: number("version")?,
        applied_version: number("applied_version")?,
        has_password: row.try_get("has_password")?,
        certified_mail_only: row.try_get("certified_mail_only")?,
        receipts: ReceiptsPlace::of_name(&text("receipts")?),
        archive_increments: row.try_get("archive_increments")?,
    })
}
