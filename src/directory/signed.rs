//! The signature around a directory file: CMS SignedData with the LDIF inside (RFC 6109 §4.5.6).
//!
//! RFC 6109 does not say who signs the whole directory, nor with which key. The configuration does,
//! in one of two ways or in both: the certificates themselves, and a name in a certificate that a
//! trusted authority has issued.
//!
//! Not here: where the octets come from.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use trust::{
    certificate::{Certificate, CertificateError},
    clock::UnixMillis,
    digest::Sha256Digest,
    smime::{
        sign::{MessageSigner, SignError},
        verify::{SignedContent, Verifier, VerifyError, open_signed_content},
    },
};

use crate::{
    config::FetchSettings,
    pec::{
        address::Domain,
        directory::{Directory, DirectoryFault, ProviderRecord},
    },
};

/// Why octets are not taken as the directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyRefused {
    /// There is no good signature, or its signer is not trusted at that instant.
    #[error("the directory's signature is not good")]
    Signature(#[from] VerifyError),
    /// The signature is good, and somebody else's.
    #[error("the directory is signed by {0}, who is not the one that the configuration names")]
    Signer(String),
    /// The signer is the right one and was not valid.
    #[error("the directory is signed with {0}, which is outside its validity")]
    OutsideValidity(String),
    /// The certificate cannot be judged.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// What was signed is no directory.
    #[error("what was signed is no directory")]
    Directory(#[from] DirectoryFault),
    /// A directory of nobody.
    #[error("the directory has no provider")]
    Empty,
}

/// A directory whose signature and signer are good.
#[derive(Debug)]
pub struct SignedDirectory {
    /// What it says of the others.
    pub directory: Directory,
    /// What it says of this provider: told, never used.
    pub own: Vec<ProviderRecord>,
    /// Who signed.
    pub signer: Certificate,
    /// When, as the signer says.
    pub signed: Option<UnixMillis>,
    /// The SHA-256 of the file in hexadecimal digits.
    pub digest: String,
}

/// This provider, of which a copy has no say.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// Its name.
    pub name: String,
    /// Its domains.
    pub domains: BTreeSet<Domain>,
}

impl Own {
    /// Parts a copy's records into this provider's and the others'. Of several others that claim one
    /// domain of this provider the first keeps it, until it is taken out of that one too.
    fn part(&self, records: Vec<ProviderRecord>) -> (Vec<ProviderRecord>, Vec<ProviderRecord>) {
        let of_own = |record: &ProviderRecord| record.is_of(&self.name);
        let (own, mut others): (Vec<_>, Vec<_>) = records.into_iter().partition(of_own);
        let mut claimed: BTreeMap<Domain, String> = BTreeMap::new();
        for record in &mut others {
            let name = record.name.trim().to_lowercase();
            record.managed_domains.retain(|domain| {
                !self.domains.contains(domain)
                    || *claimed.entry(domain.clone()).or_insert_with(|| name.clone()) == name
            });
        }
        (own, others)
    }
}

/// Who may sign the whole directory.
#[derive(Debug)]
pub struct SignerRule {
    /// One of these; the operator has put them there, so no authority is asked.
    certificates: Option<Vec<Certificate>>,
    /// A certificate with this O or CN that leads to an authority of `[trust]`.
    subject: Option<String>,
    verifier: Arc<Verifier>,
}

impl SignerRule {
    /// The rule of the configuration; `None` when it has none. `verifier` knows the authorities.
    ///
    /// # Errors
    ///
    /// When the file of certificates cannot be read.
    pub fn of(
        settings: &FetchSettings,
        verifier: Arc<Verifier>,
    ) -> Result<Option<Self>, CertificateError> {
        let file: &Option<PathBuf> = &settings.signer_certificate_file;
        let certificates = file.as_ref().map(|file| Certificate::read_all(file)).transpose()?;
        let subject = settings.signer_subject.clone();
        let says = certificates.is_some() || subject.is_some();
        Ok(says.then_some(Self { certificates, subject, verifier }))
    }

    /// Judges `octets` of a copy, without what it says of `own`, as of `instant`. Computes for as
    /// long as hashing and parsing take.
    ///
    /// # Errors
    ///
    /// When they are not to be used.
    pub fn verify(
        &self,
        octets: &[u8],
        own: &Own,
        instant: UnixMillis,
    ) -> Result<SignedDirectory, CopyRefused> {
        let opened = open_signed_content(octets)?;
        let signer = &opened.signer;
        let another = || CopyRefused::Signer(format!("{signer:?}"));
        if let Some(certificates) = &self.certificates {
            if !certificates.contains(signer) {
                return Err(another());
            }
            if !signer.is_valid_at(instant)? {
                return Err(CopyRefused::OutsideValidity(format!("{signer:?}")));
            }
        }
        if let Some(subject) = &self.subject {
            self.verifier.verify_signer(signer, &opened.certificates, instant)?;
            let named = [signer.organization(), signer.common_name()];
            if !named.iter().flatten().any(|name| name == subject) {
                return Err(another());
            }
        }
        SignedDirectory::read(octets, opened, own)
    }

    /// The same for a copy that was taken before, whose signer the configuration named then:
    /// `signer` is the SHA-256 of its certificate.
    ///
    /// # Errors
    ///
    /// When it is not that copy's signer, or was not valid at `instant`.
    pub fn verify_taken(
        octets: &[u8],
        own: &Own,
        instant: UnixMillis,
        signer: &str,
    ) -> Result<SignedDirectory, CopyRefused> {
        let opened = open_signed_content(octets)?;
        if hex::encode(Sha256Digest::of(opened.signer.to_der()).0) != signer {
            return Err(CopyRefused::Signer(format!("{:?}", opened.signer)));
        }
        if !opened.signer.is_valid_at(instant)? {
            return Err(CopyRefused::OutsideValidity(format!("{:?}", opened.signer)));
        }
        SignedDirectory::read(octets, opened, own)
    }
}

impl SignedDirectory {
    fn read(octets: &[u8], opened: SignedContent, own: &Own) -> Result<Self, CopyRefused> {
        let (_, records) = Directory::records_of_ldif(&opened.content)?;
        if records.is_empty() {
            return Err(CopyRefused::Empty);
        }
        let (own, others) = own.part(records);
        let directory = Directory::new(others)?;
        let digest = hex::encode(Sha256Digest::of(octets).0);
        let SignedContent { signer, signing_time, .. } = opened;
        Ok(Self { directory, own, signer, signed: signing_time, digest })
    }

    /// The SHA-256 of the signer's certificate.
    #[must_use]
    pub fn signer_digest(&self) -> String {
        hex::encode(Sha256Digest::of(self.signer.to_der()).0)
    }
}

/// Signs the LDIF of `directory` in the form in which it is published.
///
/// # Errors
///
/// As [`MessageSigner::sign_content`].
pub fn sign(directory: &Directory, signer: &dyn MessageSigner) -> Result<Vec<u8>, SignError> {
    signer.sign_content(&directory.to_ldif())
}
