//! The development authority: makes a provider work with nobody's help.
//!
//! In production the provider's signing certificate comes from the national agency, TLS
//! certificates from a public authority, time stamps from a qualified service. For development,
//! tests and demonstrations a [`DevelopmentAuthority`] stands for all of them. It keeps its files
//! in one folder, made on first use and opened again afterwards:
//!
//! | file | contents |
//! |---|---|
//! | `authority.key` | private key, PEM, mode 0600 |
//! | `authority.pem` | self-signed certificate, valid for ten years |
//! | `authority.crl` | revocation list, PEM; also the only record of what was revoked |
//!
//! Invariants:
//!
//! * Key before certificate before list: a crash between two of them is repaired at the next open.
//! * Files but the key are replaced whole (new file, sync, rename).
//! * Times come from the [`Clock`], serial numbers from the [`RandomSource`]. Keys come from
//!   OpenSSL's own generator ([`PrivateKey::generate`]).
//!
//! One process at a time may use a folder. Not here: the profiles ([`profile`]), trusting
//! (`certificate::chain`).

mod profile;

use std::{
    io::Write as _,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use openssl::{
    asn1::{Asn1Integer, Asn1IntegerRef},
    bn::BigNum,
    error::ErrorStack,
    hash::MessageDigest,
    x509::{
        CrlStatus, X509Crl, X509CrlBuilder, X509Revoked, X509RevokedBuilder,
        extension::{AuthorityKeyIdentifier, CrlNumber},
    },
};

use crate::{
    certificate::{Certificate, CertificateError, asn1_time, revocation::RevocationList},
    clock::{Clock, UnixMillis},
    key::{KeyError, PrivateKey},
    random::RandomSource,
};

const DAY_MS: i64 = 86_400_000;
/// A certificate is valid from one hour ago, so that a peer whose clock is a little late takes it.
const BACKDATED_MS: i64 = 3_600_000;
const AUTHORITY_DAYS: i64 = 3_650;
const REVOCATION_LIST_DAYS: i64 = 30;
/// A list is issued anew when it is opened with less than this left.
const REVOCATION_LIST_RENEWAL_DAYS: i64 = 7;

/// Why the authority cannot do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A file cannot be read or written.
    #[error("the development authority cannot {operation} {}: check the folder and its permissions", path.display())]
    File {
        /// `create`, `read` or `write`.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The folder holds a key and a certificate that do not belong together.
    #[error("key and certificate in {} do not belong together: restore both from one back-up, or empty the folder", .0.display())]
    Mismatch(PathBuf),
    /// A key cannot be made, read or used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A certificate or list cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A name or address cannot stand in a certificate.
    #[error(
        "OpenSSL cannot make {what}: check that its names are 1 to 64 characters long and its addresses are plain ASCII"
    )]
    Issue {
        /// What was to be made.
        what: &'static str,
        /// The cause.
        #[source]
        source: ErrorStack,
    },
}

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate.
    pub certificate: Certificate,
    /// Its private key.
    pub key: PrivateKey,
}

/// A certification authority for development.
#[derive(Debug)]
pub struct DevelopmentAuthority {
    folder: PathBuf,
    issued: Issued,
    list: Mutex<RevocationList>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn RandomSource>,
}

impl DevelopmentAuthority {
    /// Opens the authority in `folder`, which is made (with the authority) when it is absent.
    pub fn open(
        folder: &Path,
        clock: Arc<dyn Clock>,
        random: Arc<dyn RandomSource>,
    ) -> Result<Self, AuthorityError> {
        std::fs::create_dir_all(folder).map_err(|source| file("create", folder, source))?;
        let key_path = folder.join("authority.key");
        let key = if exists(&key_path)? {
            PrivateKey::read(&key_path)?
        } else {
            let key = PrivateKey::generate()?;
            key.write(&key_path)?;
            key
        };
        let certificate = open_certificate(folder, &key, clock.as_ref(), random.as_ref())?;
        if !certificate.public_key()?.public_eq(key.as_openssl()) {
            return Err(AuthorityError::Mismatch(folder.to_owned()));
        }
        let issued = Issued { certificate, key };
        let list = open_list(folder, &issued, clock.now())?;
        Ok(Self { folder: folder.to_owned(), issued, list: Mutex::new(list), clock, random })
    }

