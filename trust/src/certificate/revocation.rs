//! Certificate revocation lists (RFC 5280 §5).
//!
//! A list counts for a certificate when it names the certificate's issuer and the issuer's key
//! verifies it. A certificate is revoked at an instant when the list says so with a revocation
//! date not later than that instant: a message judged at the time it came in stays good when its
//! provider's certificate is taken back years later.
//!
//! Not here: fetching lists. Lists that cover only part of an issuer's certificates are read like
//! full ones: what they list is revoked, and nothing else follows from them.

use std::{fmt, path::Path};

use openssl::x509::{CrlStatus, X509Crl};

use super::{Certificate, CertificateError, instant_of};
use crate::clock::UnixMillis;

/// A certificate revocation list.
#[derive(Clone)]
pub struct RevocationList(std::sync::Arc<X509Crl>);

/// What the known lists say about one certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RevocationState {
    /// A list of the issuer says that it was taken back.
    Revoked(UnixMillis),
    /// A list of the issuer that is not overdue does not name it.
    Good,
    /// The issuer's list is overdue; as far as it goes it does not name the certificate.
    Overdue,
    /// No list of the issuer is known.
    Unknown,
}

impl RevocationList {
    /// Takes OpenSSL's list.
    pub fn from_openssl(crl: X509Crl) -> Self {
        Self(std::sync::Arc::new(crl))
    }

    /// Reads a DER list.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        X509Crl::from_der(der)
            .map(Self::from_openssl)
            .map_err(|source| unreadable("octets", source))
    }

    /// Reads a PEM list.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CertificateError> {
        X509Crl::from_pem(pem).map(Self::from_openssl).map_err(|source| unreadable("text", source))
    }

    /// Reads the file at `path`, PEM or DER.
    pub fn read(path: &Path) -> Result<Self, CertificateError> {
        let name = path.display().to_string();
        let octets = std::fs::read(path)
            .map_err(|source| CertificateError::File { name: name.clone(), source })?;
        X509Crl::from_pem(&octets)
            .or_else(|_| X509Crl::from_der(&octets))
            .map(Self::from_openssl)
            .map_err(|source| unreadable(&name, source))
    }

    /// Returns the list in PEM.
    pub fn to_pem(&self) -> Result<Vec<u8>, CertificateError> {
        self.0.to_pem().map_err(|source| CertificateError::OpenSsl {
            operation: "encode a revocation list",
            source,
        })
    }

    /// Returns the list in DER.
    pub fn to_der(&self) -> Result<Vec<u8>, CertificateError> {
        self.0.to_der().map_err(|source| CertificateError::OpenSsl {
            operation: "encode a revocation list",
            source,
        })
    }

    /// When the next list is due, if the list says so.
    pub fn next_update(&self) -> Result<Option<UnixMillis>, CertificateError> {
        self.0.next_update().map(instant_of).transpose()
    }

    /// The list for OpenSSL's own interfaces.
    pub fn as_openssl(&self) -> &X509Crl {
        &self.0
    }

    /// Says what this list knows about `certificate`, whose issuer is `issuer`.
    fn state_of(
        &self,
        certificate: &Certificate,
        issuer: &Certificate,
        instant: UnixMillis,
    ) -> Result<RevocationState, CertificateError> {
        let x509 = certificate.as_openssl();
        let names_issuer =
            self.0.issuer_name().try_cmp(x509.issuer_name()).is_ok_and(std::cmp::Ordering::is_eq);
        let key = issuer.public_key()?;
        if !names_issuer || !self.0.verify(&key).unwrap_or(false) {
            return Ok(RevocationState::Unknown);
        }
        if let CrlStatus::Revoked(entry) = self.0.get_by_serial(x509.serial_number()) {
            let since = instant_of(entry.revocation_date())?;
            if since <= instant {
                return Ok(RevocationState::Revoked(since));
            }
        }
        match self.next_update()? {
            Some(due) if due < instant => Ok(RevocationState::Overdue),
            _ => Ok(RevocationState::Good),
        }
    }
}

impl fmt::Debug for RevocationList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let revoked = self.0.get_revoked().map_or(0, openssl::stack::StackRef::len);
        write!(formatter, "RevocationList({:?}, {revoked} entries)", self.0.issuer_name())
    }
}

/// Says what `lists` together know about `certificate`: the worst certain answer wins.
pub(crate) fn state_of(
    lists: &[RevocationList],
    certificate: &Certificate,
    issuer: &Certificate,
    instant: UnixMillis,
) -> Result<RevocationState, CertificateError> {
    let mut state = RevocationState::Unknown;
    for list in lists {
        match (list.state_of(certificate, issuer, instant)?, state) {
            (revoked @ RevocationState::Revoked(_), _) => return Ok(revoked),
            (RevocationState::Good, _) => state = RevocationState::Good,
            (RevocationState::Overdue, RevocationState::Unknown) => {
                state = RevocationState::Overdue;
            }
            _ => {}
        }
    }
    Ok(state)
}

fn unreadable(name: &str, source: openssl::error::ErrorStack) -> CertificateError {
    CertificateError::Unreadable { name: name.to_owned(), what: "revocation list", source }
}
