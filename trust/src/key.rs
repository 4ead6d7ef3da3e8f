//! Private keys.
//!
//! Invariants:
//!
//! * A key never appears in a log: [`PrivateKey`]'s `Debug` shows its kind and size only.
//! * A key written to disk is readable by its owner only, and never overwrites another file.
//!
//! Key generation is the one place where randomness does not come from a
//! [`RandomSource`](crate::random::RandomSource): OpenSSL draws the primes from its own generator
//! (seeded by the operating system) and offers no way to hand in another.
//!
//! Not here: keys in a token; those are another implementation of
//! [`MessageSigner`](crate::smime::sign::MessageSigner).

use std::{
    fmt,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use openssl::{
    error::ErrorStack,
    hash::MessageDigest,
    pkey::{Id, PKey, PKeyRef, Private},
    rsa::Rsa,
    sign::Signer,
};

/// Why a key cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("cannot {operation} the private key {}: check the path and its permissions", path.display())]
    File {
        /// `read` or `write`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The text is not an unencrypted private key in PEM.
    #[error(
        "{name} holds no private key in PEM without a pass phrase: convert it with `openssl pkey`"
    )]
    NotAKey {
        /// The file, or what else the text came from.
        name: String,
        /// The cause.
        #[source]
        source: ErrorStack,
    },
    /// OpenSSL refused.
    #[error("OpenSSL cannot {operation} a private key")]
    OpenSsl {
        /// `generate`, `encode` or `sign with`.
        operation: &'static str,
        /// The cause.
        #[source]
        source: ErrorStack,
    },
}

/// A private key.
#[derive(Clone)]
pub struct PrivateKey(PKey<Private>);

impl PrivateKey {
    /// Bits of a generated RSA key.
    pub const RSA_BITS: u32 = 2048;

    /// Makes an RSA key of [`Self::RSA_BITS`] bits. Takes up to a second of one core.
    pub fn generate() -> Result<Self, KeyError> {
        Rsa::generate(Self::RSA_BITS)
            .and_then(PKey::from_rsa)
            .map(Self)
            .map_err(|source| KeyError::OpenSsl { operation: "generate", source })
    }

    /// Reads an unencrypted key in PEM (PKCS #8 or the older forms).
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        Self::parse(pem, || "the text".to_owned())
    }

    /// Reads the PEM file at `path`.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let pem = std::fs::read(path).map_err(|source| KeyError::File {
            operation: "read",
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&pem, || path.display().to_string())
    }

    fn parse(pem: &[u8], name: impl Fn() -> String) -> Result<Self, KeyError> {
        // The empty pass phrase keeps OpenSSL from asking for one at the terminal.
        PKey::private_key_from_pem_passphrase(pem, b"")
            .map(Self)
            .map_err(|source| KeyError::NotAKey { name: name(), source })
    }

    /// Returns the key as PKCS #8 in PEM, unencrypted.
    pub fn to_pem(&self) -> Result<Vec<u8>, KeyError> {
        self.0
            .private_key_to_pem_pkcs8()
            .map_err(|source| KeyError::OpenSsl { operation: "encode", source })
    }

    /// Writes the key to the new file `path` with mode 0600, durably.
    ///
    /// A file that is there already is left alone: [`KeyError::File`].
    pub fn write(&self, path: &Path) -> Result<(), KeyError> {
        let pem = self.to_pem()?;
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .and_then(|mut file| file.write_all(&pem).and_then(|()| file.sync_all()))
            .map_err(|source| KeyError::File { operation: "write", path: path.to_owned(), source })
    }

    /// The key for OpenSSL's own interfaces (a TLS acceptor, for example).
    pub fn as_openssl(&self) -> &PKeyRef<Private> {
        &self.0
    }

    /// Says whether the key is an RSA key.
    pub fn is_rsa(&self) -> bool {
        self.0.id() == Id::RSA
    }

    /// Signs `octets`: RSASSA-PKCS1-v1_5 (or ECDSA, by the kind of the key) with SHA-256.
    pub(crate) fn sign_sha256(&self, octets: &[u8]) -> Result<Vec<u8>, KeyError> {
        Signer::new(MessageDigest::sha256(), &self.0)
            .and_then(|mut signer| signer.sign_oneshot_to_vec(octets))
            .map_err(|source| KeyError::OpenSsl { operation: "sign with", source })
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PrivateKey({:?}, {} bits)", self.0.id(), self.0.bits())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_written_key_is_private_and_reads_back_and_is_never_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("signing.key");
        let key = PrivateKey::generate().expect("a key");
        key.write(&path).expect("written");
        let mode = std::fs::metadata(&path).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = PrivateKey::read(&path).expect("read");
        assert!(again.as_openssl().public_eq(key.as_openssl()));
        assert!(matches!(key.write(&path), Err(KeyError::File { .. })));
        assert_eq!(format!("{key:?}"), "PrivateKey(Id(6), 2048 bits)");
    }

    #[test]
    fn what_is_no_key_is_named_in_the_error() {
        let error = PrivateKey::from_pem(b"-----BEGIN NONSENSE-----").expect_err("no key");
        assert!(error.to_string().contains("openssl pkey"), "{error}");
    }
}