    /// The authority's own certificate: what others have to trust.
    pub fn certificate(&self) -> &Certificate {
        &self.issued.certificate
    }

    /// The present revocation list.
    pub fn revocation_list(&self) -> RevocationList {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Issues a provider's signing certificate, valid for three years, to the profile of
    /// RFC 6109 §5.5: `provider_name` (1 to 64 characters, exactly as in the directory) in O and
    /// CN, `email` in subjectAltName only.
    pub fn issue_provider(
        &self,
        provider_name: &str,
        email: &str,
    ) -> Result<Issued, AuthorityError> {
        self.issue(&profile::Profile::Provider { provider_name, email }, 3 * 365)
    }

    /// Issues a TLS server certificate for `dns_names` and `addresses`, valid for 397 days.
    pub fn issue_tls(
        &self,
        dns_names: &[&str],
        addresses: &[IpAddr],
    ) -> Result<Issued, AuthorityError> {
        self.issue(&profile::Profile::Tls { dns_names, addresses }, 397)
    }

    /// Issues a time-stamping certificate (RFC 3161 §2.3), valid for five years.
    pub fn issue_time_stamping(&self, name: &str) -> Result<Issued, AuthorityError> {
        self.issue(&profile::Profile::TimeStamping { name }, 5 * 365)
    }

    fn issue(&self, profile: &profile::Profile<'_>, days: i64) -> Result<Issued, AuthorityError> {
        let key = PrivateKey::generate()?;
        let now = self.clock.now();
        let draft = profile::Draft {
            serial: random_serial(self.random.as_ref()),
            not_before: now.plus_millis(-BACKDATED_MS),
            not_after: now.plus_millis(days * DAY_MS),
            key: &key,
        };
        let x509 = profile::issue(profile, &draft, Some(&self.issued))
            .map_err(|source| AuthorityError::Issue { what: "a certificate", source })?;
        Ok(Issued { certificate: Certificate::from_openssl(x509)?, key })
    }

    /// Takes `certificate` back as of now, and writes a new revocation list before it returns.
    /// Revoking it again changes nothing.
    pub fn revoke(&self, certificate: &Certificate) -> Result<RevocationList, AuthorityError> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let serial = certificate.as_openssl().serial_number();
        if matches!(list.as_openssl().get_by_serial(serial), CrlStatus::NotRevoked) {
            let now = self.clock.now();
            *list = write_list(&self.folder, &self.issued, Some(&list), Some(serial), now)?;
        }
        Ok(list.clone())
    }

    /// Issues a list with the same entries and a later due date. Call it at least every
    /// 30 days while the program runs.
    pub fn renew_revocation_list(&self) -> Result<RevocationList, AuthorityError> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        *list = write_list(&self.folder, &self.issued, Some(&list), None, self.clock.now())?;
        Ok(list.clone())
    }
}

fn open_certificate(
    folder: &Path,
    key: &PrivateKey,
    clock: &dyn Clock,
    random: &dyn RandomSource,
) -> Result<Certificate, AuthorityError> {
    let path = folder.join("authority.pem");
    if exists(&path)? {
        let pem = std::fs::read(&path).map_err(|source| file("read", &path, source))?;
        return Ok(Certificate::from_pem(&pem)?);
    }
    let now = clock.now();
    let draft = profile::Draft {
        serial: random_serial(random),
        not_before: now.plus_millis(-BACKDATED_MS),
        not_after: now.plus_millis(AUTHORITY_DAYS * DAY_MS),
        key,
    };
    let x509 = profile::issue(&profile::Profile::Authority, &draft, None)
        .map_err(|source| AuthorityError::Issue { what: "the authority's certificate", source })?;
    let certificate = Certificate::from_openssl(x509)?;
    replace(&path, &certificate.to_pem()?)?;
    Ok(certificate)
}

