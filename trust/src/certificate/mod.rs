//! X.509 certificates: what they say ([`Certificate`]), whether they lead to somebody trusted
//! ([`chain`]), whether they were taken back ([`revocation`]), and whether a provider's own has the
//! form that it must have ([`profile`]).
//!
//! A [`Certificate`] is any well-formed one; its profile is judged by whoever relies on it,
//! because real providers deviate from RFC 6109 §5.5.
//!
//! Not here: issuing (`authority`), private keys (`key`).

pub mod chain;
pub mod profile;
pub mod revocation;

use std::{fmt, path::Path};

use openssl::{
    asn1::{Asn1Time, Asn1TimeRef},
    error::ErrorStack,
    nid::Nid,
    pkey::{PKey, Public},
    x509::{X509, X509Ref},
};

use crate::{clock::UnixMillis, digest::sha1_hex};

/// Why octets are not a certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The octets cannot be decoded.
    #[error("{name} holds no readable {what}: check that the file is complete")]
    Unreadable {
        /// The file, or what else the octets came from.
        name: String,
        /// `certificate` or `revocation list`.
        what: &'static str,
        /// The cause.
        #[source]
        source: ErrorStack,
    },
    /// The file cannot be read.
    #[error("cannot read {name}: check the path and its permissions")]
    File {
        /// The file.
        name: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// OpenSSL refused an operation on octets that it has decoded before.
    #[error("OpenSSL cannot {operation}")]
    OpenSsl {
        /// What was tried.
        operation: &'static str,
        /// The cause.
        #[source]
        source: ErrorStack,
    },
}

/// An X.509 certificate (RFC 5280).
#[derive(Clone)]
pub struct Certificate {
    x509: X509,
    der: Vec<u8>,
}

impl Certificate {
    /// Takes OpenSSL's certificate.
    pub fn from_openssl(x509: X509) -> Result<Self, CertificateError> {
        let der = x509.to_der().map_err(|source| CertificateError::OpenSsl {
            operation: "encode a certificate",
            source,
        })?;
        Ok(Self { x509, der })
    }

