//! Checks logins against the registry.
//!
//! * A password is hashed on a small blocking pool of its own; who would have to wait too long is
//!   told to try later.
//! * An unknown login costs one hashing too, so that time tells nothing about who has an account.
//! * A success is remembered for minutes, under a key that only this process knows and that
//!   contains the stored hash: a new password makes it void at once.
//! * Who fails too often waits ([`super::throttle`]); the wait is looked at before the memory of
//!   successes, which would otherwise answer guesses for free.

use std::{
    error::Error,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use protocols::access::{Authenticator, Identity, LoginError, Protocol};
use sqlx::Row as _;
use storage::ids::AccountId;
use tokio::{sync::Semaphore, time::Instant};
use trust::{digest::Sha256Digest, random::RandomSource};

use super::{
    account::AccountState,
    address::AccountAddress,
    credential::{self, CredentialError, hmac_sha256},
    database::Registry,
    error::RegistryError,
    password::PreparedPassword,
    recent::Recent,
    throttle::{Source, Throttle},
};
use crate::{config::LoginSettings, metrics_names};

type Cause = Box<dyn Error + Send + Sync>;

/// Checks passwords of accounts.
#[derive(Debug)]
pub struct RegistryAuthenticator {
    registry: Arc<Registry>,
    settings: LoginSettings,
    throttle: Throttle,
    successes: Mutex<Recent<[u8; 32], Instant>>,
    success_key: [u8; 32],
    /// What an unknown login is compared with.
    nobody: String,
    hashings: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// What the registry knows of a login.
struct Known {
    identity: Identity,
    state: AccountState,
    in_store: bool,
    argon2: String,
}

impl RegistryAuthenticator {
    /// Makes an authenticator; hashes once, for tens of milliseconds.
    pub async fn new(
        registry: Arc<Registry>,
        settings: LoginSettings,
        random: Arc<dyn RandomSource>,
    ) -> Result<Self, CredentialError> {
        let mut success_key = [0; 32];
        random.fill(&mut success_key);
        let nobody = tokio::task::spawn_blocking(move || {
            let password = super::password::generate(&*random);
            PreparedPassword::new(&password).map(|password| credential::hash(&password, &*random))
        })
        .await;
        let nobody = match nobody {
            Ok(Ok(hash)) => hash?,
            // A generated password is always prepared; a hash that nothing fits serves as well.
            _ => String::from(
                "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            ),
        };
        Ok(Self {
            throttle: Throttle::new(&settings),
            successes: Mutex::new(Recent::new(settings.successes_remembered_max)),
            success_key,
            nobody,
            hashings: Arc::new(Semaphore::new(settings.hashings_max)),
            waiting: AtomicUsize::new(0),
            registry,
            settings,
        })
    }

    async fn check(
        &self,
        peer: IpAddr,
        login: &str,
        password: &str,
    ) -> Result<Identity, LoginError> {
        let source = Source::of(peer);
        let digest = Sha256Digest::of(login.trim().to_ascii_lowercase().as_bytes());
        if !self.throttle.allows(digest, source, Instant::now()) {
            return Err(LoginError::TooManyFailures);
        }
        let known = self.look_up(login).await.map_err(unavailable)?;
        let Ok(password) = PreparedPassword::new(password) else {
            self.throttle.failed(digest, source, Instant::now());
            return Err(LoginError::BadCredentials);
        };
        let hash = known.as_ref().map_or(&self.nobody, |known| &known.argon2);
        let right = self.is_right(digest, source, &password, hash).await?;
        let Some(known) = known.filter(|_| right) else {
            self.throttle.failed(digest, source, Instant::now());
            return Err(LoginError::BadCredentials);
        };
        self.throttle.succeeded(digest, source);
        match known.state {
            AccountState::Active if known.in_store => Ok(known.identity),
            AccountState::Active => {
                Err(unavailable(Cause::from("the store does not have the account yet")))
            }
            AccountState::Blocked | AccountState::Closed => Err(LoginError::Blocked),
        }
    }

    /// Compares with `hash`, from memory or by hashing.
    async fn is_right(
        &self,
        login: Sha256Digest,
        source: Source,
        password: &PreparedPassword,
        hash: &str,
    ) -> Result<bool, LoginError> {
        let mut seed = hash.as_bytes().to_vec();
        seed.push(0);
        seed.extend_from_slice(password.as_octets());
        let tag = hmac_sha256(&self.success_key, &seed).map_err(unavailable)?;
        if self.remembers(&tag) {
            return Ok(true);
        }
        let permit = self.hashing_permit().await?;
        // Others may have failed, or got in with the same password, while this one waited.
        if !self.throttle.allows(login, source, Instant::now()) {
            return Err(LoginError::TooManyFailures);
        }
        if self.remembers(&tag) {
            return Ok(true);
        }
        let (password, hash) = (password.clone(), hash.to_owned());
        let started = Instant::now();
        let right = tokio::task::spawn_blocking(move || {
            let right = credential::verify(&password, &hash);
            drop(permit);
            right
        })
        .await
        .map_err(unavailable)?
        .map_err(unavailable)?;
        metrics::histogram!(metrics_names::LOGIN_HASHING).record(started.elapsed().as_secs_f64());
        if right {
            let until = Instant::now() + self.settings.success_lifetime.duration();
            self.successes.lock().unwrap_or_else(PoisonError::into_inner).put(tag, until);
        }
        Ok(right)
    }

    fn remembers(&self, tag: &[u8; 32]) -> bool {
        let successes = self.successes.lock().unwrap_or_else(PoisonError::into_inner);
        successes.get(tag).is_some_and(|until| Instant::now() < *until)
    }

    async fn hashing_permit(&self) -> Result<tokio::sync::OwnedSemaphorePermit, LoginError> {
        /// Gives the place in the queue back also when the session goes away while it waits.
        struct Place<'a>(&'a AtomicUsize);
        impl Drop for Place<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let ahead = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _place = Place(&self.waiting);
        if ahead >= self.settings.hashings_waiting_max {
            return Err(unavailable(Cause::from("too many logins wait for a hashing")));
        }
        Arc::clone(&self.hashings).acquire_owned().await.map_err(unavailable)
    }

    async fn look_up(&self, login: &str) -> Result<Option<Known>, RegistryError> {
        let Ok(address) = login.trim().parse::<AccountAddress>() else { return Ok(None) };
        let address = address.to_string();
        let failed = RegistryError::database("read a login");
        let row = sqlx::query(
            "SELECT account_id, state, applied_version, argon2 FROM accounts \
             JOIN credentials USING (account_id) WHERE address = ?",
        )
        .bind(&address)
        .fetch_optional(&self.registry.pool)
        .await
        .map_err(failed)?;
        let Some(row) = row else { return Ok(None) };
        let account_id = row.try_get::<i64, _>("account_id").map_err(failed)?.unsigned_abs();
        let state: String = row.try_get("state").map_err(failed)?;
        Ok(Some(Known {
            identity: Identity { account_id: AccountId(account_id), address },
            state: AccountState::of_name(&state),
            in_store: row.try_get::<i64, _>("applied_version").map_err(failed)? > 0,
            argon2: row.try_get("argon2").map_err(failed)?,
        }))
    }
}

fn unavailable(cause: impl Into<Cause>) -> LoginError {
    LoginError::Unavailable(cause.into())
}

#[async_trait::async_trait]
impl Authenticator for RegistryAuthenticator {
    async fn verify_password(
        &self,
        protocol: Protocol,
        peer: IpAddr,
        login: &str,
        password: &str,
    ) -> Result<Identity, LoginError> {
        let result = self.check(peer, login, password).await;
        let outcome = match &result {
            Ok(_) => "ok",
            Err(LoginError::BadCredentials) => "bad_credentials",
            Err(LoginError::Blocked) => "blocked",
            Err(LoginError::TooManyFailures) => "too_many_failures",
            Err(_) => "unavailable",
        };
        metrics::counter!(
            metrics_names::LOGINS,
            "protocol" => protocol.name(),
            "outcome" => outcome,
        )
        .increment(1);
        // The login of a failure is not logged: people type passwords into the wrong field.
        match &result {
            Ok(identity) => tracing::info!(
                protocol = protocol.name(),
                %peer,
                account = identity.account_id.0,
                "login",
            ),
            Err(LoginError::Unavailable(cause)) => tracing::error!(
                protocol = protocol.name(),
                %peer,
                error = &**cause as &(dyn Error + 'static),
                "login not possible",
            ),
            Err(_) => tracing::info!(protocol = protocol.name(), %peer, outcome, "login refused"),
        }
        result
    }
}
