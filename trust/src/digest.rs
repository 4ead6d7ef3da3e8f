//! Digests of octets.
//!
//! SHA-256 names messages, signed entities and whatever a public tool must be able to recompute.
//! SHA-1 stands here only because RFC 6109 §4.5.1 (directory hash) and §3.3.2.2 (brief receipt)
//! print it; it is never used to trust anything.
//!
//! Not here: BLAKE3, which names chunks inside the store (`storage`).

use std::fmt;

use openssl::{error::ErrorStack, hash::MessageDigest, pkey::PKey, sha, sign::Signer};

/// The SHA-256 of some octets.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Sha256Digest(pub [u8; 32]);

impl Sha256Digest {
    /// Digests `octets` in one go.
    #[must_use]
    pub fn of(octets: &[u8]) -> Self {
        Self(sha::sha256(octets))
    }
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Sha256Digest({self})")
    }
}

/// SHA-256 over octets that arrive in pieces.
pub struct Sha256Hasher(sha::Sha256);

impl Default for Sha256Hasher {
    fn default() -> Self {
        Self(sha::Sha256::new())
    }
}

impl Sha256Hasher {
    /// Takes in the next piece.
    pub fn update(&mut self, octets: &[u8]) {
        self.0.update(octets);
    }

    /// Returns the digest of everything taken in.
    #[must_use]
    pub fn finish(self) -> Sha256Digest {
        Sha256Digest(self.0.finish())
    }
}

impl fmt::Debug for Sha256Hasher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sha256Hasher")
    }
}

/// HMAC-SHA-256 (RFC 2104).
pub fn hmac_sha256(key: &[u8], octets: &[u8]) -> Result<[u8; 32], ErrorStack> {
    let key = PKey::hmac(key)?;
    let mut signer = Signer::new(MessageDigest::sha256(), &key)?;
    let mut code = [0; 32];
    signer.update(octets)?;
    signer.sign(&mut code)?;
    Ok(code)
}

/// Returns the SHA-1 of `octets` as 40 lower-case hexadecimal digits (RFC 6109 §4.5.1).
#[must_use]
pub fn sha1_hex(octets: &[u8]) -> String {
    hex::encode(sha::sha1(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-4, the example message "abc".
    #[test]
    fn known_answers_of_the_standard() {
        assert_eq!(
            Sha256Digest::of(b"abc").to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(sha1_hex(b"abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
    }

    /// RFC 4231 §4.3.
    #[test]
    fn a_keyed_digest_is_the_standards() {
        let code = hmac_sha256(b"Jefe", b"what do ya want for nothing?").unwrap();
        assert_eq!(
            hex::encode(code),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn pieces_and_whole_agree() {
        let mut hasher = Sha256Hasher::default();
        hasher.update(b"a");
        hasher.update(b"bc");
        assert_eq!(hasher.finish(), Sha256Digest::of(b"abc"));
    }
}