    /// Reads the first certificate of a PEM text.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CertificateError> {
        let x509 = X509::from_pem(pem).map_err(|source| unreadable("the text", source))?;
        Self::from_openssl(x509)
    }

    /// Reads every certificate of a PEM text, in order; at least one.
    pub fn all_from_pem(pem: &[u8]) -> Result<Vec<Self>, CertificateError> {
        Self::parse_all(pem, "the text")
    }

    /// Reads every certificate of the PEM file at `path`, in order; at least one.
    pub fn read_all(path: &Path) -> Result<Vec<Self>, CertificateError> {
        let name = path.display().to_string();
        let pem = std::fs::read(path)
            .map_err(|source| CertificateError::File { name: name.clone(), source })?;
        Self::parse_all(&pem, &name)
    }

    fn parse_all(pem: &[u8], name: &str) -> Result<Vec<Self>, CertificateError> {
        let stack = X509::stack_from_pem(pem).map_err(|source| unreadable(name, source))?;
        if stack.is_empty() {
            return Err(unreadable(name, ErrorStack::get()));
        }
        stack.into_iter().map(Self::from_openssl).collect()
    }

    /// Reads a DER certificate.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let x509 = X509::from_der(der).map_err(|source| unreadable("the octets", source))?;
        Self::from_openssl(x509)
    }

    /// The certificate in DER.
    pub fn to_der(&self) -> &[u8] {
        &self.der
    }

    /// Returns the certificate in PEM.
    pub fn to_pem(&self) -> Result<Vec<u8>, CertificateError> {
        self.x509.to_pem().map_err(|source| CertificateError::OpenSsl {
            operation: "encode a certificate",
            source,
        })
    }

    /// The certificate for OpenSSL's own interfaces (a TLS acceptor, for example).
    pub fn as_openssl(&self) -> &X509 {
        &self.x509
    }

    /// Returns the SHA-1 of the DER as 40 lower-case hexadecimal digits: the name of the
    /// certificate in the directory (RFC 6109 §4.5.1). Compare without regard to case.
    pub fn sha1_hex(&self) -> String {
        sha1_hex(&self.der)
    }

    /// First instant of validity.
    pub fn not_before(&self) -> Result<UnixMillis, CertificateError> {
        instant_of(self.x509.not_before())
    }

    /// Last instant of validity.
    pub fn not_after(&self) -> Result<UnixMillis, CertificateError> {
        instant_of(self.x509.not_after())
    }

    /// Whether `instant` is within the validity.
    pub fn is_valid_at(&self, instant: UnixMillis) -> Result<bool, CertificateError> {
        Ok(self.not_before()? <= instant && instant <= self.not_after()?)
    }

    /// The rfc822Names of subjectAltName, in order (RFC 6109 §5.5.1).
    pub fn email_addresses(&self) -> Vec<String> {
        let names = self.x509.subject_alt_names();
        names.iter().flatten().filter_map(|name| name.email().map(str::to_owned)).collect()
    }

    /// Organization of the subject (O).
    pub fn organization(&self) -> Option<String> {
        self.subject_entry(Nid::ORGANIZATIONNAME)
    }

    /// Common name of the subject (CN).
    pub fn common_name(&self) -> Option<String> {
        self.subject_entry(Nid::COMMONNAME)
    }

    fn subject_entry(&self, nid: Nid) -> Option<String> {
        let entry = self.x509.subject_name().entries_by_nid(nid).next()?;
        entry.data().to_string().ok()
    }

    /// Returns the serial number as upper-case hexadecimal digits.
    pub fn serial_hex(&self) -> Result<String, CertificateError> {
        self.x509
            .serial_number()
            .to_bn()
            .and_then(|number| Ok(number.to_hex_str()?.to_string()))
            .map_err(|source| CertificateError::OpenSsl { operation: "read a serial", source })
    }

    /// The public key.
    pub(crate) fn public_key(&self) -> Result<PKey<Public>, CertificateError> {
        self.x509
            .public_key()
            .map_err(|source| CertificateError::OpenSsl { operation: "read a public key", source })
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.common_name().or_else(|| self.organization()).unwrap_or_default();
        write!(formatter, "Certificate({name:?}, sha1 {})", self.sha1_hex())
    }
}

impl AsRef<X509Ref> for Certificate {
    fn as_ref(&self) -> &X509Ref {
        &self.x509
    }
}

fn unreadable(name: &str, source: ErrorStack) -> CertificateError {
    CertificateError::Unreadable { name: name.to_owned(), what: "certificate", source }
}

/// Converts OpenSSL's time.
pub(crate) fn instant_of(time: &Asn1TimeRef) -> Result<UnixMillis, CertificateError> {
    let difference = Asn1Time::from_unix(0)
        .and_then(|epoch| epoch.diff(time))
        .map_err(|source| CertificateError::OpenSsl { operation: "read a time", source })?;
    let seconds = i64::from(difference.days) * 86_400 + i64::from(difference.secs);
    Ok(UnixMillis(seconds * 1000))
}

/// Converts to OpenSSL's time, whole seconds rounded towards the past.
pub(crate) fn asn1_time(instant: UnixMillis) -> Result<Asn1Time, ErrorStack> {
    Asn1Time::from_unix(instant.seconds())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_the_way_to_openssl_and_back() {
        for seconds in [0, 1_700_000_000, -1, 4_102_444_800, 253_402_300_799] {
            let instant = UnixMillis(seconds * 1000);
            let time = asn1_time(instant).expect("a time");
            assert_eq!(instant_of(&time).expect("an instant"), instant);
        }
    }

    #[test]
    fn octets_that_are_no_certificate_are_an_error() {
        assert!(Certificate::from_pem(b"").is_err());
        assert!(Certificate::from_der(&[0x30, 0x80]).is_err());
        assert!(Certificate::all_from_pem(b"nothing here").is_err());
    }
}
