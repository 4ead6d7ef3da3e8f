//! Data at rest outside of the provider's hands: a data key, and the seals that carry it.
//!
//! Octets are encrypted under a [`DataKey`] with AES-256-GCM. The key itself travels sealed: to the
//! certificate of a recovery key that the provider keeps elsewhere, or under a pass phrase.
//! Invariants:
//!
//! * Whoever can write can not read: sealing to a certificate needs no secret, opening needs the
//!   private key, which the server never has.
//! * What was encrypted in one context is refused in every other: the context is authenticated.
//! * A data key is checked against its [`DataKeyId`] when a seal is opened: a damaged seal, a wrong
//!   key and a wrong pass phrase are the same error, never another key.
//! * A data key and a pass phrase never appear in a log.
//!
//! Not here: what is encrypted, where seals are kept (the back-up of the store).

use std::fmt;

use openssl::{
    cms::{CMSOptions, CmsContentInfo},
    error::ErrorStack,
    pkcs5::scrypt,
    stack::Stack,
    symm::{Cipher, decrypt_aead, encrypt_aead},
};

use crate::{
    certificate::Certificate, digest::Sha256Digest, key::PrivateKey, random::RandomSource,
};

const KEY_OCTETS: usize = 32;
const NONCE_OCTETS: usize = 12;
const TAG_OCTETS: usize = 16;
const SALT_OCTETS: usize = 16;
/// scrypt: 2¹⁵ blocks of 8 × 128 octets, 32 MiB, about a tenth of a second.
const SCRYPT_N: u64 = 1 << 15;
const SCRYPT_R: u64 = 8;
const SCRYPT_P: u64 = 1;
const SCRYPT_MEMORY_MAX: u64 = 64 << 20;
const PASSPHRASE_MAGIC: &[u8; 8] = b"CERASEAL";
const PASSPHRASE_VERSION: u8 = 1;

/// Octets that encryption adds.
pub const OVERHEAD_OCTETS: usize = NONCE_OCTETS + TAG_OCTETS;

/// Why something cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// OpenSSL refused.
    #[error("OpenSSL cannot {operation}")]
    OpenSsl {
        /// `encrypt`, `seal`, `open`.
        operation: &'static str,
        /// The cause.
        #[source]
        source: ErrorStack,
    },
    /// The octets are damaged, or were encrypted under another key or in another context.
    #[error("the octets are damaged, or encrypted under another key")]
    NotGenuine,
    /// The seal does not give the data key that it should.
    #[error("the seal does not open: wrong recovery key or pass phrase, or a damaged seal")]
    NotOpened,
}

fn refused(operation: &'static str) -> impl Fn(ErrorStack) -> SealError {
    move |source| SealError::OpenSsl { operation, source }
}

/// Names a data key without telling anything of it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DataKeyId(pub [u8; 16]);

impl fmt::Display for DataKeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(formatter, "{octet:02x}"))
    }
}

/// A key for data at rest.
#[derive(Clone, Eq, PartialEq)]
pub struct DataKey([u8; KEY_OCTETS]);

impl fmt::Debug for DataKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DataKey({})", self.id())
    }
}

impl DataKey {
    /// Draws a new key.
    #[must_use]
    pub fn draw(random: &dyn RandomSource) -> Self {
        let mut octets = [0; KEY_OCTETS];
        random.fill(&mut octets);
        Self(octets)
    }

    /// The key that 32 octets are.
    #[must_use]
    pub fn from_octets(octets: &[u8]) -> Option<Self> {
        octets.try_into().ok().map(Self)
    }

    /// The key's octets, for the one file of the owner that may hold them.
    #[must_use]
    pub fn expose(&self) -> &[u8; KEY_OCTETS] {
        &self.0
    }

    /// The key's name.
    #[must_use]
    pub fn id(&self) -> DataKeyId {
        let digest = self.derive("ceralacca data key id");
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        DataKeyId(id)
    }

