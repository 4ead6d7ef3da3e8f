//! What is kept of a password: an argon2id hash and a SCRAM-SHA-256 verifier.
//!
//! The password itself is never kept, and neither can be turned back into it. PLAIN and LOGIN are
//! checked against the hash; SCRAM (RFC 5802, RFC 7677) needs the verifier, which alone does not
//! let its reader log in.

use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _, password_hash};
use openssl::{error::ErrorStack, hash::MessageDigest, pkcs5, pkey::PKey, sha, sign::Signer};
use trust::random::RandomSource;

use super::password::PreparedPassword;

/// Rounds of PBKDF2 behind a new SCRAM verifier. RFC 7677 §4 asks for 4,096 at least; more,
/// because the verifier would otherwise be the weaker of the two.
const SCRAM_ITERATIONS: u32 = 100_000;

const SALT_OCTETS: usize = 16;

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

/// What a server keeps for SCRAM (RFC 5802 §3).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ScramVerifier {
    /// The salt.
    pub salt: Vec<u8>,
    /// Rounds of Hi().
    pub iterations: u32,
    /// H(ClientKey).
    pub stored_key: [u8; 32],
    /// HMAC(SaltedPassword, "Server Key").
    pub server_key: [u8; 32],
}

impl ScramVerifier {
    /// Derives the verifier of `password`.
    pub fn derive(
        password: &PreparedPassword,
        salt: &[u8],
        iterations: u32,
    ) -> Result<Self, CredentialError> {
        let mut salted = [0; 32];
        pkcs5::pbkdf2_hmac(
            password.as_octets(),
            salt,
            usize::try_from(iterations).unwrap_or(usize::MAX),
            MessageDigest::sha256(),
            &mut salted,
        )
        .map_err(CredentialError::Derivation)?;
        let client_key =
            hmac_sha256(&salted, b"Client Key").map_err(CredentialError::Derivation)?;
        let server_key =
            hmac_sha256(&salted, b"Server Key").map_err(CredentialError::Derivation)?;
        Ok(Self {
            salt: salt.to_vec(),
            iterations,
            stored_key: sha::sha256(&client_key),
            server_key,
        })
    }
}

/// HMAC-SHA-256 (RFC 2104).
pub(super) fn hmac_sha256(key: &[u8], octets: &[u8]) -> Result<[u8; 32], ErrorStack> {
    let key = PKey::hmac(key)?;
    let mut signer = Signer::new(MessageDigest::sha256(), &key)?;
    let mut code = [0; 32];
    signer.update(octets)?;
    signer.sign(&mut code)?;
    Ok(code)
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
            scram: ScramVerifier::derive(password, &scram_salt, SCRAM_ITERATIONS)?,
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
    Argon2::default()
        .hash_password_with_salt(password.as_octets(), &salt)
        .map(|hash| hash.to_string())
        .map_err(CredentialError::Hash)
}

/// Says whether `password` is the one behind the PHC string `hash`. Blocks as [`hash`] does.
pub fn verify(password: &PreparedPassword, hash: &str) -> Result<bool, CredentialError> {
    match Argon2::default().verify_password(password.as_octets(), hash) {
        Ok(()) => Ok(true),
        Err(password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(CredentialError::Hash(error)),
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use trust::random::SeededRandom;

    use super::*;

    /// RFC 7677 §3: user `user`, password `pencil`. The messages give the client's proof and the
    /// server's signature, from which the verifier follows.
    #[test]
    fn the_exchange_of_the_standard_is_accepted_by_the_derived_verifier() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let password = PreparedPassword::new("pencil").expect("fine");
        let verifier = ScramVerifier::derive(&password, &salt, 4096).expect("derived");
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let transcript = format!(
            "n=user,r=rOprNGfwEbeRWgbNEkqO,\
             r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r={nonce}"
        );
        let server_signature =
            hmac_sha256(&verifier.server_key, transcript.as_bytes()).expect("signed");
        assert_eq!(
            STANDARD.encode(server_signature),
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
        let client_signature =
            hmac_sha256(&verifier.stored_key, transcript.as_bytes()).expect("signed");
        let proof =
            STANDARD.decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").expect("base64");
        let client_key: Vec<u8> =
            proof.iter().zip(client_signature).map(|(left, right)| left ^ right).collect();
        assert_eq!(sha::sha256(&client_key), verifier.stored_key);
    }

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
        assert!(verify(&right, &first.argon2).expect("a hash"));
        assert!(!verify(&wrong, &first.argon2).expect("a hash"));
        assert!(verify(&right, "not a hash").is_err());
    }
}
