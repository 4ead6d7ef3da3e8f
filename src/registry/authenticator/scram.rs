//! SCRAM-SHA-256 against the registry (RFC 5802, RFC 7677).
//!
//! An unknown login gets a challenge too. Its salt follows from the login and a secret of this
//! provider, so that it is the same each time, in every process and after a restart; nothing but
//! the secret tells it from a salt that was drawn. Its rounds follow from them too, in the
//! proportions of the accounts that there are: where a part still has the rounds of an older version,
//! the same part of the unknown logins announces them. When passwords are set again these grow fewer,
//! and a login that goes over to the rounds of today gets another salt with them, as accounts do.

use std::{net::IpAddr, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD as BASE64};
use protocols::{
    access::{Identity, LoginError, ScramKeys},
    sasl::scram::ScramVerifier,
};
use tokio::time::Instant;
use trust::digest::{Sha256Digest, hmac_sha256};

use super::{Claim, RegistryAuthenticator, Wants, unavailable};
use crate::registry::{
    RegistryError,
    credential::{SALT_OCTETS, SCRAM_ITERATIONS},
};

/// How long the proportions of rounds are believed.
const ROUNDS_LIFETIME: Duration = Duration::from_hours(24);

/// Numbers of rounds, with how many accounts announce them; those of today last, so that fewer of the
/// others move nobody but from them to these.
#[derive(Clone, Debug)]
pub(super) struct Rounds {
    accounts: Vec<(u32, u64)>,
    read_at: Instant,
}

impl Rounds {
    /// The rounds of the login whose digest is `place`.
    fn at(&self, place: [u8; 32]) -> u32 {
        let total: u64 = self.accounts.iter().map(|(_, accounts)| accounts).sum();
        let place = place.first_chunk().map_or(0, |octets| u64::from_be_bytes(*octets));
        // A place among all accounts, below their number.
        let mut place = (u128::from(place) * u128::from(total)) >> 64;
        for (rounds, accounts) in &self.accounts {
            if place < u128::from(*accounts) {
                return *rounds;
            }
            place -= u128::from(*accounts);
        }
        SCRAM_ITERATIONS
    }
}

/// Octets of the server's part of the nonce, before base64.
const NONCE_OCTETS: usize = 18;

impl RegistryAuthenticator {
    /// The rounds that accounts announce, read once a day.
    async fn rounds(&self) -> Result<Rounds, RegistryError> {
        let mut known = self.rounds.lock().await;
        if let Some(rounds) = &*known
            && rounds.read_at.elapsed() < ROUNDS_LIFETIME
        {
            return Ok(rounds.clone());
        }
        let failed = RegistryError::database("count the rounds of passwords");
        let mut accounts: Vec<(u32, u64)> = sqlx::query_as::<_, (u32, i64)>(
            "SELECT scram_iterations, COUNT(*) FROM credentials GROUP BY scram_iterations",
        )
        .fetch_all(&self.registry.pool)
        .await
        .map_err(failed)?
        .into_iter()
        .map(|(rounds, accounts)| (rounds, accounts.unsigned_abs()))
        .collect();
        accounts.sort_by_key(|(rounds, _)| (*rounds == SCRAM_ITERATIONS, *rounds));
        let rounds = Rounds { accounts, read_at: Instant::now() };
        Ok(known.insert(rounds).clone())
    }

    pub(super) async fn challenge(
        &self,
        peer: IpAddr,
        login: &str,
    ) -> Result<ScramKeys, LoginError> {
        let mut claim = self.claimed(peer, login).await?;
        self.still_allowed(&mut claim, Wants::Challenge).await?;
        let Claim { digest, known, .. } = claim;
        let verifier = if let Some(verifier) = known.and_then(|known| known.scram) {
            verifier
        } else {
            let rounds = self.rounds().await.map_err(unavailable)?;
            decoy(&self.decoy_key, digest, &rounds).map_err(unavailable)?
        };
        let mut nonce = [0; NONCE_OCTETS];
        self.random.fill(&mut nonce);
        Ok(ScramKeys { verifier, nonce: BASE64.encode(nonce) })
    }

    pub(super) async fn settle(
        &self,
        peer: IpAddr,
        login: &str,
        verifier: &ScramVerifier,
        proven: bool,
    ) -> Result<Identity, LoginError> {
        let mut claim = self.claimed(peer, login).await?;
        self.still_allowed(&mut claim, Wants::Answer).await?;
        // A new password makes the old one void at once, also in the middle of an exchange.
        let same = claim.known.as_ref().is_some_and(|known| known.scram.as_ref() == Some(verifier));
        if proven && same { self.entered(claim) } else { Err(self.failed(&claim)) }
    }
}

/// What an unknown login is challenged with. No password leads to these keys.
fn decoy(
    key: &[u8],
    login: Sha256Digest,
    rounds: &Rounds,
) -> Result<ScramVerifier, openssl::error::ErrorStack> {
    let derive = |word: &[u8]| hmac_sha256(key, &[word, &login.0].concat());
    let iterations = rounds.at(derive(b"rounds")?);
    let mut salt = if iterations == SCRAM_ITERATIONS {
        derive(b"salt")?.to_vec()
    } else {
        derive(format!("salt of {iterations} rounds").as_bytes())?.to_vec()
    };
    salt.truncate(SALT_OCTETS);
    Ok(ScramVerifier {
        salt,
        iterations,
        stored_key: derive(b"stored key")?,
        server_key: derive(b"server key")?,
    })
}
