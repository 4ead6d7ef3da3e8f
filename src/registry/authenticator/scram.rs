//! SCRAM-SHA-256 against the registry (RFC 5802, RFC 7677).
//!
//! An unknown login gets a challenge too. Its salt follows from the login and a secret of this
//! provider, so that it is the same each time, in every process and after a restart; nothing but
//! the secret tells it from a salt that was drawn.

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD as BASE64};
use protocols::{
    access::{Identity, LoginError, ScramKeys},
    sasl::scram::ScramVerifier,
};
use trust::digest::{Sha256Digest, hmac_sha256};

use super::{Claim, RegistryAuthenticator, unavailable};
use crate::registry::credential::{SALT_OCTETS, SCRAM_ITERATIONS};

/// Octets of the server's part of the nonce, before base64.
const NONCE_OCTETS: usize = 18;

impl RegistryAuthenticator {
    pub(super) async fn challenge(
        &self,
        peer: IpAddr,
        login: &str,
    ) -> Result<ScramKeys, LoginError> {
        let Claim { digest, known, .. } = self.claimed(peer, login).await?;
        let verifier = match known {
            Some(known) => known.scram,
            None => decoy(&self.decoy_key, digest).map_err(unavailable)?,
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
        let claim = self.claimed(peer, login).await?;
        // A new password makes the old one void at once, also in the middle of an exchange.
        let same = claim.known.as_ref().is_some_and(|known| known.scram == *verifier);
        if proven && same { self.entered(claim) } else { Err(self.failed(&claim)) }
    }
}

/// What an unknown login is challenged with. No password leads to these keys.
fn decoy(key: &[u8], login: Sha256Digest) -> Result<ScramVerifier, openssl::error::ErrorStack> {
    let derive = |word: &[u8]| hmac_sha256(key, &[word, &login.0].concat());
    let mut salt = derive(b"salt")?.to_vec();
    salt.truncate(SALT_OCTETS);
    Ok(ScramVerifier {
        salt,
        iterations: SCRAM_ITERATIONS,
        stored_key: derive(b"stored key")?,
        server_key: derive(b"server key")?,
    })
}
