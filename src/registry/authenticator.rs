//! Checks logins against the registry.
//!
//! * A password is hashed on a small blocking pool of its own; who would have to wait too long is
//!   told to try later.
//! * An unknown login costs one hashing too, so that time tells nothing about who has an account;
//!   by SCRAM it gets a challenge like any other (`scram`).
//! * A success is remembered for minutes, under a key that only this process knows and that
//!   contains the stored hash: a new password makes it void at once.
//! * Who fails too often waits ([`super::throttle`]); the wait is looked at before the memory of
//!   successes, which would otherwise answer guesses for free. An account at which the whole world
//!   guesses stays open to the sources that have got into it ([`super::login_source`]), and to each
//!   other network now and then.
//! * A token of the configured issuer logs in without a password (`tokens`).
//! * A wrong password that a source repeats is answered from memory, and is no further failure.

mod scram;
mod tokens;

use std::{
    error::Error,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use protocols::{
    access::{Authenticator, Identity, LoginError, Protocol, ScramKeys},
    sasl::scram::ScramVerifier,
};
use sqlx::Row as _;
use storage::ids::AccountId;
use tokio::{sync::Semaphore, time::Instant};
use trust::{
    digest::{Sha256Digest, hmac_sha256},
    random::RandomSource,
};

use super::{
    account::AccountState,
    address::AccountAddress,
    credential::{self, CredentialError},
    database::Registry,
    error::RegistryError,
    hashing::HashingMemory,
    password::PreparedPassword,
    recent::Recent,
    throttle::{Mistake, Source, Throttle, Verdict},
};
use crate::{config::LoginSettings, metrics_names, oauth::TokenVerifier};

type Cause = Box<dyn Error + Send + Sync>;

/// Checks passwords of accounts.
#[derive(Debug)]
pub struct RegistryAuthenticator {
    registry: Arc<Registry>,
    settings: LoginSettings,
    throttle: Throttle,
    successes: Mutex<Recent<[u8; 32], Instant>>,
    success_key: [u8; 32],
    /// What the challenges of unknown logins follow from.
    decoy_key: Vec<u8>,
    /// How many rounds they announce.
    rounds: tokio::sync::Mutex<Option<scram::Rounds>>,
    random: Arc<dyn RandomSource>,
    /// What an unknown login is compared with.
    nobody: String,
    hashings: Arc<Semaphore>,
    hashing_memory: Arc<HashingMemory>,
    waiting: AtomicUsize,
    /// Sources that got in since the start, and whether the registry has been told.
    sources: Mutex<Recent<(AccountId, Source), bool>>,
    source_turn: Arc<Semaphore>,
    /// Whose tokens log people in, besides passwords.
    tokens: Option<TokenVerifier>,
}

/// What the registry knows of a login.
struct Known {
    identity: Identity,
    state: AccountState,
    in_store: bool,
    /// `None` without a password: such an account is entered by tokens alone.
    argon2: Option<String>,
    scram: Option<ScramVerifier>,
}

/// Somebody who says who he is.
struct Claim {
    digest: Sha256Digest,
    source: Source,
    known: Option<Known>,
    /// He never got in from there, and it was the turn of his network.
    in_turn: bool,
}

/// What somebody who may try only in his turn is about to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wants {
    /// To be challenged: nothing is tried so far.
    Challenge,
    /// To be told whether he is right.
    Answer,
}

/// What a password is remembered by, under the key of this process.
struct Tags {
    /// That it is right.
    success: [u8; 32],
    /// That it is wrong for this login.
    mistake: Mistake,
}

