//! Verifying.
//!
//! [`Verifier::verify`] answers T1 and T3 of the incoming point (RFC 6109 §2.2.2): is there a
//! signature, does it verify over the entity, does the signer's certificate lead to a trusted
//! authority, was it valid, was it revoked. Whether the certificate is a provider's (T2) is asked
//! of the directory with [`VerifiedSignature::signer`].
//!
//! Accepted because real providers send it: SHA-1 digests, RSA-1024, BER encoding, certificates
//! without the profile of RFC 6109 §5.5. Refused: more than one signer.

use std::sync::{PoisonError, RwLock};

use openssl::error::ErrorStack;

use super::structure::{SignedMessage, find_signed};
use crate::{
    certificate::{
        Certificate,
        chain::{ChainError, Purpose, RevocationPolicy, TrustedAuthorities, check_revocation},
        revocation::RevocationList,
    },
    clock::UnixMillis,
    digest::Sha256Digest,
    signed_data::{Fault, ID_DATA, Opened},
};

/// Largest entity that is verified, in octets: OpenSSL counts buffers in 31 bits.
pub const ENTITY_OCTETS_MAX: usize = 1 << 30;

/// Why a message is not validly signed, in the order of the tests of RFC 6109 §2.2.2.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// T1: the message is not an S/MIME signed structure.
    #[error("there is no signature")]
    NotSigned,
    /// T1: there is something in the signature's place, but no CMS SignedData.
    #[error("the signature is not a CMS SignedData: {0}")]
    NotASignature(String),
    /// T2: the signer's certificate is not in the signature, so it cannot be looked up.
    #[error("the signature does not carry its signer's certificate")]
    SignerNotFound,
    /// T2: a provider signs alone (RFC 6109 §2.1).
    #[error("there are {0} signers instead of one")]
    SignersNotOne(usize),
    /// T3: the signature does not verify over the entity: something was changed.
    #[error("the signature does not match the signed octets: they were changed on their way")]
    SignatureWrong(#[source] ErrorStack),
    /// T3: no path to a trusted authority.
    #[error("the signer is not trusted")]
    Untrusted(#[source] ChainError),
    /// T3: a certificate of the path is expired or not valid yet.
    #[error("the signer's certificate is outside its validity")]
    OutsideValidity(#[source] ChainError),
    /// T3: a certificate of the path was revoked.
    #[error("the signer's certificate was revoked")]
    Revoked(#[source] ChainError),
    /// T3: revocation cannot be judged and is required. Temporary: retry with a fresh list.
    #[error("the revocation of the signer's certificate cannot be checked")]
    RevocationUnknown(#[source] ChainError),
    /// The entity is larger than [`ENTITY_OCTETS_MAX`].
    #[error("the signed entity has {0} octets, more than can be verified")]
    TooLarge(usize),
    /// OpenSSL failed for another reason than the message.
    #[error("the signature cannot be checked")]
    Internal(#[source] ChainError),
}

impl VerifyError {
    /// Says whether the same message can pass later without being changed.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::RevocationUnknown(_) | Self::Internal(_))
    }
}

/// A signature that passed every test.
#[derive(Clone, Debug)]
pub struct VerifiedSignature {
    /// The signer's certificate.
    pub signer: Certificate,
    /// What the signer says about when it signed. Nobody vouches for it.
    pub signing_time: Option<UnixMillis>,
    /// SHA-256 of the signed entity, whatever digest the signature itself uses.
    pub entity_digest: Sha256Digest,
}

/// A document that was signed with its signature around it.
#[derive(Clone, Debug)]
pub struct SignedContent {
    /// The signer's certificate.
    pub signer: Certificate,
    /// The other certificates that came along.
    pub certificates: Vec<Certificate>,
    /// What the signer says about when it signed.
    pub signing_time: Option<UnixMillis>,
    /// The document.
    pub content: Vec<u8>,
}

/// Opens a CMS SignedData (DER or BER) with its content inside (RFC 5652 §5.2) and verifies the
/// signature. Whether its signer is to be trusted is another question:
/// [`Verifier::verify_signer`].
pub fn open_signed_content(octets: &[u8]) -> Result<SignedContent, VerifyError> {
    if octets.len() > ENTITY_OCTETS_MAX {
        return Err(VerifyError::TooLarge(octets.len()));
    }
    let opened = Opened::new(octets).map_err(refused)?;
    let certificates = opened.certificates.clone();
    let verified = opened.verify(None).map_err(refused)?;
    Ok(SignedContent {
        signer: verified.signer,
        certificates,
        signing_time: verified.signing_time,
        content: verified.content,
    })
}

/// Judges signatures of messages. Shared by all sessions.
#[derive(Debug)]
pub struct Verifier {
    authorities: TrustedAuthorities,
    lists: RwLock<Vec<RevocationList>>,
    policy: RevocationPolicy,
}

impl Verifier {
    /// Trusts `authorities`; knows no revocation list yet.
    pub fn new(authorities: TrustedAuthorities, policy: RevocationPolicy) -> Self {
        Self { authorities, lists: RwLock::new(Vec::new()), policy }
    }

    /// Puts `lists` in the place of all lists known before.
    pub fn replace_revocation_lists(&self, lists: Vec<RevocationList>) {
        *self.lists.write().unwrap_or_else(PoisonError::into_inner) = lists;
    }

    /// Verifies the detached `signature` (DER or BER) over `entity` as of `instant`.
    ///
    /// Computes for milliseconds and more with the size of `entity`: call from a blocking thread
    /// when it is large.
    pub fn verify(
        &self,
        entity: &[u8],
        signature: &[u8],
        instant: UnixMillis,
    ) -> Result<VerifiedSignature, VerifyError> {
        if entity.len() > ENTITY_OCTETS_MAX {
            return Err(VerifyError::TooLarge(entity.len()));
        }
        let opened = Opened::new(signature).map_err(refused)?;
        if opened.content_type != ID_DATA {
            return Err(VerifyError::NotASignature(format!(
                "it signs content of type {}",
                opened.content_type
            )));
        }
        let intermediates = opened.certificates.clone();
        let verified = opened.verify(Some(entity)).map_err(refused)?;
        self.check_trust(&verified.signer, &intermediates, instant)?;
        Ok(VerifiedSignature {
            signer: verified.signer,
            signing_time: verified.signing_time,
            entity_digest: Sha256Digest::of(entity),
        })
    }

    /// Finds the signature of `message` and verifies it.
    pub fn verify_message(
        &self,
        message: &[u8],
        instant: UnixMillis,
    ) -> Result<(SignedMessage, VerifiedSignature), VerifyError> {
        let signed = find_signed(message).ok_or(VerifyError::NotSigned)?;
        let entity = message.get(signed.entity.clone()).ok_or(VerifyError::NotSigned)?;
        let verified = self.verify(entity, &signed.signature, instant)?;
        Ok((signed, verified))
    }

    /// Says whether `signer` leads to a trusted authority over `intermediates`, was valid at
    /// `instant` and was not revoked by then.
    pub fn verify_signer(
        &self,
        signer: &Certificate,
        intermediates: &[Certificate],
        instant: UnixMillis,
    ) -> Result<(), VerifyError> {
        self.check_trust(signer, intermediates, instant)
    }

    fn check_trust(
        &self,
        signer: &Certificate,
        intermediates: &[Certificate],
        instant: UnixMillis,
    ) -> Result<(), VerifyError> {
        let lists = self.lists.read().unwrap_or_else(PoisonError::into_inner).clone();
        self.authorities
            .path(signer, intermediates, instant, Purpose::Messages)
            .and_then(|path| check_revocation(&path, &lists, self.policy, instant))
            .map_err(|error| match error {
                ChainError::Untrusted { .. } => VerifyError::Untrusted(error),
                ChainError::OutsideValidity { .. } => VerifyError::OutsideValidity(error),
                ChainError::Revoked { .. } => VerifyError::Revoked(error),
                ChainError::RevocationUnknown { .. } => VerifyError::RevocationUnknown(error),
                ChainError::Certificate(_) => VerifyError::Internal(error),
            })
    }
}

fn refused(fault: Fault) -> VerifyError {
    match fault {
        Fault::NotSignedData(error) => VerifyError::NotASignature(error.to_string()),
        Fault::Malformed(error) => VerifyError::NotASignature(error.to_string()),
        Fault::Signers(count) => VerifyError::SignersNotOne(count),
        Fault::NoCertificate => VerifyError::SignerNotFound,
        Fault::Wrong(error) => VerifyError::SignatureWrong(error),
    }
}