    /// Another secret for `purpose`: SHA-256 over the purpose, a zero octet and the key.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let mut octets = purpose.as_bytes().to_vec();
        octets.push(0);
        octets.extend_from_slice(&self.0);
        Sha256Digest::of(&octets).0
    }

    /// Encrypts `plain`: a random nonce (12), the ciphertext, the tag (16). `context` is
    /// authenticated and not part of the result.
    pub fn encrypt(
        &self,
        random: &dyn RandomSource,
        context: &[u8],
        plain: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_OCTETS];
        random.fill(&mut nonce);
        let mut tag = [0; TAG_OCTETS];
        let cipher = Cipher::aes_256_gcm();
        let text = encrypt_aead(cipher, &self.0, Some(&nonce), context, plain, &mut tag)
            .map_err(refused("encrypt"))?;
        let mut octets = Vec::with_capacity(text.len() + OVERHEAD_OCTETS);
        octets.extend_from_slice(&nonce);
        octets.extend_from_slice(&text);
        octets.extend_from_slice(&tag);
        Ok(octets)
    }

    /// Gives back what [`DataKey::encrypt`] took. [`SealError::NotGenuine`].
    pub fn decrypt(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (nonce, rest) =
            sealed.split_first_chunk::<NONCE_OCTETS>().ok_or(SealError::NotGenuine)?;
        let (text, tag) = rest.split_last_chunk::<TAG_OCTETS>().ok_or(SealError::NotGenuine)?;
        decrypt_aead(Cipher::aes_256_gcm(), &self.0, Some(nonce), context, text, tag)
            .map_err(|_| SealError::NotGenuine)
    }

    /// Seals the key to `recovery`: CMS EnvelopedData in DER, AES-256-CBC, which
    /// `openssl cms -decrypt` opens too (RFC 5652 §6).
    pub fn seal_to(&self, recovery: &Certificate) -> Result<Vec<u8>, SealError> {
        let seal = || {
            let mut recipients = Stack::new()?;
            recipients.push(recovery.as_openssl().clone())?;
            let cipher = Cipher::aes_256_cbc();
            CmsContentInfo::encrypt(&recipients, &self.0, cipher, CMSOptions::BINARY)?.to_der()
        };
        seal().map_err(refused("seal"))
    }

    /// Opens what [`DataKey::seal_to`] made of the key called `id`. [`SealError::NotOpened`].
    pub fn open_with(sealed: &[u8], id: DataKeyId, key: &PrivateKey) -> Result<Self, SealError> {
        let octets = CmsContentInfo::from_der(sealed)
            .and_then(|sealed| sealed.decrypt_without_cert_check(key.as_openssl()))
            .map_err(|_| SealError::NotOpened)?;
        Self::checked(&octets, id)
    }

    /// Seals the key under a pass phrase: magic (8), version (1), salt (16), then the key
    /// encrypted under scrypt of pass phrase and salt.
    pub fn seal_under(
        &self,
        passphrase: &[u8],
        random: &dyn RandomSource,
    ) -> Result<Vec<u8>, SealError> {
        let mut salt = [0; SALT_OCTETS];
        random.fill(&mut salt);
        let mut octets = PASSPHRASE_MAGIC.to_vec();
        octets.push(PASSPHRASE_VERSION);
        octets.extend_from_slice(&salt);
        let sealed = stretched(passphrase, &salt)?.encrypt(random, &octets, &self.0)?;
        octets.extend_from_slice(&sealed);
        Ok(octets)
    }

    /// Opens what [`DataKey::seal_under`] made of the key called `id`. [`SealError::NotOpened`].
    pub fn open_under(sealed: &[u8], id: DataKeyId, passphrase: &[u8]) -> Result<Self, SealError> {
        let head = PASSPHRASE_MAGIC.len() + 1 + SALT_OCTETS;
        let (head, text) = sealed.split_at_checked(head).ok_or(SealError::NotOpened)?;
        let (start, salt) = head.split_at(PASSPHRASE_MAGIC.len() + 1);
        if start != [PASSPHRASE_MAGIC.as_slice(), &[PASSPHRASE_VERSION]].concat() {
            return Err(SealError::NotOpened);
        }
        let octets = stretched(passphrase, salt)?.decrypt(head, text);
        Self::checked(&octets.map_err(|_| SealError::NotOpened)?, id)
    }

    fn checked(octets: &[u8], id: DataKeyId) -> Result<Self, SealError> {
        Self::from_octets(octets).filter(|key| key.id() == id).ok_or(SealError::NotOpened)
    }
}

fn stretched(passphrase: &[u8], salt: &[u8]) -> Result<DataKey, SealError> {
    let mut key = [0; KEY_OCTETS];
    scrypt(passphrase, salt, SCRYPT_N, SCRYPT_R, SCRYPT_P, SCRYPT_MEMORY_MAX, &mut key)
        .map_err(refused("stretch a pass phrase"))?;
    Ok(DataKey(key))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{authority::DevelopmentAuthority, clock::SystemClock, random::SeededRandom};

    fn key() -> DataKey {
        DataKey::draw(&SeededRandom::new(1))
    }

    #[test]
    fn octets_come_back_in_their_context_only_and_every_changed_octet_is_noticed() {
        let (key, random) = (key(), SeededRandom::new(2));
        let sealed = key.encrypt(&random, b"piece 1", b"posta").expect("encrypted");
        assert_eq!(key.decrypt(b"piece 1", &sealed).expect("decrypted"), b"posta");
        assert!(matches!(key.decrypt(b"piece 2", &sealed), Err(SealError::NotGenuine)));
        for position in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[position] ^= 1;
            assert!(key.decrypt(b"piece 1", &changed).is_err(), "octet {position}");
        }
        for length in 0..sealed.len() {
            assert!(key.decrypt(b"piece 1", &sealed[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn a_seal_under_a_pass_phrase_opens_with_that_one_only() {
        let key = key();
        let sealed = key.seal_under(b"frase lunga", &SeededRandom::new(3)).expect("sealed");
        assert_eq!(DataKey::open_under(&sealed, key.id(), b"frase lunga").expect("open"), key);
        for (sealed, phrase) in [(&sealed[..], &b"altra"[..]), (&sealed[..40], b"frase lunga")] {
            let outcome = DataKey::open_under(sealed, key.id(), phrase);
            assert!(matches!(outcome, Err(SealError::NotOpened)));
        }
    }

    #[test]
    fn a_seal_to_a_certificate_opens_with_its_private_key_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SeededRandom::new(4)));
        let authority = DevelopmentAuthority::open(folder.path(), clock, random).expect("opened");
        let recovery = authority.issue_tls(&["recovery.example"], &[]).expect("issued");
        let key = key();
        let sealed = key.seal_to(&recovery.certificate).expect("sealed");
        assert_eq!(DataKey::open_with(&sealed, key.id(), &recovery.key).expect("open"), key);
        let stranger = PrivateKey::generate().expect("a key");
        let outcome = DataKey::open_with(&sealed, key.id(), &stranger);
        assert!(matches!(outcome, Err(SealError::NotOpened)));
        let outcome = DataKey::open_with(&sealed, DataKeyId([0; 16]), &recovery.key);
        assert!(matches!(outcome, Err(SealError::NotOpened)));
    }

    #[test]
    fn a_key_shows_its_name_and_nothing_else() {
        let key = key();
        assert_eq!(format!("{key:?}"), format!("DataKey({})", key.id()));
        assert!(!format!("{key:?}").contains(&hex::encode(&key.expose()[..4])));
    }
}