/// An authenticator cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticatorError {
    /// No hash could be made.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl RegistryAuthenticator {
    /// Makes an authenticator; hashes once, for tens of milliseconds.
    pub async fn new(
        registry: Arc<Registry>,
        settings: LoginSettings,
        random: Arc<dyn RandomSource>,
    ) -> Result<Self, AuthenticatorError> {
        let decoy_key = registry.secret("scram_decoys", &*random).await?;
        let mut success_key = [0; 32];
        random.fill(&mut success_key);
        let for_hashing = Arc::clone(&random);
        let nobody = tokio::task::spawn_blocking(move || {
            let password = super::password::generate(&*for_hashing);
            PreparedPassword::new(&password)
                .map(|password| credential::hash(&password, &*for_hashing))
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
            decoy_key,
            rounds: tokio::sync::Mutex::default(),
            random,
            nobody,
            hashings: Arc::new(Semaphore::new(settings.hashings_max)),
            hashing_memory: Arc::new(HashingMemory::keeping(settings.hashings_max)),
            waiting: AtomicUsize::new(0),
            sources: Mutex::new(Recent::new(settings.sources_remembered_max)),
            source_turn: Arc::new(Semaphore::new(1)),
            tokens: None,
            registry,
            settings,
        })
    }

    /// The same, which takes tokens too.
    #[must_use]
    pub fn with_tokens(self, tokens: TokenVerifier) -> Self {
        Self { tokens: Some(tokens), ..self }
    }

    async fn check(
        &self,
        peer: IpAddr,
        login: &str,
        password: &str,
    ) -> Result<Identity, LoginError> {
        let mut who = self.claimed(peer, login).await?;
        let Ok(password) = PreparedPassword::new(password) else {
            self.still_allowed(&mut who, Wants::Answer).await?;
            return Err(self.failed(&who));
        };
        let hash = who.known.as_ref().and_then(|known| known.argon2.as_ref());
        let hash = hash.unwrap_or(&self.nobody).clone();
        let tags = self.tags(&who, &hash, &password)?;
        // A turn is only taken for an answer: a device with an old password must not use up its
        // network's, nor a try that finds no time.
        if self.throttle.repeats(who.source, &tags.mistake, Instant::now()) {
            return Err(LoginError::BadCredentials);
        }
        self.still_allowed(&mut who, Wants::Challenge).await?;
        if self.is_right(&mut who, &password, hash, &tags).await? {
            return self.entered(who);
        }
        self.throttle.mistaken(who.digest, who.source, tags.mistake, Instant::now());
        Err(LoginError::BadCredentials)
    }

    fn tags(
        &self,
        claim: &Claim,
        hash: &str,
        password: &PreparedPassword,
    ) -> Result<Tags, LoginError> {
        let tag = |login: &[u8]| {
            let seed = [login, hash.as_bytes(), &[0], password.as_octets()].concat();
            hmac_sha256(&self.success_key, &seed).map_err(unavailable)
        };
        Ok(Tags { success: tag(&[])?, mistake: tag(&claim.digest.0)? })
    }

    /// Looks up who `peer` claims to be, unless he may not try at all now.
    async fn claimed(&self, peer: IpAddr, login: &str) -> Result<Claim, LoginError> {
        let (source, digest) = (Source::of(peer), login_digest(login));
        if self.throttle.verdict(digest, source, Instant::now()) == Verdict::Refused {
            return Err(LoginError::TooManyFailures);
        }
        let known = self.look_up(login).await.map_err(unavailable)?;
        Ok(Claim { digest, source, known, in_turn: false })
    }

    /// Refuses who may not try now: others may have failed since he began.
    async fn still_allowed(&self, claim: &mut Claim, wants: Wants) -> Result<(), LoginError> {
        let now = Instant::now();
        match self.throttle.verdict(claim.digest, claim.source, now) {
            Verdict::Allowed => return Ok(()),
            Verdict::Refused => return Err(LoginError::TooManyFailures),
            Verdict::Slow if claim.in_turn => return Ok(()),
            Verdict::Slow => {}
        }
        if let Some(known) = &claim.known {
            let account = known.identity.account_id;
            let seen = self.has_seen(account, claim.source)
                || self.registry.knows_source(account, claim.source).await.map_err(unavailable)?;
            if seen {
                return Ok(());
            }
        }
        let turn = match wants {
            Wants::Challenge => self.throttle.has_turn(claim.digest, claim.source, now),
            Wants::Answer => {
                claim.in_turn = self.throttle.take_turn(claim.digest, claim.source, now);
                claim.in_turn
            }
        };
        if turn { Ok(()) } else { Err(LoginError::TooManyFailures) }
    }

    /// Whether `source` has got into `account` since the start.
    fn has_seen(&self, account: AccountId, source: Source) -> bool {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.get(&(account, source)).is_some()
    }

    /// Counts a failure.
    fn failed(&self, claim: &Claim) -> LoginError {
        self.throttle.failed(claim.digest, claim.source, Instant::now());
        LoginError::BadCredentials
    }

    /// Lets in whoever has proven who he is.
    fn entered(&self, claim: Claim) -> Result<Identity, LoginError> {
        let Some(known) = claim.known else {
            self.throttle.failed(claim.digest, claim.source, Instant::now());
            return Err(LoginError::BadCredentials);
        };
        self.throttle.succeeded(claim.digest, claim.source);
        self.remember_source(known.identity.account_id, claim.source);
        admitted(known)
    }

    /// Remembers a source that got in, and has the registry do so beside the login.
    fn remember_source(&self, account: AccountId, source: Source) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if sources.get(&(account, source)) == Some(&true) {
            return;
        }
        // While another one is written, this one waits for its next login.
        let turn = Arc::clone(&self.source_turn).try_acquire_owned().ok();
        sources.put((account, source), turn.is_some());
        drop(sources);
        let Some(turn) = turn else { return };
        let registry = Arc::clone(&self.registry);
        tokio::spawn(async move {
            if let Err(error) = registry.remember_source(account, source).await {
                tracing::warn!(error = &error as &(dyn Error + 'static), "a source is forgotten");
            }
            drop(turn);
        });
    }

    /// Compares with `hash`, from memory or by hashing.
    async fn is_right(
        &self,
        claim: &mut Claim,
        password: &PreparedPassword,
        hash: String,
        tags: &Tags,
    ) -> Result<bool, LoginError> {
        let tag = tags.success;
        if self.remembers(&tag) {
            self.still_allowed(claim, Wants::Answer).await?;
            return Ok(true);
        }
        let permit = self.hashing_permit().await?;
        // Others may have failed, or got in with the same password, while this one waited.
        self.still_allowed(claim, Wants::Answer).await?;
        if self.remembers(&tag) {
            return Ok(true);
        }
        let password = password.clone();
        let started = Instant::now();
        let memory = Arc::clone(&self.hashing_memory);
        let right = tokio::task::spawn_blocking(move || {
            let right = credential::verify(&password, &hash, &memory);
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
            "SELECT account_id, state, applied_version, argon2, scram_salt, scram_iterations, \
             scram_stored_key, scram_server_key FROM accounts \
             LEFT JOIN credentials USING (account_id) WHERE address = ?",
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
            scram: verifier_of(&row)?,
        }))
    }

    /// Counts and logs how a login ended.
    fn tell(protocol: Protocol, peer: IpAddr, result: Result<&Identity, &LoginError>) {
        let outcome = match result {
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
        match result {
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
    }
}

/// How failures of a login are counted, whatever is sent as one.
fn login_digest(login: &str) -> Sha256Digest {
    Sha256Digest::of(login.trim().to_ascii_lowercase().as_bytes())
}

/// What becomes of somebody whose password was right.
fn admitted(known: Known) -> Result<Identity, LoginError> {
    match known.state {
        AccountState::Active if known.in_store => Ok(known.identity),
        AccountState::Active => {
            Err(unavailable(Cause::from("the store does not have the account yet")))
        }
        AccountState::Blocked | AccountState::Closed => Err(LoginError::Blocked),
    }
}

fn verifier_of(row: &sqlx::sqlite::SqliteRow) -> Result<Option<ScramVerifier>, RegistryError> {
    let failed = RegistryError::database("read a login");
    let salt: Option<Vec<u8>> = row.try_get("scram_salt").map_err(failed)?;
    let Some(salt) = salt else { return Ok(None) };
    let key = |column: &str| -> Result<[u8; 32], RegistryError> {
        let octets: Vec<u8> = row.try_get(column).map_err(failed)?;
        octets.try_into().map_err(|_| RegistryError::Database {
            operation: "read a login",
            source: format!("{column} has not 32 octets: set the password again").into(),
        })
    };
    Ok(Some(ScramVerifier {
        salt,
        iterations: row.try_get("scram_iterations").map_err(failed)?,
        stored_key: key("scram_stored_key")?,
        server_key: key("scram_server_key")?,
    }))
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
        Self::tell(protocol, peer, result.as_ref());
        result
    }

    async fn scram_keys(
        &self,
        protocol: Protocol,
        peer: IpAddr,
        login: &str,
    ) -> Result<ScramKeys, LoginError> {
        let result = self.challenge(peer, login).await;
        if let Err(error) = &result {
            Self::tell(protocol, peer, Err(error));
        }
        result
    }

    async fn scram_settled(
        &self,
        protocol: Protocol,
        peer: IpAddr,
        login: &str,
        verifier: &ScramVerifier,
        proven: bool,
    ) -> Result<Identity, LoginError> {
        let result = self.settle(peer, login, verifier, proven).await;
        Self::tell(protocol, peer, result.as_ref());
        result
    }

    fn token_refusal(&self) -> Option<&str> {
        self.tokens.as_ref().map(TokenVerifier::refusal)
    }

    async fn verify_token(
        &self,
        protocol: Protocol,
        peer: IpAddr,
        login: Option<&str>,
        token: &str,
    ) -> Result<Identity, LoginError> {
        let result = self.bearer(peer, login, token).await;
        Self::tell(protocol, peer, result.as_ref());
        result
    }
}
