//! What is kept of a password: an argon2id hash and a SCRAM-SHA-256 verifier.
//!
//! The password itself is never kept, and neither can be turned back into it. PLAIN and LOGIN are
//! checked against the hash; SCRAM (RFC 5802, RFC 7677) needs the verifier, which alone does not
//! let its reader log in.
//!
//! Not here: the exchange in which a proof is checked (`protocols::sasl`).

use argon2::{
    CustomizedPasswordHasher as _, Params, PasswordVerifier as _,
    password_hash::{self, phc::PasswordHash},
};
use openssl::error::ErrorStack;
use protocols::sasl::scram::ScramVerifier;
use trust::random::RandomSource;

use super::{
    hashing::{HashingMemory, ReusingArgon2},
    password::PreparedPassword,
};

/// Rounds of PBKDF2 behind a new SCRAM verifier. RFC 7677 §4 asks for 4,096 at least; more,
/// because the verifier would otherwise be the weaker of the two. Cyrus SASL, by which many clients
/// log in, computes no more than these.
pub(super) const SCRAM_ITERATIONS: u32 = 65_536;

pub(super) const SALT_OCTETS: usize = 16;

/// A hash could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The stored hash is not one that this program makes.
    #[error("the stored password hash cannot be used: set the password again")]
    Hash(#[source] password_hash::Error),
    /// OpenSSL failed.
    #[error("a password key cannot be derived: check the memory of this machine")]
    Derivation(#[source] ErrorStack),
}

/// Everything that is kept of one password.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Credential {
    /// The PHC string of the argon2id hash.
    pub argon2: String,
    /// The SCRAM-SHA-256 verifier.
    pub scram: ScramVerifier,
}

impl Credential {
    /// Hashes `password`, for tens of milliseconds: call it where blocking is allowed.
    pub fn make(
        password: &PreparedPassword,
        random: &dyn RandomSource,
    ) -> Result<Self, CredentialError> {
        let mut scram_salt = [0; SALT_OCTETS];
        random.fill(&mut scram_salt);
        Ok(Self {
            argon2: hash(password, random)?,
            scram: ScramVerifier::derive(password.as_octets(), &scram_salt, SCRAM_ITERATIONS)
                .map_err(CredentialError::Derivation)?,
        })
    }
}

/// The PHC string of a fresh argon2id hash.
pub fn hash(
    password: &PreparedPassword,
    random: &dyn RandomSource,
) -> Result<String, CredentialError> {
    let mut salt = [0; SALT_OCTETS];
    random.fill(&mut salt);
    ReusingArgon2(&HashingMemory::keeping(0))
        .hash_password_customized(password.as_octets(), &salt, None, None, Params::DEFAULT)
        .map(|hash| hash.to_string())
        .map_err(CredentialError::Hash)
}

/// Says whether `password` is the one behind the PHC string `hash`. Blocks as [`hash`] does.
pub(super) fn verify(
    password: &PreparedPassword,
    hash: &str,
    memory: &HashingMemory,
) -> Result<bool, CredentialError> {
    let hash = PasswordHash::new(hash).map_err(|error| CredentialError::Hash(error.into()))?;
    match ReusingArgon2(memory).verify_password(password.as_octets(), &hash) {
        Ok(()) => Ok(true),
        Err(password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(CredentialError::Hash(error)),
    }
}

#[cfg(test)]
mod tests {
    use trust::random::SeededRandom;

    use super::*;

    #[test]
    fn only_the_right_password_verifies_and_salts_differ() {
        let random = SeededRandom::new(1);
        let right = PreparedPassword::new("tavolo lampada").expect("fine");
        let wrong = PreparedPassword::new("tavolo lampadA").expect("fine");
        let first = Credential::make(&right, &random).expect("made");
        let second = Credential::make(&right, &random).expect("made");
        assert!(first.argon2.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", first.argon2);
        assert_ne!(first.argon2, second.argon2);
        assert_ne!(first.scram, second.scram);
        let memory = HashingMemory::keeping(1);
        assert!(verify(&right, &first.argon2, &memory).expect("a hash"));
        assert!(!verify(&wrong, &first.argon2, &memory).expect("a hash"));
        assert!(verify(&right, "not a hash", &memory).is_err());
    }
}