fn open_list(
    folder: &Path,
    issued: &Issued,
    now: UnixMillis,
) -> Result<RevocationList, AuthorityError> {
    let path = folder.join("authority.crl");
    if !exists(&path)? {
        return write_list(folder, issued, None, None, now);
    }
    let list = RevocationList::read(&path)?;
    let renew_at = now.plus_millis(REVOCATION_LIST_RENEWAL_DAYS * DAY_MS);
    if list.next_update()?.is_none_or(|due| due < renew_at) {
        return write_list(folder, issued, Some(&list), None, now);
    }
    Ok(list)
}

fn write_list(
    folder: &Path,
    issued: &Issued,
    previous: Option<&RevocationList>,
    revoke: Option<&Asn1IntegerRef>,
    now: UnixMillis,
) -> Result<RevocationList, AuthorityError> {
    let crl = next_list(issued, previous, revoke, now)
        .map_err(|source| AuthorityError::Issue { what: "a revocation list", source })?;
    let list = RevocationList::from_openssl(crl);
    replace(&folder.join("authority.crl"), &list.to_pem()?)?;
    Ok(list)
}

/// Makes the list after `previous` (RFC 5280 §5): its entries, and `revoke` as of now.
fn next_list(
    issued: &Issued,
    previous: Option<&RevocationList>,
    revoke: Option<&Asn1IntegerRef>,
    now: UnixMillis,
) -> Result<X509Crl, ErrorStack> {
    let authority = issued.certificate.as_openssl();
    let mut builder = X509CrlBuilder::new()?;
    builder.set_issuer_name(authority.subject_name())?;
    builder.set_last_update(&*asn1_time(now)?)?;
    builder.set_next_update(&*asn1_time(now.plus_millis(REVOCATION_LIST_DAYS * DAY_MS))?)?;
    let mut number = BigNum::from_u32(1)?;
    if let Some(previous) = previous {
        if let Some((_, last)) = previous.as_openssl().extension::<CrlNumber>()? {
            number = last.to_bn()?;
            number.add_word(1)?;
        }
        for entry in previous.as_openssl().get_revoked().into_iter().flatten() {
            builder.add_revoked(X509Revoked::from_der(&entry.to_der()?)?)?;
        }
    }
    if let Some(serial) = revoke {
        let mut entry = X509RevokedBuilder::new()?;
        entry.set_revocation_date(&*asn1_time(now)?)?;
        entry.set_serial_number(serial)?;
        builder.add_revoked(entry.build())?;
    }
    let empty = openssl::x509::X509::builder()?;
    let context = empty.x509v3_context(Some(authority), None);
    builder.append_extension(AuthorityKeyIdentifier::new().keyid(true).build(&context)?)?;
    builder.append_extension(CrlNumber::new(number)?.build()?)?;
    builder.sort()?;
    builder.sign(issued.key.as_openssl(), MessageDigest::sha256())?;
    builder.build()
}

/// 127 random bits, never zero: positive and within 20 octets (RFC 5280 §4.1.2.2).
pub(crate) fn random_serial(random: &dyn RandomSource) -> [u8; 16] {
    let mut serial = [0; 16];
    random.fill(&mut serial);
    serial[0] = serial[0] & 0x7f | 0x40;
    serial
}

pub(crate) fn serial_number(serial: &[u8]) -> Result<Asn1Integer, ErrorStack> {
    Asn1Integer::from_bn(&*BigNum::from_slice(serial)?)
}

fn exists(path: &Path) -> Result<bool, AuthorityError> {
    path.try_exists().map_err(|source| file("read", path, source))
}

/// Replaces the file at `path` as a whole, durably.
fn replace(path: &Path, octets: &[u8]) -> Result<(), AuthorityError> {
    let fresh = path.with_extension("new");
    let write = || {
        let mut file = std::fs::File::create(&fresh)?;
        file.write_all(octets)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)?;
        match path.parent() {
            Some(folder) => std::fs::File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|source| file("write", path, source))
}

fn file(operation: &'static str, path: &Path, source: std::io::Error) -> AuthorityError {
    AuthorityError::File { operation, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
